// SPDX-License-Identifier: BSD-3-Clause
// write_sample_product FILE            a product by one process, without MPI
// write_sample_product FILE parallel   the same by all ranks, with a compressed volume written
// together write_sample_product --read FILE     opens a scan and prints what was found
#include "base/error.hpp"
#include "mpi/comm/communicator.hpp"
#include "mpi/comm/decomposition.hpp"
#include "mpi/comm/environment.hpp"
#include "mpi/nexus/nexus.hpp"
#include "mpi/nexus/product_file.hpp"
#include "mpi/scan/sinogram_file.hpp"

#include <cmath>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

namespace {

using namespace xrdct;

void write(const std::string& path, const mpi::Communicator* communicator) {
    auto product =
        nexus::ProductFile::create(path, nexus::ProductFile::Existing::replace, communicator);
    {
        auto root = product.root();
        std::string time = nexus::now_utc();
        if (communicator != nullptr)
            communicator->broadcast(time);
        nexus::write_root(root, "0.1.0", "abc", time);
        auto entry = nexus::require_class(root, "entry", "NXentry");
        entry.write_string("title", "sample, 20 \u00b5m");
        auto stage = nexus::require_class(entry, "rietveld", "NXprocess");
        stage.write_string("program", "xrdct");
        auto phase = nexus::require_data(stage, "NMC532 (P)", "a", {"y", "x"});
        std::vector<double> values(3 * 4);
        std::vector<double> errors(3 * 4, 0.001);
        for (std::size_t i = 0; i < values.size(); ++i)
            values[i] = 2.8 + 0.01 * static_cast<double>(i);
        values[5] = std::nan("");
        nexus::write_map(phase, "a", values, errors, 3, 4, {"angstrom", "a of the cathode"});
        nexus::write_axis(phase, "y", std::vector<double>{-1, 0, 1}, {"mm", "y"});
        nexus::write_axis(phase, "x", std::vector<double>{-2, -1, 0, 1}, {"mm", "x"});
        auto fbp = nexus::require_class(entry, "fbp", "NXprocess");
        auto total = nexus::require_data(fbp, "volume", "volume", {"channel", "y", "x"});
        nexus::write_axis(total, "channel", std::vector<double>{0, 1, 2, 3, 4, 5, 6}, {});
        auto volume = total.create_dataset("volume", hdf5::ElementType::float32, {7, 3, 4},
                                           hdf5::Storage{{1, 3, 4}, 4, true});
        const auto own = communicator == nullptr
                             ? mpi::BlockRange{0, 7}
                             : mpi::block_range(7, static_cast<std::size_t>(communicator->size()),
                                                static_cast<std::size_t>(communicator->rank()));
        std::vector<float> share(own.size() * 12);
        for (std::size_t i = 0; i < share.size(); ++i)
            share[i] = static_cast<float>(own.begin * 12 + i);
        volume.write(hdf5::Selection{{own.begin, 0, 0}, {own.size(), 3, 4}},
                     std::span<const float>(share), hdf5::Transfer::collective);
        entry.create_soft_link("a_map", "/entry/rietveld/NMC532 (P)/a");
        nexus::set_default(phase);
    }
    product.commit();
}

void read(const std::string& path) {
    const auto file = scan::SinogramFile::open(path);
    const auto& meta = file.metadata();
    std::vector<float> values(meta.n_rotation() * meta.n_translation() * meta.n_channel());
    file.read_rows({0, meta.n_rotation()}, {0, meta.n_channel()}, values);
    double sum = 0;
    for (std::size_t i = 0; i < values.size(); ++i)
        sum += static_cast<double>(values[i]) * static_cast<double>(i % 101);
    std::printf("%zu %zu %zu %.9g %.9g %.9g %.9g %.9g %.12g\n", meta.n_rotation(),
                meta.n_translation(), meta.n_channel(), meta.rotation.back(),
                meta.translation.front(), meta.two_theta.back(), meta.wavelength, meta.distance,
                sum);
}

} // namespace

int main(int argc, char** argv) {
    try {
        if (argc == 3 && std::string(argv[1]) == "--read") {
            read(argv[2]);
        } else if (argc == 3) {
            mpi::Environment environment(argc, argv);
            const auto world = mpi::Communicator::world();
            write(argv[1], &world);
        } else if (argc == 2) {
            write(argv[1], nullptr);
        } else {
            std::fprintf(stderr, "write_sample_product FILE [parallel] | --read FILE\n");
            return 2;
        }
    } catch (const Error& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
    return 0;
}
