// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/dlsr/operator_impl.hpp"

#include "base/error.hpp"

#include <cmath>
#include <utility>

namespace xrdct::dlsr {

namespace {

/// Half the differences that derivatives of the geometry are made of: steps, part of the distance.
constexpr double axis_difference = 0.05, distance_difference = 2e-3;

} // namespace

std::pair<tomography::ScanGeometry, tomography::DepthLayers>
Operator::Impl::geometry_at(std::span<const double> changes) const {
    tomography::ScanGeometry moved = geometry;
    tomography::DepthLayers stretched = depth_layers;
    for (std::size_t g = 0; g < geometry_parameters.size(); ++g) {
        if (geometry_parameters[g] == GeometryParameter::axis_offset) {
            moved.axis_offset += changes[g];
            continue;
        }
        if (!(changes[g] > -1))
            throw Error("DLSR: nothing is left of the distance");
        stretched.first *= 1 + changes[g];
        stretched.spacing *= 1 + changes[g];
    }
    return {moved, stretched};
}

std::unique_ptr<tomography::DepthProjector>
Operator::Impl::projector_at(std::span<const double> changes) const {
    const auto [moved, stretched] = geometry_at(changes);
    return exact->projector_of(moved, grid, stretched);
}

double Operator::Impl::geometry_difference(std::size_t g) const {
    return geometry_parameters[g] == GeometryParameter::axis_offset
               ? axis_difference * std::abs(geometry.step())
               : distance_difference;
}

void Operator::Impl::set_geometry(std::span<const double> changes) {
    if (std::equal(changes.begin(), changes.end(), geometry_values.begin()))
        return;
    exact->set_projector(projector_at(changes));
    geometry_values.assign(changes.begin(), changes.end());
}

void Operator::Impl::make_geometry_columns() {
    if (geometry_parameters.empty() || !geometry_columns)
        return;
    if (beside_at != geometry_values || beside.empty()) {
        beside.resize(geometry_parameters.size());
        for (std::size_t g = 0; g < beside.size(); ++g)
            for (const int side : {-1, 1}) {
                auto changes = geometry_values;
                changes[g] += side * geometry_difference(g);
                beside[g][side > 0] = projector_at(changes);
            }
        beside_at = geometry_values;
    }
#pragma omp parallel for schedule(static)
    for (std::size_t i = 0; i < rotations; ++i) {
        float* buffer = thread_scratch(exact->buffer_size() + 2 * exact->reduced_size());
        float* upper = buffer + exact->buffer_size();
        float* lower = upper + exact->reduced_size();
        for (std::size_t g = 0; g < beside.size(); ++g) {
            exact->project_packed(*beside[g][1], i, coefficients, buffer, upper);
            exact->project_packed(*beside[g][0], i, coefficients, buffer, lower);
            const auto scale = static_cast<float>(0.5 / geometry_difference(g));
            for (std::size_t j = 0; j < exact->reduced_size(); ++j)
                upper[j] = scale * (upper[j] - lower[j]);
            float* out = columns[shape_globals + g].data() + i * translations * m;
            Map(out, index(translations), index(m)).noalias() =
                ConstMap(upper, index(translations), index(exact->packed_size())) *
                ConstMap(exact->table().data(), index(exact->packed_size()), index(m));
            for (std::size_t j = 0; j < translations; ++j)
                Map(out + j * m, 1, index(m)) *= transmission[i * translations + j];
        }
    }
}

void Operator::Impl::make_columns() {
    columns.resize(globals);
    if (globals == 0)
        return;
    for (std::size_t g = 0; g < globals; ++g)
        if (g < shape_globals || geometry_columns)
            columns[g].resize(rotations * translations * m);
        else
            columns[g].clear();
    make_geometry_columns();
    make_shape_columns();
}

Matrix Operator::Impl::packed_slopes(std::size_t g) const {
    const std::size_t count = exact->parts()[tables.part[g]].all_components();
    Matrix full(index(layers), index(count * m));
    for (std::size_t l = 0; l < layers; ++l)
        std::copy_n(tables.derivatives[g].data() + source_layer(l) * count * m, count * m,
                    full.row(index(l)).data());
    const Matrix reduced = exact->depth_functions().transpose() * full;
    const auto rows = exact->packed_components(tables.part[g]);
    Matrix slopes(index(rows.size()), index(m));
    for (std::size_t r = 0; r < rows.size(); ++r)
        slopes.row(index(r)) =
            reduced.row(index(rows[r].function)).segment(index(rows[r].component * m), index(m));
    return slopes;
}

void Operator::Impl::make_shape_columns() {
    std::vector<Matrix> slopes;
    std::vector<std::vector<RotationOperator::PackedComponent>> rows(shape_globals);
    std::size_t widest = 0;
    for (std::size_t g = 0; g < shape_globals; ++g) {
        slopes.push_back(packed_slopes(g));
        rows[g] = exact->packed_components(tables.part[g]);
        widest = std::max(widest, rows[g].size());
    }
#pragma omp parallel for schedule(static)
    for (std::size_t i = 0; i < rotations; ++i) {
        float* buffer =
            thread_scratch(exact->buffer_size() + exact->reduced_size() + translations * widest);
        float* reduced = buffer + exact->buffer_size();
        float* picked = reduced + exact->reduced_size();
        exact->project_packed(i, coefficients, buffer, reduced);
        for (std::size_t g = 0; g < shape_globals; ++g) {
            const std::size_t count = rows[g].size();
            for (std::size_t j = 0; j < translations; ++j)
                for (std::size_t r = 0; r < count; ++r)
                    picked[j * count + r] = reduced[j * exact->packed_size() + rows[g][r].place];
            float* out = columns[g].data() + i * translations * m;
            Map(out, index(translations), index(m)).noalias() =
                ConstMap(picked, index(translations), index(count)) * slopes[g];
            for (std::size_t j = 0; j < translations; ++j)
                Map(out + j * m, 1, index(m)) *= transmission[i * translations + j];
        }
    }
}

std::vector<float> Operator::global_diagonal() const {
    const Impl& impl = *impl_;
    std::vector<float> result(impl.globals, 0.0F);
    for (std::size_t g = 0; g < impl.columns.size(); ++g) {
        if (impl.columns[g].empty())
            continue;
        double sum = 0;
        for (std::size_t r = 0; r < ray_count(); ++r) {
            float square = 0;
            for (std::size_t i = 0; i < impl.m; ++i) {
                const float value = impl.columns[g][r * impl.m + i];
                square += value * value;
            }
            sum += static_cast<double>(square) * impl.weight[r];
        }
        result[g] = static_cast<float>(sum);
    }
    return result;
}

} // namespace xrdct::dlsr
