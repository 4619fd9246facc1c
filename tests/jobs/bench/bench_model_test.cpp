// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/bench/model.hpp"

#include "base/error.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace xrdct::bench {
namespace {

bench::Machine machine() {
    return {.flop_rate = 50e9,
            .memory_bandwidth = 10e9,
            .network_bandwidth = 1e9,
            .latency = 1e-6,
            .node_latency = 1e-7,
            .file_bandwidth = 1e9,
            .file_system = 8e9};
}

bench::Workload workload() {
    bench::Workload w;
    w.rotations = 400;
    w.translations = 550;
    w.channels = 700;
    w.pixels = 550;
    w.view_pixels = 230000;
    w.unknowns = 1'000'000;
    w.block_unknowns = 1'000'000;
    w.basis = 128;
    w.fields = 12;
    w.parts = 10;
    w.families = 1;
    w.table_rows = 1000;
    w.coefficients = 8e6;
    w.condensed_coefficients = 4e6;
    w.globals = 2;
    w.product_projection = 1e8;
    w.product_tables = 5e7;
    w.gradient_flops = 3e8;
    w.fits = 190000;
    w.tiles = 550;
    w.largest_tile = 500;
    w.quantities = 40;
    w.exchange_buffer = 64 << 20;
    return w;
}

bench::Rates rates() {
    bench::Rates r;
    r.machine = machine();
    r.product_rotation = 5e-3;
    r.product_tables = 1e-3;
    r.product_fixed = 13.2e-3;
    r.gradient_rotation = 0.02;
    r.fbp_channel = 6e-3;
    r.fit = 60e-6;
    r.linearise_fixed = 0.6;
    r.condense = 0.2;
    r.precondition_field = 1e-3;
    r.precondition_blocks = 0.04;
    r.memory_node = 8e8;
    r.memory_rank = 2e8;
    return r;
}

TEST(BenchModel, OneRankExchangesNothing) {
    for (const bench::Stage stage :
         {bench::Stage::fbp, bench::Stage::fits, bench::Stage::product, bench::Stage::step}) {
        const bench::Counts counts = count(workload(), stage, {1, 64});
        EXPECT_EQ(counts.sent, 0);
        EXPECT_EQ(counts.received, 0);
        EXPECT_GT(counts.calls, 0);
        EXPECT_EQ(predict(workload(), rates(), machine(), stage, {1, 64}).exchange, 0);
    }
    EXPECT_THROW(count(workload(), bench::Stage::fbp, {0}), Error);
    EXPECT_THROW(count(workload(), bench::Stage::fbp, {4, 0}), Error);
}

TEST(BenchModel, CountsWorkedOutByHand) {
    // Gathering 8 MB in quarters, agreeing on 8 bytes, summing 8 MB.
    const bench::Counts product = count(workload(), bench::Stage::product, {4});
    EXPECT_NEAR(product.sent, 8 + 2e6 + 8 + 8e6, 1);
    EXPECT_NEAR(product.received, 3 * 8 + 6e6 + 8 + 8e6, 1);
    EXPECT_EQ(product.calls, 4);
    EXPECT_NEAR(product.flops, 100 * 1.5e8, 1);
    // Three quarters of a quarter of the scan leave a rank, and the total image is summed.
    const bench::Counts fbp = count(workload(), bench::Stage::fbp, {4});
    EXPECT_NEAR(fbp.sent / (4.0 * 400 * 550 * 700 / 4 * 0.75 + 8.0 * 550 * 550), 1, 1e-3);
    EXPECT_NEAR(count(workload(), bench::Stage::write, {4}).written, 4.0 * 400 * 550 * 700 / 4, 1);
}

TEST(BenchModel, TwoNodesOfTwoRanksByHand) {
    // Gathering: two agreements on the nodes, 8 bytes and then 8 MB in halves between the leaders,
    // one agreement. Then agreements of all, for the direction, its coefficients (two), the sweep,
    // the voxels' sums and the globals'; 4 MB summed by the leaders, one agreement more.
    const bench::Counts product = count(workload(), bench::Stage::product, {4, 2});
    EXPECT_EQ(product.calls, 2 + 2 + 1 + 1 + 6 + 1 + 1);
    const double agreements = 8 * (2 + 1 + 1 + 6 + 1);
    EXPECT_NEAR(product.sent, agreements + 0.5 * (8 + 4e6 + 8e6), 1e-6);
    EXPECT_NEAR(product.received, agreements + 0.5 * (8 + 4e6 + 8e6), 1e-6);
    // On one node nothing but agreements.
    const bench::Counts node = count(workload(), bench::Stage::product, {4, 4});
    EXPECT_EQ(node.calls, 2 + 1 + 6);
    EXPECT_EQ(node.sent, 8 * (2 + 1 + 6));
    // A linearisation allocates 7 + 30 + 1 arrays for what is condensed and four others: two
    // agreements and a number of four bytes each, which one of two ranks sends.
    const bench::Counts linearise = count(workload(), bench::Stage::linearise, {4, 2});
    EXPECT_EQ(linearise.calls, 2 + 2 + 1 + 3 + 3 * 42 + 10 + 1 + 3 + 1);
    EXPECT_NEAR(linearise.sent, 8 * (2 + 1 + 3 + 2 * 42 + 14) + 2 * 42 + 16 + 0.5 * (8 + 4e6),
                1e-6);
    EXPECT_NEAR(linearise.received - linearise.sent, 0, 1e-6);
    // Five ranks: the last is a node's only one and agrees with nobody there.
    EXPECT_NEAR(count(workload(), bench::Stage::product, {5, 2}).sent,
                0.2 * (4 * 8 * (2 + 1 + 6 + 1) + 5 * 8 + 3 * 8 + 8e6 + 3 * 8e6), 1e-6);
}

TEST(BenchModel, ExchangesWithinAndBetweenNodes) {
    using Among = bench::Exchange::Among;
    const bench::Exchange agreement{bench::Exchange::Kind::reduce, 8, 8, 1};
    const double within = 1e-7 + 8 * 2e-10 + 2.4e-9, between = 1e-6 + 8e-9 + 2.4e-9;
    EXPECT_NEAR(seconds(agreement, {4, 2}, machine()), within + between, 1e-12);
    bench::Exchange of_node = agreement, of_leaders = agreement;
    of_node.among = Among::node;
    of_leaders.among = Among::leaders;
    EXPECT_NEAR(seconds(of_node, {4, 2}, machine()), within, 1e-12);
    EXPECT_NEAR(seconds(of_leaders, {4, 2}, machine()), between, 1e-12);
    EXPECT_EQ(seconds(of_leaders, {4, 4}, machine()), 0);
    EXPECT_EQ(seconds(of_node, {4, 1}, machine()), 0);
    // Two thirds of what a rank sends goes through its node's network with the other's.
    EXPECT_NEAR(seconds({bench::Exchange::Kind::all_to_all, 3e6, 3e6, 1}, {4, 2}, machine()),
                2e-6 + 1e-7 + 2 * 2e6 * 1e-9 + 1e6 * 2e-10, 1e-9);
}

TEST(BenchModel, RanksOfANodeShareItsWork) {
    const auto time = [](bench::Stage stage, const bench::Ranks& ranks) {
        return predict(workload(), rates(), machine(), stage, ranks);
    };
    // 8 bytes of 4 million coefficients at 10 GB/s are every rank's own, 10 ms the node's.
    for (const std::size_t team : {1, 2, 16}) {
        const bench::Time product = time(bench::Stage::product, {16, team});
        EXPECT_NEAR(product.repeated, 3.2e-3, 1e-9);
        EXPECT_NEAR(product.node, 10e-3 / static_cast<double>(team), 1e-9);
        EXPECT_NEAR(time(bench::Stage::linearise, {16, team}).repeated, 0.2, 1e-9);
        EXPECT_NEAR(time(bench::Stage::linearise, {16, team}).node, 0.4 / static_cast<double>(team),
                    1e-9);
        EXPECT_NEAR(time(bench::Stage::precondition, {16, team}).node,
                    0.04 / static_cast<double>(team), 1e-9);
        EXPECT_NEAR(time(bench::Stage::precondition, {16, team}).compute, 1e-3, 1e-9);
    }
    // 5000 rows of patterns of 14 tables, a row more of each on the rank that has most.
    bench::Workload rows = workload();
    rows.table_rows = 5000 * 128;
    bench::Rates seconds_of_rows = rates();
    seconds_of_rows.gradient_rotation = 0;
    seconds_of_rows.gradient_fixed = 0.6;
    seconds_of_rows.table_rows = 0.5;
    EXPECT_NEAR(predict(rows, seconds_of_rows, machine(), bench::Stage::gradient, {16, 16}).compute,
                0.5 * (1.0 / 16 + 14.0 / 5000), 1e-9);
    const double data = 4.0 * 550 * 128 * 3;
    EXPECT_NEAR(predict_memory(workload(), rates(), {1, 16}), 1e9 + 400 * data, 1);
    EXPECT_NEAR(predict_memory(workload(), rates(), {16, 16}), 2e8 + 5e7 + 25 * data, 1);
}

TEST(BenchModel, CollectivesAgainstTheirFormulas) {
    const bench::Exchange large{bench::Exchange::Kind::reduce, 8e6, 8e6, 1};
    // Halving and doubling: 2 log2 P latencies, 2 (P - 1) / P of the bytes, (P - 1) / P of the
    // sums.
    EXPECT_NEAR(seconds(large, {4}, machine()), 4e-6 + 1.5 * 8e-3 + 0.75 * 2.4e-3, 1e-9);
    const bench::Exchange small{bench::Exchange::Kind::reduce, 8, 8, 2};
    EXPECT_NEAR(seconds(small, {16}, machine()), 2 * 4 * (1e-6 + 8e-9 + 2.4e-9), 1e-9);
    EXPECT_NEAR(seconds({bench::Exchange::Kind::gather_all, 1e6, 7e6, 1}, {8}, machine()),
                3e-6 + 7e-3, 1e-9);
    EXPECT_EQ(seconds(large, {1}, machine()), 0);
}

TEST(BenchModel, RotationsEndAtOneARankAndRaysGoOn) {
    const auto product = [](std::size_t ranks, bench::Decomposition by) {
        return predict(workload(), rates(), machine(), bench::Stage::product, {ranks}, by);
    };
    EXPECT_NEAR(product(1, bench::Decomposition::rotations).compute, 2, 1e-9);
    EXPECT_NEAR(product(100, bench::Decomposition::rotations).compute, 0.02, 1e-9);
    EXPECT_EQ(product(400, bench::Decomposition::rotations).compute,
              product(4096, bench::Decomposition::rotations).compute);
    EXPECT_LT(product(4096, bench::Decomposition::rays).compute,
              0.2 * product(4096, bench::Decomposition::rotations).compute);
    // Every rank projects everything.
    EXPECT_GT(product(64, bench::Decomposition::patterns).compute, 1.59);
    EXPECT_GT(product(64, bench::Decomposition::rotations).repeated, 0);
}

TEST(BenchModel, AFasterMachineIsFaster) {
    bench::Machine fast = machine();
    fast.flop_rate *= 2;
    const auto slow_time = predict(workload(), rates(), machine(), bench::Stage::product, {8}),
               fast_time = predict(workload(), rates(), fast, bench::Stage::product, {8});
    EXPECT_NEAR(fast_time.compute, 0.5 * slow_time.compute, 1e-12);
    EXPECT_EQ(fast_time.repeated, slow_time.repeated);
}

TEST(BenchModel, StacksAreWorkedOffByGroups) {
    const bench::StepCalls step{2, 0, 1, 30, 31};
    const auto many = predict_stack(workload(), rates(), machine(), {1024, 64}, 64, step, 3);
    EXPECT_EQ(many.groups * many.ranks_per_group, 1024U);
    EXPECT_GT(many.groups, 1U);
    const double single = 64 * predict_slice(workload(), rates(), machine(), {1024, 64},
                                             bench::Decomposition::rotations, step, 3)
                                   .total();
    EXPECT_LT(many.seconds, single);
    EXPECT_GT(many.efficiency, 0);
    EXPECT_LE(many.efficiency, 1 + 1e-9);
    // Memory forces larger groups.
    const auto tight = predict_stack(workload(), rates(), machine(), {16, 64}, 64, step, 3,
                                     predict_memory(workload(), rates(), {8, 64}));
    EXPECT_GE(tight.ranks_per_group, 8U);
}

} // namespace
} // namespace xrdct::bench
