// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "base/units.hpp"
#include "mpi/scan/sinogram_file.hpp"
#include "support/sample_scan.hpp"
#include "support/temporary_directory.hpp"
#include "support/test_data.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hdf5.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

namespace xrdct::mpi {
namespace {

using hdf5::Access;
using hdf5::ElementType;
using hdf5::File;
using hdf5::Group;
using hdf5::Storage;
using test::SampleScan;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

class SinogramFileTest : public testing::Test {
  protected:
    /// Writes the sample and lets `change` spoil it.
    void write(const SampleScan& scan, const std::function<void(Group&)>& change = nullptr) {
        scan.write(path_);
        if (change) {
            auto root = File::open(path_, Access::read_write).root();
            change(root);
        }
    }
    void expect_error(const std::string& a, const std::string& b,
                      const scan::SinogramSource& source = {}) {
        EXPECT_THAT([&] { scan::SinogramFile::open(path_, source); },
                    ThrowsMessage<Error>(AllOf(HasSubstr("scan.nxs"), HasSubstr(a), HasSubstr(b))));
    }
    static void remove(Group& root, const std::string& path) {
        H5Ldelete(root.id(), path.c_str(), H5P_DEFAULT);
    }
    static void replace(Group& root, const std::string& path, const std::vector<double>& values,
                        const char* units) {
        remove(root, path);
        auto dataset = root.write_array(path, {values.size()}, std::span<const double>(values));
        if (units != nullptr)
            dataset.set_attribute("units", units);
    }
    void expect_sample_values(const scan::SinogramFile& file, const SampleScan& scan,
                              mpi::BlockRange rotations, mpi::BlockRange channels,
                              double offset = 0,
                              scan::SinogramArray array = scan::SinogramArray::intensity) {
        std::vector<float> values(rotations.size() * scan.n_translation * channels.size());
        file.read_rows(rotations, channels, values, array);
        std::size_t i = 0;
        std::size_t wrong = 0;
        for (std::size_t r = rotations.begin; r < rotations.end; ++r)
            for (std::size_t t = 0; t < scan.n_translation; ++t)
                for (std::size_t k = channels.begin; k < channels.end; ++k)
                    wrong += values[i++] == static_cast<float>(SampleScan::value(r, t, k) + offset)
                                 ? 0U
                                 : 1U;
        EXPECT_EQ(wrong, 0U);
    }

