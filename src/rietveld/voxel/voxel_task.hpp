// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Private to the voxel fitter: the fit of one pattern.

#include "rietveld/voxel/voxel_tables.hpp"

#include <cstddef>
#include <span>
#include <vector>

namespace xrdct::rietveld {

/// Pivot of the normalised float32 normal equations below which a parameter counts as undetermined.
inline constexpr double voxel_pivot = 1e-7;

/// out[j] = a · b[j] for `count` rows of n floats, a multiple of simd_width.
void dots(const float* a, const float* const* b, std::size_t count, std::size_t n, double* out);

/// One pattern's fit. Variable projection: for given cells the linear parameters follow from a
/// bounded linear problem; the cells move by Newton steps on the joint normal equations
/// (Gauss–Newton plus the curvature of the profiles against the residual, without which misfitted
/// patterns converge slowly), guarded by the objective Σ w' r'².
class VoxelTask {
  public:
    VoxelTask(const VoxelTables& tables, VoxelScratch& scratch,
              std::span<const unsigned char> present)
        : f_(tables), s_(scratch), present_(present), stride_(tables.stride),
          linear_(tables.columns.size()), total_(tables.total_columns) {}

    bool load(std::span<const float> intensity, std::span<const float> variance);
    void run(VoxelFit& result);

  private:
    float* y() { return s_.data[0]; }
    float* w() { return s_.data[1]; }
    float* residual() { return s_.data[2]; }
    float* weighted_residual() { return s_.data[3]; }
    float* weighted_y() { return s_.data[4]; }
    double unit(std::size_t column) const { return f_.columns[column].factor * data_scale_; }

    void weigh(std::size_t column);
    void gram_row(std::size_t column);
    void list_linear(std::size_t count);
    void start_columns();
    void solve_linear();
    void update_residual();
    double unit_variance() const;
    std::size_t moving(std::size_t mover) const;
    int mover_from(std::size_t place) const;
    std::size_t nonlinear() const;

    void search();
    void refresh(const std::vector<double>& values);
    void release(std::size_t mover);
    std::size_t list_joint();
    void fill_joint(std::size_t count);
    void curvature_of_lines(const std::vector<LinePlace>& places, std::size_t size, double* sum);
    void curvature_of_wide(const std::vector<WidePlace>& places, std::size_t size, double* sum);
    void add_curvature(std::size_t count);
    double solve_step(std::size_t count, double damping);
    double largest_step(const Mover& mover, std::size_t j) const;
    double calm(const Mover& mover, std::size_t first, std::size_t size, std::size_t count) const;
    bool take_step(std::size_t count);
    bool refine(int& iterations);
    std::size_t invert_joint();
    std::size_t weakest();
    bool hold_widths();

    int position_of(std::size_t column) const;
    double coefficient_esd(std::size_t column, double variance_factor) const;
    void write(bool converged, VoxelFit& result);
    double write_agreement(VoxelFit& result) const;
    void write_phases(double variance_factor, VoxelFit& result);
    void write_phase(std::size_t phase, double variance_factor, double judging, VoxelPhaseFit& out);
    void write_peak(std::size_t peak, double variance_factor, VoxelPeakFit& out) const;
    bool write_cell(std::size_t phase, double variance_factor, VoxelPhaseFit& out,
                    double* cell) const;
    bool write_widths(std::size_t phase, double variance_factor, VoxelPhaseFit& out) const;
    void write_weight_fractions(double variance_factor, VoxelFit& result);

    bool absent(std::size_t phase) const { return !present_.empty() && !present_[phase]; }

    const VoxelTables& f_;
    VoxelScratch& s_;
    std::span<const unsigned char> present_;
    std::size_t stride_, linear_, total_;
    bool unit_weights_ = false;
    std::size_t valid_ = 0;
    int dependent_ = 0;           ///< parameters that the joint problem does not determine
    double data_scale_ = 1;       ///< y = data_scale · y'
    double chi_unit_ = 1;         ///< χ² = chi_unit · Σ w' r'²
    double weighted_squares_ = 0; ///< Σ w' y'²
    double objective_ = 0;        ///< Σ w' r'²
};

} // namespace xrdct::rietveld
