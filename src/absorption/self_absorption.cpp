#include "absorption/self_absorption.hpp"

#include "absorption/hollow_core.hpp"
#include "base/error.hpp"
#include "base/units.hpp"
#include "tomography/strip_projector.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include <fmt/format.h>

namespace xrdct::absorption {

namespace {

/// Lateral offsets [mm] that sample the strip, the box of the step convolved with that of the beam.
std::vector<double> strip_offsets(double step, double beam) {
    constexpr std::size_t n = 24;
    std::vector<double> all;
    const std::size_t m = beam > 0 ? n : 1;
    for (std::size_t i = 0; i < n; ++i)
        for (std::size_t j = 0; j < m; ++j)
            all.push_back(step * ((static_cast<double>(i) + 0.5) / n - 0.5) +
                          (m > 1 ? beam * ((static_cast<double>(j) + 0.5) / n - 0.5) : 0.0));
    std::sort(all.begin(), all.end());
    // Neighbours are merged to save work.
    std::vector<double> merged;
    for (auto from = all.begin(); from != all.end(); from += static_cast<std::ptrdiff_t>(m))
        merged.push_back(std::accumulate(from, from + static_cast<std::ptrdiff_t>(m), 0.0) /
                         static_cast<double>(m));
    return merged;
}

double chord(double radius, double s) {
    const double h = radius * radius - s * s;
    return h > 0 ? 2 * std::sqrt(h) : 0;
}

/// What a strip across the edge of an absorbing ring does to means over it.
struct StripMeans {
    double length = 0;       ///< mean path in the ring [mm]
    double transmission = 1; ///< mean of exp(−μ path) over exp(−μ mean path)
    double amount = 1; ///< mean of path · exp(−μ path) over mean path and mean exp(−μ path)
};

StripMeans strip_means(const std::vector<double>& offsets, double outer, double inner, double mu,
                       double s) {
    double length = 0, through = 0, seen = 0;
    for (const double offset : offsets) {
        const double path = chord(outer, s + offset) - chord(inner, s + offset);
        const double t = std::exp(-mu * path);
        length += path;
        through += t;
        seen += path * t;
    }
    const auto n = static_cast<double>(offsets.size());
    length /= n, through /= n, seen /= n;
    if (!(length > 0))
        return {};
    return {length, through / std::exp(-mu * length), seen / (length * through)};
}

/// Golden-section search for the least value of a unimodal g on [a, b].
template <typename G>
double least(G&& g, double a, double b, int steps) {
    constexpr double golden = 0.6180339887498949;
    double c = b - golden * (b - a), d = a + golden * (b - a);
    double gc = g(c), gd = g(d);
    for (int i = 0; i < steps; ++i) {
        if (gc < gd) {
            b = d, d = c, gd = gc;
            c = b - golden * (b - a), gc = g(c);
        } else {
            a = c, c = d, gc = gd;
            d = a + golden * (b - a), gd = g(d);
        }
    }
    return 0.5 * (a + b);
}

/// Amounts of one phase averaged over all rotations, against the distance from its centre, in bins
/// of a quarter of a step.
class MeanProfile {
  public:
    MeanProfile(const tomography::ScanGeometry& geometry, std::span<const float> amounts)
        : offsets_(strip_offsets(std::abs(geometry.step()), geometry.beam_width)),
          step_(std::abs(geometry.step())) {
        const std::size_t rotations = geometry.rotation.size(),
                          translations = geometry.translation.size();
        const double origin = geometry.origin_index();
        const auto lateral = [&](std::size_t j) {
            return (static_cast<double>(j) - origin) * geometry.step();
        };
        // The middle between the outer edges of a projection: x cos ω + y sin ω; normal equations
        // of the two. Edges do not depend on the absorption inside.
        double cc = 0, cs = 0, ss = 0, bc = 0, bs = 0;
        for (std::size_t i = 0; i < rotations; ++i) {
            const auto middle = middle_of_edges(amounts.subspan(i * translations, translations));
            if (!middle)
                continue;
            const double at = (*middle - origin) * geometry.step();
            const double omega = geometry.omega(i), c = std::cos(omega), s = std::sin(omega);
            cc += c * c, cs += c * s, ss += s * s;
            bc += c * at, bs += s * at;
        }
        const double determinant = cc * ss - cs * cs;
        if (determinant > 1e-6 * (cc * cc + ss * ss)) {
            centre_x = (bc * ss - bs * cs) / determinant;
            centre_y = (bs * cc - bc * cs) / determinant;
        }
        const double bin = 0.25 * step_;
        std::vector<double> place;
        distance_.resize(rotations * translations);
        for (std::size_t i = 0; i < rotations; ++i) {
            const double omega = geometry.omega(i);
            const double centre = centre_x * std::cos(omega) + centre_y * std::sin(omega);
            for (std::size_t j = 0; j < translations; ++j) {
                const double r = std::abs(lateral(j) - centre);
                distance_[i * translations + j] = r;
                const auto k = static_cast<std::size_t>(r / bin);
                if (k >= place.size()) {
                    place.resize(k + 1, 0.0);
                    weight.resize(k + 1, 0.0);
                }
                place[k] += r;
                weight[k] += 1;
            }
        }
        radius.resize(place.size());
        for (std::size_t k = 0; k < place.size(); ++k)
            radius[k] = weight[k] > 0 ? place[k] / weight[k] : (static_cast<double>(k) + 0.5) * bin;
        set(amounts);
    }

