// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/dlsr/operator_impl.hpp"

#include "base/error.hpp"

#include <algorithm>

#include <omp.h>

namespace xrdct::dlsr {

void Operator::Impl::predict_rotation(const RotationOperator& by, std::span<const float> q,
                                      const float* global, std::size_t i,
                                      const RotationBuffers& at) const {
    const std::size_t first = i * translations;
    float* rays = at.rays;
    if (!q.empty()) {
        by.project(i, q, at.buffer, at.reduced, rays);
        for (std::size_t j = 0; j < translations; ++j)
            Map(rays + j * m, 1, index(m)) *= transmission[first + j];
    } else {
        std::fill_n(rays, translations * m, 0.0F);
    }
    if (global)
        for (std::size_t g = 0; g < globals; ++g)
            if (global[g] != 0 && !columns[g].empty())
                Map(rays, 1, index(translations * m)) +=
                    global[g] * ConstMap(columns[g].data() + first * m, 1, index(translations * m));
}

void Operator::Impl::back_project_rotation(const RotationOperator& by, std::size_t i,
                                           const RotationBuffers& at, std::span<float> sum,
                                           std::span<double> global_sum) const {
    const std::size_t first = i * translations;
    float* rays = at.rays;
    for (std::size_t g = 0; g < globals; ++g)
        if (!columns[g].empty())
            global_sum[g] += static_cast<double>(
                ConstMap(columns[g].data() + first * m, 1, index(translations * m))
                    .cwiseProduct(ConstMap(rays, 1, index(translations * m)))
                    .sum());
    for (std::size_t j = 0; j < translations; ++j)
        Map(rays + j * m, 1, index(m)) *= transmission[first + j];
    by.back_project(i, rays, at.buffer, at.reduced, sum);
}

bool Operator::Impl::has_weight(std::size_t rotation) const {
    const auto first = weight.begin() + static_cast<std::ptrdiff_t>(rotation * translations);
    return std::any_of(first, first + static_cast<std::ptrdiff_t>(translations),
                       [](float w) { return w != 0; });
}

void Operator::Impl::add_up_threads(std::span<const AlignedFloats> partial,
                                    std::span<const std::vector<double>> partial_global,
                                    std::span<float> sum) const {
    for (const AlignedFloats& of_thread : partial)
        if (!of_thread.empty())
#pragma omp parallel for schedule(static)
            for (std::size_t i = 0; i < sum.size(); ++i)
                sum[i] += of_thread[i];
    for (std::size_t g = 0; g < globals; ++g) {
        double& total = global_sums[team.rank() * globals + g];
        total = 0;
        for (const auto& of_thread : partial_global)
            total += of_thread[g];
    }
}

template <class Each>
void Operator::Impl::sweep(const RotationOperator& by, std::span<const float> q,
                           const float* global, Each&& each, bool back, bool weighted) const {
    const auto threads = static_cast<std::size_t>(omp_get_max_threads());
    const std::size_t count = by.projector().coefficient_count();
    std::vector<AlignedFloats> partial(back ? threads : 0); // the first thread's is the member's
    std::vector<std::vector<double>> partial_global(threads, std::vector<double>(globals, 0.0));
    const std::span<float> member =
        back ? sums.span().subspan(team.rank() * sums_stride(), count) : std::span<float>();
#pragma omp parallel
    {
        const auto own = static_cast<std::size_t>(omp_get_thread_num());
        RotationBuffers at;
        at.buffer = thread_scratch(by.buffer_size() + by.reduced_size() + translations * m);
        at.reduced = at.buffer + by.buffer_size();
        at.rays = at.reduced + by.reduced_size();
        std::span<float> sum = member;
        if (back && own > 0) {
            partial[own].resize(count);
            sum = partial[own];
        }
        std::fill(sum.begin(), sum.end(), 0.0F);
#pragma omp for schedule(static)
        for (std::size_t i = 0; i < rotations; ++i) {
            if (weighted && !has_weight(i))
                continue;
            predict_rotation(by, q, global, i, at);
            each(i * translations, at.rays);
            if (back)
                back_project_rotation(by, i, at, sum, partial_global[own]);
        }
    }
    if (back)
        add_up_threads(partial, partial_global, member);
}

void Operator::Impl::make_room() const {
    assembled.resize(team, exact->projector().coefficient_count());
    sums.resize(team, team.size() * sums_stride());
    global_sums.resize(team, team.size() * globals);
}

template <class Number>
void Operator::Impl::collect(const RotationOperator& by, std::span<Number> direction) const {
    by.reduce(std::span<const float>(sums.span()), sums_stride(), direction);
    if (globals > 0)
        team.run_and_sync([&] {
            for (std::size_t g = 0; g < globals && team.rank() == 0; ++g) {
                double sum = 0;
                for (std::size_t member = 0; member < team.size(); ++member)
                    sum += global_sums[member * globals + g];
                direction[values + g] = static_cast<Number>(sum);
            }
        });
}

std::span<const float> Operator::Impl::assemble(const RotationOperator& by,
                                                std::span<const float> direction) const {
    make_room();
    const auto q = assembled.span().first(by.projector().coefficient_count());
    by.assemble(direction, q);
    return q;
}

void Operator::predict(std::span<float> rays) const {
    if (rays.size() != coefficient_count())
        throw Error("DLSR: wrong number of rays");
    impl_->sweep(
        *impl_->exact, impl_->coefficients, nullptr,
        [&](std::size_t first, const float* values) {
            std::copy_n(values, impl_->translations * impl_->m, rays.data() + first * impl_->m);
        },
        false);
}

std::vector<float> Operator::part_sums() const {
    const Impl& impl = *impl_;
    const RotationOperator& by = *impl.exact;
    const std::size_t parts = by.parts().size(), m = impl.m, packed = by.packed_size();
    std::vector<std::vector<RotationOperator::PackedComponent>> rows(parts);
    for (std::size_t p = 0; p < parts; ++p)
        rows[p] = by.packed_components(p);
    std::vector<float> result(impl.rotations * parts * m, 0.0F);
#pragma omp parallel for schedule(static)
    for (std::size_t i = 0; i < impl.rotations; ++i) {
        float* buffer = impl.thread_scratch(by.buffer_size() + by.reduced_size() + packed);
        float* reduced = buffer + by.buffer_size();
        float* sum = reduced + by.reduced_size();
        by.project_packed(i, impl.coefficients, buffer, reduced);
        std::fill_n(sum, packed, 0.0F);
        for (std::size_t j = 0; j < impl.translations; ++j) {
            const std::size_t ray = i * impl.translations + j;
            if (impl.weight[ray] > 0)
                for (std::size_t k = 0; k < packed; ++k)
                    sum[k] += impl.transmission[ray] * reduced[j * packed + k];
        }
        for (std::size_t p = 0; p < parts; ++p)
            for (const auto& row : rows[p])
                Map(result.data() + (i * parts + p) * m, 1, index(m)) +=
                    sum[row.place] * ConstMap(by.table().data() + row.place * m, 1, index(m));
    }
    return result;
}

namespace {
double total(const std::vector<double>& misfits) {
    double sum = 0;
    for (const double misfit : misfits)
        sum += misfit;
    return sum;
}
} // namespace

double Operator::objective(std::span<const float> data, std::span<float> gradient) const {
    return total(misfits(data, gradient));
}
double Operator::objective(std::span<const float> data, std::span<double> gradient) const {
    return total(misfits(data, gradient));
}
double Operator::objective(std::span<const float> data) const {
    return total(rotation_misfits(data));
}

std::vector<double> Operator::rotation_misfits(std::span<const float> data) const {
    return misfits(data, std::span<float>());
}

template <class Number>
std::vector<double> Operator::misfits(std::span<const float> data,
                                      std::span<Number> gradient) const {
    const Impl& impl = *impl_;
    if (data.size() != coefficient_count() ||
        (!gradient.empty() && gradient.size() != value_count()))
        throw Error("DLSR: wrong sizes for the objective");
    std::vector<double> sums(impl.rotations, 0.0);
    const auto work = [&] {
        impl.sweep(
            *impl.exact, impl.coefficients, nullptr,
            [&](std::size_t first, float* rays) {
                double sum = 0;
                for (std::size_t j = 0; j < impl.translations; ++j) {
                    const float weight = impl.weight[first + j];
                    float* r = rays + j * impl.m;
                    const float* d = data.data() + (first + j) * impl.m;
                    if (weight == 0) {
                        std::fill_n(r, impl.m, 0.0F);
                        continue;
                    }
                    float square = 0;
                    for (std::size_t i = 0; i < impl.m; ++i) {
                        const float difference = r[i] - d[i];
                        square += difference * difference;
                        r[i] = weight * difference;
                    }
                    sum += static_cast<double>(weight) * square;
                }
                sums[first / impl.translations] = 0.5 * sum;
            },
            !gradient.empty(), true);
    };
    if (gradient.empty()) {
        work();
        return sums;
    }
    impl.make_room();
    impl.team.run_and_sync(work);
    impl.collect(*impl.exact, gradient);
    return sums;
}

void Operator::jacobian(std::span<const float> direction, std::span<float> rays) const {
    const Impl& impl = *impl_;
    if (direction.size() != value_count() || rays.size() != coefficient_count())
        throw Error("DLSR: wrong sizes for the Jacobian");
    const auto q = impl.assemble(*impl.exact, direction);
    impl.team.run_and_sync([&] {
        impl.sweep(
            *impl.exact, q, direction.data() + impl.values,
            [&](std::size_t first, const float* values) {
                std::copy_n(values, impl.translations * impl.m, rays.data() + first * impl.m);
            },
            false);
    });
}

void Operator::adjoint(std::span<const float> rays, std::span<float> direction) const {
    back(rays, direction, false);
}
void Operator::weighted_adjoint(std::span<const float> rays, std::span<float> direction) const {
    back(rays, direction, true);
}
void Operator::weighted_adjoint(std::span<const float> rays, std::span<double> direction) const {
    back(rays, direction, true);
}
template <class Number>
void Operator::back(std::span<const float> rays, std::span<Number> direction, bool weighted) const {
    const Impl& impl = *impl_;
    if (direction.size() != value_count() || rays.size() != coefficient_count())
        throw Error("DLSR: wrong sizes for the adjoint");
    impl.make_room();
    impl.team.run_and_sync([&] {
        impl.sweep(
            *impl.exact, {}, nullptr,
            [&](std::size_t first, float* values) {
                for (std::size_t j = 0; j < impl.translations; ++j) {
                    const float weight = weighted ? impl.weight[first + j] : 1;
                    const float* from = rays.data() + (first + j) * impl.m;
                    for (std::size_t i = 0; i < impl.m; ++i)
                        values[j * impl.m + i] = weight * from[i];
                }
            },
            true);
    });
    impl.collect(*impl.exact, direction);
}

void Operator::gauss_newton(std::span<const float> direction, std::span<float> out) const {
    normal_product(direction, out);
}
void Operator::gauss_newton(std::span<const float> direction, std::span<double> out) const {
    normal_product(direction, out);
}
template <class Number>
void Operator::normal_product(std::span<const float> direction, std::span<Number> out) const {
    const Impl& impl = *impl_;
    if (direction.size() != value_count() || out.size() != value_count())
        throw Error("DLSR: wrong sizes for the Gauss-Newton product");
    const RotationOperator& by = impl.low_rank ? *impl.low_rank : *impl.exact;
    const auto q = impl.assemble(by, direction);
    impl.team.run_and_sync([&] {
        impl.sweep(
            by, q, direction.data() + impl.values,
            [&](std::size_t first, float* rays) {
                for (std::size_t j = 0; j < impl.translations; ++j) {
                    const float weight = impl.weight[first + j];
                    for (std::size_t i = 0; i < impl.m; ++i)
                        rays[j * impl.m + i] *= weight;
                }
            },
            true, true);
    });
    impl.collect(by, out);
}

} // namespace xrdct::dlsr
