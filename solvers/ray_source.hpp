// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "mpi/comm/decomposition.hpp"
#include "tomography/scan_geometry.hpp"

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace xrdct::solvers {

/// Where the variances of a scan's intensities come from.
enum class VarianceKind {
    given,    ///< standard deviations come with the intensities
    counts,   ///< Poisson statistics of the intensities
    relative, ///< proportional to the intensities, up to an unknown constant
};

/// The rays of a scan with the corrections applied that its maker was asked for (monitor, and
/// absorption or not): intensities and variances by rays or by channels. How they are stored and
/// read is the implementation's. NaN marks missing samples. A ray's index is
/// rotation · translations + translation.
class RaySource {
  public:
    RaySource() = default;
    virtual ~RaySource() = default;
    RaySource(const RaySource&) = delete;
    RaySource& operator=(const RaySource&) = delete;

    // Not collective; the same on all ranks.
    virtual const tomography::ScanGeometry& geometry() const = 0; ///< of all rotations
    /// What a message to the user calls the scan: its file, say.
    virtual std::string name() const { return "the scan"; }
    virtual std::size_t n_channel() const = 0;                ///< in use
    virtual const std::vector<double>& two_theta() const = 0; ///< deg [channel]; may be empty
    virtual double wavelength() const = 0;                    ///< Å; NaN: unknown
    virtual VarianceKind variance_kind() const = 0;
    /// What the intensities of a ray are multiplied by; NaN: the ray is missing.
    virtual float ray_factor(std::size_t ray) const = 0;
    /// Variance over intensity of a channel before the ray's factor (one over its number of
    /// pixels, as intensities are their mean); NaN: no pixel.
    virtual float channel_gain(std::size_t channel) const = 0;

    /// intensity[rotation][translation][channel] of the rotations, all translations and channels
    /// in use, and their variances unless that span is empty. Throws Error for files that cannot be
    /// read and infinite values. Not collective.
    virtual void read_rays(mpi::BlockRange rotations, std::span<float> intensity,
                           std::span<float> variance) const = 0;

    /// This rank's share of a range of channels (among those in use). Not collective.
    virtual mpi::BlockRange own_channels(mpi::BlockRange channels) const = 0;
    /// intensity[rotation][translation][own channel] of all rotations for own_channels(channels),
    /// and their variances unless that span is empty (on all ranks). Collective: `channels` is the
    /// same on all ranks, all throw when one fails.
    virtual void read_channels(mpi::BlockRange channels, std::span<float> intensity,
                               std::span<float> variance) const = 0;
};

} // namespace xrdct::solvers
