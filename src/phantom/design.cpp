// SPDX-License-Identifier: BSD-3-Clause
#include "phantom/design.hpp"

#include "base/error.hpp"

#include <fmt/format.h>

namespace xrdct::phantom {

Preset preset_from_string(std::string_view name) {
    for (const Preset preset : {Preset::charged, Preset::discharged, Preset::mixed})
        if (to_string(preset) == name)
            return preset;
    throw Error(fmt::format("preset \"{}\" is not known: charged, discharged or mixed", name));
}

std::string_view to_string(Preset preset) {
    switch (preset) {
    case Preset::charged:
        return "charged";
    case Preset::discharged:
        return "discharged";
    case Preset::mixed:
        return "mixed";
    }
    throw Error("unknown preset");
}

ExitRays exit_rays_from_string(std::string_view name) {
    for (const ExitRays rays : {ExitRays::straight, ExitRays::deviated})
        if (to_string(rays) == name)
            return rays;
    throw Error(fmt::format("exit rays \"{}\" are not known: straight or deviated", name));
}

std::string_view to_string(ExitRays rays) {
    return rays == ExitRays::straight ? "straight" : "deviated";
}

} // namespace xrdct::phantom
