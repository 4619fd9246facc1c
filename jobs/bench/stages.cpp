// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/bench/stages.hpp"

#include "base/error.hpp"
#include "jobs/bench/machine.hpp"
#include "mpi/comm/redistribution.hpp"
#include "mpi/hdf5/hdf5.hpp"
#include "mpi/nexus/product_file.hpp"
#include "solvers/petsc/bounded_gauss_newton.hpp"
#include "solvers/voxels/voxelwise_rietveld.hpp"
#include "tomography/fbp.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>

#include <fmt/format.h>

namespace xrdct::bench {

namespace {

mpi::BlockRange own_block(std::size_t n, const mpi::Communicator& communicator) {
    return mpi::block_range(n, static_cast<std::size_t>(communicator.size()),
                            static_cast<std::size_t>(communicator.rank()));
}

/// FBP of some channels from slabs of rotations. Gives the sum of every channel's image times
/// numbers that differ from pixel to pixel, own channels.
class FbpPass {
  public:
    FbpPass(const mpi::Communicator& communicator, const Sample& sample, std::size_t channels)
        : communicator_(communicator), sample_(sample), channels_(channels),
          fbp_(sample.geometry({0, sample.problem().rotations}), sample.grid()),
          rotations_(own_block(sample.problem().rotations, communicator)),
          slab_(sample.sinogram(rotations_, {0, channels})) {}

    /// Collective; returns [own channel of every pass].
    std::vector<double> run() {
        const auto& problem = sample_.problem();
        const std::size_t pixels = sample_.grid().size(),
                          block = fbp_pass * static_cast<std::size_t>(communicator_.size());
        std::vector<double> total(pixels, 0.0), marks;
        std::vector<float> part, shard, image;
        for (std::size_t begin = 0; begin < channels_; begin += block) {
            const std::size_t count = std::min(block, channels_ - begin);
            const mpi::Redistribution exchange(communicator_,
                                               {problem.rotations, problem.translations, count});
            part.resize(exchange.slab_size());
            const std::size_t rays = rotations_.size() * problem.translations;
            for (std::size_t ray = 0; ray < rays; ++ray)
                std::copy_n(slab_.data() + ray * channels_ + begin, count,
                            part.data() + ray * count);
            shard.resize(exchange.shard_size());
            exchange.to_shards(part, shard);
            communicator_.collectively([&] {
                const std::size_t own = exchange.own_channels().size();
                if (own == 0)
                    return;
                image.resize(pixels * own);
                fbp_.reconstruct(shard, own, image);
                for (std::size_t k = 0; k < own; ++k)
                    marks.push_back(0);
                double* mark = marks.data() + marks.size() - own;
                for (std::size_t i = 0; i < pixels; ++i)
                    for (std::size_t k = 0; k < own; ++k) {
                        const double value = image[i * own + k];
                        total[i] += value;
                        mark[k] += value * (1 + 1e-3 * static_cast<double>(i % 997));
                    }
            });
        }
        communicator_.allreduce(std::span<double>(total), mpi::Reduction::sum);
        return marks;
    }

    /// The marks of all channels in their order, on rank 0. Collective.
    std::vector<double> order(const std::vector<double>& marks) const {
        const auto all = communicator_.gather(marks);
        if (!communicator_.is_root())
            return {};
        const auto ranks = static_cast<std::size_t>(communicator_.size());
        // Rank by rank, pass by pass.
        std::vector<double> ordered(channels_);
        const double* at = all.data();
        for (std::size_t r = 0; r < ranks; ++r)
            for (std::size_t begin = 0; begin < channels_; begin += fbp_pass * ranks) {
                const auto own =
                    mpi::block_range(std::min(fbp_pass * ranks, channels_ - begin), ranks, r);
                for (std::size_t k = own.begin; k < own.end; ++k)
                    ordered[begin + k] = *at++;
            }
        return ordered;
    }

