// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "phantom/cell_model.hpp"

#include <cstddef>
#include <span>
#include <vector>

namespace xrdct::phantom {

/// What the deviation of diffracted rays makes of their absorption in the slice: for light from
/// (s, z), s across the beam and z along it (the detector at large z), relative to the rest of the
/// straight ray,
///
///     A(s, z; τ) = 1/2π ∫ dχ exp(−√(1 + τ²) ∫_z μ(s + (z' − z) τ cos χ, z') dz')
///                  / exp(−∫_z μ(s, z') dz')                                      τ = tan 2θ
///
/// What leaves the slice meets the same sample above and below.
///
/// The cell is averaged over square pixels as wide as its thinnest layer (at least 1/1200, at most
/// 1/300 of its diameter), turned to the rotation and integrated along sheared columns, one set for
/// every slope τ cos χ; χ has twelve mid-points on half the ring. A is found at seven τ, evenly
/// spaced over the range asked for, and interpolated linearly in τ² between them, since A − 1
/// starts with τ².
///
/// Immutable after construction.
class ExitAbsorption {
  public:
    static constexpr std::size_t nodes = 7;
    static constexpr std::size_t azimuths = 12;

    /// For lines with `lowest` ≤ τ ≤ `highest`.
    ExitAbsorption(const CellModel& cell, double lowest, double highest);

    /// A line lies `part` of the way from node `node` to the next.
    struct Place {
        std::size_t node;
        float part;
    };
    Place place(double tangent) const;

    /// Factors of one rotation.
    struct Table {
        std::vector<float> factor; ///< [node][depth][s]
        std::size_t depths = 0;

        // working space of fill()
        std::vector<float> section, sums, straight, exponent;
        std::vector<double> total;
    };
    /// `omega` [rad]: the point (s, z) is (s cos ω − z sin ω, s sin ω + z cos ω) of the cell.
    /// Depths rise; beyond the cell any will do.
    void fill(double omega, std::span<const double> depths, Table& table) const;
    /// out[node][depth] for the ray at s, linear between columns; 1 beyond the cell.
    void along(const Table& table, double s, std::span<float> out) const;

  private:
    double depth_of(std::size_t row) const;
    void turn_section(double omega, Table& table) const;
    template <typename Each>
    void integrate(double slope, std::span<const double> depths, Table& table,
                   const Each& each) const;

    double pixel_ = 1, radius_ = 0;
    std::size_t n_ = 0;                  ///< pixels per side of the cell's map
    double first_ = 0;                   ///< mm, centre of its first pixel
    std::vector<float> mu_;              ///< [y][x]
    std::vector<double> tangents_;       ///< [node]
    std::size_t columns_ = 0, room_ = 0; ///< columns for s, and beside them for sheared ones
};

} // namespace xrdct::phantom
