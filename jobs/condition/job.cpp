// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/condition/job.hpp"

#include "base/error.hpp"
#include "jobs/settings/model_settings.hpp"
#include "jobs/settings/parse.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace xrdct::condition {

namespace {

/// The place for a number: begin and end of "%06d" in the name, its width and filling.
struct Place {
    std::size_t begin = std::string::npos, end = 0;
    int width = 0;
    bool zeros = false;
};

Place find_place(const std::string& name) {
    Place place;
    place.begin = name.find('%');
    if (place.begin == std::string::npos)
        return place;
    std::size_t at = place.begin + 1;
    if (at < name.size() && name[at] == '0') {
        place.zeros = true;
        ++at;
    }
    while (at < name.size() && name[at] >= '0' && name[at] <= '9' && place.width < 100)
        place.width = 10 * place.width + (name[at++] - '0');
    if (at >= name.size() || name[at] != 'd' || place.width > 20 ||
        name.find('%', at) != std::string::npos)
        throw Error(fmt::format("'{}': the place of the number is written %d or %06d, and there is "
                                "one of it",
                                name));
    place.end = at + 1;
    return place;
}

std::vector<std::size_t> counts(settings::Settings& s, const std::string& key,
                                const std::string& text) {
    std::vector<std::size_t> list;
    for (const double value : s.numbers(key, {}, "", text)) {
        require(value >= 0 && value == std::floor(value) && value < 1e15, s, key,
                fmt::format("expected indices from 0 on, found {}", value));
        list.push_back(static_cast<std::size_t>(value));
    }
    return list;
}

std::vector<double> range(settings::Settings& s, const std::string& key, const std::string& unit,
                          const std::string& text) {
    const auto values = s.numbers(key, {}, unit, text + "; empty: all");
    require(values.empty() || (values.size() == 2 && values[0] < values[1]), s, key,
            "expected two numbers, from and to");
    return values;
}

Treat treat(settings::Settings& s, const std::string& key, const std::string& correct, bool mask,
            const std::string& text) {
    std::vector<std::string> choices{"off", "report", correct};
    if (mask)
        choices.emplace_back("mask");
    const auto word = s.choice(key, "report", choices, text);
    return word == "off"      ? Treat::off
           : word == "report" ? Treat::report
           : word == "mask"   ? Treat::mask
                              : Treat::correct;
}

void read_input_table(settings::Settings& s, ConditionJob& job) {
    job.input = read_input(s, job.source);
    job.kind = settings::choose<ConditionKind>(
        s, "input.kind", job.kind,
        {{"auto", ConditionKind::automatic},
         {"sinogram", ConditionKind::sinogram},
         {"patterns", ConditionKind::patterns},
         {"lines", ConditionKind::lines}},
        "sinogram: one array with rotation, translation and radial axis; patterns: [frame, "
        "channel] (xrdct integrate, pyFAI); lines: [translation, channel] per rotation, in "
        "numbered "
        "files or datasets, whose names hold %d or %06d; auto: by the names and the axes");
    job.exposure =
        s.text("input.exposure_time", "",
               "dataset of the exposure times per frame [s]; empty: exposure_time beside "
               "the intensities, if there is one");
    job.first = s.integer("input.first", job.first, "number of the first line, for numbered names");
    job.count = s.integer("input.count", job.count,
                          "number of lines, for numbered names; 0: files as long as there are any");
    job.counter_file = settings::beside(
        job.source, s.text("input.counter_file", "",
                           "file of monitor and transmission where they lie in another one, "
                           "numbered or not"));
    job.counter_first = s.integer("input.counter_first", job.counter_first,
                                  "number of the first numbered counter file");
    require(job.count >= 0 && job.count < 1000000, s, "input.count",
            "must lie between 0 and 1000000");
    for (const auto& [name, key] : {std::pair{job.input.file.string(), "input.file"},
                                    {job.input.intensity, "input.intensity"},
                                    {job.input.monitor, "input.monitor"},
                                    {job.input.transmission, "input.transmission"},
                                    {job.counter_file.string(), "input.counter_file"}}) {
        try {
            find_place(name);
        } catch (const Error& error) {
            throw Error(fmt::format("{}: {}", s.where(key), error.what()));
        }
    }
    auto& geometry = job.geometry;
    geometry.wavelength = positive(s, "geometry.wavelength", geometry.wavelength, "angstrom",
                                   "wavelength; nan: from the file");
    geometry.energy = positive(s, "geometry.energy", geometry.energy, "keV",
                               "photon energy, instead of the wavelength");
    require(std::isnan(geometry.wavelength) || std::isnan(geometry.energy), s, "geometry.energy",
            "give the wavelength or the energy, not both");
    geometry.distance =
        positive(s, "geometry.distance", geometry.distance, "mm",
                 "distance from the rotation axis to the detector; nan: from the file");
    geometry.beam_width =
        positive(s, "geometry.beam_width", geometry.beam_width, "mm",
                 "width of the beam, kept in the scan that is written; nan: from the file");
}

void read_arrangement(settings::Settings& s, ConditionJob& job) {
    job.order = settings::choose<FrameOrder>(
        s, "arrange.order", job.order,
        {{"auto", FrameOrder::automatic},
         {"positions", FrameOrder::positions},
         {"lines", FrameOrder::lines}},
        "how frames become points: by the positions of the motors, or line "
        "after line, the translation being the fast axis (needs the ranges "
        "of [input]); auto: by positions where the file has them");
    job.rotations = s.integer("arrange.rotations", job.rotations,
                              "number of rotations of a scan that is stored line after line");
    job.translations = s.integer("arrange.translations", job.translations,
                                 "number of translations of a scan that is stored line after line");
    require(job.rotations >= 0, s, "arrange.rotations", "must not be negative");
    require(job.translations >= 0, s, "arrange.translations", "must not be negative");
    job.lost = counts(s, "arrange.lost",
                      "places in the order of acquisition, from 0, whose frame is not in the file");
    job.tolerance = s.number("arrange.tolerance", job.tolerance, "steps",
                             "frames farther from the grid of translations are left out");
    require(job.tolerance > 0 && job.tolerance <= 0.5, s, "arrange.tolerance",
            "must lie above 0 and not above 0.5");
    job.flip = settings::choose<FlipLines>(
        s, "arrange.flip", job.flip,
        {{"auto", FlipLines::automatic},
         {"none", FlipLines::none},
         {"odd", FlipLines::odd},
         {"even", FlipLines::even}},
        "lines that run backwards as stored and are turned, counted from 0; "
        "auto: odd ones if neighbouring lines are found to run against each "
        "other, none where positions decide");
    const auto backward = s.choice("arrange.backward", "auto", {"auto", "odd", "even"},
                                   "lines that a lag displaces; auto: those that are turned, else "
                                   "the odd ones");
    job.backward_even = backward == "even" || (backward == "auto" && job.flip == FlipLines::even);
    job.lag =
        s.number_or_word("arrange.lag", std::nullopt, "auto", "steps",
                         "displacement of the backward lines after turning, positive towards "
                         "higher translations; auto: measured, and undone where it is at least "
                         "a quarter of a step");
    require(!job.lag || std::abs(*job.lag) <= 100, s, "arrange.lag", "must lie within ±100");
    job.drop_lines = counts(s, "arrange.drop", "rotations left out, by index from 0 as stored");
    job.drop_last = s.boolean("arrange.drop_last", job.drop_last,
                              "leave out the last rotation (one that repeats the first mirrored)");
}

void read_normalisation(settings::Settings& s, ConditionJob& job) {
    const auto use = [&](const char* key, Use value, const char* text) {
        return settings::choose<Use>(
            s, key, value, {{"auto", Use::automatic}, {"off", Use::off}, {"on", Use::on}}, text);
    };
    job.use_monitor = use("normalise.monitor", job.use_monitor,
                          "divide by the monitor over its mean; auto: where the file has one");
    job.use_exposure = use(
        "normalise.exposure", job.use_exposure,
        "divide by the exposure time over its mean; auto: where the file has one and no monitor, "
        "which is taken to have counted as long as the detector");
    job.flux_limit = s.number("normalise.limit", job.flux_limit, "",
                              "points whose monitor or exposure is below this part of the median "
                              "are masked");
    require(job.flux_limit >= 0 && job.flux_limit < 1, s, "normalise.limit",
            "must lie between 0 and 1");
    job.dead_time = s.number("normalise.dead_time", job.dead_time, "s",
                             "dead time of a detector pixel, for intensities in counts per pixel "
                             "and frame; 0: no correction");
    require(job.dead_time >= 0 && job.dead_time < 1e-2, s, "normalise.dead_time",
            "must lie between 0 and 0.01 s");
    using conditioning::DeadTimeModel;
    job.dead_time_model = settings::choose<DeadTimeModel>(
        s, "normalise.dead_time_model", job.dead_time_model,
        {{"nonparalyzable", DeadTimeModel::non_paralysable},
         {"paralyzable", DeadTimeModel::paralysable}},
        "whether a count during the dead time prolongs it (paralyzable) or not");
    job.exposure_time = positive(
        s, "normalise.exposure_time", job.exposure_time, "s",
        "exposure time of every frame, for the correction of the dead time; nan: from the file");
    job.relative_transmission = s.boolean(
        "normalise.transmission", job.relative_transmission,
        "the transmission is a reading of the transmitted beam: divide it by the monitor, "
        "if there is one, and by its level at the ends of the lines (I/I0)");
}

void read_air(settings::Settings& s, ConditionJob& job) {
    job.air = settings::choose<AirScatter>(
        s, "air.method", job.air,
        {{"none", AirScatter::none},
         {"pattern", AirScatter::pattern},
         {"edges", AirScatter::edges}},
        "air scatter: subtract a measured pattern, or the mean pattern of the "
        "outermost translations");
    job.air_file =
        settings::beside(job.source, s.text("air.file", "",
                                            "measured pattern of the empty beam on the same "
                                            "channels (text or NeXus/HDF5)"));
    require((job.air == AirScatter::pattern) == !job.air_file.empty(), s, "air.file",
            "goes with air.method = \"pattern\"");
    job.air_dataset =
        s.text("air.intensity", "",
               "dataset of the measured pattern in air.file; empty: the file's default signal");
    job.air_scale = s.number("air.scale", job.air_scale, "",
                             "factor of the measured air scatter (ratio of exposures and fluxes)");
    require(std::isfinite(job.air_scale) && job.air_scale > 0, s, "air.scale", "must be positive");
    job.air_edge =
        s.integer("air.edge", job.air_edge, "translations at either end that see air only");
    require(job.air_edge >= 1, s, "air.edge", "must be at least 1");
    job.air_attenuated = s.boolean("air.attenuated", job.air_attenuated,
                                   "multiply the air scatter by the transmission: what comes from "
                                   "in front of the sample is absorbed in it");
}

void read_steps(settings::Settings& s, ConditionJob& job) {
    job.dead_channels = s.boolean("channels.dead", job.dead_channels,
                                  "mask channels that are constant or missing in the whole scan");
    job.excluded =
        s.intervals("channels.excluded", "deg", "regions [from, to] in 2theta that are masked");
    job.spots =
        treat(s, "spots.method", "weight", true,
              "values that none of the neighbouring rotations account for (single-crystal "
              "reflections, zingers, dropouts): report them, weight them down, or mask them");
    auto& spots = job.spot_options;
    spots.threshold = s.number("spots.threshold", spots.threshold, "standard deviations",
                               "a value this far beyond the range of its neighbours is a spot");
    require(spots.threshold >= 2, s, "spots.threshold", "must be at least 2");
    const long reach = s.integer("spots.rotations", static_cast<long>(spots.rotation_reach),
                                 "rotations on either side to compare with; more than a reflection "
                                 "lasts");
    require(reach >= 1 && reach <= 20, s, "spots.rotations", "must lie between 1 and 20");
    spots.rotation_reach = static_cast<std::size_t>(reach);
    spots.low = s.boolean("spots.low", spots.low, "seek spots that are too low, too (dropouts)");
    job.stripes = treat(s, "stripes.method", "correct", false,
                        "translations whose gain differs in all rotations (rings in the image)");
    job.stripe_options.threshold =
        s.number("stripes.threshold", job.stripe_options.threshold, "standard deviations",
                 "a gain this far from those of its neighbours is a stripe");
    job.stripe_options.smallest = s.number("stripes.smallest", job.stripe_options.smallest, "",
                                           "smallest error of a gain that counts as a stripe");
    require(job.stripe_options.threshold >= 2, s, "stripes.threshold", "must be at least 2");
    require(job.stripe_options.smallest > 0, s, "stripes.smallest", "must be positive");
    job.scaling = treat(s, "scaling.method", "total", false,
                        "bring all projections to the same total: for a beam that no monitor "
                        "recorded; wrong for samples that absorb or leave the field");
    job.axis = s.number_or_word("axis.offset", std::nullopt, "auto", "mm",
                                "translation of the rotation axis; auto: by mirrored projections "
                                "and by the centres of mass, which are to agree");
    job.centre = s.boolean("axis.centre", job.centre,
                           "count translations from the axis (nothing is interpolated)");
    for (const auto& [key, target] : {std::pair{"bin.rotation", &job.bin_rotation},
                                      {"bin.translation", &job.bin_translation},
                                      {"bin.channel", &job.bin_channel}}) {
        *target = s.number(key, *target, "", "bins this many times as wide, whole number or not");
        require(std::isfinite(*target) && *target >= 1, s, key, "must be at least 1");
    }
    job.crop_rotation = range(s, "crop.rotation", "deg", "rotations kept, from and to");
    job.crop_translation =
        range(s, "crop.translation", "mm", "translations kept, as written, from and to");
    job.crop_two_theta = range(s, "crop.two_theta", "deg", "channels kept, from and to");
    job.crop_symmetric = s.boolean("crop.symmetric", job.crop_symmetric,
                                   "keep only translations whose mirrored place was measured, too");
    using settings::NoiseModel;
    job.noise = settings::choose<NoiseModel>(
        s, "noise.model", job.noise,
        {{"auto", NoiseModel::automatic},
         {"errors", NoiseModel::errors},
         {"counts", NoiseModel::counts},
         {"estimate", NoiseModel::estimate}},
        "where variances come from: errors of the file, counts (Poisson, with pixels per channel "
        "where the file has them), an estimate from the scatter between channels; auto: errors, "
        "else counts where pixels or the unit say so, else the estimate, which is then not "
        "written");
}

ConditionJob read_condition_settings(settings::Settings& s, const std::filesystem::path& source) {
    ConditionJob job;
    job.source = source;
    job.title = s.text("title", "", "free text; empty: that of the scan");
    job.output = settings::beside(
        source, s.text("output", "conditioned", "folder of the results, relative to the job file"));
    read_input_table(s, job);
    read_arrangement(s, job);
    read_normalisation(s, job);
    read_air(s, job);
    read_steps(s, job);
    return job;
}

} // namespace

bool is_numbered(const std::string& name) {
    return find_place(name).begin != std::string::npos;
}

std::string numbered(const std::string& name, long number) {
    const Place place = find_place(name);
    if (place.begin == std::string::npos)
        return name;
    const std::string digits = place.zeros ? fmt::format("{:0{}}", number, place.width)
                                           : fmt::format("{:{}}", number, place.width);
    return name.substr(0, place.begin) + digits + name.substr(place.end);
}

ConditionJob parse_condition_job(const std::string& text, const std::filesystem::path& source,
                                 const std::vector<std::string>& overrides) {
    auto settings = settings::Settings::parse(text, source.string(), overrides);
    return settings::read_checked(settings, source, read_condition_settings,
                                  condition_job_reference);
}

std::vector<settings::SettingDescription> condition_job_reference() {
    return settings::reference_of("[input]\nfile = 'scan.nxs'\n", read_condition_settings,
                                  {"input.file"});
}

} // namespace xrdct::condition
