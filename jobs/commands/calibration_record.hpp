// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "crystal/phase.hpp"
#include "jobs/settings/instrument_file.hpp"
#include "mpi/patterns/pattern_file.hpp"
#include "rietveld/fit/calibration.hpp"

#include <string>
#include <vector>

namespace xrdct::commands {

/// The phase with the certified cell, and what is to be said about it.
struct Standard {
    crystal::Phase phase;
    std::string source;
};

/// 2θ [deg] that the fit left out.
struct ExcludedRange {
    double from = 0, to = 0;
};

/// What an instrument file says of a calibration with a standard's pattern, whose file must exist.
settings::InstrumentFile calibration_record(const rietveld::Calibration& result,
                                            const rietveld::CalibrationOptions& options,
                                            const Standard& standard,
                                            const patterns::PatternFile& pattern,
                                            const std::vector<ExcludedRange>& excluded);

} // namespace xrdct::commands
