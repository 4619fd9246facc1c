// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "mpi/patterns/rows.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>

namespace xrdct::patterns::detail {

namespace {

/// The numbers of a line; `bad` gets the first word that is none. Separators are blanks, commas and
/// semicolons; with semicolons a comma is a decimal comma.
std::vector<double> numbers_of(std::string line, std::string& bad) {
    bad.clear();
    // Not that of 1.#QNAN.
    for (auto at = line.find('#'); at != std::string::npos; at = line.find('#', at + 1))
        if (at == 0 || line[at - 1] != '.') {
            line.erase(at);
            break;
        }
    std::replace(line.begin(), line.end(), '"', ' ');
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
    Rows header; ///< unit, wavelength and distance of the header lines
    std::vector<std::string> header_lines;
    std::vector<std::size_t> scans;          ///< lines that begin a scan of a SPEC file
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

/// Lines of words between numbers: comments, SPEC's beginnings of scans, Rigaku's keys.
bool is_comment(const std::string& line, std::size_t first) {
    return std::string("#!/';*").find(line[first]) != std::string::npos;
}

TextFile read_lines(const std::vector<std::string>& lines, const std::filesystem::path& path) {
    TextFile file;
    file.name = path.string();
    file.extension = lower_case(path.extension().string());
    if (!file.extension.empty())
        file.extension.erase(0, 1);
    for (std::size_t i = 0; i < lines.size(); ++i) {
        const auto& line = lines[i];
        const auto first = line.find_first_not_of(" \t\x1a");
        if (first == std::string::npos)
            continue;
        if (line.starts_with("#S "))
            file.scans.push_back(i + 1);
        if (!is_comment(line, first) && take_numbers(line, i + 1, file))
            continue;
        take_header(line, file.header);
        if (file.lines.empty())
            file.header_lines.push_back(line);
    }
    if (file.scans.size() > 1)
        throw Error(fmt::format("{}: line {}: a SPEC file of {} scans, the first in line {}; "
                                "write the one that counts into a file of its own",
                                file.name, file.scans[1], file.scans.size(), file.scans[0]));
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

/// Which columns hold what; the first one holds the positions.
struct Layout {
    std::size_t intensity = 1;
    std::optional<std::size_t> uncertainty;
    ColumnRole role = ColumnRole::sigma; ///< of the uncertainty
    std::string note;
};

/// By the titles; without any, the second column has intensities and a third one standard
/// deviations. Throws Error for more columns without titles.
Layout layout_of(const TextFile& file, std::size_t columns) {
    Layout layout;
    if (columns == 3)
        layout.uncertainty = 2;
    if (columns < 3)
        return layout;
    const auto titles = column_titles(file.header_lines, columns);
    std::vector<ColumnRole> roles;
    for (const auto& title : titles)
        roles.push_back(role_of_title(title));
    const auto first_of = [&](ColumnRole role) -> std::optional<std::size_t> {
        const auto found = std::find(roles.begin() + (roles.empty() ? 0 : 1), roles.end(), role);
        return found == roles.end()
                   ? std::nullopt
                   : std::optional(static_cast<std::size_t>(found - roles.begin()));
    };
    const auto intensity = first_of(ColumnRole::intensity);
    if (!intensity) {
        if (columns > 3)
            throw Error(fmt::format("{}: line {}: {} columns; expected position, intensity and, "
                                    "if known, its standard deviation, or titles that say which "
                                    "these are",
                                    file.name, file.lines.front().number, columns));
        return layout;
    }
    layout.intensity = *intensity;
    // A third one whose title says nothing is judged by its numbers.
    if (columns > 3 || roles[2] != ColumnRole::unknown)
        layout.uncertainty.reset();
    for (const auto role : {ColumnRole::sigma, ColumnRole::variance, ColumnRole::weight})
        if (const auto column = first_of(role); column && !layout.uncertainty) {
            layout.uncertainty = column;
            layout.role = role;
        }
    if (columns > 3 || !layout.uncertainty || layout.role != ColumnRole::sigma)
        layout.note = fmt::format(
            "of {} columns '{}' has the intensities{}", columns, titles[layout.intensity],
            layout.uncertainty
                ? fmt::format(" and '{}' their {}", titles[*layout.uncertainty],
                              layout.role == ColumnRole::weight     ? "weights, 1/sigma^2"
                              : layout.role == ColumnRole::variance ? "variances"
                                                                    : "standard deviations")
                : std::string());
    return layout;
}

double sigma_from(double value, ColumnRole role) {
    if (role == ColumnRole::weight)
        return value > 0 ? 1 / std::sqrt(value) : 0;
    return role == ColumnRole::variance ? std::sqrt(std::max(value, 0.0)) : value;
}

Rows rows_of_columns(const TextFile& file) {
    Rows rows;
    const auto columns = file.lines.front().values.size();
    const Layout layout = layout_of(file, columns);
    if (!layout.note.empty())
        rows.notes.push_back(layout.note);
    for (const auto& entry : file.lines) {
        if (entry.values.size() != columns)
            throw Error(fmt::format("{}: line {}: {} column(s) where the first row (line {}) "
                                    "has {}",
                                    file.name, entry.number, entry.values.size(),
                                    file.lines.front().number, columns));
        rows.position.push_back(entry.values[0]);
        rows.intensity.push_back(entry.values[layout.intensity]);
        if (layout.uncertainty)
            rows.sigma.push_back(sigma_from(entry.values[*layout.uncertainty], layout.role));
        rows.where.push_back(fmt::format("line {}", entry.number));
    }
    rows.format = file.extension == "chi"   ? "chi"
                  : file.extension == "csv" ? "csv"
                  : layout.uncertainty      ? "xye"
                                            : "xy";
    if (file.extension == "chi" && file.stated_count && *file.stated_count != file.lines.size())
        throw Error(fmt::format("{}: line {}: {} points are announced, but {} rows follow",
                                file.name, *file.lone, *file.stated_count, file.lines.size()));
    return rows;
}

/// The third column of Rigaku's files is the factor of the attenuator.
void take_attenuation(const TextFile& file, Rows& rows) {
    const bool rigaku =
        std::any_of(file.header_lines.begin(), file.header_lines.end(),
                    [](const std::string& line) { return line.starts_with("*RAS_"); });
    if (!rigaku || rows.sigma.empty())
        return;
    const auto factors = std::move(rows.sigma);
    rows.sigma.clear();
    rows.format = "ras";
    if (std::all_of(factors.begin(), factors.end(), [](double factor) { return factor == 1; }))
        return;
    for (std::size_t i = 0; i < factors.size(); ++i) {
        rows.sigma.push_back(factors[i] * std::sqrt(std::max(rows.intensity[i], 1.0)));
        rows.intensity[i] *= factors[i];
    }
    rows.notes.emplace_back("the intensities are multiplied by the third column, the factor of "
                            "Rigaku's attenuator");
}

} // namespace

Rows read_text_rows(const std::filesystem::path& path) {
    const auto text = read_text(path);
    if (is_xml(text))
        return read_xrdml_rows(text, path.string());
    if (is_powder_cif(text))
        return read_cif_rows(text, path.string());
    const auto lines = text_lines(text, path.string());
    for (const auto read : {read_gsas_rows, read_uxd_rows})
        if (auto rows = read(lines, path.string()))
            return std::move(*rows);
    TextFile file = read_lines(lines, path);
    Rows rows =
        is_step_list(file.lines) ? rows_of_step_list(file.lines, file.name) : rows_of_columns(file);
    take_attenuation(file, rows);
    take_titles(file.header_lines, file.lines.front().values.size(), file.header);
    rows.unit = file.header.unit;
    rows.wavelength = file.header.wavelength;
    rows.distance = file.header.distance;
    rows.unit_note = file.header.unit_note;
    rows.unit_question = file.header.unit_question;
    rows.wavelength_note = file.header.wavelength_note;
    rows.wavelength_line = file.header.wavelength_line;
    return rows;
}

} // namespace xrdct::patterns::detail
