// SPDX-License-Identifier: BSD-3-Clause
#include "absorption/body_scale.hpp"

#include "absorption/consistency.hpp"
#include "absorption/golden_section.hpp"
#include "base/error.hpp"
#include "base/statistics.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include <fmt/format.h>

namespace xrdct::absorption {

namespace {

constexpr double largest_constant_error = 0.15;     ///< relative
constexpr double largest_transmission_error = 0.05; ///< of 95 % of the rays
/// Amounts that these steps of the image leave are good enough to look for the constant.
const BodyImageOptions rough{12, 12, 2e-3};
const BodyImageOptions first_image{40, 12, 2e-3};

double dot(const std::vector<double>& a, const std::vector<double>& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i)
        sum += a[i] * b[i];
    return sum;
}

/// Moments' residuals of all phases for a constant and an even rest.
class Residuals {
  public:
    Residuals(const BodyLevel& level, const BeforeImage& progress)
        : level_(level), progress_(progress), conditions_(level.geometry()) {}

    /// At K and rest, from the image of the last call, scaled.
    std::vector<double> at(double constant, double rest, const BodyImageOptions& options = rough) {
        progress_();
        std::vector<float> start = image_.mu;
        for (float& value : start)
            value *= static_cast<float>(constant / constant_);
        image_ = level_.solve(constant, rest, start, options);
        constant_ = constant;
        const auto transmission = level_.transmission(image_, rest);
        return of(transmission);
    }
    std::vector<double> of(std::span<const float> transmission) const {
        std::vector<double> all;
        const std::size_t rays = level_.total().size();
        std::vector<double> amounts(rays), variance(rays);
        for (const auto& phase : level_.amounts()) {
            for (std::size_t i = 0; i < rays; ++i) {
                const double t = transmission.empty() ? 1 : transmission[i];
                amounts[i] = phase[i] / t;
                variance[i] = level_.variance()[i] / (t * t);
            }
            const auto one = conditions_.residuals(amounts, variance);
            all.insert(all.end(), one.begin(), one.end());
        }
        return all;
    }
    const BodyImage& image() const { return image_; }
    void start_from(const BodyImage& image, double constant) {
        image_ = image;
        constant_ = constant;
    }

