// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/bench/model.hpp"

#include "base/error.hpp"
#include "mpi/comm/decomposition.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace xrdct::bench {

namespace {

using Kind = Exchange::Kind;
using Among = Exchange::Among;
constexpr double number = 8; ///< bytes of a double or a count
/// Pieces that Communicator cuts its calls into.
constexpr double piece = 1 << 30;
/// Of BoundedGaussNewton in a step, besides PETSc's own sums.
constexpr double solver_agreements = 4;

double real(std::size_t n) {
    return static_cast<double>(n);
}

/// Calls of Communicator and NodeTeam, by their names, as exchanges.
class Calls {
  public:
    explicit Calls(const Ranks& ranks) : ranks_(ranks) {}

    void add(const Exchange& exchange) {
        if (exchange.count > 0)
            list_.push_back(exchange);
    }
    void add(const Calls& more, std::size_t times) {
        for (Exchange exchange : more.list_) {
            exchange.count *= real(times);
            add(exchange);
        }
    }
    void reduce(double bytes, double times = 1, Among among = Among::all) {
        if (bytes > 0)
            add({Kind::reduce, bytes, bytes, times, 0, among});
    }
    /// Communicator::agree without an error, Communicator::collectively.
    void agree(double times = 1) { reduce(number, times); }
    void run_and_sync(double times = 1) {
        if (ranks_.team() > 1)
            reduce(number, times, Among::node);
    }
    /// NodeTeam::allocate: the segment's number, and agreement on it and on its memory.
    void allocate(double times = 1) {
        if (ranks_.team() == 1)
            return;
        run_and_sync(2 * times);
        const double members = real(ranks_.sharing()),
                     teams = std::ceil(members / real(ranks_.team())), sent = 4 * teams / members;
        add({Kind::broadcast, sent, 4 - sent, times, 0, Among::node});
    }
    /// NodeTeam::gather of `bytes` in all.
    void gather(double bytes, double times = 1) {
        run_and_sync(2 * times);
        if (ranks_.nodes() == 1)
            return;
        const double n = real(ranks_.nodes());
        add({Kind::gather_all, number, number * (n - 1), times, 0, Among::leaders});
        add({Kind::gather_all, bytes / n, bytes * (n - 1) / n, times, 0, Among::leaders});
        run_and_sync(times);
    }
    /// NodeTeam::sum.
    void sum(double bytes) {
        if (ranks_.nodes() == 1)
            return;
        reduce(bytes, 1, Among::leaders);
        run_and_sync();
    }

    std::vector<Exchange> take() { return std::move(list_); }

  private:
    Ranks ranks_;
    std::vector<Exchange> list_;
};

/// Part of [rows][channels] that stays where it is when slabs become shards.
double kept_part(std::size_t rows, std::size_t channels, std::size_t ranks) {
    double kept = 0;
    for (std::size_t r = 0; r < ranks; ++r)
        kept += real(mpi::block_range(rows, ranks, r).size()) *
                real(mpi::block_range(channels, ranks, r).size());
    return kept / (real(rows) * real(channels));
}

std::size_t ceil_of(std::size_t n, std::size_t parts) {
    return (n + parts - 1) / parts;
}

void fbp_exchanges(const Workload& w, std::size_t ranks, Calls& to) {
    const std::size_t block = w.channels_per_pass * ranks;
    for (std::size_t begin = 0; begin < w.channels; begin += block) {
        const std::size_t channels = std::min(block, w.channels - begin);
        to.agree();
        // Rounds as Redistribution makes them.
        const std::size_t rows = ceil_of(w.rotations, ranks), most = ceil_of(channels, ranks),
                          position = 4 * std::max(channels, most * ranks);
        const std::size_t per_round = std::max<std::size_t>(1, w.exchange_buffer / position);
        const std::size_t rounds = ceil_of(rows * w.translations, per_round);
        const double all = 4 * real(w.rotations) * real(w.translations) * real(channels);
        const double moved = all * (1 - kept_part(w.rotations, channels, ranks)) / real(ranks);
        to.add({Kind::all_to_all, moved / real(rounds), moved / real(rounds), real(rounds)});
        to.agree();
    }
    to.reduce(number * real(w.pixels) * real(w.pixels));
}

void fit_exchanges(const Workload& w, std::size_t ranks, double root_share, Calls& to) {
    const double p = real(ranks);
    to.add({Kind::barrier, 0, 0, 1});
    to.add({Kind::one_sided, 0, 0, (real(w.tiles) + p) / p});
    to.agree();
    to.reduce(3 * number);
    to.reduce(number);
    const double others = real(w.fits) * (root_share < 0 ? 1 - 1 / p : 1 - root_share);
    const auto gather = [&](double times) {
        to.add({Kind::gather_all, number, number * (p - 1), times});
        const double bytes = number * others;
        to.add({Kind::gather, bytes / p, bytes / p, times, bytes});
    };
    gather(1 + real(w.quantities));
    to.agree();
}

/// The DLSR's collective calls, as Problem and Operator make them once their arrays exist.
class DlsrCalls : public Calls {
  public:
    DlsrCalls(const Workload& work, const Ranks& ranks) : Calls(ranks), w_(work), ranks_(ranks) {}

