// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Private to the voxel fitter: its precomputed tables, and the scratch memory of one thread.

#include "base/shared_memory_team.hpp"
#include "rietveld/fit/least_squares.hpp"
#include "rietveld/model/line_calculator.hpp"
#include "rietveld/voxel/voxel_fitter.hpp"

#include <array>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <vector>

namespace xrdct::rietveld {

/// Floats side by side in one register.
inline constexpr std::size_t simd_width = 8;
using Pack = float __attribute__((vector_size(simd_width * sizeof(float)), may_alias));
struct alignas(simd_width * sizeof(float)) Block {
    float value[simd_width];
};

inline std::size_t padded(std::size_t n) {
    return (n + simd_width - 1) / simd_width * simd_width;
}
inline const Pack* packs(const float* p) {
    return reinterpret_cast<const Pack*>(p);
}
inline Pack* packs(float* p) {
    return reinterpret_cast<Pack*>(p);
}
inline double sum_of(const Pack& pack) {
    double sum = 0;
    for (std::size_t i = 0; i < simd_width; ++i) {
        sum += static_cast<double>(pack[i]);
    }
    return sum;
}

/// Rows of floats, each aligned for vector loads and padded with zeros.
class Rows {
  public:
    Rows() = default;
    Rows(std::size_t count, std::size_t length)
        : stride_(padded(length)),
          data_(new (std::align_val_t{64}) float[std::max<std::size_t>(count, 1) * stride_]()) {}
    float* operator[](std::size_t i) { return data_.get() + i * stride_; }
    const float* operator[](std::size_t i) const { return data_.get() + i * stride_; }

  private:
    struct Free {
        void operator()(float* p) const { ::operator delete[](p, std::align_val_t{64}); }
    };
    std::size_t stride_ = 0;
    std::unique_ptr<float[], Free> data_;
};

/// Cubic pieces of one line's channel-averaged profile, as functions of its Bragg angle (or a
/// peak's position).
struct LineTable {
    crystal::Miller hkl{};
    const crystal::PowderLine* line = nullptr; ///< null: a peak
    double start = 0, spacing = 0;             ///< deg
    std::size_t first = 0, pieces = 0;
    struct Piece {
        std::size_t offset = 0;             ///< into the coefficients, in blocks
        std::uint32_t first = 0, count = 0; ///< channels, multiples of simd_width
    };
};

/// Something whose column moves: a phase with refined cell, or a peak with refined position.
struct Mover {
    int phase = -1, peak = -1;
    std::size_t column = 0;     ///< of its pattern
    std::size_t derivative = 0; ///< first of its derivative columns
    std::size_t place = 0;      ///< of its first parameter among those of all movers
    std::vector<double> start, lower, upper, largest_step; ///< of what moves
    std::vector<std::size_t> which; ///< phase: its independent cell parameters that move
    std::vector<double> cell;       ///< phase: all independent cell parameters at the start
    std::vector<LineTable> lines;
    SharedArray<LineTable::Piece> pieces;           ///< of all lines
    SharedArray<Block> coefficients;                ///< of all pieces, four rows of `count` each
    std::size_t search_first = 0, search_count = 0; ///< rows of the search patterns
    std::vector<double> search_cells;               ///< [search_count, size()]
    std::size_t size() const { return start.size(); }
};

/// Where a line stands in its table, left behind by VoxelTables::build.
struct LinePlace {
    const float* coefficients = nullptr; ///< four rows of `count` packs
    std::uint32_t first = 0;             ///< channel
    std::uint32_t count = 0;             ///< packs
    float t = 0;                         ///< in the piece, 0 … 1
    double per_step = 0;                 ///< 1 / spacing
    std::array<double, 6> slope{};       ///< of the line's angle with the mover's parameters
};

/// Everything that the fits of all voxels share. Linear columns come first, in the order phases,
/// background, peaks; derivative columns of the movers follow. What is large lies once in the
/// memory of a team, whose members make it in parts.
struct VoxelTables {
    /// `earlier`: the calculator of a model that differs in widths alone, or null. Collective over
    /// the team, which need not outlive the tables.
    VoxelTables(const RadialAxis& axis, const PatternModel& model, const VoxelFitOptions& options,
                const SharedMemoryTeam& team, std::shared_ptr<const PatternCalculator> earlier);

