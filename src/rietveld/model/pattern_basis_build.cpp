// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "base/symmetric_eigen.hpp"
#include "base/units.hpp"
#include "crystal/march_dollase.hpp"
#include "rietveld/model/chebyshev.hpp"
#include "rietveld/model/pattern_basis_impl.hpp"
#include "rietveld/model/peak_profile.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace xrdct::rietveld {

namespace {

constexpr std::size_t component_multiple = 8;
/// Part of a line's factor (rms over ψ) that the functions of ψ may leave out, and the least
/// harmonics that count.
constexpr double ring_tolerance = 0.01, min_harmonic = 1e-3;
/// Lines weaker than this part of the strongest have no say in the functions of ψ.
constexpr double weakest_ring_line = 1e-3;
constexpr std::size_t min_nodes = 5, max_nodes = 15;

} // namespace

void lagrange(double t, std::size_t n, std::vector<double>& value, std::vector<double>& slope) {
    value.assign(n, 0.0);
    slope.assign(n, 0.0);
    std::vector<double> polynomial(n), derivative(n);
    for (std::size_t j = 0; j < n; ++j) {
        polynomial[j] = j == 0   ? 1
                        : j == 1 ? t
                                 : next_chebyshev(t, polynomial[j - 1], polynomial[j - 2]);
        derivative[j] = j == 0 ? 0
                        : j == 1
                            ? 1
                            : 2 * polynomial[j - 1] + 2 * t * derivative[j - 1] - derivative[j - 2];
    }
    for (std::size_t i = 0; i < n; ++i) {
        const double place = node_place(i, n);
        double at = 1, before = place;
        for (std::size_t j = 0; j < n; ++j) {
            const double here = j == 0 ? 1 : j == 1 ? place : next_chebyshev(place, before, at);
            if (j > 1) {
                at = before;
                before = here;
            }
            const double factor = (j == 0 ? 1.0 : 2.0) / static_cast<double>(n) * here;
            value[i] += factor * polynomial[j];
            slope[i] += factor * derivative[j];
        }
    }
}

void PatternBasis::Impl::evaluate(std::size_t part, PatternModel& work, double depth,
                                  std::span<double> y, std::size_t texture) const {
    const PatternPart& p = parts[part];
    if (p.kind == PatternPart::Kind::phase) {
        work.phases[p.index].depth.value = depth;
        work.phases[p.index].texture.harmonics = families[part].ring[texture];
        calculator.evaluate_phase(work, p.index, y);
    } else if (p.kind == PatternPart::Kind::background) {
        calculator.chebyshev(p.index, y);
    } else {
        std::fill(y.begin(), y.end(), 0.0);
        const SinglePeak& peak = work.peaks[p.index];
        const double ratio = options.distance > 0 ? 1 - depth / options.distance : 1;
        const double place = degrees(std::atan(ratio * std::tan(radians(peak.position.value))));
        ProfileBuffer profile;
        channel_averaged_profile(axis, place, peak.fwhm.value, peak.mixing.value,
                                 model.profile_range, false, profile);
        for (std::size_t k = 0; k < profile.size(); ++k)
            y[profile.first + k] = profile.value[k] / (ratio * ratio);
    }
    for (std::size_t k = 0; k < y.size(); ++k)
        y[k] = root[k] > 0 ? y[k] * root[k] : 0;
}

PatternModel PatternBasis::Impl::prepared(std::span<const double> values) const {
    PatternModel work = model;
    work.distance = options.distance > 0 ? options.distance : model.distance;
    for (auto& phase : work.phases)
        phase.scale.value = 1;
    for (std::size_t g = 0; g < globals.size(); ++g) {
        const auto& parameter = parts[globals[g].part].global[globals[g].index];
        set_shape_value(work, is_phase(globals[g].part), parts[globals[g].part].index, parameter,
                        std::clamp(values[g], parameter.lower, parameter.upper));
    }
    return work;
}

void PatternBasis::Impl::set_node(std::size_t part, PatternModel& work, std::size_t node,
                                  const std::vector<std::size_t>& counts) const {
    const PatternPart& p = parts[part];
    for (std::size_t d = 0; d < p.voxel.size(); ++d) {
        const double t = node_place(node % counts[d], counts[d]);
        node /= counts[d];
        set_shape_value(work, is_phase(part), p.index, p.voxel[d],
                        p.voxel[d].lower + 0.5 * (1 + t) * span_of(p.voxel[d]));
    }
}

