// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "mpi/nexus/nexus.hpp"
#include "support/temporary_directory.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace xrdct::nexus {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

class NexusTest : public testing::Test {
  protected:
    test::TemporaryDirectory folder_;
    hdf5::File file_ = hdf5::File::open(folder_ / "maps.nxs", hdf5::Access::create);
    hdf5::Group root_ = file_.root();
};

TEST_F(NexusTest, MapsRoundTripAndTheDefaultPlotResolves) {
    write_root(root_, "0.1.0", "abc", now_utc());
    auto entry = require_class(root_, "entry", "NXentry");
    auto stage = require_class(entry, "rietveld", "NXprocess");
    auto phase = require_data(stage, "NMC532 (P)", "a", {"y", "x"});
    const std::vector<double> values = {1, 2, 3, 4, 5, NAN};
    const std::vector<double> errors = {.1, .2, .3, .4, .5, .6};
    write_map(phase, "a", values, errors, 2, 3, {"angstrom", "cell length a"});
    write_axis(phase, "y", std::vector<double>{0, 1}, {"mm", "y"});
    write_axis(phase, "x", std::vector<double>{0, 1, 2}, {"mm", "x"});
    set_default(phase);

    EXPECT_EQ(read_format_version(root_), 1);
    EXPECT_EQ(root_.string_attribute("program_version"), "0.1.0");
    EXPECT_EQ(root_.string_attribute("program_revision"), "abc");
    const auto found = default_data(root_);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->path(), "/entry/rietveld/NMC532 (P)");
    EXPECT_EQ(signal_of(*found), "a");
    const nexus::Map map = read_map(*found, "a");
    EXPECT_EQ(map.ny, 2U);
    EXPECT_EQ(map.nx, 3U);
    EXPECT_EQ(map.units, "angstrom");
    EXPECT_THAT(map.values, ElementsAre(1, 2, 3, 4, 5, testing::IsNan()));
    EXPECT_THAT(read_map(*found, "a_errors").values, ElementsAre(.1, .2, .3, .4, .5, .6));
    EXPECT_EQ(found->number_attribute("x_indices"), 1);
    EXPECT_EQ(entry.string_attribute("default"), "rietveld");
}

TEST_F(NexusTest, ChecksSizesAndClasses) {
    auto data = require_data(root_, "data", "a", {"y", "x"});
    EXPECT_THAT([&] { write_map(data, "a", std::vector<double>(5), 2, 3); },
                ThrowsMessage<Error>(HasSubstr("5 values given for a map of 2 x 3")));
    EXPECT_THAT([&] { require_class(root_, "data", "NXentry"); },
                ThrowsMessage<Error>(HasSubstr("is of class NXdata, expected NXentry")));
    write_axis(data, "y", std::vector<double>{0, 1}, {"mm", ""});
    EXPECT_THAT([&] { read_map(data, "y"); }, ThrowsMessage<Error>(HasSubstr("two axes")));
}

TEST_F(NexusTest, FindsPlotsWithoutDefaultAndOldStyleSignals) {
    EXPECT_FALSE(default_data(root_));
    auto entry = require_class(root_, "scan1", "NXentry");
    auto data = require_class(entry, "measurement", "NXdata");
    EXPECT_FALSE(default_data(root_));
    auto counts = data.write_scalar("counts", 1.0);
    EXPECT_FALSE(default_data(root_));
    counts.set_attribute("signal", 1);
    ASSERT_TRUE(default_data(root_));
    EXPECT_EQ(default_data(root_)->path(), "/scan1/measurement");
    counts.set_attribute("signal", "1");
    EXPECT_EQ(signal_of(data), "counts");
    data.set_attribute("signal", "not there");
    EXPECT_EQ(signal_of(data), std::nullopt);
}

TEST_F(NexusTest, ADefaultThatLeadsNowhereOrInCirclesEnds) {
    auto entry = require_class(root_, "entry", "NXentry");
    root_.set_attribute("default", "entry");
    entry.set_attribute("default", "/entry");
    EXPECT_FALSE(default_data(root_));
    entry.set_attribute("default", "gone");
    EXPECT_FALSE(default_data(root_));
    auto data = require_data(entry, "data", "x", {"."});
    data.write_scalar("x", 1.0);
    EXPECT_EQ(default_data(root_)->path(), "/entry/data");
}

TEST_F(NexusTest, TellsForeignAndNewerFiles) {
    EXPECT_THAT([&] { read_format_version(root_); },
                ThrowsMessage<Error>(HasSubstr("maps.nxs: was not written by this program")));
    write_root(root_, "9.0", "abc", now_utc());
    root_.set_attribute("format_version", 99);
    EXPECT_THAT([&] { read_format_version(root_); },
                ThrowsMessage<Error>(HasSubstr("format version 99")));
}

TEST_F(NexusTest, ValuesAndTexts) {
    write_value(root_, "seconds", 2.5, {"s", ""});
    write_value(root_, "ranks", std::int64_t{4});
    root_.write_string("job", "a = 1\n");
    EXPECT_EQ(read_value(root_, "seconds"), 2.5);
    EXPECT_EQ(read_value(root_, "ranks"), 4);
    EXPECT_EQ(read_value(root_, "none"), std::nullopt);
    EXPECT_EQ(read_text(root_, "job"), "a = 1\n");
    EXPECT_EQ(root_.open_dataset("seconds").string_attribute("units"), "s");
}

} // namespace
} // namespace xrdct::nexus
