// SPDX-License-Identifier: BSD-3-Clause
#include "absorption/body_image.hpp"

#include "base/error.hpp"

#include <algorithm>
#include <cmath>

namespace xrdct::absorption {

namespace {

constexpr double least_slope = 0.1;   ///< of P exp(−P − b), over exp(−P − b)
constexpr double largest_depth = 8.0; ///< beyond which nothing is seen
constexpr double least_gain = 1e-3;   ///< of the misfit in a step, relative
constexpr int most_halvings = 3;      ///< of a step that makes the misfit larger

double dot(std::span<const float> a, std::span<const float> b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i)
        sum += static_cast<double>(a[i]) * b[i];
    return sum;
}

/// What all but 1 % of the values do not exceed; reorders them.
double almost_largest(std::vector<float>& values) {
    if (values.empty())
        return 0;
    const auto at =
        values.begin() + static_cast<std::ptrdiff_t>(0.99 * static_cast<double>(values.size() - 1));
    std::nth_element(values.begin(), at, values.end());
    return *at;
}

} // namespace

/// Residual and slope of every ray where the image is.
struct BodyImageSolver::Linearisation {
    std::vector<float> pull;      // weight · slope · residual
    std::vector<float> curvature; // weight · slope²
};

BodyImageSolver::BodyImageSolver(const tomography::ScanGeometry& geometry,
                                 const tomography::ImageGrid& grid, std::span<const float> seen,
                                 std::span<const double> variance)
    : projector_(geometry, grid), seen_(seen.begin(), seen.end()), weight_(seen.size(), 0.0) {
    if (seen.size() != projector_.rays() || variance.size() != seen.size())
        throw Error("absorption: amounts or variances do not match the rays");
    double sum = 0;
    for (std::size_t i = 0; i < seen.size(); ++i) {
        if (std::isfinite(seen_[i]) && std::isfinite(variance[i]) && variance[i] > 0)
            sum += weight_[i] = 1 / variance[i];
        else
            seen_[i] = 0;
    }
    if (!(sum > 0))
        throw Error("absorption: no ray has an amount of the phases");
    for (double& weight : weight_)
        weight *= static_cast<double>(seen.size()) / sum;
}

/// One Gauss-Newton step of the free pixels; not below 0.
void BodyImageSolver::improve(const Linearisation& at, std::vector<float>& mu, int inner) const {
    const std::size_t pixels = mu.size();
    std::vector<float> residual(pixels), step(pixels, 0.0F), product(pixels), rays(at.pull.size());
    projector_.adjoint(at.pull, 1, residual);
    std::vector<float> free(pixels);
    for (std::size_t i = 0; i < pixels; ++i) {
        free[i] = mu[i] > 0 || residual[i] > 0 ? 1.0F : 0.0F;
        residual[i] *= free[i];
    }
    std::vector<float> direction = residual;
    double size = dot(residual, residual);
    for (int k = 0; k < inner && size > 0; ++k) {
        projector_.forward(direction, 1, rays);
        for (std::size_t i = 0; i < rays.size(); ++i)
            rays[i] *= at.curvature[i];
        projector_.adjoint(rays, 1, product);
        for (std::size_t i = 0; i < pixels; ++i)
            product[i] *= free[i];
        const double bend = dot(direction, product);
        if (!(bend > 0))
            break;
        const double length = size / bend;
        for (std::size_t i = 0; i < pixels; ++i) {
            step[i] += static_cast<float>(length) * direction[i];
            residual[i] -= static_cast<float>(length) * product[i];
        }
        const double next = dot(residual, residual);
        for (std::size_t i = 0; i < pixels; ++i)
            direction[i] = residual[i] + static_cast<float>(next / size) * direction[i];
        size = next;
    }
    for (std::size_t i = 0; i < pixels; ++i)
        mu[i] = std::max(0.0F, mu[i] + step[i]);
}

/// Residuals and slopes of all rays, and the misfit.
double BodyImageSolver::look(const BodyImage& image, double constant, std::span<const double> known,
                             Linearisation& at) const {
    double squares = 0, scale = 0;
    for (std::size_t i = 0; i < seen_.size(); ++i) {
        const double depth = std::min<double>(image.depth[i], largest_depth);
        const double lets = std::exp(-depth - (known.empty() ? 0.0 : known[i]));
        const double wanted = constant * seen_[i], off = wanted - depth * lets;
        const double slope =
            std::copysign(std::max(std::abs(1 - depth), least_slope), 1 - depth) * lets;
        squares += weight_[i] * off * off;
        scale += weight_[i] * wanted * wanted;
        at.pull[i] = static_cast<float>(weight_[i] * slope * off);
        at.curvature[i] = static_cast<float>(weight_[i] * slope * slope);
    }
    return scale > 0 ? std::sqrt(squares / scale) : 0;
}

BodyImage BodyImageSolver::solve(double constant, std::span<const double> known,
                                 std::span<const float> start,
                                 const BodyImageOptions& options) const {
    const std::size_t rays = seen_.size();
    BodyImage image;
    image.mu.assign(projector_.grid().size(), 0.0F);
    if (!start.empty())
        image.mu.assign(start.begin(), start.end());
    image.depth.resize(rays);
    projector_.forward(image.mu, 1, image.depth);
    Linearisation at{std::vector<float>(rays), std::vector<float>(rays)};
    image.misfit = look(image, constant, known, at);
    std::vector<float> changes;
    while (!image.converged && image.steps < options.max_steps) {
        const auto before = image;
        improve(at, image.mu, options.inner_steps);
        for (int halving = 0;; ++halving) {
            projector_.forward(image.mu, 1, image.depth);
            image.misfit = look(image, constant, known, at);
            if (image.misfit <= before.misfit || halving == most_halvings)
                break;
            for (std::size_t i = 0; i < image.mu.size(); ++i)
                image.mu[i] = 0.5F * (image.mu[i] + before.mu[i]);
        }
        ++image.steps;
        changes.clear();
        for (std::size_t i = 0; i < rays; ++i)
            changes.push_back(std::abs(std::exp(-image.depth[i]) - std::exp(-before.depth[i])));
        image.change = almost_largest(changes);
        // What still moves when the misfit no longer does, are pixels that share a sum.
        const bool stays = image.misfit > (1 - least_gain) * before.misfit;
        image.converged =
            image.change < options.tolerance || (stays && image.change < 10 * options.tolerance);
    }
    return image;
}

} // namespace xrdct::absorption
