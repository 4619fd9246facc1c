// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/manual/description.hpp"
#include "jobs/settings/settings.hpp"

#include <string>
#include <vector>

namespace xrdct::manual {

/// `text` (UTF-8) as roff shows it literally: backslashes, hyphens and what is not ASCII are
/// escaped, and no line is taken for a request. Throws std::invalid_argument for broken UTF-8.
std::string roff(const std::string& text);

/// xrdct(1): what the program is and its commands.
std::string program_page(const ProgramDescription& program);

/// xrdct-COMMAND(1): synopsis, options and example of `command`, one of the program's.
std::string command_page(const ProgramDescription& program, const CommandDescription& command);

/// A page of section 5 about the keys of a file.
struct KeysPage {
    std::string name;     ///< of the page, such as "xrdct-job"
    std::string summary;  ///< one line
    std::string text;     ///< a paragraph before the keys
    std::string see_also; ///< page of the command that reads it, such as "xrdct-run"
    std::vector<settings::SettingDescription> keys;
};
std::string keys_page(const ProgramDescription& program, const KeysPage& page);

} // namespace xrdct::manual
