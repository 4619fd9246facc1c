// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/commands/simulate_options.hpp"

#include "base/error.hpp"
#include "jobs/program/command_line.hpp"
#include "jobs/program/program.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include <fmt/format.h>

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

/// "CeO2=90:250", "CeO2=90:250:0.3", "Cu=300"
phantom::DepthField parse_field(const std::string& text, const std::string& option) {
    const std::size_t equals = text.find('=');
    try {
        if (equals == std::string::npos || equals == 0)
            throw std::invalid_argument("no name");
        std::vector<double> numbers;
        for (std::size_t begin = equals + 1; begin <= text.size();) {
            const std::size_t end = std::min(text.find(':', begin), text.size());
            const std::string part = text.substr(begin, end - begin);
            std::size_t used = 0;
            numbers.push_back(std::stod(part, &used));
            if (used != part.size() || !std::isfinite(numbers.back()))
                throw std::invalid_argument("not a number");
            begin = end + 1;
        }
        if (numbers.size() > 3)
            throw std::invalid_argument("more than three numbers");
        if (numbers.size() == 3 && !(numbers[2] > 0))
            throw std::invalid_argument("no length");
        const std::string phase = text.substr(0, equals);
        if (numbers.size() == 1)
            return {phase, numbers[0], numbers[0], 0};
        return {phase, numbers[0], numbers[1], numbers.size() == 3 ? numbers[2] : 0};
    } catch (const std::exception&) {
        throw Error(fmt::format("{}: '{}' is not PHASE=VALUE, PHASE=SURFACE:INSIDE or "
                                "PHASE=SURFACE:INSIDE:mm, such as CeO2=90:250 or CeO2=90:250:0.3",
                                option, text));
    }
}

/// Options that only some samples have.
struct OwnOption {
    std::string_view option, samples;
};
constexpr std::array own_options{
    OwnOption{"preset", "cell"},
    OwnOption{"separator-peak", "cell"},
    OwnOption{"stepped", "cell"},
    OwnOption{"cathode-a", "cell"},
    OwnOption{"cathode-c", "cell"},
    OwnOption{"cathode-delta-a", "cell"},
    OwnOption{"cathode-delta-c", "cell"},
    OwnOption{"can", "cell"},
    OwnOption{"core", "cell"},
    OwnOption{"windings-without-cathode", "cell"},
    OwnOption{"tab", "cell"},
    OwnOption{"hot-spots", "cell"},
    OwnOption{"secondary-a", "cell"},
    OwnOption{"secondary-c", "cell"},
    OwnOption{"metal-size", "cell"},
    OwnOption{"cathode-size", "cell"},
    OwnOption{"anode-size", "cell"},
    OwnOption{"iron-ppm", "cell"},
    OwnOption{"copper-ppm", "cell"},
    OwnOption{"aluminium-ppm", "cell"},
    OwnOption{"march", "cell"},
    OwnOption{"exit-rays", "cell"},
    OwnOption{"frames", "cell"},
    OwnOption{"frame-pixels", "cell"},
    OwnOption{"frame-polarization", "cell"},
    OwnOption{"cathode-coating", "cell, pouch"},
    OwnOption{"aluminium", "cell, pouch"},
    OwnOption{"anode-coating", "cell, pouch"},
    OwnOption{"copper", "cell, pouch"},
    OwnOption{"separator", "cell, pouch"},
    OwnOption{"size-field", "extrudate, capillary, pouch"},
    OwnOption{"strain-field", "extrudate, capillary, pouch"},
    OwnOption{"cell-field", "extrudate, capillary, pouch"},
    OwnOption{"height", "pouch"},
    OwnOption{"shell", "extrudate"},
    OwnOption{"support", "extrudate"},
    OwnOption{"pieces", "extrudate"},
    OwnOption{"wall", "capillary"},
    OwnOption{"grain", "capillary"},
};

/// Refuses options that the sample asked for does not have.
void check_own_options(const std::vector<std::string>& arguments, const std::string& body) {
    for (const std::string& argument : arguments)
        for (const auto& [option, samples] : own_options) {
            const std::string name = "--" + std::string(option);
            if ((argument == name || argument.starts_with(name + "=")) &&
                samples.find(body) == std::string_view::npos)
                throw Error(fmt::format("{}: there is none with --body {}, only with {}", name,
                                        body, samples));
        }
}

/// Options whose words are read into something else.
struct SimulateWords {
    std::string preset = "mixed", missing, memory, exit_rays = "straight", body = "cell",
                support = "glassy";
    std::vector<std::string> march, sizes, microstrains, cells;
    phantom::BodyDesign design;
    std::size_t seed = 1;
};

