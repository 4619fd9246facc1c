// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/dlsr/diagnostics.hpp"

#include "base/numbers.hpp"
#include "rietveld/model/radial_axis.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace xrdct::dlsr {

namespace {

/// Lines per phase whose intensities are followed as the sample turns: the strongest.
constexpr std::size_t lines_per_phase = 4;

/// The channels about a line.
struct Window {
    std::size_t phase, first, last;
    rietveld::PatternLine line;
};

/// Windows of the strongest lines of every phase, wide enough for what depth does to them.
std::vector<Window> line_windows(const ScanData& scan, const rietveld::PatternModel& at) {
    const auto& two_theta = scan.rays().two_theta();
    const auto axis = rietveld::RadialAxis::from_two_theta(two_theta, scan.rays().wavelength());
    auto shown = at;
    for (auto& phase : shown.phases)
        phase.scale.value = 1;
    auto lines = rietveld::PatternCalculator(axis, shown).lines(shown);
    std::stable_sort(lines.begin(), lines.end(), [](const auto& a, const auto& b) {
        return a.phase != b.phase ? a.phase < b.phase : a.intensity > b.intensity;
    });
    double half_depth = 0;
    for (const double t : scan.geometry().translation)
        half_depth = std::max(half_depth, std::abs(t));
    const double distance = scan.geometry().distance;
    const double lever = std::isfinite(distance) ? half_depth / distance : 0;
    std::vector<Window> windows;
    std::map<std::size_t, std::size_t> taken;
    for (const auto& line : lines) {
        if (taken[line.phase]++ >= lines_per_phase)
            continue;
        const double reach = 0.02 + 2 * lever * line.two_theta;
        Window window{line.phase, two_theta.size(), 0, line};
        for (std::size_t k = 0; k < two_theta.size(); ++k)
            if (std::abs(two_theta[k] - line.two_theta) < reach) {
                window.first = std::min(window.first, k);
                window.last = k + 1;
            }
        if (window.first < window.last)
            windows.push_back(window);
    }
    return windows;
}

/// Sums over the rays.
class Diagnosis {
  public:
    Diagnosis(ScanData& scan, Operator& model, std::span<const float> ray_weight,
              std::vector<Window> windows)
        : scan_(scan), model_(model), basis_(model.basis()), ray_weight_(ray_weight),
          windows_(std::move(windows)), rotations_(scan.rays().geometry().rotation.size()),
          translations_(scan.rays().geometry().translation.size()), channels_(scan.channel_count()),
          robust_(scan.pseudo_data().threshold() > 0),
          given_(scan.rays().variance_kind() == solvers::VarianceKind::given),
          sinogram_(rotations_ * translations_, 0.0), sums_(4 * channels_ + 4, 0.0),
          lines_(3 * windows_.size() * rotations_, 0.0) {}

    /// Own rays. Not collective.
    void add_residuals();
    /// Every part on its own, summed over the rays of a rotation. Not collective.
    void add_parts();
    /// Collective.
    void sum_over_ranks(const mpi::Communicator& communicator) {
        for (auto* values : {&sinogram_, &sums_, &lines_})
            communicator.allreduce(std::span<double>(*values), mpi::Reduction::sum);
    }
    void write(const rietveld::PatternModel& at, Result& result);

  private:
    void add_ray(std::size_t rotation, std::size_t translation, float ray_weight,
                 const float* curve);
    void add_to_windows(std::size_t rotation, std::size_t translation, const float* curve);
    Result::LineResidual line_residual(const rietveld::PatternModel& at, std::size_t window) const;

    ScanData& scan_;
    Operator& model_;
    const rietveld::PatternBasis& basis_;
    std::span<const float> ray_weight_;
    std::vector<Window> windows_;
    std::size_t rotations_, translations_, channels_;
    bool robust_, given_;
    std::vector<double> sinogram_; ///< −1: left out
    /// [channel] of observed, calculated, background, count; then of W r², W y², χ², count.
    std::vector<double> sums_;
    std::vector<double> lines_; ///< [window][residual, variance, phase][rotation]
};

void Diagnosis::add_residuals() {
    const std::size_t m = basis_.size();
    const auto rows = scan_.rotations();
    std::vector<float> calculated(model_.coefficient_count());
    model_.predict(calculated);
    std::vector<float> curves(translations_ * channels_);
    for (std::size_t i = rows.begin; i < rows.end; ++i) {
        scan_.read(i);
        const std::size_t first_ray = (i - rows.begin) * translations_;
        basis_.expand({calculated.data() + first_ray * m, translations_ * m}, curves);
        for (std::size_t j = 0; j < translations_; ++j) {
            const float ray_weight = ray_weight_[first_ray + j];
            if (!(ray_weight > 0)) {
                sinogram_[i * translations_ + j] = -1;
                continue;
            }
            const float* curve = curves.data() + j * channels_;
            add_ray(i, j, ray_weight, curve);
            add_to_windows(i, j, curve);
        }
    }
}

void Diagnosis::add_ray(std::size_t i, std::size_t j, float ray_weight, const float* curve) {
    const auto& weight = basis_.channel_weight();
    const auto y = scan_.pattern(j), v = scan_.variance(j);
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
        const double expected = given_ ? std::max<double>(v[k], 0.02 * mean_variance)
                                       : std::max<double>(curve[k], 0.02 * mean_variance) *
                                             (std::abs(y[k]) > 0 ? v[k] / std::abs(y[k]) : 1.0);
        const double square = expected > 0 ? residual * residual / expected : 0;
        chi_squared += square;
        used += 1;
        if (robust_ && !scan_.pseudo_data().counts_in_full(scan_.samples(i, j), k, curve[k],
                                                           scan_.residual_scale())) {
            outlying += 1;
            outlying_squared += square;
            continue;
        }
        sums_[k] += y[k];
        sums_[channels_ + k] += curve[k];
        sums_[3 * channels_ + k] += 1;
        sums_[4 * channels_] += weight[k] * ray_weight * residual * residual;
        sums_[4 * channels_ + 1] += weight[k] * ray_weight * y[k] * y[k];
    }
    sinogram_[i * translations_ + j] = used > 0 ? chi_squared / used : -1;
    sums_[4 * channels_ + 2] += chi_squared - outlying_squared;
    sums_[4 * channels_ + 3] += used - outlying;
}

