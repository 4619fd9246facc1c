// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/condition/source.hpp"

#include "base/error.hpp"
#include "base/statistics.hpp"
#include "conditioning/zigzag.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace xrdct::condition {

using namespace detail;

namespace {

class LinesInput final : public ConditionInput {
  public:
    explicit LinesInput(const ConditionJob& job) : job_(job) {
        find_lines();
        const std::size_t first = first_present();
        const auto file = hdf5::File::open(line_file(first), hdf5::Access::read_only);
        const auto intensity = open_line(file, first);
        const auto& shape = intensity.shape();
        if (shape.size() != 2 || intensity.size() == 0)
            throw Error(fmt::format("{}: expected [translation, channel], found shape [{}]",
                                    intensity.describe(), fmt::join(shape, ", ")));
        const auto group = parent_of(intensity);
        read_description(*this, job, file.root(), group, intensity);
        has_errors = !job.input.intensity_errors.empty();
        read_axes(file.root(), group, shape[0]);
        read_counters(shape[0]);
        what = fmt::format("{} lines of {} translations, one {} each", rotation.size(), shape[0],
                           is_numbered(job.input.file.string()) ? "file" : "dataset");
    }

    void read_lines(std::size_t begin, std::size_t end, std::span<float> values,
                    std::span<float> errors) override {
        const std::size_t size = n_translation() * n_channel();
        for (std::size_t i = begin; i < end; ++i) {
            const auto out = values.subspan((i - begin) * size, size);
            const auto out_errors =
                errors.empty() ? errors : errors.subspan((i - begin) * size, size);
            if (!present_[i]) {
                std::ranges::fill(out, condition::detail::missing);
                std::ranges::fill(out_errors, condition::detail::missing);
                continue;
            }
            const auto file = hdf5::File::open(line_file(i), hdf5::Access::read_only);
            read_one(open_line(file, i), out, i);
            if (!out_errors.empty())
                read_one(file.root().open_dataset(number_name(job_.input.intensity_errors, i)),
                         out_errors, i);
        }
    }

  private:
    std::string number_name(const std::string& name, std::size_t i) const {
        return numbered(name, job_.first + static_cast<long>(i));
    }
    std::filesystem::path line_file(std::size_t i) const {
        return number_name(job_.input.file.string(), i);
    }
    hdf5::Dataset open_line(const hdf5::File& file, std::size_t i) const {
        return open_intensity(file.root(), number_name(job_.input.intensity, i));
    }

    void find_lines() {
        const bool in_files = is_numbered(job_.input.file.string());
        if (!in_files && !is_numbered(job_.input.intensity))
            throw Error(fmt::format("{}: the lines of a scan are numbered files or datasets: "
                                    "write %d or %06d into input.file or input.intensity",
                                    job_.source.string()));
        std::optional<hdf5::File> file;
        if (!in_files)
            file = hdf5::File::open(job_.input.file, hdf5::Access::read_only);
        const auto is_there = [&](std::size_t i) {
            std::error_code code;
            return in_files ? std::filesystem::exists(line_file(i), code)
                            : file->root().has_dataset(number_name(job_.input.intensity, i));
        };
        std::size_t n = static_cast<std::size_t>(std::max(job_.count, job_.rotations));
        // Without a stated number, up to the last one; a gap of 100 ends the search.
        if (n == 0)
            for (std::size_t i = 0, since = 0; since < 100; ++i, ++since)
                if (is_there(i)) {
                    n = i + 1;
                    since = 0;
                }
        std::vector<std::size_t> lost;
        for (std::size_t i = 0; i < n; ++i) {
            present_.push_back(is_there(i) ? 1 : 0);
            if (!present_.back())
                lost.push_back(i);
        }
        if (lost.size() == n)
            throw Error(fmt::format(
                "{}: no line is there: the first one would be {}", job_.source.string(),
                in_files ? line_file(0).string() : number_name(job_.input.intensity, 0)));
        if (4 * lost.size() > n)
            throw Error(fmt::format("{} of {} lines are not there, among them {}", lost.size(), n,
                                    in_files ? line_file(lost.front()).string()
                                             : number_name(job_.input.intensity, lost.front())));
        for (const std::size_t i : lost)
            notes.push_back(fmt::format("line {} is not there and is masked: {}", i,
                                        in_files ? line_file(i).string()
                                                 : number_name(job_.input.intensity, i)));
        missing_lines = lost.size();
        for (std::size_t i = 0; i < n; ++i)
            if (present_[i] && (in_files || files.empty()))
                files.push_back(line_file(i));
    }

