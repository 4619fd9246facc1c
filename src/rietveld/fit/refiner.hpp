// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Private to the refinement of one pattern.

#include "base/numbers.hpp"
#include "rietveld/fit/least_squares.hpp"
#include "rietveld/fit/refinement.hpp"

#include <Eigen/Core>

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace xrdct::rietveld {

/// Pivot of the normalised normal matrix below which a parameter counts as undetermined.
inline constexpr double singular_pivot = 1e-10;

/// The refinement of one pattern: state and steps.
class Refiner {
  public:
    Refiner(const RadialAxis& axis, std::span<const double> intensity,
            std::span<const double> variance, const PatternModel& start,
            const RefinementOptions& options);

    RefinementResult run();

  private:
    enum class Role {
        scale,
        cell,
        broadening,
        displacement_factor,
        position,
        background,
        area,
        peak_shape
    };

    /// What is refined for a parameter p: p, 1/p (sizes) or p² (Gaussian microstrain), regular at
    /// "no broadening".
    enum class Scale { plain, inverse, square };

    /// A parameter the refinement may change.
    struct Free {
        std::size_t index = 0; ///< in list_parameters()
        Role role = Role::scale;
        int phase = -1;
        Scale scale = Scale::plain;
        double lower = -infinity, upper = infinity;

        bool linear() const {
            return role == Role::scale || role == Role::background || role == Role::area;
        }
    };

    void classify();
    void check_contradictions() const;
    double get(const Free& free) const;
    void set(const Free& free, double value);
    /// The free parameters that are wanted and not frozen.
    template <class Wanted>
    std::vector<std::size_t> select(Wanted&& wanted) const;
    void evaluate(const std::vector<std::size_t>& active, bool jacobian);
    double chi_squared() const;
    void normal_equations(std::size_t count);
    void solve_linear();
    void update_significance();
    void limit_step(const std::vector<std::size_t>& active, std::vector<double>& values,
                    std::vector<double>& lower, std::vector<double>& upper) const;
    bool optimise(const std::vector<std::size_t>& active);
    void refine_all(const PatternModel& original, RefinementResult& result);
    void extract_intensities();
    bool restore_insignificant(const PatternModel& original, bool converged);
    RefinementResult masked() const;

    /// What the normal equations at the minimum say of the active parameters, in their order.
    struct Uncertainty {
        std::vector<std::size_t> active; ///< indices into free_
        std::vector<double> covariance;  ///< [active][active]; 0 on bounds
        std::vector<bool> bound, undetermined;
        std::vector<int> place; ///< of each free parameter among the active ones, or −1

        std::size_t count() const { return active.size(); }
    };
    /// The names that a result's message lists.
    struct Complaints {
        std::vector<std::string> singular, on_bound;
        bool cell_on_bound = false;
    };
    void finish(RefinementResult& result, bool converged);
    double error_factor(RefinementResult& result) const;
    std::vector<bool> find_bounds(const std::vector<std::size_t>& active, double gof) const;
    Uncertainty uncertainty(std::vector<std::size_t> active, const RefinementResult& result,
                            double factor);
    Complaints write_parameters(const Uncertainty& found, RefinementResult& result) const;
    void phase_results(RefinementResult& result, const Uncertainty& found);
    double weight_fraction_variance(std::size_t phase, double fraction,
                                    const std::vector<double>& share,
                                    const std::vector<int>& scale_place,
                                    const Uncertainty& found) const;
    void write_cell(std::size_t phase, const std::vector<int>& place,
                    const RefinementResult& result, PhaseResult& entry) const;
    void remark(const Complaints& complaints);
    void remark_degeneracy(const Uncertainty& found, const RefinementResult& result);
    FitStatus status(const Complaints& complaints, bool converged) const;
    struct LineArea {
        double observed = 0, calculated = 0;
    };
    std::vector<LineArea> partition(std::size_t phase) const;
    double r_bragg(std::size_t phase) const;
    void start_extraction();
    double extract();

    RadialAxis axis_;
    std::vector<double> intensity_, weights_;
    RefinementOptions options_;
    PatternModel model_;
    PatternCalculator calculator_;
    std::size_t n_ = 0;
    bool unit_weights_ = false;
    std::size_t observations_ = 0;
    std::vector<NamedParameter> list_;
    std::vector<Free> free_;
    std::vector<bool> frozen_; ///< phases whose shape parameters rest, being insignificant
    std::vector<double> calculated_, jacobian_;
    Eigen::MatrixXd normal_;
    Eigen::VectorXd gradient_;
    BoundedSolver solver_;
    int iterations_ = 0;
    std::vector<std::string> remarks_;
    std::vector<std::size_t> extracted_; ///< phases with intensities from the pattern
};

template <class Wanted>
std::vector<std::size_t> Refiner::select(Wanted&& wanted) const {
    std::vector<std::size_t> active;
    for (std::size_t i = 0; i < free_.size(); ++i) {
        const Free& f = free_[i];
        const bool rests = f.phase >= 0 && frozen_[f.phase] && f.role != Role::scale;
        if (!rests && wanted(f)) {
            active.push_back(i);
        }
    }
    return active;
}

} // namespace xrdct::rietveld
