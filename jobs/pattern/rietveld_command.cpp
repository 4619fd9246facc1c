// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/pattern/rietveld_command.hpp"

#include "base/error.hpp"
#include "base/text.hpp"
#include "base/units.hpp"
#include "jobs/pattern/pattern_job.hpp"
#include "jobs/pattern/rietveld_results.hpp"
#include "jobs/program/command_line.hpp"
#include "jobs/program/program.hpp"
#include "jobs/settings/model_settings.hpp"
#include "mpi/files/checksum.hpp"
#include "mpi/files/text_file.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace xrdct::pattern {

namespace {

using Texts = std::vector<std::string>;

std::string toml_text(const std::string& text) {
    std::string out = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\')
            out += '\\';
        out += c;
    }
    return out + "\"";
}

std::pair<std::string, std::string> split_at(const std::string& text, char separator) {
    const auto at = text.find(separator);
    return at == std::string::npos ? std::pair{text, std::string()}
                                   : std::pair{text.substr(0, at), text.substr(at + 1)};
}

/// "1.2:3.4" as two numbers.
std::pair<double, double> parse_range(const std::string& text, const std::string& option) {
    const auto [from, to] = split_at(text, ':');
    const auto lower = finite_number(from), upper = finite_number(to);
    if (lower && upper && *lower < *upper)
        return {*lower, *upper};
    throw Error(fmt::format("{}: '{}' is no range; expected FROM:TO in degrees 2theta, such as "
                            "1.5:12",
                            option, text));
}

/// Options that replace keys of a job, for a job file and for the quick form.
Texts overrides_of(const program::CommandLine& line) {
    Texts list;
    const auto number = [&](const char* option, const char* key) {
        if (line.has(option))
            list.push_back(fmt::format("{}={}", key, line.get<double>(option)));
    };
    const auto text = [&](const char* option, const char* key) {
        if (line.has(option))
            list.push_back(fmt::format("{}={}", key, toml_text(line.get<std::string>(option))));
    };
    // What is given on the command line replaces either key of the job.
    if (line.has("wavelength"))
        list.emplace_back("geometry.energy=nan");
    if (line.has("energy"))
        list.emplace_back("geometry.wavelength=nan");
    if (line.has("wavelength") && line.has("energy"))
        throw Error("--energy: give the wavelength or the energy, not both");
    const auto check = [&](const char* option) {
        if (line.has(option) && !(line.get<double>(option) > 0))
            throw Error(
                fmt::format("--{}: must be positive, is {}", option, line.get<double>(option)));
    };
    for (const auto* option : {"wavelength", "energy", "distance"})
        check(option);
    number("wavelength", "geometry.wavelength");
    number("energy", "geometry.energy");
    number("distance", "geometry.distance");
    number("search", "rietveld.cell_search");
    number("min", "pattern.two_theta_min");
    number("max", "pattern.two_theta_max");
    if (line.has("instrument"))
        list.push_back("instrument.file=" +
                       toml_text(std::filesystem::absolute(line.get<std::string>("instrument"))
                                     .lexically_normal()
                                     .string()));
    text("unit", "pattern.unit");
    text("dataset", "pattern.intensity");
    text("noise", "noise.model");
    if (line.has("background"))
        list.push_back(fmt::format("rietveld.background_terms={}", line.get<long>("background")));
    if (line.has("exclude")) {
        Texts regions;
        for (const auto& one : line.get<Texts>("exclude")) {
            const auto [from, to] = parse_range(one, "--exclude");
            regions.push_back(fmt::format("[{}, {}]", from, to));
        }
        list.push_back(fmt::format("pattern.excluded=[{}]", fmt::join(regions, ", ")));
    }
    Texts refined;
    if (line.has("refine-widths"))
        refined = {"u", "w", "x", "y"};
    if (line.has("refine")) {
        auto rest = line.get<std::string>("refine");
        while (!rest.empty()) {
            auto [name, more] = split_at(rest, ',');
            if (std::find(refined.begin(), refined.end(), name) == refined.end())
                refined.push_back(name);
            rest = more;
        }
    }
    if (!refined.empty()) {
        for (auto& name : refined)
            name = toml_text(name);
        list.push_back(fmt::format("instrument.refine=[{}]", fmt::join(refined, ", ")));
    }
    if (line.has("set")) {
        const auto& more = line.get<Texts>("set");
        list.insert(list.end(), more.begin(), more.end());
    }
    return list;
}

