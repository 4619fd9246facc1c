// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/cluster/batch.hpp"

#include "base/error.hpp"
#include "jobs/program/progress.hpp"
#include "jobs/program/stop_request.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace xrdct::cluster {

std::string shell_quoted(const std::string& word) {
    const bool plain = !word.empty() &&
                       word.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                              "0123456789_-+=./:,@%") == std::string::npos;
    if (plain)
        return word;
    std::string quoted = "'";
    for (const char c : word)
        quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return quoted + "'";
}

std::string slurm_time(double seconds) {
    const auto whole = static_cast<long>(std::ceil(seconds));
    const long days = whole / 86400;
    return fmt::format("{}{:02}:{:02}:{:02}", days ? fmt::format("{}-", days) : "",
                       whole % 86400 / 3600, whole % 3600 / 60, whole % 60);
}

double parse_time(const std::string& text, const std::string& option) {
    const auto refuse = [&]() -> double {
        throw Error(fmt::format("{}: '{}' is not a time; write it like 90min, 2h or 1-12:00:00",
                                option, text));
    };
    int days = 0, hours = 0, minutes = 0, seconds = 0, used = 0;
    const auto whole = [&] { return used == static_cast<int>(text.size()); };
    double total = 0;
    if (text.empty() || text.find_first_not_of("0123456789-:hmins.") != std::string::npos)
        return refuse();
    if (std::sscanf(text.c_str(), "%d-%d:%d:%d%n", &days, &hours, &minutes, &seconds, &used) == 4 &&
        whole())
        total = 86400.0 * days + 3600.0 * hours + 60.0 * minutes + seconds;
    else if (std::sscanf(text.c_str(), "%d:%d:%d%n", &hours, &minutes, &seconds, &used) == 3 &&
             whole())
        total = 3600.0 * hours + 60.0 * minutes + seconds;
    else {
        std::size_t at = 0;
        while (at < text.size()) {
            std::size_t length = 0;
            double value = 0;
            try {
                value = std::stod(text.substr(at), &length);
            } catch (const std::exception&) {
                return refuse();
            }
            at += length;
            const auto end = std::min(text.find_first_of("0123456789.", at), text.size());
            const auto unit = text.substr(at, end - at);
            at = end;
            if (unit == "h")
                total += 3600 * value;
            else if (unit == "min" || unit == "m" || (unit.empty() && total == 0))
                total += 60 * value;
            else if (unit == "s")
                total += value;
            else
                return refuse();
        }
    }
    return total > 0 && total < 1e9 ? total : refuse();
}

Resources plan(const Profile& profile, const Wishes& wishes,
               const std::function<std::vector<pipeline::StageEstimate>(int ranks)>& needs) {
    const auto seconds_of = [](const std::vector<pipeline::StageEstimate>& list) {
        double sum = 0;
        for (const auto& stage : list)
            sum += stage.seconds;
        return sum;
    };
    const auto memory_of = [](const std::vector<pipeline::StageEstimate>& list) {
        std::uint64_t most = 0;
        for (const auto& stage : list)
            most = std::max(most, stage.memory);
        return most;
    };
    const auto room = static_cast<double>(profile.memory_per_node);
    // How many ranks a node holds by cores and by memory.
    const auto per_node = [&](std::uint64_t memory) {
        const double need = profile.memory_factor * static_cast<double>(memory);
        const double fit = room > 0 ? std::floor(room / std::max(need, 1.0)) : 1e9;
        return static_cast<long>(
            std::min<double>(fit, static_cast<double>(profile.cores_per_node)));
    };
    const int nodes_allowed = wishes.nodes > 0 ? wishes.nodes : static_cast<int>(profile.max_nodes);

    Resources resources;
    resources.ranks = wishes.ranks;
    if (wishes.ranks == 0) {
        resources.ranks = 1;
        double seconds = seconds_of(needs(1));
        const auto most = static_cast<int>(profile.cores_per_node) * nodes_allowed;
        while (seconds > profile.target && resources.ranks < most) {
            const int next = std::min(2 * resources.ranks, most);
            const auto list = needs(next);
            const auto fit = per_node(memory_of(list));
            if (fit < 1 || fit * nodes_allowed < next || seconds_of(list) > 0.8 * seconds)
                break;
            resources.ranks = next;
            seconds = seconds_of(list);
        }
        resources.ranks = std::max(resources.ranks, wishes.nodes);
    }
    resources.stages = needs(resources.ranks);
    resources.estimated = seconds_of(resources.stages);
    const auto memory = memory_of(resources.stages);
    const auto fit = per_node(memory);
    if (fit < 1)
        throw Error(fmt::format("a rank needs {:.0f} MB with the margin, a node of {} has {:.0f} "
                                "MB; limit the run with --memory",
                                1e-6 * profile.memory_factor * static_cast<double>(memory),
                                profile.source.string(), 1e-6 * room));
    const auto nodes_needed = static_cast<int>((resources.ranks + fit - 1) / fit);
    resources.nodes = wishes.nodes > 0 ? wishes.nodes : nodes_needed;
    if (resources.nodes < nodes_needed)
        throw Error(fmt::format(
            "--nodes: {} rank{} need {} nodes of {} cores{}, not {}", resources.ranks,
            resources.ranks == 1 ? "" : "s", nodes_needed, profile.cores_per_node,
            room > 0 ? fmt::format(" and {:.0f} MB", 1e-6 * room) : "", resources.nodes));
    if (resources.nodes > resources.ranks)
        throw Error(
            fmt::format("--nodes: {} nodes for {} ranks", resources.nodes, resources.ranks));
    const int on_fullest = (resources.ranks + resources.nodes - 1) / resources.nodes;
    resources.memory = static_cast<std::uint64_t>(
        profile.memory_factor * static_cast<double>(memory) * static_cast<double>(on_fullest));
    if (room > 0)
        resources.memory = std::min(resources.memory, profile.memory_per_node);

    // Ten minutes for the start, checksums and a slow file system; whole five minutes.
    const double wanted =
        300 * std::ceil((profile.factor * resources.estimated + 600 + profile.notice) / 300);
    resources.seconds = wishes.seconds > 0 ? wishes.seconds : std::min(wanted, profile.max_time);
    if (resources.seconds <= profile.notice)
        throw Error(fmt::format("--time: {} is not longer than the notice before its end ({}, "
                                "time.notice of the profile)",
                                program::duration_text(resources.seconds),
                                program::duration_text(profile.notice)));
    if (resources.seconds < resources.estimated)
        resources.notes.push_back(
            fmt::format("the run is estimated to take {}, longer than its time limit: it is "
                        "continued up to {} times, at a stage or a step of dlsr",
                        program::duration_text(resources.estimated), profile.requeues));
    return resources;
}