  private:
    const mpi::Communicator& communicator_;
    const Sample& sample_;
    std::size_t channels_;
    tomography::FilteredBackProjection fbp_;
    mpi::BlockRange rotations_;
    std::vector<float> slab_;
};

/// The DLSR of a sample on a communicator, of which at most `most` ranks share memory.
struct Dlsr {
    Dlsr(const mpi::Communicator& communicator, std::size_t most, const Sample& sample,
         const mpi::BlockRange& own, double copies)
        : team(communicator, most), op(sample.make_operator(own, team)) {
        const auto start = sample.start(op);
        stand_at(communicator, start); // where it chooses its functions of the depth
        stand_at(communicator, sample.truth(op));
        data.resize(op.coefficient_count());
        op.predict(data);
        auto fields = sample.fields();
        // As many times the data, as many times the smoothness: the same minimum.
        for (auto& field : fields)
            field.smoothness *= copies;
        problem.emplace(communicator, op, sample.grid(), sample.geometry(own), data, fields,
                        sample.globals(), start, &team);
        problem->set_product_tolerance(product_tolerance);
        x = problem->start();
        const auto range = problem->own();
        v.resize(x.size());
        beside = x;
        for (std::size_t i = 0; i < x.size(); ++i) {
            v[i] = std::sin(0.7 * static_cast<double>(range.begin + i));
            beside[i] += 1e-3 * v[i];
        }
        out.resize(x.size());
    }
    void stand_at(const mpi::Communicator& communicator, const std::vector<double>& values) {
        std::vector<double> rows(op.table_size(values, false));
        op.table_rows(values, false, static_cast<std::size_t>(communicator.rank()),
                      static_cast<std::size_t>(communicator.size()), rows);
        communicator.allreduce(std::span<double>(rows), mpi::Reduction::sum);
        op.set_point(values, false, rows);
    }

