// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/report/analysis.hpp"
#include "jobs/report/html.hpp"

#include <string>

namespace xrdct::report {

/// The tables a reader wants first: weight fractions of the whole object, cells, lithium, quality
/// of the fits; `main` is the stage they are of, the others give their weight fractions for
/// comparison.
void add_summary(HtmlPage& page, const Analysis& analysis, const StageResult& main);

/// All statistics of a stage, one row per phase and quantity.
void add_statistics(HtmlPage& page, const StageResult& stage);

/// What the radial profiles of a stage have in common: centre, width and least filling of the bins.
std::string profile_note(const StageResult& stage);

/// Lithium contents, one row per electrode. Nothing for a stage without.
void add_lithium_table(HtmlPage& page, const StageResult& stage);

} // namespace xrdct::report
