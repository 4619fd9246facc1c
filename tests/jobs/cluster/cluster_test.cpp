// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "jobs/cluster/batch.hpp"
#include "jobs/cluster/slurm.hpp"
#include "jobs/cluster/submission.hpp"
#include "support/program.hpp"
#include "support/temporary_directory.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

using namespace xrdct;
using namespace xrdct::cluster;
using testing::HasSubstr;
using testing::Not;

namespace {

template <typename F>
std::string error_of(F&& call) {
    try {
        call();
    } catch (const Error& error) {
        return error.what();
    }
    return "no error";
}

void write(const std::filesystem::path& path, const std::string& text) {
    std::ofstream(path) << text;
}

/// An hour of perfectly parallel work, and 100 MB per rank.
std::vector<pipeline::StageEstimate> hour(int ranks) {
    return {{"fbp", 600.0 / ranks, 80'000'000, 1000},
            {"rietveld", 3000.0 / ranks, 100'000'000, 10}};
}

BatchJob one_job() {
    BatchJob job;
    job.name = "xrdct-job";
    job.job_file = "/data/a b/job.toml";
    job.output = "/data/a b/results";
    job.program = "/opt/xrdct";
    job.members = {{"", "/data/scan.nxs", "/data/a b/results", "abc"}};
    job.indices = {0};
    return job;
}

TEST(Profile, ReadsAllAndRefusesWhatItDoesNotKnow) {
    const auto p = parse_profile("[slurm]\npartition = 'long'\naccount = 'x12'\n"
                                 "[run]\nlauncher = 'mpirun'\nmodules = ['openmpi/4.1']\n"
                                 "[node]\ncores = 64\nmemory = '256GB'\nmost = 4\n"
                                 "[time]\nmost = 60.0\nnotice = 2.0\n",
                                 "site.toml");
    EXPECT_EQ(p.partition, "long");
    EXPECT_EQ(p.launcher, "mpirun");
    EXPECT_TRUE(p.launcher_options.empty());
    EXPECT_EQ(p.memory_per_node, 256'000'000'000ULL);
    EXPECT_EQ(p.max_time, 3600);
    EXPECT_EQ(p.notice, 120);
    EXPECT_EQ(parse_profile("", "").launcher_options, std::vector<std::string>{"--mpi=pmix"});
    const auto refused = [](const std::string& text) {
        return error_of([&] { parse_profile(text, "site.toml"); });
    };
    EXPECT_THAT(refused("[slurm]\npartion = 'long'\n"),
                testing::AllOf(HasSubstr("slurm.partion"), HasSubstr("slurm.partition")));
    EXPECT_THAT(refused("[run]\nlauncher = 'mpiexec'\n"), HasSubstr("mpirun"));
    EXPECT_THAT(refused("[slurm]\npartition = \"a\\n#SBATCH --x\"\n"), HasSubstr("partition"));
    EXPECT_THAT(refused("[slurm]\naccount = '$(id)'\n"), HasSubstr("slurm.account"));
    EXPECT_THAT(refused("[slurm]\noptions = ['exclusive']\n"), HasSubstr("--"));
    EXPECT_THAT(refused("[node]\ncores = 0\n"), HasSubstr("node.cores"));
    EXPECT_THAT(refused("[node]\nmemory = 'much'\n"), HasSubstr("node.memory"));
    EXPECT_THAT(refused("[time]\nnotice = 0.2\n"), HasSubstr("time.notice"));
    EXPECT_THAT(refused("[time]\nmost = 2.0\n"), HasSubstr("time.most"));
    EXPECT_THAT(refused("[slurm\n"), HasSubstr("line 1"));
}

TEST(Plan, TakesTheFewestRanksThatReachTheTarget) {
    Profile profile = parse_profile("[node]\ncores = 16\nmost = 2\n[time]\ntarget = 10.0\n", "p");
    const auto r = plan(profile, {}, hour);
    EXPECT_EQ(r.ranks, 8); // 3600 s / 8 ≤ 600 s < 3600 s / 4
    EXPECT_EQ(r.nodes, 1);
    EXPECT_DOUBLE_EQ(r.estimated, 450);
    EXPECT_DOUBLE_EQ(r.seconds, 2400);   // 3 × 450 + 600 + 180, in whole five minutes
    EXPECT_EQ(r.memory, 1'040'000'000U); // 8 × 1.3 × 100 MB
    profile.target = 60;
    EXPECT_EQ(plan(profile, {}, hour).ranks, 32);
    EXPECT_EQ(plan(profile, {}, hour).nodes, 2);
    // Ranks that gain nothing are not taken.
    const auto serial = [](int) {
        return std::vector<pipeline::StageEstimate>{{"fbp", 3600, 1000, 0}};
    };
    EXPECT_EQ(plan(profile, {}, serial).ranks, 1);
}

TEST(Plan, MemoryOfANodeLimitsItsRanks) {
    const auto profile = parse_profile(
        "[node]\ncores = 16\nmost = 4\nmemory = '600MB'\n[time]\ntarget = 5.0\n", "p");
    const auto r = plan(profile, {}, hour);
    EXPECT_EQ(r.ranks, 16);
    EXPECT_EQ(r.nodes, 4);
    EXPECT_LE(r.memory, 600'000'000U);
    const auto large = [](int) {
        return std::vector<pipeline::StageEstimate>{{"fbp", 10, 1'000'000'000, 0}};
    };
    EXPECT_THAT(error_of([&] { plan(profile, {}, large); }), HasSubstr("--memory"));
    EXPECT_THAT(error_of([&] { plan(profile, {.nodes = 1, .ranks = 16}, hour); }),
                HasSubstr("--nodes"));
    EXPECT_THAT(error_of([&] { plan(profile, {.nodes = 4, .ranks = 2}, hour); }),
                HasSubstr("--nodes"));
    EXPECT_THAT(error_of([&] { plan(profile, {.seconds = 100}, hour); }), HasSubstr("--time"));
    EXPECT_FALSE(plan(profile, {.ranks = 1, .seconds = 1800}, hour).notes.empty());
}

TEST(Plan, TimesAreReadAndWritten) {
    EXPECT_EQ(slurm_time(600), "00:10:00");
    EXPECT_EQ(slurm_time(95400), "1-02:30:00");
    EXPECT_EQ(parse_time("90", "--time"), 5400);
    EXPECT_EQ(parse_time("90min", "--time"), 5400);
    EXPECT_EQ(parse_time("1h30min", "--time"), 5400);
    EXPECT_EQ(parse_time("01:30:00", "--time"), 5400);
    EXPECT_EQ(parse_time("1-12:00:00", "--time"), 129600);
    for (const char* bad : {"", "soon", "-5", "0", "1h30x", "1:2", "5 min!", "nan"})
        EXPECT_THAT(error_of([&] { parse_time(bad, "--time"); }), HasSubstr("--time")) << bad;
}

TEST(Script, SaysWhatTheProfileAndTheEstimateSay) {
    const auto profile = parse_profile(
        "[slurm]\npartition = 'long'\naccount = 'x12'\noptions = ['--exclusive']\n"
        "[run]\nmodules = ['openmpi/4.1']\nsetup = ['ulimit -c 0']\ncontainer = ['apptainer', "
        "'exec', '/opt/my image.sif']\n",
        "p");
    Resources r;
    r.nodes = 2;
    r.ranks = 12;
    r.memory = 1'048'576'000;
    r.seconds = 5400;
    r.stages = hour(12);
    auto job = one_job();
    const auto text = batch_script(profile, r, job);
    for (const char* words :
         {"#SBATCH --nodes=2\n", "#SBATCH --ntasks=12\n", "#SBATCH --mem=1000M\n",
          "#SBATCH --time=01:30:00\n", "#SBATCH --partition=long\n", "#SBATCH --account=x12\n",
          "#SBATCH --exclusive\n", "#SBATCH --signal=B:USR2@180\n", "#SBATCH --requeue\n",
          "module load openmpi/4.1 || exit 1\nulimit -c 0\n", "cd '/data/a b' || exit 1\n",
          "srun --ntasks=12 --kill-on-bad-exit=1 --mpi=pmix apptainer exec '/opt/my image.sif' "
          "xrdct run '/data/a b/job.toml' ",
          "--output=\"/data/a b/results/slurm-%j.log\"", "expected=abc\n", "options=()\n",
          "options=(--resume)\n"})
        EXPECT_THAT(text, HasSubstr(words));
    EXPECT_THAT(text, Not(HasSubstr("--qos")));
    EXPECT_THAT(text, Not(HasSubstr("--array")));

    const auto mpirun = parse_profile("[run]\nlauncher = 'mpirun'\n", "p");
    job.force = true;
    EXPECT_THAT(batch_script(mpirun, r, job), Not(HasSubstr("--force-data")));
    job.memory_limit = 4000;
    job.force_data = true;
    EXPECT_THAT(batch_script(mpirun, r, job),
                testing::AllOf(HasSubstr("\nmpirun -n 12 /opt/xrdct run "),
                               HasSubstr("--memory 4000 --force-data "),
                               HasSubstr("options=(--force)"),
                               HasSubstr("options=(--resume --force)")));
}

TEST(Script, MembersOfACampaignAreAnArray) {
    auto job = one_job();
    job.array = true;
    job.members.clear();
    for (const char* name : {"a", "b", "it's", "d", "e"})
        job.members.push_back({name, std::string("/s/") + name + ".nxs", std::string("/r/") + name,
                               std::string("sum-") + name});
    job.indices = {0, 1, 2, 4};
    const auto text = batch_script(parse_profile("", ""), {}, job);
    EXPECT_THAT(text, HasSubstr("#SBATCH --array=0-2,4\n"));
    EXPECT_THAT(text, HasSubstr("slurm-%A_%a.log"));
    EXPECT_THAT(text, HasSubstr("expected=sum-e\n"));
    EXPECT_THAT(text, Not(HasSubstr("expected=sum-d\n")));
    EXPECT_THAT(text, HasSubstr("--set 'input.file=\"/s/it'\\''s.nxs\"'"));
}

/// The script itself, with a stand-in for the launcher and for scontrol.
class ScriptRun : public testing::Test {
  protected:
    test::ProcessResult run(const std::string& launcher, const std::string& environment = "") {
        Profile profile = parse_profile("[time]\nnotice = 1.0\nrequeues = 2\n", "p");
        auto job = one_job();
        job.job_file = folder_ / "job.toml";
        job.output = job.members[0].output = folder_ / "results";
        std::filesystem::create_directories(job.output);
        write(folder_ / "batch", batch_script(profile, {}, job));
        write(folder_ / "srun", "#!/bin/bash\ncd " + job.output.string() +
                                    "\nprintf '%s\\n' \"$*\" >> ../calls\n" + launcher);
        write(folder_ / "scontrol", "#!/bin/bash\necho \"$@\" >> " + (folder_ / "queue").string());
        for (const char* name : {"srun", "scontrol"})
            std::filesystem::permissions(folder_ / name, std::filesystem::perms::owner_all);
        return test::run_process(
            {"bash", "-c",
             "export PATH=" + folder_.path().string() + ":$PATH SLURM_JOB_ID=7 " + environment +
                 "; bash batch & b=$!" +
                 "; while [ -e results/ask ] || ! [ -e calls ]; do sleep 0.05; "
                 "[ -e results/ready ] && kill -USR2 $b && rm results/ask "
                 "results/ready; done; wait $b"},
            50, folder_.path());
    }
    bool requeued() const { return std::filesystem::exists(folder_ / "queue"); }
    test::TemporaryDirectory folder_;
    const std::string finished =
        "sleep 0.02; printf '{\\n \"state\": \"finished\",\\n' > progress.json\n";
    // A file system's clock ticks every few milliseconds: what is written within the tick of the
    // start is not newer.
    const std::string saved = "sleep 0.02; touch fbp.nxs; exit 75";
    const std::string asked = "touch ask; trap 'go=1' USR2; sleep 0.2; touch ready\n"
                              "until [ \"$go\" ]; do sleep 0.05; done\n";
};

TEST_F(ScriptRun, PassesOnSuccessAndFailure) {
    EXPECT_EQ(run(finished + "exit 0").exit_code, 0);
    EXPECT_EQ(run("exit 1").exit_code, 1);
    EXPECT_FALSE(requeued());
    std::ifstream calls(folder_ / "calls");
    std::string line;
    std::getline(calls, line);
    EXPECT_THAT(line, HasSubstr("/opt/xrdct run " + (folder_ / "job.toml").string() + " --expect"));
}

TEST_F(ScriptRun, GoesBackIntoTheQueueWhenItSavedSomething) {
    const auto result = run(asked + "touch fbp.nxs; exit 75");
    EXPECT_FALSE(result.timed_out);
    EXPECT_EQ(result.exit_code, 0) << result.errors;
    EXPECT_TRUE(requeued());
}

TEST_F(ScriptRun, FailsWhenNothingWasGained) {
    const auto result = run(asked + "exit 75");
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_THAT(result.errors, HasSubstr("nothing was finished within the time limit"));
    EXPECT_FALSE(requeued());
}

TEST_F(ScriptRun, AnErrorAfterTheSignalIsAnError) {
    EXPECT_EQ(run(asked + "touch fbp.nxs; exit 1").exit_code, 1);
    EXPECT_FALSE(requeued());
}

TEST_F(ScriptRun, FinishingAfterTheSignalIsSuccess) {
    EXPECT_EQ(run(asked + finished + "exit 0").exit_code, 0);
    EXPECT_FALSE(requeued());
}

TEST_F(ScriptRun, ALauncherThatRanNothingIsAFailure) {
    const auto result = run("exit 0");
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_THAT(result.errors, HasSubstr("the launcher ended without the run"));
    EXPECT_FALSE(requeued());
}

TEST_F(ScriptRun, ContinuesWithResumeAndNotForEver) {
    EXPECT_EQ(run(saved, "SLURM_RESTART_COUNT=1").exit_code, 0);
    EXPECT_TRUE(requeued());
    std::ifstream calls(folder_ / "calls");
    std::string line;
    std::getline(calls, line);
    EXPECT_THAT(line, HasSubstr(" --resume "));
    const auto result = run(saved, "SLURM_RESTART_COUNT=2");
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_THAT(result.errors, HasSubstr("time.requeues"));
}

TEST(Slurm, ReadsTheQueueOfOldAndNewVersions) {
    const auto old = parse_squeue(R"({"errors": [], "jobs": [
        {"job_id": 12, "array_job_id": 0, "array_task_id": null, "array_task_string": "",
         "job_state": "RUNNING", "state_reason": "None", "start_time": 1700000000},
        {"job_id": 21, "array_job_id": 20, "array_task_id": 3, "array_task_string": "",
         "job_state": "PENDING", "state_reason": "BeginTime", "start_time": 0},
        {"job_id": 20, "array_job_id": 20, "array_task_id": null, "array_task_string": "4-6,9%2",
         "job_state": "PENDING", "state_reason": "Resources", "start_time": 0}]})");
    ASSERT_EQ(old.size(), 3U);
    EXPECT_EQ(old[0].id, 12);
    EXPECT_EQ(old[0].task, -1);
    EXPECT_EQ(old[0].state, "RUNNING");
    EXPECT_EQ(old[0].reason, "");
    EXPECT_TRUE(is_member(old[0], 12, -1));
    EXPECT_TRUE(is_member(old[1], 20, 3));
    EXPECT_FALSE(is_member(old[1], 20, 4));
    for (const long task : {4, 5, 6, 9})
        EXPECT_TRUE(is_member(old[2], 20, task)) << task;
    for (const long task : {3, 7, 8, 10, 2})
        EXPECT_FALSE(is_member(old[2], 20, task)) << task;

    const auto fresh = parse_squeue(R"({"jobs": [
        {"job_id": 12, "array_job_id": {"set": true, "infinite": false, "number": 0},
         "array_task_id": {"set": false, "infinite": false, "number": 0}, "array_task_string": "",
         "job_state": ["RUNNING"], "state_reason": "None",
         "start_time": {"set": true, "infinite": false, "number": 1700000000}},
        {"job_id": 21, "array_job_id": {"set": true, "infinite": false, "number": 20},
         "array_task_id": {"set": true, "infinite": false, "number": 0}, "array_task_string": "",
         "job_state": ["PENDING", "REQUEUED"], "state_reason": "BeginTime"}]})");
    ASSERT_EQ(fresh.size(), 2U);
    EXPECT_EQ(fresh[0].task, -1);
    EXPECT_EQ(fresh[0].start, 1700000000);
    EXPECT_TRUE(is_member(fresh[1], 20, 0));
    EXPECT_FALSE(has_ended(fresh[1].state));
}

TEST(Slurm, ReadsAccounting) {
    const auto list = parse_sacct(R"({"jobs": [
        {"job_id": 12, "array": {"job_id": 0, "task_id": null},
         "state": {"current": "OUT_OF_MEMORY", "reason": "None"}, "time": {"start": 5}},
        {"job_id": 22, "array": {"job_id": 20, "task_id": {"set": true, "number": 2}},
         "state": {"current": ["CANCELLED"], "reason": "None"}}]})");
    ASSERT_EQ(list.size(), 2U);
    EXPECT_EQ(list[0].state, "OUT_OF_MEMORY");
    EXPECT_TRUE(is_member(list[0], 12, -1));
    EXPECT_TRUE(is_member(list[1], 20, 2));
    EXPECT_TRUE(has_ended(list[1].state));
}