    /// Takes other amounts about the same centre.
    void set(std::span<const float> amounts) {
        const double bin = 0.25 * step_;
        mean.assign(radius.size(), 0.0);
        std::vector<double> count(radius.size(), 0.0);
        for (std::size_t i = 0; i < amounts.size(); ++i)
            if (std::isfinite(amounts[i])) {
                const auto k = static_cast<std::size_t>(distance_[i] / bin);
                mean[k] += amounts[i];
                count[k] += 1;
            }
        highest = 0;
        outermost = at_highest = 0;
        seen = 0;
        for (std::size_t k = 0; k < mean.size(); ++k) {
            mean[k] = count[k] > 0 ? mean[k] / count[k] : 0;
            if (mean[k] > highest) {
                highest = mean[k];
                at_highest = radius[k];
            }
        }
        for (std::size_t k = 0; k < mean.size(); ++k) {
            seen += count[k] > 0 && mean[k] > 0.05 * highest;
            if (mean[k] > 0.3 * highest)
                outermost = radius[k];
        }
    }

    double distance(std::size_t ray) const { return distance_[ray]; }
    /// Mean path of a ray in a ring about the same centre [mm].
    double ring_length(const RingFit& ring, std::size_t ray) const {
        double sum = 0;
        for (const double offset : offsets_)
            sum += chord(ring.outer_radius, distance_[ray] + offset) -
                   chord(ring.inner_radius, distance_[ray] + offset);
        return sum / static_cast<double>(offsets_.size());
    }
    const std::vector<double>& offsets() const { return offsets_; }

    /// Radii of the ring that fits best, and how well, in relative residuals, so that the flat
    /// middle counts as much as the steep edge; `constant` 0: free.
    RingFit fit(double constant, std::optional<RingFit> start = {}) const {
        RingFit fit;
        fit.centre_x = centre_x;
        fit.centre_y = centre_y;
        double factor = 0, residual = 0, square = 0;
        const auto cost = [&](double outer, double wall) {
            double mm = 0, my = 0, yy = 0;
            for (std::size_t k = 0; k < radius.size(); ++k) {
                if (weight[k] == 0)
                    continue;
                double model = 0;
                for (const double offset : offsets_)
                    model += chord(outer, radius[k] + offset) -
                             chord(std::max(0.0, outer - wall), radius[k] + offset);
                model /= static_cast<double>(offsets_.size());
                const double w = weight[k] / (mean[k] * mean[k] + 2.5e-3 * highest * highest);
                mm += w * model * model;
                my += w * model * mean[k];
                yy += w * mean[k] * mean[k];
            }
            factor = constant > 0 ? 1 / constant : (mm > 0 ? my / mm : 0);
            residual = yy - 2 * factor * my + factor * factor * mm;
            square = yy;
            return residual;
        };
        double outer = start ? start->outer_radius : outermost;
        double wall = start ? start->outer_radius - start->inner_radius
                            : std::max(step_, outermost - at_highest);
        double range = start ? 0.3 * step_ : 2 * step_,
               range_wall = start ? 0.3 * wall : 0.8 * wall;
        for (int round = 0; round < 8; ++round) {
            outer =
                least([&](double u) { return cost(u, wall); }, outer - range, outer + range, 12);
            wall = least([&](double u) { return cost(outer, u); },
                         std::max(1e-3 * step_, wall - range_wall), wall + range_wall, 12);
            range *= 0.6;
            range_wall *= 0.6;
        }
        cost(outer, wall);
        fit.outer_radius = outer;
        fit.inner_radius = std::max(0.0, outer - wall);
        fit.constant = factor > 0 ? 1 / factor : 0;
        fit.misfit = square > 0 ? std::sqrt(std::max(0.0, residual) / square) : 1;
        return fit;
    }

