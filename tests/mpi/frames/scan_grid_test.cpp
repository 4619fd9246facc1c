// SPDX-License-Identifier: BSD-3-Clause
#include "mpi/frames/scan_grid.hpp"

#include "base/error.hpp"
#include "support/temporary_directory.hpp"
#include "support/test_data.hpp"

#include <functional>
#include <gmock/gmock.h>

using namespace xrdct;
using namespace xrdct::test;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

namespace {

std::string error_of(const std::function<void()>& work) {
    try {
        work();
    } catch (const Error& error) {
        return error.what();
    }
    return "no error";
}

} // namespace

TEST(ScanGrid, OrdersOfARegularScan) {
    const frames::RegularAxis rotation{0, 90, 2}, translation{1, -0.5, 3};
    const auto line = regular_grid(rotation, translation, {}, 6);
    EXPECT_THAT(line.rotation, ElementsAre(0, 90));
    EXPECT_THAT(line.translation, ElementsAre(0, 0.5, 1));
    EXPECT_THAT(line.point, ElementsAre(2, 1, 0, 5, 4, 3));
    EXPECT_THAT(regular_grid(rotation, translation, {false, true}, 6).point,
                ElementsAre(2, 1, 0, 3, 4, 5));
    EXPECT_THAT(regular_grid(rotation, translation, {true, false}, 6).point,
                ElementsAre(2, 5, 1, 4, 0, 3));
    EXPECT_THAT(regular_grid(rotation, translation, {true, true}, 6).point,
                ElementsAre(2, 5, 4, 1, 0, 3));
    EXPECT_THAT(error_of([&] { regular_grid(rotation, translation, {}, 5); }),
                AllOf(HasSubstr("6 points"), HasSubstr("5 frames")));
}

TEST(ScanGrid, PositionsThatFormAGrid) {
    const std::vector<double> rotation{0, 0, 30, 30, 15, 15}, translation{1, 2, 2, 1, 1, 2};
    const auto grid = frames::grid_of_positions(rotation, translation);
    ASSERT_TRUE(grid);
    EXPECT_THAT(grid->rotation, ElementsAre(0, 15, 30));
    EXPECT_THAT(grid->point, ElementsAre(0, 1, 5, 4, 2, 3));
    auto twice = translation;
    twice[1] = 1; // a point visited twice, another never
    EXPECT_FALSE(frames::grid_of_positions(rotation, twice));
    auto off = rotation;
    off[3] = 30.01;
    EXPECT_FALSE(frames::grid_of_positions(off, translation));
    EXPECT_FALSE(frames::grid_of_positions({}, {}));
    EXPECT_FALSE(frames::grid_of_positions(rotation, {}));
    auto unknown = rotation;
    unknown[0] = std::nan("");
    EXPECT_FALSE(frames::grid_of_positions(unknown, translation));
}

TEST(ScanGrid, RegularAxesAsText) {
    const auto axis = frames::parse_regular_axis("-5:0.25:41", "--translations");
    EXPECT_EQ(axis.first, -5);
    EXPECT_EQ(axis.step, 0.25);
    EXPECT_EQ(axis.count, 41U);
    for (const char* text : {"", "1:2", "1:2:3:4", "a:b:c", "0:0:5", "0:1:0", "0:1:2.5", "0:1:-3"})
        EXPECT_THAT(error_of([&] { frames::parse_regular_axis(text, "--rotations"); }),
                    HasSubstr("--rotations"))
            << text;
}

TEST(ScanGrid, TableOfPositions) {
    const TemporaryDirectory folder;
    const auto read = [&](const std::string& text, std::size_t frames) {
        write_text(folder / "t.csv", text);
        frames::FrameVectors vectors;
        read_positions_table(folder / "t.csv", frames, vectors);
        return vectors;
    };
    const auto vectors =
        read("# rotation_angle, translation; what\tmonitor\n0,1,9,100\n# remark\n0 2 9 101\n", 2);
    EXPECT_THAT(vectors.rotation_angle, ElementsAre(0, 0));
    EXPECT_THAT(vectors.translation, ElementsAre(1, 2));
    EXPECT_THAT(vectors.monitor, ElementsAre(100, 101));
    EXPECT_TRUE(vectors.time.empty());
    EXPECT_THAT(error_of([&] { read("rotation_angle\n1\n2\n", 3); }),
                AllOf(HasSubstr("2 lines"), HasSubstr("3 frames")));
    EXPECT_THAT(error_of([&] { read("angle\n1\n", 1); }), HasSubstr("no known column"));
    EXPECT_THAT(error_of([&] { read("time monitor\n1\n", 1); }), HasSubstr("t.csv:2"));
    EXPECT_THAT(error_of([&] { read("time\n1x\n", 1); }), HasSubstr("'1x'"));
}
