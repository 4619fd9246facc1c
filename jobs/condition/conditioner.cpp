#include "jobs/condition/conditioner.hpp"

#include "base/error.hpp"
#include "base/numbers.hpp"
#include "base/units.hpp"
#include "conditioning/quantile.hpp"
#include "conditioning/zigzag.hpp"
#include "mpi/patterns/pattern_file.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace xrdct::condition {

std::string list_text(const std::vector<std::size_t>& which) {
    const std::vector<std::size_t> few(
        which.begin(),
        which.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(which.size(), 12)));
    return fmt::format("{}{}", fmt::join(few, ", "), which.size() > few.size() ? ", …" : "");
}

Conditioner::Conditioner(const ConditionJob& job, ConditionInput& input, std::uint64_t block_bytes)
    : job_(job), input_(input), block_bytes_(block_bytes), n_t_(input.n_translation()),
      n_k_(input.n_channel()) {
    std::vector<unsigned char> dropped(input.n_rotation(), 0);
    for (const std::size_t line : job.drop_lines) {
        if (line >= dropped.size())
            throw Error(fmt::format("{}: key 'arrange.drop': there is no rotation {}, the scan has "
                                    "{}",
                                    job.source.string(), line, dropped.size()));
        dropped[line] = 1;
    }
    if (job.drop_last)
        dropped.back() = 1;
    for (std::size_t i = 0; i < dropped.size(); ++i)
        if (!dropped[i]) {
            rows_.push_back(i);
            rotation_.push_back(input.rotation[i]);
        }
    if (rows_.size() < 2 || n_t_ < 2)
        throw Error(fmt::format("{}: {} rotations of {} translations are no scan",
                                job.input.file.string(), rows_.size(), n_t_));
    const double step =
        (input.translation.back() - input.translation.front()) / static_cast<double>(n_t_ - 1);
    for (std::size_t t = 0; t < n_t_; ++t)
        if (!(std::abs(input.translation[t] - input.translation[0] -
                       step * static_cast<double>(t)) <= 0.25 * std::abs(step)))
            throw Error(fmt::format("{}: the translations are not evenly spaced: number {} lies at "
                                    "{} mm, {} mm off",
                                    job.input.file.string(), t, input.translation[t],
                                    input.translation[t] - input.translation[0] -
                                        step * static_cast<double>(t)));
}

void Conditioner::add_step(std::string name, std::string state, std::string text,
                           nlohmann::json details) {
    steps_.push_back({std::move(name), std::move(state), std::move(text), std::move(details)});
}

void Conditioner::add_map(std::string name, std::string title, std::span<const float> values) {
    maps_.push_back({std::move(name),
                     std::move(title),
                     "intensity",
                     {values.begin(), values.end()},
                     rotation_,
                     input_.translation});
}

void Conditioner::choose_noise() {
    noise_ = job_.noise;
    const bool counted = !input_.pixels.empty() || input_.intensity_units == "counts";
    if (noise_ == settings::NoiseModel::automatic)
        noise_ = input_.has_errors ? settings::NoiseModel::errors
                 : counted         ? settings::NoiseModel::counts
                                   : settings::NoiseModel::estimate;
    if (noise_ == settings::NoiseModel::errors && !input_.has_errors)
        throw Error(fmt::format("{}: noise.model is \"errors\" but there are no intensity_errors",
                                job_.input.file.string()));
    write_errors_ =
        noise_ != settings::NoiseModel::estimate || job_.noise == settings::NoiseModel::estimate;
    noise_text_ = noise_ == settings::NoiseModel::errors ? "standard deviations given in the file"
                  : noise_ == settings::NoiseModel::counts
                      ? (input_.pixels.empty()
                             ? "Poisson statistics of the counts"
                             : "Poisson statistics of azimuthal means, with the pixels per channel")
                      : "estimated from the scatter between neighbouring channels";
}