void declare_scan(program::CommandLine& line, SimulateOptions& o, SimulateWords& words) {
    line.option("output", o.folder, "FOLDER",
                "folder for scan.nxs, truth.nxs, job.toml, cif/ and instrument.toml; "
                "job_with_truth.toml starts at the truth");
    line.option("body", words.body, "NAME",
                "cell (a jelly roll), extrudate (a catalyst, one phase near its surface only), "
                "capillary (packed with grains) or pouch (a strip of a pouch cell)");
    line.option("preset", words.preset, "NAME", "of a cell: charged, discharged or mixed");
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
    line.option("turn", o.cell.rotation, "deg", "the sample is turned counter-clockwise");
    line.option("shift-x", o.cell.centre_x, "mm", "centre of the sample from the rotation axis");
    line.option("shift-y", o.cell.centre_y, "mm", "the same along y");
    line.option("counts", o.scan.counts, "N",
                "99.99th percentile of the noise-free absorbed sinogram");
    line.flag("no-noise", "no Poisson noise");
    line.option("seed", words.seed, "N",
                "of the noise and of what is drawn at random: hot spots and lithium "
                "distribution of a cell, shape, grains and fields of a body");
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
    line.option("diameter", words.design.diameter, "mm",
                "outer diameter of the can or the capillary, circle about the extrudate, length of "
                "the strip; 0: 10.17 (cell), 3 (extrudate, capillary), 4 (pouch)");
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
                "grains of the metals (Fe, Cu, Al) that diffract into a line per mm of metal along "
                "the ray, for spotty rings; 0: fine powders");
    line.option("iron-ppm", o.cell.iron_ppm, "ppm", "deviation of the cell from its CIF");
    line.option("copper-ppm", o.cell.copper_ppm, "ppm", "deviation of the cell from its CIF");
    line.option("aluminium-ppm", o.cell.aluminium_ppm, "ppm", "deviation of the cell from its CIF");
}

void declare_bodies(program::CommandLine& line, SimulateWords& words) {
    phantom::BodyDesign& design = words.design;
    line.option("height", design.height, "mm",
                "of the pouch cell's strip, across its layers; 0: 0.4 lengths");
    line.option("shell", design.shell, "mm",
                "thickness of the extrudate's shell that holds Cu; 0: 0.12 diameters");
    line.option("support", words.support, "NAME",
                "of the extrudate: glassy (alumina that absorbs, does not diffract), gamma "
                "(gamma-Al2O3 of 60 angstrom) or none");
    line.option("pieces", design.pieces, "N", "extrudates side by side, each of another shape");
    line.option("wall", design.wall, "mm", "glass of the capillary; 0: 0.04 diameters");
    line.option("grain", design.grain, "mm",
                "mean diameter of the capillary's grains; 0: 0.14 diameters");
    line.list("size-field", words.sizes, "PHASE=SURFACE:INSIDE[:mm]",
              "crystallite size of a body's phase in angstrom: at the surface of the extrudate or "
              "grain (ends of the strip) and inside, from the depth in mm on (default: in the "
              "middle); PHASE=VALUE: the same everywhere; once for each phase, such as "
              "--size-field CeO2=90:250 --size-field Cu=300");
    line.list("strain-field", words.microstrains, "PHASE=SURFACE:INSIDE[:mm]",
              "microstrain likewise, FWHM 4 strain tan theta of Lorentzian shape (default: none)");
    line.list("cell-field", words.cells, "PHASE=SURFACE:INSIDE[:mm]",
              "deviation of the cell from the CIF likewise, in ppm of a (default: CeO2=2500:0, of "
              "a pouch cell NMC532=-14000:-5000, whose c changes by -1.4 times that)");
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
    line.flag("no-transmission", "scan.nxs does not hold the transmission");
    line.flag("force", "replace files that exist");
    line.flag("json", "print the files made as JSON on stdout");
}

/// The body in place of the cell, if one is asked for.
void read_body(const SimulateWords& words, SimulateOptions& o) {
    if (words.body == "cell") {
        if (words.design.diameter != 0)
            o.cell.outer_diameter = words.design.diameter;
        return;
    }
    phantom::BodyDesign design = words.design;
    design.kind = phantom::body_from_string(words.body);
    design.layers = o.cell.layers;
    design.support = phantom::support_from_string(words.support);
    design.rotation = o.cell.rotation;
    design.centre_x = o.cell.centre_x;
    design.centre_y = o.cell.centre_y;
    design.seed = words.seed;
    for (const auto& text : words.sizes)
        design.sizes.push_back(parse_field(text, "--size-field"));
    for (const auto& text : words.microstrains)
        design.microstrains.push_back(parse_field(text, "--strain-field"));
    for (const auto& text : words.cells)
        design.cells.push_back(parse_field(text, "--cell-field"));
    o.body = design;
    o.scan.separator_peak = 0;
}

} // namespace

bool read_simulate_options(const std::vector<std::string>& arguments, SimulateOptions& o) {
    program::CommandLine line(
        "simulate", "simulate the scan of a cell or another body with known truth", "[options]",
        "mpirun -n 2 xrdct simulate --output cell --preset discharged --translations "
        "550 --rotations 400");
    SimulateWords words;
    declare_scan(line, o, words);
    declare_sample(line, o, words);
    declare_bodies(line, words);
    declare_output(line, o, words);
    if (!line.parse(arguments))
        return false;
    read_body(words, o);
    check_own_options(arguments, words.body);
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
    o.transmission = !line.has("no-transmission");
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

} // namespace xrdct::commands
