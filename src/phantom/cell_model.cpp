// SPDX-License-Identifier: BSD-3-Clause
#include "phantom/cell_model.hpp"

#include "base/error.hpp"
#include "base/units.hpp"
#include "crystal/attenuation.hpp"
#include "phantom/poisson.hpp"
#include "phantom/ring_texture.hpp"
#include "phantom/structures.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

namespace xrdct::phantom {

namespace {

// What does not diffract: 1 M LiPF6 in ethylene and dimethyl carbonate, PVDF with carbon black,
// polypropylene.
constexpr const char* binder_formula = "C3H2F2";
constexpr double binder_density = 1.8;
constexpr const char* polymer_formula = "C3H6";
constexpr double polymer_density = 0.91;
constexpr double binder_fraction = 0.08; ///< volume fraction of a coating

/// Largest share of the secondary phase in the cathode, at the centre of a hot spot.
constexpr double secondary_share = 0.75;

double smooth_step(double t) {
    t = std::clamp(t, 0.0, 1.0);
    return t * t * (3 - 2 * t);
}

void require(bool condition, const char* setting, double value, const char* expected) {
    if (!condition)
        throw Error(fmt::format("simulated cell: {} is {}, expected {}", setting, value, expected));
}

void check(const CellDesign& d) {
    const auto positive = [](const char* setting, double value) {
        require(value > 0 && std::isfinite(value), setting, value, "a positive number");
    };
    positive("outer_diameter", d.outer_diameter);
    positive("can_thickness", d.can_thickness);
    positive("layers.cathode", d.layers.cathode);
    positive("layers.aluminium", d.layers.aluminium);
    positive("layers.anode", d.layers.anode);
    positive("layers.copper", d.layers.copper);
    positive("layers.separator", d.layers.separator);
    require(d.core_diameter > 0, "core_diameter", d.core_diameter, "a positive number");
    require(d.can_gap >= 0, "can_gap", d.can_gap, "zero or more");
    require(d.tab_length >= 0, "tab_length", d.tab_length, "zero or more");
    require(d.windings_without_cathode >= 0, "windings_without_cathode", d.windings_without_cathode,
            "zero or more");
    require(d.hot_spots_per_mm2 >= 0 && d.hot_spots_per_mm2 < 1000, "hot_spots_per_mm2",
            d.hot_spots_per_mm2, "zero or more");
    positive("hot_spot_radius_min", d.hot_spot_radius_min);
    require(d.hot_spot_radius_max >= d.hot_spot_radius_min, "hot_spot_radius_max",
            d.hot_spot_radius_max, "at least hot_spot_radius_min");
    for (const auto& [name, value] :
         {std::pair{"cathode_solid", d.cathode_solid}, std::pair{"anode_solid", d.anode_solid},
          std::pair{"separator_solid", d.separator_solid}})
        require(value > 0 && value <= 1 - binder_fraction, name, value, "between 0 and 0.92");
    for (const auto& [name, value] :
         {std::pair{"iron_ppm", d.iron_ppm}, std::pair{"copper_ppm", d.copper_ppm},
          std::pair{"aluminium_ppm", d.aluminium_ppm}})
        require(std::abs(value) < 1e5, name, value, "less than 100000");
}

/// A plane wave of the lithium excess.
struct Wave {
    double kx, ky, phase, amplitude;
};

} // namespace

CellModel::CellModel(const CellDesign& design, const CrystalliteSizes& sizes, double wavelength)
    : energy_(energy_from_wavelength(wavelength)), design_(design) {
    check(design);
    set_shape();
    set_phases(sizes);
    set_textures();
    const auto mu_of = [&](const char* formula, double density) {
        return 0.1 * density * crystal::mass_attenuation(formula, energy_);
    };
    mu_electrolyte_ = mu_of(electrolyte_formula, electrolyte_density);
    mu_binder_ = mu_of(binder_formula, binder_density);
    mu_polymer_ = mu_of(polymer_formula, polymer_density);
    make_materials();

    set_tab();
    make_fields();
}

void CellModel::set_shape() {
    outer_radius_ = 0.5 * design_.outer_diameter;
    can_inner_radius_ = outer_radius_ - design_.can_thickness;
    core_radius_ = 0.5 * design_.core_diameter;
    period_ = design_.layers.period();
    turns_ = (can_inner_radius_ - design_.can_gap - core_radius_) / period_ - 1;
    if (!(turns_ >= 1))
        throw Error(fmt::format("simulated cell: there is no room for a winding of {} mm between a "
                                "core of {} mm and a can of {} mm outside and {} mm thickness",
                                period_, design_.core_diameter, design_.outer_diameter,
                                design_.can_thickness));
    const LayerThickness& t = design_.layers;
    const std::array<double, n_layers> thickness{t.cathode, t.aluminium, t.cathode, t.separator,
                                                 t.anode,   t.copper,    t.anode,   t.separator};
    for (int i = 0; i < n_layers; ++i)
        bounds_[i + 1] = bounds_[i] + thickness[i] / period_;
    bounds_[n_layers] = 1;
}

void CellModel::set_phases(const CrystalliteSizes& sizes) {
    const bool discharged = design_.preset == Preset::discharged;
    const auto metal = [](const char* name, double ppm) {
        return crystal::Phase::from_cif_text(structure_file(name).text, name).cell().a *
               (1 + 1e-6 * ppm);
    };
    iron_ = add_phase("Fe", "Fe", metal("Fe", design_.iron_ppm), 0, sizes.metal);
    copper_ = add_phase("Cu", "Cu", metal("Cu", design_.copper_ppm), 0, sizes.metal);
    aluminium_ = add_phase("Al", "Al", metal("Al", design_.aluminium_ppm), 0, sizes.metal);

    // A discharged cathode of the given mean (2.859, 14.316 Å) has its lithium-poor bulk a little
    // below in a.
    const auto or_preset = [](double value, double preset) {
        return std::isnan(value) ? preset : value;
    };
    const bool varying = design_.preset != Preset::charged;
    const CathodeLattice& lattice = design_.cathode;
    cathode_bulk_.a = cathode_bulk_.b = or_preset(lattice.a, discharged ? 2.8549 : 2.822);
    cathode_bulk_.c = or_preset(lattice.c, discharged ? 14.3527 : 14.507);
    cathode_bulk_.gamma = 120;
    delta_a_ = or_preset(lattice.delta_a, varying ? 0.010 : 0.0);
    delta_c_ = or_preset(lattice.delta_c, varying ? -0.090 : 0.0);
    require(cathode_bulk_.a > 2 && cathode_bulk_.a < 4, "cathode.a", cathode_bulk_.a,
            "about 2.8 Å");
    require(cathode_bulk_.c > 10 && cathode_bulk_.c < 20, "cathode.c", cathode_bulk_.c,
            "about 14 Å");
    require(std::abs(delta_a_) < 0.3, "cathode.delta_a", delta_a_, "less than 0.3 Å");
    require(std::abs(delta_c_) < 1.5, "cathode.delta_c", delta_c_, "less than 1.5 Å");

    require(design_.secondary_a > 2 && design_.secondary_a < 4, "secondary_a", design_.secondary_a,
            "about 2.9 Å");
    require(design_.secondary_c > 10 && design_.secondary_c < 20, "secondary_c",
            design_.secondary_c, "about 14 Å");

    primary_ = add_phase("NMC532", "NMC532", cathode_bulk_.a, cathode_bulk_.c, sizes.cathode);
    phases_[static_cast<std::size_t>(primary_)].info.varying_cell = delta_a_ != 0 || delta_c_ != 0;
    if (design_.hot_spots_per_mm2 > 0)
        secondary_ = add_phase("NMC532_secondary", "NMC532", design_.secondary_a,
                               design_.secondary_c, sizes.cathode);
    if (discharged) {
        anode_surface_ = add_phase("LiC_dilute", "graphite", 2.468, 7.04, sizes.anode);
        anode_bulk_ = add_phase("graphite", "graphite", 2.465, 6.90, sizes.anode);
    } else {
        anode_surface_ = add_phase("LiC6", "LiC6", 4.305, 3.706, sizes.anode);
        anode_bulk_ = add_phase("LiC12", "LiC12", 4.288, 7.065, sizes.anode);
    }
}

/// The tab sits half-way along the foil in radius.
void CellModel::set_tab() {
    if (!(design_.tab_length > 0))
        return;
    const double turn = std::floor(0.5 * turns_) + 0.2;
    const double radius = core_radius_ + period_ * turn;
    const double half = 0.5 * design_.tab_length / (2 * pi * radius);
    if (half < 0.4) {
        tab_from_ = turn - half;
        tab_to_ = turn + half;
    } else {
        throw Error(fmt::format("simulated cell: tab_length is {} mm, longer than most of a "
                                "winding ({:.2f} mm)",
                                design_.tab_length, 2 * pi * radius));
    }
    tab_x_ = radius * std::cos(2 * pi * turn);
    tab_y_ = radius * std::sin(2 * pi * turn);
}

void CellModel::set_textures() {
    std::string names;
    for (const CrystalPhase& phase : phases_)
        if (phase.crystal.crystal_system() != crystal::CrystalSystem::cubic)
            names += (names.empty() ? "" : ", ") + phase.info.name;
    for (const CellDesign::Texture& texture : design_.textures) {
        const auto it =
            std::find_if(phases_.begin(), phases_.end(), [&](const CrystalPhase& phase) {
                return phase.info.name == texture.phase &&
                       phase.crystal.crystal_system() != crystal::CrystalSystem::cubic;
            });
        if (it == phases_.end())
            throw Error(fmt::format("simulated cell: \"{}\" is no phase that can have a texture; "
                                    "these can: {}",
                                    texture.phase, names));
        if (std::count_if(design_.textures.begin(), design_.textures.end(),
                          [&](const auto& other) { return other.phase == texture.phase; }) > 1)
            throw Error(
                fmt::format("simulated cell: {} has two March coefficients", texture.phase));
        if (!(texture.march >= min_texture && texture.march <= largest_texture))
            throw Error(
                fmt::format("simulated cell: the March coefficient of {} is {}, expected {} "
                            "to {}",
                            texture.phase, texture.march, min_texture, largest_texture));
        it->info.march = texture.march;
    }
}

int CellModel::add_phase(const char* name, const char* structure, double a, double c, double size) {
    crystal::Phase crystal = crystal::Phase::from_cif_text(
        structure_file(structure).text, structure_file(structure).file_name(), name);
    crystal::UnitCell cell = crystal.cell();
    cell.a = a;
    if (c > 0)
        cell.c = c;
    crystal = crystal.with_cell(cell);
    const double mu = 0.1 * crystal.density() * crystal.mass_attenuation(energy_);
    solids_.push_back({static_cast<float>(mu), static_cast<float>(crystal.density())});
    phases_.push_back(
        {{name, structure, crystal.cell(), size, false, crystal.density(), 1}, crystal, mu});
    return static_cast<int>(phases_.size()) - 1;
}

crystal::UnitCell CellModel::cathode_cell(double lithium) const {
    crystal::UnitCell cell = cathode_bulk_;
    cell.a = cell.b = cathode_bulk_.a + lithium * delta_a_;
    cell.c = cathode_bulk_.c + lithium * delta_c_;
    return cell;
}

/// Hot spots between the core and the radius `roll` [mm].
std::vector<CellModel::Spot> CellModel::draw_spots(RayRandom& random, double roll) const {
    std::vector<Spot> spots;
    const double area = pi * (roll * roll - core_radius_ * core_radius_);
    const auto n_spots = static_cast<int>(std::lround(design_.hot_spots_per_mm2 * area));
    for (int i = 0; i < n_spots; ++i) {
        const double r = std::sqrt(core_radius_ * core_radius_ + random.uniform() * area / pi);
        const double angle = 2 * pi * random.uniform();
        const double radius =
            design_.hot_spot_radius_min +
            random.uniform() * (design_.hot_spot_radius_max - design_.hot_spot_radius_min);
        spots.push_back({r * std::cos(angle), r * std::sin(angle), radius});
    }
    return spots;
}

/// Sum of the spots' bells [y][x] on the grid of the fields.
std::vector<double> CellModel::heat_of(const std::vector<Spot>& spots) const {
    std::vector<double> heat(field_size_ * field_size_, 0.0);
    const auto coordinate = [&](std::size_t i) {
        return field_origin_ + static_cast<double>(i) * field_pitch_;
    };
    for (const Spot& spot : spots) {
        const double reach = 4 * spot.radius;
        const auto index = [&](double v) {
            return static_cast<std::size_t>(
                std::clamp((v - field_origin_) / field_pitch_, 0.0, field_size_ - 1.0));
        };
        for (std::size_t iy = index(spot.y - reach); iy <= index(spot.y + reach); ++iy)
            for (std::size_t ix = index(spot.x - reach); ix <= index(spot.x + reach); ++ix) {
                const double dx = coordinate(ix) - spot.x, dy = coordinate(iy) - spot.y;
                heat[iy * field_size_ + ix] +=
                    std::exp2(-(dx * dx + dy * dy) / (spot.radius * spot.radius));
            }
    }
    return heat;
}

void CellModel::make_fields() {
    // Lengths are those of a cell of ten millimetres and shrink with a smaller one.
    const double scale = std::min(1.0, outer_radius_ / 5.085);
    const double roll = roll_radius() - 0.5 * period_;
    RayRandom random(design_.seed, 0x66696c64, 0);

    std::vector<Wave> waves;
    for (int i = 0; i < 6; ++i) {
        const double length = scale * (2.0 + 3.0 * random.uniform());
        const double direction = 2 * pi * random.uniform();
        waves.push_back({2 * pi / length * std::cos(direction),
                         2 * pi / length * std::sin(direction), 2 * pi * random.uniform(), 0.06});
    }
    const std::vector<Spot> spots = draw_spots(random, roll);

    field_pitch_ = std::clamp(std::min(0.02, design_.hot_spot_radius_min / 5),
                              2 * outer_radius_ / 2000, 2 * outer_radius_ / 50);
    field_size_ = static_cast<std::size_t>(std::ceil(2 * outer_radius_ / field_pitch_)) + 2;
    field_origin_ = -0.5 * static_cast<double>(field_size_ - 1) * field_pitch_;
    const auto coordinate = [&](std::size_t i) {
        return field_origin_ + static_cast<double>(i) * field_pitch_;
    };
    const std::vector<double> heat = heat_of(spots);
    fields_.resize(field_size_ * field_size_);
    for (std::size_t iy = 0; iy < field_size_; ++iy)
        for (std::size_t ix = 0; ix < field_size_; ++ix) {
            const double x = coordinate(ix), y = coordinate(iy), r = std::hypot(x, y);
            const auto bell = [&](double distance, double width) {
                const double t = distance / (scale * width);
                return std::exp(-t * t);
            };
            double poor = (1 - 0.95 * bell(std::max(roll - r, 0.0), 0.7)) *
                          (1 - 0.90 * bell(std::max(r - core_radius_, 0.0), 1.0));
            if (tab_to_ > tab_from_)
                poor *= 1 - 0.90 * bell(std::hypot(x - tab_x_, y - tab_y_), 1.1);
            double lithium = 1 - poor + 0.08;
            for (const Wave& wave : waves)
                lithium += wave.amplitude * std::sin(wave.kx * x + wave.ky * y + wave.phase);
            const std::size_t i = iy * field_size_ + ix;
            fields_[i] = {static_cast<float>(std::clamp(lithium, 0.0, 1.0)),
                          static_cast<float>(secondary_share * smooth_step((heat[i] - 0.3) / 0.4))};
        }
}

CellModel::Field CellModel::field(double x, double y) const {
    const double fx = std::clamp((x - field_origin_) / field_pitch_, 0.0, field_size_ - 1.001);
    const double fy = std::clamp((y - field_origin_) / field_pitch_, 0.0, field_size_ - 1.001);
    const auto ix = static_cast<std::size_t>(fx), iy = static_cast<std::size_t>(fy);
    const auto tx = static_cast<float>(fx - static_cast<double>(ix)),
               ty = static_cast<float>(fy - static_cast<double>(iy));
    const Field* p = &fields_[iy * field_size_ + ix];
    const Field* q = p + field_size_;
    const auto mix = [&](float Field::*m) {
        const float lower = p[0].*m + tx * (p[1].*m - p[0].*m);
        const float upper = q[0].*m + tx * (q[1].*m - q[0].*m);
        return lower + ty * (upper - lower);
    };
    Field result{mix(&Field::lithium), mix(&Field::secondary)};
    if (design_.stepped_lattice) {
        const float f = result.lithium;
        result.lithium = f < 0.2F ? 0.0F : (f < 0.5F ? 0.35F : (f < 0.75F ? 0.7F : 1.0F));
    }
    return result;
}

void CellModel::make_materials() {
    const auto fill = [&](Material& m, double solid, double binder) {
        const double liquid = 1 - solid - binder;
        m.mu += static_cast<float>(binder * mu_binder_ + liquid * mu_electrolyte_);
        m.mass += static_cast<float>(binder * binder_density + liquid * electrolyte_density);
    };
    can_ = mixture(empty_, iron_, 1, -1, 0, 0);
    copper_layer_ = mixture(empty_, copper_, 1, -1, 0, 0);
    aluminium_layer_ = mixture(empty_, aluminium_, 1, -1, 0, 0);
    gap_.mu = static_cast<float>(mu_electrolyte_);
    gap_.mass = static_cast<float>(electrolyte_density);
    separator_layer_.polymer = static_cast<float>(design_.separator_solid);
    separator_layer_.mu = static_cast<float>(design_.separator_solid * mu_polymer_);
    separator_layer_.mass = static_cast<float>(design_.separator_solid * polymer_density);
    fill(separator_layer_, design_.separator_solid, 0);
    fill(cathode_matrix_, design_.cathode_solid, binder_fraction);
    fill(anode_matrix_, design_.anode_solid, binder_fraction);
}

Material CellModel::mixture(const Material& matrix, int first, float first_fraction, int second,
                            float second_fraction, float lithium) const {
    // All members in one go: this is the innermost loop of the simulation.
    const Solid& a = solids_[static_cast<std::size_t>(first)];
    const Solid& b = solids_[static_cast<std::size_t>(second_fraction > 0 ? second : first)];
    return {{{{first, first_fraction}, {second, second_fraction}}},
            second_fraction > 0 ? 2 : 1,
            lithium,
            matrix.polymer,
            matrix.mu + first_fraction * a.mu + second_fraction * b.mu,
            matrix.mass + first_fraction * a.density + second_fraction * b.density};
}

Material CellModel::roll(int layer, double u, double turn, double x, double y) const {
    if (turn < 0)
        return empty_;
    if (turn >= turns_)
        return gap_;
    switch (layer) {
    case cathode_inner:
    case cathode_outer: {
        if (turn < design_.windings_without_cathode)
            return gap_;
        if (turn >= tab_from_ && turn < tab_to_)
            return layer == cathode_inner ? aluminium_layer_ : gap_;
        const Field f = field(x, y);
        const auto secondary =
            secondary_ >= 0 ? static_cast<float>(design_.cathode_solid) * f.secondary : 0.0F;
        return mixture(cathode_matrix_, primary_,
                       static_cast<float>(design_.cathode_solid) - secondary, secondary_, secondary,
                       f.lithium);
    }
    case aluminium_foil:
        return turn < design_.windings_without_cathode ? gap_ : aluminium_layer_;
    case anode_inner:
    case anode_outer: {
        // Depth from the copper (0) to the separator (1).
        const double from = bounds_[static_cast<std::size_t>(layer)],
                     to = bounds_[static_cast<std::size_t>(layer) + 1];
        const double t = (layer == anode_inner ? to - u : u - from) / (to - from);
        const double surface = (0.02 + 0.42 * t * t) * (1 - 0.7 * field(x, y).lithium);
        return mixture(anode_matrix_, anode_surface_,
                       static_cast<float>(design_.anode_solid * surface), anode_bulk_,
                       static_cast<float>(design_.anode_solid * (1 - surface)), 0);
    }
    case copper_foil:
        return copper_layer_;
    default:
        return separator_layer_;
    }
}

Material CellModel::at(double x, double y) const {
    const double r = std::sqrt(x * x + y * y);
    if (r >= outer_radius_)
        return empty_;
    if (r >= can_inner_radius_)
        return can_;
    if (r >= roll_radius())
        return gap_;
    const double angle = std::atan2(y, x) / (2 * pi);
    const double w = (r - core_radius_) / period_ - angle;
    const double k = std::floor(w), u = w - k;
    int layer = 0;
    while (layer + 1 < n_layers && u >= bounds_[static_cast<std::size_t>(layer) + 1])
        ++layer;
    return roll(layer, u, k + angle, x, y);
}

} // namespace xrdct::phantom
