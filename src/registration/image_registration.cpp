// SPDX-License-Identifier: BSD-3-Clause
#include "registration/image_registration.hpp"

#include "base/error.hpp"
#include "base/units.hpp"
#include "registration/alignment_objective.hpp"
#include "registration/coarse_search.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace xrdct::registration {

namespace {

using namespace registration;

constexpr double coarse_side = 72;            ///< pixels
constexpr std::size_t coarse_candidates = 24; ///< of each smoothing level
constexpr std::size_t fine_candidates = 8;
constexpr double profile_side = 140; ///< pixels, for the comparison of angles
/// Optima closer than this part of the field are ripples of one.
constexpr double another_place = 0.02;
constexpr double min_correlation = 0.3;
constexpr double largest_angle_error = 1; ///< degrees
constexpr double min_excess = 1.02;       ///< of the unexplained variance at another optimum
/// Pixels: less would compare the pixels' own pattern, which does not turn with the object.
constexpr double final_smoothing = 1.5;

bool alike(const RigidTransform& a, const RigidTransform& b, double rim, double distance) {
    return a.mirrored == b.mirrored &&
           radians(std::abs(std::remainder(a.angle - b.angle, 360.0))) * rim +
                   std::hypot(a.shift_x - b.shift_x, a.shift_y - b.shift_y) <
               distance;
}

/// Best first, and of those that are alike only the best.
void sort_unique(std::vector<Refined>& list, double rim, double distance) {
    std::stable_sort(list.begin(), list.end(), [](const Refined& a, const Refined& b) {
        return a.correlation > b.correlation;
    });
    std::vector<Refined> kept;
    for (Refined& r : list)
        if (std::none_of(kept.begin(), kept.end(), [&](const Refined& k) {
                return alike(k.transform, r.transform, rim, distance);
            }))
            kept.push_back(std::move(r));
    list = std::move(kept);
}

/// The best at angles that differ by 10° or more from the optimum's, shifts being adapted. Angles
/// are compared at a low resolution.
Refined best_at_other_angle(const ImagePairs& low, const ImagePairs& full,
                            const RigidTransform& optimum, const std::array<bool, 3>& free) {
    const std::array<bool, 3> shift_only{false, free[1], free[2]};
    Refined best;
    for (int turn = 10; turn <= 350; turn += 10) {
        RigidTransform start = optimum;
        start.angle += turn;
        Refined trial = refine(low, start, shift_only, 6);
        if (trial.correlation > best.correlation)
            best = std::move(trial);
    }
    return refine(full, best.transform, shift_only, 10);
}

void check(const PixelGrid& reference, const PixelGrid& moving,
           std::span<const RegistrationChannel> channels) {
    if (channels.empty())
        throw Error("registration: there is no quantity to compare");
    for (const RegistrationChannel& channel : channels) {
        if (channel.reference.size() != reference.size() || channel.moving.size() != moving.size())
            throw Error(fmt::format("registration: {} and {} values for images of {} by {} and {} "
                                    "by {} pixels",
                                    channel.reference.size(), channel.moving.size(), reference.ny,
                                    reference.nx, moving.ny, moving.nx));
        if (!(channel.weight > 0) || !std::isfinite(channel.weight))
            throw Error(fmt::format("registration: a channel's weight is {}", channel.weight));
    }
}

/// The images at several resolutions, and what of the transform is sought.
struct Task {
    const PixelGrid& reference;
    const PixelGrid& moving;
    std::span<const RegistrationChannel> channels;
    const RegistrationOptions& options;
    double pixel = std::max(reference.pixel, moving.pixel);
    std::array<bool, 3> free{!options.angle, !options.shift, !options.shift};
    double extent = std::max(reference.extent(), moving.extent());
    double rim = 0.4 * extent;
    double coarse_pixel = std::max(pixel, extent / coarse_side);

