#include "jobs/condition_input.hpp"

#include "base/error.hpp"
#include "base/units.hpp"
#include "conditioning/arrangement.hpp"
#include "jobs/pattern_file.hpp"
#include "jobs/scan.hpp"
#include "mpi/hdf5.hpp"
#include "mpi/nexus.hpp"
#include "mpi/sinogram_file.hpp"
#include "mpi/units.hpp"

#include <algorithm>
#include <cmath>
#include <map>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace xrdct {

namespace {

constexpr float missing = std::numeric_limits<float>::quiet_NaN();

void check_finite(std::span<const float> values, const std::string& where) {
    for (std::size_t i = 0; i < values.size(); ++i)
        if (std::isinf(values[i]))
            throw Error(fmt::format("{}: infinite value at index {}; missing points are marked "
                                    "with NaN",
                                    where, i));
}

/// Evenly spaced values of a range of the job.
std::vector<double> stated_axis(const std::vector<double>& range, bool closed, std::size_t n) {
    std::vector<double> values;
    const double steps = n > 1 ? static_cast<double>(closed ? n - 1 : n) : 1;
    for (std::size_t i = 0; i < n; ++i)
        values.push_back(range[0] + (range[1] - range[0]) * static_cast<double>(i) / steps);
    return values;
}

/// A dataset by the path the job gives (below the group, or below the root) or by a usual name in
/// the group.
std::optional<hdf5::Dataset> find_dataset(const hdf5::Group& root, const hdf5::Group& group,
                                          const std::string& given,
                                          std::initializer_list<const char*> usual) {
    if (!given.empty())
        return given.front() != '/' && group.has_dataset(given) ? group.open_dataset(given)
                                                                : root.open_dataset(given);
    for (const char* name : usual)
        if (group.has_dataset(name))
            return group.open_dataset(name);
    return std::nullopt;
}

std::vector<double> vector_of(const hdf5::Dataset& dataset, std::size_t n, const char* what) {
    if (!dataset.is_numeric() || dataset.size() != n)
        throw Error(fmt::format("{}: expected {} numbers, one for each {}, found shape [{}]",
                                dataset.describe(), n, what, fmt::join(dataset.shape(), ", ")));
    auto values = dataset.read_all<double>();
    for (std::size_t i = 0; i < values.size(); ++i)
        if (std::isinf(values[i]))
            throw Error(fmt::format("{}: value {} is infinite", dataset.describe(), i));
    return values;
}

std::vector<double> in_unit(std::vector<double> values, nexus::Quantity quantity,
                            const std::string& given, const hdf5::Dataset& dataset) {
    std::string unit = given;
    if (unit.empty() && dataset.has_attribute("units"))
        unit = dataset.string_attribute("units").value_or("");
    if (!unit.empty()) {
        const double factor = nexus::unit_factor(quantity, unit, dataset.describe());
        for (double& value : values)
            value *= factor;
    }
    return values;
}

/// A number that stands as an attribute or dataset in the group, or in a class of the entry.
std::optional<double> find_number(const hdf5::Group& root, const hdf5::Group& group,
                                  const char* name, const char* nx_class,
                                  nexus::Quantity quantity) {
    std::optional<double> value;
    std::string where, unit;
    const auto take = [&](const hdf5::Dataset& dataset) {
        value = dataset.read_scalar();
        where = dataset.describe();
        unit = dataset.string_attribute("units").value_or("");
    };
    if (group.has_attribute(name)) {
        value = group.number_attribute(name);
        where = group.describe() + "/@" + name;
    } else if (group.has_dataset(name)) {
        take(group.open_dataset(name));
    } else {
        for (const auto& path : nexus::groups_of_class(root, nx_class, 5))
            if (const auto one = root.open_group(path); !value && one.has_dataset(name))
                take(one.open_dataset(name));
    }
    if (!value)
        return value;
    if (!unit.empty())
        *value *= nexus::unit_factor(quantity, unit, where);
    if (!(*value > 0) || !std::isfinite(*value))
        throw Error(fmt::format("{}: must be positive, is {}", where, *value));
    return value;
}

/// Wavelength, distance, radial axis, pixels and texts of a file with patterns or lines.
void read_description(ConditionInput& input, const ConditionJob& job, const hdf5::Group& root,
                      const hdf5::Group& group, const hdf5::Dataset& intensity) {
    if (!std::isnan(job.geometry.wavelength))
        input.wavelength = job.geometry.wavelength;
    else if (!std::isnan(job.geometry.energy))
        input.wavelength = wavelength_from_energy(job.geometry.energy);
    else if (const auto value = find_number(root, group, "incident_wavelength", "NXbeam",
                                            nexus::Quantity::wavelength))
        input.wavelength = *value;
    else if (const auto energy =
                 find_number(root, group, "incident_energy", "NXbeam", nexus::Quantity::energy))
        input.wavelength = wavelength_from_energy(*energy);
    else if (const auto other = find_number(root, group, "wavelength", "NXmonochromator",
                                            nexus::Quantity::wavelength))
        input.wavelength = *other;
    if (!std::isnan(job.geometry.distance))
        input.distance = job.geometry.distance;
    else if (const auto value =
                 find_number(root, group, "distance", "NXdetector", nexus::Quantity::length))
        input.distance = *value;

    const std::size_t n = intensity.shape().back();
    std::optional<hdf5::Dataset> axis = find_dataset(
        root, group, job.input.radial,
        {"two_theta", "tth", "2th", "2theta", "q", "radial", "radius", "r", "polar_angle"});
    if (!axis)
        throw Error(fmt::format("{}: no radial axis (two_theta, q, radius) beside it; name the "
                                "dataset in input.radial",
                                intensity.describe()));
    auto values = vector_of(*axis, n, "channel");
    std::string unit = job.input.radial_unit;
    for (const char* name : {"units", "unit"}) // pyFAI writes the second
        if (unit.empty())
            unit = axis->string_attribute(name).value_or("");
    if (unit.empty()) {
        const auto name = axis->path().substr(axis->path().rfind('/') + 1);
        if (name.find("th") == std::string::npos)
            throw Error(fmt::format("{}: has no unit; state it in input.radial_unit (deg, "
                                    "1/angstrom, 1/nm, mm)",
                                    axis->describe()));
        unit = "deg";
    }
    const auto kind = parse_radial_unit(unit, axis->describe());
    for (std::size_t k = 0; k < n; ++k) {
        double& value = values[k];
        if (!std::isfinite(value) || value < 0)
            throw Error(fmt::format("{}: value {} is {}", axis->describe(), k, value));
        if (kind == RadialUnit::q || kind == RadialUnit::q_inverse_nanometre) {
            if (std::isnan(input.wavelength))
                throw Error(fmt::format("{}: a scattering vector becomes 2theta with the "
                                        "wavelength; state geometry.wavelength or geometry.energy",
                                        axis->describe()));
            const double q = kind == RadialUnit::q ? value : 0.1 * value;
            const double sine = q * input.wavelength / (4 * pi);
            if (sine >= 1)
                throw Error(fmt::format("{}: {} {} cannot be reached with the wavelength {} "
                                        "angstrom; check the units",
                                        axis->describe(), value, unit, input.wavelength));
            value = 2 * degrees(std::asin(sine));
        } else if (kind == RadialUnit::radius) {
            if (std::isnan(input.distance))
                throw Error(fmt::format("{}: a radius becomes 2theta with the distance; state "
                                        "geometry.distance",
                                        axis->describe()));
            value = degrees(std::atan2(value, input.distance));
        } else if (kind == RadialUnit::two_theta_radian) {
            value = degrees(value);
        } else if (kind == RadialUnit::d_spacing) {
            throw Error(fmt::format("{}: a scan's radial axis is 2theta, q or radius, not d",
                                    axis->describe()));
        }
        if (k > 0 && !(value > values[k - 1]))
            throw Error(fmt::format("{}: the radial axis must rise, it does not at channel {}",
                                    axis->describe(), k));
    }
    input.two_theta = std::move(values);
    if (const auto pixels = find_dataset(root, group, job.input.pixels, {"pixels"}))
        input.pixels = vector_of(*pixels, n, "channel");
    input.intensity_units = intensity.string_attribute("units").value_or("");
    for (const auto& [name, target] :
         {std::pair{"solid_angle_corrected", &input.solid_angle_corrected},
          {"polarization_corrected", &input.polarization_corrected}})
        for (const hdf5::Object* object : {static_cast<const hdf5::Object*>(&group),
                                           static_cast<const hdf5::Object*>(&intensity)})
            if (!*target && object->has_attribute(name))
                *target = object->number_attribute(name).value_or(0) != 0;
    for (const auto& path : nexus::groups_of_class(root, "NXentry", 2))
        if (input.title.empty())
            input.title = nexus::read_text(root.open_group(path), "title").value_or("");
}

hdf5::Dataset open_intensity(const hdf5::Group& root, const std::string& given) {
    if (!given.empty())
        return root.open_dataset(given);
    const auto data = nexus::default_data(root);
    const auto signal = data ? nexus::signal_of(*data) : std::nullopt;
    if (!signal)
        throw Error(root.file_path().string() +
                    ": no NXdata group with @signal was found by @default; name the dataset in "
                    "input.intensity");
    return data->open_dataset(*signal);
}

/// Monitor or transmission of a file of its own, [rotation, translation] in either order.
std::vector<double> read_counter_plane(const std::filesystem::path& path,
                                       const std::string& dataset, std::size_t n_rotation,
                                       std::size_t n_translation) {
    const auto file = hdf5::File::open(path, hdf5::Access::read_only);
    const auto data = file.root().open_dataset(dataset);
    auto values = vector_of(data, n_rotation * n_translation, "point");
    if (data.shape() == hdf5::Shape{n_translation, n_rotation} && n_rotation != n_translation) {
        std::vector<double> turned(values.size());
        for (std::size_t t = 0; t < n_translation; ++t)
            for (std::size_t r = 0; r < n_rotation; ++r)
                turned[r * n_translation + t] = values[t * n_rotation + r];
        return turned;
    }
    return values;
}

class SinogramInput final : public ConditionInput {
  public:
    explicit SinogramInput(const ConditionJob& job) : file_(open_file(job)) {
        const auto& m = file_.metadata();
        rotation = m.rotation;
        translation = m.translation;
        two_theta = m.two_theta;
        wavelength = m.wavelength;
        distance = m.distance;
        beam_extent = m.beam_extent;
        has_errors = m.has_errors;
        if (m.has_pixels)
            pixels = file_.read_pixels();
        if (m.has_monitor)
            monitor = file_.read_monitor();
        if (m.has_transmission)
            transmission = file_.read_transmission();
        intensity_units = m.intensity_units;
        title = m.title;
        sample_name = m.sample_name;
        start_time = m.start_time;
        files.push_back(job.input.file);
        if (!job.counter_file.empty()) {
            files.push_back(job.counter_file);
            for (const auto& [name, target] : {std::pair{&job.input.monitor, &monitor},
                                               {&job.input.transmission, &transmission}})
                if (!name->empty())
                    *target =
                        read_counter_plane(job.counter_file, *name, n_rotation(), n_translation());
        }
        const auto file = hdf5::File::open(job.input.file, hdf5::Access::read_only);
        if (!job.exposure.empty()) {
            exposure = vector_of(file.root().open_dataset(job.exposure),
                                 n_rotation() * n_translation(), "point");
        }
        what = fmt::format("a sinogram stored as [{}]", fmt::join(file_.stored_order(), ", "));
        row_chunk = std::max<std::size_t>(1, file_.chunk()[0]);
    }

