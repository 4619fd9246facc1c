// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/manual/description.hpp"

#include "jobs/program/program.hpp"
#include "jobs/program/version.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string_view>

namespace xrdct::manual {

CommandDescription describe(int (*command)(const std::vector<std::string>&)) {
    try {
        command({description_request});
    } catch (const CommandDescription& description) {
        return description;
    }
    throw std::logic_error("a command does not begin with parsing its arguments");
}

ValueKind value_kind(const OptionDescription& option) {
    const auto any_of = [&](const auto& names) {
        return std::any_of(names.begin(), names.end(), [&](std::string_view name) {
            return option.value.find(name) != std::string::npos;
        });
    };
    if (any_of(std::array{"FOLDER", "DIR"}))
        return ValueKind::folder;
    // PATH is a place in an HDF5 file.
    return any_of(std::array{"FILE", "CIF"}) ? ValueKind::file : ValueKind::other;
}

ProgramDescription describe_program() {
    ProgramDescription program;
    program.version = program_version;
    program.release_date = xrdct::release_date();
    for (const program::Command& command : program::program_commands()) {
        program.summaries.emplace_back(command.summary);
        program.commands.push_back(describe(command.function));
    }
    return program;
}

} // namespace xrdct::manual
