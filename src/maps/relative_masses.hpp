// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <vector>

namespace xrdct::maps {

/// Masses per voxel, up to one common factor, of phases whose scale factors S and weight fractions
/// W are known: by W_p = S_p m_p / Σ S_q m_q (Hill & Howard, J. Appl. Cryst. 20 (1987) 467; m =
/// ZMV) two phases in the same voxel give the ratio of their m, of which the median over the voxels
/// is taken; mass_p = W_p Σ S_q m_q. Maps [phase][voxel]; NaN where a fraction is. Empty when
/// phases never occur together, so that their ratio is unknown.
std::vector<std::vector<double>>
relative_masses(const std::vector<std::vector<double>>& scales,
                const std::vector<std::vector<double>>& weight_fractions);

} // namespace xrdct::maps
