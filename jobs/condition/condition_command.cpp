// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/condition/condition_command.hpp"

#include "base/error.hpp"
#include "jobs/condition/conditioner.hpp"
#include "jobs/condition/input.hpp"
#include "jobs/condition/job.hpp"
#include "jobs/condition/report.hpp"
#include "jobs/program/command_line.hpp"
#include "jobs/program/program.hpp"
#include "jobs/program/provenance.hpp"
#include "jobs/program/version.hpp"
#include "mpi/files/checksum.hpp"
#include "mpi/files/text_file.hpp"
#include "mpi/nexus/nexus.hpp"
#include "mpi/nexus/product_file.hpp"

#include <cmath>
#include <cstdio>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace xrdct::condition {

namespace {

nlohmann::json steps_json(const Conditioner& conditioner) {
    nlohmann::json list = nlohmann::json::array();
    for (const auto& step : conditioner.steps())
        list.push_back({{"step", step.name},
                        {"outcome", step.state},
                        {"text", step.text},
                        {"details", step.details}});
    return list;
}

void write_description(hdf5::Group& entry, const ConditionInput& input, const ConditionJob& job) {
    if (!input.start_time.empty())
        entry.write_string("start_time", input.start_time);
    auto instrument = nexus::require_class(entry, "instrument", "NXinstrument");
    auto beam = nexus::require_class(instrument, "beam", "NXbeam");
    if (!std::isnan(input.wavelength))
        nexus::write_value(beam, "incident_wavelength", input.wavelength, {"angstrom", ""});
    std::vector<double> extent;
    if (!std::isnan(job.geometry.beam_width))
        extent = {job.geometry.beam_width,
                  input.beam_extent ? (*input.beam_extent)[1] : job.geometry.beam_width};
    else if (input.beam_extent)
        extent = {(*input.beam_extent)[0], (*input.beam_extent)[1]};
    if (!extent.empty())
        beam.write_array("extent", {2}, std::span<const double>(extent))
            .set_attribute("units", "mm");
    auto detector = nexus::require_class(instrument, "detector", "NXdetector");
    if (!std::isnan(input.distance))
        nexus::write_value(detector, "distance", input.distance, {"mm", ""});
    auto sample = nexus::require_class(entry, "sample", "NXsample");
    if (!input.sample_name.empty())
        sample.write_string("name", input.sample_name);
}

/// What the steps found, beside the scan.
void write_record(hdf5::Group& process, const ConditionInput& input,
                  const Conditioner& conditioner) {
    process.write_string("steps", steps_json(conditioner).dump(1));
    process.write_string("noise", conditioner.noise_description());
    process.write_string("warnings", nlohmann::json(conditioner.warnings()).dump(1));
    process.write_string("notes", nlohmann::json(input.notes).dump(1));
    for (const auto& map : conditioner.maps()) {
        auto group =
            nexus::require_data(process, map.name, map.quantity, {"rotation_angle", "translation"});
        group.set_attribute("title", map.title);
        nexus::write_map(group, map.quantity, map.values, map.rotation.size(),
                         map.translation.size());
        nexus::write_axis(group, "rotation_angle", map.rotation, {"deg", "rotation angle"});
        nexus::write_axis(group, "translation", map.translation, {"mm", "translation"});
    }
    auto channels = nexus::require_data(process, "channels", "mean", {"two_theta"});
    const std::size_t n = input.n_channel();
    nexus::write_axis(channels, "two_theta", input.two_theta, {"deg", "2theta"});
    channels.write_array("mean", {n}, std::span<const double>(conditioner.mean_before()));
    channels.write_array("masked", {n}, std::span<const std::uint8_t>(conditioner.dead_channels()));
    if (!conditioner.air().empty())
        channels.write_array("air", {n}, std::span<const double>(conditioner.air()));
    auto gains = nexus::require_class(process, "gains", "NXcollection");
    gains.write_array("stripes", {conditioner.stripe_factors().size()},
                      std::span<const float>(conditioner.stripe_factors()));
    gains.write_array("scaling", {conditioner.scaling_factors().size()},
                      std::span<const float>(conditioner.scaling_factors()));
    nexus::write_axis(gains, "translation", conditioner.full_translation(), {"mm", "translation"});
    nexus::write_axis(gains, "rotation_angle", conditioner.full_rotation(),
                      {"deg", "rotation angle"});
    auto spots = nexus::require_class(process, "spots_list", "NXcollection");
    std::vector<std::int32_t> rotation, translation, channel;
    std::vector<float> observed, expected, weight;
    for (std::size_t row = 0; row < conditioner.spots().size(); ++row)
        for (const auto& spot : conditioner.spots()[row]) {
            rotation.push_back(static_cast<std::int32_t>(row));
            translation.push_back(static_cast<std::int32_t>(spot.translation));
            channel.push_back(static_cast<std::int32_t>(spot.channel));
            observed.push_back(spot.observed);
            expected.push_back(spot.expected);
            weight.push_back(spot.weight);
        }
    if (rotation.empty())
        return;
    for (const auto& [name, values] :
         {std::pair{"rotation", &rotation}, {"translation", &translation}, {"channel", &channel}})
        spots.write_array(name, {values->size()}, std::span<const std::int32_t>(*values));
    for (const auto& [name, values] :
         {std::pair{"observed", &observed}, {"expected", &expected}, {"weight", &weight}})
        spots.write_array(name, {values->size()}, std::span<const float>(*values));
}

void write_scan(const ConditionJob& job, const ConditionInput& input, Conditioner& conditioner,
                const std::filesystem::path& path, bool force, program::Timings& timings) {
    program::Provenance provenance;
    provenance.stage = "condition";
    provenance.job = provenance.settings = job.resolved;
    provenance.date = nexus::now_utc();
    for (const auto& file : input.files)
        provenance.inputs[file.string()] = files::sha256_of_file(file);
    if (!job.air_file.empty())
        provenance.inputs[job.air_file.string()] = files::sha256_of_file(job.air_file);
    timings.lap("checksums");

    auto product = nexus::ProductFile::create(path, force ? nexus::ProductFile::Existing::replace
                                                          : nexus::ProductFile::Existing::refuse);
    {
        auto process = write_provenance(product.root(), provenance,
                                        job.title.empty() ? input.title : job.title);
        auto entry = product.root().open_group("entry");
        write_description(entry, input, job);
        const std::size_t n_r = conditioner.rotation().size(),
                          n_t = conditioner.translation().size(),
                          n_k = conditioner.two_theta().size();
        auto data = nexus::require_data(entry, "data", "intensity",
                                        {"rotation_angle", "translation", "two_theta"});
        nexus::write_axis(data, "rotation_angle", conditioner.rotation(),
                          {"deg", "rotation angle"});
        nexus::write_axis(data, "translation", conditioner.translation(), {"mm", "translation"});
        nexus::write_axis(data, "two_theta", conditioner.two_theta(), {"deg", "2theta"});
        if (const auto pixels = conditioner.pixels(); !pixels.empty())
            data.write_array("pixels", {pixels.size()}, std::span<const double>(pixels));
        if (const auto plane = conditioner.transmission(); !plane.empty())
            data.write_array("transmission", {n_r, n_t}, std::span<const double>(plane));
        for (const auto& [name, value] :
             {std::pair{"solid_angle_corrected", &input.solid_angle_corrected},
              {"polarization_corrected", &input.polarization_corrected}})
            if (*value)
                data.set_attribute(name, **value ? 1 : 0);
        auto intensity =
            data.create_dataset("intensity", hdf5::ElementType::float32, {n_r, n_t, n_k});
        std::optional<hdf5::Dataset> errors;
        if (conditioner.writes_errors())
            errors = data.create_dataset("intensity_errors", hdf5::ElementType::float32,
                                         {n_r, n_t, n_k});
        nexus::set_default(data);
        conditioner.write(intensity, errors ? &*errors : nullptr);
        timings.lap("writing");
        write_record(process, input, conditioner);
        write_timings(process, timings);
    }
    product.commit();
}

} // namespace

