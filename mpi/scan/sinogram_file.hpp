// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "mpi/comm/communicator.hpp"
#include "mpi/comm/decomposition.hpp"
#include "mpi/hdf5/hdf5.hpp"

#include <array>
#include <cstddef>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace xrdct::scan {

namespace detail {
struct OpenedSinogram;
}

/// Evenly spaced axis given in place of a dataset: n values from first to last, the last included
/// or not (0 … 180° either way), in canonical or given units.
struct AxisValues {
    double first = 0;
    double last = 0;
    bool include_last = true;
};

/// Where the arrays of a scan are and what stands in for missing ones. Everything is optional: the
/// default reads a NeXus file by its @default, @signal and @axes. What is given here wins over the
/// file.
struct SinogramSource {
    std::string intensity; ///< dataset path; empty: the file's default plot
    /// One name per stored axis, slowest first, of "rotation", "translation", "radial" and "height"
    /// or "time"; empty: from @axes and the axes' units or names.
    std::vector<std::string> axis_order;

    /// Dataset paths of the axes, absolute or relative to the group of the intensity; empty: from
    /// @axes.
    std::string rotation, translation, radial;
    /// Units; empty: from @units (missing there: deg, mm; a radial axis called two_theta or tth:
    /// deg; any other: Error).
    std::string rotation_units, translation_units, radial_units;
    /// Values in place of datasets (in the units above, or deg and mm).
    std::optional<AxisValues> rotation_values, translation_values, radial_values;

    /// Optional arrays, dataset paths; empty: `<signal>_errors` or @uncertainties, `pixels`,
    /// `transmission`, `monitor` beside the intensity.
    std::string intensity_errors, pixels, transmission, monitor;

    std::optional<double> wavelength;                 ///< Å
    std::optional<double> energy;                     ///< keV
    std::optional<double> distance;                   ///< mm, rotation axis to detector plane
    std::optional<std::array<double, 2>> beam_extent; ///< mm, horizontal and vertical
    /// Absent in both places: Error when true, not a number in the metadata otherwise.
    bool require_wavelength = true;
    bool require_distance = true;

    /// Accept an intensity [rotation, translation] without a radial axis: one channel.
    bool allow_single_channel = false;
    /// Which slice of a height or time series; absent: Error unless there is only one.
    std::optional<std::size_t> stack_index;
};

/// What a scan says about itself, in canonical units.
struct SinogramMetadata {
    std::vector<double> rotation;    ///< deg, strictly monotonic
    std::vector<double> translation; ///< mm, strictly monotonic
    std::vector<double> two_theta;   ///< deg, strictly increasing; empty for a single-channel scan
    double wavelength = 0;           ///< Å; NaN when absent and not required
    double distance = 0;             ///< mm; NaN when absent and not required
    std::optional<std::array<double, 2>> beam_extent; ///< mm, horizontal and vertical
    bool has_errors = false;
    bool has_pixels = false;
    bool has_transmission = false;
    bool has_monitor = false;
    /// What the integration took out of the intensities, where the file says so (attributes
    /// solid_angle_corrected and polarization_corrected of the plot's group).
    std::optional<bool> solid_angle_corrected, polarization_corrected;
    std::optional<double> stack_value; ///< height [mm] or time [s] of the slice
    std::string title, sample_name, start_time;
    std::string intensity_units; ///< as stored, such as "counts"; empty when the file states none
    /// For each of "intensity", "rotation", "translation", "two_theta", "wavelength", "distance",
    /// "beam_extent", "intensity_errors", "pixels", "transmission", "monitor" that is there: where
    /// it came from, as a sentence part
    /// ("scan.nxs:/entry/data/q [1/nm], converted with the wavelength", "set by the caller").
    std::map<std::string, std::string> origin;
    /// What HDF5 holds no values of and is missing (NaN) therefore, in words that name the dataset.
    std::vector<std::string> notes;

