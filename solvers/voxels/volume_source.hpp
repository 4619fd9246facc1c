// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace xrdct::voxels {

/// The patterns of a square image's voxels, one row at a time; who reads them from where is the
/// implementation's.
class VolumeSource {
  public:
    VolumeSource() = default;
    virtual ~VolumeSource() = default;
    VolumeSource(const VolumeSource&) = delete;
    VolumeSource& operator=(const VolumeSource&) = delete;

    virtual std::size_t n() const = 0;                        ///< voxels per side
    virtual std::size_t channels() const = 0;                 ///< of a pattern
    virtual const std::vector<double>& two_theta() const = 0; ///< deg [channel]
    virtual double wavelength() const = 0;                    ///< Å
    /// Whether variances are known up to a constant only.
    virtual bool relative_variance() const = 0;
    /// Patterns of the voxels of row y in the columns `x`: intensity [i][channel] and variance
    /// [i][channel]; a variance that is NaN leaves the channel out of every fit. Throws Error for a
    /// file that cannot be read. Not collective.
    virtual void read_patterns(std::size_t y, std::span<const std::size_t> x,
                               std::span<float> intensity, std::span<float> variance) const = 0;
};

} // namespace xrdct::voxels
