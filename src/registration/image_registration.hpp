// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "registration/image_grid.hpp"
#include "registration/rigid_transform.hpp"

#include <array>
#include <optional>
#include <span>
#include <vector>

namespace xrdct::registration {

/// One quantity seen in both images.
struct RegistrationChannel {
    std::span<const double> reference; ///< [y, x] on the reference's grid; NaN: no value
    std::span<const double> moving;    ///< [y, x] on the other grid
    double weight = 1;                 ///< relative to the other channels, positive
};

struct RegistrationOptions {
    std::optional<double> angle;                ///< degrees: known, not searched
    std::optional<std::array<double, 2>> shift; ///< x, y in mm: known, not searched
    bool try_mirrored = false;                  ///< search the mirrored orientation as well
    double min_overlap = 0.5; ///< of the smaller image's valid area, for a candidate to count
};

struct RegistrationResult {
    RigidTransform transform;
    /// Standard deviations of angle [deg], shift_x and shift_y [mm]: jackknife over 8 × 8 tiles of
    /// the reference (noise that is correlated within a tile, changes of the object) and over the
    /// channels (systematic differences between them) in quadrature; 0 for what was given.
    std::array<double, 3> uncertainty{};
    /// Of all channels: 1 − r² is the weighted geometric mean of theirs, each with 0.003 added for
    /// what no alignment explains; 0 to 1.
    double correlation = 0;
    std::vector<double> channel_correlations; ///< Pearson's, over the common valid pixels
    double overlap = 0; ///< common valid pixels over those of the reference, first channel
    /// The best elsewhere: another optimum, or, where there is none, the best shift for an angle
    /// that differs by 10° or more.
    std::optional<RigidTransform> second;
    bool second_is_optimum = false;
    double second_correlation = 0;
    double margin = 0;       ///< correlation − second_correlation; 0 without a second
    double margin_error = 0; ///< jackknife standard deviation of the margin
    /// The optimum can be relied on: the images correlate (0.3 or more), the angle's uncertainty is
    /// below 1°, and at another optimum, if there is one, the unexplained variance
    /// 1.003 − correlation² is larger by 2 % or more and the margin exceeds its standard deviation.
    /// Always true where the whole transform was given.
    bool certain = false;
};

/// Rigid transform (RigidTransform) that brings the moving image onto the reference, without any
/// assumption about the object: all angles, all shifts that leave `min_overlap`.
///
/// Coarse: images of at most 72 pixels per side, at two smoothing levels, rotated in steps of one
/// pixel at the rim; for each, the masked normalised correlation over all shifts by FFT (Padfield,
/// IEEE Trans. Image Process. 21 (2012) 2706), combined over the channels. Fine: damped
/// Gauss–Newton from many candidates and over falling smoothing down to one pixel of the coarser
/// image, on a cubic interpolant; of the optima the one of the largest combined correlation is
/// kept. The fine stage compares with a factor and an offset per channel and tile (8 × 8 tiles):
/// modulations fixed to the scan's frame, such as that of parallax, would otherwise turn a ring of
/// constant strength.
///
/// Pure and deterministic. @throws Error when a length does not match its grid, a weight is not
/// positive, or no channel has variation on enough common pixels.
RegistrationResult register_images(const PixelGrid& reference, const PixelGrid& moving,
                                   std::span<const RegistrationChannel> channels,
                                   const RegistrationOptions& options = {});

} // namespace xrdct::registration
