// SPDX-License-Identifier: BSD-3-Clause
#include "absorption/body_level.hpp"

#include "absorption/hollow_core.hpp"
#include "absorption/image_levels.hpp"
#include "base/units.hpp"
#include "tomography/fbp.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace xrdct::absorption {

namespace {

/// Mean of the finite values of a block of rays.
float block_mean(std::span<const float> values, std::size_t translations,
                 std::size_t first_rotation, std::size_t rotations, std::size_t first,
                 std::size_t bin) {
    double sum = 0;
    std::size_t count = 0;
    for (std::size_t i = first_rotation; i < first_rotation + rotations; ++i)
        for (std::size_t j = first; j < first + bin; ++j)
            if (const float value = values[i * translations + j]; std::isfinite(value)) {
                sum += value;
                ++count;
            }
    return count > 0 ? static_cast<float>(sum / static_cast<double>(count))
                     : std::numeric_limits<float>::quiet_NaN();
}

/// Fills the pixels of a mask [n × n] that no way outside, along edges, leaves.
void fill_holes(std::vector<unsigned char>& mask, std::size_t n) {
    std::vector<unsigned char> outside(mask.size(), 0);
    std::vector<std::size_t> open;
    const auto visit = [&](std::size_t at) {
        if (!mask[at] && !outside[at]) {
            outside[at] = 1;
            open.push_back(at);
        }
    };
    for (std::size_t k = 0; k < n; ++k)
        for (const std::size_t at : {k, (n - 1) * n + k, k * n, k * n + n - 1})
            visit(at);
    while (!open.empty()) {
        const std::size_t at = open.back(), x = at % n, y = at / n;
        open.pop_back();
        if (x > 0)
            visit(at - 1);
        if (x + 1 < n)
            visit(at + 1);
        if (y > 0)
            visit(at - n);
        if (y + 1 < n)
            visit(at + n);
    }
    for (std::size_t i = 0; i < mask.size(); ++i)
        mask[i] = !outside[i];
}

/// Takes single pixels of noise out of a mask: those with fewer than four neighbours in it.
void drop_specks(std::vector<unsigned char>& mask, std::size_t n) {
    const auto before = mask;
    for (std::size_t y = 0; y < n; ++y)
        for (std::size_t x = 0; x < n; ++x) {
            int neighbours = -1;
            for (std::size_t v = y > 0 ? y - 1 : 0; v < std::min(n, y + 2); ++v)
                for (std::size_t u = x > 0 ? x - 1 : 0; u < std::min(n, x + 2); ++u)
                    neighbours += before[v * n + u];
            if (neighbours < 4)
                mask[y * n + x] = 0;
        }
}

/// Share of every pixel that is inside a mask [n × n] drawn at a low level of an image: pixels near
/// its border count with their value over the highest one near them.
std::vector<float> covered_shares(const std::vector<unsigned char>& mask,
                                  const std::vector<double>& image, std::size_t n) {
    std::vector<float> shares(mask.size(), 0.0F);
    for (std::size_t y = 0; y < n; ++y)
        for (std::size_t x = 0; x < n; ++x) {
            if (!mask[y * n + x])
                continue;
            double highest = 0;
            bool border = false;
            for (std::size_t v = y > 1 ? y - 2 : 0; v < std::min(n, y + 3); ++v)
                for (std::size_t u = x > 1 ? x - 2 : 0; u < std::min(n, x + 3); ++u) {
                    highest = std::max(highest, image[v * n + u]);
                    border = border || !mask[v * n + u];
                }
            shares[y * n + x] = static_cast<float>(
                border && highest > 0 ? std::clamp(image[y * n + x] / highest, 0.0, 1.0) : 1.0);
        }
    return shares;
}

} // namespace

