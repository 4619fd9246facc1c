// SPDX-License-Identifier: BSD-3-Clause
#include "base/units.hpp"
#include "rietveld/fit/calibrator.hpp"

#include <Eigen/Core>
#include <Eigen/LU>
#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <numeric>
#include <utility>

namespace xrdct::rietveld {

namespace {

constexpr double half_window = 4; // FWHM
constexpr double neighbour = 1.5; // FWHM; closer lines are not told apart
constexpr double weakest = 0.01;  // of the strongest height
constexpr std::size_t max_lines = 60;

using TwoColumns = Eigen::Matrix<double, Eigen::Dynamic, 2>;

/// The x that makes |columns·x − values| least, by the normal equations: one or two columns that
/// are not alike.
template <class Columns>
auto least_squares(const Columns& columns, const Eigen::VectorXd& values) {
    return ((columns.transpose() * columns).inverse() * (columns.transpose() * values)).eval();
}

} // namespace

/// Indices of the lines of the fit that are strong enough to be fitted alone, the highest first.
std::vector<std::size_t> Calibrator::strong_lines() const {
    const auto& fit = result_.fit;
    const InstrumentProfile profile = result_.instrument();
    const double wavelength = result_.wavelength.value;
    std::vector<double> height;
    for (const PatternLine& line : fit.lines) {
        height.push_back(line.intensity / line_fwhm(profile, line.two_theta, wavelength));
    }
    const double strongest = height.empty() ? 0 : *std::max_element(height.begin(), height.end());
    std::vector<std::size_t> order(fit.lines.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::sort(order.begin(), order.end(),
              [&](std::size_t a, std::size_t b) { return height[a] > height[b]; });
    std::erase_if(order, [&](std::size_t index) { return height[index] < weakest * strongest; });
    return order;
}

/// Nothing for a line that is not alone, not wholly in range or has channels left out.
std::optional<Calibrator::Window> Calibrator::cut_window(const PatternLine& line) const {
    const auto& fit = result_.fit;
    const InstrumentProfile profile = result_.instrument();
    const double wavelength = result_.wavelength.value;
    Window window;
    const PseudoVoigt shape = window.shape =
        pseudo_voigt(peak_widths(profile, line.two_theta, wavelength));
    const bool alone = std::none_of(fit.lines.begin(), fit.lines.end(), [&](const auto& other) {
        return &other != &line &&
               std::abs(other.two_theta - line.two_theta) < neighbour * shape.fwhm &&
               other.intensity > 0.02 * line.intensity;
    });
    const auto centres = axis_.two_theta();
    const auto first = window.first =
        static_cast<std::size_t>(std::lower_bound(centres.begin(), centres.end(),
                                                  line.two_theta - half_window * shape.fwhm) -
                                 centres.begin());
    const auto last = window.last =
        static_cast<std::size_t>(std::upper_bound(centres.begin(), centres.end(),
                                                  line.two_theta + half_window * shape.fwhm) -
                                 centres.begin());
    const bool inside = line.two_theta - half_window * shape.fwhm > axis_.edges().front() &&
                        line.two_theta + half_window * shape.fwhm < axis_.edges().back();
    if (!alone || !inside || last < first + 9) {
        return std::nullopt;
    }
    ProfileBuffer own;
    channel_averaged_profile(axis_, line.two_theta, shape.fwhm, shape.mixing, default_profile_range,
                             false, own);
    auto& net = window.net;
    auto& variance = window.variance;
    bool whole = true;
    for (std::size_t k = first; k < last; ++k) {
        const double mine = k >= own.first && k - own.first < own.size()
                                ? line.intensity * own.value[k - own.first]
                                : 0;
        net.push_back(intensity_[k] - (fit.calculated[k] - mine));
        variance.push_back(variance_[k]);
        whole = whole && std::isfinite(net.back()) && variance_[k] > 0;
    }
    if (!whole) {
        return std::nullopt;
    }
    return window;
}

/// A pseudo-Voigt and a straight line in the window; nothing where the fit does not succeed.
std::optional<SingleLine> Calibrator::fit_single_line(const PatternLine& line,
                                                      const Window& window) const {
    const PseudoVoigt& shape = window.shape;
    const auto axis = RadialAxis::from_two_theta(
        axis_.two_theta().subspan(window.first, window.last - window.first),
        result_.wavelength.value);
    PatternModel model;
    model.set_background(2);
    SinglePeak peak;
    peak.name = "line";
    peak.position = {line.two_theta, true, line.two_theta - 2 * shape.fwhm,
                     line.two_theta + 2 * shape.fwhm};
    peak.fwhm = {shape.fwhm, true, 0.1 * shape.fwhm, 6 * shape.fwhm};
    peak.mixing = {std::clamp(shape.mixing, 0.01, 0.99), true, 0, 1};
    peak.area.value = line.intensity;
    model.peaks.push_back(peak);
    RefinementOptions options;
    options.scale_errors = true;
    const auto single = refine(axis, window.net, window.variance, model, options);
    const auto value = [&](const char* name) {
        const auto found = std::find_if(single.parameters.begin(), single.parameters.end(),
                                        [&](const auto& p) { return p.name == name; });
        return found != single.parameters.end() && !found->at_bound
                   ? std::pair{found->value, found->esd}
                   : std::pair{std::nan(""), std::nan("")};
    };
    const auto [position, position_esd] = value("line position");
    const auto [fwhm, fwhm_esd] = value("line fwhm");
    if (single.status != FitStatus::converged || !std::isfinite(position_esd) ||
        !(fwhm_esd < 0.2 * fwhm)) {
        return std::nullopt;
    }
    return SingleLine{line.hkl, line.two_theta, position - line.two_theta, position_esd, fwhm,
                      fwhm_esd, shape.fwhm};
}

/// The strong lines one by one: the rest of the calculated pattern is taken off, a pseudo-Voigt
/// and a straight line are fitted.
void Calibrator::fit_single_lines() {
    for (const std::size_t index : strong_lines()) {
        if (result_.lines.size() == max_lines) {
            break;
        }
        const PatternLine& line = result_.fit.lines[index];
        if (const auto window = cut_window(line)) {
            if (const auto single = fit_single_line(line, *window)) {
                result_.lines.push_back(*single);
            }
        }
    }
    std::sort(result_.lines.begin(), result_.lines.end(),
              [](const auto& a, const auto& b) { return a.two_theta < b.two_theta; });
}

/// What is left of the lines' places, against sin² 2θ: a detector tilted by φ and integrated as if
/// it were not moves a line at azimuth χ by tan φ cos χ sin² 2θ, which cancels over full rings
/// only.
void Calibrator::explain_shifts() {
    constexpr std::size_t fewest = 6;
    constexpr double better = 4, significant = 5;
    const auto& lines = result_.lines;
    if (lines.size() < fewest) {
        return;
    }
    const auto count = static_cast<Eigen::Index>(lines.size());
    Eigen::MatrixXd basis(count, 3); // scale, zero, tilt; in deg over e.s.d.
    Eigen::VectorXd shift(count);
    for (Eigen::Index i = 0; i < count; ++i) {
        const SingleLine& line = lines[static_cast<std::size_t>(i)];
        const double angle = radians(line.two_theta);
        basis.row(i) << degrees(2 * std::tan(angle / 2)), 1, degrees(std::pow(std::sin(angle), 2));
        basis.row(i) /= line.shift_esd;
        shift[i] = line.shift / line.shift_esd;
    }
    const auto misfit = [&](const auto& columns) {
        return (shift - columns * least_squares(columns, shift)).squaredNorm();
    };
    TwoColumns with(count, 2);
    with << basis.col(0), basis.col(2);
    // The zero of the fit is undone by the scale and the tilt only if it stood for them.
    const double zero = options_.refine_zero ? result_.zero.value : 0;
    const Eigen::VectorXd residual_shift = shift + zero * basis.col(1);
    const double before = options_.refine_zero ? misfit(TwoColumns(basis.leftCols(2)))
                                               : misfit(Eigen::VectorXd(basis.col(0)));
    const Eigen::Vector2d solution = least_squares(with, residual_shift);
    const double after = (residual_shift - with * solution).squaredNorm();
    const double freedom = static_cast<double>(count - 2);
    const Eigen::Matrix2d covariance = (with.transpose() * with).inverse();
    const double esd = std::sqrt(covariance(1, 1) * std::max(1.0, after / freedom));
    if (after * better < before && std::abs(solution[1]) > significant * esd) {
        result_.notes.push_back(fmt::format(
            "the places of the lines deviate by a term {:.1f}({:.1f})e-3 sin^2(2theta) rad, which "
            "{}explains {:.0f} % of what the fit leaves (chi^2): a detector tilted by about {:.2f} "
            "deg and seen over part of the rings makes that. The wavelength or cell found here is "
            "off by up to {:.0f} ppm; integrate with the tilt",
            1e3 * solution[1], 1e3 * esd, options_.refine_zero ? "in place of the zero " : "",
            100 * (1 - after / before), degrees(std::atan(std::abs(solution[1]))),
            1e6 * std::abs(solution[0])));
    }
}

} // namespace xrdct::rietveld
