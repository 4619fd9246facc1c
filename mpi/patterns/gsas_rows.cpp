// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "mpi/patterns/rows.hpp"

#include <algorithm>
#include <cmath>
#include <sstream>

#include <fmt/format.h>

namespace xrdct::patterns::detail {

namespace {

/// A BANK line: BANK n channels records binning c1 c2 c3 c4 [type] (GSAS manual, "powder data
/// files").
struct Bank {
    std::size_t line = 0; ///< index of the BANK line
    int number = 0;
    std::size_t channels = 0;
    std::string binning, type;
    double first = 0, step = 0; ///< centidegrees
};

std::optional<Bank> bank_of(const std::string& text, std::size_t line) {
    std::istringstream words(text);
    std::string word;
    Bank bank;
    long channels = 0, records = 0;
    if (!(words >> word) || word != "BANK" ||
        !(words >> bank.number >> channels >> records >> bank.binning) || channels < 1)
        return std::nullopt;
    bank.line = line;
    bank.channels = static_cast<std::size_t>(channels);
    std::vector<double> numbers;
    bank.type = "STD";
    while (words >> word) {
        double value = 0;
        if (number_from(word, value))
            numbers.push_back(value);
        else
            bank.type = word;
    }
    bank.first = numbers.empty() ? 0 : numbers[0];
    bank.step = numbers.size() < 2 ? 0 : numbers[1];
    return bank;
}

std::vector<std::string> blank_separated(const std::string& text) {
    std::istringstream stream(text);
    std::vector<std::string> words;
    for (std::string word; stream >> word;)
        words.push_back(word);
    return words;
}

/// The fields of eight characters of a record; nothing when one of them is no number.
std::optional<std::vector<std::string>> fixed_fields(std::string text) {
    text.erase(text.find_last_not_of(" \t\x1a") + 1);
    std::vector<std::string> fields;
    for (std::size_t at = 0; at < text.size(); at += 8) {
        fields.push_back(text.substr(at, 8));
        double value = 0;
        for (const auto& word : blank_separated(fields.back()))
            if (!number_from(word, value))
                return std::nullopt;
    }
    return fields;
}

/// A field without its blanks.
std::string bare_number(const std::string& field) {
    const auto words = blank_separated(field);
    return words.size() == 1 ? words.front() : "";
}

/// Degrees 2theta of the next row.
double position_of(const Bank& bank, const Rows& rows) {
    return 0.01 * (bank.first + bank.step * static_cast<double>(rows.position.size()));
}

[[noreturn]] void refuse_record(const std::string& file, std::size_t line, const Bank& bank) {
    throw Error(fmt::format("{}: line {}: is no record of a GSAS bank of type {}", file, line + 1,
                            bank.type));
}

void add_row(Rows& rows, double position, double intensity, std::size_t line) {
    rows.position.push_back(position);
    rows.intensity.push_back(intensity);
    rows.where.push_back(fmt::format("line {}", line + 1));
}

/// FXYE and FXY: position [centidegrees], intensity and, with E, standard deviation.
void take_xy(const std::string& text, const Bank& bank, const std::string& file, std::size_t line,
             Rows& rows) {
    const auto words = blank_separated(text);
    std::vector<double> values(words.size());
    for (std::size_t i = 0; i < words.size(); ++i)
        if (!number_from(words[i], values[i]))
            refuse_record(file, line, bank);
    const bool errors = bank.type == "FXYE";
    if (values.size() < (errors ? 3U : 2U))
        refuse_record(file, line, bank);
    add_row(rows, 0.01 * values[0], values[1], line);
    if (errors)
        rows.sigma.push_back(values[2]);
}

/// ESD: pairs of intensity and standard deviation in fields of eight characters.
void take_esd(const std::string& text, const Bank& bank, const std::string& file, std::size_t line,
              Rows& rows) {
    // Free format, too: pairs of words.
    auto fields = blank_separated(text);
    if (const auto fixed = fixed_fields(text); fixed && fields.size() != fixed->size())
        fields = *fixed;
    for (std::size_t i = 0; i + 1 < fields.size() && rows.position.size() < bank.channels; i += 2) {
        double intensity = 0, sigma = 0;
        if (!number_from(bare_number(fields[i]), intensity) ||
            !number_from(bare_number(fields[i + 1]), sigma))
            refuse_record(file, line, bank);
        add_row(rows, position_of(bank, rows), intensity, line);
        rows.sigma.push_back(sigma);
    }
}

/// STD: counts in fields of eight characters, the first two the number of counters that were
/// averaged (blank: one).
void take_std(const std::string& text, const Bank& bank, const std::string& file, std::size_t line,
              Rows& rows, bool& averaged) {
    auto fields = fixed_fields(text);
    if (!fields || std::any_of(fields->begin(), fields->end(), [](const std::string& field) {
            return blank_separated(field).size() > 2 || blank_separated(field).empty();
        }))
        fields = blank_separated(text);
    for (const auto& field : *fields) {
        if (rows.position.size() == bank.channels)
            return;
        double counters = 0, counts = 0;
        const auto own = field.size() == 8 ? bare_number(field.substr(0, 2)) : std::string();
        const bool has_counters = !own.empty() && bare_number(field.substr(2)).size() < 6;
        if ((has_counters && !number_from(own, counters)) ||
            !number_from(bare_number(has_counters ? field.substr(2) : field), counts))
            refuse_record(file, line, bank);
        counters = std::max(counters, 1.0);
        averaged = averaged || counters > 1;
        add_row(rows, position_of(bank, rows), counts, line);
        rows.sigma.push_back(std::sqrt(std::max(counts, 1.0) / counters));
    }
}

void check_bank(const Bank& bank, const std::string& file) {
    const auto where = fmt::format("{}: line {}: a GSAS file, bank {} of type {}, binning {}", file,
                                   bank.line + 1, bank.number, bank.type, bank.binning);
    if (!bank.binning.starts_with("CONS"))
        throw Error(where + "; only patterns of a constant wavelength (CONST) are read");
    for (const auto* known : {"FXYE", "FXY", "ESD", "STD"})
        if (bank.type == known)
            return;
    throw Error(where + "; only FXYE, FXY, ESD and STD are read");
}

} // namespace

std::optional<Rows> read_gsas_rows(const std::vector<std::string>& lines, const std::string& file) {
    std::vector<Bank> banks;
    for (std::size_t i = 0; i < lines.size(); ++i)
        if (const auto bank = bank_of(lines[i], i))
            banks.push_back(*bank);
    if (banks.empty())
        return std::nullopt;
    const Bank& bank = banks.front();
    check_bank(bank, file);
    Rows rows;
    for (std::size_t i = 0; i < bank.line; ++i)
        take_header(lines[i], rows);
    rows.unit = PatternUnit::two_theta;
    rows.unit_note.clear();
    rows.format = "GSAS " + bank.type;
    bool averaged = false;
    const std::size_t end = banks.size() > 1 ? banks[1].line : lines.size();
    for (std::size_t i = bank.line + 1; i < end && rows.position.size() < bank.channels; ++i) {
        const auto first = lines[i].find_first_not_of(" \t\x1a");
        if (first == std::string::npos || lines[i][first] == '#')
            continue;
        if (bank.type == "STD")
            take_std(lines[i], bank, file, i, rows, averaged);
        else if (bank.type == "ESD")
            take_esd(lines[i], bank, file, i, rows);
        else
            take_xy(lines[i], bank, file, i, rows);
    }
    if (rows.position.size() < bank.channels)
        throw Error(fmt::format("{}: line {}: a GSAS bank of {} channels, but {} follow", file,
                                bank.line + 1, bank.channels, rows.position.size()));
    // Counts know their standard deviations themselves.
    if (bank.type == "STD" && !averaged)
        rows.sigma.clear();
    if (banks.size() > 1)
        rows.notes.push_back(fmt::format("the file holds {} banks; the first, number {}, is used",
                                         banks.size(), bank.number));
    return rows;
}

} // namespace xrdct::patterns::detail
