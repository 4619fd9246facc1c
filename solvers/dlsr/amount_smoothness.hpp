// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "solvers/dlsr/fit.hpp"

namespace xrdct::dlsr {

/// Chooses the smoothness of the amounts of every phase, peak and background term where the fit
/// stands, and takes two steps with it, up to three times; at the last, `steps` until they converge
/// (`convergence` as Fit::solve_and_replace has it). Goes on with a round that has begun.
///
/// * The weight is that of the prior of independent differences of neighbours under which the
///   amounts are as rough as they are, noise and what the fit has smoothed away allowed for: where
///   the evidence is largest (MacKay, Neural Computation 4, 415 (1992)), the Hessian's spectrum
///   standing for its eigenvalues. Noise is that of the misfit where the model leaves more than
///   counting explains. So a phase that varies little, or is hardly seen, is tied more.
/// * The roughness is that of the typical pair of neighbours, and differences beyond three of them
///   cost linearly: borders stay.
/// * What varies faster than half a cycle per voxel is not told by steps and beams as wide as a
///   voxel; there lie the aliases of borders that are sharper than the grid, whatever the noise.
///   The fineness takes them away, with a share of the information that the rays have.
///
/// Amounts of phases that started absent keep their ties. Collective.
void choose_amount_smoothness(Fit& fit, double convergence, int steps);

} // namespace xrdct::dlsr
