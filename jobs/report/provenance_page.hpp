// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/report/html.hpp"
#include "jobs/report/products.hpp"

#include <string>
#include <vector>

namespace xrdct::report {

/// The section on how the products came about: programs, timings, inputs with checksums, resolved
/// jobs, and what the report has left out.
void add_provenance(HtmlPage& page, const Products& products,
                    const std::vector<std::string>& notes);

} // namespace xrdct::report
