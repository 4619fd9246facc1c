// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "mpi/hdf5/hdf5.hpp"
#include "mpi/nexus/nexus.hpp"
#include "support/program.hpp"
#include "support/temporary_directory.hpp"
#include "support/test_data.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

namespace xrdct::test {

/// "name000012.h5"
inline std::string fmt_name(const std::string& begin, std::size_t number, std::size_t width,
                            const std::string& end) {
    const std::string digits = std::to_string(number);
    return begin + std::string(width > digits.size() ? width - digits.size() : 0, '0') + digits +
           end;
}

/// A scan in memory, [rotation][translation][channel].
struct Scan3 {
    std::size_t n_r = 0, n_t = 0, n_k = 0;
    std::vector<double> rotation, translation, two_theta;
    std::vector<float> intensity, errors;
    std::vector<double> transmission;

    float& at(std::size_t r, std::size_t t, std::size_t k) {
        return intensity[(r * n_t + t) * n_k + k];
    }
    float at(std::size_t r, std::size_t t, std::size_t k) const {
        return intensity[(r * n_t + t) * n_k + k];
    }
    float error(std::size_t r, std::size_t t, std::size_t k) const {
        return errors[(r * n_t + t) * n_k + k];
    }
};

inline Scan3 read_scan(const std::filesystem::path& path) {
    const auto file = hdf5::File::open(path, hdf5::Access::read_only);
    const auto data = file.root().open_group("entry/data");
    Scan3 scan;
    const auto intensity = data.open_dataset("intensity");
    scan.n_r = intensity.shape()[0];
    scan.n_t = intensity.shape()[1];
    scan.n_k = intensity.shape()[2];
    scan.intensity = intensity.read_all<float>();
    scan.rotation = data.open_dataset("rotation_angle").read_all<double>();
    scan.translation = data.open_dataset("translation").read_all<double>();
    scan.two_theta = data.open_dataset("two_theta").read_all<double>();
    if (data.has_dataset("intensity_errors"))
        scan.errors = data.open_dataset("intensity_errors").read_all<float>();
    if (data.has_dataset("transmission"))
        scan.transmission = data.open_dataset("transmission").read_all<double>();
    return scan;
}

/// A disc with a bright rim and an off-centre inclusion in air, without noise: smooth enough to
/// interpolate, different on both sides of the axis. One peak on a flat pattern.
inline Scan3 disc_scan(std::size_t n_r, std::size_t n_t, std::size_t n_k, double axis = 0,
                       double air = 0) {
    Scan3 scan;
    scan.n_r = n_r;
    scan.n_t = n_t;
    scan.n_k = n_k;
    for (std::size_t r = 0; r < n_r; ++r)
        scan.rotation.push_back(180.0 * static_cast<double>(r) / static_cast<double>(n_r));
    for (std::size_t t = 0; t < n_t; ++t)
        scan.translation.push_back(0.1 * (static_cast<double>(t) - 0.5 * static_cast<double>(n_t)));
    for (std::size_t k = 0; k < n_k; ++k)
        scan.two_theta.push_back(1 + 0.02 * static_cast<double>(k));
    const double radius = 0.036 * static_cast<double>(n_t);
    const auto chord = [](double r, double s) {
        return r > std::abs(s) ? 2 * std::sqrt(r * r - s * s) : 0.0;
    };
    scan.intensity.resize(n_r * n_t * n_k);
    for (std::size_t r = 0; r < n_r; ++r) {
        const double omega = scan.rotation[r] * 3.14159265358979 / 180;
        const double centre = 0.45 * radius * std::cos(omega) + 0.2 * radius * std::sin(omega);
        for (std::size_t t = 0; t < n_t; ++t) {
            const double s = scan.translation[t] - axis;
            const double body = chord(radius, s), spot = chord(0.4 * radius, s - centre);
            for (std::size_t k = 0; k < n_k; ++k) {
                const double x = (static_cast<double>(k) - 0.5 * static_cast<double>(n_k)) / 2.5;
                scan.at(r, t, k) = static_cast<float>(100 * body * (0.3 + std::exp(-0.5 * x * x)) +
                                                      150 * spot * (x < 0 ? 1 : 0.5) + air);
            }
        }
    }
    return scan;
}

/// Writes frames as xrdct integrate does: /entry/patterns.
struct PatternsFile {
    std::size_t n_k = 0;
    std::vector<double> two_theta;
    std::vector<float> intensity; ///< [frame][channel]
    std::vector<double> rotation_angle, translation, monitor, exposure_time, transmission, pixels;
    std::string units;
    double wavelength = 0.12, distance = 1000;
    bool pixels_per_frame = false; ///< `pixels` [frame, channel], all frames alike

