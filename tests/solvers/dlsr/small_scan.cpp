// SPDX-License-Identifier: BSD-3-Clause
#include "small_scan.hpp"

#include "support/structures.hpp"

#include <gtest/gtest.h>

#include <random>
#include <utility>

namespace xrdct::test {

namespace {

using Kind = rietveld::ShapeParameter::Kind;

rietveld::RadialAxis small_axis(std::size_t channels) {
    std::vector<double> two_theta;
    for (std::size_t i = 0; i < channels; ++i)
        two_theta.push_back(1.2 + 3.6 * static_cast<double>(i) / static_cast<double>(channels));
    return rietveld::RadialAxis::from_two_theta(two_theta, 0.11979);
}

rietveld::PatternModel small_model(const SmallScanOptions& options) {
    const double width = options.width;
    rietveld::PatternModel model;
    model.instrument.w.value = width * width;
    model.phases.emplace_back(cathode());
    model.phases.back().size.value = 2000;
    if (options.march != 1)
        model.phases.back().texture = {{0, 0, 1}, options.march, {1}};
    model.phases.emplace_back(copper());
    if (options.metal_march != 1)
        model.phases.back().texture = {{1, 1, 1}, options.metal_march, {1}};
    model.set_background(2);
    rietveld::SinglePeak peak;
    peak.name = "separator";
    peak.position.value = 1.9;
    peak.fwhm.value = 0.25;
    model.peaks.push_back(peak);
    return model;
}

std::vector<rietveld::PatternPart> small_parts(const SmallScanOptions& options) {
    rietveld::PatternPart cathode{rietveld::PatternPart::Kind::phase, 0, {}, {}};
    cathode.voxel = {{Kind::cell, 0, 2.855, 2.885}, {Kind::cell, 1, 14.15, 14.35}};
    rietveld::PatternPart metal{rietveld::PatternPart::Kind::phase, 1, {}, {}};
    rietveld::PatternPart peak{rietveld::PatternPart::Kind::peak, 0, {}, {}};
    if (options.globals) {
        cathode.global = {{Kind::size, 0, 1 / 4000.0, 1 / 1000.0}};
        if (options.march != 1)
            cathode.global.push_back({Kind::march, 0, options.march - 0.1, options.march + 0.1});
        metal.global = {{Kind::cell, 0, 3.605, 3.625}};
        peak.global = {{Kind::position, 0, 1.88, 1.93}};
    }
    return {cathode, metal, peak, {rietveld::PatternPart::Kind::background, 1, {}, {}}};
}

} // namespace

SmallScan::SmallScan(const SmallScanOptions& o)
    : options(o), axis(small_axis(o.channels)), model(small_model(o)) {
    for (std::size_t i = 0; i < o.rotations; ++i)
        geometry.rotation.push_back(
            o.range * (static_cast<double>(i) + 0.1 * std::sin(2.0 * static_cast<double>(i))) /
            static_cast<double>(o.rotations));
    const std::size_t translations = o.n + 2;
    for (std::size_t j = 0; j < translations; ++j)
        geometry.translation.push_back(
            (static_cast<double>(j) - 0.5 * static_cast<double>(translations - 1)) * o.pixel);
    geometry.axis_offset = 0.2 * o.pixel;
    geometry.beam_width = o.pixel;
    geometry.rotation_sense = o.rotation_sense;
    geometry.distance = o.distance;
    grid = {o.n, o.pixel};
    const bool deep = std::isfinite(o.distance);
    const double reach = 0.71 * static_cast<double>(o.n) * o.pixel;
    layers = tomography::DepthLayers::across(deep ? reach : 0, deep ? o.layers : 1);

    // A disc of cathode with a hole, metal on one side, the peak everywhere, the background in
    // every third pixel.
    pixels.resize(4);
    const double radius = 0.5 * static_cast<double>(o.n) * o.pixel;
    for (std::size_t i = 0; i < grid.size(); ++i) {
        const double x = grid.coordinate(i % o.n), y = grid.coordinate(i / o.n);
        if (std::hypot(x, y) < 0.9 * radius && std::hypot(x - o.pixel, y) > 0.8 * o.pixel)
            pixels[cathode_part].push_back(i);
        if (x > 0.2 * radius)
            pixels[metal_part].push_back(i);
        pixels[peak_part].push_back(i);
        if (i % 3 == 0)
            pixels[term_part].push_back(i);
    }

    rietveld::PatternBasisOptions basis_options;
    basis_options.tolerance = o.tolerance;
    basis_options.layers = layers.count;
    basis_options.depth_first = layers.first;
    basis_options.depth_spacing = layers.spacing;
    basis_options.distance = deep ? o.distance : 0;
    std::vector<double> channel_weight;
    for (std::size_t k = 0; k < axis.size(); ++k)
        channel_weight.push_back(1e-6 * (1.3 + std::sin(0.3 * static_cast<double>(k))));
    basis = std::make_unique<rietveld::PatternBasis>(axis, model, small_parts(o), channel_weight,
                                                     basis_options);
    const auto tables = basis->tables(basis->start_globals(), false);
    for (std::size_t p = 0; p < 4; ++p) {
        double square = 0;
        for (std::size_t i = 0; i < basis->components(p) * basis->size(); ++i) // of the mean over ψ
            square += std::pow(tables.values[basis->first_component(p) * basis->size() + i], 2);
        unit_amount.push_back(1 / std::sqrt(square));
    }
    for (std::size_t r = 0; r < o.rotations * translations; ++r) {
        weight.push_back(static_cast<float>(1 + 0.5 * std::sin(1.7 * static_cast<double>(r))));
        transmission.push_back(
            static_cast<float>(0.7 + 0.25 * std::cos(0.9 * static_cast<double>(r))));
    }
}

tomography::ScanGeometry SmallScan::part_geometry(const mpi::BlockRange& rotations) const {
    tomography::ScanGeometry own = geometry;
    own.rotation.assign(geometry.rotation.begin() + static_cast<std::ptrdiff_t>(rotations.begin),
                        geometry.rotation.begin() + static_cast<std::ptrdiff_t>(rotations.end));
    return own;
}

dlsr::Operator SmallScan::make_operator(const mpi::BlockRange& rotations,
                                        const SharedMemoryTeam& team) const {
    return {part_geometry(rotations),
            grid,
            *basis,
            layers,
            places(),
            part<float>(weight, rotations),
            part<float>(transmission, rotations),
            {},
            options.layer_centre,
            team};
}

std::vector<double> SmallScan::scale(const dlsr::Operator& op) const {
    std::vector<double> scale(op.value_count());
    for (std::size_t p = 0; p < basis->parts().size(); ++p) {
        const auto& part = basis->parts()[p];
        for (int shape = -1; shape < static_cast<int>(part.voxel.size()); ++shape) {
            double size = unit_amount[p];
            if (shape >= 0) {
                const auto& parameter = part.voxel[static_cast<std::size_t>(shape)];
                size = parameter.upper - parameter.lower;
            }
            for (std::size_t v = 0; v < op.pixels(p).size(); ++v)
                scale[op.offset(p, shape) + v] = size;
        }
    }
    std::size_t g = op.global_offset();
    for (const auto& part : basis->parts())
        for (const auto& parameter : part.global)
            scale[g++] = parameter.upper - parameter.lower;
    return scale;
}

std::vector<double> SmallScan::values(const dlsr::Operator& op) const {
    std::vector<double> values = scale(op);
    for (std::size_t p = 0; p < basis->parts().size(); ++p) {
        const auto& part = basis->parts()[p];
        for (std::size_t v = 0; v < op.pixels(p).size(); ++v) {
            const auto pixel = static_cast<double>(op.pixels(p)[v]);
            values[op.offset(p) + v] *= 1 + 0.4 * std::sin(0.31 * pixel);
            for (std::size_t shape = 0; shape < part.voxel.size(); ++shape) {
                double& value = values[op.offset(p, static_cast<int>(shape)) + v];
                value = part.voxel[shape].lower +
                        value * (0.5 + 0.3 * std::sin(0.21 * pixel + static_cast<double>(shape)));
            }
        }
    }
    std::size_t g = op.global_offset();
    for (const auto& part : basis->parts())
        for (const auto& parameter : part.global) {
            values[g] = parameter.lower + values[g] * 0.57;
            ++g;
        }
    return values;
}

std::vector<double> SmallScan::perturbed(const dlsr::Operator& op, double amount,
                                         unsigned seed) const {
    auto result = values(op);
    const auto size = scale(op);
    std::mt19937 random(seed);
    std::uniform_real_distribution<double> uniform(-1, 1);
    for (std::size_t i = 0; i < result.size(); ++i)
        result[i] += amount * size[i] * uniform(random);
    return result;
}

const mpi::Communicator& world() {
    static const mpi::Communicator communicator = mpi::Communicator::world();
    return communicator;
}

mpi::BlockRange own_rotations(const SmallScan& scan) {
    return mpi::block_range(scan.geometry.rotation.size(), static_cast<std::size_t>(world().size()),
                            static_cast<std::size_t>(world().rank()));
}

std::vector<dlsr::Field> voxel_fields(const SmallScan& scan) {
    std::vector<dlsr::Field> fields;
    for (std::size_t p = 0; p < 4; ++p)
        fields.push_back({.part = p,
                          .lower = -infinity,
                          .upper = infinity,
                          .unit = 0.5 * scan.unit_amount[p],
                          .edge = infinity});
    fields.push_back({.part = cathode_part,
                      .shape = 0,
                      .lower = 2.855,
                      .upper = 2.885,
                      .unit = 0.005,
                      .edge = infinity});
    fields.push_back({.part = cathode_part,
                      .shape = 1,
                      .lower = 14.15,
                      .upper = 14.35,
                      .unit = 0.04,
                      .edge = infinity});
    return fields;
}

std::vector<dlsr::Global> globals_of(const SmallScan& scan) {
    std::vector<dlsr::Global> globals;
    for (const auto& part : scan.basis->parts())
        for (const auto& p : part.global)
            globals.push_back({p.lower, p.upper, 0.1 * (p.upper - p.lower)});
    return globals;
}

std::vector<float> predict(const dlsr::Operator& op) {
    std::vector<float> rays(op.coefficient_count());
    op.predict(rays);
    return rays;
}

std::vector<float> predict(dlsr::Operator& op, std::span<const double> values) {
    op.set_point(values, false);
    return predict(op);
}

std::vector<float> jacobian(const dlsr::Operator& op, std::span<const float> direction) {
    std::vector<float> rays(op.coefficient_count());
    op.jacobian(direction, rays);
    return rays;
}

void check_jacobian(dlsr::Operator& op, const std::vector<double>& values,
                    const std::vector<double>& scale) {
    const auto& parts = op.basis().parts();
    std::vector<std::pair<std::size_t, std::size_t>> groups;
    for (std::size_t p = 0; p < parts.size(); ++p)
        for (int shape = -1; shape < static_cast<int>(parts[p].voxel.size()); ++shape)
            groups.emplace_back(op.offset(p, shape), op.pixels(p).size());
    for (std::size_t g = op.global_offset(); g < op.value_count(); ++g)
        groups.emplace_back(g, 1);
    const std::size_t first_geometry = op.global_offset() + op.basis().global_count();
    for (const auto& [begin, count] : groups) {
        // The geometry's columns are differences themselves.
        const bool geometry = begin >= first_geometry;
        const auto random = random_floats(count, static_cast<unsigned>(begin + 1));
        std::vector<float> direction(op.value_count(), 0.0F);
        for (std::size_t i = 0; i < count; ++i)
            direction[begin + i] =
                (geometry ? 1 : random[i]) * static_cast<float>(scale[begin + i]);
        const auto at = [&](double h) {
            auto moved = values;
            for (std::size_t i = 0; i < moved.size(); ++i)
                moved[i] += h * direction[i];
            return predict(op, moved);
        };
        constexpr double h = 0.02;
        const auto a = at(h), b = at(-h), c = at(2 * h), d = at(-2 * h);
        std::vector<float> expected(a.size());
        for (std::size_t i = 0; i < a.size(); ++i)
            expected[i] = static_cast<float>(
                (8 * (static_cast<double>(a[i]) - b[i]) - (static_cast<double>(c[i]) - d[i])) /
                (12 * h));
        op.set_point(values, true);
        const auto found = jacobian(op, direction);
        EXPECT_GT(norm(expected), 0);
        EXPECT_LT(distance(found, expected), (geometry ? 2e-2 : 1e-3) * norm(expected))
            << "values from " << begin;
    }
}

std::vector<float> random_floats(std::size_t size, unsigned seed) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<float> uniform(-1, 1);
    std::vector<float> data(size);
    for (float& x : data)
        x = uniform(random);
    return data;
}

double dot(std::span<const float> a, std::span<const float> b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i)
        sum += static_cast<double>(a[i]) * b[i];
    return sum;
}
std::vector<float> diagonal(const dlsr::Operator& op) {
    std::vector<float> result(op.value_count(), 0.0F);
    std::vector<std::size_t> values;
    std::vector<float> gram;
    for (std::size_t i = 0; i < op.pixel_count(); ++i) {
        std::size_t pixel = 0;
        op.pixel_block(i, pixel, values, gram);
        for (std::size_t a = 0; a < values.size(); ++a)
            result[values[a]] = gram[a * values.size() + a] * op.pixel_weight()[pixel];
    }
    const auto of_globals = op.global_diagonal();
    std::copy(of_globals.begin(), of_globals.end(),
              result.begin() + static_cast<std::ptrdiff_t>(op.global_offset()));
    return result;
}

double norm(std::span<const float> a) {
    return std::sqrt(dot(a, a));
}
double distance(std::span<const float> a, std::span<const float> b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i)
        sum += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
    return std::sqrt(sum);
}

} // namespace xrdct::test
