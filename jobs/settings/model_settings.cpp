// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/settings/model_settings.hpp"

#include "base/error.hpp"
#include "crystal/march_dollase.hpp"
#include "mpi/files/cif_file.hpp"

#include <algorithm>
#include <cmath>
#include <tuple>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace xrdct::settings {

namespace {

Treatment treatment_from(const std::string& word) {
    return word == "fixed" ? Treatment::fixed
                           : (word == "voxel" ? Treatment::voxel : Treatment::global);
}

/// The words for a treatment in the two kinds of jobs.
struct Words {
    std::vector<std::string> all, whole_object;
    std::string refined;
};

Words words_of(JobKind kind) {
    if (kind == JobKind::map)
        return {{"fixed", "global", "voxel"}, {"fixed", "global"}, "global"};
    const std::vector<std::string> words{"fixed", "refined", "global", "voxel"};
    return {words, words, "refined"};
}

/// Texture about the normal of wound layers, which only the dlsr stage knows.
void read_texture(Settings& s, const std::string& prefix, JobKind kind, PhaseSettings& phase) {
    if (kind == JobKind::pattern) {
        // A table copied from a resolved job may say that there is none.
        const std::string unknown =
            "is of layers wound about an axis and seen from all sides; a single pattern knows no "
            "texture";
        if (s.has(prefix + "march_axis"))
            require(s.numbers(prefix + "march_axis", {}, "", unknown).empty(), s,
                    prefix + "march_axis", unknown);
        if (s.has(prefix + "march"))
            require(s.number(prefix + "march", 1, "", unknown) == 1, s, prefix + "march", unknown);
        if (s.has(prefix + "refine_march"))
            require(s.text(prefix + "refine_march", "fixed", unknown) == "fixed", s,
                    prefix + "refine_march", unknown);
        return;
    }
    const auto axis =
        s.numbers(prefix + "march_axis", {}, "",
                  "hkl of the preferred orientation along the normal of layers that are wound "
                  "about the sample's centre, such as [0, 0, 1]; empty: no texture");
    phase.march = s.number(prefix + "march", 1, "",
                           "March coefficient of the texture; below 1: platelets that lie along "
                           "the layers; 1: none");
    phase.march_treatment = treatment_from(
        s.choice(prefix + "refine_march", "fixed", {"fixed", "global"},
                 "treatment of the March coefficient by the dlsr stage; the stages before it keep "
                 "its start"));
    require(phase.march >= crystal::min_march && phase.march <= crystal::largest_march, s,
            prefix + "march",
            fmt::format("must lie between {} and {}, is {}", crystal::min_march,
                        crystal::largest_march, phase.march));
    if (axis.empty()) {
        require(phase.march == 1, s, prefix + "march",
                "needs march_axis, the direction that is preferred");
        require(phase.march_treatment == Treatment::fixed, s, prefix + "refine_march",
                "needs march_axis, the direction that is preferred");
        return;
    }
    require(axis.size() == 3 &&
                std::all_of(axis.begin(), axis.end(),
                            [](double i) { return i == std::round(i) && std::abs(i) <= 99; }),
            s, prefix + "march_axis", "expected three integers, such as [0, 0, 1]");
    for (std::size_t i = 0; i < 3; ++i)
        phase.march_axis[i] = static_cast<int>(axis[i]);
    require(phase.march_axis != std::array<int, 3>{}, s, prefix + "march_axis",
            "0 0 0 is no direction");
}

Bounds read_bounds(Settings& s, const std::string& key, const std::string& unit) {
    const auto values = s.numbers(key, {}, unit, "lower and upper bound; empty: none of your own");
    if (values.empty())
        return {};
    require(values.size() == 2 && values[0] < values[1], s, key,
            "expected two numbers, the lower and the upper bound");
    return {values[0], values[1]};
}

/// Narrows the parameter's bounds; an Error says that they exclude its start.
void apply(const Bounds& bounds, rietveld::Parameter& parameter, const std::string& where,
           const std::string& name) {
    parameter.lower = std::max(parameter.lower, bounds.lower);
    parameter.upper = std::min(parameter.upper, bounds.upper);
    if (parameter.value < parameter.lower || parameter.value > parameter.upper)
        throw Error(fmt::format("{}: the start value of {}, {}, lies outside its bounds {} … {}",
                                where, name, parameter.value, parameter.lower, parameter.upper));
}

} // namespace

