// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/cluster/commands.hpp"

#include "base/error.hpp"
#include "jobs/cluster/batch.hpp"
#include "jobs/cluster/submission.hpp"
#include "jobs/pipeline/inspection.hpp"
#include "jobs/pipeline/registry.hpp"
#include "jobs/pipeline/scan.hpp"
#include "jobs/program/command_line.hpp"
#include "jobs/program/program.hpp"
#include "jobs/program/progress.hpp"
#include "jobs/settings/job.hpp"
#include "jobs/settings/model_settings.hpp"
#include "mpi/files/checksum.hpp"
#include "mpi/files/text_file.hpp"
#include "mpi/nexus/nexus.hpp"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <set>

#include <glob.h>
#include <unistd.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace xrdct::cluster {

namespace fs = std::filesystem;

namespace {

using namespace cluster;

/// The scans of a campaign, patterns filled in, in order and once each.
std::vector<fs::path> find_scans(const settings::Job& job) {
    std::vector<fs::path> list;
    for (const auto& entry : job.scans) {
        const auto path = settings::beside(job.source, entry);
        std::vector<fs::path> found;
        if (entry.find_first_of("*?[") == std::string::npos) {
            if (!fs::exists(path))
                throw Error(fmt::format("{}: key 'campaign.scans': {}: no such file",
                                        job.source.string(), path.string()));
            found.push_back(path);
        } else {
            glob_t matches{};
            const int code = ::glob(path.c_str(), 0, nullptr, &matches);
            for (std::size_t i = 0; code == 0 && i < matches.gl_pathc; ++i)
                found.emplace_back(matches.gl_pathv[i]);
            ::globfree(&matches);
            if (found.empty())
                throw Error(fmt::format("{}: key 'campaign.scans': no file fits '{}'",
                                        job.source.string(), path.string()));
        }
        for (const auto& one : found)
            if (std::find(list.begin(), list.end(), one) == list.end())
                list.push_back(one);
    }
    return list;
}

/// Names of members: the files' names, with their folders' where files are called alike.
std::vector<std::string> member_names(const std::vector<fs::path>& scans) {
    std::vector<std::string> names;
    for (const auto& scan : scans)
        names.push_back(scan.stem().string());
    const auto plain = names;
    for (std::size_t i = 0; i < scans.size(); ++i)
        if (std::count(plain.begin(), plain.end(), plain[i]) > 1)
            names[i] = scans[i].parent_path().filename().string() + "-" + plain[i];
    std::set<std::string> seen;
    for (std::size_t i = 0; i < names.size(); ++i)
        if (!seen.insert(names[i]).second)
            throw Error(fmt::format("{}: its results would go into the folder '{}' of another "
                                    "scan; rename the file or its folder",
                                    scans[i].string(), names[i]));
    return names;
}

struct Planned {
    BatchJob batch;
    Resources resources;
    std::string title;
};

/// A name that #SBATCH, file names and tables take as it is.
std::string plain_name(const std::string& text) {
    std::string name;
    for (const char c : text.substr(0, 40))
        name += std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '.'
                    ? c
                    : '-';
    return name.empty() ? "job" : name;
}

/// A job and its scan.
struct Opened {
    settings::Job job;
    std::unique_ptr<pipeline::Scan> scan;
};

/// What each stage needs for the scan that needs most.
std::vector<pipeline::StageEstimate> largest_needs(const std::vector<Opened>& opened, int ranks,
                                                   std::uint64_t memory) {
    std::vector<pipeline::StageEstimate> most;
    for (const auto& [one, scan] : opened) {
        const auto list = estimate(one, *scan, ranks, memory);
        if (most.empty())
            most = list;
        for (std::size_t i = 0; i < list.size(); ++i) {
            most[i].seconds = std::max(most[i].seconds, list[i].seconds);
            most[i].memory = std::max(most[i].memory, list[i].memory);
            most[i].disk = std::max(most[i].disk, list[i].disk);
        }
    }
    return most;
}

Planned prepare(const fs::path& job_path, const Profile& profile, const Wishes& wishes, bool force,
                bool resume, bool force_data) {
    const auto text = files::read_text_file(job_path);
    Planned planned;
    auto& batch = planned.batch;
    batch.job_file = job_path;
    batch.force = force;
    batch.resume = resume;
    batch.force_data = force_data;
    batch.memory_limit = wishes.memory;
    batch.name = "xrdct-" + plain_name(job_path.stem().string());
    batch.program = fs::read_symlink("/proc/self/exe");

    // A campaign's job names no scan of its own.
    settings::Job job;
    if (auto settings = settings::Settings::parse(text, job_path.string());
        settings.has("campaign.scans")) {
        if (settings.has("input.file"))
            throw Error(fmt::format("{}: key 'input.file': not together with campaign.scans, which "
                                    "names the scans",
                                    job_path.string()));
        job = settings::parse_job(text, job_path, {"input.file=\"scan\""});
        batch.array = true;
        const auto scans = find_scans(job);
        if (scans.empty())
            throw Error(fmt::format("{}: key 'campaign.scans': names no scan", job_path.string()));
        const auto names = member_names(scans);
        for (std::size_t i = 0; i < scans.size(); ++i)
            batch.members.push_back({names[i], scans[i], job.output / names[i], ""});
    } else {
        job = settings::parse_job(text, job_path);
        batch.members.push_back({"", job.input.file, job.output, ""});
    }
    planned.title = job.title;
    batch.output = job.output;

    std::vector<Opened> opened;
    std::vector<std::string> doubts;
    for (auto& member : batch.members) {
        settings::Job one = settings::parse_job(text, job_path, member_settings(member));
        member.checksum = files::sha256_of_text(one.resolved);
        pipeline::refuse_existing_products(one, force, resume);
        auto scan = std::make_unique<pipeline::Scan>(pipeline::Scan::open(one));
        // Refused here rather than after a night in the queue.
        for (auto& doubt : pipeline::inspect_scan(one, *scan, force_data))
            doubts.push_back(member.name.empty() ? std::move(doubt.text)
                                                 : member.name + ": " + doubt.text);
        opened.push_back({std::move(one), std::move(scan)});
    }
    planned.resources = plan(
        profile, wishes, [&](int ranks) { return largest_needs(opened, ranks, wishes.memory); });
    planned.resources.notes.insert(planned.resources.notes.begin(), job.notes.begin(),
                                   job.notes.end());
    planned.resources.notes.insert(planned.resources.notes.end(), doubts.begin(), doubts.end());
    return planned;
}

/// Which members are not finished, nor under way, by their own record and SLURM's word.
std::vector<std::size_t> failed_members(const BatchJob& batch, const Submission& before,
                                        const SlurmView& view) {
    std::vector<std::size_t> list;
    for (std::size_t i = 0; i < batch.members.size(); ++i) {
        const auto known =
            std::find_if(before.members.begin(), before.members.end(),
                         [&](const auto& one) { return one.name == batch.members[i].name; });
        if (known == before.members.end()) {
            list.push_back(i); // a scan that came later
            continue;
        }
        const auto state =
            member_state(before, static_cast<std::size_t>(known - before.members.begin()), view);
        if (state.ended() && state.state != "finished" && state.state != "untrusted")
            list.push_back(i);
    }
    return list;
}

void declare_options(program::CommandLine& line) {
    line.flag("dry-run", "print the batch script on stdout and submit nothing");
    line.optional<std::string>(
        "profile", "FILE",
        "the site: partition, account, modules, … (default: $XRDCT_PROFILE, or "
        "~/.config/xrdct/profile.toml)");
    line.flag("profile-reference", "print every key of a profile");
    line.optional<int>("nodes", "N", "nodes (default: as many as the ranks need)");
    line.optional<int>("ranks", "N", "ranks, a core each (default: from the estimate)");
    line.optional<std::string>("time", "TIME",
                               "time limit, such as 90min or 2h (default: from the estimate)");
    line.optional<std::string>("memory", "SIZE",
                               "memory to use over all ranks, such as 40GB (default: no limit)");
    line.flag("force", "replace products that exist");
    line.flag("force-data", "go on with a scan whose numbers make no sense");
    line.flag("resume", "keep products made with the same settings and inputs");
    line.flag("failed",
              "of what was submitted before, submit again what did not finish (with --resume), "
              "and scans that are new in the campaign");
    line.flag("json", "the outcome as JSON on stdout");
    line.positional("job", program::CommandLine::Need::optional);
}

Wishes wishes_of(const program::CommandLine& line) {
    Wishes wishes;
    for (auto [name, value] : {std::pair{"nodes", &wishes.nodes}, {"ranks", &wishes.ranks}})
        if (line.has(name)) {
            *value = line.get<int>(name);
            if (*value < 1)
                throw Error(fmt::format("--{}: must be at least 1, is {}", name, *value));
        }
    if (line.has("time"))
        wishes.seconds = parse_time(line.get<std::string>("time"), "--time");
    if (line.has("memory"))
        wishes.memory = program::parse_bytes(line.get<std::string>("memory"), "--memory");
    return wishes;
}

void print_profile_reference() {
    fmt::print("| key | type | default | unit | meaning |\n|---|---|---|---|---|\n");
    for (const auto& key : profile_reference())
        fmt::print("| `{}` | {} | `{}` | {} | {} |\n", key.path, key.type, key.default_value,
                   key.unit, key.description);
}

/// Which members are submitted: all, or with `again` those that did not finish. Throws Error where
/// something is still under way.
void choose_members(BatchJob& batch, const std::optional<Submission>& before, bool again,
                    bool dry) {
    SlurmView view;
    if (before && (again || !dry)) {
        std::set<long> ids;
        for (const auto& member : before->members)
            ids.insert(member.job);
        view = ask_slurm({ids.begin(), ids.end()});
    }
    if (again && !before)
        throw Error(
            fmt::format("--failed: nothing was submitted from {} yet", batch.output.string()));
    if (again) {
        if (!view.trouble.empty())
            throw Error("--failed: " + view.trouble);
        batch.indices = failed_members(batch, *before, view);
        return;
    }
    for (std::size_t i = 0; i < batch.members.size(); ++i)
        batch.indices.push_back(i);
    for (std::size_t i = 0; before && !dry && i < before->members.size(); ++i)
        if (const auto state = member_state(*before, i, view).state;
            state == "waiting" || state == "running" || state == "continued")
            throw Error(fmt::format("{}: job {} is {} there; xrdct cancel {} ends it",
                                    batch.output.string(), before->members[i].job, state,
                                    before->members[i].job));
}

/// Hands the script to SLURM; returns the job's number. All that may fail on the disk is tried
/// before anything is submitted.
long hand_in(const BatchJob& batch, const std::string& script, const Profile& profile) {
    std::error_code code;
    fs::create_directories(batch.output, code);
    if (code)
        throw Error(fmt::format("{}: the output folder cannot be made: {}", batch.output.string(),
                                code.message()));
    const auto draft = batch.output / fmt::format(".submission-{}.sh", ::getpid());
    files::write_text_file(draft, script);
    long job = 0;
    try {
        job = submit_script(draft.string(), profile.source.string());
    } catch (const Error&) {
        fs::remove(draft, code);
        throw;
    }
    fs::rename(draft, batch.output / "submission.sh", code);
    return job;
}

Submission record_of(long job, const Planned& planned, const std::optional<Submission>& before) {
    const auto& batch = planned.batch;
    Submission record;
    record.job = job;
    record.title = planned.title;
    record.job_file = batch.job_file;
    record.output = batch.output;
    record.array = batch.array;
    record.date = nexus::now_utc();
    record.time_limit = planned.resources.seconds;
    for (const auto& stage : planned.resources.stages)
        record.estimates.emplace_back(stage.stage, stage.seconds);
    if (before) {
        record.earlier = before->earlier;
        record.earlier.push_back(before->job);
    }
    for (std::size_t i = 0; i < batch.members.size(); ++i) {
        const auto& one = batch.members[i];
        long number = record.job;
        if (std::find(batch.indices.begin(), batch.indices.end(), i) == batch.indices.end())
            for (const auto& known : before->members)
                if (known.name == one.name)
                    number = known.job;
        record.members.push_back({one.name, one.input, one.output, one.checksum, number});
    }
    return record;
}

void print_outcome(const Submission& record, const Planned& planned, bool json) {
    const auto& batch = planned.batch;
    const auto& r = planned.resources;
    if (json)
        fmt::print("{}\n", nlohmann::ordered_json{{"job", record.job},
                                                  {"output", record.output.string()},
                                                  {"members", batch.indices.size()},
                                                  {"nodes", r.nodes},
                                                  {"ranks", r.ranks},
                                                  {"memory_bytes_per_node", r.memory},
                                                  {"time_limit", r.seconds},
                                                  {"estimated_seconds", r.estimated}}
                               .dump(1));
    else
        fmt::print("job {}{}: {} rank{} on {} node{}, {:.0f} MB per node, at most {} (estimated: "
                   "{})\nxrdct status {}\n",
                   record.job,
                   batch.array ? fmt::format(", {} scan{}", batch.indices.size(),
                                             batch.indices.size() == 1 ? "" : "s")
                               : "",
                   r.ranks, r.ranks == 1 ? "" : "s", r.nodes, r.nodes == 1 ? "" : "s",
                   1e-6 * static_cast<double>(r.memory), program::duration_text(r.seconds),
                   program::duration_text(r.estimated), record.output.string());
}

} // namespace

