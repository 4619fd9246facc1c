// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/cluster/commands.hpp"

#include "base/error.hpp"
#include "jobs/cluster/submission.hpp"
#include "jobs/program/command_line.hpp"
#include "jobs/program/program.hpp"
#include "jobs/program/progress.hpp"
#include "jobs/settings/job.hpp"
#include "mpi/files/text_file.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <set>
#include <thread>

#include <unistd.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace xrdct::cluster {

namespace fs = std::filesystem;

namespace {

using namespace cluster;
using nlohmann::ordered_json;

/// A run without a batch job has a progress file only.
Submission by_hand(const fs::path& output) {
    Submission s;
    s.output = output;
    s.members.push_back({"", {}, output, "", 0});
    return s;
}

Submission in_folder(const fs::path& output) {
    if (auto found = read_submission(output))
        return *found;
    if (program::read_run_state(output))
        return by_hand(output);
    throw Error(fmt::format("{}: no job was submitted or run there", output.string()));
}

/// What a user names: an output folder, a job file, a number of SLURM; "" means the latest.
Submission find_submission(const std::string& target) {
    if (target.empty()) {
        const auto all = known_submissions();
        if (all.empty())
            throw Error("no job was submitted yet; name an output folder or a job file");
        return in_folder(all.back());
    }
    if (target.find_first_not_of("0123456789") == std::string::npos && !fs::exists(target)) {
        const long id = std::atol(target.c_str());
        for (const auto& folder : known_submissions())
            if (const auto s = read_submission(folder)) {
                const bool member = std::any_of(s->members.begin(), s->members.end(),
                                                [&](const auto& one) { return one.job == id; });
                if (s->job == id || member ||
                    std::find(s->earlier.begin(), s->earlier.end(), id) != s->earlier.end())
                    return *s;
            }
        throw Error(fmt::format("job {} was not submitted by xrdct submit; xrdct jobs lists those "
                                "that were",
                                id));
    }
    const fs::path path = fs::absolute(target).lexically_normal();
    if (fs::is_directory(path))
        return in_folder(path);
    const auto text = files::read_text_file(path);
    const bool campaign = settings::Settings::parse(text, path.string()).has("campaign.scans");
    return in_folder(settings::parse_job(text, path,
                                         campaign ? std::vector<std::string>{"input.file=\"scan\""}
                                                  : std::vector<std::string>{})
                         .output);
}

SlurmView view_of(const std::vector<Submission>& list) {
    std::set<long> ids;
    for (const auto& submission : list)
        for (const auto& member : submission.members)
            if (member.job > 0)
                ids.insert(member.job);
    return ask_slurm({ids.begin(), ids.end()});
}

std::string stage_text(const MemberState& state) {
    const auto* stage = state.run ? state.run->current() : nullptr;
    return stage ? stage->name : "";
}

std::string part_text(const MemberState& state) {
    if (!state.run || state.state == "finished")
        return "";
    const auto& run = *state.run;
    std::string text;
    if (run.iteration >= 0)
        text = fmt::format("iteration {}", run.iteration);
    else if (run.total > 0)
        text = fmt::format("{:.0f} %",
                           100.0 * static_cast<double>(run.done) / static_cast<double>(run.total));
    if (run.residual >= 0)
        text += fmt::format("{}Rwp {:.3f} %", text.empty() ? "" : ", ", 100 * run.residual);
    return text;
}

std::string left_text(const MemberState& state) {
    return state.left >= 0 ? "about " + program::duration_text(state.left) + " left" : "";
}

ordered_json to_json(const Submission& submission, std::size_t index, const MemberState& state) {
    const auto& member = submission.members[index];
    ordered_json json{{"name", member.name},
                      {"job", member.job},
                      {"output", member.output.string()},
                      {"state", state.state},
                      {"detail", state.detail}};
    if (member.job > 0) {
        json["log"] = submission.log(index).string();
        if (submission.array)
            json["task"] = index;
    }
    if (state.left >= 0)
        json["seconds_left"] = state.left;
    if (state.run)
        json["progress"] = ordered_json::parse(to_json(*state.run));
    return json;
}

/// Rows as columns, two blanks apart; empty columns are left out.
void print_table(const std::vector<std::vector<std::string>>& rows) {
    std::vector<std::size_t> widths;
    for (const auto& row : rows)
        for (std::size_t i = 0; i < row.size(); ++i) {
            widths.resize(std::max(widths.size(), row.size()), 0);
            widths[i] = std::max(widths[i], row[i].size());
        }
    for (const auto& row : rows) {
        std::string text;
        for (std::size_t i = 0; i < row.size(); ++i)
            if (widths[i] > 0)
                text += fmt::format("{:<{}}  ", row[i], widths[i]);
        while (!text.empty() && text.back() == ' ')
            text.pop_back();
        fmt::print("{}\n", text);
    }
}

struct Report {
    std::vector<MemberState> states;
    bool ended = true;      ///< all members
    bool successful = true; ///< all members
};

Report report_on(const Submission& submission, const SlurmView& view) {
    Report report;
    for (std::size_t i = 0; i < submission.members.size(); ++i) {
        report.states.push_back(member_state(submission, i, view));
        report.ended = report.ended && report.states.back().ended();
        report.successful = report.successful && report.states.back().state == "finished";
    }
    return report;
}

std::string counts_text(const std::vector<MemberState>& states) {
    std::vector<std::pair<std::string, std::size_t>> counts;
    for (const auto& one : states) {
        auto found = std::find_if(counts.begin(), counts.end(),
                                  [&](const auto& c) { return c.first == one.state; });
        if (found == counts.end())
            counts.emplace_back(one.state, 1);
        else
            ++found->second;
    }
    std::string text;
    for (const auto& [state, count] : counts)
        text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count, state);
    return text;
}