    void write(const std::filesystem::path& path) const {
        auto file = hdf5::File::open(path, hdf5::Access::create);
        auto root = file.root();
        nexus::write_root(root, "test", "abc", "2020-01-01T00:00:00Z");
        auto entry = nexus::require_class(root, "entry", "NXentry");
        auto data = nexus::require_data(entry, "patterns", "intensity", {"frame", "two_theta"});
        const std::size_t frames = intensity.size() / n_k;
        auto stored = data.create_dataset("intensity", hdf5::ElementType::float32, {frames, n_k});
        stored.write(intensity);
        if (!units.empty())
            stored.set_attribute("units", units);
        nexus::write_axis(data, "two_theta", two_theta, {"deg", ""});
        for (const auto& [name, values, unit] :
             {std::tuple{"rotation_angle", &rotation_angle, "deg"},
              {"translation", &translation, "mm"},
              {"monitor", &monitor, ""},
              {"exposure_time", &exposure_time, "s"},
              {"transmission", &transmission, ""},
              {"pixels", &pixels, ""}})
            if (!values->empty() && !(pixels_per_frame && values == &pixels))
                nexus::write_axis(data, name, *values, {unit, ""});
        if (pixels_per_frame) {
            std::vector<double> all;
            for (std::size_t i = 0; i < frames; ++i)
                all.insert(all.end(), pixels.begin(), pixels.end());
            data.write_array("pixels", {frames, n_k}, std::span<const double>(all));
        }
        data.set_attribute("incident_wavelength", wavelength);
        data.set_attribute("distance", distance);
        data.set_attribute("solid_angle_corrected", 1);
        nexus::set_default(data);
    }
};

class ConditionTest : public ::testing::Test {
  public:
    /// Frames of a scan in the order of a zigzag, odd lines driven backwards and displaced by `lag`
    /// steps; without positions.
    static PatternsFile frames_of(const Scan3& scan, std::ptrdiff_t lag = 0) {
        PatternsFile file;
        file.n_k = scan.n_k;
        file.two_theta = scan.two_theta;
        for (std::size_t r = 0; r < scan.n_r; ++r)
            for (std::size_t i = 0; i < scan.n_t; ++i) {
                const bool back = r % 2 == 1;
                // A frame labelled t was taken at t − lag.
                std::ptrdiff_t t =
                    static_cast<std::ptrdiff_t>(back ? scan.n_t - 1 - i : i) - (back ? lag : 0);
                t = std::min(std::max<std::ptrdiff_t>(t, 0),
                             static_cast<std::ptrdiff_t>(scan.n_t) - 1);
                for (std::size_t k = 0; k < scan.n_k; ++k)
                    file.intensity.push_back(scan.at(r, static_cast<std::size_t>(t), k));
            }
        return file;
    }

  protected:
    const std::filesystem::path& folder() const { return folder_.path(); }
    std::filesystem::path job() const { return folder() / "condition.toml"; }
    std::filesystem::path product() const { return folder() / "conditioned" / "condition.nxs"; }

    ProcessResult condition(const std::string& text,
                            const std::vector<std::string>& more = {"--no-pictures"}) {
        write_text(job(), text);
        std::vector<std::string> arguments{"condition", job().string()};
        arguments.insert(arguments.end(), more.begin(), more.end());
        return run_xrdct(arguments, 0, 120);
    }
    /// Runs and expects success; the scan that was written.
    Scan3 conditioned(const std::string& text,
                      const std::vector<std::string>& more = {"--no-pictures"}) {
        const auto result = condition(text, more);
        errors_ = result.errors;
        EXPECT_EQ(result.exit_code, 0) << result.errors;
        return result.exit_code == 0 ? read_scan(product()) : Scan3{};
    }
    /// Runs and expects the common failure, with nothing written.
    void refused(const std::string& text, const std::vector<std::string>& words) {
        const auto result = condition(text);
        EXPECT_EQ(result.exit_code, 1) << result.errors;
        EXPECT_EQ(result.errors.find("internal error"), std::string::npos) << result.errors;
        EXPECT_NE(result.errors.find("xrdct: error:"), std::string::npos) << result.errors;
        for (const auto& word : words)
            EXPECT_NE(result.errors.find(word), std::string::npos) << "'" << word << "' not in:\n"
                                                                   << result.errors;
        EXPECT_FALSE(std::filesystem::exists(product()));
    }
    void expect_said(const std::string& words) const {
        EXPECT_NE(errors_.find(words), std::string::npos) << "'" << words << "' not in:\n"
                                                          << errors_;
    }
    const std::string& said() const { return errors_; }

  private:
    TemporaryDirectory folder_;
    std::string errors_;
};

} // namespace xrdct::test
