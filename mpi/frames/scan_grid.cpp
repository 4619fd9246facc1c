// SPDX-License-Identifier: BSD-3-Clause
#include "mpi/frames/scan_grid.hpp"

#include "base/error.hpp"
#include "mpi/files/text_file.hpp"

#include <algorithm>
#include <cmath>
#include <sstream>

#include <fmt/format.h>

namespace xrdct::frames {

namespace {

std::vector<std::string> fields_of(std::string line) {
    for (char& c : line)
        if (c == ',' || c == ';' || c == '\t' || c == '\r')
            c = ' ';
    std::istringstream in(line);
    std::vector<std::string> fields;
    for (std::string field; in >> field;)
        fields.push_back(field);
    return fields;
}

/// Distinct values, rising, and the index of each; nothing when values are neither equal nor
/// apart.
std::optional<std::vector<std::size_t>> levels(const std::vector<double>& values,
                                               std::vector<double>& distinct) {
    distinct = values;
    std::sort(distinct.begin(), distinct.end());
    const double tolerance = 1e-6 * (distinct.back() - distinct.front());
    std::vector<double> kept{distinct.front()};
    for (const double value : distinct)
        if (value - kept.back() > tolerance)
            kept.push_back(value);
    distinct = std::move(kept);
    std::vector<std::size_t> index;
    for (const double value : values) {
        const auto next = std::upper_bound(distinct.begin(), distinct.end(), value + tolerance);
        index.push_back(static_cast<std::size_t>(next - distinct.begin()) - 1);
        if (!(std::abs(value - distinct[index.back()]) <= tolerance))
            return std::nullopt;
    }
    return index;
}

} // namespace

std::vector<double> RegularAxis::values() const {
    std::vector<double> list(count);
    for (std::size_t i = 0; i < count; ++i)
        list[i] = first + static_cast<double>(i) * step;
    return list;
}

RegularAxis parse_regular_axis(const std::string& text, const std::string& option) {
    RegularAxis axis;
    double count = 0;
    int used = 0;
    if (std::sscanf(text.c_str(), "%lf:%lf:%lf%n", &axis.first, &axis.step, &count, &used) != 3 ||
        static_cast<std::size_t>(used) != text.size() || !std::isfinite(axis.first) ||
        !std::isfinite(axis.step) || axis.step == 0 || !(count >= 1 && count <= 1e7) ||
        count != std::floor(count))
        throw Error(
            fmt::format("{}: '{}' is not FIRST:STEP:COUNT, such as 0:0.9:200", option, text));
    axis.count = static_cast<std::size_t>(count);
    return axis;
}

ScanGrid regular_grid(const RegularAxis& rotation, const RegularAxis& translation,
                      const ScanOrder& order, std::size_t frames) {
    const std::size_t nr = rotation.count, nt = translation.count;
    if (nr * nt != frames)
        throw Error(
            fmt::format("{} rotations x {} translations are {} points, but there are {} "
                        "frames; a scan with frames missing needs its positions (--positions)",
                        nr, nt, nr * nt, frames));
    ScanGrid grid{rotation.values(), translation.values(), {}};
    const bool turn_r = rotation.step < 0, turn_t = translation.step < 0;
    if (turn_r)
        std::reverse(grid.rotation.begin(), grid.rotation.end());
    if (turn_t)
        std::reverse(grid.translation.begin(), grid.translation.end());
    const std::size_t fast = order.rotation_fast ? nr : nt;
    for (std::size_t i = 0; i < frames; ++i) {
        const std::size_t line = i / fast;
        std::size_t place = i % fast;
        if (order.snake && line % 2 == 1)
            place = fast - 1 - place;
        std::size_t r = order.rotation_fast ? place : line, t = order.rotation_fast ? line : place;
        if (turn_r)
            r = nr - 1 - r;
        if (turn_t)
            t = nt - 1 - t;
        grid.point.push_back(r * nt + t);
    }
    return grid;
}

std::optional<ScanGrid> grid_of_positions(const std::vector<double>& rotation,
                                          const std::vector<double>& translation) {
    const std::size_t n = rotation.size();
    const auto finite = [](const std::vector<double>& values) {
        return std::all_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); });
    };
    if (n == 0 || translation.size() != n || !finite(rotation) || !finite(translation))
        return std::nullopt;
    ScanGrid grid;
    const auto r = levels(rotation, grid.rotation), t = levels(translation, grid.translation);
    if (!r || !t || grid.rotation.size() * grid.translation.size() != n)
        return std::nullopt;
    std::vector<bool> visited(n);
    for (std::size_t i = 0; i < n; ++i) {
        const std::size_t point = (*r)[i] * grid.translation.size() + (*t)[i];
        if (visited[point])
            return std::nullopt;
        visited[point] = true;
        grid.point.push_back(point);
    }
    return grid;
}

void read_positions_table(const std::filesystem::path& path, std::size_t frames,
                          FrameVectors& vectors) {
    std::istringstream lines(files::read_text_file(path));
    const std::string where = path.string();
    std::vector<std::vector<double>*> columns;
    const auto known = by_name(vectors);
    std::size_t number = 0, rows = 0;
    for (std::string line; std::getline(lines, line);) {
        ++number;
        if (columns.empty() && line.rfind('#', 0) == 0)
            line.erase(0, 1);
        if (line.rfind('#', 0) == 0)
            continue;
        const auto fields = fields_of(line);
        if (fields.empty())
            continue;
        if (columns.empty()) {
            bool any = false;
            for (const auto& field : fields) {
                columns.push_back(nullptr);
                for (const auto& [name, values] : known)
                    if (field == name) {
                        columns.back() = values;
                        values->clear();
                        any = true;
                    }
            }
            if (!any)
                throw Error(fmt::format("{}: the first line names no known column; expected some "
                                        "of rotation_angle, translation, monitor, exposure_time, "
                                        "transmission, time",
                                        where));
            continue;
        }
        if (fields.size() != columns.size())
            throw Error(fmt::format("{}:{}: {} values, the first line names {}", where, number,
                                    fields.size(), columns.size()));
        for (std::size_t k = 0; k < fields.size(); ++k) {
            if (columns[k] == nullptr)
                continue;
            try {
                std::size_t used = 0;
                columns[k]->push_back(std::stod(fields[k], &used));
                if (used != fields[k].size())
                    throw std::invalid_argument("rest");
            } catch (const std::exception&) {
                throw Error(fmt::format("{}:{}: '{}' is no number", where, number, fields[k]));
            }
        }
        ++rows;
    }
    if (rows != frames)
        throw Error(fmt::format("{}: {} lines of positions for {} frames", where, rows, frames));
}

} // namespace xrdct::frames
