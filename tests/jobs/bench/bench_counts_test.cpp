// SPDX-License-Identifier: BSD-3-Clause
// The model's counts against those of runs on as many ranks as this test has.

#include "jobs/bench/stages.hpp"

#include "base/error.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include <fmt/format.h>

namespace xrdct::bench {
namespace {

const mpi::Communicator& world() {
    static const mpi::Communicator communicator = mpi::Communicator::world();
    return communicator;
}
const petsc::Session& session() {
    static const petsc::Session s(world());
    return s;
}
const bench::Sample& sample() {
    static const bench::Sample s({.translations = 24, .rotations = 27, .channels = 120});
    return s;
}
const bench::Workload& workload() {
    static const bench::Workload work = make_workload(sample());
    return work;
}
std::size_t ranks() {
    return static_cast<std::size_t>(world().size());
}

/// Within 2 %, on all ranks alike; counts of nothing must be nothing.
void expect_close(double counted, double predicted, const std::string& what) {
    EXPECT_LE(std::abs(counted - predicted), 0.02 * std::abs(predicted))
        << what << ": counted " << counted << ", predicted " << predicted;
}
void expect_counts(const bench::Measurement& m, const bench::Counts& predicted) {
    const std::string stage(to_string(m.stage));
    expect_close(m.sent, predicted.sent, stage + " sent");
    expect_close(m.received, predicted.received, stage + " received");
    expect_close(m.calls, predicted.calls, stage + " calls");
    expect_close(m.one_sided, predicted.one_sided, stage + " one-sided");
    if (m.max_flops > 0)
        expect_close(m.max_flops, predicted.flops, stage + " flops");
}

TEST(BenchModel, CountsOfTheDlsr) {
    const bench::Workload& work = workload();
    for (const std::size_t team : std::set<std::size_t>{
             1, std::min<std::size_t>(2, ranks()), std::min<std::size_t>(4, ranks()), ranks()}) {
        SCOPED_TRACE(fmt::format("teams of {}", team));
        bench::Answers answers;
        bench::StageRunner runner(world(), session(), sample(),
                                  {1, team == ranks() ? 3U : 1U, ".", team}, answers);
        const auto measured = runner.dlsr(bench::Scaling::strong);
        ASSERT_EQ(measured.size(), 5U);
        for (const auto& m : measured) {
            EXPECT_EQ(m.team, team);
            const bench::Counts predicted = count(work, m.stage, {ranks(), team}, m.step);
            expect_counts(m, predicted);
            EXPECT_EQ(m.calls, predicted.calls) << to_string(m.stage);
        }
        EXPECT_GT(measured[0].max_flops, 0);
        EXPECT_GT(measured.back().step.products, 0U);
        if (ranks() > team) {
            EXPECT_GT(measured[0].sent * static_cast<double>(team),
                      4 * static_cast<double>(work.unknowns));
        }
    }
}

TEST(BenchModel, CountsOfFbpAndFits) {
    bench::Answers answers;
    bench::StageRunner runner(world(), session(), sample(), {1, 3, "."}, answers);
    const bench::Workload& work = workload();
    const auto fbp = runner.fbp(bench::Scaling::strong);
    expect_counts(fbp, count(work, bench::Stage::fbp, {ranks()}));
    EXPECT_GT(fbp.max_flops, 0);
    const auto fits = runner.fits(bench::Scaling::strong);
    expect_counts(fits, count(work, bench::Stage::fits, {ranks()}, {}, fits.root_share));
}

TEST(BenchModel, BytesOfFiles) {
    test::TemporaryDirectory folder;
    std::string path = folder.path().string();
    world().broadcast(path);
    bench::Answers answers;
    bench::StageRunner runner(world(), session(), sample(), {1, 3, path}, answers);
    const bench::Workload& work = workload();
    for (const auto& m : runner.files(bench::Scaling::strong)) {
        const auto predicted = count(work, m.stage, {ranks()});
        const double bytes = static_cast<double>(ranks()) * (predicted.written + predicted.read);
        expect_close(m.file_bytes, bytes, std::string(to_string(m.stage)));
        // Headers, and what every rank reads of them and of /proc.
        EXPECT_LT(m.kernel_file_bytes, 1.02 * bytes + 60e3 * static_cast<double>(ranks()));
        EXPECT_GT(m.kernel_file_bytes, 0.98 * bytes);
        EXPECT_EQ(m.error, 0);
    }
    world().barrier();
}

/// One rank's answers, known to rank 0 only, then those of all.
TEST(BenchModel, AnswersAreThoseOfOneRank) {
    if (ranks() > 4)
        GTEST_SKIP() << "the same as on fewer ranks, but slow on few cores";
    for (const bench::Scaling scaling : {bench::Scaling::strong, bench::Scaling::weak}) {
        bench::Answers answers;
        const auto part = world().split(world().is_root() ? 0 : 1, 0);
        if (world().is_root()) {
            bench::StageRunner alone(part, session(), sample(), {1, 3, "."}, answers);
            alone.fbp(scaling);
            alone.fits(scaling);
            alone.dlsr(scaling);
            EXPECT_EQ(answers.size(), 6U);
        }
        world().sleeping_barrier();
        bench::StageRunner all(world(), session(), sample(), {1, 3, "."}, answers);
        auto measured = all.dlsr(scaling);
        measured.push_back(all.fbp(scaling));
        measured.push_back(all.fits(scaling));
        for (const auto& m : measured)
            EXPECT_LE(m.error, allowed_error(m.stage))
                << to_string(m.stage) << (scaling == bench::Scaling::weak ? " weak" : " strong");
        // A wrong answer is noticed.
        if (world().is_root())
            for (double& value : answers[bench::Stage::fbp])
                value *= 1 + 1e-5;
        EXPECT_EQ(all.fbp(scaling).error > allowed_error(bench::Stage::fbp), world().is_root());
    }
}

} // namespace
} // namespace xrdct::bench