    /// `known`: the operator stands there.
    void gradient(bool known) {
        gather(unknowns());
        agree(); // whether it does
        if (!known)
            point();
        agree();
        run_and_sync(); // sweep
        collect();
        sum(unknowns());
        reduce(2 * number);
    }
    void objective() {
        gather(unknowns());
        agree();
        point();
        agree();
        reduce(2 * number);
    }
    void linearise() {
        gather(unknowns());
        agree(3); // the first: whether the operator stands there
        condense();
        run_and_sync(); // weights of the neighbour pairs
        allocate(4);
        run_and_sync(3); // neighbour pairs, blocks, sensitivities
        reduce(number * real(w_.globals));
    }
    void product() {
        gather(unknowns());
        agree();
        run_and_sync(4); // direction; coefficients, zeroed and filled; sweep
        collect();
        sum(unknowns());
    }
    void precondition() {
        gather(unknowns());
        agree();
        run_and_sync(2);
        sum(4 * real(w_.block_unknowns));
        run_and_sync();
    }
    void step(const StepCalls& step) {
        // The first gradient is taken where the last step ended.
        for (std::size_t i = 0; i < step.gradients; ++i)
            gradient(i == 0);
        const auto times = [&](std::size_t n, void (DlsrCalls::*call)()) {
            DlsrCalls one(w_, ranks_);
            (one.*call)();
            add(one, n);
        };
        times(step.linearisations, &DlsrCalls::linearise);
        times(step.products, &DlsrCalls::product);
        times(step.preconditions, &DlsrCalls::precondition);
        times(step.objectives, &DlsrCalls::objective);
        // A trial is gathered to be retracted.
        gather(unknowns(),
               real(std::max(step.objectives, std::max<std::size_t>(step.gradients, 1) - 1)));
        agree(solver_agreements);
    }

  private:
    double unknowns() const { return number * real(w_.unknowns); }
    /// A new point. Each rank makes some rows of the tables of patterns.
    void point() {
        agree();
        run_and_sync(3); // values before and after they change, rows
        if (w_.table_rows > 0) {
            allocate();
            sum(number * real(w_.table_rows));
        }
        agree(2);
        run_and_sync(3); // tables; functions of the voxels; the unknowns
    }
    /// The members' sums over the voxels, and of the globals.
    void collect() { run_and_sync(w_.globals > 0 ? 2 : 1); }
    /// The condensed lanes: seven arrays of the projector, which are filled one by one, three of
    /// every part, filled together, the combinations and the functions of each family.
    void condense() {
        allocate(real(7 + 3 * w_.parts + w_.families));
        run_and_sync(real(1 + 7 + 1 + w_.families));
    }

    const Workload& w_;
    Ranks ranks_;
};

} // namespace

std::string_view to_string(Stage stage) {
    switch (stage) {
    case Stage::fbp:
        return "fbp";
    case Stage::fits:
        return "fits";
    case Stage::product:
        return "dlsr product";
    case Stage::gradient:
        return "dlsr gradient";
    case Stage::linearise:
        return "dlsr linearise";
    case Stage::precondition:
        return "dlsr precondition";
    case Stage::step:
        return "dlsr step";
    case Stage::write:
        return "io write";
    case Stage::read:
        return "io read";
    }
    return "";
}

