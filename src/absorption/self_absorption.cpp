// SPDX-License-Identifier: BSD-3-Clause
#include "absorption/self_absorption.hpp"

#include "absorption/golden_section.hpp"
#include "absorption/hollow_core.hpp"
#include "absorption/image_levels.hpp"
#include "base/error.hpp"
#include "base/units.hpp"
#include "tomography/strip_projector.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include <fmt/format.h>

namespace xrdct::absorption {

namespace {

void check(std::size_t rays, const SelfAbsorptionInput& input,
           const SelfAbsorptionOptions& options) {
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

} // namespace

struct SelfAbsorption::Impl {
    const tomography::ScanGeometry& geometry;
    const tomography::ImageGrid& grid;
    const SelfAbsorptionInput& input;
    const SelfAbsorptionOptions& options;
    const std::size_t rotations, translations, rays, phases;
    const bool measured, by_wall;

    SelfAbsorptionResult result;
    tomography::FilteredBackProjection fbp;
    const tomography::StripProjector projector;
    std::vector<float> corrected, image; // scratch: a sinogram and an image
    // Counting noise comes back magnified from the correction: what the rest of the sample does to
    // the transmission, and where the sample is, is taken from a few neighbouring rotations.
    std::vector<std::vector<double>> quiet; // amounts per phase
    std::vector<double> quiet_total;

    // Per ray, what a strip across the edge of the wall does to mean transmission and amount.
    std::vector<double> edge_transmission, edge_amount;
    // Path in the wall per ray [mm], once it is known well: its counting noise need not be carried
    // into the correction. Empty before.
    std::vector<double> wall_path;
    std::optional<MeanProfile> profile; // of the reference phase's corrected amounts

    std::vector<float> mask;        // share of the filling or, with a wall, of the hollow [y][x]
    std::vector<float> filled;      // path in what fills the sample [mm]
    std::vector<float> hollow_path; // path in the hollow [mm]
    HollowCore hollow;
    int hollow_found = 0;
    std::vector<float> outline; // share of the hollow in every pixel, once it is drawn finely

    std::vector<float> trial; // transmissions of the iteration
    double largest = 1;       // change of a transmission
    // How often the hollow may be drawn finely; the first time, by the total image if the wall
    // shines too weakly. By that once only: a hollow too large or too small makes an image that
    // agrees with it.
    int drawings;
    // Hollows must not fill up while the correction is still far off: the threshold starts high. A
    // region of pixels is settled once the rest has, so that none goes to and fro for ever.
    int settling;

    Impl(const tomography::ScanGeometry& scan, const tomography::ImageGrid& image_grid,
         const SelfAbsorptionInput& known, const SelfAbsorptionOptions& chosen);

    bool is_wall(std::size_t phase) const { return result.wall && phase == options.reference; }
    std::vector<double> calm(std::span<const float> amounts) const;
    void correct(std::size_t phase);
    void reconstruct_total();
    void find_sample(double threshold, bool settled);
    void find_sample_in_wall(bool settled);
    void draw_hollow(const CanWall& wall);
    void fill_wall(const CanWall& wall);
    void find_sample_by_threshold(double threshold);
    double excess(std::size_t phase) const;
    double amount_sum(std::size_t ray) const;
    void see_edges(const MeanProfile& seen);
    std::size_t solve(double constant, std::vector<float>& transmission) const;

    void calibrate_measured();
    void fit_measured_wall();
    double transmission_constant() const;

    void step();
    void calibrate(bool first);
    CanWall wall_for(double constant, const CanWall& start);
    void calibrate_by_wall(bool first);
    void find_wall_path();
    void take_trial();
    std::optional<std::vector<float>> hollow_seen_by_wall();
    bool redraw_outline();

