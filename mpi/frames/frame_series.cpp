// SPDX-License-Identifier: BSD-3-Clause
#include "mpi/frames/frame_series.hpp"

#include "base/error.hpp"
#include "base/unit_names.hpp"
#include "mpi/frames/detector_facts.hpp"
#include "mpi/frames/file_names.hpp"
#include "mpi/frames/frame_headers.hpp"
#include "mpi/frames/hdf5_frames.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <set>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace xrdct::frames {

using namespace detail;

namespace {

bool is_hdf5(const std::string& name) {
    const auto text = extension_of(name);
    return text == ".h5" || text == ".hdf5" || text == ".nxs" || text == ".hdf" || text == ".he5" ||
           text == ".nx5";
}

} // namespace

std::vector<std::pair<std::string, std::vector<double>*>> by_name(FrameVectors& v) {
    return {{"rotation_angle", &v.rotation_angle},
            {"translation", &v.translation},
            {"monitor", &v.monitor},
            {"exposure_time", &v.exposure_time},
            {"transmission", &v.transmission},
            {"time", &v.time}};
}

/// Looks through the files on one rank.
class FrameSeries::Scanner {
  public:
    Scanner(FrameSeries& series, const Options& options) : series_(series), options_(options) {}

    void scan(const std::vector<std::string>& names) {
        if (names.empty())
            throw Error("no frames are given");
        auto missing = missing_names(names);
        auto gap = missing.begin();
        for (std::size_t i = 0; i < names.size(); ++i) {
            for (; gap != missing.end() && gap->first == i; ++gap)
                add_missing(gap->second, "is missing in the series");
            scan_file(names[i]);
        }
        if (counted_ == 0 && !missing_.empty())
            throw Error(missing_.front());
        finish_missing();
        for (auto& part : series_.parts_) {
            part.first = series_.size_;
            series_.size_ += part.count;
        }
        if (series_.size_ == 0)
            throw Error(fmt::format("{}: holds no frames", names.front()));
        read_header_numbers(options_.headers, series_.parts_, series_.size_, series_.vectors_,
                            series_.notes_);
        finish_vectors();
    }

  private:
    void scan_file(const std::string& name) {
        std::error_code code;
        if (!std::filesystem::exists(name, code))
            throw Error(fmt::format("{}: no such file", name));
        if (std::filesystem::is_directory(name, code))
            throw Error(
                fmt::format("{}: is a folder; name the frames, such as '{}/*.cbf'", name, name));
        if (is_hdf5(name))
            return scan_hdf5(name);
        const auto extension = extension_of(name);
        if (extension != ".cbf" && extension != ".edf")
            throw Error(fmt::format("{}: the format is not known by its name; expected .h5, .hdf5, "
                                    ".nxs, .cbf or .edf",
                                    name));
        // Headers of a long series are not read twice: a frame that differs shows when it is read.
        if (extension == ".cbf") {
            if (series_.rows_ == 0)
                take_shape(read_cbf_header(name), name);
            add({name, "", 0, 1, ""});
            return;
        }
        Image first;
        std::size_t count = 0;
        try {
            count = count_edf_images(name, first);
        } catch (const Error&) {
            if (series_.rows_ == 0)
                throw;
            count = 1; // masked or refused when it is read
        }
        if (series_.rows_ == 0)
            take_shape(first, name);
        add({name, "", 0, count, ""});
    }

    void take_shape(const Image& image, const std::string& where) {
        if (image.rows == 0)
            throw Error(fmt::format("{}: holds no image", where));
        series_.rows_ = image.rows;
        series_.columns_ = image.columns;
        series_.integer_ = image.integer;
        series_.saturation_ = image.saturation;
    }

    void add_missing(const std::string& file, const std::string& reason) {
        series_.parts_.push_back({file, "", 0, 0, reason});
        missing_.push_back(fmt::format("{}: {}", file, reason));
    }

    void add(FramePart part) {
        counted_ += part.count;
        series_.parts_.push_back(std::move(part));
    }

