// SPDX-License-Identifier: BSD-3-Clause
#include "absorption/body_absorption.hpp"

#include "absorption/body_level.hpp"
#include "absorption/body_scale.hpp"
#include "absorption/image_levels.hpp"
#include "base/error.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include <fmt/format.h>

namespace xrdct::absorption {

namespace {

/// Translations from which on the constant is sought with coarser rays.
constexpr std::size_t fine_enough = 160;
/// How often the outline is drawn by what has been corrected.
constexpr int most_outlines = 3;
/// Misfit of the image beyond noise from which on it explains nothing.
constexpr double largest_misfit = 0.06;
/// Relative standard deviation of the constant by the scan below which it may contradict.
constexpr double told_well = 0.1;
/// What a contradicting constant would do to ln T of 95 % of the rays, from which on it is refused.
constexpr double largest_contradiction = 0.1;
/// Moments that are wrong by less, relative to the total amount, may be so by the grid.
constexpr double least_inconsistency = 0.003;
constexpr std::size_t fewest_rotations = 8;

void check(std::size_t rays, const BodyAbsorptionInput& input,
           const BodyAbsorptionOptions& options) {
    const auto& seen = input.seen;
    if (seen.amounts.empty() || seen.mu.size() != seen.amounts.size() ||
        input.density.size() != seen.amounts.size())
        throw Error("absorption: amounts, attenuation coefficients and densities are not of the "
                    "same phases");
    for (const auto& amounts : seen.amounts)
        if (amounts.size() != rays)
            throw Error(fmt::format("absorption: {} amounts for {} rays", amounts.size(), rays));
    if (seen.total.size() != rays)
        throw Error("absorption: the total intensity does not match the rays");
    const auto need = [](bool good, const char* what) {
        if (!good)
            throw Error(fmt::format("absorption: {}", what));
    };
    need(options.scale != BodyScale::given || options.constant > 0,
         "the given constant must be positive");
    need(options.scale != BodyScale::mass_per_length || options.mass_per_length > 0,
         "the mass per length must be positive");
    need(options.scale != BodyScale::mean_density || options.mean_density > 0,
         "the mean density must be positive");
    need(options.scale != BodyScale::plateau ||
             (options.reference < seen.amounts.size() && options.reference_fraction > 0),
         "there is no such reference phase");
    need(!options.container || (options.container->inner_radius > 0 &&
                                options.container->outer_radius > options.container->inner_radius),
         "the container's outer diameter must exceed its inner one");
}

class Correction {
  public:
    Correction(const tomography::ScanGeometry& geometry, const tomography::ImageGrid& grid,
               const BodyAbsorptionInput& input, const BodyAbsorptionOptions& options,
               const std::function<bool(int)>& progress)
        : geometry_(geometry), grid_(grid), input_(input), options_(options),
          coarse_(geometry, grid, input, options, bin_for(geometry)), progress_([this, progress] {
              if (progress && !progress(++images_))
                  throw Error("absorption: stopped");
          }) {}

    BodyAbsorptionResult run() {
        place_container({});
        FoundScale found = find_scale();
        if (place_ && place_container(coarse_.transmission(found.image, found.rest)))
            found = find_scale();
        for (int round = 0; round < most_outlines && needs_outline(); ++round) {
            const double before = coarse_.inside_area();
            redraw(coarse_, found.image, found.rest);
            if (std::abs(coarse_.inside_area() - before) < 0.003 * before)
                break;
            found = find_scale();
        }
        return finish(found);
    }

  private:
    /// Whether the area inside the outline has a say.
    bool needs_outline() const {
        return !place_ &&
               (options_.filling > 0 || options_.rest || options_.scale == BodyScale::mean_density);
    }
    static void redraw(BodyLevel& level, const BodyImage& image, double rest) {
        level.find_outline(level.transmission(image, rest));
        level.place({});
    }
    static std::size_t bin_for(const tomography::ScanGeometry& geometry) {
        return (geometry.translation.size() + fine_enough - 1) / fine_enough;
    }
    /// Finds the container by amounts over a transmission (empty: as seen); true: it has moved.
    bool place_container(std::span<const float> transmission) {
        if (!options_.container)
            return false;
        std::vector<std::vector<float>> columns = coarse_.amounts();
        std::vector<float> total = coarse_.total();
        for (std::size_t i = 0; i < transmission.size(); ++i) {
            total[i] /= transmission[i];
            for (auto& column : columns)
                column[i] /= transmission[i];
        }
        const Circle sample = coarse_.sample_circle();
        ContainerEvidence evidence;
        for (const auto& column : columns)
            evidence.amounts.emplace_back(column);
        evidence.total = total;
        evidence.sample_x = sample.x;
        evidence.sample_y = sample.y;
        evidence.sample_radius = sample.radius;
        const auto next = find_container(coarse_.geometry(), *options_.container, evidence);
        const bool moved =
            !place_ || std::hypot(next.container.centre_x - place_->container.centre_x,
                                  next.container.centre_y - place_->container.centre_y) >
                           0.25 * std::abs(coarse_.geometry().step());
        place_ = next;
        coarse_.place(place_->container);
        return moved;
    }

