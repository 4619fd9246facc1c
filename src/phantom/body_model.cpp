// SPDX-License-Identifier: BSD-3-Clause
#include "phantom/body_model.hpp"

#include "base/error.hpp"
#include "base/units.hpp"
#include "crystal/attenuation.hpp"
#include "phantom/poisson.hpp"
#include "phantom/structures.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <fmt/ranges.h>

namespace xrdct::phantom {

namespace {

constexpr std::uint64_t patch_stream = 0x7061746368, field_stream = 0x6669656c64;
constexpr double glassy_alumina = 0.30, alumina_density = 3.2;
/// Of the support between the crystals, rounded as one knows it [g/cm³].
constexpr double support_bulk_density = 1.2;
constexpr double patchiness = 0.5;     ///< largest relative change of an amount
constexpr double wave_strength = 0.12; ///< of a field's range
/// Bounds of what can be asked for.
constexpr int most_pieces = 12;
constexpr double least_size = 10, most_size = 1e5, most_microstrain = 0.02, most_ppm = 3e4;

void require_body(bool condition, const char* setting, double value, const char* expected) {
    if (!condition)
        throw Error(fmt::format("simulated body: {} is {}, expected {}", setting, value, expected));
}

/// What a kind of body is made of: structure, size [Å], microstrain, deviation of the cell [ppm];
/// change of c over that of a.
struct Ingredient {
    const char* structure;
    DepthField size, microstrain, cell;
    double along_c = 1;
};

DepthField same(double value) {
    return {"", value, value, 0};
}

std::vector<Ingredient> ingredients(const BodyDesign& design) {
    switch (design.kind) {
    case BodyKind::extrudate: {
        std::vector<Ingredient> phases{{"CeO2", same(130), same(0), {"", 2500, 0, 0}},
                                       {"Cu", same(300), same(0), same(250)},
                                       {"graphite", same(180), same(0), same(-300)}};
        if (design.support == Support::gamma)
            phases.push_back({"gamma-Al2O3", same(60), same(0), same(400)});
        return phases;
    }
    case BodyKind::capillary:
        return {{"CeO2", same(150), same(0), {"", 2500, 0, 0}},
                {"Cu", same(400), same(0), same(-200)},
                {"TiO2", same(220), same(0), same(300)},
                {"graphite", same(200), same(0), same(-300)}};
    case BodyKind::pouch:
        return {{"NMC532", same(1200), same(0), {"", -14000, -5000, 0}, -1.4},
                {"LiC6", same(600), same(0), same(-300)},
                {"LiC12", same(600), same(0), same(300)},
                {"Al", same(1500), same(0), same(150)},
                {"Cu", same(1500), same(0), same(-200)}};
    }
    throw Error("unknown body");
}

/// The last field of a phase's name, else the kind's own.
DepthField chosen(const std::vector<DepthField>& fields, const char* phase, const DepthField& own) {
    DepthField field = own;
    for (const DepthField& given : fields)
        if (given.phase == phase)
            field = given;
    return field;
}

void check_fields(const BodyDesign& design, const std::vector<Ingredient>& phases) {
    std::vector<std::string> names;
    names.reserve(phases.size());
    for (const Ingredient& phase : phases)
        names.emplace_back(phase.structure);
    const auto check = [&](const std::vector<DepthField>& fields, const char* what, double least,
                           double most, const char* unit) {
        for (const DepthField& field : fields) {
            if (std::find(names.begin(), names.end(), field.phase) == names.end())
                throw Error(fmt::format("simulated body: \"{}\", for which a {} is given, is no "
                                        "phase of this {}; these are: {}",
                                        field.phase, what, to_string(design.kind),
                                        fmt::join(names, ", ")));
            if (std::count_if(fields.begin(), fields.end(), [&](const DepthField& other) {
                    return other.phase == field.phase;
                }) > 1)
                throw Error(
                    fmt::format("simulated body: {} has two fields of {}", field.phase, what));
            for (const double value : {field.surface, field.inside})
                if (!(value >= least && value <= most))
                    throw Error(fmt::format("simulated body: the {} of {} is {}, expected {} to "
                                            "{}{}",
                                            what, field.phase, value, least, most, unit));
            if (!(field.length >= 0 && std::isfinite(field.length)))
                throw Error(fmt::format("simulated body: the length of the {} of {} is {}, "
                                        "expected a positive length in mm",
                                        what, field.phase, field.length));
        }
    };
    check(design.sizes, "crystallite size", least_size, most_size, " angstrom");
    check(design.microstrains, "microstrain", 0, most_microstrain, "");
    check(design.cells, "deviation of the cell", -most_ppm, most_ppm, " ppm");
}

} // namespace

BodyDesign definite_body(BodyDesign d) {
    for (const auto& [name, value] :
         {std::pair{"diameter", d.diameter}, std::pair{"height", d.height},
          std::pair{"shell", d.shell}, std::pair{"wall", d.wall}, std::pair{"grain", d.grain}})
        require_body(std::isfinite(value) && value >= 0, name, value, "a positive length in mm");
    for (const auto& [name, value] :
         {std::pair{"layers.cathode", d.layers.cathode},
          std::pair{"layers.aluminium", d.layers.aluminium},
          std::pair{"layers.anode", d.layers.anode}, std::pair{"layers.copper", d.layers.copper},
          std::pair{"layers.separator", d.layers.separator}})
        require_body(std::isfinite(value) && value > 0, name, value, "a positive length in mm");
    for (const auto& [name, value] :
         {std::pair{"centre_x", d.centre_x}, std::pair{"centre_y", d.centre_y}})
        require_body(std::isfinite(value), name, value, "a length in mm");
    require_body(d.pieces >= 1 && d.pieces <= most_pieces, "pieces", d.pieces, "1 to 12");
    const auto or_else = [](double& value, double other) {
        if (value == 0)
            value = other;
    };
    or_else(d.diameter, d.kind == BodyKind::pouch ? 4 : 3);
    or_else(d.height, 0.4 * d.diameter);
    or_else(d.shell, 0.12 * d.diameter);
    or_else(d.wall, 0.04 * d.diameter);
    or_else(d.grain, 0.14 * d.diameter);
    return d;
}

BodyKind body_from_string(std::string_view name) {
    for (const BodyKind kind : {BodyKind::extrudate, BodyKind::capillary, BodyKind::pouch})
        if (to_string(kind) == name)
            return kind;
    throw Error(fmt::format("body \"{}\" is not known: cell, extrudate, capillary or pouch", name));
}

std::string_view to_string(BodyKind kind) {
    switch (kind) {
    case BodyKind::extrudate:
        return "extrudate";
    case BodyKind::capillary:
        return "capillary";
    case BodyKind::pouch:
        return "pouch";
    }
    throw Error("unknown body");
}

Support support_from_string(std::string_view name) {
    for (const auto& [known, support] :
         {std::pair{"glassy", Support::glassy}, std::pair{"gamma", Support::gamma},
          std::pair{"none", Support::none}})
        if (name == known)
            return support;
    throw Error(fmt::format("support \"{}\" is not known: glassy, gamma or none", name));
}

std::pair<std::string, double> filling_of(const BodyDesign& design) {
    switch (design.kind) {
    case BodyKind::extrudate:
        if (design.support != Support::glassy)
            return {};
        return {"Al2O3", support_bulk_density};
    case BodyKind::capillary:
        return {};
    case BodyKind::pouch:
        return {"LP30", 0};
    }
    throw Error("unknown body");
}

Waves::Waves(double extent, std::uint64_t seed, std::uint64_t stream) {
    RayRandom random(seed, stream, 1);
    for (Wave& wave : waves_) {
        const double length = extent * (0.3 + 0.4 * random.uniform());
        const double direction = 2 * pi * random.uniform();
        wave = {2 * pi / length * std::cos(direction), 2 * pi / length * std::sin(direction),
                2 * pi * random.uniform()};
    }
}

double Waves::at(double x, double y) const {
    double sum = 0;
    for (const Wave& wave : waves_)
        sum += std::sin(wave.kx * x + wave.ky * y + wave.phase);
    return sum / static_cast<double>(waves_.size());
}

double BodyField::part(const Place& place, double x, double y) const {
    const double length = field_.length > 0 ? field_.length : static_cast<double>(place.reach);
    const double t = std::min(static_cast<double>(place.depth) / length, 1.0);
    return std::clamp(t * (2 - t) + wave_strength * waves_.at(x, y), 0.0, 1.0);
}

BodyModel::BodyModel(const BodyDesign& design, double wavelength)
    : design_(definite_body(design)), energy_(energy_from_wavelength(wavelength)),
      shape_(make_shape(design_)), patches_(design_.diameter, design_.seed, patch_stream) {
    set_phases();
    set_materials();
}

void BodyModel::set_phases() {
    const auto all = ingredients(design_);
    check_fields(design_, all);
    for (const Ingredient& phase : all)
        add_phase(phase.structure, chosen(design_.sizes, phase.structure, phase.size),
                  chosen(design_.microstrains, phase.structure, phase.microstrain),
                  chosen(design_.cells, phase.structure, phase.cell), phase.along_c);
}

void BodyModel::add_phase(const char* structure, const DepthField& size,
                          const DepthField& microstrain, const DepthField& cell, double along_c) {
    const auto& file = structure_file(structure);
    const crystal::Phase crystal =
        crystal::Phase::from_cif_text(file.text, file.file_name(), structure);
    const auto field = [&](const DepthField& values, std::uint64_t which) {
        return BodyField(values, Waves(design_.diameter, design_.seed,
                                       field_stream + 16 * phases_.size() + which));
    };
    PhantomPhase info{structure, structure, {}, size.inside};
    Phase phase{info,          crystal, 0, 1, along_c, field(size, 0), field(microstrain, 1),
                field(cell, 2)};
    const crystal::Phase inside = crystal.with_cell(this->cell(phase, cell.inside));
    phase.info.cell = inside.cell();
    phase.info.density = inside.density();
    phase.info.microstrain = microstrain.inside;
    phase.info.varying_size = phase.size.varies();
    phase.info.varying_microstrain = phase.microstrain.varies();
    phase.info.varying_cell = phase.cell.varies();
    phase.mu = 0.1 * inside.density() * inside.mass_attenuation(energy_);
    phases_.push_back(std::move(phase));
}

crystal::UnitCell BodyModel::cell(const Phase& phase, double ppm) const {
    crystal::UnitCell cell = phase.crystal.cell();
    cell.a *= 1 + 1e-6 * ppm * phase.along_a;
    cell.b *= 1 + 1e-6 * ppm * phase.along_a;
    cell.c *= 1 + 1e-6 * ppm * phase.along_c;
    return cell;
}

int BodyModel::phase_index(const char* name) const {
    for (std::size_t p = 0; p < phases_.size(); ++p)
        if (phases_[p].info.name == name)
            return static_cast<int>(p);
    throw Error(fmt::format("simulated body: no phase is called {}", name));
}

BodyModel::Amorphous BodyModel::amorphous(const char* formula, double density) const {
    return {0.1 * density * crystal::mass_attenuation(formula, energy_), density};
}

/// Adds volume fractions of crystals and of what does not diffract.
void BodyModel::fill(int region, std::initializer_list<std::pair<const char*, double>> crystals,
                     std::initializer_list<std::pair<Amorphous, double>> rest) {
    Mixture& mixture = regions_[static_cast<std::size_t>(region)];
    for (const auto& [name, fraction] : crystals) {
        const int phase = phase_index(name);
        const Phase& solid = phases_[static_cast<std::size_t>(phase)];
        mixture.part[static_cast<std::size_t>(mixture.n_parts++)] = {phase,
                                                                     static_cast<float>(fraction)};
        mixture.mu += fraction * solid.mu;
        mixture.mass += fraction * solid.info.density;
    }
    for (const auto& [matter, fraction] : rest) {
        mixture.mu += fraction * matter.mu;
        mixture.mass += fraction * matter.mass;
    }
}

void BodyModel::set_materials() {
    const Amorphous alumina = amorphous("Al2O3", alumina_density), silica = amorphous("SiO2", 2.2),
                    electrolyte = amorphous(electrolyte_formula, electrolyte_density),
                    binder = amorphous("C3H2F2", 1.8), polymer = amorphous("C3H6", 0.91);
    switch (design_.kind) {
    case BodyKind::extrudate:
        if (design_.support == Support::gamma) {
            fill(extrudate_core, {{"gamma-Al2O3", 0.28}}, {});
            fill(extrudate_shell, {{"gamma-Al2O3", 0.28}}, {});
        } else if (design_.support == Support::glassy) {
            fill(extrudate_core, {}, {{alumina, glassy_alumina}});
            fill(extrudate_shell, {}, {{alumina, glassy_alumina}});
        }
        fill(extrudate_core, {{"CeO2", 0.10}, {"graphite", 0.12}}, {});
        fill(extrudate_shell, {{"CeO2", 0.10}, {"graphite", 0.12}, {"Cu", 0.06}}, {});
        patchy_ = phase_index("graphite");
        return;
    case BodyKind::capillary:
        fill(glass, {}, {{silica, 1.0}});
        fill(grain_first, {{"CeO2", 0.30}}, {{silica, 0.15}});
        fill(grain_first + 1, {{"Cu", 0.30}}, {{silica, 0.15}});
        fill(grain_first + 2, {{"TiO2", 0.50}}, {});
        fill(grain_first + 3, {{"graphite", 0.70}}, {});
        return;
    case BodyKind::pouch:
        fill(pouch_foil, {{"Al", 0.4}}, {{polymer, 0.6}});
        fill(electrolyte_gap, {}, {{electrolyte, 1.0}});
        fill(cathode_coating, {{"NMC532", 0.62}}, {{binder, 0.08}, {electrolyte, 0.30}});
        fill(aluminium_layer, {{"Al", 1.0}}, {});
        fill(separator_layer, {}, {{polymer, 0.55}, {electrolyte, 0.45}});
        fill(anode_coating, {{"LiC6", 0.40}, {"LiC12", 0.25}},
             {{binder, 0.08}, {electrolyte, 0.27}});
        fill(copper_layer, {{"Cu", 1.0}}, {});
        patchy_ = phase_index("LiC12");
        return;
    }
}

BodyModel::Mixture BodyModel::mixture(int region, double x, double y) const {
    Mixture mixture = regions_[static_cast<std::size_t>(region)];
    for (int i = 0; i < mixture.n_parts; ++i) {
        Part& part = mixture.part[static_cast<std::size_t>(i)];
        if (part.phase != patchy_)
            continue;
        const Phase& phase = phases_[static_cast<std::size_t>(patchy_)];
        const double more = part.fraction * patchiness * patches_.at(x, y);
        part.fraction += static_cast<float>(more);
        mixture.mu += more * phase.mu;
        mixture.mass += more * phase.info.density;
    }
    return mixture;
}

} // namespace xrdct::phantom
