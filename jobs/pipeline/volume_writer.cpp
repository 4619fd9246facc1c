// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/pipeline/volume_writer.hpp"

#include "jobs/pipeline/map_output.hpp"
#include "mpi/nexus/nexus.hpp"

#include <algorithm>

namespace xrdct::pipeline {

namespace {

/// Memory of a piece that is written at once.
constexpr std::size_t piece_bytes = std::size_t{4} << 20;

} // namespace

VolumeWriter::Dataset VolumeWriter::make(hdf5::Group& group, const std::string& name, std::size_t n,
                                         std::size_t n_channel) {
    const std::array<std::size_t, 2> chunk{std::min<std::size_t>(4, n),
                                           std::min<std::size_t>(32, n_channel)};
    return {group.create_dataset(name, hdf5::ElementType::float32, {n, n, n_channel},
                                 {{chunk[0], n, chunk[1]}}),
            n, chunk};
}

VolumeWriter::VolumeWriter(hdf5::Group& stage, const tomography::ImageGrid& grid,
                           const tomography::ImageGrid& variance_grid,
                           const std::vector<double>& two_theta, std::size_t n_channel,
                           bool relative_variance)
    : group_(nexus::require_data(stage, "volume", "intensity", {"y", "x", "two_theta"})),
      intensity_(make(group_, "intensity", grid.n, n_channel)),
      variance_(make(group_, "coarse_variance", variance_grid.n, n_channel)) {
    intensity_.dataset.set_attribute("units", "intensity/mm");
    auto& variance = variance_.dataset;
    variance.set_attribute("pixel", variance_grid.pixel);
    variance.set_attribute("kind", relative_variance ? "relative" : "absolute");
    variance.set_attribute("long_name", "variance of intensity on pixels of the given size [mm]");
    write_image_axes(group_, grid);
    if (!two_theta.empty())
        nexus::write_axis(group_, "two_theta", two_theta, {"deg", "2theta"});
    else
        nexus::write_axis(group_, "two_theta", std::vector<double>{0.0}, {"", "single channel"});
}

void VolumeWriter::write(mpi::BlockRange own, const std::vector<float>& intensity,
                         const std::vector<float>& variance) {
    write(intensity_, own, intensity);
    write(variance_, own, variance);
}

// In pieces of a chunk's channels and whole chunks' rows, each contiguous in memory: strided memory
// is what parallel HDF5 is slow at.
void VolumeWriter::write(Dataset& to, mpi::BlockRange own, const std::vector<float>& values) {
    const auto [chunk_rows, chunk_channels] = to.chunk;
    const std::size_t n = to.n;
    for (std::size_t begin = own.begin; begin < own.end;) {
        const std::size_t end = std::min(own.end, (begin / chunk_channels + 1) * chunk_channels);
        const std::size_t count = end - begin;
        const std::size_t row_bytes = n * count * sizeof(float) * chunk_rows;
        const std::size_t rows = std::max<std::size_t>(1, piece_bytes / row_bytes) * chunk_rows;
        for (std::size_t y = 0; y < n; y += rows) {
            const std::size_t height = std::min(rows, n - y);
            piece_.resize(height * n * count);
            for (std::size_t i = 0; i < height * n; ++i)
                std::copy_n(values.data() + (y * n + i) * own.size() + (begin - own.begin), count,
                            piece_.data() + i * count);
            to.dataset.write(hdf5::Selection{{y, 0, begin}, {height, n, count}},
                             std::span<const float>(piece_));
        }
        begin = end;
    }
}

} // namespace xrdct::pipeline
