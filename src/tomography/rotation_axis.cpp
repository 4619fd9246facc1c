// SPDX-License-Identifier: BSD-3-Clause
#include "tomography/rotation_axis.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <optional>
#include <vector>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/units.hpp"

namespace xrdct::tomography {

namespace {

double median(std::vector<double> values) {
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::ranges::nth_element(values, middle);
    return *middle;
}

/// One projection without its background, missing samples interpolated.
using Profile = std::vector<double>;

std::optional<Profile> prepare(std::span<const float> row) {
    const std::size_t n = row.size();
    std::vector<std::size_t> known;
    for (std::size_t i = 0; i < n; ++i)
        if (std::isfinite(row[i]))
            known.push_back(i);
    if (known.size() < 3 || 10 * (n - known.size()) > n)
        return std::nullopt;
    Profile profile(n);
    for (std::size_t i = 0, k = 0; i < n; ++i) {
        while (k < known.size() && known[k] < i)
            ++k;
        if (k == 0 || k == known.size() || known[k] == i) {
            profile[i] = row[known[std::min(k, known.size() - 1)]];
        } else {
            const double f = static_cast<double>(i - known[k - 1]) /
                             static_cast<double>(known[k] - known[k - 1]);
            profile[i] = (1 - f) * row[known[k - 1]] + f * row[known[k]];
        }
    }
    const std::size_t edge = std::max<std::size_t>(2, n / 40);
    std::vector<double> outer(profile.begin(), profile.begin() + static_cast<std::ptrdiff_t>(edge));
    outer.insert(outer.end(), profile.end() - static_cast<std::ptrdiff_t>(edge), profile.end());
    const double background = median(std::move(outer));
    for (double& value : profile)
        value -= background;
    return profile;
}

/// Least squares for `n` unknowns; the normal matrix becomes its inverse. False when it is
/// singular.
template <std::size_t n>
bool solve(std::array<std::array<double, n>, n>& a, std::array<double, n>& b) {
    std::array<std::array<double, n>, n> inverse{};
    for (std::size_t i = 0; i < n; ++i)
        inverse[i][i] = 1;
    for (std::size_t column = 0; column < n; ++column) {
        std::size_t pivot = column;
        for (std::size_t row = column + 1; row < n; ++row)
            if (std::abs(a[row][column]) > std::abs(a[pivot][column]))
                pivot = row;
        if (std::abs(a[pivot][column]) < 1e-12 * (1 + std::abs(a[0][0])))
            return false;
        std::swap(a[pivot], a[column]);
        std::swap(inverse[pivot], inverse[column]);
        const double scale = 1 / a[column][column];
        for (std::size_t k = 0; k < n; ++k) {
            a[column][k] *= scale;
            inverse[column][k] *= scale;
        }
        for (std::size_t row = 0; row < n; ++row) {
            if (row == column)
                continue;
            const double factor = a[row][column];
            for (std::size_t k = 0; k < n; ++k) {
                a[row][k] -= factor * a[column][k];
                inverse[row][k] -= factor * inverse[column][k];
            }
        }
    }
    std::array<double, n> x{};
    for (std::size_t i = 0; i < n; ++i)
        for (std::size_t k = 0; k < n; ++k)
            x[i] += inverse[i][k] * b[k];
    a = inverse;
    b = x;
    return true;
}

/// Centre of mass of a projection in steps, or nothing for one without mass.
std::optional<double> centre_of_mass(const Profile& profile) {
    double mass = 0, moment = 0, absolute = 0;
    for (std::size_t i = 0; i < profile.size(); ++i) {
        mass += profile[i];
        moment += profile[i] * static_cast<double>(i);
        absolute += std::abs(profile[i]);
    }
    if (!(mass > 0.05 * absolute))
        return std::nullopt;
    return moment / mass;
}

/// In steps: offset, uncertainty.
AxisEstimate fit_centres(const ScanGeometry& geometry,
                         const std::vector<std::optional<Profile>>& profiles) {
    struct Point {
        double cosine, sine, centre;
        bool use;
    };
    std::vector<Point> points;
    for (std::size_t i = 0; i < profiles.size(); ++i)
        if (profiles[i])
            if (const auto centre = centre_of_mass(*profiles[i])) {
                const double omega = geometry.omega(i);
                points.push_back({std::cos(omega), std::sin(omega), *centre, true});
            }
    AxisEstimate estimate;
    for (int pass = 0; pass < 10; ++pass) {
        std::array<std::array<double, 3>, 3> normal{};
        std::array<double, 3> solution{};
        std::size_t used = 0;
        for (const Point& p : points) {
            if (!p.use)
                continue;
            ++used;
            const std::array<double, 3> row{1, p.cosine, p.sine};
            for (std::size_t i = 0; i < 3; ++i) {
                solution[i] += row[i] * p.centre;
                for (std::size_t k = 0; k < 3; ++k)
                    normal[i][k] += row[i] * row[k];
            }
        }
        if (used < 5 || !solve(normal, solution))
            return {};
        std::vector<double> residuals;
        double squares = 0;
        for (const Point& p : points) {
            const double r = p.centre - solution[0] - solution[1] * p.cosine - solution[2] * p.sine;
            residuals.push_back(r);
            squares += p.use ? r * r : 0;
        }
        estimate = {solution[0], std::sqrt(normal[0][0] * squares / static_cast<double>(used - 3)),
                    used, true};

        std::vector<double> sizes;
        for (const double r : residuals)
            sizes.push_back(std::abs(r));
        const double limit = std::max(4 * 1.4826 * median(sizes), 1e-6);
        bool changed = false;
        for (std::size_t i = 0; i < points.size(); ++i) {
            const bool use = std::abs(residuals[i]) <= limit;
            changed = changed || use != points[i].use;
            points[i].use = use;
        }
        if (!changed)
            break;
    }
    return estimate;
}

/// Gaussian smoothing, σ in steps, so that interpolating between noisy samples does not favour half
/// steps.
Profile smooth(const Profile& profile, double sigma) {
    const auto reach = static_cast<std::ptrdiff_t>(std::ceil(4 * sigma));
    std::vector<double> kernel;
    for (std::ptrdiff_t k = -reach; k <= reach; ++k)
        kernel.push_back(std::exp(-0.5 * static_cast<double>(k * k) / (sigma * sigma)));
    const double total = std::accumulate(kernel.begin(), kernel.end(), 0.0);
    const auto n = static_cast<std::ptrdiff_t>(profile.size());
    Profile result(profile.size());
    for (std::ptrdiff_t i = 0; i < n; ++i) {
        double sum = 0;
        for (std::ptrdiff_t k = -reach; k <= reach; ++k)
            sum += kernel[static_cast<std::size_t>(k + reach)] *
                   profile[static_cast<std::size_t>(std::clamp<std::ptrdiff_t>(i + k, 0, n - 1))];
        result[static_cast<std::size_t>(i)] = sum / total;
    }
    return result;
}

/// Catmull–Rom interpolation at a place in steps, and its slope.
struct SplinePoint {
    double value, slope;
};
SplinePoint interpolate(const Profile& p, double place) {
    const auto n = static_cast<std::ptrdiff_t>(p.size());
    const auto i = static_cast<std::ptrdiff_t>(std::floor(place));
    const double f = place - static_cast<double>(i);
    const auto at = [&](std::ptrdiff_t k) {
        return p[static_cast<std::size_t>(std::clamp<std::ptrdiff_t>(k, 0, n - 1))];
    };
    const double a = at(i - 1), b = at(i), c = at(i + 1), d = at(i + 2);
    const double c1 = 0.5 * (c - a), c2 = a - 2.5 * b + 2 * c - 0.5 * d,
                 c3 = 0.5 * (d - a) + 1.5 * (b - c);
    return {b + f * (c1 + f * (c2 + f * c3)), c1 + f * (2 * c2 + 3 * f * c3)};
}

struct Match {
    double correlation = -1;
    double centre = 0;      // steps
    double uncertainty = 0; // steps, from the misfit
};

/// Correlation of one profile with the other one mirrored about `centre`, over their common part.
/// Intensities may differ by a factor and an offset.
Match compare(const Profile& first, const Profile& second, double centre, bool with_uncertainty) {
    const auto last = static_cast<double>(first.size() - 1);
    const double begin = std::ceil(std::max(0.0, 2 * centre - last)),
                 end = std::floor(std::min(last, 2 * centre));
    double n = 0, a = 0, b = 0, aa = 0, bb = 0, ab = 0;
    for (double j = begin; j <= end; ++j) {
        const double x = first[static_cast<std::size_t>(j)],
                     y = interpolate(second, 2 * centre - j).value;
        n += 1;
        a += x;
        b += y;
        aa += x * x;
        bb += y * y;
        ab += x * y;
    }
    const double va = aa - a * a / n, vb = bb - b * b / n, covariance = ab - a * b / n;
    if (n < 8 || !(va > 0) || !(vb > 0))
        return {};
    Match match{covariance / std::sqrt(va * vb), centre, 0};
    if (with_uncertainty) {
        const double gain = covariance / vb, offset = (a - gain * b) / n;
        double misfit = 0, slopes = 0;
        for (double j = begin; j <= end; ++j) {
            const SplinePoint sample = interpolate(second, 2 * centre - j);
            const double r = first[static_cast<std::size_t>(j)] - offset - gain * sample.value;
            misfit += r * r;
            slopes += 4 * gain * gain * sample.slope * sample.slope;
        }
        match.uncertainty = slopes > 0 ? std::sqrt(misfit / (n - 3) / slopes) : last;
    }
    return match;
}

/// Best centre in the middle half of the axis.
Match register_mirror(const Profile& first, const Profile& second) {
    const auto last = static_cast<double>(first.size() - 1);
    Match best;
    for (double centre = std::round(0.25 * last); centre <= 0.75 * last; centre += 0.5)
        if (const Match match = compare(first, second, centre, false);
            match.correlation > best.correlation)
            best = match;
    if (best.correlation < 0.5)
        return {};
    double width = 0.5;
    for (int pass = 0; pass < 12; ++pass) { // parabola through three points, ever closer
        const double l = compare(first, second, best.centre - width, false).correlation;
        const double r = compare(first, second, best.centre + width, false).correlation;
        const double curvature = l - 2 * best.correlation + r;
        if (!(curvature < 0))
            break;
        const double move = std::clamp(0.5 * width * (l - r) / curvature, -width, width);
        const Match next = compare(first, second, best.centre + move, false);
        if (next.correlation > best.correlation)
            best = next;
        width = std::max(0.5 * width, 0.02);
        if (std::abs(move) < 1e-4)
            break;
    }
    return compare(first, second, best.centre, true);
}

double typical_gap(const ScanGeometry& geometry) {
    std::vector<double> sorted = geometry.rotation;
    std::ranges::sort(sorted);
    std::vector<double> gaps;
    for (std::size_t i = 1; i < sorted.size(); ++i)
        if (sorted[i] > sorted[i - 1])
            gaps.push_back(sorted[i] - sorted[i - 1]);
    return gaps.empty() ? 0 : median(std::move(gaps));
}

/// Two projections, `mismatch` degrees beyond half a turn apart.
struct Pair {
    std::size_t first, second;
    double mismatch;
};
struct Pairs {
    std::vector<Pair> list; ///< at most 100
    bool direct = false;    ///< all half a turn apart
    double gap = 0;         ///< rotation step [degrees]
};

Pairs find_pairs(const ScanGeometry& geometry,
                 const std::vector<std::optional<Profile>>& profiles) {
    // Pairs a little off half a turn are turned against each other; the offset they give is linear
    // in the mismatch.
    constexpr double reach = 4.5; // rotation steps
    const double gap = typical_gap(geometry);
    if (gap == 0)
        return {};
    std::vector<Pair> exact, near;
    for (std::size_t i = 0; i < profiles.size(); ++i)
        for (std::size_t k = 0; k < profiles.size(); ++k) {
            if (!profiles[i] || !profiles[k])
                continue;
            const double turn = geometry.rotation[k] - geometry.rotation[i];
            if (turn < 90)
                continue;
            const double mismatch = std::remainder(turn - 180, 360.0);
            if (std::abs(mismatch) < 0.02 * gap)
                exact.push_back({i, k, mismatch});
            else if (std::abs(mismatch) < reach * gap)
                near.push_back({i, k, mismatch});
        }
    const bool direct = !exact.empty();
    const auto closest =
        std::ranges::min_element(near, {}, [](const Pair& p) { return std::abs(p.mismatch); });
    if (!direct && (near.empty() || std::abs(closest->mismatch) > 1.5 * gap))
        return {};
    std::vector<Pair> pairs = std::move(direct ? exact : near);
    constexpr std::size_t most = 100;
    if (pairs.size() > most) {
        std::vector<Pair> some;
        for (std::size_t i = 0; i < most; ++i)
            some.push_back(pairs[i * pairs.size() / most]);
        pairs = std::move(some);
    }
    return {std::move(pairs), direct, gap};
}

/// What one pair says: where the mirror lies, by how many rotation steps it is off half a turn.
struct MirrorCentre {
    double mismatch, centre, uncertainty;
};

std::vector<MirrorCentre> register_pairs(const Pairs& pairs,
                                         const std::vector<std::optional<Profile>>& profiles) {
    std::vector<std::optional<Profile>> smoothed(profiles.size());
    const auto smooth_profile = [&](std::size_t i) -> const Profile& {
        if (!smoothed[i])
            smoothed[i] = smooth(*profiles[i], 1.5);
        return *smoothed[i];
    };
    std::vector<MirrorCentre> values;
    for (const Pair& pair : pairs.list) {
        const Match match =
            register_mirror(smooth_profile(pair.first), smooth_profile(pair.second));
        if (match.correlation > 0)
            values.push_back({pair.mismatch / pairs.gap, match.centre, match.uncertainty});
    }
    return values;
}

/// Drops those off the median by more than four of its deviations.
void drop_outliers(std::vector<MirrorCentre>& values, bool direct) {
    if (values.size() > 4) {
        std::vector<double> centres, deviations;
        for (const MirrorCentre& v : values)
            centres.push_back(v.centre);
        const double middle = median(centres);
        for (const MirrorCentre& v : values)
            deviations.push_back(std::abs(v.centre - middle));
        const double limit = std::max(4 * 1.4826 * median(deviations), direct ? 0.1 : 1.0);
        std::erase_if(values,
                      [&](const MirrorCentre& v) { return std::abs(v.centre - middle) > limit; });
    }
}

/// The centre at a mismatch of 0, linear in it; `single` is the uncertainty of one pair.
AxisEstimate fit_line(const std::vector<MirrorCentre>& values, double single) {
    const auto count = static_cast<double>(values.size());
    AxisEstimate estimate{0, 0, values.size(), true};
    std::array<std::array<double, 2>, 2> normal{};
    std::array<double, 2> solution{};
    for (const MirrorCentre& v : values) {
        normal[0][0] += 1;
        normal[0][1] += v.mismatch;
        normal[1][1] += v.mismatch * v.mismatch;
        solution[0] += v.centre;
        solution[1] += v.mismatch * v.centre;
    }
    normal[1][0] = normal[0][1];
    if (!solve(normal, solution))
        return {};
    double squares = 0;
    for (const MirrorCentre& v : values)
        squares += std::pow(v.centre - solution[0] - solution[1] * v.mismatch, 2);
    // The pairs share projections: no more than a few of them are independent.
    const double scatter = count > 2 ? squares / (count - 2) : 0;
    estimate.offset = solution[0];
    estimate.uncertainty =
        std::sqrt(normal[0][0] * std::max(scatter, single * single) * std::max(1.0, count / 4));
    return estimate;
}

AxisEstimate match_mirrored(const ScanGeometry& geometry,
                            const std::vector<std::optional<Profile>>& profiles) {
    const Pairs pairs = find_pairs(geometry, profiles);
    auto values = register_pairs(pairs, profiles);
    if (values.empty() || (!pairs.direct && values.size() < 3))
        return {};
    drop_outliers(values, pairs.direct);
    const auto count = static_cast<double>(values.size());
    double single = 0; // typical uncertainty of one pair
    for (const MirrorCentre& v : values)
        single += v.uncertainty / count;
    if (!pairs.direct)
        return fit_line(values, single);
    AxisEstimate estimate{0, 0, values.size(), true};
    double squares = 0;
    for (const MirrorCentre& v : values)
        estimate.offset += v.centre / count;
    for (const MirrorCentre& v : values)
        squares += (v.centre - estimate.offset) * (v.centre - estimate.offset);
    estimate.uncertainty =
        values.size() > 2 ? std::sqrt(squares / (count - 1) / count) : single / std::sqrt(count);
    return estimate;
}

} // namespace

AxisResult find_axis_offset(const ScanGeometry& geometry, std::span<const float> sinogram) {
    geometry.validate();
    const std::size_t n_rotations = geometry.rotation.size(),
                      n_translations = geometry.translation.size();
    if (sinogram.size() != n_rotations * n_translations)
        throw Error(fmt::format("axis offset: the sinogram holds {} values, expected {} × {}",
                                sinogram.size(), n_rotations, n_translations));
    if (n_translations < 16)
        throw Error(fmt::format(
            "axis offset: {} translations are too few to find it, give axis_offset instead",
            n_translations));
    std::vector<std::optional<Profile>> profiles(n_rotations);
    for (std::size_t i = 0; i < n_rotations; ++i)
        profiles[i] = prepare(sinogram.subspan(i * n_translations, n_translations));

    const double step = geometry.step(),
                 start = geometry.translation_sense * geometry.translation.front();
    const auto to_mm = [&](AxisEstimate estimate) {
        if (estimate.valid) {
            estimate.offset = start + estimate.offset * step;
            estimate.uncertainty *= std::abs(step);
        }
        return estimate;
    };
    AxisResult result;
    result.centre_of_mass = to_mm(fit_centres(geometry, profiles));
    result.mirror = to_mm(match_mirrored(geometry, profiles));
    const AxisEstimate &mass = result.centre_of_mass, &mirror = result.mirror;
    if (!mass.valid && !mirror.valid)
        throw Error("axis offset: neither the centres of mass nor mirrored projections give one; "
                    "give axis_offset instead");
    const double tolerance =
        3 * std::hypot(mass.uncertainty, mirror.uncertainty) + 0.1 * std::abs(step);
    result.agree = mass.valid && mirror.valid && std::abs(mass.offset - mirror.offset) < tolerance;
    if (result.agree)
        result.offset = mass.uncertainty < mirror.uncertainty ? mass.offset : mirror.offset;
    else
        result.offset = mirror.valid ? mirror.offset : mass.offset;
    return result;
}

} // namespace xrdct::tomography
