// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/bench/bench_command.hpp"

#include "base/error.hpp"
#include "base/text.hpp"
#include "jobs/bench/machine.hpp"
#include "jobs/bench/output.hpp"
#include "jobs/program/command_line.hpp"
#include "jobs/program/program.hpp"
#include "jobs/settings/settings.hpp"
#include "mpi/files/text_file.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <set>
#include <tuple>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <omp.h>

namespace xrdct::bench {

namespace fs = std::filesystem;
using namespace bench;

namespace {

std::vector<std::size_t> counts(const std::string& text, const std::string& option) {
    std::set<std::size_t> list;
    for (const auto& word : words(text)) {
        const bool digits = !word.empty() && word.size() <= 7 &&
                            word.find_first_not_of("0123456789") == std::string::npos;
        if (!digits || std::stoul(word) == 0)
            throw Error(fmt::format("{}: '{}' in '{}' is not a number of ranks; expected a list "
                                    "such as 1,2,4",
                                    option, word, text));
        list.insert(std::stoul(word));
    }
    return {list.begin(), list.end()};
}

std::set<std::string> choices(const std::string& text, const std::string& option,
                              const std::vector<std::string>& known) {
    std::set<std::string> chosen;
    for (const auto& word : words(text)) {
        if (std::find(known.begin(), known.end(), word) == known.end()) {
            throw Error(
                fmt::format("{}: there is no '{}'{}", option, word, nearest_hint(word, known)));
        }
        chosen.insert(word);
    }
    return chosen;
}

std::size_t positive(long value, const char* option, long least = 1) {
    if (value < least || value > 1'000'000)
        throw Error(
            fmt::format("{}: must lie between {} and 1000000, is {}", option, least, value));
    return static_cast<std::size_t>(value);
}

/// Rates of the command line; 0: measured.
struct MachineOptions {
    double flop_rate = 0, memory_bandwidth = 0, network_bandwidth = 25, latency = 2,
           node_latency = 1, file_bandwidth = 1, file_system = 50;

    Machine machine(const Machine& measured) const {
        constexpr double giga = 1e9;
        Machine m;
        m.flop_rate = flop_rate > 0 ? flop_rate * giga : measured.flop_rate;
        m.memory_bandwidth =
            memory_bandwidth > 0 ? memory_bandwidth * giga : measured.memory_bandwidth;
        m.network_bandwidth = network_bandwidth * giga;
        m.latency = latency * 1e-6;
        m.node_latency = node_latency * 1e-6;
        m.file_bandwidth = file_bandwidth * giga;
        m.file_system = file_system * giga;
        return m;
    }
};

void predict_all(Results& r, const std::vector<std::size_t>& ranks, double memory) {
    for (const std::size_t n : ranks) {
        Results::Prediction prediction;
        prediction.ranks = n;
        const Ranks p{n, r.ranks_per_node};
        for (std::size_t s = 0; s <= static_cast<std::size_t>(Stage::read); ++s)
            prediction.stages[s] = predict(r.work, r.rates, r.machine, static_cast<Stage>(s), p,
                                           Decomposition::rotations, r.step);
        prediction.slice =
            predict_slice(r.work, r.rates, r.machine, p, Decomposition::rotations, r.step, r.steps);
        prediction.product = count(r.work, Stage::product, p);
        prediction.fbp = count(r.work, Stage::fbp, p);
        for (const auto by :
             {Decomposition::rotations, Decomposition::rays, Decomposition::patterns})
            prediction.product_seconds[static_cast<std::size_t>(by)] =
                predict(r.work, r.rates, r.machine, Stage::product, p, by).total();
        prediction.memory = predict_memory(r.work, r.rates, p);
        prediction.stack =
            predict_stack(r.work, r.rates, r.machine, p, r.slices, r.step, r.steps, memory);
        r.predictions.push_back(prediction);
    }
}

/// The command line as it was given.
struct BenchOptions {
    long translations = 140, rotations = 220, channels = 700, repetitions = 3, iterations = 10,
         products = 30, steps = 3, slices = 64, ranks_per_node = 0;
    std::string stages = "fbp,fits,dlsr,io", scaling = "strong,weak", ranks, predicted,
                folder = ".", output, memory;
    MachineOptions machine;
    bool sizes = false, force = false, json = false;

