// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/condition/conditioner.hpp"

#include "base/error.hpp"
#include "base/statistics.hpp"
#include "conditioning/counting.hpp"
#include "conditioning/zigzag.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <tuple>

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
    : job_(job), input_(input), n_t_(input.n_translation()), n_k_(input.n_channel()),
      lines_(job, input, block_bytes) {
    auto& rows = lines_.steps.rows;
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
            rows.push_back(i);
            rotation_.push_back(input.rotation[i]);
        }
    if (rows.size() < 2 || n_t_ < 2)
        throw Error(fmt::format("{}: {} rotations of {} translations are no scan",
                                job.input.file.string(), rows.size(), n_t_));
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
    auto& noise = lines_.steps.noise;
    noise = job_.noise;
    const bool counted = !input_.pixels.empty() || input_.intensity_units == "counts";
    if (noise == settings::NoiseModel::automatic)
        noise = input_.has_errors ? settings::NoiseModel::errors
                : counted         ? settings::NoiseModel::counts
                                  : settings::NoiseModel::estimate;
    if (noise == settings::NoiseModel::errors && !input_.has_errors)
        throw Error(fmt::format("{}: noise.model is \"errors\" but there are no intensity_errors",
                                job_.input.file.string()));
    write_errors_ =
        noise != settings::NoiseModel::estimate || job_.noise == settings::NoiseModel::estimate;
    noise_text_ = noise == settings::NoiseModel::errors ? "standard deviations given in the file"
                  : noise == settings::NoiseModel::counts
                      ? (input_.pixels.empty()
                             ? "Poisson statistics of the counts"
                             : "Poisson statistics of azimuthal means, with the pixels per channel")
                      : "estimated from the scatter between neighbouring channels";
}

void Conditioner::find_flux() {
    const auto& in = input_;
    auto& flux = lines_.steps.flux;
    const bool monitor =
        job_.use_monitor == Use::on || (job_.use_monitor == Use::automatic && !in.monitor.empty());
    const bool exposure =
        job_.use_exposure == Use::on ||
        (job_.use_exposure == Use::automatic && !in.exposure.empty() && in.monitor.empty());
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
        if (flux.empty())
            flux = factors.factor;
        else
            for (std::size_t i = 0; i < flux.size(); ++i)
                flux[i] *= factors.factor[i];
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
}

void Conditioner::find_exposure() {
    if (!(job_.dead_time > 0))
        return;
    auto& exposure = lines_.steps.exposure;
    exposure.assign(input_.rotation.size() * n_t_, job_.exposure_time);
    if (std::isnan(job_.exposure_time)) {
        if (input_.exposure.empty())
            throw Error(fmt::format("{}: the dead time needs the exposure time: state "
                                    "normalise.exposure_time",
                                    job_.source.string()));
        exposure = input_.exposure;
    }
}

std::vector<float> Conditioner::arranged(const std::vector<float>& plane) const {
    return lines_.steps.order.arrange(plane, lines_.steps.rows, n_t_);
}

std::vector<float> Conditioner::kept(const std::vector<float>& plane) const {
    return conditioning::LineOrder().arrange(plane, lines_.steps.rows, n_t_);
}

void Conditioner::survey() {
    const std::size_t lines = input_.n_rotation();
    raw_total_.resize(lines * n_t_);
    flux_total_.resize(lines * n_t_);
    const auto& flux = lines_.steps.flux;
    conditioning::ScanSurvey survey(n_t_, n_k_);
    std::vector<double> mean(n_t_);
    std::size_t saturated = 0;
    conditioning::Line line;
    for (std::size_t i = 0; i < lines; ++i) {
        saturated += lines_.read_stored(i, line);
        survey.add(i, line.values, mean);
        for (std::size_t t = 0; t < n_t_; ++t) {
            raw_total_[i * n_t_ + t] = static_cast<float>(mean[t]);
            flux_total_[i * n_t_ + t] =
                static_cast<float>(mean[t] * (flux.empty() ? 1.0F : flux[i * n_t_ + t]));
        }
        progress_->update(++done_);
    }
    lines_.steps.noise_constant = survey.variance_over_intensity();
    lines_.steps.dead = job_.dead_channels ? survey.dead() : std::vector<unsigned char>(n_k_, 0);
    mean_before_ = survey.mean();
    const std::size_t points_missing = survey.missing_points();
    const std::size_t values_missing = survey.missing_values();
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
                             saturated > 0 ? fmt::format("; {} values beyond what the counter can "
                                                         "count are masked",
                                                         saturated)
                                           : ""),
                 {{"dead_time_s", job_.dead_time}, {"saturated_values", saturated}});
    else
        add_step("dead_time", "off", "not asked for");
}

