// SPDX-License-Identifier: BSD-3-Clause
// What HDF5 would make up is no data: chunks never written, sources of virtual datasets that are
// missing; and booleans are numbers.
#include "base/error.hpp"
#include "mpi/hdf5/hdf5.hpp"
#include "support/temporary_directory.hpp"

#include <cmath>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hdf5.h>

namespace xrdct::hdf5 {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr hsize_t n_frame = 6, n_row = 4, n_column = 5;

class Gaps : public testing::Test {
  protected:
    static hid_t create(const std::filesystem::path& path) {
        return H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    }
    /// Frames [first, last) of `dataset`, frame i full of i + 1.
    static void fill(hid_t dataset, hsize_t first, hsize_t last) {
        const hid_t space = H5Dget_space(dataset);
        const hsize_t count[] = {1, n_row, n_column};
        const hid_t memory = H5Screate_simple(3, count, nullptr);
        for (hsize_t i = first; i < last; ++i) {
            const std::vector<float> values(n_row * n_column, static_cast<float>(i + 1));
            const hsize_t start[] = {i, 0, 0};
            H5Sselect_hyperslab(space, H5S_SELECT_SET, start, nullptr, count, nullptr);
            H5Dwrite(dataset, H5T_NATIVE_FLOAT, memory, space, H5P_DEFAULT, values.data());
        }
        H5Sclose(memory);
        H5Sclose(space);
    }
    /// Frames in chunks, those before `written` written; `fill_value`: stated in the file.
    void write_frames(const std::filesystem::path& path, hsize_t written, hid_t type,
                      std::optional<double> fill_value = {}, bool compressed = false,
                      hsize_t rows_of_chunk = n_row, hsize_t frames = n_frame) const {
        const hid_t file = create(path);
        const hsize_t shape[] = {frames, n_row, n_column};
        const hsize_t chunk[] = {1, rows_of_chunk, n_column};
        const hid_t space = H5Screate_simple(3, shape, nullptr),
                    list = H5Pcreate(H5P_DATASET_CREATE);
        H5Pset_chunk(list, 3, chunk);
        if (compressed)
            H5Pset_deflate(list, 1);
        if (fill_value)
            H5Pset_fill_value(list, H5T_NATIVE_DOUBLE, &*fill_value);
        const hid_t data = H5Dcreate2(file, "data", type, space, H5P_DEFAULT, list, H5P_DEFAULT);
        fill(data, 0, written);
        for (const hid_t id : {data})
            H5Dclose(id);
        H5Pclose(list);
        H5Sclose(space);
        H5Fclose(file);
    }
    /// A virtual dataset of `pieces`: source file, frames it gives, first frame in the source.
    struct Piece {
        std::string file;
        hsize_t first, count, from;
    };
    void write_virtual(const std::vector<Piece>& pieces) const {
        const hid_t file = create(folder_ / "virtual.h5");
        const hsize_t shape[] = {n_frame, n_row, n_column};
        const hid_t space = H5Screate_simple(3, shape, nullptr),
                    list = H5Pcreate(H5P_DATASET_CREATE);
        for (const auto& piece : pieces) {
            const hsize_t start[] = {piece.first, 0, 0}, count[] = {piece.count, n_row, n_column};
            const hsize_t from[] = {piece.from, 0, 0};
            const hid_t source = H5Scopy(space);
            H5Sselect_hyperslab(space, H5S_SELECT_SET, start, nullptr, count, nullptr);
            H5Sselect_hyperslab(source, H5S_SELECT_SET, from, nullptr, count, nullptr);
            H5Pset_virtual(list, space, piece.file.c_str(), "data", source);
            H5Sclose(source);
        }
        H5Sselect_all(space);
        const hid_t data =
            H5Dcreate2(file, "data", H5T_NATIVE_UINT32, space, H5P_DEFAULT, list, H5P_DEFAULT);
        H5Dclose(data);
        H5Pclose(list);
        H5Sclose(space);
        H5Fclose(file);
    }
    /// "first:last reason" of every gap, frames only.
    std::vector<std::string> gaps(const char* name) const {
        const auto file = File::open(folder_ / name, Access::read_only);
        std::vector<std::string> texts;
        for (const auto& gap : file.root().open_dataset("data").gaps())
            texts.push_back(std::to_string(gap.box.start[0]) + ":" +
                            std::to_string(gap.box.start[0] + gap.box.count[0]) + " " + gap.reason);
        return texts;
    }
    test::TemporaryDirectory folder_;
};

TEST_F(Gaps, ChunksThatWereNeverWritten) {
    write_frames(folder_ / "whole.h5", n_frame, H5T_NATIVE_UINT32);
    EXPECT_THAT(gaps("whole.h5"), ElementsAre());
    for (const bool compressed : {false, true}) {
        write_frames(folder_ / "a.h5", 4, H5T_NATIVE_UINT32, {}, compressed, 2);
        EXPECT_THAT(gaps("a.h5"), ElementsAre("4:6 was never written"));
    }
    const auto file = File::open(folder_ / "a.h5", Access::read_only);
    const auto data = file.root().open_dataset("data");
    EXPECT_THAT([&] { data.read_all<float>(); },
                ThrowsMessage<Error>(AllOf(HasSubstr("a.h5:/data"), HasSubstr("[4:6, 0:4, 0:5]"),
                                           HasSubstr("never written"))));
    std::vector<float> frames(3 * n_row * n_column);
    data.read({{1, 0, 0}, {3, n_row, n_column}}, std::span<float>(frames));
    EXPECT_EQ(frames.back(), 4);
    data.read_with_gaps({{3, 0, 0}, {3, n_row, n_column}}, std::span<float>(frames));
    EXPECT_EQ(frames.front(), 4);
    EXPECT_EQ(frames[n_row * n_column - 1], 4);
    EXPECT_TRUE(std::isnan(frames[n_row * n_column]) && std::isnan(frames.back()));
    // HDF5 has chunks in its cache now that it made up for reading.
    EXPECT_EQ(data.gaps().size(), 1U);
    EXPECT_EQ(file.root().open_dataset("data").gaps().size(), 1U);
}

TEST_F(Gaps, FillValues) {
    // Stated numbers are as made up as the default one; NaN says what it is.
    write_frames(folder_ / "a.h5", 4, H5T_NATIVE_INT32, -1.0);
    EXPECT_THAT(gaps("a.h5"), ElementsAre("4:6 was never written"));
    write_frames(folder_ / "a.h5", 4, H5T_NATIVE_FLOAT, NAN);
    EXPECT_THAT(gaps("a.h5"), ElementsAre());
    const auto file = File::open(folder_ / "a.h5", Access::read_only);
    EXPECT_TRUE(std::isnan(file.root().open_dataset("data").read_all<float>().back()));
}

TEST_F(Gaps, ContiguousDatasetsWithoutStorage) {
    const hid_t file = create(folder_ / "a.h5");
    const hsize_t shape[] = {3};
    const hid_t space = H5Screate_simple(1, shape, nullptr);
    H5Dclose(
        H5Dcreate2(file, "data", H5T_NATIVE_INT, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Sclose(space);
    H5Fclose(file);
    EXPECT_THAT(gaps("a.h5"), ElementsAre("0:3 was never written"));
}

TEST_F(Gaps, SourcesOfVirtualDatasets) {
    write_frames(folder_ / "one.h5", n_frame, H5T_NATIVE_UINT32);
    write_frames(folder_ / "two.h5", 2, H5T_NATIVE_UINT32);
    write_virtual({{"one.h5", 0, 3, 1}, {"one.h5", 3, 3, 0}});
    EXPECT_THAT(gaps("virtual.h5"), ElementsAre());
    write_virtual({{"one.h5", 0, 3, 1}, {"absent.h5", 3, 3, 0}});
    EXPECT_THAT(gaps("virtual.h5"), ElementsAre(AllOf(HasSubstr("3:6 "), HasSubstr("absent.h5"))));
    // A source that was not written to its end, and one that ends too early.
    write_virtual({{"one.h5", 0, 3, 0}, {"two.h5", 3, 3, 1}});
    EXPECT_THAT(gaps("virtual.h5"), ElementsAre(AllOf(HasSubstr("4:6 "), HasSubstr("two.h5"),
                                                      HasSubstr("never written"))));
    write_frames(folder_ / "short.h5", 2, H5T_NATIVE_UINT32, {}, false, n_row, 2);
    write_virtual({{"one.h5", 0, 3, 0}, {"short.h5", 3, 3, 0}});
    EXPECT_THAT(gaps("virtual.h5"),
                ElementsAre(AllOf(HasSubstr("5:6 "), HasSubstr("is not there"))));
    // Frames that no source gives.
    write_virtual({{"one.h5", 0, 3, 0}, {"one.h5", 5, 1, 0}});
    EXPECT_THAT(gaps("virtual.h5"), ElementsAre(AllOf(HasSubstr("3:5 "), HasSubstr("no source"))));
    const auto file = File::open(folder_ / "virtual.h5", Access::read_only);
    std::vector<float> frame(n_row * n_column);
    file.root().open_dataset("data").read({{2, 0, 0}, {1, n_row, n_column}},
                                          std::span<float>(frame));
    EXPECT_EQ(frame.front(), 3);
}

TEST_F(Gaps, NumberedSourcesWithoutEnd) {
    for (const char* name : {"s_0.h5", "s_2.h5"})
        write_frames(folder_ / name, 2, H5T_NATIVE_UINT32, {}, false, n_row, 2);
    const hid_t file = create(folder_ / "a.h5");
    const hsize_t shape[] = {n_frame, n_row, n_column}, most[] = {H5S_UNLIMITED, n_row, n_column};
    const hsize_t start[] = {0, 0, 0}, stride[] = {2, 1, 1}, count[] = {H5S_UNLIMITED, 1, 1},
                  block[] = {2, n_row, n_column};
    const hid_t space = H5Screate_simple(3, shape, most), list = H5Pcreate(H5P_DATASET_CREATE);
    H5Sselect_hyperslab(space, H5S_SELECT_SET, start, stride, count, block);
    const hid_t source = H5Screate_simple(3, block, nullptr);
    H5Pset_virtual(list, space, "s_%b.h5", "data", source);
    H5Dclose(H5Dcreate2(file, "data", H5T_NATIVE_UINT32, space, H5P_DEFAULT, list, H5P_DEFAULT));
    H5Sclose(source);
    H5Sclose(space);
    H5Pclose(list);
    H5Fclose(file);
    const auto opened = File::open(folder_ / "a.h5", Access::read_only);
    const auto data = opened.root().open_dataset("data");
    // HDF5 may take the first file that is missing for the end.
    if (data.shape()[0] == n_frame)
        EXPECT_THAT(gaps("a.h5"), ElementsAre(AllOf(HasSubstr("2:4 "), HasSubstr("s_1.h5"))));
    else
        EXPECT_EQ(data.shape()[0], 2U);
}

TEST_F(Gaps, ModulesOfADetectorLeaveNone) {
    // Two modules of two rows side by side with a column between them.
    write_frames(folder_ / "one.h5", n_frame, H5T_NATIVE_UINT32);
    const hid_t file = create(folder_ / "a.h5");
    const hsize_t shape[] = {n_frame, n_row, 2 * n_column + 1}, part[] = {n_frame, n_row, n_column};
    const hid_t space = H5Screate_simple(3, shape, nullptr), list = H5Pcreate(H5P_DATASET_CREATE),
                source = H5Screate_simple(3, part, nullptr);
    for (const hsize_t column : {hsize_t{0}, n_column + 1}) {
        const hsize_t start[] = {0, 0, column};
        H5Sselect_hyperslab(space, H5S_SELECT_SET, start, nullptr, part, nullptr);
        H5Pset_virtual(list, space, "one.h5", "data", source);
    }
    H5Dclose(H5Dcreate2(file, "data", H5T_NATIVE_UINT32, space, H5P_DEFAULT, list, H5P_DEFAULT));
    for (const hid_t id : {space, source})
        H5Sclose(id);
    H5Pclose(list);
    H5Fclose(file);
    EXPECT_THAT(gaps("a.h5"), ElementsAre());
}

TEST_F(Gaps, BooleansAreNumbers) {
    const hid_t file = create(folder_ / "a.h5");
    const hsize_t shape[] = {2, 3};
    const hid_t space = H5Screate_simple(2, shape, nullptr);
    const std::uint8_t values[] = {0, 1, 0, 0, 1, 1};
    const hid_t type = H5Tenum_create(H5T_NATIVE_INT8), other = H5Tenum_create(H5T_NATIVE_INT8);
    for (std::int8_t i = 0; i < 2; ++i) {
        H5Tenum_insert(type, i == 0 ? "FALSE" : "TRUE", &i);
        H5Tenum_insert(other, i == 0 ? "LEFT" : "RIGHT", &i);
    }
    const std::pair<const char*, hid_t> datasets[] = {
        {"h5py", type}, {"pytables", H5T_NATIVE_B8}, {"other", other}};
    for (const auto& [name, id] : datasets) {
        const hid_t data = H5Dcreate2(file, name, id, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        H5Dwrite(data, id, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
        H5Dclose(data);
    }
    H5Tclose(type);
    H5Tclose(other);
    H5Sclose(space);
    H5Fclose(file);
    const auto root = File::open(folder_ / "a.h5", Access::read_only).root();
    for (const char* name : {"h5py", "pytables"}) {
        const auto data = root.open_dataset(name);
        EXPECT_TRUE(data.is_numeric()) << name;
        EXPECT_EQ(data.element_type(), ElementType::boolean) << name;
        EXPECT_THAT(data.read_all<std::int32_t>(), ElementsAre(0, 1, 0, 0, 1, 1)) << name;
        EXPECT_THAT(data.read_all<double>(), ElementsAre(0, 1, 0, 0, 1, 1)) << name;
        EXPECT_THAT(data.read_all<std::uint8_t>(), ElementsAre(0, 1, 0, 0, 1, 1)) << name;
    }
    EXPECT_FALSE(root.open_dataset("other").is_numeric());
}

} // namespace
} // namespace xrdct::hdf5
