// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/settings/settings.hpp"

#include "base/error.hpp"
#include "base/names.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <set>
#include <sstream>

#define TOML_EXCEPTIONS 1
#include <toml++/toml.h>

#include <fmt/format.h>

namespace xrdct::settings {

namespace {

/// A step of a path: a key, or a key with an index into an array of tables.
struct Step {
    std::string key;
    std::optional<std::size_t> index;
    std::string element_name; ///< index by the element's "name" instead
};

std::vector<Step> split_path(const std::string& path) {
    std::vector<Step> steps;
    std::size_t begin = 0;
    while (begin <= path.size()) {
        std::size_t end = path.find('.', begin);
        if (end == std::string::npos)
            end = path.size();
        std::string part = path.substr(begin, end - begin);
        Step step;
        const std::size_t bracket = part.find('[');
        if (bracket != std::string::npos && part.back() == ']') {
            const std::string inside = part.substr(bracket + 1, part.size() - bracket - 2);
            std::size_t index = 0;
            const auto [end_of_number, error] =
                std::from_chars(inside.data(), inside.data() + inside.size(), index);
            if (error == std::errc{} && end_of_number == inside.data() + inside.size())
                step.index = index;
            else
                step.element_name = inside;
            part = part.substr(0, bracket);
        }
        step.key = part;
        steps.push_back(std::move(step));
        begin = end + 1;
    }
    return steps;
}

std::string toml_string(const std::string& value) {
    std::ostringstream out;
    out << toml::value<std::string>(value);
    return out.str();
}

std::string toml_number(double value) {
    if (std::isnan(value))
        return "nan";
    if (std::isinf(value))
        return value > 0 ? "inf" : "-inf";
    std::string text = fmt::format("{}", value);
    if (text.find_first_of(".en") == std::string::npos)
        text += ".0";
    return text;
}

template <typename T, typename F>
std::string toml_list(const std::vector<T>& values, F&& one) {
    std::string text = "[";
    for (std::size_t i = 0; i < values.size(); ++i)
        text += (i ? ", " : "") + one(values[i]);
    return text + "]";
}

std::string toml_pair(const std::pair<double, double>& pair) {
    return fmt::format("[{}, {}]", toml_number(pair.first), toml_number(pair.second));
}

/// The pairs of a node, nothing when it is not a list of pairs of numbers.
std::optional<std::vector<std::pair<double, double>>> pairs_of(const toml::node& node) {
    const auto* array = node.as_array();
    if (!array)
        return std::nullopt;
    std::vector<std::pair<double, double>> values;
    for (const auto& element : *array) {
        const auto* pair = element.as_array();
        if (!pair || pair->size() != 2 || !(*pair)[0].is_number() || !(*pair)[1].is_number())
            return std::nullopt;
        values.emplace_back(*(*pair)[0].value<double>(), *(*pair)[1].value<double>());
    }
    return values;
}

std::string without_indices(const std::string& path) {
    std::string text;
    bool inside = false;
    for (const char c : path) {
        if (c == '[') {
            inside = true;
            text += "[]";
        } else if (c == ']') {
            inside = false;
        } else if (!inside) {
            text += c;
        }
    }
    return text;
}

} // namespace

struct Settings::Impl {
    std::string source;
    toml::table root;

    struct Known {
        SettingDescription description;
        std::string value; ///< TOML of the value in force
    };
    std::vector<std::pair<std::string, Known>> known; ///< in order of reading, full paths
    std::set<std::string> known_paths;

    toml::node* find(const std::string& path) {
        toml::node* node = &root;
        for (const auto& step : split_path(path)) {
            auto* table = node->as_table();
            if (!table)
                return nullptr;
            node = table->get(step.key);
            if (!node)
                return nullptr;
            if (step.index) {
                auto* array = node->as_array();
                if (!array || *step.index >= array->size())
                    return nullptr;
                node = array->get(*step.index);
            }
        }
        return node;
    }

    std::string where(const std::string& path) const {
        // "phase[0].cif" is reported with the phase's name, which is what the user wrote.
        std::string shown = path;
        const auto steps = split_path(path);
        if (steps.size() > 1 && steps[0].index) {
            const auto* array = root.get_as<toml::array>(steps[0].key);
            const auto* table = array ? array->get_as<toml::table>(*steps[0].index) : nullptr;
            if (const auto name = table ? (*table)["name"].value<std::string>() : std::nullopt)
                shown = fmt::format("{}['{}']{}", steps[0].key, *name, path.substr(path.find('.')));
        }
        return fmt::format("{}: key '{}'", source, shown);
    }

