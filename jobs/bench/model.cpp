#include "jobs/bench/model.hpp"

#include "base/error.hpp"
#include "mpi/decomposition.hpp"

#include <algorithm>
#include <cmath>

namespace xrdct::bench {

namespace {

using Kind = Exchange::Kind;
constexpr double number = 8; ///< bytes of a double or a count
/// Pieces that Communicator cuts its calls into.
constexpr double piece = 1 << 30;
/// Of BoundedGaussNewton in a step, besides PETSc's own sums.
constexpr double solver_agreements = 4;

double real(std::size_t n) {
    return static_cast<double>(n);
}

void reduce(std::vector<Exchange>& to, double bytes, double times = 1) {
    if (bytes > 0)
        to.push_back({Kind::reduce, bytes, bytes, times});
}
/// Communicator::agree without an error, Communicator::collectively.
void agree(std::vector<Exchange>& to, double times = 1) {
    reduce(to, number, times);
}
/// Communicator::allgather of shares that add up to `bytes`.
void gather_all(std::vector<Exchange>& to, double bytes, double ranks, double times = 1) {
    to.push_back({Kind::gather_all, number, number * (ranks - 1), times});
    to.push_back({Kind::gather_all, bytes / ranks, bytes * (ranks - 1) / ranks, times});
}

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

void fbp_exchanges(const Workload& w, std::size_t ranks, std::vector<Exchange>& to) {
    const std::size_t block = w.channels_per_pass * ranks;
    for (std::size_t begin = 0; begin < w.channels; begin += block) {
        const std::size_t channels = std::min(block, w.channels - begin);
        agree(to);
        // Rounds as Redistribution makes them.
        const std::size_t rows = ceil_of(w.rotations, ranks), most = ceil_of(channels, ranks),
                          position = 4 * std::max(channels, most * ranks);
        const std::size_t per_round = std::max<std::size_t>(1, w.exchange_buffer / position);
        const std::size_t rounds = ceil_of(rows * w.translations, per_round);
        const double all = 4 * real(w.rotations) * real(w.translations) * real(channels);
        const double moved = all * (1 - kept_part(w.rotations, channels, ranks)) / real(ranks);
        to.push_back({Kind::all_to_all, moved / real(rounds), moved / real(rounds), real(rounds)});
        agree(to);
    }
    reduce(to, number * real(w.pixels) * real(w.pixels));
}

void fit_exchanges(const Workload& w, std::size_t ranks, double root_share,
                   std::vector<Exchange>& to) {
    const double p = real(ranks);
    to.push_back({Kind::barrier, 0, 0, 1});
    to.push_back({Kind::one_sided, 0, 0, (real(w.tiles) + p) / p});
    agree(to);
    reduce(to, 3 * number);
    reduce(to, number);
    const double others = real(w.fits) * (root_share < 0 ? 1 - 1 / p : 1 - root_share);
    const auto gather = [&](double times) {
        to.push_back({Kind::gather_all, number, number * (p - 1), times});
        const double bytes = number * others;
        to.push_back({Kind::gather, bytes / p, bytes / p, times, bytes});
    };
    gather(1 + real(w.quantities));
    agree(to);
}

void add(std::vector<Exchange>& to, const std::vector<Exchange>& more, std::size_t times) {
    for (Exchange exchange : more) {
        exchange.count *= real(times);
        if (times > 0)
            to.push_back(exchange);
    }
}

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

std::vector<Exchange> exchanges(const Workload& w, Stage stage, std::size_t ranks,
                                const StepCalls& step, double root_share) {
    if (ranks == 0)
        throw Error("bench: a prediction needs at least one rank");
    const double p = real(ranks), unknowns = number * real(w.unknowns),
                 product = 4 * real(w.unknowns);
    std::vector<Exchange> list;
    // Every rank is taken as a node of its own: what ranks of a node share is not exchanged. A rank
    // alone has nobody to gather from or to add up with.
    const auto gather = [&](std::vector<Exchange>& to, double times = 1) {
        if (ranks > 1)
            gather_all(to, unknowns, p, times);
    };
    const auto sum = [&](std::vector<Exchange>& to, double bytes) {
        if (ranks > 1)
            reduce(to, bytes);
    };
    // Each rank makes some rows of the tables of patterns, where a point is new.
    const auto tables = [&] {
        agree(list);
        sum(list, number * real(w.table_rows));
        agree(list, 2);
    };
    switch (stage) {
    case Stage::fbp:
        fbp_exchanges(w, ranks, list);
        break;
    case Stage::fits:
        fit_exchanges(w, ranks, root_share, list);
        break;
    case Stage::product:
        gather(list);
        agree(list);
        sum(list, product);
        break;
    case Stage::gradient:
        gather(list);
        tables();
        agree(list);
        sum(list, product);
        reduce(list, 2 * number);
        break;
    case Stage::linearise:
        gather(list);
        agree(list, 3); // the first: whether the operator stands there
        reduce(list, number * real(w.globals));
        break;
    case Stage::precondition:
        gather(list);
        agree(list);
        if (ranks > 1)
            reduce(list, 4 * real(w.block_unknowns));
        break;
    case Stage::step: {
        // The first gradient is taken where the last step ended.
        std::vector<Exchange> gradient;
        gather(gradient);
        agree(gradient, 2);
        sum(gradient, product);
        reduce(gradient, 2 * number);
        add(list, gradient, step.gradients);
        for (std::size_t i = 1; i < step.gradients; ++i)
            tables();
        add(list, exchanges(w, Stage::linearise, ranks), step.linearisations);
        add(list, exchanges(w, Stage::product, ranks), step.products);
        add(list, exchanges(w, Stage::precondition, ranks), step.preconditions);
        // A trial is gathered to be retracted.
        gather(list, real(std::max(step.objectives, std::max<std::size_t>(step.gradients, 1) - 1)));
        std::vector<Exchange> objective;
        gather(objective);
        agree(objective, 2);
        reduce(objective, 2 * number);
        add(list, objective, step.objectives);
        agree(list, solver_agreements);
        break;
    }
    case Stage::write:
    case Stage::read:
        break;
    }
    return list;
}

Counts count(const Workload& w, Stage stage, std::size_t ranks, const StepCalls& step,
             double root_share) {
    Counts counts;
    for (const Exchange& e : exchanges(w, stage, ranks, step, root_share)) {
        if (e.kind == Kind::one_sided) {
            counts.one_sided += e.count;
            continue;
        }
        counts.calls += e.count * std::max(1.0, std::ceil(e.sent / piece));
        if (ranks > 1) {
            counts.sent += e.count * e.sent;
            counts.received += e.count * e.received;
        }
    }
    const double most_rotations = real(ceil_of(w.rotations, ranks));
    const double product = w.product_projection + w.product_tables;
    switch (stage) {
    case Stage::product:
        counts.flops = most_rotations * product;
        counts.bytes = most_rotations * w.product_bytes;
        break;
    case Stage::gradient:
        counts.flops = most_rotations * w.gradient_flops;
        counts.bytes = most_rotations * w.gradient_bytes;
        break;
    case Stage::step:
        counts.flops = most_rotations *
                       (real(step.products) * product + real(step.gradients) * w.gradient_flops);
        counts.bytes = most_rotations * (real(step.products) * w.product_bytes +
                                         real(step.gradients) * w.gradient_bytes);
        break;
    case Stage::fbp:
        for (std::size_t begin = 0; begin < w.channels; begin += w.channels_per_pass * ranks)
            counts.flops +=
                real(ceil_of(std::min(w.channels_per_pass * ranks, w.channels - begin), ranks)) *
                4 * w.view_pixels * real(w.rotations);
        break;
    case Stage::write:
        counts.written =
            4 * real(w.rotations) * real(w.translations) * real(w.channels) / real(ranks);
        break;
    case Stage::read:
        counts.read = 4 * real(w.rotations) * real(w.translations) * real(w.channels) / real(ranks);
        break;
    default:
        break;
    }
    return counts;
}

double seconds(const Exchange& e, std::size_t ranks, const Machine& machine) {
    if (ranks < 2)
        return 0;
    const double p = real(ranks), rounds = std::ceil(std::log2(p)), part = (p - 1) / p;
    const double each = machine.latency, byte = 1 / machine.network_bandwidth;
    double time = 0;
    switch (e.kind) {
    case Kind::reduce: {
        // A sum reads two numbers and writes one.
        const double sum = 3 * e.sent / machine.memory_bandwidth;
        time = std::min(rounds * (each + e.sent * byte + sum),
                        2 * rounds * each + 2 * part * e.sent * byte + part * sum);
        break;
    }
    case Kind::gather_all:
        time = rounds * each + e.received * byte;
        break;
    case Kind::all_to_all:
        time = std::min((p - 1) * each + e.sent * byte,
                        rounds * each + 0.5 * rounds * e.sent / part * byte);
        break;
    case Kind::gather:
        time = rounds * each + e.root_received * byte;
        break;
    case Kind::barrier:
        time = rounds * each;
        break;
    case Kind::one_sided:
        // There and back; rank 0's memory serves one at a time.
        return std::max(2 * each * e.count, 0.5 * each * e.count * p);
    }
    return e.count * time;
}

Time predict(const Workload& w, const Rates& rates, const Machine& machine, Stage stage,
             std::size_t ranks, Decomposition by, const StepCalls& step) {
    const double arithmetic = rates.machine.flop_rate / machine.flop_rate,
                 memory = rates.machine.memory_bandwidth / machine.memory_bandwidth;
    // Rotations on the rank that has most.
    double shared = real(ceil_of(w.rotations, ranks));
    if (by == Decomposition::rays)
        shared = real(ceil_of(w.rotations * w.translations, ranks)) / real(w.translations);
    Time time;
    for (const Exchange& e : exchanges(w, stage, ranks, step))
        time.exchange += seconds(e, ranks, machine);
    const auto rotations = [&](double rotation, double tables) {
        if (by == Decomposition::patterns)
            return arithmetic *
                   (real(w.rotations) * (rotation - tables) +
                    real(w.rotations) * tables * real(ceil_of(w.basis, std::min(ranks, w.basis))) /
                        real(w.basis));
        return arithmetic * shared * rotation;
    };
    switch (stage) {
    case Stage::product:
        time.compute = rotations(rates.product_rotation, rates.product_tables);
        time.repeated = memory * rates.product_repeated;
        break;
    case Stage::gradient: {
        const double tables =
            rates.product_rotation > 0
                ? rates.gradient_rotation * rates.product_tables / rates.product_rotation
                : 0;
        time.compute = rotations(rates.gradient_rotation, tables);
        time.repeated = memory * rates.gradient_repeated;
        break;
    }
    case Stage::linearise:
        time.compute = rotations(rates.linearise_rotation, 0);
        time.repeated = memory * rates.linearise_repeated;
        break;
    case Stage::precondition:
        time.compute = arithmetic * real(ceil_of(w.fields, ranks)) * rates.precondition_field;
        time.repeated = memory * rates.precondition_repeated;
        break;
    case Stage::step:
        for (const auto& [part, times] :
             {std::pair{Stage::gradient, step.gradients + step.objectives},
              std::pair{Stage::linearise, step.linearisations},
              std::pair{Stage::product, step.products},
              std::pair{Stage::precondition, step.preconditions}}) {
            const Time one = predict(w, rates, machine, part, ranks, by);
            time.compute += real(times) * one.compute;
            time.repeated += real(times) * one.repeated;
        }
        break;
    case Stage::fbp:
        for (std::size_t begin = 0; begin < w.channels; begin += w.channels_per_pass * ranks)
            time.compute +=
                arithmetic * rates.fbp_channel *
                real(ceil_of(std::min(w.channels_per_pass * ranks, w.channels - begin), ranks));
        break;
    case Stage::fits: {
        // The last tile ends half a tile after the others, on average.
        const double mean = real(w.fits) / real(w.tiles);
        time.compute =
            arithmetic * rates.fit *
            (ranks == 1 ? real(w.fits)
                        : std::max(real(w.largest_tile), real(w.fits) / real(ranks) + 0.5 * mean));
        break;
    }
    case Stage::write:
    case Stage::read: {
        const double bytes = 4 * real(w.rotations) * real(w.translations) * real(w.channels);
        time.file = bytes / std::min(real(std::min(ranks, w.rotations)) * machine.file_bandwidth,
                                     machine.file_system);
        break;
    }
    }
    return time;
}

Time predict_slice(const Workload& w, const Rates& rates, const Machine& machine, std::size_t ranks,
                   Decomposition by, const StepCalls& step, std::size_t steps) {
    Time total;
    for (const Stage stage : {Stage::read, Stage::fbp, Stage::fits, Stage::step}) {
        const Time one = predict(w, rates, machine, stage, ranks, by, step);
        const double times = stage == Stage::step ? real(steps) : 1;
        total.compute += times * one.compute;
        total.repeated += times * one.repeated;
        total.exchange += times * one.exchange;
        total.file += times * one.file;
    }
    return total;
}

double predict_memory(const Workload& w, const Rates& rates, std::size_t ranks) {
    // Compressed data and one column for every global parameter.
    return rates.memory_repeated + 4 * real(ceil_of(w.rotations, ranks)) * real(w.translations) *
                                       real(w.basis) * real(1 + w.globals);
}

StackPrediction predict_stack(const Workload& w, const Rates& rates, const Machine& machine,
                              std::size_t ranks, std::size_t slices, const StepCalls& step,
                              std::size_t steps, double memory) {
    const auto time_of = [&](std::size_t group, std::size_t groups) {
        Machine own = machine;
        // Groups share the file system.
        own.file_system /= real(groups);
        return real(ceil_of(slices, groups)) *
               predict_slice(w, rates, own, group, Decomposition::rotations, step, steps).total();
    };
    StackPrediction best;
    for (std::size_t groups = std::min(ranks, slices); groups >= 1; --groups) {
        const std::size_t group = ranks / groups;
        // Fewer ranks than a division leaves over are idle.
        if (groups > 1 && group == ranks / (groups - 1) &&
            ceil_of(slices, groups) == ceil_of(slices, groups - 1))
            continue;
        if (memory > 0 && predict_memory(w, rates, group) > memory && groups > 1)
            continue;
        const double seconds = time_of(group, groups);
        if (best.seconds == 0 || seconds < best.seconds)
            best = {groups, group, seconds, 0};
    }
    const double alone =
        real(slices) *
        predict_slice(w, rates, machine, 1, Decomposition::rotations, step, steps).total();
    best.efficiency = alone / (real(ranks) * best.seconds);
    return best;
}

} // namespace xrdct::bench
