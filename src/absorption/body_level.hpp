// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "absorption/body_absorption.hpp"
#include "absorption/body_image.hpp"

#include <memory>
#include <span>
#include <vector>

namespace xrdct::absorption {

/// A scan with the amounts in it, as measured or on coarser rays, and the image that it gives for
/// any constant.
class BodyLevel {
  public:
    /// `bin` translations are averaged into one, with as many rotations as follow each other within
    /// a step of the coarser grid; 1: as measured on `grid`. The input must outlive it.
    BodyLevel(const tomography::ScanGeometry& geometry, const tomography::ImageGrid& grid,
              const BodyAbsorptionInput& input, const BodyAbsorptionOptions& options,
              std::size_t bin);

    const tomography::ScanGeometry& geometry() const { return geometry_; }
    const tomography::ImageGrid& grid() const { return grid_; }
    const std::vector<std::vector<float>>& amounts() const { return amounts_; }
    const std::vector<float>& total() const { return total_; }
    /// Attenuating amounts Σ (μ_p − μ_f) A_p.
    const std::vector<float>& seen() const { return seen_; }
    const std::vector<double>& variance() const { return variance_; }
    /// [y][x], what the filling or an even rest fills.
    const std::vector<unsigned char>& inside() const { return inside_; }
    double inside_area() const; ///< mm²

    /// Draws the outline anew, by the total intensity over a transmission (empty: as seen, where
    /// absorption lifts what lies between the parts of a body). place() makes it count.
    void find_outline(std::span<const float> transmission);
    /// What fills, and what holds, from here on.
    void place(const std::optional<Container>& container);
    /// Optical depth of every ray in filling, even rest of this μ [1/mm], and container.
    std::vector<double> known(double rest) const;

    BodyImage solve(double constant, double rest, std::span<const float> start,
                    const BodyImageOptions& options) const;
    /// exp(−depth − known).
    std::vector<float> transmission(const BodyImage& image, double rest) const;

    /// Mass of the phases and the filling [mg/mm] for a constant and transmission.
    double mass_per_length(double constant, std::span<const float> transmission) const;
    /// Relative noise of the attenuating amounts, from neighbouring rotations.
    double noise() const;
    /// The smallest circle about the sample.
    Circle sample_circle() const;

  private:
    void bin_rays(const tomography::ScanGeometry& geometry, std::size_t bin);
    /// The image [y][x] of a sinogram, a little smoothed.
    std::vector<double> image_of(std::span<const float> sinogram) const;

    const BodyAbsorptionInput& input_;
    const BodyAbsorptionOptions& options_;
    tomography::ScanGeometry geometry_;
    tomography::ImageGrid grid_;
    std::vector<std::vector<float>> amounts_;
    std::vector<float> total_, seen_;
    std::vector<double> variance_;
    std::vector<float> outline_; // share of every pixel that is inside
    std::vector<unsigned char> inside_;
    std::vector<float> filled_;                    // path in `inside` [mm]
    std::vector<double> container_;                // optical depth; empty: none
    double outline_area_ = 0, container_area_ = 0; // mm², of the body, and of the bore or 0
    std::unique_ptr<BodyImageSolver> solver_;
};

} // namespace xrdct::absorption
