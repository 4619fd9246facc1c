// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/bench/model.hpp"
#include "jobs/bench/sample.hpp"
#include "mpi/comm/communicator.hpp"
#include "mpi/comm/traffic.hpp"
#include "solvers/petsc/session.hpp"

#include <filesystem>
#include <limits>
#include <map>
#include <vector>

namespace xrdct::bench {

/// How a problem grows with the ranks.
enum class Scaling {
    strong, ///< not at all
    weak,   ///< rotations (DLSR, I/O), channels (FBP) and rows of voxels (fits) per rank stay
};

/// One stage on some ranks. Sums and largest values are over the ranks.
struct Measurement {
    Stage stage = Stage::fbp;
    Scaling scaling = Scaling::strong;
    std::size_t ranks = 1;
    std::size_t team = 1;          ///< ranks of the largest team that shares memory; DLSR only
    double seconds = 0;            ///< best of the repetitions, slowest rank
    double flops = 0;              ///< sum; 0: not counted
    double bytes = 0;              ///< from and to memory, sum; 0: not counted
    double max_flops = 0;          ///< of one rank
    double sent = 0, received = 0; ///< mean over the ranks
    double calls = 0;              ///< collective calls, largest
    double one_sided = 0;          ///< mean over the ranks
    double file_bytes = 0;         ///< sum of what the stage means to write or read
    double kernel_file_bytes = 0;  ///< sum of what the system counts (/proc/self/io)
    double peak_memory = 0;        ///< of one rank [bytes], largest; all that it sees
    double error = 0;              ///< relative difference from the answer on one rank
    double root_share = 1;         ///< of the voxel fits
    StepCalls step;                ///< stage step only
};

/// Answers of one rank, against which others are compared.
using Answers = std::map<Stage, std::vector<double>>;

struct StageOptions {
    int repetitions = 3;
    std::size_t step_iterations = 10; ///< conjugate gradients in a step
    std::filesystem::path folder = ".";
    std::size_t ranks_per_node = std::numeric_limits<std::size_t>::max(); ///< at most, in a team
};

/// Runs stages on the ranks of a communicator, which contains rank 0 of the session's as its own
/// rank 0. The answers of strong and weak runs on P ranks must be those of one rank, up to the
/// factor by which the weak problems, copies of the same data, are larger: `answers` takes those
/// of one rank and gives them for comparison (root only).
class StageRunner {
  public:
    StageRunner(const mpi::Communicator& communicator, const petsc::Session& session,
                const Sample& sample, StageOptions options, Answers& answers);

    /// Collective. Throws Error for what the stages throw, a folder that cannot be written.
    Measurement fbp(Scaling scaling);
    Measurement fits(Scaling scaling);
    /// product, gradient, linearise, precondition, step.
    std::vector<Measurement> dlsr(Scaling scaling);
    /// write, read.
    std::vector<Measurement> files(Scaling scaling);

  private:
    template <class Work>
    Measurement measure(Stage stage, Scaling scaling, int repetitions, Work&& work);
    void compare(Measurement& measurement, std::vector<double> answer);
    std::size_t factor(Scaling scaling) const {
        return scaling == Scaling::weak ? static_cast<std::size_t>(communicator_.size()) : 1;
    }

    const mpi::Communicator& communicator_;
    const petsc::Session& session_;
    const Sample& sample_;
    StageOptions options_;
    Answers& answers_;
};

/// How much an answer may differ from that on one rank, relative: sums in single precision in
/// another order; a step besides ends where its conjugate gradients do.
double allowed_error(Stage stage);

/// Numbers of a scan's costs, from its operator; and the seconds of its parts, from
/// a few rotations, channels and fits on this rank alone, other ranks idle or as busy as it is.
Workload make_workload(const Sample& sample);
Rates measure_rates(const Sample& sample, const Workload& work, const Machine& machine);

/// Channels per rank that the FBP works on at a time.
inline constexpr std::size_t fbp_pass = 32;

/// Tolerance of the condensed products, that of the dlsr stage.
inline constexpr double product_tolerance = 0.05;

} // namespace xrdct::bench
