// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/dlsr/scan_data.hpp"

#include "solvers/dlsr/uncertainty.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace xrdct::dlsr {

namespace {

/// With a robust loss a sample's variance enters the factors of its ray and channel up to this many
/// times what these say of it: a spot must not make its whole ray doubtful.
constexpr float max_in_factors = 5;
/// Rotations that tell the scale of the residuals, at least; its histogram.
constexpr std::size_t scale_rotations = 16;
constexpr std::size_t scale_bins = 4000;
constexpr double scale_bin = 0.025;

} // namespace

ScanData::ScanData(const solvers::RaySource& rays, const mpi::Communicator& communicator,
                   std::span<const float> transmission, const Options& options)
    : rays_(rays), communicator_(communicator), excluded_(options.excluded),
      threshold_(options.loss == Loss::huber ? options.threshold : 0.0), own_(rays.geometry()) {
    const auto& all = rays.geometry().rotation;
    rows_ = mpi::block_range(all.size(), static_cast<std::size_t>(communicator.size()),
                             static_cast<std::size_t>(communicator.rank()));
    own_.rotation.assign(all.begin() + static_cast<std::ptrdiff_t>(rows_.begin),
                         all.begin() + static_cast<std::ptrdiff_t>(rows_.end));
    translations_ = own_.translation.size();
    channels_ = rays.n_channel();
    line_.resize(translations_ * channels_);
    variance_.resize(line_.size());
    transmission_.assign(ray_count(), 1.0F);
    if (!transmission.empty())
        std::copy_n(transmission.begin() + static_cast<std::ptrdiff_t>(rows_.begin * translations_),
                    ray_count(), transmission_.begin());
}

void ScanData::read(std::size_t i) {
    rays_.read_rays({i, i + 1}, line_, variance_);
}

std::span<const float> ScanData::pattern(std::size_t j) const {
    return std::span<const float>(line_).subspan(j * channels_, channels_);
}
std::span<const float> ScanData::variance(std::size_t j) const {
    return std::span<const float>(variance_).subspan(j * channels_, channels_);
}

RaySamples ScanData::samples(std::size_t i, std::size_t j) const {
    const bool given = rays_.variance_kind() == solvers::VarianceKind::given;
    return {pattern(j), variance(j), ray_variance_[(i - rows_.begin) * translations_ + j],
            given ? 0.0 : rays_.ray_factor(i * translations_ + j)};
}

std::vector<unsigned char> ScanData::excluded_channels() const {
    const auto& two_theta = rays_.two_theta();
    std::vector<unsigned char> excluded(channels_, 0);
    for (std::size_t k = 0; k < channels_; ++k)
        for (const auto& [from, to] : excluded_)
            if (two_theta[k] >= from && two_theta[k] <= to)
                excluded[k] = 1;
    return excluded;
}

/// Of the rotation that was read.
void ScanData::limit_variances(std::size_t first_ray, const FactoredWeights& factors) {
    for (std::size_t j = 0; j < translations_; ++j)
        for (std::size_t k = 0; k < channels_; ++k) {
            float& v = variance_[j * channels_ + k];
            const double most =
                max_in_factors * factors.ray_variance[first_ray + j] * factors.channel_variance[k];
            if (v > most)
                v = static_cast<float>(most);
        }
}

FactoredWeights ScanData::weights() {
    const auto excluded = excluded_channels();
    const bool robust = threshold_ > 0;
    FactoredWeights result;
    for (int pass = 0; pass < (robust ? 3 : 1); ++pass) {
        WeightFactors factors(channels_, ray_count());
        communicator_.collectively([&] {
            for (std::size_t i = rows_.begin; i < rows_.end; ++i) {
                read(i);
                const std::size_t first_ray = (i - rows_.begin) * translations_;
                if (pass > 0)
                    limit_variances(first_ray, result);
                for (std::size_t j = 0; j < translations_; ++j)
                    factors.add(first_ray + j, pattern(j), variance(j));
            }
        });
        result = factors.finish(communicator_, excluded);
    }
    ray_variance_ = result.ray_variance;
    std::vector<float> gain;
    if (rays_.variance_kind() != solvers::VarianceKind::given)
        for (std::size_t k = 0; k < channels_; ++k)
            gain.push_back(rays_.channel_gain(k));
    pseudo_.emplace(result.channel_variance, threshold_, std::move(gain));
    needs_model_ = robust || result.masked > 0;
    return result;
}

namespace {

/// Σ w y² over the channels that have a weight and a value.
double weighted_squares(std::span<const double> weight, std::span<const float> pattern) {
    double sum = 0;
    for (std::size_t k = 0; k < pattern.size(); ++k)
        if (weight[k] > 0 && std::isfinite(pattern[k]))
            sum += weight[k] * pattern[k] * pattern[k];
    return sum;
}

} // namespace

