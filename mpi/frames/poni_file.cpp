// SPDX-License-Identifier: BSD-3-Clause
#include "mpi/frames/poni_file.hpp"

#include "base/error.hpp"
#include "base/text.hpp"
#include "mpi/files/text_file.hpp"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>
#include <optional>
#include <regex>
#include <sstream>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace xrdct::frames {

namespace {

using Block = std::map<std::string, std::string>;

/// mm; pixels of detectors that a file may name without stating their size, as pyFAI names them
/// (its aliases and classes, case, blanks and punctuation aside). Names are known whole: a family
/// that comes later may begin like an old one (Pilatus4 like Pilatus) and have other pixels.
std::optional<double> pixel_of_detector(std::string name) {
    name.erase(
        std::remove_if(name.begin(), name.end(), [](unsigned char c) { return !std::isalnum(c); }),
        name.end());
    name = lower_case(name);
    static const std::pair<std::regex, double> families[] = {
        {std::regex("pilatus[23]?[xsr]?(cdte)?([123]00kw?|900kw?|[126]m)?"), 0.172},
        {std::regex("pilatus4[xsr]?(cdte)?(260kw?|[124]m)?"), 0.150},
        {std::regex("eiger2?x?r?e?s?i?(cdte)?(250k|500k|1mw?|2mw|4m|9m|16m)?"), 0.075},
        {std::regex("lambda(60k|250k|350k|750k|15m|2m|75m|10m|9m)?"), 0.055},
        {std::regex("maxipix(1x1|2x2|5x1)?"), 0.055},
        {std::regex("perkin(elmer|detector)?"), 0.200},
        {std::regex("dexela2923"), 0.075}};
    for (const auto& [family, size] : families)
        if (std::regex_match(name, family))
            return size;
    return std::nullopt;
}

double number_of(const std::string& text, const std::string& key, const std::string& path) {
    if (const auto value = finite_number(text))
        return *value;
    throw Error(fmt::format("{}: {} is '{}', a number is expected", path, key, text));
}

/// The calibrations of a file, keys in lower case. A key that comes again begins a new block, and
/// so does the comment that pyFAI puts before it.
std::vector<Block> blocks_of(const std::string& text, const std::string& where) {
    std::istringstream lines(text);
    std::vector<Block> blocks(1);
    for (std::string line; std::getline(lines, line);) {
        line = trimmed(line);
        if (line.empty())
            continue;
        if (line[0] == '#') {
            if (!blocks.back().empty())
                blocks.emplace_back();
            continue;
        }
        const auto colon = line.find(':');
        if (colon == std::string::npos)
            throw Error(fmt::format("{}: '{}' is no line of a .poni file (key: value)", where,
                                    line.substr(0, 40)));
        const std::string key = lower_case(line.substr(0, colon));
        if (blocks.back().count(key) != 0)
            blocks.emplace_back();
        blocks.back()[key] = trimmed(line.substr(colon + 1));
    }
    if (blocks.back().empty())
        blocks.pop_back();
    if (blocks.empty())
        throw Error(fmt::format("{}: holds no calibration", where));
    return blocks;
}

/// The value of a key in the last block that has it.
std::optional<std::string> anywhere(const std::vector<Block>& blocks, const std::string& key) {
    for (auto block = blocks.rbegin(); block != blocks.rend(); ++block)
        if (const auto found = block->find(key); found != block->end())
            return found->second;
    return std::nullopt;
}

/// The number of a key that the last block must have.
double required(const std::vector<Block>& blocks, const char* key, const std::string& where) {
    const auto found = blocks.back().find(lower_case(key));
    if (found == blocks.back().end())
        throw Error(fmt::format("{}: {} is missing{}", where, key,
                                blocks.size() > 1
                                    ? fmt::format(" in the last of {} calibrations, the one "
                                                  "that counts",
                                                  blocks.size())
                                    : ""));
    return number_of(found->second, key, where);
}

/// Pixel sizes and shape from pyFAI's description of the detector, as JSON.
void read_detector_config(const std::string& text, const std::string& where,
                          integration::DetectorGeometry& geometry) {
    const auto config = nlohmann::json::parse(text, nullptr, false);
    if (!config.is_object())
        throw Error(fmt::format("{}: Detector_config is no JSON object", where));
    const auto read = [&](const char* key, double& target) {
        if (!config.contains(key) || config[key].is_null())
            return;
        if (!config[key].is_number())
            throw Error(fmt::format("{}: '{}' in Detector_config is no number", where, key));
        target = 1000 * config[key].get<double>();
    };
    read("pixel1", geometry.pixel_1);
    read("pixel2", geometry.pixel_2);
    // 0: not stated.
    if (config.contains("orientation") && !config["orientation"].is_null() &&
        config["orientation"] != 0) {
        const auto& orientation = config["orientation"];
        if (!orientation.is_number_integer() || orientation < 1 || orientation > 4)
            throw Error(fmt::format("{}: detector orientation {} is not read; 1 to 4 are (the "
                                    "corner of the first pixel, 3: lower left, seen from the "
                                    "sample)",
                                    where, orientation.dump()));
        geometry.orientation = orientation.get<int>();
    }
    for (const char* key : {"filename", "splineFile"})
        if (config.contains(key) && config[key].is_string() &&
            !config[key].get<std::string>().empty())
            throw Error(fmt::format("{}: the detector is described by {}; only flat detectors "
                                    "with equal pixels are read",
                                    where, config[key].get<std::string>()));
    if (config.contains("max_shape") && config["max_shape"].is_array() &&
        config["max_shape"].size() == 2 && config["max_shape"][0].is_number_unsigned() &&
        config["max_shape"][1].is_number_unsigned()) {
        geometry.rows = config["max_shape"][0].get<std::size_t>();
        geometry.columns = config["max_shape"][1].get<std::size_t>();
    }
}

void read_detector(const std::vector<Block>& blocks, const std::string& where, PoniFile& file) {
    auto& geometry = file.geometry;
    file.detector = anywhere(blocks, "detector").value_or("");
    if (const auto size = anywhere(blocks, "pixelsize1"))
        geometry.pixel_1 = 1000 * number_of(*size, "PixelSize1", where);
    if (const auto size = anywhere(blocks, "pixelsize2"))
        geometry.pixel_2 = 1000 * number_of(*size, "PixelSize2", where);
    if (const auto text = anywhere(blocks, "detector_config"); text && !text->empty())
        read_detector_config(*text, where, geometry);
    for (const auto& [target, key] :
         {std::pair{&geometry.pixel_1, "PixelSize1"}, {&geometry.pixel_2, "PixelSize2"}}) {
        if (*target == 0)
            *target = pixel_of_detector(file.detector).value_or(0);
        if (*target == 0)
            throw Error(fmt::format("{}: {} is missing{}", where, key,
                                    file.detector.empty()
                                        ? ""
                                        : fmt::format(", and the pixels of a detector '{}' are "
                                                      "not known",
                                                      file.detector)));
    }
}

} // namespace