/// The quick form as a job file.
std::string job_of(const program::CommandLine& line, const std::string& pattern) {
    std::string text = fmt::format("[pattern]\nfile = {}\n", toml_text(pattern));
    if (line.has("phase"))
        for (const auto& one : line.get<Texts>("phase")) {
            auto [name, cif] = split_at(one, '=');
            if (cif.empty()) {
                cif = name;
                name = std::filesystem::path(cif).stem().string();
            }
            text +=
                fmt::format("\n[[phase]]\nname = {}\ncif = {}\n", toml_text(name), toml_text(cif));
        }
    if (line.has("peak"))
        for (const auto& one : line.get<Texts>("peak")) {
            const auto [name, place] = split_at(one, '=');
            const auto [position, fwhm] = split_at(place, ':');
            try {
                text += fmt::format("\n[[peak]]\nname = {}\nposition = {:.10g}\n", toml_text(name),
                                    std::stod(position));
                if (!fwhm.empty())
                    text += fmt::format("fwhm = {:.10g}\n", std::stod(fwhm));
            } catch (const std::exception&) {
                throw Error(fmt::format("--peak: '{}' is not NAME=POSITION or NAME=POSITION:FWHM "
                                        "in degrees 2theta",
                                        one));
            }
        }
    return text;
}

/// Whether any line of the phase, at its start cell, lies on the axis.
bool has_line_in_range(const rietveld::PatternModel& model, const rietveld::PhaseModel& phase,
                       const rietveld::RadialAxis& axis) {
    const double low = axis.edges().front(), high = axis.edges().back();
    const double wavelength = axis.wavelength();
    const double sine = std::min(std::sin(radians(std::min(high + 0.5, 179.9)) / 2), 1.0);
    for (const auto& line :
         phase.phase.with_cell(phase.unit_cell()).reflections(wavelength / (2 * sine))) {
        const double position =
            apparent_two_theta(model, 2 * degrees(std::asin(wavelength / (2 * line.d))));
        if (line.structure_factor_squared > 1e-6 && position >= low && position <= high)
            return true;
    }
    return false;
}

/// Sets the variances; returns the model that was taken.
PatternNoise choose_variance(PatternRefinement& r) {
    auto choice = r.job.noise;
    const auto file = r.pattern.path.string();
    if (choice == PatternNoise::errors && r.pattern.variance.empty())
        throw Error(fmt::format("{}: noise.model is \"errors\", but {} has no standard deviations",
                                r.job.source, file));
    const bool chosen = choice != PatternNoise::automatic;
    if (!chosen) {
        bool whole = true;
        double highest = 0;
        for (const double y : r.pattern.intensity)
            if (std::isfinite(y)) {
                whole = whole && y >= 0 && y == std::floor(y);
                highest = std::max(highest, y);
            }
        choice = !r.pattern.variance.empty() ? PatternNoise::errors
                 : whole && highest >= 20    ? PatternNoise::counts
                                             : PatternNoise::estimate;
    }
    const std::string automatically = chosen ? "" : " (chosen by itself)";
    switch (choice) {
    case PatternNoise::errors:
        r.variance = r.pattern.variance;
        r.errors = "standard deviations of the file" + automatically;
        break;
    case PatternNoise::counts:
        r.errors = "counts, variance = intensity" + automatically;
        for (const double y : r.fitted)
            r.variance.push_back(std::isfinite(y) ? std::max(y, 1.0) : 0);
        break;
    case PatternNoise::estimate:
        r.errors = "estimated from the scatter" + automatically;
        r.variance = estimate_variance(r.pattern.axis, r.fitted);
        break;
    default:
        r.errors = "none, constant weights";
    }
    return choice;
}

