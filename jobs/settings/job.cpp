// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/settings/job.hpp"

#include "base/error.hpp"
#include "crystal/fillings.hpp"
#include "jobs/settings/body_settings.hpp"
#include "jobs/settings/instrument_file.hpp"
#include "jobs/settings/model_settings.hpp"
#include "jobs/settings/stage_rules.hpp"
#include "mpi/files/text_file.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <set>
#include <sstream>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace xrdct::settings {

InputSettings read_input(Settings& s, const std::filesystem::path& source) {
    InputSettings input;
    input.file = beside(
        source, s.text("input.file", "", "scan to analyse (NeXus/HDF5), relative to the job file"));
    require(!input.file.empty(), s, "input.file", "is required: the scan to analyse");
    const std::string found = "; empty: found by the file's NeXus attributes";
    input.intensity = s.text("input.intensity", "", "dataset of the intensities" + found);
    input.intensity_errors =
        s.text("input.intensity_errors", "", "dataset of their standard deviations" + found);
    input.rotation = s.text("input.rotation_angle", "", "dataset of the rotation angles" + found);
    input.translation = s.text("input.translation", "", "dataset of the translations" + found);
    input.radial = s.text("input.radial", "", "dataset of the radial axis" + found);
    input.pixels = s.text("input.pixels", "",
                          "dataset with the number of detector pixels per channel" + found);
    input.transmission =
        s.text("input.transmission", "", "dataset of I/I0 of the direct beam" + found);
    input.monitor =
        s.text("input.monitor", "",
               "dataset of the incident flux; intensities are divided by it over its mean" + found);
    input.axes = s.texts(
        "input.axes", {},
        "order of the stored axes: rotation_angle, translation, radial; empty: from the file");
    input.rotation_unit =
        s.text("input.rotation_unit", "", "unit of the rotation axis where the file states none");
    input.translation_unit = s.text("input.translation_unit", "",
                                    "unit of the translation axis where the file states none");
    input.radial_unit =
        s.text("input.radial_unit", "", "unit of the radial axis where the file states none");
    input.rotation_range = s.numbers("input.rotation_range", {}, "deg",
                                     "first and last rotation, for files without that axis");
    require(input.rotation_range.empty() || input.rotation_range.size() == 2, s,
            "input.rotation_range", "expected two numbers, the first and the last rotation");
    input.rotation_range_closed =
        s.boolean("input.rotation_range_closed", input.rotation_range_closed,
                  "whether a rotation was recorded at the end of the "
                  "range; false: the last one lies a step before it");
    input.translation_range = s.numbers("input.translation_range", {}, "mm",
                                        "first and last translation, for files without that axis");
    require(input.translation_range.empty() || input.translation_range.size() == 2, s,
            "input.translation_range", "expected two numbers, the first and the last translation");
    input.slice = s.integer("input.slice", input.slice,
                            "index along a leading height or time axis; -1: the file has none");
    return input;
}

std::filesystem::path mask_file(const std::filesystem::path& folder, const std::string& phase) {
    return folder / (phase + ".pgm");
}