void Conditioner::find_channels() {
    auto& dead = lines_.steps.dead;
    std::vector<std::size_t> found;
    for (std::size_t k = 0; k < n_k_; ++k)
        if (dead[k])
            found.push_back(k);
    std::size_t excluded = 0;
    for (std::size_t k = 0; k < n_k_; ++k)
        for (const auto& [from, to] : job_.excluded)
            if (!dead[k] && input_.two_theta[k] >= from && input_.two_theta[k] <= to) {
                dead[k] = 1;
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

void Conditioner::decide_flip() {
    auto& flip = lines_.steps.order.flip;
    flip = job_.flip;
    const auto zigzag = conditioning::test_zigzag(flux_total_, input_.n_rotation(), n_t_);
    nlohmann::json details{{"correlation_as_stored", zigzag.direct},
                           {"correlation_mirrored", zigzag.mirrored}};
    if (flip == FlipLines::automatic) {
        flip = zigzag.zigzag && !input_.by_position ? FlipLines::odd : FlipLines::none;
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
    const bool flipped = flip != FlipLines::none;
    if (job_.flip != FlipLines::automatic && zigzag.decided && flipped != zigzag.zigzag)
        warnings_.push_back(fmt::format(
            "arrange.flip says that lines {} turned, the data look otherwise: a line correlates "
            "with its neighbours by {:.4f} as stored and by {:.4f} reversed",
            flipped ? "are to be" : "are not to be", zigzag.direct, zigzag.mirrored));
    details["turned"] = flipped ? (flip == FlipLines::odd ? "odd" : "even") : "none";
    add_step("zigzag", flipped ? "done" : "nothing found",
             fmt::format("{}; {}; a line correlates with its neighbours by {:.4f} as stored, by "
                         "{:.4f} reversed",
                         input_.what,
                         flipped ? fmt::format("{} lines turned{}",
                                               flip == FlipLines::odd ? "odd" : "even",
                                               job_.flip == FlipLines::automatic
                                                   ? " (found in the data; which of them run "
                                                     "backwards, the data cannot say: the other "
                                                     "choice mirrors the maps)"
                                                   : "")
                                 : "no line turned",
                         zigzag.direct, zigzag.mirrored),
             details);
}

void Conditioner::decide_lag() {
    lines_.steps.order.even_displaced = job_.backward_even;
    auto& lag = lines_.steps.order.lag;
    // Dropped lines break the alternation; the lag is measured on all stored ones.
    std::vector<std::size_t> every(input_.n_rotation());
    std::iota(every.begin(), every.end(), std::size_t{0});
    const auto all = lines_.steps.order.arrange(flux_total_, every, n_t_);
    const auto estimate = conditioning::measure_lag(all, input_.n_rotation(), n_t_);
    const double measured = job_.backward_even ? -estimate.lag : estimate.lag;
    nlohmann::json lag_details{{"measured", estimate.valid ? measured : std::nan("")},
                               {"uncertainty", estimate.uncertainty},
                               {"lines", estimate.used}};
    if (job_.lag)
        lag = *job_.lag;
    else if (estimate.significant)
        lag = std::abs(measured - std::round(measured)) < 0.15 ? std::round(measured) : measured;
    lag_details["undone"] = lag;
    const std::string seen = estimate.valid
                                 ? fmt::format("measured {:.3f} ± {:.3f} steps on {} lines",
                                               measured, estimate.uncertainty, estimate.used)
                                 : "too few lines to measure it";
    add_step("lag", lag != 0 ? "done" : "nothing found",
             lag != 0 ? fmt::format(
                            "{} lines moved back by {:.3g} steps{}; {}",
                            job_.backward_even ? "even" : "odd", lag,
                            lag == std::round(lag) ? "" : " (interpolated linearly, which smooths)",
                            seen)
                      : seen,
             lag_details);
    if (job_.lag && estimate.valid && estimate.significant &&
        std::abs(measured - lag) > 0.25 + 5 * estimate.uncertainty)
        warnings_.push_back(fmt::format("arrange.lag is {:.3g} steps, the data say {:.3f} ± {:.3f}",
                                        lag, measured, estimate.uncertainty));
}

void Conditioner::show_arrangement() {
    const auto& order = lines_.steps.order;
    add_map("recorded", "as recorded", kept(raw_total_));
    if (!lines_.steps.flux.empty())
        add_map("normalised", "after monitor and exposure", kept(flux_total_));
    if (order.flip != FlipLines::none || order.lag != 0)
        add_map("arranged", "after turning and moving lines", arranged(flux_total_));
}

void Conditioner::arrange_transmission() {
    if (!input_.transmission.empty()) {
        std::vector<double> plane = input_.transmission;
        if (job_.relative_transmission) {
            if (!input_.monitor.empty())
                for (std::size_t i = 0; i < plane.size(); ++i)
                    plane[i] /= input_.monitor[i];
            plane = conditioning::relative_transmission(plane, input_.n_rotation(), n_t_,
                                                        static_cast<std::size_t>(job_.air_edge));
        }
        auto& transmission = lines_.steps.transmission;
        const auto moved = arranged(std::vector<float>(plane.begin(), plane.end()));
        transmission.assign(moved.begin(), moved.end());
        add_step("transmission", job_.relative_transmission ? "done" : "off",
                 fmt::format("{}, median {:.4f}",
                             job_.relative_transmission
                                 ? "divided by the monitor and its level at the ends of the lines"
                                 : "kept as stored",
                             median([&] {
                                 std::vector<double> finite;
                                 for (const double value : transmission)
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

void Conditioner::examine() {
    const std::size_t passes = job_.air == AirScatter::edges ? 3 : 2;
    progress_ = std::make_unique<program::Progress>("condition", (passes + 1) * n_row(), true);
    choose_noise();
    find_flux();
    find_exposure();
    survey();
    decide_flip();
    decide_lag();
    show_arrangement();
    arrange_transmission();
    find_channels();
    done_ = n_row();
    find_air();
    find_spots();
    find_gains();
    choose_output();
}

} // namespace xrdct::condition
