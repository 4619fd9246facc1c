// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/cluster/slurm.hpp"

#include "base/error.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <cstring>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace xrdct::cluster {

using nlohmann::json;

Outcome run_tool(const std::vector<std::string>& words, double timeout) {
    return program::run_child(words, {.folder = {}, .timeout = timeout});
}

bool has_ended(const std::string& state) {
    static const std::array words{"COMPLETED",     "FAILED",    "CANCELLED",
                                  "TIMEOUT",       "NODE_FAIL", "BOOT_FAIL",
                                  "OUT_OF_MEMORY", "DEADLINE",  "PREEMPTED"};
    return std::any_of(words.begin(), words.end(),
                       [&](const char* word) { return state.starts_with(word); });
}

namespace {

/// A number in any of SLURM's forms; `fallback` when it is not set.
double number_of(const json& value, double fallback) {
    if (value.is_number())
        return value.get<double>();
    if (value.is_object() && value.value("set", false) && !value.value("infinite", false))
        return value.value("number", fallback);
    return fallback;
}

double number_at(const json& object, const char* key, double fallback) {
    return object.is_object() && object.contains(key) ? number_of(object.at(key), fallback)
                                                      : fallback;
}

std::string text_at(const json& object, const char* key) {
    if (!object.is_object() || !object.contains(key))
        return {};
    const auto& value = object.at(key);
    if (value.is_string())
        return value.get<std::string>();
    // Newer versions give a state and its flags as a list; the flag tells more where it says that
    // the job will run again.
    if (value.is_array()) {
        std::string first;
        for (const auto& element : value)
            if (element.is_string()) {
                const auto word = element.get<std::string>();
                if (word.starts_with("REQUEUE"))
                    return word;
                if (first.empty())
                    first = word;
            }
        return first;
    }
    return {};
}

template <typename F>
std::vector<SlurmJob> parse(const std::string& text, const char* program, F&& one) {
    try {
        const auto document = json::parse(text);
        std::vector<SlurmJob> list;
        // A SLURM that cannot answer exits with 0 and says so here.
        if (document.contains("errors") && !document.at("errors").empty()) {
            const auto& first = document.at("errors").at(0);
            throw Error(fmt::format("{} --json: {}", program, text_at(first, "description")));
        }
        if (!document.at("jobs").is_array())
            throw Error(
                fmt::format("{} --json: its answer is not understood: no list of jobs", program));
        for (const auto& entry : document.at("jobs"))
            list.push_back(one(entry));
        return list;
    } catch (const json::exception& error) {
        throw Error(
            fmt::format("{} --json: its answer is not understood: {}", program, error.what()));
    }
}

} // namespace

std::vector<SlurmJob> parse_squeue(const std::string& text) {
    return parse(text, "squeue", [](const json& entry) {
        SlurmJob job;
        job.id = static_cast<long>(number_at(entry, "job_id", 0));
        job.tasks = text_at(entry, "array_task_string");
        const auto array = static_cast<long>(number_at(entry, "array_job_id", 0));
        if (array > 0) {
            job.id = array;
            if (job.tasks.empty())
                job.task = static_cast<long>(number_at(entry, "array_task_id", -1));
        }
        job.state = text_at(entry, "job_state");
        job.reason = text_at(entry, "state_reason");
        if (job.reason == "None")
            job.reason.clear();
        job.start = number_at(entry, "start_time", 0);
        return job;
    });
}

std::vector<SlurmJob> parse_sacct(const std::string& text) {
    return parse(text, "sacct", [](const json& entry) {
        SlurmJob job;
        job.id = static_cast<long>(number_at(entry, "job_id", 0));
        if (entry.contains("array")) {
            const auto& array = entry.at("array");
            if (const auto id = static_cast<long>(number_at(array, "job_id", 0)); id > 0) {
                job.id = id;
                job.task = static_cast<long>(number_at(array, "task_id", -1));
            }
        }
        const json none = json::object();
        const auto& state = entry.contains("state") ? entry.at("state") : none;
        job.state = text_at(state, "current");
        job.reason = text_at(state, "reason");
        if (job.reason == "None")
            job.reason.clear();
        job.start = number_at(entry.contains("time") ? entry.at("time") : none, "start", 0);
        return job;
    });
}

bool is_member(const SlurmJob& job, long id, long task) {
    if (job.id != id)
        return false;
    if (job.tasks.empty())
        return job.task == task;
    // "3-7,9%4": ranges, steps after a colon, and the most that run at once after %.
    std::size_t at = 0;
    const auto text = job.tasks.substr(0, job.tasks.find('%'));
    while (at <= text.size()) {
        const auto end = std::min(text.find(',', at), text.size());
        long from = 0, to = 0, step = 1;
        const auto part = text.substr(at, end - at);
        const int read = std::sscanf(part.c_str(), "%ld-%ld:%ld", &from, &to, &step);
        if (read == 1)
            to = from;
        if (read >= 1 && task >= from && task <= to && step > 0 && (task - from) % step == 0)
            return true;
        // A long list is cut off by "..."; what is beyond waits with the rest.
        if (part.find("...") != std::string::npos)
            return true;
        at = end + 1;
    }
    return false;
}