void require(bool condition, const Settings& settings, const std::string& key,
             const std::string& expected) {
    if (!condition)
        throw Error(fmt::format("{}: {}", settings.where(key), expected));
}

std::filesystem::path beside(const std::filesystem::path& job_file,
                             const std::filesystem::path& path) {
    return path.empty() || path.is_absolute() ? path
                                              : (job_file.parent_path() / path).lexically_normal();
}

double positive(Settings& settings, const std::string& key, double fallback,
                const std::string& unit, const std::string& description) {
    const double value = settings.number(key, fallback, unit, description);
    require(std::isnan(value) || value > 0, settings, key,
            fmt::format("must be positive, is {}", value));
    return value;
}

PhaseSettings read_phase(Settings& s, std::size_t index, const std::filesystem::path& source,
                         JobKind kind) {
    const auto words = words_of(kind);
    const bool pattern = kind == JobKind::pattern;
    const std::string prefix = fmt::format("phase[{}].", index);
    PhaseSettings phase;
    phase.name = s.text(prefix + "name", "", "name of the phase in maps and reports");
    require(!phase.name.empty(), s, prefix + "name", "is required");
    require(phase.name.find('/') == std::string::npos && phase.name != "." && phase.name != "..", s,
            prefix + "name", "must not contain '/'");
    phase.cif =
        beside(source, s.text(prefix + "cif", "", "structure (CIF), relative to the job file"));
    require(!phase.cif.empty(), s, prefix + "cif", "is required: the structure of the phase");
    phase.block =
        s.text(prefix + "block", "",
               "data block of the CIF, for one with several structures: name, or number from "
               "1; empty: the first structure");
    phase.scale = treatment_from(s.choice(prefix + "scale", pattern ? "refined" : "voxel",
                                          words.all, "treatment of the scale"));
    require(
        pattern || phase.scale == Treatment::voxel, s, prefix + "scale",
        "the voxelwise fit refines the scale of every phase in every voxel; expected \"voxel\"");
    if (pattern) {
        phase.start_scale =
            s.number(prefix + "start_scale", 1, "", "value of a scale that is fixed");
        require(phase.start_scale >= 0, s, prefix + "start_scale", "must not be negative");
    }
    const std::string cell = s.choice(prefix + "cell", words.refined, words.all,
                                      "treatment of the cell parameters that are not set one by "
                                      "one");
    const std::array<std::string, 6> names{"a", "b", "c", "alpha", "beta", "gamma"};
    for (std::size_t i = 0; i < names.size(); ++i) {
        const std::string unit = i < 3 ? "angstrom" : "deg";
        phase.cell[i] = treatment_from(
            s.choice(prefix + names[i], cell, words.all, "treatment of this cell parameter"));
        // A resolved job names all six: what agrees with its `cell` is no demand of the user.
        phase.cell_asked[i] = s.has(prefix + names[i]) &&
                              (!s.has(prefix + "cell") || phase.cell[i] != treatment_from(cell));
        phase.start_cell[i] = positive(s, prefix + "start_" + names[i], not_given, unit,
                                       "start value; nan: from the CIF");
        if (pattern)
            phase.cell_bounds[i] = read_bounds(s, prefix + names[i] + "_bounds", unit);
    }
    const std::string map = pattern ? "" : "; voxel: a map, by the rietveld and dlsr stages";
    phase.size_treatment = treatment_from(s.choice(prefix + "refine_size", "fixed", words.all,
                                                   "treatment of the crystallite size" + map));
    phase.size = s.number(
        prefix + "size", 0, "angstrom",
        "volume-weighted crystallite size (Scherrer constant 0.94); 0: no size broadening");
    require(phase.size >= 0, s, prefix + "size", "must not be negative");
    phase.microstrain_treatment = treatment_from(s.choice(
        prefix + "refine_microstrain", "fixed", words.all, "treatment of the microstrain" + map));
    phase.microstrain =
        s.number(prefix + "microstrain", 0, "", "microstrain, relative spread of d; 0: none");
    require(phase.microstrain >= 0, s, prefix + "microstrain", "must not be negative");
    phase.gauss_microstrain_treatment =
        treatment_from(s.choice(prefix + "refine_gauss_microstrain", "fixed", words.all,
                                "treatment of the Gaussian microstrain" + map));
    phase.gauss_microstrain = s.number(prefix + "gauss_microstrain", 0, "",
                                       "microstrain of Gaussian shape, relative spread of d; takes "
                                       "up what parallax does to the widths; 0: none");
    require(phase.gauss_microstrain >= 0, s, prefix + "gauss_microstrain", "must not be negative");
    read_texture(s, prefix, kind, phase);
    phase.displacement_treatment =
        treatment_from(s.choice(prefix + "refine_displacement", "fixed", words.whole_object,
                                "treatment of the displacement parameter"));
    phase.displacement =
        s.number(prefix + "displacement", 0, "angstrom^2",
                 "isotropic displacement parameter B added to the CIF's for all atoms");
    if (pattern) {
        phase.size_bounds = read_bounds(s, prefix + "size_bounds", "angstrom");
        phase.microstrain_bounds = read_bounds(s, prefix + "microstrain_bounds", "");
        phase.gauss_microstrain_bounds = read_bounds(s, prefix + "gauss_microstrain_bounds", "");
        phase.displacement_bounds = read_bounds(s, prefix + "displacement_bounds", "angstrom^2");
        phase.depth_treatment = treatment_from(
            s.choice(prefix + "refine_depth", "fixed", words.all, "treatment of the depth"));
        phase.depth =
            s.number(prefix + "depth", 0, "mm",
                     "place of the phase along the beam, positive towards the detector: a wall of "
                     "a cell whose lines parallax displaces; tan 2θ' = (1 - depth/distance) tan "
                     "2θ; needs geometry.distance; refined only with a fixed cell");
        phase.depth_bounds = read_bounds(s, prefix + "depth_bounds", "mm");
    }
    return phase;
}

