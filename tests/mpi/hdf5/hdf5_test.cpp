// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "mpi/comm/environment.hpp"
#include "mpi/hdf5/hdf5.hpp"
#include "support/temporary_directory.hpp"
#include "support/test_data.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hdf5.h>

#include <fstream>
#include <numeric>

namespace xrdct::hdf5 {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::Property;
using testing::ThrowsMessage;

class Hdf5Test : public testing::Test {
  protected:
    test::TemporaryDirectory folder_;
    std::filesystem::path path_ = folder_ / "file.h5";
};

TEST_F(Hdf5Test, NeedsNoMpiWithoutCommunicator) {
    {
        auto file = hdf5::File::open(path_, hdf5::Access::create);
        file.root().write_scalar("x", 1.5);
        file.close();
    }
    EXPECT_DOUBLE_EQ(
        hdf5::File::open(path_, hdf5::Access::read_only).root().open_dataset("x").read_scalar(),
        1.5);
    EXPECT_FALSE(mpi::Environment::initialized());
}

template <class T>
void round_trip(const std::filesystem::path& path) {
    std::vector<T> values(24);
    std::iota(values.begin(), values.end(), T{3});
    {
        auto root = hdf5::File::open(path, hdf5::Access::create).root();
        root.write_array("a/b/values", {2, 3, 4}, std::span<const T>(values));
    }
    const auto root = hdf5::File::open(path, hdf5::Access::read_only).root();
    const auto dataset = root.open_dataset("/a/b/values");
    EXPECT_EQ(dataset.shape(), (hdf5::Shape{2, 3, 4}));
    EXPECT_EQ(dataset.element_type(), element_type_of<T>());
    EXPECT_EQ(dataset.read_all<T>(), values);
    const auto as_double = dataset.template read_all<double>();
    for (std::size_t i = 0; i < values.size(); ++i)
        EXPECT_EQ(as_double[i], static_cast<double>(values[i]));
}

TEST_F(Hdf5Test, KeepsAllNumberTypes) {
    round_trip<float>(path_);
    round_trip<double>(path_);
    round_trip<std::uint8_t>(path_);
    round_trip<std::int16_t>(path_);
    round_trip<std::uint16_t>(path_);
    round_trip<std::int32_t>(path_);
    round_trip<std::uint32_t>(path_);
    round_trip<std::int64_t>(path_);
    round_trip<std::uint64_t>(path_);
}

TEST_F(Hdf5Test, ReadsAndWritesHyperslabs) {
    std::vector<float> all(4 * 5 * 6);
    std::iota(all.begin(), all.end(), 0.0F);
    for (const hdf5::Storage& storage :
         {hdf5::Storage{}, hdf5::Storage{{2, 2, 4}, 0, false}, hdf5::Storage{{3, 5, 2}, 4, true}}) {
        {
            auto root = hdf5::File::open(path_, hdf5::Access::create).root();
            auto dataset = root.create_dataset("d", hdf5::ElementType::float32, {4, 5, 6}, storage);
            // In two halves along the middle axis.
            for (const auto& [begin, count] : {std::pair{0U, 2U}, std::pair{2U, 3U}}) {
                std::vector<float> part;
                for (std::size_t i = 0; i < 4; ++i)
                    for (std::size_t j = begin; j < begin + count; ++j)
                        for (std::size_t k = 0; k < 6; ++k)
                            part.push_back(all[(i * 5 + j) * 6 + k]);
                dataset.write(hdf5::Selection{{0, begin, 0}, {4, count, 6}},
                              std::span<const float>(part));
            }
        }
        const auto dataset =
            hdf5::File::open(path_, hdf5::Access::read_only).root().open_dataset("d");
        EXPECT_EQ(dataset.read_all<float>(), all);
        std::vector<double> box(2 * 3 * 2);
        dataset.read(hdf5::Selection{{1, 2, 3}, {2, 3, 2}}, std::span<double>(box));
        for (std::size_t i = 0; i < 2; ++i)
            for (std::size_t j = 0; j < 3; ++j)
                for (std::size_t k = 0; k < 2; ++k)
                    EXPECT_EQ(box[(i * 3 + j) * 2 + k],
                              static_cast<double>(((i + 1) * 5 + j + 2) * 6 + k + 3));
        const hdf5::StorageInfo info = dataset.storage();
        EXPECT_EQ(info.chunk, storage.chunk);
        if (storage.gzip > 0)
            EXPECT_THAT(info.filters, ElementsAre("shuffle", "deflate"));
        else
            EXPECT_TRUE(info.filters.empty());
    }
}

/// Bytes this process has handed to write calls so far.
std::size_t bytes_written() {
    std::ifstream io("/proc/self/io");
    for (std::string key; io >> key;) {
        std::size_t value = 0;
        io >> value;
        if (key == "wchar:")
            return value;
    }
    return 0;
}

// Sixteen rows share a chunk: without room in the cache each chunk would be written sixteen times.
TEST_F(Hdf5Test, WritesEachChunkOnceWhenFilledRowByRow) {
    auto root = hdf5::File::open(path_, hdf5::Access::create).root();
    const std::size_t before = bytes_written();
    {
        auto dataset = root.create_dataset("d", hdf5::ElementType::float32, {32, 200, 300},
                                           hdf5::Storage{{16, 32, 64}, 0, false});
        const std::vector<float> row(200 * 300, 1.25F);
        for (std::size_t i = 0; i < 32; ++i)
            dataset.write(hdf5::Selection{{i, 0, 0}, {1, 200, 300}}, std::span<const float>(row));
    }
    EXPECT_GT(bytes_written() - before, 32 * 200 * 300 * sizeof(float));
    EXPECT_LT(bytes_written() - before, 2 * 32 * 200 * 300 * sizeof(float));
}

TEST_F(Hdf5Test, RefusesSelectionsThatDoNotFit) {
    auto root = hdf5::File::open(path_, hdf5::Access::create).root();
    auto dataset = root.create_dataset("d", hdf5::ElementType::float32, {4, 5});
    std::vector<float> values(6);
    const auto message = [&](auto&& work) {
        EXPECT_THAT(work, ThrowsMessage<Error>(HasSubstr("file.h5:/d")));
    };
    message([&] { dataset.read(hdf5::Selection{{0, 0}, {2, 4}}, std::span(values)); });
    message([&] { dataset.read(hdf5::Selection{{3, 0}, {2, 3}}, std::span(values)); });
    message([&] { dataset.read(hdf5::Selection{{0}, {6}}, std::span(values)); });
    message([&] { dataset.read(std::span(values)); });
}

TEST_F(Hdf5Test, KeepsTextsAndAttributes) {
    {
        auto root = hdf5::File::open(path_, hdf5::Access::create).root();
        root.write_string("text", "Å and µ");
        root.write_string("empty", "");
        root.write_strings("texts", {"one", "", "three"});
        root.set_attribute("name", "first");
        root.set_attribute("name", "second");
        root.set_attribute("axes", std::vector<std::string>{"y", "x"});
        root.set_attribute("number", 2.5);
        root.set_attribute("count", 7);
        root.set_attribute("numbers", std::vector<double>{1, 2, 3});
    }
    const auto root = hdf5::File::open(path_, hdf5::Access::read_only).root();
    EXPECT_EQ(root.open_dataset("text").read_string(), "Å and µ");
    EXPECT_EQ(root.open_dataset("empty").read_string(), "");
    EXPECT_THAT(root.open_dataset("texts").read_strings(), ElementsAre("one", "", "three"));
    EXPECT_EQ(root.string_attribute("name"), "second");
    EXPECT_THAT(root.strings_attribute("axes").value(), ElementsAre("y", "x"));
    EXPECT_EQ(root.number_attribute("number"), 2.5);
    EXPECT_EQ(root.number_attribute("count"), 7);
    EXPECT_THAT(root.numbers_attribute("numbers").value(), ElementsAre(1, 2, 3));
    EXPECT_EQ(root.string_attribute("missing"), std::nullopt);
    EXPECT_THAT(root.attribute_names(), ElementsAre("axes", "count", "name", "number", "numbers"));
    EXPECT_THAT([&] { (void)root.string_attribute("count"); },
                ThrowsMessage<Error>(HasSubstr("/@count: expected text")));
    EXPECT_THAT([&] { (void)root.number_attribute("name"); },
                ThrowsMessage<Error>(HasSubstr("/@name: expected a number")));
    EXPECT_THAT([&] { (void)root.string_attribute("axes"); },
                ThrowsMessage<Error>(HasSubstr("expected one text")));
}

// Texts as other programs write them: fixed length with blanks, with zeros and without room for
// one, variable length.
TEST_F(Hdf5Test, ReadsTextsOfOtherPrograms) {
    const hid_t file = H5Fcreate(path_.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    const hid_t scalar = H5Screate(H5S_SCALAR);
    const auto write = [&](const char* name, H5T_str_t padding, const char* bytes,
                           std::size_t length) {
        const hid_t type = H5Tcopy(H5T_C_S1);
        H5Tset_size(type, length);
        H5Tset_strpad(type, padding);
        const hid_t dataset =
            H5Dcreate2(file, name, type, scalar, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes);
        H5Dclose(dataset);
        H5Tclose(type);
    };
    write("blanks", H5T_STR_SPACEPAD, "deg   ", 6);
    write("full", H5T_STR_NULLPAD, "degree", 6);
    write("zero", H5T_STR_NULLTERM, "deg\0\0", 6);
    const hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, H5T_VARIABLE);
    const hid_t dataset =
        H5Dcreate2(file, "variable", type, scalar, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    const char* text = "variable";
    H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, &text);
    H5Dclose(dataset);
    H5Tclose(type);
    H5Sclose(scalar);
    H5Fclose(file);
    const auto root = hdf5::File::open(path_, hdf5::Access::read_only).root();
    EXPECT_EQ(root.open_dataset("blanks").read_string(), "deg");
    EXPECT_EQ(root.open_dataset("full").read_string(), "degree");
    EXPECT_EQ(root.open_dataset("zero").read_string(), "deg");
    EXPECT_EQ(root.open_dataset("variable").read_string(), "variable");
}

TEST_F(Hdf5Test, NamesTheNearestDatasets) {
    auto root = hdf5::File::open(path_, hdf5::Access::create).root();
    root.write_scalar("entry/data/intensity", 1.0);
    root.write_scalar("entry/data/two_theta", 1.0);
    EXPECT_THAT([&] { root.open_dataset("/entry/data/intensty"); },
                ThrowsMessage<Error>(AllOf(HasSubstr("file.h5: no dataset /entry/data/intensty"),
                                           HasSubstr("nearest: /entry/data/intensity"))));
    EXPECT_THAT([&] { root.open_dataset("entry/data"); },
                ThrowsMessage<Error>(HasSubstr("/entry/data is not a dataset")));
    EXPECT_THAT([&] { root.open_group("entri"); },
                ThrowsMessage<Error>(HasSubstr("no group /entri; nearest: /entry")));
    EXPECT_THAT([&] { root.open_group("entry/data/intensity"); },
                ThrowsMessage<Error>(HasSubstr("is not a group")));
    EXPECT_THAT([&] { root.create_group("entry/data"); },
                ThrowsMessage<Error>(HasSubstr("exists already")));
}

TEST_F(Hdf5Test, VisitsEachObjectOnceAndFollowsLinks) {
    auto root = hdf5::File::open(path_, hdf5::Access::create).root();
    root.write_scalar("a/x", 1.0);
    root.write_scalar("b/y", 2.0);
    root.create_soft_link("a/up", "/a");
    root.create_soft_link("b/link", "/a/x");
    root.create_soft_link("b/broken", "/nowhere");
    std::vector<std::string> seen;
    root.visit([&](const std::string& path, hdf5::Kind) { seen.push_back(path); });
    EXPECT_THAT(seen, ElementsAre("a", "a/x", "b", "b/y"));
    EXPECT_DOUBLE_EQ(root.open_dataset("b/link").read_scalar(), 1.0);
    EXPECT_THAT(root.open_group("b").dead_links(), testing::ElementsAre("broken"));
    EXPECT_TRUE(root.open_group("a").dead_links().empty());
    EXPECT_FALSE(root.has("b/broken"));
    EXPECT_FALSE(root.has("b/missing/deeper"));
    EXPECT_TRUE(root.has("a/up/x"));
    EXPECT_EQ(root.open_group("a").open_group("../b").path(), "/b");
    EXPECT_EQ(parent_of(root.open_dataset("a/x")).path(), "/a");
}

TEST_F(Hdf5Test, SaysWhatIsWrongWithAFile) {
    const auto opens = [&] { hdf5::File::open(path_, hdf5::Access::read_only); };
    EXPECT_THAT(opens, ThrowsMessage<Error>(HasSubstr("file.h5: no such file")));
    test::write_text(path_, "");
    EXPECT_THAT(opens, ThrowsMessage<Error>(HasSubstr("file.h5: is empty")));
    test::write_text(path_, std::string(5000, 'x'));
    EXPECT_THAT(opens, ThrowsMessage<Error>(HasSubstr("file.h5: is not an HDF5 file")));
    EXPECT_THAT([&] { hdf5::File::open(folder_.path(), hdf5::Access::read_only); },
                ThrowsMessage<Error>(HasSubstr("is a folder")));
    EXPECT_THAT([&] { hdf5::File::open(folder_ / "no/folder.h5", hdf5::Access::create); },
                ThrowsMessage<Error>(HasSubstr("cannot be created: No such file or directory")));
    EXPECT_THAT([&] { hdf5::File::open(path_, hdf5::Access::create_new); },
                ThrowsMessage<Error>(HasSubstr("cannot be created: File exists")));
}

TEST_F(Hdf5Test, FindsEveryTruncation) {
    {
        auto root = hdf5::File::open(path_, hdf5::Access::create).root();
        std::vector<float> values(20000, 1.5F);
        root.write_array("entry/data/plain", {values.size()}, std::span<const float>(values));
        root.write_array("entry/data/packed", {values.size()}, std::span<const float>(values),
                         hdf5::Storage{{1000}, 4, true});
        root.write_string("title", "truncated later");
    }
    const auto size = std::filesystem::file_size(path_);
    const std::string content = test::read_text(path_);
    for (const double part : {0.0001, 0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.9999}) {
        const auto kept = static_cast<std::size_t>(part * static_cast<double>(size));
        test::write_text(path_, content.substr(0, kept));
        EXPECT_THAT([&] { hdf5::File::open(path_, hdf5::Access::read_only); },
                    ThrowsMessage<Error>(HasSubstr("file.h5: is ")))
            << kept << " of " << size;
    }
    test::write_text(path_, content.substr(0, size - 1));
    EXPECT_THAT([&] { hdf5::File::open(path_, hdf5::Access::read_only); },
                ThrowsMessage<Error>(HasSubstr("is truncated")));
}

TEST_F(Hdf5Test, DamageInsideIsAnErrorThatNamesTheDataset) {
    {
        auto root = hdf5::File::open(path_, hdf5::Access::create).root();
        std::vector<float> values(20000);
        std::uint32_t state = 1;
        for (float& value : values)
            value = static_cast<float>(state = state * 1664525U + 1013904223U);
        root.write_array("packed", {values.size()}, std::span<const float>(values),
                         hdf5::Storage{{20000}, 4, true});
    }
    std::string content = test::read_text(path_);
    // Overwrites the middle of the compressed chunk, by far the largest part of the file.
    for (std::size_t i = content.size() / 2; i < content.size() / 2 + 64; ++i)
        content[i] = static_cast<char>(~content[i]);
    test::write_text(path_, content);
    const auto dataset =
        hdf5::File::open(path_, hdf5::Access::read_only).root().open_dataset("packed");
    EXPECT_THAT([&] { dataset.read_all<float>(); },
                ThrowsMessage<Error>(HasSubstr("file.h5:/packed: reading failed")));
}

TEST_F(Hdf5Test, NamesAFilterThatIsNotInstalled) {
    constexpr H5Z_filter_t private_filter =
        499; // of the range for tests: registered to no plugin that could be installed
    const H5Z_class2_t filter_class = {H5Z_CLASS_T_VERS,
                                       private_filter,
                                       1,
                                       1,
                                       "shelved codec",
                                       nullptr,
                                       nullptr,
                                       [](unsigned, std::size_t, const unsigned*, std::size_t n,
                                          std::size_t*, void**) { return n; }};
    H5Zregister(&filter_class);
    const hid_t file = H5Fcreate(path_.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    const hsize_t n = 8;
    const hid_t space = H5Screate_simple(1, &n, nullptr);
    const hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(properties, 1, &n);
    H5Pset_filter(properties, private_filter, 0, 0, nullptr);
    const hid_t dataset =
        H5Dcreate2(file, "d", H5T_IEEE_F32LE, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    const float values[8] = {};
    H5Dwrite(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
    H5Dclose(dataset);
    H5Pclose(properties);
    H5Sclose(space);
    H5Fclose(file);
    H5Zunregister(private_filter);
    const auto reopened = hdf5::File::open(path_, hdf5::Access::read_only).root().open_dataset("d");
    EXPECT_THAT([&] { reopened.read_all<float>(); },
                ThrowsMessage<Error>(AllOf(HasSubstr("/d: compressed with the HDF5 filter 499"),
                                           HasSubstr("shelved codec"))));
}

TEST_F(Hdf5Test, TextIsNotReadAsNumbers) {
    auto root = hdf5::File::open(path_, hdf5::Access::create).root();
    root.write_string("text", "12");
    root.write_scalar("number", 12.0);
    EXPECT_THAT([&] { (void)root.open_dataset("text").read_scalar(); },
                ThrowsMessage<Error>(HasSubstr("expected numbers, found string")));
    EXPECT_THAT([&] { (void)root.open_dataset("number").read_string(); },
                ThrowsMessage<Error>(HasSubstr("expected text, found float64")));
}

TEST_F(Hdf5Test, WritesNothingToAFileOpenForReading) {
    {
        auto root = hdf5::File::open(path_, hdf5::Access::create).root();
        root.write_array("d", {3}, std::span<const float>(std::vector<float>(3)));
    }
    auto root = hdf5::File::open(path_, hdf5::Access::read_only).root();
    auto dataset = root.open_dataset("d");
    EXPECT_THAT([&] { dataset.write(std::vector<float>(3)); },
                ThrowsMessage<Error>(HasSubstr("open for reading only")));
    EXPECT_THROW(root.create_group("g"), Error);
    EXPECT_THROW(root.set_attribute("a", 1.0), Error);
}

TEST_F(Hdf5Test, ReadsFromAReadOnlyFileSystem) {
    test::TinyFileSystem tiny(32 << 20);
    if (!tiny.available())
        GTEST_SKIP() << tiny.reason();
    hdf5::File::open(tiny.path() / "a.h5", hdf5::Access::create).root().write_scalar("x", 4.0);
    tiny.make_read_only();
    EXPECT_DOUBLE_EQ(hdf5::File::open(tiny.path() / "a.h5", hdf5::Access::read_only)
                         .root()
                         .open_dataset("x")
                         .read_scalar(),
                     4.0);
    EXPECT_THAT(
        [&] { hdf5::File::open(tiny.path() / "a.h5", hdf5::Access::read_write); },
        ThrowsMessage<Error>(HasSubstr("cannot be opened for writing: Read-only file system")));
}

TEST_F(Hdf5Test, ClosingTellsOfObjectsLeftOpen) {
    auto file = hdf5::File::open(path_, hdf5::Access::create);
    {
        const auto root = file.root();
        EXPECT_THAT([&] { file.close(); }, ThrowsMessage<Error>(HasSubstr("still open")));
    }
    file.close();
}

TEST_F(Hdf5Test, ObjectsOutliveTheirFileAndCanBeReplaced) {
    auto group = hdf5::File::open(path_, hdf5::Access::create).root().create_group("g");
    group.write_scalar("x", 1.0);
    // The old file is closed after its last object has gone; HDF5 refuses to empty a file that is
    // still open.
    group = hdf5::File::open(folder_ / "other.h5", hdf5::Access::create).root();
    auto again = hdf5::File::open(path_, hdf5::Access::create);
    EXPECT_TRUE(again.root().entries().empty());
}

} // namespace
} // namespace xrdct::hdf5
