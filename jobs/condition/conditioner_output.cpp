// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/condition/conditioner.hpp"

#include "base/error.hpp"
#include "base/numbers.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

// Gains and axis, from maps; what is written.
namespace xrdct::condition {

void Conditioner::find_gains() {
    tomography::ScanGeometry geometry;
    geometry.rotation = rotation_;
    geometry.translation = input_.translation;
    const auto estimate = [&]() -> std::optional<tomography::AxisResult> {
        try {
            return find_axis_offset(geometry, total_);
        } catch (const Error& error) {
            if (!job_.axis)
                throw Error(
                    fmt::format("{}: {} (key axis.offset)", job_.source.string(), error.what()));
            return std::nullopt;
        }
    };
    const auto before = estimate();
    find_stripes(geometry, job_.axis ? *job_.axis : before->offset);
    find_scaling();
    const auto found = estimate();
    axis_ = job_.axis ? *job_.axis : found->offset;
    find_axis(geometry, found);
}

void Conditioner::find_stripes(const tomography::ScanGeometry& geometry, double axis) {
    stripes_.factor.assign(n_t_, 1.0F);
    if (job_.stripes == Treat::off) {
        add_step("stripes", "off", "not asked for");
        return;
    }
    const double centre = (axis - geometry.translation.front()) / geometry.step();
    auto stripes = conditioning::find_stripes(total_, rotation_, n_t_, centre, job_.stripe_options);
    const bool any = !stripes.translations.empty();
    const bool correct = job_.stripes == Treat::correct;
    nlohmann::json details{{"noise", stripes.noise},
                           {"translations", stripes.translations},
                           {"undecided", stripes.undecided},
                           {"pairs_half_a_turn_apart", stripes.pairs}};
    for (const std::size_t t : stripes.translations)
        details["gains"].push_back(1 / stripes.factor[t]);
    add_step(
        "stripes",
        !any      ? "nothing found"
        : correct ? "done"
                  : "found, left as they are",
        fmt::format("{}{}gains scatter by {:.2g}",
                    any ? fmt::format("{} translations with another gain: {}; ",
                                      stripes.translations.size(), list_text(stripes.translations))
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

void Conditioner::find_scaling() {
    scale_.assign(n_row(), 1.0F);
    if (job_.scaling == Treat::off) {
        add_step("scaling", "off", "not asked for");
        return;
    }
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

void Conditioner::find_axis(const tomography::ScanGeometry& geometry,
                            const std::optional<tomography::AxisResult>& found) {
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
    const auto part = [&](const std::vector<double>& axis, const std::vector<double>& range,
                          const char* key) {
        const auto indices = conditioning::indices_within(axis, range);
        if (indices.size() == 0)
            throw Error(fmt::format("{}: key '{}': nothing lies between {} and {}; the scan has "
                                    "{} to {}",
                                    job_.source.string(), key, range[0], range[1], axis.front(),
                                    axis.back()));
        return indices;
    };
    std::vector<double> places = input_.translation;
    if (job_.centre)
        for (double& place : places)
            place -= axis_;
    grid_.row = part(rotation_, job_.crop_rotation, "crop.rotation");
    grid_.translation = part(places, job_.crop_translation, "crop.translation");
    grid_.channel = part(input_.two_theta, job_.crop_two_theta, "crop.two_theta");
    if (job_.crop_symmetric)
        grid_.translation =
            conditioning::symmetric_part(places, grid_.translation, job_.centre ? 0 : axis_);
    grid_.bin(job_.bin_rotation, job_.bin_translation, job_.bin_channel, rotation_, places,
              input_.two_theta);
    const bool cropped = grid_.row.size() < n_row() || grid_.translation.size() < n_t_ ||
                         grid_.channel.size() < n_k_;
    add_step("crop", cropped ? "done" : "off",
             fmt::format("{} × {} × {} of {} × {} × {} kept", grid_.row.size(),
                         grid_.translation.size(), grid_.channel.size(), n_row(), n_t_, n_k_),
             {{"rotations", grid_.row.size()},
              {"translations", grid_.translation.size()},
              {"channels", grid_.channel.size()}});
    const bool binned = job_.bin_rotation > 1 || job_.bin_translation > 1 || job_.bin_channel > 1;
    add_step("bin", binned ? "done" : "off",
             fmt::format("by {} × {} × {} to {} × {} × {}", job_.bin_rotation, job_.bin_translation,
                         job_.bin_channel, grid_.rotation.size(), grid_.places.size(),
                         grid_.two_theta.size()),
             {{"rotation", job_.bin_rotation},
              {"translation", job_.bin_translation},
              {"channel", job_.bin_channel}});
}

std::vector<double> Conditioner::pixels() const {
    if (input_.pixels.empty())
        return {};
    return rebin_sum(std::span(input_.pixels).subspan(grid_.channel.begin, grid_.channel.size()),
                     grid_.channel_bins);
}

std::vector<double> Conditioner::transmission() const {
    const auto& plane = lines_.steps.transmission;
    return plane.empty() ? std::vector<double>{} : grid_.rebin_plane(plane, n_t_);
}

void Conditioner::add_written(std::span<const float> line, std::vector<float>& map) {
    const std::size_t depth = grid_.channel_bins.size();
    for (std::size_t t = 0; t < grid_.translation_bins.size(); ++t) {
        double sum = 0, n = 0;
        for (std::size_t k = 0; k < depth; ++k) {
            const float value = line[t * depth + k];
            if (std::isnan(value))
                continue;
            sum_after_[k] += value;
            count_after_[k] += 1;
            sum += value;
            n += 1;
        }
        map.push_back(n > 0 ? static_cast<float>(sum / n) : missing_value);
    }
}

void Conditioner::write(hdf5::Dataset& intensity, hdf5::Dataset* errors) {
    const std::size_t width = grid_.translation.size(), depth = grid_.channel.size();
    std::vector<double> weights;
    if (!input_.pixels.empty())
        weights.assign(input_.pixels.begin() + static_cast<std::ptrdiff_t>(grid_.channel.begin),
                       input_.pixels.begin() + static_cast<std::ptrdiff_t>(grid_.channel.end));
    conditioning::Rebinning rebinning(grid_.translation_bins, grid_.channel_bins, weights);
    const bool plain = job_.bin_rotation == 1 && job_.bin_translation == 1 && job_.bin_channel == 1;
    const auto use = job_.spots == Treat::correct ? conditioning::OutlierUse::weight
                     : job_.spots == Treat::mask  ? conditioning::OutlierUse::mask
                                                  : conditioning::OutlierUse::leave;
    std::vector<float> values(width * depth), variances(width * depth), gain(n_t_), map;
    const hdf5::Shape shape{1, grid_.translation_bins.size(), grid_.channel_bins.size()};
    std::vector<float> out(shape[1] * shape[2]), out_variances(out.size());
    sum_after_.assign(shape[2], 0);
    count_after_.assign(shape[2], 0);
    for (std::size_t j = 0; j < grid_.row_bins.size(); ++j) {
        const auto& bin = grid_.row_bins[j];
        rebinning.clear();
        for (std::size_t i = 0; i < bin.share.size(); ++i) {
            const std::size_t row = grid_.row.begin + bin.first + i;
            for (std::size_t t = 0; t < n_t_; ++t)
                gain[t] = stripes_.factor[t] * scale_[row];
            cut_line(lines_.prepared(row), grid_, n_k_, gain, spots_[row], use, values, variances);
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
        add_written(out, map);
        const hdf5::Selection where{{j, 0, 0}, shape};
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
                     grid_.rotation,
                     grid_.places});
    progress_->finish();
}

std::vector<double> Conditioner::mean_after() const {
    std::vector<double> mean(sum_after_.size());
    for (std::size_t k = 0; k < mean.size(); ++k)
        mean[k] = count_after_[k] > 0 ? sum_after_[k] / count_after_[k] : std::nan("");
    return mean;
}

} // namespace xrdct::condition
