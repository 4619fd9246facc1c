// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/report/picture.hpp"

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace xrdct::report {

/// A two-dimensional dataset of an NXdata group. The values stay in the file until read_map_values.
struct ProductMap {
    std::string name; ///< of the dataset
    std::string path; ///< inside the file
    std::string units;
    bool has_errors = false; ///< <name>_errors lies beside it with the same shape
    bool is_integer = false;
    std::map<int, std::string> meanings; ///< of codes, from @meanings ("0 converged, 1 …")
};

/// A one-dimensional dataset of an NXdata group with one axis.
struct ProductSeries {
    std::string name;
    std::string units;
    std::vector<double> values;
};

/// An NXdata group with one or two axes.
struct ProductData {
    std::string name; ///< path below the stage
    std::string title;
    std::string signal;
    Axis y, x; ///< x alone for patterns
    std::vector<ProductMap> maps;
    std::vector<ProductSeries> series;
    std::vector<PatternPicture::Ticks> ticks; ///< datasets ticks_<phase>
    std::map<std::string, double> numbers;    ///< numeric attributes of the group, such as rwp

    /// Maps of a phase have a scale or a fraction; those of a single peak an area or a position.
    bool is_phase() const;
    bool is_peak() const;
    const ProductMap* find(const std::string& quantity) const;
    const ProductSeries* find_series(const std::string& quantity) const;
};

/// An NXprocess group of one product file.
struct ProductStage {
    std::string name;
    std::filesystem::path file;
    std::string program, version, date, job;
    long ranks = 0;                                           ///< 0: not said
    std::map<std::string, std::string> inputs;                ///< file → checksum
    std::vector<std::pair<std::string, double>> timings;      ///< [s], longest first
    std::vector<std::pair<std::string, std::string>> details; ///< other scalars, as text with units
    /// JSON of the values that hold for the whole object: "start_model", else "model"; empty: none.
    std::string start_model;
    /// Numbers of the group "ring" [mm]: centre_x, centre_y, outer_radius, …; empty: no such group.
    std::map<std::string, double> ring;
    std::string default_data; ///< name of the data that viewers open; empty: not said
    std::vector<ProductData> data;
};
/// The data of this name that have maps; null when there are none.
const ProductData* find_data(const ProductStage& stage, const std::string& name);

struct Products {
    std::string title;
    std::vector<ProductStage> stages; ///< in the order of the pipeline
    std::vector<std::string> notes;   ///< what is in the files but has no picture
};

/// Finds stages and data in all `*.nxs` of a folder, or in the one file given, by their NX_class
/// attributes.
/// @throws Error when the folder is missing, no file holds a stage, or a file cannot be read.
Products read_products(const std::filesystem::path& folder);

/// Values [y, x] of a map; integers are converted. Not thread-safe.
std::vector<double> read_map_values(const ProductStage& stage, const ProductMap& map);
/// Standard deviations [y, x], empty when the map has none. Not thread-safe.
std::vector<double> read_map_errors(const ProductStage& stage, const ProductMap& map);

/// "0 converged, 1 at a bound" → {0: "converged", 1: "at a bound"}; also with ':' or '=' after the
/// code.
std::map<int, std::string> parse_meanings(const std::string& text);

} // namespace xrdct::report