    std::size_t first_present() const {
        return static_cast<std::size_t>(std::ranges::find(present_, 1) - present_.begin());
    }

    void read_axes(const hdf5::Group& root, const hdf5::Group& group, std::size_t n_translation) {
        const auto& in = job_.input;
        const std::size_t n = present_.size();
        reversed_.assign(n, 0);
        begins_.assign(n, 0);
        if (!in.rotation_range.empty()) {
            rotation = stated_axis(in.rotation_range, in.rotation_range_closed, n);
        } else if (!in.rotation.empty()) {
            for (std::size_t i = 0; i < n; ++i) {
                rotation.push_back(std::numeric_limits<double>::quiet_NaN());
                if (!present_[i])
                    continue;
                const auto file = hdf5::File::open(line_file(i), hdf5::Access::read_only);
                const auto dataset = file.root().open_dataset(number_name(in.rotation, i));
                auto values = in_unit(dataset.read_all<double>(), units::Quantity::angle,
                                      in.rotation_unit, dataset);
                if (values.empty())
                    throw Error(dataset.describe() + ": has no value");
                std::ranges::nth_element(
                    values, values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2));
                rotation.back() = values[values.size() / 2];
            }
            fill_rotations();
        } else {
            throw Error(fmt::format("{}: state the rotations of the lines, by input.rotation_range "
                                    "or as datasets by input.rotation_angle",
                                    job_.source.string()));
        }
        if (!in.translation_range.empty()) {
            translation = stated_axis(in.translation_range, true, n_translation);
            return;
        }
        const auto dataset = find_dataset(root, group, number_name(in.translation, first_present()),
                                          {"translation", "dty"});
        if (!dataset)
            throw Error(fmt::format("{}: state the translations, by input.translation_range or as "
                                    "datasets by input.translation",
                                    job_.source.string()));
        translation = in_unit(vector_of(*dataset, n_translation, "translation"),
                              units::Quantity::length, in.translation_unit, *dataset);
        by_position = !in.translation.empty();
        if (translation.back() < translation.front()) {
            std::ranges::reverse(translation);
            reversed_[first_present()] = by_position ? 1 : 0;
        }
        if (by_position)
            check_translations();
    }

    /// Rotations of missing lines by interpolation between their neighbours.
    void fill_rotations() {
        const std::size_t n = rotation.size();
        std::vector<std::size_t> known;
        for (std::size_t i = 0; i < n; ++i)
            if (std::isfinite(rotation[i]))
                known.push_back(i);
        if (known.size() < 2)
            throw Error(
                fmt::format("{}: fewer than two lines state their rotation", job_.source.string()));
        for (std::size_t i = 0; i < n; ++i) {
            if (std::isfinite(rotation[i]))
                continue;
            auto after = std::ranges::lower_bound(known, i);
            if (after == known.begin())
                ++after;
            else if (after == known.end())
                --after;
            const std::size_t a = *(after - 1), b = *after;
            rotation[i] = rotation[a] + (rotation[b] - rotation[a]) *
                                            (static_cast<double>(i) - static_cast<double>(a)) /
                                            static_cast<double>(b - a);
        }
    }

    /// Every line's own positions: in which sense it was driven, where it begins on the grid, and
    /// which of its points lie on none. The grid is that of the first line.
    void check_translations() {
        const std::size_t n = translation.size();
        std::vector<double> steps, starts;
        for (std::size_t t = 1; t < n; ++t)
            steps.push_back(translation[t] - translation[t - 1]);
        const double step = median(steps);
        for (std::size_t t = 0; t < n; ++t)
            starts.push_back(translation[t] - step * static_cast<double>(t));
        const double start = median(starts);
        if (!(step > 0))
            throw Error(fmt::format("{}: the translations of the first line do not rise",
                                    line_file(first_present()).string()));
        for (std::size_t t = 0; t < n; ++t)
            translation[t] = start + step * static_cast<double>(t);
        off_grid_.assign(present_.size() * n, 0);
        std::size_t moved = 0, masked = 0;
        for (std::size_t i = 0; i < present_.size(); ++i) {
            if (!present_[i])
                continue;
            const auto file = hdf5::File::open(line_file(i), hdf5::Access::read_only);
            const auto dataset = file.root().open_dataset(number_name(job_.input.translation, i));
            auto values = in_unit(vector_of(dataset, n, "translation"), units::Quantity::length,
                                  job_.input.translation_unit, dataset);
            reversed_[i] = values.back() < values.front() ? 1 : 0;
            if (reversed_[i])
                std::ranges::reverse(values);
            std::vector<double> off;
            for (std::size_t t = 0; t < n; ++t)
                off.push_back((values[t] - translation[t]) / step);
            const double whole = std::round(median(off));
            std::size_t outside = 0;
            for (std::size_t t = 0; t < n; ++t)
                if (!(std::abs(off[t] - whole) <= job_.tolerance)) {
                    off_grid_[i * n + t] = 1;
                    ++outside;
                }
            if (10 * outside > n || 4 * std::abs(whole) > static_cast<double>(n))
                throw Error(
                    fmt::format("{}: {} of {} translations lie on no point of the grid of "
                                "the first line, which begins at {} mm with steps of {} mm; "
                                "the line lies {:.2f} steps off",
                                dataset.describe(), outside, n, start, step, median(off)));
            begins_[i] = static_cast<std::ptrdiff_t>(whole);
            moved += whole != 0 ? 1 : 0;
            masked += outside;
        }
        if (moved > 0)
            notes.push_back(fmt::format("{} lines begin a step or more off the first one and are "
                                        "put where their positions say",
                                        moved));
        if (masked > 0)
            notes.push_back(fmt::format("{} points are masked, whose position is on no point of "
                                        "the grid",
                                        masked));
        missing_points += masked;
    }