    void scan_hdf5(const std::string& name) {
        std::optional<hdf5::File> file;
        try {
            file.emplace(hdf5::File::open(name, hdf5::Access::read_only));
        } catch (const Error& error) {
            if (!options_.skip_unreadable)
                throw;
            std::string reason = error.what();
            if (reason.rfind(name + ": ", 0) == 0)
                reason.erase(0, name.size() + 2);
            add_missing(name, reason);
            return;
        }
        const auto root = file->root();
        const auto paths = find_frame_datasets(root, name, options_.dataset);
        const std::size_t before = counted_;
        for (const auto& path : paths) {
            const auto dataset = root.open_dataset(path);
            const auto& shape = dataset.shape();
            if (!dataset.is_numeric() || shape.size() < 2)
                throw Error(dataset.describe() + ": expected images [frame, row, column]");
            Image image;
            image.rows = shape[shape.size() - 2];
            image.columns = shape[shape.size() - 1];
            set_type(image, pixel_type_of(dataset));
            if (series_.rows_ == 0)
                take_shape(image, dataset.describe());
            else if (image.rows != series_.rows_ || image.columns != series_.columns_)
                throw Error(fmt::format("{}: the frames have {} x {} pixels, those of {} have {} x "
                                        "{}",
                                        dataset.describe(), image.rows, image.columns,
                                        series_.parts_.front().file, series_.rows_,
                                        series_.columns_));
            else if (image.integer != series_.integer_ || image.saturation != series_.saturation_)
                throw Error(fmt::format("{}: the frames are {}, those of {} are of another type",
                                        dataset.describe(), hdf5::name_of(dataset.element_type()),
                                        series_.parts_.front().file));
            std::size_t count = 1;
            for (std::size_t d = 0; d + 2 < shape.size(); ++d)
                count *= shape[d];
            if (count > 0)
                add({name, dataset.path(), 0, count, ""});
        }
        if (options_.dataset.empty())
            check_eiger_count(root, name, counted_ - before);
        read_vectors(root, hdf5::parent_of(root.open_dataset(paths.front())), name,
                     counted_ - before);
        read_detector(root, root.open_dataset(paths.front()));
    }

    void read_detector(const hdf5::Group& root, const hdf5::Dataset& images) {
        if (!series_.pixel_mask_.empty() || series_.limit_)
            return;
        auto facts = detector_facts(root, images);
        series_.pixel_mask_ = std::move(facts.mask);
        series_.limit_ = facts.limit;
        if (facts.fill && !series_.dummy_)
            series_.dummy_ = facts.fill;
        for (auto& note : facts.notes)
            if (noted_.insert(note).second)
                series_.notes_.push_back(std::move(note));
    }

    void read_vectors(const hdf5::Group& root, const hdf5::Group& beside, const std::string& name,
                      std::size_t count) {
        const auto vectors = by_name(series_.vectors_);
        for (std::size_t k = 0; k < vectors.size(); ++k) {
            auto& [kind, values] = vectors[k];
            const auto given = options_.vectors.find(kind);
            const bool named = given != options_.vectors.end();
            if (!named && !beside.has_dataset(kind))
                continue;
            const auto dataset =
                named ? root.open_dataset(given->second) : beside.open_dataset(kind);
            if (!dataset.is_numeric() || (dataset.size() != count && dataset.size() != 1)) {
                if (!named)
                    continue;
                throw Error(fmt::format("{}: {} values of {} for {} frames", dataset.describe(),
                                        dataset.size(), kind, count));
            }
            if (const auto gaps = dataset.gaps(); !gaps.empty() && !named) {
                series_.notes_.push_back(
                    fmt::format("{} is not used: {}", dataset.describe(), gaps.front().describe()));
                continue;
            }
            if (values->empty())
                values->assign(counted_ - count, std::nan(""));
            auto read = dataset.read_all<double>();
            const auto units = dataset.string_attribute("units").value_or("");
            if (frame_kinds[k].has_unit && !units.empty()) {
                const double factor =
                    units::unit_factor(frame_kinds[k].quantity, units, dataset.describe());
                for (double& value : read)
                    value *= factor;
            }
            if (read.size() == 1)
                read.assign(count, read.front());
            values->insert(values->end(), read.begin(), read.end());
            seen_[kind].push_back(name);
        }
        files_with_frames_.push_back(name);
    }

    /// Frames of a missing file: as many as its neighbours have.
    void finish_missing() {
        if (missing_.empty())
            return;
        std::set<std::size_t> counts;
        for (const auto& part : series_.parts_)
            if (part.missing.empty())
                counts.insert(part.count);
        if (counts.size() > 1)
            throw Error(fmt::format("{}; how many frames it had cannot be told: the other files "
                                    "have {}",
                                    missing_.front(), fmt::join(counts, ", ")));
        if (!series_.vectors_.rotation_angle.empty() || !series_.vectors_.translation.empty())
            throw Error(
                fmt::format("{}; with it the positions of its frames are", missing_.front()));
        for (auto& part : series_.parts_)
            if (!part.missing.empty())
                part.count = *counts.begin();
        series_.notes_.push_back(fmt::format("{} file{} could not be had, {} frames are masked; "
                                             "the first: {}",
                                             missing_.size(), missing_.size() == 1 ? "" : "s",
                                             missing_.size() * *counts.begin(), missing_.front()));
    }

