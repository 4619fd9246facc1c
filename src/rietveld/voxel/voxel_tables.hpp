// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Private to the voxel fitter: its precomputed tables, and the scratch memory of one thread.

#include "base/shared_memory_team.hpp"
#include "rietveld/fit/least_squares.hpp"
#include "rietveld/model/line_calculator.hpp"
#include "rietveld/voxel/line_shapes.hpp"
#include "rietveld/voxel/simd_rows.hpp"
#include "rietveld/voxel/voxel_fitter.hpp"

#include <array>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <vector>

namespace xrdct::rietveld {

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

/// Something whose column moves: a phase with refined cell or widths, or a peak with refined
/// position.
struct Mover {
    int phase = -1, peak = -1;
    std::size_t column = 0;     ///< of its pattern
    std::size_t derivative = 0; ///< first of its derivative columns
    std::size_t place = 0;      ///< of its first parameter among those of all movers
    std::vector<double> start, lower, upper, largest_step; ///< of what moves
    std::vector<std::size_t> which; ///< phase: its independent cell parameters that move
    std::vector<double> cell;       ///< phase: all independent cell parameters at the start
    /// Phase: widths that move, after the cell; such a phase has no tables.
    std::vector<Width> widths;
    std::vector<double> instrument; ///< broadening [widths] as wide as the instrument's lines
    std::vector<LineTable> lines;
    SharedArray<LineTable::Piece> pieces;           ///< of all lines
    SharedArray<Block> coefficients;                ///< of all pieces, four rows of `count` each
    std::size_t search_first = 0, search_count = 0; ///< rows of the search patterns
    std::vector<double> search_values;              ///< [search_count, size()]
    std::size_t size() const { return start.size(); }
    std::size_t without_widths() const { return start.size() - widths.size(); }
};

/// Most parameters of a mover: a cell and the widths.
inline constexpr std::size_t most_moving = 6 + width_count;

/// The variable in which a width moves: 1/size, ε, ε_G².
double width_variable(Width width, double value);
double width_value(Width width, double variable);
Parameter& width_parameter(PhaseModel& phase, Width width);

/// Where a line stands in its table, left behind by VoxelTables::build.
struct LinePlace {
    const float* coefficients = nullptr; ///< four rows of `count` packs
    std::uint32_t first = 0;             ///< channel
    std::uint32_t count = 0;             ///< packs
    float t = 0;                         ///< in the piece, 0 … 1
    double per_step = 0;                 ///< 1 / spacing
    std::array<double, 6> slope{};       ///< of the line's angle with the mover's parameters
};

/// A line of a phase whose widths move, as it was added last.
struct WidePlace {
    double position = 0, fwhm = 0, mixing = 0, amplitude = 0;
    std::array<double, most_moving> moved{}, widened{}; ///< of position and FWHM with parameters
};

/// A line's factors on its Lorentzian and Gaussian, by target: the pattern and its derivatives.
struct WideFactors {
    std::array<ShapeFactors, most_moving + 1> lorentz{}, gauss{};

    void set(std::size_t target, double area, double area_slope, double mixing, double mixing_slope,
             double moved, double widened) {
        lorentz[target] = {static_cast<float>(area_slope * mixing + area * mixing_slope),
                           static_cast<float>(area * mixing * moved),
                           static_cast<float>(area * mixing * widened)};
        gauss[target] = {static_cast<float>(area_slope * (1 - mixing) - area * mixing_slope),
                         static_cast<float>(area * (1 - mixing) * moved),
                         static_cast<float>(area * (1 - mixing) * widened)};
    }
};

/// What one thread needs for a phase whose widths move.
struct WideScratch {
    std::unique_ptr<PhaseModel> phase;       ///< its widths are those of the last pattern
    std::vector<LineCalculator> calculators; ///< of it, by wavelength
    std::vector<WidePlace> places;
    std::vector<LineShapes::FarField> far; ///< one, or none for other movers
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
    std::vector<bool> phase_cell_moves;
    std::vector<std::array<bool, width_count>> phase_widths; ///< that move
    LineShapes shapes;
    SharedArray<float> search_patterns; ///< rows of `stride` values
    const float* search_row(std::size_t i) const { return search_patterns.data() + i * stride; }

    std::vector<double> phase_weight; ///< Z M of each phase
    double interpolation_error = 0;
    std::vector<VoxelQuantity> quantities;

    /// Pattern (scaled by its column's factor) and derivatives of a mover at `values`.
    void build(const Mover& mover, ReciprocalMetric& metric, const double* values, float* pattern,
               float* const* derivatives, std::vector<LinePlace>& places) const;

    /// The same for a phase whose widths move.
    void build_wide(const Mover& mover, ReciprocalMetric& metric, const double* values,
                    float* pattern, float* const* derivatives, WideScratch& scratch) const;
    WideScratch wide_scratch(const Mover& mover) const;

  private:
    void add_wide(WideScratch& scratch, const WideFactors& factors, std::size_t count,
                  float* const* targets) const;
    std::size_t add_column(const Parameter& parameter, std::vector<double> row,
                           std::vector<std::vector<double>>& rows);
    void add_columns();
    void add_phase_mover(std::size_t phase);
    void add_widths(Mover& mover);
    void check_wide(const Mover& mover, const ReciprocalMetric& metric,
                    const SharedMemoryTeam& team);
    void add_peak_mover(std::size_t peak);
    void list_lines(Mover& mover, std::size_t index) const;
    void tabulate(Mover& mover, const SharedMemoryTeam& team);
    double tabulate(const Mover& mover, const LineTable& line, LineTable::Piece* pieces,
                    std::vector<Block>& coefficients) const;
    void exact_row(const Mover& mover, const crystal::PowderLine* line, double at,
                   std::vector<double>& value, std::vector<double>& slope) const;
    void list_search(Mover& mover, std::size_t first) const;
    void list_width_search(Mover& mover) const;
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
    std::vector<double> last;          ///< their last steps
    std::vector<bool> active;          ///< movers
    std::vector<bool> held;            ///< movers whose widths stay at their start
    std::vector<int> list;             ///< columns of the joint problem
    std::vector<double> mass;
    std::vector<ReciprocalMetric> metrics;
    std::vector<std::vector<LinePlace>> places; ///< by mover
    std::vector<WideScratch> wide;              ///< by mover
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
