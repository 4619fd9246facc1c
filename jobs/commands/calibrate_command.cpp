// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/commands/commands.hpp"

#include "base/error.hpp"
#include "base/text.hpp"
#include "base/units.hpp"
#include "crystal/standards.hpp"
#include "jobs/commands/calibration_record.hpp"
#include "jobs/program/command_line.hpp"
#include "jobs/program/program.hpp"
#include "jobs/program/version.hpp"
#include "jobs/report/picture.hpp"
#include "jobs/report/text.hpp"
#include "jobs/report/width_picture.hpp"
#include "jobs/settings/instrument_file.hpp"
#include "jobs/settings/job.hpp"
#include "jobs/settings/settings.hpp"
#include "mpi/files/checksum.hpp"
#include "mpi/files/cif_file.hpp"
#include "mpi/nexus/nexus.hpp"
#include "mpi/patterns/pattern_file.hpp"
#include "rietveld/fit/calibration.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace xrdct::commands {

namespace {

double number_from(const std::string& text, const std::string& option,
                   const std::string& expected) {
    if (const auto value = finite_number(text))
        return *value;
    throw Error(fmt::format("{}: '{}' is not {}", option, text, expected));
}

void read_refine(const std::string& text, rietveld::CalibrationOptions& options) {
    std::vector<std::string> scales;
    for (const auto& word : words(text)) {
        program::choice(word, "--refine", {"profile", "cell", "wavelength", "distance", "zero"});
        if (word == "zero")
            options.refine_zero = true;
        else if (word != "profile" && std::find(scales.begin(), scales.end(), word) == scales.end())
            scales.push_back(word);
    }
    if (scales.size() > 1)
        throw Error(fmt::format(
            "--refine: {} cannot be refined together: each of them stretches the whole pattern, "
            "and at small angles the data do not tell them apart; choose one",
            fmt::join(scales, " and ")));
    if (scales.empty())
        options.scale =
            options.refine_zero ? rietveld::RadialScale::none : rietveld::RadialScale::cell;
    else
        options.scale = scales[0] == "wavelength" ? rietveld::RadialScale::wavelength
                        : scales[0] == "distance" ? rietveld::RadialScale::distance
                                                  : rietveld::RadialScale::cell;
}

std::vector<ExcludedRange> read_excluded(const std::vector<std::string>& texts) {
    std::vector<ExcludedRange> ranges;
    for (const auto& text : texts) {
        const std::size_t colon = text.find(':');
        const std::string expected = "a range such as 3.1:3.4 [deg]";
        if (colon == std::string::npos)
            throw Error(fmt::format("--exclude: '{}' is not {}", text, expected));
        const ExcludedRange range{number_from(text.substr(0, colon), "--exclude", expected),
                                  number_from(text.substr(colon + 1), "--exclude", expected)};
        if (!(range.from < range.to))
            throw Error(fmt::format("--exclude: '{}' is not {}", text, expected));
        ranges.push_back(range);
    }
    return ranges;
}

Standard choose_standard(const program::CommandLine& line, std::vector<std::string>& notes) {
    if (line.has("standard") == line.has("cif"))
        throw Error("give the standard by --standard NAME (CeO2, LaB6, Si) or its structure by "
                    "--cif FILE");
    Standard standard = [&]() -> Standard {
        if (line.has("standard")) {
            const auto& known = crystal::powder_standard(line.get<std::string>("standard"));
            return {known.phase(), known.source};
        }
        const std::filesystem::path file = line.get<std::string>("cif");
        auto phase = files::read_phase(file, file.stem().string());
        for (const auto& warning : phase.warnings())
            notes.push_back(warning);
        if (!line.has("cell"))
            notes.push_back("the cell of the CIF is taken as certified; --cell gives another");
        return {phase, "cell of " + file.filename().string()};
    }();
    if (line.has("cell")) {
        const auto text = line.get<std::string>("cell");
        std::vector<double> values;
        for (const auto& word : words(text))
            values.push_back(number_from(word, "--cell", "a number"));
        const auto free = standard.phase.free_parameters();
        std::vector<std::string> names;
        for (const auto parameter : free)
            names.emplace_back(to_string(parameter));
        if (values.size() != free.size())
            throw Error(fmt::format("--cell: '{}' has {} numbers, {} needs {}: {}", text,
                                    values.size(), standard.phase.name(), free.size(),
                                    fmt::join(names, ", ")));
        for (const double value : values)
            if (!(value > 0))
                throw Error(fmt::format("--cell: {} is not positive", value));
        const auto cell = cell_from_independent(standard.phase.crystal_system(), values,
                                                standard.phase.unique_axis());
        const double change = std::cbrt(cell.volume() / standard.phase.cell().volume()) - 1;
        if (std::abs(change) > 0.05)
            throw Error(fmt::format("--cell: '{}' is {:+.0f} % off the cell of {}", text,
                                    100 * change, standard.phase.name()));
        standard.phase = standard.phase.with_cell(cell);
        standard.source = "cell given on the command line";
    }
    return standard;
}

std::string value_text(const rietveld::CalibratedValue& value, const char* unit) {
    return value.refined
               ? fmt::format("{} {}", report::format_with_uncertainty(value.value, value.esd), unit)
               : fmt::format("{} {} (nominal)", value.value, unit);
}

/// R_Bragg says nothing about intensities taken from the pattern itself.
std::string agreement_text(const rietveld::Calibration& result) {
    const auto& agreement = result.fit.agreement;
    return fmt::format("Rwp {:.2f} %, GoF {:.2f}{}", 100 * agreement.rwp, agreement.gof,
                       result.extracted
                           ? ", intensities extracted"
                           : fmt::format(", R_Bragg {:.2f} %", 100 * result.fit.phases[0].r_bragg));
}

report::PatternPicture fit_picture(const rietveld::Calibration& result,
                                   const patterns::PatternFile& pattern, const std::string& title) {
    report::PatternPicture picture;
    const auto centres = pattern.axis.two_theta();
    picture.axis = {{centres.begin(), centres.end()}, "two_theta", "deg"};
    picture.observed = pattern.intensity;
    picture.calculated = result.fit.calculated;
    picture.background = result.fit.background;
    for (std::size_t k = 0; k < picture.observed.size(); ++k)
        picture.difference.push_back(picture.observed[k] - picture.calculated[k]);
    picture.title = title;
    picture.subtitle = agreement_text(result);
    std::vector<double> ticks;
    for (const auto& one : result.fit.lines)
        ticks.push_back(one.two_theta);
    picture.ticks.push_back({result.fit.phases[0].name, ticks});
    return picture;
}

report::WidthPicture width_picture(const rietveld::Calibration& result,
                                   const patterns::PatternFile& pattern, const std::string& title) {
    report::WidthPicture picture;
    const auto centres = pattern.axis.two_theta();
    constexpr int points = 200;
    for (int i = 0; i <= points; ++i) {
        const double angle = centres.front() + (centres.back() - centres.front()) * i / points;
        const auto widths = peak_widths(result.instrument(), angle, result.wavelength.value);
        picture.two_theta.push_back(angle);
        picture.fwhm.push_back(pseudo_voigt(widths).fwhm);
        picture.gauss.push_back(widths.gauss);
        picture.lorentz.push_back(widths.lorentz);
    }
    for (const auto& one : result.lines) {
        picture.line_two_theta.push_back(one.two_theta);
        picture.line_fwhm.push_back(one.fwhm);
        picture.line_fwhm_esd.push_back(one.fwhm_esd);
    }
    picture.title = title;
    if (const int worst = result.worst_line(); worst >= 0) {
        const auto& one = result.lines[static_cast<std::size_t>(worst)];
        picture.subtitle = fmt::format("largest deviation of a line: {:+.1f} % at {:.3f}°",
                                       100 * one.deviation(), one.two_theta);
    }
    return picture;
}

nlohmann::json to_json(const rietveld::Calibration& result, const settings::InstrumentFile& file,
                       const std::vector<std::string>& notes) {
    const auto value = [](const rietveld::CalibratedValue& v) {
        return nlohmann::json{{"value", v.value}, {"esd", v.esd}, {"refined", v.refined}};
    };
    nlohmann::json json{{"standard", file.standard},
                        {"cell", file.cell},
                        {"wavelength_angstrom", value(result.wavelength)},
                        {"zero_deg", value(result.zero)},
                        {"calibrated", file.calibrated},
                        {"intensities", file.intensities},
                        {"two_theta_deg", {file.two_theta_min, file.two_theta_max}},
                        {"fwhm_deg", {{"two_theta", file.two_theta}, {"fwhm", file.fwhm}}},
                        {"rwp", file.rwp},
                        {"rexp", result.fit.agreement.rexp},
                        {"gof", file.gof},
                        {"r_bragg", file.r_bragg},
                        {"status", std::string(to_string(result.fit.status))},
                        {"notes", notes},
                        {"pattern", file.pattern},
                        {"pattern_sha256", file.pattern_sha256},
                        {"lines", nlohmann::json::array()}};
    if (file.distance > 0)
        json["distance_mm"] = value(result.distance);
    if (!std::any_of(result.cell.begin(), result.cell.end(),
                     [](const auto& v) { return !v.refined; })) {
        json["cell_deviation_ppm"] = {{"value", result.cell_ppm}, {"esd", result.cell_ppm_esd}};
        for (const auto& v : result.cell)
            json["refined_cell"].push_back(value(v));
    }
    for (const auto& term : result.profile) {
        json["profile"][term.name] = {{"value", term.value},
                                      {"esd", term.esd},
                                      {"unit", term.unit},
                                      {"refined", term.refined}};
        if (!term.refined)
            json["profile"][term.name]["dropped"] = term.reason;
    }
    for (const auto& one : result.lines)
        json["lines"].push_back({{"hkl", one.hkl},
                                 {"two_theta", one.two_theta},
                                 {"shift", one.shift},
                                 {"shift_esd", one.shift_esd},
                                 {"fwhm", one.fwhm},
                                 {"fwhm_esd", one.fwhm_esd},
                                 {"curve", one.curve}});
    return json;
}

void print_summary(const rietveld::Calibration& result, const settings::InstrumentFile& file) {
    fmt::print(stderr, "{}: {} lines between {:.4g} and {:.4g} deg, intensities {}\n",
               file.standard, result.fit.lines.size(), file.two_theta_min, file.two_theta_max,
               result.extracted ? "extracted from the pattern" : "of the structure");
    fmt::print(stderr, "  {}\n", agreement_text(result));
    fmt::print(stderr, "  wavelength  {}\n", value_text(result.wavelength, "angstrom"));
    if (file.distance > 0)
        fmt::print(stderr, "  distance    {}\n", value_text(result.distance, "mm"));
    fmt::print(stderr, "  zero        {}\n", value_text(result.zero, "deg"));
    if (file.cell_deviation_error > 0) {
        std::vector<std::string> cell;
        for (const auto& value : result.cell)
            cell.push_back(report::format_with_uncertainty(value.value, value.esd));
        fmt::print(stderr,
                   "  cell        {}: {:+.0f}({:.0f}) ppm off the certificate (the wavelength is "
                   "nominal)\n",
                   fmt::join(cell, ", "), result.cell_ppm, std::max(1.0, result.cell_ppm_esd));
    }
    for (const auto& term : result.profile)
        if (term.refined)
            fmt::print(stderr, "  {}           {} {}\n", term.name,
                       report::format_with_uncertainty(term.value, term.esd), term.unit);
        else
            fmt::print(stderr, "  {}           0, dropped: {}\n", term.name, term.reason);
    std::vector<std::string> widths;
    for (std::size_t i = 0; i < file.fwhm.size(); ++i)
        widths.push_back(fmt::format("{:.4f} at {:.3g}", file.fwhm[i], file.two_theta[i]));
    fmt::print(stderr, "  FWHM [deg]  {}\n", fmt::join(widths, ", "));
    if (const int worst = result.worst_line(); worst >= 0) {
        const auto& one = result.lines[static_cast<std::size_t>(worst)];
        fmt::print(stderr,
                   "  {} lines fitted alone: the width farthest from the curve is {:+.1f} % at "
                   "{:.3f} deg, the place {:+.4f} deg\n",
                   result.lines.size(), 100 * one.deviation(), one.two_theta,
                   std::max_element(result.lines.begin(), result.lines.end(),
                                    [](const auto& a, const auto& b) {
                                        return std::abs(a.shift) < std::abs(b.shift);
                                    })
                       ->shift);
    }
}

/// What the command line says.
struct CalibrateWords {
    std::string refine = "profile", intensities = "auto", noise = "auto", unit, dataset,
                output = "instrument.toml";
    double wavelength = settings::not_given, energy = settings::not_given,
           distance = settings::not_given;
    double minimum = 0, maximum = 180, search = 0.01;
    int background = 6;
};

void declare_standard(program::CommandLine& line, CalibrateWords& w) {
    line.optional<std::string>("standard", "NAME",
                               "CeO2 (SRM 674b), LaB6 (SRM 660c) or Si (SRM 640f)");
    line.optional<std::string>("cif", "FILE", "structure of another standard");
    line.optional<std::string>(
        "cell", "LIST",
        "its certified cell: the independent parameters, such as 5.4115 [angstrom, deg]");
    line.optional("wavelength", w.wavelength, "ANGSTROM",
                  "nominal wavelength (default: from the file)");
    line.optional("energy", w.energy, "KEV", "instead of the wavelength");
    line.optional(
        "distance", w.distance, "MM",
        "nominal distance from the sample to the detector, with which 2theta was computed");
    line.option(
        "refine", w.refine, "LIST",
        "profile, and one of wavelength, distance, zero; none of them: the cell is refined and "
        "compared with the certificate. zero may go with another where the range tells them "
        "apart: cell,zero or wavelength,zero");
}

void declare_fit(program::CommandLine& line, CalibrateWords& w) {
    line.option(
        "intensities", w.intensities, "SOURCE",
        "structure, extracted (Le Bail) or auto: extracted where the structure's do not fit");
    line.option("background", w.background, "N", "Chebyshev terms");
    line.optional("min", w.minimum, "DEG", "2theta to begin with (default: all)");
    line.optional("max", w.maximum, "DEG", "2theta to end with (default: all)");
    line.list("exclude", "FROM:TO", "2theta [deg] left out; may be repeated");
    line.option("search", w.search, "FRACTION",
                "how far the lines may be from their nominal places");
    line.option(
        "noise", w.noise, "MODEL",
        "errors of the file, counts (Poisson), estimate (from the scatter) or auto: errors, else "
        "estimate");
    line.option("unit", w.unit, "UNIT",
                "of the radial column: deg, rad, 1/angstrom, 1/nm, d, mm (default: from the "
                "file, else deg)");
    line.option("dataset", w.dataset, "NAME", "intensities in an HDF5 file (default: its signal)");
    line.flag("polarization-corrected", "the integration removed the polarisation factor");
    line.flag("solid-angle-uncorrected", "the integration did not correct for solid angle");
    line.option("output", w.output, "FILE",
                "instrument file; pictures get its name with -fit and -widths");
    line.flag("no-pictures", "write no pictures");
    line.flag("force", "replace files that exist");
    line.flag("json", "print the result as JSON on stdout");
    line.positional("pattern", program::CommandLine::Need::required);
}

/// Checks what is said about the fit and the beam; an energy becomes the wavelength.
rietveld::CalibrationOptions options_of(const program::CommandLine& line, CalibrateWords& w) {
    rietveld::CalibrationOptions options;
    read_refine(w.refine, options);
    options.intensities = program::choice<rietveld::IntensitySource>(
        w.intensities, "--intensities",
        {{"auto", rietveld::IntensitySource::automatic},
         {"structure", rietveld::IntensitySource::structure},
         {"extracted", rietveld::IntensitySource::extracted}});
    program::choice(w.noise, "--noise", {"auto", "errors", "counts", "estimate"});
    if (w.background < 0 || w.background > 30)
        throw Error(fmt::format("--background: must lie between 0 and 30, is {}", w.background));
    options.background_terms = static_cast<std::size_t>(w.background);
    if (!(w.search > 0) || w.search > 0.1)
        throw Error(fmt::format("--search: must lie between 0 and 0.1, is {}", w.search));
    options.search = w.search;
    for (const auto& [value, name] : {std::pair{w.wavelength, "--wavelength"},
                                      {w.energy, "--energy"},
                                      {w.distance, "--distance"}})
        if (!std::isnan(value) && !(value > 0 && std::isfinite(value)))
            throw Error(fmt::format("{}: must be positive, is {}", name, value));
    if (!std::isnan(w.wavelength) && !std::isnan(w.energy))
        throw Error("--energy: give the wavelength or the energy, not both");
    if (!std::isnan(w.energy))
        w.wavelength = wavelength_from_energy(w.energy);
    if (!(w.minimum < w.maximum))
        throw Error(
            fmt::format("--max: must exceed --min, {} and {} are given", w.minimum, w.maximum));
    options.polarisation_corrected = line.has("polarization-corrected");
    options.solid_angle_corrected = !line.has("solid-angle-uncorrected");
    if (!std::isnan(w.distance))
        options.distance = w.distance;
    if (options.scale == rietveld::RadialScale::distance && std::isnan(w.distance))
        throw Error("--refine distance: needs --distance, the nominal one with which 2theta was "
                    "computed");
    return options;
}

/// The files that are written.
struct Targets {
    std::filesystem::path output, fit_stem, widths_stem;
    bool pictures, force;
    std::vector<std::filesystem::path> all;
};

/// Refuses a folder that is not there and files that exist.
Targets targets_of(const program::CommandLine& line, const CalibrateWords& w) {
    if (w.output.empty())
        throw Error("--output: is empty");
    Targets t{w.output, {}, {}, !line.has("no-pictures"), line.has("force"), {}};
    if (!t.output.parent_path().empty() && !std::filesystem::is_directory(t.output.parent_path()))
        throw Error(
            fmt::format("--output: there is no folder {}", t.output.parent_path().string()));
    auto stem = t.output;
    stem.replace_extension();
    t.fit_stem = stem.string() + "-fit";
    t.widths_stem = stem.string() + "-widths";
    t.all.push_back(t.output);
    if (t.pictures)
        for (const auto& one : {t.fit_stem, t.widths_stem})
            for (const char* extension : {".png", ".svg"})
                t.all.push_back(one.string() + extension);
    for (const auto& target : t.all)
        if (std::filesystem::exists(target) && !t.force)
            throw Error(fmt::format("{} exists; --force replaces it", target.string()));
    return t;
}

/// The pattern; excluded channels have no intensity.
patterns::PatternFile read_standard_pattern(const std::string& path, const CalibrateWords& w,
                                            const std::vector<ExcludedRange>& excluded) {
    patterns::PatternFileOptions options;
    if (!w.unit.empty())
        options.unit = patterns::parse_radial_unit(w.unit, "--unit");
    options.wavelength = std::isnan(w.wavelength) ? 0 : w.wavelength;
    options.distance = std::isnan(w.distance) ? 0 : w.distance;
    options.intensity = w.dataset;
    options.minimum = w.minimum;
    options.maximum = w.maximum;
    patterns::PatternFile pattern = read_pattern(path, options);
    for (const auto& range : excluded)
        for (std::size_t k = 0; k < pattern.axis.size(); ++k)
            if (pattern.axis.two_theta()[k] >= range.from &&
                pattern.axis.two_theta()[k] <= range.to)
                pattern.intensity[k] = std::nan("");
    return pattern;
}

rietveld::Calibration calibrate_with(const patterns::PatternFile& pattern, const std::string& noise,
                                     const Standard& standard,
                                     const rietveld::CalibrationOptions& options,
                                     std::vector<std::string>& notes) {
    if (noise == "errors" && pattern.variance.empty())
        throw Error(fmt::format("--noise errors: {} has no errors", pattern.path.string()));
    try {
        std::vector<double> variance;
        if ((noise == "auto" || noise == "errors") && !pattern.variance.empty()) {
            variance = pattern.variance;
        } else if (noise == "counts") {
            for (const double y : pattern.intensity)
                variance.push_back(std::max(y, 1.0));
        } else {
            variance = estimate_variance(pattern.axis, pattern.intensity);
            notes.push_back("the variance is estimated from the scatter of the pattern");
        }
        return calibrate(pattern.axis, pattern.intensity, variance, standard.phase, options);
    } catch (const Error& error) {
        throw Error(fmt::format("{}: {}", pattern.path.string(), error.what()));
    }
}

} // namespace