  private:
    const BodyLevel& level_;
    const BeforeImage& progress_;
    ConsistencyConditions conditions_;
    BodyImage image_;
    double constant_ = 1;
};

/// The largest K whose amounts some image has: no ray is brighter than 1 / (e K).
double highest_constant(const BodyLevel& level) {
    std::vector<double> seen;
    for (const float value : level.seen())
        if (std::isfinite(value) && value > 0)
            seen.push_back(value);
    const double highest = lower_quantile(std::move(seen), 0.995);
    if (!(highest > 0))
        throw Error("absorption: no ray sees any of the phases");
    return 1 / (std::exp(1.0) * highest);
}

/// What the conditions say at their minimum: derivatives, errors, and how far off it is.
struct Minimum {
    std::vector<double> step;  ///< to the minimum by a Gauss-Newton step
    std::vector<double> error; ///< per parameter
    std::vector<float> change; ///< of ln T per standard deviation of ln K
};

/// Parameters ln K and, with `rest`, the even rest.
Minimum look_about(Residuals& residuals, const BodyLevel& level, double constant, double rest,
                   bool with_rest) {
    const double by = 0.03, more = 0.02 / std::max(1e-6, std::sqrt(level.inside_area()));
    const auto here = residuals.at(constant, rest, first_image);
    const BodyImage image = residuals.image();
    std::vector<std::vector<double>> derivatives;
    const auto slope = [&](double k, double r, double over) {
        residuals.start_from(image, constant);
        auto up = residuals.at(k, r, first_image);
        for (std::size_t i = 0; i < up.size(); ++i)
            up[i] = (up[i] - here[i]) / over;
        derivatives.push_back(std::move(up));
    };
    Minimum found;
    slope(constant * std::exp(-by), rest, -by);
    const auto changed = level.transmission(residuals.image(), rest),
               now = level.transmission(image, rest);
    if (with_rest)
        slope(constant, rest + more, more);
    const std::size_t rotations = level.geometry().rotation.size();
    found.error =
        sandwich_errors(here, derivatives, rotations, std::max<std::size_t>(3, rotations / 20))
            .error;
    for (std::size_t i = 0; i < now.size(); ++i)
        found.change.push_back(
            static_cast<float>(std::abs(std::log(changed[i] / now[i])) / by * found.error[0]));
    const double aa = dot(derivatives[0], derivatives[0]), ar = dot(derivatives[0], here);
    found.step = {aa > 0 ? -ar / aa : 0};
    if (with_rest) {
        const double bb = dot(derivatives[1], derivatives[1]),
                     ab = dot(derivatives[0], derivatives[1]), br = dot(derivatives[1], here);
        const double determinant = aa * bb - ab * ab;
        if (determinant > 0)
            found.step = {-(bb * ar - ab * br) / determinant, -(aa * br - ab * ar) / determinant};
        else
            found.step.push_back(0);
    }
    residuals.start_from(image, constant);
    return found;
}

/// K of the least residuals on a grid from far below the highest upwards, then between neighbours.
double coarse_constant(Residuals& residuals, const BodyLevel& level) {
    const double top = 1.3 * highest_constant(level);
    constexpr int count = 18;
    constexpr double ratio = 1.25;
    double best = std::numeric_limits<double>::infinity(), at = 0;
    BodyImage image;
    for (int k = count - 1; k >= 0; --k) {
        const double constant = top / std::pow(ratio, k);
        const auto r = residuals.at(constant, 0, k == count - 1 ? first_image : rough);
        if (const double squares = dot(r, r); squares < best) {
            best = squares;
            at = constant;
            image = residuals.image();
        }
    }
    residuals.start_from(image, at);
    const double logarithm = golden_section(
        [&](double x) {
            const auto r = residuals.at(std::exp(x), 0);
            return dot(r, r);
        },
        std::log(at / ratio), std::log(at * ratio), 9);
    return std::exp(logarithm);
}

/// What 95 % of the changes do not exceed.
double almost_all(const std::vector<float>& changes) {
    return changes.empty() ? 0 : static_cast<double>(lower_quantile(changes, 0.95));
}

void check_told(const FoundScale& found, const Minimum& minimum) {
    const double transmission = almost_all(minimum.change);
    if (found.constant_error <= largest_constant_error &&
        transmission <= largest_transmission_error)
        return;
    const std::string how =
        std::isfinite(found.constant_error)
            ? fmt::format("its constant would be {:.4g} +- {:.0f} %, the transmission uncertain by "
                          "{:.0f} % for a twentieth of the rays",
                          found.constant, 100 * found.constant_error, 100 * transmission)
            : std::string("nothing changes with its constant");
    throw Error(fmt::format(
        "absorption.calibration: the scan cannot tell how much the body absorbs ({}): it absorbs "
        "too "
        "little, or looks alike from all sides; give absorption.mass_per_length, "
        "absorption.mean_density or a constant, measure the transmission, or do without the "
        "correction",
        how));
}

} // namespace