    void read_lines(std::size_t begin, std::size_t end, std::span<float> values,
                    std::span<float> errors) override {
        file_.read_rows({begin, end}, {0, n_channel()}, values);
        if (!errors.empty())
            file_.read_rows({begin, end}, {0, n_channel()}, errors, mpi::SinogramArray::errors);
    }

  private:
    static mpi::SinogramFile open_file(const ConditionJob& job) {
        auto input = job.input;
        if (!job.counter_file.empty()) {
            input.monitor.clear();
            input.transmission.clear();
        }
        auto source = sinogram_source(input, job.geometry);
        source.require_wavelength = source.require_distance = false;
        return mpi::SinogramFile::open(job.input.file, source);
    }

    mpi::SinogramFile file_;
};

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
                                           nexus::Quantity::angle, job.input.rotation_unit, *turns);
            const auto translations =
                in_unit(vector_of(*places, frames, "frame"), nexus::Quantity::length,
                        job.input.translation_unit, *places);
            try {
                grid_ = arrange_by_position(rotations, translations, job.tolerance);
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
                grid_ = arrange_in_order(
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
                std::fill_n(target, channels, missing);
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
            dataset.read(hdf5::Selection{{frame, 0}, {n, channels}}, out);
            return;
        }
        for (std::size_t done = 0; done < n;) {
            const std::size_t row = (frame + done) / per_row_, column = (frame + done) % per_row_;
            const std::size_t part = std::min(n - done, per_row_ - column);
            dataset.read(hdf5::Selection{{row, column, 0}, {1, part, channels}},
                         out.subspan(done * channels, part * channels));
            done += part;
        }
    }

    hdf5::File file_;
    hdf5::Dataset intensity_;
    std::optional<hdf5::Dataset> errors_;
    std::size_t per_row_ = 0; ///< frames per row of a three-dimensional array
    FrameGrid grid_;
};

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
                std::ranges::fill(out, missing);
                std::ranges::fill(out_errors, missing);
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
        if (!in.rotation_range.empty()) {
            rotation = stated_axis(in.rotation_range, in.rotation_range_closed, n);
        } else if (!in.rotation.empty()) {
            for (std::size_t i = 0; i < n; ++i) {
                rotation.push_back(std::numeric_limits<double>::quiet_NaN());
                if (!present_[i])
                    continue;
                const auto file = hdf5::File::open(line_file(i), hdf5::Access::read_only);
                const auto dataset = file.root().open_dataset(number_name(in.rotation, i));
                auto values = in_unit(dataset.read_all<double>(), nexus::Quantity::angle,
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
                              nexus::Quantity::length, in.translation_unit, *dataset);
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

    /// Every line's own positions: in which sense it was driven, and that they are those of the
    /// grid.
    void check_translations() {
        const double step = (translation.back() - translation.front()) /
                            static_cast<double>(translation.size() - 1);
        for (std::size_t i = 0; i < present_.size(); ++i) {
            if (!present_[i])
                continue;
            const auto file = hdf5::File::open(line_file(i), hdf5::Access::read_only);
            const auto dataset = file.root().open_dataset(number_name(job_.input.translation, i));
            auto values = in_unit(vector_of(dataset, translation.size(), "translation"),
                                  nexus::Quantity::length, job_.input.translation_unit, dataset);
            reversed_[i] = values.back() < values.front() ? 1 : 0;
            if (reversed_[i])
                std::ranges::reverse(values);
            std::vector<double> off;
            for (std::size_t t = 0; t < values.size(); ++t)
                off.push_back((values[t] - translation[t]) / step);
            for (std::size_t t = 0; t < off.size(); ++t)
                if (!(std::abs(off[t]) <= std::max(job_.tolerance, 1.5)))
                    throw Error(fmt::format(
                        "{}: translation {} lies {:.2f} steps off that of the other lines",
                        dataset.describe(), t, off[t]));
        }
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
                    if (reversed_[i])
                        std::ranges::reverse(line);
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
        dataset.read(out);
        check_finite(out, dataset.describe());
        if (reversed_[i])
            for (std::size_t a = 0; a < n_translation() / 2; ++a)
                std::swap_ranges(out.begin() + static_cast<std::ptrdiff_t>(a * n_channel()),
                                 out.begin() + static_cast<std::ptrdiff_t>((a + 1) * n_channel()),
                                 out.begin() + static_cast<std::ptrdiff_t>(
                                                   (n_translation() - 1 - a) * n_channel()));
    }

    const ConditionJob job_;
    std::vector<unsigned char> present_;
    std::vector<unsigned char> reversed_; ///< stored from high to low positions
};

} // namespace

std::unique_ptr<ConditionInput> ConditionInput::open(const ConditionJob& job) {
    auto kind = job.kind;
    if (kind == ConditionKind::automatic) {
        if (is_numbered(job.input.file.string()) || is_numbered(job.input.intensity)) {
            kind = ConditionKind::lines;
        } else {
            const auto file = hdf5::File::open(job.input.file, hdf5::Access::read_only);
            const auto intensity = open_intensity(file.root(), job.input.intensity);
            kind = intensity.rank() == 2 ? ConditionKind::patterns : ConditionKind::sinogram;
        }
    }
    if (kind == ConditionKind::lines)
        return std::make_unique<LinesInput>(job);
    if (kind == ConditionKind::patterns)
        return std::make_unique<PatternsInput>(job);
    return std::make_unique<SinogramInput>(job);
}

} // namespace xrdct
