// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "absorption/container.hpp"
#include "absorption/self_absorption.hpp"

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace xrdct::absorption {

/// Where the constant K that turns a body's amounts into volumes comes from, when there is no can.
enum class BodyScale {
    given,           ///< BodyAbsorptionOptions::constant
    plateau,         ///< the upper plateau of the reference phase's map
    mass_per_length, ///< of all that is inside, without the container
    mean_density,    ///< the same, over the area of the body or of the container's bore
    consistency      ///< the corrected scan must be that of something that only turns
};

struct BodyAbsorptionOptions {
    BodyScale scale = BodyScale::consistency;
    double constant = 0;
    std::size_t reference = 0; ///< phase whose plateau is known
    double reference_fraction = 1;
    double mass_per_length = 0; ///< mg/mm
    double mean_density = 0;    ///< g/cm³
    double filling = 0;         ///< μ [1/mm] of what fills the rest of the sample
    double filling_density = 0; ///< g/cm³
    /// With consistency: attenuation that amorphous matter spreads evenly inside the outline is
    /// found as well.
    bool rest = false;
    std::optional<Container> container; ///< μ and radii; its place is found
    double mask_threshold = 0.025;      ///< of the total image's 99th percentile: the outline
    tomography::FbpOptions fbp;
    double tolerance = 1e-3; ///< largest change of nearly any ray's transmission at the end
    int max_iterations = 30; ///< a third of the most steps of the last image
};

/// As SelfAbsorptionInput, but without a measured transmission, and with `density` of the solid
/// crystal per phase [g/cm³].
struct BodyAbsorptionInput {
    SelfAbsorptionInput seen;
    std::vector<double> density;
};

/// What was found about a body without a can.
struct BodyFindings {
    double constant_error = 0;  ///< relative, of K; 0: not from the scan
    double rest = 0;            ///< μ [1/mm] of the even rest
    double rest_error = 0;      ///< 1/mm
    double mass_per_length = 0; ///< mg/mm, without the container
    double misfit = 0;          ///< of the amounts to those of an image, relative
    /// Root mean square by which moments of order 0 to 2 miss the conditions of Helgason and
    /// Ludwig, relative to the total amount: as seen, and corrected.
    double inconsistency_seen = 0, inconsistency = 0;
    std::optional<ContainerPlace> container;
    std::vector<std::string> notes;
};

struct BodyAbsorptionResult {
    SelfAbsorptionResult correction; ///< `wall` and `hollow_diameter` stay empty
    BodyFindings body;
};

/// Self-absorption of a body without a can from the phases in it (theory in docs). The amounts give
/// one image of what attenuates (BodyImageSolver), up to the constant K that `scale` finds; the
/// image gives the transmission of every ray, whatever the noise of its own amounts.
///
/// `progress` is told the number of images so far; `false` from it stops. Throws Error for sizes
/// that do not match and options out of range; for a mass or plateau that the amounts cannot have;
/// when the scan does not tell K (consistency), with what it does tell; when the container is not
/// where it must be; when no image explains the amounts, or none is found in max_iterations. Not
/// collective.
BodyAbsorptionResult correct_body_absorption(const tomography::ScanGeometry& geometry,
                                             const tomography::ImageGrid& grid,
                                             const BodyAbsorptionInput& input,
                                             const BodyAbsorptionOptions& options,
                                             const std::function<bool(int)>& progress = {});

} // namespace xrdct::absorption
