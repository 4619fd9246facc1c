// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/dlsr/exit_ray.hpp"

#include "absorption/exit_ray.hpp"
#include "base/error.hpp"
#include "base/units.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include <fmt/format.h>

namespace xrdct::dlsr {

ExitRay::ExitRay(const tomography::ImageGrid& grid, std::vector<float> mu,
                 const rietveld::RadialAxis& axis, const rietveld::PatternModel& model,
                 std::span<const double> channel_weight)
    : grid_(grid), mu_(std::move(mu)) {
    if (mu_.size() != grid.size())
        throw Error(fmt::format("a map of attenuation of {} values for an image of {} x {}",
                                mu_.size(), grid.n, grid.n));
    const auto& two_theta = axis.two_theta();
    double total = 0;
    std::vector<std::pair<double, double>> used; // 2θ and intensity
    for (const auto& line : rietveld::PatternCalculator(axis, model).lines(model)) {
        const auto next = std::lower_bound(two_theta.begin(), two_theta.end(), line.two_theta);
        const auto k =
            std::min(static_cast<std::size_t>(next - two_theta.begin()), two_theta.size() - 1);
        if (!(channel_weight[k] > 0) || !(line.intensity > 0))
            continue;
        two_theta_ += line.intensity * line.two_theta;
        total += line.intensity;
        used.emplace_back(line.two_theta, line.intensity);
    }
    if (!(total > 0))
        throw Error(
            "dlsr.exit_ray is \"deviated\", but no phase has a line in the channels in use");
    two_theta_ /= total;
    const auto squared_slope = [](double angle) { return std::pow(std::tan(radians(angle)), 2); };
    for (const auto& [angle, intensity] : used)
        left_share_ +=
            intensity / total * std::pow(squared_slope(angle) / squared_slope(two_theta_) - 1, 2);
    left_share_ = std::sqrt(left_share_);
}

std::vector<float> ExitRay::factors(const tomography::ScanGeometry& geometry,
                                    const tomography::DepthLayers& layers, bool reversed) const {
    return absorption::exit_ray_factors(
        geometry, grid_, mu_, layers,
        {.two_theta = two_theta_, .detector_side = reversed ? -1 : 1});
}

std::string ExitRay::describe(const mpi::Communicator& communicator, std::span<const float> factors,
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
        "straight ray is {:.4f} to {:.4f}, {:.2g} from 1 (rms over rays and layers); lines at "
        "other angles keep about {:.2g} of that",
        two_theta_, least, most, std::sqrt(sums[0] / sums[1]), left_share_);
}

} // namespace xrdct::dlsr