void print_status(const Submission& submission, const SlurmView& view, const Report& report) {
    if (!view.trouble.empty())
        fmt::print(stderr, "note: {}; what follows is from the progress files\n", view.trouble);
    if (submission.array) {
        fmt::print("{}: {} scans: {}\n", submission.output.string(), submission.members.size(),
                   counts_text(report.states));
        std::vector<std::vector<std::string>> rows;
        for (std::size_t i = 0; i < report.states.size(); ++i) {
            const auto& state = report.states[i];
            rows.push_back({submission.members[i].name,
                            fmt::format("{}_{}", submission.members[i].job, i), state.state,
                            stage_text(state), part_text(state), left_text(state), state.detail});
        }
        print_table(rows);
        return;
    }
    const auto& state = report.states[0];
    fmt::print("{}: {}{}{}\n", submission.output.string(),
               submission.job > 0 ? fmt::format("job {} ", submission.job) : "", state.state,
               state.detail.empty() ? "" : ": " + state.detail);
    if (!state.run)
        return;
    const auto& run = *state.run;
    fmt::print("  {} rank{} on {}{}\n", run.ranks, run.ranks == 1 ? "" : "s", run.host,
               run.restarts > 0 ? fmt::format(", continued {} time{}", run.restarts,
                                              run.restarts == 1 ? "" : "s")
                                : "");
    std::vector<std::vector<std::string>> rows;
    for (const auto& stage : run.stages) {
        const bool current = &stage == run.current();
        // A run that was killed did not say so itself.
        const bool cut = stage.state == "running" && state.ended();
        rows.push_back({"  " + stage.name, cut ? state.state : stage.state,
                        stage.seconds > 0 ? program::duration_text(stage.seconds) : "",
                        current ? part_text(state) : "", current ? left_text(state) : ""});
    }
    print_table(rows);
}

void add_target(program::CommandLine& line) {
    line.positional("target", program::CommandLine::Need::optional);
}

/// The folder, job file or number that is named; "" where none is.
std::string target_of(const program::CommandLine& line) {
    return line.has("target") ? line.get<std::string>("target") : "";
}

} // namespace

