// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "integration/detector_geometry.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace xrdct::integration {

enum class RadialUnit {
    two_theta, ///< deg
    q,         ///< 1/Å, 4π sin θ / λ
    radius,    ///< mm, beam distance · tan 2θ
};
enum class PixelSplitting {
    none,         ///< a pixel belongs to the channel of its centre
    bounding_box, ///< spread evenly over the radial extent of its corners
};
enum class Estimator { mean, trimmed_mean, median, sigma_clip };
/// Where the error of a mean comes from.
enum class ErrorSource {
    counts,  ///< Poisson statistics of the raw values
    scatter, ///< what the pixels of a channel differ by
};

std::string_view unit_text(RadialUnit unit); ///< "deg", "1/angstrom", "mm"

struct IntegrationSettings {
    RadialUnit unit = RadialUnit::two_theta;
    std::size_t channels = 2048; ///< at most 65535
    std::optional<double> from; ///< lower edge of the first channel; absent: of the unmasked pixels
    std::optional<double> to;   ///< upper edge of the last channel
    PixelSplitting splitting = PixelSplitting::none;
    Estimator estimator = Estimator::mean;
    double trim = 0.1;    ///< fraction cut off at each end, trimmed mean
    double threshold = 3; ///< standard deviations, sigma clip
    int iterations = 5;   ///< at most, sigma clip
    ErrorSource noise = ErrorSource::counts;
    bool solid_angle = true;            ///< divide by the pixel's solid angle
    std::optional<double> polarization; ///< divide by the polarisation of this factor
    double polarization_axis = 0;       ///< deg, see PixelDirections::polarization
};

/// Turns detector frames into patterns. Everything that depends on the geometry is worked out once;
/// integrate() is const, and threads may share the object, each with a Workspace of its own.
///
/// With raw value I, dark current D and norm N = flat · solid angle · polarisation of a pixel, the
/// mean of a channel is Σ w (I − D) / Σ w N, w the share of the pixel in the channel; the other
/// estimators work on (I − D) / N of whole pixels (see channel_estimators.hpp). Errors with
/// ErrorSource::counts: √(Σ w² I) / Σ w N, at least that of one count, for the means; trimmed mean
/// and median take theirs from the scatter and never less than the counting error of the pixels
/// used. A channel without pixels is NaN.
///
/// Not valid, and left out of every channel: negative integers, integers above `saturation`, floats
/// that are not finite.
class AzimuthalIntegrator {
  public:
    /// `mask`, `dark`, `flat`: [row][column] or empty; mask: not 0 is masked; a dark or flat that
    /// is not finite, or a flat that is not positive, masks its pixel. Throws Error, naming the
    /// setting, when something does not fit, no pixel is left, or splitting is asked for with an
    /// estimator that works on whole pixels.
    AzimuthalIntegrator(const DetectorGeometry& geometry, std::span<const std::uint8_t> mask,
                        std::span<const float> dark, std::span<const float> flat,
                        const IntegrationSettings& settings);

    const IntegrationSettings& settings() const { return settings_; }
    const DetectorGeometry& geometry() const { return geometry_; }
    std::size_t channels() const { return settings_.channels; }
    double from() const { return from_; }
    double to() const { return to_; }
    /// Channel centres in the unit of the settings, and in degrees 2θ.
    std::vector<double> centres() const;
    std::vector<double> two_theta() const;
    /// Σ w of the unmasked pixels, per channel.
    const std::vector<float>& pixels() const { return pixels_; }
    /// Unmasked pixels within the range, and all of them.
    std::size_t pixels_used() const { return used_; }
    std::size_t pixels_unmasked() const;

    /// Scratch memory of integrate(); a few values per channel and one per pixel.
    class Workspace {
        friend class AzimuthalIntegrator;
        std::vector<std::int64_t> integer_sums;
        std::vector<double> sums, squares, norms, counts, dark;
        std::vector<float> sorted, weights;
        std::vector<std::uint32_t> invalid;
    };

