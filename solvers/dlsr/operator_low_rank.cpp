#include "solvers/dlsr/operator_impl.hpp"

#include <algorithm>

#include <Eigen/Dense>

namespace xrdct::dlsr {

Operator::Impl::Combinations Operator::Impl::combine(const RotationOperator::Part& part,
                                                     double tolerance) const {
    const Eigen::Index count = index(part.lanes);
    const std::size_t stride = (1 + part.shapes) * part.lanes, n = part.pixels.size();
    Eigen::MatrixXd gram(count, count);
    for (Eigen::Index a = 0; a < count; ++a)
        for (Eigen::Index b = 0; b < count; ++b)
            gram(a, b) = static_cast<double>(
                lane_gram[(part.slot + static_cast<std::size_t>(a)) * lanes->slots() + part.slot +
                          static_cast<std::size_t>(b)]);
    const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> metric(gram);
    const double least = 1e-12 * metric.eigenvalues()(count - 1);
    const Eigen::VectorXd root = metric.eigenvalues().cwiseMax(least).cwiseSqrt();
    const Eigen::MatrixXd to_metric = root.asDiagonal() * metric.eigenvectors().transpose();
    Eigen::MatrixXd sum = Eigen::MatrixXd::Zero(count, count);
    double kinds = 0;
    for (std::size_t d = 0; d <= part.shapes && n > 0; ++d) {
        const Eigen::Map<const Matrix, 0, Eigen::OuterStride<>> x(
            part.functions.data() + d * part.lanes, index(n), count,
            Eigen::OuterStride<>(index(stride)));
        const Eigen::MatrixXd all =
            to_metric * (x.transpose() * x).cast<double>() * to_metric.transpose();
        if (all.trace() > 0) {
            sum += all / all.trace();
            kinds += 1;
        }
    }
    const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> eigen(sum);
    Eigen::Index kept = 0;
    for (double rest = kinds; kept < count && rest > tolerance * tolerance; ++kept)
        rest -= eigen.eigenvalues()(count - 1 - kept);
    // Whole blocks are projected anyway.
    const Eigen::Index block = index(RotationOperator::block);
    kept = std::min(count, std::max<Eigen::Index>(1, (kept + block - 1) / block) * block);
    const Eigen::MatrixXd leading = eigen.eigenvectors().rightCols(kept).rowwise().reverse();
    Combinations result;
    result.to = leading.transpose() * to_metric;
    result.from = metric.eigenvectors() * root.cwiseInverse().asDiagonal() * leading;
    return result;
}

void Operator::Impl::make_condensed_operator(std::span<const Combinations> combinations) {
    const auto& parts = lanes->parts();
    std::vector<std::span<const std::size_t>> pixels;
    std::vector<std::size_t> counts, shapes;
    std::vector<RotationOperator::RingFunctions> rings;
    for (std::size_t p = 0; p < parts.size(); ++p) {
        const bool family = parts[p].lanes > RotationOperator::block;
        pixels.push_back(parts[p].pixels.span());
        counts.push_back(family ? static_cast<std::size_t>(combinations[p].to.rows())
                                : parts[p].lanes);
        shapes.push_back(parts[p].shapes);
        rings.push_back(parts[p].ring);
    }
    const auto [moved, stretched] = geometry_at(geometry_values);
    condensed = std::make_unique<RotationOperator>(team, moved, grid, stretched, pixels, counts,
                                                   shapes, rings, layer_centre);
    condensed->set_depth_factors(depth_factors);
}

void Operator::Impl::condense_functions(std::size_t p, const Combinations& combinations) {
    const auto& whole = lanes->parts()[p];
    auto& part = condensed->parts()[p];
    if (combinations.to.size() == 0) {
        part.functions = whole.functions;
        return;
    }
    const std::size_t n = part.pixels.size(), own = (1 + part.shapes) * part.lanes,
                      all = (1 + part.shapes) * whole.lanes;
    const Matrix to = combinations.to.transpose().cast<float>();
    part.functions.resize(team, n * own);
    team.run_and_sync([&] {
        const auto [first, last] = team.share(n);
        for (std::size_t d = 0; d <= part.shapes; ++d)
            Eigen::Map<Matrix, 0, Eigen::OuterStride<>>(
                part.functions.data() + first * own + d * part.lanes, index(last - first),
                index(part.lanes), Eigen::OuterStride<>(index(own)))
                .noalias() =
                Eigen::Map<const Matrix, 0, Eigen::OuterStride<>>(
                    whole.functions.data() + first * all + d * whole.lanes, index(last - first),
                    index(whole.lanes), Eigen::OuterStride<>(index(all))) *
                to;
    });
}

void Operator::Impl::condense_patterns(std::size_t p, const Combinations& combinations,
                                       const Matrix& full, Matrix& fewer) const {
    const auto& whole = lanes->parts()[p];
    const auto& part = condensed->parts()[p];
    if (combinations.to.size() == 0) {
        fewer.middleCols(index(part.slot * m), index(part.all_lanes() * m)) =
            full.middleCols(index(whole.slot * m), index(part.all_lanes() * m));
        return;
    }
    const Matrix from = combinations.from.transpose().cast<float>();
    for (std::size_t l = 0; l < layers; ++l)
        for (std::size_t f = 0; f < part.ring.size(); ++f)
            Map(fewer.row(index(l)).data() + (part.slot + f * part.lanes) * m, index(part.lanes),
                index(m))
                .noalias() =
                from * ConstMap(full.row(index(l)).data() + (whole.slot + f * whole.lanes) * m,
                                index(whole.lanes), index(m));
}

void Operator::Impl::condense(double tolerance) {
    condensed.reset();
    const auto& parts = lanes->parts();
    std::vector<Combinations> combinations(parts.size());
    team.run_and_sync([&] {
        for (std::size_t p = 0; p < parts.size(); ++p)
            if (parts[p].lanes > RotationOperator::block)
                combinations[p] = combine(parts[p], tolerance);
    });
    make_condensed_operator(combinations);
    const Matrix full = patterns();
    Matrix fewer = Matrix::Zero(index(layers), index(condensed->slots() * m));
    for (std::size_t p = 0; p < parts.size(); ++p) {
        condense_functions(p, combinations[p]);
        condense_patterns(p, combinations[p], full, fewer);
    }
    condensed->set_tables(fewer, m, tolerance);
    make_gram(*condensed, fewer.row(index(layers / 2)).data(), condensed_gram);
    condensed_size = condensed->packed_size();
}

void Operator::condense(double tolerance) {
    impl_->condensed.reset();
    if (tolerance > 0)
        impl_->condense(tolerance);
}

std::size_t Operator::condensed_size() const {
    return impl_->condensed_size;
}

} // namespace xrdct::dlsr
