// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/pattern/pattern_job.hpp"

#include "base/error.hpp"
#include "base/units.hpp"
#include "jobs/settings/instrument_file.hpp"
#include "jobs/settings/model_settings.hpp"
#include "jobs/settings/parse.hpp"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include <fmt/format.h>

namespace xrdct::pattern {

namespace {

void read_pattern_table(settings::Settings& s, const std::filesystem::path& source,
                        PatternJob& job) {
    job.file = settings::beside(source,
                                s.text("pattern.file", "",
                                       "pattern to refine (text columns, chi, start-step-end list, "
                                       "NeXus/HDF5), relative to the job file"));
    require(!job.file.empty(), s, "pattern.file", "is required: the pattern to refine");
    const auto unit = s.text("pattern.unit", "auto",
                             "unit of the positions: auto (as the file says, degrees 2theta where "
                             "it says nothing), deg, rad, 1/angstrom, 1/nm, d (spacings in "
                             "angstrom), mm (radius)");
    job.reading.unit = patterns::parse_radial_unit(unit, s.where("pattern.unit"));
    job.reading.intensity =
        s.text("pattern.intensity", "",
               "dataset of the intensities in an HDF5 file; empty: the file's default signal");
    job.reading.minimum =
        s.number("pattern.two_theta_min", 0, "deg", "channels below are left out");
    job.reading.maximum =
        s.number("pattern.two_theta_max", 180, "deg", "channels above are left out");
    require(job.reading.minimum < job.reading.maximum, s, "pattern.two_theta_max",
            "must exceed pattern.two_theta_min");
    job.excluded =
        s.intervals("pattern.excluded", "deg", "regions [from, to] in 2theta that are not fitted");
    job.noise = settings::choose<PatternNoise>(
        s, "noise.model", job.noise,
        {{"auto", PatternNoise::automatic},
         {"errors", PatternNoise::errors},
         {"counts", PatternNoise::counts},
         {"estimate", PatternNoise::estimate},
         {"none", PatternNoise::none}},
        "where variances come from: errors given in the file, counts (Poisson), an estimate from "
        "the data, or none (constant weights); auto: errors if the file has any, counts if the "
        "intensities are whole numbers, else the estimate");
}

/// What `xrdct calibrate` found, if the job names its file.
std::optional<settings::InstrumentFile>
read_calibration(settings::Settings& s, const std::filesystem::path& source, PatternJob& job) {
    job.instrument_file = settings::beside(
        source,
        s.text("instrument.file", "",
               "instrument file of xrdct calibrate, relative to the job file: widths, "
               "zero, wavelength and distance are taken from it where the job states none"));
    if (job.instrument_file.empty())
        return std::nullopt;
    try {
        return settings::read_instrument_file(job.instrument_file);
    } catch (const Error& error) {
        throw Error(fmt::format("{}: {}", s.where("instrument.file"), error.what()));
    }
}

void read_geometry_table(settings::Settings& s,
                         const std::optional<settings::InstrumentFile>& calibration,
                         PatternJob& job) {
    auto& model = job.model;
    const double wavelength =
        positive(s, "geometry.wavelength", settings::not_given, "angstrom",
                 "wavelength; nan: from the instrument file, else from the pattern's");
    const double energy = positive(s, "geometry.energy", settings::not_given, "keV",
                                   "photon energy, instead of the wavelength");
    require(std::isnan(wavelength) || std::isnan(energy), s, "geometry.energy",
            "give the wavelength or the energy, not both");
    job.reading.wavelength = !std::isnan(wavelength) ? wavelength
                             : !std::isnan(energy)   ? wavelength_from_energy(energy)
                             : calibration           ? calibration->wavelength
                                                     : 0;
    const double distance = positive(
        s, "geometry.distance", settings::not_given, "mm",
        "distance from sample to detector, or goniometer radius; needed for radii and for a "
        "displacement; nan: from the instrument file; for radii from the pattern's");
    job.reading.distance = !std::isnan(distance) ? distance
                           : calibration         ? calibration->distance
                                                 : 0;
    model.distance = job.reading.distance;
    const auto type = s.choice("geometry.type", "area", {"area", "bragg_brentano"},
                               "flat area detector normal to the beam, or Bragg-Brentano "
                               "diffractometer; decides how a displacement moves lines");
    model.geometry = type == "area" ? rietveld::DiffractionGeometry::area_detector
                                    : rietveld::DiffractionGeometry::bragg_brentano;
    const double second = positive(s, "geometry.second_wavelength", settings::not_given, "angstrom",
                                   "second wavelength of the source (K alpha 2); nan: none");
    const double ratio = s.number("geometry.second_ratio", 0.5, "",
                                  "intensity of the second wavelength over that of the first");
    require(ratio >= 0, s, "geometry.second_ratio", "must not be negative");
    if (!std::isnan(second))
        model.second = rietveld::SecondWavelength{second, ratio};
    const double monochromator =
        s.number("geometry.monochromator_two_theta", settings::not_given, "deg",
                 "Bragg angle 2theta of a crystal monochromator: the polarisation factor is then "
                 "(1 + K cos^2 2theta) / (1 + K) with K = cos^2 of this angle; nan: none, K = 1");
    require(std::isnan(monochromator) || (monochromator > 0 && monochromator < 180), s,
            "geometry.monochromator_two_theta", "must lie between 0 and 180");
    const double polarisation = s.number("geometry.polarization_factor", settings::not_given, "",
                                         "K itself: 1 unpolarised or full rings, 0 none; nan: "
                                         "from the monochromator");
    require(std::isnan(polarisation) || polarisation >= 0, s, "geometry.polarization_factor",
            "must not be negative");
    require(std::isnan(polarisation) || std::isnan(monochromator), s,
            "geometry.polarization_factor", "give it or the monochromator's angle, not both");
    const bool corrected = s.boolean("instrument.polarization_corrected", false,
                                     "the integration removed the polarisation factor");
    require(!corrected || (std::isnan(polarisation) && std::isnan(monochromator)), s,
            "instrument.polarization_corrected",
            "contradicts a polarisation factor or monochromator in [geometry]");
    const double cosine = std::cos(radians(monochromator));
    model.polarisation = corrected                    ? 0
                         : !std::isnan(polarisation)  ? polarisation
                         : !std::isnan(monochromator) ? cosine * cosine
                                                      : 1;
    model.solid_angle_corrected = s.boolean("instrument.solid_angle_corrected", true,
                                            "the integration corrected for solid angle");
}

void read_instrument_table(settings::Settings& s,
                           const std::optional<settings::InstrumentFile>& calibration,
                           PatternJob& job) {
    const auto widths =
        calibration ? calibration->profile : rietveld::InstrumentProfile{0, 0, 4e-4, 0, 0, 0};
    auto& model = job.model;
    auto& instrument = model.instrument;
    const auto value = [&](const char* name, double fallback, const char* unit, const char* text) {
        return s.number(fmt::format("instrument.{}", name), fallback, unit, text);
    };
    instrument.u.value = value("u", widths.u, "deg^2", "Gaussian FWHM² = u tan²θ + v tanθ + w");
    instrument.v.value = value("v", widths.v, "deg^2", "Gaussian FWHM² = u tan²θ + v tanθ + w");
    instrument.w.value = value("w", widths.w, "deg^2", "Gaussian FWHM² = u tan²θ + v tanθ + w");
    instrument.x.value = value("x", widths.x, "deg", "Lorentzian FWHM = x/cosθ + y tanθ + z");
    instrument.y.value = value("y", widths.y, "deg", "Lorentzian FWHM = x/cosθ + y tanθ + z");
    instrument.z.value = value("z", widths.z, "deg", "Lorentzian FWHM = x/cosθ + y tanθ + z");
    model.zero.value = value("zero", calibration ? calibration->zero : 0, "deg",
                             "zero shift, added to every line's 2theta");
    // The angles were computed with the nominal distance D₀ that the job states; the calibrated one
    // D makes tan 2θ' = (D / D₀) tan 2θ.
    const bool calibrated_distance =
        calibration && std::find(calibration->calibrated.begin(), calibration->calibrated.end(),
                                 "distance") != calibration->calibrated.end();
    const bool nominal = s.has("geometry.distance") && job.reading.distance > 0;
    const double displaced =
        calibrated_distance && nominal ? job.reading.distance - calibration->distance : 0;
    if (calibrated_distance && !nominal && job.reading.unit != patterns::PatternUnit::radius)
        job.notes.push_back(fmt::format(
            "{} holds a calibrated distance, {} mm; for angles that were computed with another one "
            "give that one as geometry.distance",
            job.instrument_file.string(), calibration->distance));
    model.displacement.value =
        value("displacement", displaced, "mm",
              "sample displacement; area: towards the detector; bragg_brentano: out of the "
              "focusing circle; needs geometry.distance");
    const std::pair<const char*, rietveld::Parameter*> refinable[] = {
        {"u", &instrument.u},
        {"v", &instrument.v},
        {"w", &instrument.w},
        {"x", &instrument.x},
        {"y", &instrument.y},
        {"z", &instrument.z},
        {"zero", &model.zero},
        {"displacement", &model.displacement},
        {"wavelength", &model.wavelength}};
    const std::string key = "instrument.refine";
    std::set<std::string> seen;
    for (const auto& name : s.texts(
             key, {}, "what is refined out of u, v, w, x, y, z, zero, displacement, wavelength")) {
        const auto* found = std::find_if(std::begin(refinable), std::end(refinable),
                                         [&](const auto& entry) { return name == entry.first; });
        if (found == std::end(refinable)) {
            std::vector<std::string> names;
            for (const auto& entry : refinable)
                names.emplace_back(entry.first);
            throw Error(fmt::format("{}: '{}' is no parameter of the instrument{}", s.where(key),
                                    name, nearest_hint(name, names)));
        }
        require(seen.insert(name).second, s, key, fmt::format("names '{}' twice", name));
        found->second->refine = true;
    }
    if (calibration)
        job.calibrated_range = {calibration->two_theta_min, calibration->two_theta_max};
    // Widths below zero are no widths; u and v may be of either sign.
    for (auto* parameter : {&instrument.w, &instrument.x, &instrument.y, &instrument.z})
        if (parameter->refine && parameter->value >= 0)
            parameter->lower = 0;
    require((!model.displacement.refine && model.displacement.value == 0) ||
                job.reading.distance > 0,
            s, "instrument.displacement",
            "a displacement needs geometry.distance (to the detector, or the goniometer radius)");
    require(!model.wavelength.refine || !model.second, s, key,
            "the wavelength cannot be refined together with a second wavelength");
}

/// Refuses two phases that nothing would tell apart.
void refuse_same_start(const PatternJob& job) {
    const auto& phase = job.phases.back();
    for (std::size_t j = 0; j + 1 < job.phases.size(); ++j) {
        const auto& other = job.phases[j];
        bool same =
            phase.cif == other.cif && phase.block == other.block && phase.depth == other.depth;
        for (std::size_t k = 0; k < 6; ++k)
            same = same && (phase.start_cell[k] == other.start_cell[k] ||
                            (std::isnan(phase.start_cell[k]) && std::isnan(other.start_cell[k])));
        if (same)
            throw Error(fmt::format("{}: phases '{}' and '{}' have the same CIF and the same "
                                    "start cell; give them different start cells (start_a, …) "
                                    "or depths",
                                    job.source, other.name, phase.name));
    }
}

/// [[phase]] and [[peak]] tables.
void read_model(settings::Settings& s, const std::filesystem::path& source, PatternJob& job) {
    std::set<std::string> names;
    for (std::size_t i = 0; i < s.table_count("phase"); ++i) {
        job.phases.push_back(read_phase(s, i, source, settings::JobKind::pattern));
        const auto& phase = job.phases.back();
        if (!names.insert(phase.name).second)
            throw Error(fmt::format("{}: phase '{}' is named twice", job.source, phase.name));
        refuse_same_start(job);
    }
    for (std::size_t i = 0; i < s.table_count("peak"); ++i) {
        job.peaks.push_back(read_peak(s, i, settings::JobKind::pattern));
        if (!names.insert(job.peaks.back().name).second)
            throw Error(fmt::format("{}: peak '{}' has the name of a phase or of another peak",
                                    job.source, job.peaks.back().name));
    }
    if (job.phases.empty())
        throw Error(
            fmt::format("{}: at least one [[phase]] (--phase NAME=CIF) is needed", job.source));
    for (const auto& name : job.options.extract_intensities)
        require(
            std::any_of(job.phases.begin(), job.phases.end(),
                        [&](const settings::PhaseSettings& phase) { return phase.name == name; }),
            s, "rietveld.extract_intensities", fmt::format("there is no phase '{}'", name));
}

PatternJob read_pattern_settings(settings::Settings& s, const std::filesystem::path& source) {
    PatternJob job;
    job.source = source.string();
    job.title = s.text("title", "", "free text; empty: the file's name");
    read_pattern_table(s, source, job);
    job.output =
        settings::beside(source, s.text("output", "",
                                        "folder of the results, relative to the job file; empty: "
                                        "the pattern's name with _rietveld added"));
    if (job.output.empty())
        job.output = settings::beside(source, job.file.stem().string() + "_rietveld");
    const auto calibration = read_calibration(s, source, job);
    read_geometry_table(s, calibration, job);
    read_instrument_table(s, calibration, job);

    auto& options = job.options;
    const long terms =
        s.integer("rietveld.background_terms", 6, "Chebyshev terms of the background");
    require(terms >= 0 && terms <= 36, s, "rietveld.background_terms", "must lie between 0 and 36");
    job.model.set_background(static_cast<std::size_t>(terms));
    options.cell_search =
        s.number("rietveld.cell_search", 0.01, "",
                 "relative half-range in which refined cells are searched first; 0: no search");
    require(options.cell_search >= 0 && options.cell_search <= 0.2, s, "rietveld.cell_search",
            "must lie between 0 and 0.2");
    options.staged = s.boolean("rietveld.staged", true,
                               "scales and background first, then cells, then widths, then all");
    options.scale_errors =
        s.boolean("rietveld.scale_errors", true, "multiply e.s.d. by GoF where it exceeds 1");
    options.significance =
        s.number("rietveld.significance", 3, "",
                 "cell and widths of a phase are refined only where scale / e.s.d. exceeds this");
    require(options.significance >= 0, s, "rietveld.significance", "must not be negative");
    options.extract_intensities =
        s.texts("rietveld.extract_intensities", {},
                "phases whose line intensities are taken from the pattern (Le Bail)");
    const long iterations = s.integer("rietveld.max_iterations", 60,
                                      "most iterations per stage; 0: scales, background and "
                                      "areas only");
    require(iterations >= 0 && iterations <= 10000, s, "rietveld.max_iterations",
            "must lie between 0 and 10000");
    options.max_iterations = static_cast<int>(iterations);
    options.tolerance = s.number("rietveld.tolerance", 1e-4, "",
                                 "converged when a step lowers chi^2 by less than this fraction "
                                 "of its value per degree of freedom");
    require(options.tolerance > 0, s, "rietveld.tolerance", "must be positive");
    job.model.anomalous = s.boolean("rietveld.anomalous", true, "apply f' and f''");
    job.model.profile_range = s.number("rietveld.profile_range", rietveld::default_profile_range,
                                       "FWHM", "half-width beyond which a line is zero");
    require(job.model.profile_range >= 4, s, "rietveld.profile_range", "must be at least 4");
    read_model(s, source, job);
    return job;
}

} // namespace

PatternJob parse_pattern_job(const std::string& text, const std::filesystem::path& source,
                             const std::vector<std::string>& overrides) {
    auto settings = settings::Settings::parse(text, source.string(), overrides);
    return settings::read_checked(settings, source, read_pattern_settings, pattern_job_reference);
}

std::vector<settings::SettingDescription> pattern_job_reference() {
    return settings::reference_of(
        "[pattern]\nfile = 'pattern.xy'\n"
        "[[phase]]\nname = 'phase'\ncif = 'phase.cif'\n"
        "[[peak]]\nname = 'peak'\nposition = 1.0\n",
        read_pattern_settings,
        {"pattern.file", "phase[].name", "phase[].cif", "peak[].name", "peak[].position"});
}

} // namespace xrdct::pattern
