// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/condition/line_source.hpp"

#include "conditioning/counting.hpp"

#include <algorithm>
#include <span>
#include <utility>

namespace xrdct::condition {

void LineSource::read_block(std::size_t stored) {
    const std::size_t size = input_.n_translation() * input_.n_channel();
    const bool errors = steps.noise == settings::NoiseModel::errors;
    const std::uint64_t per_line = size * sizeof(float) * (errors ? 2 : 1);
    std::size_t n = std::max<std::size_t>(1, block_bytes_ / per_line);
    if (input_.row_chunk > 1 && n > input_.row_chunk)
        n -= n % input_.row_chunk;
    block_begin_ = stored - stored % n;
    block_end_ = std::min(block_begin_ + n, input_.n_rotation());
    block_.resize((block_end_ - block_begin_) * size);
    block_errors_.resize(errors ? block_.size() : 0);
    input_.read_lines(block_begin_, block_end_, block_, block_errors_);
}

std::size_t LineSource::read_stored(std::size_t stored, conditioning::Line& line) {
    const std::size_t n_t = input_.n_translation(), n_k = input_.n_channel(), size = n_t * n_k;
    if (stored < block_begin_ || stored >= block_end_)
        read_block(stored);
    const std::size_t offset = (stored - block_begin_) * size;
    line.values.assign(block_.begin() + static_cast<std::ptrdiff_t>(offset),
                       block_.begin() + static_cast<std::ptrdiff_t>(offset + size));
    line.variances.resize(size);
    if (steps.noise == settings::NoiseModel::errors) {
        for (std::size_t i = 0; i < size; ++i)
            line.variances[i] = block_errors_[offset + i] * block_errors_[offset + i];
    } else {
        const bool estimate = steps.noise == settings::NoiseModel::estimate;
        conditioning::counting_variances(
            line.values, estimate ? std::span<const double>() : std::span(input_.pixels),
            estimate ? steps.noise_constant : 1.0, n_k, line.variances);
    }
    if (steps.exposure.empty())
        return 0;
    return conditioning::undo_dead_time(line, n_k,
                                        std::span(steps.exposure).subspan(stored * n_t, n_t),
                                        job_.dead_time, job_.dead_time_model);
}

const conditioning::Line& LineSource::prepared(std::size_t row) {
    for (const auto& line : prepared_)
        if (line.row == row)
            return line;
    const std::size_t n_t = input_.n_translation(), n_k = input_.n_channel();
    const std::size_t most = 2 * job_.spot_options.rotation_reach + 2;
    conditioning::Line line;
    if (prepared_.size() >= most) {
        line = std::move(prepared_.front());
        prepared_.pop_front();
    }
    line.row = row;
    const std::size_t stored = steps.rows[row];
    read_stored(stored, line);
    if (!steps.flux.empty())
        conditioning::apply_flux(line, n_k, std::span(steps.flux).subspan(stored * n_t, n_t));
    steps.order.apply(line.values, n_k, stored, false);
    steps.order.apply(line.variances, n_k, stored, true);
    conditioning::subtract_air(
        line, steps.air, steps.dead,
        job_.air_attenuated ? std::span<const double>(steps.transmission).subspan(row * n_t, n_t)
                            : std::span<const double>());
    prepared_.push_back(std::move(line));
    return prepared_.back();
}

} // namespace xrdct::condition