void Conditioner::find_flux() {
    const auto& in = input_;
    const bool monitor = job_.monitor == "on" || (job_.monitor == "auto" && !in.monitor.empty());
    const bool exposure = job_.exposure_use == "on" || (job_.exposure_use == "auto" &&
                                                        !in.exposure.empty() && in.monitor.empty());
    if (monitor && in.monitor.empty())
        throw Error(fmt::format("{}: normalise.monitor is \"on\" but there is no monitor; name the "
                                "dataset in input.monitor",
                                job_.input.file.string()));
    if (exposure && in.exposure.empty())
        throw Error(fmt::format("{}: normalise.exposure is \"on\" but there are no exposure times; "
                                "name the dataset in input.exposure_time",
                                job_.input.file.string()));
    for (const auto& [use, values, name] :
         {std::tuple{monitor, &in.monitor, "monitor"}, {exposure, &in.exposure, "exposure"}}) {
        if (!use) {
            add_step(name, "off",
                     values->empty() ? fmt::format("no {} in the data", name) : "not asked for");
            continue;
        }
        conditioning::FluxFactors factors;
        try {
            factors = conditioning::flux_factors(*values, job_.flux_limit);
        } catch (const Error& error) {
            throw Error(fmt::format("{}: {}: {}", job_.input.file.string(), name, error.what()));
        }
        if (flux_.empty())
            flux_ = factors.factor;
        else
            for (std::size_t i = 0; i < flux_.size(); ++i)
                flux_[i] *= factors.factor[i];
        // What was not recorded at all is counted as missing, not as a fault of the monitor.
        const std::size_t absent = input_.missing_lines * n_t_ + input_.missing_points;
        const std::size_t masked = factors.masked > absent ? factors.masked - absent : 0;
        add_step(
            name, "done",
            fmt::format("divided by the {} over its mean: {:.4f} to {:.4f}, last tenth over "
                        "first {:.4f}{}",
                        name, factors.smallest, factors.largest, factors.first_to_last,
                        masked > 0 ? fmt::format("; {} points masked for want of it", masked) : ""),
            {{"mean", factors.mean},
             {"smallest_over_mean", factors.smallest},
             {"largest_over_mean", factors.largest},
             {"last_over_first", factors.first_to_last},
             {"masked_points", masked}});
    }
    if (job_.dead_time > 0) {
        exposure_.assign(in.rotation.size() * n_t_, job_.exposure_time);
        if (std::isnan(job_.exposure_time)) {
            if (in.exposure.empty())
                throw Error(fmt::format("{}: the dead time needs the exposure time: state "
                                        "normalise.exposure_time",
                                        job_.source.string()));
            exposure_ = in.exposure;
        }
    }
}