std::vector<double> PatternBasis::Impl::layer_depths(bool ghosts) const {
    std::vector<double> depths;
    const auto n = static_cast<long>(options.layers);
    const long extra = ghosts && n > 1 ? 1 : 0;
    for (long l = -extra; l < n + extra; ++l)
        depths.push_back(
            n == 1 ? 0.0 : options.depth_first + static_cast<double>(l) * options.depth_spacing);
    return depths;
}

template <class At>
double PatternBasis::Impl::node_error(std::size_t count, At&& at) const {
    const std::size_t n = axis.size();
    std::vector<std::vector<double>> nodes;
    for (std::size_t i = 0; i < count; ++i)
        nodes.push_back(at(node_place(i, count)));
    double worst = 0;
    std::vector<double> value, slope;
    for (const double t :
         {-0.97, 0.5 * (node_place(count / 2, count) + node_place(count / 2 + 1, count)), 0.93}) {
        lagrange(t, count, value, slope);
        const auto exact = at(t);
        double error = 0, norm = 0;
        for (std::size_t k = 0; k < n; ++k) {
            double sum = 0;
            for (std::size_t i = 0; i < count; ++i)
                sum += value[i] * nodes[i][k];
            error += (sum - exact[k]) * (sum - exact[k]);
            norm += exact[k] * exact[k];
        }
        worst = std::max(worst, std::sqrt(error / std::max(norm, 1e-300)));
    }
    return worst;
}

/// More nodes until patterns between them come out within half the tolerance.
void PatternBasis::Impl::choose_nodes(std::size_t part, Family& family) const {
    const PatternPart& p = parts[part];
    const std::size_t n = axis.size();
    for (std::size_t d = 0; d < p.voxel.size(); ++d) {
        PatternModel work = prepared(start);
        const auto at = [&](double t) {
            set_shape_value(work, is_phase(part), p.index, p.voxel[d],
                            p.voxel[d].lower + 0.5 * (1 + t) * span_of(p.voxel[d]));
            std::vector<double> y(n);
            evaluate(part, work, 0, y);
            return y;
        };
        std::size_t count = min_nodes;
        for (; count < max_nodes; count += 2) {
            if (node_error(count, at) < 0.5 * options.tolerance)
                break;
        }
        family.nodes.push_back(count);
        family.node_count *= count;
    }
}

/// Factors [harmonic] of the strong lines, at the ends of a range of r as well; `harmonics` takes
/// the highest that counts.
std::vector<std::vector<double>> PatternBasis::Impl::ring_rows(std::size_t part,
                                                               std::size_t& harmonics) const {
    const PatternPart& p = parts[part];
    std::vector<double> coefficients{model.phases[p.index].texture.r};
    for (const auto& parameter : p.global)
        if (parameter.kind == ShapeParameter::Kind::march)
            for (const double share : {0.0, 0.5, 1.0})
                coefficients.push_back(parameter.lower + share * span_of(parameter));
    const auto& lines = calculator.reflections(p.index);
    double strongest = 0;
    for (const auto& line : lines)
        strongest = std::max(strongest, line.intensity);
    std::vector<std::vector<double>> rows;
    harmonics = 0;
    for (const double r : coefficients) {
        const auto all = calculator.ring_harmonics(p.index, r, crystal::march_terms);
        for (std::size_t i = 0; i < lines.size(); ++i) {
            if (lines[i].intensity < weakest_ring_line * strongest)
                continue;
            rows.push_back(all[i]);
            for (std::size_t h = 1; h < crystal::march_terms; ++h)
                if (std::abs(all[i][h]) > min_harmonic)
                    harmonics = std::max(harmonics, h);
        }
    }
    return rows;
}