    /// Integrates one frame [row][column]. `intensity`, `errors`, `kept` [channel]; `kept` is the
    /// number of pixels that count (Σ w with splitting). Returns how many unmasked pixels of the
    /// frame were not valid. Throws Error when a size does not fit.
    std::size_t integrate(std::span<const std::int32_t> frame, std::int32_t saturation,
                          Workspace& workspace, std::span<float> intensity, std::span<float> errors,
                          std::span<float> kept) const;
    std::size_t integrate(std::span<const float> frame, Workspace& workspace,
                          std::span<float> intensity, std::span<float> errors,
                          std::span<float> kept) const;

  private:
    /// Pixels without a masked one between them, of one row.
    struct Run {
        std::uint32_t begin, end;
    };

    void find_range(const std::vector<double>& centre, const std::vector<std::uint8_t>& mask,
                    const PixelDirections& directions);
    double radial(double two_theta) const;
    void find_runs(const std::vector<std::uint16_t>& bins);
    void find_idle_runs(const std::vector<std::uint8_t>& masked,
                        const std::vector<std::uint8_t>& used);
    void sort_pixels(const std::vector<std::uint16_t>& bins);
    std::vector<double> find_centres(const PixelDirections& directions, std::span<const float> flat,
                                     std::vector<std::uint8_t>& masked);
    void assign_pixels(const std::vector<double>& centre, const std::vector<std::uint8_t>& masked);
    void spread_pixels(const std::vector<double>& centre, const std::vector<std::uint8_t>& mask,
                       const PixelDirections& directions);
    double half_extent(const PixelDirections& directions, std::size_t row, std::size_t column,
                       double centre) const;
    double pixel_norm(std::size_t pixel) const { return norm_.empty() ? 1 : norm_[pixel]; }
    double pixel_dark(std::size_t pixel) const { return dark_.empty() ? 0 : dark_[pixel]; }

    template <typename T>
    std::size_t run(std::span<const T> frame, T limit, Workspace& workspace,
                    std::span<float> intensity, std::span<float> errors,
                    std::span<float> kept) const;
    template <typename T>
    std::size_t invalid_outside(std::span<const T> frame, T limit) const;
    template <typename T>
    std::size_t sum_whole(std::span<const T> frame, T limit, Workspace& workspace) const;
    template <typename T>
    std::size_t sum_split(std::span<const T> frame, T limit, Workspace& workspace) const;
    template <typename T>
    std::size_t sort_values(std::span<const T> frame, T limit, Workspace& workspace) const;
    template <typename T>
    std::size_t estimate(std::span<const T> frame, T limit, Workspace& workspace,
                         std::span<float> intensity, std::span<float> errors,
                         std::span<float> kept) const;

    DetectorGeometry geometry_;
    IntegrationSettings settings_;
    double from_ = 0, to_ = 0;
    std::size_t used_ = 0;
    std::vector<Run> idle_runs_; ///< unmasked pixels outside the range

    std::vector<float> norm_, dark_;          ///< [pixel] or empty (all 1, all 0)
    std::vector<float> pixels_;               ///< [channel] Σ w
    std::vector<double> norm_sum_, dark_sum_; ///< [channel] Σ w N, Σ w D

    // Whole pixels are gone through as they lie in memory.
    std::vector<Run> runs_;
    std::vector<std::uint16_t> bin_;  ///< [pixel], for sums
    std::vector<std::uint32_t> slot_; ///< [pixel], place by channel, for the other estimators
    std::vector<float> inverse_norm_; ///< [pixel] or empty, likewise
    std::vector<float> sorted_norm_;  ///< by channel, likewise
    std::vector<std::size_t> channel_begin_; ///< [channel + 1] into what is sorted by channel
    // Split pixels are gone through by channel.
    std::vector<std::uint32_t> pixel_of_;
    std::vector<float> weight_;
};

} // namespace xrdct::integration
