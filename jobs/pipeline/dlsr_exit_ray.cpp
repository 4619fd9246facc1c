#include "jobs/pipeline/dlsr_exit_ray.hpp"

#include "absorption/exit_ray.hpp"
#include "base/error.hpp"
#include "tomography/fbp.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

namespace xrdct::pipeline {

namespace {

std::vector<float> attenuation_map(const StageContext& context, const tomography::ImageGrid& grid) {
    const auto& job = context.job;
    std::vector<float> mu;
    std::string source = job.input.file.string() + ": the transmission";
    if (job.absorption.method == settings::AbsorptionMethod::phases) {
        source = product_path(job, "absorption").string() + ": entry/absorption/attenuation/mu";
        mu = read_absorption_product(job).mu;
        if (mu.size() != grid.size())
            throw Error(fmt::format("{} has {} values for an image of {} × {}", source, mu.size(),
                                    grid.n, grid.n));
    } else {
        std::vector<float> integral;
        for (const float value : context.transmission)
            integral.push_back(value > 0 ? -std::log(value)
                                         : std::numeric_limits<float>::quiet_NaN());
        mu.resize(grid.size());
        tomography::FilteredBackProjection(context.scan.geometry(), grid, fbp_options(job))
            .reconstruct(integral, 1, mu);
    }
    if (!std::all_of(mu.begin(), mu.end(), [](float value) { return std::isfinite(value); }))
        throw Error(fmt::format("{} gives no attenuation in all of the image, which "
                                "dlsr.exit_ray = \"deviated\" needs",
                                source));
    return mu;
}

} // namespace

DlsrExitRay::DlsrExitRay(const StageContext& context, const rietveld::RadialAxis& axis,
                         const rietveld::PatternModel& model,
                         std::span<const double> channel_weight)
    : grid_(context.scan.grid()), mu_(attenuation_map(context, grid_)) {
    const auto& two_theta = axis.two_theta();
    double total = 0;
    for (const auto& line : rietveld::PatternCalculator(axis, model).lines(model)) {
        const auto next = std::lower_bound(two_theta.begin(), two_theta.end(), line.two_theta);
        const auto k =
            std::min(static_cast<std::size_t>(next - two_theta.begin()), two_theta.size() - 1);
        if (!(channel_weight[k] > 0) || !(line.intensity > 0))
            continue;
        two_theta_ += line.intensity * line.two_theta;
        total += line.intensity;
    }
    if (!(total > 0))
        throw Error(fmt::format("{}: dlsr.exit_ray is \"deviated\", but no phase has a line in the "
                                "channels in use",
                                context.job.source.string()));
    two_theta_ /= total;
}

std::vector<float> DlsrExitRay::factors(const tomography::ScanGeometry& geometry,
                                        const tomography::DepthLayers& layers,
                                        bool reversed) const {
    return absorption::exit_ray_factors(
        geometry, grid_, mu_, layers,
        {.two_theta = two_theta_, .detector_side = reversed ? -1 : 1});
}

std::string DlsrExitRay::describe(const mpi::Communicator& communicator,
                                  std::span<const float> factors,
                                  std::span<const float> ray_weight) const {
    const std::size_t layers = ray_weight.empty() ? 1 : factors.size() / ray_weight.size();
    double least = std::numeric_limits<double>::infinity(), most = -least;
    std::vector<double> sums(2, 0.0);
    for (std::size_t i = 0; i < factors.size(); ++i)
        if (ray_weight[i / layers] > 0) {
            least = std::min<double>(least, factors[i]);
            most = std::max<double>(most, factors[i]);
            sums[0] += std::pow(factors[i] - 1.0, 2);
            sums[1] += 1;
        }
    least = communicator.allreduce(least, mpi::Reduction::min);
    most = communicator.allreduce(most, mpi::Reduction::max);
    communicator.allreduce(std::span<double>(sums), mpi::Reduction::sum);
    return fmt::format(
        "exit rays leave at 2theta = {:.3g} deg: their transmission over that of the "
        "straight ray is {:.4f} to {:.4f}, {:.2g} from 1 (rms over rays and layers)",
        two_theta_, least, most, std::sqrt(sums[0] / sums[1]));
}

} // namespace xrdct::pipeline
