// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "absorption/body_absorption.hpp"
#include "absorption/self_absorption.hpp"
#include "mpi/comm/communicator.hpp"
#include "rietveld/model/pattern_model.hpp"
#include "solvers/absorption/ray_decomposition.hpp"
#include "solvers/absorption/ray_sums.hpp"
#include "solvers/observer.hpp"
#include "solvers/ray_source.hpp"
#include "tomography/scan_geometry.hpp"

#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace xrdct::absorption {

struct PhaseAbsorptionOptions {
    RayModelOptions rays;
    SelfAbsorptionOptions correction; ///< its `filling` is found from the following
    std::string filling;              ///< formula of what fills the rest of the sample; "": nothing
    double filling_density = 0;       ///< g/cm³
    /// A body without a can, whose transmission is to be found.
    struct Body {
        BodyAbsorptionOptions correction; ///< its coefficients μ are found from the formulas
        std::string container;            ///< formula of its wall; "": none
        double container_density = 0;     ///< g/cm³
    };
    std::optional<Body> body; ///< in place of `correction`
};

/// The self-absorption of a scan from the phases in it. Steps, one after the other: sums over the
/// rays, a model refined on their mean, the amounts of its phases along every ray, and the
/// correction that agrees with them (correct_self_absorption). With a measured transmission the
/// last step only turns amounts into volumes. A body without a can is corrected by
/// correct_body_absorption.
class PhaseAbsorption {
  public:
    enum class Step { sums, model, decomposition, correction, finished };

    struct State {
        Step next = Step::sums;
        RaySums sums;
        rietveld::PatternModel model; ///< the start model, then the refined one
        std::vector<std::vector<float>>
            amounts; ///< ∫ S dl [phase][rotation][translation], root only
        /// On the root; the others know the transmission only.
        SelfAbsorptionResult result;
        std::optional<BodyFindings> body; ///< on the root, for a body without a can
    };

    /// `rays` are not corrected for absorption; `transmission` [rotation][translation] is the
    /// measured one, empty where it is to be found. All must outlive the object.
    PhaseAbsorption(const mpi::Communicator& communicator, const solvers::RaySource& rays,
                    const tomography::ImageGrid& grid, rietveld::PatternModel start,
                    std::span<const float> transmission, const PhaseAbsorptionOptions& options,
                    solvers::Observer& observer);

    const State& state() const { return state_; }
    /// Ends the work.
    State take_state() { return std::move(state_); }
    bool finished() const { return state_.next == Step::finished; }
    /// Makes the next step and says which. Throws Error for the reasons of refine(),
    /// RayDecomposition, correct_self_absorption() and correct_body_absorption(), and for a
    /// transmission that does not agree with the amounts. Collective.
    Step step();

  private:
    void refine_model();
    void correct();
    SelfAbsorptionInput correction_input(double energy);
    SelfAbsorptionResult correct_sample(double energy);
    SelfAbsorptionResult correct_body(double energy);
    void tell_worth();
    void tell_body();

    const mpi::Communicator& communicator_;
    const solvers::RaySource& rays_;
    tomography::ImageGrid grid_;
    std::span<const float> transmission_;
    PhaseAbsorptionOptions options_;
    solvers::Observer& observer_;
    std::optional<rietveld::RadialAxis> axis_;
    State state_;
};

/// The correction by a measured transmission without any phases: the transmission itself and the
/// map of the attenuation that it gives. The other parts of the result stay empty. Not collective.
SelfAbsorptionResult measured_absorption(const tomography::ScanGeometry& geometry,
                                         const tomography::ImageGrid& grid,
                                         std::span<const float> transmission,
                                         const tomography::FbpOptions& options);

} // namespace xrdct::absorption
