// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/bench/sample.hpp"

#include "base/error.hpp"
#include "base/numbers.hpp"
#include "phantom/structures.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <random>

#include <fmt/format.h>

namespace xrdct::bench {

namespace {

constexpr double distance = 1000, wavelength = 0.11979, diameter = 18.5; // mm, Å, mm
constexpr std::size_t depth_layers = 32, background_terms = 3;

/// Phases in the order of the model; the cathode is the first.
enum Part : std::size_t { cathode, iron, copper, aluminium, lithiated, dilute, peak, first_term };

/// Fractions of the scan's radius and of a winding that the parts take.
bool inside(Part part, double r, double turn, double windings) {
    if (r > 1)
        return false;
    const bool can = r > 0.96, core = r < 0.12;
    if (part == iron)
        return can || r > 0.93;
    if (part >= peak)
        return true;
    if (can || core)
        return false;
    const double place = std::fmod(windings * r + turn + 1, 1.0);
    switch (part) {
    case cathode:
        return place < 0.45;
    case aluminium:
        return place > 0.15 && place < 0.3;
    case lithiated:
        return place > 0.5;
    case dilute:
        return place > 0.55 && place < 0.95;
    case copper:
        return place > 0.65 && place < 0.8;
    default:
        return false;
    }
}

rietveld::RadialAxis radial_axis(std::size_t channels) {
    std::vector<double> two_theta(channels);
    for (std::size_t k = 0; k < channels; ++k)
        two_theta[k] = 1.2 + 3.96 * static_cast<double>(k) / static_cast<double>(channels);
    return rietveld::RadialAxis::from_two_theta(two_theta, wavelength);
}

rietveld::PatternModel make_model() {
    rietveld::PatternModel model;
    model.instrument.w.value = 0.02 * 0.02;
    struct Entry {
        const char *name, *structure;
        std::vector<double> cell; ///< empty: that of the structure
    };
    for (const Entry& entry :
         {Entry{"cathode", "NMC532", {2.868, 14.25}}, Entry{"Fe", "Fe", {}}, Entry{"Cu", "Cu", {}},
          Entry{"Al", "Al", {}}, Entry{"LiC6", "LiC6", {}}, Entry{"LiC12", "LiC12", {}}}) {
        model.phases.emplace_back(
            crystal::Phase::from_cif_text(phantom::structure_file(entry.structure).text,
                                          entry.structure),
            entry.name);
        auto& phase = model.phases.back();
        phase.size.value = 800;
        for (std::size_t i = 0; i < entry.cell.size(); ++i)
            phase.cell[i].value = entry.cell[i];
    }
    rietveld::SinglePeak separator;
    separator.name = "separator";
    separator.position.value = 1.65;
    separator.fwhm.value = 0.3;
    model.peaks.push_back(separator);
    model.set_background(background_terms);
    return model;
}

std::vector<rietveld::PatternPart> make_parts() {
    using Kind = rietveld::ShapeParameter::Kind;
    std::vector<rietveld::PatternPart> parts;
    for (std::size_t p = 0; p < peak; ++p)
        parts.push_back({rietveld::PatternPart::Kind::phase, p, {}, {}});
    parts[cathode].voxel = {{Kind::cell, 0, 2.855, 2.881}, {Kind::cell, 1, 14.15, 14.35}};
    for (const Part p : {cathode, iron})
        parts[p].global = {{Kind::size, 0, 1 / 1600.0, 1 / 400.0}};
    parts.push_back({rietveld::PatternPart::Kind::peak, 0, {}, {}});
    for (std::size_t term = 0; term < background_terms; ++term)
        parts.push_back({rietveld::PatternPart::Kind::background, term, {}, {}});
    return parts;
}

} // namespace

Sample::Sample(const Problem& problem) : problem_(problem) {
    if (problem.translations < 16 || problem.rotations < 1 || problem.channels < 64)
        throw Error("bench: the scan needs at least 16 translations, 1 rotation and 64 channels");
    place_scan();
    model_ = make_model();
    const auto parts = make_parts();
    place_parts(parts.size());
    const rietveld::RadialAxis axis = radial_axis(problem.channels);
    rietveld::PatternBasisOptions options;
    options.tolerance = 3e-3;
    options.layers = layers_.count;
    options.depth_first = layers_.first;
    options.depth_spacing = layers_.spacing;
    options.distance = distance;
    const std::vector<double> channel_weight(axis.size(), 1.0);
    basis_ = std::make_unique<rietveld::PatternBasis>(axis, model_, parts, channel_weight, options);

    const rietveld::PatternCalculator calculator(axis, model_);
    find_unit_amounts(calculator, parts.size());
    for (std::size_t p = 0; p < peak; ++p)
        model_.phases[p].scale.value = unit_amount_[p];
    rietveld::VoxelFitOptions fit_options;
    fit_options.cell_phases = {"cathode"};
    auto start = model_;
    if (problem.sizes) {
        fit_options.widths = {{"cathode", {true, false, false}}};
        start.phases[cathode].size.value = 150;
    }
    fitter_ = std::make_unique<rietveld::VoxelFitter>(axis, start, fit_options);
    make_patterns(calculator);
}

/// Geometry, image and layers.
void Sample::place_scan() {
    const std::size_t n = problem_.translations;
    const double step = 1.08 * diameter / static_cast<double>(n);
    for (std::size_t i = 0; i < problem_.rotations; ++i)
        geometry_.rotation.push_back(180.0 * static_cast<double>(i) /
                                     static_cast<double>(problem_.rotations));
    for (std::size_t j = 0; j < n; ++j)
        geometry_.translation.push_back(
            (static_cast<double>(j) - 0.5 * static_cast<double>(n - 1)) * step);
    geometry_.beam_width = step;
    geometry_.distance = distance;
    grid_ = default_grid(geometry_);
    layers_ = tomography::DepthLayers::across(0.5 * diameter, depth_layers);
}

/// Which pixels hold which part.
void Sample::place_parts(std::size_t parts) {
    const std::size_t n = problem_.translations;
    pixels_.resize(parts);
    // Windings as wide as those of a real cell, as far as the pixels resolve them.
    const double windings = std::min(20.0, static_cast<double>(n) / 14);
    for (std::size_t i = 0; i < grid_.size(); ++i) {
        const double x = grid_.coordinate(i % n), y = grid_.coordinate(i / n);
        const double r = std::hypot(x, y) / (0.5 * diameter),
                     turn = std::atan2(y, x) / (2 * std::numbers::pi);
        for (std::size_t p = 0; p < parts; ++p)
            if (inside(static_cast<Part>(std::min<std::size_t>(p, first_term)), r, turn, windings))
                pixels_[p].push_back(i);
    }
    sample_voxels_ = pixels_[peak].size();
}

/// Amounts that make every part's pattern 1 at its highest point.
void Sample::find_unit_amounts(const rietveld::PatternCalculator& calculator, std::size_t parts) {
    std::vector<double> y(problem_.channels);
    for (std::size_t p = 0; p < parts; ++p) {
        rietveld::PatternModel only = model_;
        for (auto& phase : only.phases)
            phase.scale.value = 0;
        if (p < peak)
            only.phases[p].scale.value = 1;
        else if (p == peak)
            only.peaks[0].area.value = 1;
        else
            only.background[p - first_term].value = 1;
        calculator.evaluate(only, y);
        unit_amount_.push_back(1 / *std::max_element(y.begin(), y.end()));
    }
}

/// Noisy patterns of random compositions and cells.
void Sample::make_patterns(const rietveld::PatternCalculator& calculator) {
    std::vector<double> y(problem_.channels);
    std::mt19937_64 random(1);
    std::uniform_real_distribution<double> uniform(0, 1);
    std::normal_distribution<double> normal;
    constexpr double counts = 2000;
    for (std::size_t i = 0; i < distinct_patterns; ++i) {
        rietveld::PatternModel own = model_;
        own.phases[cathode].cell[0].value += 0.01 * (uniform(random) - 0.5);
        own.phases[cathode].cell[1].value += 0.09 * (uniform(random) - 0.5);
        if (problem_.sizes)
            own.phases[cathode].size.value = 90 + 160 * uniform(random);
        for (std::size_t p = 0; p < peak; ++p)
            own.phases[p].scale.value =
                unit_amount_[p] *
                (p == cathode ? 0.3 + 0.7 * uniform(random) : 0.2 * uniform(random));
        calculator.evaluate(own, y);
        for (const double value : y) {
            const double mean = value + 0.06;
            patterns_.push_back(
                static_cast<float>(mean + std::sqrt(mean / counts) * normal(random)));
            variances_.push_back(static_cast<float>(mean / counts));
        }
    }
}

std::span<const float> Sample::pattern(std::size_t i) const {
    return {patterns_.data() + i % distinct_patterns * problem_.channels, problem_.channels};
}
std::span<const float> Sample::variance(std::size_t i) const {
    return {variances_.data() + i % distinct_patterns * problem_.channels, problem_.channels};
}

std::vector<std::size_t> Sample::row_voxels(std::size_t y) const {
    const auto& all = pixels_[peak];
    const std::size_t first = y % grid_.n * grid_.n;
    return {std::lower_bound(all.begin(), all.end(), first),
            std::lower_bound(all.begin(), all.end(), first + grid_.n)};
}
std::size_t Sample::view_pixels() const {
    const auto mask = field_of_view_mask(geometry_, grid_);
    return static_cast<std::size_t>(std::count(mask.begin(), mask.end(), 1));
}

tomography::ScanGeometry Sample::geometry(const mpi::BlockRange& rotations) const {
    tomography::ScanGeometry part = geometry_;
    part.rotation.clear();
    for (std::size_t i = rotations.begin; i < rotations.end; ++i)
        part.rotation.push_back(geometry_.rotation[i % geometry_.rotation.size()]);
    return part;
}

dlsr::Operator Sample::make_operator(const mpi::BlockRange& rotations,
                                     const SharedMemoryTeam& team) const {
    const std::size_t rays = rotations.size() * problem_.translations;
    std::vector<float> weight(rays), transmission(rays);
    for (std::size_t i = rotations.begin; i < rotations.end; ++i)
        for (std::size_t j = 0; j < problem_.translations; ++j) {
            const std::size_t ray = (i - rotations.begin) * problem_.translations + j;
            const double place =
                static_cast<double>(i % problem_.rotations) + 0.37 * static_cast<double>(j);
            weight[ray] = static_cast<float>(1 + 0.5 * std::sin(1.7 * place));
            transmission[ray] = static_cast<float>(0.7 + 0.25 * std::cos(0.9 * place));
        }
    const std::vector<std::span<const std::size_t>> pixels(pixels_.begin(), pixels_.end());
    return {geometry(rotations), grid_, *basis_, layers_, pixels, weight,
            transmission,        {},    {},      team};
}

std::vector<dlsr::Field> Sample::fields() const {
    std::vector<dlsr::Field> fields;
    for (std::size_t p = 0; p < pixels_.size(); ++p)
        fields.push_back({.part = p,
                          .lower = -infinity,
                          .upper = infinity,
                          .unit = unit_amount_[p],
                          .smoothness = 1,
                          .edge = infinity,
                          .max_gap = 1});
    const auto& shapes = basis_->parts()[cathode].voxel;
    for (std::size_t s = 0; s < shapes.size(); ++s)
        fields.push_back({.part = cathode,
                          .shape = static_cast<int>(s),
                          .lower = shapes[s].lower,
                          .upper = shapes[s].upper,
                          .unit = 1.5e-4 * (shapes[s].lower + shapes[s].upper),
                          .smoothness = 8,
                          .edge = infinity,
                          .max_gap = 3});
    return fields;
}

std::vector<dlsr::Global> Sample::globals() const {
    std::vector<dlsr::Global> globals;
    for (const auto& part : basis_->parts())
        for (const auto& p : part.global)
            globals.push_back({p.lower, p.upper, 0.1 * (p.upper - p.lower)});
    return globals;
}

std::vector<double> Sample::values(const dlsr::Operator& model, double change) const {
    std::vector<double> values(model.value_count());
    const auto& parts = basis_->parts();
    for (std::size_t p = 0; p < parts.size(); ++p)
        for (std::size_t v = 0; v < pixels_[p].size(); ++v) {
            const auto pixel = static_cast<double>(pixels_[p][v]);
            values[model.offset(p) + v] =
                unit_amount_[p] * (1 + change * std::sin(0.31 * pixel + static_cast<double>(p)));
            for (std::size_t s = 0; s < parts[p].voxel.size(); ++s) {
                const auto& shape = parts[p].voxel[s];
                values[model.offset(p, static_cast<int>(s)) + v] =
                    shape.lower +
                    (shape.upper - shape.lower) *
                        (0.5 + change * std::cos(0.21 * pixel + static_cast<double>(s)));
            }
        }
    std::size_t g = model.global_offset();
    for (const auto& part : parts)
        for (const auto& shape : part.global)
            values[g++] = shape.lower + (0.5 + 0.2 * change) * (shape.upper - shape.lower);
    return values;
}

std::vector<double> Sample::start(const dlsr::Operator& model) const {
    // Not the same everywhere: what products are condensed to would be a matter of rounding.
    return values(model, 0.15);
}
std::vector<double> Sample::truth(const dlsr::Operator& model) const {
    return values(model, 0.25);
}

std::vector<float> Sample::sinogram(const mpi::BlockRange& rotations,
                                    const mpi::BlockRange& channels) const {
    const std::size_t n = problem_.translations;
    std::vector<float> out(rotations.size() * n * channels.size());
    // Two discs, whose shares depend on the channel.
    const double radius = 0.45 * static_cast<double>(n) * grid_.pixel;
    const auto chord = [](double s, double r) { return std::sqrt(std::max(0.0, r * r - s * s)); };
    float* at = out.data();
    for (std::size_t i = rotations.begin; i < rotations.end; ++i) {
        const double omega = geometry_.omega(i % problem_.rotations);
        for (std::size_t j = 0; j < n; ++j) {
            const double s = geometry_.translation[j];
            const double large = chord(s, radius),
                         small = chord(s - 0.5 * radius * std::cos(omega), 0.3 * radius);
            for (std::size_t k = channels.begin; k < channels.end; ++k) {
                const double place = static_cast<double>(k % problem_.channels) / 50;
                *at++ = static_cast<float>(large * (1.5 + std::sin(place)) +
                                           small * (1.5 + std::cos(3 * place)));
            }
        }
    }
    return out;
}

} // namespace xrdct::bench