    mpi::NodeTeam team;
    dlsr::Operator op;
    std::vector<float> data;
    std::optional<dlsr::Problem> problem;
    std::vector<double> x, beside, v, out;
};

} // namespace

StageRunner::StageRunner(const mpi::Communicator& communicator, const petsc::Session& session,
                         const Sample& sample, StageOptions options, Answers& answers)
    : communicator_(communicator), session_(session), sample_(sample), options_(std::move(options)),
      answers_(answers) {}

template <class Work>
Measurement StageRunner::measure(Stage stage, Scaling scaling, int repetitions, Work&& work) {
    Measurement m;
    m.stage = stage;
    m.scaling = scaling;
    m.ranks = static_cast<std::size_t>(communicator_.size());
    mpi::Traffic own;
    double best = 0;
    std::uint64_t io = 0;
    for (int i = 0; i < repetitions; ++i) {
        communicator_.barrier();
        const mpi::Traffic before = mpi::traffic();
        const std::uint64_t io_before = file_traffic();
        const double begin = now();
        work();
        const double seconds = now() - begin;
        own = mpi::traffic().since(before);
        io = file_traffic() - io_before;
        const double slowest = communicator_.allreduce(seconds, mpi::Reduction::max);
        best = i == 0 ? slowest : std::min(best, slowest);
    }
    m.seconds = best;
    const double ranks = static_cast<double>(m.ranks);
    const auto mean = [&](double value) {
        return communicator_.allreduce(value, mpi::Reduction::sum) / ranks;
    };
    m.sent = mean(static_cast<double>(own.sent));
    m.received = mean(static_cast<double>(own.received));
    m.one_sided = mean(static_cast<double>(own.one_sided));
    m.calls = communicator_.allreduce(static_cast<double>(own.calls), mpi::Reduction::max);
    m.kernel_file_bytes = ranks * mean(static_cast<double>(io));
    m.peak_memory =
        communicator_.allreduce(static_cast<double>(peak_memory()), mpi::Reduction::max);
    return m;
}

void StageRunner::compare(Measurement& m, std::vector<double> answer) {
    if (!communicator_.is_root())
        return;
    const auto known = answers_.find(m.stage);
    if (known == answers_.end()) {
        answers_[m.stage] = std::move(answer);
        return;
    }
    const auto& expected = known->second;
    double difference = 0, norm = 0;
    for (std::size_t i = 0; i < answer.size(); ++i) {
        const double wanted = expected[i % expected.size()];
        if (std::isnan(wanted) && std::isnan(answer[i]))
            continue;
        difference += (answer[i] - wanted) * (answer[i] - wanted);
        norm += wanted * wanted;
    }
    m.error = answer.size() % expected.size() == 0 ? std::sqrt(difference / norm)
                                                   : std::numeric_limits<double>::infinity();
}

Measurement StageRunner::fbp(Scaling scaling) {
    reset_peak_memory();
    const std::size_t channels = sample_.problem().channels * factor(scaling);
    auto pass = communicator_.collectively(
        [&] { return std::make_unique<FbpPass>(communicator_, sample_, channels); });
    std::vector<double> marks;
    auto m = measure(Stage::fbp, scaling, options_.repetitions, [&] { marks = pass->run(); });
    const double each = 4 * static_cast<double>(sample_.view_pixels()) *
                        static_cast<double>(sample_.problem().rotations);
    m.flops = each * static_cast<double>(channels);
    m.max_flops =
        communicator_.allreduce(each * static_cast<double>(marks.size()), mpi::Reduction::max);
    compare(m, pass->order(marks));
    return m;
}

Measurement StageRunner::fits(Scaling scaling) {
    reset_peak_memory();
    const std::size_t n = sample_.grid().n, rows = n * factor(scaling);
    const voxels::VoxelwiseRietveld rietveld(communicator_, sample_.fitter());
    std::size_t own = 0;
    const auto read = [&](std::size_t y, voxels::PatternTile& tile) {
        for (const std::size_t pixel : sample_.row_voxels(y)) {
            tile.voxels.push_back(pixel + y / n * n * n);
            const auto pattern = sample_.pattern(pixel), variance = sample_.variance(pixel);
            tile.intensity.insert(tile.intensity.end(), pattern.begin(), pattern.end());
            tile.variance.insert(tile.variance.end(), variance.begin(), variance.end());
        }
    };
    voxels::VoxelwiseResult result;
    auto m = measure(Stage::fits, scaling, options_.repetitions, [&] {
        own = 0;
        result = rietveld.run(rows, n * rows, read,
                              [&](std::size_t, std::size_t voxels) { own = voxels; });
    });
    const double all = static_cast<double>(result.summary.fitted);
    double root = communicator_.is_root() ? static_cast<double>(own) : 0;
    m.root_share = communicator_.allreduce(root, mpi::Reduction::sum) / all;
    // Every map scaled to 1, so that none hides behind another.
    std::vector<double> answer;
    if (communicator_.is_root())
        for (std::size_t copy = 0; copy < factor(scaling); ++copy)
            for (const auto& map : result.maps) {
                double largest = 0;
                for (std::size_t i = 0; i < n * n; ++i)
                    if (std::isfinite(map.values[i]))
                        largest = std::max(largest, std::abs(map.values[i]));
                for (std::size_t i = 0; i < n * n; ++i)
                    answer.push_back(map.values[copy * n * n + i] / (largest > 0 ? largest : 1));
            }
    compare(m, std::move(answer));
    return m;
}

std::vector<Measurement> StageRunner::dlsr(Scaling scaling) {
    reset_peak_memory();
    const auto copies = static_cast<double>(factor(scaling));
    const auto own = own_block(sample_.problem().rotations * factor(scaling), communicator_);
    std::unique_ptr<Dlsr> dlsr;
    // The problem's constructor is collective and agrees on its errors itself.
    dlsr = std::make_unique<Dlsr>(communicator_, options_.ranks_per_node, sample_, own, copies);
    auto& problem = *dlsr->problem;
    const auto team = static_cast<std::size_t>(
        communicator_.allreduce(static_cast<std::int64_t>(dlsr->team.size()), mpi::Reduction::max));
    const auto whole = [&](double scale) {
        auto all = communicator_.gather(dlsr->out);
        for (double& value : all)
            value *= scale;
        return all;
    };
    const auto costs = [&](Measurement& m, double products, double gradients,
                           const dlsr::Operator::Cost& condensed,
                           const dlsr::Operator::Cost& exact) {
        const auto flops = [](const dlsr::Operator::Cost& c) {
            return c.projection_flops + c.table_flops;
        };
        const double own_flops = products * flops(condensed) + gradients * flops(exact);
        m.flops = communicator_.allreduce(own_flops, mpi::Reduction::sum);
        m.max_flops = communicator_.allreduce(own_flops, mpi::Reduction::max);
        m.bytes = communicator_.allreduce(products * condensed.bytes + gradients * exact.bytes,
                                          mpi::Reduction::sum);
    };
    std::vector<Measurement> results;
    const dlsr::Operator::Cost exact = dlsr->op.cost();

    // Arrays that are kept are made before anything is measured.
    problem.objective_and_gradient(dlsr->x, dlsr->out);
    problem.linearise(dlsr->x);
    problem.gauss_newton_product(dlsr->v, dlsr->out);
    problem.precondition(dlsr->v, dlsr->out);

    // Every repetition at another point than the last: the tables and columns are made anew.
    auto gradient = measure(Stage::gradient, scaling, options_.repetitions, [&] {
        dlsr->x.swap(dlsr->beside);
        problem.objective_and_gradient(dlsr->x, dlsr->out);
    });
    if (options_.repetitions % 2 == 1) { // back to the start
        dlsr->x.swap(dlsr->beside);
        problem.objective_and_gradient(dlsr->x, dlsr->out);
    }
    costs(gradient, 0, 1, exact, exact);
    compare(gradient, whole(1 / copies));

    auto linearise = measure(Stage::linearise, scaling, 1, [&] { problem.linearise(dlsr->x); });
    const dlsr::Operator::Cost condensed = dlsr->op.cost();
    auto product = measure(Stage::product, scaling, options_.repetitions,
                           [&] { problem.gauss_newton_product(dlsr->v, dlsr->out); });
    costs(product, 1, 0, condensed, exact);
    compare(product, whole(1 / copies));
    auto precondition = measure(Stage::precondition, scaling, options_.repetitions,
                                [&] { problem.precondition(dlsr->v, dlsr->out); });
    compare(precondition, whole(copies));

    // A step begins where a trial ended, with nothing condensed.
    problem.set_operator_point(dlsr->beside, true);
    problem.set_operator_point(dlsr->x, true);
    petsc::BoundedGaussNewtonOptions options;
    options.linear_tolerance = 1e-10;
    options.linear_max_iterations = static_cast<int>(options_.step_iterations);
    options.max_iterations = 1;
    petsc::BoundedGaussNewton solver(session_, communicator_, problem, problem.start(), options);
    petsc::StepReport report;
    auto step = measure(Stage::step, scaling, 1, [&] { report = solver.step(); });
    const auto calls = solver.evaluations();
    const auto number = [](std::int64_t n) { return static_cast<std::size_t>(n); };
    step.step = {number(calls.objective_and_gradient), number(calls.objective),
                 number(calls.linearise), number(calls.gauss_newton_products),
                 number(calls.preconditionings)};
    costs(step, static_cast<double>(step.step.products), static_cast<double>(step.step.gradients),
          condensed, exact);
    compare(step, {report.objective / copies});

    for (auto* m : {&product, &gradient, &linearise, &precondition, &step}) {
        m->team = team;
        results.push_back(*m);
    }
    return results;
}

std::vector<Measurement> StageRunner::files(Scaling scaling) {
    reset_peak_memory();
    const auto& problem = sample_.problem();
    const std::size_t rotations = problem.rotations * factor(scaling);
    const auto own = own_block(rotations, communicator_);
    const std::size_t row = problem.translations * problem.channels;
    const mpi::BlockRange channels{0, problem.channels};
    // Unlike names for unlike problems: what a run that was killed left behind is never taken.
    const auto path = options_.folder / fmt::format("xrdct-bench-{}.h5", process_number());
    std::string name = path.string();
    communicator_.broadcast(name);
    std::vector<float> values;
    communicator_.collectively([&] { values = sample_.sinogram(own, channels); });
    const double bytes = 4 * static_cast<double>(rotations * row);

    auto write = measure(Stage::write, scaling, options_.repetitions, [&] {
        auto product =
            nexus::ProductFile::create(name, nexus::ProductFile::Existing::replace, &communicator_);
        {
            auto root = product.root();
            auto data = root.create_dataset("intensity", hdf5::ElementType::float32,
                                            {rotations, problem.translations, problem.channels});
            communicator_.collectively([&] {
                if (!own.empty())
                    data.write(
                        hdf5::Selection{{own.begin, 0, 0},
                                        {own.size(), problem.translations, problem.channels}},
                        std::span<const float>(values));
            });
        }
        product.commit();
    });
    write.file_bytes = bytes;
    write.error = 0;

    // Another rank's rows, so that no rank reads what it has just written.
    const auto ranks = static_cast<std::size_t>(communicator_.size());
    const auto other = mpi::block_range(
        rotations, ranks, (static_cast<std::size_t>(communicator_.rank()) + 1) % ranks);
    std::vector<float> back(other.size() * row);
    const auto read_back = [&] {
        if (other.empty())
            return;
        const auto file = hdf5::File::open(name, hdf5::Access::read_only);
        file.root()
            .open_dataset("intensity")
            .read(hdf5::Selection{{other.begin, 0, 0},
                                  {other.size(), problem.translations, problem.channels}},
                  std::span<float>(back));
    };
    auto read = measure(Stage::read, scaling, options_.repetitions,
                        [&] { communicator_.collectively(read_back); });
    read.file_bytes = bytes;
    const double wrong = communicator_.collectively([&] {
        if (communicator_.is_root()) {
            std::error_code ignored;
            std::filesystem::remove(name, ignored);
        }
        const auto expected = sample_.sinogram(other, channels);
        return expected == back ? 0.0 : 1.0;
    });
    write.error = read.error = communicator_.allreduce(wrong, mpi::Reduction::max);
    return {write, read};
}

double allowed_error(Stage stage) {
    switch (stage) {
    case Stage::fbp:
    case Stage::product:
        return 1e-6;
    case Stage::gradient:
    case Stage::precondition:
        return 1e-5;
    case Stage::step:
        return 1e-3;
    default:
        return 0;
    }
}

namespace {

/// Shortest of some runs [s].
template <class Run>
double best_of(int repetitions, Run&& run) {
    double least = 0;
    for (int i = 0; i < repetitions; ++i) {
        const double begin = now();
        run();
        const double seconds = now() - begin;
        least = i == 0 ? seconds : std::min(least, seconds);
    }
    return least;
}

/// Seconds of the DLSR's parts on some rotations.
struct DlsrTimes {
    double product = 0, gradient = 0, linearise = 0, precondition = 0;
};

DlsrTimes measure_parts(Dlsr& dlsr) {
    auto& problem = *dlsr.problem;
    DlsrTimes t;
    t.gradient = best_of(3, [&] {
        dlsr.x.swap(dlsr.beside);
        problem.objective_and_gradient(dlsr.x, dlsr.out);
    });
    for (int i = 0; i < 2; ++i) { // nothing is condensed at a new point
        dlsr.x.swap(dlsr.beside);
        problem.set_operator_point(dlsr.x, true);
        const double seconds = best_of(1, [&] { problem.linearise(dlsr.x); });
        t.linearise = i == 0 ? seconds : std::min(t.linearise, seconds);
    }
    t.product = best_of(4, [&] { problem.gauss_newton_product(dlsr.v, dlsr.out); });
    t.precondition = best_of(4, [&] { problem.precondition(dlsr.v, dlsr.out); });
    return t;
}

/// Memory and tables; `before` [bytes] is that of the process without the problem.
void measure_memory_and_tables(Dlsr& dlsr, const Sample& sample, const Workload& work,
                               double before, Rates& rates) {
    // A rank's own: its process, sums, a buffer of the projector and tables with what they are
    // made through, some arrays of the image while lanes are arranged; data and columns are
    // counted by the rays.
    const double buffer = (work.gradient_bytes / 4 - 3 * work.coefficients) / 4,
                 rays = 4 * static_cast<double>(dlsr.op.coefficient_count()) *
                        static_cast<double>(1 + work.globals);
    rates.memory_rank =
        before + 4 * (work.coefficients + buffer + 3 * static_cast<double>(work.table_rows)) +
        static_cast<double>((40 + work.parts) * sample.grid().size());
    rates.memory_node =
        std::max(0.0, static_cast<double>(peak_memory()) - rates.memory_rank - rays);

    const auto span = dlsr.problem->values(dlsr.beside);
    const std::vector<double> beside(span.begin(), span.end());
    std::vector<double> rows(dlsr.op.table_size(beside, true));
    rates.table_rows = best_of(2, [&] { dlsr.op.table_rows(beside, true, 0, 1, rows); });
    const double with_tables = best_of(1, [&] { dlsr.op.set_point(beside, true, rows); }),
                 without = best_of(2, [&] { dlsr.op.set_point(beside, true, {}); });
    rates.tables = std::max(0.0, with_tables - without);
    rates.condense = best_of(2, [&] { dlsr.op.set_low_rank_tolerance(product_tolerance); });
}

} // namespace

Rates measure_rates(const Sample& sample, const Workload& work, const Machine& machine) {
    const auto self = mpi::Communicator::self();
    Rates rates;
    rates.machine = machine;
    // Two numbers of rotations tell what a rotation takes and what does not depend on it.
    const std::size_t few = std::max<std::size_t>(1, std::min<std::size_t>(2, work.rotations / 2)),
                      many = std::max(few + 1, std::min<std::size_t>(10, work.rotations));
    DlsrTimes times[2];
    for (const bool more : {false, true}) {
        reset_peak_memory();
        const auto before = static_cast<double>(peak_memory());
        Dlsr dlsr(self, 1, sample, {0, more ? many : few}, 1);
        times[more] = measure_parts(dlsr);
        if (!more)
            measure_memory_and_tables(dlsr, sample, work, before, rates);
    }
    const auto split = [&](double DlsrTimes::*part, double& rotation, double& fixed) {
        const double a = times[0].*part, b = times[1].*part;
        rotation = std::max(0.0, (b - a) / static_cast<double>(many - few));
        fixed = std::max(0.0, a - static_cast<double>(few) * rotation);
    };
    split(&DlsrTimes::product, rates.product_rotation, rates.product_fixed);
    split(&DlsrTimes::gradient, rates.gradient_rotation, rates.gradient_fixed);
    split(&DlsrTimes::linearise, rates.linearise_rotation, rates.linearise_fixed);
    rates.product_tables =
        std::min(rates.product_rotation, work.product_tables / machine.flop_rate);
    // Transforms of maps an eighth wider than the image against two triangular solves.
    const double side = 1.125 * static_cast<double>(work.pixels),
                 transforms = static_cast<double>(work.fields) * side * side *
                              (5 * std::log2(side * side) + 3),
                 solves = 4 * work.block_entries;
    const double both = std::min(times[0].precondition, times[1].precondition);
    rates.precondition_field =
        both * transforms / (transforms + solves) / static_cast<double>(work.fields);
    rates.precondition_blocks = both * solves / (transforms + solves);

    {
        const std::size_t channels = std::min(fbp_pass, work.channels);
        FbpPass pass(self, sample, channels);
        rates.fbp_channel = best_of(2, [&] { pass.run(); }) / static_cast<double>(channels);
    }
    {
        rietveld::VoxelFitter::Workspace workspace(sample.fitter());
        rietveld::VoxelFit fit;
        rates.fit = best_of(3,
                            [&] {
                                for (std::size_t i = 0; i < Sample::distinct_patterns; ++i)
                                    sample.fitter().fit(sample.pattern(i), sample.variance(i),
                                                        workspace, fit);
                            }) /
                    static_cast<double>(Sample::distinct_patterns);
    }
    return rates;
}

} // namespace xrdct::bench