/// Channels that are fitted; the excluded ones have no intensity.
void choose_channels(PatternRefinement& r) {
    r.fitted = r.pattern.intensity;
    const auto& axis = r.pattern.axis;
    std::size_t left = 0;
    for (std::size_t k = 0; k < r.fitted.size(); ++k) {
        for (const auto& [from, to] : r.job.excluded)
            if (axis.two_theta()[k] >= from && axis.two_theta()[k] <= to)
                r.fitted[k] = std::numeric_limits<double>::quiet_NaN();
        left += std::isfinite(r.fitted[k]) ? 1 : 0;
    }
    if (left < 20)
        throw Error(fmt::format("{}: {} channels are left to be fitted (pattern.excluded, "
                                "two_theta_min, two_theta_max); at least 20 are needed",
                                r.pattern.path.string(), left));
}

void note_calibrated_range(PatternRefinement& r) {
    const auto& axis = r.pattern.axis;
    const auto [calibrated_from, calibrated_to] = r.job.calibrated_range;
    constexpr double margin = 0.5; // deg
    if (axis.two_theta().front() < calibrated_from - margin ||
        axis.two_theta().back() > calibrated_to + margin)
        r.notes.push_back(fmt::format("the instrument was calibrated from {:.4g} to {:.4g} deg "
                                      "2theta; outside, its widths are extrapolated",
                                      calibrated_from, calibrated_to));
}

/// Completes the job's model with the phases and peaks that the pattern can show.
void make_model(PatternRefinement& r) {
    const auto& axis = r.pattern.axis;
    auto& model = r.job.model;
    model.wavelength.value = axis.wavelength();
    if (model.wavelength.refine) {
        model.wavelength.lower = 0.95 * axis.wavelength();
        model.wavelength.upper = 1.05 * axis.wavelength();
    }
    add_phases(model, r.job.phases, r.job.source, r.notes);
    std::erase_if(model.phases, [&](const rietveld::PhaseModel& phase) {
        const bool out = !has_line_in_range(model, phase, axis);
        if (out) {
            r.notes.push_back(fmt::format("phase '{}' has no line between {:.4g} and {:.4g} deg "
                                          "2theta; it is left out",
                                          phase.name, axis.edges().front(), axis.edges().back()));
            std::erase(r.job.options.extract_intensities, phase.name);
        }
        return out;
    });
    if (model.phases.empty())
        throw Error(fmt::format("{}: no phase has a line between {:.4g} and {:.4g} deg 2theta at "
                                "the wavelength {:.6g} angstrom",
                                r.pattern.path.string(), axis.edges().front(), axis.edges().back(),
                                axis.wavelength()));
    add_peaks(model, r.job.peaks);
    for (const auto& peak : model.peaks)
        if (peak.position.value < axis.edges().front() || peak.position.value > axis.edges().back())
            throw Error(fmt::format("{}: peak '{}' at {} deg lies outside the pattern, {:.4g} to "
                                    "{:.4g} deg 2theta",
                                    r.job.source, peak.name, peak.position.value,
                                    axis.edges().front(), axis.edges().back()));
}

void note_inputs(PatternRefinement& r) {
    r.inputs[r.pattern.path.string()] = files::sha256_of_file(r.pattern.path);
    for (const auto& phase : r.job.phases)
        r.inputs[phase.cif.string()] = files::sha256_of_file(phase.cif);
    if (!r.job.instrument_file.empty())
        r.inputs[r.job.instrument_file.string()] = files::sha256_of_file(r.job.instrument_file);
}