int command_condition(const std::vector<std::string>& arguments) {
    program::CommandLine line(
        "condition",
        "integrated patterns or a raw sinogram to a centred, corrected, weighted sinogram",
        "JOB|SCAN [options]", "xrdct condition condition.toml --set spots.method=weight");
    std::string output, memory;
    line.list("set", "K=V", "replace a key of the job, such as air.method=edges; may be repeated");
    line.optional(
        "output", output, "FOLDER",
        "folder of condition.nxs, condition.json, condition.html and pictures (default: the job's, "
        "which is \"conditioned\" beside it)");
    line.optional("memory", memory, "SIZE", "read at most this much at a time (default: 256MB)");
    line.flag("no-pictures", "no page and no pictures");
    line.flag("force", "replace files that exist");
    line.flag("print-job", "print the resolved job and touch nothing");
    line.flag("json", "print what was found and done as JSON on stdout");
    line.positional("job", program::CommandLine::Need::required);
    if (!line.parse(arguments))
        return 0;
    const std::filesystem::path path = line.get<std::string>("job");
    const auto overrides = line.texts("set");
    const auto extension = path.extension().string();
    const bool is_scan = extension == ".h5" || extension == ".nxs" || extension == ".hdf5" ||
                         extension == ".hdf" || extension == ".nx";
    auto job =
        is_scan
            ? parse_condition_job(fmt::format("[input]\nfile = '{}'\n", path.filename().string()),
                                  path.parent_path() / "condition.toml", overrides)
            : parse_condition_job(files::read_text_file(path), path, overrides);
    if (line.has("output")) {
        if (output.empty())
            throw Error("--output: is empty");
        job.output = output;
    }
    if (line.has("print-job")) {
        fmt::print("{}", job.resolved);
        return 0;
    }
    const std::uint64_t limit =
        memory.empty() ? 256'000'000ULL : program::parse_bytes(memory, "--memory");
    const bool force = line.has("force"), pictures = !line.has("no-pictures");
    const auto product = job.output / "condition.nxs";
    std::vector<std::filesystem::path> targets{product, job.output / "condition.json"};
    if (pictures)
        targets.push_back(job.output / "condition.html");
    for (const auto& target : targets)
        if (std::filesystem::exists(target) && !force)
            throw Error(fmt::format("{} exists; --force replaces it", target.string()));

    program::Timings timings;
    auto input = ConditionInput::open(job);
    for (const auto& note : input->notes)
        fmt::print(stderr, "note: {}\n", note);
    Conditioner conditioner(job, *input, limit);
    timings.lap("opening");
    conditioner.examine();
    timings.lap("examining");
    std::error_code code;
    std::filesystem::create_directories(job.output, code);
    if (code)
        throw Error(
            fmt::format("{}: the folder cannot be made: {}", job.output.string(), code.message()));
    write_scan(job, *input, conditioner, product, force, timings);

    nlohmann::json json{{"format", "xrdct condition 1"},
                        {"program", fmt::format("xrdct {}", program_version)},
                        {"revision", revision()},
                        {"product", product.string()},
                        {"rotations", conditioner.rotation().size()},
                        {"translations", conditioner.translation().size()},
                        {"channels", conditioner.two_theta().size()},
                        {"noise", conditioner.noise_description()},
                        {"steps", steps_json(conditioner)},
                        {"warnings", conditioner.warnings()},
                        {"notes", input->notes},
                        {"seconds", timings.total()}};
    files::write_text_file(job.output / "condition.json", json.dump(1) + "\n");
    if (pictures)
        write_condition_report(job, *input, conditioner, job.output);
    for (const auto& step : conditioner.steps())
        if (step.state != "off")
            fmt::print(stderr, "  {:<12} {}: {}\n", step.name, step.state, step.text);
    for (const auto& warning : conditioner.warnings())
        fmt::print(stderr, "warning: {}\n", warning);
    if (line.has("json"))
        fmt::print("{}\n", json.dump(1));
    fmt::print(stderr, "written: {}{}\n", product.string(), pictures ? " and condition.html" : "");
    return 0;
}

} // namespace xrdct::condition