    std::size_t n_rotation() const { return rotation.size(); }
    std::size_t n_translation() const { return translation.size(); }
    std::size_t n_channel() const { return two_theta.empty() ? 1 : two_theta.size(); }
};

/// Which of the arrays with a channel axis.
enum class SinogramArray { intensity, errors };

/// A scan on disk, of any axis order, given out as [rotation][translation][channel] float32. NaN
/// marks missing points, also those that were never written (hdf5::Dataset::gaps).
class SinogramFile {
  public:
    /// Opens and checks everything but the intensities themselves. With a communicator (which must
    /// outlive the object) it is collective, all ranks throw when one fails, and so is the
    /// destructor. Errors name the file and the dataset.
    static SinogramFile open(const std::filesystem::path& path, const SinogramSource& source = {},
                             const mpi::Communicator* communicator = nullptr);

    const SinogramMetadata& metadata() const { return metadata_; }
    const std::filesystem::path& path() const { return path_; }

    /// Axis names as stored, slowest first ("rotation", "translation", "radial").
    std::vector<std::string> stored_order() const;
    /// Extent of a chunk along rotation, translation, channel ({0,0,0}: not chunked): a block of
    /// channels read at a time is best a multiple of the last.
    std::array<std::size_t, 3> chunk() const;

    /// out[rotation][translation][channel] of the ranges, all translations; out.size() must match.
    /// An infinite value is an Error. Not collective. Memory beyond out: about 64 MiB (more when
    /// one chunk is larger).
    void read_rows(mpi::BlockRange rotations, mpi::BlockRange channels, std::span<float> out,
                   SinogramArray array = SinogramArray::intensity) const;

    /// The channels of `block` spread over the ranks: rank r gets own_channels(block,
    /// communicator), as [all rotations][translation][own channel]. Each rank reads a contiguous
    /// share of the file, then the ranks exchange. Collective; `block` the same on all ranks; all
    /// ranks throw when one fails. Works with a file opened serially by each rank, too.
    void read_channel_shard(const mpi::Communicator& communicator, mpi::BlockRange block,
                            std::span<float> out,
                            SinogramArray array = SinogramArray::intensity) const;
    static mpi::BlockRange own_channels(mpi::BlockRange block,
                                        const mpi::Communicator& communicator);

    /// [rotation][translation] (either order on disk: the dataset's @axes tell, else its shape; of
    /// a square one, rotation comes first in NeXus files and the intensities' order holds for
    /// datasets named by the caller), the same, and [channel]; Error when the file has none (see
    /// metadata). Not collective. Not finite: NaN in transmission and monitor are kept, infinities
    /// are an Error; pixels must be finite and not negative.
    std::vector<double> read_transmission() const;
    std::vector<double> read_monitor() const;
    std::vector<double> read_pixels() const;

  private:
    /// Position of each canonical axis (rotation, translation, channel) among the stored ones; −1:
    /// the file has no such axis.
    using AxisMap = std::array<int, 3>;

    SinogramFile(hdf5::File file, detail::OpenedSinogram opened);
    const hdf5::Dataset& dataset(SinogramArray array) const;
    /// `box` is in canonical order; `order` lists the canonical axes as `out` has them, slowest
    /// first.
    void read_box(const hdf5::Dataset& dataset, const std::array<mpi::BlockRange, 3>& box,
                  const std::array<int, 3>& order, std::span<float> out) const;
    std::vector<double> read_plane(const hdf5::Dataset& dataset) const;

    std::filesystem::path path_;
    hdf5::File file_;
    hdf5::Dataset intensity_;
    std::optional<hdf5::Dataset> errors_, transmission_, monitor_, pixels_;
    SinogramMetadata metadata_;
    AxisMap axis_{};
    int stack_axis_ = -1;
    std::size_t stack_index_ = 0;
    bool named_by_caller_ = false; ///< the intensities, that is
};

} // namespace xrdct::scan