void Conditioner::read_raw(std::size_t stored, Line& line) {
    const std::size_t size = n_t_ * n_k_;
    if (stored < block_begin_ || stored >= block_end_) {
        const bool errors = noise_ == settings::NoiseModel::errors;
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
    const std::size_t offset = (stored - block_begin_) * size;
    line.values.assign(block_.begin() + static_cast<std::ptrdiff_t>(offset),
                       block_.begin() + static_cast<std::ptrdiff_t>(offset + size));
    line.variances.resize(size);
    if (noise_ == settings::NoiseModel::errors) {
        for (std::size_t i = 0; i < size; ++i)
            line.variances[i] = block_errors_[offset + i] * block_errors_[offset + i];
    } else {
        for (std::size_t t = 0; t < n_t_; ++t)
            for (std::size_t k = 0; k < n_k_; ++k) {
                const float value = line.values[t * n_k_ + k];
                const double pixels =
                    input_.pixels.empty() || noise_ == settings::NoiseModel::estimate
                        ? 1.0
                        : input_.pixels[k];
                const double scale =
                    noise_ == settings::NoiseModel::estimate ? noise_constant_ : 1.0;
                line.variances[t * n_k_ + k] =
                    std::isnan(value) || !(pixels > 0)
                        ? missing_value
                        : static_cast<float>(scale * std::max(0.0F, value) / pixels);
            }
    }
    if (exposure_.empty())
        return;
    for (std::size_t t = 0; t < n_t_; ++t)
        for (std::size_t k = 0; k < n_k_; ++k) {
            float& value = line.values[t * n_k_ + k];
            const auto corrected = correct_dead_time(value, exposure_[stored * n_t_ + t],
                                                     job_.dead_time, job_.dead_time_model);
            saturated_ += !surveyed_ && std::isnan(corrected.value) && !std::isnan(value) ? 1 : 0;
            value = static_cast<float>(corrected.value);
            line.variances[t * n_k_ + k] *=
                static_cast<float>(corrected.derivative * corrected.derivative);
        }
}

double Conditioner::line_total(std::span<const float> point) const {
    double sum = 0;
    std::size_t n = 0, usable = 0;
    for (std::size_t k = 0; k < n_k_; ++k) {
        if (!dead_.empty() && dead_[k])
            continue;
        ++usable;
        if (!std::isnan(point[k])) {
            sum += point[k];
            ++n;
        }
    }
    // A pattern with large gaps has another mean; it is no measure of the whole.
    return n > 0 && (dead_.empty() || 10 * n >= 9 * usable) ? sum / static_cast<double>(n)
                                                            : std::nan("");
}

bool Conditioner::is_flipped(std::size_t stored) const {
    return (flip_ == FlipLines::odd && stored % 2 == 1) ||
           (flip_ == FlipLines::even && stored % 2 == 0);
}

double Conditioner::shift_of(std::size_t stored) const {
    return (stored % 2 == 0) == job_.backward_even ? lag_ : 0.0;
}

std::vector<float> Conditioner::arranged(const std::vector<float>& plane) const {
    std::vector<float> result(n_row() * n_t_);
    for (std::size_t row = 0; row < n_row(); ++row) {
        const std::size_t stored = rows_[row];
        const std::span<float> line(result.data() + row * n_t_, n_t_);
        std::copy_n(plane.begin() + static_cast<std::ptrdiff_t>(stored * n_t_), n_t_, line.begin());
        if (is_flipped(stored))
            conditioning::reverse_line(line, 1);
        conditioning::shift_line(line, 1, shift_of(stored), false);
    }
    return result;
}

void Conditioner::survey() {
    const std::size_t lines = input_.n_rotation();
    raw_total_.resize(lines * n_t_);
    flux_total_.resize(lines * n_t_);
    conditioning::ChannelStatistics statistics(n_k_);
    std::vector<double> scatter;
    std::size_t values_missing = 0, points_missing = 0;
    Line line;
    for (std::size_t i = 0; i < lines; ++i) {
        read_raw(i, line);
        statistics.add(line.values);
        for (std::size_t t = 0; t < n_t_; ++t) {
            const std::span<const float> point(line.values.data() + t * n_k_, n_k_);
            const double total = line_total(point);
            raw_total_[i * n_t_ + t] = static_cast<float>(total);
            flux_total_[i * n_t_ + t] =
                static_cast<float>(total * (flux_.empty() ? 1.0F : flux_[i * n_t_ + t]));
            std::size_t nans = 0;
            for (const float value : point)
                nans += std::isnan(value) ? 1 : 0;
            (nans == n_k_ ? points_missing : values_missing) += nans == n_k_ ? 1 : nans;
            if ((i * n_t_ + t) % 7 == 0 && scatter.size() < 400000)
                for (std::size_t k = 1; k + 1 < n_k_; k += 5) {
                    const double a = point[k - 1], b = point[k], c = point[k + 1];
                    const double level = (a + b + c) / 3, d = b - 0.5 * (a + c);
                    if (level > 0)
                        scatter.push_back(d * d / (1.5 * level));
                }
        }
        progress_->update(++done_);
    }
    // The median of χ² with one degree of freedom is 0.4549.
    noise_constant_ = scatter.empty() ? 0 : conditioning::median(std::move(scatter)) / 0.4549;
    dead_ = job_.dead_channels ? statistics.dead() : std::vector<unsigned char>(n_k_, 0);
    mean_before_ = statistics.mean();
    const std::size_t lost = input_.missing_lines * n_t_ + input_.missing_points;
    const std::size_t other = points_missing > lost ? points_missing - lost : 0;
    add_step(
        "missing", points_missing > 0 ? "done" : "nothing found",
        fmt::format("{} lines and {} points were not recorded and are masked; {} further points "
                    "and {} single values are marked as missing in the data",
                    input_.missing_lines, input_.missing_points, other, values_missing),
        {{"lines", input_.missing_lines},
         {"points", input_.missing_points},
         {"marked_points", other},
         {"marked_values", values_missing}});
    if (job_.dead_time > 0)
        add_step("dead_time", "done",
                 fmt::format("{:.3g} ns per count{}", 1e9 * job_.dead_time,
                             saturated_ > 0 ? fmt::format("; {} values beyond what the counter can "
                                                          "count are masked",
                                                          saturated_)
                                            : ""),
                 {{"dead_time_s", job_.dead_time}, {"saturated_values", saturated_}});
    else
        add_step("dead_time", "off", "not asked for");
}

void Conditioner::find_channels() {
    std::vector<std::size_t> found;
    for (std::size_t k = 0; k < n_k_; ++k)
        if (dead_[k])
            found.push_back(k);
    std::size_t excluded = 0;
    for (std::size_t k = 0; k < n_k_; ++k)
        for (const auto& [from, to] : job_.excluded)
            if (!dead_[k] && input_.two_theta[k] >= from && input_.two_theta[k] <= to) {
                dead_[k] = 1;
                ++excluded;
            }
    if (found.size() + excluded == n_k_)
        throw Error(fmt::format("{}: all {} channels are dead or excluded",
                                job_.input.file.string(), n_k_));
    const bool any = !found.empty() || excluded > 0;
    add_step("channels",
             any                  ? "done"
             : job_.dead_channels ? "nothing found"
                                  : "off",
             any ? fmt::format("{} dead channels masked{}{}{}", found.size(),
                               found.empty() ? "" : " (", list_text(found),
                               found.empty() ? "" : ")") +
                       (excluded > 0 ? fmt::format(", {} excluded", excluded) : "")
                 : "no channel is constant or missing throughout",
             {{"dead", found}, {"excluded", excluded}});
}

void Conditioner::decide_arrangement() {
    flip_ = job_.flip;
    const auto zigzag = conditioning::test_zigzag(flux_total_, input_.n_rotation(), n_t_);
    nlohmann::json details{{"correlation_as_stored", zigzag.direct},
                           {"correlation_mirrored", zigzag.mirrored}};
    if (flip_ == FlipLines::automatic) {
        flip_ = zigzag.zigzag && !input_.by_position ? FlipLines::odd : FlipLines::none;
        if (zigzag.zigzag && input_.by_position)
            warnings_.push_back("neighbouring lines run against each other although positions say "
                                "otherwise: check the positions, or state arrange.flip");
        if (!zigzag.decided && !input_.by_position)
            warnings_.push_back(fmt::format(
                "whether every second line runs backwards cannot be told from the data (they "
                "correlate by {:.4f} as stored, by {:.4f} reversed) and none is turned: state "
                "arrange.flip",
                zigzag.direct, zigzag.mirrored));
    }
    const bool flipped = flip_ != FlipLines::none;
    if (job_.flip != FlipLines::automatic && zigzag.decided && flipped != zigzag.zigzag)
        warnings_.push_back(fmt::format(
            "arrange.flip says that lines {} turned, the data look otherwise: a line correlates "
            "with its neighbours by {:.4f} as stored and by {:.4f} reversed",
            flipped ? "are to be" : "are not to be", zigzag.direct, zigzag.mirrored));
    details["turned"] = flipped ? (flip_ == FlipLines::odd ? "odd" : "even") : "none";
    add_step("zigzag", flipped ? "done" : "nothing found",
             fmt::format("{}; {}; a line correlates with its neighbours by {:.4f} as stored, by "
                         "{:.4f} reversed",
                         input_.what,
                         flipped ? fmt::format("{} lines turned{}",
                                               flip_ == FlipLines::odd ? "odd" : "even",
                                               job_.flip == FlipLines::automatic
                                                   ? " (found in the data; which of them run "
                                                     "backwards, the data cannot say: the other "
                                                     "choice mirrors the maps)"
                                                   : "")
                                 : "no line turned",
                         zigzag.direct, zigzag.mirrored),
             details);

    auto map = arranged(flux_total_);
    // Dropped lines break the alternation; the lag is measured on all stored ones.
    const auto kept = rows_;
    rows_.resize(input_.n_rotation());
    std::iota(rows_.begin(), rows_.end(), std::size_t{0});
    const auto all = arranged(flux_total_);
    rows_ = kept;
    const auto estimate = conditioning::measure_lag(all, input_.n_rotation(), n_t_);
    const double measured = job_.backward_even ? -estimate.lag : estimate.lag;
    nlohmann::json lag_details{{"measured", estimate.valid ? measured : std::nan("")},
                               {"uncertainty", estimate.uncertainty},
                               {"lines", estimate.used}};
    if (job_.lag)
        lag_ = *job_.lag;
    else if (estimate.significant)
        lag_ = std::abs(measured - std::round(measured)) < 0.15 ? std::round(measured) : measured;
    lag_details["undone"] = lag_;
    const std::string seen = estimate.valid
                                 ? fmt::format("measured {:.3f} ± {:.3f} steps on {} lines",
                                               measured, estimate.uncertainty, estimate.used)
                                 : "too few lines to measure it";
    add_step(
        "lag", lag_ != 0 ? "done" : "nothing found",
        lag_ != 0
            ? fmt::format("{} lines moved back by {:.3g} steps{}; {}",
                          job_.backward_even ? "even" : "odd", lag_,
                          lag_ == std::round(lag_) ? "" : " (interpolated linearly, which smooths)",
                          seen)
            : seen,
        lag_details);
    if (job_.lag && estimate.valid && estimate.significant &&
        std::abs(measured - lag_) > 0.25 + 5 * estimate.uncertainty)
        warnings_.push_back(fmt::format("arrange.lag is {:.3g} steps, the data say {:.3f} ± {:.3f}",
                                        lag_, measured, estimate.uncertainty));

    std::vector<float> stored(n_row() * n_t_);
    for (std::size_t row = 0; row < n_row(); ++row)
        std::copy_n(raw_total_.begin() + static_cast<std::ptrdiff_t>(rows_[row] * n_t_), n_t_,
                    stored.begin() + static_cast<std::ptrdiff_t>(row * n_t_));
    add_map("recorded", "as recorded", stored);
    if (!flux_.empty()) {
        for (std::size_t row = 0; row < n_row(); ++row)
            std::copy_n(flux_total_.begin() + static_cast<std::ptrdiff_t>(rows_[row] * n_t_), n_t_,
                        stored.begin() + static_cast<std::ptrdiff_t>(row * n_t_));
        add_map("normalised", "after monitor and exposure", stored);
    }
    if (flipped || lag_ != 0)
        add_map("arranged", "after turning and moving lines", arranged(flux_total_));

    if (!input_.transmission.empty()) {
        std::vector<double> plane = input_.transmission;
        if (job_.relative_transmission) {
            if (!input_.monitor.empty())
                for (std::size_t i = 0; i < plane.size(); ++i)
                    plane[i] /= input_.monitor[i];
            plane = conditioning::relative_transmission(plane, input_.n_rotation(), n_t_,
                                                        static_cast<std::size_t>(job_.air_edge));
        }
        const auto moved = arranged(std::vector<float>(plane.begin(), plane.end()));
        transmission_.assign(moved.begin(), moved.end());
        add_step("transmission", job_.relative_transmission ? "done" : "off",
                 fmt::format("{}, median {:.4f}",
                             job_.relative_transmission
                                 ? "divided by the monitor and its level at the ends of the lines"
                                 : "kept as stored",
                             conditioning::median([&] {
                                 std::vector<double> finite;
                                 for (const double value : transmission_)
                                     if (std::isfinite(value))
                                         finite.push_back(value);
                                 return finite;
                             }())));
    } else if (job_.relative_transmission || job_.air_attenuated) {
        throw Error(fmt::format("{}: there is no transmission; name the dataset in "
                                "input.transmission",
                                job_.input.file.string()));
    }
}

const Conditioner::Line& Conditioner::prepared(std::size_t row) {
    for (const auto& line : ring_)
        if (line.row == row)
            return line;
    const std::size_t most = 2 * job_.spot_options.rotation_reach + 2;
    Line line;
    if (ring_.size() >= most) {
        line = std::move(ring_.front());
        ring_.pop_front();
    }
    line.row = row;
    const std::size_t stored = rows_[row];
    read_raw(stored, line);
    if (!flux_.empty())
        for (std::size_t t = 0; t < n_t_; ++t) {
            const float factor = flux_[stored * n_t_ + t];
            for (std::size_t i = t * n_k_; i < (t + 1) * n_k_; ++i) {
                line.values[i] *= factor;
                line.variances[i] *= factor * factor;
            }
        }
    for (auto* part : {&line.values, &line.variances}) {
        if (is_flipped(stored))
            conditioning::reverse_line(*part, n_k_);
        conditioning::shift_line(*part, n_k_, shift_of(stored), part == &line.variances);
    }
    for (std::size_t t = 0; t < n_t_; ++t) {
        float* values = line.values.data() + t * n_k_;
        float* variances = line.variances.data() + t * n_k_;
        const auto attenuation =
            job_.air_attenuated ? static_cast<float>(transmission_[row * n_t_ + t]) : 1.0F;
        for (std::size_t k = 0; k < n_k_; ++k) {
            if (dead_[k]) {
                values[k] = variances[k] = missing_value;
            } else if (!air_.empty()) {
                values[k] -= attenuation * static_cast<float>(air_[k]);
                variances[k] += attenuation * attenuation * static_cast<float>(air_variance_[k]);
            }
        }
    }
    ring_.push_back(std::move(line));
    return ring_.back();
}

void Conditioner::find_air() {
    if (job_.air == "none") {
        add_step("air", "off", "no air scatter subtracted");
        return;
    }
    if (job_.air == "pattern") {
        patterns::PatternFileOptions options;
        options.wavelength = std::isnan(input_.wavelength) ? 0 : input_.wavelength;
        options.distance = std::isnan(input_.distance) ? 0 : input_.distance;
        options.intensity = job_.air_dataset;
        const auto pattern = read_pattern(job_.air_file, options);
        const auto axis = pattern.axis.two_theta();
        if (axis.size() != n_k_)
            throw Error(fmt::format("{}: has {} channels, the scan has {}", job_.air_file.string(),
                                    axis.size(), n_k_));
        const double width = (input_.two_theta.back() - input_.two_theta.front()) /
                             static_cast<double>(std::max<std::size_t>(1, n_k_ - 1));
        for (std::size_t k = 0; k < n_k_; ++k)
            if (!(std::abs(axis[k] - input_.two_theta[k]) < 0.1 * width))
                throw Error(fmt::format("{}: channel {} lies at {} deg, that of the scan at {} deg",
                                        job_.air_file.string(), k, axis[k], input_.two_theta[k]));
        for (std::size_t k = 0; k < n_k_; ++k) {
            if (std::isnan(pattern.intensity[k]) && !dead_[k])
                throw Error(fmt::format("{}: channel {} has no value", job_.air_file.string(), k));
            air_.push_back(dead_[k] ? std::nan("") : job_.air_scale * pattern.intensity[k]);
            air_variance_.push_back(pattern.variance.empty() || dead_[k]
                                        ? 0
                                        : job_.air_scale * job_.air_scale * pattern.variance[k]);
        }
        add_step("air", "done",
                 fmt::format("{} times the pattern {} subtracted, mean {:.4g} per channel",
                             job_.air_scale, job_.air_file.string(),
                             std::accumulate(air_.begin(), air_.end(), 0.0,
                                             [](double sum, double value) {
                                                 return std::isnan(value) ? sum : sum + value;
                                             }) /
                                 static_cast<double>(n_k_)),
                 {{"file", job_.air_file.string()}, {"scale", job_.air_scale}});
        ring_.clear();
        return;
    }
    const auto edge = static_cast<std::size_t>(job_.air_edge);
    if (4 * edge > n_t_)
        throw Error(fmt::format("{}: key 'air.edge': {} translations on either side are more than "
                                "half of the {} there are",
                                job_.source.string(), edge, n_t_));
    const auto map = arranged(flux_total_);
    const auto at_edge = [&](std::size_t t) { return t < edge || t + edge >= n_t_; };
    std::vector<double> edges, inside;
    for (std::size_t i = 0; i < map.size(); ++i)
        if (std::isfinite(map[i]))
            (at_edge(i % n_t_) ? edges : inside).push_back(map[i]);
    if (edges.empty())
        throw Error(fmt::format("{}: the {} outermost translations are missing throughout",
                                job_.input.file.string(), edge));
    const double level = conditioning::median(edges);
    std::vector<double> deviations;
    for (const double value : edges)
        deviations.push_back(std::abs(value - level));
    const double limit = 6 * 1.4826 * conditioning::median(deviations) + 1e-6 * std::abs(level);
    std::vector<double> sum(n_k_, 0), variance(n_k_, 0), count(n_k_, 0);
    std::size_t used = 0, left_out = 0;
    for (std::size_t row = 0; row < n_row(); ++row) {
        const Line& line = prepared(row);
        for (std::size_t t = 0; t < n_t_; ++t) {
            if (!at_edge(t) || !std::isfinite(map[row * n_t_ + t]))
                continue;
            if (std::abs(map[row * n_t_ + t] - level) > limit) {
                ++left_out;
                continue;
            }
            ++used;
            for (std::size_t k = 0; k < n_k_; ++k) {
                const float value = line.values[t * n_k_ + k];
                if (std::isnan(value))
                    continue;
                sum[k] += value;
                variance[k] += line.variances[t * n_k_ + k];
                count[k] += 1;
            }
        }
        progress_->update(++done_);
    }
    // Until here prepared lines were those with the air in them.
    air_.assign(n_k_, 0);
    air_variance_.assign(n_k_, 0);
    for (std::size_t k = 0; k < n_k_; ++k)
        if (dead_[k]) {
            air_[k] = std::nan("");
        } else if (count[k] > 0) {
            air_[k] = sum[k] / count[k];
            air_variance_[k] = variance[k] / (count[k] * count[k]);
        }
    ring_.clear();
    add_step("air", "done",
             fmt::format("mean of {} points at the {} outermost translations of either side "
                         "subtracted: {:.4g} per channel, {:.1f} % of the median inside{}",
                         used, edge, level, 100 * level / conditioning::median(inside),
                         left_out > 0 ? fmt::format("; {} points that stick out left out", left_out)
                                      : ""),
             {{"points", used},
              {"left_out", left_out},
              {"level", level},
              {"share_of_median_inside", level / conditioning::median(inside)}});
    if (10 * left_out > used + left_out || level > 0.5 * conditioning::median(inside))
        warnings_.push_back(fmt::format(
            "air.edge: the sample seems to reach the {} outermost translations ({} of {} points "
            "stick out, their level is {:.0f} % of the median inside): part of its own pattern is "
            "subtracted",
            edge, left_out, used + left_out, 100 * level / conditioning::median(inside)));
}

void Conditioner::inspect() {
    const std::size_t n = n_row();
    total_.resize(n * n_t_);
    spots_.assign(n, {});
    auto options = job_.spot_options;
    std::vector<double> gaps;
    for (std::size_t row = 1; row < n; ++row)
        gaps.push_back(std::abs(rotation_[row] - rotation_[row - 1]));
    options.motion = 0.5 * static_cast<double>(n_t_) * radians(conditioning::median(gaps));
    const std::uint64_t values = static_cast<std::uint64_t>(n) * n_t_ * n_k_;
    std::uint64_t found = 0;
    std::size_t high = 0, points = 0, rows = 0;
    std::vector<float> before(n * n_t_);
    std::vector<float> corrected;
    for (std::size_t row = 0; row < n; ++row) {
        if (job_.spots != Treat::off) {
            std::vector<const float*> lines, variances;
            // References into the ring stay valid: it holds more lines than the neighbourhood has.
            const std::size_t window = std::min(2 * options.rotation_reach + 1, n);
            const std::size_t first = std::min(
                row > options.rotation_reach ? row - options.rotation_reach : 0, n - window);
            for (std::size_t at = first; at < first + window; ++at) {
                const Line& line = prepared(at);
                lines.push_back(line.values.data());
                variances.push_back(line.variances.data());
            }
            spots_[row] = find_outliers(lines, variances, row - first, n_t_, n_k_, options);
            found += spots_[row].size();
            if (found > 10000 && 50 * found > values)
                throw Error(fmt::format(
                    "{}: key 'spots.method': more than 2 % of all values differ from their "
                    "neighbours in rotation by {} standard deviations: the variances are too "
                    "small, or lines are out of place; raise spots.threshold or switch it off",
                    job_.source.string(), options.threshold));
        }
        const Line& line = prepared(row);
        corrected = line.values;
        std::uint32_t last = std::numeric_limits<std::uint32_t>::max();
        rows += spots_[row].empty() ? 0 : 1;
        for (const auto& spot : spots_[row]) {
            high += spot.observed > spot.expected ? 1 : 0;
            points += spot.translation != last ? 1 : 0;
            last = spot.translation;
            float& value = corrected[spot.translation * n_k_ + spot.channel];
            if (job_.spots == Treat::correct)
                value = down_weight(spot).value;
            else if (job_.spots == Treat::mask)
                value = missing_value;
        }
        for (std::size_t t = 0; t < n_t_; ++t) {
            before[row * n_t_ + t] =
                static_cast<float>(line_total({line.values.data() + t * n_k_, n_k_}));
            total_[row * n_t_ + t] =
                static_cast<float>(line_total({corrected.data() + t * n_k_, n_k_}));
        }
        progress_->update(++done_);
    }
    if (!air_.empty())
        add_map("air_subtracted", "after air scatter", before);
    if (job_.spots == Treat::off) {
        add_step("spots", "off", "not asked for");
        return;
    }
    const bool treated = job_.spots == Treat::correct || job_.spots == Treat::mask;
    add_step("spots",
             found == 0 ? "nothing found"
             : treated  ? "done"
                        : "found, left as they are",
             fmt::format("{} values ({} too high, {} too low) at {} points in {} rotations, {:.2g} "
                         "% of all{}",
                         found, high, found - high, points, rows,
                         100 * static_cast<double>(found) / static_cast<double>(values),
                         found == 0                     ? ""
                         : job_.spots == Treat::correct ? ", weighted down"
                         : job_.spots == Treat::mask    ? ", masked"
                                                        : ""),
             {{"values", found}, {"high", high}, {"low", found - high}, {"points", points}});
    if (found > 0) {
        std::vector<float> map(n * n_t_, 0);
        for (std::size_t row = 0; row < n; ++row)
            for (const auto& spot : spots_[row])
                map[row * n_t_ + spot.translation] += spot.observed - spot.expected;
        add_map("spots", "spots found: sum of what exceeds the neighbours", map);
        if (treated && air_.empty())
            add_map("before_spots", "before spots", before);
        if (treated)
            add_map("after_spots", "after spots", total_);
    }
}

void Conditioner::examine() {
    const std::size_t passes = job_.air == "edges" ? 3 : 2;
    progress_ = std::make_unique<program::Progress>("condition", (passes + 1) * n_row(), true);
    choose_noise();
    find_flux();
    survey();
    decide_arrangement();
    find_channels();
    surveyed_ = true;
    done_ = n_row();
    find_air();
    inspect();
    find_gains();
    choose_output();
}

} // namespace xrdct::condition
