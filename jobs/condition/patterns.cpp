// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/condition/source.hpp"

#include "base/error.hpp"
#include "conditioning/arrangement.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace xrdct::condition {

using namespace detail;

namespace {

class PatternsInput final : public ConditionInput {
  public:
    explicit PatternsInput(const ConditionJob& job)
        : file_(hdf5::File::open(job.input.file, hdf5::Access::read_only)),
          intensity_(open_intensity(file_.root(), job.input.intensity)) {
        const auto root = file_.root();
        const auto group = parent_of(intensity_);
        files.push_back(job.input.file);
        const auto& shape = intensity_.shape();
        if (shape.size() < 2 || shape.size() > 3 || intensity_.size() == 0)
            throw Error(fmt::format("{}: expected [frame, channel], found shape [{}]",
                                    intensity_.describe(), fmt::join(shape, ", ")));
        read_description(*this, job, root, group, intensity_);
        const std::size_t frames = intensity_.size() / n_channel();
        if (shape.size() == 3)
            per_row_ = shape[1];
        errors_ = find_dataset(
            root, group, job.input.intensity_errors,
            {(intensity_.path().substr(intensity_.path().rfind('/') + 1) + "_errors").c_str(),
             "errors"});
        if (errors_ && errors_->shape() != shape)
            throw Error(fmt::format("{}: shape [{}] differs from the intensities' [{}]",
                                    errors_->describe(), fmt::join(errors_->shape(), ", "),
                                    fmt::join(shape, ", ")));
        has_errors = errors_.has_value();
        arrange(job, root, group, frames);

        const auto counter_file = job.counter_file.empty()
                                      ? std::optional<hdf5::File>()
                                      : hdf5::File::open(job.counter_file, hdf5::Access::read_only);
        if (counter_file)
            files.push_back(job.counter_file);
        const auto counter_root = counter_file ? counter_file->root() : file_.root();
        const auto counter = [&](const std::string& given, const char* usual,
                                 std::vector<double>& target) {
            std::optional<hdf5::Dataset> dataset;
            if (counter_file)
                dataset =
                    given.empty() ? std::nullopt : std::optional(counter_root.open_dataset(given));
            else
                dataset = find_dataset(root, group, given, {usual});
            if (dataset)
                target = in_places(vector_of(*dataset, frames, "frame"));
        };
        counter(job.input.monitor, "monitor", monitor);
        counter(job.input.transmission, "transmission", transmission);
        counter(job.exposure, "exposure_time", exposure);
    }

    void read_lines(std::size_t begin, std::size_t end, std::span<float> values,
                    std::span<float> errors) override {
        read(intensity_, begin, end, values);
        if (!errors.empty())
            read(*errors_, begin, end, errors);
    }

  private:
    void arrange(const ConditionJob& job, const hdf5::Group& root, const hdf5::Group& group,
                 std::size_t frames) {
        const auto turns = find_dataset(root, group, job.input.rotation,
                                        {"rotation_angle", "rotation", "omega", "rot"});
        const auto places = find_dataset(root, group, job.input.translation,
                                         {"translation", "dty", "translations"});
        const bool positions = turns && places;
        if (job.order == FrameOrder::positions && !positions)
            throw Error(fmt::format("{}: has no positions rotation_angle and translation per "
                                    "frame, which arrange.order = \"positions\" needs",
                                    group.describe()));
        if (job.order == FrameOrder::positions ||
            (job.order == FrameOrder::automatic && positions)) {
            const auto rotations = in_unit(vector_of(*turns, frames, "frame"),
                                           units::Quantity::angle, job.input.rotation_unit, *turns);
            const auto translations =
                in_unit(vector_of(*places, frames, "frame"), units::Quantity::length,
                        job.input.translation_unit, *places);
            try {
                grid_ = conditioning::arrange_by_position(rotations, translations, job.tolerance);
            } catch (const Error& error) {
                throw Error(fmt::format("{}: {}", group.describe(), error.what()));
            }
            by_position = true;
            what = fmt::format("{} frames arranged by their positions (translations scatter by "
                               "{:.3f} steps)",
                               frames, grid_.position_spread);
            const auto list = [&](const std::vector<std::size_t>& which, const char* text) {
                if (which.empty())
                    return;
                const std::vector<std::size_t> few(
                    which.begin(), which.begin() + static_cast<std::ptrdiff_t>(
                                                       std::min<std::size_t>(which.size(), 8)));
                notes.push_back(fmt::format("{} frame{} {}: {}{}", which.size(),
                                            which.size() == 1 ? "" : "s", text,
                                            fmt::join(few, ", "), which.size() > 8 ? ", …" : ""));
            };
            list(grid_.unknown, "left out, whose position is not known");
            list(grid_.off_grid, "left out, whose position is on no point of the grid");
            list(grid_.repeated, "left out, whose point another frame has");
        } else {
            const auto& in = job.input;
            if (in.rotation_range.empty() || in.translation_range.empty())
                throw Error(fmt::format(
                    "{}: the positions of the frames are not in the file: state "
                    "input.rotation_range, input.translation_range, arrange.rotations and "
                    "arrange.translations",
                    group.describe()));
            auto n_t = static_cast<std::size_t>(job.translations);
            auto n_r = static_cast<std::size_t>(job.rotations);
            const std::size_t all = frames + job.lost.size();
            if (n_t == 0 && per_row_ > 0)
                n_t = per_row_;
            if (n_t == 0 && n_r > 0 && all % n_r == 0)
                n_t = all / n_r;
            if (n_r == 0 && n_t > 0 && all % n_t == 0)
                n_r = all / n_t;
            if (n_r == 0 || n_t == 0)
                throw Error(fmt::format(
                    "{}: {} frames{}: state arrange.rotations and arrange.translations",
                    group.describe(), frames,
                    n_t > 0 ? fmt::format(" are no whole number of lines of {}", n_t)
                    : n_r > 0
                        ? fmt::format(" are no whole number of translations at {} rotations", n_r)
                        : ""));
            try {
                grid_ = conditioning::arrange_in_order(
                    frames, stated_axis(in.rotation_range, in.rotation_range_closed, n_r),
                    stated_axis(in.translation_range, true, n_t), job.lost);
            } catch (const Error& error) {
                throw Error(fmt::format("{}: {}", intensity_.describe(), error.what()));
            }
            what = fmt::format("{} frames, line after line", frames);
        }
        rotation = grid_.rotation;
        translation = grid_.translation;
        for (std::size_t r = 0; r < n_rotation(); ++r) {
            const auto row = std::span(grid_.frame).subspan(r * n_translation(), n_translation());
            const auto lost = static_cast<std::size_t>(std::ranges::count(row, std::ptrdiff_t{-1}));
            if (lost == n_translation())
                ++missing_lines;
            else
                missing_points += lost;
        }
    }

