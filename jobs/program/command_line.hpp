#pragma once

#include "jobs/manual/description.hpp"

#include <cstdint>
#include <string>
#include <vector>

#include <boost/program_options.hpp>

namespace xrdct::program {

/// One command's options, with help text and messages in the style all commands share.
class CommandLine {
  public:
    /// `summary` is one line; `usage` shows the arguments; `example` is a whole command.
    CommandLine(std::string name, std::string summary, std::string usage, std::string example);

    /// Add named options here.
    boost::program_options::options_description_easy_init add_options() {
        return named_.add_options();
    }
    /// Takes positional arguments into the option `name` (add it with hidden()); `count` −1: any
    /// number.
    boost::program_options::options_description_easy_init hidden() { return hidden_.add_options(); }
    void positional(const std::string& name, int count);

    /// Parses. Prints the help on stdout and returns false if --help is there. Throws Error for an
    /// unknown option (with the nearest known one), a missing value or a value that cannot be read.
    /// Throws description() if the only argument is manual::description_request.
    bool parse(const std::vector<std::string>& arguments);

    bool has(const std::string& option) const;
    template <typename T>
    const T& get(const std::string& option) const {
        return values_[option].as<T>();
    }

    std::string help() const;
    /// The same as data: for man pages and completion.
    manual::CommandDescription description() const;

  private:
    std::string name_, summary_, usage_, example_;
    boost::program_options::options_description named_, hidden_;
    boost::program_options::positional_options_description positional_;
    boost::program_options::variables_map values_;
};

/// `text` when it is one of `known`; throws Error naming `option` and the nearest known word
/// otherwise.
std::string choice(const std::string& text, const std::string& option,
                   const std::vector<std::string>& known);

/// "1.5GB", "800 MB", "2GiB", "1000000" as bytes. Throws Error naming `option` for anything else.
std::uint64_t parse_bytes(const std::string& text, const std::string& option);

} // namespace xrdct::program