TEST(Slurm, RefusesWhatItDoesNotUnderstand) {
    for (const char* text : {"", "[]", "slurm_load_jobs error", "{\"jobs\": 3}", "{}"})
        EXPECT_THAT(error_of([&] { parse_squeue(text); }), HasSubstr("squeue")) << text;
    // A queue that cannot be asked is not an empty one.
    EXPECT_THAT(error_of([] {
                    parse_squeue(R"({"errors": [{"description": "Failed while looking for jobs"}],
                                     "jobs": []})");
                }),
                HasSubstr("Failed while looking"));
}

TEST(Slurm, ExplainsRefusals) {
    const auto said = [](const std::string& text) {
        Outcome outcome;
        outcome.code = 1;
        outcome.errors = text;
        return explain("sbatch", outcome, "site.toml");
    };
    EXPECT_THAT(said("sbatch: error: invalid partition specified: gpu\n"),
                testing::AllOf(HasSubstr("slurm.partition of site.toml"), HasSubstr("gpu")));
    EXPECT_THAT(said("Invalid account or account/partition combination specified"),
                HasSubstr("slurm.account of site.toml"));
    EXPECT_THAT(said("Munge encode failed"), HasSubstr("munge does not answer"));
    EXPECT_THAT(said("Unable to contact slurm controller (connect failure)"),
                HasSubstr("controller does not answer"));
    EXPECT_THAT(said("Requested node configuration is not available"), HasSubstr("node.cores"));
    EXPECT_THAT(said("something new"), HasSubstr("something new"));
    const auto missing = run_tool({"/no/such/sbatch"});
    EXPECT_THAT(explain("sbatch", missing, ""), HasSubstr("not installed"));
    const auto slow = run_tool({"sleep", "20"}, 0.3);
    EXPECT_TRUE(slow.timed_out);
    EXPECT_EQ(run_tool({"sh", "-c", "echo out; echo err >&2; exit 3"}).code, 3);
}