std::vector<float> ScanData::compress(const rietveld::PatternBasis& basis,
                                      std::span<const float> ray_weight,
                                      std::span<double> squares) {
    const std::size_t m = basis.size();
    std::vector<float> data(ray_count() * m, 0.0F), begun;
    for (std::size_t i = rows_.begin; i < rows_.end; ++i) {
        read(i);
        if (needs_model_) {
            begun.resize(line_.size());
            std::vector<RaySamples> row;
            for (std::size_t j = 0; j < translations_; ++j)
                row.push_back(samples(i, j));
            pseudo_->start(row, begun);
            line_.swap(begun);
        }
#pragma omp parallel for schedule(static)
        for (std::size_t j = 0; j < translations_; ++j) {
            const std::size_t ray = (i - rows_.begin) * translations_ + j;
            if (!(ray_weight[ray] > 0))
                continue;
            basis.compress(pattern(j), {data.data() + ray * m, m});
            if (!squares.empty())
                squares[ray] = weighted_squares(basis.channel_weight(), pattern(j));
        }
    }
    return data;
}

double ScanData::find_scale(const rietveld::PatternBasis& basis, std::span<const float> ray_weight,
                            std::span<const float> predicted) {
    const std::size_t m = basis.size(), all = rays_.geometry().rotation.size();
    const std::size_t every = std::max<std::size_t>(1, all / scale_rotations);
    std::vector<double> bins(scale_bins, 0.0);
    communicator_.collectively([&] {
        std::vector<float> curve(channels_), residual(channels_);
        for (std::size_t i = rows_.begin; i < rows_.end; ++i) {
            if (i % every != every / 2)
                continue;
            read(i);
            for (std::size_t j = 0; j < translations_; ++j) {
                const std::size_t ray = (i - rows_.begin) * translations_ + j;
                if (!(ray_weight[ray] > 0))
                    continue;
                basis.expand(predicted.subspan(ray * m, m), curve);
                pseudo_->residuals(samples(i, j), curve, residual);
                for (const float r : residual)
                    if (std::isfinite(r))
                        bins[std::min(scale_bins - 1,
                                      static_cast<std::size_t>(std::abs(r) / scale_bin))] += 1;
            }
        }
    });
    communicator_.allreduce(std::span<double>(bins), mpi::Reduction::sum);
    const double scale = dlsr::residual_scale(bins, scale_bin);
    // Where the variances are only relative the residuals tell their unit.
    return rays_.variance_kind() == solvers::VarianceKind::relative ? std::max(scale, scale_bin)
                                                                    : std::max(scale, 1.0);
}

void ScanData::replace(const rietveld::PatternBasis& basis, std::span<const float> ray_weight,
                       std::span<float> predicted, std::span<double> squares) {
    const std::size_t m = basis.size();
    scale_ = pseudo_->threshold() > 0 ? find_scale(basis, ray_weight, predicted) : 1;
    PseudoDataCounts own;
    communicator_.collectively([&] {
        std::vector<PseudoDataCounts> counts(translations_);
        for (std::size_t i = rows_.begin; i < rows_.end; ++i) {
            read(i);
#pragma omp parallel for schedule(static)
            for (std::size_t j = 0; j < translations_; ++j) {
                const std::size_t ray = (i - rows_.begin) * translations_ + j;
                if (!(ray_weight[ray] > 0))
                    continue;
                thread_local std::vector<float> curve;
                curve.resize(channels_);
                const auto coefficients = predicted.subspan(ray * m, m);
                basis.expand(coefficients, curve);
                counts[j] += pseudo_->replace(samples(i, j), scale_, curve);
                basis.compress(curve, coefficients);
                if (!squares.empty())
                    squares[ray] = weighted_squares(basis.channel_weight(), curve);
            }
        }
        for (const auto& each : counts)
            own += each;
    });
    std::vector<double> sums{own.samples, own.masked, own.outlying};
    communicator_.allreduce(std::span<double>(sums), mpi::Reduction::sum);
    counts_ = {sums[0], sums[1], sums[2]};
}

std::vector<float> ScanData::noise(const rietveld::PatternBasis& basis,
                                   std::span<const float> ray_weight, std::uint64_t seed) {
    const std::size_t m = basis.size();
    std::vector<float> data(ray_count() * m, 0.0F), replaced;
    // The fit's curvature is that of all samples, only those that count in full have one.
    const double in_full = counts_.samples - counts_.masked - counts_.outlying;
    const auto curvature =
        needs_model_ && in_full > 0 ? static_cast<float>(counts_.samples / in_full) : 1.0F;
    for (std::size_t i = rows_.begin; i < rows_.end; ++i) {
        read(i);
        if (needs_model_) {
            replaced.resize(line_.size());
            for (std::size_t j = 0; j < translations_; ++j)
                pseudo_->noise_variance(
                    samples(i, j), std::span<float>(replaced).subspan(j * channels_, channels_));
            variance_.swap(replaced);
        }
#pragma omp parallel for schedule(static)
        for (std::size_t j = 0; j < translations_; ++j) {
            const std::size_t ray = (i - rows_.begin) * translations_ + j;
            if (!(ray_weight[ray] > 0))
                continue;
            const std::span<float> coefficients(data.data() + ray * m, m);
            sample_ray_noise(basis, variance(j), seed, i * translations_ + j, coefficients);
            for (float& value : coefficients)
                value *= curvature;
        }
    }
    return data;
}

} // namespace xrdct::dlsr
