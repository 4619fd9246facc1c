// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/condition/job.hpp"

#include <array>
#include <cstddef>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace xrdct::condition {

/// A recorded scan as [rotation][translation][channel], however it lies on disk: points brought to
/// their places, but lines still as they were driven and intensities as they were counted.
class ConditionInput {
  public:
    /// Opens and checks everything but the intensities themselves. Serial. Throws Error naming the
    /// file and dataset, or the key of the job.
    static std::unique_ptr<ConditionInput> open(const ConditionJob& job);
    virtual ~ConditionInput() = default;
    ConditionInput(const ConditionInput&) = delete;
    ConditionInput& operator=(const ConditionInput&) = delete;

    std::vector<double> rotation;    ///< deg
    std::vector<double> translation; ///< mm, uniform, ascending or descending
    std::vector<double> two_theta;   ///< deg, ascending
    double wavelength = std::numeric_limits<double>::quiet_NaN(); ///< Å
    double distance = std::numeric_limits<double>::quiet_NaN();   ///< mm
    std::optional<std::array<double, 2>> beam_extent;             ///< mm
    bool has_errors = false;
    bool by_position = false;   ///< the positions decided what lies where: no line runs backwards
    std::vector<double> pixels; ///< [channel]; empty: not known
    /// [rotation][translation], NaN missing; empty: not recorded.
    std::vector<double> monitor, transmission, exposure;
    std::string intensity_units, title, sample_name, start_time;
    std::optional<bool> solid_angle_corrected, polarization_corrected;
    std::string what;                         ///< how the data were taken, in words
    std::vector<std::string> notes;           ///< what is missing or was left out
    std::vector<std::filesystem::path> files; ///< everything that is read
    std::size_t missing_lines = 0;            ///< rotations of which nothing was recorded
    std::size_t missing_points = 0;           ///< single points without a frame, besides these
    std::size_t row_chunk = 1;                ///< rotations that are best read together

    std::size_t n_rotation() const { return rotation.size(); }
    std::size_t n_translation() const { return translation.size(); }
    std::size_t n_channel() const { return two_theta.size(); }

    /// Lines [begin, end) as [rotation][translation][channel], NaN where missing. `errors` has the
    /// same size, or none. Throws Error for infinite values and files that cannot be read.
    virtual void read_lines(std::size_t begin, std::size_t end, std::span<float> values,
                            std::span<float> errors) = 0;

  protected:
    ConditionInput() = default;
};

} // namespace xrdct::condition