FoundScale scale_by(const BodyLevel& level, double highest,
                    const std::function<double(double, const BodyImage&)>& f,
                    const std::string& what, const BeforeImage& progress) {
    FoundScale found;
    BodyImage image;
    double last = 1;
    const auto value = [&](double x) {
        progress();
        const double constant = std::exp(x);
        std::vector<float> start = image.mu;
        for (float& one : start)
            one *= static_cast<float>(constant / last);
        image = level.solve(constant, 0, start, image.mu.empty() ? first_image : rough);
        last = constant;
        return f(constant, image);
    };
    // From below, where images are easy; amounts beyond the highest constant have none.
    const double end = std::log(std::min(highest, 1.6 * highest_constant(level)));
    double low = std::log(highest) - 3, at_low = value(low);
    while (at_low >= 0 && low > std::log(highest) - 12)
        low -= 3, at_low = value(low);
    double high = low, at_high = at_low;
    while (at_high < 0 && high < end) {
        low = high, at_low = at_high;
        high = std::min(high + 0.3, end);
        at_high = value(high);
    }
    if (at_high < 0)
        throw Error(fmt::format("absorption: {} is more than the scan's intensities can come from: "
                                "so much would absorb more",
                                what));
    for (int k = 0; k < 12 && high - low > 1e-4; ++k) {
        const double middle = std::clamp(low - at_low * (high - low) / (at_high - at_low),
                                         low + 0.05 * (high - low), high - 0.05 * (high - low));
        const double at = value(middle);
        (at < 0 ? low : high) = middle;
        (at < 0 ? at_low : at_high) = at;
        if (std::abs(at) < 3e-4) {
            low = high = middle;
            break;
        }
    }
    found.constant = std::exp(0.5 * (low + high));
    std::vector<float> start = image.mu;
    for (float& one : start)
        one *= static_cast<float>(found.constant / last);
    found.image = level.solve(found.constant, 0, start, first_image);
    return found;
}

FoundScale scale_by_consistency(const BodyLevel& level, bool rest, const BeforeImage& progress) {
    Residuals residuals(level, progress);
    FoundScale found;
    found.constant = coarse_constant(residuals, level);
    Minimum minimum;
    for (int round = 0; round < (rest ? 8 : 4); ++round) {
        minimum = look_about(residuals, level, found.constant, found.rest, rest);
        const double step = std::clamp(minimum.step[0], -0.15, 0.15);
        found.constant *= std::exp(step);
        double moved = std::abs(step) / std::max(minimum.error[0], 1e-4);
        if (rest) {
            const double before = found.rest;
            found.rest = std::max(0.0, found.rest + minimum.step[1]);
            moved =
                std::max(moved, std::abs(found.rest - before) / std::max(minimum.error[1], 1e-9));
        }
        if (moved < 0.1)
            break;
    }
    residuals.at(found.constant, found.rest, first_image);
    found.image = residuals.image();
    found.constant_error = minimum.error[0];
    found.rest_error = rest ? minimum.error[1] : 0;
    check_told(found, minimum);
    return found;
}

ScaleTension tension(const BodyLevel& level, const FoundScale& found, const BeforeImage& progress) {
    Residuals residuals(level, progress);
    residuals.start_from(found.image, found.constant);
    double constant = found.constant;
    ScaleTension result;
    for (int round = 0; round < 6; ++round) {
        const auto minimum = look_about(residuals, level, constant, found.rest, false);
        const double step = std::clamp(minimum.step[0], -0.2, 0.2);
        constant *= std::exp(step);
        const double change = std::log(constant / found.constant);
        result = {change, minimum.error[0],
                  almost_all(minimum.change) * std::abs(change) / minimum.error[0]};
        if (std::abs(step) < std::max(0.5 * minimum.error[0], 0.01))
            break;
    }
    return result;
}

double inconsistency(const BodyLevel& level, std::span<const float> transmission) {
    const ConsistencyConditions conditions(level.geometry());
    const std::size_t rays = level.total().size(), n = level.geometry().translation.size();
    std::vector<double> amounts(rays), variance(rays, 1.0);
    double squares = 0, all = 0;
    for (const auto& phase : level.amounts()) {
        double sum = 0;
        for (std::size_t i = 0; i < rays; ++i) {
            amounts[i] = phase[i] / (transmission.empty() ? 1.0 : transmission[i]);
            sum += std::isfinite(amounts[i]) ? amounts[i] : 0.0;
        }
        const double mean = sum / static_cast<double>(level.geometry().rotation.size());
        // With equal variances a moment's residual is over the norm of its polynomial.
        for (const double r : conditions.residuals(amounts, variance))
            squares += r * r;
        all += mean * mean;
    }
    const double count = 3.0 * static_cast<double>(level.geometry().rotation.size());
    return all > 0 ? std::sqrt(squares / count * static_cast<double>(n) / all) : 0;
}

} // namespace xrdct::absorption