    /// Pixels of `size`, smoothed by `sigma` [mm].
    ImagePairs pairs_at(double size, double sigma) const;
    std::vector<Refined> known() const;
    std::vector<Refined> search() const;
    std::vector<Refined> refine_search(std::vector<Refined> list) const;
};

ImagePairs Task::pairs_at(double size, double sigma) const {
    ImagePairs pairs;
    const PixelGrid still = size == reference.pixel ? reference : regrid(reference, size),
                    other = size == moving.pixel ? moving : regrid(moving, size);
    for (const RegistrationChannel& c : channels) {
        pairs.reference.push_back(smooth_image(c.reference, reference, still, sigma));
        pairs.moving.push_back(smooth_image(c.moving, moving, other, sigma));
        pairs.weights.push_back(c.weight);
    }
    return pairs;
}

/// Angle and shift are given: only the handedness is open.
std::vector<Refined> Task::known() const {
    std::vector<Refined> list;
    const ImagePairs pairs = pairs_at(pixel, final_smoothing * pixel);
    for (const bool mirrored : {false, true}) {
        if (mirrored && !options.try_mirrored)
            continue;
        list.push_back(refine(
            pairs, {*options.angle, (*options.shift)[0], (*options.shift)[1], mirrored}, free, 0));
    }
    sort_unique(list, rim, 0);
    return list;
}

/// Optima at a low resolution, the best ones and the neighbourhood of the best.
std::vector<Refined> Task::search() const {
    std::vector<Refined> list;
    // Structure as fine as the coarse pixels, and the rough distribution alone: false optima of
    // the one are seldom those of the other.
    const ImagePairs coarse = pairs_at(coarse_pixel, 0.7 * coarse_pixel);
    const SearchRange range{options.angle, options.shift, options.try_mirrored,
                            options.min_overlap};
    for (const double sigma : {0.0, 2.5}) {
        std::vector<Candidate> candidates;
        if (sigma == 0)
            candidates = coarse_search(coarse, range, coarse_candidates);
        else
            candidates = coarse_search(pairs_at(coarse_pixel, sigma * coarse_pixel), range,
                                       coarse_candidates);
        for (const Candidate& c : candidates)
            list.push_back(refine(coarse, c.transform, free, 12));
    }
    if (list.empty())
        throw Error("registration: the images have no common field with variation to align");
    sort_unique(list, rim, coarse_pixel);
    if (list.size() > fine_candidates)
        list.resize(fine_candidates);
    // Turned spirals nearly coincide: the neighbourhood of the best is searched again.
    if (!options.angle)
        for (const double turn : {-12.0, -4.0, 4.0, 12.0}) {
            RigidTransform start = list.front().transform;
            start.angle += turn;
            list.push_back({start, 0, {}});
        }
    return list;
}

/// The same at the full resolution.
std::vector<Refined> Task::refine_search(std::vector<Refined> list) const {
    for (const double sigma : {3.0, final_smoothing}) {
        const ImagePairs pairs = pairs_at(pixel, sigma * pixel);
        for (Refined& r : list)
            r = refine(pairs, r.transform, free, 40);
        if (sigma > final_smoothing)
            sort_unique(list, rim, 0.25 * pixel);
        else
            sort_unique(list, rim, std::max(2 * pixel, another_place * extent));
    }
    return list;
}

void compare_second(const Refined& best, const Refined& second, std::span<const double> weights,
                    RegistrationResult& result) {
    result.second = second.transform;
    result.second->angle = std::remainder(second.transform.angle, 360.0);
    result.second_correlation = second.correlation;
    result.margin = best.correlation - second.correlation;
    std::vector<double> margins;
    double mean = 0;
    for (std::size_t t = 0; t < n_tiles; ++t) {
        margins.push_back(best.comparison.correlation_without(t, weights) -
                          second.comparison.correlation_without(t, weights));
        mean += margins.back() / static_cast<double>(n_tiles);
    }
    double sum = 0;
    for (const double m : margins)
        sum += (m - mean) * (m - mean);
    result.margin_error =
        std::sqrt(sum * static_cast<double>(n_tiles - 1) / static_cast<double>(n_tiles));
}

/// Whether no other optimum comes near.
bool stands_out(const RegistrationResult& result) {
    const auto unexplained = [](double r) { return 1 + model_error - r * r; };
    return !result.second_is_optimum || (unexplained(result.second_correlation) >=
                                             min_excess * unexplained(result.correlation) &&
                                         result.margin > result.margin_error);
}

} // namespace

RegistrationResult register_images(const PixelGrid& reference, const PixelGrid& moving,
                                   std::span<const RegistrationChannel> channels,
                                   const RegistrationOptions& options) {
    check(reference, moving, channels);
    const Task task{reference, moving, channels, options};
    const bool given = options.angle && options.shift;
    std::vector<Refined> list = given ? task.known() : task.refine_search(task.search());

    const ImagePairs pairs = task.pairs_at(task.pixel, final_smoothing * task.pixel);
    const bool second_is_optimum = list.size() > 1;
    if (!second_is_optimum && !options.angle) {
        const double low = std::max(task.pixel, task.extent / profile_side);
        list.push_back(
            best_at_other_angle(task.pairs_at(low, low), pairs, list.front().transform, task.free));
    }
    const Refined& best = list.front();
    RegistrationResult result;
    result.transform = best.transform;
    result.transform.angle =
        options.angle ? *options.angle : std::remainder(best.transform.angle, 360.0);
    result.correlation = best.correlation;
    bool varies = false;
    for (const Moments& m : best.comparison.totals) {
        result.channel_correlations.push_back(m.correlation());
        varies |= result.channel_correlations.back() != 0;
    }
    if (!varies && !given)
        throw Error("registration: the images have no common field with variation to align");
    result.uncertainty = uncertainties(pairs, best.comparison, task.free);
    double valid = 0;
    for (const float w : pairs.reference.front().weight)
        valid += w;
    result.overlap = valid > 0 ? best.comparison.totals.front()(0, 0) / valid : 0;
    if (list.size() > 1)
        compare_second(best, list[1], pairs.weights, result);
    result.second_is_optimum = second_is_optimum;
    result.certain = given || (result.correlation >= min_correlation &&
                               result.uncertainty[0] < largest_angle_error && stands_out(result));
    return result;
}

} // namespace xrdct::registration