int command_submit(const std::vector<std::string>& arguments) {
    program::CommandLine line("submit", "run a job, or one of many scans, on a cluster with SLURM",
                              "JOB.toml [options]",
                              "xrdct submit job.toml --profile site.toml --dry-run");
    declare_options(line);
    if (!line.parse(arguments))
        return 0;
    if (line.has("profile-reference")) {
        print_profile_reference();
        return 0;
    }
    if (!line.has("job"))
        throw Error("xrdct submit: no job file; usage: xrdct submit JOB.toml [options]");
    const Wishes wishes = wishes_of(line);
    const auto profile = find_profile(line.has("profile") ? line.get<std::string>("profile") : "");
    const fs::path job_path = fs::absolute(line.get<std::string>("job")).lexically_normal();
    const bool again = line.has("failed"), dry = line.has("dry-run");
    auto planned = prepare(job_path, profile, wishes, line.has("force"),
                           line.has("resume") || again, line.has("force-data"));
    auto& batch = planned.batch;
    const auto before = read_submission(batch.output);
    choose_members(batch, before, again, dry);
    if (again && batch.indices.empty()) {
        fmt::print(stderr, "nothing to submit again: all has finished or is under way\n");
        return 0;
    }
    const auto script = batch_script(profile, planned.resources, batch);
    for (const auto& note : planned.resources.notes)
        fmt::print(stderr, "note: {}\n", note);
    if (dry) {
        fmt::print("{}", script);
        return 0;
    }
    const Submission record = record_of(hand_in(batch, script, profile), planned, before);
    try {
        write_submission(record);
    } catch (const Error& error) {
        throw Error(fmt::format("job {} was submitted, but its record was not written, so that "
                                "xrdct status does not know it: {}",
                                record.job, error.what()));
    }
    if (const auto trouble = remember_submission(record.output); !trouble.empty())
        fmt::print(stderr, "note: {}\n", trouble);
    print_outcome(record, planned, line.has("json"));
    return 0;
}

} // namespace xrdct::cluster
