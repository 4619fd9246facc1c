#include "jobs/pipeline/dlsr_scan.hpp"

#include "base/error.hpp"
#include "base/numbers.hpp"
#include "solvers/dlsr/uncertainty.hpp"

#include <algorithm>
#include <cmath>
#include <map>

#include <fmt/format.h>

namespace xrdct::pipeline {

namespace {

/// Lines per phase whose intensities are followed as the sample turns: the strongest.
constexpr std::size_t lines_per_phase = 4;
/// With a robust loss a sample's variance enters the factors of its ray and channel up to this many
/// times what these say of it: a spot must not make its whole ray doubtful.
constexpr float max_in_factors = 5;
/// Rotations that tell the scale of the residuals, at least; its histogram.
constexpr std::size_t scale_rotations = 16;
constexpr std::size_t scale_bins = 4000;
constexpr double scale_bin = 0.025;

StageContext without_absorption(const StageContext& context) {
    StageContext copy = context;
    copy.transmission.clear();
    return copy;
}

} // namespace

DlsrScan::DlsrScan(const StageContext& context)
    : context_(context), unabsorbed_(without_absorption(context)), own_(context.scan.geometry()) {
    const auto& scan = context.scan;
    const auto& communicator = context.communicator;
    const auto& all = scan.geometry().rotation;
    rows_ = mpi::block_range(all.size(), static_cast<std::size_t>(communicator.size()),
                             static_cast<std::size_t>(communicator.rank()));
    own_.rotation.assign(all.begin() + static_cast<std::ptrdiff_t>(rows_.begin),
                         all.begin() + static_cast<std::ptrdiff_t>(rows_.end));
    translations_ = own_.translation.size();
    channels_ = scan.n_channel();
    two_theta_ = scan.two_theta();
    line_.resize(translations_ * channels_);
    variance_.resize(line_.size());
    transmission_.assign(ray_count(), 1.0F);
    if (!context.transmission.empty())
        std::copy_n(context.transmission.begin() +
                        static_cast<std::ptrdiff_t>(rows_.begin * translations_),
                    ray_count(), transmission_.begin());
}

void DlsrScan::read(std::size_t i) {
    const auto& scan = context_.scan;
    const bool errors = scan.noise() == settings::NoiseModel::errors;
    scan.file().read_rows({i, i + 1}, scan.channels(), line_);
    if (errors)
        scan.file().read_rows({i, i + 1}, scan.channels(), variance_, scan::SinogramArray::errors);
    for (std::size_t j = 0; j < translations_; ++j) {
        const float factor = ray_factor(unabsorbed_, i * translations_ + j, false);
        for (std::size_t k = 0; k < channels_; ++k) {
            float& y = line_[j * channels_ + k];
            float& v = variance_[j * channels_ + k];
            v = factor * factor * (errors ? v * v : std::abs(y) / pixels_of(k));
            y *= factor;
        }
    }
}

float DlsrScan::pixels_of(std::size_t k) const {
    const auto& scan = context_.scan;
    return scan.noise() == settings::NoiseModel::counts && !scan.pixels().empty()
               ? static_cast<float>(std::max(1.0, scan.pixels()[k]))
               : 1.0F;
}

std::span<const float> DlsrScan::pattern(std::size_t j) const {
    return std::span<const float>(line_).subspan(j * channels_, channels_);
}
std::span<const float> DlsrScan::variance(std::size_t j) const {
    return std::span<const float>(variance_).subspan(j * channels_, channels_);
}

dlsr::RaySamples DlsrScan::samples(std::size_t i, std::size_t j) const {
    const bool errors = context_.scan.noise() == settings::NoiseModel::errors;
    return {pattern(j), variance(j), ray_variance_[(i - rows_.begin) * translations_ + j],
            errors ? 0.0 : ray_factor(unabsorbed_, i * translations_ + j, false)};
}

dlsr::FactoredWeights DlsrScan::weights() {
    std::vector<unsigned char> excluded(channels_, 0);
    for (std::size_t k = 0; k < channels_; ++k)
        for (const auto& [from, to] : context_.job.rietveld.excluded)
            if (two_theta_[k] >= from && two_theta_[k] <= to)
                excluded[k] = 1;
    const auto& dlsr = context_.job.dlsr;
    const bool robust = dlsr.loss == "huber";
    dlsr::FactoredWeights result;
    for (int pass = 0; pass < (robust ? 3 : 1); ++pass) {
        dlsr::WeightFactors factors(channels_, ray_count());
        context_.communicator.collectively([&] {
            for (std::size_t i = rows_.begin; i < rows_.end; ++i) {
                read(i);
                for (std::size_t j = 0; j < translations_; ++j) {
                    const std::size_t ray = (i - rows_.begin) * translations_ + j;
                    if (pass > 0)
                        for (std::size_t k = 0; k < channels_; ++k) {
                            float& v = variance_[j * channels_ + k];
                            const double most = max_in_factors * result.ray_variance[ray] *
                                                result.channel_variance[k];
                            if (v > most)
                                v = static_cast<float>(most);
                        }
                    factors.add(ray, pattern(j), variance(j));
                }
            }
        });
        result = factors.finish(context_.communicator, excluded);
    }
    ray_variance_ = result.ray_variance;
    std::vector<float> gain;
    if (context_.scan.noise() != settings::NoiseModel::errors)
        for (std::size_t k = 0; k < channels_; ++k)
            gain.push_back(1 / pixels_of(k));
    pseudo_.emplace(result.channel_variance, robust ? dlsr.threshold : 0.0, std::move(gain));
    needs_model_ = robust || result.masked > 0;
    return result;
}

std::vector<float> DlsrScan::compress(const rietveld::PatternBasis& basis,
                                      std::span<const float> ray_weight) {
    const std::size_t m = basis.size();
    std::vector<float> data(ray_count() * m, 0.0F), begun;
    for (std::size_t i = rows_.begin; i < rows_.end; ++i) {
        read(i);
        if (needs_model_) {
            begun.resize(line_.size());
            std::vector<dlsr::RaySamples> row;
            for (std::size_t j = 0; j < translations_; ++j)
                row.push_back(samples(i, j));
            pseudo_->start(row, begun);
            line_.swap(begun);
        }
#pragma omp parallel for schedule(static)
        for (std::size_t j = 0; j < translations_; ++j) {
            const std::size_t ray = (i - rows_.begin) * translations_ + j;
            if (ray_weight[ray] > 0)
                basis.compress(pattern(j), {data.data() + ray * m, m});
        }
    }
    return data;
}

double DlsrScan::find_scale(const rietveld::PatternBasis& basis, std::span<const float> ray_weight,
                            std::span<const float> predicted) {
    const std::size_t m = basis.size(), all = context_.scan.geometry().rotation.size();
    const std::size_t every = std::max<std::size_t>(1, all / scale_rotations);
    std::vector<double> bins(scale_bins, 0.0);
    context_.communicator.collectively([&] {
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
    context_.communicator.allreduce(std::span<double>(bins), mpi::Reduction::sum);
    const double scale = xrdct::dlsr::residual_scale(bins, scale_bin);
    // Where the variances are only relative the residuals tell their unit.
    return context_.scan.noise() == settings::NoiseModel::estimate ? std::max(scale, scale_bin)
                                                                   : std::max(scale, 1.0);
}

void DlsrScan::replace(const rietveld::PatternBasis& basis, std::span<const float> ray_weight,
                       std::span<float> predicted) {
    const auto& communicator = context_.communicator;
    const std::size_t m = basis.size();
    scale_ = pseudo_->threshold() > 0 ? find_scale(basis, ray_weight, predicted) : 1;
    dlsr::PseudoDataCounts own;
    communicator.collectively([&] {
        std::vector<dlsr::PseudoDataCounts> counts(translations_);
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
            }
        }
        for (const auto& each : counts)
            own += each;
    });
    std::vector<double> sums{own.samples, own.masked, own.outlying};
    communicator.allreduce(std::span<double>(sums), mpi::Reduction::sum);
    counts_ = {sums[0], sums[1], sums[2]};
}

std::vector<float> DlsrScan::noise(const rietveld::PatternBasis& basis,
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
            dlsr::sample_ray_noise(basis, variance(j), seed, i * translations_ + j, coefficients);
            for (float& value : coefficients)
                value *= curvature;
        }
    }
    return data;
}