std::string_view to_string(Decomposition decomposition) {
    switch (decomposition) {
    case Decomposition::rotations:
        return "rotations";
    case Decomposition::rays:
        return "rays";
    case Decomposition::patterns:
        return "patterns";
    }
    return "";
}

std::vector<Exchange> exchanges(const Workload& w, Stage stage, const Ranks& ranks,
                                const StepCalls& step, double root_share) {
    if (ranks.count == 0 || ranks.per_node == 0)
        throw Error("bench: a prediction needs at least one rank, and one on a node");
    DlsrCalls calls(w, ranks);
    switch (stage) {
    case Stage::fbp:
        fbp_exchanges(w, ranks.count, calls);
        break;
    case Stage::fits:
        fit_exchanges(w, ranks.count, root_share, calls);
        break;
    case Stage::product:
        calls.product();
        break;
    case Stage::gradient:
        calls.gradient(false);
        break;
    case Stage::linearise:
        calls.linearise();
        break;
    case Stage::precondition:
        calls.precondition();
        break;
    case Stage::step:
        calls.step(step);
        break;
    case Stage::write:
    case Stage::read:
        break;
    }
    return calls.take();
}

Counts count(const Workload& w, Stage stage, const Ranks& ranks, const StepCalls& step,
             double root_share) {
    Counts counts;
    const double all = real(ranks.count);
    for (const Exchange& e : exchanges(w, stage, ranks, step, root_share)) {
        if (e.kind == Kind::one_sided) {
            counts.one_sided += e.count;
            continue;
        }
        counts.calls += e.count * std::max(1.0, std::ceil(e.sent / piece));
        if (ranks.count == 1)
            continue;
        const double taking_part = e.among == Among::all       ? all
                                   : e.among == Among::leaders ? real(ranks.nodes())
                                                               : real(ranks.sharing());
        counts.sent += e.count * e.sent * taking_part / all;
        counts.received += e.count * e.received * taking_part / all;
    }
    const double max_rotations = real(ceil_of(w.rotations, ranks.count));
    const double product = w.product_projection + w.product_tables;
    switch (stage) {
    case Stage::product:
        counts.flops = max_rotations * product;
        counts.bytes = max_rotations * w.product_bytes;
        break;
    case Stage::gradient:
        counts.flops = max_rotations * w.gradient_flops;
        counts.bytes = max_rotations * w.gradient_bytes;
        break;
    case Stage::step:
        counts.flops = max_rotations *
                       (real(step.products) * product + real(step.gradients) * w.gradient_flops);
        counts.bytes = max_rotations * (real(step.products) * w.product_bytes +
                                        real(step.gradients) * w.gradient_bytes);
        break;
    case Stage::fbp: {
        const std::size_t block = w.channels_per_pass * ranks.count;
        for (std::size_t begin = 0; begin < w.channels; begin += block)
            counts.flops += real(ceil_of(std::min(block, w.channels - begin), ranks.count)) * 4 *
                            w.view_pixels * real(w.rotations);
        break;
    }
    case Stage::write:
        counts.written = 4 * real(w.rotations) * real(w.translations) * real(w.channels) / all;
        break;
    case Stage::read:
        counts.read = 4 * real(w.rotations) * real(w.translations) * real(w.channels) / all;
        break;
    default:
        break;
    }
    return counts;
}

namespace {

/// What lies between some ranks or nodes.
struct Link {
    double latency, byte; ///< seconds; of a byte

    static double rounds(std::size_t n) { return std::ceil(std::log2(real(n))); }
    double sum(std::size_t n, double bytes, const Machine& machine) const {
        if (n < 2)
            return 0;
        // A sum reads two numbers and writes one.
        const double adding = 3 * bytes / machine.memory_bandwidth, part = (real(n) - 1) / real(n);
        return std::min(rounds(n) * (latency + bytes * byte + adding),
                        2 * rounds(n) * latency + 2 * part * bytes * byte + part * adding);
    }
};

} // namespace

