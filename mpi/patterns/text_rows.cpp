// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "base/unit_names.hpp"
#include "mpi/patterns/rows.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <fstream>
#include <sstream>
#include <utility>

#include <fmt/format.h>

namespace xrdct::patterns::detail {

namespace {

using units::Quantity;

/// "# Wavelength: 1.6e-11 m": the number after a word of a header line, in the canonical unit of
/// the quantity. Nothing when the line has no such word, number or unit.
std::optional<double> header_value(const std::string& line, std::string_view word,
                                   Quantity quantity) {
    const auto text = lower_case(line);
    const auto at = text.find(word);
    if (at == std::string::npos)
        return std::nullopt;
    const auto digit = text.find_first_of("0123456789.", at + word.size());
    if (digit == std::string::npos)
        return std::nullopt;
    double value = 0;
    const auto [end, code] = std::from_chars(line.data() + digit, line.data() + line.size(), value);
    if (code != std::errc{} || !(value > 0))
        return std::nullopt;
    std::istringstream rest(std::string(end, line.data() + line.size()));
    std::string unit;
    rest >> unit;
    while (!unit.empty() && (unit.back() == ',' || unit.back() == ';' || unit.back() == ')'))
        unit.pop_back();
    if (unit.empty() || !units::is_unit_of(quantity, unit))
        return std::nullopt;
    return value * units::unit_factor(quantity, unit, "header");
}

bool number_from(std::string_view word, double& value) {
    std::string text(word);
    if (!text.empty() && text.front() == '+')
        text.erase(0, 1);
    // Fortran writes 1.5D+03.
    if (text.size() > 1 && (std::isdigit(static_cast<unsigned char>(text.front())) != 0 ||
                            text.front() == '-' || text.front() == '.'))
        std::replace_if(
            text.begin() + 1, text.end(), [](char c) { return c == 'D' || c == 'd'; }, 'e');
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    return code == std::errc{} && end == text.data() + text.size();
}

/// The numbers of a line; `bad` gets the first word that is none. Separators are blanks, commas and
/// semicolons; with semicolons a comma is a decimal comma.
std::vector<double> numbers_of(std::string line, std::string& bad) {
    bad.clear();
    line.erase(std::find(line.begin(), line.end(), '#'), line.end());
    if (contains(line, ";"))
        for (char& c : line)
            c = c == ';' ? ' ' : (c == ',' ? '.' : c);
    std::vector<double> numbers;
    std::size_t at = 0;
    const std::string separators = " \t\r\f\v,\x1a";
    while ((at = line.find_first_not_of(separators, at)) != std::string::npos) {
        const auto end = std::min(line.find_first_of(separators, at), line.size());
        double value = 0;
        const auto word = std::string_view(line).substr(at, end - at);
        if (!number_from(word, value)) {
            bad = word;
            return numbers;
        }
        numbers.push_back(value);
        at = end;
    }
    return numbers;
}

struct TextLine {
    std::size_t number = 0;
    std::vector<double> values;
};

/// Start, step, end in the first line: the intensities that follow run on over any number of
/// columns.
bool is_step_list(const std::vector<TextLine>& lines) {
    const auto& head = lines.front().values;
    if (head.size() != 3 || lines.size() < 2)
        return false;
    if (!(head[1] > 0) || !(head[2] > head[0]) || !(head[1] < (head[2] - head[0]) / 2))
        return false;
    const double expected = std::round((head[2] - head[0]) / head[1]) + 1;
    std::size_t count = 0;
    for (std::size_t i = 1; i < lines.size(); ++i)
        count += lines[i].values.size();
    if (static_cast<double>(count) == expected)
        return true;
    // Three columns all the way down are position, intensity, error.
    return std::any_of(lines.begin() + 1, lines.end(),
                       [](const TextLine& line) { return line.values.size() != 3; });
}

Rows rows_of_step_list(const std::vector<TextLine>& lines, const std::string& file) {
    const auto& head = lines.front().values;
    const auto expected = static_cast<std::size_t>(std::round((head[2] - head[0]) / head[1])) + 1;
    Rows rows;
    rows.format = "start-step-end";
    for (std::size_t i = 1; i < lines.size(); ++i)
        for (const double value : lines[i].values) {
            rows.position.push_back(head[0] + head[1] * static_cast<double>(rows.position.size()));
            rows.intensity.push_back(value);
            rows.where.push_back(fmt::format("line {}", lines[i].number));
        }
    if (rows.position.size() != expected)
        throw Error(fmt::format("{}: line {}: start {}, step {}, end {} promise {} intensities, "
                                "but {} follow",
                                file, lines.front().number, head[0], head[1], head[2], expected,
                                rows.position.size()));
    return rows;
}

std::string shortened(const std::string& text) {
    return text.size() > 40 ? text.substr(0, 40) + "…" : text;
}

/// What a text file holds before its columns are made of it.
struct TextFile {
    std::string name;
    std::string extension; ///< lower case, without the dot
    std::vector<TextLine> lines;
    Rows header;                             ///< unit, wavelength and distance of the header lines
    std::optional<std::size_t> lone;         ///< line with a single number before the columns
    std::optional<std::size_t> stated_count; ///< that number, where it can be a number of points
};

/// A line of numbers goes into `file`; returns false for one of words, which may be a header.
bool take_numbers(const std::string& line, std::size_t number, TextFile& file) {
    std::string bad;
    auto values = numbers_of(line, bad);
    // The rest of a start-step-end list may hold a single number in its last line.
    if (bad.empty() && (values.size() >= 2 || !file.lines.empty())) {
        file.lines.push_back({number, std::move(values)});
        return true;
    }
    if (!file.lines.empty())
        throw Error(
            fmt::format("{}: line {}: '{}' is not a number", file.name, number, shortened(bad)));
    if (!bad.empty())
        return false;
    if (!file.lone)
        file.lone = number;
    if (values.front() > 0 && values.front() == std::floor(values.front()))
        file.stated_count = static_cast<std::size_t>(std::min(values.front(), 1e9));
    return true;
}

void take_header(const std::string& line, Rows& header) {
    if (const auto unit = unit_in_header(line))
        header.unit = *unit;
    if (const auto value = header_value(line, "wavelength", Quantity::wavelength))
        header.wavelength = *value;
    if (const auto value = header_value(line, "distance", Quantity::length))
        header.distance = *value;
}

TextFile read_lines(const std::filesystem::path& path) {
    TextFile file;
    file.name = path.string();
    std::ifstream stream(path, std::ios::binary);
    if (!stream)
        throw Error(fmt::format("{}: cannot be read", file.name));
    file.extension = lower_case(path.extension().string());
    if (!file.extension.empty())
        file.extension.erase(0, 1);
    std::string line;
    std::size_t number = 0;
    while (std::getline(stream, line)) {
        ++number;
        if (number == 1 && line.starts_with("\xef\xbb\xbf"))
            line.erase(0, 3);
        if (line.find('\0') != std::string::npos)
            throw Error(fmt::format("{}: line {}: is no text; expected columns of numbers or an "
                                    "HDF5 file",
                                    file.name, number));
        const auto first = line.find_first_not_of(" \t\r\x1a");
        if (first == std::string::npos)
            continue;
        const bool comment = std::string("#!/';").find(line[first]) != std::string::npos;
        if (comment || !take_numbers(line, number, file))
            take_header(line, file.header);
    }
    if (number == 0)
        throw Error(fmt::format("{}: is empty", file.name));
    if (file.lines.empty())
        throw Error(file.lone
                        ? fmt::format("{}: line {}: one number; expected two or three columns: "
                                      "position, intensity and, if known, its standard deviation",
                                      file.name, *file.lone)
                        : fmt::format("{}: holds no numbers; expected two or three columns: "
                                      "position, intensity and, if known, its standard deviation",
                                      file.name));
    return file;
}

Rows rows_of_columns(const TextFile& file) {
    Rows rows;
    const auto columns = file.lines.front().values.size();
    if (columns > 3)
        throw Error(fmt::format("{}: line {}: {} columns; expected position, intensity and, "
                                "if known, its standard deviation",
                                file.name, file.lines.front().number, columns));
    for (const auto& entry : file.lines) {
        if (entry.values.size() != columns)
            throw Error(fmt::format("{}: line {}: {} column(s) where the first row (line {}) "
                                    "has {}",
                                    file.name, entry.number, entry.values.size(),
                                    file.lines.front().number, columns));
        rows.position.push_back(entry.values[0]);
        rows.intensity.push_back(entry.values[1]);
        if (columns == 3)
            rows.sigma.push_back(entry.values[2]);
        rows.where.push_back(fmt::format("line {}", entry.number));
    }
    rows.format = file.extension == "chi"   ? "chi"
                  : file.extension == "csv" ? "csv"
                  : columns == 3            ? "xye"
                                            : "xy";
    if (file.extension == "chi" && file.stated_count && *file.stated_count != file.lines.size())
        throw Error(fmt::format("{}: line {}: {} points are announced, but {} rows follow",
                                file.name, *file.lone, *file.stated_count, file.lines.size()));
    return rows;
}

} // namespace

Rows read_text_rows(const std::filesystem::path& path) {
    const TextFile file = read_lines(path);
    Rows rows =
        is_step_list(file.lines) ? rows_of_step_list(file.lines, file.name) : rows_of_columns(file);
    rows.unit = file.header.unit;
    rows.wavelength = file.header.wavelength;
    rows.distance = file.header.distance;
    return rows;
}

} // namespace xrdct::patterns::detail
