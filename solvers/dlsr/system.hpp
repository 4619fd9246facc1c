// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "mpi/comm/communicator.hpp"
#include "mpi/comm/node_team.hpp"
#include "rietveld/model/pattern_basis.hpp"
#include "rietveld/model/radial_axis.hpp"
#include "solvers/dlsr/exit_ray.hpp"
#include "solvers/dlsr/observer.hpp"
#include "solvers/dlsr/operator.hpp"
#include "solvers/dlsr/options.hpp"
#include "solvers/dlsr/problem.hpp"
#include "solvers/dlsr/scan_data.hpp"
#include "solvers/dlsr/setup.hpp"
#include "tomography/depth_projector.hpp"

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace xrdct::dlsr {

/// What a DLSR fits and to what: the setup of the model, its patterns, the compressed data, the
/// operator and the least-squares problem. All but the setup are built anew whenever that changes.
/// It knows nothing of steps: where the fit stands is the caller's. Members are collective unless
/// said otherwise.
class System {
  public:
    /// Units of the geometry's unknowns: of the axis [steps] and of the distance (relative).
    static constexpr double axis_unit = 0.02, distance_unit = 0.01;

    /// Finds the weights of the scan and makes the setup of the conventional maps; nothing is built
    /// yet. `transmission` [rotation][translation] that the rays' intensities contain; empty: 1.
    /// `mu` [y][x] of the grid [1/mm]: asked for where exit rays are deviated. Rays, communicator
    /// and observer must outlive the system. Throws Error on all ranks for options that do not fit
    /// the model and scans without a ray that can be used.
    System(const solvers::RaySource& rays, std::span<const float> transmission,
           const tomography::ImageGrid& grid, ConventionalMaps conventional, Options options,
           const mpi::Communicator& communicator, Observer& observer,
           const std::function<std::vector<float>()>& mu);
    System(const System&) = delete;
    System& operator=(const System&) = delete;
    ~System() = default;

    /// Patterns, data, operator and problem of the setup. The geometry is held where `globals` (see
    /// hold_geometry) has it.
    void build(std::span<const double> globals);
    /// The setup for data whose axis has tan 2θ too large by `factor`: see apply_radial_scale. To
    /// be built again.
    void scale_radial_axis(double factor);
    /// To be built again. Not collective.
    void set_ranges(const GlobalRanges& ranges) { set_global_ranges(setup_, ranges); }

    /// The rays of this weight are those that the fit sees from now on.
    void use_rays(std::vector<float> weight);
    /// Masked samples and those beyond the threshold get what the model at `x` (own share) says.
    /// Returns the change of the data per unknown in standard deviations (root mean square), which
    /// bounds that of the unknowns.
    double replace_data(std::span<const double> x);
    /// Holds the geometry where `globals` (the global unknowns; empty: not known yet) has it. Not
    /// collective.
    void hold_geometry(std::span<const double> globals) const { hold_geometry(*problem_, globals); }
    /// Lets the products with the Gauss-Newton matrix see the geometry, until it is held again. Not
    /// collective.
    void free_geometry() const;

    /// The same with depths reversed, which is what a reversed rotation or translation amounts to
    /// (both together mirror the maps only), and the data of the rays of `weight`.
    struct Reversed {
        std::unique_ptr<rietveld::PatternBasis> basis;
        std::vector<float> data;
        std::unique_ptr<Operator> model;
        std::unique_ptr<Problem> problem; ///< none: its patterns need another number of values
    };
    Reversed reversed(std::span<const float> weight, std::span<const double> globals) const;
    /// The global unknowns out of all ranks' shares.
    std::vector<double> global_unknowns(std::span<const double> x) const;

    // What follows is not collective.
    const Options& options() const { return options_; }
    const mpi::Communicator& communicator() const { return communicator_; }
    Observer& observer() const { return observer_; }
    /// Of all rotations; that of the scan data has own ones.
    const tomography::ScanGeometry& geometry() const { return scan_->rays().geometry(); }
    ScanData& scan() const { return *scan_; }
    /// To the observer's log, once for all ranks.
    void log(const std::string& line) const;
    const ConventionalMaps& conventional() const { return conventional_; }
    const tomography::ImageGrid& grid() const { return grid_; }
    const Setup& setup() const { return setup_; }
    const rietveld::PatternBasis& basis() const { return *basis_; }
    Operator& model() const { return *model_; }
    Problem& problem() const { return *problem_; }
    const std::vector<float>& data() const { return data_; }     ///< [own ray][M]
    const std::vector<float>& weight() const { return weight_; } ///< [own ray], all that count
    const std::vector<float>& used_weight() const { return used_weight_; } ///< that the fit sees
    double half_depth() const { return half_depth_; } ///< mm, that the sample reaches from the axis
    double data_squares() const { return data_squares_; } ///< Σ W d² of these
    /// √(Σ w (y − m)² / Σ w y²) over the channels of these, for a misfit ½ Σ W |d − m|² of the
    /// coefficients d: what the compression leaves out of the patterns y counts as residual.
    double rwp(double misfit) const;
    double ray_count() const { return ray_count_; } ///< with weight, of all ranks
    const tomography::DepthLayers& layers() const { return layers_; }
    const std::vector<std::size_t>& standards() const { return standards_; } ///< phases
    rietveld::RadialAxis radial_axis() const;
    bool has_parallax() const { return parallax_; }
    std::size_t unknown_count() const; ///< of all ranks; known before anything is built
    bool has_smooth_fields() const;    ///< voxel shapes that a weight of the smoothness is about

    const SharedMemoryTeam& team() const { return team_; }
    /// First of the global unknowns: those of the shapes, then the geometry's.
    std::size_t first_global() const;
    std::size_t geometry_unknown(GeometryParameter parameter) const; ///< among the global ones
    /// Unit and range of a global unknown.
    const Global& global_of(std::size_t unknown) const { return globals_[unknown]; }
    /// Of the global shapes where the global unknowns are `globals`.
    std::vector<double> global_values(std::span<const double> globals) const;

    /// For the reader of the result.
    void remark(std::string text) { remarks_.push_back(std::move(text)); }
    const std::vector<std::string>& remarks() const { return remarks_; }

  private:
    std::vector<std::size_t> find_standards() const;
    void read_weights(const FactoredWeights& weights);
    void choose_layers(const std::function<std::vector<float>()>& mu);
    void make_start_values();
    void hold_geometry(Problem& problem, std::span<const double> globals) const;
    std::unique_ptr<Operator> make_operator(const rietveld::PatternBasis& basis) const;
    double model_distance() const;

    const mpi::Communicator& communicator_;
    Observer& observer_;
    Options options_;
    std::unique_ptr<ScanData> scan_;
    mpi::NodeTeam team_; ///< has the maps
    ConventionalMaps conventional_;
    tomography::ImageGrid grid_;
    Setup setup_;
    std::vector<std::size_t> standards_;
    std::vector<float> weight_, used_weight_;
    std::vector<double> channel_weight_;
    double ray_count_ = 0, data_squares_ = 0, pattern_squares_ = 0, half_depth_ = 0;
    bool parallax_ = false;
    tomography::DepthLayers layers_;
    rietveld::PatternBasisOptions basis_options_;
    std::unique_ptr<ExitRay> exit_ray_;
    std::vector<float> depth_factors_; ///< [own ray][layer]; empty: 1
    std::vector<GeometryParameter> geometry_parameters_;
    std::vector<std::string> remarks_;
    int passes_ = 0; ///< over the data, to replace them

    // Of the setup as it is.
    std::unique_ptr<rietveld::PatternBasis> basis_;
    std::vector<float> data_;
    std::vector<double> squares_; ///< [own ray] Σ w y² over the channels
    std::unique_ptr<Operator> model_;
    SharedArray<double> start_values_;
    std::vector<Field> fields_;
    std::vector<Global> globals_; ///< shapes, then the geometry's
    std::unique_ptr<Problem> problem_;
};

} // namespace xrdct::dlsr