void DlsrScan::diagnose(dlsr::Operator& model, const rietveld::PatternModel& at,
                        std::span<const float> ray_weight, DlsrResult& result) {
    const auto& communicator = context_.communicator;
    const rietveld::PatternBasis& basis = model.basis();
    const std::size_t m = basis.size(), rotations = context_.scan.geometry().rotation.size();
    const auto& weight = basis.channel_weight();
    const bool robust = pseudo_->threshold() > 0;

    // Windows of the strongest lines of every phase, wide enough for what depth does to them.
    struct Window {
        std::size_t phase, first, last;
        rietveld::PatternLine line;
    };
    std::vector<Window> windows;
    communicator.collectively([&] {
        const auto axis =
            rietveld::RadialAxis::from_two_theta(two_theta_, context_.scan.wavelength());
        auto shown = at;
        for (auto& phase : shown.phases)
            phase.scale.value = 1;
        auto lines = rietveld::PatternCalculator(axis, shown).lines(shown);
        std::stable_sort(lines.begin(), lines.end(), [](const auto& a, const auto& b) {
            return a.phase != b.phase ? a.phase < b.phase : a.intensity > b.intensity;
        });
        double half_depth = 0;
        for (const double t : own_.translation)
            half_depth = std::max(half_depth, std::abs(t));
        const double lever = std::isfinite(own_.distance) ? half_depth / own_.distance : 0;
        std::map<std::size_t, std::size_t> taken;
        for (const auto& line : lines) {
            if (taken[line.phase]++ >= lines_per_phase)
                continue;
            const double reach = 0.02 + 2 * lever * line.two_theta;
            Window window{line.phase, channels_, 0, line};
            for (std::size_t k = 0; k < channels_; ++k)
                if (std::abs(two_theta_[k] - line.two_theta) < reach) {
                    window.first = std::min(window.first, k);
                    window.last = k + 1;
                }
            if (window.first < window.last)
                windows.push_back(window);
        }
    });

    std::vector<double> sinogram(rotations * translations_, 0.0), sums(4 * channels_ + 4, 0.0);
    std::vector<double> lines(3 * windows.size() * rotations, 0.0); // residual, variance, phase
    communicator.collectively([&] {
        std::vector<float> calculated(model.coefficient_count());
        model.predict(calculated);
        std::vector<float> curves(translations_ * channels_);
        for (std::size_t i = rows_.begin; i < rows_.end; ++i) {
            read(i);
            const std::size_t first_ray = (i - rows_.begin) * translations_;
            basis.expand({calculated.data() + first_ray * m, translations_ * m}, curves);
            for (std::size_t j = 0; j < translations_; ++j) {
                const std::size_t ray = first_ray + j;
                const float* curve = curves.data() + j * channels_;
                double& cell = sinogram[i * translations_ + j];
                if (!(ray_weight[ray] > 0)) {
                    cell = -1;
                    continue;
                }
                const auto y = pattern(j), v = variance(j);
                double chi_squared = 0, mean_variance = 0, used = 0;
                double outlying = 0, outlying_squared = 0;
                for (std::size_t k = 0; k < channels_; ++k)
                    mean_variance += weight[k] > 0 && std::isfinite(v[k]) ? v[k] : 0;
                mean_variance /= static_cast<double>(channels_);
                for (std::size_t k = 0; k < channels_; ++k) {
                    if (!(weight[k] > 0) || !std::isfinite(y[k]) || !std::isfinite(v[k]))
                        continue;
                    const double residual = y[k] - curve[k];
                    // The model's variance: that of few counts follows the counts themselves.
                    const double expected =
                        context_.scan.noise() == settings::NoiseModel::errors
                            ? std::max<double>(v[k], 0.02 * mean_variance)
                            : std::max<double>(curve[k], 0.02 * mean_variance) *
                                  (std::abs(y[k]) > 0 ? v[k] / std::abs(y[k]) : 1.0);
                    const double square = expected > 0 ? residual * residual / expected : 0;
                    chi_squared += square;
                    used += 1;
                    if (robust && !pseudo_->counts_in_full(samples(i, j), k, curve[k], scale_)) {
                        outlying += 1;
                        outlying_squared += square;
                        continue;
                    }
                    sums[k] += y[k];
                    sums[channels_ + k] += curve[k];
                    sums[3 * channels_ + k] += 1;
                    sums[4 * channels_] += weight[k] * ray_weight[ray] * residual * residual;
                    sums[4 * channels_ + 1] += weight[k] * ray_weight[ray] * y[k] * y[k];
                }
                cell = used > 0 ? chi_squared / used : -1;
                sums[4 * channels_ + 2] += chi_squared - outlying_squared;
                sums[4 * channels_ + 3] += used - outlying;
                for (std::size_t w = 0; w < windows.size(); ++w)
                    for (std::size_t k = windows[w].first; k < windows[w].last; ++k)
                        if (weight[k] > 0 && std::isfinite(y[k]) && std::isfinite(v[k]) &&
                            !(robust &&
                              !pseudo_->counts_in_full(samples(i, j), k, curve[k], scale_))) {
                            lines[(3 * w) * rotations + i] += y[k] - curve[k];
                            lines[(3 * w + 1) * rotations + i] += v[k];
                        }
            }
        }
        // Every part on its own, summed over the rays of a rotation.
        const auto sums_of_parts = model.part_sums();
        std::vector<float> curve(channels_);
        for (std::size_t i = rows_.begin; i < rows_.end; ++i)
            for (std::size_t p = 0; p < basis.parts().size(); ++p) {
                const auto& part_of = basis.parts()[p];
                const float* from =
                    sums_of_parts.data() + ((i - rows_.begin) * basis.parts().size() + p) * m;
                basis.expand({from, m}, curve);
                if (part_of.kind == rietveld::PatternPart::Kind::background)
                    for (std::size_t k = 0; k < channels_; ++k)
                        if (weight[k] > 0)
                            sums[2 * channels_ + k] += curve[k];
                if (part_of.kind == rietveld::PatternPart::Kind::phase)
                    for (std::size_t w = 0; w < windows.size(); ++w)
                        if (windows[w].phase == part_of.index)
                            for (std::size_t k = windows[w].first; k < windows[w].last; ++k)
                                if (weight[k] > 0)
                                    lines[(3 * w + 2) * rotations + i] += curve[k];
            }
    });
    for (auto* values_of : {&sinogram, &sums, &lines})
        communicator.allreduce(std::span<double>(*values_of), mpi::Reduction::sum);

    result.rotation = context_.scan.geometry().rotation;
    result.translation = context_.scan.geometry().translation;
    result.two_theta = two_theta_;
    for (double& value : sinogram)
        value = value < 0 ? nan_value : value;
    result.residual_sinogram = std::move(sinogram);
    for (std::size_t k = 0; k < channels_; ++k) {
        const double count = sums[3 * channels_ + k];
        result.observed.push_back(count > 0 ? sums[k] / count : nan_value);
        result.calculated.push_back(count > 0 ? sums[channels_ + k] / count : nan_value);
        result.background.push_back(count > 0 ? sums[2 * channels_ + k] / count : nan_value);
    }
    const double* totals = &sums[4 * channels_];
    result.rwp = totals[1] > 0 ? std::sqrt(totals[0] / totals[1]) : nan_value;
    result.gof = totals[3] > 0 ? std::sqrt(totals[2] / totals[3]) : nan_value;
    for (std::size_t w = 0; w < windows.size(); ++w) {
        DlsrResult::LineResidual line;
        line.phase = at.phases[windows[w].phase].name;
        const auto& hkl = windows[w].line.hkl;
        line.hkl = fmt::format("{} {} {}", hkl[0], hkl[1], hkl[2]);
        line.two_theta = windows[w].line.two_theta;
        for (std::size_t i = 0; i < rotations; ++i) {
            const double phase = lines[(3 * w + 2) * rotations + i];
            line.ratio.push_back(phase > 0 ? lines[3 * w * rotations + i] / phase : nan_value);
            line.error.push_back(phase > 0 ? std::sqrt(lines[(3 * w + 1) * rotations + i]) / phase
                                           : nan_value);
        }
        result.lines.push_back(std::move(line));
    }
}

} // namespace xrdct::pipeline
