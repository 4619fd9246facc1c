// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <string>
#include <vector>

namespace xrdct::manual {

/// One option of a command, as its help shows it.
struct OptionDescription {
    std::string name;          ///< without the dashes
    char short_name = 0;       ///< 0: none
    std::string value;         ///< name of its value, such as "FOLDER"; "" for a switch
    std::string default_value; ///< "" without one
    std::string help;
    bool repeated = false; ///< may be given more than once
    bool required = false;
};

/// What one command of the program takes.
struct CommandDescription {
    std::string name;
    std::string summary; ///< one line
    std::string usage;   ///< the arguments, such as "JOB.toml [options]"
    std::string example; ///< a whole command
    std::vector<OptionDescription> options;
};

/// As the only argument of a command it asks for the command's description in place of its work.
/// Nobody types it.
inline constexpr const char* description_request = "\001describe";

/// The description of a command of the program (`Command::function`), from the table it parses its
/// arguments with. Nothing else of the command is run.
CommandDescription describe(int (*command)(const std::vector<std::string>&));

/// What a file name is completed to where an option takes this value.
enum class ValueKind {
    other, ///< no file: a number, a name, ...
    file,
    folder
};
ValueKind value_kind(const OptionDescription& option);

/// The program `xrdct` as a whole, from all commands that its help lists.
struct ProgramDescription {
    std::string version;      ///< such as "0.2.0"
    std::string release_date; ///< ISO 8601; "" when it has not been released
    /// Lines of the program's own help, one per command.
    std::vector<std::string> summaries;
    std::vector<CommandDescription> commands; ///< in the order of `summaries`
};
ProgramDescription describe_program();

} // namespace xrdct::manual
