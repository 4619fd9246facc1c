#pragma once

#include "jobs/pipeline/dlsr_exit_ray.hpp"
#include "jobs/pipeline/dlsr_model.hpp"
#include "jobs/pipeline/dlsr_scan.hpp"
#include "jobs/pipeline/pipeline.hpp"
#include "rietveld/model/pattern_basis.hpp"
#include "rietveld/model/radial_axis.hpp"
#include "solvers/dlsr/operator.hpp"
#include "solvers/dlsr/problem.hpp"
#include "tomography/depth_projector.hpp"

#include <memory>
#include <span>
#include <string>
#include <vector>

namespace xrdct::pipeline {

/// What a DLSR fits and to what: the setup of the model, its patterns, the compressed data, the
/// operator and the least-squares problem. All but the setup are built anew whenever that changes.
/// It knows nothing of steps: where the fit stands is the caller's. Members are collective unless
/// said otherwise.
class DlsrSystem {
  public:
    /// Units of the geometry's unknowns: of the axis [steps] and of the distance (relative).
    static constexpr double axis_unit = 0.02, distance_unit = 0.01;

    /// Reads the conventional result and the weights of the scan, and makes the setup of them;
    /// nothing is built yet. Context, timings and scan must outlive it. Throws Error on all ranks
    /// for settings that do not fit the model and scans without a ray that can be used.
    DlsrSystem(StageContext& context, program::Timings& timings, DlsrScan& scan);
    DlsrSystem(const DlsrSystem&) = delete;
    DlsrSystem& operator=(const DlsrSystem&) = delete;

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
    /// (both run_and_sync mirror the maps only), and the data of the rays of `weight`.
    struct Reversed {
        std::unique_ptr<rietveld::PatternBasis> basis;
        std::vector<float> data;
        std::unique_ptr<dlsr::Operator> model;
        std::unique_ptr<dlsr::Problem>
            problem; ///< none: its patterns need another number of values
    };
    Reversed reversed(std::span<const float> weight, std::span<const double> globals) const;
    /// The global unknowns out of all ranks' shares.
    std::vector<double> global_unknowns(std::span<const double> x) const;

    // What follows is not collective.
    const StageContext& context() const { return context_; }
    const settings::Job& job() const { return context_.job; }
    const mpi::Communicator& communicator() const { return context_.communicator; }
    program::Timings& timings() const { return timings_; }
    DlsrScan& scan() const { return scan_; }
    const ConventionalResult& conventional() const { return conventional_; }
    const tomography::ImageGrid& grid() const { return grid_; }
    const DlsrSetup& setup() const { return setup_; }
    const rietveld::PatternBasis& basis() const { return *basis_; }
    dlsr::Operator& model() const { return *model_; }
    dlsr::Problem& problem() const { return *problem_; }
    const std::vector<float>& data() const { return data_; }     ///< [own ray][M]
    const std::vector<float>& weight() const { return weight_; } ///< [own ray], all that count
    const std::vector<float>& used_weight() const { return used_weight_; } ///< that the fit sees
    double data_squares() const { return data_squares_; }                  ///< Σ W d² of these
    double ray_count() const { return ray_count_; } ///< with weight, of all ranks
    const tomography::DepthLayers& layers() const { return layers_; }
    const std::vector<std::size_t>& standards() const { return standards_; } ///< phases
    rietveld::RadialAxis radial_axis() const;
    bool has_parallax() const { return parallax_; }
    std::size_t unknown_count() const; ///< of all ranks; known before anything is built
    bool has_smooth_fields() const;    ///< voxel shapes that a strength of the smoothness is about

    const SharedMemoryTeam& team() const { return team_; }
    /// First of the global unknowns: those of the shapes, then the geometry's.
    std::size_t first_global() const;
    std::size_t
    geometry_unknown(dlsr::GeometryParameter parameter) const; ///< among the global ones
    /// Unit and range of a global unknown.
    const dlsr::Global& global_of(std::size_t unknown) const { return globals_[unknown]; }
    /// Of the global shapes where the global unknowns are `globals`.
    std::vector<double> global_values(std::span<const double> globals) const;

    /// For the reader of the result.
    void remark(std::string text) { remarks_.push_back(std::move(text)); }
    const std::vector<std::string>& remarks() const { return remarks_; }

  private:
    void read_weights(const dlsr::FactoredWeights& weights);
    void choose_layers();
    void hold_geometry(dlsr::Problem& problem, std::span<const double> globals) const;
    std::unique_ptr<dlsr::Operator> make_operator(const rietveld::PatternBasis& basis) const;
    double model_distance() const;

    StageContext& context_;
    program::Timings& timings_;
    DlsrScan& scan_;
    mpi::NodeTeam team_; ///< has the maps
    ConventionalResult conventional_;
    tomography::ImageGrid grid_;
    DlsrSetup setup_;
    std::vector<std::size_t> standards_;
    std::vector<float> weight_, used_weight_;
    std::vector<double> channel_weight_;
    double ray_count_ = 0, data_squares_ = 0;
    bool parallax_ = false;
    tomography::DepthLayers layers_;
    rietveld::PatternBasisOptions basis_options_;
    std::unique_ptr<DlsrExitRay> exit_ray_;
    std::vector<float> depth_factors_; ///< [own ray][layer]; empty: 1
    std::vector<dlsr::GeometryParameter> geometry_parameters_;
    std::vector<std::string> remarks_;
    int passes_ = 0; ///< over the data, to replace them

    // Of the setup as it is.
    std::unique_ptr<rietveld::PatternBasis> basis_;
    std::vector<float> data_;
    std::unique_ptr<dlsr::Operator> model_;
    SharedArray<double> start_values_;
    std::vector<dlsr::Field> fields_;
    std::vector<dlsr::Global> globals_; ///< shapes, then the geometry's
    std::unique_ptr<dlsr::Problem> problem_;
};

} // namespace xrdct::pipeline
