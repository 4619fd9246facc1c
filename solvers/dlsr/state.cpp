// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/dlsr/state.hpp"

#include <array>
#include <utility>

namespace xrdct::dlsr {

namespace {

constexpr std::array<std::pair<Phase, std::string_view>, 7> names{{{Phase::rough_steps, "rough"},
                                                                   {Phase::first_steps, "fit"},
                                                                   {Phase::amounts, "amounts"},
                                                                   {Phase::geometry, "geometry"},
                                                                   {Phase::validation, "held-out"},
                                                                   {Phase::last_steps, "final"},
                                                                   {Phase::esd, "errors"}}};

} // namespace

std::string_view to_string(Phase phase) {
    for (const auto& [value, name] : names)
        if (value == phase)
            return name;
    return {};
}

std::optional<Phase> parse_phase(std::string_view text) {
    for (const auto& [value, name] : names)
        if (name == text)
            return value;
    return {};
}

} // namespace xrdct::dlsr
