// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/dlsr/operator_impl.hpp"

#include "base/assertions.hpp"
#include "base/error.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <omp.h>

namespace xrdct::dlsr {

Operator::Operator(const tomography::ScanGeometry& geometry, const tomography::ImageGrid& grid,
                   const rietveld::PatternBasis& basis, const tomography::DepthLayers& layers,
                   std::span<const std::span<const std::size_t>> pixels,
                   std::span<const float> ray_weight, std::span<const float> transmission,
                   std::span<const GeometryParameter> geometry_parameters,
                   std::array<double, 2> layer_centre, const SharedMemoryTeam& team)
    : impl_(std::make_unique<Impl>(team)) {
    Impl& impl = *impl_;
    if (pixels.size() != basis.parts().size() || layers.count != basis.layer_count())
        throw Error("DLSR: parts or layers differ from those of the pattern basis");
    impl.basis = &basis;
    impl.geometry = geometry;
    impl.grid = grid;
    impl.depth_layers = layers;
    impl.layer_centre = layer_centre;
    impl.rotations = geometry.rotation.size();
    impl.translations = geometry.translation.size();
    impl.m = basis.size();
    impl.set_rays(ray_weight, transmission);
    impl.set_geometry_parameters(geometry_parameters);
    impl.shape_globals = basis.global_count();
    impl.globals = impl.shape_globals + geometry_parameters.size();
    impl.scratch.resize(static_cast<std::size_t>(omp_get_max_threads()));
    impl.make_rotation_operator(pixels);
    impl.arrange_members();
    impl.sum_pixel_weight();
}

void Operator::Impl::set_rays(std::span<const float> ray_weight,
                              std::span<const float> ray_transmission) {
    const std::size_t rays = rotations * translations;
    if (ray_weight.size() != rays || ray_transmission.size() != rays)
        throw Error(fmt::format("DLSR: {} ray weights and {} transmissions for {} rays",
                                ray_weight.size(), ray_transmission.size(), rays));
    weight.assign(ray_weight.begin(), ray_weight.end());
    transmission.assign(ray_transmission.begin(), ray_transmission.end());
    for (std::size_t r = 0; r < rays; ++r) {
        if (!(weight[r] >= 0) || !std::isfinite(weight[r]))
            throw Error("DLSR: a ray's weight is negative or not finite");
        if (weight[r] == 0)
            transmission[r] = 0;
        else if (!(transmission[r] > 0))
            throw Error("DLSR: a ray with weight has no positive transmission");
    }
}

void Operator::Impl::set_geometry_parameters(std::span<const GeometryParameter> parameters) {
    for (const GeometryParameter parameter : parameters) {
        if (parameter == GeometryParameter::distance && depth_layers.count < 2)
            throw Error("DLSR: the distance is no parameter of a model without depth");
        if (std::count(parameters.begin(), parameters.end(), parameter) > 1)
            throw Error("DLSR: a geometry parameter is given twice");
    }
    geometry_parameters.assign(parameters.begin(), parameters.end());
    geometry_values.assign(parameters.size(), 0.0);
}

void Operator::Impl::make_rotation_operator(std::span<const std::span<const std::size_t>> pixels) {
    std::vector<std::size_t> components, shapes;
    std::vector<RotationOperator::TextureFunctions> texture;
    for (std::size_t p = 0; p < pixels.size(); ++p) {
        components.push_back(basis->components(p));
        shapes.push_back(basis->parts()[p].voxel.size());
        texture.push_back(basis->ring_functions(p));
    }
    exact = std::make_unique<RotationOperator>(team, geometry, grid, depth_layers, pixels,
                                               components, shapes, texture, layer_centre);
    layers = exact->layers();
    values = exact->value_count();
}

void Operator::Impl::arrange_members() {
    const auto ordered = exact->projector().voxels();
    std::size_t member_count = 0;
    for (const auto& part : exact->parts())
        member_count += part.pixels.size();
    first_member.resize(team, ordered.size() + 1);
    members.resize(team, member_count);
    team.run_and_sync([&] {
        if (team.rank() != 0)
            return;
        std::vector<std::uint32_t> place(grid.size(), 0);
        for (std::size_t i = 0; i < ordered.size(); ++i)
            place[ordered[i].pixel] = static_cast<std::uint32_t>(i);
        const auto for_members = [&](auto&& each) {
            const auto& parts = exact->parts();
            for (std::uint32_t p = 0; p < parts.size(); ++p)
                for (std::uint32_t v = 0; v < parts[p].pixels.size(); ++v)
                    each(place[parts[p].pixels[v]], Member{p, v});
        };
        // Counted, then filled from the front, which moves the beginnings one voxel on.
        std::vector<std::uint32_t> next(ordered.size() + 1, 0);
        for_members([&](std::uint32_t i, Member) { ++next[i + 1]; });
        for (std::size_t i = 0; i < ordered.size(); ++i)
            next[i + 1] += next[i];
        std::copy(next.begin(), next.end(), first_member.begin());
        for_members([&](std::uint32_t i, Member member) { members[next[i]++] = member; });
    });
}

void Operator::Impl::sum_pixel_weight() {
    std::vector<float> squares(rotations * translations);
    for (std::size_t r = 0; r < squares.size(); ++r)
        squares[r] = weight[r] * transmission[r] * transmission[r];
    const auto sums = exact->projector().weighted_squares(squares);
    const auto ordered = exact->projector().voxels();
    pixel_weight.assign(grid.size(), 0.0F);
    for (std::size_t i = 0; i < ordered.size(); ++i)
        pixel_weight[ordered[i].pixel] = sums[i];
}

Operator::~Operator() = default;
Operator::Operator(Operator&&) noexcept = default;
Operator& Operator::operator=(Operator&&) noexcept = default;

const SharedMemoryTeam& Operator::team() const {
    return impl_->team;
}

const rietveld::PatternBasis& Operator::basis() const {
    return *impl_->basis;
}
std::size_t Operator::ray_count() const {
    return impl_->rotations * impl_->translations;
}
std::size_t Operator::coefficient_count() const {
    return ray_count() * impl_->m;
}
std::size_t Operator::value_count() const {
    return impl_->value_count();
}
std::span<const std::size_t> Operator::pixels(std::size_t part) const {
    return impl_->exact->parts()[part].pixels.span();
}
std::size_t Operator::offset(std::size_t part, int shape) const {
    const auto& p = impl_->exact->parts()[part];
    return p.offset + static_cast<std::size_t>(shape + 1) * p.pixels.size();
}
std::size_t Operator::global_offset() const {
    return impl_->values;
}
std::size_t Operator::global_count() const {
    return impl_->globals;
}
const std::vector<GeometryParameter>& Operator::geometry_parameters() const {
    return impl_->geometry_parameters;
}
const std::vector<float>& Operator::pixel_weight() const {
    return impl_->pixel_weight;
}

void Operator::set_point(std::span<const double> values, bool derivatives) {
    std::vector<double> rows(table_size(values, derivatives));
    table_rows(values, derivatives, 0, 1, rows);
    set_point(values, derivatives, rows);
}

void Operator::set_point(std::span<const double> values, bool derivatives,
                         std::span<const double> rows) {
    Impl& impl = *impl_;
    if (values.size() != value_count())
        throw Error("DLSR: wrong number of values");
    const auto globals = values.subspan(impl.values, impl.shape_globals);
    const auto geometry = values.subspan(impl.values + impl.shape_globals);
    // Every member's own; afterwards nobody reads any more what is to change.
    impl.team.run_and_sync([&] {
        impl.set_geometry(std::vector<double>(geometry.begin(), geometry.end()));
        if (!impl.has_tables(globals)) {
            impl.tables = impl.basis->tables(globals, derivatives, rows);
            impl.has_derivatives = derivatives;
            impl.global_values.assign(globals.begin(), globals.end());
            impl.arrange_tables();
        } else if (derivatives && !impl.has_derivatives) {
            impl.basis->add_derivatives(globals, impl.tables, rows);
            impl.has_derivatives = true;
        }
        impl.low_rank.reset();
    });
    impl.coefficients.resize(impl.team, impl.exact->projector().coefficient_count());
    for (auto& part : impl.exact->parts())
        if (part.components > 1 || part.shapes > 0)
            part.functions.resize(impl.team,
                                  part.pixels.size() * (1 + part.shapes) * part.components);
    impl.team.run_and_sync([&] { impl.set_voxels(values); });
    if (derivatives)
        impl.make_columns();
}

void Operator::release_columns() {
    impl_->columns.clear();
    impl_->columns.resize(impl_->globals);
}

void Operator::set_geometry_columns(bool made) {
    impl_->geometry_columns = made;
}

void Operator::set_ray_weight(std::span<const float> ray_weight) {
    XRDCT_ASSERT(ray_weight.size() == ray_count(), "one weight per ray");
    for (std::size_t r = 0; r < ray_count(); ++r)
        if (!(ray_weight[r] >= 0) || (ray_weight[r] > 0 && !(impl_->transmission[r] > 0)))
            throw Error("DLSR: a ray that was left out cannot be given a weight");
    impl_->weight.assign(ray_weight.begin(), ray_weight.end());
}

void Operator::set_depth_factors(std::span<const float> factors) {
    Impl& impl = *impl_;
    impl.depth_factors.reset();
    if (!factors.empty()) {
        const std::size_t layers = impl.depth_layers.count;
        if (layers < 2)
            throw Error("DLSR: a model without depth has no depth factors");
        if (factors.size() != ray_count() * layers)
            throw Error(fmt::format("DLSR: {} depth factors for {} rays and {} layers",
                                    factors.size(), ray_count(), layers));
        std::vector<float> used(factors.begin(), factors.end());
        for (std::size_t k = 0; k < used.size(); ++k)
            if (!(impl.transmission[k / layers] > 0))
                used[k] = 1;
            else if (!(used[k] > 0) || !std::isfinite(used[k]))
                throw Error("DLSR: a depth factor is not positive and finite");
        impl.depth_factors = std::make_shared<const std::vector<float>>(std::move(used));
    }
    impl.exact->set_depth_factors(impl.depth_factors);
    impl.low_rank.reset();
}

std::size_t Operator::packed_size() const {
    return impl_->exact->packed_size();
}

Operator::Cost Operator::cost() const {
    const Impl& impl = *impl_;
    const RotationOperator& by = impl.low_rank ? *impl.low_rank : *impl.exact;
    Cost cost;
    const double rotations = static_cast<double>(impl.rotations);
    const double taps = static_cast<double>(by.projector().padding());
    const double q = static_cast<double>(by.projector().coefficient_count());
    cost.projection_flops = 2 * rotations * q * taps * 2 * 2;
    const double rays = rotations * static_cast<double>(impl.translations);
    cost.table_flops = 2 * 2 * rays * static_cast<double>(by.packed_size()) *
                       static_cast<double>(impl.m + impl.layers);
    cost.bytes = 4 * rotations * (3 * q + 4 * static_cast<double>(by.buffer_size()));
    return cost;
}

} // namespace xrdct::dlsr
