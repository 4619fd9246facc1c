// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "conditioning/line_order.hpp"
#include "conditioning/normalisation.hpp"
#include "conditioning/outliers.hpp"
#include "conditioning/stripes.hpp"
#include "jobs/settings/job.hpp"

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace xrdct::condition {

/// How the recorded data of `xrdct condition` lie on disk.
enum class ConditionKind {
    automatic,
    sinogram, ///< one array [rotation, translation, channel] in any order
    patterns, ///< one array [frame, channel], as xrdct integrate and pyFAI write it
    lines,    ///< one array [translation, channel] per rotation, in numbered files or datasets
};

/// How frames become points.
enum class FrameOrder {
    automatic, ///< by their positions where the file has them, else as stated
    positions, ///< by the motors' positions
    lines,     ///< line after line, the translation being the fast axis
};

using conditioning::FlipLines;

/// What a step that changes single values or gains does with what it finds.
enum class Treat { off, report, correct, mask };

/// Whether a reading of the scan divides the data.
enum class Use { automatic, off, on };

/// What is subtracted as air scatter.
enum class AirScatter { none, pattern, edges };

/// The job of `xrdct condition`. Paths are absolute or relative to the job file's folder.
struct ConditionJob {
    std::string title;
    std::filesystem::path source; ///< the job file
    std::filesystem::path output; ///< folder
    settings::InputSettings input;
    settings::GeometrySettings geometry; ///< wavelength, energy, distance and beam width
    ConditionKind kind = ConditionKind::automatic;
    std::string exposure; ///< dataset of the exposure times
    long first = 1;       ///< number of the first line
    long count = 0;       ///< lines; 0: rotations
    /// File(s) with monitor and transmission, and the number of the first one; empty: as the data.
    std::filesystem::path counter_file;
    long counter_first = 0;

    FrameOrder order = FrameOrder::automatic;
    long rotations = 0, translations = 0; ///< stated sizes; 0: from the file
    std::vector<std::size_t> lost;        ///< places without a frame
    double tolerance = 0.25;              ///< steps
    FlipLines flip = FlipLines::automatic;
    bool backward_even = false;          ///< which lines a lag displaces
    std::optional<double> lag;           ///< steps; nullopt: measure it
    std::vector<std::size_t> drop_lines; ///< rotations left out, as stored
    bool drop_last = false;

    Use use_monitor = Use::automatic;
    Use use_exposure = Use::automatic;
    double flux_limit = 0.1;                    ///< of the median
    double exposure_time = settings::not_given; ///< s, per frame
    double dead_time = 0;                       ///< s; 0: none
    conditioning::DeadTimeModel dead_time_model = conditioning::DeadTimeModel::non_paralysable;
    bool relative_transmission = false;

    AirScatter air = AirScatter::none;
    std::filesystem::path air_file;
    std::string air_dataset;
    double air_scale = 1;
    long air_edge = 5; ///< translations on either side
    bool air_attenuated = false;

    bool dead_channels = true;
    std::vector<std::pair<double, double>> excluded; ///< deg

    Treat spots = Treat::report;
    conditioning::OutlierOptions spot_options;
    Treat stripes = Treat::report;
    conditioning::StripeOptions stripe_options;
    Treat scaling = Treat::report;

    std::optional<double> axis; ///< mm; nullopt: find it
    bool centre = true;         ///< put the axis at translation 0
    double bin_rotation = 1, bin_translation = 1, bin_channel = 1;
    std::vector<double> crop_rotation, crop_translation, crop_two_theta; ///< empty, or from, to
    bool crop_symmetric = false;

    settings::NoiseModel noise = settings::NoiseModel::automatic;

    std::string resolved; ///< the whole job with every default filled in, as TOML
};

/// Reads a job from TOML text, as parse_job.
ConditionJob parse_condition_job(const std::string& text, const std::filesystem::path& source,
                                 const std::vector<std::string>& overrides = {});

/// Every key with type, unit, default and meaning.
std::vector<settings::SettingDescription> condition_job_reference();

/// Whether a name holds a place for a number, such as %06d.
bool is_numbered(const std::string& name);
/// The name with the number in it: %d, %6d and %06d are understood. Throws Error naming it for
/// anything else behind a %.
std::string numbered(const std::string& name, long number);

} // namespace xrdct::condition
