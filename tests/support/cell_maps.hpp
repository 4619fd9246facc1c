// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

namespace xrdct::test {

/// All values of a dataset, in stored order.
std::vector<double> map_of(const std::filesystem::path& file, const std::string& path);

/// Runs `xrdct simulate --output cell` with more arguments on two ranks. Throws std::runtime_error
/// with its messages when it fails.
void simulate_cell(const std::filesystem::path& cell, const std::vector<std::string>& more);

/// An n × n map convolved with a Gaussian of standard deviation `sigma` pixels, not normalised;
/// nothing lies outside the map.
std::vector<double> smooth_map(const std::vector<double>& map, std::size_t n, double sigma);

/// Amounts of a product against the truth of a simulated cell.
struct AmountErrors {
    double mass = 0; ///< all crystalline mass found, over the true one
    struct Phase {
        std::string name;
        double whole = 0; ///< weight fraction in the whole cell, found − true
        /// Median |found − true| of the local weight fraction where the true one exceeds 0.1, both
        /// maps smoothed with σ = 0.15 mm; NaN with fewer than 20 such voxels.
        double local = std::numeric_limits<double>::quiet_NaN();
    };
    std::vector<Phase> phases;
};
AmountErrors compare_amounts(const std::filesystem::path& cell,
                             const std::filesystem::path& product, const std::string& stage);

/// A cell parameter of the primary cathode against the truth, where its true volume fraction
/// exceeds 0.31.
struct CellErrors {
    std::size_t voxels = 0;
    double coverage = 0; ///< share of the voxels that carry a value
    double bias = 0;     ///< Å, median of found − true
    double median = 0;   ///< Å, of |found − true|
    /// Half the distance of the 15.87 % and 84.13 % quantiles of error / e.s.d.; NaN without e.s.d.
    double spread = std::numeric_limits<double>::quiet_NaN();
};
CellErrors compare_cathode(const std::filesystem::path& cell, const std::filesystem::path& product,
                           const std::string& stage, const std::string& parameter);

/// Robust spread, as in CellErrors, of the difference of two DLSR of one cell with different noise,
/// over the e.s.d. of that difference: what the model's errors do to both is not in it.
double noise_spread(const std::filesystem::path& cell, const std::filesystem::path& one,
                    const std::filesystem::path& other, const std::string& parameter);

} // namespace xrdct::test
