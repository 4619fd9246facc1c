// SPDX-License-Identifier: BSD-3-Clause
#include "phantom/smearing.hpp"

#include "base/units.hpp"

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <vector>

namespace xrdct::phantom {

namespace {

constexpr double ln2 = 0.69314718055994530942;
constexpr double scherrer_constant = 0.94;
/// Bins of the fine grid that go into one of the coarse grid on which far tails are computed.
constexpr std::size_t coarse_ratio = 6;
/// Channels per block of the banded matrix.
constexpr std::size_t block_channels = 32;

using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

} // namespace

PeakShape PeakShape::tch(double gauss_fwhm_squared, double lorentz_fwhm) {
    const double g = std::sqrt(std::max(gauss_fwhm_squared, 0.0));
    const double l = std::max(lorentz_fwhm, 0.0);
    const double fwhm = std::pow(
        std::pow(g, 5) + 2.69269 * std::pow(g, 4) * l + 2.42843 * std::pow(g, 3) * l * l +
            4.47163 * g * g * std::pow(l, 3) + 0.07842 * g * std::pow(l, 4) + std::pow(l, 5),
        0.2);
    const double q = fwhm > 0 ? l / fwhm : 0;
    return {std::max(fwhm, 1e-9), q * (1.36603 + q * (-0.47719 + q * 0.11116))};
}

double PeakShape::cumulative(double x) const {
    const double t = 2 * x / fwhm;
    return lorentz * (0.5 + std::atan(t) / pi) +
           (1 - lorentz) * 0.5 * std::erfc(-t * std::sqrt(ln2));
}

PeakShape instrument_shape(const InstrumentProfile& profile, double size, double wavelength,
                           double two_theta, double variance_removed) {
    const double theta = radians(two_theta) / 2;
    const double t = std::tan(theta), c = std::cos(theta);
    const double gauss = profile.u * t * t + profile.v * t + profile.w - 8 * ln2 * variance_removed;
    const double scherrer = size > 0 ? degrees(scherrer_constant * wavelength / (size * c)) : 0.0;
    return PeakShape::tch(gauss, profile.x / c + profile.y * t + scherrer);
}

struct Smearing::Matrices {
    struct Block {
        std::size_t first_channel, channels, first_bin;
        RowMajor values; ///< [bin][channel]
    };
    std::vector<Block> near;
    RowMajor far; ///< [coarse bin][channel]
    std::size_t ratio = 1;
};

template <typename ShapeAt>
void Smearing::build(const Channels& channels, double margin, double narrowest, double widest,
                     const ShapeAt& shape_at) {
    const double low =
        std::max(channels.first - 0.5 * channels.width - margin, 0.25 * channels.first);
    const double high =
        channels.first + (static_cast<double>(channels.count) - 0.5) * channels.width + margin;
    channels_ = channels.count;
    const bool broad = narrowest > 12 * channels.width;
    const double step = broad ? narrowest / 10 : std::min(channels.width / 3, narrowest / 10);
    step_ = radians(step);
    origin_ = std::tan(radians(low)) - 3 * step_;
    bins_ = static_cast<std::size_t>(std::ceil((std::tan(radians(high)) - origin_) / step_)) + 4;

    auto matrices = std::make_unique<Matrices>();
    matrices->ratio = broad ? 1 : coarse_ratio;
    const auto angle = [&](double bin) { return degrees(std::atan(origin_ + bin * step_)); };
    const auto variance = [&](double two_theta) {
        const double c = std::cos(radians(two_theta));
        const double h = step * c * c;
        return 0.25 * h * h;
    };
    // Peak and near flanks are taken from the fine grid, far tails from a coarse one; a smooth
    // partition of unity between them keeps the sum exact to second order in the coarse step.
    const double inner = broad ? 0 : std::max(0.05, 5 * widest), outer = 1.6 * inner;
    const auto near_part = [&](double x) {
        if (broad)
            return 0.0;
        const double t = std::clamp((std::abs(x) - inner) / (outer - inner), 0.0, 1.0);
        return 0.5 * (1 + std::cos(pi * t));
    };

    for (std::size_t first = 0; !broad && first < channels.count; first += block_channels) {
        const std::size_t n = std::min(block_channels, channels.count - first);
        const double from =
            channels.first + static_cast<double>(first) * channels.width - outer - 2 * step;
        const double to =
            channels.first + static_cast<double>(first + n - 1) * channels.width + outer + 2 * step;
        const auto bin_of = [&](double two_theta) {
            return std::clamp(position(std::tan(radians(std::max(two_theta, 0.0)))), 0.0,
                              static_cast<double>(bins_ - 1));
        };
        const auto b0 = static_cast<std::size_t>(std::floor(bin_of(from)));
        const auto b1 = static_cast<std::size_t>(std::ceil(bin_of(to)));
        Matrices::Block block{first, n, b0, RowMajor(b1 - b0 + 1, n)};
        for (std::size_t b = b0; b <= b1; ++b) {
            const double centre = angle(static_cast<double>(b));
            const PeakShape shape = shape_at(centre, variance(centre));
            for (std::size_t k = 0; k < n; ++k) {
                const double x =
                    channels.first + static_cast<double>(first + k) * channels.width - centre;
                const double part = near_part(x);
                block.values(static_cast<Eigen::Index>(b - b0), static_cast<Eigen::Index>(k)) =
                    part > 0 ? static_cast<float>(part * shape.mean(x, channels.width)) : 0.0F;
            }
        }
        matrices->near.push_back(std::move(block));
    }
    const std::size_t n_coarse = matrices->ratio == 1 ? bins_ : bins_ / matrices->ratio + 2;
    matrices->far.resize(static_cast<Eigen::Index>(n_coarse),
                         static_cast<Eigen::Index>(channels.count));
    for (std::size_t b = 0; b < n_coarse; ++b) {
        const double centre = angle(static_cast<double>(b * matrices->ratio));
        const PeakShape shape = shape_at(centre, broad ? variance(centre) : 0.0);
        for (std::size_t k = 0; k < channels.count; ++k) {
            const double x = channels.first + static_cast<double>(k) * channels.width - centre;
            const double part = 1 - near_part(x);
            matrices->far(static_cast<Eigen::Index>(b), static_cast<Eigen::Index>(k)) =
                part > 0 ? static_cast<float>(part * shape.mean(x, channels.width)) : 0.0F;
        }
    }
    matrices_ = std::move(matrices);
}

Smearing::Smearing(const Channels& channels, double margin, const InstrumentProfile& profile,
                   double size, double wavelength) {
    double narrowest = 1e9, widest = 0;
    for (std::size_t k = 0; k < channels.count; ++k) {
        const double centre = channels.first + static_cast<double>(k) * channels.width;
        const double fwhm = instrument_shape(profile, size, wavelength, centre).fwhm;
        narrowest = std::min(narrowest, fwhm);
        widest = std::max(widest, fwhm);
    }
    build(channels, margin, narrowest, widest, [&](double two_theta, double variance) {
        return instrument_shape(profile, size, wavelength, two_theta, variance);
    });
}

Smearing::Smearing(const Channels& channels, double margin, PeakShape shape) {
    build(channels, margin, shape.fwhm, shape.fwhm, [&](double, double variance) {
        PeakShape corrected = shape;
        corrected.fwhm = std::sqrt(std::max(shape.fwhm * shape.fwhm - 8 * ln2 * variance, 1e-12));
        return corrected;
    });
}

Smearing::~Smearing() = default;
Smearing::Smearing(Smearing&&) noexcept = default;
Smearing& Smearing::operator=(Smearing&&) noexcept = default;

void Smearing::add(std::size_t n, const float* spectra, float* intensity) const {
    const auto rows = static_cast<Eigen::Index>(n);
    const auto bins = static_cast<Eigen::Index>(bins_);
    const Eigen::Map<const RowMajor> fine(spectra, rows, bins);
    Eigen::Map<RowMajor> out(intensity, rows, static_cast<Eigen::Index>(channels_));
    for (const Matrices::Block& block : matrices_->near)
        out.middleCols(static_cast<Eigen::Index>(block.first_channel),
                       static_cast<Eigen::Index>(block.channels))
            .noalias() +=
            fine.middleCols(static_cast<Eigen::Index>(block.first_bin), block.values.rows()) *
            block.values;
    const std::size_t ratio = matrices_->ratio;
    if (ratio == 1) {
        out.noalias() += fine * matrices_->far;
        return;
    }
    RowMajor coarse = RowMajor::Zero(rows, matrices_->far.rows());
    for (Eigen::Index i = 0; i < rows; ++i) {
        const float* from = spectra + static_cast<std::size_t>(i) * bins_;
        float* to = &coarse(i, 0);
        for (std::size_t b = 0; b < bins_; ++b) {
            const std::size_t c = b / ratio;
            const float part = static_cast<float>(b % ratio) / static_cast<float>(ratio);
            to[c] += (1 - part) * from[b];
            to[c + 1] += part * from[b];
        }
    }
    out.noalias() += coarse * matrices_->far;
}

} // namespace xrdct::phantom
