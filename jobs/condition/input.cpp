// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/condition/input.hpp"

#include "jobs/condition/source.hpp"
#include "jobs/pipeline/scan.hpp"
#include "mpi/scan/sinogram_file.hpp"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace xrdct::condition {

using namespace detail;

namespace {

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
        notes = m.notes;
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
        const auto intensity = open_intensity(file.root(), job.input.intensity);
        const auto group = parent_of(intensity);
        read_corrections(*this, group, intensity);
        if (const auto times = find_dataset(file.root(), group, job.exposure, {"exposure_time"}))
            exposure = vector_of(*times, n_rotation() * n_translation(), "point");
        what = fmt::format("a sinogram stored as [{}]", fmt::join(file_.stored_order(), ", "));
        row_chunk = std::max<std::size_t>(1, file_.chunk()[0]);
    }

    void read_lines(std::size_t begin, std::size_t end, std::span<float> values,
                    std::span<float> errors) override {
        file_.read_rows({begin, end}, {0, n_channel()}, values);
        if (!errors.empty())
            file_.read_rows({begin, end}, {0, n_channel()}, errors, scan::SinogramArray::errors);
    }

  private:
    static scan::SinogramFile open_file(const ConditionJob& job) {
        auto input = job.input;
        if (!job.counter_file.empty()) {
            input.monitor.clear();
            input.transmission.clear();
        }
        auto source = pipeline::sinogram_source(input, job.geometry);
        source.require_wavelength = source.require_distance = false;
        return scan::SinogramFile::open(job.input.file, source);
    }

    scan::SinogramFile file_;
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
        return open_lines(job);
    if (kind == ConditionKind::patterns)
        return open_patterns(job);
    return std::make_unique<SinogramInput>(job);
}

} // namespace xrdct::condition
