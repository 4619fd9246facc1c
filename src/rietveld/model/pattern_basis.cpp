// SPDX-License-Identifier: BSD-3-Clause
#include "rietveld/model/pattern_basis.hpp"

#include "base/assertions.hpp"
#include "base/error.hpp"
#include "rietveld/model/pattern_basis_impl.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>

namespace xrdct::rietveld {

PatternBasis::PatternBasis(const RadialAxis& axis, const PatternModel& model,
                           std::vector<PatternPart> parts, std::span<const double> channel_weight,
                           const PatternBasisOptions& options) {
    if (channel_weight.size() != axis.size())
        throw Error(fmt::format("pattern basis: {} channel weights for {} channels",
                                channel_weight.size(), axis.size()));
    if (options.layers < 1 || (options.layers > 1 && !(options.distance > 0)))
        throw Error("pattern basis: layers along the beam need a distance");
    if (parts.empty())
        throw Error("pattern basis: there is no part");
    PatternModel checked = model;
    for (auto& phase : checked.phases)
        phase.depth.value = 0;
    auto impl = std::make_unique<Impl>(axis, checked, std::move(parts), channel_weight, options);
    for (const double w : impl->weight) {
        if (!(w >= 0) || !std::isfinite(w))
            throw Error("pattern basis: a channel weight is negative or not finite");
        impl->root.push_back(std::sqrt(w));
    }
    for (std::size_t p = 0; p < impl->parts.size(); ++p) {
        const auto& part = impl->parts[p];
        if (part.voxel.size() > max_voxel_parameters)
            throw Error(fmt::format("pattern basis: {} shape parameters vary from voxel to voxel; "
                                    "at most {} of one phase may",
                                    part.voxel.size(), max_voxel_parameters));
        require_part(checked, part);
        for (std::size_t g = 0; g < part.global.size(); ++g) {
            impl->globals.push_back({p, g});
            impl->start.push_back(
                shape_value(checked, impl->is_phase(p), part.index, part.global[g]));
        }
    }
    impl->build();
    impl_ = std::move(impl);
}

PatternBasis::~PatternBasis() = default;
PatternBasis::PatternBasis(PatternBasis&&) noexcept = default;
PatternBasis& PatternBasis::operator=(PatternBasis&&) noexcept = default;

std::size_t PatternBasis::size() const {
    return static_cast<std::size_t>(impl_->basis.rows());
}
std::size_t PatternBasis::channel_count() const {
    return impl_->axis.size();
}
std::size_t PatternBasis::layer_count() const {
    return impl_->options.layers;
}
const std::vector<PatternPart>& PatternBasis::parts() const {
    return impl_->parts;
}
std::size_t PatternBasis::components(std::size_t part) const {
    return impl_->families[part].components;
}
const std::vector<std::vector<double>>& PatternBasis::ring_functions(std::size_t part) const {
    return impl_->families[part].ring;
}
std::size_t PatternBasis::first_component(std::size_t part) const {
    return impl_->families[part].first_component;
}
std::size_t PatternBasis::component_count() const {
    return impl_->component_count;
}
std::size_t PatternBasis::global_count() const {
    return impl_->globals.size();
}
const std::vector<double>& PatternBasis::start_globals() const {
    return impl_->start;
}
double PatternBasis::basis_error() const {
    return impl_->basis_error;
}
double PatternBasis::shape_error() const {
    return impl_->shape_error;
}
const std::vector<double>& PatternBasis::channel_weight() const {
    return impl_->weight;
}
PatternModel PatternBasis::model_at(std::span<const double> globals) const {
    PatternModel model = impl_->model;
    const PatternModel set = impl_->prepared(globals);
    for (std::size_t p = 0; p < model.phases.size(); ++p) {
        const auto scale = model.phases[p].scale;
        model.phases[p] = set.phases[p];
        model.phases[p].scale = scale;
    }
    model.peaks = set.peaks;
    return model;
}

void PatternBasis::shape_functions(std::size_t part, std::span<const double> eta,
                                   std::span<float> u, std::span<float> du) const {
    const auto& p = impl_->parts[part];
    const auto& family = impl_->families[part];
    const std::size_t nd = p.voxel.size(), components = family.components;
    if (eta.size() != nd || u.size() != components || (!du.empty() && du.size() != nd * components))
        throw Error("pattern basis: wrong sizes for the shape functions");
    if (nd == 0) {
        u[0] = 1;
        return;
    }
    thread_local std::array<std::vector<double>, max_voxel_parameters> value, slope;
    for (std::size_t d = 0; d < nd; ++d) {
        const double half = 0.5 * span_of(p.voxel[d]);
        const double t = std::clamp((eta[d] - p.voxel[d].lower) / half - 1, -1.0, 1.0);
        lagrange(t, family.nodes[d], value[d], slope[d]);
        for (double& s : slope[d])
            s /= half;
    }
    Eigen::VectorXd weights(static_cast<Eigen::Index>(family.node_count));
    const auto combine = [&](std::size_t derived, std::span<float> out) {
        for (std::size_t node = 0; node < family.node_count; ++node) {
            double product = 1;
            std::size_t rest = node;
            for (std::size_t d = 0; d < nd; ++d) {
                product *= (d == derived ? slope : value)[d][rest % family.nodes[d]];
                rest /= family.nodes[d];
            }
            weights(static_cast<Eigen::Index>(node)) = product;
        }
        const Eigen::VectorXd result = family.functions.transpose() * weights;
        for (std::size_t i = 0; i < components; ++i)
            out[i] = static_cast<float>(result(static_cast<Eigen::Index>(i)));
    };
    combine(nd, u);
    if (!du.empty())
        for (std::size_t d = 0; d < nd; ++d)
            combine(d, du.subspan(d * components, components));
}

std::size_t PatternBasis::table_size(bool values, bool derivatives) const {
    std::size_t rows = 0;
    for (std::size_t part = 0; part < impl_->parts.size() && values; ++part)
        rows += impl_->table_rows(part);
    for (std::size_t g = 0; g < impl_->globals.size() && derivatives; ++g)
        rows += 2 * impl_->table_rows(impl_->globals[g].part);
    return rows * size();
}

void PatternBasis::table_rows(std::span<const double> globals, bool values, bool derivatives,
                              std::size_t first, std::size_t every, std::span<double> rows) const {
    const Impl& impl = *impl_;
    if (globals.size() != impl.globals.size())
        throw Error("pattern basis: wrong number of global shape parameters");
    XRDCT_ASSERT(rows.size() == table_size(values, derivatives),
                 "pattern basis: wrong number of rows for the tables");
    const auto depths = impl.layer_depths(impl.options.layers > 1);
    const auto m = static_cast<Eigen::Index>(size());
    double* begin = rows.data();
    impl.for_tables(globals, values, derivatives, [&](std::size_t part, const PatternModel& at) {
        const Matrix patterns = impl.node_patterns(part, at, depths, first, every);
        Eigen::Map<Matrix, 0, Eigen::OuterStride<>>(
            begin + first * size(), patterns.rows(), m,
            Eigen::OuterStride<>(static_cast<Eigen::Index>(every) * m))
            .noalias() = patterns * impl.basis.transpose();
        begin += impl.table_rows(part) * size();
    });
}

PatternBasis::Tables PatternBasis::tables(std::span<const double> values, bool derivatives) const {
    std::vector<double> rows(table_size(true, derivatives));
    table_rows(values, true, derivatives, 0, 1, rows);
    return tables(values, derivatives, rows);
}

PatternBasis::Tables PatternBasis::tables(std::span<const double> values, bool derivatives,
                                          std::span<const double> rows) const {
    const Impl& impl = *impl_;
    if (values.size() != impl.globals.size())
        throw Error("pattern basis: wrong number of global shape parameters");
    Tables result;
    const std::size_t m = size(), layers = impl.options.layers;
    result.values.assign(layers * impl.component_count * m, 0.0F);
    std::size_t taken = 0;
    for (std::size_t part = 0; part < impl.parts.size(); ++part) {
        const auto& family = impl.families[part];
        XRDCT_ASSERT(taken + impl.table_rows(part) * m <= rows.size(),
                     "pattern basis: too few rows for the tables");
        const FloatMatrix table = impl.part_table(part, rows.data() + taken);
        taken += impl.table_rows(part) * m;
        const std::size_t each = family.ring.size() * family.components * m;
        for (std::size_t l = 0; l < layers; ++l)
            std::copy_n(table.data() + l * each, each,
                        result.values.data() +
                            (l * impl.component_count + family.first_component) * m);
    }
    for (const auto& global : impl.globals)
        result.part.push_back(global.part);
    if (derivatives)
        add_derivatives(values, result, rows.subspan(taken));
    return result;
}

void PatternBasis::add_derivatives(std::span<const double> values, Tables& tables) const {
    std::vector<double> rows(table_size(false, true));
    table_rows(values, false, true, 0, 1, rows);
    add_derivatives(values, tables, rows);
}

void PatternBasis::add_derivatives(std::span<const double> values, Tables& tables,
                                   std::span<const double> rows) const {
    const Impl& impl = *impl_;
    if (values.size() != impl.globals.size())
        throw Error("pattern basis: wrong number of global shape parameters");
    tables.derivatives.clear();
    std::size_t taken = 0;
    for (std::size_t g = 0; g < impl.globals.size(); ++g) {
        const std::size_t part = impl.globals[g].part, each = impl.table_rows(part) * size();
        XRDCT_ASSERT(taken + 2 * each <= rows.size(),
                     "pattern basis: too few rows for the derivatives");
        const FloatMatrix upper = impl.part_table(part, rows.data() + taken),
                          lower = impl.part_table(part, rows.data() + taken + each);
        taken += 2 * each;
        const FloatMatrix slope = (upper - lower) / static_cast<float>(2 * impl.difference(g));
        tables.derivatives.emplace_back(slope.data(), slope.data() + slope.size());
    }
}

void PatternBasis::compress(std::span<const float> pattern, std::span<float> coefficients) const {
    const auto n = static_cast<Eigen::Index>(channel_count());
    if (pattern.size() != channel_count() || coefficients.size() != size())
        throw Error("pattern basis: wrong sizes to compress");
    Eigen::VectorXf y = Eigen::Map<const Eigen::VectorXf>(pattern.data(), n);
    for (Eigen::Index k = 0; k < n; ++k)
        if (!(impl_->root[static_cast<std::size_t>(k)] > 0))
            y(k) = 0;
    Eigen::Map<Eigen::VectorXf>(coefficients.data(), impl_->basis.rows()).noalias() =
        impl_->compression * y;
}

void PatternBasis::expand(std::span<const float> coefficients, std::span<float> patterns) const {
    const std::size_t m = size(), channels = channel_count(), count = coefficients.size() / m;
    if (coefficients.size() != count * m || patterns.size() != count * channels)
        throw Error("pattern basis: wrong sizes to expand");
    using Rows = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    const auto index = [](std::size_t i) { return static_cast<Eigen::Index>(i); };
    Eigen::Map<Rows>(patterns.data(), index(count), index(channels)).noalias() =
        Eigen::Map<const Rows>(coefficients.data(), index(count), index(m)) * impl_->expansion;
}

} // namespace xrdct::rietveld
