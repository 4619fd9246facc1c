// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/dlsr/setup.hpp"

#include "base/numbers.hpp"
#include "crystal/march_dollase.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include <fmt/format.h>

namespace xrdct::dlsr {

namespace {

/// Range of the values a map takes, outliers left out; empty maps give a NaN.
double finite_quantile(std::vector<double> values, double q) {
    std::erase_if(values, [](double v) { return !std::isfinite(v); });
    if (values.empty())
        return std::numeric_limits<double>::quiet_NaN();
    const auto at = static_cast<std::ptrdiff_t>(q * static_cast<double>(values.size() - 1));
    std::nth_element(values.begin(), values.begin() + at, values.end());
    return values[static_cast<std::size_t>(at)];
}

/// Makes a setup part by part. Collective over the team.
class SetupBuilder {
  public:
    SetupBuilder(const SharedMemoryTeam& team, const Options& options,
                 const ConventionalMaps& conventional, double pixel)
        : team_(team), options_(options), conventional_(conventional),
          size_(conventional.n * conventional.n),
          gap_(std::max<std::size_t>(1,
                                     static_cast<std::size_t>(std::lround(options.gap / pixel)))) {
        setup_.model = conventional.model;
        find_layer_centre();
    }

    void add_phase(std::size_t phase);
    void add_peak(std::size_t peak, const SharedArray<std::size_t>& everywhere);
    void add_background(std::size_t term, const SharedArray<std::size_t>& everywhere);
    SharedArray<std::size_t> pixels_of(const std::vector<unsigned char>& mask) const;
    Setup take() { return std::move(setup_); }

  private:
    using Kind = rietveld::ShapeParameter::Kind;

    void find_layer_centre();
    void add_amount(const Quantity& quantity, const std::vector<double>& map, bool signed_values,
                    FieldTreatment treatment);
    void add_global(rietveld::PatternPart& part, const rietveld::ShapeParameter& shape,
                    double value, double unit, const Quantity& quantity);
    void add_cells(rietveld::PatternPart& part);
    void add_shape_map(rietveld::PatternPart& part, const rietveld::ShapeParameter& shape,
                       const std::vector<double>& given, double value, double margin, double unit,
                       const Quantity& quantity);
    void add_widths(rietveld::PatternPart& part);