class States : public testing::Test {
  protected:
    States() {
        s.output = folder_.path();
        s.job = 12;
        s.members = {{"", "/scan.nxs", folder_.path(), "abc", 12}};
        s.estimates = {{"fbp", 10}, {"rietveld", 100}};
    }
    void progress(const std::string& state, const std::string& job,
                  const std::string& message = "") {
        program::RunState run;
        run.state = state;
        run.message = message;
        run.stages = {{"fbp", "finished", 4},
                      {"rietveld", state == "running" ? "running" : state, 30}};
        run.part = "rietveld";
        run.done = 25;
        run.total = 100;
        run.part_seconds = 20;
        run.host = "elsewhere";
        run.batch_job = job;
        write(program::run_state_path(folder_.path()), to_json(run));
    }
    MemberState with(const std::string& slurm_state) {
        SlurmView view;
        SlurmJob job;
        job.id = 12;
        job.state = slurm_state;
        if (!slurm_state.empty())
            view.jobs.push_back(job);
        return member_state(s, 0, view);
    }
    test::TemporaryDirectory folder_;
    Submission s;
};

TEST_F(States, ComeFromSlurmAndFromTheProgressFile) {
    EXPECT_EQ(with("PENDING").state, "waiting");
    EXPECT_EQ(with("RUNNING").state, "running");
    progress("running", "12");
    EXPECT_EQ(with("RUNNING").run->current()->name, "rietveld");
    EXPECT_DOUBLE_EQ(with("RUNNING").left, 60); // 20 s for a quarter
    EXPECT_EQ(with("OUT_OF_MEMORY").state, "failed");
    EXPECT_THAT(with("OUT_OF_MEMORY").detail, HasSubstr("--memory"));
    EXPECT_EQ(with("CANCELLED").detail, "in rietveld");
    progress("stopped", "12");
    EXPECT_EQ(with("PENDING").state, "continued");
    EXPECT_FALSE(with("PENDING").ended());
    EXPECT_EQ(with("COMPLETED").state, "stopped");
    progress("failed", "12", "fbp.nxs: No space left on device");
    EXPECT_THAT(with("FAILED").detail, HasSubstr("No space"));
    // Gone from the queue, without accounting.
    EXPECT_EQ(with("").state, "failed");
    progress("finished", "12");
    EXPECT_EQ(with("").state, "finished");
}

