// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "base/error.hpp"
#include "jobs/settings/settings.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace xrdct::settings {

/// Reads a job of some kind from TOML text: `read(settings, source)` gives it, `reference()` lists
/// all its keys. The job's member `resolved` gets the whole job with every default filled in.
/// Throws Error as `read` does and for a key that nothing reads; a misspelt key often shows as a
/// missing one, so that the misspelling is named first. `settings` stays with the caller.
template <typename Read, typename Reference>
auto read_checked(Settings& settings, const std::filesystem::path& source, const Read& read,
                  const Reference& reference) {
    auto job = [&] {
        try {
            return read(settings, source);
        } catch (const Error&) {
            std::vector<std::string> known;
            for (const auto& entry : reference())
                known.push_back(entry.path);
            settings.refuse_unknown(known);
            throw;
        }
    }();
    settings.refuse_unknown();
    job.resolved = settings.resolved();
    return job;
}

/// All keys that `read` asks for, from reading `minimal`, a job with the required keys only; these
/// have no default.
template <typename Read>
std::vector<SettingDescription> reference_of(const std::string& minimal, const Read& read,
                                             const std::vector<std::string>& required) {
    auto settings = Settings::parse(minimal, "reference");
    read(settings, std::filesystem::path("reference.toml"));
    auto list = settings.descriptions();
    for (auto& entry : list)
        for (const auto& key : required)
            if (entry.path == key)
                entry.default_value.clear();
    return list;
}

/// A word of a job that names a value of an enum; the words are the choices, in their order.
template <typename Enum>
Enum choose(Settings& settings, const std::string& path, Enum fallback,
            const std::vector<std::pair<std::string, Enum>>& words,
            const std::string& description) {
    std::vector<std::string> list;
    std::string usual;
    for (const auto& [word, value] : words) {
        list.push_back(word);
        if (value == fallback && usual.empty())
            usual = word;
    }
    const auto chosen = settings.choice(path, usual, list, description);
    for (const auto& [word, value] : words)
        if (word == chosen)
            return value;
    return fallback;
}

} // namespace xrdct::settings
