// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/pipeline/scan.hpp"

#include "base/error.hpp"
#include "jobs/pipeline/registry.hpp"

#include <cmath>

#include <fmt/format.h>

namespace xrdct::pipeline {

scan::SinogramSource sinogram_source(const settings::InputSettings& input,
                                     const settings::GeometrySettings& geometry) {
    scan::SinogramSource source;
    source.intensity = input.intensity;
    source.intensity_errors = input.intensity_errors;
    source.rotation = input.rotation;
    source.translation = input.translation;
    source.radial = input.radial;
    source.pixels = input.pixels;
    source.transmission = input.transmission;
    source.monitor = input.monitor;
    for (const auto& axis : input.axes)
        source.axis_order.push_back(axis == "rotation_angle" ? "rotation" : axis);
    source.rotation_units = input.rotation_unit;
    source.translation_units = input.translation_unit;
    source.radial_units = input.radial_unit;
    if (input.rotation_range.size() == 2)
        source.rotation_values = scan::AxisValues{input.rotation_range[0], input.rotation_range[1],
                                                  input.rotation_range_closed};
    if (input.translation_range.size() == 2)
        source.translation_values =
            scan::AxisValues{input.translation_range[0], input.translation_range[1], true};
    if (!std::isnan(geometry.wavelength))
        source.wavelength = geometry.wavelength;
    if (!std::isnan(geometry.energy))
        source.energy = geometry.energy;
    if (!std::isnan(geometry.distance))
        source.distance = geometry.distance;
    if (input.slice >= 0)
        source.stack_index = static_cast<std::size_t>(input.slice);
    return source;
}

namespace {

scan::SinogramSource source_of(const settings::Job& job) {
    auto source = sinogram_source(job.input, job.geometry);
    source.require_wavelength = fits_patterns(job);
    source.require_distance = false;
    source.allow_single_channel = !fits_patterns(job);
    return source;
}

/// The pattern model must know what the integration took out: Error when the scan says one thing
/// and the job, by default, another.
void check_corrections(const settings::Job& job, const scan::SinogramMetadata& metadata) {
    const auto& instrument = job.instrument;
    const auto check = [&](const std::optional<bool>& of_scan, bool of_job, bool stated,
                           const char* key, const char* what) {
        if (of_scan && *of_scan != of_job && !stated)
            throw Error(fmt::format("{}: says that the integration {} {}: set {} = {} in the job",
                                    job.input.file.string(),
                                    *of_scan ? "removed" : "did not remove", what, key, *of_scan));
    };
    check(metadata.polarization_corrected, instrument.polarization_corrected,
          instrument.polarization_stated, "instrument.polarization_corrected", "the polarisation");
    check(metadata.solid_angle_corrected, instrument.solid_angle_corrected,
          instrument.solid_angle_stated, "instrument.solid_angle_corrected", "the solid angle");
}

} // namespace

Scan Scan::open(const settings::Job& job) {
    Scan scan(scan::SinogramFile::open(job.input.file, source_of(job)));
    const auto& metadata = scan.metadata();
    check_corrections(job, metadata);

    auto& geometry = scan.geometry_;
    geometry.rotation = metadata.rotation;
    geometry.translation = metadata.translation;
    geometry.rotation_sense = job.geometry.rotation_sense;
    geometry.translation_sense = job.geometry.translation_sense;
    geometry.axis_offset = job.geometry.axis_offset.value_or(0.0);
    if (!std::isnan(metadata.distance))
        geometry.distance = metadata.distance;
    try {
        geometry.validate();
    } catch (const Error& error) {
        throw Error(fmt::format("{}: {}", job.input.file.string(), error.what()));
    }
    const double step = std::abs(geometry.step());
    geometry.beam_width = !std::isnan(job.geometry.beam_width) ? job.geometry.beam_width
                          : metadata.beam_extent               ? (*metadata.beam_extent)[0]
                                                               : step;
    scan.grid_ = default_grid(geometry);
    if (job.fbp.size > 0)
        scan.grid_.n = static_cast<std::size_t>(job.fbp.size);
    if (job.fbp.pixel > 0)
        scan.grid_.pixel = job.fbp.pixel;

    scan.channels_ = {0, metadata.n_channel()};
    const auto& two_theta = metadata.two_theta;
    if (!two_theta.empty()) {
        auto& range = scan.channels_;
        while (range.begin < range.end && two_theta[range.begin] < job.channels.two_theta_min)
            ++range.begin;
        while (range.end > range.begin && two_theta[range.end - 1] > job.channels.two_theta_max)
            --range.end;
        if (range.empty())
            throw Error(fmt::format("{}: no channel lies between channels.two_theta_min = {} and "
                                    "channels.two_theta_max = {} deg; the file has {} to {} deg",
                                    job.input.file.string(), job.channels.two_theta_min,
                                    job.channels.two_theta_max, two_theta.front(),
                                    two_theta.back()));
    }

    if (metadata.has_pixels) {
        const auto all = scan.file_.read_pixels();
        scan.pixels_.assign(all.begin() + static_cast<std::ptrdiff_t>(scan.channels_.begin),
                            all.begin() + static_cast<std::ptrdiff_t>(scan.channels_.end));
    }
    if (metadata.has_monitor) {
        const auto monitor = scan.file_.read_monitor();
        double sum = 0;
        std::size_t valid = 0;
        for (const double value : monitor)
            if (std::isfinite(value) && value > 0) {
                sum += value;
                ++valid;
            }
        if (valid == 0)
            throw Error(
                fmt::format("{}: the monitor has no positive value", job.input.file.string()));
        scan.monitor_factor_.resize(monitor.size());
        for (std::size_t i = 0; i < monitor.size(); ++i)
            scan.monitor_factor_[i] =
                monitor[i] > 0 ? static_cast<float>(sum / static_cast<double>(valid) / monitor[i])
                               : std::numeric_limits<float>::quiet_NaN();
    }

    scan.noise_ = job.noise;
    if (scan.noise_ == settings::NoiseModel::errors && !metadata.has_errors)
        throw Error(
            fmt::format("{}: noise.model is \"errors\" but the file has no intensity_errors",
                        job.input.file.string()));
    if (scan.noise_ == settings::NoiseModel::automatic)
        scan.noise_ =
            metadata.has_errors || metadata.has_pixels || metadata.intensity_units == "counts"
                ? (metadata.has_errors ? settings::NoiseModel::errors
                                       : settings::NoiseModel::counts)
                : settings::NoiseModel::estimate;
    return scan;
}

std::vector<double> Scan::two_theta() const {
    const auto& all = metadata().two_theta;
    if (all.empty())
        return {};
    return {all.begin() + static_cast<std::ptrdiff_t>(channels_.begin),
            all.begin() + static_cast<std::ptrdiff_t>(channels_.end)};
}

std::string Scan::noise_description() const {
    switch (noise_) {
    case settings::NoiseModel::errors:
        return "standard deviations given in the file";
    case settings::NoiseModel::counts:
        return pixels_.empty()
                   ? "Poisson statistics of the counts"
                   : "Poisson statistics of azimuthal means, with the pixels per channel";
    default:
        return "proportional to the intensity; e.s.d. scaled by the goodness of fit";
    }
}

std::vector<float> Scan::transmission() const {
    if (!metadata().has_transmission)
        throw Error(fmt::format("{}: absorption.method is \"transmission\" but the file has no "
                                "transmission; name the dataset in input.transmission",
                                file_.path().string()));
    const auto values = file_.read_transmission();
    return {values.begin(), values.end()};
}

} // namespace xrdct::pipeline
