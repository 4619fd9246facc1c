// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "rietveld/model/pattern_model.hpp"
#include "rietveld/model/radial_axis.hpp"

#include <cstddef>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace xrdct::rietveld {

/// A parameter that changes the shape of a part's pattern, not its amount.
struct ShapeParameter {
    enum class Kind {
        cell,              ///< independent cell parameter `index` [Å, deg]
        size,              ///< 1 / crystallite size [1/Å]
        microstrain,       ///< ε
        gauss_microstrain, ///< ε_G²
        march,             ///< March coefficient of a textured phase
        position,          ///< of a single peak [deg 2θ]
        fwhm,              ///< of a single peak [deg 2θ]
    };
    Kind kind = Kind::cell;
    std::size_t index = 0;
    double lower = 0, upper = 0; ///< range for which patterns are tabulated
};

/// Value of a shape parameter in a model, in the units of ShapeParameter, and the inverse.
double shape_value(const PatternModel& model, bool phase, std::size_t part,
                   const ShapeParameter& parameter);
void set_shape_value(PatternModel& model, bool phase, std::size_t part,
                     const ShapeParameter& parameter, double value);
/// The bounds of a shape parameter in a model, lower and upper, in the units of ShapeParameter.
std::pair<double, double> shape_bounds(const PatternModel& model, bool phase, std::size_t part,
                                       const ShapeParameter& parameter);

/// An additive part of a voxel's pattern, whose amount (scale, area, coefficient) is a factor.
struct PatternPart {
    enum class Kind { phase, peak, background };
    Kind kind = Kind::phase;
    std::size_t index = 0;              ///< of the phase, peak or Chebyshev term in the model
    std::vector<ShapeParameter> voxel;  ///< differ from voxel to voxel
    std::vector<ShapeParameter> global; ///< one value for all voxels, to be refined
};

struct PatternBasisOptions {
    /// Part of a pattern (norm over the weighted channels) that the basis may leave out.
    double tolerance = 1e-3;
    /// Depths z [mm] of the layers: depth_first + l depth_spacing. The pattern of a phase at depth
    /// z appears at tan 2θ' = (1 − z / D) tan 2θ with its intensity times (D / (D − z))².
    std::size_t layers = 1;
    double depth_first = 0, depth_spacing = 1;
    double distance = 0; ///< D [mm]; needed when there is more than one layer
};

/// Patterns of all parts, at all depths and shapes that may occur, as few coefficients.
///
/// With channel weights w_k, patterns y live in the space of √w_k y_k. Two compressions:
///  * an orthonormal basis Φ [M][channel] of all patterns that occur, so that the weighted
///    distance of data and model is that of M coefficients plus a constant;
///  * for a part whose shape varies from voxel to voxel, functions u_i(η) of the shape η and tables
///    B_i: pattern(η, z_l) = Σ_i u_i(η) B_i(z_l), i < components(part). A part with one shape
///    has one component, u = 1.
///  * the lines of a textured phase have factors M(ψ) that depend on the angle ψ between fibre axis
///    and beam; M is m_0 plus the few functions f_c(ψ) = Σ_h a_ch cos 2hψ that leave out 1 % of a
///    line, chosen for its lines and the range of r: pattern(ψ) = Σ_c f_c(ψ) P_c with f_0 = 1.
///    The mean of f_c over ψ is 0, that of f_c f_d (c, d > 0) is 1/2 for c = d, else 0.
/// Between layers patterns are interpolated linearly; the tables are those of the piecewise linear
/// function of least error rather than the patterns at the layers.
/// Immutable; shareable by threads.
class PatternBasis {
  public:
    /// `channel_weight` [n] ≥ 0, 0 leaves a channel out. Throws Error for lengths, ranges that are
    /// empty or inverted, parts or parameters that the model does not have, more than three voxel
    /// parameters of one part, layers without distance, all weights 0, PatternCalculator's reasons.
    PatternBasis(const RadialAxis& axis, const PatternModel& model, std::vector<PatternPart> parts,
                 std::span<const double> channel_weight, const PatternBasisOptions& options);
    ~PatternBasis();
    PatternBasis(PatternBasis&&) noexcept;
    PatternBasis& operator=(PatternBasis&&) noexcept;
    PatternBasis(const PatternBasis&) = delete;
    PatternBasis& operator=(const PatternBasis&) = delete;

    std::size_t size() const; ///< M
    std::size_t channel_count() const;
    std::size_t layer_count() const;
    const std::vector<PatternPart>& parts() const;
    /// Number of shape functions of a part, a multiple of 8 where its shape varies, else 1.
    std::size_t components(std::size_t part) const;
    /// [texture function][harmonic] a_ch of a part's functions of ψ; {{1}} without texture. Each of
    /// them has components(part) components, with the same functions of the shape.
    const std::vector<std::vector<double>>& ring_functions(std::size_t part) const;
    /// Components of all parts are numbered through: [part][texture function][component].
    std::size_t first_component(std::size_t part) const;
    std::size_t component_count() const;
    std::size_t global_count() const; ///< global shape parameters of all parts, in their order
    /// Values of the global shape parameters in the model of construction.
    const std::vector<double>& start_globals() const;
    /// Largest error of the basis and of the shape functions, relative to the norm of a pattern,
    /// over the samples they were made from.
    double basis_error() const;
    double shape_error() const;

    /// u [components(part)] at a shape η [voxel parameters], and du [voxel parameter][component] =
    /// ∂u/∂η (empty: not wanted). η beyond the range is taken at its end, with the derivative
    /// there.
    void shape_functions(std::size_t part, std::span<const double> eta, std::span<float> u,
                         std::span<float> du) const;

    struct Tables {
        std::vector<float> values; ///< [layer][component of all parts][M]
        /// [global][layer][texture function, component of the part it belongs to][M] derivatives;
        /// empty when not asked for
        std::vector<std::vector<float>> derivatives;
        std::vector<std::size_t> part; ///< of each global parameter
    };
    /// Tables at values of the global shape parameters (clamped to their ranges). Takes a few
    /// tenths of a second; runs on the threads of OpenMP.
    Tables tables(std::span<const double> globals, bool derivatives) const;
    /// Adds the derivatives to tables made without them at the same values.
    void add_derivatives(std::span<const double> globals, Tables& tables) const;

    /// The same in two steps, the first of which may be shared out: `rows` [table_size()] are the
    /// patterns that the tables (`values`) and their derivatives at `globals` are made of; every
    /// `every`-th one from `first` on is written, the others stay.
    std::size_t table_size(bool values, bool derivatives) const;
    void table_rows(std::span<const double> globals, bool values, bool derivatives,
                    std::size_t first, std::size_t every, std::span<double> rows) const;
    Tables tables(std::span<const double> globals, bool derivatives,
                  std::span<const double> rows) const;
    void add_derivatives(std::span<const double> globals, Tables& tables,
                         std::span<const double> rows) const;

    /// Coefficients [M] of a pattern [n]: Φ √w y. Channels of weight 0 may hold NaN.
    void compress(std::span<const float> pattern, std::span<float> coefficients) const;
    /// Patterns [ray][n] of coefficients [ray][M]; NaN in channels of weight 0.
    void expand(std::span<const float> coefficients, std::span<float> patterns) const;
    const std::vector<double>& channel_weight() const;
    /// Model with global shape parameters set.
    PatternModel model_at(std::span<const double> globals) const;

  private:
    struct Impl;
    std::unique_ptr<const Impl> impl_;
};

} // namespace xrdct::rietveld
