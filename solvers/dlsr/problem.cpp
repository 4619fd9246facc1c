// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/dlsr/problem.hpp"

#include "base/assertions.hpp"
#include "base/error.hpp"
#include "base/shared_memory_team.hpp"
#include "solvers/dlsr/clock.hpp"
#include "solvers/dlsr/preconditioner.hpp"
#include "solvers/dlsr/smoothness.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <utility>

namespace xrdct::dlsr {

struct Problem::Impl {
    Impl(const mpi::Communicator& c, const mpi::NodeTeam* t, Operator& m,
         const tomography::ImageGrid& grid, const tomography::ScanGeometry& geometry,
         std::vector<Field> fields, std::vector<Global> globals, std::span<const double> values)
        : communicator(c), team(t ? *t : own_team.emplace(c, 1)), model(m),
          unknowns(c, team, m, std::move(fields), std::move(globals), values),
          pixel_weight(sum_pixel_weight(c, m)), smoothness(unknowns, grid.n),
          preconditioner(unknowns, smoothness, grid, geometry, pixel_weight) {}

    const mpi::Communicator& communicator;
    std::optional<mpi::NodeTeam> own_team;
    const mpi::NodeTeam& team;
    Operator& model;
    std::span<const float> data;
    Unknowns unknowns;
    std::vector<float> pixel_weight; ///< of all ranks
    Smoothness smoothness;
    Preconditioner preconditioner;
    double misfit = 0, product_tolerance = 0;
    Counts counts;
    SharedArray<double> gathered; ///< x of all ranks
    SharedArray<double> product;  ///< a gradient in the values, [value]

    // The operator's point.
    SharedArray<double> point; ///< x of all ranks
    bool has_point = false, has_derivatives = false;
    bool is_linear_point = false; ///< that of the linearisation, with derivatives
    double low_rank_tolerance = 0;
    SharedArray<double> linear; ///< x of the linearisation, of all ranks