BodyLevel::BodyLevel(const tomography::ScanGeometry& geometry, const tomography::ImageGrid& grid,
                     const BodyAbsorptionInput& input, const BodyAbsorptionOptions& options,
                     std::size_t bin)
    : input_(input), options_(options), geometry_(geometry), grid_(grid) {
    if (bin > 1) {
        bin_rays(geometry, bin);
    } else {
        amounts_ = input.seen.amounts;
        total_.assign(input.seen.total.begin(), input.seen.total.end());
    }
    seen_.assign(total_.size(), 0.0F);
    float highest = 0;
    for (std::size_t i = 0; i < total_.size(); ++i) {
        for (std::size_t p = 0; p < amounts_.size(); ++p)
            seen_[i] += static_cast<float>(input.seen.mu[p] - options.filling) * amounts_[p][i];
        if (std::isfinite(total_[i]))
            highest = std::max(highest, total_[i]);
    }
    // Counting noise with what background and neighbours add to that of weak rays.
    for (const float value : total_)
        variance_.push_back(std::isfinite(value) ? std::max(0.0F, value) + 0.1 * highest
                                                 : std::numeric_limits<double>::quiet_NaN());
    solver_ = std::make_unique<BodyImageSolver>(geometry_, grid_, seen_, variance_);
    find_outline({});
    place({});
}

void BodyLevel::bin_rays(const tomography::ScanGeometry& geometry, std::size_t bin) {
    const std::size_t n = geometry.translation.size(), rotations = geometry.rotation.size();
    const std::size_t columns = n / bin;
    // A point at the edge moves by less than a coarse step within the rotations that are averaged.
    const double turn = 2.0 / static_cast<double>(columns) * 180 / pi;
    std::vector<std::pair<std::size_t, std::size_t>> blocks;
    for (std::size_t i = 0; i < rotations;) {
        std::size_t end = i + 1;
        while (end < rotations && end - i < bin &&
               std::abs(geometry.rotation[end] - geometry.rotation[i]) < turn)
            ++end;
        blocks.emplace_back(i, end - i);
        i = end;
    }
    geometry_.rotation.clear();
    geometry_.translation.clear();
    for (const auto& [first, count] : blocks)
        geometry_.rotation.push_back(
            std::accumulate(geometry.rotation.begin() + static_cast<std::ptrdiff_t>(first),
                            geometry.rotation.begin() + static_cast<std::ptrdiff_t>(first + count),
                            0.0) /
            static_cast<double>(count));
    for (std::size_t j = 0; j < columns; ++j)
        geometry_.translation.push_back(
            0.5 * (geometry.translation[j * bin] + geometry.translation[j * bin + bin - 1]));
    grid_ = tomography::default_grid(geometry_);
    const auto average = [&](std::span<const float> values) {
        std::vector<float> means;
        for (const auto& [first, count] : blocks)
            for (std::size_t j = 0; j < columns; ++j)
                means.push_back(block_mean(values, n, first, count, j * bin, bin));
        return means;
    };
    for (const auto& amounts : input_.seen.amounts)
        amounts_.push_back(average(amounts));
    total_ = average(input_.seen.total);
}

std::vector<double> BodyLevel::image_of(std::span<const float> sinogram) const {
    std::vector<float> image(grid_.size());
    tomography::FilteredBackProjection(geometry_, grid_, options_.fbp)
        .reconstruct(sinogram, 1, image);
    return weighted_smooth(std::vector<double>(image.begin(), image.end()),
                           std::vector<double>(image.size(), 1.0), grid_.n, grid_.n, 0.7, 0.7);
}

void BodyLevel::find_outline(std::span<const float> transmission) {
    auto total = total_;
    for (std::size_t i = 0; i < transmission.size(); ++i)
        total[i] /= transmission[i];
    const auto image = image_of(total);
    auto filled = sample_mask(image, std::max(0.2, options_.mask_threshold));
    drop_specks(filled, grid_.n);
    fill_holes(filled, grid_.n);
    outline_ = covered_shares(filled, image, grid_.n);
    outline_area_ =
        std::accumulate(outline_.begin(), outline_.end(), 0.0) * grid_.pixel * grid_.pixel;
}

double BodyLevel::inside_area() const {
    return container_area_ > 0 ? container_area_ : outline_area_;
}

