// SPDX-License-Identifier: BSD-3-Clause
#include "base/symmetric_eigen.hpp"
#include "solvers/dlsr/operator_impl.hpp"

#include <algorithm>

#include <Eigen/Core>

namespace xrdct::dlsr {

Operator::Impl::Combinations Operator::Impl::combine(const RotationOperator::Part& part,
                                                     double tolerance) const {
    const Eigen::Index count = index(part.components);
    const std::size_t stride = (1 + part.shapes) * part.components, n = part.pixels.size();
    Eigen::MatrixXd gram(count, count);
    for (Eigen::Index a = 0; a < count; ++a)
        for (Eigen::Index b = 0; b < count; ++b)
            gram(a, b) = static_cast<double>(
                component_gram[(part.slot + static_cast<std::size_t>(a)) * exact->slots() +
                               part.slot + static_cast<std::size_t>(b)]);
    const SymmetricEigen metric = symmetric_eigen(gram);
    const double least = 1e-12 * metric.values(count - 1);
    const Eigen::VectorXd root = metric.values.cwiseMax(least).cwiseSqrt();
    const Eigen::MatrixXd to_metric = root.asDiagonal() * metric.vectors.transpose();
    Eigen::MatrixXd sum = Eigen::MatrixXd::Zero(count, count);
    double kinds = 0;
    for (std::size_t d = 0; d <= part.shapes && n > 0; ++d) {
        const Eigen::Map<const Matrix, 0, Eigen::OuterStride<>> x(
            part.functions.data() + d * part.components, index(n), count,
            Eigen::OuterStride<>(index(stride)));
        const Eigen::MatrixXd all =
            to_metric * (x.transpose() * x).cast<double>() * to_metric.transpose();
        if (all.trace() > 0) {
            sum += all / all.trace();
            kinds += 1;
        }
    }
    const SymmetricEigen eigen = symmetric_eigen(sum);
    Eigen::Index kept = 0;
    for (double rest = kinds; kept < count && rest > tolerance * tolerance; ++kept)
        rest -= eigen.values(count - 1 - kept);
    // Whole blocks are projected anyway.
    const Eigen::Index block = index(RotationOperator::block);
    kept = std::min(count, std::max<Eigen::Index>(1, (kept + block - 1) / block) * block);
    const Eigen::MatrixXd leading = eigen.vectors.rightCols(kept).rowwise().reverse();
    Combinations result;
    result.to = leading.transpose() * to_metric;
    result.from = metric.vectors * root.cwiseInverse().asDiagonal() * leading;
    return result;
}

void Operator::Impl::make_low_rank_operator(std::span<const Combinations> combinations) {
    const auto& parts = exact->parts();
    std::vector<std::span<const std::size_t>> pixels;
    std::vector<std::size_t> counts, shapes;
    std::vector<RotationOperator::TextureFunctions> texture;
    for (std::size_t p = 0; p < parts.size(); ++p) {
        const bool family = parts[p].components > RotationOperator::block;
        pixels.push_back(parts[p].pixels.span());
        counts.push_back(family ? static_cast<std::size_t>(combinations[p].to.rows())
                                : parts[p].components);
        shapes.push_back(parts[p].shapes);
        texture.push_back(parts[p].texture);
    }
    const auto [moved, stretched] = geometry_at(geometry_values);
    low_rank = std::make_unique<RotationOperator>(team, moved, grid, stretched, pixels, counts,
                                                  shapes, texture, layer_centre);
    low_rank->set_depth_factors(depth_factors);
}

void Operator::Impl::make_low_rank_functions(std::size_t p, const Combinations& combinations) {
    const auto& whole = exact->parts()[p];
    auto& part = low_rank->parts()[p];
    if (combinations.to.size() == 0) {
        part.functions = whole.functions;
        return;
    }
    const std::size_t n = part.pixels.size(), own = (1 + part.shapes) * part.components,
                      all = (1 + part.shapes) * whole.components;
    const Matrix to = combinations.to.transpose().cast<float>();
    part.functions.resize(team, n * own);
    team.run_and_sync([&] {
        const auto [first, last] = team.share(n);
        for (std::size_t d = 0; d <= part.shapes; ++d)
            Eigen::Map<Matrix, 0, Eigen::OuterStride<>>(
                part.functions.data() + first * own + d * part.components, index(last - first),
                index(part.components), Eigen::OuterStride<>(index(own)))
                .noalias() = Eigen::Map<const Matrix, 0, Eigen::OuterStride<>>(
                                 whole.functions.data() + first * all + d * whole.components,
                                 index(last - first), index(whole.components),
                                 Eigen::OuterStride<>(index(all))) *
                             to;
    });
}

void Operator::Impl::make_low_rank_patterns(std::size_t p, const Combinations& combinations,
                                            const Matrix& full, Matrix& fewer) const {
    const auto& whole = exact->parts()[p];
    const auto& part = low_rank->parts()[p];
    if (combinations.to.size() == 0) {
        fewer.middleCols(index(part.slot * m), index(part.all_components() * m)) =
            full.middleCols(index(whole.slot * m), index(part.all_components() * m));
        return;
    }
    const Matrix from = combinations.from.transpose().cast<float>();
    for (std::size_t l = 0; l < layers; ++l)
        for (std::size_t f = 0; f < part.texture.size(); ++f)
            Map(fewer.row(index(l)).data() + (part.slot + f * part.components) * m,
                index(part.components), index(m))
                .noalias() =
                from * ConstMap(full.row(index(l)).data() + (whole.slot + f * whole.components) * m,
                                index(whole.components), index(m));
}

void Operator::Impl::make_low_rank(double tolerance) {
    low_rank.reset();
    const auto& parts = exact->parts();
    std::vector<Combinations> combinations(parts.size());
    team.run_and_sync([&] {
        for (std::size_t p = 0; p < parts.size(); ++p)
            if (parts[p].components > RotationOperator::block)
                combinations[p] = combine(parts[p], tolerance);
    });
    make_low_rank_operator(combinations);
    const Matrix full = patterns();
    Matrix fewer = Matrix::Zero(index(layers), index(low_rank->slots() * m));
    for (std::size_t p = 0; p < parts.size(); ++p) {
        make_low_rank_functions(p, combinations[p]);
        make_low_rank_patterns(p, combinations[p], full, fewer);
    }
    low_rank->set_tables(fewer, m, tolerance);
    make_gram(*low_rank, fewer.row(index(layers / 2)).data(), low_rank_gram);
    low_rank_size = low_rank->packed_size();
}

void Operator::set_low_rank_tolerance(double tolerance) {
    impl_->low_rank.reset();
    if (tolerance > 0)
        impl_->make_low_rank(tolerance);
}

std::size_t Operator::low_rank_size() const {
    return impl_->low_rank_size;
}

} // namespace xrdct::dlsr
