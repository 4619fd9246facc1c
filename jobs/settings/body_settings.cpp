// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/settings/body_settings.hpp"

#include "crystal/fillings.hpp"
#include "jobs/settings/model_settings.hpp"

#include <cmath>

#include <fmt/format.h>

namespace xrdct::settings {

namespace {

void read_container(Settings& s, AbsorptionSettings& absorption) {
    absorption.container =
        s.text("absorption.container", "",
               "formula of the wall of a round tube that holds the sample and gives no lines, such "
               "as \"SiO2\", or its name: glass (borosilicate), quartz, Kapton, PEEK, PMMA, "
               "polyethylene, polypropylene; its place is found in the images");
    const auto* known = crystal::find_container_material(absorption.container);
    if (known != nullptr) {
        absorption.container = known->formula;
        absorption.container_density = known->density;
    }
    absorption.container_density =
        positive(s, "absorption.container_density", absorption.container_density, "g/cm^3",
                 "density of the container's wall; of one with a name: that of the material");
    absorption.container_outer_diameter =
        positive(s, "absorption.container_outer_diameter", absorption.container_outer_diameter,
                 "mm", "outer diameter of the container");
    absorption.container_inner_diameter =
        positive(s, "absorption.container_inner_diameter", absorption.container_inner_diameter,
                 "mm", "inner diameter of the container");
    const bool held = !absorption.container.empty();
    const auto together = [&](double value, const char* key) {
        require(held == !std::isnan(value), s, key, "and absorption.container belong together");
    };
    together(absorption.container_density, "absorption.container_density");
    together(absorption.container_outer_diameter, "absorption.container_outer_diameter");
    together(absorption.container_inner_diameter, "absorption.container_inner_diameter");
    require(!held || absorption.container_inner_diameter < absorption.container_outer_diameter, s,
            "absorption.container_inner_diameter", "must be less than the outer diameter");
}

} // namespace

AmountCalibration resolved_calibration(const AbsorptionSettings& absorption) {
    if (absorption.calibration != AmountCalibration::automatic)
        return absorption.calibration;
    if (absorption.method != AbsorptionMethod::phases)
        return AmountCalibration::transmission;
    if (!std::isnan(absorption.mass_per_length))
        return AmountCalibration::mass;
    if (!std::isnan(absorption.mean_density))
        return AmountCalibration::density;
    return absorption.reference_phase.empty() ? AmountCalibration::consistency
                                              : AmountCalibration::ring;
}

bool is_body_calibration(AmountCalibration calibration) {
    switch (calibration) {
    case AmountCalibration::plateau:
    case AmountCalibration::constant:
    case AmountCalibration::mass:
    case AmountCalibration::density:
    case AmountCalibration::consistency:
        return true;
    default:
        return false;
    }
}

void read_body(Settings& s, AbsorptionSettings& absorption) {
    absorption.mass_per_length =
        positive(s, "absorption.mass_per_length", absorption.mass_per_length, "mg/mm",
                 "mass of the sample per length along the rotation axis, without its container: "
                 "fixes the scale of the phases' amounts");
    absorption.mean_density =
        positive(s, "absorption.mean_density", absorption.mean_density, "g/cm^3",
                 "mean density of the sample inside its outline, or of what the container's bore "
                 "holds, closed pores and gaps included: fixes the scale of the phases' amounts");
    absorption.amorphous_rest =
        s.boolean("absorption.amorphous_rest", absorption.amorphous_rest,
                  "whether attenuation by amorphous matter, spread evenly inside the outline or "
                  "the bore, is found as well; with calibration = \"consistency\"");
    read_container(s, absorption);
}

void check_body(const Settings& s, const AbsorptionSettings& absorption) {
    const bool by_phases = absorption.method == AbsorptionMethod::phases;
    const auto calibration = resolved_calibration(absorption);
    const bool body = is_body_calibration(calibration);
    const bool mass = !std::isnan(absorption.mass_per_length),
               density = !std::isnan(absorption.mean_density);
    require(by_phases || (calibration != AmountCalibration::mass &&
                          calibration != AmountCalibration::density &&
                          calibration != AmountCalibration::consistency),
            s, "absorption.calibration",
            "\"mass\", \"density\" and \"consistency\" are for absorption.method = \"phases\"");
    require(!mass || !density, s, "absorption.mean_density",
            "and absorption.mass_per_length say the same: give one of them");
    require(!mass || !by_phases || calibration == AmountCalibration::mass, s,
            "absorption.mass_per_length",
            "contradicts absorption.calibration: give \"mass\" or \"auto\" there");
    require(!density || !by_phases || calibration == AmountCalibration::density, s,
            "absorption.mean_density",
            "contradicts absorption.calibration: give \"density\" or \"auto\" there");
    require(mass || calibration != AmountCalibration::mass, s, "absorption.mass_per_length",
            "is required by absorption.calibration = \"mass\"");
    require(density || calibration != AmountCalibration::density, s, "absorption.mean_density",
            "is required by absorption.calibration = \"density\"");
    require(!absorption.amorphous_rest ||
                (by_phases && calibration == AmountCalibration::consistency),
            s, "absorption.amorphous_rest", "needs absorption.calibration = \"consistency\"");
    require(absorption.container.empty() || !by_phases || body, s, "absorption.container",
            "is for samples without a can wall, but absorption.calibration is \"ring\"");
    require(!body || !by_phases || !absorption.hollow_diameter, s, "absorption.hollow_diameter",
            "needs a can wall (absorption.calibration = \"ring\")");
}

} // namespace xrdct::settings
