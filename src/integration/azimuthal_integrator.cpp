// SPDX-License-Identifier: BSD-3-Clause
#include "integration/azimuthal_integrator.hpp"

#include "base/error.hpp"
#include "base/units.hpp"
#include "integration/channel_estimators.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <type_traits>

#include <fmt/format.h>

namespace xrdct::integration {

namespace {

constexpr float nan = std::numeric_limits<float>::quiet_NaN();
constexpr std::uint16_t outside = 65535;
/// Neighbours in a row often share a channel: sums side by side keep one addition from waiting for
/// the last.
constexpr std::size_t interleaved = 2;

bool is_valid(std::int32_t value, std::int32_t limit) {
    return static_cast<std::uint32_t>(value) <= static_cast<std::uint32_t>(limit);
}
bool is_valid(float value, float) {
    return std::isfinite(value);
}

/// Whether all values are valid, without branches.
bool all_valid(const std::int32_t* begin, const std::int32_t* end, std::int32_t limit) {
    std::uint32_t largest = 0;
    for (; begin != end; ++begin)
        largest = std::max(largest, static_cast<std::uint32_t>(*begin));
    return largest <= static_cast<std::uint32_t>(limit);
}
bool all_valid(const float* begin, const float* end, float) {
    // Exponents of infinities and NaN are all ones.
    std::uint32_t largest = 0;
    for (; begin != end; ++begin)
        largest = std::max(largest, std::bit_cast<std::uint32_t>(*begin) & 0x7fffffffU);
    return largest < 0x7f800000U;
}

void check_size(std::size_t size, std::size_t expected, const char* what) {
    if (size != expected)
        throw Error(fmt::format("integration: the {} has {} values, {} are expected", what, size,
                                expected));
}

void check(const DetectorGeometry& geometry, std::span<const std::uint8_t> mask,
           std::span<const float> dark, std::span<const float> flat,
           const IntegrationSettings& settings) {
    const std::size_t n = geometry.pixels();
    if (n > std::numeric_limits<std::uint32_t>::max() / 2)
        throw Error(fmt::format("detector: {} pixels are too many", n));
    if (!mask.empty())
        check_size(mask.size(), n, "mask");
    if (!dark.empty())
        check_size(dark.size(), n, "dark");
    if (!flat.empty())
        check_size(flat.size(), n, "flat");
    if (settings.channels == 0 || settings.channels >= outside)
        throw Error(fmt::format("integration: channels must lie between 1 and {}, is {}",
                                outside - 1, settings.channels));
    if (settings.splitting != PixelSplitting::none && settings.estimator != Estimator::mean)
        throw Error("integration: trimmed mean, median and sigma clip work on whole pixels: pixel "
                    "splitting goes with the mean only");
    if (settings.splitting != PixelSplitting::none && settings.noise != ErrorSource::counts)
        throw Error("integration: with pixel splitting the errors come from counting statistics; "
                    "errors from the scatter need whole pixels");
    if (!(settings.trim >= 0 && settings.trim < 0.5))
        throw Error(fmt::format("integration: the trimmed fraction must lie between 0 and 0.5, is "
                                "{}",
                                settings.trim));
    if (!(settings.threshold > 0) || settings.iterations < 1)
        throw Error("integration: sigma clip needs a positive threshold and at least one "
                    "iteration");
    if (settings.polarization && !(std::abs(*settings.polarization) <= 1))
        throw Error(fmt::format("integration: the polarisation factor must lie between -1 and 1, "
                                "is {}",
                                *settings.polarization));
    if (settings.unit == RadialUnit::q && !(geometry.wavelength > 0))
        throw Error("integration: the radial unit q needs the wavelength, which the geometry does "
                    "not state");
}

/// Pixels that cannot be used, by the mask or by dark or flat.
std::vector<std::uint8_t> unusable(std::size_t n, std::span<const std::uint8_t> mask,
                                   std::span<const float> dark, std::span<const float> flat) {
    std::vector<std::uint8_t> masked(n, 0);
    if (!mask.empty())
        std::transform(mask.begin(), mask.end(), masked.begin(),
                       [](std::uint8_t value) -> std::uint8_t { return value != 0; });
    for (std::size_t p = 0; p < dark.size(); ++p)
        masked[p] |= !std::isfinite(dark[p]);
    for (std::size_t p = 0; p < flat.size(); ++p)
        masked[p] |= !(flat[p] > 0) || !std::isfinite(flat[p]);
    return masked;
}

} // namespace

std::string_view unit_text(RadialUnit unit) {
    return unit == RadialUnit::two_theta ? "deg" : unit == RadialUnit::q ? "1/angstrom" : "mm";
}

AzimuthalIntegrator::AzimuthalIntegrator(const DetectorGeometry& geometry,
                                         std::span<const std::uint8_t> mask,
                                         std::span<const float> dark, std::span<const float> flat,
                                         const IntegrationSettings& settings)
    : geometry_(geometry), settings_(settings) {
    const PixelDirections directions(geometry);
    check(geometry, mask, dark, flat, settings);
    const std::size_t n = geometry.pixels();
    std::vector<std::uint8_t> masked = unusable(n, mask, dark, flat);
    dark_.assign(dark.begin(), dark.end());
    for (std::size_t p = 0; p < dark_.size(); ++p)
        if (masked[p])
            dark_[p] = 0;
    if (settings.solid_angle || settings.polarization || !flat.empty())
        norm_.assign(n, 1.0F);

    const std::vector<double> centre = find_centres(directions, flat, masked);
    find_range(centre, masked, directions);
    if (settings.splitting == PixelSplitting::bounding_box)
        spread_pixels(centre, masked, directions);
    else
        assign_pixels(centre, masked);
    if (used_ == 0)
        throw Error(fmt::format("integration: no unmasked pixel between {} and {} {}", from_, to_,
                                unit_text(settings.unit)));
}

/// Radial positions of the pixels' centres, and their normalisation; masks those without one.
std::vector<double> AzimuthalIntegrator::find_centres(const PixelDirections& directions,
                                                      std::span<const float> flat,
                                                      std::vector<std::uint8_t>& masked) {
    std::vector<double> centre(masked.size());
    for (std::size_t i = 0; i < geometry_.rows; ++i)
        for (std::size_t j = 0; j < geometry_.columns; ++j) {
            const std::size_t p = i * geometry_.columns + j;
            if (masked[p])
                continue;
            const double row = static_cast<double>(i) + 0.5, column = static_cast<double>(j) + 0.5;
            centre[p] = radial(directions.centre_two_theta(i, j));
            double norm = flat.empty() ? 1 : flat[p];
            if (settings_.solid_angle)
                norm *= directions.solid_angle(row, column);
            if (settings_.polarization)
                norm *= directions.polarization(row, column, *settings_.polarization,
                                                radians(settings_.polarization_axis));
            if (!(norm > 1e-6))
                masked[p] = 1;
            else if (!norm_.empty())
                norm_[p] = static_cast<float>(norm);
        }
    return centre;
}

/// Every pixel to the channel that its centre lies in.
void AzimuthalIntegrator::assign_pixels(const std::vector<double>& centre,
                                        const std::vector<std::uint8_t>& masked) {
    const std::size_t n = centre.size();
    const double factor = static_cast<double>(settings_.channels) / (to_ - from_);
    std::vector<std::uint16_t> bins(n, outside);
    for (std::size_t p = 0; p < n; ++p)
        if (!masked[p] && centre[p] >= from_ && centre[p] <= to_) {
            bins[p] = static_cast<std::uint16_t>(std::min(
                static_cast<std::size_t>((centre[p] - from_) * factor), settings_.channels - 1));
            ++used_;
        }
    pixels_.assign(settings_.channels, 0.0F);
    norm_sum_.assign(settings_.channels, 0.0);
    dark_sum_.assign(settings_.channels, 0.0);
    std::vector<std::size_t> counts(settings_.channels);
    for (std::size_t p = 0; p < n; ++p)
        if (bins[p] != outside) {
            ++counts[bins[p]];
            norm_sum_[bins[p]] += pixel_norm(p);
            dark_sum_[bins[p]] += pixel_dark(p);
        }
    std::transform(counts.begin(), counts.end(), pixels_.begin(),
                   [](std::size_t count) { return static_cast<float>(count); });
    find_runs(bins);
    std::vector<std::uint8_t> used(n);
    std::transform(bins.begin(), bins.end(), used.begin(),
                   [](std::uint16_t bin) -> std::uint8_t { return bin != outside; });
    find_idle_runs(masked, used);
    if (settings_.estimator != Estimator::mean || settings_.noise != ErrorSource::counts)
        sort_pixels(bins);
    else
        bin_ = std::move(bins);
}

double AzimuthalIntegrator::radial(double two_theta) const {
    switch (settings_.unit) {
    case RadialUnit::q:
        return 4 * pi * std::sin(0.5 * two_theta) / geometry_.wavelength;
    case RadialUnit::radius:
        return geometry_.beam_distance() * std::tan(two_theta);
    case RadialUnit::two_theta:
        break;
    }
    return degrees(two_theta);
}

double AzimuthalIntegrator::half_extent(const PixelDirections& directions, std::size_t row,
                                        std::size_t column, double centre) const {
    double extent = 0;
    for (const double i : {0.0, 1.0})
        for (const double j : {0.0, 1.0})
            extent = std::max(
                extent, std::abs(radial(directions.two_theta(static_cast<double>(row) + i,
                                                             static_cast<double>(column) + j)) -
                                 centre));
    return extent;
}

void AzimuthalIntegrator::find_range(const std::vector<double>& centre,
                                     const std::vector<std::uint8_t>& mask,
                                     const PixelDirections& directions) {
    double smallest = std::numeric_limits<double>::infinity(), largest = -smallest;
    if (!settings_.from || !settings_.to)
        for (std::size_t p = 0; p < centre.size(); ++p) {
            if (mask[p])
                continue;
            const double extent = settings_.splitting == PixelSplitting::none
                                      ? 0
                                      : half_extent(directions, p / geometry_.columns,
                                                    p % geometry_.columns, centre[p]);
            smallest = std::min(smallest, std::max(centre[p] - extent, 0.0));
            largest = std::max(largest, centre[p] + extent);
        }
    from_ = settings_.from.value_or(smallest);
    to_ = settings_.to.value_or(largest);
    if (!std::isfinite(smallest) && (!settings_.from || !settings_.to))
        throw Error("integration: the mask leaves no pixel");
    if (!(from_ >= 0) || !(to_ > from_) || !std::isfinite(to_))
        throw Error(fmt::format("integration: the radial range {} to {} {} is none", from_, to_,
                                unit_text(settings_.unit)));
    if (settings_.unit == RadialUnit::two_theta && to_ >= 180)
        throw Error(fmt::format("integration: 2theta cannot reach {} deg", to_));
    if (settings_.unit == RadialUnit::q && to_ * geometry_.wavelength >= 4 * pi)
        throw Error(fmt::format("integration: q cannot reach {} 1/angstrom at {} angstrom", to_,
                                geometry_.wavelength));
}

void AzimuthalIntegrator::find_runs(const std::vector<std::uint16_t>& bins) {
    for (std::size_t i = 0; i < geometry_.rows; ++i) {
        const std::size_t first = i * geometry_.columns, last = first + geometry_.columns;
        for (std::size_t p = first; p < last;) {
            while (p < last && bins[p] == outside)
                ++p;
            const std::size_t begin = p;
            while (p < last && bins[p] != outside)
                ++p;
            if (p > begin)
                runs_.push_back({static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(p)});
        }
    }
}

void AzimuthalIntegrator::find_idle_runs(const std::vector<std::uint8_t>& masked,
                                         const std::vector<std::uint8_t>& used) {
    for (std::size_t p = 0; p < masked.size(); ++p) {
        if (masked[p] || used[p])
            continue;
        if (idle_runs_.empty() || idle_runs_.back().end != p)
            idle_runs_.push_back({static_cast<std::uint32_t>(p), 0});
        idle_runs_.back().end = static_cast<std::uint32_t>(p + 1);
    }
}

std::size_t AzimuthalIntegrator::pixels_unmasked() const {
    std::size_t count = used_;
    for (const auto& [begin, end] : idle_runs_)
        count += end - begin;
    return count;
}

void AzimuthalIntegrator::sort_pixels(const std::vector<std::uint16_t>& bins) {
    channel_begin_.assign(settings_.channels + 1, 0);
    for (const auto bin : bins)
        if (bin != outside)
            ++channel_begin_[bin + 1U];
    std::partial_sum(channel_begin_.begin(), channel_begin_.end(), channel_begin_.begin());
    slot_.resize(bins.size());
    sorted_norm_.resize(used_);
    auto next = channel_begin_;
    for (std::size_t p = 0; p < bins.size(); ++p)
        if (bins[p] != outside) {
            slot_[p] = static_cast<std::uint32_t>(next[bins[p]]++);
            sorted_norm_[slot_[p]] = static_cast<float>(pixel_norm(p));
        }
    inverse_norm_ = norm_;
    for (float& norm : inverse_norm_)
        norm = 1.0F / norm;
}

void AzimuthalIntegrator::spread_pixels(const std::vector<double>& centre,
                                        const std::vector<std::uint8_t>& mask,
                                        const PixelDirections& directions) {
    const double factor = static_cast<double>(settings_.channels) / (to_ - from_);
    const auto last = static_cast<double>(settings_.channels);
    struct Share {
        std::uint32_t channel;
        float weight;
    };
    std::vector<Share> shares;
    std::vector<std::size_t> begin(centre.size() + 1);
    for (std::size_t p = 0; p < centre.size(); ++p) {
        begin[p] = shares.size();
        if (mask[p])
            continue;
        const double extent =
            half_extent(directions, p / geometry_.columns, p % geometry_.columns, centre[p]);
        const double low = (std::max(centre[p] - extent, 0.0) - from_) * factor,
                     high = (centre[p] + extent - from_) * factor;
        if (high <= 0 || low >= last)
            continue;
        ++used_;
        // What of the pixel lies outside the range is lost.
        for (double edge = std::floor(std::max(low, 0.0)); edge < std::min(high, last); ++edge) {
            const double overlap = std::min(edge + 1, high) - std::max(edge, low);
            const double weight = high > low ? overlap / (high - low) : 1;
            if (weight > 0)
                shares.push_back({static_cast<std::uint32_t>(edge), static_cast<float>(weight)});
        }
    }
    begin.back() = shares.size();

    channel_begin_.assign(settings_.channels + 1, 0);
    for (const auto& share : shares)
        ++channel_begin_[share.channel + 1U];
    std::partial_sum(channel_begin_.begin(), channel_begin_.end(), channel_begin_.begin());
    pixel_of_.resize(shares.size());
    weight_.resize(shares.size());
    auto next = channel_begin_;
    std::vector<double> sums(settings_.channels);
    norm_sum_.assign(settings_.channels, 0.0);
    dark_sum_.assign(settings_.channels, 0.0);
    for (std::size_t p = 0; p < centre.size(); ++p)
        for (std::size_t s = begin[p]; s < begin[p + 1]; ++s) {
            const auto [channel, weight] = shares[s];
            pixel_of_[next[channel]] = static_cast<std::uint32_t>(p);
            weight_[next[channel]++] = weight;
            sums[channel] += weight;
            norm_sum_[channel] += weight * pixel_norm(p);
            dark_sum_[channel] += weight * pixel_dark(p);
        }
    pixels_.assign(sums.begin(), sums.end());
    std::vector<std::uint8_t> used(centre.size(), 0);
    for (std::size_t p = 0; p < centre.size(); ++p)
        used[p] = begin[p + 1] > begin[p];
    find_idle_runs(mask, used);
}

std::vector<double> AzimuthalIntegrator::centres() const {
    std::vector<double> values(settings_.channels);
    const double width = (to_ - from_) / static_cast<double>(settings_.channels);
    for (std::size_t k = 0; k < values.size(); ++k)
        values[k] = from_ + (static_cast<double>(k) + 0.5) * width;
    return values;
}

std::vector<double> AzimuthalIntegrator::two_theta() const {
    auto values = centres();
    for (double& value : values)
        if (settings_.unit == RadialUnit::q)
            value = 2 * degrees(std::asin(value * geometry_.wavelength / (4 * pi)));
        else if (settings_.unit == RadialUnit::radius)
            value = degrees(std::atan2(value, geometry_.beam_distance()));
    return values;
}

/// Unmasked pixels outside the range that are not valid.
template <typename T>
std::size_t AzimuthalIntegrator::invalid_outside(std::span<const T> frame, T limit) const {
    std::size_t invalid = 0;
    for (const auto& [begin, end] : idle_runs_)
        if (!all_valid(frame.data() + begin, frame.data() + end, limit))
            for (std::size_t p = begin; p < end; ++p)
                invalid += is_valid(frame[p], limit) ? 0 : 1;
    return invalid;
}

/// Σ I of whole pixels into workspace.sums; pixels that are not valid into workspace.invalid.
template <typename T>
std::size_t AzimuthalIntegrator::sum_whole(std::span<const T> frame, T limit,
                                           Workspace& workspace) const {
    using Sum = std::conditional_t<std::is_integral_v<T>, std::int64_t, double>;
    const std::size_t n = settings_.channels;
    Sum* sums = nullptr;
    if constexpr (std::is_integral_v<T>) {
        workspace.integer_sums.assign(interleaved * n, 0);
        sums = workspace.integer_sums.data();
    } else {
        workspace.squares.assign(interleaved * n, 0);
        sums = workspace.squares.data();
    }
    workspace.invalid.clear();
    const T* values = frame.data();
    const std::uint16_t* bins = bin_.data();
    for (const auto& [begin, end] : runs_) {
        if (!all_valid(values + begin, values + end, limit)) {
            for (std::size_t p = begin; p < end; ++p)
                if (is_valid(values[p], limit))
                    sums[interleaved * bins[p]] += static_cast<Sum>(values[p]);
                else
                    workspace.invalid.push_back(static_cast<std::uint32_t>(p));
            continue;
        }
        std::size_t p = begin;
        for (; p + interleaved <= end; p += interleaved)
            for (std::size_t lane = 0; lane < interleaved; ++lane)
                sums[interleaved * bins[p + lane] + lane] += static_cast<Sum>(values[p + lane]);
        for (; p < end; ++p)
            sums[interleaved * bins[p]] += static_cast<Sum>(values[p]);
    }
    workspace.sums.resize(n);
    for (std::size_t k = 0; k < n; ++k) {
        Sum sum = 0;
        for (std::size_t lane = 0; lane < interleaved; ++lane)
            sum += sums[interleaved * k + lane];
        workspace.sums[k] = static_cast<double>(sum);
    }
    workspace.norms = norm_sum_;
    workspace.dark = dark_sum_;
    workspace.counts.assign(pixels_.begin(), pixels_.end());
    for (const auto p : workspace.invalid) {
        workspace.norms[bins[p]] -= pixel_norm(p);
        workspace.dark[bins[p]] -= pixel_dark(p);
        workspace.counts[bins[p]] -= 1;
    }
    workspace.squares.assign(workspace.sums.begin(), workspace.sums.end());
    return workspace.invalid.size();
}

/// Σ w I and Σ w² I of split pixels.
template <typename T>
std::size_t AzimuthalIntegrator::sum_split(std::span<const T> frame, T limit,
                                           Workspace& workspace) const {
    const std::size_t n = settings_.channels;
    workspace.sums.assign(n, 0);
    workspace.squares.assign(n, 0);
    workspace.norms = norm_sum_;
    workspace.dark = dark_sum_;
    workspace.counts.assign(pixels_.begin(), pixels_.end());
    workspace.invalid.clear();
    for (std::size_t k = 0; k < n; ++k) {
        double sum = 0, squares = 0;
        for (std::size_t s = channel_begin_[k]; s < channel_begin_[k + 1]; ++s) {
            const std::uint32_t p = pixel_of_[s];
            const double w = weight_[s];
            const T value = frame[p];
            if (!is_valid(value, limit)) {
                workspace.invalid.push_back(p);
                workspace.norms[k] -= w * pixel_norm(p);
                workspace.dark[k] -= w * pixel_dark(p);
                workspace.counts[k] -= w;
                continue;
            }
            const double share = w * static_cast<double>(value);
            sum += share;
            squares += w * share;
        }
        workspace.sums[k] = sum;
        workspace.squares[k] = squares;
    }
    std::sort(workspace.invalid.begin(), workspace.invalid.end());
    return static_cast<std::size_t>(
        std::unique(workspace.invalid.begin(), workspace.invalid.end()) -
        workspace.invalid.begin());
}

/// Corrected values of all pixels, channel after channel, into workspace.sorted; NaN where not
/// valid. Going through the frame as it lies in memory is three times as fast as going through the
/// channels.
template <typename T>
std::size_t AzimuthalIntegrator::sort_values(std::span<const T> frame, T limit,
                                             Workspace& workspace) const {
    workspace.sorted.resize(used_);
    float* sorted = workspace.sorted.data();
    std::size_t invalid = 0;
    for (const auto& [begin, end] : runs_) {
        if (!all_valid(frame.data() + begin, frame.data() + end, limit)) {
            for (std::size_t p = begin; p < end; ++p) {
                const bool valid = is_valid(frame[p], limit);
                invalid += valid ? 0 : 1;
                sorted[slot_[p]] =
                    valid ? static_cast<float>((static_cast<double>(frame[p]) - pixel_dark(p)) /
                                               pixel_norm(p))
                          : nan;
            }
        } else if (dark_.empty() && inverse_norm_.empty()) {
            for (std::size_t p = begin; p < end; ++p)
                sorted[slot_[p]] = static_cast<float>(frame[p]);
        } else if (dark_.empty()) {
            for (std::size_t p = begin; p < end; ++p)
                sorted[slot_[p]] = static_cast<float>(frame[p]) * inverse_norm_[p];
        } else {
            for (std::size_t p = begin; p < end; ++p)
                sorted[slot_[p]] = (static_cast<float>(frame[p]) - dark_[p]) *
                                   (inverse_norm_.empty() ? 1.0F : inverse_norm_[p]);
        }
    }
    return invalid;
}

template <typename T>
std::size_t AzimuthalIntegrator::estimate(std::span<const T> frame, T limit, Workspace& workspace,
                                          std::span<float> intensity, std::span<float> errors,
                                          std::span<float> kept) const {
    const std::size_t invalid = sort_values(frame, limit, workspace);
    const bool weighted =
        settings_.estimator == Estimator::sigma_clip || settings_.estimator == Estimator::mean;
    const bool counts = settings_.noise == ErrorSource::counts;
    for (std::size_t k = 0; k < settings_.channels; ++k) {
        const std::size_t begin = channel_begin_[k], size = channel_begin_[k + 1] - begin;
        float* values = workspace.sorted.data() + begin;
        workspace.weights.assign(sorted_norm_.begin() + static_cast<std::ptrdiff_t>(begin),
                                 sorted_norm_.begin() + static_cast<std::ptrdiff_t>(begin + size));
        float* weights = workspace.weights.data();
        std::size_t n = size;
        if (invalid > 0) {
            n = 0;
            for (std::size_t s = 0; s < size; ++s)
                if (!std::isnan(values[s])) {
                    values[n] = values[s];
                    weights[n++] = weights[s];
                }
        }
        const std::span<float> v(values, n), w(weights, n);
        ChannelEstimate result;
        if (settings_.estimator == Estimator::trimmed_mean)
            result = trimmed_mean(v, settings_.trim);
        else if (settings_.estimator == Estimator::median)
            result = median(v);
        else if (settings_.estimator == Estimator::sigma_clip)
            result = sigma_clipped_mean(v, w, settings_.threshold, settings_.iterations);
        else
            result = weighted_mean(v, w);
        if (counts && n > 0) {
            // Raw counts of the pixels that count: the estimate times their norms, and the dark.
            const double norm =
                n == size ? norm_sum_[k] / static_cast<double>(size)
                          : std::accumulate(w.begin(), w.end(), 0.0) / static_cast<double>(n);
            const double dark = dark_sum_[k] / static_cast<double>(size);
            const double raw_counts = result.kept * (result.value * norm + dark);
            const double poisson = std::sqrt(std::max(raw_counts, 1.0)) / (result.kept * norm);
            if (weighted || !(result.error > poisson))
                result.error = poisson;
        }
        intensity[k] = static_cast<float>(result.value);
        errors[k] = static_cast<float>(result.error);
        kept[k] = static_cast<float>(result.kept);
    }
    return invalid;
}

template <typename T>
std::size_t AzimuthalIntegrator::run(std::span<const T> frame, T limit, Workspace& workspace,
                                     std::span<float> intensity, std::span<float> errors,
                                     std::span<float> kept) const {
    check_size(frame.size(), geometry_.pixels(), "frame");
    for (const auto& [size, what] : {std::pair{intensity.size(), "intensity"},
                                     {errors.size(), "errors"},
                                     {kept.size(), "pixels"}})
        check_size(size, settings_.channels, what);
    std::size_t invalid = invalid_outside(frame, limit);
    if (!bin_.empty())
        invalid += sum_whole(frame, limit, workspace);
    else if (!weight_.empty())
        invalid += sum_split(frame, limit, workspace);
    else
        return invalid + estimate(frame, limit, workspace, intensity, errors, kept);
    for (std::size_t k = 0; k < settings_.channels; ++k) {
        const double norm = workspace.norms[k];
        // What is left of a channel whose pixels were all taken off is rounding.
        const bool empty = !(workspace.counts[k] > 1e-6 * pixels_[k]);
        intensity[k] =
            empty ? nan : static_cast<float>((workspace.sums[k] - workspace.dark[k]) / norm);
        errors[k] =
            empty ? nan : static_cast<float>(std::sqrt(std::max(workspace.squares[k], 1.0)) / norm);
        kept[k] = empty ? 0.0F : static_cast<float>(workspace.counts[k]);
    }
    return invalid;
}

std::size_t AzimuthalIntegrator::integrate(std::span<const std::int32_t> frame,
                                           std::int32_t saturation, Workspace& workspace,
                                           std::span<float> intensity, std::span<float> errors,
                                           std::span<float> kept) const {
    return run<std::int32_t>(frame, std::max(saturation, 0), workspace, intensity, errors, kept);
}

std::size_t AzimuthalIntegrator::integrate(std::span<const float> frame, Workspace& workspace,
                                           std::span<float> intensity, std::span<float> errors,
                                           std::span<float> kept) const {
    return run<float>(frame, 0.0F, workspace, intensity, errors, kept);
}

} // namespace xrdct::integration
