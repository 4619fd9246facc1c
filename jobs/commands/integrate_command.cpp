// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/commands/commands.hpp"

#include "base/error.hpp"
#include "integration/azimuthal_integrator.hpp"
#include "integration/detector_gaps.hpp"
#include "jobs/commands/integrate_options.hpp"
#include "jobs/commands/pattern_writer.hpp"
#include "jobs/program/program.hpp"
#include "jobs/program/progress.hpp"
#include "jobs/program/version.hpp"
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

/// What integrate() works with, the same on all ranks.
struct Preparation {
    frames::FrameSeries series;
    integration::IntegrationSettings settings;
    std::optional<std::int32_t> limit; ///< larger values are not valid
    std::int32_t saturation;           ///< the same, of whole numbers
    integration::AzimuthalIntegrator integrator;
    frames::FrameVectors vectors;
    std::optional<frames::ScanGrid> grid;
    std::vector<std::string> notes;
};

/// The errors suit the numbers: frames that are no counts have none from counting statistics.
integration::IntegrationSettings settings_for(const frames::FrameSeries& series,
                                              const IntegrateOptions& o,
                                              std::vector<std::string>& notes) {
    auto settings = o.settings;
    if (!o.noise_given && !series.integer()) {
        settings.noise = settings.splitting == integration::PixelSplitting::none
                             ? integration::ErrorSource::scatter
                             : integration::ErrorSource::counts;
        if (settings.splitting != integration::PixelSplitting::none)
            notes.push_back("the frames are no whole numbers: errors from counting statistics "
                            "suppose that they are counts all the same");
    }
    return settings;
}