double seconds(const Exchange& e, const Ranks& ranks, const Machine& machine) {
    const Link network{machine.latency, 1 / machine.network_bandwidth},
        memory{machine.node_latency, 2 / machine.memory_bandwidth};
    const std::size_t team = e.among == Among::leaders ? 1 : ranks.team(),
                      nodes = e.among == Among::node ? 1 : ranks.nodes();
    if (team * nodes < 2)
        return 0;
    const double rounds =
        Link::rounds(team) * memory.latency + Link::rounds(nodes) * network.latency;
    // Of what a rank exchanges with the others, the part that concerns other nodes.
    const double p = real(team * nodes), off = real(team * (nodes - 1)) / (p - 1);
    double time = 0;
    switch (e.kind) {
    case Kind::reduce:
        time = memory.sum(team, e.sent, machine) + network.sum(nodes, e.sent, machine);
        break;
    case Kind::gather_all:
        // What a node receives is read by all of its ranks.
        time = rounds + e.received * (off * network.byte + (team > 1 ? memory.byte : 0));
        if (e.among == Among::leaders) // NodeTeam puts it where it belongs
            time += (e.sent + e.received) * memory.byte;
        break;
    case Kind::all_to_all: {
        const double byte = off * real(team) * network.byte + (1 - off) * memory.byte;
        const double each =
            real(team * (nodes - 1)) * network.latency + real(team - 1) * memory.latency;
        time = std::min(each + e.sent * byte,
                        rounds + 0.5 * Link::rounds(team * nodes) * e.sent * p / (p - 1) * byte);
        break;
    }
    case Kind::gather:
        time = rounds + e.root_received * (off * network.byte + (1 - off) * memory.byte);
        break;
    case Kind::broadcast:
        time = rounds + Link::rounds(team) * e.received * memory.byte +
               Link::rounds(nodes) * e.received * network.byte;
        break;
    case Kind::barrier:
        time = rounds;
        break;
    case Kind::one_sided: {
        // There and back; rank 0's memory serves one at a time.
        const double each = nodes > 1 ? network.latency : memory.latency;
        return std::max(2 * each * e.count, 0.5 * each * e.count * p);
    }
    }
    return e.count * time;
}

Time predict(const Workload& w, const Rates& rates, const Machine& machine, Stage stage,
             const Ranks& ranks, Decomposition by, const StepCalls& step) {
    const double arithmetic = rates.machine.flop_rate / machine.flop_rate,
                 memory = rates.machine.memory_bandwidth / machine.memory_bandwidth;
    // Rotations on the rank that has most.
    double shared = real(ceil_of(w.rotations, ranks.count));
    if (by == Decomposition::rays)
        shared = real(ceil_of(w.rotations * w.translations, ranks.count)) / real(w.translations);
    Time time;
    for (const Exchange& e : exchanges(w, stage, ranks, step))
        time.exchange += seconds(e, ranks, machine);
    const auto rotations = [&](double rotation, double tables) {
        if (by == Decomposition::patterns)
            return arithmetic *
                   (real(w.rotations) * (rotation - tables) +
                    real(w.rotations) * tables *
                        real(ceil_of(w.basis, std::min(ranks.count, w.basis))) / real(w.basis));
        return arithmetic * shared * rotation;
    };
    // Of `fixed`, what does not depend on the rotations, every rank repeats `repeated`.
    const auto of_node = [&](double fixed, double repeated) {
        repeated = std::min(fixed, repeated);
        time.repeated = memory * repeated;
        time.node = memory * (fixed - repeated) / real(ranks.team());
    };
    // Written by its rank, read once whatever the number of members.
    const auto sums = [&](double coefficients) {
        return 8 * coefficients / rates.machine.memory_bandwidth;
    };
    switch (stage) {
    case Stage::product:
        time.compute = rotations(rates.product_rotation, rates.product_tables);
        of_node(rates.product_fixed, sums(w.condensed_coefficients));
        break;
    case Stage::gradient: {
        const double tables =
            rates.product_rotation > 0
                ? rates.gradient_rotation * rates.product_tables / rates.product_rotation
                : 0;
        // Of every table, and of those that a derivative is made of, a rank may have a row more.
        const double rows = std::min(rates.table_rows, rates.gradient_fixed),
                     uneven = real((w.parts + 2 * w.globals) * w.basis) /
                              real(std::max<std::size_t>(w.table_rows, 1)),
                     of_rank = std::min(1.0, 1 / real(ranks.count) + uneven);
        time.compute = rotations(rates.gradient_rotation, tables) + arithmetic * rows * of_rank;
        of_node(rates.gradient_fixed - rows, rates.tables + sums(w.coefficients));
        break;
    }
    case Stage::linearise:
        time.compute = rotations(rates.linearise_rotation, 0);
        of_node(rates.linearise_fixed, rates.condense);
        break;
    case Stage::precondition:
        time.compute = arithmetic * real(ceil_of(w.fields, ranks.count)) * rates.precondition_field;
        of_node(rates.precondition_blocks, 0);
        break;
    case Stage::step:
        for (const auto& [part, times] :
             {std::pair{Stage::gradient, step.gradients + step.objectives},
              std::pair{Stage::linearise, step.linearisations},
              std::pair{Stage::product, step.products},
              std::pair{Stage::precondition, step.preconditions}}) {
            const Time one = predict(w, rates, machine, part, ranks, by);
            time.compute += real(times) * one.compute;
            time.node += real(times) * one.node;
            time.repeated += real(times) * one.repeated;
        }
        break;
    case Stage::fbp: {
        const std::size_t block = w.channels_per_pass * ranks.count;
        for (std::size_t begin = 0; begin < w.channels; begin += block)
            time.compute += arithmetic * rates.fbp_channel *
                            real(ceil_of(std::min(block, w.channels - begin), ranks.count));
        break;
    }
    case Stage::fits: {
        // The last tile ends half a tile after the others, on average.
        const double mean = real(w.fits) / real(w.tiles);
        time.compute = arithmetic * rates.fit *
                       (ranks.count == 1 ? real(w.fits)
                                         : std::max(real(w.largest_tile),
                                                    real(w.fits) / real(ranks.count) + 0.5 * mean));
        break;
    }
    case Stage::write:
    case Stage::read: {
        const double bytes = 4 * real(w.rotations) * real(w.translations) * real(w.channels);
        time.file =
            bytes / std::min(real(std::min(ranks.count, w.rotations)) * machine.file_bandwidth,
                             machine.file_system);
        break;
    }
    }
    return time;
}

