// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/commands/commands.hpp"

#include "base/error.hpp"
#include "base/names.hpp"
#include "base/units.hpp"
#include "jobs/commands/simulate_frames.hpp"
#include "jobs/commands/simulate_job.hpp"
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
#include "phantom/scan_simulator.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace xrdct::commands {

namespace {

std::vector<std::size_t> parse_indices(const std::string& text, const std::string& option) {
    // "3,7,20-29"
    std::vector<std::size_t> indices;
    std::size_t begin = 0;
    while (begin < text.size()) {
        const std::size_t end = std::min(text.find(',', begin), text.size());
        const std::string part = text.substr(begin, end - begin);
        const std::size_t dash = part.find('-');
        try {
            std::size_t used = 0;
            const std::size_t first = std::stoul(part, &used);
            std::size_t last = first;
            if (dash != std::string::npos)
                last = std::stoul(part.substr(dash + 1));
            if (last < first || (dash == std::string::npos && used != part.size()))
                throw std::invalid_argument("order");
            for (std::size_t i = first; i <= last; ++i)
                indices.push_back(i);
        } catch (const std::exception&) {
            throw Error(
                fmt::format("{}: '{}' is not a list of indices such as 3,7,20-29", option, text));
        }
        begin = end + 1;
    }
    return indices;
}

/// "NMC532=0.7"
phantom::CellDesign::Texture parse_texture(const std::string& text) {
    const std::size_t equals = text.find('=');
    try {
        if (equals == std::string::npos || equals == 0)
            throw std::invalid_argument("no name");
        std::size_t used = 0;
        const std::string number = text.substr(equals + 1);
        const double march = std::stod(number, &used);
        if (used != number.size())
            throw std::invalid_argument("more than a number");
        return {text.substr(0, equals), march};
    } catch (const std::exception&) {
        throw Error(fmt::format(
            "--march: '{}' is not a phase and its March coefficient, such as NMC532=0.7", text));
    }
}

/// Single values of a phase.
void write_phase_truth(const phantom::ScanSimulator& simulator, const std::string& name,
                       hdf5::Group& group) {
    for (const auto& phase : simulator.phases()) {
        if (phase.name != name)
            continue;
        nexus::write_value(group, "crystallite_size", phase.crystallite_size,
                           {"angstrom", "crystallite size"});
        if (phase.march != 1)
            nexus::write_value(group, "march", phase.march, {"", ""});
    }
}

/// Widths of the instrument, its radial scale and the separator's peak.
void write_scan_truth(const phantom::ScanSimulator& simulator, hdf5::Group& truth) {
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

void write_truth(const phantom::ScanSimulator& simulator, double scale,
                 const mpi::Communicator& world, const std::filesystem::path& path, bool force,
                 const std::string& settings, const std::string& date) {
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

/// What the command line says.
struct SimulateOptions {
    phantom::CellDesign cell;
    phantom::ScanDesign scan;
    FrameDetector detector;
    std::string folder = "simulated";
    std::uint64_t memory = 4'000'000'000ULL; ///< for the noise-free scan, over all ranks
    bool frames = false;                     ///< write raw detector frames, too
    bool force = false, json = false;
    std::string unnamed;  ///< phase that the job does not name
    std::string settings; ///< the command as it was given
};

/// Options whose words are read into something else.
struct SimulateWords {
    std::string preset = "mixed", missing, memory, exit_rays = "straight";
    std::vector<std::string> march;
    std::size_t seed = 1;
};

void declare_scan(program::CommandLine& line, SimulateOptions& o, SimulateWords& words) {
    line.option("output", o.folder, "FOLDER",
                "folder for scan.nxs, truth.nxs, job.toml, cif/ and instrument.toml; "
                "job_with_truth.toml starts at the truth");
    line.option("preset", words.preset, "NAME", "charged, discharged or mixed");
    line.option("translations", o.scan.translations, "N",
                "translations, and pixels per side of the truth");
    line.option("step", o.scan.step, "mm",
                "translation step; 0: 1.08 diameters over the translations");
    line.option("rotations", o.scan.rotations, "N", "rotations over the range");
    line.option("range", o.scan.rotation_range, "deg", "180 or 360, end excluded");
    line.optional("missing-rotations", words.missing, "LIST",
                  "indices left out, such as 3,7,20-29");
    line.option("channels", o.scan.channels, "N", "radial channels");
    line.option("first-channel", o.scan.two_theta_first, "deg", "2theta of the first channel");
    line.option("channel-width", o.scan.two_theta_width, "deg", "2theta step");
    line.option("wavelength", o.scan.wavelength, "angstrom", "wavelength");
    line.option("distance", o.scan.distance, "mm", "rotation axis to detector; 1e9: no parallax");
    line.option("calibrant-shift", o.scan.calibrant_shift, "mm",
                "by which the standard stood nearer to the detector than the axis: makes 2theta "
                "and distance of the file wrong");
    line.option("rotation-sense", o.scan.rotation_sense, "N", "1 or -1");
    line.option("translation-sense", o.scan.translation_sense, "N", "1 or -1");
    line.option("axis-offset", o.scan.axis_offset, "mm",
                "translation at which the beam hits the axis");
    line.option("beam-width", o.scan.beam_width, "mm",
                "box profile; 0: thin; negative: as wide as the step");
}

void declare_sample(program::CommandLine& line, SimulateOptions& o, SimulateWords& words) {
    line.option("turn", o.cell.rotation, "deg", "the cell is turned counter-clockwise");
    line.option("shift-x", o.cell.centre_x, "mm", "centre of the cell from the rotation axis");
    line.option("shift-y", o.cell.centre_y, "mm", "the same along y");
    line.option("counts", o.scan.counts, "N",
                "99.99th percentile of the noise-free absorbed sinogram");
    line.flag("no-noise", "no Poisson noise");
    line.option("seed", words.seed, "N",
                "of the noise, the hot spots and the lithium distribution");
    line.option("background", o.scan.background, "ratio", "diffuse over Bragg scattering");
    line.option("separator-peak", o.scan.separator_peak, "ratio",
                "the polymer's broad peak over Bragg scattering");
    line.flag("stepped", "lithium distribution with sharp borders instead of smooth ones");
    line.option("cathode-a", o.cell.cathode.a, "angstrom",
                "bulk a of the primary cathode; nan: of the preset");
    line.option("cathode-c", o.cell.cathode.c, "angstrom", "bulk c; nan: of the preset");
    line.option("cathode-delta-a", o.cell.cathode.delta_a, "angstrom",
                "largest change of a; nan: of the preset");
    line.option("cathode-delta-c", o.cell.cathode.delta_c, "angstrom",
                "largest change of c; nan: of the preset");
    line.option("diameter", o.cell.outer_diameter, "mm", "outer diameter of the can");
    line.option("can", o.cell.can_thickness, "mm", "wall of the can");
    line.option("core", o.cell.core_diameter, "mm", "diameter of the hollow core");
    line.option("cathode-coating", o.cell.layers.cathode, "mm", "thickness, each side");
    line.option("aluminium", o.cell.layers.aluminium, "mm", "thickness of the foil");
    line.option("anode-coating", o.cell.layers.anode, "mm", "thickness, each side");
    line.option("copper", o.cell.layers.copper, "mm", "thickness of the foil");
    line.option("separator", o.cell.layers.separator, "mm", "thickness, each");
    line.option("windings-without-cathode", o.cell.windings_without_cathode, "N",
                "innermost windings of anode and separator only");
    line.option("tab", o.cell.tab_length, "mm", "arc of the cathode foil without coating; 0: none");
    line.option("hot-spots", o.cell.hot_spots_per_mm2, "1/mm^2",
                "density of spots of the secondary cathode phase");
    line.option("secondary-a", o.cell.secondary_a, "angstrom",
                "a of the secondary cathode phase; its structure is the primary's");
    line.option("secondary-c", o.cell.secondary_c, "angstrom", "its c");
    line.option("metal-size", o.scan.sizes.metal, "angstrom", "crystallite size of the metals");
    line.option("cathode-size", o.scan.sizes.cathode, "angstrom", "of both cathode phases");
    line.option("anode-size", o.scan.sizes.anode, "angstrom", "of the anode's phases");
    line.option("metal-grains", o.scan.metal_grains, "1/mm",
                "grains of the metals that diffract into a line per mm of metal along the ray, for "
                "spotty rings; 0: fine powders");
    line.option("iron-ppm", o.cell.iron_ppm, "ppm", "deviation of the cell from its CIF");
    line.option("copper-ppm", o.cell.copper_ppm, "ppm", "deviation of the cell from its CIF");
    line.option("aluminium-ppm", o.cell.aluminium_ppm, "ppm", "deviation of the cell from its CIF");
}

void declare_output(program::CommandLine& line, SimulateOptions& o, SimulateWords& words) {
    line.list(
        "march", words.march, "PHASE=R",
        "texture of an electrode's phase: 0 0 1 about the normal of the layers with the March "
        "coefficient R, 0.2 to 5; below 1: platelets along the layers, 1: none (default); once for "
        "each phase, such as --march NMC532=0.7 --march LiC12=0.8");
    line.option(
        "exit-rays", words.exit_rays, "NAME",
        "how diffracted light leaves: straight (absorbed as the primary beam) or deviated (at its "
        "2theta, all around the ring)");
    line.optional(
        "memory", words.memory, "SIZE",
        "keep the noise-free scan in memory up to this size over all ranks (default: 4GB), else "
        "compute it twice");
    line.option("unnamed", o.unnamed, "PHASE", "phase that job.toml leaves out (default: none)");
    line.flag("frames", "write the raw detector frames of the scan, too, in frames/");
    line.option("frame-pixels", o.detector.pixels, "N",
                "pixels per side of the detector of --frames");
    line.option("frame-polarization", o.detector.polarization, "FACTOR",
                "polarisation of the beam in the frames: 1 along the detector's fast axis, 0 none");
    line.flag("force", "replace files that exist");
    line.flag("json", "print the files made as JSON on stdout");
}

/// False when --help was asked for.
bool read_options(const std::vector<std::string>& arguments, SimulateOptions& o) {
    program::CommandLine line(
        "simulate", "simulate the scan of a jelly-roll cell with known truth", "[options]",
        "mpirun -n 2 xrdct simulate --output cell --preset discharged --translations "
        "550 --rotations 400");
    SimulateWords words;
    declare_scan(line, o, words);
    declare_sample(line, o, words);
    declare_output(line, o, words);
    if (!line.parse(arguments))
        return false;
    o.cell.preset = phantom::preset_from_string(words.preset);
    o.cell.stepped_lattice = line.has("stepped");
    o.cell.seed = o.scan.seed = words.seed;
    for (const auto& text : words.march)
        o.cell.textures.push_back(parse_texture(text));
    o.scan.exit_rays = phantom::exit_rays_from_string(words.exit_rays);
    o.frames = line.has("frames");
    if (o.frames && (!words.march.empty() || o.scan.exit_rays != phantom::ExitRays::straight))
        throw Error(fmt::format("--frames: there are none with {}, which differ around a ring",
                                words.march.empty() ? "--exit-rays deviated" : "--march"));
    o.scan.noise = !line.has("no-noise");
    if (!words.missing.empty())
        o.scan.missing_rotations = parse_indices(words.missing, "--missing-rotations");
    if (!words.memory.empty())
        o.memory = program::parse_bytes(words.memory, "--memory");
    o.force = line.has("force");
    o.json = line.has("json");
    if (o.detector.pixels < 16 || o.detector.pixels > 4096)
        throw Error(
            fmt::format("--frame-pixels: must lie between 16 and 4096, is {}", o.detector.pixels));
    if (!(std::abs(o.detector.polarization) <= 1))
        throw Error(fmt::format("--frame-polarization: must lie between -1 and 1, is {}",
                                o.detector.polarization));
    o.settings = "xrdct simulate";
    for (const auto& argument : arguments)
        o.settings += " " + argument;
    return true;
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
    ScanProduction(const phantom::ScanSimulator& simulator, std::uint64_t memory,
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
    void write(double scale, hdf5::Dataset& stored, hdf5::Dataset& stored_transmission) {
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
                stored_transmission.write(hdf5::Selection{{i, 0}, {1, n_translation}},
                                          std::span<const float>(transmission_of(i)));
            }
        });
    }

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

    const phantom::ScanSimulator& simulator_;
    const mpi::Communicator& world_;
    mpi::BlockRange rotations_;
    std::size_t row_; ///< values of a rotation
    bool keep_;       ///< the noise-free scan stays in memory between the passes
    std::vector<float> intensity_, transmission_;
    program::Progress progress_;
};

/// Instrument and sample of the scan's entry.
void describe_instrument(hdf5::Group& entry, const phantom::ScanSimulator& simulator) {
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
    sample.write_string("name", "simulated jelly-roll cell");
}

/// Simulates the scan and writes it; returns the factor to counts. Collective.
double write_scan(const phantom::ScanSimulator& simulator, const SimulateOptions& o,
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
        entry.write_string("title", fmt::format("simulated cell, preset {}",
                                                phantom::to_string(simulator.cell().preset)));
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
        auto transmission =
            data.create_dataset("transmission", hdf5::ElementType::float32,
                                {simulator.n_rotations(), simulator.n_translations()});
        nexus::set_default(data);
        production.write(scale, stored, transmission);
    }
    product.commit();
    production.finish();
    return scale;
}

