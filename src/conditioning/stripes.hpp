// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace xrdct::conditioning {

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
    /// Either of these or the one at the mirrored place has another gain: which, cannot be told.
    std::vector<std::size_t> undecided;
    double noise = 0; ///< scatter of what stands out from its neighbours, as a standard deviation
    std::size_t pairs = 0; ///< of projections half a turn apart that were compared
};

/// `sinogram` [rotation][translation], NaN missing; `rotation` [deg], empty if not known; `centre`
/// is the index of the rotation axis on the translation axis.
///
/// A sample's own sharp concentric parts (the wall of a can) look like stripes too, but lie on both
/// sides of the axis alike; the layers of a wound cell differ from side to side. Two things tell
/// stripes from them.
///
/// Half a turn later the beam passes through the sample along the same lines, mirrored, whatever
/// the sample is: the ratio of a projection to the mirrored one is that of the gains. A scan of
/// half a turn has such pairs where its end meets its beginning, up to ten steps and 45° apart, as
/// many of them as scatter least. A stripe there
///  - stands out, in the median over the pairs, from both translations two steps away, by
///    `smallest`, `threshold` times the scatter of what stands out so (Stripes::noise), and what
///    the pairs scatter by at its place,
///  - deviates from its surroundings (ratio to the local median along the projection) in 85 % of
///    all rotations by three tenths of that, and leaves its surroundings and the mirrored ones
///    smoother when it is taken out; if not on one side alone, it is undecided.
///
/// Whether there are such pairs or not, what
///  - deviates from its surroundings by `smallest` more than anything within a step of the mirrored
///    place, in 85 % of the rotations, and more than the mirrored place itself deviates,
///  - stands out, in the ratio of its mean to that at the mirrored place, as above,
/// is a stripe as well, unless pairs that are good enough to confirm it do not. The smaller of the
/// two measures is its gain.
///
/// In both cases it must exceed what three tenths of a step change at the mirrored place (the rim
/// of a sample), and what interpolation there may be wrong by. Translations whose mirrored place
/// was not measured, or whose mean is below 2 % of the largest one, keep their gain. Stripes wider
/// than two translations are not found.
Stripes find_stripes(std::span<const float> sinogram, std::span<const double> rotation,
                     std::size_t n_translation, double centre, const StripeOptions& options = {});

} // namespace xrdct::conditioning
