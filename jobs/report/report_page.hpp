// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/report/report_plan.hpp"

#include <filesystem>
#include <string>

namespace xrdct::report {

/// The HTML page of a plan whose pictures have been drawn into the folder `pictures`. `folder` is
/// that of the products, for the subtitle.
std::string report_page(const ReportPlan& plan, const ReportOptions& options,
                        const std::filesystem::path& folder, const std::filesystem::path& pictures);

} // namespace xrdct::report