    /// K above which amounts, not corrected, are already more than f wants.
    FoundScale by_mass(double mass, const std::string& what) {
        const double filling = options_.filling_density * coarse_.inside_area();
        if (!(mass > filling))
            throw Error(fmt::format("absorption: {} is less than that of the filling alone ({:.3f} "
                                    "mg/mm)",
                                    what, filling));
        const std::vector<float> clear(coarse_.total().size(), 1.0F);
        const double per_constant = coarse_.mass_per_length(1, clear) - filling;
        if (!(per_constant > 0))
            throw Error("absorption: the phases have no mass beyond that of what they displace");
        return scale_by(
            coarse_, (mass - filling) / per_constant,
            [&](double constant, const BodyImage& image) {
                return std::log(coarse_.mass_per_length(constant, coarse_.transmission(image, 0)) /
                                mass);
            },
            what, progress_);
    }

    FoundScale by_plateau() {
        tomography::FilteredBackProjection fbp(coarse_.geometry(), coarse_.grid(), options_.fbp);
        std::vector<float> image(coarse_.grid().size());
        const auto wanted = [&](std::span<const float> transmission) {
            auto amounts = coarse_.amounts()[options_.reference];
            for (std::size_t i = 0; i < transmission.size(); ++i)
                amounts[i] /= transmission[i];
            fbp.reconstruct(amounts, 1, image);
            return plateau_constant(image, coarse_.grid().n, options_.reference_fraction);
        };
        return scale_by(
            coarse_, wanted({}),
            [&](double constant, const BodyImage& body) {
                return std::log(constant / wanted(coarse_.transmission(body, 0)));
            },
            fmt::format("a volume fraction of {} at the plateau", options_.reference_fraction),
            progress_);
    }

    FoundScale find_scale() {
        switch (options_.scale) {
        case BodyScale::mass_per_length:
            return by_mass(options_.mass_per_length,
                           fmt::format("a mass of {} mg/mm", options_.mass_per_length));
        case BodyScale::mean_density:
            return by_mass(options_.mean_density * coarse_.inside_area(),
                           fmt::format("a mean density of {} g/cm^3", options_.mean_density));
        case BodyScale::plateau:
            return by_plateau();
        case BodyScale::consistency:
            return scale_by_consistency(coarse_, options_.rest, progress_);
        case BodyScale::given:
            break;
        }
        progress_();
        FoundScale found;
        found.constant = options_.constant;
        found.image = coarse_.solve(found.constant, 0, {}, {options_.max_iterations, 12, 2e-3});
        return found;
    }

    void check_image(const BodyImage& image, double noise) const {
        if (image.misfit > largest_misfit && image.misfit > 3 * noise)
            throw Error(fmt::format(
                "absorption: no image of the body explains the amounts of its phases: they miss it "
                "by {:.0f} % ({:.1f} % is noise). Absorption by what is not among the phases, or "
                "the given mass, density, fraction or constant does not fit",
                100 * image.misfit, 100 * noise));
        if (!image.converged && image.change > 10 * options_.tolerance)
            throw Error(fmt::format("absorption: no image of the body was found in {} steps; the "
                                    "transmission still changed by {:.4f}",
                                    image.steps, image.change));
    }

    void compare_with_scan(const FoundScale& found, BodyFindings& body) const;
    BodyAbsorptionResult finish(const FoundScale& found);
    void make_images(const BodyLevel& level, SelfAbsorptionResult& result, double rest) const;

