// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/commands/integrate_options.hpp"

#include "base/error.hpp"
#include "base/text.hpp"
#include "base/units.hpp"
#include "jobs/program/command_line.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include <fmt/format.h>

namespace xrdct::commands {

namespace {

/// Options whose words and numbers are read into something else.
struct IntegrateWords {
    std::string unit = "2theta", splitting = "none", estimator = "mean", noise = "auto",
                bad_frames = "mask", negative = "auto", dummy, rotations, translations,
                fast = "translation", layout = "auto";
    double from = NAN, to = NAN, polarization = NAN, wavelength = NAN, energy = NAN;
    long channels = 0, iterations = 0, saturation = -1;
};

constexpr const char* vector_kinds[] = {"rotation-angle", "translation",  "monitor",
                                        "exposure-time",  "transmission", "time"};

void declare_detector(program::CommandLine& line, IntegrateOptions& o, IntegrateWords& words) {
    line.optional("poni", o.poni, "FILE",
                  "detector geometry, a pyFAI calibration (versions 1 and 2)");
    line.optional("output", o.output, "FILE", "NeXus file to write");
    line.list(
        "mask", o.masks, "FILE",
        "pixels to leave out (not 0): .edf, .npy, .cbf, .h5 or file.h5::/dataset; may be repeated");
    line.flag("no-gaps", "do not mask the gaps between the modules of Pilatus and Eiger detectors");
    line.optional("dark", o.dark, "FILE", "image to subtract; formats as for --mask");
    line.optional("flat", o.flat, "FILE", "image to divide by; formats as for --mask");
    line.flag("no-solid-angle", "do not divide by the pixels' solid angle");
    line.optional("polarization", words.polarization, "FACTOR",
                  "divide by the polarisation of this factor: 1 horizontal, -1 vertical, 0 none "
                  "(default: leave it in)");
    line.option("polarization-axis", o.settings.polarization_axis, "DEG",
                "turn of the polarisation from the detector's fast axis");
}

void declare_integration(program::CommandLine& line, IntegrateOptions& o, IntegrateWords& words) {
    line.option("unit", words.unit, "UNIT",
                "of the channels: 2theta [deg], q [1/angstrom], radius [mm]");
    line.option("channels", words.channels, "N", "radial channels");
    line.optional("min", words.from, "VALUE",
                  "lower edge of the first channel (default: of the pixels)");
    line.optional("max", words.to, "VALUE",
                  "upper edge of the last channel (default: of the pixels)");
    line.option("splitting", words.splitting, "HOW",
                "of pixels over channels: none, or bbox (spread over their radial extent)");
    line.option("estimator", words.estimator, "NAME", "mean, trimmed-mean, median or sigma-clip");
    line.option("trim", o.settings.trim, "FRACTION",
                "of the pixels of a channel cut off at each end, trimmed mean");
    line.option("sigma", o.settings.threshold, "N",
                "standard deviations beyond which pixels are left out, sigma clip");
    line.option("iterations", words.iterations, "N", "at most, sigma clip");
    line.option(
        "errors", words.noise, "FROM",
        "counts (Poisson), scatter (of the pixels of a channel) or auto: counts for whole numbers");
    line.optional("wavelength", words.wavelength, "ANGSTROM",
                  "in place of the one in the .poni file");
    line.optional("energy", words.energy, "KEV", "the same as photon energy");
    line.optional("dataset", o.series.dataset, "PATH",
                  "of the frames in HDF5 files, * for a series (default: found)");
    line.optional("saturation", words.saturation, "COUNTS",
                  "larger values are not valid (default: as the file says of its detector, or what "
                  "the number type cannot hold)");
    line.option("negative", words.negative, "HOW",
                "values in frames that are no whole numbers: invalid (marks of pixels without a "
                "value), measured (a dark was subtracted) or auto: by the first frame");
    line.optional("dummy", words.dummy, "VALUE[:TOLERANCE]",
                  "pixels of this value have none (EDF headers may state it themselves)");
    line.option("bad-frames", words.bad_frames, "HOW",
                "missing or damaged frames: mask (no values, and a note) or refuse");
}

void declare_scan(program::CommandLine& line, IntegrateOptions& o, IntegrateWords& words) {
    line.optional("rotations", words.rotations, "FIRST:STEP:N", "rotations of the scan [deg]");
    line.optional("translations", words.translations, "FIRST:STEP:N", "translations [mm]");
    line.option("fast", words.fast, "AXIS",
                "what changes from frame to frame: translation or rotation");
    line.flag("snake", "every other line of the scan runs backwards");
    line.optional(
        "positions", o.positions, "FILE",
        "table with a line of names (rotation_angle, translation, monitor, exposure_time, "
        "transmission, time; deg, mm, s) and a line per frame");
    for (const char* kind : vector_kinds)
        line.optional<std::string>(
            fmt::format("{}-dataset", kind).c_str(), "PATH",
            "of the values in the HDF5 files, one per frame (default: beside the "
            "frames)");
    for (const char* kind : vector_kinds)
        line.optional<std::string>(
            fmt::format("{}-header", kind).c_str(), "KEY[:UNIT]",
            "of the value in the headers of CBF and EDF frames, or the name of an "
            "ESRF motor or counter");
    line.option("layout", words.layout, "LAYOUT",
                "auto (a sinogram where the positions form a grid) or patterns");
    line.optional("text", o.text, "FILE", "of one frame: columns 2theta, intensity, error");
    line.flag("force", "replace files that exist");
    line.flag("json", "print a summary as JSON on stdout");
    line.positionals("frames", o.frames);
}

void take_choices(const program::CommandLine& line, const IntegrateWords& words,
                  IntegrateOptions& o) {
    using integration::Estimator;
    using integration::PixelSplitting;
    using integration::RadialUnit;
    auto& s = o.settings;
    s.unit = program::choice<RadialUnit>(
        words.unit, "--unit",
        {{"2theta", RadialUnit::two_theta}, {"q", RadialUnit::q}, {"radius", RadialUnit::radius}});
    s.splitting = program::choice<PixelSplitting>(
        words.splitting, "--splitting",
        {{"none", PixelSplitting::none}, {"bbox", PixelSplitting::bounding_box}});
    s.estimator = program::choice<Estimator>(words.estimator, "--estimator",
                                             {{"mean", Estimator::mean},
                                              {"trimmed-mean", Estimator::trimmed_mean},
                                              {"median", Estimator::median},
                                              {"sigma-clip", Estimator::sigma_clip}});
    program::choice(words.noise, "--errors", {"auto", "counts", "scatter"});
    o.noise_given = words.noise != "auto";
    s.noise = words.noise == "scatter" ? integration::ErrorSource::scatter
                                       : integration::ErrorSource::counts;
    using Negative = frames::FrameSeries::Negative;
    o.series.negative = program::choice<Negative>(words.negative, "--negative",
                                                  {{"auto", Negative::automatic},
                                                   {"invalid", Negative::invalid},
                                                   {"measured", Negative::measured}});
    program::choice(words.bad_frames, "--bad-frames", {"mask", "refuse"});
    o.mask_bad_frames = o.series.skip_unreadable = words.bad_frames == "mask";
    program::choice(words.fast, "--fast", {"translation", "rotation"});
    program::choice(words.layout, "--layout", {"auto", "patterns"});
    o.patterns = words.layout == "patterns";
    o.order = {words.fast == "rotation", line.has("snake")};
}

void take_numbers(const program::CommandLine& line, const IntegrateWords& words,
                  IntegrateOptions& o) {
    auto& s = o.settings;
    if (words.channels < 1)
        throw Error(fmt::format("--channels: must be positive, is {}", words.channels));
    s.channels = static_cast<std::size_t>(words.channels);
    s.iterations = static_cast<int>(std::clamp(words.iterations, 0L, 1000L));
    if (!std::isnan(words.from))
        s.from = words.from;
    if (!std::isnan(words.to))
        s.to = words.to;
    if (!std::isnan(words.polarization))
        s.polarization = words.polarization;
    s.solid_angle = !line.has("no-solid-angle");
    if (line.has("saturation")) {
        if (words.saturation < 1 || words.saturation > 0x7ffffffe)
            throw Error(fmt::format("--saturation: must lie between 1 and 2147483646, is {}",
                                    words.saturation));
        o.saturation = static_cast<std::int32_t>(words.saturation);
    }
    if (line.has("dummy")) {
        const auto colon = words.dummy.find(':');
        o.series.dummy = finite_number(words.dummy.substr(0, colon));
        const auto tolerance = colon == std::string::npos
                                   ? std::optional(0.0)
                                   : finite_number(words.dummy.substr(colon + 1));
        if (!o.series.dummy || !tolerance || *tolerance < 0)
            throw Error(fmt::format("--dummy: a number, or a number and a tolerance with a colon "
                                    "between them, is expected, is '{}'",
                                    words.dummy));
        o.series.dummy_tolerance = *tolerance;
    }
    if (!std::isnan(words.wavelength) && !std::isnan(words.energy))
        throw Error("--energy: give the wavelength or the energy, not both");
    for (const auto& [value, name] :
         {std::pair{words.wavelength, "--wavelength"}, {words.energy, "--energy"}})
        if (!std::isnan(value) && !(value > 0 && std::isfinite(value)))
            throw Error(fmt::format("{}: must be positive, is {}", name, value));
    if (!std::isnan(words.energy))
        o.wavelength = wavelength_from_energy(words.energy);
    else if (!std::isnan(words.wavelength))
        o.wavelength = words.wavelength;
    o.gaps = !line.has("no-gaps");
}

/// Where frames lie in the scan: a regular grid, a table, datasets or headers.
void take_positions(const program::CommandLine& line, const IntegrateWords& words,
                    IntegrateOptions& o) {
    if (words.rotations.empty() != words.translations.empty())
        throw Error("--rotations and --translations go together");
    if (!words.rotations.empty()) {
        if (!o.positions.empty())
            throw Error("--positions: give the positions or the regular grid (--rotations, "
                        "--translations), not both");
        o.rotations = frames::parse_regular_axis(words.rotations, "--rotations");
        o.translations = frames::parse_regular_axis(words.translations, "--translations");
    }
    for (const std::string kind : vector_kinds) {
        std::string name = kind;
        std::replace(name.begin(), name.end(), '-', '_');
        if (line.has(kind + "-dataset"))
            o.series.vectors[name] = line.get<std::string>(kind + "-dataset");
        if (!line.has(kind + "-header"))
            continue;
        if (line.has(kind + "-dataset"))
            throw Error(
                fmt::format("--{0}-header: give a header key or --{0}-dataset, not both", kind));
        if (o.rotations && (kind == "rotation-angle" || kind == "translation"))
            throw Error(fmt::format("--{}-header: give the positions or the regular grid "
                                    "(--rotations, --translations), not both",
                                    kind));
        o.series.headers[name] = line.get<std::string>(kind + "-header");
    }
}

void check_targets(const IntegrateOptions& o) {
    for (const auto& target : {o.output, o.text}) {
        if (target.empty())
            continue;
        const std::filesystem::path path = target;
        if (!path.parent_path().empty() && !std::filesystem::is_directory(path.parent_path()))
            throw Error(
                fmt::format("{}: there is no folder {}", target, path.parent_path().string()));
        if (std::filesystem::exists(path) && !o.force)
            throw Error(fmt::format("{} exists; --force replaces it", target));
    }
}

} // namespace

bool read_integrate_options(const std::vector<std::string>& arguments, IntegrateOptions& o) {
    program::CommandLine line(
        "integrate", "integrate detector frames to powder patterns",
        "FRAMES... --poni FILE --output FILE [options]",
        "mpirun -n 4 xrdct integrate 'scan/line_*.h5' --poni ceria.poni --mask "
        "mask.edf --rotations 0:0.9:200 --translations -5:0.05:201 --output scan.nxs");
    IntegrateWords words;
    words.channels = static_cast<long>(o.settings.channels);
    words.iterations = o.settings.iterations;
    declare_detector(line, o, words);
    declare_integration(line, o, words);
    declare_scan(line, o, words);
    if (!line.parse(arguments))
        return false;
    if (o.frames.empty())
        throw Error("xrdct integrate: no frames are given; see xrdct integrate --help");
    for (const auto& [value, name] : {std::pair{&o.poni, "--poni"}, {&o.output, "--output"}})
        if (value->empty())
            throw Error(fmt::format("xrdct integrate: {} is needed", name));
    take_choices(line, words, o);
    take_numbers(line, words, o);
    take_positions(line, words, o);
    o.force = line.has("force");
    o.json = line.has("json");
    check_targets(o);
    return true;
}

} // namespace xrdct::commands