    RadialAxis axis;
    PatternModel model;
    VoxelFitOptions options;
    std::shared_ptr<const PatternCalculator> shared_calculator;
    const PatternCalculator& calculator;
    std::size_t n = 0, stride = 0; ///< channels, and with padding
    double wavelength = 0;

    struct Column {
        double factor = 1; ///< of the row: parameter = coefficient · factor
        double lower = 0;  ///< of the parameter
        double upper = std::numeric_limits<double>::infinity();
        bool refined = true;
    };
    std::vector<Column> columns; ///< linear ones
    Rows start_rows;             ///< [columns]: pattern of each at the start
    std::vector<std::size_t> phase_column, background_column, peak_column;
    std::size_t refined_columns = 0;
    std::size_t total_columns = 0;
    std::vector<int> column_mover; ///< [total_columns]: mover of a derivative column, else −1

    std::vector<Mover> movers;
    std::vector<ReciprocalMetric> metrics; ///< prototypes, by mover (peaks: unused)
    std::vector<int> phase_mover, peak_mover;
    SharedArray<float> search_patterns; ///< rows of `stride` values
    const float* search_row(std::size_t i) const { return search_patterns.data() + i * stride; }

    std::vector<double> phase_weight; ///< Z M of each phase
    double interpolation_error = 0;
    std::vector<VoxelQuantity> quantities;

    /// Pattern (scaled by its column's factor) and derivatives of a mover at `values`.
    void build(const Mover& mover, ReciprocalMetric& metric, const double* values, float* pattern,
               float* const* derivatives, std::vector<LinePlace>& places) const;

  private:
    std::size_t add_column(const Parameter& parameter, std::vector<double> row,
                           std::vector<std::vector<double>>& rows);
    void add_columns();
    void add_phase_mover(std::size_t phase);
    void add_peak_mover(std::size_t peak);
    void list_lines(Mover& mover, std::size_t index) const;
    void tabulate(Mover& mover, const SharedMemoryTeam& team);
    double tabulate(const Mover& mover, const LineTable& line, LineTable::Piece* pieces,
                    std::vector<Block>& coefficients) const;
    void exact_row(const Mover& mover, const crystal::PowderLine* line, double at,
                   std::vector<double>& value, std::vector<double>& slope) const;
    void list_search(Mover& mover, std::size_t first) const;
    void make_search(const SharedMemoryTeam& team);
    void list_quantities();
    void choose_movers();
    std::optional<double> least_width(const PhaseModel& phase, const crystal::PowderLine& line,
                                      double low, double high) const;
};

/// Memory of one thread.
struct VoxelScratch {
    explicit VoxelScratch(const VoxelTables& tables);

    Rows data;     ///< intensity, weight, residual, weight · residual, weight · intensity
    Rows moving;   ///< patterns and derivatives of movers [total_columns]
    Rows weighted; ///< weight · column [total_columns]
    std::vector<const float*> column, rows;
    std::vector<double> gram, right, x, lower, upper;          ///< linear problem
    std::vector<double> joint, gradient, slope, step, inverse; ///< linear and moving together
    std::vector<double> dot;
    std::vector<std::int8_t> state;
    std::vector<double> values, trial; ///< parameters of all movers
    std::vector<bool> active;          ///< movers
    std::vector<int> list;             ///< columns of the joint problem
    std::vector<double> mass;
    std::vector<ReciprocalMetric> metrics;
    std::vector<std::vector<LinePlace>> places; ///< by mover
    BoundedSolver solver;
    SmallCholesky cholesky;
};

/// Fits one pattern; see VoxelFitter::fit.
void fit_voxel(const VoxelTables& tables, VoxelScratch& scratch, std::span<const float> intensity,
               std::span<const float> variance, std::span<const unsigned char> present,
               VoxelFit& result);

struct VoxelFitter::Implementation : VoxelTables {
    using VoxelTables::VoxelTables;
};
struct VoxelFitter::Workspace::State : VoxelScratch {
    using VoxelScratch::VoxelScratch;
};

} // namespace xrdct::rietveld
