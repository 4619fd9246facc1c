#include "base/error.hpp"
#include "jobs/pipeline/pipeline.hpp"
#include "jobs/program/progress.hpp"
#include "mpi/comm/decomposition.hpp"
#include "mpi/nexus/nexus.hpp"
#include "mpi/nexus/product_file.hpp"
#include "tomography/fbp.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>

namespace xrdct::pipeline {

namespace {

/// The noise of a reconstruction varies slowly: variances are kept on pixels this many times
/// larger.
constexpr std::size_t variance_coarsening = 8;

/// Memory of a piece that is written at once.
constexpr std::size_t piece_bytes = std::size_t{4} << 20;

/// Writes [y][x][own channel] in pieces of a chunk's channels and whole chunks' rows, each
/// contiguous in memory: strided memory is what parallel HDF5 is slow at. Independent.
void write_channels(hdf5::Dataset& dataset, const std::vector<float>& values, std::size_t n,
                    mpi::BlockRange own, const std::array<std::size_t, 2>& chunk,
                    std::vector<float>& piece) {
    const auto [chunk_rows, chunk_channels] = chunk;
    for (std::size_t begin = own.begin; begin < own.end;) {
        const std::size_t end = std::min(own.end, (begin / chunk_channels + 1) * chunk_channels);
        const std::size_t count = end - begin;
        const std::size_t row_bytes = n * count * sizeof(float) * chunk_rows;
        const std::size_t rows = std::max<std::size_t>(1, piece_bytes / row_bytes) * chunk_rows;
        for (std::size_t y = 0; y < n; y += rows) {
            const std::size_t height = std::min(rows, n - y);
            piece.resize(height * n * count);
            for (std::size_t i = 0; i < height * n; ++i)
                std::copy_n(values.data() + (y * n + i) * own.size() + (begin - own.begin), count,
                            piece.data() + i * count);
            dataset.write(hdf5::Selection{{y, 0, begin}, {height, n, count}},
                          std::span<const float>(piece));
        }
        begin = end;
    }
}

} // namespace

tomography::FbpOptions fbp_options(const settings::Job& job) {
    tomography::FbpOptions options;
    options.filter.window = tomography::filter_window(job.fbp.window);
    options.filter.cutoff = job.fbp.cutoff;
    return options;
}

void write_image_axes(hdf5::Group& group, const tomography::ImageGrid& grid) {
    std::vector<double> axis(grid.n);
    for (std::size_t i = 0; i < grid.n; ++i)
        axis[i] = grid.coordinate(i);
    nexus::write_axis(group, "y", axis, {"mm", "y"});
    nexus::write_axis(group, "x", axis, {"mm", "x"});
}

StageSummary run_fbp_stage(StageContext& context) {
    program::Timings timings;
    const auto& scan = context.scan;
    const auto& communicator = context.communicator;
    const auto path = product_path(context.job, "fbp");
    const auto ranks = static_cast<std::size_t>(communicator.size());
    const tomography::ImageGrid grid = scan.grid();
    const tomography::ImageGrid coarse{(grid.n + variance_coarsening - 1) / variance_coarsening,
                                       grid.pixel * static_cast<double>(variance_coarsening)};
    const std::size_t rays = scan.geometry().rotation.size() * scan.geometry().translation.size();
    const std::size_t n_channel = scan.n_channel();
    const std::size_t per_pass = channels_per_pass(
        scan, communicator.size(), context.options.memory / static_cast<std::uint64_t>(ranks));
    const std::size_t block = per_pass * ranks;
    const std::size_t chunk_channels = std::min<std::size_t>(32, n_channel);
    const std::array<std::size_t, 2> chunk{std::min<std::size_t>(4, grid.n), chunk_channels},
        coarse_chunk{std::min<std::size_t>(4, coarse.n), chunk_channels};

    program::Progress progress("fbp", n_channel, communicator.is_root());
    auto fbp = communicator.collectively([&] {
        return tomography::FilteredBackProjection(scan.geometry(), grid, fbp_options(context.job));
    });
    timings.lap("plan");

    auto product =
        nexus::ProductFile::create(path,
                                   context.options.force ? nexus::ProductFile::Existing::replace
                                                         : nexus::ProductFile::Existing::refuse,
                                   &communicator);
    std::vector<double> total(grid.size(), 0.0);
    {
        auto stage = write_provenance(product.root(), context.provenance, context.job.title);
        auto volume_group =
            nexus::require_data(stage, "volume", "intensity", {"y", "x", "two_theta"});
        auto volume = volume_group.create_dataset("intensity", hdf5::ElementType::float32,
                                                  {grid.n, grid.n, n_channel},
                                                  {{chunk[0], grid.n, chunk_channels}});
        volume.set_attribute("units", "intensity/mm");
        auto variance = volume_group.create_dataset("coarse_variance", hdf5::ElementType::float32,
                                                    {coarse.n, coarse.n, n_channel},
                                                    {{coarse_chunk[0], coarse.n, chunk_channels}});
        variance.set_attribute("pixel", coarse.pixel);
        variance.set_attribute("kind", scan.relative_variance() ? "relative" : "absolute");
        variance.set_attribute("long_name",
                               "variance of intensity on pixels of the given size [mm]");
        write_image_axes(volume_group, grid);
        const auto two_theta = scan.two_theta();
        if (!two_theta.empty())
            nexus::write_axis(volume_group, "two_theta", two_theta, {"deg", "2theta"});
        else
            nexus::write_axis(volume_group, "two_theta", std::vector<double>{0.0},
                              {"", "single channel"});
        if (!std::isnan(scan.wavelength()))
            nexus::write_value(stage, "incident_wavelength", scan.wavelength(), {"angstrom", ""});
        nexus::write_value(stage, "axis_offset", scan.geometry().axis_offset, {"mm", ""});
        stage.write_string("axis_note", context.axis_note);
        stage.write_string("noise", scan.noise_description());
        timings.lap("write");

        std::vector<float> shard, variance_shard, image, image_variance, piece;
        for (std::size_t begin = 0; begin < n_channel; begin += block) {
            const mpi::BlockRange wanted{begin, std::min(begin + block, n_channel)};
            const auto own = scan::SinogramFile::own_channels(wanted, communicator);
            const mpi::BlockRange in_file{scan.channels().begin + wanted.begin,
                                          scan.channels().begin + wanted.end};
            communicator.collectively([&] {
                shard.resize(rays * own.size());
                variance_shard.resize(rays * own.size());
                image.resize(grid.size() * own.size());
                image_variance.resize(coarse.size() * own.size());
            });
            scan.file().read_channel_shard(communicator, in_file, shard);
            if (scan.noise() == settings::NoiseModel::errors)
                scan.file().read_channel_shard(communicator, in_file, variance_shard,
                                               scan::SinogramArray::errors);
            timings.lap("read");
            communicator.collectively([&] {
                if (own.empty())
                    return;
                condition_shard(context, own.begin, own.size(), shard, variance_shard);
                fbp.reconstruct(shard, own.size(), image);
                fbp.propagate_variance(variance_shard, own.size(), coarse, image_variance);
                for (std::size_t pixel = 0; pixel < grid.size(); ++pixel) {
                    double sum = 0;
                    const float* values = image.data() + pixel * own.size();
                    for (std::size_t k = 0; k < own.size(); ++k)
                        sum += std::isfinite(values[k]) ? values[k] : 0.0F;
                    total[pixel] += sum;
                }
            });
            timings.lap("compute");
            communicator.collectively([&] {
                if (own.empty())
                    return;
                write_channels(volume, image, grid.n, own, chunk, piece);
                write_channels(variance, image_variance, coarse.n, own, coarse_chunk, piece);
            });
            timings.lap("write");
            progress.update(wanted.end);
        }
        communicator.allreduce(std::span<double>(total), mpi::Reduction::sum);
        auto map = nexus::require_data(stage, "total", "total", {"y", "x"});
        nexus::write_map(map, "total", total, grid.n, grid.n, {"intensity/mm", "total intensity"});
        write_image_axes(map, grid);
        nexus::set_default(map);
        timings.lap("write");
        write_timings(stage, timings);
    }
    product.commit();
    timings.lap("write");
    progress.finish(fmt::format("{} channels of {} x {} pixels", n_channel, grid.n, grid.n));
    return {"fbp",
            path,
            false,
            timings.total(),
            timings.parts(),
            {{"channels", static_cast<double>(n_channel)},
             {"channels_per_pass", static_cast<double>(per_pass)}}};
}

} // namespace xrdct::pipeline