/// The leading functions of ψ of the lines' factors, at the ends of a range of r as well.
void PatternBasis::Impl::choose_ring_functions(std::size_t part, Family& family) const {
    const PatternPart& p = parts[part];
    if (p.kind != PatternPart::Kind::phase || !model.phases[p.index].texture.any())
        return;
    std::size_t harmonics = 0;
    const auto rows = ring_rows(part, harmonics);
    if (harmonics == 0)
        return;
    Eigen::MatrixXd relative(static_cast<Eigen::Index>(rows.size()),
                             static_cast<Eigen::Index>(harmonics));
    for (std::size_t i = 0; i < rows.size(); ++i)
        for (std::size_t h = 1; h <= harmonics; ++h)
            relative(static_cast<Eigen::Index>(i), static_cast<Eigen::Index>(h - 1)) =
                rows[i][h] / rows[i][0];
    const SymmetricEigen eigen = symmetric_eigen(relative.transpose() * relative);
    for (Eigen::Index c = 0; c < relative.cols(); ++c) {
        if (std::sqrt(0.5 * relative.rowwise().squaredNorm().maxCoeff()) < ring_tolerance)
            break;
        const Eigen::VectorXd vector = eigen.vectors.col(relative.cols() - 1 - c);
        relative -= (relative * vector).eval() * vector.transpose();
        std::vector<double> function(harmonics + 1, 0.0);
        for (std::size_t h = 1; h <= harmonics; ++h)
            function[h] = vector(static_cast<Eigen::Index>(h - 1));
        family.ring.push_back(std::move(function));
    }
}

/// [texture function][depth][node] rows of whitened patterns.
Matrix PatternBasis::Impl::node_patterns(std::size_t part, const PatternModel& at,
                                         const std::vector<double>& depths, std::size_t first,
                                         std::size_t every) const {
    const Family& family = families[part];
    const std::size_t of_texture = depths.size() * family.node_count,
                      all = family.ring.size() * of_texture,
                      rows = first < all ? (all - first + every - 1) / every : 0;
    Matrix patterns(static_cast<Eigen::Index>(rows), static_cast<Eigen::Index>(axis.size()));
#pragma omp parallel
    {
        PatternModel work = at;
#pragma omp for schedule(dynamic, 16)
        for (std::size_t row = 0; row < rows; ++row) {
            const std::size_t i = first + row * every;
            set_node(part, work, i % family.node_count, family.nodes);
            evaluate(part, work, depths[i % of_texture / family.node_count],
                     {patterns.row(static_cast<Eigen::Index>(row)).data(), axis.size()},
                     i / of_texture);
        }
    }
    return patterns;
}

namespace {

/// Every part counts alike, whatever the units of its amount.
void add_to_gram(const Matrix& patterns, Matrix& gram) {
    const double norm = patterns.squaredNorm();
    if (norm > 0)
        gram.selfadjointView<Eigen::Lower>().rankUpdate(patterns.transpose(), 1 / norm);
}

} // namespace

/// The functions of the shape of a part: the leading left vectors of its patterns at the nodes.
void PatternBasis::Impl::choose_shape_functions(const Matrix& patterns, std::size_t depths,
                                                Family& family, Kept& squares) const {
    // [node][texture function, depth, channel]: the functions of the shape are the leading left
    // vectors.
    const auto nodes = static_cast<Eigen::Index>(family.node_count);
    Matrix overlap = Matrix::Zero(nodes, nodes);
    for (std::size_t d = 0; d < family.ring.size() * depths; ++d) {
        const auto block = patterns.middleRows(static_cast<Eigen::Index>(d) * nodes, nodes);
        overlap.noalias() += block * block.transpose();
    }
    const SymmetricEigen eigen = symmetric_eigen(overlap);
    const double total = eigen.values.sum();
    double rest = total;
    std::size_t rank = 0;
    while (rank < family.node_count && rest > options.tolerance * options.tolerance * total)
        rest -= eigen.values(nodes - 1 - static_cast<Eigen::Index>(rank++));
    rank = std::min(family.node_count,
                    (rank + component_multiple - 1) / component_multiple * component_multiple);
    family.components = rank;
    family.functions.resize(nodes, static_cast<Eigen::Index>(rank));
    family.combination.resize(static_cast<Eigen::Index>(rank), nodes);
    for (Eigen::Index i = 0; i < static_cast<Eigen::Index>(rank); ++i) {
        const auto vector = eigen.vectors.col(nodes - 1 - i);
        // Functions of the size of 1, so that coefficients are amounts.
        const double size = std::sqrt(static_cast<double>(nodes));
        family.functions.col(i) = size * vector;
        family.combination.row(i) = vector.transpose() / size;
        squares.kept += eigen.values(nodes - 1 - i);
    }
    squares.all += total;
}