    /// Brings a line [translation][width] as stored to its place on the grid.
    void place(std::span<float> line, std::size_t width, std::size_t i) const {
        if (reversed_[i])
            conditioning::reverse_line(line, width);
        for (std::size_t t = 0; !off_grid_.empty() && t < n_translation(); ++t)
            if (off_grid_[i * n_translation() + t])
                std::ranges::fill(line.subspan(t * width, width), condition::detail::missing);
        conditioning::shift_line(line, width, -static_cast<double>(begins_[i]), false);
    }

    void read_counters(std::size_t n_translation) {
        const auto& in = job_.input;
        for (const auto& [name, target] : {std::pair{&in.monitor, &monitor},
                                           {&in.transmission, &transmission},
                                           {&job_.exposure, &exposure}}) {
            if (name->empty())
                continue;
            const bool elsewhere = !job_.counter_file.empty() && name != &job_.exposure;
            for (std::size_t i = 0; i < present_.size(); ++i) {
                std::vector<double> line(n_translation, std::numeric_limits<double>::quiet_NaN());
                const auto path =
                    elsewhere
                        ? std::filesystem::path(numbered(job_.counter_file.string(),
                                                         job_.counter_first + static_cast<long>(i)))
                        : line_file(i);
                std::error_code code;
                if (!elsewhere && !present_[i]) {
                    // the line is missing as a whole
                } else if (std::filesystem::exists(path, code)) {
                    const auto file = hdf5::File::open(path, hdf5::Access::read_only);
                    const auto dataset = file.root().open_dataset(
                        numbered(*name, job_.first + static_cast<long>(i)));
                    line = vector_of(dataset, n_translation, "translation");
                    std::vector<float> moved(line.begin(), line.end());
                    place(moved, 1, i);
                    line.assign(moved.begin(), moved.end());
                    if (elsewhere && std::ranges::find(files, path) == files.end())
                        files.push_back(path);
                } else if (present_[i]) {
                    notes.push_back(fmt::format("line {} has no counters and is masked where they "
                                                "are used: {}",
                                                i, path.string()));
                }
                target->insert(target->end(), line.begin(), line.end());
            }
        }
    }

    void read_one(const hdf5::Dataset& dataset, std::span<float> out, std::size_t i) const {
        if (dataset.shape() != hdf5::Shape{n_translation(), n_channel()})
            throw Error(fmt::format("{}: shape [{}] differs from the first line's [{}, {}]",
                                    dataset.describe(), fmt::join(dataset.shape(), ", "),
                                    n_translation(), n_channel()));
        dataset.read_with_gaps({hdf5::Shape(dataset.rank(), 0), dataset.shape()}, out);
        check_finite(out, dataset.describe());
        place(out, n_channel(), i);
    }

    const ConditionJob job_;
    std::vector<unsigned char> present_;
    std::vector<unsigned char> reversed_; ///< stored from high to low positions
    std::vector<std::ptrdiff_t> begins_;  ///< point of the grid at which the line begins
    std::vector<unsigned char> off_grid_; ///< [line][translation] as stored, turned; empty: none
};

} // namespace

std::unique_ptr<ConditionInput> detail::open_lines(const ConditionJob& job) {
    return std::make_unique<LinesInput>(job);
}

} // namespace xrdct::condition
