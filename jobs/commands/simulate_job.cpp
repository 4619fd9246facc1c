// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/commands/simulate_job.hpp"

#include "base/error.hpp"
#include "base/units.hpp"
#include "crystal/standards.hpp"
#include "jobs/commands/calibration_record.hpp"
#include "mpi/files/text_file.hpp"
#include "mpi/patterns/pattern_file.hpp"
#include "phantom/standard_pattern.hpp"
#include "rietveld/fit/calibration.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace xrdct::commands {

namespace {

constexpr double first_guess = 1000;   ///< Å, of every crystallite size
constexpr double fine_guess = 300;     ///< Å, of those of a body other than a cell
constexpr double far_from_cif = 0.025; ///< relative
constexpr double rough_lattice = 0.05; ///< Å, by which such a lattice is off
constexpr double read_off = 0.05;      ///< degrees, to which a peak is read off a plot
/// Lattice spacings [Å] between which a calibration has its lines, at least.
constexpr double widest_spacing = 3.4, closest_spacing = 1.0;
constexpr const char* standard = "CeO2"; ///< of the calibration

bool has_parallax(const phantom::Simulation& simulator) {
    return simulator.scan().distance < 1e6;
}

double separator_place(const phantom::Simulation& simulator) {
    const auto& scan = simulator.scan();
    return degrees(2 * std::asin(scan.wavelength / (2 * scan.separator_d)));
}

/// The scan's channels, and more where it holds too few lines of the standard.
phantom::ScanDesign calibration_scan(phantom::ScanDesign scan) {
    const auto place = [&](double d) { return degrees(2 * std::asin(scan.wavelength / (2 * d))); };
    const double width = scan.two_theta_width;
    const double last = scan.two_theta_first + static_cast<double>(scan.channels) * width;
    const double below = std::max(0.0, scan.two_theta_first - place(widest_spacing)),
                 above = std::max(0.0, place(closest_spacing) - last);
    const double before = std::ceil(below / width);
    scan.two_theta_first -= before * width;
    scan.channels += static_cast<std::size_t>(before + std::ceil(above / width));
    return scan;
}

std::string job_head(const phantom::Simulation& simulator, const SampleKnowledge& known,
                     const std::string& comment, const std::string& output,
                     const std::string& axis_offset) {
    return fmt::format(
        "{}title = \"{}\"\noutput = \"{}\"\n\n"
        "[input]\nfile = \"scan.nxs\"\n\n"
        "[geometry]\nrotation_sense = {}\ntranslation_sense = {}\naxis_offset = {}\n\n"
        "[absorption]\n{}method = \"{}\"\n{}",
        comment, simulator.sample(), output, simulator.scan().rotation_sense,
        simulator.scan().translation_sense, axis_offset,
        known.body ? "" : "# \"phases\" finds the transmission from the sample itself\n",
        known.transmission ? "transmission" : (known.body ? "none" : "phases"),
        known.body ? "" : "reference_phase = \"Fe\"\n");
}

std::string filling_of(const std::string& name, double density) {
    if (name.empty())
        return "";
    return fmt::format("filling = \"{}\"\n", name) +
           (density > 0 ? fmt::format("filling_density = {}\n", density) : "");
}

std::string phase_head(const phantom::PhantomPhase& phase, double size) {
    return fmt::format("\n[[phase]]\nname = \"{}\"\ncif = \"cif/{}.cif\"\nsize = {:.1f}\n",
                       phase.name, phase.structure, size);
}

/// What the dlsr stage can refine of what was simulated, commented out.
std::string texture_of(const phantom::PhantomPhase& phase) {
    return phase.march == 1 ? ""
                            : "# The texture that was simulated, for the dlsr stage:\n"
                              "# march_axis = [0, 0, 1]\n# refine_march = \"global\"\n";
}

std::string exit_rays_of(const phantom::Simulation& simulator) {
    return simulator.scan().exit_rays == phantom::ExitRays::straight
               ? ""
               : "\n# The exit rays that were simulated, for the dlsr stage:\n# [dlsr]\n"
                 "# exit_ray = \"deviated\"\n";
}

/// Rough lattice parameters where those of the CIF are too far off to start from.
std::string rough_cell(const phantom::PhantomPhase& phase) {
    const auto given = crystal::Phase::from_cif_text(phantom::structure_file(phase.structure).text,
                                                     phase.structure)
                           .cell();
    const auto rough = [&](const char* name, double value, double start) {
        return std::abs(value / start - 1) <= far_from_cif
                   ? std::string()
                   : fmt::format("start_{} = {:.2f}\n", name,
                                 std::round((value - rough_lattice) / rough_lattice) *
                                     rough_lattice);
    };
    return rough("a", phase.cell.a, given.a) + rough("c", phase.cell.c, given.c);
}

const char* treatment(bool varies) {
    return varies ? "voxel" : "global";
}

/// Widths of a phase in the job that starts at the truth.
std::string told_widths(const phantom::Simulation& simulator, const phantom::PhantomPhase& phase) {
    std::string text;
    // What parallax does to the lines is rather a spread of cells than of sizes.
    if (has_parallax(simulator))
        text += "refine_gauss_microstrain = \"global\"\n";
    if (!has_parallax(simulator) || phase.varying_size)
        text += fmt::format("refine_size = \"{}\"\n", treatment(phase.varying_size));
    if (phase.microstrain != 0 || phase.varying_microstrain)
        text += fmt::format("microstrain = {}\nrefine_microstrain = \"{}\"\n", phase.microstrain,
                            treatment(phase.varying_microstrain));
    return text;
}

/// The cell of a phase in the job that starts at the truth.
std::string told_cell(const phantom::PhantomPhase& phase, bool body) {
    if (body)
        return fmt::format("start_a = {:.4f}\n", phase.cell.a) +
               (phase.cell.c != phase.cell.a ? fmt::format("start_c = {:.4f}\n", phase.cell.c)
                                             : "") +
               (phase.varying_cell ? "cell = \"voxel\"\n" : "");
    if (phase.structure != "NMC532" && phase.structure != "graphite")
        return "";
    std::string text =
        fmt::format("start_a = {:.3f}\nstart_c = {:.3f}\n", phase.cell.a, phase.cell.c);
    // A minor phase of the same structure would otherwise follow the spread of the major one's
    // lines.
    if (phase.varying_cell || phase.name == "NMC532")
        text += "cell = \"voxel\"\n";
    else if (phase.structure == "NMC532")
        text += "cell = \"fixed\"\n";
    return text;
}

} // namespace