    const tomography::ScanGeometry& geometry_;
    const tomography::ImageGrid& grid_;
    const BodyAbsorptionInput& input_;
    const BodyAbsorptionOptions& options_;
    BodyLevel coarse_;
    int images_ = 0;
    BeforeImage progress_;
    std::optional<ContainerPlace> place_;
};

/// A constant from elsewhere against what the scan says itself, where it says anything.
void Correction::compare_with_scan(const FoundScale& found, BodyFindings& body) const {
    if (options_.scale == BodyScale::consistency || body.inconsistency < least_inconsistency ||
        coarse_.geometry().rotation.size() < fewest_rotations)
        return;
    const auto scan = tension(coarse_, found, progress_);
    const double change = std::abs(scan.change);
    if (!(scan.error < told_well) || change < std::max(0.1, 4 * scan.error))
        return;
    const auto text = fmt::format(
        "the scan's own consistency asks for {} absorption by the phases: amounts {:.0f} % {} (+- "
        "{:.1f} %)",
        scan.change > 0 ? "more" : "less", 100 * std::abs(std::expm1(scan.change)),
        scan.change > 0 ? "larger" : "smaller", 100 * scan.error);
    if (change > 6 * scan.error && scan.transmission > largest_contradiction)
        throw Error(
            fmt::format("absorption: the given mass, density, fraction or constant does not "
                        "fit the scan: {}",
                        text));
    body.notes.push_back(text);
}

BodyAbsorptionResult Correction::finish(const FoundScale& found) {
    BodyLevel fine(geometry_, grid_, input_, options_, 1);
    if (place_)
        fine.place(place_->container);
    progress_();
    const bool same = fine.grid().n == coarse_.grid().n &&
                      fine.grid().pixel == coarse_.grid().pixel && bin_for(geometry_) == 1;
    auto image =
        fine.solve(found.constant, found.rest,
                   same ? std::span<const float>(found.image.mu) : std::span<const float>(),
                   {3 * options_.max_iterations, 12, options_.tolerance});
    if (needs_outline()) {
        redraw(fine, image, found.rest);
        image = fine.solve(found.constant, found.rest, image.mu,
                           {3 * options_.max_iterations, 12, options_.tolerance});
    }
    check_image(image, fine.noise());
    BodyAbsorptionResult result;
    auto& correction = result.correction;
    correction.converged = image.converged;
    correction.iterations = images_;
    correction.changes = {image.change};
    correction.constant = found.constant;
    correction.transmission = fine.transmission(image, found.rest);
    correction.mu_map = image.mu;
    make_images(fine, correction, found.rest);
    auto& body = result.body;
    body.constant_error = found.constant_error;
    body.rest = found.rest;
    body.rest_error = found.rest_error;
    body.mass_per_length = fine.mass_per_length(found.constant, correction.transmission);
    body.misfit = image.misfit;
    body.inconsistency_seen = inconsistency(fine, {});
    body.inconsistency = inconsistency(fine, correction.transmission);
    body.container = place_;
    compare_with_scan(found, body);
    return result;
}

/// Path lengths, volume fractions, what is not of the phases in the map of the attenuation.
void Correction::make_images(const BodyLevel& level, SelfAbsorptionResult& result,
                             double rest) const {
    const std::size_t phases = level.amounts().size(), rays = level.total().size();
    result.sample = level.inside();
    for (std::size_t y = 0; y < grid_.n; ++y)
        for (std::size_t x = 0; x < grid_.n; ++x) {
            const std::size_t at = y * grid_.n + x;
            if (result.sample[at])
                result.mu_map[at] += static_cast<float>(options_.filling + rest);
            if (!place_)
                continue;
            const auto& c = place_->container;
            const double r =
                std::hypot(grid_.coordinate(x) - c.centre_x, grid_.coordinate(y) - c.centre_y);
            const auto share = [&](double radius) {
                return std::clamp((radius - r) / grid_.pixel + 0.5, 0.0, 1.0);
            };
            result.mu_map[at] +=
                static_cast<float>(c.mu * (share(c.outer_radius) - share(c.inner_radius)));
        }
    std::vector<float> sinogram(rays * phases), images(grid_.size() * phases);
    for (std::size_t p = 0; p < phases; ++p) {
        auto path = level.amounts()[p];
        for (std::size_t i = 0; i < rays; ++i) {
            path[i] *= static_cast<float>(result.constant) / result.transmission[i];
            sinogram[i * phases + p] = path[i];
        }
        result.path_lengths.push_back(std::move(path));
    }
    tomography::FilteredBackProjection(geometry_, grid_, options_.fbp)
        .reconstruct(sinogram, phases, images);
    for (std::size_t p = 0; p < phases; ++p) {
        std::vector<float> image(grid_.size());
        for (std::size_t i = 0; i < grid_.size(); ++i)
            image[i] = images[i * phases + p];
        result.volume_fractions.push_back(std::move(image));
    }
}

} // namespace

BodyAbsorptionResult correct_body_absorption(const tomography::ScanGeometry& geometry,
                                             const tomography::ImageGrid& grid,
                                             const BodyAbsorptionInput& input,
                                             const BodyAbsorptionOptions& options,
                                             const std::function<bool(int)>& progress) {
    check(geometry.rotation.size() * geometry.translation.size(), input, options);
    return Correction(geometry, grid, input, options, progress).run();
}

} // namespace xrdct::absorption