    static std::vector<float> sum_pixel_weight(const mpi::Communicator& communicator,
                                               const Operator& model) {
        std::vector<float> sum = model.pixel_weight();
        communicator.allreduce(std::span<float>(sum), mpi::Reduction::sum);
        return sum;
    }
    /// The shares of all ranks.
    std::span<const double> whole(std::span<const double> own) {
        const double begin = seconds_now();
        gathered.resize(team, unknowns.size());
        team.gather(own, gathered.span());
        counts.exchange_seconds += seconds_now() - begin;
        return gathered;
    }
    /// This member's part of a copy of x; the team waits afterwards.
    void copy_share(std::span<const double> x, SharedArray<double>& to) const {
        const auto [begin, end] = team.share(unknowns.size());
        std::copy(x.begin() + static_cast<std::ptrdiff_t>(begin),
                  x.begin() + static_cast<std::ptrdiff_t>(end),
                  to.begin() + static_cast<std::ptrdiff_t>(begin));
    }
    std::span<double> product_room() {
        product.resize(team, model.value_count());
        return product.span();
    }
    /// Adds the teams' gradients in the values and takes this rank's own share in the unknowns.
    void reduce_product(std::span<double> own) {
        const double begin = seconds_now();
        team.sum(product.span());
        counts.exchange_seconds += seconds_now() - begin;
        unknowns.take_own(product, own);
    }
    bool is_at(std::span<const double> x) const;
    void set_point(std::span<const double> x, bool derivatives);
    void set_linear_point() {
        if (!has_point || !is_linear_point)
            set_point(linear, true);
        is_linear_point = true;
    }
    void make_low_rank() {
        if (low_rank_tolerance != product_tolerance)
            model.set_low_rank_tolerance(product_tolerance);
        low_rank_tolerance = product_tolerance;
    }
    /// The objective out of the ranks' parts of misfit and smoothness. Collective.
    double total(double own_misfit, double own_smoothness) {
        std::array<double, 2> sums{own_misfit, own_smoothness};
        communicator.allreduce(std::span<double>(sums), mpi::Reduction::sum);
        misfit = sums[0];
        return sums[0] + sums[1];
    }
    /// Diagonal of the globals, of all ranks. Collective.
    std::vector<double> global_information() const;
    /// Diagonal of the unknowns that belong to no voxel: (unknown, value). Collective.
    std::vector<std::pair<std::size_t, double>> scalar_diagonal();
};

bool Problem::Impl::is_at(std::span<const double> x) const {
    const mpi::BlockRange own = unknowns.own();
    const bool same = std::equal(x.begin() + static_cast<std::ptrdiff_t>(own.begin),
                                 x.begin() + static_cast<std::ptrdiff_t>(own.end),
                                 point.begin() + static_cast<std::ptrdiff_t>(own.begin));
    return communicator.allreduce(static_cast<std::int64_t>(same), mpi::Reduction::min) == 1;
}

void Problem::Impl::set_point(std::span<const double> x, bool derivatives) {
    if (has_point && (has_derivatives || !derivatives) && is_at(x))
        return;
    // The patterns' part is the same on all ranks: each makes some rows.
    std::span<const double> values;
    SharedArray<double> rows;
    communicator.collectively([&] {
        values = unknowns.values(x);
        rows.resize(team, model.table_size(values, derivatives));
        team.run_and_sync([&] {
            model.table_rows(values, derivatives, static_cast<std::size_t>(communicator.rank()),
                             static_cast<std::size_t>(communicator.size()), rows.span());
        });
    });
    if (!rows.empty())
        team.sum(rows.span());
    has_point = is_linear_point = false;
    communicator.collectively([&] { model.set_point(values, derivatives, rows); });
    communicator.collectively([&] {
        point.resize(team, unknowns.size());
        team.run_and_sync([&] { copy_share(x, point); });
    });
    has_point = true;
    has_derivatives = derivatives;
    low_rank_tolerance = 0;
}

std::vector<double> Problem::Impl::global_information() const {
    const auto& globals = unknowns.globals();
    const auto diagonal = model.global_diagonal();
    std::vector<double> result(globals.size(), 0.0);
    for (std::size_t g = 0; g < globals.size(); ++g)
        result[g] = static_cast<double>(diagonal[g]) * globals[g].unit * globals[g].unit;
    communicator.allreduce(std::span<double>(result), mpi::Reduction::sum);
    return result;
}

std::vector<std::pair<std::size_t, double>> Problem::Impl::scalar_diagonal() {
    std::vector<std::pair<std::size_t, double>> result;
    const auto of_globals = global_information();
    for (std::size_t g = 0; g < of_globals.size(); ++g)
        result.emplace_back(unknowns.first_global() + g, std::max(of_globals[g], 1e-12));
    for (std::size_t f = 0; f < unknowns.fields().size(); ++f) {
        if (unknowns.fields()[f].treatment != FieldTreatment::scaled)
            continue;
        const std::size_t unknown = unknowns.first(f);
        std::vector<double> unit(unknowns.own().size(), 0.0);
        if (unknowns.owns(unknown))
            unit[unknown - unknowns.own().begin] = 1;
        const auto all = whole(unit);
        communicator.collectively(
            [&] { model.gauss_newton(unknowns.direction(all), product_room()); });
        team.sum(product.span());
        result.emplace_back(unknown, std::max(unknowns.along_factor(product, f), 1e-12));
        team.barrier(); // all have read the product
    }
    return result;
}

Problem::Problem(const mpi::Communicator& communicator, Operator& model,
                 const tomography::ImageGrid& grid, const tomography::ScanGeometry& geometry,
                 std::span<const float> data, std::vector<Field> fields,
                 std::vector<Global> globals, std::span<const double> values,
                 const mpi::NodeTeam* team) {
    communicator.collectively([&] {
        if (data.size() != model.coefficient_count() || values.size() != model.value_count() ||
            globals.size() != model.global_count())
            throw Error("DLSR: wrong sizes of data, start values or global parameters");
        if (model.pixel_weight().size() != grid.size())
            throw Error("DLSR: the grid is not that of the operator");
        XRDCT_ASSERT(&model.team() == team || (!team && model.team().size() == 1),
                     "the operator has the problem's team");
        require_fields(model, fields, globals);
    });
    impl_ = std::make_unique<Impl>(communicator, team, model, grid, geometry, std::move(fields),
                                   std::move(globals), values);
    impl_->data = data;
}

Problem::~Problem() = default;

std::size_t Problem::size() const {
    return impl_->unknowns.size();
}
std::size_t Problem::local_size() const {
    return impl_->unknowns.own().size();
}
mpi::BlockRange Problem::own() const {
    return impl_->unknowns.own();
}
mpi::BlockRange Problem::field_unknowns(std::size_t field) const {
    const Unknowns& unknowns = impl_->unknowns;
    const bool is_field = field < unknowns.fields().size();
    return {unknowns.first(field), is_field ? unknowns.first(field + 1) : unknowns.size()};
}
const std::vector<Field>& Problem::fields() const {
    return impl_->unknowns.fields();
}
const Problem::Counts& Problem::counts() const {
    return impl_->counts;
}
double Problem::last_misfit() const {
    return impl_->misfit;
}

void Problem::set_smoothness(std::size_t field, double smoothness, double edge) {
    impl_->unknowns.set_smoothness(field, smoothness, edge);
}
void Problem::set_fineness(std::size_t field, double fineness) {
    impl_->unknowns.set_fineness(field, fineness);
}
void Problem::set_global_bounds(std::size_t global, double lower, double upper) {
    impl_->unknowns.set_global_bounds(global, lower, upper);
}
void Problem::set_product_tolerance(double tolerance) {
    impl_->product_tolerance = tolerance;
}
void Problem::set_data(std::span<const float> data) {
    if (data.size() != impl_->model.coefficient_count())
        throw Error("DLSR: wrong number of data");
    impl_->data = data;
}
void Problem::set_operator_point(std::span<const double> x, bool derivatives) {
    impl_->set_point(impl_->whole(x), derivatives);
}
void Problem::invalidate() {
    impl_->has_point = impl_->is_linear_point = false;
}
void Problem::release() {
    invalidate();
    impl_->model.release_columns();
}

std::vector<double> Problem::unknowns(std::span<const double> values) const {
    return impl_->unknowns.from_values(values);
}
std::vector<double> Problem::start() const {
    return impl_->unknowns.start();
}
std::span<const double> Problem::values(std::span<const double> x) const {
    return impl_->communicator.collectively(
        [&, all = impl_->whole(x)] { return impl_->unknowns.values(all); });
}
std::span<const double> Problem::whole(std::span<const double> own) const {
    return impl_->whole(own);
}
void Problem::bounds(std::span<double> lower, std::span<double> upper) const {
    impl_->unknowns.bounds(lower, upper);
}

std::vector<double> Problem::information() {
    Impl& impl = *impl_;
    impl.set_linear_point();
    impl.communicator.collectively([&] {
        impl.make_low_rank();
        auto diagonal = impl.product_room();
        impl.team.barrier(); // nobody reads any more what was there
        impl.team.run_and_sync([&] {
            std::vector<std::size_t> values;
            std::vector<float> gram;
            const auto [begin, end] = impl.team.share(impl.model.pixel_count());
            for (std::size_t i = begin; i < end; ++i) {
                std::size_t pixel = 0;
                impl.model.pixel_block(i, pixel, values, gram);
                for (std::size_t a = 0; a < values.size(); ++a)
                    diagonal[values[a]] = gram[a * values.size() + a] * impl.pixel_weight[pixel];
            }
        });
    });
    const Unknowns& unknowns = impl.unknowns;
    const std::size_t own = unknowns.own().begin;
    std::vector<double> result(unknowns.own().size(), 0.0);
    for (std::size_t f = 0; f < unknowns.fields().size(); ++f) {
        if (!unknowns.is_per_voxel(f))
            continue;
        const double unit = unknowns.fields()[f].unit;
        const auto [begin, end] = unknowns.own_voxels(f);
        for (std::size_t v = begin; v < end; ++v)
            result[unknowns.first(f) + v - own] =
                impl.product[unknowns.offset(f) + v] * unit * unit;
    }
    const auto globals = impl.global_information();
    for (std::size_t g = 0; g < globals.size(); ++g)
        if (unknowns.owns(unknowns.first_global() + g))
            result[unknowns.first_global() + g - own] = globals[g];
    return result;
}

std::vector<double> Problem::back_project(std::span<const float> rays) {
    Impl& impl = *impl_;
    impl.set_linear_point();
    impl.communicator.collectively([&] { impl.model.weighted_adjoint(rays, impl.product_room()); });
    std::vector<double> result(local_size());
    impl.reduce_product(result);
    return result;
}

std::vector<double> Problem::smoothness_product(std::span<const double> v) const {
    const auto all = impl_->whole(v);
    std::vector<double> result(local_size(), 0.0);
    impl_->smoothness.add_hessian_product(all, result);
    return result;
}

double Problem::roughness(std::size_t field, std::span<const double> x) const {
    const Unknowns& unknowns = impl_->unknowns;
    const auto all = impl_->whole(x);
    return impl_->communicator.collectively([&] {
        const auto voxels = static_cast<double>(std::max<std::size_t>(1, unknowns.voxels(field)));
        return impl_->smoothness.typical_difference(field, all) *
               static_cast<double>(impl_->smoothness.pair_count(field)) / voxels;
    });
}

double Problem::matching_smoothness(std::size_t field, double roughness, double information,
                                    double noise) const {
    constexpr double reach = 30;
    const double weight = fields().at(field).smoothness;
    const auto expected = impl_->preconditioner.expected_roughness(information, weight);
    const double of_prior = roughness / noise - expected.of_noise;
    if (of_prior * weight * reach <= expected.of_unit_prior)
        return weight * reach;
    return std::max(weight / reach, expected.of_unit_prior / of_prior);
}

std::vector<double> Problem::block_variances() const {
    return impl_->preconditioner.block_variances();
}

double Problem::objective(std::span<const double> x) {
    Impl& impl = *impl_;
    const auto all = impl.whole(x);
    const double begin = seconds_now();
    impl.set_point(all, false);
    const double own =
        impl.communicator.collectively([&] { return impl.model.objective(impl.data); });
    ++impl.counts.objectives;
    impl.counts.operator_seconds += seconds_now() - begin;
    return impl.total(own, impl.smoothness.cost(all, {}));
}

double Problem::objective_and_gradient(std::span<const double> x, std::span<double> gradient) {
    Impl& impl = *impl_;
    const auto all = impl.whole(x);
    const double begin = seconds_now();
    impl.set_point(all, true);
    const double own = impl.communicator.collectively(
        [&] { return impl.model.objective(impl.data, impl.product_room()); });
    ++impl.counts.gradients;
    impl.counts.operator_seconds += seconds_now() - begin;
    impl.reduce_product(gradient);
    return impl.total(own, impl.smoothness.cost(all, gradient));
}

void Problem::linearise(std::span<const double> x) {
    Impl& impl = *impl_;
    const auto all = impl.whole(x);
    impl.set_point(all, true);
    impl.communicator.collectively([&] {
        impl.linear.resize(impl.team, impl.unknowns.size());
        impl.smoothness.allocate_weights();
        impl.make_low_rank();
        impl.team.run_and_sync([&] {
            impl.copy_share(all, impl.linear);
            impl.smoothness.set_weights(all);
        });
    });
    impl.is_linear_point = true;
    const double begin = seconds_now();
    impl.preconditioner.update(impl.linear);
    impl.preconditioner.set_diagonal(impl.scalar_diagonal());
    impl.counts.precondition_seconds += seconds_now() - begin;
}

void Problem::retract(std::span<const double>, std::span<double> trial) {
    const ShapeCurvature& curvature = impl_->preconditioner.shape_curvature();
    if (curvature.has_any())
        curvature.retract(impl_->linear, impl_->whole(trial), trial);
}

void Problem::gauss_newton_product(std::span<const double> v, std::span<double> out) {
    Impl& impl = *impl_;
    const auto all = impl.whole(v);
    const double begin = seconds_now();
    impl.set_linear_point();
    impl.communicator.collectively([&] {
        impl.make_low_rank();
        impl.model.gauss_newton(impl.unknowns.direction(all), impl.product_room());
    });
    ++impl.counts.products;
    impl.counts.operator_seconds += seconds_now() - begin;
    impl.reduce_product(out);
    impl.smoothness.add_hessian_product(all, out);
}

void Problem::precondition(std::span<const double> v, std::span<double> out) {
    Impl& impl = *impl_;
    impl.preconditioner.apply(impl.whole(v), out, impl.counts.precondition_seconds);
    ++impl.counts.preconditions;
}

} // namespace xrdct::dlsr
