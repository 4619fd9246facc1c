#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace xrdct::report {

/// Weighted distribution of a map's values.
struct WeightedSummary {
    std::size_t count = 0;        ///< voxels with a value and a positive weight
    std::size_t present = 0;      ///< voxels with a positive weight, with or without a value
    double share_of_amount = 0.0; ///< weight of the former over that of the latter; NaN: no weight
    double mean = 0.0;            ///< Σ w v / Σ w; NaN when count is 0
    double spread = 0.0;          ///< √(Σ w (v − mean)² / Σ w)
    double median = 0.0;          ///< see weighted_median
    double median_error = 0.0;    ///< unweighted median of the errors counted; NaN: none
    bool uniform = false;         ///< all values equal but for rounding

    double share_of_voxels() const;
};

/// `weights` and `errors` as long as `values`, or empty: 1 each, none. Values that are not finite,
/// weights that are not finite and positive leave the voxel out. @throws Error for other lengths.
WeightedSummary summarise(std::span<const double> values, std::span<const double> weights = {},
                          std::span<const double> errors = {});

/// The value that halves the weight: the smallest one up to which more than half of it lies, the
/// mean of two where exactly half lies up to the first. NaN without a counted value. Voxels are
/// left out as by summarise.
double weighted_median(std::span<const double> values, std::span<const double> weights = {});

/// Azimuthal averages of a map.
struct RadialProfile {
    double width = 0.0;         ///< of the bins, units of the axes; bin i is [i, i + 1) · width
    std::vector<double> radius; ///< centres of the bins, ascending from width / 2
    std::vector<double> mean;   ///< weighted; NaN where a bin has fewer than `least` voxels
    std::vector<double> spread; ///< weighted standard deviation within the bin; NaN likewise
    std::vector<std::size_t> count; ///< voxels with a value and a positive weight

    std::size_t filled() const; ///< bins with a mean
};

/// `values` [y, x] with x fastest, `weights` likewise or empty: 1 each; axes in the same unit.
/// The bins reach as far as the farthest voxel that counts. @throws Error for lengths that do not
/// match, or a width that is not positive.
RadialProfile radial_profile(std::span<const double> values, std::span<const double> weights,
                             std::span<const double> x, std::span<const double> y, double centre_x,
                             double centre_y, double width, std::size_t least = 3);

/// Centre of mass (x, y) of a map; weights that are not finite and positive count as none. NaN, NaN
/// when nothing counts.
struct Centre {
    double x = 0.0, y = 0.0;
};
Centre centre_of_mass(std::span<const double> weights, std::span<const double> x,
                      std::span<const double> y);

/// A mask [row, column] with what its outline encloses: pixels that lie between others of the mask
/// in their row and in their column become 1. Gaps on one side of a sample (an empty core, a loose
/// winding) do not move the centre of what is returned.
std::vector<double> filled_outline(std::span<const double> mask, std::size_t columns);

/// Masses per voxel, up to one common factor, of phases whose scale factors S and weight fractions
/// W are known: by W_p = S_p m_p / Σ S_q m_q (Hill & Howard, J. Appl. Cryst. 20 (1987) 467; m =
/// ZMV) two phases in the same voxel give the ratio of their m, of which the median over the voxels
/// is taken; mass_p = W_p Σ S_q m_q. Maps [phase][voxel]; NaN where a fraction is. Empty when
/// phases never occur run_and_sync, so that their ratio is unknown.
std::vector<std::vector<double>>
relative_masses(const std::vector<std::vector<double>>& scales,
                const std::vector<std::vector<double>>& weight_fractions);

} // namespace xrdct::report
