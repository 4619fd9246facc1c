// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/dlsr/operator_impl.hpp"

#include "base/error.hpp"

#include <algorithm>
#include <array>

namespace xrdct::dlsr {

namespace {

/// Part of the patterns' change with depth that the depth functions may leave out.
constexpr double depth_tolerance = 1e-3;

} // namespace

void Operator::Impl::set_voxels(std::span<const double> at) {
    for (std::size_t p = 0; p < exact->parts().size(); ++p) {
        auto& part = exact->parts()[p];
        const std::size_t n = part.pixels.size();
        const auto [first, last] = team.share(n);
        const double* amounts = at.data() + part.offset;
        if (part.components == 1 && part.shapes == 0) {
            for (std::size_t v = first; v < last; ++v)
                coefficients[part.coefficient[v]] = static_cast<float>(amounts[v]);
            continue;
        }
        const std::size_t stride = (1 + part.shapes) * part.components;
#pragma omp parallel for schedule(static)
        for (std::size_t v = first; v < last; ++v) {
            std::array<double, 3> eta{};
            for (std::size_t d = 0; d < part.shapes; ++d)
                eta[d] = amounts[(1 + d) * n + v];
            float* u = part.functions.data() + v * stride;
            basis->shape_functions(p, {eta.data(), part.shapes}, {u, part.components},
                                   {u + part.components, part.shapes * part.components});
            const auto amount = static_cast<float>(amounts[v]);
            part.for_blocks(v, [&](std::size_t place, std::size_t begin, std::size_t end) {
                for (std::size_t i = begin; i < end; ++i)
                    coefficients[place + i - begin] = amount * u[i];
            });
            for (std::size_t i = part.components; i < stride; ++i)
                u[i] *= amount;
        }
    }
}

Matrix Operator::Impl::patterns() const {
    Matrix full = Matrix::Zero(index(layers), index(exact->slots() * m));
    for (std::size_t p = 0; p < exact->parts().size(); ++p)
        for (std::size_t l = 0; l < layers; ++l) {
            const auto& part = exact->parts()[p];
            std::copy_n(
                tables.values.data() +
                    (source_layer(l) * basis->component_count() + basis->first_component(p)) * m,
                part.all_components() * m, full.row(index(l)).data() + part.slot * m);
        }
    return full;
}

void Operator::Impl::make_gram(const RotationOperator& of, const float* patterns,
                               std::vector<float>& gram) const {
    const std::size_t slots = of.slots();
    gram.resize(slots * slots);
    const ConstMap rows(patterns, index(slots), index(m));
    Map all(gram.data(), index(slots), index(slots));
    all.noalias() = rows * rows.transpose();
    const auto& parts = of.parts();
    for (std::size_t p = 0; p < parts.size(); ++p)
        for (std::size_t o = 0; o < parts.size(); ++o)
            for (std::size_t f = 1; f < parts[p].texture.size(); ++f)
                for (std::size_t g = 1; g < parts[o].texture.size(); ++g) {
                    const auto mean = static_cast<float>(of.texture_product(p, f, o, g));
                    const Eigen::Index own = index(parts[p].components),
                                       other = index(parts[o].components);
                    all.block(index(parts[p].slot), index(parts[o].slot), own, other) +=
                        mean * all.block(index(parts[p].slot + f * parts[p].components),
                                         index(parts[o].slot + g * parts[o].components), own,
                                         other);
                }
}

void Operator::Impl::arrange_tables() {
    const Matrix full = patterns();
    exact->set_tables(full, m, depth_tolerance);
    make_gram(*exact, full.row(index(layers / 2)).data(), component_gram);
}

std::size_t Operator::table_size(std::span<const double> values, bool derivatives) const {
    const Impl& impl = *impl_;
    if (values.size() != value_count())
        throw Error("DLSR: wrong number of values");
    const bool made = impl.has_tables(values.subspan(impl.values, impl.shape_globals));
    return impl.basis->table_size(!made, derivatives && !(made && impl.has_derivatives));
}

void Operator::table_rows(std::span<const double> values, bool derivatives, std::size_t first,
                          std::size_t every, std::span<double> rows) const {
    const Impl& impl = *impl_;
    if (table_size(values, derivatives) == 0)
        return;
    const auto globals = values.subspan(impl.values, impl.shape_globals);
    const bool made = impl.has_tables(globals);
    impl.basis->table_rows(globals, !made, derivatives, first, every, rows);
}

std::size_t Operator::pixel_count() const {
    return impl_->exact->projector().voxels().size();
}

void Operator::pixel_values(std::size_t i, std::size_t& pixel,
                            std::vector<std::size_t>& values) const {
    const Impl& impl = *impl_;
    pixel = impl.exact->projector().voxels()[i].pixel;
    values.clear();
    for (std::size_t k = impl.first_member[i]; k < impl.first_member[i + 1]; ++k) {
        const auto [p, v] = impl.members[k];
        const auto& part = impl.exact->parts()[p];
        for (std::size_t d = 0; d <= part.shapes; ++d)
            values.push_back(part.offset + d * part.pixels.size() + v);
    }
}

void Operator::pixel_block(std::size_t i, std::size_t& pixel, std::vector<std::size_t>& values,
                           std::vector<float>& gram) const {
    const Impl& impl = *impl_;
    // Low-rank components say the same of a voxel within the tolerance, with less work.
    const RotationOperator& by = impl.low_rank ? *impl.low_rank : *impl.exact;
    const std::vector<float>& component_gram =
        impl.low_rank ? impl.low_rank_gram : impl.component_gram;
    pixel_values(i, pixel, values);
    // Every value's pattern as components of the tables: first slot, number, factors.
    struct Column {
        std::size_t slot, components;
        const float* factor;
    };
    static const float one = 1;
    thread_local std::vector<Column> columns;
    columns.clear();
    for (std::size_t k = impl.first_member[i]; k < impl.first_member[i + 1]; ++k) {
        const auto [p, v] = impl.members[k];
        const auto& part = by.parts()[p];
        for (std::size_t d = 0; d <= part.shapes; ++d)
            columns.push_back(
                {part.slot, part.components,
                 part.functions.empty()
                     ? &one
                     : part.functions.data() + (v * (1 + part.shapes) + d) * part.components});
    }
    const std::size_t count = values.size();
    gram.assign(count * count, 0.0F);
    for (std::size_t a = 0; a < count; ++a)
        for (std::size_t b = 0; b <= a; ++b) {
            float sum = 0;
            for (std::size_t k = 0; k < columns[a].components; ++k) {
                const float* row =
                    component_gram.data() + (columns[a].slot + k) * by.slots() + columns[b].slot;
                float inner = 0;
                for (std::size_t l = 0; l < columns[b].components; ++l)
                    inner += row[l] * columns[b].factor[l];
                sum += inner * columns[a].factor[k];
            }
            gram[a * count + b] = gram[b * count + a] = sum;
        }
}

} // namespace xrdct::dlsr
