// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/program/run_record.hpp"

#include "base/error.hpp"
#include "jobs/settings/job.hpp"
#include "mpi/files/text_file.hpp"

#include <cstdlib>

#include <unistd.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace xrdct::program {

namespace {

RunRecord* record_of_process = nullptr;

double now() {
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch())
        .count();
}

std::string variable(const char* name) {
    const char* value = std::getenv(name);
    return value ? value : "";
}

} // namespace

const StageState* RunState::current() const {
    for (const auto& stage : stages)
        if (stage.state == "running" || stage.state == "failed" || stage.state == "stopped")
            return &stage;
    return nullptr;
}

std::string to_json(const RunState& state) {
    nlohmann::ordered_json json{{"state", state.state}, {"message", state.message}};
    json["stages"] = nlohmann::ordered_json::array();
    for (const auto& stage : state.stages)
        json["stages"].push_back(
            {{"name", stage.name}, {"state", stage.state}, {"seconds", stage.seconds}});
    json["part"] = {{"title", state.part},
                    {"done", state.done},
                    {"total", state.total},
                    {"seconds", state.part_seconds}};
    if (state.iteration >= 0)
        json["iteration"] = state.iteration;
    if (state.residual >= 0)
        json["residual"] = state.residual;
    json["started"] = state.started;
    json["updated"] = state.updated;
    json["process"] = state.process;
    json["host"] = state.host;
    json["batch_job"] = state.batch_job;
    json["ranks"] = state.ranks;
    json["restarts"] = state.restarts;
    return json.dump(1) + "\n";
}

RunState run_state_from_json(const std::string& text, const std::string& source) {
    try {
        const auto json = nlohmann::json::parse(text);
        RunState state;
        state.state = json.at("state");
        state.message = json.at("message");
        for (const auto& stage : json.at("stages"))
            state.stages.push_back({stage.at("name"), stage.at("state"), stage.at("seconds")});
        const auto& part = json.at("part");
        state.part = part.at("title");
        state.done = part.at("done");
        state.total = part.at("total");
        state.part_seconds = part.at("seconds");
        state.iteration = json.value("iteration", -1L);
        state.residual = json.value("residual", -1.0);
        state.started = json.at("started");
        state.updated = json.at("updated");
        state.process = json.at("process");
        state.host = json.at("host");
        state.batch_job = json.at("batch_job");
        state.ranks = json.at("ranks");
        state.restarts = json.at("restarts");
        return state;
    } catch (const nlohmann::json::exception& error) {
        throw Error(fmt::format("{}: is not the progress of a run: {}", source, error.what()));
    }
}

std::filesystem::path run_state_path(const std::filesystem::path& output) {
    return output / "progress.json";
}

std::optional<RunState> read_run_state(const std::filesystem::path& output) {
    const auto path = run_state_path(output);
    std::error_code code;
    if (!std::filesystem::exists(path, code))
        return {};
    return run_state_from_json(files::read_text_file(path), path.string());
}

RunRecord::RunRecord() {
    record_of_process = this;
}

RunRecord::~RunRecord() {
    record_of_process = nullptr;
}

RunRecord* RunRecord::current() {
    return record_of_process;
}

void RunRecord::begin(const std::filesystem::path& output, const std::vector<std::string>& stages,
                      int ranks) {
    state_ = {};
    state_.state = "running";
    for (const auto& stage : stages)
        state_.stages.push_back({stage, "waiting", 0});
    state_.started = now();
    state_.process = ::getpid();
    char host[256] = {};
    if (::gethostname(host, sizeof host - 1) == 0)
        state_.host = host;
    // A member of an array is known by the array's number and its own.
    const auto array = variable("SLURM_ARRAY_JOB_ID");
    state_.batch_job =
        array.empty() ? variable("SLURM_JOB_ID") : array + "_" + variable("SLURM_ARRAY_TASK_ID");
    state_.restarts = std::atoi(variable("SLURM_RESTART_COUNT").c_str());
    state_.ranks = ranks;
    path_ = run_state_path(output);
    write(true);
}

StageState* RunRecord::running() {
    for (auto& stage : state_.stages)
        if (stage.state == "running")
            return &stage;
    return nullptr;
}

void RunRecord::enter_stage(const std::string& name) {
    stage_start_ = std::chrono::steady_clock::now();
    for (auto& stage : state_.stages)
        if (stage.name == name)
            stage.state = "running";
    state_.part.clear();
    state_.done = state_.total = 0;
    state_.part_seconds = 0;
    state_.iteration = -1;
    state_.residual = -1;
    write(true);
}

void RunRecord::leave_stage(const std::string& state) {
    write(true);
    if (auto* stage = running())
        stage->state = state;
    write(true);
}

void RunRecord::part(const std::string& title, std::size_t done, std::size_t total,
                     double seconds) {
    const bool fresh = title != state_.part;
    state_.part = title;
    state_.done = done;
    state_.total = total;
    state_.part_seconds = seconds;
    write(fresh);
}

void RunRecord::iterate(long iteration, double residual) {
    state_.iteration = iteration;
    state_.residual = residual;
    write(false);
}

void RunRecord::end(const std::string& state, const std::string& message) {
    write(true);
    if (auto* stage = running())
        stage->state = state;
    state_.state = state;
    state_.message = message;
    write(true);
}

void RunRecord::write(bool at_once) {
    if (path_.empty())
        return;
    const auto time = std::chrono::steady_clock::now();
    if (!at_once && time - last_write_ < std::chrono::seconds(1))
        return;
    last_write_ = time;
    state_.updated = now();
    if (auto* stage = running())
        stage->seconds = std::chrono::duration<double>(time - stage_start_).count();
    try {
        files::write_text_file(path_, to_json(state_));
    } catch (const Error&) {
        // A full disk ends the run by the products, not by this.
    }
}

} // namespace xrdct::program
