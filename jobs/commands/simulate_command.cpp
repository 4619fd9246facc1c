// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/commands/commands.hpp"

#include "base/error.hpp"
#include "base/names.hpp"
#include "base/units.hpp"
#include "jobs/commands/simulate_frames.hpp"
#include "jobs/commands/simulate_job.hpp"
#include "jobs/commands/simulate_options.hpp"
#include "jobs/program/command_line.hpp"
#include "jobs/program/program.hpp"
#include "jobs/program/progress.hpp"
#include "jobs/program/provenance.hpp"
#include "jobs/program/version.hpp"
#include "mpi/comm/communicator.hpp"
#include "mpi/comm/decomposition.hpp"
#include "mpi/files/text_file.hpp"
#include "mpi/nexus/nexus.hpp"
#include "mpi/nexus/product_file.hpp"
#include "phantom/body_simulator.hpp"
#include "phantom/scan_simulator.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <optional>
#include <span>
#include <tuple>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace xrdct::commands {

namespace {

/// Single values of a phase.
void write_phase_truth(const phantom::Simulation& simulator, const std::string& name,
                       hdf5::Group& group) {
    for (const auto& phase : simulator.phases()) {
        if (phase.name != name)
            continue;
        if (!phase.varying_size)
            nexus::write_value(group, "crystallite_size", phase.crystallite_size,
                               {"angstrom", "crystallite size"});
        if (phase.march != 1)
            nexus::write_value(group, "march", phase.march, {"", ""});
    }
}

/// Widths of the instrument, its radial scale and the separator's peak.
void write_scan_truth(const phantom::Simulation& simulator, hdf5::Group& truth) {
    const auto& scan = simulator.scan();
    auto group = nexus::require_class(truth, "instrument", "NXcollection");
    const auto& profile = scan.profile;
    for (const auto& [name, value] :
         {std::pair{"u", profile.u}, std::pair{"v", profile.v}, std::pair{"w", profile.w}})
        nexus::write_value(group, name, value, {"deg^2", ""});
    for (const auto& [name, value] : {std::pair{"x", profile.x}, std::pair{"y", profile.y}})
        nexus::write_value(group, name, value, {"deg", ""});
    nexus::write_value(group, "distance", scan.distance, {"mm", "axis to detector"});
    if (scan.separator_peak > 0) {
        nexus::write_value(group, "separator_d", scan.separator_d, {"angstrom", ""});
        nexus::write_value(group, "separator_fwhm", scan.separator_fwhm, {"deg", ""});
    }
}

/// Of every ray, on the root.
void write_transmission(const phantom::Simulation& simulator,
                        const std::vector<float>& transmission, hdf5::Group& truth) {
    auto group =
        nexus::require_data(truth, "rays", "transmission", {"rotation_angle", "translation"});
    nexus::write_axis(group, "rotation_angle", simulator.rotation(), {"deg", "rotation angle"});
    nexus::write_axis(group, "translation", simulator.translation(), {"mm", "translation"});
    group.write_array("transmission", {simulator.n_rotations(), simulator.n_translations()},
                      std::span<const float>(transmission));
}

void write_truth(const phantom::Simulation& simulator, double scale,
                 const std::vector<float>& transmission, const mpi::Communicator& world,
                 const std::filesystem::path& path, bool force, const std::string& settings,
                 const std::string& date) {
    const auto axis = simulator.axis();
    const std::size_t n = axis.size();
    const auto rows = mpi::block_range(n, static_cast<std::size_t>(world.size()),
                                       static_cast<std::size_t>(world.rank()));
    auto maps =
        world.collectively([&] { return simulator.truth_rows(rows.begin, rows.end, scale); });
    for (auto& map : maps)
        map.values = world.gather(map.values);
    world.collectively([&] {
        if (!world.is_root())
            return;
        auto product =
            nexus::ProductFile::create(path, force ? nexus::ProductFile::Existing::replace
                                                   : nexus::ProductFile::Existing::refuse);
        {
            auto root = product.root();
            nexus::write_root(root, program_version, revision(), date);
            auto entry = nexus::require_class(root, "entry", "NXentry");
            auto truth = nexus::require_class(entry, "truth", "NXprocess");
            truth.write_string("program", "xrdct simulate");
            truth.write_string("settings", settings);
            if (simulator.scan().exit_rays != phantom::ExitRays::straight)
                truth.write_string("exit_rays",
                                   std::string(phantom::to_string(simulator.scan().exit_rays)));
            write_scan_truth(simulator, truth);
            write_transmission(simulator, transmission, truth);
            for (const auto& map : maps) {
                const std::string name = map.phase.empty() ? "maps" : map.phase;
                const bool first = !truth.has_group(name);
                auto group = first ? nexus::require_data(truth, name, map.quantity, {"y", "x"})
                                   : truth.open_group(name);
                nexus::write_map(group, map.quantity, map.values, n, n, {map.units, map.quantity});
                if (first) {
                    nexus::write_axis(group, "y", axis, {"mm", "y"});
                    nexus::write_axis(group, "x", axis, {"mm", "x"});
                    write_phase_truth(simulator, map.phase, group);
                    if (!map.phase.empty())
                        nexus::set_default(group);
                }
            }
        }
        product.commit();
    });
}

struct OutputFiles {
    std::filesystem::path folder, scan, truth, job, told_job;
    explicit OutputFiles(const std::filesystem::path& where)
        : folder(where), scan(where / "scan.nxs"), truth(where / "truth.nxs"),
          job(where / "job.toml"), told_job(where / "job_with_truth.toml") {}

