// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "mpi/comm/communicator.hpp"
#include "mpi/frames/image.hpp"
#include "mpi/hdf5/hdf5.hpp"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace xrdct::frames {

/// Frames that lie in one file (one dataset of an HDF5 file).
struct FramePart {
    std::string file;
    std::string dataset;   ///< empty: CBF or EDF
    std::size_t first = 0; ///< number of its first frame in the series
    std::size_t count = 0;
    std::string missing; ///< why there are none; empty: they are there
};

/// Numbers of one kind, one per frame, in canonical units; empty: not known.
struct FrameVectors {
    std::vector<double> rotation_angle; ///< deg
    std::vector<double> translation;    ///< mm
    std::vector<double> monitor;
    std::vector<double> exposure_time; ///< s
    std::vector<double> transmission;
    std::vector<double> time; ///< s
};

/// The kinds by name ("rotation_angle", …), each with its vector.
std::vector<std::pair<std::string, std::vector<double>*>> by_name(FrameVectors& vectors);

/// The frames of a scan, in order, over all files.
///
/// HDF5: [frame][row][column] (or with more leading axes, or one image), found as Eiger writes it
/// (data_000001, data_000002, … of one group, often external links), as the only stack of images in
/// the file, or by name. CBF, EDF (one or several images per file): one file after the other. Files
/// come in the order given; patterns with * and ? are expanded in natural order (2 before 10). A
/// number missing in a series of file names leaves room for its frames.
///
/// A pixel without a value is negative in frames of whole numbers and NaN in others, also where the
/// header of an EDF image (Dummy, DDummy) or the options say so.
class FrameSeries {
  public:
    /// What negative numbers mean in frames that are no whole numbers.
    enum class Negative {
        automatic, ///< noise about zero where the first frame looks like it, else `invalid`
        invalid,   ///< they mark pixels without a value
        measured,  ///< as of frames from which a dark was subtracted
    };
    struct Options {
        std::string dataset; ///< HDF5; * at the end of the path stands for all that match
        /// Dataset paths of FrameVectors by kind; each of a file's frames, or one value for all of
        /// them. Without one, a dataset of that name beside the frames is taken.
        std::map<std::string, std::string> vectors;
        /// Header keys of CBF and EDF frames by kind, with a unit behind a colon where the headers
        /// state none and it is not the canonical one ("samy:um"). A frame whose header lacks one
        /// has NaN.
        std::map<std::string, std::string> headers;
        /// An HDF5 file that cannot be opened leaves room for its frames (as many as the others
        /// have) instead of being an Error.
        bool skip_unreadable = true;
        /// Pixels with this value, give or take the tolerance, have none.
        std::optional<double> dummy;
        double dummy_tolerance = 0;
        Negative negative = Negative::automatic;
    };

    /// Collective: rank 0 looks, all ranks know. Throws Error naming the file.
    static FrameSeries open(const std::vector<std::string>& inputs, const Options& options,
                            const mpi::Communicator& communicator);

    std::size_t size() const { return size_; }
    std::size_t rows() const { return rows_; }
    std::size_t columns() const { return columns_; }
    bool integer() const { return integer_; }
    std::int32_t saturation() const { return saturation_; }
    const std::vector<FramePart>& parts() const { return parts_; }
    const FrameVectors& vectors() const { return vectors_; }
    const std::vector<std::string>& notes() const { return notes_; }
    /// The detector's own mask [row][column], not 0: bad; empty when the files hold none.
    const std::vector<std::int32_t>& pixel_mask() const { return pixel_mask_; }
    /// Largest value that is a measured one as the files say of the detector; absent: they do not.
    /// Larger ones are not taken out.
    std::optional<std::int32_t> limit() const { return limit_; }

    /// Reads frame i < size() into `frame` (reused). Throws Error naming the file when it is
    /// missing, damaged or of another size than the first. Not collective.
    void read(std::size_t i, Image& frame);

  private:
    class Scanner;
    /// On the root rank: what negative numbers mean, of the first frame that can be read.
    void look_at_negative(Negative given);
    void mark_invalid(Image& frame) const;
    void broadcast(const mpi::Communicator& communicator);
    /// Frame `index` of a CBF or EDF file.
    void read_file(const FramePart& part, std::size_t index, Image& frame) const;
    /// Frame `index` of the dataset of parts_[number].
    void read_dataset(std::size_t number, std::size_t index, Image& frame);

    std::vector<FramePart> parts_;
    std::size_t size_ = 0, rows_ = 0, columns_ = 0;
    bool integer_ = true;
    std::int32_t saturation_ = 0;
    FrameVectors vectors_;
    std::vector<std::int32_t> pixel_mask_;
    std::optional<std::int32_t> limit_;
    std::optional<double> dummy_;
    double dummy_tolerance_ = 0;
    /// In frames that are no whole numbers smaller ones mark pixels without a value.
    float floor_ = -std::numeric_limits<float>::infinity();
    std::vector<std::string> notes_;

    // What was read last stays open.
    std::size_t open_part_ = static_cast<std::size_t>(-1);
    std::optional<hdf5::Dataset> dataset_;
    std::vector<std::uint16_t> scratch16_;
    std::vector<std::uint32_t> scratch32_;
};

/// Names of files: those without * and ? as they are, the others expanded in their folder in
/// natural order. Throws Error when a pattern fits no file.
std::vector<std::string> expand_names(const std::vector<std::string>& inputs);

} // namespace xrdct::frames
