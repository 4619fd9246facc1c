// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "tomography/scan_geometry.hpp"

#include <cstddef>
#include <span>
#include <vector>

namespace xrdct::absorption {

/// Conditions of Helgason and Ludwig: the moment of order n of a projection p(ω, s) of anything
/// that does not change while it turns,
///
///     M_n(ω) = ∫ T_n(s / R) p(ω, s) ds = Σ_k≤n, n−k even (a_nk cos kω + b_nk sin kω),
///
/// is a trigonometric polynomial of degree n that has the harmonics of its parity only: the total
/// amount (n = 0) is the same in all rotations, the first moment follows a sinusoid. T_n is the
/// Chebyshev polynomial and R the reach of the translations about the axis. Amounts that are
/// corrected by a wrong transmission do not obey them.
class ConsistencyConditions {
  public:
    /// Conditions of orders 0 to `highest`. Throws Error for a bad geometry and for fewer than
    /// highest + 3 rotations.
    ConsistencyConditions(const tomography::ScanGeometry& geometry, int highest = 2);

    int orders() const { return static_cast<int>(polynomials_.size()); }

    /// What is left of the moments after the best trigonometric polynomial, over the moments'
    /// standard deviations: [order][rotation]. `amounts` [rotation][translation], corrected, NaN:
    /// interpolated between its neighbours in the projection; `variance` of theirs, up to a factor,
    /// positive. A projection without any amount has residuals 0. Throws Error for sizes that do
    /// not match.
    std::vector<double> residuals(std::span<const double> amounts,
                                  std::span<const double> variance) const;

  private:
    std::vector<double> omega_;                    // rad
    std::vector<std::vector<double>> polynomials_; // [order][translation], times the step
};

/// A parameter that residuals r(θ) determine, with the standard deviation that they tell: the
/// scatter of the residuals, correlated over neighbouring rotations, is taken as it is seen (Newey
/// and West, Econometrica 55 (1987) 703), as what a model leaves is seldom white.
struct SandwichErrors {
    std::vector<double> error; ///< standard deviation per parameter; infinite where undetermined
};

/// `residuals` [series][rotation] at the minimum; `derivatives` [parameter] like them; `lag`:
/// rotations over which they may be correlated.
SandwichErrors sandwich_errors(std::span<const double> residuals,
                               const std::vector<std::vector<double>>& derivatives,
                               std::size_t rotations, std::size_t lag);

} // namespace xrdct::absorption