namespace {

/// Reads the instrument's keys; what a calibration found is their default. Returns the calibration.
std::optional<InstrumentFile> read_instrument(Settings& s, const std::filesystem::path& source,
                                              Job& job) {
    auto& instrument = job.instrument;
    instrument.file = beside(source, s.text("instrument.file", "",
                                            "instrument file (xrdct calibrate), relative to the "
                                            "job file: gives u to z, wavelength and distance "
                                            "where the job does not state them"));
    std::optional<InstrumentFile> calibration;
    if (!instrument.file.empty()) {
        try {
            calibration = read_instrument_file(instrument.file);
        } catch (const Error& error) {
            throw Error(fmt::format("{}: {}", s.where("instrument.file"), error.what()));
        }
    }
    std::vector<std::string> kept;
    const auto term = [&](const std::string& name, double rietveld::InstrumentProfile::*member,
                          double fallback, const std::string& unit, const std::string& what) {
        const std::string key = "instrument." + name;
        if (calibration && s.has(key))
            kept.push_back(key);
        return s.number(key, calibration ? calibration->profile.*member : fallback, unit, what);
    };
    instrument.u = term("u", &rietveld::InstrumentProfile::u, instrument.u, "deg^2",
                        "Gaussian FWHM² = u tan²θ + v tanθ + w");
    instrument.v = term("v", &rietveld::InstrumentProfile::v, instrument.v, "deg^2",
                        "Gaussian FWHM² = u tan²θ + v tanθ + w");
    instrument.w = term("w", &rietveld::InstrumentProfile::w, instrument.w, "deg^2",
                        "Gaussian FWHM² = u tan²θ + v tanθ + w");
    instrument.x = term("x", &rietveld::InstrumentProfile::x, instrument.x, "deg",
                        "Lorentzian FWHM = x/cosθ + y tanθ + z");
    instrument.y = term("y", &rietveld::InstrumentProfile::y, instrument.y, "deg",
                        "Lorentzian FWHM = x/cosθ + y tanθ + z");
    instrument.z = term("z", &rietveld::InstrumentProfile::z, instrument.z, "deg",
                        "Lorentzian FWHM = x/cosθ + y tanθ + z");
    instrument.polarization_stated = s.has("instrument.polarization_corrected");
    instrument.solid_angle_stated = s.has("instrument.solid_angle_corrected");
    instrument.polarization_corrected =
        s.boolean("instrument.polarization_corrected", instrument.polarization_corrected,
                  "the integration removed the polarisation factor");
    instrument.solid_angle_corrected =
        s.boolean("instrument.solid_angle_corrected", instrument.solid_angle_corrected,
                  "the integration corrected for solid angle");
    if (!calibration)
        return calibration;
    const bool wavelength = !s.has("geometry.wavelength") && !s.has("geometry.energy");
    const bool distance = calibration->distance > 0 && !s.has("geometry.distance");
    std::string given = kept.size() < 6 ? "the profile" : "";
    for (const auto& [wanted, text] :
         {std::pair{wavelength, fmt::format("the wavelength {} angstrom", calibration->wavelength)},
          {distance, fmt::format("the distance {} mm", calibration->distance)}})
        if (wanted)
            given += (given.empty() ? "" : ", ") + text;
    if (!given.empty())
        job.notes.push_back(fmt::format("{} gives {}", instrument.file.string(), given));
    for (const auto* key : {"geometry.wavelength", "geometry.energy", "geometry.distance"})
        if (s.has(key) && (calibration->distance > 0 || std::string(key) != "geometry.distance"))
            kept.emplace_back(key);
    if (!kept.empty())
        job.notes.push_back(fmt::format("of the job and not of {}: {}", instrument.file.string(),
                                        fmt::join(kept, ", ")));
    if (calibration->zero != 0)
        job.notes.push_back(fmt::format(
            "{} has a zero of {} deg, which a job does not apply: integrate with a corrected "
            "geometry, or calibrate the wavelength or the distance",
            instrument.file.string(), calibration->zero));
    return calibration;
}

/// A choice among words of the job file that stand for values.
template <typename Value>
Value choose(Settings& s, const std::string& key, Value fallback,
             const std::vector<std::pair<std::string, Value>>& words, const std::string& meaning) {
    std::vector<std::string> list;
    std::string usual;
    for (const auto& [word, value] : words) {
        list.push_back(word);
        if (value == fallback)
            usual = word;
    }
    const auto chosen = s.choice(key, usual, list, meaning);
    return std::find_if(words.begin(), words.end(),
                        [&](const auto& entry) { return entry.first == chosen; })
        ->second;
}

void read_iteration(Settings& s, AbsorptionSettings& absorption) {
    absorption.depths = s.integer("absorption.depths", absorption.depths,
                                  "places along the beam at which parallax may have put a phase's "
                                  "lines, when the path integrals of the phases are determined");
    require(absorption.depths >= 1 && absorption.depths <= 15, s, "absorption.depths",
            "must lie between 1 and 15");
    absorption.tolerance = s.number("absorption.tolerance", absorption.tolerance, "",
                                    "largest change of any transmission that ends the iteration");
    require(absorption.tolerance > 0, s, "absorption.tolerance", "must be positive");
    absorption.max_iterations =
        s.integer("absorption.max_iterations", absorption.max_iterations, "most iterations");
    require(absorption.max_iterations >= 1, s, "absorption.max_iterations", "must be at least 1");
}

void read_absorption(Settings& s, Job& job) {
    auto& absorption = job.absorption;
    absorption.method = choose<AbsorptionMethod>(
        s, "absorption.method", absorption.method,
        {{"none", AbsorptionMethod::none},
         {"transmission", AbsorptionMethod::transmission},
         {"phases", AbsorptionMethod::phases}},
        "self-absorption correction (zero order): none, division by the measured transmission, or "
        "by the transmission that follows from the path integrals of the phases");
    absorption.calibration = choose<AmountCalibration>(
        s, "absorption.calibration", absorption.calibration,
        {{"auto", AmountCalibration::automatic},
         {"transmission", AmountCalibration::transmission},
         {"ring", AmountCalibration::ring},
         {"plateau", AmountCalibration::plateau},
         {"constant", AmountCalibration::constant},
         {"mass", AmountCalibration::mass},
         {"density", AmountCalibration::density},
         {"consistency", AmountCalibration::consistency}},
        "what turns amounts of phases into volumes: the measured transmission; the reference phase "
        "as a homogeneous can wall (\"ring\"), or by the plateau of its map; a given constant; "
        "the sample's mass per length or mean density; the scan itself, whose corrected amounts "
        "must be those of something that only turns (\"consistency\"); auto: the transmission "
        "where it is used, else the mass per length, mean density or reference phase (as a can "
        "wall) that the job gives, else consistency");
    absorption.reference_phase =
        s.text("absorption.reference_phase", "",
               "phase whose volume fraction is known somewhere, for ring and plateau");
    absorption.reference_fraction =
        s.number("absorption.reference_fraction", absorption.reference_fraction, "",
                 "volume fraction of the reference phase");
    require(absorption.reference_fraction > 0 && absorption.reference_fraction <= 1, s,
            "absorption.reference_fraction", "must lie in (0, 1]");
    absorption.constant = positive(s, "absorption.constant", absorption.constant, "1/angstrom^6",
                                   "volume fraction over scale times cell volume squared");
    read_body(s, absorption);
    absorption.filling = s.text("absorption.filling", "",
                                "formula of what fills the rest of the sample and does not "
                                "diffract (electrolyte, binder), such as \"C3H4O3\", or its name: "
                                "LP30, polyethylene, polypropylene, PVDF, water");
    const auto* known = crystal::find_filling(absorption.filling);
    if (known != nullptr) {
        absorption.filling = known->formula;
        absorption.filling_density = known->density;
    }
    absorption.filling_density =
        positive(s, "absorption.filling_density", absorption.filling_density, "g/cm^3",
                 "density of the filling; of one with a name: that of the pure material");
    require(absorption.filling.empty() == std::isnan(absorption.filling_density), s,
            "absorption.filling_density", "and absorption.filling belong together");
    absorption.hollow_diameter = s.number_or_word(
        "absorption.hollow_diameter", std::nullopt, "auto", "mm",
        "the filling fills the space within the can wall but for a hollow core of this diameter; "
        "\"auto\": found in the images of the can wall and of the total intensity");
    require(!absorption.hollow_diameter || *absorption.hollow_diameter >= 0, s,
            "absorption.hollow_diameter", "must not be negative");
    absorption.sample_threshold =
        s.number("absorption.sample_threshold", absorption.sample_threshold, "",
                 "without a can wall the filling fills where the total intensity exceeds this "
                 "fraction of its 99th percentile; at least 0.2 where the transmission is found");
    require(absorption.sample_threshold >= 0 && absorption.sample_threshold < 1, s,
            "absorption.sample_threshold", "must lie in [0, 1)");
    read_iteration(s, absorption);
    require(absorption.calibration != AmountCalibration::constant ||
                !std::isnan(absorption.constant),
            s, "absorption.constant", "is required by absorption.calibration = \"constant\"");
    require(absorption.calibration != AmountCalibration::transmission ||
                absorption.method != AbsorptionMethod::phases,
            s, "absorption.calibration",
            "cannot be \"transmission\" where the transmission is to be found from the phases");
}

void read_geometry(Settings& s, const std::optional<InstrumentFile>& calibration,
                   GeometrySettings& geometry) {
    geometry.wavelength =
        positive(s, "geometry.wavelength",
                 calibration && !s.has("geometry.energy") ? calibration->wavelength : not_given,
                 "angstrom", "wavelength; nan: from the instrument file or the scan");
    geometry.energy = positive(s, "geometry.energy", not_given, "keV",
                               "photon energy, instead of the wavelength");
    require(std::isnan(geometry.wavelength) || std::isnan(geometry.energy), s, "geometry.energy",
            "give the wavelength or the energy, not both");
    geometry.distance =
        positive(s, "geometry.distance",
                 calibration && calibration->distance > 0 ? calibration->distance : not_given, "mm",
                 "rotation axis to detector; nan: from the instrument file or the scan");
    geometry.beam_width =
        s.number("geometry.beam_width", not_given, "mm",
                 "horizontal beam size; nan: from the file, or as wide as the step");
    require(!(geometry.beam_width < 0), s, "geometry.beam_width", "must not be negative");
    geometry.axis_offset = s.number_or_word(
        "geometry.axis_offset", 0.0, "auto", "mm",
        "translation at which the beam hits the rotation axis; \"auto\": found from the sinogram");
    const auto sense = [&](const std::string& key, const std::string& what) {
        const long value = s.integer(key, 1, what);
        require(value == 1 || value == -1, s, key, fmt::format("must be 1 or -1, is {}", value));
        return static_cast<int>(value);
    };
    geometry.rotation_sense =
        sense("geometry.rotation_sense", "1, or -1 if the stage turns the other way round");
    geometry.translation_sense =
        sense("geometry.translation_sense", "1, or -1 if the file's translation is the motor's "
                                            "position, which runs against the beam's");
}

void read_channels(Settings& s, Job& job) {
    job.channels.two_theta_min = s.number("channels.two_theta_min", job.channels.two_theta_min,
                                          "deg", "channels below are left out");
    job.channels.two_theta_max = s.number("channels.two_theta_max", job.channels.two_theta_max,
                                          "deg", "channels above are left out");
    require(job.channels.two_theta_min < job.channels.two_theta_max, s, "channels.two_theta_max",
            "must exceed channels.two_theta_min");

    job.noise = choose<NoiseModel>(
        s, "noise.model", job.noise,
        {{"auto", NoiseModel::automatic},
         {"errors", NoiseModel::errors},
         {"counts", NoiseModel::counts},
         {"estimate", NoiseModel::estimate}},
        "where variances come from: errors given in the file, counts (Poisson), or an estimate "
        "from the data; auto takes what the file offers");
}

void read_fbp(Settings& s, FbpSettings& fbp) {
    using tomography::FilterWindow;
    fbp.window = choose<FilterWindow>(s, "fbp.window", fbp.window,
                                      {{"ram-lak", FilterWindow::ram_lak},
                                       {"shepp-logan", FilterWindow::shepp_logan},
                                       {"cosine", FilterWindow::cosine},
                                       {"hamming", FilterWindow::hamming},
                                       {"hann", FilterWindow::hann}},
                                      "apodisation of the ramp filter");
    fbp.cutoff = s.number("fbp.cutoff", fbp.cutoff, "",
                          "cut-off of the ramp filter as a fraction of the Nyquist frequency");
    require(fbp.cutoff > 0 && fbp.cutoff <= 1, s, "fbp.cutoff", "must lie in (0, 1]");
    fbp.size = s.integer("fbp.size", fbp.size, "pixels per side; 0: number of translations");
    require(fbp.size >= 0, s, "fbp.size", "must not be negative");
    fbp.pixel = s.number("fbp.pixel", fbp.pixel, "mm", "pixel size; 0: the translation step");
    require(fbp.pixel >= 0, s, "fbp.pixel", "must not be negative");
}

void read_mask(Settings& s, const std::filesystem::path& source, MaskSettings& mask) {
    mask.threshold =
        s.number_or_word("mask.threshold", mask.threshold, "auto", "",
                         "voxels with less total intensity than this fraction of the 99th "
                         "percentile are not fitted; \"auto\": those that do not stand out from "
                         "noise and streaks where nothing is");
    require(!mask.threshold || (*mask.threshold >= 0 && *mask.threshold < 1), s, "mask.threshold",
            "must lie in [0, 1)");
    mask.phases = s.boolean(
        "mask.phases", mask.phases,
        "fit twice: masks of the phases are derived from the first fit, and outside its mask a "
        "phase is not in the model of the second");
    mask.significance = s.number("mask.significance", mask.significance, "",
                                 "least scale / e.s.d. inside a phase's mask");
    require(mask.significance >= 0, s, "mask.significance", "must not be negative");
    mask.fraction = s.number("mask.fraction", mask.fraction, "",
                             "least scale inside a phase's mask, of the phase's 95th "
                             "percentile");
    require(mask.fraction >= 0 && mask.fraction < 1, s, "mask.fraction", "must lie in [0, 1)");
    mask.growth = s.integer("mask.growth", mask.growth,
                            "voxels by which a phase's mask is grown at its borders");
    require(mask.growth >= 0 && mask.growth <= 100, s, "mask.growth", "must lie between 0 and 100");
    mask.images = beside(
        source, s.text("mask.images", "",
                       "folder with edited mask images <phase>.pgm, as results/masks holds them; a "
                       "phase without an image there keeps its derived mask"));
}

void read_rietveld(Settings& s, RietveldSettings& rietveld) {
    rietveld.background_terms = s.integer("rietveld.background_terms", rietveld.background_terms,
                                          "Chebyshev terms of the background");
    require(rietveld.background_terms >= 0 && rietveld.background_terms <= 20, s,
            "rietveld.background_terms", "must lie between 0 and 20");
    rietveld.excluded = s.intervals("rietveld.excluded", "deg",
                                    "regions [from, to] in 2theta that are not fitted, such as "
                                    "the can's lines that parallax splits");
    rietveld.refine_start =
        s.boolean("rietveld.refine_start", rietveld.refine_start,
                  "refine the start model on the mean pattern first; false: start from the CIFs");
    rietveld.significance =
        s.number("rietveld.significance", rietveld.significance, "",
                 "a phase's cell is refined in a voxel only where scale / e.s.d. exceeds this");
    require(rietveld.significance >= 0, s, "rietveld.significance", "must not be negative");
    rietveld.anomalous = s.boolean("rietveld.anomalous", rietveld.anomalous, "apply f' and f''");
    rietveld.max_iterations =
        s.integer("rietveld.max_iterations", rietveld.max_iterations, "most iterations in a voxel");
    require(rietveld.max_iterations >= 1, s, "rietveld.max_iterations", "must be at least 1");
}

/// Phases and peaks; their names.
std::set<std::string> read_model(Settings& s, const std::filesystem::path& source, Job& job) {
    std::set<std::string> names;
    for (std::size_t i = 0; i < s.table_count("phase"); ++i) {
        job.phases.push_back(read_phase(s, i, source, JobKind::map));
        if (!names.insert(job.phases.back().name).second)
            throw Error(fmt::format("{}: phase '{}' is named twice", source.string(),
                                    job.phases.back().name));
    }
    for (std::size_t i = 0; i < s.table_count("peak"); ++i) {
        job.peaks.push_back(read_peak(s, i, JobKind::map));
        if (!names.insert(job.peaks.back().name).second)
            throw Error(fmt::format("{}: peak '{}' has the name of a phase or of another peak",
                                    source.string(), job.peaks.back().name));
    }
    return names;
}

/// What the absorption correction needs of other tables.
void check_absorption(Settings& s, const Job& job) {
    const auto& absorption = job.absorption;
    const bool corrected = absorption.method != AbsorptionMethod::none;
    const auto calibration = resolved_calibration(absorption);
    const bool by_reference =
        calibration == AmountCalibration::ring || calibration == AmountCalibration::plateau;
    require(!corrected || !by_reference || !absorption.reference_phase.empty(), s,
            "absorption.reference_phase",
            "is required to calibrate amounts (or give absorption.constant with "
            "absorption.calibration = \"constant\")");
    check_body(s, absorption);
    require(job.dlsr.exit_ray == "straight" || corrected, s, "dlsr.exit_ray",
            "\"deviated\" needs the absorption of the sample, but absorption.method is \"none\"");
    require(absorption.method != AbsorptionMethod::phases || !job.phases.empty(), s,
            "absorption.method", "\"phases\" needs at least one [[phase]]");
}

/// What the stages need of the job; `names` of phases and peaks.
void check_stages(const Job& job, const std::set<std::string>& names) {
    for (const auto* stage : stage_rules())
        for (const auto& reserved : stage->reserved_names())
            if (names.contains(reserved))
                throw Error(
                    fmt::format("{}: '{}' cannot be the name of a phase or peak: results use it",
                                job.source.string(), reserved));
    for (const auto* stage : stage_rules())
        if (job.names_stage(stage->name()))
            stage->check(job);
}

Job read_job_settings(Settings& s, const std::filesystem::path& source) {
    Job job;
    job.source = source;
    job.title = s.text("title", "", "free text");
    std::vector<std::string> usual;
    for (const auto* stage : stage_rules())
        if (stage->by_default())
            usual.push_back(stage->name());
    job.stages =
        s.texts("stages", usual,
                fmt::format("stages to run, in order: {}", fmt::join(stage_names(), ", ")));
    for (const auto& stage : job.stages)
        if (std::find(stage_names().begin(), stage_names().end(), stage) == stage_names().end()) {
            const auto nearest = nearest_name(stage, stage_names());
            throw Error(fmt::format("{}: there is no stage '{}'{}", s.where("stages"), stage,
                                    nearest ? "; nearest is '" + *nearest + "'" : ""));
        }
    require(!job.stages.empty(), s, "stages", "names no stage");
    job.output = beside(
        source, s.text("output", "results", "folder of the products, relative to the job file"));
    require(!job.output.empty(), s, "output", "must not be empty");

    job.scans = s.texts("campaign.scans", {},
                        "many scans with one job, each a member with a folder of its own in "
                        "output: files or patterns (* ? []), relative to the job file; for xrdct "
                        "submit, which fills in input.file");
    job.input = read_input(s, source);

    const auto calibration = read_instrument(s, source, job);

    read_geometry(s, calibration, job.geometry);
    read_channels(s, job);
    read_absorption(s, job);

    read_fbp(s, job.fbp);
    read_mask(s, source, job.mask);
    read_rietveld(s, job.rietveld);
    job.dlsr = read_dlsr_settings(s);

    const auto names = read_model(s, source, job);
    job.lithium = read_lithium(s);
    std::vector<std::string> phase_names;
    for (const auto& phase : job.phases)
        phase_names.push_back(phase.name);
    check_lithium_phases(job.lithium, phase_names, source.string());
    const auto& absorption = job.absorption;
    if (!absorption.reference_phase.empty() &&
        std::none_of(job.phases.begin(), job.phases.end(), [&](const PhaseSettings& phase) {
            return phase.name == absorption.reference_phase;
        })) {
        std::vector<std::string> known;
        for (const auto& phase : job.phases)
            known.push_back(phase.name);
        const auto nearest = nearest_name(absorption.reference_phase, known);
        throw Error(fmt::format("{}: there is no phase '{}'{}",
                                s.where("absorption.reference_phase"), absorption.reference_phase,
                                nearest ? "; nearest is '" + *nearest + "'" : ""));
    }
    check_absorption(s, job);
    check_stages(job, names);
    return job;
}

} // namespace

