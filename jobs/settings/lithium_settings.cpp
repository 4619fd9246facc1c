// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/settings/lithium_settings.hpp"

#include "base/error.hpp"
#include "jobs/settings/job.hpp"
#include "jobs/settings/model_settings.hpp"
#include "mpi/files/text_file.hpp"

#include <algorithm>
#include <cmath>
#include <map>

#include <fmt/format.h>

namespace xrdct::settings {

namespace {

/// What a lattice value can be in its unit; tables in nm or pm lie outside.
struct Plausible {
    double low, high;
    const char* unit;
};

Plausible plausible_values(const std::string& parameter) {
    if (parameter == "c/a")
        return {0.1, 30, ""};
    if (parameter == "volume")
        return {5, 1e5, " angstrom^3"};
    return {2, 100, " angstrom"};
}

/// More per formula unit than any host takes; a content in per cent lies above.
constexpr double largest_content = 25;

void check_content(const Settings& s, const std::string& key, double content) {
    require(std::isfinite(content) && content >= 0 && content <= largest_content, s, key,
            fmt::format("a lithium content must lie between 0 and {} lithium per host unit (not in "
                        "per cent), is {}",
                        largest_content, content));
}

void check_table(const Settings& s, const std::string& key, const LithiumSettings& entry) {
    const auto& table = entry.table;
    require(table.size() >= 2, s, key, "needs at least two pairs [lattice value, lithium content]");
    const auto range = plausible_values(entry.parameter);
    for (const auto& [value, content] : table) {
        require(std::isfinite(value) && value >= range.low && value <= range.high, s, key,
                fmt::format("{} = {} is not between {} and {}{}: pairs are [lattice value, "
                            "lithium content], lengths in angstrom",
                            entry.parameter, value, range.low, range.high, range.unit));
        check_content(s, key, content);
    }
    const bool rising = table[1].first > table[0].first;
    for (std::size_t i = 1; i < table.size(); ++i) {
        const double before = table[i - 1].first, after = table[i].first;
        require(before != after, s, key, fmt::format("the lattice value {} is given twice", after));
        require((after > before) == rising, s, key,
                fmt::format("is not sorted by the lattice value: {} follows {}", after, before));
    }
}

} // namespace

std::vector<LithiumSettings> read_lithium(Settings& s) {
    std::vector<LithiumSettings> list;
    std::map<std::string, std::size_t> of_electrode;
    for (std::size_t i = 0; i < s.table_count("lithium"); ++i) {
        const auto key = [&](const char* name) { return fmt::format("lithium[{}].{}", i, name); };
        LithiumSettings entry;
        entry.electrode = s.choice(key("electrode"), "cathode", {"cathode", "anode"},
                                   "electrode whose lithium content the phase contributes to");
        require(s.has(key("electrode")), s, key("electrode"), "is required: cathode or anode");
        entry.phase = s.text(key("phase"), "", "name of the [[phase]]");
        require(!entry.phase.empty(), s, key("phase"), "is required: the name of a phase");
        entry.parameter =
            s.choice(key("parameter"), "c", {"a", "b", "c", "c/a", "volume"},
                     "lattice parameter that the table calibrates; volume: of the cell");
        entry.table = s.pairs(key("table"), "angstrom or angstrom^3",
                              "calibration: [[lattice value, lithium per host unit], …], sorted by "
                              "the lattice value, interpolated linearly");
        entry.clamp = s.choice(key("outside"), "nan", {"nan", "clamp"},
                               "lattice values beyond the table: no lithium content (nan), or that "
                               "of the table's end (clamp)") == "clamp";
        entry.content = s.number(key("content"), not_given, "",
                                 "lithium per host unit of a phase of fixed composition, instead "
                                 "of a table");
        entry.host_mass =
            positive(s, key("host_mass"), not_given, "g/mol",
                     "mass of the phase, as in its CIF, per host unit (LiC6 per C6: 79.01; LiC12 "
                     "per C6: 75.54); required where an electrode has several phases: their "
                     "contents are averaged with the moles of host as weights");
        entry.gamma = s.number(key("gamma"), 120, "deg",
                               "for parameter = \"volume\" of a phase with a and c only: 120 "
                               "hexagonal axes, 90 tetragonal");
        require(entry.gamma > 0 && entry.gamma < 180, s, key("gamma"), "must lie in (0, 180)");
        const bool fixed = !std::isnan(entry.content);
        require(fixed || !entry.table.empty(), s, key("table"),
                "is required (or content, for a phase of fixed composition)");
        require(!fixed || entry.table.empty(), s, key("content"),
                "and table exclude each other: give one of them");
        if (fixed)
            check_content(s, key("content"), entry.content);
        else
            check_table(s, key("table"), entry);
        for (const auto& other : list)
            require(other.phase != entry.phase, s, key("phase"),
                    fmt::format("the lithium content of phase '{}' is given twice", entry.phase));
        ++of_electrode[entry.electrode];
        list.push_back(std::move(entry));
    }
    for (std::size_t i = 0; i < list.size(); ++i)
        require(of_electrode[list[i].electrode] == 1 || !std::isnan(list[i].host_mass), s,
                fmt::format("lithium[{}].host_mass", i),
                fmt::format("is required: the {} has several phases (phase '{}')",
                            list[i].electrode, list[i].phase));
    return list;
}

void check_lithium_phases(const std::vector<LithiumSettings>& lithium,
                          const std::vector<std::string>& phases, const std::string& source) {
    for (std::size_t i = 0; i < lithium.size(); ++i) {
        if (std::find(phases.begin(), phases.end(), lithium[i].phase) != phases.end())
            continue;
        throw Error(fmt::format("{}: key 'lithium[{}].phase': there is no phase '{}'{}", source, i,
                                lithium[i].phase, nearest_hint(lithium[i].phase, phases)));
    }
}

std::vector<LithiumSettings> read_lithium_file(const std::filesystem::path& path) {
    auto settings = Settings::parse(files::read_text_file(path), path.string());
    std::vector<std::string> known;
    for (const auto& entry : job_reference())
        known.push_back(entry.path);
    // A misspelt key often shows as a missing one: name the misspelling first.
    settings.refuse_unknown(known);
    auto list = read_lithium(settings);
    if (list.empty())
        throw Error(fmt::format("{}: has no [[lithium]] table", path.string()));
    return list;
}

std::vector<LithiumSettings> lithium_of_job(const std::string& text, const std::string& source) {
    auto settings = Settings::parse(text, source);
    return read_lithium(settings);
}

} // namespace xrdct::settings
