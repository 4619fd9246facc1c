// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/program/command_line.hpp"

#include "base/error.hpp"
#include "jobs/settings/settings.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <sstream>
#include <type_traits>

#include <boost/program_options.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

namespace xrdct::program {

namespace po = boost::program_options;

struct CommandLine::Table {
    po::options_description named{"options", 100, 50};
    po::options_description hidden;
    po::positional_options_description positional;
    po::variables_map values;
};

CommandLine::CommandLine(std::string name, std::string summary, std::string usage,
                         std::string example)
    : name_(std::move(name)), summary_(std::move(summary)), usage_(std::move(usage)),
      example_(std::move(example)), table_(std::make_unique<Table>()) {
    table_->named.add_options()("help,h", "print this help");
}

CommandLine::~CommandLine() = default;

void CommandLine::flag(const std::string& name, const std::string& help) {
    table_->named.add_options()(name.c_str(), help.c_str());
}

namespace {

std::string default_text(double value) {
    return fmt::format("{:g}", value);
}
template <typename T>
std::string default_text(const T& value) {
    return fmt::format("{}", value);
}

/// How boost reads a T: counts as signed numbers, because its reader of unsigned ones takes "-3"
/// for a huge count.
template <typename T>
using Read = std::conditional_t<std::is_same_v<T, std::size_t>, long, T>;

template <typename T>
po::typed_value<Read<T>>* value_into(T& target, const std::string& command) {
    if constexpr (std::is_same_v<T, std::size_t>)
        return po::value<long>()->notifier([&target, command](long value) {
            if (value < 0)
                throw Error(fmt::format("xrdct {}: {} is negative where a count is expected",
                                        command, value));
            target = static_cast<std::size_t>(value);
        });
    else
        return po::value<T>(&target);
}

} // namespace

template <typename T>
void CommandLine::option(const std::string& name, T& target, const std::string& value_name,
                         const std::string& help) {
    auto* value = value_into(target, name_);
    value->default_value(static_cast<Read<T>>(target), default_text(target));
    value->value_name(value_name);
    table_->named.add_options()(name.c_str(), value, help.c_str());
}

template <typename T>
void CommandLine::optional(const std::string& name, T& target, const std::string& value_name,
                           const std::string& help) {
    auto* value = value_into(target, name_);
    value->value_name(value_name);
    table_->named.add_options()(name.c_str(), value, help.c_str());
}

template <typename T>
void CommandLine::optional(const std::string& name, const std::string& value_name,
                           const std::string& help) {
    table_->named.add_options()(name.c_str(), po::value<T>()->value_name(value_name), help.c_str());
}

void CommandLine::list(const std::string& name, std::vector<std::string>& target,
                       const std::string& value_name, const std::string& help) {
    table_->named.add_options()(
        name.c_str(), po::value(&target)->composing()->value_name(value_name), help.c_str());
}

void CommandLine::list(const std::string& name, const std::string& value_name,
                       const std::string& help) {
    table_->named.add_options()(
        name.c_str(), po::value<std::vector<std::string>>()->composing()->value_name(value_name),
        help.c_str());
}

void CommandLine::required(const std::string& name, std::string& target,
                           const std::string& value_name, const std::string& help) {
    table_->named.add_options()(
        name.c_str(), po::value(&target)->required()->value_name(value_name), help.c_str());
}

void CommandLine::positional(const std::string& name, Need need) {
    auto* value = po::value<std::string>();
    if (need == Need::required)
        value->required();
    table_->hidden.add_options()(name.c_str(), value);
    table_->positional.add(name.c_str(), 1);
}

void CommandLine::positionals(const std::string& name, std::vector<std::string>& target) {
    table_->hidden.add_options()(name.c_str(), po::value(&target)->composing());
    table_->positional.add(name.c_str(), -1);
}

std::string CommandLine::help() const {
    std::ostringstream options;
    options << table_->named;
    return fmt::format("xrdct {}: {}\n\nusage: xrdct {} {}\n\n{}\nexample:\n  {}\n", name_,
                       summary_, name_, usage_, options.str(), example_);
}

manual::CommandDescription CommandLine::description() const {
    manual::CommandDescription command{name_, summary_, usage_, example_, {}};
    for (const auto& option : table_->named.options()) {
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
    all.add(table_->named).add(table_->hidden);
    const std::string hint = fmt::format("; see xrdct {} --help", name_);
    try {
        po::store(po::command_line_parser(arguments)
                      .options(all)
                      .positional(table_->positional)
                      .style(po::command_line_style::default_style &
                             ~po::command_line_style::allow_guessing)
                      .run(),
                  table_->values);
        if (table_->values.count("help")) {
            fmt::print("{}", help());
            return false;
        }
        po::notify(table_->values);
    } catch (const po::unknown_option& error) {
        std::vector<std::string> names;
        for (const auto& option : table_->named.options())
            names.push_back("--" + option->long_name());
        throw Error(fmt::format("xrdct {}: there is no option '{}'{}{}", name_,
                                error.get_option_name(),
                                nearest_hint(error.get_option_name(), names), hint));
    } catch (const po::too_many_positional_options_error&) {
        throw Error(
            fmt::format("xrdct {}: too many arguments; usage: xrdct {} {}", name_, name_, usage_));
    } catch (const po::error& error) {
        throw Error(fmt::format("xrdct {}: {}{}", name_, error.what(), hint));
    }
    return true;
}

bool CommandLine::has(const std::string& option) const {
    return table_->values.count(option) > 0;
}

template <typename T>
const T& CommandLine::get(const std::string& option) const {
    return table_->values[option].as<T>();
}

std::vector<std::string> CommandLine::texts(const std::string& option) const {
    return has(option) ? get<std::vector<std::string>>(option) : std::vector<std::string>{};
}

#define XRDCT_TARGET_TYPE(T)                                                                       \
    template void CommandLine::option(const std::string&, T&, const std::string&,                  \
                                      const std::string&);                                         \
    template void CommandLine::optional(const std::string&, T&, const std::string&,                \
                                        const std::string&);
XRDCT_TARGET_TYPE(double)
XRDCT_TARGET_TYPE(int)
XRDCT_TARGET_TYPE(long)
XRDCT_TARGET_TYPE(std::size_t)
XRDCT_TARGET_TYPE(std::string)
#undef XRDCT_TARGET_TYPE
#define XRDCT_VALUE_TYPE(T)                                                                        \
    template void CommandLine::optional<T>(const std::string&, const std::string&,                 \
                                           const std::string&);                                    \
    template const T& CommandLine::get<T>(const std::string&) const;
XRDCT_VALUE_TYPE(double)
XRDCT_VALUE_TYPE(int)
XRDCT_VALUE_TYPE(long)
XRDCT_VALUE_TYPE(std::string)
#undef XRDCT_VALUE_TYPE
template const std::vector<std::string>& CommandLine::get(const std::string&) const;

std::string choice(const std::string& text, const std::string& option,
                   const std::vector<std::string>& known) {
    if (std::find(known.begin(), known.end(), text) != known.end())
        return text;
    throw Error(fmt::format("{}: '{}' is not one of {}{}", option, text, fmt::join(known, ", "),
                            nearest_hint(text, known)));
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
