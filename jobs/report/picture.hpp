// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/report/palette.hpp"

#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace xrdct::report {

/// How and with what pictures are drawn.
struct PictureOptions {
    std::string gnuplot = "gnuplot"; ///< a name sought in PATH or a path
    bool png = true;
    bool svg = true;
    bool force = false; ///< overwrite existing pictures
};

/// Limits of a colour bar.
struct ColourRange {
    double low = 0.0;
    double high = 1.0;
};

/// A range that shows the bulk of the finite `values`: their 1 % to 99 % quantiles, from 0 on if
/// `from_zero` and no bulk is negative, and never narrower than `minimum_width`, nor than 1e-4 of
/// the median's magnitude (rounding noise on a constant map is not structure). [0, 1] when no value
/// is finite.
ColourRange robust_range(std::span<const double> values, bool from_zero = false,
                         double minimum_width = 0.0);

/// The same of a property of a phase, 1 to 99 % of the phase instead of the voxels: the rim, where
/// there is little of it and much noise, does not set the colours. `weights` as long as `values`
/// (or empty: robust_range()); those that are not positive and finite leave the voxel out.
ColourRange weighted_range(std::span<const double> values, std::span<const double> weights,
                           double minimum_width = 0.0);

/// A range about 0 for differences: as far as `share` of the finite values' magnitudes; as far as
/// the largest where that is below `least`, and never narrower than `least` (> 0).
ColourRange symmetric_range(std::span<const double> values, double least, double share);

/// One axis of a map or pattern.
struct Axis {
    std::vector<double> values; ///< centres of the pixels, strictly monotonic, either sense
    std::string label;          ///< such as "x"
    std::string units;          ///< as in the file: "mm", "deg"; empty: none
    /// Names of the pixels instead of numbers, for the ordinate of a single map; empty: none.
    std::vector<std::string> names = {};
};

/// A map to be drawn.
struct MapPicture {
    std::vector<double> values; ///< [y, x], x fastest; NaN: no value
    Axis x, y; ///< x to the right, y upward; the same unit on both: equal aspect and a scale bar
    std::string title;    ///< any text, shown literally
    std::string quantity; ///< name of the dataset, such as "weight_fraction"; see describe_quantity
    std::string units;    ///< as in the file
    std::optional<ColourRange> range;      ///< none: robust_range of the values
    std::optional<Palette> palette;        ///< none: the quantity's
    std::map<int, std::string> categories; ///< non-empty: a map of codes with these meanings
};

/// A pattern with its model; all series on the same channels, any of them may be empty.
struct PatternPicture {
    Axis axis; ///< such as two_theta [deg]
    std::vector<double> observed, calculated, background, difference;
    std::string title;
    std::string subtitle;        ///< such as agreement indices
    std::string intensity_units; ///< as in the file
    struct Ticks {
        std::string phase;
        std::vector<double> positions; ///< on the axis
    };
    std::vector<Ticks> ticks;
};

/// Weighted distributions of the same quantity, one curve per series.
struct HistogramPicture {
    struct Series {
        std::string name;
        std::vector<double> values;  ///< NaN: left out
        std::vector<double> weights; ///< empty: 1 each
    };
    std::vector<Series> series;
    std::string title;
    std::string quantity;
    std::string units;
    std::string weight_label = "share of the phase"; ///< the ordinate, per bin
    std::optional<double> mean, median;              ///< marked by lines
};

/// Draw `<stem>.png` and `<stem>.svg` (the stem's parent folder exists). Written under temporary
/// names and renamed.
/// @return the files written
/// @throws Error naming the picture: gnuplot missing or failed, lengths that do not match, axes
/// that are not monotonic, a file that exists without `force`.
std::vector<std::filesystem::path> write_map_picture(const MapPicture& picture,
                                                     const std::filesystem::path& stem,
                                                     const PictureOptions& options = {});

/// Several maps in one picture, each with its own colour bar, lettered (a), (b), … . Otherwise as
/// write_map_picture.
std::vector<std::filesystem::path> write_map_grid(std::span<const MapPicture> panels,
                                                  const std::string& title,
                                                  const std::filesystem::path& stem,
                                                  const PictureOptions& options = {});

/// Maps side by side that share one colour bar. They are to have the same range, palette and units.
struct MapRow {
    std::vector<MapPicture> panels;
    bool new_line = true; ///< false: to the right of the row before
    std::size_t skip = 0; ///< columns left empty at its start
};

/// Rows of maps with axes, one colour bar per row, a scale bar in the first panel; lettered (a),
/// (b), … Otherwise as write_map_picture.
std::vector<std::filesystem::path> write_map_rows(std::span<const MapRow> rows,
                                                  const std::string& title,
                                                  const std::filesystem::path& stem,
                                                  const PictureOptions& options = {});

/// Observed and calculated intensity, linear and on a square-root scale (weak lines), tick marks
/// per phase, difference below.
std::vector<std::filesystem::path> write_pattern_picture(const PatternPicture& picture,
                                                         const std::filesystem::path& stem,
                                                         const PictureOptions& options = {});

/// Distributions as outlined steps.
std::vector<std::filesystem::path> write_histogram_picture(const HistogramPicture& picture,
                                                           const std::filesystem::path& stem,
                                                           const PictureOptions& options = {});

} // namespace xrdct::report