    std::vector<double> in_places(const std::vector<double>& frames) const {
        std::vector<double> plane;
        for (const std::ptrdiff_t frame : grid_.frame)
            plane.push_back(frame < 0 ? std::numeric_limits<double>::quiet_NaN()
                                      : frames[static_cast<std::size_t>(frame)]);
        return plane;
    }

    void read(const hdf5::Dataset& dataset, std::size_t begin, std::size_t end,
              std::span<float> out) const {
        const std::size_t channels = n_channel();
        const std::size_t first = begin * n_translation(), last = end * n_translation();
        // Runs of frames that follow each other, forwards or backwards, are read at once.
        for (std::size_t i = first; i < last;) {
            const std::ptrdiff_t frame = grid_.frame[i];
            float* target = out.data() + (i - first) * channels;
            if (frame < 0) {
                std::fill_n(target, channels, condition::detail::missing);
                ++i;
                continue;
            }
            std::ptrdiff_t sense = 0;
            std::size_t n = 1;
            while (i + n < last && grid_.frame[i + n] >= 0) {
                const std::ptrdiff_t step = grid_.frame[i + n] - grid_.frame[i + n - 1];
                if ((step != 1 && step != -1) || (sense != 0 && step != sense))
                    break;
                sense = step;
                ++n;
            }
            const auto low = static_cast<std::size_t>(
                sense < 0 ? frame - static_cast<std::ptrdiff_t>(n) + 1 : frame);
            read_frames(dataset, low, n, std::span<float>(target, n * channels));
            if (sense < 0)
                for (std::size_t a = 0; a < n / 2; ++a)
                    std::swap_ranges(target + a * channels, target + (a + 1) * channels,
                                     target + (n - 1 - a) * channels);
            i += n;
        }
        check_finite(out, dataset.describe());
    }

    void read_frames(const hdf5::Dataset& dataset, std::size_t frame, std::size_t n,
                     std::span<float> out) const {
        const std::size_t channels = n_channel();
        if (per_row_ == 0) {
            dataset.read_with_gaps(hdf5::Selection{{frame, 0}, {n, channels}}, out);
            return;
        }
        for (std::size_t done = 0; done < n;) {
            const std::size_t row = (frame + done) / per_row_, column = (frame + done) % per_row_;
            const std::size_t part = std::min(n - done, per_row_ - column);
            dataset.read_with_gaps(hdf5::Selection{{row, column, 0}, {1, part, channels}},
                                   out.subspan(done * channels, part * channels));
            done += part;
        }
    }

    hdf5::File file_;
    hdf5::Dataset intensity_;
    std::optional<hdf5::Dataset> errors_;
    std::size_t per_row_ = 0; ///< frames per row of a three-dimensional array
    conditioning::FrameGrid grid_;
};

} // namespace

std::unique_ptr<ConditionInput> detail::open_patterns(const ConditionJob& job) {
    return std::make_unique<PatternsInput>(job);
}

} // namespace xrdct::condition