    void remember(const std::string& path, std::string type, std::string unit, std::string fallback,
                  std::string description, std::string value) {
        if (!known_paths.insert(path).second)
            return;
        known.push_back({path,
                         {{without_indices(path), std::move(type), std::move(unit),
                           std::move(fallback), std::move(description)},
                          std::move(value)}});
    }

    [[noreturn]] void wrong_type(const std::string& path, const std::string& expected) {
        throw Error(fmt::format("{}: expected {}", where(path), expected));
    }

    void override_value(const std::string& assignment) {
        const std::size_t equals = assignment.find('=');
        if (equals == std::string::npos || equals == 0)
            throw Error(fmt::format("--set '{}': expected key=value", assignment));
        std::string path = assignment.substr(0, equals);
        while (!path.empty() && path.back() == ' ')
            path.pop_back();
        const std::string value_text = assignment.substr(equals + 1);
        toml::table parsed;
        try {
            parsed = toml::parse("value = " + value_text);
        } catch (const toml::parse_error&) {
            parsed.insert_or_assign("value", value_text);
        }
        auto steps = split_path(path);
        if (steps.size() >= 2 && (steps[0].key == "phase" || steps[0].key == "peak") &&
            !steps[0].index && steps[0].element_name.empty()) {
            steps[0].element_name = steps[1].key;
            steps.erase(steps.begin() + 1);
            if (steps.size() < 2)
                throw Error(fmt::format("--set '{}': expected {}.NAME.key=value", assignment,
                                        steps[0].key));
        }
        toml::table* table = &root;
        for (std::size_t i = 0; i + 1 < steps.size(); ++i) {
            auto& step = steps[i];
            if (!step.index && step.element_name.empty()) {
                if (!table->contains(step.key))
                    table->insert(step.key, toml::table{});
                table = table->get_as<toml::table>(step.key);
                if (!table)
                    throw Error(
                        fmt::format("--set '{}': '{}' is not a table", assignment, step.key));
                continue;
            }
            auto* array = table->get_as<toml::array>(step.key);
            toml::table* element = nullptr;
            std::vector<std::string> names;
            for (std::size_t k = 0; array && k < array->size(); ++k) {
                auto* candidate = array->get_as<toml::table>(k);
                if (!candidate)
                    continue;
                const auto name = (*candidate)["name"].value_or(std::string{});
                names.push_back(name);
                if ((step.index && *step.index == k) ||
                    (!step.element_name.empty() && name == step.element_name))
                    element = candidate;
            }
            if (!element) {
                throw Error(
                    fmt::format("--set '{}': there is no {} '{}'{}", assignment, step.key,
                                step.index ? std::to_string(*step.index) : step.element_name,
                                nearest_hint(step.element_name, names)));
            }
            table = element;
        }
        table->insert_or_assign(steps.back().key, *parsed.get("value"));
    }