int command_jobs(const std::vector<std::string>& arguments) {
    program::CommandLine line("jobs", "list the submitted jobs and how far they are", "[options]",
                              "xrdct jobs");
    line.flag("json", "as JSON on stdout");
    if (!line.parse(arguments))
        return 0;
    std::vector<Submission> list;
    for (const auto& folder : known_submissions())
        try {
            if (auto one = read_submission(folder))
                list.push_back(*one);
        } catch (const Error& error) {
            fmt::print(stderr, "note: {}\n", error.what());
        }
    const auto view = view_of(list);
    if (!view.trouble.empty())
        fmt::print(stderr, "note: {}; what follows is from the progress files\n", view.trouble);
    std::vector<std::vector<std::string>> rows;
    ordered_json json = ordered_json::array();
    for (const auto& submission : list)
        try {
            const auto report = report_on(submission, view);
            const auto& first = report.states[0];
            rows.push_back({std::to_string(submission.job),
                            submission.array ? counts_text(report.states) : first.state,
                            submission.array ? "" : stage_text(first),
                            submission.array ? "" : part_text(first),
                            submission.array ? "" : left_text(first), submission.output.string(),
                            submission.title});
            ordered_json one{{"job", submission.job},
                             {"output", submission.output.string()},
                             {"title", submission.title},
                             {"members", ordered_json::array()}};
            for (std::size_t i = 0; i < report.states.size(); ++i)
                one["members"].push_back(to_json(submission, i, report.states[i]));
            json.push_back(one);
        } catch (const Error& error) {
            fmt::print(stderr, "note: {}\n", error.what());
        }
    if (line.has("json"))
        fmt::print("{}\n", json.dump(1));
    else if (rows.empty())
        fmt::print("no job was submitted\n");
    else
        print_table(rows);
    return 0;
}

int command_status(const std::vector<std::string>& arguments) {
    program::CommandLine line("status",
                              "say how far a job is: stage, iteration, residual, time left",
                              "[JOB.toml|FOLDER|NUMBER] [options]", "xrdct status results");
    line.flag("json", "as JSON on stdout");
    add_target(line);
    if (!line.parse(arguments))
        return 0;
    const auto submission = find_submission(target_of(line));
    const auto view = view_of({submission});
    const auto report = report_on(submission, view);
    if (!line.has("json")) {
        print_status(submission, view, report);
        return 0;
    }
    ordered_json json = ordered_json::array();
    for (std::size_t i = 0; i < report.states.size(); ++i)
        json.push_back(to_json(submission, i, report.states[i]));
    fmt::print("{}\n", json.dump(1));
    return 0;
}

int command_watch(const std::vector<std::string>& arguments) {
    program::CommandLine line(
        "watch", "repeat the status until the job has ended; exit code 0 if it finished",
        "[JOB.toml|FOLDER|NUMBER] [options]", "xrdct watch results --interval 5");
    double interval = 10;
    line.option("interval", interval, "SECONDS", "time between looks [s], at least 1");
    add_target(line);
    if (!line.parse(arguments))
        return 0;
    if (!(interval >= 1 && interval <= 86400))
        throw Error(fmt::format("--interval: must lie between 1 s and a day, is {}", interval));
    const bool terminal = isatty(STDOUT_FILENO) != 0;
    const auto target = target_of(line);
    for (;;) {
        const auto submission = find_submission(target);
        const auto view = view_of({submission});
        const auto report = report_on(submission, view);
        if (terminal)
            fmt::print("\033[H\033[2J");
        print_status(submission, view, report);
        std::fflush(stdout);
        if (report.ended)
            return report.successful ? 0 : program::failure_exit_code;
        std::this_thread::sleep_for(std::chrono::duration<double>(interval));
    }
}