    fs::path stem() const { return fs::path(output).replace_extension(); }
};

void declare(program::CommandLine& line, BenchOptions& o) {
    line.option("translations", o.translations, "N", "of the synthetic scan; image pixels");
    line.option("rotations", o.rotations, "N", "over half a turn");
    line.option("channels", o.channels, "N", "radial channels");
    line.flag("sizes", "the size of the cathode's crystallites is refined in every voxel (fits)");
    line.option("stages", o.stages, "LIST", "of fbp, fits, dlsr and io");
    line.option(
        "scaling", o.scaling, "LIST",
        "strong: the same problem; weak: rotations (dlsr, io), channels (fbp) or rows of voxels "
        "(fits) grow with the ranks");
    line.optional("ranks", o.ranks, "LIST",
                  "numbers of ranks, at most those of mpirun (default: 1,2,4 ... and all)");
    line.optional(
        "ranks-per-node", o.ranks_per_node, "N",
        "at most so many ranks of a node share the DLSR's memory and work on it as a team "
        "(default: "
        "all of a node; in predictions 64)");
    line.option("repetitions", o.repetitions, "N", "of a measurement, the best counts");
    line.option("iterations", o.iterations, "N", "conjugate gradients in the measured DLSR step");
    line.option("folder", o.folder, "FOLDER", "where io writes its file, which is removed again");
    line.optional("predict", o.predicted, "LIST",
                  "predict these numbers of ranks instead, from rates measured on one");
    line.option("slices", o.slices, "N", "of the stack in predictions");
    line.option("steps", o.steps, "N", "Gauss-Newton steps of a slice in predictions");
    line.option("products", o.products, "N", "conjugate gradients of a step in predictions");
    line.option("flop-rate", o.machine.flop_rate, "GFLOP/s",
                "single-precision peak per rank of the predicted machine; 0: as measured here");
    line.option("memory-bandwidth", o.machine.memory_bandwidth, "GB/s",
                "per rank with all at work; 0: as measured here");
    line.option("network-bandwidth", o.machine.network_bandwidth, "GB/s",
                "of a node, into and out of it at once");
    line.option("latency", o.machine.latency, "us", "of a message between nodes");
    line.option("node-latency", o.machine.node_latency, "us", "of a message within a node");
    line.option("file-bandwidth", o.machine.file_bandwidth, "GB/s", "of one rank");
    line.option("file-system", o.machine.file_system, "GB/s", "of all ranks together");
    line.optional(
        "memory", o.memory, "SIZE",
        "of a rank, which a group must not exceed in predictions of stacks (default: no limit)");
    line.optional("output", o.output, "FILE",
                  "NeXus file of the results; pictures of the efficiency beside it");
    line.flag("force", "replace files that exist");
    line.flag("json", "results as JSON on stdout");
}

/// @throws Error naming the option that is out of its range.
void check_machine(const MachineOptions& machine) {
    for (const auto& [value, option, least] :
         {std::tuple{machine.flop_rate, "--flop-rate", 0.0},
          {machine.memory_bandwidth, "--memory-bandwidth", 0.0},
          {machine.network_bandwidth, "--network-bandwidth", 1e-6},
          {machine.latency, "--latency", 0.0},
          {machine.node_latency, "--node-latency", 0.0},
          {machine.file_bandwidth, "--file-bandwidth", 1e-6},
          {machine.file_system, "--file-system", 1e-6}})
        if (!(value >= least) || !std::isfinite(value))
            throw Error(fmt::format("{}: must be a number {}, is {}", option,
                                    least > 0 ? "above 0" : "of at least 0", value));
}

void check_files(const BenchOptions& o) {
    const fs::path output = o.output, stem = o.stem();
    if (!o.output.empty() && output.extension() != ".nxs")
        throw Error(fmt::format("--output: '{}' is not the name of a .nxs file", o.output));
    if (!o.output.empty() && !o.force)
        for (const fs::path& path :
             {output, fs::path(stem.string() + ".png"), fs::path(stem.string() + ".svg")})
            if (fs::exists(path))
                throw Error(fmt::format("{} exists; --force replaces it", path.string()));
    if (!fs::is_directory(o.folder))
        throw Error(fmt::format("--folder: there is no folder '{}'", o.folder));
}

/// What is to be done, checked.
struct Plan {
    StageOptions stages;
    std::set<std::string> wanted, ways;
    std::vector<std::size_t> predictions, sizes;
    double memory_limit = 0; ///< bytes of a rank; 0: none
};

Plan make_plan(const BenchOptions& o, bool has_ranks_per_node, Results& results) {
    results.problem = {positive(o.translations, "--translations", 16),
                       positive(o.rotations, "--rotations"), positive(o.channels, "--channels", 64),
                       o.sizes};
    results.slices = positive(o.slices, "--slices");
    results.steps = positive(o.steps, "--steps");
    const std::size_t cg = positive(o.products, "--products");
    // A product more for the trust region's first look, a preconditioning more for its norm.
    results.step = {2, 0, 1, cg, cg + 1};
    Plan plan;
    plan.stages.repetitions = static_cast<int>(positive(o.repetitions, "--repetitions"));
    plan.stages.step_iterations = positive(o.iterations, "--iterations");
    plan.stages.folder = o.folder;
    if (has_ranks_per_node)
        plan.stages.ranks_per_node = positive(o.ranks_per_node, "--ranks-per-node");
    results.ranks_per_node = has_ranks_per_node ? plan.stages.ranks_per_node : 64;
    plan.wanted = choices(o.stages, "--stages", {"fbp", "fits", "dlsr", "io"});
    plan.ways = choices(o.scaling, "--scaling", {"strong", "weak"});
    if (!o.predicted.empty())
        plan.predictions = counts(o.predicted, "--predict");
    if (!o.ranks.empty())
        plan.sizes = counts(o.ranks, "--ranks");
    if (!o.memory.empty())
        plan.memory_limit = static_cast<double>(program::parse_bytes(o.memory, "--memory"));
    check_machine(o.machine);
    check_files(o);
    return plan;
}

/// Numbers of ranks to measure on: those asked for, else 1, 2, 4, … and all.
std::vector<std::size_t> sizes_of(const Plan& plan, std::size_t all) {
    std::vector<std::size_t> sizes = plan.sizes;
    if (sizes.empty()) {
        for (std::size_t p = 1; p < all; p *= 2)
            sizes.push_back(p);
        sizes.push_back(all);
    }
    if (sizes.back() > all)
        throw Error(fmt::format("--ranks: {} ranks of {}; start more with mpirun -n {}",
                                sizes.back(), all, sizes.back()));
    return sizes;
}

void note(const mpi::Communicator& world, const std::string& message) {
    if (world.is_root())
        fmt::print(stderr, "xrdct bench: {}\n", message);
}

/// All stages that are wanted, in both ways of scaling, on the ranks of `part`.
void measure_on(const mpi::Communicator& part, const petsc::Session& session, const Sample& sample,
                const Plan& plan, Answers (&answers)[2], Results& results) {
    results.machines[static_cast<std::size_t>(part.size())] =
        measure_machine(part, plan.stages.folder, plan.wanted.contains("io"));
    for (const Scaling way : {Scaling::strong, Scaling::weak}) {
        if (!plan.ways.contains(way == Scaling::strong ? "strong" : "weak"))
            continue;
        StageRunner runner(part, session, sample, plan.stages, answers[way == Scaling::weak]);
        auto& to = results.measurements;
        if (plan.wanted.contains("fbp"))
            to.push_back(runner.fbp(way));
        if (plan.wanted.contains("fits"))
            to.push_back(runner.fits(way));
        if (plan.wanted.contains("dlsr"))
            for (const auto& m : runner.dlsr(way))
                to.push_back(m);
        if (plan.wanted.contains("io"))
            for (const auto& m : runner.files(way))
                to.push_back(m);
    }
}

/// Measures on every number of ranks in turn. Collective.
void measure_all(const mpi::Communicator& world, const petsc::Session& session,
                 const Sample& sample, const Plan& plan, Results& results) {
    Answers answers[2];
    for (const std::size_t p : sizes_of(plan, static_cast<std::size_t>(world.size()))) {
        const bool mine = static_cast<std::size_t>(world.rank()) < p;
        const auto part = world.split(mine ? 0 : 1, world.rank());
        // The others sleep until these ranks are done.
        std::optional<std::string> error;
        if (mine)
            try {
                note(world, fmt::format("{} rank(s)", p));
                measure_on(part, session, sample, plan, answers, results);
            } catch (const Error& e) {
                error = e.what();
            }
        world.sleeping_barrier();
        world.agree(error);
    }
}

/// Prints and writes the results. @throws Error when the answers of different numbers of ranks
/// differ.
void show(const mpi::Communicator& world, const BenchOptions& o, Results& results) {
    std::stable_sort(results.measurements.begin(), results.measurements.end(),
                     [](const Measurement& a, const Measurement& b) {
                         return std::tuple(a.scaling, a.stage, a.ranks) <
                                std::tuple(b.scaling, b.stage, b.ranks);
                     });
    if (o.json)
        fmt::print("{}\n", to_json(results).dump(2));
    else
        fmt::print("{}", table(results));
    if (!o.output.empty()) {
        write_nexus(results, o.output, o.force);
        const auto pictures = draw(results, o.stem(), o.force);
        if (pictures.empty())
            note(world, "no picture: there is one number of ranks only");
    }
    bool wrong = false;
    for (const auto& m : results.measurements)
        if (!(m.error <= allowed_error(m.stage))) {
            wrong = true;
            note(world, fmt::format("WRONG: {} on {} ranks differs from one rank by {:.1e}",
                                    to_string(m.stage), m.ranks, m.error));
        }
    if (wrong)
        throw Error("the answers of different numbers of ranks differ");
}

} // namespace

int command_bench(const std::vector<std::string>& arguments) {
    BenchOptions o;
    program::CommandLine line(
        "bench", "measure every stage on 1, 2, 4 ... ranks, or predict it on many", "[options]",
        "mpirun -n 4 xrdct bench --translations 140 --rotations 220 --output bench.nxs\n"
        "  xrdct bench --translations 550 --rotations 400 --predict 16,64,256,1024,4096");
    declare(line, o);
    if (!line.parse(arguments))
        return 0;
    o.force = line.has("force");
    o.sizes = line.has("sizes");
    o.json = line.has("json");
    Results results;
    const Plan plan = make_plan(o, line.has("ranks-per-node"), results);
    // Ranks are what is compared; threads of OpenMP only when they are asked for.
    if (!std::getenv("OMP_NUM_THREADS"))
        omp_set_num_threads(1);
    results.threads = omp_get_max_threads();

    return program::run_on_ranks([&](const mpi::Communicator& world) {
        sizes_of(plan, static_cast<std::size_t>(world.size()));
        const auto sample =
            world.collectively([&] { return std::make_unique<Sample>(results.problem); });
        const petsc::Session session(world);
        if (plan.predictions.empty()) {
            measure_all(world, session, *sample, plan, results);
        } else {
            note(world, "rates on one rank");
            const auto self = mpi::Communicator::self();
            world.collectively([&] {
                if (!world.is_root())
                    return;
                const Machine measured = measure_machine(self, plan.stages.folder, false);
                results.work = make_workload(*sample);
                results.rates = measure_rates(*sample, results.work, measured);
                results.machine = o.machine.machine(measured);
                predict_all(results, plan.predictions, plan.memory_limit);
            });
        }
        world.collectively([&] {
            if (world.is_root())
                show(world, o, results);
        });
    });
}

} // namespace xrdct::bench
