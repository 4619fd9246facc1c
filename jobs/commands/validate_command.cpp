// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/commands/commands.hpp"

#include "base/error.hpp"
#include "crystal/phase.hpp"
#include "jobs/condition/job.hpp"
#include "jobs/pattern/pattern_job.hpp"
#include "jobs/pipeline/estimate.hpp"
#include "jobs/pipeline/inspection.hpp"
#include "jobs/pipeline/registry.hpp"
#include "jobs/program/command_line.hpp"
#include "jobs/program/program.hpp"
#include "jobs/program/progress.hpp"
#include "mpi/files/cif_file.hpp"

#include <cmath>
#include <cstdio>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace xrdct::commands {

namespace {

nlohmann::json to_json(const pipeline::Doubt& doubt) {
    const auto& finding = doubt.finding;
    nlohmann::json json{
        {"kind", pipeline::name_of(finding.kind)},
        {"severity", finding.severity == inspection::Severity::error ? "error" : "warning"},
        {"message", doubt.text},
        {"index", finding.index}};
    for (const auto& [name, number] : {std::pair{"value", finding.value},
                                       {"limit", finding.limit},
                                       {"factor", finding.factor},
                                       {"position", finding.position}})
        if (std::isfinite(number))
            json[name] = number;
    return json;
}

} // namespace

int command_validate(const std::vector<std::string>& arguments) {
    program::CommandLine line("validate",
                              "check a job and print it with the memory and time it needs",
                              "JOB.toml [options]", "xrdct validate job.toml --ranks 4");
    line.list("set", "KEY=VALUE", "replace a key of the job; may be repeated");
    int ranks = 1;
    line.option("ranks", ranks, "N", "ranks to estimate for");
    line.optional<std::string>("memory", "SIZE",
                               "memory over all ranks, such as 4GB (default: no limit)");
    line.flag("force-data", "warn only of a scan whose numbers make no sense");
    line.flag("json", "print everything as JSON");
    line.positional("job", program::CommandLine::Need::required);
    if (!line.parse(arguments))
        return 0;
    if (ranks < 1)
        throw Error(fmt::format("--ranks: must be at least 1, is {}", ranks));
    const std::uint64_t memory =
        line.has("memory") ? program::parse_bytes(line.get<std::string>("memory"), "--memory") : 0;

    const settings::Job job = settings::read_job(line.get<std::string>("job"), line.texts("set"));
    const auto scan = pipeline::Scan::open(job);
    if (job.absorption.method == settings::AbsorptionMethod::transmission)
        scan.transmission();
    const auto doubts = pipeline::inspect_scan(job, scan, line.has("force-data"));
    std::vector<std::string> notes = job.notes;
    for (const auto& note : scan.metadata().notes)
        notes.push_back(note);
    nlohmann::json phases = nlohmann::json::array();
    for (const auto& settings : job.phases) {
        const auto phase = files::read_phase(settings.cif, settings.name, settings.block);
        for (const auto& warning : phase.warnings())
            notes.push_back(fmt::format("phase '{}': {}", settings.name, warning));
        phases.push_back({{"name", settings.name},
                          {"space_group", phase.space_group()},
                          {"density", phase.density()},
                          {"a", phase.cell().a},
                          {"b", phase.cell().b},
                          {"c", phase.cell().c}});
    }
    for (const auto& path : pipeline::existing_products(job))
        notes.push_back(fmt::format("{} exists; a run needs --force or --resume", path.string()));
    const auto needs = estimate(job, scan, ranks, memory);
    const auto& metadata = scan.metadata();

    if (line.has("json")) {
        nlohmann::json json{{"job", job.resolved},
                            {"phases", phases},
                            {"notes", notes},
                            {"rotations", metadata.n_rotation()},
                            {"translations", metadata.n_translation()},
                            {"channels", scan.n_channel()},
                            {"origin", metadata.origin},
                            {"noise", scan.noise_description()},
                            {"warnings", nlohmann::json::array()}};
        for (const auto& doubt : doubts)
            json["warnings"].push_back(to_json(doubt));
        for (const auto& need : needs)
            json["stages"].push_back({{"name", need.stage},
                                      {"seconds", need.seconds},
                                      {"memory_bytes_per_rank", need.memory},
                                      {"disk_bytes", need.disk}});
        fmt::print("{}\n", json.dump(1));
        return 0;
    }
    fmt::print("# the resolved job\n{}\n# scan: {} rotations x {} translations x {} channels -> {} "
               "x {} pixels of {:.5g} mm\n",
               job.resolved, metadata.n_rotation(), metadata.n_translation(), scan.n_channel(),
               scan.grid().n, scan.grid().n, scan.grid().pixel);
    for (const auto& [what, where] : metadata.origin)
        fmt::print("#   {:<18} {}\n", what, where);
    fmt::print("#   {:<18} {}\n", "noise", scan.noise_description());
    for (const auto& phase : phases)
        fmt::print("# phase {}: {}, {:.3f} g/cm^3\n", phase["name"].get<std::string>(),
                   phase["space_group"].get<std::string>(), phase["density"].get<double>());
    fmt::print("# needs with {} rank{}:\n", ranks, ranks == 1 ? "" : "s");
    for (const auto& need : needs)
        fmt::print("#   {:<12} about {}, {:.0f} MB per rank, {:.0f} MB on disk\n", need.stage,
                   program::duration_text(need.seconds), 1e-6 * static_cast<double>(need.memory),
                   1e-6 * static_cast<double>(need.disk));
    for (const auto& note : notes)
        fmt::print("# note: {}\n", note);
    for (const auto& doubt : doubts)
        fmt::print("# warning: {}\n", doubt.text);
    if (doubts.empty())
        fmt::print("# the job is valid\n");
    else
        fmt::print("# the job can run, with {} warning{}\n", doubts.size(),
                   doubts.size() == 1 ? "" : "s");
    return 0;
}

int command_reference(const std::vector<std::string>& arguments) {
    program::CommandLine line(
        "reference", "print every key of the job file with type, default, unit and meaning",
        "[--pattern|--condition] [--json]", "xrdct reference > job-keys.md");
    line.flag("pattern", "the keys of a job of xrdct rietveld instead of a map's");
    line.flag("condition", "the keys of a job of xrdct condition instead of a map's");
    line.flag("json", "as JSON instead of a Markdown table");
    if (!line.parse(arguments))
        return 0;
    const auto list = line.has("pattern")     ? pattern::pattern_job_reference()
                      : line.has("condition") ? condition::condition_job_reference()
                                              : settings::job_reference();
    if (line.has("json")) {
        nlohmann::json json = nlohmann::json::array();
        for (const auto& key : list)
            json.push_back({{"key", key.path},
                            {"type", key.type},
                            {"unit", key.unit},
                            {"default", key.default_value},
                            {"description", key.description}});
        fmt::print("{}\n", json.dump(1));
        return 0;
    }
    fmt::print("| key | type | default | unit | meaning |\n|---|---|---|---|---|\n");
    for (const auto& key : list)
        fmt::print("| `{}` | {} | {} | {} | {} |\n", key.path, key.type,
                   key.default_value.empty() ? "required" : "`" + key.default_value + "`", key.unit,
                   key.description);
    return 0;
}

} // namespace xrdct::commands
