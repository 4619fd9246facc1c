// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/report/picture_axes.hpp"

#include "base/error.hpp"
#include "base/statistics.hpp"
#include "jobs/report/labels.hpp"
#include "jobs/report/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace xrdct::report {

std::vector<double> finite_sorted(std::span<const double> values) {
    std::vector<double> sorted = finite_values(values);
    std::sort(sorted.begin(), sorted.end());
    return sorted;
}

double round_step(double limit) {
    const double power = std::pow(10.0, std::floor(std::log10(limit) + 1e-9));
    for (const double factor : {5.0, 2.0})
        if (factor * power <= limit * (1.0 + 1e-9))
            return factor * power;
    return power;
}

namespace {

int decimals_of(double step) {
    return std::max(0, static_cast<int>(std::ceil(-std::log10(step) - 1e-9)));
}

std::string signed_text(const std::string& number) {
    return number.starts_with('-') ? "−" + number.substr(1) : number;
}

} // namespace

std::string even_ticks(const char* axis, double low, double high, int count) {
    const double step = round_step((high - low) / (count - 1) * 1.4);
    return fmt::format("set {}tics out nomirror scale 0.6 {:.10g} format '%.{}f'", axis, step,
                       decimals_of(step));
}

std::vector<Tick> round_ticks(double low, double high, int count) {
    // Largest round spacing that leaves at least two intervals, near the wanted number.
    const double step = round_step((high - low) / (count - 1) * 1.4);
    std::vector<Tick> ticks;
    const auto first = static_cast<long long>(std::ceil(low / step - 1e-6));
    const auto last = static_cast<long long>(std::floor(high / step + 1e-6));
    for (long long k = first; k <= last; ++k)
        ticks.push_back({static_cast<double>(k) * step,
                         signed_text(fmt::format("{:.{}f}", static_cast<double>(k) * step,
                                                 decimals_of(step)))});
    return ticks;
}

std::string tick_list(const std::vector<Tick>& ticks) {
    std::string list = "(";
    for (std::size_t i = 0; i < ticks.size(); ++i)
        list += fmt::format("{}{} {:.12g}", i == 0 ? "" : ", ", quote_gnuplot(ticks[i].label),
                            ticks[i].at);
    return list + ")";
}

int common_exponent(double low, double high) {
    const double largest = std::max(std::abs(low), std::abs(high));
    if (largest == 0.0 || (largest >= 0.01 && largest < 1e5))
        return 0;
    return static_cast<int>(std::floor(std::log10(largest) + 1e-9));
}

std::string scaled_label(const std::string& label, std::string_view units, int exponent) {
    if (exponent == 0)
        return enhanced_with_units(label, units);
    const std::string shown = escape_enhanced(display_units(units));
    return fmt::format("{} [10{}{}{}]", label, superscript(exponent), shown.empty() ? "" : " ",
                       shown);
}

std::size_t letters(std::string_view text) {
    return static_cast<std::size_t>(
        std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string shortened(const std::string& text, std::size_t count) {
    const std::string clean = clean_utf8(text);
    if (letters(clean) <= count)
        return clean;
    std::string out;
    std::size_t seen = 0;
    for (const char c : clean) {
        if ((c & 0xC0) != 0x80 && ++seen >= count)
            break;
        out += c;
    }
    return out + "…";
}

std::string axis_label(const Axis& axis) {
    return enhanced_with_units(describe_quantity(axis.label).enhanced, axis.units);
}

void check_axis(const Axis& axis, std::size_t expected, const std::string& name) {
    if (axis.values.size() != expected)
        throw Error(fmt::format("picture {}: axis {} has {} points, the data {}", name, axis.label,
                                axis.values.size(), expected));
    const bool rising = axis.values.size() < 2 || axis.values[1] > axis.values[0];
    for (std::size_t i = 0; i < axis.values.size(); ++i)
        if (!std::isfinite(axis.values[i]) ||
            (i > 0 && (axis.values[i] > axis.values[i - 1]) != rising) ||
            (i > 0 && axis.values[i] == axis.values[i - 1]))
            throw Error(
                fmt::format("picture {}: axis {} is not strictly monotonic", name, axis.label));
}

} // namespace xrdct::report