/// Positions of the frames and the grid they form, if they form one.
void find_positions(const IntegrateOptions& o, std::size_t n_frames, frames::FrameVectors& vectors,
                    std::optional<frames::ScanGrid>& grid, std::vector<std::string>& notes) {
    if (!o.positions.empty())
        read_positions_table(o.positions, n_frames, vectors);
    if (o.rotations) {
        grid = regular_grid(*o.rotations, *o.translations, o.order, n_frames);
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
}

Preparation prepare(const IntegrateOptions& o, const mpi::Communicator& world) {
    auto series = frames::FrameSeries::open(o.frames, o.series, world);
    std::vector<std::string> notes = series.notes();
    const auto poni = world.collectively([&] { return frames::read_poni_file(o.poni); });
    if (poni.blocks > 1)
        notes.push_back(
            fmt::format("{} holds {} calibrations; the last one is used", o.poni, poni.blocks));
    const auto settings = settings_for(series, o, notes);
    const auto limit = o.saturation ? o.saturation : series.limit();
    const std::int32_t saturation = std::min(limit.value_or(0x7ffffffe), series.saturation());
    if (!o.text.empty() && series.size() != 1)
        throw Error(fmt::format("--text: is for one frame, there are {}", series.size()));
    auto integrator = world.collectively([&] {
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
    world.collectively([&] { find_positions(o, series.size(), vectors, grid, notes); });
    return {std::move(series),     settings,           limit,           saturation,
            std::move(integrator), std::move(vectors), std::move(grid), std::move(notes)};
}

PatternsInfo describe(const Preparation& p) {
    PatternsInfo info;
    info.title = fmt::format("integrated frames of {}", p.series.parts().front().file);
    info.frames = p.series.size();
    info.two_theta = p.integrator.two_theta();
    info.unit = p.settings.unit;
    info.radial = p.integrator.centres();
    info.pixels = p.integrator.pixels();
    info.pixels_per_frame = p.settings.estimator == integration::Estimator::sigma_clip;
    info.counts = p.series.integer();
    info.wavelength = p.integrator.geometry().wavelength;
    info.distance = p.integrator.geometry().beam_distance();
    info.solid_angle_corrected = p.settings.solid_angle;
    info.polarization_corrected = p.settings.polarization.has_value();
    info.vectors = p.vectors;
    info.grid = p.grid;
    return info;
}

/// Collective.
program::Provenance provenance_of(const IntegrateOptions& o,
                                  const std::vector<std::string>& arguments,
                                  const mpi::Communicator& world) {
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
    return provenance;
}

/// Integrates this rank's frames and writes their patterns.
class FramesPass {
  public:
    FramesPass(Preparation& p, bool mask_bad_frames, PatternWriter& writer)
        : p_(p), mask_bad_frames_(mask_bad_frames), writer_(writer),
          channels_(p.integrator.channels()), intensity_(batch * channels_),
          errors_(batch * channels_), kept_(batch * channels_), invalid_(batch) {}

    /// Collective.
    void run(const mpi::Communicator& world) {
        const auto own = mpi::block_range(p_.series.size(), static_cast<std::size_t>(world.size()),
                                          static_cast<std::size_t>(world.rank()));
        progress_.emplace("integrate", own.size(), world.is_root());
        world.collectively([&] {
            for (const auto& piece : mpi::split_range(own, batch)) {
                for (std::size_t i = piece.begin; i < piece.end; ++i)
                    if (integrate_frame(i, i - piece.begin))
                        progress_->update(i + 1 - own.begin);
                const std::size_t n = piece.size() * channels_;
                writer_.write(piece.begin, std::span(intensity_).first(n),
                              std::span(errors_).first(n), std::span(kept_).first(n),
                              std::span(invalid_).first(piece.size()));
            }
        });
    }

    void finish() { progress_->finish(); }
    const std::vector<BadFrame>& bad() const { return bad_; }
    /// Pixels outside the mask without a valid value, over this rank's frames.
    std::int64_t invalid_pixels() const { return invalid_total_; }
    /// The first pattern of the last batch, for a series of one frame.
    std::span<const float> first_intensity() const {
        return std::span(intensity_).first(channels_);
    }
    std::span<const float> first_errors() const { return std::span(errors_).first(channels_); }

  private:
    static constexpr std::size_t batch = 32;

    std::span<float> part(std::vector<float>& values, std::size_t slot) const {
        return std::span<float>(values).subspan(slot * channels_, channels_);
    }

    /// Frame i into place `slot` of the batch; false for one that cannot be read and is masked.
    bool integrate_frame(std::size_t i, std::size_t slot) {
        try {
            p_.series.read(i, frame_);
        } catch (const Error& error) {
            if (!mask_bad_frames_)
                throw;
            bad_.push_back({i, error.what()});
            std::ranges::fill(part(intensity_, slot), NAN);
            std::ranges::fill(part(errors_, slot), NAN);
            std::ranges::fill(part(kept_, slot), 0.0F);
            invalid_[slot] = static_cast<std::int32_t>(p_.integrator.pixels_unmasked());
            return false;
        }
        // Whole numbers are compared while they are summed.
        for (float& value : frame_.values)
            if (p_.limit && value > static_cast<float>(*p_.limit))
                value = NAN;
        const std::size_t n =
            frame_.integer
                ? p_.integrator.integrate(frame_.counts, p_.saturation, workspace_,
                                          part(intensity_, slot), part(errors_, slot),
                                          part(kept_, slot))
                : p_.integrator.integrate(frame_.values, workspace_, part(intensity_, slot),
                                          part(errors_, slot), part(kept_, slot));
        invalid_[slot] = static_cast<std::int32_t>(n);
        invalid_total_ += static_cast<std::int64_t>(n);
        return true;
    }

    Preparation& p_;
    bool mask_bad_frames_;
    PatternWriter& writer_;
    std::size_t channels_;
    std::vector<float> intensity_, errors_, kept_; ///< [frame of the batch][channel]
    std::vector<std::int32_t> invalid_;            ///< pixels, per frame of the batch
    std::vector<BadFrame> bad_;
    std::int64_t invalid_total_ = 0;
    integration::AzimuthalIntegrator::Workspace workspace_;
    frames::Image frame_;
    std::optional<program::Progress> progress_;
};

/// What came out, on the root rank.
struct Outcome {
    std::vector<BadFrame> bad;
    std::int64_t invalid_pixels = 0;
    program::Timings timings;
};

void note_outcome(Preparation& p, const Outcome& outcome) {
    auto& notes = p.notes;
    const auto& bad = outcome.bad;
    for (std::size_t i = 0; i < bad.size() && i < 10; ++i)
        notes.push_back(fmt::format("frame {} is masked: {}", bad[i].frame, bad[i].message));
    if (bad.size() > 10)
        notes.push_back(fmt::format("… and {} more frames", bad.size() - 10));
    if (outcome.invalid_pixels > 0)
        notes.push_back(fmt::format("{} pixels outside the mask had no valid value, {:.3g} per "
                                    "frame; they are left out",
                                    outcome.invalid_pixels,
                                    static_cast<double>(outcome.invalid_pixels) /
                                        static_cast<double>(p.series.size())));
}

void print_outcome(const IntegrateOptions& o, const Preparation& p) {
    for (const auto& note : p.notes)
        fmt::print(stderr, "note: {}\n", note);
    const auto& pixels = p.integrator.pixels();
    const std::size_t channels = p.integrator.channels();
    const auto empty = std::count(pixels.begin(), pixels.end(), 0.0F);
    if (empty > 0)
        fmt::print(stderr, "note: {} of {} channels have no pixel and stay without values\n", empty,
                   channels);
    fmt::print(stderr,
               "{} frames of {} x {} pixels, {} of them used, {} channels between {:.6g} and "
               "{:.6g} {}\n",
               p.series.size(), p.series.rows(), p.series.columns(), p.integrator.pixels_used(),
               channels, p.integrator.from(), p.integrator.to(), unit_text(p.settings.unit));
    fmt::print(stderr, "written: {} ({})\n", o.output,
               p.grid ? fmt::format("sinogram, {} rotations x {} translations",
                                    p.grid->rotation.size(), p.grid->translation.size())
                      : "patterns");
}

void print_json(const IntegrateOptions& o, const Preparation& p, const PatternsInfo& info,
                const Outcome& outcome) {
    nlohmann::json json{{"output", o.output},
                        {"layout", p.grid ? "sinogram" : "patterns"},
                        {"frames", p.series.size()},
                        {"rows", p.series.rows()},
                        {"columns", p.series.columns()},
                        {"pixels_used", p.integrator.pixels_used()},
                        {"channels", p.integrator.channels()},
                        {"range", {p.integrator.from(), p.integrator.to()}},
                        {"unit", std::string(unit_text(p.settings.unit))},
                        {"solid_angle_corrected", info.solid_angle_corrected},
                        {"polarization_corrected", info.polarization_corrected},
                        {"wavelength_angstrom", info.wavelength},
                        {"distance_mm", info.distance},
                        {"bad_frames", nlohmann::json::array()},
                        {"invalid_pixels", outcome.invalid_pixels},
                        {"notes", p.notes},
                        {"seconds", outcome.timings.total()},
                        {"frames_per_second", static_cast<double>(p.series.size()) /
                                                  outcome.timings.parts().back().second}};
    for (const auto& one : outcome.bad)
        json["bad_frames"].push_back({{"frame", one.frame}, {"message", one.message}});
    fmt::print("{}\n", json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace));
}

void integrate(const IntegrateOptions& o, const std::vector<std::string>& arguments,
               const mpi::Communicator& world) {
    Outcome outcome;
    Preparation p = prepare(o, world);
    const PatternsInfo info = describe(p);
    const auto provenance = provenance_of(o, arguments, world);
    outcome.timings.lap("prepare");

    PatternWriter writer(o.output, o.force, info, provenance, world);
    FramesPass pass(p, o.mask_bad_frames, writer);
    pass.run(world);
    outcome.timings.lap("integrate");
    outcome.bad = gather_bad(pass.bad(), world);
    const auto bad_count =
        world.allreduce(static_cast<std::int64_t>(pass.bad().size()), mpi::Reduction::sum);
    outcome.invalid_pixels = world.allreduce(pass.invalid_pixels(), mpi::Reduction::sum);
    if (static_cast<std::size_t>(bad_count) == p.series.size()) {
        std::string first = world.is_root() ? outcome.bad.front().message : "";
        world.broadcast(first);
        throw Error(fmt::format("no frame could be read; the first: {}", first));
    }
    writer.commit(outcome.timings);
    pass.finish();
    if (!world.is_root())
        return;
    if (!o.text.empty())
        files::write_text_file(o.text,
                               pattern_text(p.integrator, pass.first_intensity(),
                                            pass.first_errors(), p.series.parts().front().file));
    note_outcome(p, outcome);
    print_outcome(o, p);
    if (o.json)
        print_json(o, p, info, outcome);
}

} // namespace

int command_integrate(const std::vector<std::string>& arguments) {
    IntegrateOptions options;
    if (!read_integrate_options(arguments, options))
        return 0;
    return program::run_on_ranks(
        [&](const mpi::Communicator& world) { integrate(options, arguments, world); });
}

} // namespace xrdct::commands