void Diagnosis::add_to_windows(std::size_t i, std::size_t j, const float* curve) {
    const auto& weight = basis_.channel_weight();
    const auto y = scan_.pattern(j), v = scan_.variance(j);
    for (std::size_t w = 0; w < windows_.size(); ++w)
        for (std::size_t k = windows_[w].first; k < windows_[w].last; ++k)
            if (weight[k] > 0 && std::isfinite(y[k]) && std::isfinite(v[k]) &&
                !(robust_ && !scan_.pseudo_data().counts_in_full(scan_.samples(i, j), k, curve[k],
                                                                 scan_.residual_scale()))) {
                lines_[(3 * w) * rotations_ + i] += y[k] - curve[k];
                lines_[(3 * w + 1) * rotations_ + i] += v[k];
            }
}

void Diagnosis::add_parts() {
    const std::size_t m = basis_.size();
    const auto rows = scan_.rotations();
    const auto& weight = basis_.channel_weight();
    const auto sums_of_parts = model_.part_sums();
    std::vector<float> curve(channels_);
    for (std::size_t i = rows.begin; i < rows.end; ++i)
        for (std::size_t p = 0; p < basis_.parts().size(); ++p) {
            const auto& part_of = basis_.parts()[p];
            const float* from =
                sums_of_parts.data() + ((i - rows.begin) * basis_.parts().size() + p) * m;
            basis_.expand({from, m}, curve);
            if (part_of.kind == rietveld::PatternPart::Kind::background)
                for (std::size_t k = 0; k < channels_; ++k)
                    if (weight[k] > 0)
                        sums_[2 * channels_ + k] += curve[k];
            if (part_of.kind == rietveld::PatternPart::Kind::phase)
                for (std::size_t w = 0; w < windows_.size(); ++w)
                    if (windows_[w].phase == part_of.index)
                        for (std::size_t k = windows_[w].first; k < windows_[w].last; ++k)
                            if (weight[k] > 0)
                                lines_[(3 * w + 2) * rotations_ + i] += curve[k];
        }
}

Result::LineResidual Diagnosis::line_residual(const rietveld::PatternModel& at,
                                              std::size_t w) const {
    Result::LineResidual line;
    line.phase = at.phases[windows_[w].phase].name;
    const auto& hkl = windows_[w].line.hkl;
    line.hkl = fmt::format("{} {} {}", hkl[0], hkl[1], hkl[2]);
    line.two_theta = windows_[w].line.two_theta;
    for (std::size_t i = 0; i < rotations_; ++i) {
        const double phase = lines_[(3 * w + 2) * rotations_ + i];
        line.ratio.push_back(phase > 0 ? lines_[3 * w * rotations_ + i] / phase : nan_value);
        line.error.push_back(phase > 0 ? std::sqrt(lines_[(3 * w + 1) * rotations_ + i]) / phase
                                       : nan_value);
    }
    return line;
}

void Diagnosis::write(const rietveld::PatternModel& at, Result& result) {
    const auto& geometry = scan_.rays().geometry();
    result.rotation = geometry.rotation;
    result.translation = geometry.translation;
    result.two_theta = scan_.rays().two_theta();
    for (double& value : sinogram_)
        value = value < 0 ? nan_value : value;
    result.residual_sinogram = std::move(sinogram_);
    for (std::size_t k = 0; k < channels_; ++k) {
        const double count = sums_[3 * channels_ + k];
        result.observed.push_back(count > 0 ? sums_[k] / count : nan_value);
        result.calculated.push_back(count > 0 ? sums_[channels_ + k] / count : nan_value);
        result.background.push_back(count > 0 ? sums_[2 * channels_ + k] / count : nan_value);
    }
    const double* totals = &sums_[4 * channels_];
    result.rwp = totals[1] > 0 ? std::sqrt(totals[0] / totals[1]) : nan_value;
    result.gof = totals[3] > 0 ? std::sqrt(totals[2] / totals[3]) : nan_value;
    for (std::size_t w = 0; w < windows_.size(); ++w)
        result.lines.push_back(line_residual(at, w));
}

} // namespace

void diagnose(const mpi::Communicator& communicator, ScanData& scan, Operator& model,
              const rietveld::PatternModel& at, std::span<const float> ray_weight, Result& result) {
    auto windows = communicator.collectively([&] { return line_windows(scan, at); });
    Diagnosis diagnosis(scan, model, ray_weight, std::move(windows));
    communicator.collectively([&] {
        diagnosis.add_residuals();
        diagnosis.add_parts();
    });
    diagnosis.sum_over_ranks(communicator);
    diagnosis.write(at, result);
}

} // namespace xrdct::dlsr
