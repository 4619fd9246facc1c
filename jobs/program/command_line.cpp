#include "jobs/program/command_line.hpp"

#include "base/error.hpp"
#include "jobs/settings/settings.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <sstream>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace xrdct::program {

namespace po = boost::program_options;

CommandLine::CommandLine(std::string name, std::string summary, std::string usage,
                         std::string example)
    : name_(std::move(name)), summary_(std::move(summary)), usage_(std::move(usage)),
      example_(std::move(example)), named_("options", 100, 50) {
    named_.add_options()("help,h", "print this help");
}

void CommandLine::positional(const std::string& name, int count) {
    positional_.add(name.c_str(), count);
}

std::string CommandLine::help() const {
    std::ostringstream options;
    options << named_;
    return fmt::format("xrdct {}: {}\n\nusage: xrdct {} {}\n\n{}\nexample:\n  {}\n", name_,
                       summary_, name_, usage_, options.str(), example_);
}

manual::CommandDescription CommandLine::description() const {
    manual::CommandDescription command{name_, summary_, usage_, example_, {}};
    for (const auto& option : named_.options()) {
        const auto value = option->semantic();
        manual::OptionDescription entry;
        entry.name = option->long_name();
        // "-h" where there is a short name, the long one without dashes where there is none.
        const auto shown =
            option->canonical_display_name(po::command_line_style::allow_dash_for_short);
        if (shown.size() == 2 && shown[0] == '-')
            entry.short_name = shown[1];
        entry.help = option->description();
        if (value->min_tokens() > 0) {
            // Boost appends the default to the name: "N (=10)".
            const std::string name = value->name();
            const auto at = name.find(" (=");
            entry.value = name.substr(0, at);
            if (at != std::string::npos)
                entry.default_value = name.substr(at + 3, name.size() - at - 4);
        }
        entry.repeated = value->is_composing();
        entry.required = value->is_required();
        command.options.push_back(entry);
    }
    return command;
}

bool CommandLine::parse(const std::vector<std::string>& arguments) {
    if (arguments.size() == 1 && arguments.front() == manual::description_request)
        throw description();
    po::options_description all;
    all.add(named_).add(hidden_);
    const std::string hint = fmt::format("; see xrdct {} --help", name_);
    try {
        po::store(po::command_line_parser(arguments)
                      .options(all)
                      .positional(positional_)
                      .style(po::command_line_style::default_style &
                             ~po::command_line_style::allow_guessing)
                      .run(),
                  values_);
        if (values_.count("help")) {
            fmt::print("{}", help());
            return false;
        }
        po::notify(values_);
    } catch (const po::unknown_option& error) {
        std::vector<std::string> names;
        for (const auto& option : named_.options())
            names.push_back("--" + option->long_name());
        const auto nearest = nearest_name(error.get_option_name(), names);
        throw Error(fmt::format("xrdct {}: there is no option '{}'{}{}", name_,
                                error.get_option_name(),
                                nearest ? "; nearest is '" + *nearest + "'" : "", hint));
    } catch (const po::too_many_positional_options_error&) {
        throw Error(
            fmt::format("xrdct {}: too many arguments; usage: xrdct {} {}", name_, name_, usage_));
    } catch (const po::error& error) {
        throw Error(fmt::format("xrdct {}: {}{}", name_, error.what(), hint));
    }
    return true;
}

bool CommandLine::has(const std::string& option) const {
    return values_.count(option) > 0;
}

std::string choice(const std::string& text, const std::string& option,
                   const std::vector<std::string>& known) {
    if (std::find(known.begin(), known.end(), text) != known.end())
        return text;
    const auto nearest = nearest_name(text, known);
    throw Error(fmt::format("{}: '{}' is not one of {}{}", option, text, fmt::join(known, ", "),
                            nearest ? "; nearest is '" + *nearest + "'" : ""));
}

std::uint64_t parse_bytes(const std::string& text, const std::string& option) {
    std::size_t used = 0;
    double value = 0;
    try {
        value = std::stod(text, &used);
    } catch (const std::exception&) {
        used = 0;
    }
    std::string unit = text.substr(used);
    while (!unit.empty() && unit.front() == ' ')
        unit.erase(0, 1);
    double factor = 0;
    const std::pair<const char*, double> units[] = {{"", 1},
                                                    {"B", 1},
                                                    {"kB", 1e3},
                                                    {"KB", 1e3},
                                                    {"MB", 1e6},
                                                    {"GB", 1e9},
                                                    {"TB", 1e12},
                                                    {"KiB", 1024.0},
                                                    {"MiB", 1048576.0},
                                                    {"GiB", 1073741824.0},
                                                    {"K", 1024.0},
                                                    {"M", 1048576.0},
                                                    {"G", 1073741824.0}};
    for (const auto& [name, bytes] : units)
        if (unit == name)
            factor = bytes;
    if (used == 0 || factor == 0 || !(value > 0) || !std::isfinite(value))
        throw Error(
            fmt::format("{}: '{}' is not a size; write it like 800MB or 2GB", option, text));
    return static_cast<std::uint64_t>(value * factor);
}

} // namespace xrdct::program
