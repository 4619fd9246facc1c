// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/pipeline/dlsr_checkpoint.hpp"

#include "base/error.hpp"
#include "mpi/hdf5/hdf5.hpp"
#include "mpi/nexus/nexus.hpp"
#include "support/temporary_directory.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace xrdct::pipeline {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

dlsr::State some_state() {
    dlsr::State state;
    state.phase = dlsr::Phase::validation;
    state.fit.smoothness = 2.5;
    state.fit.x = {1, 2, 3};
    state.fit.data_x = {1, 2, 2.5};
    state.fit.passes_begin = 4;
    state.fit.ranges = {{0.5}, {1.5}, {1}};
    state.fit.ties = {1, 40};
    state.fit.amounts = {{3, 0}, {0.1, 0}, {12, 0}, 2};
    state.fit.iteration = 7;
    state.fit.history = {{1, 10, 9, 0.1, 0.2, 0.05, 12}, {2, 8, 7, 0.05, 0.1, 0.04, 30}};
    state.geometry.settled = true;
    state.geometry.radial_scale = 1.001;
    state.geometry.progress = {1, 2, true, 0.1, 0.2, 0.3};
    state.validation.tried = {{8, 1.1, 0.01, {1, 1.2}}, {2.5, 1.05, 0.02, {1, 1.1}}};
    state.validation.x = {{4, 5, 6}, {7, 8, 9}};
    state.esd.samples = 2;
    state.esd.squares = {0.1, 0.2, 0.3};
    return state;
}

TEST(DlsrCheckpoint, IsReadAsItWasWritten) {
    const test::TemporaryDirectory folder;
    const auto path = folder / "checkpoint.nxs";
    EXPECT_FALSE(read_dlsr_checkpoint(path));
    const auto state = some_state();
    write_dlsr_checkpoint(path, {"settings", "inputs"}, state);
    const auto read = read_dlsr_checkpoint(path);
    ASSERT_TRUE(read);
    EXPECT_EQ(read->origin, (DlsrOrigin{"settings", "inputs"}));
    EXPECT_EQ(read->state.phase, state.phase);
    EXPECT_EQ(read->state.fit.smoothness, 2.5);
    EXPECT_EQ(read->state.fit.x, state.fit.x);
    EXPECT_EQ(read->state.fit.data_x, state.fit.data_x);
    EXPECT_EQ(read->state.fit.passes_begin, 4);
    EXPECT_EQ(read->state.fit.ties, (std::vector<double>{1, 40}));
    EXPECT_EQ(read->state.fit.amounts.weight, state.fit.amounts.weight);
    EXPECT_EQ(read->state.fit.amounts.edge, state.fit.amounts.edge);
    EXPECT_EQ(read->state.fit.amounts.fineness, state.fit.amounts.fineness);
    EXPECT_EQ(read->state.fit.amounts.rounds, 2);
    EXPECT_EQ(read->state.fit.ranges.upper, state.fit.ranges.upper);
    EXPECT_EQ(read->state.fit.iteration, 7);
    ASSERT_EQ(read->state.fit.history.size(), 2U);
    EXPECT_EQ(read->state.fit.history[1].linear_iterations, 30);
    EXPECT_TRUE(read->state.geometry.settled);
    EXPECT_EQ(read->state.geometry.radial_scale, 1.001);
    EXPECT_EQ(read->state.geometry.progress.round, 2);
    ASSERT_EQ(read->state.validation.tried.size(), 2U);
    EXPECT_EQ(read->state.validation.tried[1].projections, state.validation.tried[1].projections);
    EXPECT_EQ(read->state.validation.x, state.validation.x);
    EXPECT_EQ(read->state.esd.squares, state.esd.squares);
    const auto file = hdf5::File::open(path, hdf5::Access::read_only);
    EXPECT_EQ(nexus::read_text(file.root().open_group("entry/checkpoint"), "phase"), "held-out");
}

TEST(DlsrCheckpoint, OfAnUnknownPhaseOrSizeIsRefused) {
    const test::TemporaryDirectory folder;
    const auto path = folder / "checkpoint.nxs";
    auto state = some_state();
    state.validation.x[1].pop_back();
    write_dlsr_checkpoint(path, {}, state);
    EXPECT_THAT([&] { read_dlsr_checkpoint(path); },
                ThrowsMessage<Error>(AllOf(HasSubstr("checkpoint.nxs"), HasSubstr("other sizes"))));
    state = some_state();
    state.phase = static_cast<dlsr::Phase>(17);
    write_dlsr_checkpoint(path, {}, state);
    EXPECT_THAT([&] { read_dlsr_checkpoint(path); },
                ThrowsMessage<Error>(HasSubstr("there is no phase")));
}

} // namespace
} // namespace xrdct::pipeline