/// Patterns at both ends of the global parameters belong to the part, too.
void PatternBasis::Impl::add_ends(std::size_t part, const std::vector<double>& depths,
                                  Matrix& gram) const {
    for (std::size_t g = 0; g < globals.size(); ++g) {
        if (globals[g].part != part)
            continue;
        const auto& parameter = parts[part].global[globals[g].index];
        for (const double end : {parameter.lower, parameter.upper}) {
            auto values = start;
            values[g] = end;
            std::vector<double> few;
            for (std::size_t d = 0; d < depths.size(); d += 3)
                few.push_back(depths[d]);
            add_to_gram(node_patterns(part, prepared(values), few), gram);
        }
    }
}

/// The leading vectors of all patterns, and the matrices to them and back.
void PatternBasis::Impl::choose_basis(const Matrix& gram) {
    const auto n = static_cast<Eigen::Index>(axis.size());
    const SymmetricEigen eigen = symmetric_eigen(gram);
    const double total = eigen.values.sum();
    if (!(total > 0))
        throw Error("pattern basis: no channel with a weight sees any of the phases");
    double rest = total;
    Eigen::Index m = 0;
    while (m < n && rest > options.tolerance * options.tolerance * total)
        rest -= eigen.values(n - 1 - m++);
    m = std::min<Eigen::Index>(n, (m + 7) / 8 * 8);
    basis = eigen.vectors.rightCols(m).rowwise().reverse().transpose();
    rest = total;
    for (Eigen::Index i = 0; i < m; ++i)
        rest -= eigen.values(n - 1 - i);
    basis_error = std::sqrt(std::max(0.0, rest / total));
    compression.resize(m, n);
    expansion.resize(m, n);
    for (Eigen::Index k = 0; k < n; ++k) {
        const double r = root[static_cast<std::size_t>(k)];
        compression.col(k) = (basis.col(k) * r).cast<float>();
        if (r > 0)
            expansion.col(k) = (basis.col(k) / r).cast<float>();
        else
            expansion.col(k).setConstant(std::numeric_limits<float>::quiet_NaN());
    }
}

void PatternBasis::Impl::build() {
    const auto n = static_cast<Eigen::Index>(axis.size());
    families.resize(parts.size());
    Matrix gram = Matrix::Zero(n, n);
    const PatternModel at_start = prepared(start);
    const auto depths = layer_depths(true);
    Kept squares;
    for (std::size_t part = 0; part < parts.size(); ++part) {
        Family& family = families[part];
        choose_nodes(part, family);
        choose_ring_functions(part, family);
        family.first_component = component_count;
        const Matrix patterns = node_patterns(part, at_start, depths);
        add_to_gram(patterns, gram);
        if (family.node_count > 1) {
            choose_shape_functions(patterns, depths.size(), family, squares);
        } else {
            family.functions = Eigen::MatrixXd::Ones(1, 1);
            family.combination = Eigen::MatrixXd::Ones(1, 1);
        }
        component_count += family.ring.size() * family.components;
        add_ends(part, depths, gram);
    }
    shape_error = squares.all > 0 ? std::sqrt(std::max(0.0, 1 - squares.kept / squares.all)) : 0;
    choose_basis(gram);
}

/// [layer][texture function, component][M] of one part.
FloatMatrix PatternBasis::Impl::part_table(std::size_t part, const double* rows) const {
    const Family& family = families[part];
    const auto nodes = static_cast<Eigen::Index>(family.node_count);
    const auto textures = static_cast<Eigen::Index>(family.ring.size());
    const auto components = static_cast<Eigen::Index>(family.components),
               all = textures * components;
    const bool ghosts = options.layers > 1;
    const auto depths = static_cast<Eigen::Index>(layer_depths(ghosts).size());
    const Eigen::Map<const Matrix> coefficients(rows, static_cast<Eigen::Index>(table_rows(part)),
                                                basis.rows());
    Matrix layers(depths * all, basis.rows());
    for (Eigen::Index c = 0; c < textures; ++c)
        for (Eigen::Index d = 0; d < depths; ++d)
            layers.middleRows(d * all + c * components, components) =
                family.combination * coefficients.middleRows((c * depths + d) * nodes, nodes);
    if (!ghosts)
        return layers.cast<float>();
    // A piecewise linear function through the values errs by h²/12 f″ in the mean; one with its
    // nodes shifted by that has no mean error.
    const auto inner = static_cast<Eigen::Index>(options.layers) * all;
    const Matrix table = layers.middleRows(all, inner) -
                         (layers.middleRows(2 * all, inner) - 2 * layers.middleRows(all, inner) +
                          layers.topRows(inner)) /
                             12;
    return table.cast<float>();
}

} // namespace xrdct::rietveld