int command_calibrate(const std::vector<std::string>& arguments) {
    program::CommandLine line(
        "calibrate", "instrument profile and wavelength, distance or zero from a powder standard",
        "PATTERN --standard NAME [options]",
        "xrdct calibrate CeO2.xy --standard CeO2 --wavelength 0.11979 --refine "
        "wavelength --min 1.5 --output instrument.toml");
    CalibrateWords words;
    declare_standard(line, words);
    declare_fit(line, words);
    if (!line.parse(arguments))
        return 0;

    std::vector<std::string> notes;
    const auto options = options_of(line, words);
    const auto excluded = read_excluded(line.texts("exclude"));
    const Standard standard = choose_standard(line, notes);
    const Targets targets = targets_of(line, words);
    const auto pattern = read_standard_pattern(line.get<std::string>("pattern"), words, excluded);
    notes.insert(notes.end(), pattern.notes.begin(), pattern.notes.end());
    const auto result = calibrate_with(pattern, words.noise, standard, options, notes);
    notes.insert(notes.end(), result.notes.begin(), result.notes.end());
    const auto file = calibration_record(result, options, standard, pattern, excluded);
    if (targets.pictures) {
        report::PictureOptions picture_options;
        picture_options.force = targets.force;
        const std::string title =
            fmt::format("{}: {}", file.standard, pattern.path.filename().string());
        write_pattern_picture(fit_picture(result, pattern, title), targets.fit_stem,
                              picture_options);
        write_width_picture(width_picture(result, pattern, title), targets.widths_stem,
                            picture_options);
    }
    write_instrument_file(targets.output, file, targets.force);
    for (const auto& note : notes)
        fmt::print(stderr, "note: {}\n", note);
    print_summary(result, file);
    if (line.has("json")) {
        auto json = to_json(result, file, notes);
        for (const auto& target : targets.all)
            json["files"].push_back(target.string());
        fmt::print("{}\n", json.dump(1));
    }
    fmt::print(stderr, "written: {}{}\n", targets.output.string(),
               targets.pictures ? " and pictures" : "");
    return 0;
}

} // namespace xrdct::commands