PeakSettings read_peak(Settings& s, std::size_t index, JobKind kind) {
    const auto words = words_of(kind);
    const std::string prefix = fmt::format("peak[{}].", index);
    PeakSettings peak;
    peak.name = s.text(prefix + "name", "", "name of the peak in maps and reports");
    require(!peak.name.empty(), s, prefix + "name", "is required");
    require(peak.name.find('/') == std::string::npos, s, prefix + "name", "must not contain '/'");
    peak.position = positive(s, prefix + "position", not_given, "deg", "centre in 2θ");
    require(!std::isnan(peak.position), s, prefix + "position", "is required");
    peak.fwhm = positive(s, prefix + "fwhm", 0.1, "deg", "full width at half maximum");
    peak.mixing = s.number(prefix + "mixing", 0.5, "", "Lorentz fraction of the pseudo-Voigt");
    require(peak.mixing >= 0 && peak.mixing <= 1, s, prefix + "mixing", "must lie between 0 and 1");
    peak.position_treatment = treatment_from(s.choice(prefix + "refine_position", words.refined,
                                                      words.all, "treatment of the position"));
    peak.fwhm_treatment = treatment_from(s.choice(prefix + "refine_fwhm", words.refined,
                                                  words.whole_object, "treatment of the width"));
    if (kind == JobKind::pattern) {
        peak.mixing_treatment = treatment_from(
            s.choice(prefix + "refine_mixing", "fixed", words.all, "treatment of the mixing"));
        peak.position_bounds = read_bounds(s, prefix + "position_bounds", "deg");
        peak.fwhm_bounds = read_bounds(s, prefix + "fwhm_bounds", "deg");
        require(peak.position >= peak.position_bounds.lower &&
                    peak.position <= peak.position_bounds.upper,
                s, prefix + "position_bounds", "exclude the start value, position");
        require(peak.fwhm >= peak.fwhm_bounds.lower && peak.fwhm <= peak.fwhm_bounds.upper, s,
                prefix + "fwhm_bounds", "exclude the start value, fwhm");
    }
    return peak;
}

