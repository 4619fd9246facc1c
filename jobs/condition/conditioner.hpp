#pragma once

#include "conditioning/rebinning.hpp"
#include "jobs/condition/input.hpp"
#include "jobs/condition/job.hpp"
#include "jobs/program/progress.hpp"
#include "mpi/hdf5/hdf5.hpp"
#include "tomography/rotation_axis.hpp"

#include <cstdint>
#include <deque>
#include <memory>
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
    const std::vector<double>& rotation() const { return out_rotation_; }
    const std::vector<double>& translation() const { return out_translation_; }
    const std::vector<double>& two_theta() const { return out_two_theta_; }
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
    const std::vector<unsigned char>& dead_channels() const { return dead_; }
    const std::vector<double>& mean_before() const { return mean_before_; }
    std::vector<double> mean_after() const;                 ///< of what was written, on two_theta()
    const std::vector<double>& air() const { return air_; } ///< empty: none subtracted
    const std::vector<float>& stripe_factors() const { return stripes_.factor; }
    const std::vector<float>& scaling_factors() const { return scale_; }
    /// Axes of the arranged scan before crop and binning.
    const std::vector<double>& full_rotation() const { return rotation_; }
    const std::vector<double>& full_translation() const { return input_.translation; }

  private:
    struct Line {
        std::size_t row = 0;
        std::vector<float> values, variances;
    };

    void choose_noise();
    void find_flux();
    void survey();
    void decide_arrangement();
    void find_channels();
    void find_air();
    void inspect();
    void find_gains();
    void choose_output();

    /// Line as stored, in the block that holds it: values and variances before any step.
    void read_raw(std::size_t stored, Line& line);
    /// Line `row` of the kept ones after all steps up to air scatter.
    const Line& prepared(std::size_t row);
    std::vector<float> arranged(const std::vector<float>& plane) const;
    bool is_flipped(std::size_t stored) const;
    double shift_of(std::size_t stored) const;
    double line_total(std::span<const float> point) const;
    void add_step(std::string name, std::string state, std::string text,
                  nlohmann::json details = nlohmann::json::object());
    void add_map(std::string name, std::string title, std::span<const float> values);
    std::size_t n_row() const { return rows_.size(); }

    const ConditionJob& job_;
    ConditionInput& input_;
    std::uint64_t block_bytes_;
    std::size_t n_t_, n_k_;
    std::vector<std::size_t> rows_; ///< stored lines that are kept
    std::vector<double> rotation_;  ///< of the kept lines

    std::vector<float> block_, block_errors_;
    std::size_t block_begin_ = 0, block_end_ = 0;
    std::deque<Line> ring_;

    settings::NoiseModel noise_ = settings::NoiseModel::estimate;
    bool write_errors_ = false;
    double noise_constant_ = 0; ///< variance over intensity, for the estimate
    std::string noise_text_;

    std::vector<float> flux_;                   ///< [stored line][translation]; empty: none
    std::vector<double> exposure_;              ///< s, the same, for the dead time
    std::vector<float> raw_total_, flux_total_; ///< [stored line][translation]
    std::size_t saturated_ = 0;
    FlipLines flip_ = FlipLines::none;
    double lag_ = 0;
    std::vector<double> transmission_; ///< [row][translation]
    std::vector<unsigned char> dead_;  ///< [channel]
    std::vector<double> mean_before_;
    std::vector<double> air_, air_variance_;
    bool surveyed_ = false; ///< dead channels and arrangement are known
    std::vector<std::vector<conditioning::Outlier>> spots_;
    std::vector<float> total_; ///< [row][translation] after spots
    conditioning::Stripes stripes_;
    std::vector<float> scale_; ///< [row]
    double axis_ = 0;

    std::size_t row_begin_ = 0, row_end_ = 0, t_begin_ = 0, t_end_ = 0, k_begin_ = 0, k_end_ = 0;
    std::vector<conditioning::CoarseBin> row_bins_, t_bins_, k_bins_;
    std::vector<double> out_rotation_, out_translation_, out_two_theta_;
    std::vector<double> sum_after_, count_after_;

    std::vector<ConditionStep> steps_;
    std::vector<std::string> warnings_;
    std::vector<ConditionMap> maps_;
    std::unique_ptr<program::Progress> progress_;
    std::size_t done_ = 0;
};

} // namespace xrdct::condition
