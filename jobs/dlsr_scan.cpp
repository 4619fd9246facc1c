#include "jobs/dlsr_scan.hpp"

#include "base/error.hpp"
#include "solvers/dlsr_uncertainty.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include <fmt/format.h>

namespace xrdct {

namespace {

constexpr double nan_value = std::numeric_limits<double>::quiet_NaN();
/// Lines per phase whose intensities are followed as the sample turns: the strongest.
constexpr std::size_t lines_per_phase = 4;

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
    const bool errors = scan.noise() == NoiseModel::errors;
    scan.file().read_rows({i, i + 1}, scan.channels(), line_);
    if (errors)
        scan.file().read_rows({i, i + 1}, scan.channels(), variance_, mpi::SinogramArray::errors);
    for (std::size_t j = 0; j < translations_; ++j) {
        const float factor = ray_factor(unabsorbed_, i * translations_ + j, false);
        for (std::size_t k = 0; k < channels_; ++k) {
            float& y = line_[j * channels_ + k];
            float& v = variance_[j * channels_ + k];
            float pixels = 1;
            if (scan.noise() == NoiseModel::counts && !scan.pixels().empty())
                pixels = static_cast<float>(std::max(1.0, scan.pixels()[k]));
            v = factor * factor * (errors ? v * v : std::abs(y) / pixels);
            y *= factor;
        }
    }
}

std::span<const float> DlsrScan::pattern(std::size_t j) const {
    return std::span<const float>(line_).subspan(j * channels_, channels_);
}
std::span<const float> DlsrScan::variance(std::size_t j) const {
    return std::span<const float>(variance_).subspan(j * channels_, channels_);
}

FactoredWeights DlsrScan::weights() {
    std::vector<unsigned char> excluded(channels_, 0);
    for (std::size_t k = 0; k < channels_; ++k)
        for (const auto& [from, to] : context_.job.rietveld.excluded)
            if (two_theta_[k] >= from && two_theta_[k] <= to)
                excluded[k] = 1;
    WeightFactors factors(channels_, ray_count());
    context_.communicator.collectively([&] {
        for (std::size_t i = rows_.begin; i < rows_.end; ++i) {
            read(i);
            for (std::size_t j = 0; j < translations_; ++j)
                factors.add((i - rows_.begin) * translations_ + j, pattern(j), variance(j));
        }
    });
    return factors.finish(context_.communicator, excluded);
}

std::vector<float> DlsrScan::compress(const PatternBasis& basis,
                                      std::span<const float> ray_weight) {
    const std::size_t m = basis.size();
    std::vector<float> data(ray_count() * m, 0.0F);
    for (std::size_t i = rows_.begin; i < rows_.end; ++i) {
        read(i);
#pragma omp parallel for schedule(static)
        for (std::size_t j = 0; j < translations_; ++j) {
            const std::size_t ray = (i - rows_.begin) * translations_ + j;
            if (ray_weight[ray] > 0)
                basis.compress(pattern(j), {data.data() + ray * m, m});
        }
    }
    return data;
}

std::vector<float> DlsrScan::noise(const PatternBasis& basis, std::span<const float> ray_weight,
                                   std::uint64_t seed) {
    const std::size_t m = basis.size();
    std::vector<float> data(ray_count() * m, 0.0F);
    for (std::size_t i = rows_.begin; i < rows_.end; ++i) {
        read(i);
#pragma omp parallel for schedule(static)
        for (std::size_t j = 0; j < translations_; ++j) {
            const std::size_t ray = (i - rows_.begin) * translations_ + j;
            if (ray_weight[ray] > 0)
                sample_ray_noise(basis, variance(j), seed, i * translations_ + j,
                                 {data.data() + ray * m, m});
        }
    }
    return data;
}

void DlsrScan::diagnose(DlsrOperator& model, const PatternModel& at,
                        std::span<const float> ray_weight, DlsrResult& result) {
    const auto& communicator = context_.communicator;
    const PatternBasis& basis = model.basis();
    const std::size_t m = basis.size(), rotations = context_.scan.geometry().rotation.size();
    const auto& weight = basis.channel_weight();

    // Windows of the strongest lines of every phase, wide enough for what depth does to them.
    struct Window {
        std::size_t phase, first, last;
        PatternLine line;
    };
    std::vector<Window> windows;
    communicator.collectively([&] {
        const auto axis = RadialAxis::from_two_theta(two_theta_, context_.scan.wavelength());
        auto shown = at;
        for (auto& phase : shown.phases)
            phase.scale.value = 1;
        auto lines = PatternCalculator(axis, shown).lines(shown);
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
                for (std::size_t k = 0; k < channels_; ++k)
                    mean_variance += weight[k] > 0 ? v[k] : 0;
                mean_variance /= static_cast<double>(channels_);
                for (std::size_t k = 0; k < channels_; ++k) {
                    if (!(weight[k] > 0) || !std::isfinite(y[k]))
                        continue;
                    const double residual = y[k] - curve[k];
                    // The model's variance: that of few counts follows the counts themselves.
                    const double expected =
                        context_.scan.noise() == NoiseModel::errors
                            ? std::max<double>(v[k], 0.02 * mean_variance)
                            : std::max<double>(curve[k], 0.02 * mean_variance) *
                                  (std::abs(y[k]) > 0 ? v[k] / std::abs(y[k]) : 1.0);
                    const double square = expected > 0 ? residual * residual / expected : 0;
                    chi_squared += square;
                    used += 1;
                    sums[k] += y[k];
                    sums[channels_ + k] += curve[k];
                    sums[3 * channels_ + k] += 1;
                    sums[4 * channels_] += weight[k] * ray_weight[ray] * residual * residual;
                    sums[4 * channels_ + 1] += weight[k] * ray_weight[ray] * y[k] * y[k];
                }
                cell = used > 0 ? chi_squared / used : -1;
                sums[4 * channels_ + 2] += chi_squared;
                sums[4 * channels_ + 3] += used;
                for (std::size_t w = 0; w < windows.size(); ++w)
                    for (std::size_t k = windows[w].first; k < windows[w].last; ++k)
                        if (weight[k] > 0 && std::isfinite(y[k])) {
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
                if (part_of.kind == PatternPart::Kind::background)
                    for (std::size_t k = 0; k < channels_; ++k)
                        if (weight[k] > 0)
                            sums[2 * channels_ + k] += curve[k];
                if (part_of.kind == PatternPart::Kind::phase)
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

} // namespace xrdct