std::string explain(const std::string& program, const Outcome& outcome, const std::string& source) {
    if (outcome.missing)
        return fmt::format("{} is not there: SLURM is not installed on this machine, or not in "
                           "PATH (module load slurm?)",
                           program);
    if (outcome.timed_out)
        return fmt::format("{} does not answer: is SLURM's controller running?", program);
    std::string said = outcome.errors;
    while (!said.empty() && (said.back() == '\n' || said.back() == ' '))
        said.pop_back();
    const auto holds = [&](const char* words) {
        return std::search(said.begin(), said.end(), words, words + std::strlen(words),
                           [](char a, char b) {
                               return std::tolower(static_cast<unsigned char>(a)) ==
                                      std::tolower(static_cast<unsigned char>(b));
                           }) != said.end();
    };
    const std::string profile = source.empty() ? "the profile (there is none: --profile)" : source;
    std::string meaning;
    if (holds("munge") || holds("authentication credential"))
        meaning = "the authentication service munge does not answer on this machine; its "
                  "administrator must start it";
    else if (holds("invalid partition"))
        meaning =
            fmt::format("slurm.partition of {} is refused; sinfo lists the partitions", profile);
    else if (holds("invalid account"))
        meaning = fmt::format("slurm.account of {} is refused, or its pair with the partition; "
                              "sacctmgr show associations lists yours",
                              profile);
    else if (holds("invalid qos"))
        meaning = fmt::format("slurm.qos of {} is refused", profile);
    else if (holds("node configuration is not available") || holds("more processors requested") ||
             holds("node count specification invalid") || holds("memory specification can not"))
        meaning = fmt::format("no node has the cores, memory or features asked for; node.cores, "
                              "node.memory and slurm.constraint of {} should say what a node has",
                              profile);
    else if (holds("time limit"))
        meaning = fmt::format("the time limit is refused; --time or time.most of {}", profile);
    else if (holds("unable to contact slurm controller") || holds("connection refused") ||
             holds("connect failure"))
        meaning = "SLURM's controller does not answer";
    else if (holds("configuration source"))
        meaning = "SLURM is not set up on this machine: it finds no slurm.conf (SLURM_CONF?)";
    else
        meaning = fmt::format("{} failed (exit code {})", program, outcome.code);
    return said.empty() ? meaning : fmt::format("{}; it said: {}", meaning, said);
}

SlurmView ask_slurm(const std::vector<long>& ids) {
    SlurmView view;
    if (ids.empty())
        return view;
    const auto queue = run_tool({"squeue", "--json"}, 60);
    if (queue.code != 0 || queue.timed_out) {
        view.trouble = explain("squeue", queue, "");
        return view;
    }
    const auto wanted = [&](const SlurmJob& job) {
        return std::find(ids.begin(), ids.end(), job.id) != ids.end();
    };
    try {
        for (auto& job : parse_squeue(queue.output))
            if (wanted(job))
                view.jobs.push_back(std::move(job));
    } catch (const Error& error) {
        view.trouble = queue.errors.empty() ? error.what() : explain("squeue", queue, "");
        return view;
    }
    std::string gone;
    for (const long id : ids)
        if (std::none_of(view.jobs.begin(), view.jobs.end(), [&](const SlurmJob& job) {
                return job.id == id && !has_ended(job.state);
            }))
            gone += fmt::format("{}{}", gone.empty() ? "" : ",", id);
    if (gone.empty())
        return view;
    const auto accounts = run_tool({"sacct", "--json", "-j", gone}, 60);
    if (accounts.code != 0 || accounts.timed_out || accounts.output.empty())
        return view;
    try {
        for (auto& job : parse_sacct(accounts.output))
            if (wanted(job) &&
                std::none_of(view.jobs.begin(), view.jobs.end(),
                             [&](const auto& known) { return is_member(known, job.id, job.task); }))
                view.jobs.push_back(std::move(job));
    } catch (const Error&) {
        // The progress files say the rest.
    }
    return view;
}

long submit_script(const std::string& path, const std::string& source) {
    const auto outcome = run_tool({"sbatch", "--parsable", path});
    if (outcome.code != 0 || outcome.timed_out)
        throw Error("nothing was submitted: " + explain("sbatch", outcome, source));
    // "123" or "123;cluster"
    long id = 0;
    if (std::sscanf(outcome.output.c_str(), "%ld", &id) != 1 || id <= 0)
        throw Error(fmt::format("sbatch gave no number of a job but '{}'", outcome.output));
    return id;
}

void cancel_jobs(const std::vector<std::string>& ids) {
    std::vector<std::string> words{"scancel"};
    words.insert(words.end(), ids.begin(), ids.end());
    const auto outcome = run_tool(words);
    if (outcome.code != 0 || outcome.timed_out)
        throw Error("nothing was cancelled: " + explain("scancel", outcome, ""));
}

} // namespace xrdct::cluster