int command_cancel(const std::vector<std::string>& arguments) {
    program::CommandLine line("cancel", "cancel a submitted job; what is finished stays",
                              "JOB.toml|FOLDER|NUMBER [options]", "xrdct cancel results");
    line.optional<std::string>("member", "NAME", "only this scan of a campaign");
    add_target(line);
    if (!line.parse(arguments))
        return 0;
    if (target_of(line).empty())
        throw Error("xrdct cancel: name an output folder, a job file or a number");
    const auto submission = find_submission(target_of(line));
    if (submission.job == 0)
        throw Error(fmt::format("{}: was run without SLURM", submission.output.string()));
    std::vector<std::string> ids;
    if (line.has("member")) {
        const auto name = line.get<std::string>("member");
        std::vector<std::string> names;
        for (std::size_t i = 0; i < submission.members.size(); ++i) {
            names.push_back(submission.members[i].name);
            if (submission.array && names.back() == name)
                ids.push_back(fmt::format("{}_{}", submission.members[i].job, i));
        }
        if (ids.empty()) {
            throw Error(fmt::format("--member: there is no scan '{}'{}", name,
                                    submission.array ? nearest_hint(name, names) : ""));
        }
    } else {
        std::set<long> numbers;
        for (const auto& member : submission.members)
            numbers.insert(member.job);
        for (const long number : numbers)
            ids.push_back(std::to_string(number));
    }
    const auto view = view_of({submission});
    if (!view.trouble.empty())
        throw Error("nothing was cancelled: " + view.trouble);
    if (report_on(submission, view).ended) {
        fmt::print(stderr, "nothing to cancel: it has ended\n");
        return 0;
    }
    cancel_jobs(ids);
    for (const auto& id : ids)
        fmt::print(stderr, "cancelled: {}\n", id);
    return 0;
}

int command_logs(const std::vector<std::string>& arguments) {
    program::CommandLine line("logs", "print what a submitted job wrote",
                              "[JOB.toml|FOLDER|NUMBER] [options]", "xrdct logs results --follow");
    long lines = 100;
    line.option("lines", lines, "N", "the last N lines");
    line.flag("follow", "go on as the job writes, until interrupted");
    line.optional<std::string>("member", "NAME", "this scan of a campaign");
    line.flag("path", "print the log's path only");
    add_target(line);
    if (!line.parse(arguments))
        return 0;
    if (lines < 0)
        throw Error(fmt::format("--lines: must not be negative, is {}", lines));
    const auto submission = find_submission(target_of(line));
    if (submission.job == 0)
        throw Error(fmt::format("{}: was run without SLURM: it wrote to its terminal",
                                submission.output.string()));
    std::size_t index = 0;
    std::vector<std::string> names;
    for (const auto& member : submission.members)
        names.push_back(member.name);
    if (line.has("member")) {
        const auto name = line.get<std::string>("member");
        const auto found = std::find(names.begin(), names.end(), name);
        if (!submission.array || found == names.end()) {
            throw Error(fmt::format("--member: there is no scan '{}'{}", name,
                                    submission.array ? nearest_hint(name, names) : ""));
        }
        index = static_cast<std::size_t>(found - names.begin());
    } else if (submission.array && names.size() > 1) {
        throw Error(fmt::format("{} holds {} scans; name one with --member, such as {}",
                                submission.output.string(), names.size(), names[0]));
    }
    const auto log = submission.log(index);
    if (line.has("path")) {
        fmt::print("{}\n", log.string());
        return 0;
    }
    if (!fs::exists(log))
        throw Error(fmt::format("{}: not there yet: the job has not begun", log.string()));
    const auto count = std::to_string(lines);
    std::fflush(stdout);
    if (line.has("follow"))
        ::execlp("tail", "tail", "-n", count.c_str(), "-F", log.c_str(), nullptr);
    else
        ::execlp("tail", "tail", "-n", count.c_str(), log.c_str(), nullptr);
    throw Error(fmt::format("tail: {}", std::strerror(errno)));
}

} // namespace xrdct::cluster