    /// Refuses to replace files without `force` and makes the folder.
    void prepare(bool force) const {
        for (const auto& path :
             {scan, truth, job, told_job, folder / "standard.xye", folder / "instrument.toml"})
            if (std::filesystem::exists(path) && !force)
                throw Error(fmt::format("{} exists; --force replaces it", path.string()));
        std::error_code code;
        std::filesystem::create_directories(folder / "cif", code);
        if (code)
            throw Error(
                fmt::format("{}: the folder cannot be made: {}", folder.string(), code.message()));
    }
};

/// Simulates the rotations of this rank in two passes, because the noise depends on the brightest
/// values of the whole scan: simulate() and write().
class ScanProduction {
  public:
    ScanProduction(const phantom::Simulation& simulator, std::uint64_t memory,
                   const mpi::Communicator& world)
        : simulator_(simulator), world_(world),
          rotations_(mpi::block_range(simulator.n_rotations(),
                                      static_cast<std::size_t>(world.size()),
                                      static_cast<std::size_t>(world.rank()))),
          row_(simulator.n_translations() * simulator.n_channels()),
          keep_(4.0 * static_cast<double>(row_) * static_cast<double>(simulator.n_rotations()) <=
                static_cast<double>(memory)),
          intensity_(keep_ ? row_ * rotations_.size() : row_),
          transmission_(simulator.n_translations() * rotations_.size()),
          progress_("simulate", rotations_.size() * (keep_ ? 1 : 2), world.is_root()) {}

    /// Returns the factor from simulated intensities to mean counts. Collective.
    double simulate() {
        phantom::LogHistogram histogram;
        world_.collectively([&] {
            for (std::size_t i = rotations_.begin; i < rotations_.end; ++i) {
                simulator_.simulate_rotation(i, line_of(i), transmission_of(i));
                histogram.add(line_of(i));
                progress_.update(i + 1 - rotations_.begin);
            }
        });
        std::vector<std::int64_t> bins(histogram.bins().begin(), histogram.bins().end());
        world_.allreduce(std::span<std::int64_t>(bins), mpi::Reduction::sum);
        std::copy(bins.begin(), bins.end(), histogram.bins().begin());
        return world_.collectively([&] { return simulator_.counts_scale(histogram); });
    }

