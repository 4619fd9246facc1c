// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "base/names.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace xrdct::settings {

/// One documented key of the job file.
struct SettingDescription {
    std::string path;          ///< "geometry.distance", "phase[].name"
    std::string type;          ///< "number", "integer", "string", "boolean", "list of numbers", …
    std::string unit;          ///< "" when dimensionless
    std::string default_value; ///< as TOML; "" when required
    std::string description;
};

/// Reads typed values from a TOML job and remembers every key it was asked for, so that keys nobody
/// asked for are refused, the resolved job can be written out and the parameter reference is
/// generated from the code that reads.
class Settings {
  public:
    /// Parses TOML text; `source` names it in messages. Each override is "dotted.key=value" with a
    /// TOML value (a bare word counts as a string; "phase.NAME.key" and "phase[2].key" reach into
    /// arrays of tables). Throws Error with line and column for a syntax error.
    static Settings parse(const std::string& text, const std::string& source,
                          const std::vector<std::string>& overrides = {});
    ~Settings();
    Settings(Settings&&) noexcept;
    Settings& operator=(Settings&&) noexcept;
    Settings(const Settings&) = delete;
    Settings& operator=(const Settings&) = delete;

    /// Whether the key is present.
    bool has(const std::string& path) const;

    /// Typed reads. An absent key gives the default; a value of another type throws Error naming
    /// the key. Every read registers the key with its unit and description.
    double number(const std::string& path, double fallback, const std::string& unit,
                  const std::string& description);
    long integer(const std::string& path, long fallback, const std::string& description);
    bool boolean(const std::string& path, bool fallback, const std::string& description);
    std::string text(const std::string& path, const std::string& fallback,
                     const std::string& description);
    /// A string out of a fixed list.
    std::string choice(const std::string& path, const std::string& fallback,
                       const std::vector<std::string>& choices, const std::string& description);
    std::vector<double> numbers(const std::string& path, const std::vector<double>& fallback,
                                const std::string& unit, const std::string& description);
    std::vector<std::string> texts(const std::string& path,
                                   const std::vector<std::string>& fallback,
                                   const std::string& description);
    /// A list of pairs [from, to] with from < to.
    std::vector<std::pair<double, double>>
    intervals(const std::string& path, const std::string& unit, const std::string& description);
    /// A list of pairs of numbers [x, y] in any order.
    std::vector<std::pair<double, double>> pairs(const std::string& path, const std::string& unit,
                                                 const std::string& description);
    /// A number, or the given word ("auto"), which gives nullopt.
    std::optional<double> number_or_word(const std::string& path, std::optional<double> fallback,
                                         const std::string& word, const std::string& unit,
                                         const std::string& description);

    /// Number of tables in an array of tables such as [[phase]]; their keys are then
    /// "phase[0].name" and so on.
    std::size_t table_count(const std::string& path) const;
    /// True if the value is a table (for keys that take either a word or a table).
    bool is_table(const std::string& path) const;
    bool is_string(const std::string& path) const;

    /// Throws Error naming the first key that was neither read nor is among `also_known` (paths as
    /// in SettingDescription), with the nearest known one.
    void refuse_unknown(const std::vector<std::string>& also_known = {}) const;

    /// All keys that were read, with the values in force, as TOML.
    std::string resolved() const;
    /// Resolved values of the keys below the given top-level tables only, as TOML (to decide
    /// whether a product was made with the same settings).
    std::string resolved(const std::vector<std::string>& tables) const;

    /// Descriptions of all keys read so far, in order; array indices are shown as [].
    std::vector<SettingDescription> descriptions() const;

    /// "job.toml: key 'geometry.distance'": for messages about a value.
    std::string where(const std::string& path) const;

  private:
    struct Impl;
    explicit Settings(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

} // namespace xrdct::settings