    void finish_vectors() {
        for (auto& [kind, values] : by_name(series_.vectors_)) {
            if (values->empty() || options_.headers.count(kind) != 0)
                continue;
            if (seen_[kind].size() != files_with_frames_.size() || files_with_frames_.size() == 0 ||
                values->size() != series_.size_) {
                if (options_.vectors.count(kind) != 0 || kind == "rotation_angle" ||
                    kind == "translation")
                    throw Error(fmt::format("{} is known for {} of {} frames only", kind,
                                            values->size(), series_.size_));
                values->clear();
                continue;
            }
            series_.notes_.push_back(
                fmt::format("{} is read from {}{}", kind, seen_[kind].front(),
                            seen_[kind].size() > 1 ? " and the files after it" : ""));
        }
        for (const auto& [kind, path] : options_.vectors)
            if (seen_[kind].empty())
                throw Error(fmt::format("{} has no dataset {}: only HDF5 files have",
                                        series_.parts_.front().file, path));
    }

    FrameSeries& series_;
    const Options& options_;
    std::size_t counted_ = 0;
    std::map<std::string, std::vector<std::string>> seen_;
    std::vector<std::string> files_with_frames_;
    std::vector<std::string> missing_; ///< file and reason
    std::set<std::string> noted_;      ///< of detectors
};

void FrameSeries::broadcast(const mpi::Communicator& communicator) {
    std::vector<std::string> texts;
    std::vector<std::uint64_t> numbers;
    if (communicator.is_root()) {
        for (const auto& part : parts_) {
            texts.push_back(part.file);
            texts.push_back(part.dataset);
            texts.push_back(part.missing);
            numbers.insert(numbers.end(), {part.first, part.count});
        }
        numbers.insert(numbers.end(), {size_, rows_, columns_, integer_ ? 1U : 0U,
                                       static_cast<std::uint64_t>(saturation_), limit_ ? 1U : 0U,
                                       static_cast<std::uint64_t>(limit_.value_or(0)),
                                       std::bit_cast<std::uint32_t>(floor_), dummy_ ? 1U : 0U,
                                       std::bit_cast<std::uint64_t>(dummy_.value_or(0))});
    }
    communicator.broadcast(texts);
    communicator.broadcast(numbers);
    communicator.broadcast(notes_);
    communicator.broadcast(pixel_mask_);
    for (auto& [kind, values] : by_name(vectors_))
        communicator.broadcast(*values);
    if (communicator.is_root())
        return;
    parts_.clear();
    for (std::size_t i = 0; i < texts.size() / 3; ++i)
        parts_.push_back(
            {texts[3 * i], texts[3 * i + 1], numbers[2 * i], numbers[2 * i + 1], texts[3 * i + 2]});
    const auto rest = numbers.end() - 10;
    size_ = rest[0];
    rows_ = rest[1];
    columns_ = rest[2];
    integer_ = rest[3] != 0;
    saturation_ = static_cast<std::int32_t>(rest[4]);
    if (rest[5] != 0)
        limit_ = static_cast<std::int32_t>(rest[6]);
    floor_ = std::bit_cast<float>(static_cast<std::uint32_t>(rest[7]));
    if (rest[8] != 0)
        dummy_ = std::bit_cast<double>(rest[9]);
}

void FrameSeries::look_at_negative(Negative given) {
    if (!integer_ && given == Negative::invalid)
        floor_ = 0;
    if (integer_ || given != Negative::automatic)
        return;
    Image frame;
    for (std::size_t i = 0; i < std::min<std::size_t>(size_, 10) && frame.values.empty(); ++i)
        try {
            read(i, frame);
        } catch (const Error&) {
            frame.values.clear(); // masked or refused later
        }
    const auto found = negative_values(frame.values);
    floor_ = found.floor;
    if (found.number > 0)
        notes_.push_back(fmt::format(
            "{} pixels of the first frame are negative, down to {:.6g}; {}", found.number,
            found.lowest,
            found.noise ? "they look like noise about zero and are used as they are (--negative "
                          "invalid leaves them out)"
                        : "they are taken for marks of pixels without a value and left out "
                          "(--negative measured uses them)"));
}