std::string untold_job(const phantom::Simulation& simulator, const SampleKnowledge& known) {
    std::string text =
        job_head(
            simulator, known,
            fmt::format("# Analyses the scan beside this file: mpirun -n 2 xrdct run job.toml\n"
                        "# It holds what one knows who made the {} and calibrated the "
                        "beamline.\n",
                        known.body ? "sample" : "cell"),
            "results", "\"auto\"") +
        filling_of(known.filling, known.filling_density) +
        "\n[instrument]\nfile = \"instrument.toml\"\n";
    for (const auto& phase : simulator.phases()) {
        if (phase.name == known.unnamed)
            continue;
        text += phase_head(phase, known.body ? fine_guess : first_guess) +
                fmt::format("refine_size = \"{}\"\n", treatment(phase.varying_size)) +
                (phase.microstrain != 0 || phase.varying_microstrain
                     ? fmt::format("refine_microstrain = \"{}\"\n",
                                   treatment(phase.varying_microstrain))
                     : "") +
                rough_cell(phase);
        if (phase.name == "NMC532" || (known.body && phase.varying_cell))
            text += "cell = \"voxel\"\n";
        text += texture_of(phase);
    }
    if (simulator.scan().separator_peak > 0) {
        const auto read = [](double value) { return std::round(value / read_off) * read_off; };
        text += fmt::format("\n[[peak]]\nname = \"separator\"\nposition = {:.2f}\nfwhm = {:.2f}\n",
                            read(separator_place(simulator)),
                            std::max(read_off, read(simulator.scan().separator_fwhm)));
    }
    return text + exit_rays_of(simulator);
}

std::string told_job(const phantom::Simulation& simulator, const SampleKnowledge& known) {
    const auto& profile = simulator.scan().profile;
    std::string text =
        job_head(simulator, known,
                 "# Starts at the truth, which no user knows: for tests of the program, not of "
                 "what it finds.\n",
                 "results_told", simulator.scan().axis_offset == 0 ? "0.0" : "\"auto\"") +
        (known.body ? filling_of(known.filling, known.filling_density)
                    : filling_of(phantom::electrolyte_formula, phantom::electrolyte_density)) +
        fmt::format("\n[instrument]\nu = {}\nv = {}\nw = {}\nx = {}\ny = {}\n", profile.u,
                    profile.v, profile.w, profile.x, profile.y);
    for (const auto& phase : simulator.phases())
        text += phase_head(phase, phase.crystallite_size) + told_widths(simulator, phase) +
                told_cell(phase, known.body) + texture_of(phase);
    if (simulator.scan().separator_peak > 0)
        text += fmt::format("\n[[peak]]\nname = \"separator\"\nposition = {:.3f}\nfwhm = {}\n",
                            separator_place(simulator), simulator.scan().separator_fwhm);
    return text + exit_rays_of(simulator);
}

void write_calibration(const phantom::Simulation& simulator, const std::filesystem::path& folder) {
    const auto& known = crystal::powder_standard(standard);
    const Standard reference{known.phase(), known.source};
    const auto scan = calibration_scan(simulator.scan());
    const auto counts = phantom::standard_pattern(scan, reference.phase);
    std::string text = fmt::format("# {} ({}) as this instrument would record it\n"
                                   "# 2theta [deg], counts, their e.s.d.\n",
                                   known.name, known.material);
    for (std::size_t k = 0; k < counts.size(); ++k)
        text += fmt::format("{:.6f} {} {:.3f}\n",
                            scan.two_theta_first + static_cast<double>(k) * scan.two_theta_width,
                            counts[k], std::sqrt(std::max(counts[k], 1.0)));
    const auto path = folder / "standard.xye";
    files::write_text_file(path, text);
    patterns::PatternFileOptions options;
    options.wavelength = simulator.scan().wavelength;
    const auto pattern = patterns::read_pattern(path, options);
    const rietveld::CalibrationOptions wanted;
    const auto result = rietveld::calibrate(pattern.axis, pattern.intensity, pattern.variance,
                                            reference.phase, wanted);
    settings::write_instrument_file(folder / "instrument.toml",
                                    calibration_record(result, wanted, reference, pattern, {}),
                                    true);
}

} // namespace xrdct::commands
