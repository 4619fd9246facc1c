#include "rietveld/model/pattern_basis.hpp"

#include "base/error.hpp"
#include "base/units.hpp"
#include "crystal/march_dollase.hpp"
#include "rietveld/model/peak_profile.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include <Eigen/Dense>
#include <fmt/format.h>

namespace xrdct::rietveld {

namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using FloatMatrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

constexpr std::size_t max_voxel_parameters = 3;
constexpr std::size_t lane_multiple = 8;
/// Part of a line's factor (rms over ψ) that the functions of ψ may leave out, and the least
/// harmonics that count.
constexpr double ring_tolerance = 0.01, min_harmonic = 1e-3;
/// Lines weaker than this part of the strongest have no say in the functions of ψ.
constexpr double weakest_ring_line = 1e-3;
constexpr std::size_t min_nodes = 5, most_nodes = 15;

/// Chebyshev nodes of the first kind on [−1, 1] and the polynomials' values.
double node_place(std::size_t i, std::size_t n) {
    return -std::cos(std::numbers::pi * (static_cast<double>(i) + 0.5) / static_cast<double>(n));
}

/// Lagrange polynomials of the nodes at t and their derivatives, through Chebyshev sums.
void lagrange(double t, std::size_t n, std::vector<double>& value, std::vector<double>& slope) {
    value.assign(n, 0.0);
    slope.assign(n, 0.0);
    std::vector<double> polynomial(n), derivative(n);
    for (std::size_t j = 0; j < n; ++j) {
        polynomial[j] = j == 0 ? 1 : j == 1 ? t : 2 * t * polynomial[j - 1] - polynomial[j - 2];
        derivative[j] = j == 0 ? 0
                        : j == 1
                            ? 1
                            : 2 * polynomial[j - 1] + 2 * t * derivative[j - 1] - derivative[j - 2];
    }
    for (std::size_t i = 0; i < n; ++i) {
        const double place = node_place(i, n);
        double at = 1, before = place;
        for (std::size_t j = 0; j < n; ++j) {
            const double here = j == 0 ? 1 : j == 1 ? place : 2 * place * before - at;
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

double span_of(const ShapeParameter& parameter) {
    return parameter.upper - parameter.lower;
}

/// Throws Error unless the model has the part and the part the parameters.
void require_part(const PatternModel& model, const PatternPart& part) {
    using Kind = ShapeParameter::Kind;
    const bool phase = part.kind == PatternPart::Kind::phase,
               peak = part.kind == PatternPart::Kind::peak;
    const std::size_t count = phase  ? model.phases.size()
                              : peak ? model.peaks.size()
                                     : model.background.size();
    if (part.index >= count)
        throw Error(fmt::format("pattern basis: part {} of {} that the model has of its kind",
                                part.index, count));
    for (const auto* list : {&part.voxel, &part.global})
        for (const auto& parameter : *list) {
            const bool of_peak = parameter.kind == Kind::position || parameter.kind == Kind::fwhm;
            if ((phase &&
                 (of_peak ||
                  (parameter.kind == Kind::cell &&
                   parameter.index >= model.phases[part.index].cell.size()) ||
                  (parameter.kind == Kind::march && !model.phases[part.index].texture.any()))) ||
                (peak && !of_peak) || (!phase && !peak))
                throw Error("pattern basis: a part has no such parameter");
            if (!(parameter.upper > parameter.lower))
                throw Error("pattern basis: the range of a shape parameter is empty");
        }
}

} // namespace

double shape_value(const PatternModel& model, bool phase, std::size_t part,
                   const ShapeParameter& parameter) {
    using Kind = ShapeParameter::Kind;
    if (!phase)
        return parameter.kind == Kind::fwhm ? model.peaks.at(part).fwhm.value
                                            : model.peaks.at(part).position.value;
    const PhaseModel& p = model.phases.at(part);
    switch (parameter.kind) {
    case Kind::cell:
        return p.cell.at(parameter.index).value;
    case Kind::size:
        return 1 / p.size.value;
    case Kind::microstrain:
        return p.microstrain.value;
    case Kind::gauss_microstrain:
        return p.gauss_microstrain.value * p.gauss_microstrain.value;
    case Kind::march:
        return p.texture.r;
    default:
        throw Error("pattern basis: a phase has no such parameter");
    }
}

void set_shape_value(PatternModel& model, bool phase, std::size_t part,
                     const ShapeParameter& parameter, double value) {
    using Kind = ShapeParameter::Kind;
    if (!phase) {
        (parameter.kind == Kind::fwhm ? model.peaks.at(part).fwhm : model.peaks.at(part).position)
            .value = value;
        return;
    }
    PhaseModel& p = model.phases.at(part);
    switch (parameter.kind) {
    case Kind::cell:
        p.cell.at(parameter.index).value = value;
        break;
    case Kind::size:
        p.size.value = value > 0 ? 1 / value : infinite_size;
        break;
    case Kind::microstrain:
        p.microstrain.value = std::max(0.0, value);
        break;
    case Kind::gauss_microstrain:
        p.gauss_microstrain.value = std::sqrt(std::max(0.0, value));
        break;
    case Kind::march:
        p.texture.r = value;
        break;
    default:
        throw Error("pattern basis: a phase has no such parameter");
    }
}

struct PatternBasis::Impl {
    RadialAxis axis;
    PatternModel model;
    std::vector<PatternPart> parts;
    std::vector<double> weight, root; ///< w_k, √w_k
    PatternBasisOptions options;
    PatternCalculator calculator;
    Matrix basis; ///< Φ [M][n]
    FloatMatrix compression, expansion;
    double basis_error = 0, shape_error = 0;

    struct Family {
        std::vector<std::size_t> nodes; ///< per voxel parameter
        std::size_t node_count = 1;
        Eigen::MatrixXd functions;   ///< [node][lane]: values of u at the nodes
        Eigen::MatrixXd combination; ///< [lane][node]: tables from the patterns at the nodes
        std::size_t first_lane = 0, lanes = 1;
        std::vector<std::vector<double>> ring{{1}}; ///< [component][harmonic]
    };
    std::vector<Family> families;
    struct Global {
        std::size_t part, index;
    };
    std::vector<Global> globals;
    std::vector<double> start;
    std::size_t lane_count = 0;

    Impl(const RadialAxis& a, const PatternModel& m, std::vector<PatternPart> p,
         std::span<const double> w, const PatternBasisOptions& o)
        : axis(a), model(m), parts(std::move(p)), weight(w.begin(), w.end()), options(o),
          calculator(a, m) {}

    bool is_phase(std::size_t part) const { return parts[part].kind == PatternPart::Kind::phase; }

    /// √w times the pattern of a part for unit amount; `work` holds the shape.
    void evaluate(std::size_t part, PatternModel& work, double depth, std::span<double> y,
                  std::size_t component = 0) const {
        const PatternPart& p = parts[part];
        if (p.kind == PatternPart::Kind::phase) {
            work.phases[p.index].depth.value = depth;
            work.phases[p.index].texture.harmonics = families[part].ring[component];
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

    PatternModel prepared(std::span<const double> values) const {
        PatternModel work = model;
        work.distance = options.distance > 0 ? options.distance : model.distance;
        for (auto& phase : work.phases)
            phase.scale.value = 1;
        for (std::size_t g = 0; g < globals.size(); ++g) {
            const auto& parameter = parts[globals[g].part].global[globals[g].index];
            set_shape_value(work, is_phase(globals[g].part), parts[globals[g].part].index,
                            parameter, std::clamp(values[g], parameter.lower, parameter.upper));
        }
        return work;
    }

    void set_node(std::size_t part, PatternModel& work, std::size_t node,
                  const std::vector<std::size_t>& counts) const {
        const PatternPart& p = parts[part];
        for (std::size_t d = 0; d < p.voxel.size(); ++d) {
            const double t = node_place(node % counts[d], counts[d]);
            node /= counts[d];
            set_shape_value(work, is_phase(part), p.index, p.voxel[d],
                            p.voxel[d].lower + 0.5 * (1 + t) * span_of(p.voxel[d]));
        }
    }

    void choose_nodes(std::size_t part, Family& family) const;
    void choose_ring_functions(std::size_t part, Family& family) const;
    /// Rows [component, depth, node][channel]: every `every`-th from `first` on.
    Matrix node_patterns(std::size_t part, const PatternModel& prepared,
                         const std::vector<double>& depths, std::size_t first = 0,
                         std::size_t every = 1) const;
    void build();
    std::vector<double> layer_depths(bool ghosts) const;
    /// What part_table() takes: node patterns at all depths in the basis, [component, depth,
    /// node][M].
    std::size_t table_rows(std::size_t part) const {
        const std::size_t ghosts = options.layers > 1 ? 2 : 0;
        return families[part].ring.size() * (options.layers + ghosts) * families[part].node_count;
    }
    FloatMatrix part_table(std::size_t part, const double* coefficients) const;
    /// Calls each(part, model) for every table of these values, then above and below the values of
    /// every global parameter for the derivatives.
    template <class Each>
    void for_tables(std::span<const double> values, bool with_values, bool with_derivatives,
                    Each&& each) const {
        if (with_values) {
            const PatternModel at = prepared(values);
            for (std::size_t part = 0; part < parts.size(); ++part)
                each(part, at);
        }
        for (std::size_t g = 0; with_derivatives && g < globals.size(); ++g)
            for (const int side : {1, -1}) {
                std::vector<double> shifted(values.begin(), values.end());
                shifted[g] = difference_centre(g, values) + side * difference(g);
                each(globals[g].part, prepared(shifted));
            }
    }
    /// Half the difference that a derivative is made of, and its centre within the range.
    double difference(std::size_t g) const {
        return 0.02 * span_of(parts[globals[g].part].global[globals[g].index]);
    }
    double difference_centre(std::size_t g, std::span<const double> values) const {
        const auto& parameter = parts[globals[g].part].global[globals[g].index];
        return std::clamp(values[g], parameter.lower + difference(g),
                          parameter.upper - difference(g));
    }
};

std::vector<double> PatternBasis::Impl::layer_depths(bool ghosts) const {
    std::vector<double> depths;
    const auto n = static_cast<long>(options.layers);
    const long extra = ghosts && n > 1 ? 1 : 0;
    for (long l = -extra; l < n + extra; ++l)
        depths.push_back(
            n == 1 ? 0.0 : options.depth_first + static_cast<double>(l) * options.depth_spacing);
    return depths;
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
        for (; count < most_nodes; count += 2) {
            std::vector<std::vector<double>> nodes;
            for (std::size_t i = 0; i < count; ++i)
                nodes.push_back(at(node_place(i, count)));
            double worst = 0;
            std::vector<double> value, slope;
            for (const double t :
                 {-0.97, 0.5 * (node_place(count / 2, count) + node_place(count / 2 + 1, count)),
                  0.93}) {
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
            if (worst < 0.5 * options.tolerance)
                break;
        }
        family.nodes.push_back(count);
        family.node_count *= count;
    }
}

/// The leading functions of ψ of the lines' factors, at the ends of a range of r as well.
void PatternBasis::Impl::choose_ring_functions(std::size_t part, Family& family) const {
    const PatternPart& p = parts[part];
    if (p.kind != PatternPart::Kind::phase || !model.phases[p.index].texture.any())
        return;
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
    std::size_t harmonics = 0;
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
    if (harmonics == 0)
        return;
    Eigen::MatrixXd relative(static_cast<Eigen::Index>(rows.size()),
                             static_cast<Eigen::Index>(harmonics));
    for (std::size_t i = 0; i < rows.size(); ++i)
        for (std::size_t h = 1; h <= harmonics; ++h)
            relative(static_cast<Eigen::Index>(i), static_cast<Eigen::Index>(h - 1)) =
                rows[i][h] / rows[i][0];
    const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> eigen(relative.transpose() * relative);
    for (Eigen::Index c = 0; c < relative.cols(); ++c) {
        if (std::sqrt(0.5 * relative.rowwise().squaredNorm().maxCoeff()) < ring_tolerance)
            break;
        const Eigen::VectorXd vector = eigen.eigenvectors().col(relative.cols() - 1 - c);
        relative -= (relative * vector).eval() * vector.transpose();
        std::vector<double> function(harmonics + 1, 0.0);
        for (std::size_t h = 1; h <= harmonics; ++h)
            function[h] = vector(static_cast<Eigen::Index>(h - 1));
        family.ring.push_back(std::move(function));
    }
}

/// [component][depth][node] rows of whitened patterns.
Matrix PatternBasis::Impl::node_patterns(std::size_t part, const PatternModel& at,
                                         const std::vector<double>& depths, std::size_t first,
                                         std::size_t every) const {
    const Family& family = families[part];
    const std::size_t of_component = depths.size() * family.node_count,
                      all = family.ring.size() * of_component,
                      rows = first < all ? (all - first + every - 1) / every : 0;
    Matrix patterns(static_cast<Eigen::Index>(rows), static_cast<Eigen::Index>(axis.size()));
#pragma omp parallel
    {
        PatternModel work = at;
#pragma omp for schedule(dynamic, 16)
        for (std::size_t row = 0; row < rows; ++row) {
            const std::size_t i = first + row * every;
            set_node(part, work, i % family.node_count, family.nodes);
            evaluate(part, work, depths[i % of_component / family.node_count],
                     {patterns.row(static_cast<Eigen::Index>(row)).data(), axis.size()},
                     i / of_component);
        }
    }
    return patterns;
}

void PatternBasis::Impl::build() {
    const auto n = static_cast<Eigen::Index>(axis.size());
    families.resize(parts.size());
    Matrix gram = Matrix::Zero(n, n);
    const PatternModel at_start = prepared(start);
    const auto depths = layer_depths(true);

    const auto add = [&](const Matrix& patterns) {
        // Every part counts alike, whatever the units of its amount.
        const double norm = patterns.squaredNorm();
        if (norm > 0)
            gram.selfadjointView<Eigen::Lower>().rankUpdate(patterns.transpose(), 1 / norm);
    };
    double squares = 0, left_out = 0;
    for (std::size_t part = 0; part < parts.size(); ++part) {
        Family& family = families[part];
        choose_nodes(part, family);
        choose_ring_functions(part, family);
        family.first_lane = lane_count;
        const Matrix patterns = node_patterns(part, at_start, depths);
        add(patterns);
        if (family.node_count > 1) {
            // [node][component, depth, channel]: the functions of the shape are the leading left
            // vectors.
            const auto nodes = static_cast<Eigen::Index>(family.node_count);
            Matrix overlap = Matrix::Zero(nodes, nodes);
            for (std::size_t d = 0; d < family.ring.size() * depths.size(); ++d) {
                const auto block = patterns.middleRows(static_cast<Eigen::Index>(d) * nodes, nodes);
                overlap.noalias() += block * block.transpose();
            }
            const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> eigen(overlap);
            const double total = eigen.eigenvalues().sum();
            double rest = total;
            std::size_t rank = 0;
            while (rank < family.node_count && rest > options.tolerance * options.tolerance * total)
                rest -= eigen.eigenvalues()(nodes - 1 - static_cast<Eigen::Index>(rank++));
            rank = std::min(family.node_count,
                            (rank + lane_multiple - 1) / lane_multiple * lane_multiple);
            family.lanes = rank;
            family.functions.resize(nodes, static_cast<Eigen::Index>(rank));
            family.combination.resize(static_cast<Eigen::Index>(rank), nodes);
            for (Eigen::Index i = 0; i < static_cast<Eigen::Index>(rank); ++i) {
                const auto vector = eigen.eigenvectors().col(nodes - 1 - i);
                // Functions of the size of 1, so that coefficients are amounts.
                const double size = std::sqrt(static_cast<double>(nodes));
                family.functions.col(i) = size * vector;
                family.combination.row(i) = vector.transpose() / size;
                left_out += eigen.eigenvalues()(nodes - 1 - i);
            }
            squares += total;
        } else {
            family.functions = Eigen::MatrixXd::Ones(1, 1);
            family.combination = Eigen::MatrixXd::Ones(1, 1);
        }
        lane_count += family.ring.size() * family.lanes;
        // Patterns at both ends of the global parameters belong to the family, too.
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
                add(node_patterns(part, prepared(values), few));
            }
        }
    }
    shape_error = squares > 0 ? std::sqrt(std::max(0.0, 1 - left_out / squares)) : 0;

    const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> eigen(gram);
    const double total = eigen.eigenvalues().sum();
    if (!(total > 0))
        throw Error("pattern basis: no channel with a weight sees any of the phases");
    double rest = total;
    Eigen::Index m = 0;
    while (m < n && rest > options.tolerance * options.tolerance * total)
        rest -= eigen.eigenvalues()(n - 1 - m++);
    m = std::min<Eigen::Index>(n, (m + 7) / 8 * 8);
    basis = eigen.eigenvectors().rightCols(m).rowwise().reverse().transpose();
    rest = total;
    for (Eigen::Index i = 0; i < m; ++i)
        rest -= eigen.eigenvalues()(n - 1 - i);
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

/// [layer][component, lane][M] of one part.
FloatMatrix PatternBasis::Impl::part_table(std::size_t part, const double* rows) const {
    const Family& family = families[part];
    const auto nodes = static_cast<Eigen::Index>(family.node_count);
    const auto components = static_cast<Eigen::Index>(family.ring.size());
    const auto lanes = static_cast<Eigen::Index>(family.lanes), all = components * lanes;
    const bool ghosts = options.layers > 1;
    const auto depths = static_cast<Eigen::Index>(layer_depths(ghosts).size());
    const Eigen::Map<const Matrix> coefficients(rows, static_cast<Eigen::Index>(table_rows(part)),
                                                basis.rows());
    Matrix layers(depths * all, basis.rows());
    for (Eigen::Index c = 0; c < components; ++c)
        for (Eigen::Index d = 0; d < depths; ++d)
            layers.middleRows(d * all + c * lanes, lanes) =
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
std::size_t PatternBasis::lanes(std::size_t part) const {
    return impl_->families[part].lanes;
}
const std::vector<std::vector<double>>& PatternBasis::ring_functions(std::size_t part) const {
    return impl_->families[part].ring;
}
std::size_t PatternBasis::first_lane(std::size_t part) const {
    return impl_->families[part].first_lane;
}
std::size_t PatternBasis::lane_count() const {
    return impl_->lane_count;
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
    const std::size_t nd = p.voxel.size(), lanes = family.lanes;
    if (eta.size() != nd || u.size() != lanes || (!du.empty() && du.size() != nd * lanes))
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
        for (std::size_t i = 0; i < lanes; ++i)
            out[i] = static_cast<float>(result(static_cast<Eigen::Index>(i)));
    };
    combine(nd, u);
    if (!du.empty())
        for (std::size_t d = 0; d < nd; ++d)
            combine(d, du.subspan(d * lanes, lanes));
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
    if (rows.size() != table_size(values, derivatives))
        throw Error("pattern basis: wrong number of rows for the tables");
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
    result.values.assign(layers * impl.lane_count * m, 0.0F);
    std::size_t taken = 0;
    for (std::size_t part = 0; part < impl.parts.size(); ++part) {
        const auto& family = impl.families[part];
        if (taken + impl.table_rows(part) * m > rows.size())
            throw Error("pattern basis: too few rows for the tables");
        const FloatMatrix table = impl.part_table(part, rows.data() + taken);
        taken += impl.table_rows(part) * m;
        const std::size_t each = family.ring.size() * family.lanes * m;
        for (std::size_t l = 0; l < layers; ++l)
            std::copy_n(table.data() + l * each, each,
                        result.values.data() + (l * impl.lane_count + family.first_lane) * m);
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
        if (taken + 2 * each > rows.size())
            throw Error("pattern basis: too few rows for the derivatives");
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
