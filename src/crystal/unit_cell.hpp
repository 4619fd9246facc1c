// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <array>
#include <span>
#include <string_view>
#include <vector>

namespace xrdct::crystal {

using Miller = std::array<int, 3>;

/// Unit cell; lengths in Å, angles in degrees.
struct UnitCell {
    double a = 1, b = 1, c = 1;
    double alpha = 90, beta = 90, gamma = 90;

    double volume() const; ///< Å³
    /// 1/d² [Å⁻²] of a reflection.
    double inverse_d_squared(const Miller& hkl) const;
};

/// Lattice symmetry as far as it constrains the cell. `trigonal_rhombohedral` is the rhombohedral
/// setting (a = b = c, alpha = beta = gamma); trigonal groups on hexagonal axes count as
/// `hexagonal`.
enum class CrystalSystem {
    triclinic,
    monoclinic, ///< unique axis from the cell: the angle that is not fixed at 90° by symmetry
    orthorhombic,
    tetragonal,
    trigonal_rhombohedral,
    hexagonal,
    cubic
};

std::string_view to_string(CrystalSystem system);

/// One of the six cell parameters.
enum class CellParameter { a, b, c, alpha, beta, gamma };

std::string_view to_string(CellParameter parameter); ///< "a", …, "gamma"

/// The independent cell parameters of a system, such as {a, c} for hexagonal.
/// `unique_axis` ('a', 'b' or 'c') matters for monoclinic only.
std::vector<CellParameter> independent_parameters(CrystalSystem system, char unique_axis = 'b');

/// Cell in which the dependent parameters of the system are set from the independent ones, given in
/// the order of independent_parameters().
UnitCell cell_from_independent(CrystalSystem system, std::span<const double> values,
                               char unique_axis = 'b');

} // namespace xrdct::crystal
