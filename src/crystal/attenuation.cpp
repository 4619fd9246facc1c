// SPDX-License-Identifier: BSD-3-Clause
#include "crystal/attenuation.hpp"

#include "base/error.hpp"
#include "crystal/formula.hpp"

#include <fmt/format.h>
#include <memory>
#include <xraylib.h>

namespace xrdct::crystal {

double mass_attenuation(const std::string& formula, double energy) {
    const auto parts = crystal::parse_formula(formula);
    if (!parts)
        throw Error(fmt::format("\"{}\" is not a chemical formula such as \"C3H4O3\"", formula));
    double sum = 0;
    for (const auto& part : *parts) {
        xrl_error* error = nullptr;
        const double value = CS_Total(part.atomic_number, energy, &error);
        if (error != nullptr) {
            const std::unique_ptr<xrl_error, decltype(&xrl_error_free)> owner(error,
                                                                              &xrl_error_free);
            throw Error(fmt::format("mass attenuation of \"{}\" at {} keV: {}", formula, energy,
                                    error->message));
        }
        sum += part.count * part.mass * value;
    }
    return sum / crystal::mass_of(*parts);
}

} // namespace xrdct::crystal
