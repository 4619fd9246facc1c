// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "inspection/finding.hpp"
#include "jobs/pipeline/scan.hpp"
#include "jobs/settings/job.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace xrdct::pipeline {

/// A finding in words.
struct Doubt {
    inspection::Finding finding;
    std::string text; ///< a sentence that names file and field and what to do
};

/// Short name of a kind of finding for JSON, such as "axes_swapped".
std::string_view name_of(inspection::Kind kind);

/// Looks at axes, mean pattern and summed sinogram of a job's scan: a part of it where it is
/// large. Not collective; memory: about 100 MB. What makes no sense is an Error, unless
/// `force_data`: then a warning as the rest.
std::vector<Doubt> inspect_scan(const settings::Job& job, const Scan& scan, bool force_data);

/// The sentence for a finding.
std::string describe(const inspection::Finding& finding, const settings::Job& job,
                     const Scan& scan);

} // namespace xrdct::pipeline