void FrameSeries::mark_invalid(Image& frame) const {
    if (dummy_)
        mark_dummies(frame, *dummy_, dummy_tolerance_);
    // The largest numbers of 32 bits are marks of detectors also where they became floats.
    for (float& value : frame.values)
        if (value < floor_ || value == 4294967296.0F || value == 2147483648.0F)
            value = std::nanf("");
}

FrameSeries FrameSeries::open(const std::vector<std::string>& inputs, const Options& options,
                              const mpi::Communicator& communicator) {
    FrameSeries series;
    communicator.collectively([&] {
        series.dummy_ = options.dummy;
        series.dummy_tolerance_ = options.dummy_tolerance;
        if (communicator.is_root()) {
            Scanner(series, options).scan(expand_names(inputs));
            series.look_at_negative(options.negative);
        }
    });
    series.broadcast(communicator);
    return series;
}

void FrameSeries::read(std::size_t i, Image& frame) {
    if (i >= size_)
        throw Error(fmt::format("frame {} of {} is asked for", i, size_));
    const auto next = std::upper_bound(
        parts_.begin(), parts_.end(), i,
        [](std::size_t index, const FramePart& part) { return index < part.first; });
    const auto number = static_cast<std::size_t>(next - parts_.begin()) - 1;
    const FramePart& part = parts_[number];
    const std::size_t index = i - part.first;
    if (!part.missing.empty())
        throw Error(fmt::format("{}: {}", part.file, part.missing));
    if (part.dataset.empty())
        read_file(part, index, frame);
    else
        read_dataset(number, index, frame);
    mark_invalid(frame);
}

void FrameSeries::read_file(const FramePart& part, std::size_t index, Image& frame) const {
    frame = extension_of(part.file) == ".cbf" ? read_cbf(part.file) : read_edf(part.file, index);
    if (frame.rows != rows_ || frame.columns != columns_)
        throw Error(fmt::format("{}: the frame has {} x {} pixels, the first one {} x {}",
                                part.file, frame.rows, frame.columns, rows_, columns_));
    if (frame.integer != integer_)
        throw Error(fmt::format("{}: the frame's numbers are of another kind than the first "
                                "one's",
                                part.file));
}

void FrameSeries::read_dataset(std::size_t number, std::size_t index, Image& frame) {
    const FramePart& part = parts_[number];
    if (open_part_ != number || !dataset_) {
        open_part_ = number;
        dataset_.reset();
        const auto file = hdf5::File::open(part.file, hdf5::Access::read_only);
        dataset_.emplace(file.root().open_dataset(part.dataset));
    }
    frame.rows = rows_;
    frame.columns = columns_;
    frame.integer = integer_;
    frame.saturation = saturation_;
    const auto& shape = dataset_->shape();
    hdf5::Selection selection{hdf5::Shape(shape.size(), 0), hdf5::Shape(shape.size(), 1)};
    std::size_t rest = index;
    for (std::size_t d = shape.size() - 2; d-- > 0;) {
        selection.start[d] = rest % shape[d];
        rest /= shape[d];
    }
    selection.count[shape.size() - 2] = rows_;
    selection.count[shape.size() - 1] = columns_;
    const std::size_t n = rows_ * columns_;
    try {
        // HDF5 converts number by number; the compiler does better.
        if (!integer_) {
            frame.counts.clear();
            frame.values.resize(n);
            dataset_->read(selection, std::span<float>(frame.values));
        } else if (dataset_->element_type() == hdf5::ElementType::uint16) {
            scratch16_.resize(n);
            dataset_->read(selection, std::span<std::uint16_t>(scratch16_));
            frame.counts.assign(scratch16_.begin(), scratch16_.end());
        } else if (dataset_->element_type() == hdf5::ElementType::uint32) {
            scratch32_.resize(n);
            dataset_->read(selection, std::span<std::uint32_t>(scratch32_));
            frame.counts.resize(n);
            std::transform(scratch32_.begin(), scratch32_.end(), frame.counts.begin(),
                           [](std::uint32_t value) {
                               return static_cast<std::int32_t>(std::min(value, 0x7fffffffU));
                           });
        } else {
            frame.counts.resize(n);
            dataset_->read(selection, std::span<std::int32_t>(frame.counts));
        }
    } catch (const Error& error) {
        throw Error(fmt::format("frame {}: {}", index, error.what()));
    }
}

} // namespace xrdct::frames