void write_jobs(const phantom::ScanSimulator& simulator, const OutputFiles& out,
                const std::string& unnamed) {
    std::vector<std::string> written;
    for (const auto& phase : simulator.phases())
        if (std::find(written.begin(), written.end(), phase.structure) == written.end()) {
            const auto& structure = phantom::structure_file(phase.structure);
            files::write_text_file(out.folder / "cif" / structure.file_name(), structure.text);
            written.push_back(phase.structure);
        }
    write_calibration(simulator, out.folder);
    files::write_text_file(out.job, untold_job(simulator, unnamed));
    files::write_text_file(out.told_job, told_job(simulator));
}

void check_unnamed(const std::string& unnamed, const phantom::ScanSimulator& simulator) {
    std::vector<std::string> names;
    for (const auto& phase : simulator.phases())
        names.push_back(phase.name);
    if (!unnamed.empty() && std::find(names.begin(), names.end(), unnamed) == names.end())
        throw Error(fmt::format("--unnamed: '{}' is no phase of this cell{}; there are {}", unnamed,
                                nearest_hint(unnamed, names), fmt::join(names, ", ")));
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
    if (!read_options(arguments, o))
        return 0;
    return program::run_on_ranks([&](const mpi::Communicator& world) {
        const auto simulator =
            world.collectively([&] { return phantom::ScanSimulator(o.cell, o.scan); });
        const OutputFiles out(o.folder);
        world.collectively([&] {
            check_unnamed(o.unnamed, simulator);
            if (world.is_root())
                out.prepare(o.force);
        });
        std::string date;
        const double scale = write_scan(simulator, o, out.scan, date, world);
        write_truth(simulator, scale, world, out.truth, o.force, o.settings, date);
        std::string integrate;
        if (o.frames)
            integrate =
                write_frames(simulator, scale, o.detector, out.folder / "frames", o.force, world);
        world.collectively([&] {
            if (!world.is_root())
                return;
            write_jobs(simulator, out, o.unnamed);
            announce(out, integrate, scale, o.json);
        });
    });
}

} // namespace xrdct::commands
