#include "jobs/condition/conditioner.hpp"

#include "base/error.hpp"
#include "base/numbers.hpp"
#include "conditioning/stripes.hpp"

#include <algorithm>
#include <cmath>
#include <tuple>

#include <fmt/format.h>

namespace xrdct::condition {

void Conditioner::find_gains() {
    tomography::ScanGeometry geometry;
    geometry.rotation = rotation_;
    geometry.translation = input_.translation;
    const auto find_axis = [&]() -> std::optional<tomography::AxisResult> {
        try {
            return find_axis_offset(geometry, total_);
        } catch (const Error& error) {
            if (!job_.axis)
                throw Error(
                    fmt::format("{}: {} (key axis.offset)", job_.source.string(), error.what()));
            return std::nullopt;
        }
    };
    auto found = find_axis();
    const auto axis_of = [&] { return job_.axis ? *job_.axis : found->offset; };

    stripes_.factor.assign(n_t_, 1.0F);
    if (job_.stripes == Treat::off) {
        add_step("stripes", "off", "not asked for");
    } else {
        const double centre = (axis_of() - geometry.translation.front()) / geometry.step();
        auto stripes = find_stripes(total_, rotation_, n_t_, centre, job_.stripe_options);
        const bool any = !stripes.translations.empty();
        const bool correct = job_.stripes == Treat::correct;
        nlohmann::json details{{"noise", stripes.noise},
                               {"translations", stripes.translations},
                               {"undecided", stripes.undecided},
                               {"pairs_half_a_turn_apart", stripes.pairs}};
        for (const std::size_t t : stripes.translations)
            details["gains"].push_back(1 / stripes.factor[t]);
        add_step("stripes",
                 !any      ? "nothing found"
                 : correct ? "done"
                           : "found, left as they are",
                 fmt::format("{}{}gains scatter by {:.2g}",
                             any ? fmt::format("{} translations with another gain: {}; ",
                                               stripes.translations.size(),
                                               list_text(stripes.translations))
                                 : "",
                             stripes.undecided.empty()
                                 ? ""
                                 : fmt::format("at {} or the mirrored places there may be others, "
                                               "left as they are; ",
                                               list_text(stripes.undecided)),
                             stripes.noise),
                 details);
        if (any && correct) {
            add_map("before_stripes", "before stripes", total_);
            stripes_ = std::move(stripes);
            for (std::size_t i = 0; i < total_.size(); ++i)
                total_[i] *= stripes_.factor[i % n_t_];
            add_map("after_stripes", "after stripes", total_);
        }
    }

    scale_.assign(n_row(), 1.0F);
    if (job_.scaling == Treat::off) {
        add_step("scaling", "off", "not asked for");
    } else {
        const auto factors = conditioning::projection_factors(total_, n_row(), n_t_);
        const bool correct = job_.scaling == Treat::correct;
        const auto [low, high] = std::ranges::minmax(factors.factor);
        add_step("scaling", correct ? "done" : "found, left as they are",
                 fmt::format("totals of the projections scatter by {:.2f} %, extremes {:+.2f} and "
                             "{:+.2f} %{}",
                             100 * factors.spread, 100 * (1 / high - 1), 100 * (1 / low - 1),
                             factors.undetermined > 0
                                 ? fmt::format("; {} projections with gaps left as they are",
                                               factors.undetermined)
                                 : ""),
                 {{"spread", factors.spread},
                  {"smallest_factor", low},
                  {"largest_factor", high},
                  {"undetermined", factors.undetermined}});
        if (correct) {
            add_map("before_scaling", "before scaling", total_);
            scale_ = factors.factor;
            for (std::size_t i = 0; i < total_.size(); ++i)
                total_[i] *= scale_[i / n_t_];
            add_map("after_scaling", "after scaling", total_);
        }
    }

    found = find_axis();
    axis_ = axis_of();
    nlohmann::json details{{"offset_mm", axis_}, {"centred", job_.centre}};
    std::string text;
    const double step = std::abs(geometry.step());
    if (found) {
        const auto describe = [&](const tomography::AxisEstimate& one, const char* name) {
            details[name] = {{"valid", one.valid},
                             {"offset_mm", one.offset},
                             {"uncertainty_mm", one.uncertainty},
                             {"used", one.used}};
            return one.valid ? fmt::format("{:.5f} ± {:.5f} mm", one.offset, one.uncertainty)
                             : std::string("not possible");
        };
        text = fmt::format("{:.5f} mm{}; mirrored projections {}, centres of mass {}", axis_,
                           job_.axis ? " as stated" : "", describe(found->mirror, "mirror"),
                           describe(found->centre_of_mass, "centre_of_mass"));
        details["agree"] = found->agree;
        if (!found->agree)
            warnings_.push_back(fmt::format(
                "the two ways to find the rotation axis {}: mirrored projections {}, centres of "
                "mass {}; {:.5f} mm is used",
                found->mirror.valid && found->centre_of_mass.valid
                    ? fmt::format("disagree by {:.2f} steps",
                                  std::abs(found->mirror.offset - found->centre_of_mass.offset) /
                                      step)
                    : "cannot be compared",
                describe(found->mirror, "mirror"),
                describe(found->centre_of_mass, "centre_of_mass"), axis_));
        if (job_.axis && std::abs(found->offset - axis_) > 0.5 * step && found->agree)
            warnings_.push_back(fmt::format(
                "axis.offset is {} mm, both ways to find it say {:.5f} mm", axis_, found->offset));
    } else {
        text = fmt::format("{:.5f} mm as stated; it cannot be found in the data", axis_);
    }
    add_step("axis", job_.centre ? "done" : "found, left as it is",
             text + (job_.centre ? "; translations are counted from it" : ""), details);
}

void Conditioner::choose_output() {
    const auto indices = [&](const std::vector<double>& axis, const std::vector<double>& range,
                             const char* key) {
        std::size_t begin = 0, end = axis.size();
        if (!range.empty()) {
            const double slack = 1e-9 * (1 + std::abs(range[0]) + std::abs(range[1]));
            const auto inside = [&](std::size_t i) {
                return axis[i] >= range[0] - slack && axis[i] <= range[1] + slack;
            };
            while (begin < end && !inside(begin))
                ++begin;
            while (end > begin && !inside(end - 1))
                --end;
            if (begin == end)
                throw Error(fmt::format(
                    "{}: key '{}': nothing lies between {} and {}; the scan has "
                    "{} to {}",
                    job_.source.string(), key, range[0], range[1], axis.front(), axis.back()));
        }
        return std::pair{begin, end};
    };
    std::vector<double> places = input_.translation;
    if (job_.centre)
        for (double& place : places)
            place -= axis_;
    std::tie(row_begin_, row_end_) = indices(rotation_, job_.crop_rotation, "crop.rotation");
    std::tie(t_begin_, t_end_) = indices(places, job_.crop_translation, "crop.translation");
    std::tie(k_begin_, k_end_) = indices(input_.two_theta, job_.crop_two_theta, "crop.two_theta");
    if (job_.crop_symmetric) {
        const double centre = job_.centre ? 0 : axis_;
        const double slack = 0.5001 * std::abs(places[1] - places[0]);
        const double reach =
            std::min(std::abs(places[t_begin_] - centre), std::abs(places[t_end_ - 1] - centre));
        while (t_begin_ < t_end_ && std::abs(places[t_begin_] - centre) > reach + slack)
            ++t_begin_;
        while (t_end_ > t_begin_ && std::abs(places[t_end_ - 1] - centre) > reach + slack)
            --t_end_;
    }
    row_bins_ = conditioning::coarse_bins(row_end_ - row_begin_, job_.bin_rotation);
    t_bins_ = conditioning::coarse_bins(t_end_ - t_begin_, job_.bin_translation);
    k_bins_ = conditioning::coarse_bins(k_end_ - k_begin_, job_.bin_channel);
    const auto part = [](const std::vector<double>& axis, std::size_t begin, std::size_t end) {
        return std::span<const double>(axis).subspan(begin, end - begin);
    };
    out_rotation_ = rebin_axis(part(rotation_, row_begin_, row_end_), row_bins_);
    out_translation_ = rebin_axis(part(places, t_begin_, t_end_), t_bins_);
    out_two_theta_ = rebin_axis(part(input_.two_theta, k_begin_, k_end_), k_bins_);
    const bool cropped =
        row_end_ - row_begin_ < n_row() || t_end_ - t_begin_ < n_t_ || k_end_ - k_begin_ < n_k_;
    add_step("crop", cropped ? "done" : "off",
             fmt::format("{} × {} × {} of {} × {} × {} kept", row_end_ - row_begin_,
                         t_end_ - t_begin_, k_end_ - k_begin_, n_row(), n_t_, n_k_),
             {{"rotations", row_end_ - row_begin_},
              {"translations", t_end_ - t_begin_},
              {"channels", k_end_ - k_begin_}});
    const bool binned = job_.bin_rotation > 1 || job_.bin_translation > 1 || job_.bin_channel > 1;
    add_step("bin", binned ? "done" : "off",
             fmt::format("by {} × {} × {} to {} × {} × {}", job_.bin_rotation, job_.bin_translation,
                         job_.bin_channel, out_rotation_.size(), out_translation_.size(),
                         out_two_theta_.size()),
             {{"rotation", job_.bin_rotation},
              {"translation", job_.bin_translation},
              {"channel", job_.bin_channel}});
}

std::vector<double> Conditioner::pixels() const {
    if (input_.pixels.empty())
        return {};
    return rebin_sum(std::span(input_.pixels).subspan(k_begin_, k_end_ - k_begin_), k_bins_);
}

std::vector<double> Conditioner::transmission() const {
    if (transmission_.empty())
        return {};
    conditioning::Rebinning rebinning(t_bins_, conditioning::coarse_bins(1, 1), {});
    std::vector<double> result;
    std::vector<float> line(t_end_ - t_begin_), out(t_bins_.size());
    for (const auto& bin : row_bins_) {
        rebinning.clear();
        for (std::size_t i = 0; i < bin.share.size(); ++i) {
            const std::size_t row = row_begin_ + bin.first + i;
            for (std::size_t t = 0; t < line.size(); ++t)
                line[t] = static_cast<float>(transmission_[row * n_t_ + t_begin_ + t]);
            rebinning.add(line, {}, 1, bin.share[i]);
        }
        rebinning.finish(out, {});
        result.insert(result.end(), out.begin(), out.end());
    }
    return result;
}

void Conditioner::write(hdf5::Dataset& intensity, hdf5::Dataset* errors) {
    const std::size_t width = t_end_ - t_begin_, depth = k_end_ - k_begin_;
    std::vector<double> weights;
    if (!input_.pixels.empty())
        weights.assign(input_.pixels.begin() + static_cast<std::ptrdiff_t>(k_begin_),
                       input_.pixels.begin() + static_cast<std::ptrdiff_t>(k_end_));
    conditioning::Rebinning rebinning(t_bins_, k_bins_, weights);
    const bool plain = job_.bin_rotation == 1 && job_.bin_translation == 1 && job_.bin_channel == 1;
    std::vector<float> values(width * depth), variances(width * depth);
    const std::size_t out_size = t_bins_.size() * k_bins_.size();
    std::vector<float> out(out_size), out_variances(out_size), map;
    sum_after_.assign(k_bins_.size(), 0);
    count_after_.assign(k_bins_.size(), 0);
    for (std::size_t j = 0; j < row_bins_.size(); ++j) {
        const auto& bin = row_bins_[j];
        rebinning.clear();
        for (std::size_t i = 0; i < bin.share.size(); ++i) {
            const std::size_t row = row_begin_ + bin.first + i;
            const Line& line = prepared(row);
            for (std::size_t t = 0; t < width; ++t) {
                const float gain = stripes_.factor[t_begin_ + t] * scale_[row];
                const std::size_t from = (t_begin_ + t) * n_k_ + k_begin_;
                for (std::size_t k = 0; k < depth; ++k) {
                    values[t * depth + k] = gain * line.values[from + k];
                    variances[t * depth + k] = gain * gain * line.variances[from + k];
                }
            }
            if (job_.spots == Treat::correct || job_.spots == Treat::mask)
                for (const auto& spot : spots_[row]) {
                    if (spot.translation < t_begin_ || spot.translation >= t_end_ ||
                        spot.channel < k_begin_ || spot.channel >= k_end_)
                        continue;
                    const std::size_t at =
                        (spot.translation - t_begin_) * depth + spot.channel - k_begin_;
                    const float gain = stripes_.factor[spot.translation] * scale_[row];
                    if (job_.spots == Treat::mask) {
                        values[at] = variances[at] = missing_value;
                        continue;
                    }
                    const auto weighted = down_weight(spot);
                    values[at] = gain * weighted.value;
                    variances[at] = gain * gain * weighted.variance;
                }
            if (!plain)
                rebinning.add(values, variances, depth, bin.share[i]);
            progress_->update(++done_);
        }
        if (plain) {
            out = values;
            out_variances = variances;
        } else {
            rebinning.finish(out, out_variances);
        }
        for (std::size_t t = 0; t < t_bins_.size(); ++t) {
            double sum = 0, n = 0;
            for (std::size_t k = 0; k < k_bins_.size(); ++k) {
                const float value = out[t * k_bins_.size() + k];
                if (std::isnan(value))
                    continue;
                sum_after_[k] += value;
                count_after_[k] += 1;
                sum += value;
                n += 1;
            }
            map.push_back(n > 0 ? static_cast<float>(sum / n) : missing_value);
        }
        const hdf5::Selection where{{j, 0, 0}, {1, t_bins_.size(), k_bins_.size()}};
        intensity.write(where, std::span<const float>(out));
        if (errors != nullptr) {
            for (float& variance : out_variances)
                variance = std::sqrt(variance);
            errors->write(where, std::span<const float>(out_variances));
        }
    }
    maps_.push_back({"written",
                     "as written",
                     "intensity",
                     {map.begin(), map.end()},
                     out_rotation_,
                     out_translation_});
    progress_->finish();
}

std::vector<double> Conditioner::mean_after() const {
    std::vector<double> mean(sum_after_.size());
    for (std::size_t k = 0; k < mean.size(); ++k)
        mean[k] = count_after_[k] > 0 ? sum_after_[k] / count_after_[k] : std::nan("");
    return mean;
}

} // namespace xrdct::condition