    void make_images();
};

SelfAbsorption::Impl::Impl(const tomography::ScanGeometry& scan,
                           const tomography::ImageGrid& image_grid,
                           const SelfAbsorptionInput& known, const SelfAbsorptionOptions& chosen)
    : geometry(scan), grid(image_grid), input(known), options(chosen),
      rotations(geometry.rotation.size()), translations(geometry.translation.size()),
      rays(rotations * translations), phases(input.amounts.size()),
      measured(!input.transmission.empty()),
      by_wall(options.calibration == AmountCalibration::can_wall), fbp(geometry, grid, options.fbp),
      projector(geometry, grid), corrected(rays), image(grid.size()), edge_transmission(rays, 1.0),
      edge_amount(rays, 1.0), mask(grid.size()), filled(rays, 0.0F), hollow_path(rays, 0.0F),
      trial(rays), drawings(by_wall && !options.hollow_diameter ? 8 : 0),
      settling(by_wall ? options.max_iterations : 3) {
    if (measured)
        result.transmission.assign(input.transmission.begin(), input.transmission.end());
    else
        result.transmission.assign(rays, 1.0F);
    for (const auto& amounts : input.amounts)
        quiet.push_back(calm(amounts));
    quiet_total = calm(input.total);
    if (measured)
        calibrate_measured();
}

std::vector<double> SelfAbsorption::Impl::calm(std::span<const float> amounts) const {
    std::vector<double> weight(rays), values(amounts.begin(), amounts.end());
    for (std::size_t i = 0; i < rays; ++i)
        weight[i] = std::isfinite(values[i]) ? 1 : 0;
    return measured ? values : weighted_smooth(values, weight, rotations, translations, 1.5, 0);
}

/// corrected = amounts of a phase over their transmission.
void SelfAbsorption::Impl::correct(std::size_t phase) {
    const bool wall = is_wall(phase);
    for (std::size_t i = 0; i < rays; ++i)
        corrected[i] = input.amounts[phase][i] /
                       (result.transmission[i] * static_cast<float>(wall ? edge_amount[i] : 1.0));
}

/// image = the corrected total intensity.
void SelfAbsorption::Impl::reconstruct_total() {
    for (std::size_t i = 0; i < rays; ++i)
        corrected[i] = static_cast<float>(quiet_total[i]) / result.transmission[i];
    fbp.reconstruct(corrected, 1, image);
}

/// The region that the filling fills, and the paths in it.
void SelfAbsorption::Impl::find_sample(double threshold, bool settled) {
    if (by_wall)
        find_sample_in_wall(settled);
    else
        find_sample_by_threshold(threshold);
}

void SelfAbsorption::Impl::find_sample_in_wall(bool settled) {
    result.sample.assign(grid.size(), 0);
    std::fill(filled.begin(), filled.end(), 0.0F);
    if (!result.wall)
        return;
    const CanWall& wall = *result.wall;
    if (options.hollow_diameter) {
        hollow = HollowCore(0.5 * *options.hollow_diameter);
    } else if (hollow_found < 8 && outline.empty()) {
        // Found while the correction comes close, then kept.
        reconstruct_total();
        hollow = HollowCore::find(image, grid, wall);
        hollow_found += settled;
    }
    if (outline.empty())
        result.hollow_diameter = hollow.diameter();
    draw_hollow(wall);
    fill_wall(wall);
}

/// The hollow's share of every pixel, and the sample that it leaves inside the wall.
void SelfAbsorption::Impl::draw_hollow(const CanWall& wall) {
    for (std::size_t y = 0; y < grid.n; ++y)
        for (std::size_t x = 0; x < grid.n; ++x) {
            const double u = grid.coordinate(x) - wall.centre_x,
                         v = grid.coordinate(y) - wall.centre_y, r = std::hypot(u, v);
            const std::size_t at = y * grid.n + x;
            mask[at] =
                outline.empty()
                    ? static_cast<float>(std::clamp(
                          (hollow.radius(std::atan2(v, u)) - r) / grid.pixel + 0.5, 0.0, 1.0))
                    : outline[at];
            result.sample[at] = r <= wall.inner_radius && mask[at] <= 0.5F;
        }
}

/// Paths in the disc inside the wall less those in the hollow.
void SelfAbsorption::Impl::fill_wall(const CanWall& wall) {
    std::fill(hollow_path.begin(), hollow_path.end(), 0.0F);
    if (result.hollow_diameter > 0)
        projector.forward(mask, 1, hollow_path);
    const auto offsets = strip_offsets(std::abs(geometry.step()), geometry.beam_width);
    for (std::size_t i = 0; i < rotations; ++i) {
        const double omega = geometry.omega(i);
        const double centre = wall.centre_x * std::cos(omega) + wall.centre_y * std::sin(omega);
        for (std::size_t j = 0; j < translations; ++j) {
            const double s =
                (static_cast<double>(j) - geometry.origin_index()) * geometry.step() - centre;
            double sum = 0;
            for (const double offset : offsets)
                sum += chord(wall.inner_radius, s + offset);
            filled[i * translations + j] =
                static_cast<float>(sum / static_cast<double>(offsets.size())) -
                hollow_path[i * translations + j];
        }
    }
}

void SelfAbsorption::Impl::find_sample_by_threshold(double threshold) {
    reconstruct_total();
    result.sample = sample_mask(weighted_smooth(std::vector<double>(image.begin(), image.end()),
                                                std::vector<double>(image.size(), 1.0), grid.n,
                                                grid.n, 0.7, 0.7),
                                threshold);
    // What fills the sample lies inside the wall; a threshold alone blurs outwards.
    if (result.wall)
        for (std::size_t y = 0; y < grid.n; ++y)
            for (std::size_t x = 0; x < grid.n; ++x)
                if (std::hypot(grid.coordinate(x) - result.wall->centre_x,
                               grid.coordinate(y) - result.wall->centre_y) >
                    result.wall->inner_radius)
                    result.sample[y * grid.n + x] = 0;
    std::copy(result.sample.begin(), result.sample.end(), mask.begin());
    projector.forward(mask, 1, filled);
}

/// Attenuation coefficient [1/mm] of a phase above that of what it displaces: it displaces what
/// would fill its place, where anything fills it.
double SelfAbsorption::Impl::excess(std::size_t phase) const {
    return input.mu[phase] - (is_wall(phase) ? 0.0 : options.filling);
}

/// What the amounts attenuate per unit of the constant.
double SelfAbsorption::Impl::amount_sum(std::size_t ray) const {
    double sum = 0;
    for (std::size_t p = 0; p < phases; ++p) {
        if (!is_wall(p))
            sum += excess(p) * quiet[p][ray];
        else if (wall_path.empty())
            sum += excess(p) * input.amounts[p][ray] / edge_amount[ray];
    }
    return sum;
}

void SelfAbsorption::Impl::see_edges(const MeanProfile& seen) {
    for (std::size_t i = 0; i < rays; ++i) {
        const auto means =
            strip_means(seen.offsets(), result.wall->outer_radius, result.wall->inner_radius,
                        input.mu[options.reference], seen.distance(i));
        edge_transmission[i] = means.transmission;
        edge_amount[i] = means.amount;
    }
}

/// Transmission of every ray for a constant; returns how many rays have no solution.
std::size_t SelfAbsorption::Impl::solve(double constant, std::vector<float>& transmission) const {
    std::size_t opaque = 0;
    for (std::size_t i = 0; i < rays; ++i) {
        double tau = 0;
        const double a = constant * amount_sum(i) / edge_transmission[i];
        if (!std::isfinite(a)) {
            transmission[i] = std::numeric_limits<float>::quiet_NaN();
            continue;
        }
        const double known = wall_path.empty() ? 0 : input.mu[options.reference] * wall_path[i];
        opaque += !solve_depth(a, options.filling * filled[i] + known, tau);
        transmission[i] = static_cast<float>(std::exp(-tau) * edge_transmission[i]);
    }
    return opaque;
}

/// With a measured transmission only the constant is to be found.
void SelfAbsorption::Impl::calibrate_measured() {
    find_sample(options.mask_threshold, true);
    switch (options.calibration) {
    case AmountCalibration::can_wall:
        fit_measured_wall();
        find_sample(options.mask_threshold, true);
        result.constant = options.reference_fraction * result.wall->constant;
        break;
    case AmountCalibration::plateau:
        correct(options.reference);
        fbp.reconstruct(corrected, 1, image);
        result.constant = plateau_constant(image, grid.n, options.reference_fraction);
        break;
    case AmountCalibration::given:
        result.constant = options.constant;
        break;
    case AmountCalibration::transmission:
        result.constant = transmission_constant();
        break;
    }
    result.converged = true;
}

void SelfAbsorption::Impl::fit_measured_wall() {
    for (int round = 0; round < 4; ++round) {
        correct(options.reference);
        const MeanProfile seen(geometry, corrected);
        seen.check_seen();
        result.wall = seen.fit(0, result.wall);
        check_can_wall(*result.wall);
        see_edges(seen);
    }
}

/// ln 1/T = K Σ (μ_p − μ_f) A_p + f L: how much filling there is where, the image of the sample
/// tells roughly only, so that f may differ from the filling's coefficient, by as much as is
/// common. In a body that is filled evenly the two terms are alike, and the errors of the amounts,
/// which have one sign in all rays, would decide on a free f.
double SelfAbsorption::Impl::transmission_constant() const {
    constexpr double spread_of_filling = 0.5, systematic = 0.02; // relative
    double xx = 0, xy = 0, xl = 0, ll = 0, ly = 0, yy = 0;
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
        yy += weight * y * y;
    }
    if (options.filling > 0) {
        const double prior = yy * std::pow(systematic / (spread_of_filling * options.filling), 2);
        ll += prior;
        ly += prior * options.filling;
    }
    const double determinant = xx * ll - xl * xl;
    const double constant = determinant > 0 ? (xy * ll - ly * xl) / determinant : xy / xx;
    if (!(constant > 0))
        throw Error("absorption: the measured transmission shows no attenuation by the phases");
    return constant;
}

/// One iteration, from the transmissions so far.
void SelfAbsorption::Impl::step() {
    const bool close = largest < 0.03 || settling < 3 || !wall_path.empty();
    if (settling > 0)
        find_sample((close ? 1 : 4) * options.mask_threshold, close);
    settling -= close && !by_wall;
    calibrate(result.iterations == 0);
    result.opaque = solve(result.constant, trial);
    if (result.wall && close) {
        find_wall_path();
        result.opaque = solve(result.constant, trial);
    }
    take_trial();
    const bool settled = largest < options.tolerance && (by_wall ? close : settling <= 0);
    if (settled && drawings == 0)
        result.converged = true;
    // The outline waits until all else is as good as it gets without knowing it better.
    else if (drawings > 0 && (settled || !outline.empty()))
        result.converged = !redraw_outline();
}

/// The constant, by the transmissions so far.
void SelfAbsorption::Impl::calibrate(bool first) {
    if (options.calibration == AmountCalibration::given) {
        result.constant = options.constant;
    } else if (options.calibration == AmountCalibration::plateau) {
        correct(options.reference);
        fbp.reconstruct(corrected, 1, image);
        const double next = plateau_constant(image, grid.n, options.reference_fraction);
        result.constant = first ? next : std::sqrt(next * result.constant);
    } else {
        calibrate_by_wall(first);
    }
}

/// The wall that the amounts look like when they are corrected with a constant.
CanWall SelfAbsorption::Impl::wall_for(double constant, const CanWall& start) {
    const std::size_t opaque = solve(constant, trial);
    for (std::size_t i = 0; i < rays; ++i)
        corrected[i] =
            input.amounts[options.reference][i] / (trial[i] * static_cast<float>(edge_amount[i]));
    profile->set(corrected);
    auto fit = profile->fit(constant / options.reference_fraction, start);
    if (200 * opaque > rays)
        fit.misfit += 1;
    return fit;
}

/// The constant for which the corrected amounts are those of a wall of the path lengths they mean.
/// A constant too large corrects too much where the sample absorbs most, so that the shape tells as
/// well as the size.
void SelfAbsorption::Impl::calibrate_by_wall(bool first) {
    if (!profile)
        profile.emplace(geometry, input.amounts[options.reference]);
    profile->check_seen();
    const CanWall start = result.wall ? *result.wall : profile->fit(0);
    const auto misfit = [&](double k) { return wall_for(k, start).misfit; };
    double middle = result.constant, reach = 0.07;
    if (first) {
        // Uncorrected amounts are too small, by what the sample lets through.
        double best = std::numeric_limits<double>::infinity();
        constexpr int candidates = 20; // up to 1.1
        double k = 0.3;
        for (int i = 0; i < candidates; ++i, k *= 1.07) {
            const double candidate = k * options.reference_fraction * start.constant;
            if (const double value = misfit(candidate); value < best) {
                best = value;
                middle = candidate;
            }
        }
    }
    result.constant = golden_section(misfit, (1 - reach) * middle, (1 + reach) * middle, 16);
    result.wall = wall_for(result.constant, start);
    see_edges(*profile);
}

/// The wall's own path, and what of the amounts departs from it over many rays.
void SelfAbsorption::Impl::find_wall_path() {
    std::vector<double> length(rays), departure(rays), weight(rays, 0.0);
    for (std::size_t i = 0; i < rays; ++i) {
        length[i] = profile->path_in(*result.wall, i);
        const double seen = result.constant / options.reference_fraction *
                            input.amounts[options.reference][i] / (trial[i] * edge_amount[i]);
        if (length[i] > 0 && std::isfinite(seen)) {
            departure[i] = seen / length[i] - 1;
            weight[i] = length[i];
        }
    }
    departure = weighted_smooth(departure, weight, rotations, translations, 3, 1);
    wall_path.resize(rays);
    for (std::size_t i = 0; i < rays; ++i)
        wall_path[i] = options.reference_fraction * length[i] * (1 + departure[i]);
}

void SelfAbsorption::Impl::take_trial() {
    largest = 0;
    for (std::size_t i = 0; i < rays; ++i)
        if (std::isfinite(trial[i]))
            largest =
                std::max(largest, static_cast<double>(std::abs(trial[i] - result.transmission[i])));
    result.transmission = trial;
    result.iterations += 1;
    result.changes.push_back(largest);
}

/// The hollow as the light of the wall shows it through the correction in force.
std::optional<std::vector<float>> SelfAbsorption::Impl::hollow_seen_by_wall() {
    std::vector<float> longer(rays, 0.0F), response(rays, 0.0F);
    for (std::size_t i = 0; i < rays; ++i) {
        // Rays beside all that the wall encloses are noise here.
        if (profile->distance(i) > result.wall->inner_radius - std::abs(geometry.step()))
            continue;
        const double length = options.reference_fraction * profile->path_in(*result.wall, i);
        const double by_phases = -std::log(trial[i] / edge_transmission[i]) -
                                 options.filling * filled[i] -
                                 input.mu[options.reference] * wall_path[i];
        longer[i] = static_cast<float>(result.constant * input.amounts[options.reference][i] /
                                           (trial[i] * edge_amount[i]) -
                                       length);
        response[i] = static_cast<float>(length * options.filling / std::max(0.2, 1 - by_phases));
    }
    return hollow_by_wall(fbp, projector, {longer, response, hollow_path}, *result.wall);
}

/// False: there is no telling the outline, now or later.
bool SelfAbsorption::Impl::redraw_outline() {
    --drawings;
    auto next = hollow_seen_by_wall();
    if (!next) {
        drawings = 0;
        if (outline.empty() && result.hollow_diameter > 0) {
            reconstruct_total();
            next = hollow_by_total(image, grid, *result.wall, 0.5 * result.hollow_diameter);
        }
    }
    if (!next)
        return !outline.empty();
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
    return true;
}

/// Path lengths, volume fractions and the map of attenuation coefficients.
void SelfAbsorption::Impl::make_images() {
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
}

SelfAbsorption::SelfAbsorption(const tomography::ScanGeometry& geometry,
                               const tomography::ImageGrid& grid, const SelfAbsorptionInput& input,
                               const SelfAbsorptionOptions& options) {
    check(geometry.rotation.size() * geometry.translation.size(), input, options);
    impl_ = std::make_unique<Impl>(geometry, grid, input, options);
}
SelfAbsorption::~SelfAbsorption() = default;

void SelfAbsorption::step() {
    impl_->step();
}
const SelfAbsorptionResult& SelfAbsorption::state() const {
    return impl_->result;
}
SelfAbsorptionResult SelfAbsorption::finish() && {
    // Uncorrected amounts need not look like a wall; in the end they must.
    if (impl_->result.wall)
        check_can_wall(*impl_->result.wall);
    impl_->make_images();
    return std::move(impl_->result);
}

SelfAbsorptionResult correct_self_absorption(const tomography::ScanGeometry& geometry,
                                             const tomography::ImageGrid& grid,
                                             const SelfAbsorptionInput& input,
                                             const SelfAbsorptionOptions& options,
                                             const std::function<bool(int, double)>& progress) {
    SelfAbsorption solver(geometry, grid, input, options);
    const SelfAbsorptionResult& state = solver.state();
    while (!state.converged && state.iterations < options.max_iterations) {
        solver.step();
        if (progress && !progress(state.iterations, state.changes.back()))
            break;
    }
    return std::move(solver).finish();
}

} // namespace xrdct::absorption
