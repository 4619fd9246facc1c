// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/commands/simulate_frames.hpp"

#include "base/error.hpp"
#include "base/units.hpp"
#include "jobs/program/progress.hpp"
#include "jobs/program/version.hpp"
#include "mpi/comm/decomposition.hpp"
#include "mpi/files/text_file.hpp"
#include "mpi/frames/poni_file.hpp"
#include "mpi/nexus/nexus.hpp"
#include "mpi/nexus/product_file.hpp"
#include "phantom/poisson.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include <fmt/format.h>

namespace xrdct::commands {

namespace {

constexpr std::size_t refinement = 4; ///< fine channels per channel of the scan

/// Where each pixel takes its mean count from.
struct PixelTable {
    std::vector<std::uint32_t> channel; ///< fine channel below the pixel's 2θ
    std::vector<float> part;            ///< of the way to the next
    std::vector<float> factor;          ///< Ω P/P₀; 0: beyond the channels
};

PixelTable make_table(const integration::DetectorGeometry& geometry,
                      const phantom::ScanDesign& scan, const phantom::ScanDesign& fine,
                      double polarization) {
    const integration::PixelDirections directions(geometry);
    PixelTable table;
    const std::size_t n = geometry.pixels();
    table.channel.assign(n, 0);
    table.part.assign(n, 0.0F);
    table.factor.assign(n, 0.0F);
    const double from = scan.two_theta_first - 0.5 * scan.two_theta_width,
                 to = from + scan.two_theta_width * static_cast<double>(scan.channels);
    for (std::size_t p = 0; p < n; ++p) {
        const double row = static_cast<double>(p / geometry.columns) + 0.5,
                     column = static_cast<double>(p % geometry.columns) + 0.5;
        const double two_theta = directions.two_theta(row, column), angle = degrees(two_theta);
        if (angle < from || angle > to)
            continue;
        const double position = std::clamp((angle - fine.two_theta_first) / fine.two_theta_width,
                                           0.0, static_cast<double>(fine.channels) - 1.001);
        table.channel[p] = static_cast<std::uint32_t>(position);
        table.part[p] = static_cast<float>(position - std::floor(position));
        const double cosine = std::cos(two_theta);
        table.factor[p] = static_cast<float>(directions.solid_angle(row, column) *
                                             directions.polarization(row, column, polarization, 0) /
                                             (0.5 * (1 + cosine * cosine)));
    }
    return table;
}

template <typename Count>
void write_line(hdf5::Group& data, hdf5::ElementType type,
                const integration::DetectorGeometry& geometry, const PixelTable& table,
                const phantom::ScanSimulator& fine, std::size_t line, double scale,
                std::vector<float>& spectra, std::vector<float>& transmission) {
    const std::size_t n = fine.n_translations(), channels = fine.n_channels();
    const std::size_t pixels = geometry.pixels();
    fine.simulate_rotation(line, spectra, transmission);
    auto stored = data.create_dataset("data", type, {n, geometry.rows, geometry.columns},
                                      {{1, geometry.rows, geometry.columns}, 1, true});
    stored.set_attribute("units", "counts");
    std::vector<Count> frame(pixels);
    // A stream of its own: the sinogram's noise is another.
    constexpr std::uint64_t stream = 0x6672616d6573;
    for (std::size_t t = 0; t < n; ++t) {
        const float* spectrum = &spectra[t * channels];
        phantom::RayRandom random(fine.scan().seed ^ stream, line, t);
        for (std::size_t p = 0; p < pixels; ++p) {
            const float below = spectrum[table.channel[p]], above = spectrum[table.channel[p] + 1];
            const double mean = scale * table.factor[p] * (below + table.part[p] * (above - below));
            const double count = fine.scan().noise ? random.poisson(mean) : std::round(mean);
            frame[p] = static_cast<Count>(count);
        }
        stored.write(hdf5::Selection{{t, 0, 0}, {1, geometry.rows, geometry.columns}},
                     std::span<const Count>(frame));
    }
}

} // namespace

integration::DetectorGeometry frame_geometry(const phantom::ScanDesign& scan,
                                             const FrameDetector& detector) {
    constexpr double margin = 0.06; // of the side, beyond the beam's place and the last channel
    integration::DetectorGeometry geometry;
    geometry.rows = geometry.columns = detector.pixels;
    geometry.wavelength = scan.wavelength;
    geometry.rotation_1 = 0.008;
    geometry.rotation_2 = -0.006;
    geometry.rotation_3 = 0.1;
    const double cosines = std::cos(geometry.rotation_1) * std::cos(geometry.rotation_2);
    geometry.distance = scan.distance * cosines;
    const double last =
        scan.two_theta_first + scan.two_theta_width * (static_cast<double>(scan.channels) - 0.5);
    const double side = scan.distance * std::tan(radians(last)) / (1 - 2 * margin);
    geometry.pixel_1 = geometry.pixel_2 = side / static_cast<double>(detector.pixels);
    // The beam meets the detector a margin away from the first row and column.
    geometry.poni_1 = margin * side - std::sin(geometry.rotation_2) * scan.distance;
    geometry.poni_2 = margin * side +
                      std::cos(geometry.rotation_2) * std::sin(geometry.rotation_1) * scan.distance;
    return geometry;
}

std::string write_frames(const phantom::ScanSimulator& simulator, double scale,
                         const FrameDetector& detector, const std::filesystem::path& folder,
                         bool force, const mpi::Communicator& world) {
    const auto& scan = simulator.scan();
    const auto geometry = frame_geometry(scan, detector);
    auto design = scan;
    design.channels = scan.channels * refinement;
    design.two_theta_width = scan.two_theta_width / static_cast<double>(refinement);
    design.two_theta_first =
        scan.two_theta_first - 0.5 * scan.two_theta_width + 0.5 * design.two_theta_width;
    const auto fine =
        world.collectively([&] { return phantom::ScanSimulator(simulator.cell(), design); });
    const auto poni = folder / "detector.poni";
    world.collectively([&] {
        if (!world.is_root())
            return;
        std::error_code code;
        std::filesystem::create_directories(folder, code);
        if (code)
            throw Error(
                fmt::format("{}: the folder cannot be made: {}", folder.string(), code.message()));
        if (std::filesystem::exists(poni) && !force)
            throw Error(fmt::format("{} exists; --force replaces it", poni.string()));
        files::write_text_file(poni, frames::poni_text(geometry, "detector of simulated frames"));
    });

    const auto lines = mpi::block_range(fine.n_rotations(), static_cast<std::size_t>(world.size()),
                                        static_cast<std::size_t>(world.rank()));
    const auto rotation = fine.rotation(), translation = fine.translation();
    std::string date = nexus::now_utc();
    world.broadcast(date);
    program::Progress progress("frames", lines.size(), world.is_root());
    world.collectively([&] {
        const auto table = make_table(geometry, scan, design, detector.polarization);
        std::vector<float> spectra(fine.n_translations() * fine.n_channels()),
            transmission(fine.n_translations());
        for (std::size_t i = lines.begin; i < lines.end; ++i) {
            auto product = nexus::ProductFile::create(folder / fmt::format("line_{:04}.h5", i),
                                                      force ? nexus::ProductFile::Existing::replace
                                                            : nexus::ProductFile::Existing::refuse);
            {
                auto root = product.root();
                nexus::write_root(root, program_version, revision(), date);
                auto entry = nexus::require_class(root, "entry", "NXentry");
                auto data = nexus::require_data(entry, "data", "data", {"translation", ".", "."});
                // Peaks stand out above the percentile that the scale is made of.
                if (scan.counts < 6000)
                    write_line<std::uint16_t>(data, hdf5::ElementType::uint16, geometry, table,
                                              fine, i, scale, spectra, transmission);
                else
                    write_line<std::int32_t>(data, hdf5::ElementType::int32, geometry, table, fine,
                                             i, scale, spectra, transmission);
                nexus::write_axis(data, "translation", translation, {"mm", "translation"});
                nexus::write_axis(data, "rotation_angle",
                                  std::vector<double>(translation.size(), rotation[i]),
                                  {"deg", "rotation angle"});
                data.write_array("transmission", {transmission.size()},
                                 std::span<const float>(transmission));
            }
            product.commit();
            progress.update(i + 1 - lines.begin);
        }
    });
    progress.finish();
    const double from = scan.two_theta_first - 0.5 * scan.two_theta_width;
    return fmt::format("xrdct integrate '{}/line_*.h5' --poni {} --polarization {} --channels {} "
                       "--min {:.10g} --max {:.10g} --output {}",
                       folder.string(), poni.string(), detector.polarization, scan.channels, from,
                       from + scan.two_theta_width * static_cast<double>(scan.channels),
                       (folder.parent_path() / "integrated.nxs").string());
}

} // namespace xrdct::commands