    test::TemporaryDirectory folder_;
    std::filesystem::path path_ = folder_ / "scan.nxs";
};

/// A scan that ended early: HDF5 hands out zeros for chunks that were never written.
TEST_F(SinogramFileTest, RotationsThatWereNeverWrittenAreMissing) {
    SampleScan scan;
    scan.with_errors = false;
    write(scan, [&](Group& root) {
        remove(root, "entry/data/intensity");
        const hsize_t shape[] = {scan.n_rotation, scan.n_translation, scan.n_channel};
        const hsize_t chunk[] = {1, scan.n_translation, scan.n_channel};
        const hid_t space = H5Screate_simple(3, shape, nullptr),
                    list = H5Pcreate(H5P_DATASET_CREATE);
        H5Pset_chunk(list, 3, chunk);
        const hid_t data = H5Dcreate2(root.id(), "entry/data/intensity", H5T_NATIVE_INT32, space,
                                      H5P_DEFAULT, list, H5P_DEFAULT);
        H5Sclose(space);
        H5Pclose(list);
        H5Dclose(data);
        const auto values = scan.stored();
        root.open_dataset("entry/data/intensity")
            .write(hdf5::Selection{{0, 0, 0}, {3, scan.n_translation, scan.n_channel}},
                   std::span(values).first(3 * scan.n_translation * scan.n_channel));
    });
    const auto file = scan::SinogramFile::open(path_);
    EXPECT_THAT(
        file.metadata().notes,
        ElementsAre(AllOf(HasSubstr("[3:5, 0:7, 0:11] was never written"), HasSubstr("40 %"))));
    std::vector<float> values(5 * 7 * 11);
    file.read_rows({0, 5}, {0, 11}, values);
    EXPECT_EQ(values[2 * 7 * 11 + 3], static_cast<float>(SampleScan::value(2, 0, 3)));
    EXPECT_TRUE(std::isnan(values[3 * 7 * 11])) << values[3 * 7 * 11];
    EXPECT_TRUE(std::isnan(values.back())) << values.back();
}

TEST_F(SinogramFileTest, ReadsTheDescribedFormat) {
    const SampleScan scan;
    write(scan);
    const auto file = scan::SinogramFile::open(path_);
    const auto& meta = file.metadata();
    ASSERT_EQ(meta.n_rotation(), 5U);
    ASSERT_EQ(meta.n_translation(), 7U);
    ASSERT_EQ(meta.n_channel(), 11U);
    EXPECT_DOUBLE_EQ(meta.rotation[2], scan.rotation(2));
    EXPECT_DOUBLE_EQ(meta.translation[2], scan.translation(2));
    EXPECT_DOUBLE_EQ(meta.two_theta[2], scan.two_theta(2));
    EXPECT_DOUBLE_EQ(meta.wavelength, 0.12);
    EXPECT_DOUBLE_EQ(meta.distance, 1000);
    ASSERT_TRUE(meta.beam_extent);
    EXPECT_THAT(*meta.beam_extent, ElementsAre(0.02, 0.03));
    EXPECT_TRUE(meta.has_errors && meta.has_pixels && meta.has_transmission && meta.has_monitor);
    EXPECT_EQ(meta.title, "a sample scan");
    EXPECT_EQ(meta.sample_name, "cell 7");
    EXPECT_THAT(meta.origin.at("distance"),
                HasSubstr("scan.nxs:/entry/instrument/detector/distance [mm]"));
    EXPECT_THAT(meta.origin.at("two_theta"), HasSubstr("/entry/data/two_theta [deg]"));
    expect_sample_values(file, scan, {0, 5}, {0, 11});
    expect_sample_values(file, scan, {1, 4}, {3, 8});
    expect_sample_values(file, scan, {2, 3}, {10, 11});
    expect_sample_values(file, scan, {2, 2}, {0, 11});
    expect_sample_values(file, scan, {1, 4}, {3, 8}, 0.5, scan::SinogramArray::errors);
    EXPECT_DOUBLE_EQ(file.read_transmission()[2 * 7 + 3], 1 - 0.02 - 0.003);
    EXPECT_DOUBLE_EQ(file.read_monitor()[4 * 7 + 6], 1 - 0.04 - 0.006);
    EXPECT_DOUBLE_EQ(file.read_pixels()[4], 104);
}

TEST_F(SinogramFileTest, ReadsEveryAxisOrderTypeAndStorage) {
    const std::array<std::array<int, 3>, 6> orders = {
        {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}};
    const std::array<const char*, 3> names = {"rotation", "translation", "radial"};
    for (const auto& order : orders)
        for (const ElementType type :
             {ElementType::float32, ElementType::float64, ElementType::int32, ElementType::uint16})
            for (const Storage& storage :
                 {Storage{}, Storage{{2, 3, 4}, 0, false}, Storage{{3, 2, 5}, 3, true}}) {
                SampleScan scan;
                scan.order = order;
                scan.type = type;
                scan.storage = storage;
                write(scan);
                const auto file = scan::SinogramFile::open(path_);
                expect_sample_values(file, scan, {0, 5}, {0, 11});
                expect_sample_values(file, scan, {1, 3}, {4, 9});
                const auto stored = file.stored_order();
                ASSERT_EQ(stored.size(), 3U);
                for (std::size_t d = 0; d < 3; ++d)
                    EXPECT_EQ(stored[d], names[static_cast<std::size_t>(order[d])]);
                if (!storage.chunk.empty()) {
                    for (std::size_t d = 0; d < 3; ++d)
                        EXPECT_EQ(file.chunk()[static_cast<std::size_t>(order[d])],
                                  storage.chunk[d]);
                }
            }
}

// Large enough for several pieces of a turned read, and for tiles that are not filled.
TEST_F(SinogramFileTest, TurnsLargeArrays) {
    for (const std::array<int, 3>& order : {std::array{1, 0, 2}, {2, 1, 0}, {0, 2, 1}, {1, 2, 0}}) {
        SampleScan scan;
        scan.n_rotation = 301;
        scan.n_translation = 303;
        scan.n_channel = 190;
        scan.order = order;
        scan.with_errors = false;
        write(scan);
        expect_sample_values(scan::SinogramFile::open(path_), scan, {0, 301}, {0, 190});
    }
}

TEST_F(SinogramFileTest, ConvertsUnits) {
    const SampleScan scan;
    write(scan, [&](Group& root) {
        const auto rotation = scan.axis(5, [&](auto i) { return radians(scan.rotation(i)); });
        const auto translation = scan.axis(7, [&](auto i) { return 1000 * scan.translation(i); });
        replace(root, "/entry/data/rotation_angle", rotation, "rad");
        replace(root, "/entry/data/translation", translation, "µm");
        root.open_dataset("/entry/instrument/detector/distance").set_attribute("units", "m");
        root.open_dataset("/entry/instrument/beam/incident_wavelength")
            .set_attribute("units", "nm");
        root.open_dataset("/entry/instrument/beam/extent").set_attribute("units", "micrometer");
    });
    const auto file = scan::SinogramFile::open(path_);
    for (std::size_t i = 0; i < 5; ++i)
        EXPECT_NEAR(file.metadata().rotation[i], scan.rotation(i), 1e-12);
    for (std::size_t i = 0; i < 7; ++i)
        EXPECT_NEAR(file.metadata().translation[i], scan.translation(i), 1e-12);
    EXPECT_DOUBLE_EQ(file.metadata().distance, 1e6);
    EXPECT_DOUBLE_EQ(file.metadata().wavelength, 1.2);
    EXPECT_DOUBLE_EQ((*file.metadata().beam_extent)[1], 3e-5);
}

TEST_F(SinogramFileTest, TurnsScatteringVectorAndRadiusIntoTwoTheta) {
    const SampleScan scan;
    for (const auto& [units, per_angstrom] :
         {std::pair{"1/angstrom", 1.0}, {"nm^-1", 10.0}, {"Å⁻¹", 1.0}}) {
        write(scan, [&, units = units, per_angstrom = per_angstrom](Group& root) {
            replace(root, "/entry/data/two_theta",
                    scan.axis(11,
                              [&](auto i) {
                                  return per_angstrom * 4 * pi / 0.12 *
                                         std::sin(radians(scan.two_theta(i) / 2));
                              }),
                    units);
        });
        const auto file = scan::SinogramFile::open(path_);
        for (std::size_t i = 0; i < 11; ++i)
            EXPECT_NEAR(file.metadata().two_theta[i], scan.two_theta(i), 1e-12);
        EXPECT_THAT(file.metadata().origin.at("two_theta"),
                    HasSubstr("converted with the wavelength"));
    }
    write(scan, [&](Group& root) {
        replace(root, "/entry/data/two_theta",
                scan.axis(11, [&](auto i) { return std::tan(radians(scan.two_theta(i))); }), "m");
    });
    EXPECT_NEAR(scan::SinogramFile::open(path_).metadata().two_theta[7], scan.two_theta(7), 1e-12);
    scan::SinogramSource doubled;
    doubled.distance = 2000;
    EXPECT_NEAR(scan::SinogramFile::open(path_, doubled).metadata().two_theta[7],
                degrees(std::atan(std::tan(radians(scan.two_theta(7))) / 2)), 1e-12);
}

TEST_F(SinogramFileTest, TakesEnergyForWavelength) {
    write(SampleScan{}, [&](Group& root) {
        remove(root, "/entry/instrument/beam/incident_wavelength");
        root.write_scalar("/entry/instrument/beam/incident_energy", 103500.0)
            .set_attribute("units", "eV");
    });
    EXPECT_NEAR(scan::SinogramFile::open(path_).metadata().wavelength, 0.119791, 1e-6);
    scan::SinogramSource source;
    source.energy = 73.3;
    const auto meta = scan::SinogramFile::open(path_, source).metadata();
    EXPECT_NEAR(meta.wavelength, 12.398419843 / 73.3, 1e-9);
    EXPECT_EQ(meta.origin.at("wavelength"), "set by the caller");
    write(SampleScan{}, [&](Group& root) {
        root.write_scalar("/entry/instrument/beam/incident_energy", 90.0)
            .set_attribute("units", "keV");
    });
    expect_error("contradicts", "incident_energy");
}

TEST_F(SinogramFileTest, KnowsWhatTheIntegrationTookOut) {
    write({});
    EXPECT_FALSE(scan::SinogramFile::open(path_).metadata().solid_angle_corrected.has_value());
    EXPECT_FALSE(scan::SinogramFile::open(path_).metadata().polarization_corrected.has_value());
    write({}, [](Group& root) {
        auto data = root.open_group("entry/data");
        data.set_attribute("solid_angle_corrected", 0);
        data.set_attribute("polarization_corrected", 1);
    });
    EXPECT_EQ(scan::SinogramFile::open(path_).metadata().solid_angle_corrected, false);
    EXPECT_EQ(scan::SinogramFile::open(path_).metadata().polarization_corrected, true);
}

TEST_F(SinogramFileTest, TheCallerWinsOverTheFile) {
    write(SampleScan{});
    scan::SinogramSource source;
    source.wavelength = 0.2;
    source.distance = 700;
    source.beam_extent = {0.1, 0.2};
    source.rotation_values = scan::AxisValues{0, 180, true};
    source.translation_values = scan::AxisValues{0, 7000, false};
    source.translation_units = "um";
    const auto file = scan::SinogramFile::open(path_, source);
    const auto& meta = file.metadata();
    EXPECT_DOUBLE_EQ(meta.wavelength, 0.2);
    EXPECT_DOUBLE_EQ(meta.distance, 700);
    EXPECT_DOUBLE_EQ((*meta.beam_extent)[0], 0.1);
    EXPECT_THAT(meta.rotation, ElementsAre(0, 45, 90, 135, 180));
    EXPECT_DOUBLE_EQ(meta.translation[1], 1);
    for (const char* name : {"wavelength", "distance", "beam_extent"})
        EXPECT_EQ(meta.origin.at(name), "set by the caller");
    EXPECT_EQ(meta.origin.at("rotation"), "set by the caller [deg, assumed]");
    EXPECT_EQ(meta.origin.at("translation"), "set by the caller [um]");
}

// The layout of published data: [translation, rotation, channel], any names, no attributes at all.
TEST_F(SinogramFileTest, ReadsPlainArraysByName) {
    SampleScan scan;
    scan.order = {1, 0, 2};
    {
        auto root = File::open(path_, Access::create).root();
        const auto values = scan.stored();
        root.create_dataset("sinograms", ElementType::float32, scan.stored_shape())
            .write(std::span<const double>(values));
        root.write_array("q", {11}, std::span<const double>(scan.axis(11, [&](auto i) {
                             return 4 * pi / 0.12 * std::sin(radians(scan.two_theta(i) / 2));
                         })));
        root.write_array("angles", {5}, std::span<const double>(scan.axis(5, [&](auto i) {
                             return scan.rotation(i);
                         })));
        std::vector<double> plane(35);
        for (std::size_t i = 0; i < 35; ++i)
            plane[i] = static_cast<double>(i);
        root.write_array("i0", {7, 5}, std::span<const double>(plane));
    }
    scan::SinogramSource source;
    expect_error("no NXdata", "name the dataset", source);
    source.intensity = "sinograms";
    source.rotation = "angles";
    source.radial = "q";
    source.translation_values = scan::AxisValues{-0.3, 0.3, true};
    source.radial_units = "1/angstrom";
    source.wavelength = 0.12;
    source.distance = 700;
    source.transmission = "i0";
    const auto file = scan::SinogramFile::open(path_, source);
    EXPECT_THAT(file.stored_order(), ElementsAre("translation", "rotation", "radial"));
    EXPECT_NEAR(file.metadata().two_theta[3], scan.two_theta(3), 1e-12);
    EXPECT_NEAR(file.metadata().translation[3], scan.translation(3), 1e-12);
    expect_sample_values(file, scan, {0, 5}, {0, 11});
    EXPECT_DOUBLE_EQ(file.read_transmission()[1 * 7 + 3], 3 * 5 + 1);

    scan::SinogramSource no_units = source;
    no_units.radial_units.clear();
    expect_error("/q: the radial axis has no @units", "1/nm", no_units);
    scan::SinogramSource typo = source;
    typo.intensity = "sinogram";
    expect_error("no dataset /sinogram", "nearest: /sinograms", typo);
    scan::SinogramSource unknown = source;
    unknown.rotation.clear();
    unknown.rotation_values = scan::AxisValues{0, 180, false};
    expect_error("the order of its axes is not known", "set the axis order", unknown);
    unknown.axis_order = {"translation", "rotation", "radial"};
    expect_sample_values(scan::SinogramFile::open(path_, unknown), scan, {0, 5}, {0, 11});
    unknown.axis_order = {"translation", "radial", "rotation"};
    expect_error("/q: has 11 values", "length 5", unknown);
    unknown.axis_order = {"translation", "rotation"};
    expect_error("has 3 axes", "names 2", unknown);
}

TEST_F(SinogramFileTest, ReadsASingleChannelOnlyWhenAllowed) {
    std::vector<double> plane(5 * 7);
    for (std::size_t r = 0; r < 5; ++r)
        for (std::size_t t = 0; t < 7; ++t)
            plane[r * 7 + t] = SampleScan::value(r, t, 0);
    {
        auto root = File::open(path_, Access::create).root();
        root.write_array("POX", {5, 7}, std::span<const double>(plane));
    }
    scan::SinogramSource source;
    source.intensity = "POX";
    source.axis_order = {"rotation", "translation"};
    source.rotation_values = scan::AxisValues{0, 180, false};
    source.translation_values = scan::AxisValues{-3, 3, true};
    source.require_wavelength = false;
    source.require_distance = false;
    expect_error("found no radial axis", "[5, 7]", source);
    source.allow_single_channel = true;
    const auto file = scan::SinogramFile::open(path_, source);
    EXPECT_EQ(file.metadata().n_channel(), 1U);
    EXPECT_TRUE(file.metadata().two_theta.empty());
    EXPECT_TRUE(std::isnan(file.metadata().wavelength));
    SampleScan scan;
    scan.n_channel = 1;
    expect_sample_values(file, scan, {0, 5}, {0, 1});
    expect_sample_values(file, scan, {1, 3}, {0, 1});
    source.axis_order = {"translation", "rotation"};
    const auto turned = scan::SinogramFile::open(path_, source);
    std::vector<float> values(35);
    turned.read_rows({0, 7}, {0, 1}, values);
    for (std::size_t r = 0; r < 5; ++r)
        for (std::size_t t = 0; t < 7; ++t)
            EXPECT_EQ(values[t * 5 + r], plane[r * 7 + t]);
}

TEST_F(SinogramFileTest, PicksOneSliceOfAStack) {
    const SampleScan scan;
    const auto one = scan.stored();
    const auto two = scan.stored(0.25);
    std::vector<double> both(one);
    both.insert(both.end(), two.begin(), two.end());
    const auto write_stack = [&](std::size_t n) {
        write(scan, [&](Group& root) {
            auto data = root.open_group("/entry/data");
            remove(root, "/entry/data/intensity");
            remove(root, "/entry/data/intensity_errors");
            data.set_attribute("axes", std::vector<std::string>{"height", "rotation_angle",
                                                                "translation", "two_theta"});
            data.create_dataset("intensity", ElementType::float32, {n, 5, 7, 11})
                .write(std::span<const double>(both.data(), n * one.size()));
            replace(root, "/entry/data/height",
                    n == 1 ? std::vector<double>{3} : std::vector<double>{3, 4}, "um");
        });
    };
    write_stack(2);
    expect_error("holds 2 slices", "choose one");
    scan::SinogramSource source;
    source.stack_index = 1;
    {
        const auto file = scan::SinogramFile::open(path_, source);
        expect_sample_values(file, scan, {1, 5}, {2, 11}, 0.25);
        EXPECT_DOUBLE_EQ(file.metadata().stack_value.value(), 0.004);
    }
    source.stack_index = 2;
    expect_error("holds 2 slices", "no index 2", source);
    write_stack(1);
    expect_sample_values(scan::SinogramFile::open(path_), scan, {0, 5}, {0, 11});
}

TEST_F(SinogramFileTest, KeepsNaNAndRefusesInfinity) {
    const SampleScan scan;
    const auto spoil = [&](double value) {
        write(scan, [&](Group& root) {
            root.open_dataset("/entry/data/intensity")
                .write(hdf5::Selection{{3, 2, 6}, {1, 1, 1}}, std::span<const double>(&value, 1));
        });
    };
    spoil(std::nan(""));
    std::vector<float> values(5 * 7 * 11);
    scan::SinogramFile::open(path_).read_rows({0, 5}, {0, 11}, values);
    EXPECT_EQ(std::count_if(values.begin(), values.end(), [](float v) { return std::isnan(v); }),
              1);
    EXPECT_TRUE(std::isnan(values[(3 * 7 + 2) * 11 + 6]));
    for (const double sign : {1.0, -1.0}) {
        spoil(sign * std::numeric_limits<double>::infinity());
        const auto file = scan::SinogramFile::open(path_);
        EXPECT_THAT(
            [&] {
                file.read_rows({1, 5}, {2, 11}, std::span(values).first(4 * 7 * 9));
            },
            ThrowsMessage<Error>(
                HasSubstr("intensity: infinite value at rotation 3, translation 2, channel 6")));
    }
}

TEST_F(SinogramFileTest, RefusesRangesOutsideTheScan) {
    write(SampleScan{});
    const auto file = scan::SinogramFile::open(path_);
    std::vector<float> values(7 * 11);
    EXPECT_THROW(file.read_rows({5, 6}, {0, 11}, values), Error);
    EXPECT_THROW(file.read_rows({0, 1}, {1, 12}, values), Error);
    EXPECT_THROW(file.read_rows({0, 2}, {0, 11}, values), Error);
}

TEST_F(SinogramFileTest, NamesWhatIsWrongWithAnAxis) {
    const SampleScan scan;
    const double infinity = std::numeric_limits<double>::infinity();
    const std::string at = "/entry/data/";
    write(scan, [&](Group& root) {
        replace(root, at + "rotation_angle", {0, 10, 10, 20, 30}, "deg");
    });
    expect_error("rotation_angle: the rotation axis is not monotonic", "index 2");
    write(scan, [&](Group& root) {
        replace(root, at + "translation", {0, 1, 2, 3, 2.5, 5, 6}, "mm");
    });
    expect_error("translation: the translation axis is not monotonic", "index 4");
    write(scan, [&](Group& root) {
        replace(root, at + "rotation_angle", {0, std::nan(""), 2, 3, 4}, "deg");
    });
    expect_error("rotation_angle: value 1", "not a finite number");
    write(scan, [&](Group& root) {
        replace(root, at + "rotation_angle", {0, 1, 2, 3, infinity}, "deg");
    });
    expect_error("rotation_angle: value 4", "not a finite number");
    write(scan, [&](Group& root) { replace(root, at + "rotation_angle", {0, 1, 2, 3}, "deg"); });
    expect_error("rotation_angle: has 4 values", "length 5");
    write(scan, [&](Group& root) {
        replace(root, at + "rotation_angle", {0, 1, 2, 3, 4}, "furlong");
    });
    expect_error("rotation_angle", "\"furlong\" is not one of the accepted ones: deg");
    write(scan, [&](Group& root) {
        replace(root, at + "translation", {0, 1, 2, 3, 4, 5, 6}, "deg");
    });
    expect_error("translation", "\"deg\" is not one of the accepted ones: mm");
    write(scan, [&](Group& root) {
        replace(root, at + "two_theta",
                scan.axis(11, [](auto i) { return 20.0 - static_cast<double>(i); }), "deg");
    });
    expect_error("two_theta", "must rise");
    write(scan, [&](Group& root) {
        replace(root, at + "two_theta",
                scan.axis(11, [](auto i) { return 20.0 * static_cast<double>(i); }), "deg");
    });
    expect_error("two_theta", "reaches 200 deg");
    write(scan, [&](Group& root) {
        replace(root, at + "two_theta",
                scan.axis(11, [](auto i) { return 20.0 * static_cast<double>(i); }), "1/angstrom");
    });
    expect_error("two_theta: 120 1/angstrom cannot be reached", "check the units");
    write(scan, [&](Group& root) { remove(root, at + "two_theta"); });
    expect_error("no dataset /entry/data/two_theta", "nearest");
    write(scan, [&](Group& root) {
        remove(root, at + "rotation_angle");
        root.write_strings(at + "rotation_angle", {"a", "b", "c", "d", "e"});
    });
    expect_error("rotation_angle: expected the numbers of an axis", "string");
    write(scan, [&](Group& root) {
        root.open_group("/entry/data")
            .set_attribute("axes", std::vector<std::string>{"rotation_angle", "translation"});
    });
    expect_error("@axes names 2 axes", "3");
    write(scan, [&](Group& root) {
        root.open_group("/entry/data")
            .set_attribute(
                "axes", std::vector<std::string>{"rotation_angle", "rotation_angle", "two_theta"});
    });
    expect_error("two rotation axes", "expected the axes");
    write(scan, [&](Group& root) {
        root.open_group("/entry/data")
            .set_attribute("axes",
                           std::vector<std::string>{"rotation_angle", "translation", "mystery"});
    });
    expect_error("mystery", "set the axis order");
}

TEST_F(SinogramFileTest, AcceptsFallingRotationAndTranslation) {
    write(SampleScan{}, [&](Group& root) {
        replace(root, "/entry/data/rotation_angle", {4, 3, 2, 1, 0}, "deg");
        replace(root, "/entry/data/translation", {6, 5, 4, 3, 2, 1, 0}, "mm");
    });
    EXPECT_DOUBLE_EQ(scan::SinogramFile::open(path_).metadata().translation.front(), 6);
}

TEST_F(SinogramFileTest, NamesWhatIsWrongWithTheInstrument) {
    const SampleScan scan;
    const auto distance = [&](double value, const char* units) {
        write(scan, [&](Group& root) {
            remove(root, "/entry/instrument/detector/distance");
            auto dataset = root.write_scalar("/entry/instrument/detector/distance", value);
            if (units != nullptr)
                dataset.set_attribute("units", units);
        });
    };
    distance(-1000, "mm");
    expect_error("/entry/instrument/detector/distance", "must be positive, found -1000");
    distance(0, "mm");
    expect_error("/entry/instrument/detector/distance", "must be positive");
    distance(std::nan(""), "mm");
    expect_error("/entry/instrument/detector/distance", "must be positive");
    distance(1, "parsec");
    expect_error("distance", "\"parsec\" is not one of the accepted ones");
    distance(800, nullptr);
    EXPECT_THAT(scan::SinogramFile::open(path_).metadata().origin.at("distance"),
                HasSubstr("[mm, assumed]"));
    scan::SinogramSource negative;
    negative.distance = -5;
    EXPECT_THAT(
        [&] { scan::SinogramFile::open(path_, negative); },
        ThrowsMessage<Error>(HasSubstr("set by the caller: the distance must be positive")));

    write(scan, [&](Group& root) { remove(root, "/entry/instrument/detector/distance"); });
    expect_error("no distance", "none set by the caller");
    write(scan, [&](Group& root) { remove(root, "/entry/instrument/beam/incident_wavelength"); });
    expect_error("no wavelength", "none set by the caller");
    scan::SinogramSource relaxed;
    relaxed.require_wavelength = false;
    EXPECT_TRUE(std::isnan(scan::SinogramFile::open(path_, relaxed).metadata().wavelength));
    write(scan, [&](Group& root) {
        remove(root, "/entry/instrument/beam/incident_wavelength");
        root.open_dataset("/entry/data/two_theta").set_attribute("units", "1/nm");
    });
    expect_error("two_theta", "wavelength, which is neither in the file", relaxed);
}

TEST_F(SinogramFileTest, NamesWhatIsWrongWithTheArrays) {
    const SampleScan scan;
    const auto reshape = [&](const std::string& path, const hdf5::Shape& shape) {
        write(scan, [&](Group& root) {
            remove(root, path);
            root.create_dataset(path, ElementType::float32, shape);
        });
    };
    const std::string intensity = "/entry/data/intensity";
    reshape(intensity, {5, 77});
    expect_error("@axes names 3 axes", "the data have 2");
    reshape(intensity, {5});
    expect_error(intensity, "found 1 axes");
    reshape(intensity, {5, 7, 11, 1, 1});
    expect_error(intensity, "found 5 axes");
    reshape(intensity, {0, 7, 11});
    expect_error("no data", "rotation axis has length 0");
    reshape(intensity, {5, 0, 11});
    expect_error("no data", "translation axis has length 0");
    reshape(intensity, {5, 7, 0});
    expect_error("no data", "radial axis has length 0");
    reshape("/entry/data/intensity_errors", {5, 7, 10});
    expect_error("intensity_errors: shape [5, 7, 10]", "[5, 7, 11]");
    reshape("/entry/data/transmission", {5, 8});
    expect_error("transmission: expected 5 rotations and 7 translations", "[5, 8]");
    reshape("/entry/data/pixels", {12});
    expect_error("pixels", "11 channels");
    write(scan, [&](Group& root) {
        remove(root, intensity);
        root.write_string(intensity, "counts");
    });
    expect_error("expected intensities", "string");
    write(scan, [&](Group& root) {
        remove(root, intensity);
        root.write_array("/entry/data/counts", {3}, std::span<const float>(std::vector<float>(3)));
    });
    expect_error("no NXdata", "name the dataset");
    write(scan, [&](Group& root) {
        const double negative = -1;
        root.open_dataset("/entry/data/pixels")
            .write(hdf5::Selection{{2}, {1}}, std::span<const double>(&negative, 1));
    });
    EXPECT_THAT([&] { (void)scan::SinogramFile::open(path_).read_pixels(); },
                ThrowsMessage<Error>(HasSubstr("pixels: the number of pixels of channel 2 is -1")));
}

TEST_F(SinogramFileTest, ReadsTransmissionInEitherOrder) {
    for (const std::size_t n_translation : {std::size_t{7}, std::size_t{5}})
        for (const bool turned : {false, true}) {
            SampleScan scan;
            scan.n_translation = n_translation;
            scan.order = {1, 0, 2};
            write(scan, [&](Group& root) {
                if (!turned)
                    return;
                std::vector<double> plane;
                for (std::size_t t = 0; t < n_translation; ++t)
                    for (std::size_t r = 0; r < 5; ++r)
                        plane.push_back(1 - 0.01 * static_cast<double>(r) -
                                        0.001 * static_cast<double>(t));
                remove(root, "/entry/data/transmission");
                root.write_array("/entry/data/transmission", {n_translation, 5},
                                 std::span<const double>(plane))
                    .set_attribute("axes",
                                   std::vector<std::string>{"translation", "rotation_angle"});
            });
            const auto file = scan::SinogramFile::open(path_);
            EXPECT_DOUBLE_EQ(file.read_transmission()[3 * n_translation + 1], 1 - 0.03 - 0.001);
        }
}

TEST_F(SinogramFileTest, EveryTruncationIsAnError) {
    SampleScan scan;
    scan.storage = {{2, 3, 4}, 4, true};
    write(scan);
    const std::string content = test::read_text(path_);
    for (std::size_t cut = 1; cut < content.size(); cut += content.size() / 40) {
        test::write_text(path_, content.substr(0, content.size() - cut));
        expect_error("", "");
    }
}

TEST_F(SinogramFileTest, ReadsTheMeasuredSingleChannelSinograms) {
    const auto path = test::measured_data("sinograms/measured_sinograms.h5");
    if (!path)
        GTEST_SKIP() << test::measured_data_reason("sinograms/measured_sinograms.h5");
    for (const char* name : {"POX", "MnNaWSiO2"}) {
        scan::SinogramSource source;
        source.intensity = name;
        source.axis_order = {"rotation", "translation"};
        source.rotation_values = scan::AxisValues{0, 180, true};
        source.translation_values = scan::AxisValues{-1, 1, true};
        source.allow_single_channel = true;
        source.require_wavelength = source.require_distance = false;
        const auto file = scan::SinogramFile::open(*path, source);
        const auto& meta = file.metadata();
        std::vector<float> values(meta.n_rotation() * meta.n_translation());
        file.read_rows({0, meta.n_rotation()}, {0, 1}, values);
        EXPECT_GT(*std::max_element(values.begin(), values.end()), 0);
    }
}

} // namespace
} // namespace xrdct::mpi