PoniFile read_poni_file(const std::filesystem::path& path) {
    const std::string where = path.string();
    const std::vector<Block> blocks = blocks_of(files::read_text_file(path), where);
    PoniFile file;
    file.blocks = static_cast<int>(blocks.size());
    if (const auto version = anywhere(blocks, "poni_version")) {
        const double value = number_of(*version, "poni_version", where);
        if (!(value >= 1 && value < 3))
            throw Error(fmt::format("{}: poni_version {} is not read; 1 and 2 are", where, value));
        file.version = static_cast<int>(value);
    }
    auto& geometry = file.geometry;
    const std::pair<const char*, double*> lengths[] = {
        {"Distance", &geometry.distance}, {"Poni1", &geometry.poni_1}, {"Poni2", &geometry.poni_2}};
    const std::pair<const char*, double*> angles[] = {{"Rot1", &geometry.rotation_1},
                                                      {"Rot2", &geometry.rotation_2},
                                                      {"Rot3", &geometry.rotation_3}};
    for (const auto& [key, target] : lengths)
        *target = 1000 * required(blocks, key, where);
    for (const auto& [key, target] : angles)
        *target = required(blocks, key, where);
    if (const auto wavelength = anywhere(blocks, "wavelength"); wavelength && *wavelength != "None")
        geometry.wavelength = 1e10 * number_of(*wavelength, "Wavelength", where);
    if (const auto spline = anywhere(blocks, "splinefile");
        spline && !spline->empty() && *spline != "None")
        throw Error(fmt::format("{}: the detector's distortion ({}) is not corrected here; "
                                "integrate undistorted frames",
                                where, *spline));
    read_detector(blocks, where, file);
    auto checked = geometry;
    checked.rows = checked.columns = 1;
    try {
        checked.check();
    } catch (const Error& error) {
        throw Error(fmt::format("{}: {}", where, error.what()));
    }
    return file;
}

std::string poni_text(const integration::DetectorGeometry& g, const std::string& comment) {
    return fmt::format("# {}\nponi_version: 2.1\nDetector: Detector\n"
                       "Detector_config: {{\"pixel1\": {}, \"pixel2\": {}, \"max_shape\": [{}, "
                       "{}], \"orientation\": {}}}\nDistance: {}\nPoni1: {}\nPoni2: {}\nRot1: "
                       "{}\nRot2: {}\nRot3: {}\n"
                       "Wavelength: {}\n",
                       comment, 1e-3 * g.pixel_1, 1e-3 * g.pixel_2, g.rows, g.columns,
                       g.orientation, 1e-3 * g.distance, 1e-3 * g.poni_1, 1e-3 * g.poni_2,
                       g.rotation_1, g.rotation_2, g.rotation_3, 1e-10 * g.wavelength);
}

} // namespace xrdct::frames
