// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "conditioning/outliers.hpp"
#include "conditioning/output_grid.hpp"
#include "conditioning/stripes.hpp"
#include "jobs/condition/input.hpp"
#include "jobs/condition/job.hpp"
#include "jobs/condition/line_source.hpp"
#include "jobs/program/progress.hpp"
#include "mpi/hdf5/hdf5.hpp"
#include "tomography/rotation_axis.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace xrdct::condition {

/// What one step found and did.
struct ConditionStep {
    std::string name;
    std::string state; ///< "done", "off", "nothing found", "found, left as it is"
    std::string text;  ///< in words
    nlohmann::json details;
};

/// A map or curve for the record and the report. Maps: [rotation][translation] on the axes given.
struct ConditionMap {
    std::string name, title, quantity;
    std::vector<double> values, rotation, translation;
};
struct ConditionCurve {
    std::string name, quantity;
    std::vector<double> x, y;
};

/// "3, 17, 20", the first dozen.
std::string list_text(const std::vector<std::size_t>& which);

/// Conditions one scan in passes over its lines, a block of rotations at a time. What is held whole
/// has two axes at most: maps over [rotation, translation] and patterns. Serial.
class Conditioner {
  public:
    /// `block_bytes` bounds what is read at a time.
    Conditioner(const ConditionJob& job, ConditionInput& input, std::uint64_t block_bytes);

    /// All passes but the last: afterwards everything is known that is to be done.
    void examine();
    /// The axes of the scan that will be written.
    const std::vector<double>& rotation() const { return grid_.rotation; }
    const std::vector<double>& translation() const { return grid_.places; }
    const std::vector<double>& two_theta() const { return grid_.two_theta; }
    std::vector<double> pixels() const;
    /// [rotation][translation] of the scan that is written; empty: none.
    std::vector<double> transmission() const;
    double axis() const { return axis_; } ///< mm, on the translations as recorded
    bool writes_errors() const { return write_errors_; }
    const std::string& noise_description() const { return noise_text_; }
    /// The last pass: lines into datasets [rotation, translation, channel].
    void write(hdf5::Dataset& intensity, hdf5::Dataset* errors);

    const std::vector<ConditionStep>& steps() const { return steps_; }
    const std::vector<std::string>& warnings() const { return warnings_; }
    /// Pictures before and after, in the order of the steps.
    const std::vector<ConditionMap>& maps() const { return maps_; }

    /// Per rotation kept, before crop and binning.
    const std::vector<std::vector<conditioning::Outlier>>& spots() const { return spots_; }
    const std::vector<unsigned char>& dead_channels() const { return lines_.steps.dead; }
    const std::vector<double>& mean_before() const { return mean_before_; }
    std::vector<double> mean_after() const; ///< of what was written, on two_theta()
    const std::vector<double>& air() const {
        return lines_.steps.air.pattern;
    } ///< empty: none subtracted
    const std::vector<float>& stripe_factors() const { return stripes_.factor; }
    const std::vector<float>& scaling_factors() const { return scale_; }
    /// Axes of the arranged scan before crop and binning.
    const std::vector<double>& full_rotation() const { return rotation_; }
    const std::vector<double>& full_translation() const { return input_.translation; }

  private:
    void choose_noise();
    void find_flux();
    void find_exposure();
    void survey();
    void decide_flip();
    void decide_lag();
    void show_arrangement();
    void arrange_transmission();
    void find_channels();
    void find_air();
    void subtract_pattern();
    void subtract_edges();
    void find_spots();
    /// Spots of one row, from the lines about it.
    std::vector<conditioning::Outlier> spots_of(std::size_t row,
                                                const conditioning::OutlierOptions& options);
    /// Says what was found: values, those too high, points and rotations. `before`
    /// [row][translation] without the treatment.
    void report_spots(const std::vector<float>& before, std::uint64_t found, std::size_t high,
                      std::size_t points, std::size_t rows);
    void find_gains();
    void find_stripes(const tomography::ScanGeometry& geometry, double axis);
    void find_scaling();
    void find_axis(const tomography::ScanGeometry& geometry,
                   const std::optional<tomography::AxisResult>& found);
    void choose_output();

    /// Counts a line that was written in mean_after() and appends its means over the channels.
    void add_written(std::span<const float> line, std::vector<float>& map);
    std::vector<float> arranged(const std::vector<float>& plane) const;
    /// Rows that are kept of a plane [stored line][translation], as they lie.
    std::vector<float> kept(const std::vector<float>& plane) const;
    void add_step(std::string name, std::string state, std::string text,
                  nlohmann::json details = nlohmann::json::object());
    void add_map(std::string name, std::string title, std::span<const float> values);
    std::size_t n_row() const { return lines_.steps.rows.size(); }

    const ConditionJob& job_;
    ConditionInput& input_;
    std::size_t n_t_, n_k_;
    LineSource lines_;
    std::vector<double> rotation_; ///< of the kept lines
    bool write_errors_ = false;
    std::string noise_text_;

    // What is held whole: maps and patterns.
    std::vector<float> raw_total_, flux_total_; ///< [stored line][translation]
    std::vector<double> mean_before_;           ///< [channel]
    std::vector<std::vector<conditioning::Outlier>> spots_;
    std::vector<float> total_; ///< [row][translation] after spots
    conditioning::Stripes stripes_;
    std::vector<float> scale_; ///< [row]
    double axis_ = 0;
    conditioning::OutputGrid grid_;
    std::vector<double> sum_after_, count_after_;

    std::vector<ConditionStep> steps_;
    std::vector<std::string> warnings_;
    std::vector<ConditionMap> maps_;
    std::unique_ptr<program::Progress> progress_;
    std::size_t done_ = 0;
};

} // namespace xrdct::condition