const std::vector<std::string>& stage_names() {
    static const auto names = [] {
        std::vector<std::string> list;
        for (const auto* stage : stage_rules())
            list.push_back(stage->name());
        return list;
    }();
    return names;
}

Job parse_job(const std::string& text, const std::filesystem::path& source,
              const std::vector<std::string>& overrides) {
    auto settings = Settings::parse(text, source.string(), overrides);
    Job job;
    try {
        job = read_job_settings(settings, source);
    } catch (const Error&) {
        // A misspelt key often shows as a missing one: name the misspelling first.
        std::vector<std::string> known;
        for (const auto& entry : job_reference())
            known.push_back(entry.path);
        settings.refuse_unknown(known);
        throw;
    }
    settings.refuse_unknown();
    job.resolved = settings.resolved();
    for (const auto* stage : stage_rules()) {
        std::vector<std::string> tables{"input", "geometry", "channels"};
        for (const auto& table : stage->tables(job))
            tables.push_back(table);
        job.resolved_stages.emplace_back(stage->name(), settings.resolved(tables));
    }
    return job;
}

bool Job::names_stage(const std::string& stage) const {
    return std::find(stages.begin(), stages.end(), stage) != stages.end();
}

std::string Job::resolved_for(const std::string& stage) const {
    for (const auto& [name, text] : resolved_stages)
        if (name == stage)
            return text;
    throw Error(fmt::format("there is no stage '{}'", stage));
}

Job read_job(const std::filesystem::path& path, const std::vector<std::string>& overrides) {
    return parse_job(files::read_text_file(path), path, overrides);
}

std::vector<SettingDescription> job_reference() {
    auto settings = Settings::parse("[input]\nfile = 'scan.nxs'\n"
                                    "[[phase]]\nname = 'phase'\ncif = 'phase.cif'\n"
                                    "[[peak]]\nname = 'peak'\nposition = 1.0\n"
                                    "[[lithium]]\nelectrode = 'cathode'\nphase = 'phase'\n"
                                    "content = 1.0\n",
                                    "reference");
    read_job_settings(settings, "reference.toml");
    auto list = settings.descriptions();
    for (auto& entry : list)
        for (const auto* required : {"input.file", "phase[].name", "phase[].cif", "peak[].name",
                                     "peak[].position", "lithium[].electrode", "lithium[].phase"})
            if (entry.path == required)
                entry.default_value.clear();
    return list;
}

} // namespace xrdct::settings