/// Curves of the single phases and peaks.
void evaluate_parts(PatternRefinement& r) {
    const auto& axis = r.pattern.axis;
    const auto& model = r.job.model;
    // Made for the start model with the margin of refine(): factors on lines go with its list of
    // lines, and refined widths may have vanished.
    const rietveld::PatternCalculator calculator(
        axis, model, rietveld::refinement_cell_margin(r.job.options.cell_search));
    for (std::size_t p = 0; p < r.result.model.phases.size(); ++p) {
        r.partial.emplace_back(axis.size());
        calculator.evaluate_phase(r.result.model, p, r.partial.back());
    }
    rietveld::ProfileBuffer profile;
    for (const auto& peak : r.result.model.peaks) {
        auto& curve = r.single.emplace_back(axis.size());
        channel_averaged_profile(axis, peak.position.value, peak.fwhm.value, peak.mixing.value,
                                 model.profile_range, false, profile);
        for (std::size_t i = 0; i < profile.size(); ++i)
            curve[profile.first + i] = peak.area.value * profile.value[i];
    }
}

PatternRefinement refine_pattern(PatternJob job) {
    program::Timings timings;
    auto pattern = read_pattern(job.file, job.reading);
    PatternRefinement r{std::move(job), std::move(pattern), {}, {}, {}, {}, {}, {}, {}, {}, {}};
    r.notes = r.job.notes;
    r.notes.insert(r.notes.end(), r.pattern.notes.begin(), r.pattern.notes.end());
    choose_channels(r);
    const auto chosen = choose_variance(r);
    note_calibrated_range(r);
    make_model(r);
    note_inputs(r);
    timings.lap("read");

    try {
        r.result = refine(r.pattern.axis, r.fitted, r.variance, r.job.model, r.job.options);
    } catch (const Error& error) {
        throw Error(fmt::format("{}: {}", r.job.source, error.what()));
    }
    timings.lap("fit");
    if (r.result.phases.empty())
        throw Error(
            fmt::format("{}: nothing was fitted: {}", r.pattern.path.string(), r.result.message));
    constexpr double min_gof = 0.7;
    if (chosen != PatternNoise::estimate && !r.variance.empty() &&
        r.result.status != rietveld::FitStatus::no_signal && r.result.agreement.gof < min_gof)
        r.notes.push_back(fmt::format("GoF is {:.2f}: the variances ({}) are too large, the "
                                      "intensities may be scaled or averaged counts; Rexp and "
                                      "e.s.d. are overestimates (noise.model = \"estimate\")",
                                      r.result.agreement.gof, r.errors));
    evaluate_parts(r);
    timings.lap("evaluate");
    r.timings = timings;
    return r;
}

void declare_options(program::CommandLine& line) {
    line.list("phase", "NAME=CIF",
              "a phase and its structure; may be repeated (not with a job file)");
    line.list("peak", "NAME=POS[:FWHM]",
              "a single peak, degrees 2theta; may be repeated (not with a job file)");
    line.optional<double>("wavelength", "ANGSTROM", "wavelength (default: the file's)");
    line.optional<double>("energy", "KEV", "photon energy instead of the wavelength");
    line.optional<std::string>(
        "instrument", "FILE",
        "instrument file of xrdct calibrate: widths, zero, wavelength, distance");
    line.optional<double>("distance", "MM",
                          "sample to detector, or goniometer radius; for radii and displacements");
    line.optional<std::string>(
        "unit", "UNIT",
        "unit of the positions: deg, rad, 1/angstrom, 1/nm, d, mm (default: the file's, else deg)");
    line.optional<std::string>("dataset", "PATH",
                               "intensities in an HDF5 file (default: its default signal)");
    line.optional<std::string>(
        "noise", "MODEL",
        "errors of the file, counts (Poisson), estimate (from the scatter), none (constant "
        "weights) or auto (default: auto)");
    line.optional<double>("min", "DEG", "2theta to begin with (default: all)");
    line.optional<double>("max", "DEG", "2theta to end with (default: all)");
    line.list("exclude", "FROM:TO", "region that is not fitted, degrees 2theta; may be repeated");
    line.optional<long>("background", "N", "Chebyshev terms of the background (default: 6)");
    line.optional<double>("search", "FRACTION",
                          "relative half-range in which cells are searched first (default: 0.01)");
    line.flag("refine-widths", "refine the instrument's widths u, w, x, y (for a standard)");
    line.optional<std::string>("refine", "A,B",
                               "refine these out of u,v,w,x,y,z,zero,displacement,wavelength");
    line.list("set", "KEY=VALUE",
              "any key of a job, such as phase.Cu.refine_size=refined; may be repeated");
    line.optional<std::string>(
        "output", "DIR",
        "folder of the results (default: the pattern's name with _rietveld added)");
    line.flag("no-pictures", "write no rietveld.png and rietveld.svg");
    line.flag("print-job", "print the resolved job as TOML and stop");
    line.flag("force", "replace results that exist");
    line.flag("json", "print the results as JSON on stdout");
    line.positional("file", program::CommandLine::Need::optional);
}