    /// Writes the counts of this rank's rotations. Collective.
    void write(double scale, hdf5::Dataset& stored, hdf5::Dataset* stored_transmission) {
        const std::size_t n_translation = simulator_.n_translations();
        world_.collectively([&] {
            std::vector<float> scratch(n_translation);
            for (std::size_t i = rotations_.begin; i < rotations_.end; ++i) {
                if (!keep_) {
                    simulator_.simulate_rotation(i, line_of(i), scratch);
                    progress_.update(rotations_.size() + i + 1 - rotations_.begin);
                }
                simulator_.finish_rotation(i, scale, line_of(i));
                stored.write(
                    hdf5::Selection{{i, 0, 0}, {1, n_translation, simulator_.n_channels()}},
                    std::span<const float>(line_of(i)));
                if (stored_transmission != nullptr)
                    stored_transmission->write(hdf5::Selection{{i, 0}, {1, n_translation}},
                                               std::span<const float>(transmission_of(i)));
            }
        });
    }

    /// Of all rays, on the root. Collective.
    std::vector<float> transmission() const { return world_.gather(transmission_); }

    void finish() { progress_.finish(); }

  private:
    std::span<float> line_of(std::size_t i) {
        return std::span<float>(intensity_)
            .subspan(keep_ ? (i - rotations_.begin) * row_ : 0, row_);
    }
    std::span<float> transmission_of(std::size_t i) {
        const std::size_t n = simulator_.n_translations();
        return std::span<float>(transmission_).subspan((i - rotations_.begin) * n, n);
    }

