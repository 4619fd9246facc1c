// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/pipeline/fbp_stage.hpp"

#include "base/error.hpp"
#include "base/units.hpp"
#include "jobs/pipeline/absorption_product.hpp"
#include "jobs/pipeline/map_output.hpp"
#include "jobs/pipeline/pipeline.hpp"
#include "jobs/pipeline/rates.hpp"
#include "jobs/pipeline/scan_rays.hpp"
#include "jobs/pipeline/volume_writer.hpp"
#include "jobs/program/progress.hpp"
#include "mpi/nexus/nexus.hpp"
#include "mpi/nexus/product_file.hpp"
#include "solvers/fbp/channel_passes.hpp"
#include "solvers/fbp/volume_reconstruction.hpp"

#include <array>
#include <cmath>

#include <fmt/format.h>

namespace xrdct::pipeline {

namespace {

constexpr std::array fbp_labels{
    QuantityLabel{"total", "total intensity", "", "", QuantityKind::intensity},
};

fbp::VolumeSize volume_size(const Scan& scan) {
    return {scan.geometry().rotation.size() * scan.geometry().translation.size(),
            scan.grid().size(), scan.n_channel()};
}

/// Throws Error when the memory of the run does not hold one channel.
std::size_t channels_of_pass(const Scan& scan, int ranks, std::uint64_t memory) {
    const auto size = volume_size(scan);
    const std::uint64_t per_rank = memory / static_cast<std::uint64_t>(ranks);
    const std::size_t channels = fbp::channels_per_pass(size, ranks, per_rank);
    if (channels == 0)
        throw Error(fmt::format("--memory: {:.0f} MB per rank do not hold one channel of this "
                                "scan; {:.0f} MB per rank are needed",
                                1e-6 * static_cast<double>(per_rank),
                                1e-6 * static_cast<double>(fbp::memory_per_rank(size, 1))));
    return channels;
}

void describe(hdf5::Group& stage, const StageContext& context) {
    const auto& scan = context.scan;
    if (!std::isnan(scan.wavelength()))
        nexus::write_value(stage, "incident_wavelength", scan.wavelength(), {"angstrom", ""});
    nexus::write_value(stage, "axis_offset", scan.geometry().axis_offset, {"mm", ""});
    stage.write_string("axis_note", context.axis_note);
    stage.write_string("noise", scan.noise_description());
}

void write_total(hdf5::Group& stage, const std::vector<double>& total,
                 const tomography::ImageGrid& grid) {
    auto map = nexus::require_data(stage, "total", "total", {"y", "x"});
    nexus::write_map(map, "total", total, grid.n, grid.n, {"intensity/mm", "total intensity"});
    write_image_axes(map, grid);
    nexus::set_default(map);
}

} // namespace

std::span<const QuantityLabel> FbpStage::quantities() const {
    return fbp_labels;
}

// The transmission found from the phases depends on them.
std::vector<std::string> FbpStage::tables(const settings::Job& job) const {
    if (job.absorption.method == settings::AbsorptionMethod::phases)
        return {"absorption", "fbp", "noise", "instrument", "rietveld", "phase", "peak"};
    return {"absorption", "fbp", "noise"};
}

std::vector<NeededProduct> FbpStage::needs(const settings::Job& job) const {
    return needed_absorption(job);
}

void FbpStage::check_inputs(const RunSize& run) const {
    if (run.memory > 0)
        channels_of_pass(run.scan, run.ranks, run.memory);
}

StageEstimate FbpStage::estimate(const RunSize& run) const {
    const auto size = rates::size_of(run.scan);
    StageEstimate one;
    one.stage = name();
    const auto per_pass = channels_of_pass(run.scan, run.ranks, run.memory);
    one.disk = static_cast<std::uint64_t>(4 * size.pixels * size.channels * (1 + 1.0 / 64));
    const double read = 4 * size.rays * size.channels;
    one.seconds = size.disc * size.rotations * size.channels / rates::back_projection / run.ranks +
                  (static_cast<double>(one.disk) + read) / rates::disk;
    one.memory = fbp::memory_per_rank(volume_size(run.scan), per_pass);
    return one;
}

StageSummary FbpStage::run(StageContext& context) const {
    program::Timings timings;
    const auto& scan = context.scan;
    const auto& communicator = context.communicator;
    const auto path = product_path(context.job, name());
    const std::size_t n_channel = scan.n_channel();
    fbp::VolumeOptions options;
    options.filter = fbp_options(context.job);
    options.channels_per_pass = channels_of_pass(scan, communicator.size(), context.options.memory);

    program::Progress progress(name(), n_channel, communicator.is_root());
    const ScanRays rays(scan, communicator, context.transmission);
    fbp::VolumeReconstruction volume(communicator, rays, scan.grid(), options);
    timings.lap("plan");

    auto product = nexus::ProductFile::create(path, existing(context.options), &communicator);
    {
        auto stage = write_provenance(product.root(), context.provenance, context.job.title);
        VolumeWriter writer(stage, scan.grid(), volume.variance_grid(), scan.two_theta(), n_channel,
                            scan.relative_variance());
        describe(stage, context);
        timings.lap("write");
        while (!volume.finished()) {
            volume.read();
            timings.lap("read");
            volume.reconstruct();
            timings.lap("compute");
            communicator.collectively([&] {
                if (!volume.own().empty())
                    writer.write(volume.own(), volume.image(), volume.variance());
            });
            timings.lap("write");
            progress.update(volume.done());
        }
        write_total(stage, volume.total(), scan.grid());
        const double misfit = volume.reprojection_misfit();
        nexus::write_value(stage, "reprojection_misfit", misfit,
                           {"", "relative misfit of the image's projections to the rays, both "
                                "summed over the channels"});
        timings.lap("write");
        write_timings(stage, timings);
    }
    product.commit();
    timings.lap("write");
    const std::size_t n = scan.grid().n;
    progress.finish(fmt::format("{} channels of {} x {} pixels", n_channel, n, n));
    return {name(),
            path,
            false,
            timings.total(),
            timings.parts(),
            {{"channels", static_cast<double>(n_channel)},
             {"channels_per_pass", static_cast<double>(options.channels_per_pass)}}};
}

} // namespace xrdct::pipeline
