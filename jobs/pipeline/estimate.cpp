#include "jobs/pipeline/estimate.hpp"

#include "base/units.hpp"
#include "jobs/pipeline/pipeline.hpp"

#include <algorithm>

namespace xrdct::pipeline {

namespace {

// Measured on one core at 3 GHz: see the benchmarks.
constexpr double back_projection_rate = 1.2e10; ///< pixel · rotation · channel per second
constexpr double fits_per_second = 15000;       ///< voxel patterns of 700 channels
constexpr double rays_per_second = 14000;       ///< taken apart into phases, 700 channels
constexpr double iterated_rays_per_second = 15000;
// Of a DLSR with its default settings: what it takes besides the time of a product with the
// Gauss-Newton matrix (docs/scaling.md), in seconds of one core; coefficients of a ray, columns and
// copies of the data, bytes of a voxel on a node and on every rank, bytes of a rank.
constexpr double dlsr_start = 5, dlsr_seconds_per_operation = 2e-8;
constexpr double dlsr_coefficients = 128, dlsr_columns = 20, dlsr_node_voxel = 4000,
                 dlsr_rank_voxel = 250, dlsr_rank = 1e8;
constexpr double disk_rate = 5e8; ///< bytes per second, all ranks run_and_sync

} // namespace

std::vector<StageEstimate> estimate(const settings::Job& job, const Scan& scan, int ranks,
                                    std::uint64_t memory) {
    const double cores = ranks;
    const double n_rotation = static_cast<double>(scan.geometry().rotation.size());
    const double n_translation = static_cast<double>(scan.geometry().translation.size());
    const double pixels = static_cast<double>(scan.grid().size());
    const double channels = static_cast<double>(scan.n_channel());
    const double disc = pixels * pi / 4;

    std::vector<StageEstimate> list;
    for (const auto& stage : job.stages) {
        StageEstimate one;
        one.stage = stage;
        if (stage == "absorption") {
            if (job.absorption.method == "none")
                continue;
            one.seconds = disc * n_rotation / back_projection_rate;
            if (!job.phases.empty()) {
                // Amounts along the rays; then, on every rank, the iteration.
                const double rays = n_rotation * n_translation;
                one.seconds += rays * channels / 700 / rays_per_second / cores +
                               4 * rays * channels / disk_rate;
                if (job.absorption.method == "phases")
                    one.seconds += 1 + rays / iterated_rays_per_second;
            }
            one.disk = static_cast<std::uint64_t>(8 * (pixels + n_rotation * n_translation));
            one.memory = fbp_memory(scan, 1);
        } else if (stage == "fbp") {
            const auto per_pass =
                channels_per_pass(scan, ranks, memory / static_cast<std::uint64_t>(ranks));
            one.disk = static_cast<std::uint64_t>(4 * pixels * channels * (1 + 1.0 / 64));
            const double read = 4 * n_rotation * n_translation * channels;
            one.seconds = disc * n_rotation * channels / back_projection_rate / cores +
                          (static_cast<double>(one.disk) + read) / disk_rate;
            one.memory = fbp_memory(scan, per_pass);
        } else if (stage == "dlsr") {
            const double rays = n_rotation * n_translation;
            const double operations = 640 * n_rotation * disc + 1.5e5 * rays;
            one.seconds = (dlsr_start + dlsr_seconds_per_operation * operations) / cores +
                          4 * rays * channels / disk_rate;
            one.memory = static_cast<std::uint64_t>(
                dlsr_rank + dlsr_rank_voxel * disc +
                (dlsr_node_voxel * disc + 4 * rays * dlsr_coefficients * dlsr_columns) / cores);
            one.disk = static_cast<std::uint64_t>(
                16 * pixels * (4.0 + 3.0 * static_cast<double>(job.phases.size())));
        } else {
            const double passes = job.mask.phases || !job.mask.images.empty() ? 2 : 1;
            one.seconds = passes * (disc * channels / 700 / fits_per_second / cores +
                                    4 * pixels * channels / disk_rate);
            const double columns = 8.0 + 8.0 * static_cast<double>(job.phases.size());
            one.memory =
                static_cast<std::uint64_t>(1.1e8 + 2 * 8 * pixels * columns +
                                           3 * 4 * (pixels > 0 ? n_translation : 0) * channels);
            one.disk = static_cast<std::uint64_t>(8 * pixels * columns);
        }
        list.push_back(one);
    }
    return list;
}

} // namespace xrdct::pipeline