/// The job of the command line: a job file, or a pattern and its phases.
PatternJob job_from(const program::CommandLine& line) {
    const std::filesystem::path file = line.get<std::string>("file");
    auto overrides = overrides_of(line);
    PatternJob job;
    if (file.extension() == ".toml") {
        for (const auto* option : {"phase", "peak"})
            if (line.has(option))
                throw Error(fmt::format("--{}: a job file brings its own phases and peaks; change "
                                        "them with --set {}.NAME.key=value",
                                        option, option));
        job = parse_pattern_job(files::read_text_file(file), file, overrides);
        if (line.has("output"))
            job.output = line.get<std::string>("output");
    } else {
        if (line.has("output"))
            overrides.push_back("output=" + toml_text(line.get<std::string>("output")));
        job = parse_pattern_job(job_of(line, file.string()), "command line", overrides);
        if (!line.has("output") && job.output.parent_path() == file.parent_path())
            job.output = job.output.filename();
    }
    return job;
}

} // namespace

int command_rietveld(const std::vector<std::string>& arguments) {
    program::CommandLine line(
        "rietveld", "refine one powder pattern",
        "JOB.toml [options]\n       xrdct rietveld PATTERN --phase NAME=CIF … [options]",
        "xrdct rietveld pattern.xy --phase Al=Al.cif --phase Cu=Cu.cif --wavelength 0.1198 "
        "--background 6 --refine-widths\n  xrdct rietveld job.toml --set "
        "rietveld.background_terms=8 --set phase.Cu.refine_size=refined\n\nAll keys of a job: "
        "xrdct reference --pattern");
    declare_options(line);
    if (!line.parse(arguments))
        return 0;
    if (!line.has("file"))
        throw Error("xrdct rietveld: a job file or a pattern is needed; see xrdct rietveld --help");
    auto job = job_from(line);
    if (line.has("print-job")) {
        fmt::print("{}", job.resolved);
        return 0;
    }
    const bool pictures = !line.has("no-pictures"), force = line.has("force");
    if (!force)
        for (const auto& path : result_files(job.output, pictures))
            if (std::filesystem::exists(std::filesystem::symlink_status(path)))
                throw Error(
                    fmt::format("{}: exists already; use --force to replace it", path.string()));

    auto refinement = refine_pattern(std::move(job));
    const auto files = write_results(refinement, pictures, force);
    fmt::print(stderr, "{}\n{}\n", summary_text(refinement),
               fmt::format(
                   "fitted in {:.3f} s; results in {}",
                   [&] {
                       for (const auto& [name, seconds] : refinement.timings.parts())
                           if (name == "fit")
                               return seconds;
                       return 0.0;
                   }(),
                   refinement.job.output.string()));
    if (line.has("json")) {
        auto json = to_json(refinement);
        for (const auto& path : files)
            json["files"].push_back(path.string());
        fmt::print("{}\n", json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace));
    }
    return 0;
}

} // namespace xrdct::pattern