TEST_F(States, ARecordOfAnotherJobSaysNothing) {
    progress("finished", "11");
    EXPECT_EQ(with("PENDING").state, "waiting");
    EXPECT_EQ(with("").state, "lost");
    write(folder_ / "slurm-12.log", "srun: error: n1: task 0: Exited\nxrdct: error: scan.nxs: no "
                                    "such file\n");
    EXPECT_EQ(with("").state, "failed");
    EXPECT_THAT(with("").detail, HasSubstr("scan.nxs: no such file"));
}

TEST_F(States, AKilledRunIsNotRunning) {
    progress("running", "12");
    EXPECT_EQ(with("").state, "lost");
    const SlurmView view{{}, "munge is down"};
    EXPECT_EQ(member_state(s, 0, view).state, "running");
    EXPECT_THAT(member_state(s, 0, view).detail, HasSubstr("cannot be asked"));
}

TEST_F(States, RecordsSurviveAWriteAndRefuseNonsense) {
    s.title = "cell \"7\"";
    s.earlier = {3, 4};
    write_submission(s);
    const auto back = read_submission(folder_.path());
    ASSERT_TRUE(back);
    EXPECT_EQ(back->title, s.title);
    EXPECT_EQ(back->earlier, s.earlier);
    EXPECT_EQ(back->members[0].checksum, "abc");
    EXPECT_EQ(back->estimates, s.estimates);
    for (const char* text : {"", "{}", "[1]", "{\"title\": 3}"}) {
        write(submission_path(folder_.path()), text);
        EXPECT_THAT(error_of([&] { read_submission(folder_.path()); }),
                    HasSubstr("submission.json"));
        write(program::run_state_path(folder_.path()), text);
        EXPECT_THAT(error_of([&] { program::read_run_state(folder_.path()); }),
                    HasSubstr("progress.json"));
    }
    EXPECT_THAT(error_of([&] {
                    s.output = folder_ / "none";
                    write_submission(s);
                }),
                HasSubstr("none"));
}

} // namespace
