// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/report/picture.hpp"

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// Numbers, ticks and labels on the axes of pictures, as gnuplot wants them.
namespace xrdct::report {

/// The finite values, ascending.
std::vector<double> finite_sorted(std::span<const double> values);

/// 1, 2 or 5 times a power of ten, the largest not above `limit`.
double round_step(double limit);

/// Commands for evenly spaced ticks with the same decimals on an axis ("x" or "y") that spans low …
/// high.
std::string even_ticks(const char* axis, double low, double high, int count);

struct Tick {
    double at;
    std::string label;
};

/// About `count` round numbers within [low, high], all with the decimals their spacing needs.
std::vector<Tick> round_ticks(double low, double high, int count);

/// Ticks as the argument of gnuplot's "set xtics".
std::string tick_list(const std::vector<Tick>& ticks);

/// The power of ten taken out of the numbers of a scale, 0 for comfortable numbers.
int common_exponent(double low, double high);

/// "label [10³ units]" for enhanced mode; the label is escaped already.
std::string scaled_label(const std::string& label, std::string_view units, int exponent);

/// Number of letters of a UTF-8 text.
std::size_t letters(std::string_view text);

/// At most `count` letters of the text, with an ellipsis when shortened.
std::string shortened(const std::string& text, std::size_t count);

/// Name and unit of an axis for enhanced mode.
std::string axis_label(const Axis& axis);

/// @throws Error naming the picture for an axis with another number of points, or that is not
/// strictly monotonic.
void check_axis(const Axis& axis, std::size_t expected, const std::string& name);

} // namespace xrdct::report
