#include "jobs/bench/model.hpp"

#include "base/error.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace xrdct::bench {
namespace {

Machine machine() {
    return {.flop_rate = 50e9,
            .memory_bandwidth = 10e9,
            .network_bandwidth = 1e9,
            .latency = 1e-6,
            .file_bandwidth = 1e9,
            .file_system = 8e9};
}

Workload workload() {
    Workload w;
    w.rotations = 400;
    w.translations = 550;
    w.channels = 700;
    w.pixels = 550;
    w.view_pixels = 230000;
    w.unknowns = 1'000'000;
    w.block_unknowns = 1'000'000;
    w.basis = 128;
    w.fields = 12;
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

Rates rates() {
    Rates r;
    r.machine = machine();
    r.product_rotation = 5e-3;
    r.product_tables = 1e-3;
    r.product_repeated = 5e-3;
    r.gradient_rotation = 0.02;
    r.fbp_channel = 6e-3;
    r.fit = 60e-6;
    r.memory_repeated = 1e9;
    return r;
}

TEST(BenchModel, OneRankExchangesNothing) {
    for (const Stage stage : {Stage::fbp, Stage::fits, Stage::product, Stage::step}) {
        const Counts counts = count(workload(), stage, 1);
        EXPECT_EQ(counts.sent, 0);
        EXPECT_EQ(counts.received, 0);
        EXPECT_GT(counts.calls, 0);
        EXPECT_EQ(predict(workload(), rates(), machine(), stage, 1).exchange, 0);
    }
    EXPECT_THROW(count(workload(), Stage::fbp, 0), Error);
}

TEST(BenchModel, CountsWorkedOutByHand) {
    // Gathering 8 MB in quarters, agreeing on 8 bytes, summing 8 MB.
    const Counts product = count(workload(), Stage::product, 4);
    EXPECT_NEAR(product.sent, 8 + 2e6 + 8 + 4e6, 1);
    EXPECT_NEAR(product.received, 3 * 8 + 6e6 + 8 + 4e6, 1);
    EXPECT_EQ(product.calls, 4);
    EXPECT_NEAR(product.flops, 100 * 1.5e8, 1);
    // Three quarters of a quarter of the scan leave a rank, and the total image is summed.
    const Counts fbp = count(workload(), Stage::fbp, 4);
    EXPECT_NEAR(fbp.sent / (4.0 * 400 * 550 * 700 / 4 * 0.75 + 8.0 * 550 * 550), 1, 1e-3);
    EXPECT_NEAR(count(workload(), Stage::write, 4).written, 4.0 * 400 * 550 * 700 / 4, 1);
}

TEST(BenchModel, CollectivesAgainstTheirFormulas) {
    const Exchange large{Exchange::Kind::reduce, 8e6, 8e6, 1};
    // Halving and doubling: 2 log2 P latencies, 2 (P - 1) / P of the bytes, (P - 1) / P of the
    // sums.
    EXPECT_NEAR(seconds(large, 4, machine()), 4e-6 + 1.5 * 8e-3 + 0.75 * 2.4e-3, 1e-9);
    const Exchange small{Exchange::Kind::reduce, 8, 8, 2};
    EXPECT_NEAR(seconds(small, 16, machine()), 2 * 4 * (1e-6 + 8e-9 + 2.4e-9), 1e-9);
    EXPECT_NEAR(seconds({Exchange::Kind::gather_all, 1e6, 7e6, 1}, 8, machine()), 3e-6 + 7e-3,
                1e-9);
    EXPECT_EQ(seconds(large, 1, machine()), 0);
}

TEST(BenchModel, RotationsEndAtOneARankAndRaysGoOn) {
    const auto product = [](std::size_t ranks, Decomposition by) {
        return predict(workload(), rates(), machine(), Stage::product, ranks, by);
    };
    EXPECT_NEAR(product(1, Decomposition::rotations).compute, 2, 1e-9);
    EXPECT_NEAR(product(100, Decomposition::rotations).compute, 0.02, 1e-9);
    EXPECT_EQ(product(400, Decomposition::rotations).compute,
              product(4096, Decomposition::rotations).compute);
    EXPECT_LT(product(4096, Decomposition::rays).compute,
              0.2 * product(4096, Decomposition::rotations).compute);
    // Every rank projects everything.
    EXPECT_GT(product(64, Decomposition::patterns).compute, 1.59);
    EXPECT_GT(product(64, Decomposition::rotations).repeated, 0);
}

TEST(BenchModel, AFasterMachineIsFaster) {
    Machine fast = machine();
    fast.flop_rate *= 2;
    const auto slow_time = predict(workload(), rates(), machine(), Stage::product, 8),
               fast_time = predict(workload(), rates(), fast, Stage::product, 8);
    EXPECT_NEAR(fast_time.compute, 0.5 * slow_time.compute, 1e-12);
    EXPECT_EQ(fast_time.repeated, slow_time.repeated);
}

TEST(BenchModel, StacksAreWorkedOffByGroups) {
    const StepCalls step{2, 0, 1, 30, 31};
    const auto many = predict_stack(workload(), rates(), machine(), 1024, 64, step, 3);
    EXPECT_EQ(many.groups * many.ranks_per_group, 1024U);
    EXPECT_GT(many.groups, 1U);
    const double single =
        64 * predict_slice(workload(), rates(), machine(), 1024, Decomposition::rotations, step, 3)
                 .total();
    EXPECT_LT(many.seconds, single);
    EXPECT_GT(many.efficiency, 0);
    EXPECT_LE(many.efficiency, 1 + 1e-9);
    // Memory forces larger groups.
    const auto tight = predict_stack(workload(), rates(), machine(), 16, 64, step, 3,
                                     predict_memory(workload(), rates(), 8));
    EXPECT_GE(tight.ranks_per_group, 8U);
}

} // namespace
} // namespace xrdct::bench
