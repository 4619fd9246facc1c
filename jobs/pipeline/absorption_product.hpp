// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/pipeline/stage.hpp"

#include <optional>
#include <vector>

namespace xrdct::pipeline {

/// What the absorption stage's product tells the later ones.
struct AbsorptionProduct {
    std::vector<float> transmission; ///< [rotation][translation]
    std::vector<float> mu;           ///< [y][x], 1/mm
    std::optional<double> constant;  ///< volume fraction over S V²
};

/// Reads it. Throws Error when it is missing or was made with other settings.
AbsorptionProduct read_absorption_product(const settings::Job& job);

/// The product as a need of a stage that divides rays by the transmission: where it was found from
/// the phases it is in the product only.
std::vector<NeededProduct> needed_absorption(const settings::Job& job);

/// AbsorptionProduct::constant where the job corrects for absorption and the product is there.
/// Throws Error when it was made with other settings. Collective.
std::optional<double> read_amount_constant(const settings::Job& job,
                                           const mpi::Communicator& communicator);

} // namespace xrdct::pipeline