void add_phases(rietveld::PatternModel& model, std::span<const PhaseSettings> phases,
                const std::string& source, std::vector<std::string>& notes) {
    for (const auto& settings : phases) {
        const auto where = fmt::format("{}: phase '{}'", source, settings.name);
        auto structure = files::read_phase(settings.cif, settings.name, settings.block);
        for (const auto& warning : structure.warnings())
            notes.push_back(fmt::format("phase '{}': {}", settings.name, warning));
        rietveld::PhaseModel phase(structure, settings.name);
        const auto free = structure.free_parameters();
        for (std::size_t i = 0; i < free.size(); ++i) {
            const auto which = static_cast<std::size_t>(free[i]);
            auto& parameter = phase.cell[i];
            if (!std::isnan(settings.start_cell[which])) {
                parameter.value = settings.start_cell[which];
                std::tie(parameter.lower, parameter.upper) =
                    rietveld::cell_range(free[i], parameter.value);
            }
            parameter.refine = settings.cell[which] != Treatment::fixed;
            apply(settings.cell_bounds[which], parameter, where, std::string(to_string(free[i])));
        }
        const auto cell = phase.unit_cell();
        const double values[] = {cell.a, cell.b, cell.c, cell.alpha, cell.beta, cell.gamma};
        for (std::size_t which = 0; which < 6; ++which) {
            const auto parameter = static_cast<crystal::CellParameter>(which);
            if (std::find(free.begin(), free.end(), parameter) != free.end())
                continue;
            std::vector<std::string> names;
            names.reserve(free.size());
            for (const auto independent : free)
                names.emplace_back(to_string(independent));
            const auto tied = [&](const std::string& what) {
                return Error(fmt::format("{}: {} {}, but the symmetry ({}, {}) determines it; free "
                                         "are {}",
                                         where, to_string(parameter), what, structure.space_group(),
                                         to_string(structure.crystal_system()),
                                         fmt::join(names, ", ")));
            };
            if (settings.cell_asked[which] && settings.cell[which] != Treatment::fixed)
                throw tied("is to be refined");
            const double start = settings.start_cell[which];
            if (!std::isnan(start) && std::abs(start / values[which] - 1) > 1e-9)
                throw tied(fmt::format("is to start at {} instead of {}", start, values[which]));
            if (std::isfinite(settings.cell_bounds[which].lower) ||
                std::isfinite(settings.cell_bounds[which].upper))
                throw tied("has bounds");
        }
        phase.scale.value = settings.start_scale;
        phase.scale.refine = settings.scale != Treatment::fixed;
        if (settings.size > 0)
            phase.size.value = settings.size;
        phase.size.refine = settings.size_treatment != Treatment::fixed;
        apply(settings.size_bounds, phase.size, where, "size");
        phase.microstrain.value = settings.microstrain;
        phase.microstrain.refine = settings.microstrain_treatment != Treatment::fixed;
        apply(settings.microstrain_bounds, phase.microstrain, where, "microstrain");
        phase.gauss_microstrain.value = settings.gauss_microstrain;
        phase.gauss_microstrain.refine = settings.gauss_microstrain_treatment != Treatment::fixed;
        apply(settings.gauss_microstrain_bounds, phase.gauss_microstrain, where,
              "gauss_microstrain");
        if (settings.march != 1 || settings.march_treatment != Treatment::fixed) {
            phase.texture.axis = settings.march_axis;
            phase.texture.r = settings.march;
        }
        phase.b_overall.value = settings.displacement;
        phase.b_overall.refine = settings.displacement_treatment != Treatment::fixed;
        apply(settings.displacement_bounds, phase.b_overall, where, "displacement");
        phase.depth.value = settings.depth;
        phase.depth.refine = settings.depth_treatment != Treatment::fixed;
        apply(settings.depth_bounds, phase.depth, where, "depth");
        model.phases.push_back(std::move(phase));
    }
}

void add_peaks(rietveld::PatternModel& model, std::span<const PeakSettings> peaks) {
    for (const auto& settings : peaks) {
        rietveld::SinglePeak peak;
        peak.name = settings.name;
        peak.position.value = settings.position;
        peak.position.refine = settings.position_treatment != Treatment::fixed;
        const auto& position = settings.position_bounds;
        peak.position.lower =
            std::isfinite(position.lower) ? position.lower : settings.position - settings.fwhm;
        peak.position.upper =
            std::isfinite(position.upper) ? position.upper : settings.position + settings.fwhm;
        peak.fwhm.value = settings.fwhm;
        peak.fwhm.refine = settings.fwhm_treatment != Treatment::fixed;
        const auto& fwhm = settings.fwhm_bounds;
        peak.fwhm.lower = std::isfinite(fwhm.lower) ? fwhm.lower : settings.fwhm / 4;
        peak.fwhm.upper = std::isfinite(fwhm.upper) ? fwhm.upper : settings.fwhm * 4;
        peak.mixing.value = settings.mixing;
        peak.mixing.refine = settings.mixing_treatment != Treatment::fixed;
        model.peaks.push_back(std::move(peak));
    }
}

} // namespace xrdct::settings