    const SharedMemoryTeam& team_;
    const Options& options_;
    const ConventionalMaps& conventional_;
    std::size_t size_, gap_; ///< pixels
    Setup setup_;
};

void SetupBuilder::find_layer_centre() {
    double area = 0;
    for (std::size_t i = 0; i < size_; ++i)
        if (conventional_.sample[i]) {
            setup_.layer_centre[0] += conventional_.x[i % conventional_.n];
            setup_.layer_centre[1] += conventional_.x[i / conventional_.n];
            area += 1;
        }
    for (double& coordinate : setup_.layer_centre)
        coordinate /= std::max(area, 1.0);
}

SharedArray<std::size_t> SetupBuilder::pixels_of(const std::vector<unsigned char>& mask) const {
    std::vector<std::size_t> pixels;
    for (std::size_t i = 0; i < size_; ++i)
        if (mask[i] && conventional_.sample[i])
            pixels.push_back(i);
    return {team_, pixels};
}

/// Amounts of the part that is added next, whose pixels are the last.
void SetupBuilder::add_amount(const Quantity& quantity, const std::vector<double>& map,
                              bool signed_values, FieldTreatment treatment) {
    Setup::Field field;
    field.quantity = quantity;
    std::vector<double> start(size_, 0.0);
    for (std::size_t i = 0; i < size_ && i < map.size(); ++i)
        start[i] = std::isfinite(map[i]) ? map[i] : 0;
    field.start = {team_, start};
    std::vector<double> magnitudes;
    for (const std::size_t i : setup_.pixels.back())
        magnitudes.push_back(std::abs(field.start[i]));
    const double typical = finite_quantile(magnitudes, 0.95);
    field.field.part = setup_.parts.size();
    field.field.treatment = treatment;
    field.field.unit = typical > 0 ? typical : 1;
    field.field.lower = signed_values || !options_.bounded ? -infinity : 0;
    field.field.upper = infinity;
    if (treatment == FieldTreatment::scaled) {
        field.field.unit = 1;
        field.field.lower = 0;
    }
    field.field.smoothness = options_.amount_smoothness.value_or(1);
    field.field.edge = infinity;
    field.field.max_gap = 1;
    setup_.fields.push_back(std::move(field));
}

/// The range is widened to hold the value.
void SetupBuilder::add_global(rietveld::PatternPart& part, const rietveld::ShapeParameter& shape,
                              double value, double unit, const Quantity& quantity) {
    const auto [least, most] = shape_bounds(
        setup_.model, part.kind == rietveld::PatternPart::Kind::phase, part.index, shape);
    const double lower = std::min(std::max(shape.lower, least), value),
                 upper = std::max(std::min(shape.upper, most), value);
    if (!(upper > lower)) // the bounds leave no room: it stays where it is
        return;
    part.global.push_back({shape.kind, shape.index, lower, upper});
    setup_.globals.push_back({lower, upper, unit});
    setup_.global_quantities.push_back(quantity);
    setup_.late.push_back(part.kind == rietveld::PatternPart::Kind::phase &&
                          shape.kind == Kind::cell && options_.phases[part.index].starts_absent);
}

/// A shape parameter per voxel of the part that is added next, starting at the given map (may be
/// empty), else at `value`. `margin`: of the range about what the map holds, at least.
void SetupBuilder::add_shape_map(rietveld::PatternPart& part, const rietveld::ShapeParameter& shape,
                                 const std::vector<double>& given, double value, double margin,
                                 double unit, const Quantity& quantity) {
    const auto& pixels = setup_.pixels.back();
    std::vector<double> inside;
    for (const std::size_t pixel : pixels)
        inside.push_back(given.empty() ? value : given[pixel]);
    double low = finite_quantile(inside, 0.02), high = finite_quantile(inside, 0.98);
    const double middle = std::isfinite(low) ? finite_quantile(inside, 0.5) : value;
    if (!std::isfinite(low))
        low = high = value;
    const auto [least, most] = shape_bounds(setup_.model, true, part.index, shape);
    const double room = std::max(margin, 0.35 * (high - low));
    low = std::max(low - room, least);
    high = std::min(high + room, most);
    Setup::Field field;
    field.quantity = quantity;
    std::vector<double> map(size_, middle);
    for (const std::size_t pixel : pixels) {
        const double start = given.empty() ? middle : given[pixel];
        if (std::isfinite(start))
            map[pixel] = std::clamp(start, low, high);
    }
    field.start = {team_, map};
    field.field.part = setup_.parts.size();
    field.field.shape = static_cast<int>(part.voxel.size());
    field.field.lower = low;
    field.field.upper = high;
    field.field.unit = unit;
    field.field.smoothness = options_.smoothness.value_or(0);
    field.field.edge = options_.edge > 0 ? options_.edge : infinity;
    field.field.max_gap = gap_;
    setup_.fields.push_back(std::move(field));
    part.voxel.push_back({shape.kind, shape.index, low, high});
}

void SetupBuilder::add_cells(rietveld::PatternPart& part) {
    const auto& phase = setup_.model.phases[part.index];
    const auto free = phase.phase.free_parameters();
    for (std::size_t i = 0; i < free.size(); ++i) {
        const auto treatment = options_.phases[part.index].cell[static_cast<std::size_t>(free[i])];
        const bool length = free[i] <= crystal::CellParameter::c;
        const Quantity quantity{phase.name, std::string(to_string(free[i])),
                                length ? "angstrom" : "deg"};
        const double value = phase.cell[i].value;
        if (treatment == Treatment::global)
            add_global(part, {Kind::cell, i, value * (1 - 3e-3), value * (1 + 3e-3)}, value,
                       3e-4 * value, quantity);
        else if (treatment == Treatment::voxel && !setup_.pixels.back().empty())
            add_shape_map(part, {Kind::cell, i}, conventional_.phases[part.index].cell[i], value,
                          1.5e-3 * value, 3e-4 * value, quantity);
    }
}

/// One value of a width for the whole object, or a map.
void SetupBuilder::add_widths(rietveld::PatternPart& part) {
    const auto& wanted = options_.phases[part.index];
    const auto& phase = setup_.model.phases[part.index];
    const auto& maps = conventional_.phases[part.index];
    const auto add = [&](Treatment treatment, Kind kind, double value, std::array<double, 2> range,
                         double margin, double unit, const std::vector<double>& map,
                         const Quantity& quantity) {
        if (treatment == Treatment::global)
            add_global(part, {kind, 0, range[0], range[1]}, value, unit, quantity);
        else if (treatment == Treatment::voxel && !setup_.pixels.back().empty())
            add_shape_map(part, {kind, 0}, map, value, margin, std::max(unit, 0.1 * value),
                          quantity);
    };
    if (phase.size.value > 0 && std::isfinite(phase.size.value)) {
        const double value = 1 / phase.size.value;
        std::vector<double> inverse(maps.size);
        for (double& size : inverse)
            size = 1 / size;
        add(wanted.size, Kind::size, value, {0.3 * value, 3 * value}, 0.5 * value, 0.1 * value,
            inverse, {phase.name, "inverse_size", "1/angstrom"});
    }
    const double strain = phase.microstrain.value;
    add(wanted.microstrain, Kind::microstrain, strain, {0, 3 * strain + 2e-3}, 0.5 * strain + 5e-4,
        1e-4, maps.microstrain, {phase.name, "microstrain", ""});
    const double square = std::pow(phase.gauss_microstrain.value, 2);
    std::vector<double> squares(maps.gauss_microstrain);
    for (double& value : squares)
        value *= value;
    add(wanted.gauss_microstrain, Kind::gauss_microstrain, square, {0, 3 * square + 4e-6},
        0.5 * square + 1e-6, 1e-7, squares, {phase.name, "gauss_microstrain_squared", ""});
}

void SetupBuilder::add_phase(std::size_t p) {
    const auto& wanted = options_.phases[p];
    const auto& phase = setup_.model.phases[p];
    const auto& maps = conventional_.phases[p];
    rietveld::PatternPart part;
    part.kind = rietveld::PatternPart::Kind::phase;
    part.index = p;
    setup_.pixels.push_back(pixels_of(maps.mask));
    add_amount({phase.name, "scale", ""}, maps.scale, false,
               wanted.scale == Treatment::fixed                           ? FieldTreatment::fixed
               : wanted.scale == Treatment::global || options_.scale_maps ? FieldTreatment::scaled
                                                                          : FieldTreatment::voxel);
    if (wanted.starts_absent) {
        setup_.fields.back().start = {team_, std::vector<double>(size_, 0.0)};
        setup_.fields.back().late = true;
    }
    add_cells(part);
    if (options_.refine_widths)
        add_widths(part);
    if (wanted.march == Treatment::global) {
        const double r = phase.texture.r, half = 0.15 * std::max(1.0, r);
        add_global(part,
                   {Kind::march, 0, std::max(crystal::min_march, r - half),
                    std::min(crystal::largest_march, r + half)},
                   r, 0.01, {phase.name, "march", ""});
    }
    setup_.parts.push_back(std::move(part));
}

void SetupBuilder::add_peak(std::size_t i, const SharedArray<std::size_t>& everywhere) {
    const auto& wanted = options_.peaks[i];
    const auto& peak = setup_.model.peaks[i];
    rietveld::PatternPart part;
    part.kind = rietveld::PatternPart::Kind::peak;
    part.index = i;
    setup_.pixels.push_back(everywhere);
    add_amount({peak.name, "area", "intensity deg/mm"}, conventional_.areas[i], false,
               FieldTreatment::voxel);
    if (wanted.refine_position)
        add_global(part,
                   {Kind::position, 0, peak.position.value - 0.2 * peak.fwhm.value,
                    peak.position.value + 0.2 * peak.fwhm.value},
                   peak.position.value, 0.02 * peak.fwhm.value, {peak.name, "position", "deg"});
    if (wanted.refine_fwhm)
        add_global(part, {Kind::fwhm, 0, 0.5 * peak.fwhm.value, 2 * peak.fwhm.value},
                   peak.fwhm.value, 0.02 * peak.fwhm.value, {peak.name, "fwhm", "deg"});
    setup_.parts.push_back(std::move(part));
}

void SetupBuilder::add_background(std::size_t i, const SharedArray<std::size_t>& everywhere) {
    rietveld::PatternPart part;
    part.kind = rietveld::PatternPart::Kind::background;
    part.index = i;
    setup_.pixels.push_back(everywhere);
    add_amount({"background", fmt::format("coefficient_{}", i), "intensity/mm"},
               conventional_.background[i], true, FieldTreatment::voxel);
    setup_.parts.push_back(std::move(part));
}

} // namespace

void ConventionalMaps::share_masks(const Options& options) {
    for (std::size_t p = 0; p < phases.size(); ++p) {
        const auto& wanted = options.phases[p];
        if (!wanted.starts_absent || wanted.leader < 0)
            continue;
        auto& mask = phases[p].mask;
        const auto& other = phases.at(static_cast<std::size_t>(wanted.leader)).mask;
        for (std::size_t i = 0; i < mask.size(); ++i)
            mask[i] = mask[i] || other[i];
    }
}

void ConventionalMaps::release_starts() {
    for (auto& phase : phases) {
        std::vector<double>().swap(phase.scale);
        phase.cell.clear();
        for (auto* map : {&phase.size, &phase.microstrain, &phase.gauss_microstrain})
            std::vector<double>().swap(*map);
    }
    areas.clear();
    background.clear();
}

Setup make_setup(const SharedMemoryTeam& team, const Options& options,
                 const ConventionalMaps& conventional, double pixel) {
    SetupBuilder builder(team, options, conventional, pixel);
    for (std::size_t p = 0; p < conventional.model.phases.size(); ++p)
        builder.add_phase(p);
    const auto everywhere = builder.pixels_of(conventional.sample);
    for (std::size_t i = 0; i < conventional.model.peaks.size(); ++i)
        builder.add_peak(i, everywhere);
    for (std::size_t i = 0; i < conventional.model.background.size(); ++i)
        builder.add_background(i, everywhere);
    return builder.take();
}

GlobalRanges global_ranges(const Setup& setup) {
    GlobalRanges ranges;
    for (const auto& part : setup.parts)
        for (const auto& shape : part.global) {
            ranges.lower.push_back(shape.lower);
            ranges.upper.push_back(shape.upper);
            ranges.start.push_back(shape_value(
                setup.model, part.kind == rietveld::PatternPart::Kind::phase, part.index, shape));
        }
    return ranges;
}

void set_global_ranges(Setup& setup, const GlobalRanges& ranges) {
    std::size_t g = 0;
    for (auto& part : setup.parts)
        for (auto& shape : part.global) {
            shape.lower = setup.globals[g].lower = ranges.lower[g];
            shape.upper = setup.globals[g].upper = ranges.upper[g];
            set_shape_value(setup.model, part.kind == rietveld::PatternPart::Kind::phase,
                            part.index, shape, ranges.start[g]);
            ++g;
        }
}

namespace {

/// A range about `value`, which ended at an end of the range of the shape.
std::pair<double, double> next_range(const rietveld::ShapeParameter& shape, double value,
                                     bool at_lower) {
    using Kind = rietveld::ShapeParameter::Kind;
    const double width = shape.upper - shape.lower;
    if (shape.kind == Kind::cell || shape.kind == Kind::position || shape.kind == Kind::march)
        return {value - 0.5 * width, value + 0.5 * width};
    if (at_lower)
        return {value / 3, value + 0.5 * width};
    return {shape.lower > 0 ? value - 0.5 * width : 0, value + width};
}

} // namespace

std::optional<GlobalRanges> moved_ranges(const Setup& setup, std::span<const double> values) {
    using Kind = rietveld::ShapeParameter::Kind;
    GlobalRanges ranges;
    bool moved = false;
    for (const auto& part : setup.parts)
        for (const auto& shape : part.global) {
            const auto [least, most] = shape_bounds(
                setup.model, part.kind == rietveld::PatternPart::Kind::phase, part.index, shape);
            const double value = values[ranges.start.size()],
                         margin = 1e-3 * (shape.upper - shape.lower);
            const bool place = shape.kind == Kind::cell || shape.kind == Kind::position;
            const bool at_lower = value <= shape.lower + margin && shape.lower > least &&
                                  (place || shape.lower > 0),
                       at_upper = value >= shape.upper - margin && shape.upper < most;
            auto range = std::pair{shape.lower, shape.upper};
            if (at_lower || at_upper)
                range = next_range(shape, value, at_lower);
            moved = moved || at_lower || at_upper;
            ranges.lower.push_back(std::max(range.first, least));
            ranges.upper.push_back(std::min(range.second, most));
            ranges.start.push_back(std::clamp(value, ranges.lower.back(), ranges.upper.back()));
        }
    if (!moved)
        return {};
    return ranges;
}

bool is_smooth_amount(const Setup::Field& field) {
    return field.field.shape < 0 && field.field.treatment == FieldTreatment::voxel &&
           field.field.smoothness > 0 && !field.late;
}

} // namespace xrdct::dlsr
