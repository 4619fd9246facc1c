// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/manual/description.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace xrdct::program {

/// The options of one command of `xrdct`, with help and messages in the style that all commands
/// share.
///
/// Options are declared one by one and then parse() is called once. A declaration either names a
/// variable, which parse() sets, or only the type of the value, which get() returns. Types are
/// double, int, long and std::string; a variable may be a std::size_t, too, for which negative
/// numbers are refused. A variable must live until parse() has returned.
class CommandLine {
  public:
    /// `summary` is one line; `usage` shows the arguments, such as "JOB.toml [options]"; `example`
    /// is a whole command.
    CommandLine(std::string name, std::string summary, std::string usage, std::string example);
    ~CommandLine();
    CommandLine(const CommandLine&) = delete;
    CommandLine& operator=(const CommandLine&) = delete;

    /// A switch: has() tells whether it was given.
    void flag(const std::string& name, const std::string& help);

    /// An option with a default, which is what `target` holds now; the help shows it unless it is
    /// an empty text. `value_name` stands for the value in the help: a unit or what it is.
    template <typename T>
    void option(const std::string& name, T& target, const std::string& value_name,
                const std::string& help);

    /// An option without a default: where it is not given `target` stays as it is.
    template <typename T>
    void optional(const std::string& name, T& target, const std::string& value_name,
                  const std::string& help);
    template <typename T>
    void optional(const std::string& name, const std::string& value_name, const std::string& help);

    /// An option that may be given several times.
    void list(const std::string& name, std::vector<std::string>& target,
              const std::string& value_name, const std::string& help);
    void list(const std::string& name, const std::string& value_name, const std::string& help);

    /// An option that must be given.
    void required(const std::string& name, std::string& target, const std::string& value_name,
                  const std::string& help);

    /// Whether a command can do without its positional argument.
    enum class Need { required, optional };
    /// The one positional argument, for get<std::string>(name).
    void positional(const std::string& name, Need need);
    /// All positional arguments.
    void positionals(const std::string& name, std::vector<std::string>& target);

    /// Parses. Prints the help on stdout and returns false if --help is there. Throws Error for an
    /// unknown option (with the nearest known one), a missing value or a value that cannot be read.
    /// Throws description() if the only argument is manual::description_request.
    bool parse(const std::vector<std::string>& arguments);

    /// Whether an option was given or has a default.
    bool has(const std::string& option) const;
    /// The value of an option or positional argument that has one; T as declared.
    template <typename T>
    const T& get(const std::string& option) const;
    /// Values of a list(); empty where none was given.
    std::vector<std::string> texts(const std::string& option) const;

    std::string help() const;
    /// The same as data: for man pages and completion.
    manual::CommandDescription description() const;

  private:
    struct Table;
    std::string name_, summary_, usage_, example_;
    std::unique_ptr<Table> table_;
};

/// `text` when it is one of `known`; throws Error naming `option` and the nearest known word
/// otherwise.
std::string choice(const std::string& text, const std::string& option,
                   const std::vector<std::string>& known);

/// The value of an enum that `text` names in `known`; throws Error as choice() does.
template <typename Enum>
Enum choice(const std::string& text, const std::string& option,
            const std::vector<std::pair<std::string, Enum>>& known) {
    std::vector<std::string> words;
    for (const auto& [word, value] : known) {
        if (word == text)
            return value;
        words.push_back(word);
    }
    choice(text, option, words);
    return known.front().second;
}

/// "1.5GB", "800 MB", "2GiB", "1000000" as bytes. Throws Error naming `option` for anything else.
std::uint64_t parse_bytes(const std::string& text, const std::string& option);

} // namespace xrdct::program
