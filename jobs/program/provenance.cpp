// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/program/provenance.hpp"

#include "base/error.hpp"
#include "jobs/program/version.hpp"
#include "mpi/files/checksum.hpp"
#include "mpi/nexus/nexus.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace xrdct::program {

std::map<std::string, std::string> input_checksums(const settings::Job& job,
                                                   const mpi::Communicator& communicator) {
    auto texts = communicator.collectively([&] {
        std::vector<std::string> list;
        if (communicator.is_root()) {
            std::vector<std::string> files{job.input.file.string()};
            for (const auto& phase : job.phases)
                files.push_back(phase.cif.string());
            if (!job.instrument.file.empty())
                files.push_back(job.instrument.file.string());
            for (const auto& phase : job.phases)
                if (const auto image = settings::mask_file(job.mask.images, phase.name);
                    !job.mask.images.empty() && std::filesystem::exists(image))
                    files.push_back(image.string());
            for (const auto& file : files) {
                list.push_back(file);
                list.push_back(files::sha256_of_file(file));
            }
        }
        return list;
    });
    communicator.broadcast(texts);
    std::map<std::string, std::string> checksums;
    for (std::size_t i = 0; i + 1 < texts.size(); i += 2)
        checksums[texts[i]] = texts[i + 1];
    return checksums;
}

void Timings::lap(const std::string& part) {
    const auto now = std::chrono::steady_clock::now();
    add(part, std::chrono::duration<double>(now - last_).count());
    last_ = now;
}

void Timings::add(const std::string& part, double seconds) {
    for (auto& [name, value] : parts_)
        if (name == part) {
            value += seconds;
            return;
        }
    parts_.emplace_back(part, seconds);
}

double Timings::total() const {
    double sum = 0;
    for (const auto& [name, seconds] : parts_)
        sum += seconds;
    return sum;
}

hdf5::Group write_provenance(hdf5::Group root, const Provenance& provenance,
                             const std::string& title) {
    nexus::write_root(root, program_version, revision(), provenance.date);
    auto entry = nexus::require_class(root, "entry", "NXentry");
    if (!title.empty())
        entry.write_string("title", title);
    auto stage = nexus::require_class(entry, provenance.stage, "NXprocess");
    stage.write_string("program", "xrdct");
    stage.write_string("version", program_version);
    stage.write_string("revision", revision());
    stage.write_string("date", provenance.date);
    stage.write_string("job", provenance.job);
    stage.write_string("settings", provenance.settings);
    stage.write_string("inputs", nlohmann::json(provenance.inputs).dump(1));
    stage.write_scalar("ranks", static_cast<std::int64_t>(provenance.ranks));
    return stage;
}

void write_timings(hdf5::Group& stage, const Timings& timings) {
    auto group = nexus::require_class(stage, "timings", "NXcollection");
    nexus::write_value(group, "total", timings.total(), {"s", ""});
    for (const auto& [name, seconds] : timings.parts())
        nexus::write_value(group, name, seconds, {"s", ""});
}

Provenance read_provenance(const std::filesystem::path& product, const std::string& stage) {
    const auto file = hdf5::File::open(product, hdf5::Access::read_only);
    const auto root = file.root();
    nexus::read_format_version(root);
    if (!root.has_group("entry/" + stage))
        throw Error(fmt::format("{} is not a product of the stage '{}'", product.string(), stage));
    const auto group = root.open_group("entry/" + stage);
    Provenance provenance;
    provenance.stage = stage;
    provenance.job = group.open_dataset("job").read_string();
    provenance.settings = group.open_dataset("settings").read_string();
    const auto inputs = group.open_dataset("inputs").read_string();
    try {
        nlohmann::json::parse(inputs).get_to(provenance.inputs);
    } catch (const nlohmann::json::exception&) {
        throw Error(
            fmt::format("{}: dataset /entry/{}/inputs is not valid", product.string(), stage));
    }
    provenance.ranks = static_cast<int>(group.open_dataset("ranks").read_scalar());
    return provenance;
}

} // namespace xrdct::program