    void collect_leaves(const toml::node& node, const std::string& path,
                        std::vector<std::string>& leaves) const {
        if (known_paths.contains(path)) {
            leaves.push_back(path);
            return;
        }
        if (const auto* table = node.as_table()) {
            if (table->empty() && !path.empty())
                leaves.push_back(path);
            for (const auto& [key, child] : *table)
                collect_leaves(child,
                               path.empty() ? std::string(key.str())
                                            : path + "." + std::string(key.str()),
                               leaves);
            return;
        }
        if (const auto* array = node.as_array();
            array && !array->empty() && array->is_array_of_tables()) {
            for (std::size_t i = 0; i < array->size(); ++i)
                collect_leaves(*array->get(i), fmt::format("{}[{}]", path, i), leaves);
            return;
        }
        leaves.push_back(path);
    }
};

Settings::Settings(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Settings::~Settings() = default;
Settings::Settings(Settings&&) noexcept = default;
Settings& Settings::operator=(Settings&&) noexcept = default;

Settings Settings::parse(const std::string& text, const std::string& source,
                         const std::vector<std::string>& overrides) {
    auto impl = std::make_unique<Impl>();
    impl->source = source;
    try {
        impl->root = toml::parse(text, source);
    } catch (const toml::parse_error& error) {
        throw Error(fmt::format("{}: line {}, column {}: {}", source, error.source().begin.line,
                                error.source().begin.column, error.description()));
    }
    for (const auto& assignment : overrides)
        impl->override_value(assignment);
    return Settings(std::move(impl));
}

bool Settings::has(const std::string& path) const {
    return impl_->find(path) != nullptr;
}

double Settings::number(const std::string& path, double fallback, const std::string& unit,
                        const std::string& description) {
    double value = fallback;
    if (const auto* node = impl_->find(path)) {
        if (!node->is_number())
            impl_->wrong_type(path, unit.empty() ? "a number" : "a number in " + unit);
        value = *node->value<double>();
    }
    impl_->remember(path, "number", unit, toml_number(fallback), description, toml_number(value));
    return value;
}

long Settings::integer(const std::string& path, long fallback, const std::string& description) {
    long value = fallback;
    if (const auto* node = impl_->find(path)) {
        if (!node->is_integer())
            impl_->wrong_type(path, "an integer");
        value = static_cast<long>(*node->value<std::int64_t>());
    }
    impl_->remember(path, "integer", "", std::to_string(fallback), description,
                    std::to_string(value));
    return value;
}

bool Settings::boolean(const std::string& path, bool fallback, const std::string& description) {
    bool value = fallback;
    if (const auto* node = impl_->find(path)) {
        if (!node->is_boolean())
            impl_->wrong_type(path, "true or false");
        value = *node->value<bool>();
    }
    impl_->remember(path, "boolean", "", fallback ? "true" : "false", description,
                    value ? "true" : "false");
    return value;
}

std::string Settings::text(const std::string& path, const std::string& fallback,
                           const std::string& description) {
    std::string value = fallback;
    if (const auto* node = impl_->find(path)) {
        if (!node->is_string())
            impl_->wrong_type(path, "a string");
        value = *node->value<std::string>();
    }
    impl_->remember(path, "string", "", toml_string(fallback), description, toml_string(value));
    return value;
}

std::string Settings::choice(const std::string& path, const std::string& fallback,
                             const std::vector<std::string>& choices,
                             const std::string& description) {
    const std::string list = fmt::format("one of {}", fmt::join(choices, ", "));
    std::string value = fallback;
    if (const auto* node = impl_->find(path)) {
        if (!node->is_string())
            impl_->wrong_type(path, list);
        value = *node->value<std::string>();
        if (std::find(choices.begin(), choices.end(), value) == choices.end()) {
            throw Error(fmt::format("{}: '{}' is not {}{}", impl_->where(path), value, list,
                                    did_you_mean(value, choices)));
        }
    }
    impl_->remember(path, list, "", toml_string(fallback), description, toml_string(value));
    return value;
}

std::vector<double> Settings::numbers(const std::string& path, const std::vector<double>& fallback,
                                      const std::string& unit, const std::string& description) {
    std::vector<double> values = fallback;
    if (auto* node = impl_->find(path)) {
        const auto* array = node->as_array();
        if (!array)
            impl_->wrong_type(path, "a list of numbers");
        values.clear();
        for (const auto& element : *array) {
            if (!element.is_number())
                impl_->wrong_type(path, "a list of numbers");
            values.push_back(*element.value<double>());
        }
    }
    impl_->remember(path, "list of numbers", unit, toml_list(fallback, toml_number), description,
                    toml_list(values, toml_number));
    return values;
}

std::vector<std::pair<double, double>> Settings::intervals(const std::string& path,
                                                           const std::string& unit,
                                                           const std::string& description) {
    const std::string expected = "a list of pairs [from, to] with from < to";
    std::vector<std::pair<double, double>> values;
    if (auto* node = impl_->find(path)) {
        const auto found = pairs_of(*node);
        if (!found)
            impl_->wrong_type(path, expected);
        values = *found;
        for (const auto& [from, to] : values)
            if (!(from < to))
                impl_->wrong_type(path, expected);
    }
    impl_->remember(path, "list of pairs", unit, "[]", description, toml_list(values, toml_pair));
    return values;
}

std::vector<std::pair<double, double>>
Settings::pairs(const std::string& path, const std::string& unit, const std::string& description) {
    std::vector<std::pair<double, double>> values;
    if (auto* node = impl_->find(path)) {
        const auto found = pairs_of(*node);
        if (!found)
            impl_->wrong_type(path, "a list of pairs of numbers [[x, y], …]");
        values = *found;
    }
    impl_->remember(path, "list of pairs", unit, "[]", description, toml_list(values, toml_pair));
    return values;
}

std::vector<std::string> Settings::texts(const std::string& path,
                                         const std::vector<std::string>& fallback,
                                         const std::string& description) {
    std::vector<std::string> values = fallback;
    if (auto* node = impl_->find(path)) {
        const auto* array = node->as_array();
        if (!array)
            impl_->wrong_type(path, "a list of strings");
        values.clear();
        for (const auto& element : *array) {
            if (!element.is_string())
                impl_->wrong_type(path, "a list of strings");
            values.push_back(*element.value<std::string>());
        }
    }
    impl_->remember(path, "list of strings", "", toml_list(fallback, toml_string), description,
                    toml_list(values, toml_string));
    return values;
}

std::optional<double> Settings::number_or_word(const std::string& path,
                                               std::optional<double> fallback,
                                               const std::string& word, const std::string& unit,
                                               const std::string& description) {
    std::optional<double> value = fallback;
    if (const auto* node = impl_->find(path)) {
        if (node->is_number())
            value = *node->value<double>();
        else if (node->is_string() && *node->value<std::string>() == word)
            value.reset();
        else
            impl_->wrong_type(
                path, fmt::format("a number{} or \"{}\"", unit.empty() ? "" : " in " + unit, word));
    }
    const auto show = [&](const std::optional<double>& v) {
        return v ? toml_number(*v) : toml_string(word);
    };
    impl_->remember(path, fmt::format("number or \"{}\"", word), unit, show(fallback), description,
                    show(value));
    return value;
}

std::size_t Settings::table_count(const std::string& path) const {
    auto* node = impl_->find(path);
    if (!node)
        return 0;
    const auto* array = node->as_array();
    if (!array || (!array->empty() && !array->is_array_of_tables()))
        throw Error(fmt::format("{}: expected [[{}]] tables", impl_->where(path), path));
    return array->size();
}

bool Settings::is_table(const std::string& path) const {
    const auto* node = impl_->find(path);
    return node && node->is_table();
}

bool Settings::is_string(const std::string& path) const {
    const auto* node = impl_->find(path);
    return node && node->is_string();
}

void Settings::refuse_unknown(const std::vector<std::string>& also_known) const {
    std::set<std::string> names(also_known.begin(), also_known.end());
    for (const auto& [path, known] : impl_->known)
        names.insert(known.description.path);
    std::vector<std::string> leaves;
    impl_->collect_leaves(impl_->root, "", leaves);
    for (const auto& leaf : leaves) {
        if (impl_->known_paths.contains(leaf) || names.contains(without_indices(leaf)))
            continue;
        const auto below = [&](const std::string& prefix) {
            const auto at = names.lower_bound(prefix);
            return at != names.end() && at->compare(0, prefix.size(), prefix) == 0;
        };
        if (below(leaf + "[]."))
            throw Error(fmt::format("{}: expected [[{}]] tables", impl_->where(leaf), leaf));
        if (below(leaf + "."))
            throw Error(fmt::format("{}: expected a table [{}]", impl_->where(leaf), leaf));
        throw Error(fmt::format("{} is not known{}", impl_->where(leaf),
                                nearest_hint(without_indices(leaf), {names.begin(), names.end()})));
    }
}

std::string Settings::resolved() const {
    return resolved({});
}

std::string Settings::resolved(const std::vector<std::string>& tables) const {
    std::string text;
    std::string open_table;
    // TOML wants every table in one piece: group by table, in the order in which they were first
    // read.
    std::vector<std::string> order;
    std::map<std::string, std::vector<std::size_t>> groups;
    for (std::size_t i = 0; i < impl_->known.size(); ++i) {
        const auto& path = impl_->known[i].first;
        const std::size_t dot = path.rfind('.');
        const std::string table = dot == std::string::npos ? "" : path.substr(0, dot);
        std::string top = table.substr(0, table.find_first_of(".["));
        if (!tables.empty() && std::find(tables.begin(), tables.end(), top) == tables.end())
            continue;
        if (!groups.contains(table))
            order.push_back(table);
        groups[table].push_back(i);
    }
    std::stable_sort(order.begin(), order.end(),
                     [](const auto& a, const auto& b) { return a.empty() && !b.empty(); });
    for (const auto& table : order) {
        if (!table.empty()) {
            // An inline table of an array element ("phase[0].a") follows its element as [phase.a].
            const bool element = table.back() == ']';
            std::string header;
            bool inside = false;
            for (const char c : table) {
                if (c == '[')
                    inside = true;
                else if (c == ']')
                    inside = false;
                else if (!inside)
                    header += c;
            }
            text += element ? fmt::format("\n[[{}]]\n", header) : fmt::format("\n[{}]\n", header);
        }
        for (const std::size_t i : groups[table]) {
            const auto& [path, known] = impl_->known[i];
            const std::string key = path.substr(table.empty() ? 0 : table.size() + 1);
            text +=
                fmt::format("{} = {}{}\n", key, known.value,
                            known.description.unit.empty() ? "" : "  # " + known.description.unit);
        }
    }
    return text;
}

std::vector<SettingDescription> Settings::descriptions() const {
    std::vector<SettingDescription> list;
    std::set<std::string> seen;
    for (const auto& [path, known] : impl_->known)
        if (seen.insert(known.description.path).second)
            list.push_back(known.description);
    return list;
}

std::string Settings::where(const std::string& path) const {
    return impl_->where(path);
}

} // namespace xrdct::settings
