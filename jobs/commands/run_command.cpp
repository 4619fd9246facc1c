// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/commands/commands.hpp"

#include "base/error.hpp"
#include "jobs/pipeline/pipeline.hpp"
#include "jobs/program/command_line.hpp"
#include "jobs/program/program.hpp"
#include "jobs/program/progress.hpp"
#include "jobs/program/run_record.hpp"
#include "jobs/program/stop_request.hpp"
#include "mpi/comm/communicator.hpp"
#include "mpi/files/checksum.hpp"
#include "mpi/files/text_file.hpp"

#include <algorithm>
#include <cstdio>
#include <optional>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace xrdct::commands {

namespace {

nlohmann::json to_json(const pipeline::RunSummary& summary) {
    nlohmann::json json;
    for (const auto& stage : summary.stages) {
        nlohmann::json entry{{"name", stage.name},
                             {"product", stage.product.string()},
                             {"reused", stage.reused},
                             {"seconds", stage.seconds}};
        for (const auto& [name, seconds] : stage.timings)
            entry["timings"][name] = seconds;
        for (const auto& [name, value] : stage.numbers)
            entry[name] = value;
        json["stages"].push_back(entry);
    }
    json["peak_memory_bytes"] = summary.peak_memory;
    json["notes"] = summary.notes;
    json["seconds"] = summary.seconds;
    json["trusted"] = summary.verdict.trusted();
    json["faults"] = summary.verdict.faults;
    json["doubts"] = summary.verdict.doubts;
    return json;
}

/// Notes, the products and what they are worth; a summary for scripts on stdout.
void show(const pipeline::RunSummary& summary, const settings::Job& job, int ranks, bool json) {
    for (const auto& note : summary.notes)
        fmt::print(stderr, "note: {}\n", note);
    double largest = 0;
    for (const double bytes : summary.peak_memory)
        largest = std::max(largest, bytes);
    fmt::print(stderr, "finished in {}, {} rank{}, at most {:.0f} MB per rank\n",
               program::duration_text(summary.seconds), ranks, ranks == 1 ? "" : "s",
               1e-6 * largest);
    for (const auto& stage : summary.stages)
        fmt::print(stderr, "  {}{}\n", stage.product.string(), stage.reused ? " (kept)" : "");
    for (const auto& text : report::verdict_lines(summary.verdict, job.output.string()))
        fmt::print(stderr, "{}\n", text);
    if (json)
        fmt::print("{}\n", to_json(summary).dump(1));
}

} // namespace

int command_run(const std::vector<std::string>& arguments) {
    program::CommandLine line("run", "run a job: scan to maps; alone or under mpirun",
                              "JOB.toml [options]", "mpirun -n 4 xrdct run job.toml --memory 8GB");
    line.list(
        "set", "KEY=VALUE",
        "replace a key of the job, such as fbp.window=hann or phase.Cu.a=voxel; may be repeated");
    line.optional<std::string>("stages", "A,B",
                               fmt::format("run these stages only: {} (default: those of the job)",
                                           fmt::join(settings::stage_names(), ", ")));
    line.flag("force", "replace products that exist");
    line.flag("resume", "keep products made with the same settings and inputs");
    line.flag("force-data", "go on with a scan whose numbers make no sense");
    line.optional<std::string>("memory", "SIZE",
                               "memory to use over all ranks, such as 4GB (default: no limit)");
    line.optional<std::string>(
        "expect", "SHA256",
        "refuse a job whose resolved settings have another checksum (xrdct submit)");
    line.flag("json", "print a summary as JSON on stdout");
    line.positional("job", program::CommandLine::Need::required);

    // --help and mistakes in the options need no ranks.
    if (!line.parse(arguments))
        return 0;
    std::vector<std::string> overrides;
    if (line.has("set"))
        overrides = line.get<std::vector<std::string>>("set");
    if (line.has("stages")) {
        std::string list;
        std::string name;
        for (const char c : line.get<std::string>("stages") + ",") {
            if (c == ',') {
                if (!name.empty())
                    list += fmt::format("{}'{}'", list.empty() ? "" : ", ", name);
                name.clear();
            } else if (c != ' ') {
                name += c;
            }
        }
        overrides.push_back("stages=[" + list + "]");
    }
    pipeline::RunOptions options;
    options.force = line.has("force");
    options.resume = line.has("resume");
    options.force_data = line.has("force-data");
    if (line.has("memory"))
        options.memory = program::parse_bytes(line.get<std::string>("memory"), "--memory");
    const std::filesystem::path job_path = line.get<std::string>("job");

    program::listen_for_stop();
    bool stopped = false, trusted = true;
    const int code = program::run_on_ranks([&](const mpi::Communicator& world) {
        // One rank reads, all parse the same text.
        std::string text = world.collectively(
            [&] { return world.is_root() ? files::read_text_file(job_path) : std::string(); });
        world.broadcast(text);
        const settings::Job job =
            world.collectively([&] { return settings::parse_job(text, job_path, overrides); });
        if (line.has("expect") &&
            files::sha256_of_text(job.resolved) != line.get<std::string>("expect"))
            throw Error(fmt::format("{}: was changed since it was submitted; put it back and "
                                    "requeue, or submit it again",
                                    job_path.string()));
        std::optional<program::RunRecord> record;
        if (world.is_root())
            record.emplace();
        pipeline::RunSummary summary;
        try {
            summary = run_job(job, options, world);
        } catch (const program::Stopped& error) {
            stopped = true;
            if (record)
                record->end("stopped", error.what());
            if (world.is_root())
                fmt::print(stderr, "xrdct: {}\n", error.what());
            return;
        } catch (const std::exception& error) {
            if (record)
                record->end("failed", error.what());
            throw;
        }
        trusted = summary.verdict.trusted();
        world.broadcast(trusted);
        if (record)
            record->end(trusted ? "finished" : "untrusted",
                        fmt::format("{}", fmt::join(summary.verdict.faults, "; ")));
        if (world.is_root())
            show(summary, job, world.size(), line.has("json"));
    });
    return stopped                ? program::stopped_exit_code
           : code != 0 || trusted ? code
                                  : program::untrusted_exit_code;
}

} // namespace xrdct::commands