namespace {

std::string joined(const std::vector<std::string>& words) {
    std::vector<std::string> quoted;
    for (const auto& word : words)
        quoted.push_back(shell_quoted(word));
    return fmt::format("{}", fmt::join(quoted, " "));
}

/// A TOML string for --set.
std::string toml_text(const std::string& text) {
    std::string quoted = "\"";
    for (const char c : text)
        quoted += fmt::format("{}{}", c == '"' || c == '\\' ? "\\" : "", c);
    return quoted + "\"";
}

} // namespace

std::vector<std::string> member_settings(const Member& member) {
    if (member.name.empty())
        return {};
    return {"input.file=" + toml_text(member.input.string()),
            "output=" + toml_text(member.output.string())};
}

namespace {

/// "0-2,5,7-8"
std::string ranges(std::vector<std::size_t> list) {
    std::sort(list.begin(), list.end());
    std::string text;
    for (std::size_t i = 0; i < list.size();) {
        std::size_t j = i;
        while (j + 1 < list.size() && list[j + 1] == list[j] + 1)
            ++j;
        text += fmt::format("{}{}", text.empty() ? "" : ",", list[i]);
        if (j > i)
            text += fmt::format("-{}", list[j]);
        i = j + 1;
    }
    return text;
}

std::string directives(const Profile& profile, const Resources& resources, const BatchJob& job) {
    std::string text;
    const auto line = [&](const std::string& option) {
        text += fmt::format("#SBATCH {}\n", option);
    };
    line("--job-name=" + job.name);
    line(fmt::format("--nodes={}", resources.nodes));
    line(fmt::format("--ntasks={}", resources.ranks));
    line("--cpus-per-task=1");
    line(fmt::format("--mem={}M", (resources.memory + 1048575) / 1048576));
    line("--time=" + slurm_time(resources.seconds));
    for (const auto& [name, value] : {std::pair{"partition", &profile.partition},
                                      {"account", &profile.account},
                                      {"qos", &profile.qos},
                                      {"constraint", &profile.constraint}})
        if (!value->empty())
            line(fmt::format("--{}={}", name, *value));
    if (job.array)
        line("--array=" + ranges(job.indices));
    line(fmt::format("--signal=B:USR2@{:.0f}", profile.notice));
    line("--requeue");
    line("--kill-on-invalid-dep=yes");
    line("--open-mode=append");
    // sbatch takes a quoted word; % of a path would be a field of its own.
    std::string folder;
    for (const char c : job.output.string())
        folder += c == '%' ? std::string("%%") : std::string(1, c);
    line(fmt::format("--output=\"{}/slurm-{}.log\"", folder, job.array ? "%A_%a" : "%j"));
    for (const auto& option : profile.options)
        line(option);
    return text;
}

std::string which_member(const BatchJob& job) {
    std::string text;
    if (!job.array) {
        const auto& one = job.members.at(0);
        return fmt::format("output={}\nexpected={}\nmember=()\n", shell_quoted(one.output.string()),
                           one.checksum);
    }
    text += "case $SLURM_ARRAY_TASK_ID in\n";
    for (const std::size_t i : job.indices) {
        const auto& one = job.members.at(i);
        std::vector<std::string> words;
        for (const auto& setting : member_settings(one)) {
            words.emplace_back("--set");
            words.push_back(setting);
        }
        text += fmt::format("{})\n    output={}\n    expected={}\n    member=({})\n    ;;\n", i,
                            shell_quoted(one.output.string()), one.checksum, joined(words));
    }
    return text + "*)\n    echo \"xrdct: there is no member $SLURM_ARRAY_TASK_ID\" >&2\n    exit "
                  "1\n    ;;\nesac\n";
}

} // namespace