Time predict_slice(const Workload& w, const Rates& rates, const Machine& machine,
                   const Ranks& ranks, Decomposition by, const StepCalls& step, std::size_t steps) {
    Time total;
    for (const Stage stage : {Stage::read, Stage::fbp, Stage::fits, Stage::step}) {
        const Time one = predict(w, rates, machine, stage, ranks, by, step);
        const double times = stage == Stage::step ? real(steps) : 1;
        total.compute += times * one.compute;
        total.node += times * one.node;
        total.repeated += times * one.repeated;
        total.exchange += times * one.exchange;
        total.file += times * one.file;
    }
    return total;
}

double predict_memory(const Workload& w, const Rates& rates, const Ranks& ranks) {
    // Compressed data and one column for every global parameter.
    return rates.memory_rank + rates.memory_node / real(ranks.team()) +
           4 * real(ceil_of(w.rotations, ranks.count)) * real(w.translations) * real(w.basis) *
               real(1 + w.globals);
}

StackPrediction predict_stack(const Workload& w, const Rates& rates, const Machine& machine,
                              const Ranks& ranks, std::size_t slices, const StepCalls& step,
                              std::size_t steps, double memory) {
    const auto time_of = [&](std::size_t group, std::size_t groups) {
        Machine own = machine;
        // Groups share the file system.
        own.file_system /= real(groups);
        return real(ceil_of(slices, groups)) * predict_slice(w, rates, own, {group, ranks.per_node},
                                                             Decomposition::rotations, step, steps)
                                                   .total();
    };
    StackPrediction best;
    for (std::size_t groups = std::min(ranks.count, slices); groups >= 1; --groups) {
        const std::size_t group = ranks.count / groups;
        // Fewer ranks than a division leaves over are idle.
        if (groups > 1 && group == ranks.count / (groups - 1) &&
            ceil_of(slices, groups) == ceil_of(slices, groups - 1))
            continue;
        if (memory > 0 && predict_memory(w, rates, {group, ranks.per_node}) > memory && groups > 1)
            continue;
        const double seconds = time_of(group, groups);
        if (best.seconds == 0 || seconds < best.seconds)
            best = {groups, group, seconds, 0};
    }
    const double alone =
        real(slices) *
        predict_slice(w, rates, machine, {}, Decomposition::rotations, step, steps).total();
    best.efficiency = alone / (real(ranks.count) * best.seconds);
    return best;
}

} // namespace xrdct::bench