    const phantom::Simulation& simulator_;
    const mpi::Communicator& world_;
    mpi::BlockRange rotations_;
    std::size_t row_; ///< values of a rotation
    bool keep_;       ///< the noise-free scan stays in memory between the passes
    std::vector<float> intensity_, transmission_;
    program::Progress progress_;
};

/// Instrument and sample of the scan's entry.
void describe_instrument(hdf5::Group& entry, const phantom::Simulation& simulator) {
    const auto& scan = simulator.scan();
    auto instrument = nexus::require_class(entry, "instrument", "NXinstrument");
    auto beam = nexus::require_class(instrument, "beam", "NXbeam");
    nexus::write_value(beam, "incident_wavelength", scan.wavelength, {"angstrom", ""});
    beam.write_array("extent", {2},
                     std::span<const double>(std::vector<double>{scan.beam_width, 0.003}))
        .set_attribute("units", "mm");
    auto detector = nexus::require_class(instrument, "detector", "NXdetector");
    nexus::write_value(detector, "distance", simulator.distance(), {"mm", ""});
    auto sample = nexus::require_class(entry, "sample", "NXsample");
    sample.write_string("name", simulator.sample());
}

struct WrittenScan {
    double scale = 0;                ///< from simulated intensities to counts
    std::vector<float> transmission; ///< [rotation][translation], on the root
};

/// Simulates the scan and writes it. Collective.
WrittenScan write_scan(const phantom::Simulation& simulator, const SimulateOptions& o,
                       const std::filesystem::path& path, std::string& date,
                       const mpi::Communicator& world) {
    ScanProduction production(simulator, o.memory, world);
    const double scale = production.simulate();
    date = nexus::now_utc();
    world.broadcast(date);
    auto product = nexus::ProductFile::create(path,
                                              o.force ? nexus::ProductFile::Existing::replace
                                                      : nexus::ProductFile::Existing::refuse,
                                              &world);
    {
        auto root = product.root();
        nexus::write_root(root, program_version, revision(), date);
        auto entry = nexus::require_class(root, "entry", "NXentry");
        entry.write_string("title", simulator.sample());
        entry.write_string("start_time", date);
        entry.write_string("settings", o.settings);
        describe_instrument(entry, simulator);
        auto data = nexus::require_data(entry, "data", "intensity",
                                        {"rotation_angle", "translation", "two_theta"});
        nexus::write_axis(data, "rotation_angle", simulator.rotation(), {"deg", "rotation angle"});
        nexus::write_axis(data, "translation", simulator.translation(), {"mm", "translation"});
        nexus::write_axis(data, "two_theta", simulator.two_theta(), {"deg", "2theta"});
        auto stored = data.create_dataset(
            "intensity", hdf5::ElementType::float32,
            {simulator.n_rotations(), simulator.n_translations(), simulator.n_channels()});
        stored.set_attribute("units", "counts");
        std::optional<hdf5::Dataset> measured;
        if (o.transmission)
            measured = data.create_dataset("transmission", hdf5::ElementType::float32,
                                           {simulator.n_rotations(), simulator.n_translations()});
        nexus::set_default(data);
        production.write(scale, stored, measured ? &*measured : nullptr);
    }
    product.commit();
    production.finish();
    return {scale, production.transmission()};
}

std::unique_ptr<const phantom::Simulation> make_simulation(const SimulateOptions& o) {
    if (o.body)
        return std::make_unique<phantom::BodySimulator>(*o.body, o.scan);
    return std::make_unique<phantom::ScanSimulator>(o.cell, o.scan);
}

void write_jobs(const phantom::Simulation& simulator, const OutputFiles& out,
                const SimulateOptions& o) {
    std::vector<std::string> written;
    for (const auto& phase : simulator.phases())
        if (std::find(written.begin(), written.end(), phase.structure) == written.end()) {
            const auto& structure = phantom::structure_file(phase.structure);
            files::write_text_file(out.folder / "cif" / structure.file_name(), structure.text);
            written.push_back(phase.structure);
        }
    SampleKnowledge known{o.unnamed, o.transmission, o.body.has_value(), "LP30", 0};
    if (o.body)
        std::tie(known.filling, known.filling_density) = phantom::filling_of(*o.body);
    write_calibration(simulator, out.folder);
    files::write_text_file(out.job, untold_job(simulator, known));
    files::write_text_file(out.told_job, told_job(simulator, known));
}

void check_unnamed(const std::string& unnamed, const phantom::Simulation& simulator) {
    std::vector<std::string> names;
    for (const auto& phase : simulator.phases())
        names.push_back(phase.name);
    if (!unnamed.empty() && std::find(names.begin(), names.end(), unnamed) == names.end())
        throw Error(fmt::format("--unnamed: '{}' is no phase of this sample{}; there are {}",
                                unnamed, nearest_hint(unnamed, names), fmt::join(names, ", ")));
}

void announce(const OutputFiles& out, const std::string& integrate, double scale, bool json) {
    if (!integrate.empty())
        fmt::print(stderr, "the frames are integrated by\n  {}\n", integrate);
    if (json)
        fmt::print("{}\n", nlohmann::json{{"scan", out.scan.string()},
                                          {"truth", out.truth.string()},
                                          {"job", out.job.string()},
                                          {"integrate", integrate},
                                          {"counts_scale", scale}}
                               .dump(1));
    else
        fmt::print(stderr, "{}, {}, {}\n", out.scan.string(), out.truth.string(), out.job.string());
}

} // namespace

int command_simulate(const std::vector<std::string>& arguments) {
    SimulateOptions o;
    if (!read_simulate_options(arguments, o))
        return 0;
    return program::run_on_ranks([&](const mpi::Communicator& world) {
        const auto simulator = world.collectively([&] { return make_simulation(o); });
        const OutputFiles out(o.folder);
        world.collectively([&] {
            check_unnamed(o.unnamed, *simulator);
            if (world.is_root())
                out.prepare(o.force);
        });
        std::string date;
        const WrittenScan written = write_scan(*simulator, o, out.scan, date, world);
        write_truth(*simulator, written.scale, written.transmission, world, out.truth, o.force,
                    o.settings, date);
        std::string integrate;
        if (o.frames)
            integrate =
                write_frames(dynamic_cast<const phantom::ScanSimulator&>(*simulator), written.scale,
                             o.detector, out.folder / "frames", o.force, world);
        world.collectively([&] {
            if (!world.is_root())
                return;
            write_jobs(*simulator, out, o);
            announce(out, integrate, written.scale, o.json);
        });
    });
}

} // namespace xrdct::commands