    std::vector<double> radius, mean, weight;
    double centre_x = 0, centre_y = 0;
    double highest = 0, at_highest = 0, outermost = 0;
    std::size_t seen = 0;

  private:
    /// Middle between the outermost places where a projection crosses 0.4 of its maximum [index].
    static std::optional<double> middle_of_edges(std::span<const float> projection) {
        float highest = 0;
        for (const float value : projection)
            if (std::isfinite(value))
                highest = std::max(highest, value);
        const float level = 0.4F * highest;
        std::optional<double> first, last;
        for (std::size_t j = 0; j + 1 < projection.size(); ++j) {
            const float a = projection[j], b = projection[j + 1];
            if (!(std::isfinite(a) && std::isfinite(b)) || (a > level) == (b > level))
                continue;
            const double at = static_cast<double>(j) + (level - a) / (b - a);
            if (!first)
                first = at;
            last = at;
        }
        if (!first || *first == *last)
            return {};
        return 0.5 * (*first + *last);
    }

    std::vector<double> offsets_, distance_;
    double step_;
};

void check_ring(const RingFit& fit) {
    if (!(fit.constant > 0) || fit.misfit > 0.25)
        throw Error(fmt::format("absorption: the reference phase is no homogeneous ring (misfit "
                                "{:.0f} %); calibrate by a plateau, a measured transmission or a "
                                "given constant",
                                100 * fit.misfit));
}

/// τ with τ = a e^τ + b (a, b ≥ 0), the smaller of the two solutions; beyond the largest a that
/// has one, the τ where they meet, and false.
bool solve_depth(double a, double b, double& tau) {
    if (!(a > 0)) {
        tau = std::max(b, 0.0);
        return true;
    }
    if (a * std::exp(b + 1) >= 1) {
        tau = b + 1;
        return false;
    }
    tau = b;
    for (int i = 0; i < 60; ++i) {
        const double e = a * std::exp(tau), step = (tau - e - b) / (1 - e);
        tau -= step;
        if (std::abs(step) < 1e-12)
            break;
    }
    return true;
}

float quantile(std::vector<float> values, double q) {
    if (values.empty())
        return 0;
    const auto at =
        values.begin() + static_cast<std::ptrdiff_t>(q * static_cast<double>(values.size() - 1));
    std::nth_element(values.begin(), at, values.end());
    return *at;
}

/// Constant that brings the upper plateau of an image to `fraction`: the median of the pixels all
/// of whose eight neighbours exceed half of the highest values.
double plateau_constant(std::span<const float> image, std::size_t n, double fraction) {
    std::vector<float> positive;
    for (const float value : image)
        if (value > 0)
            positive.push_back(value);
    const float half = 0.5F * quantile(positive, 0.995);
    std::vector<float> inside;
    for (std::size_t y = 1; y + 1 < n; ++y)
        for (std::size_t x = 1; x + 1 < n; ++x) {
            bool all = half > 0;
            for (std::size_t v = y - 1; v <= y + 1 && all; ++v)
                for (std::size_t u = x - 1; u <= x + 1; ++u)
                    all = all && image[v * n + u] > half;
            if (all)
                inside.push_back(image[y * n + x]);
        }
    if (inside.size() < 5)
        throw Error("absorption: the reference phase fills no region of three by three voxels; a "
                    "ring or a given constant calibrates thin layers");
    return fraction / quantile(inside, 0.5);
}

} // namespace

std::vector<unsigned char> sample_mask(std::span<const double> total, double threshold) {
    std::vector<double> values;
    for (const double value : total)
        if (value > 0)
            values.push_back(value);
    std::vector<unsigned char> mask(total.size(), 0);
    if (values.empty())
        return mask;
    const auto position =
        values.begin() + static_cast<std::ptrdiff_t>(0.99 * static_cast<double>(values.size() - 1));
    std::nth_element(values.begin(), position, values.end());
    for (std::size_t i = 0; i < total.size(); ++i)
        mask[i] = total[i] > threshold * *position;
    return mask;
}

RingFit fit_ring(const tomography::ScanGeometry& geometry, std::span<const float> amounts) {
    const std::size_t rays = geometry.rotation.size() * geometry.translation.size();
    if (amounts.size() != rays)
        throw Error(fmt::format("ring: {} amounts for {} rays", amounts.size(), rays));
    const MeanProfile profile(geometry, amounts);
    if (!(profile.highest > 0) || profile.seen < 8)
        throw Error("absorption: the reference phase is seen by too few rays to calibrate with");
    const auto fit = profile.fit(0);
    check_ring(fit);
    return fit;
}

SelfAbsorptionResult correct_self_absorption(const tomography::ScanGeometry& geometry,
                                             const tomography::ImageGrid& grid,
                                             const SelfAbsorptionInput& input,
                                             const SelfAbsorptionOptions& options,
                                             const std::function<bool(int, double)>& progress) {
    const std::size_t rays = geometry.rotation.size() * geometry.translation.size();
    const std::size_t phases = input.amounts.size();
    if (phases == 0 || input.mu.size() != phases)
        throw Error(fmt::format("absorption: {} phases with {} attenuation coefficients", phases,
                                input.mu.size()));
    for (const auto& amounts : input.amounts)
        if (amounts.size() != rays)
            throw Error(fmt::format("absorption: {} amounts for {} rays", amounts.size(), rays));
    if (input.total.size() != rays ||
        (!input.transmission.empty() && input.transmission.size() != rays))
        throw Error("absorption: total intensity or transmission do not match the rays");
    if (!(options.reference_fraction > 0 && options.reference_fraction <= 1))
        throw Error("absorption: the reference phase's volume fraction must lie in (0, 1]");
    if (options.reference >= phases)
        throw Error("absorption: there is no such reference phase");
    if (options.calibration == AmountCalibration::given && !(options.constant > 0))
        throw Error("absorption: the given constant must be positive");
    if (options.calibration == AmountCalibration::transmission && input.transmission.empty())
        throw Error("absorption: there is no measured transmission to calibrate with");

    SelfAbsorptionResult result;
    tomography::FilteredBackProjection fbp(geometry, grid, options.fbp);
    const tomography::StripProjector projector(geometry, grid);
    const bool measured = !input.transmission.empty();
    if (measured)
        result.transmission.assign(input.transmission.begin(), input.transmission.end());
    else
        result.transmission.assign(rays, 1.0F);

    std::vector<float> corrected(rays), image(grid.size()), filled(rays, 0.0F), mask(grid.size());
    // Per ray, what a strip across the edge of the ring does to mean transmission and amount.
    std::vector<double> edge_transmission(rays, 1.0), edge_amount(rays, 1.0);
    // Path in the ring per ray [mm], once it is known well: its counting noise need not be carried
    // into the correction. Empty before.
    std::vector<double> ring_path;
    const auto correct = [&](std::size_t phase) {
        const bool ring = result.ring && phase == options.reference;
        for (std::size_t i = 0; i < rays; ++i)
            corrected[i] =
                input.amounts[phase][i] /
                (result.transmission[i] * static_cast<float>(ring ? edge_amount[i] : 1.0));
    };
    // Counting noise comes back magnified from the correction: what the rest of the sample does to
    // the transmission, and where the sample is, is taken from a few neighbouring rotations.
    const std::size_t rotations = geometry.rotation.size(),
                      translations = geometry.translation.size();
    const auto calm = [&](std::span<const float> amounts) {
        std::vector<double> weight(rays), values(amounts.begin(), amounts.end());
        for (std::size_t i = 0; i < rays; ++i)
            weight[i] = std::isfinite(values[i]) ? 1 : 0;
        return measured ? values : weighted_smooth(values, weight, rotations, translations, 1.5, 0);
    };
    std::vector<std::vector<double>> quiet;
    for (const auto& amounts : input.amounts)
        quiet.push_back(calm(amounts));
    const auto quiet_total = calm(input.total);
    const bool by_ring = options.calibration == AmountCalibration::ring;
    int hollow_found = 0;
    HollowCore hollow;
    std::vector<float> outline; // share of the hollow in every pixel, once it is drawn finely
    std::vector<float> hollow_path(rays, 0.0F);
    const auto reconstruct_total = [&] {
        for (std::size_t i = 0; i < rays; ++i)
            corrected[i] = static_cast<float>(quiet_total[i]) / result.transmission[i];
        fbp.reconstruct(corrected, 1, image);
    };
    const auto find_sample = [&](double threshold, bool settled) {
        if (by_ring) {
            result.sample.assign(grid.size(), 0);
            std::fill(filled.begin(), filled.end(), 0.0F);
            if (!result.ring)
                return;
            const auto& ring = *result.ring;
            if (options.hollow_diameter) {
                hollow = HollowCore(0.5 * *options.hollow_diameter);
            } else if (hollow_found < 8 && outline.empty()) {
                // Found while the correction comes close, then kept.
                reconstruct_total();
                hollow = HollowCore::find(image, grid, ring);
                hollow_found += settled;
            }
            if (outline.empty())
                result.hollow_diameter = hollow.diameter();
            for (std::size_t y = 0; y < grid.n; ++y)
                for (std::size_t x = 0; x < grid.n; ++x) {
                    const double u = grid.coordinate(x) - ring.centre_x,
                                 v = grid.coordinate(y) - ring.centre_y, r = std::hypot(u, v);
                    const std::size_t at = y * grid.n + x;
                    mask[at] = outline.empty()
                                   ? static_cast<float>(std::clamp(
                                         (hollow.radius(std::atan2(v, u)) - r) / grid.pixel + 0.5,
                                         0.0, 1.0))
                                   : outline[at];
                    result.sample[at] = r <= ring.inner_radius && mask[at] <= 0.5F;
                }
            std::fill(hollow_path.begin(), hollow_path.end(), 0.0F);
            if (result.hollow_diameter > 0)
                projector.forward(mask, 1, hollow_path);
            const auto offsets = strip_offsets(std::abs(geometry.step()), geometry.beam_width);
            for (std::size_t i = 0; i < rotations; ++i) {
                const double omega = geometry.omega(i);
                const double centre =
                    ring.centre_x * std::cos(omega) + ring.centre_y * std::sin(omega);
                for (std::size_t j = 0; j < translations; ++j) {
                    const double s =
                        (static_cast<double>(j) - geometry.origin_index()) * geometry.step() -
                        centre;
                    double sum = 0;
                    for (const double offset : offsets)
                        sum += chord(ring.inner_radius, s + offset);
                    filled[i * translations + j] =
                        static_cast<float>(sum / static_cast<double>(offsets.size())) -
                        hollow_path[i * translations + j];
                }
            }
            return;
        }
        reconstruct_total();
        result.sample = sample_mask(weighted_smooth(std::vector<double>(image.begin(), image.end()),
                                                    std::vector<double>(image.size(), 1.0), grid.n,
                                                    grid.n, 0.7, 0.7),
                                    threshold);
        // What fills the sample lies inside the ring; a threshold alone blurs outwards.
        if (result.ring)
            for (std::size_t y = 0; y < grid.n; ++y)
                for (std::size_t x = 0; x < grid.n; ++x)
                    if (std::hypot(grid.coordinate(x) - result.ring->centre_x,
                                   grid.coordinate(y) - result.ring->centre_y) >
                        result.ring->inner_radius)
                        result.sample[y * grid.n + x] = 0;
        std::copy(result.sample.begin(), result.sample.end(), mask.begin());
        projector.forward(mask, 1, filled);
    };
    // The phases displace what would fill their place, where anything fills it.
    const auto excess = [&](std::size_t phase) {
        const bool outside = result.ring && phase == options.reference;
        return input.mu[phase] - (outside ? 0.0 : options.filling);
    };
    const auto amount_sum = [&](std::size_t i) {
        double sum = 0;
        for (std::size_t p = 0; p < phases; ++p) {
            const bool ring = result.ring && p == options.reference;
            if (!ring)
                sum += excess(p) * quiet[p][i];
            else if (ring_path.empty())
                sum += excess(p) * input.amounts[p][i] / edge_amount[i];
        }
        return sum;
    };
    const auto see_edges = [&](const MeanProfile& profile) {
        for (std::size_t i = 0; i < rays; ++i) {
            const auto means =
                strip_means(profile.offsets(), result.ring->outer_radius, result.ring->inner_radius,
                            input.mu[options.reference], profile.distance(i));
            edge_transmission[i] = means.transmission;
            edge_amount[i] = means.amount;
        }
    };
    /// Transmission of every ray for a constant.
    const auto solve = [&](double constant, std::vector<float>& transmission) {
        std::size_t opaque = 0;
        for (std::size_t i = 0; i < rays; ++i) {
            double tau = 0;
            const double a = constant * amount_sum(i) / edge_transmission[i];
            if (!std::isfinite(a)) {
                transmission[i] = std::numeric_limits<float>::quiet_NaN();
                continue;
            }
            const double known = ring_path.empty() ? 0 : input.mu[options.reference] * ring_path[i];
            opaque += !solve_depth(a, options.filling * filled[i] + known, tau);
            transmission[i] = static_cast<float>(std::exp(-tau) * edge_transmission[i]);
        }
        return opaque;
    };

    if (measured) {
        find_sample(options.mask_threshold, true);
        if (options.calibration == AmountCalibration::ring) {
            for (int round = 0; round < 4; ++round) {
                correct(options.reference);
                const MeanProfile profile(geometry, corrected);
                if (!(profile.highest > 0) || profile.seen < 8)
                    throw Error("absorption: the reference phase is seen by too few rays to "
                                "calibrate with");
                result.ring = profile.fit(0, result.ring);
                check_ring(*result.ring);
                see_edges(profile);
            }
            find_sample(options.mask_threshold, true);
            result.constant = options.reference_fraction * result.ring->constant;
        } else if (options.calibration == AmountCalibration::plateau) {
            correct(options.reference);
            fbp.reconstruct(corrected, 1, image);
            result.constant = plateau_constant(image, grid.n, options.reference_fraction);
        } else if (options.calibration == AmountCalibration::given) {
            result.constant = options.constant;
        } else {
            // ln 1/T = K Σ (μ_p − μ_f) A_p + f L: how much filling there is where, the image of the
            // sample tells roughly only, so that f is free.
            double xx = 0, xy = 0, xl = 0, ll = 0, ly = 0;
            for (std::size_t i = 0; i < rays; ++i) {
                const double x = amount_sum(i) / result.transmission[i];
                const double y = -std::log(result.transmission[i]);
                const double l = options.filling > 0 ? filled[i] : 0.0;
                // Where a strip lies across an edge, the logarithm of the mean is no mean path.
                const std::size_t j = i % translations;
                const double slope = j == 0 || j + 1 == translations
                                         ? 0.0
                                         : 0.5 * (std::log(result.transmission[i - 1]) -
                                                  std::log(result.transmission[i + 1]));
                const double weight = 1 / (1 + slope * slope / 0.0025);
                if (!std::isfinite(x) || !std::isfinite(y) || !std::isfinite(weight))
                    continue;
                xx += weight * x * x;
                xy += weight * x * y;
                xl += weight * x * l;
                ll += weight * l * l;
                ly += weight * l * y;
            }
            const double determinant = xx * ll - xl * xl;
            const bool both = determinant > 1e-3 * xx * ll;
            const double constant = both ? (xy * ll - ly * xl) / determinant : xy / xx;
            if (!(constant > 0))
                throw Error(
                    "absorption: the measured transmission shows no attenuation by the phases");
            result.constant = constant;
        }
        result.converged = true;
    } else {
        std::vector<float> trial(rays);
        std::optional<MeanProfile> found;
        // The hollow as the light of the ring shows it through the correction in force.
        const auto seen_hollow = [&] {
            std::vector<float> excess(rays, 0.0F), response(rays, 0.0F);
            for (std::size_t i = 0; i < rays; ++i) {
                // Rays beside all that the ring encloses are noise here.
                if (found->distance(i) > result.ring->inner_radius - std::abs(geometry.step()))
                    continue;
                const double length =
                    options.reference_fraction * found->ring_length(*result.ring, i);
                const double by_phases = -std::log(trial[i] / edge_transmission[i]) -
                                         options.filling * filled[i] -
                                         input.mu[options.reference] * ring_path[i];
                excess[i] =
                    static_cast<float>(result.constant * input.amounts[options.reference][i] /
                                           (trial[i] * edge_amount[i]) -
                                       length);
                response[i] =
                    static_cast<float>(length * options.filling / std::max(0.2, 1 - by_phases));
            }
            return hollow_by_ring(fbp, projector, {excess, response, hollow_path}, *result.ring);
        };
        // How often the hollow may be drawn finely; the first time, by the total image if the ring
        // shines too weakly. By that once only: a hollow too large or too small makes an image that
        // agrees with it.
        int drawings = by_ring && !options.hollow_diameter ? 8 : 0;
        // Hollows must not fill up while the correction is still far off: the threshold starts
        // high. A region of pixels is settled once the rest has, so that none goes to and fro for
        // ever.
        int settling = by_ring ? options.max_iterations : 3;
        double largest = 1;
        for (int iteration = 1; iteration <= options.max_iterations; ++iteration) {
            const bool close = largest < 0.03 || settling < 3 || !ring_path.empty();
            if (settling > 0)
                find_sample((close ? 1 : 4) * options.mask_threshold, close);
            settling -= close && !by_ring;
            if (options.calibration == AmountCalibration::given) {
                result.constant = options.constant;
            } else if (options.calibration == AmountCalibration::plateau) {
                correct(options.reference);
                fbp.reconstruct(corrected, 1, image);
                const double next = plateau_constant(image, grid.n, options.reference_fraction);
                result.constant = iteration == 1 ? next : std::sqrt(next * result.constant);
            } else {
                // The constant for which the corrected amounts are those of a ring of the path
                // lengths they mean. A constant too large corrects too much where the sample
                // absorbs most, so that the shape tells as well as the size.
                if (!found)
                    found.emplace(geometry, input.amounts[options.reference]);
                auto& profile = *found;
                if (!(profile.highest > 0) || profile.seen < 8)
                    throw Error("absorption: the reference phase is seen by too few rays to "
                                "calibrate with");
                auto ring = result.ring ? *result.ring : profile.fit(0);
                const auto amounts_for = [&](double constant) {
                    const std::size_t opaque = solve(constant, trial);
                    for (std::size_t i = 0; i < rays; ++i)
                        corrected[i] = input.amounts[options.reference][i] /
                                       (trial[i] * static_cast<float>(edge_amount[i]));
                    profile.set(corrected);
                    auto fit = profile.fit(constant / options.reference_fraction, ring);
                    if (200 * opaque > rays)
                        fit.misfit += 1;
                    return fit;
                };
                const auto misfit = [&](double k) { return amounts_for(k).misfit; };
                double middle = result.constant, reach = 0.07;
                if (iteration == 1) {
                    // Uncorrected amounts are too small, by what the sample lets through.
                    double best = std::numeric_limits<double>::infinity();
                    for (double k = 0.3; k < 1.15; k *= 1.07) {
                        const double trial_constant =
                            k * options.reference_fraction * ring.constant;
                        if (const double value = misfit(trial_constant); value < best) {
                            best = value;
                            middle = trial_constant;
                        }
                    }
                }
                result.constant = least(misfit, (1 - reach) * middle, (1 + reach) * middle, 16);
                ring = amounts_for(result.constant);
                result.ring = ring;
                see_edges(profile);
            }
            result.opaque = solve(result.constant, trial);
            if (result.ring && close) {
                // The ring's own path, and what of the amounts departs from it over many rays.
                std::vector<double> length(rays), departure(rays), weight(rays, 0.0);
                for (std::size_t i = 0; i < rays; ++i) {
                    length[i] = found->ring_length(*result.ring, i);
                    const double seen = result.constant / options.reference_fraction *
                                        input.amounts[options.reference][i] /
                                        (trial[i] * edge_amount[i]);
                    if (length[i] > 0 && std::isfinite(seen)) {
                        departure[i] = seen / length[i] - 1;
                        weight[i] = length[i];
                    }
                }
                departure = weighted_smooth(departure, weight, rotations, translations, 3, 1);
                ring_path.resize(rays);
                for (std::size_t i = 0; i < rays; ++i)
                    ring_path[i] = options.reference_fraction * length[i] * (1 + departure[i]);
                result.opaque = solve(result.constant, trial);
            }
            largest = 0;
            for (std::size_t i = 0; i < rays; ++i)
                if (std::isfinite(trial[i]))
                    largest = std::max(
                        largest, static_cast<double>(std::abs(trial[i] - result.transmission[i])));
            result.transmission = trial;
            result.iterations = iteration;
            result.changes.push_back(largest);
            const bool go_on = !progress || progress(iteration, largest);
            const bool settled = largest < options.tolerance && (by_ring ? close : settling <= 0);
            if (settled && drawings == 0) {
                result.converged = true;
                break;
            }
            // The outline waits until all else is as good as it gets without knowing it better.
            if (drawings > 0 && (settled || !outline.empty())) {
                --drawings;
                auto next = seen_hollow();
                if (!next) {
                    drawings = 0;
                    if (outline.empty() && result.hollow_diameter > 0) {
                        reconstruct_total();
                        next = hollow_by_total(image, grid, *result.ring,
                                               0.5 * result.hollow_diameter);
                    }
                }
                if (next) {
                    outline.resize(next->size(), 0.0F);
                    double area = 0, change = 0;
                    for (std::size_t i = 0; i < outline.size(); ++i) {
                        area += (*next)[i];
                        change += std::abs((*next)[i] - outline[i]);
                    }
                    outline = std::move(*next);
                    result.hollow_diameter = 2 * grid.pixel * std::sqrt(area / pi);
                    if (change <= 0.02 * area)
                        drawings = 0;
                } else if (outline.empty()) {
                    result.converged = true;
                    break;
                }
            }
            if (!go_on)
                break;
        }
        // Uncorrected amounts need not look like a ring; in the end they must.
        if (result.ring)
            check_ring(*result.ring);
    }

    result.mu_map.assign(grid.size(), 0.0F);
    for (std::size_t i = 0; i < grid.size(); ++i)
        result.mu_map[i] = result.sample[i] ? static_cast<float>(options.filling) : 0.0F;
    // All phases' images at once, as channels.
    std::vector<float> sinogram(rays * phases), images(grid.size() * phases);
    for (std::size_t p = 0; p < phases; ++p) {
        correct(p);
        for (std::size_t i = 0; i < rays; ++i) {
            corrected[i] *= static_cast<float>(result.constant);
            sinogram[i * phases + p] = corrected[i];
        }
        result.path_lengths.push_back(corrected);
    }
    fbp.reconstruct(sinogram, phases, images);
    for (std::size_t p = 0; p < phases; ++p) {
        for (std::size_t i = 0; i < grid.size(); ++i) {
            image[i] = images[i * phases + p];
            result.mu_map[i] +=
                static_cast<float>(input.mu[p] - (result.sample[i] ? options.filling : 0.0)) *
                image[i];
        }
        result.volume_fractions.push_back(image);
    }
    return result;
}

} // namespace xrdct::absorption
