#include "base/error.hpp"
#include "base/units.hpp"
#include "integration/azimuthal_integrator.hpp"
#include "integration/detector_gaps.hpp"
#include "jobs/commands/pattern_writer.hpp"
#include "jobs/program/command_line.hpp"
#include "jobs/program/program.hpp"
#include "jobs/program/progress.hpp"
#include "jobs/program/version.hpp"
#include "jobs/settings/settings.hpp"
#include "mpi/comm/communicator.hpp"
#include "mpi/comm/decomposition.hpp"
#include "mpi/files/checksum.hpp"
#include "mpi/files/text_file.hpp"
#include "mpi/frames/frame_series.hpp"
#include "mpi/frames/poni_file.hpp"
#include "mpi/frames/scan_grid.hpp"
#include "mpi/nexus/nexus.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace xrdct::commands {

namespace {

/// Everything the command line says.
struct IntegrateOptions {
    std::vector<std::string> frames;
    std::string poni, output, dark, flat, positions, text;
    std::vector<std::string> masks;
    frames::FrameSeries::Options series;
    integration::IntegrationSettings settings;
    bool noise_given = false;
    bool gaps = true;
    std::optional<std::int32_t> saturation;
    std::optional<double> wavelength; ///< Å
    std::optional<frames::RegularAxis> rotations, translations;
    frames::ScanOrder order;
    bool mask_bad_frames = true;
    bool patterns = false; ///< [frame, channel] even if there is a grid
    bool force = false, json = false;
};

/// False when --help was asked for.
bool read_options(const std::vector<std::string>& arguments, IntegrateOptions& o) {
    std::string unit = "2theta", splitting = "none", estimator = "mean", noise = "auto",
                bad_frames = "mask", rotations, translations, fast = "translation", layout = "auto";
    double from = NAN, to = NAN, polarization = NAN, wavelength = NAN, energy = NAN;
    long channels = static_cast<long>(o.settings.channels), iterations = o.settings.iterations,
         saturation = -1;

    program::CommandLine line(
        "integrate", "integrate detector frames to powder patterns",
        "FRAMES... --poni FILE --output FILE [options]",
        "mpirun -n 4 xrdct integrate 'scan/line_*.h5' --poni ceria.poni --mask "
        "mask.edf --rotations 0:0.9:200 --translations -5:0.05:201 --output scan.nxs");
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
    line.optional("polarization", polarization, "FACTOR",
                  "divide by the polarisation of this factor: 1 horizontal, -1 vertical, 0 none "
                  "(default: leave it in)");
    line.option("polarization-axis", o.settings.polarization_axis, "DEG",
                "turn of the polarisation from the detector's fast axis");
    line.option("unit", unit, "UNIT", "of the channels: 2theta [deg], q [1/angstrom], radius [mm]");
    line.option("channels", channels, "N", "radial channels");
    line.optional("min", from, "VALUE", "lower edge of the first channel (default: of the pixels)");
    line.optional("max", to, "VALUE", "upper edge of the last channel (default: of the pixels)");
    line.option("splitting", splitting, "HOW",
                "of pixels over channels: none, or bbox (spread over their radial extent)");
    line.option("estimator", estimator, "NAME", "mean, trimmed-mean, median or sigma-clip");
    line.option("trim", o.settings.trim, "FRACTION",
                "of the pixels of a channel cut off at each end, trimmed mean");
    line.option("sigma", o.settings.threshold, "N",
                "standard deviations beyond which pixels are left out, sigma clip");
    line.option("iterations", iterations, "N", "at most, sigma clip");
    line.option(
        "errors", noise, "FROM",
        "counts (Poisson), scatter (of the pixels of a channel) or auto: counts for whole numbers");
    line.optional("wavelength", wavelength, "ANGSTROM", "in place of the one in the .poni file");
    line.optional("energy", energy, "KEV", "the same as photon energy");
    line.optional("dataset", o.series.dataset, "PATH",
                  "of the frames in HDF5 files, * for a series (default: found)");
    line.optional("saturation", saturation, "COUNTS",
                  "larger values are not valid (default: what the number type cannot hold)");
    line.option("bad-frames", bad_frames, "HOW",
                "missing or damaged frames: mask (no values, and a note) or refuse");
    line.optional("rotations", rotations, "FIRST:STEP:N", "rotations of the scan [deg]");
    line.optional("translations", translations, "FIRST:STEP:N", "translations [mm]");
    line.option("fast", fast, "AXIS", "what changes from frame to frame: translation or rotation");
    line.flag("snake", "every other line of the scan runs backwards");
    line.optional(
        "positions", o.positions, "FILE",
        "table with a line of names (rotation_angle, translation, monitor, exposure_time, "
        "transmission, time; deg, mm, s) and a line per frame");
    for (const char* kind :
         {"rotation-angle", "translation", "monitor", "exposure-time", "transmission", "time"})
        line.optional<std::string>(
            fmt::format("{}-dataset", kind).c_str(), "PATH",
            "of the values in the HDF5 files, one per frame (default: beside the "
            "frames)");
    for (const char* kind :
         {"rotation-angle", "translation", "monitor", "exposure-time", "transmission", "time"})
        line.optional<std::string>(
            fmt::format("{}-header", kind).c_str(), "KEY[:UNIT]",
            "of the value in the headers of CBF and EDF frames, or the name of an "
            "ESRF motor or counter");
    line.option("layout", layout, "LAYOUT",
                "auto (a sinogram where the positions form a grid) or patterns");
    line.optional("text", o.text, "FILE", "of one frame: columns 2theta, intensity, error");
    line.flag("force", "replace files that exist");
    line.flag("json", "print a summary as JSON on stdout");
    line.positionals("frames", o.frames);
    if (!line.parse(arguments))
        return false;

    if (o.frames.empty())
        throw Error("xrdct integrate: no frames are given; see xrdct integrate --help");
    for (const auto& [value, name] : {std::pair{&o.poni, "--poni"}, {&o.output, "--output"}})
        if (value->empty())
            throw Error(fmt::format("xrdct integrate: {} is needed", name));
    auto& s = o.settings;
    program::choice(unit, "--unit", {"2theta", "q", "radius"});
    s.unit = unit == "q"        ? integration::RadialUnit::q
             : unit == "radius" ? integration::RadialUnit::radius
                                : integration::RadialUnit::two_theta;
    program::choice(splitting, "--splitting", {"none", "bbox"});
    s.splitting = splitting == "bbox" ? integration::PixelSplitting::bounding_box
                                      : integration::PixelSplitting::none;
    program::choice(estimator, "--estimator", {"mean", "trimmed-mean", "median", "sigma-clip"});
    s.estimator = estimator == "trimmed-mean" ? integration::Estimator::trimmed_mean
                  : estimator == "median"     ? integration::Estimator::median
                  : estimator == "sigma-clip" ? integration::Estimator::sigma_clip
                                              : integration::Estimator::mean;
    program::choice(noise, "--errors", {"auto", "counts", "scatter"});
    o.noise_given = noise != "auto";
    s.noise =
        noise == "scatter" ? integration::ErrorSource::scatter : integration::ErrorSource::counts;
    program::choice(bad_frames, "--bad-frames", {"mask", "refuse"});
    o.mask_bad_frames = o.series.skip_unreadable = bad_frames == "mask";
    program::choice(fast, "--fast", {"translation", "rotation"});
    program::choice(layout, "--layout", {"auto", "patterns"});
    o.patterns = layout == "patterns";
    o.order = {fast == "rotation", line.has("snake")};
    if (channels < 1)
        throw Error(fmt::format("--channels: must be positive, is {}", channels));
    s.channels = static_cast<std::size_t>(channels);
    s.iterations = static_cast<int>(std::clamp(iterations, 0L, 1000L));
    if (!std::isnan(from))
        s.from = from;
    if (!std::isnan(to))
        s.to = to;
    if (!std::isnan(polarization))
        s.polarization = polarization;
    s.solid_angle = !line.has("no-solid-angle");
    if (line.has("saturation")) {
        if (saturation < 1 || saturation > 0x7ffffffe)
            throw Error(
                fmt::format("--saturation: must lie between 1 and 2147483646, is {}", saturation));
        o.saturation = static_cast<std::int32_t>(saturation);
    }
    if (!std::isnan(wavelength) && !std::isnan(energy))
        throw Error("--energy: give the wavelength or the energy, not both");
    for (const auto& [value, name] : {std::pair{wavelength, "--wavelength"}, {energy, "--energy"}})
        if (!std::isnan(value) && !(value > 0 && std::isfinite(value)))
            throw Error(fmt::format("{}: must be positive, is {}", name, value));
    if (!std::isnan(energy))
        wavelength = wavelength_from_energy(energy);
    if (!std::isnan(wavelength))
        o.wavelength = wavelength;
    o.gaps = !line.has("no-gaps");
    if (rotations.empty() != translations.empty())
        throw Error("--rotations and --translations go together");
    if (!rotations.empty()) {
        if (!o.positions.empty())
            throw Error("--positions: give the positions or the regular grid (--rotations, "
                        "--translations), not both");
        o.rotations = frames::parse_regular_axis(rotations, "--rotations");
        o.translations = frames::parse_regular_axis(translations, "--translations");
    }
    for (const std::string kind :
         {"rotation-angle", "translation", "monitor", "exposure-time", "transmission", "time"}) {
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
    o.force = line.has("force");
    o.json = line.has("json");
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
    return true;
}

/// Geometry of the .poni file for frames of this shape.
integration::DetectorGeometry geometry_for(const frames::PoniFile& poni,
                                           const frames::FrameSeries& series,
                                           const IntegrateOptions& o) {
    integration::DetectorGeometry geometry = poni.geometry;
    if (geometry.rows != 0 &&
        (geometry.rows != series.rows() || geometry.columns != series.columns()))
        throw Error(fmt::format("{}: is of a detector of {} x {} pixels, the frames have {} x {}",
                                o.poni, geometry.rows, geometry.columns, series.rows(),
                                series.columns()));
    geometry.rows = series.rows();
    geometry.columns = series.columns();
    if (o.wavelength)
        geometry.wavelength = *o.wavelength;
    return geometry;
}

std::vector<std::uint8_t> combined_mask(const frames::FrameSeries& series,
                                        const IntegrateOptions& o,
                                        std::vector<std::string>& notes) {
    const std::size_t rows = series.rows(), columns = series.columns();
    std::vector<std::uint8_t> mask(rows * columns, 0);
    for (const auto& name : o.masks) {
        const auto values = frames::read_detector_image(name, rows, columns, "mask").as_float();
        for (std::size_t p = 0; p < mask.size(); ++p)
            mask[p] |= values[p] != 0;
    }
    if (!series.pixel_mask().empty())
        for (std::size_t p = 0; p < mask.size(); ++p)
            mask[p] |= series.pixel_mask()[p] != 0;
    if (const auto grid = integration::module_grid(rows, columns); grid && o.gaps)
        if (const auto n = integration::mask_gaps(*grid, rows, columns, mask); n > 0)
            notes.push_back(
                fmt::format("{} pixels between the modules of a {} are masked", n, grid->name));
    return mask;
}

/// What one rank found out about its frames.
struct BadFrame {
    std::size_t frame;
    std::string message;
};

std::vector<BadFrame> gather_bad(const std::vector<BadFrame>& own, const mpi::Communicator& world) {
    nlohmann::json list = nlohmann::json::array();
    for (const auto& bad : own)
        list.push_back({bad.frame, bad.message});
    std::vector<BadFrame> all;
    for (const auto& text :
         world.gather(list.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)))
        for (const auto& bad : nlohmann::json::parse(text))
            all.push_back({bad[0].get<std::size_t>(), bad[1].get<std::string>()});
    return all;
}

std::string pattern_text(const integration::AzimuthalIntegrator& integrator,
                         std::span<const float> intensity, std::span<const float> errors,
                         const std::string& source) {
    std::string text = fmt::format("# {}\n", source);
    if (const double wavelength = integrator.geometry().wavelength; wavelength > 0)
        text += fmt::format("# Wavelength: {} angstrom\n", wavelength);
    text += "# 2theta [deg], intensity, standard deviation\n";
    const auto centres = integrator.two_theta();
    for (std::size_t k = 0; k < centres.size(); ++k)
        if (std::isfinite(intensity[k]))
            text += fmt::format("{:.7f} {:.8g} {:.8g}\n", centres[k], intensity[k], errors[k]);
    return text;
}

void integrate(const IntegrateOptions& o, const std::vector<std::string>& arguments,
               const mpi::Communicator& world) {
    program::Timings timings;
    auto series = frames::FrameSeries::open(o.frames, o.series, world);
    std::vector<std::string> notes = series.notes();
    const auto poni = world.collectively([&] { return frames::read_poni_file(o.poni); });
    if (poni.blocks > 1)
        notes.push_back(
            fmt::format("{} holds {} calibrations; the last one is used", o.poni, poni.blocks));
    auto settings = o.settings;
    if (!o.noise_given && !series.integer()) {
        settings.noise = settings.splitting == integration::PixelSplitting::none
                             ? integration::ErrorSource::scatter
                             : integration::ErrorSource::counts;
        if (settings.splitting != integration::PixelSplitting::none)
            notes.push_back("the frames are no whole numbers: errors from counting statistics "
                            "suppose that they are counts all the same");
    }
    const std::int32_t saturation =
        std::min(o.saturation.value_or(0x7ffffffe), series.saturation());
    if (!o.text.empty() && series.size() != 1)
        throw Error(fmt::format("--text: is for one frame, there are {}", series.size()));

    const auto integrator = world.collectively([&] {
        const auto image = [&](const std::string& name, const char* what) {
            return name.empty()
                       ? std::vector<float>()
                       : frames::read_detector_image(name, series.rows(), series.columns(), what)
                             .as_float();
        };
        return integration::AzimuthalIntegrator(
            geometry_for(poni, series, o), combined_mask(series, o, notes), image(o.dark, "dark"),
            image(o.flat, "flat"), settings);
    });

    auto vectors = series.vectors();
    std::optional<frames::ScanGrid> grid;
    world.collectively([&] {
        if (!o.positions.empty())
            read_positions_table(o.positions, series.size(), vectors);
        if (o.rotations) {
            grid = regular_grid(*o.rotations, *o.translations, o.order, series.size());
            const std::size_t n = grid->translation.size();
            vectors.rotation_angle.clear();
            vectors.translation.clear();
            for (const auto point : grid->point) {
                vectors.rotation_angle.push_back(grid->rotation[point / n]);
                vectors.translation.push_back(grid->translation[point % n]);
            }
        } else {
            grid = frames::grid_of_positions(vectors.rotation_angle, vectors.translation);
        }
        if (o.patterns)
            grid.reset();
        else if (!grid && !vectors.rotation_angle.empty() && !vectors.translation.empty())
            notes.push_back("the positions form no exact grid: the patterns keep theirs, and xrdct "
                            "condition arranges them");
    });

    const std::size_t n_frames = series.size(), channels = integrator.channels();
    PatternsInfo info;
    info.title = fmt::format("integrated frames of {}", series.parts().front().file);
    info.frames = n_frames;
    info.two_theta = integrator.two_theta();
    info.unit = settings.unit;
    info.radial = integrator.centres();
    info.pixels = integrator.pixels();
    info.pixels_per_frame = settings.estimator == integration::Estimator::sigma_clip;
    info.counts = series.integer();
    info.wavelength = integrator.geometry().wavelength;
    info.distance = integrator.geometry().beam_distance();
    info.solid_angle_corrected = settings.solid_angle;
    info.polarization_corrected = settings.polarization.has_value();
    info.vectors = vectors;
    info.grid = grid;

    program::Provenance provenance;
    provenance.stage = "integrate";
    provenance.settings = "xrdct integrate";
    for (const auto& argument : arguments)
        provenance.settings += " " + argument;
    provenance.job = provenance.settings;
    provenance.ranks = world.size();
    provenance.date = nexus::now_utc();
    world.broadcast(provenance.date);
    auto inputs = world.collectively([&] {
        std::vector<std::string> list;
        if (world.is_root()) {
            std::vector<std::string> files{o.poni};
            for (const auto& name : o.masks)
                files.push_back(name.substr(0, name.find("::")));
            for (const auto& name : {o.dark, o.flat, o.positions})
                if (!name.empty())
                    files.push_back(name.substr(0, name.find("::")));
            for (const auto& file : files) {
                list.push_back(file);
                list.push_back(files::sha256_of_file(file));
            }
        }
        return list;
    });
    world.broadcast(inputs);
    for (std::size_t i = 0; i + 1 < inputs.size(); i += 2)
        provenance.inputs[inputs[i]] = inputs[i + 1];
    timings.lap("prepare");

    PatternWriter writer(o.output, o.force, info, provenance, world);
    const auto own = mpi::block_range(n_frames, static_cast<std::size_t>(world.size()),
                                      static_cast<std::size_t>(world.rank()));
    constexpr std::size_t batch = 32;
    std::vector<float> intensity(batch * channels), errors(batch * channels),
        kept(batch * channels);
    std::vector<std::int32_t> invalid(batch);
    std::vector<BadFrame> bad;
    std::int64_t invalid_total = 0;
    integration::AzimuthalIntegrator::Workspace workspace;
    frames::Image frame;
    program::Progress progress("integrate", own.size(), world.is_root());
    world.collectively([&] {
        for (const auto& piece : mpi::split_range(own, batch)) {
            for (std::size_t i = piece.begin; i < piece.end; ++i) {
                const std::size_t slot = i - piece.begin;
                const auto part = [&](std::vector<float>& values) {
                    return std::span<float>(values).subspan(slot * channels, channels);
                };
                try {
                    series.read(i, frame);
                } catch (const Error& error) {
                    if (!o.mask_bad_frames)
                        throw;
                    bad.push_back({i, error.what()});
                    std::fill(part(intensity).begin(), part(intensity).end(), NAN);
                    std::fill(part(errors).begin(), part(errors).end(), NAN);
                    std::fill(part(kept).begin(), part(kept).end(), 0.0F);
                    invalid[slot] = static_cast<std::int32_t>(integrator.pixels_used());
                    continue;
                }
                const std::size_t n =
                    frame.integer ? integrator.integrate(frame.counts, saturation, workspace,
                                                         part(intensity), part(errors), part(kept))
                                  : integrator.integrate(frame.values, workspace, part(intensity),
                                                         part(errors), part(kept));
                invalid[slot] = static_cast<std::int32_t>(n);
                invalid_total += static_cast<std::int64_t>(n);
                progress.update(i + 1 - own.begin);
            }
            const std::size_t n = piece.size() * channels;
            writer.write(piece.begin, std::span(intensity).first(n), std::span(errors).first(n),
                         std::span(kept).first(n), std::span(invalid).first(piece.size()));
        }
    });
    timings.lap("integrate");
    const auto all_bad = gather_bad(bad, world);
    const auto bad_count =
        world.allreduce(static_cast<std::int64_t>(bad.size()), mpi::Reduction::sum);
    const auto invalid_pixels = world.allreduce(invalid_total, mpi::Reduction::sum);
    if (static_cast<std::size_t>(bad_count) == n_frames) {
        std::string first = world.is_root() ? all_bad.front().message : "";
        world.broadcast(first);
        throw Error(fmt::format("no frame could be read; the first: {}", first));
    }
    writer.commit(timings);
    progress.finish();
    if (!world.is_root())
        return;

    if (!o.text.empty())
        files::write_text_file(
            o.text, pattern_text(integrator, std::span(intensity).first(channels),
                                 std::span(errors).first(channels), series.parts().front().file));
    for (std::size_t i = 0; i < all_bad.size() && i < 10; ++i)
        notes.push_back(
            fmt::format("frame {} is masked: {}", all_bad[i].frame, all_bad[i].message));
    if (all_bad.size() > 10)
        notes.push_back(fmt::format("… and {} more frames", all_bad.size() - 10));
    if (invalid_pixels > 0)
        notes.push_back(fmt::format(
            "{} pixels outside the mask had no valid value, {:.3g} per "
            "frame; they are left out",
            invalid_pixels, static_cast<double>(invalid_pixels) / static_cast<double>(n_frames)));
    for (const auto& note : notes)
        fmt::print(stderr, "note: {}\n", note);
    const auto& pixels = integrator.pixels();
    const auto empty = std::count(pixels.begin(), pixels.end(), 0.0F);
    if (empty > 0)
        fmt::print(stderr, "note: {} of {} channels have no pixel and stay without values\n", empty,
                   channels);
    fmt::print(stderr,
               "{} frames of {} x {} pixels, {} of them used, {} channels between {:.6g} and "
               "{:.6g} {}\n",
               n_frames, series.rows(), series.columns(), integrator.pixels_used(), channels,
               integrator.from(), integrator.to(), unit_text(settings.unit));
    fmt::print(stderr, "written: {} ({})\n", o.output,
               grid ? fmt::format("sinogram, {} rotations x {} translations", grid->rotation.size(),
                                  grid->translation.size())
                    : "patterns");
    if (o.json) {
        nlohmann::json json{
            {"output", o.output},
            {"layout", grid ? "sinogram" : "patterns"},
            {"frames", n_frames},
            {"rows", series.rows()},
            {"columns", series.columns()},
            {"pixels_used", integrator.pixels_used()},
            {"channels", channels},
            {"range", {integrator.from(), integrator.to()}},
            {"unit", std::string(unit_text(settings.unit))},
            {"solid_angle_corrected", info.solid_angle_corrected},
            {"polarization_corrected", info.polarization_corrected},
            {"wavelength_angstrom", info.wavelength},
            {"distance_mm", info.distance},
            {"bad_frames", nlohmann::json::array()},
            {"invalid_pixels", invalid_pixels},
            {"notes", notes},
            {"seconds", timings.total()},
            {"frames_per_second", static_cast<double>(n_frames) / timings.parts().back().second}};
        for (const auto& one : all_bad)
            json["bad_frames"].push_back({{"frame", one.frame}, {"message", one.message}});
        fmt::print("{}\n", json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace));
    }
}

} // namespace

int command_integrate(const std::vector<std::string>& arguments) {
    IntegrateOptions options;
    if (!read_options(arguments, options))
        return 0;
    return program::run_on_ranks(
        [&](const mpi::Communicator& world) { integrate(options, arguments, world); });
}

} // namespace xrdct::commands
