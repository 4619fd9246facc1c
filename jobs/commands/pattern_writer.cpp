// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/commands/pattern_writer.hpp"

#include "mpi/nexus/nexus.hpp"

#include <cmath>

namespace xrdct::commands {

namespace {

/// Per-frame values on the points of the grid.
std::vector<double> on_grid(const std::vector<double>& values, const frames::ScanGrid& grid) {
    std::vector<double> result(values.size());
    for (std::size_t i = 0; i < values.size(); ++i)
        result[grid.point[i]] = values[i];
    return result;
}

const char* unit_of(const std::string& kind) {
    return kind == "rotation_angle"                    ? "deg"
           : kind == "translation"                     ? "mm"
           : kind == "exposure_time" || kind == "time" ? "s"
                                                       : "";
}

} // namespace

PatternWriter::PatternWriter(const std::filesystem::path& path, bool force,
                             const PatternsInfo& info, const program::Provenance& provenance,
                             const mpi::Communicator& communicator)
    : product_(nexus::ProductFile::create(path,
                                          force ? nexus::ProductFile::Existing::replace
                                                : nexus::ProductFile::Existing::refuse,
                                          &communicator)),
      channels_(info.two_theta.size()), grid_(info.grid) {
    process_.emplace(write_provenance(product_.root(), provenance, info.title));
    auto entry = product_.root().open_group("entry");
    auto instrument = nexus::require_class(entry, "instrument", "NXinstrument");
    auto beam = nexus::require_class(instrument, "beam", "NXbeam");
    if (info.wavelength > 0)
        nexus::write_value(beam, "incident_wavelength", info.wavelength, {"angstrom", ""});
    auto detector = nexus::require_class(instrument, "detector", "NXdetector");
    nexus::write_value(detector, "distance", info.distance, {"mm", ""});

    auto data = grid_ ? nexus::require_data(entry, "data", "intensity",
                                            {"rotation_angle", "translation", "two_theta"})
                      : nexus::require_data(entry, "patterns", "intensity", {".", "two_theta"});
    data.set_attribute("solid_angle_corrected", info.solid_angle_corrected ? 1 : 0);
    data.set_attribute("polarization_corrected", info.polarization_corrected ? 1 : 0);
    if (info.wavelength > 0)
        data.set_attribute("incident_wavelength", info.wavelength);
    data.set_attribute("distance", info.distance);
    nexus::write_axis(data, "two_theta", info.two_theta, {"deg", "2theta"});
    if (info.unit != integration::RadialUnit::two_theta)
        nexus::write_axis(data, info.unit == integration::RadialUnit::q ? "q" : "radius",
                          info.radial, {std::string(unit_text(info.unit)), ""});

    hdf5::Shape points{info.frames};
    if (grid_)
        points = {grid_->rotation.size(), grid_->translation.size()};
    auto shape = points;
    shape.push_back(channels_);
    const auto create = [&](const char* name, hdf5::ElementType type, const hdf5::Shape& extent) {
        return data.create_dataset(name, type, extent);
    };
    intensity_.emplace(create("intensity", hdf5::ElementType::float32, shape));
    if (info.counts)
        intensity_->set_attribute("units", "counts");
    errors_.emplace(create("intensity_errors", hdf5::ElementType::float32, shape));
    // A sinogram's `pixels` is one vector: what was kept in each point goes beside it.
    if (info.pixels_per_frame)
        kept_.emplace(create(grid_ ? "kept_pixels" : "pixels", hdf5::ElementType::float32, shape));
    if (grid_ || !info.pixels_per_frame)
        data.write_array("pixels", {channels_}, std::span<const float>(info.pixels));
    invalid_.emplace(create("invalid_pixels", hdf5::ElementType::int32, points));

    auto vectors = info.vectors;
    for (const auto& [kind, values] : by_name(vectors)) {
        if (values->empty())
            continue;
        if (grid_ && (kind == "rotation_angle" || kind == "translation"))
            continue;
        auto dataset = data.write_array(
            kind, points, std::span<const double>(grid_ ? on_grid(*values, *grid_) : *values));
        if (*unit_of(kind) != '\0')
            dataset.set_attribute("units", unit_of(kind));
    }
    if (grid_) {
        nexus::write_axis(data, "rotation_angle", grid_->rotation, {"deg", "rotation angle"});
        nexus::write_axis(data, "translation", grid_->translation, {"mm", "translation"});
    }
    nexus::set_default(data);
}

void PatternWriter::write_rows(hdf5::Dataset& dataset, std::size_t first,
                               std::span<const float> values) {
    const std::size_t n = values.size() / channels_;
    if (!grid_) {
        dataset.write(hdf5::Selection{{first, 0}, {n, channels_}}, values);
        return;
    }
    // Frames that follow each other in a line of the grid are written at once.
    const std::size_t translations = grid_->translation.size();
    for (std::size_t i = 0; i < n;) {
        const std::size_t point = grid_->point[first + i];
        std::size_t count = 1;
        while (i + count < n && grid_->point[first + i + count] == point + count &&
               (point + count) % translations != 0)
            ++count;
        dataset.write(
            hdf5::Selection{{point / translations, point % translations, 0}, {1, count, channels_}},
            values.subspan(i * channels_, count * channels_));
        i += count;
    }
}

void PatternWriter::write(std::size_t first, std::span<const float> intensity,
                          std::span<const float> errors, std::span<const float> kept,
                          std::span<const std::int32_t> invalid) {
    write_rows(*intensity_, first, intensity);
    write_rows(*errors_, first, errors);
    if (kept_)
        write_rows(*kept_, first, kept);
    if (!grid_) {
        invalid_->write(hdf5::Selection{{first}, {invalid.size()}}, invalid);
        return;
    }
    const std::size_t translations = grid_->translation.size();
    for (std::size_t i = 0; i < invalid.size(); ++i) {
        const std::size_t point = grid_->point[first + i];
        invalid_->write(hdf5::Selection{{point / translations, point % translations}, {1, 1}},
                        invalid.subspan(i, 1));
    }
}

void PatternWriter::commit(const program::Timings& timings) {
    write_timings(*process_, timings);
    intensity_.reset();
    errors_.reset();
    kept_.reset();
    invalid_.reset();
    process_.reset();
    product_.commit();
}

} // namespace xrdct::commands
