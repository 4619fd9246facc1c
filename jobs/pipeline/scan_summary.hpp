// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "inspection/contents.hpp"
#include "jobs/pipeline/scan.hpp"

#include <cstddef>
#include <span>
#include <vector>

namespace xrdct::pipeline {

/// What a look at a scan needs of its intensities (monitor applied), NaN where nothing was
/// measured.
struct ScanSummary {
    std::vector<std::size_t> rows;   ///< rotations read, rising
    std::vector<std::size_t> even;   ///< places in `rows` of some about equally far from each other
    std::vector<double> pattern;     ///< [channel in use], mean over the rays read
    std::vector<double> air_pattern; ///< the same over the outermost translations
    std::vector<float> sinogram;     ///< [row][translation], mean over the channels
    inspection::ValueCounts counts;  ///< of the values read, without the monitor
};

/// Reads a scan, or of one larger than 192 MB projections of that size, at least 48: equally spaced
/// ones, the first and the last, neighbours, and some half and a quarter of a turn apart. Serial;
/// memory: a projection or chunk.
ScanSummary summarise(const Scan& scan);

/// Sums over the channels of each of the `weights` [channel in use] times the intensity, each
/// [row][translation] of the same rotations.
std::vector<std::vector<float>> weighted_sinograms(const Scan& scan,
                                                   std::span<const std::size_t> rows,
                                                   std::span<const std::vector<double>> weights);

} // namespace xrdct::pipeline
