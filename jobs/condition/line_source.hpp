// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "conditioning/air.hpp"
#include "conditioning/line.hpp"
#include "conditioning/line_order.hpp"
#include "jobs/condition/input.hpp"
#include "jobs/condition/job.hpp"

#include <cstdint>
#include <deque>
#include <vector>

namespace xrdct::condition {

/// What is known to be done to every line; it grows while a scan is examined.
struct LineSteps {
    settings::NoiseModel noise = settings::NoiseModel::estimate;
    double noise_constant = 0;     ///< variance over intensity, for the estimate
    std::vector<float> flux;       ///< factors [stored line][translation]; empty: none
    std::vector<double> exposure;  ///< s, the same, for the dead time; empty: no dead time
    std::vector<std::size_t> rows; ///< stored lines that are kept
    conditioning::LineOrder order;
    std::vector<unsigned char> dead; ///< [channel]; empty: not known yet
    conditioning::AirScatter air;
    std::vector<double> transmission; ///< [row][translation]; empty: none
};

/// Reads lines of a scan, a block of rotations at a time, and brings them into the state that the
/// steps ask for. Serial.
class LineSource {
  public:
    /// `block_bytes` bounds what is read at a time.
    LineSource(const ConditionJob& job, ConditionInput& input, std::uint64_t block_bytes)
        : job_(job), input_(input), block_bytes_(block_bytes) {}

    LineSteps steps;

    /// Line as stored: values and variances, the dead time undone. Returns how many values the
    /// counter cannot have counted.
    std::size_t read_stored(std::size_t stored, conditioning::Line& line);

    /// Line `row` of the kept ones after all steps up to air scatter. The reference stays valid
    /// while the next 2 · spot_options.rotation_reach + 1 other rows are asked for.
    const conditioning::Line& prepared(std::size_t row);

    /// To be called when a step has changed: prepared lines are made anew.
    void forget() { prepared_.clear(); }

  private:
    void read_block(std::size_t stored);

    const ConditionJob& job_;
    ConditionInput& input_;
    std::uint64_t block_bytes_;
    std::vector<float> block_, block_errors_; ///< [stored line][translation][channel]
    std::size_t block_begin_ = 0, block_end_ = 0;
    std::deque<conditioning::Line> prepared_;
};

} // namespace xrdct::condition
