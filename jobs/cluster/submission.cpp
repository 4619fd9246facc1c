// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/cluster/submission.hpp"

#include "base/error.hpp"
#include "jobs/settings/job.hpp"
#include "mpi/files/text_file.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include <unistd.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace xrdct::cluster {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

fs::path submission_path(const fs::path& output) {
    return output / "submission.json";
}

fs::path Submission::log(std::size_t member) const {
    return output / (array ? fmt::format("slurm-{}_{}.log", members.at(member).job, member)
                           : fmt::format("slurm-{}.log", job));
}

std::optional<Submission> read_submission(const fs::path& output) {
    const auto path = submission_path(output);
    std::error_code code;
    if (!fs::exists(path, code))
        return {};
    const auto text = files::read_text_file(path);
    try {
        const auto json = nlohmann::json::parse(text);
        Submission s;
        s.title = json.at("title");
        s.job_file = json.at("job_file").get<std::string>();
        s.output = json.at("output").get<std::string>();
        s.array = json.at("array");
        s.job = json.at("job");
        s.date = json.at("date");
        s.earlier = json.at("earlier").get<std::vector<long>>();
        s.time_limit = json.at("time_limit");
        for (const auto& one : json.at("members"))
            s.members.push_back({one.at("name"), one.at("input").get<std::string>(),
                                 one.at("output").get<std::string>(), one.at("checksum"),
                                 one.at("job")});
        for (const auto& one : json.at("estimates"))
            s.estimates.emplace_back(one.at("stage"), one.at("seconds"));
        if (s.members.empty())
            throw Error(fmt::format("{}: names no run", path.string()));
        return s;
    } catch (const nlohmann::json::exception& error) {
        throw Error(
            fmt::format("{}: is not the record of a submission: {}", path.string(), error.what()));
    }
}

void write_submission(const Submission& s) {
    ordered_json json{{"title", s.title},
                      {"job_file", s.job_file.string()},
                      {"output", s.output.string()},
                      {"array", s.array},
                      {"job", s.job},
                      {"date", s.date},
                      {"earlier", s.earlier},
                      {"time_limit", s.time_limit}};
    json["members"] = ordered_json::array();
    for (const auto& one : s.members)
        json["members"].push_back({{"name", one.name},
                                   {"input", one.input.string()},
                                   {"output", one.output.string()},
                                   {"checksum", one.checksum},
                                   {"job", one.job}});
    json["estimates"] = ordered_json::array();
    for (const auto& [stage, seconds] : s.estimates)
        json["estimates"].push_back({{"stage", stage}, {"seconds", seconds}});
    files::write_text_file(submission_path(s.output), json.dump(1) + "\n");
}

namespace {

fs::path list_path() {
    const auto variable = [](const char* name) {
        const char* value = std::getenv(name);
        return std::string(value ? value : "");
    };
    fs::path folder = variable("XDG_STATE_HOME");
    if (folder.empty() && !variable("HOME").empty())
        folder = fs::path(variable("HOME")) / ".local" / "state";
    return folder.empty() ? fs::path() : folder / "xrdct" / "submissions";
}

std::vector<std::string> listed() {
    std::vector<std::string> lines;
    std::ifstream file(list_path());
    for (std::string line; std::getline(file, line);)
        if (!line.empty()) {
            std::erase(lines, line);
            lines.push_back(line);
        }
    return lines;
}

} // namespace

std::vector<fs::path> known_submissions() {
    std::vector<fs::path> list;
    std::error_code code;
    for (const auto& line : listed())
        if (fs::exists(submission_path(line), code))
            list.emplace_back(line);
    return list;
}

std::string remember_submission(const fs::path& output) {
    const auto path = list_path();
    if (path.empty())
        return "neither HOME nor XDG_STATE_HOME is set: xrdct jobs will not list this job";
    std::error_code code;
    fs::create_directories(path.parent_path(), code);
    // Appended, as two submissions may come at once; reading drops what is double.
    std::ofstream file(path, std::ios::app);
    file << output.string() + "\n";
    file.flush();
    return file ? ""
                : fmt::format("{}: cannot be written: xrdct jobs will not list this job",
                              path.string());
}

bool MemberState::ended() const {
    return state == "finished" || state == "untrusted" || state == "failed" ||
           state == "cancelled" || state == "lost" || state == "stopped";
}