std::string batch_script(const Profile& profile, const Resources& resources, const BatchJob& job) {
    std::string text = "#!/bin/bash\n" + directives(profile, resources, job);
    text += "\n# Estimated with " +
            fmt::format("{} rank{}:\n", resources.ranks, resources.ranks == 1 ? "" : "s");
    for (const auto& stage : resources.stages)
        text += fmt::format("#   {:<12} about {}, {:.0f} MB per rank, {:.0f} MB on disk\n",
                            stage.stage, program::duration_text(stage.seconds),
                            1e-6 * static_cast<double>(stage.memory),
                            1e-6 * static_cast<double>(stage.disk));
    text += "# One allocation for all stages: they use the same ranks, each reads the product of "
            "the one before,\n# and a chain of jobs would wait in the queue for each.\n\n";
    text += which_member(job);
    text += "\nexport OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1\n";
    if (!profile.modules.empty())
        text += fmt::format("module load {} || exit 1\n", joined(profile.modules));
    for (const auto& line : profile.setup)
        text += line + "\n";
    text += fmt::format("cd {} || exit 1\n\n", shell_quoted(job.job_file.parent_path().string()));

    std::vector<std::string> start{profile.launcher};
    start.push_back(fmt::format("{}{}", profile.launcher == "srun" ? "--ntasks=" : "-n",
                                profile.launcher == "srun" ? std::to_string(resources.ranks) : ""));
    if (profile.launcher == "srun")
        start.emplace_back("--kill-on-bad-exit=1");
    else
        start.push_back(std::to_string(resources.ranks));
    start.insert(start.end(), profile.launcher_options.begin(), profile.launcher_options.end());
    start.insert(start.end(), profile.container.begin(), profile.container.end());
    start.push_back(!profile.program.empty()     ? profile.program
                    : !profile.container.empty() ? "xrdct"
                                                 : job.program.string());
    start.insert(start.end(), {"run", job.job_file.string()});
    if (job.memory_limit)
        start.insert(start.end(), {"--memory", fmt::format("{}", job.memory_limit)});
    if (job.force_data)
        start.emplace_back("--force-data");
    std::vector<std::string> first;
    if (job.resume)
        first.emplace_back("--resume");
    if (job.force)
        first.emplace_back("--force");
    const std::string again = job.force ? "--resume --force" : "--resume";
    text += fmt::format(R"bash(options=({1})
restarts=${{SLURM_RESTART_COUNT:-0}}
[ "$restarts" -gt 0 ] && options=({2})
begun=$(mktemp) || exit 1
asked= deadline= saved=
end_late() {{
    trap 'kill "$nap"; exit' TERM
    sleep {3:.0f} & nap=$!
    wait "$nap"
    : > "$begun.late"
    kill "$run"
}}
trap 'asked=1; kill -USR2 "$run"; end_late & deadline=$!' USR2

{4} "${{member[@]}}" "${{options[@]}}" --expect "$expected" &
run=$!
# A signal interrupts wait.
wait "$run"; code=$?
while [ -n "$asked" ] && kill -0 "$run" 2>/dev/null; do wait "$run"; code=$?; done
if [ -n "$asked" ]; then wait "$run"; code=$?; kill "$deadline" 2>/dev/null; fi
saved=$(find "$output" -maxdepth 1 -name '*.nxs' -newer "$begun")
[ -e "$begun.late" ] && [ "$code" -ne 0 ] && code={0}
# srun may end with 0 when it is cut off while it starts: the run's own record counts.
if [ "$code" -eq 0 ] && ! {{ [ "$output/progress.json" -nt "$begun" ] && grep -q '^ "state": "finished"' "$output/progress.json"; }}; then
    echo "xrdct: error: the launcher ended without the run; submit again with --resume" >&2
    code=1
fi
rm -f "$begun" "$begun.late"
# {0}: the run ended in order and is to be continued, or it had to be ended.
[ "$code" -eq {0} ] || exit "$code"
if [ -z "$saved" ]; then
    echo "xrdct: error: nothing was finished within the time limit, so going on would not help; submit again with more --time or --ranks" >&2
    exit 1
fi
if [ "$restarts" -ge {5} ]; then
    echo "xrdct: error: not finished after $restarts continuations (time.requeues of the profile)" >&2
    exit 1
fi
echo "xrdct: to be continued: back into the queue" >&2
scontrol requeue "$SLURM_JOB_ID"
)bash",
                        program::stopped_exit_code, joined(first), again,
                        std::max(20.0, profile.notice - 60), joined(start), profile.requeues);
    return text;
}

} // namespace xrdct::cluster
