// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Private to the pattern basis.

#include "rietveld/model/pattern_basis.hpp"
#include "rietveld/model/pattern_model.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numbers>
#include <span>
#include <vector>

#include <Eigen/Core>

namespace xrdct::rietveld {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using FloatMatrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// Shape parameters of one part that may vary from voxel to voxel.
inline constexpr std::size_t max_voxel_parameters = 3;

/// The i-th of n Chebyshev nodes of the first kind on [−1, 1].
inline double node_place(std::size_t i, std::size_t n) {
    return -std::cos(std::numbers::pi * (static_cast<double>(i) + 0.5) / static_cast<double>(n));
}

/// Lagrange polynomials of the n Chebyshev nodes at t, and their derivatives, by sums of Chebyshev
/// polynomials.
void lagrange(double t, std::size_t n, std::vector<double>& value, std::vector<double>& slope);

inline double span_of(const ShapeParameter& parameter) {
    return parameter.upper - parameter.lower;
}

/// Throws Error unless the model has the part and the part the parameters.
void require_part(const PatternModel& model, const PatternPart& part);

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
        Eigen::MatrixXd functions;   ///< [node][component]: values of u at the nodes
        Eigen::MatrixXd combination; ///< [component][node]: tables from the patterns at the nodes
        std::size_t first_component = 0, components = 1;
        std::vector<std::vector<double>> ring{{1}}; ///< [texture function][harmonic]
    };
    std::vector<Family> families;
    struct Global {
        std::size_t part, index;
    };
    std::vector<Global> globals;
    std::vector<double> start;
    std::size_t component_count = 0;

    Impl(const RadialAxis& a, const PatternModel& m, std::vector<PatternPart> p,
         std::span<const double> w, const PatternBasisOptions& o)
        : axis(a), model(m), parts(std::move(p)), weight(w.begin(), w.end()), options(o),
          calculator(a, m) {}

    bool is_phase(std::size_t part) const { return parts[part].kind == PatternPart::Kind::phase; }

    /// √w times the pattern [n] of a part for unit amount; `work` holds the shape.
    void evaluate(std::size_t part, PatternModel& work, double depth, std::span<double> y,
                  std::size_t texture = 0) const;
    /// The model with scales of 1 and these values of the global parameters.
    PatternModel prepared(std::span<const double> values) const;
    void set_node(std::size_t part, PatternModel& work, std::size_t node,
                  const std::vector<std::size_t>& counts) const;

    void choose_nodes(std::size_t part, Family& family) const;
    /// Largest relative error of interpolating between `count` nodes of one parameter.
    template <class At>
    double node_error(std::size_t count, At&& at) const;
    void choose_ring_functions(std::size_t part, Family& family) const;
    std::vector<std::vector<double>> ring_rows(std::size_t part, std::size_t& harmonics) const;
    /// Rows [texture function, depth, node][channel]: every `every`-th from `first` on.
    Matrix node_patterns(std::size_t part, const PatternModel& prepared,
                         const std::vector<double>& depths, std::size_t first = 0,
                         std::size_t every = 1) const;
    void build();
    /// Squares of the patterns of varying shape, in all and as far as shape functions make them.
    struct Kept {
        double all = 0, kept = 0;
    };
    void choose_shape_functions(const Matrix& patterns, std::size_t depths, Family& family,
                                Kept& squares) const;
    void add_ends(std::size_t part, const std::vector<double>& depths, Matrix& gram) const;
    void choose_basis(const Matrix& gram);
    std::vector<double> layer_depths(bool ghosts) const;
    /// What part_table() takes: node patterns at all depths in the basis, [texture function, depth,
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

} // namespace xrdct::rietveld