double time_left(const program::RunState& run,
                 const std::vector<std::pair<std::string, double>>& estimates) {
    double left = 0;
    for (const auto& stage : run.stages) {
        if (stage.state == "finished" || stage.state == "kept")
            continue;
        const auto found = std::find_if(estimates.begin(), estimates.end(),
                                        [&](const auto& one) { return one.first == stage.name; });
        if (stage.state != "running") {
            if (found == estimates.end())
                return -1;
            left += found->second;
        } else if (run.total > 0 && run.done > 0 && run.iteration < 0) {
            left += run.part_seconds *
                    static_cast<double>(run.total - std::min(run.done, run.total)) /
                    static_cast<double>(run.done);
        } else if (found != estimates.end() && found->second > stage.seconds) {
            left += found->second - stage.seconds;
        } else {
            return -1;
        }
    }
    return left;
}

namespace {

/// The last error of a log, for a run that ended before it could say so itself.
std::string last_error(const fs::path& log) {
    std::ifstream file(log, std::ios::binary);
    file.seekg(0, std::ios::end);
    const auto size = static_cast<std::streamoff>(file.tellg());
    file.seekg(std::max<std::streamoff>(0, size - 20000));
    std::string found;
    for (std::string line; std::getline(file, line);)
        for (const char* mark : {"xrdct: error: ", "slurmstepd: error: ", "srun: error: "})
            if (const auto at = line.find(mark);
                at != std::string::npos &&
                (found.empty() || std::string_view(mark).starts_with("xrdct")))
                found = line.substr(at + std::string_view(mark).size());
    return found;
}

/// Whether the run's process, on this machine, is gone.
bool process_is_gone(const program::RunState& run) {
    char host[256] = {};
    return ::gethostname(host, sizeof host - 1) == 0 && run.host == host && run.process > 0 &&
           ::kill(static_cast<pid_t>(run.process), 0) != 0 && errno == ESRCH;
}

} // namespace

MemberState member_state(const Submission& submission, std::size_t index, const SlurmView& view) {
    const auto& member = submission.members.at(index);
    const long task = submission.array ? static_cast<long>(index) : -1;
    MemberState result;
    result.run = program::read_run_state(member.output);
    const auto expected =
        submission.array ? fmt::format("{}_{}", member.job, task) : std::to_string(member.job);
    // The record of an earlier run says nothing of this one.
    if (result.run && member.job > 0 && result.run->batch_job != expected)
        result.run.reset();

    const auto found = std::find_if(view.jobs.begin(), view.jobs.end(), [&](const SlurmJob& job) {
        return is_member(job, member.job, task);
    });
    const bool known = found != view.jobs.end();
    const std::string word = known ? found->state : "";
    const auto failed_because = [&](const std::string& otherwise) {
        if (result.run && !result.run->message.empty() && result.run->state != "running")
            return result.run->message;
        const auto error = last_error(submission.log(index));
        return error.empty() ? otherwise : error;
    };
    if (known && !has_ended(word)) {
        if (word == "PENDING" || word.starts_with("REQUEUE")) {
            result.state = result.run ? "continued" : "waiting";
            result.detail = found->reason;
        } else {
            result.state = "running";
            if (result.run && result.run->state == "running")
                result.left = time_left(*result.run, submission.estimates);
            else if (result.run && result.run->state == "finished")
                result.left = 0;
        }
        return result;
    }
    if (known) {
        if (word.starts_with("COMPLETED") && result.run && result.run->state == "stopped") {
            result.state = "stopped";
            result.detail = result.run->message;
        } else if (word.starts_with("COMPLETED")) {
            result.state = "finished";
        } else if (result.run && result.run->state == "untrusted") {
            result.state = "untrusted";
            result.detail = result.run->message;
        } else if (word.starts_with("CANCELLED")) {
            result.state = "cancelled";
            result.detail = result.run && result.run->current()
                                ? fmt::format("in {}", result.run->current()->name)
                                : "";
        } else {
            result.state = "failed";
            const auto cause = word == "OUT_OF_MEMORY" ? "out of memory; give --memory"
                               : word == "TIMEOUT"     ? "time limit"
                                                       : "";
            result.detail = *cause ? cause : failed_because("SLURM says " + word);
        }
        return result;
    }
    if (result.run && result.run->state != "running") {
        result.state = result.run->state;
        result.detail = result.run->message;
        return result;
    }
    if (!view.trouble.empty() && member.job > 0) {
        // Without SLURM's word the file's own: it may be the last of a job that was killed.
        result.state = result.run ? "running" : "unknown";
        result.detail = "SLURM cannot be asked";
        return result;
    }
    if (result.run && member.job == 0 && !process_is_gone(*result.run)) {
        result.state = "running";
        result.left = time_left(*result.run, submission.estimates);
        return result;
    }
    result.state = "lost";
    result.detail = failed_because("SLURM no longer knows it, and it did not say how it ended; see "
                                   "xrdct logs");
    if (result.detail.find("SLURM no longer") != 0)
        result.state = "failed";
    return result;
}

} // namespace xrdct::cluster
