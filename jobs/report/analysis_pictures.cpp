// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/report/analysis_pictures.hpp"

#include "jobs/report/curve_picture.hpp"
#include "jobs/report/labels.hpp"
#include "jobs/report/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>

namespace xrdct::report {

namespace {

constexpr std::size_t min_bins = 3;

CurvePicture::Series series_of(const std::string& name, const maps::RadialProfile& profile) {
    return {name, profile.radius, profile.mean, profile.spread};
}

std::string weights_text(const std::string& weights) {
    if (weights == "none")
        return "every voxel counts the same";
    if (weights == "crystalline mass of the voxel")
        return "weighted with the crystalline mass of the voxel";
    return "weighted with the amount of the phase (" + describe_quantity(weights).text + ")";
}

/// One picture per quantity.
void add_profiles(const StageResult& stage, std::vector<PlannedPicture>& pictures) {
    std::vector<std::string> names;
    for (const PhaseResult& phase : stage.phases)
        for (const QuantityResult& quantity : phase.quantities)
            if (quantity.profile.filled() >= min_bins && quantity.quantity != "density" &&
                std::find(names.begin(), names.end(), quantity.quantity) == names.end())
                names.push_back(quantity.quantity);
    std::stable_sort(names.begin(), names.end(), [](const auto& a, const auto& b) {
        return quantity_order(a) < quantity_order(b);
    });
    for (const std::string& name : names) {
        CurvePicture picture;
        std::string weights;
        for (const PhaseResult& phase : stage.phases)
            for (const QuantityResult& quantity : phase.quantities)
                if (quantity.quantity == name && quantity.profile.filled() >= min_bins) {
                    picture.panels.push_back({phase.phase,
                                              name,
                                              quantity.units,
                                              {series_of(phase.phase, quantity.profile)}});
                    weights = quantity.profile_weights;
                }
        const std::string text = describe_quantity(name).text;
        if (picture.panels.size() == 1)
            picture.title = picture.panels.front().name + ": ";
        picture.title += text.size() <= 2 ? "radial profile of " + text : "radial profile, " + text;
        picture.title = capital(picture.title);
        picture.x_label = "distance from the centre";
        picture.x_units = stage.x.units;
        pictures.push_back(
            {PlannedPicture::Kind::profile, "profile_" + name,
             fmt::format("Radial profile of {} ({}): azimuthal mean (line) and standard deviation "
                         "over the voxels of a ring (band), {}.",
                         text, stage.stage, weights_text(weights)),
             [picture](const std::filesystem::path& stem, const PictureOptions& options) {
                 write_curve_picture(picture, stem, options);
             }});
    }
}

std::string origin_of(const ElectrodeResult& electrode) {
    std::string text;
    for (const settings::LithiumSettings& s : electrode.settings) {
        text += text.empty() ? "" : "; ";
        if (s.table.empty())
            text += fmt::format("{}: x = {} fixed", s.phase, format_number(s.content, 4));
        else
            text +=
                fmt::format("{}: from {} by a table of {} points, {}", s.phase, s.parameter,
                            s.table.size(), s.clamp ? "clamped to its ends" : "no value beyond it");
    }
    return text;
}

MapPicture lithium_picture(const StageResult& stage, const std::vector<double>& values,
                           const std::string& title, const std::string& quantity) {
    MapPicture picture;
    picture.values = values;
    picture.x = stage.x;
    picture.y = stage.y;
    picture.title = title;
    picture.quantity = quantity;
    return picture;
}

PlannedPicture lithium_map_picture(const StageResult& stage, const ElectrodeResult& electrode,
                                   const std::string& title) {
    const double least =
        std::isfinite(electrode.summary.median_error) ? electrode.summary.median_error : 0.0;
    return {PlannedPicture::Kind::lithium_map, "lithium_" + electrode.electrode,
            fmt::format("Lithium content x per host unit in the {}. {}. Grey: voxels without the "
                        "electrode, or without a lattice value, or beyond the table.",
                        electrode.electrode, origin_of(electrode)),
            [of = &stage, source = &electrode, title, least](const std::filesystem::path& stem,
                                                             const PictureOptions& options) {
                MapPicture picture = lithium_picture(*of, source->map.values, title, "lithium");
                picture.range = robust_range(picture.values, false, std::max(least, 0.01));
                write_map_picture(picture, stem, options);
            }};
}

PlannedPicture lithium_errors_picture(const StageResult& stage, const ElectrodeResult& electrode,
                                      const std::string& title) {
    return {PlannedPicture::Kind::lithium_errors, "lithium_" + electrode.electrode + "_errors",
            fmt::format("Standard deviation of the lithium content in the {}, from those of "
                        "the lattice parameters and amounts; the table is taken as exact.",
                        electrode.electrode),
            [of = &stage, source = &electrode, title](const std::filesystem::path& stem,
                                                      const PictureOptions& options) {
                write_map_picture(lithium_picture(*of, source->map.errors,
                                                  title + ", standard deviation", "lithium_errors"),
                                  stem, options);
            }};
}

PlannedPicture lithium_histogram(const ElectrodeResult& electrode, const std::string& title) {
    return {PlannedPicture::Kind::lithium_distribution,
            "lithium_" + electrode.electrode + "_histogram",
            fmt::format("Distribution of the lithium content in the {}, weighted with the "
                        "moles of host.",
                        electrode.electrode),
            [source = &electrode, title](const std::filesystem::path& stem,
                                         const PictureOptions& options) {
                HistogramPicture histogram;
                histogram.quantity = "lithium";
                histogram.title = title;
                histogram.weight_label = "share of the host";
                histogram.mean = source->summary.mean;
                histogram.median = source->summary.median;
                histogram.series.push_back(
                    {source->electrode, source->map.values, source->map.weights});
                write_histogram_picture(histogram, stem, options);
            }};
}

void add_lithium(const StageResult& stage, std::vector<PlannedPicture>& pictures) {
    CurvePicture profile;
    for (const ElectrodeResult& electrode : stage.lithium) {
        const std::string title = "Lithium in the " + electrode.electrode;
        pictures.push_back(lithium_map_picture(stage, electrode, title));
        if (std::any_of(electrode.map.errors.begin(), electrode.map.errors.end(),
                        [](double v) { return std::isfinite(v); }))
            pictures.push_back(lithium_errors_picture(stage, electrode, title));
        if (electrode.summary.count > 1 && !electrode.summary.uniform)
            pictures.push_back(lithium_histogram(electrode, title));
        if (electrode.profile.filled() >= min_bins)
            profile.panels.push_back({capital(electrode.electrode),
                                      "lithium",
                                      "",
                                      {series_of(electrode.electrode, electrode.profile)}});
    }
    if (profile.panels.empty())
        return;
    profile.title = "Radial profile of the lithium content";
    profile.x_label = "distance from the centre";
    profile.x_units = stage.x.units;
    pictures.push_back(
        {PlannedPicture::Kind::lithium_distribution, "profile_lithium",
         "Radial profile of the lithium content: azimuthal mean (line) and standard deviation over "
         "the voxels of a ring (band), weighted with the moles of host.",
         [profile](const std::filesystem::path& stem, const PictureOptions& options) {
             write_curve_picture(profile, stem, options);
         }});
}

} // namespace

std::vector<PlannedPicture> analysis_pictures(const StageResult& stage) {
    std::vector<PlannedPicture> pictures;
    add_profiles(stage, pictures);
    add_lithium(stage, pictures);
    return pictures;
}

} // namespace xrdct::report
