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

} // namespace xrdct::phantom