Circle BodyLevel::sample_circle() const {
    // What holds the sample scatters, but not in lines.
    std::vector<float> volume(total_.size(), 0.0F);
    for (const auto& phase : amounts_)
        for (std::size_t i = 0; i < volume.size(); ++i)
            volume[i] += phase[i];
    auto mask = sample_mask(image_of(volume), 0.2);
    drop_specks(mask, grid_.n);
    return enclosing_circle(grid_, mask);
}

void BodyLevel::place(const std::optional<Container>& container) {
    inside_.assign(outline_.size(), 0);
    if (container) {
        for (std::size_t y = 0; y < grid_.n; ++y)
            for (std::size_t x = 0; x < grid_.n; ++x)
                inside_[y * grid_.n + x] =
                    std::hypot(grid_.coordinate(x) - container->centre_x,
                               grid_.coordinate(y) - container->centre_y) < container->inner_radius;
        filled_ = disc_paths(geometry_, container->centre_x, container->centre_y,
                             container->inner_radius);
        container_ = container_depths(geometry_, *container);
        container_area_ = pi * container->inner_radius * container->inner_radius;
        return;
    }
    for (std::size_t i = 0; i < inside_.size(); ++i)
        inside_[i] = outline_[i] > 0.5F;
    container_.clear();
    container_area_ = 0;
    filled_.assign(total_.size(), 0.0F);
    solver_->projector().forward(outline_, 1, filled_);
}

std::vector<double> BodyLevel::known(double rest) const {
    std::vector<double> depth(filled_.size());
    for (std::size_t i = 0; i < depth.size(); ++i)
        depth[i] =
            (options_.filling + rest) * filled_[i] + (container_.empty() ? 0.0 : container_[i]);
    return depth;
}

BodyImage BodyLevel::solve(double constant, double rest, std::span<const float> start,
                           const BodyImageOptions& options) const {
    return solver_->solve(constant, known(rest), start, options);
}

std::vector<float> BodyLevel::transmission(const BodyImage& image, double rest) const {
    const auto depth = known(rest);
    std::vector<float> transmission;
    for (std::size_t i = 0; i < depth.size(); ++i)
        transmission.push_back(static_cast<float>(std::exp(-depth[i] - image.depth[i])));
    return transmission;
}

double BodyLevel::mass_per_length(double constant, std::span<const float> transmission) const {
    const std::size_t n = geometry_.translation.size();
    double mass = options_.filling_density * inside_area();
    for (std::size_t p = 0; p < amounts_.size(); ++p) {
        double area = 0; // of the phase, mean over the rotations
        std::size_t rotations = 0;
        for (std::size_t i = 0; i < geometry_.rotation.size(); ++i) {
            double sum = 0;
            std::size_t count = 0;
            for (std::size_t j = i * n; j < (i + 1) * n; ++j)
                if (const double path = amounts_[p][j] / transmission[j]; std::isfinite(path)) {
                    sum += path;
                    ++count;
                }
            if (count == 0)
                continue;
            area += sum * static_cast<double>(n) / static_cast<double>(count);
            ++rotations;
        }
        if (rotations > 0)
            mass += (input_.density[p] - options_.filling_density) * constant * area *
                    std::abs(geometry_.step()) / static_cast<double>(rotations);
    }
    return mass;
}

double BodyLevel::noise() const {
    const std::size_t n = geometry_.translation.size();
    double squares = 0, all = 0;
    for (std::size_t i = 1; i + 1 < geometry_.rotation.size(); ++i)
        for (std::size_t j = 0; j < n; ++j) {
            const double value = seen_[i * n + j];
            const double bend = seen_[(i - 1) * n + j] - 2 * value + seen_[(i + 1) * n + j];
            const double weight = 1 / variance_[i * n + j];
            if (std::isfinite(bend) && std::isfinite(weight)) {
                squares += weight * bend * bend / 6;
                all += weight * value * value;
            }
        }
    return all > 0 ? std::sqrt(squares / all) : 0;
}

} // namespace xrdct::absorption
