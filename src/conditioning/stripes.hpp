#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace xrdct {

struct StripeOptions {
    double threshold = 6;   ///< robust standard deviations
    double smallest = 0.02; ///< gain errors below this are no stripes
    std::size_t reach = 4;  ///< translations on either side that a translation is compared with
};

/// Translations at which all projections are too strong or too weak alike: stripes in the sinogram,
/// rings about the rotation axis in the image.
struct Stripes {
    std::vector<float> factor;             ///< [translation], 1 where there is no stripe
    std::vector<std::size_t> translations; ///< those with a stripe
    double noise = 0; ///< scatter of what stands out from its neighbours, as a standard deviation
};

/// `sinogram` [rotation][translation], NaN missing; `centre` is the index of the rotation axis on
/// the translation axis. A sample's own sharp concentric parts (the wall of a can) look like
/// stripes too, but lie on both sides of the axis alike; the layers of a wound cell differ from
/// side to side, but over several translations. A stripe therefore
///  - deviates from its surroundings (ratio to the local median along the projection, median over
///    the rotations) by `smallest` more than anything within a step of the mirrored place, in 85 %
///    of the rotations, and more than the mirrored place itself deviates,
///  - stands out, in the ratio of its mean to that at the mirrored place, from both translations
///    two steps away, by `threshold` times the scatter of what stands out so (Stripes::noise), and
///    by what three tenths of a step change at the mirrored place (the rim of a sample).
/// The smaller of the two measures is the gain. Translations whose mirrored place was not measured,
/// or whose mean is below 2 % of the largest one, keep their gain. Stripes wider than two
/// translations are not found.
Stripes find_stripes(std::span<const float> sinogram, std::size_t n_rotation,
                     std::size_t n_translation, double centre, const StripeOptions& options = {});

} // namespace xrdct
