// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "mpi/hdf5/hdf5.hpp"
#include "mpi/nexus/nexus.hpp"

#include <array>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

namespace xrdct::test {

/// A small scan file whose every value tells its indices; for tests of readers.
struct SampleScan {
    std::size_t n_rotation = 5;
    std::size_t n_translation = 7;
    std::size_t n_channel = 11;
    /// Stored order, slowest first: 0 rotation, 1 translation, 2 channel.
    std::array<int, 3> order{0, 1, 2};
    hdf5::ElementType type = hdf5::ElementType::float32;
    hdf5::Storage storage{};
    bool with_errors = true;

    std::array<std::size_t, 3> extent() const { return {n_rotation, n_translation, n_channel}; }
    static double value(std::size_t r, std::size_t t, std::size_t k) {
        return 10000.0 * static_cast<double>(r) + 100.0 * static_cast<double>(t) +
               static_cast<double>(k);
    }
    double rotation(std::size_t i) const {
        return 180.0 * static_cast<double>(i) / static_cast<double>(n_rotation);
    }
    double translation(std::size_t i) const { return -0.3 + 0.1 * static_cast<double>(i); }
    double two_theta(std::size_t i) const { return 1.0 + 0.25 * static_cast<double>(i); }

    template <class F>
    std::vector<double> axis(std::size_t n, F&& f) const {
        std::vector<double> values(n);
        for (std::size_t i = 0; i < n; ++i)
            values[i] = f(i);
        return values;
    }

    /// The intensities in stored order, `value` plus `offset`.
    std::vector<double> stored(double offset = 0) const {
        const auto n = extent();
        const auto a = static_cast<std::size_t>(order[0]);
        const auto b = static_cast<std::size_t>(order[1]);
        const auto c = static_cast<std::size_t>(order[2]);
        std::vector<double> values;
        values.reserve(n_rotation * n_translation * n_channel);
        std::array<std::size_t, 3> i{};
        for (i[a] = 0; i[a] < n[a]; ++i[a])
            for (i[b] = 0; i[b] < n[b]; ++i[b])
                for (i[c] = 0; i[c] < n[c]; ++i[c])
                    values.push_back(value(i[0], i[1], i[2]) + offset);
        return values;
    }
    hdf5::Shape stored_shape() const {
        const auto n = extent();
        return {n[static_cast<std::size_t>(order[0])], n[static_cast<std::size_t>(order[1])],
                n[static_cast<std::size_t>(order[2])]};
    }

    /// The NeXus file of the format description: wavelength 0.12 Å, distance 1000 mm, beam 0.02 ×
    /// 0.03 mm, errors, pixels, transmission and monitor.
    void write(const std::filesystem::path& path) const {
        auto file = hdf5::File::open(path, hdf5::Access::create);
        auto root = file.root();
        nexus::write_root(root, "test", "abc", nexus::now_utc());
        auto entry = nexus::require_class(root, "entry", "NXentry");
        entry.write_string("title", "a sample scan");
        auto instrument = nexus::require_class(entry, "instrument", "NXinstrument");
        auto beam = nexus::require_class(instrument, "beam", "NXbeam");
        nexus::write_value(beam, "incident_wavelength", 0.12, {"angstrom", ""});
        beam.write_array("extent", {2}, std::span<const double>(std::vector{0.02, 0.03}))
            .set_attribute("units", "mm");
        auto detector = nexus::require_class(instrument, "detector", "NXdetector");
        nexus::write_value(detector, "distance", 1000.0, {"mm", ""});
        auto sample = nexus::require_class(entry, "sample", "NXsample");
        sample.write_string("name", "cell 7");

        const std::array<std::string, 3> names = {"rotation_angle", "translation", "two_theta"};
        std::vector<std::string> axes;
        for (const int axis : order)
            axes.push_back(names[static_cast<std::size_t>(axis)]);
        auto data = nexus::require_data(entry, "data", "intensity", axes);
        const auto values = stored();
        data.create_dataset("intensity", type, stored_shape(), storage)
            .write(std::span<const double>(values));
        if (with_errors) {
            const auto errors = stored(0.5);
            data.create_dataset("intensity_errors", hdf5::ElementType::float32, stored_shape(),
                                storage)
                .write(std::span<const double>(errors));
        }
        nexus::write_axis(data, "rotation_angle",
                          axis(n_rotation, [&](std::size_t i) { return rotation(i); }),
                          {"deg", ""});
        nexus::write_axis(data, "translation",
                          axis(n_translation, [&](std::size_t i) { return translation(i); }),
                          {"mm", ""});
        nexus::write_axis(data, "two_theta",
                          axis(n_channel, [&](std::size_t i) { return two_theta(i); }),
                          {"deg", ""});
        data.write_array("pixels", {n_channel},
                         std::span<const double>(axis(n_channel, [](std::size_t i) {
                             return 100.0 + static_cast<double>(i);
                         })));
        std::vector<double> plane;
        for (std::size_t r = 0; r < n_rotation; ++r)
            for (std::size_t t = 0; t < n_translation; ++t)
                plane.push_back(1 - 0.01 * static_cast<double>(r) - 0.001 * static_cast<double>(t));
        data.write_array("transmission", {n_rotation, n_translation},
                         std::span<const double>(plane));
        data.write_array("monitor", {n_rotation, n_translation}, std::span<const double>(plane));
        nexus::set_default(data);
    }
};

} // namespace xrdct::test
