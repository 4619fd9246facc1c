// SPDX-License-Identifier: BSD-3-Clause
#include "tomography/depth_projector.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <ostream>
#include <random>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.hpp"
#include "support/discs.hpp"
#include "tomography/strip_projector.hpp"

namespace xrdct {
namespace {

using testing::HasSubstr;

constexpr std::size_t lanes = 8;

struct Case {
    const char* name;
    double range;
    std::size_t translations, n;
    double step, pixel, beam, offset;
    int rotation_sense, translation_sense;
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
    return out << c.name;
}

tomography::ScanGeometry geometry_of(const Case& c, std::size_t rotations = 7) {
    tomography::ScanGeometry g = test::scan(rotations, c.range, c.translations, c.step);
    for (std::size_t i = 1; i < g.rotation.size(); ++i)
        g.rotation[i] += 3 * std::sin(3.0 * static_cast<double>(i));
    g.beam_width = c.beam;
    g.axis_offset = c.offset;
    g.rotation_sense = c.rotation_sense;
    g.translation_sense = c.translation_sense;
    return g;
}

/// Some pixels carry no block at all and are left out of the list; the list is not in order.
std::vector<tomography::VoxelBlocks> random_voxels(std::size_t n, std::size_t blocks,
                                                   unsigned seed) {
    std::mt19937 random(seed);
    std::vector<tomography::VoxelBlocks> voxels;
    for (std::size_t i = 0; i < n * n; ++i) {
        const std::uint32_t mask = random() & ((std::uint32_t{1} << blocks) - 1);
        if (mask)
            voxels.push_back({static_cast<std::uint32_t>(i), mask});
    }
    std::shuffle(voxels.begin(), voxels.end(), random);
    return voxels;
}

std::vector<float> random_data(std::size_t size, unsigned seed) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<float> uniform(-1, 1);
    std::vector<float> data(size);
    for (float& x : data)
        x = uniform(random);
    return data;
}

class DepthProjectorCases : public testing::TestWithParam<Case> {};

/// First of the eight coefficients of a block, ray and layer in the buffer of a rotation.
std::size_t place(const tomography::DepthProjector& projector, std::size_t block, std::size_t ray,
                  std::size_t layer) {
    return block * projector.plane_size() + (projector.padding() + ray) * projector.ray_size() +
           layer * lanes;
}

TEST_P(DepthProjectorCases, SummedOverTheLayersItIsTheStripProjector) {
    const Case c = GetParam();
    const tomography::ScanGeometry g = geometry_of(c);
    const tomography::ImageGrid grid{c.n, c.pixel};
    const tomography::StripProjector strips(g, grid, {.field_of_view_only = false});
    constexpr std::size_t blocks = 3;
    const auto layers =
        tomography::DepthLayers::across(0.4 * static_cast<double>(c.n) * c.pixel, 5);
    const tomography::DepthProjector projector(g, grid, random_voxels(c.n, blocks, 1), blocks,
                                               layers);
    ASSERT_EQ(projector.plane_size(),
              (c.translations + 2 * projector.padding()) * projector.ray_size());
    ASSERT_GE(projector.ray_size(), 5 * lanes);
    ASSERT_EQ(projector.buffer_size(), blocks * projector.plane_size());
    ASSERT_EQ(projector.rotations(), g.rotation.size());
    ASSERT_EQ(projector.translations(), c.translations);

    const auto q = random_data(projector.coefficient_count(), 2);
    std::vector<float> buffer(projector.buffer_size(), 99);
    for (std::size_t i = 0; i < g.rotation.size(); ++i) {
        projector.forward(i, q, buffer);
        double worst = 0, largest = 0;
        for (std::size_t j = 0; j < c.translations; ++j) {
            std::vector<double> expected(blocks * lanes, 0.0), found(blocks * lanes, 0.0);
            for (std::size_t v = 0; v < projector.voxels().size(); ++v) {
                const auto& voxel = projector.voxels()[v];
                const double w = strips.weight(i, j, voxel.pixel / grid.n, voxel.pixel % grid.n);
                for (std::size_t b = 0; b < blocks; ++b) {
                    if (!(voxel.blocks >> b & 1))
                        continue;
                    const float* from = q.data() + projector.offset(v, b);
                    for (std::size_t k = 0; k < lanes; ++k)
                        expected[b * lanes + k] += w * *from++;
                }
            }
            for (std::size_t b = 0; b < blocks; ++b)
                for (std::size_t l = 0; l < layers.count; ++l)
                    for (std::size_t k = 0; k < lanes; ++k)
                        found[b * lanes + k] += buffer[place(projector, b, j, l) + k];
            for (std::size_t k = 0; k < blocks * lanes; ++k) {
                worst = std::max(worst, std::abs(found[k] - expected[k]));
                largest = std::max(largest, std::abs(expected[k]));
            }
        }
        EXPECT_GT(largest, 0) << "rotation " << i;
        EXPECT_LT(worst, 1e-5 * largest) << "rotation " << i;
    }
}

TEST_P(DepthProjectorCases, IsItsOwnAdjoint) {
    const Case c = GetParam();
    const tomography::ScanGeometry g = geometry_of(c);
    constexpr std::size_t blocks = 4;
    const tomography::DepthProjector projector(
        g, {c.n, c.pixel}, random_voxels(c.n, blocks, 3), blocks,
        tomography::DepthLayers::across(0.4 * static_cast<double>(c.n) * c.pixel, 6));
    const auto v = random_data(projector.coefficient_count(), 4);
    std::vector<float> buffer(projector.buffer_size());
    double forward = 0, backward = 0, size = 0;
    std::vector<float> back(projector.coefficient_count(), 0.0F);
    for (std::size_t i = 0; i < projector.rotations(); ++i) {
        auto p = random_data(buffer.size(), static_cast<unsigned>(10 + i));
        const std::size_t beside = projector.padding() * projector.ray_size();
        for (std::size_t b = 0; b < blocks; ++b) {
            const auto plane = p.begin() + static_cast<std::ptrdiff_t>(b * projector.plane_size());
            const auto end = plane + static_cast<std::ptrdiff_t>(projector.plane_size());
            std::fill_n(plane, beside, 0.0F);
            std::fill(end - static_cast<std::ptrdiff_t>(beside), end, 0.0F);
        }
        projector.forward(i, v, buffer);
        for (std::size_t k = 0; k < buffer.size(); ++k) {
            forward += static_cast<double>(buffer[k]) * p[k];
            size += std::abs(static_cast<double>(buffer[k]) * p[k]);
        }
        projector.adjoint(i, p, back); // adds up
    }
    for (std::size_t k = 0; k < v.size(); ++k)
        backward += static_cast<double>(v[k]) * back[k];
    EXPECT_GT(std::abs(forward), 1e-4 * size);
    EXPECT_NEAR(forward, backward, 1e-5 * std::abs(forward) + 1e-7 * size);
}

TEST_P(DepthProjectorCases, SumsOfWeightedSquares) {
    const Case c = GetParam();
    const tomography::ScanGeometry g = geometry_of(c);
    const tomography::ImageGrid grid{c.n, c.pixel};
    const tomography::StripProjector strips(g, grid, {.field_of_view_only = false});
    const tomography::DepthProjector projector(
        g, grid, random_voxels(c.n, 2, 5), 2,
        tomography::DepthLayers::across(0.4 * static_cast<double>(c.n) * c.pixel, 4));
    std::vector<float> weight = random_data(g.rotation.size() * c.translations, 6);
    for (float& w : weight)
        w = w < -0.5F ? 0.0F : w + 1;
    const auto sums = projector.weighted_squares(weight);
    ASSERT_EQ(sums.size(), projector.voxels().size());
    double largest = 0;
    std::vector<double> expected(sums.size(), 0.0);
    for (std::size_t v = 0; v < sums.size(); ++v) {
        const auto pixel = projector.voxels()[v].pixel;
        for (std::size_t i = 0; i < g.rotation.size(); ++i)
            for (std::size_t j = 0; j < c.translations; ++j) {
                const double w = strips.weight(i, j, pixel / grid.n, pixel % grid.n);
                expected[v] += w * w * weight[i * c.translations + j];
            }
        largest = std::max(largest, expected[v]);
    }
    for (std::size_t v = 0; v < sums.size(); ++v)
        EXPECT_NEAR(sums[v], expected[v], 1e-5 * largest) << v;
}

INSTANTIATE_TEST_SUITE_P(
    All, DepthProjectorCases,
    testing::Values(Case{"half turn", 180, 14, 12, 0.1, 0.1, 0.1, 0, 1, 1},
                    Case{"full turn", 360, 14, 12, 0.1, 0.1, 0.1, 0, 1, 1},
                    Case{"rotation reversed", 180, 14, 12, 0.1, 0.1, 0.1, 0.03, -1, 1},
                    Case{"translation reversed", 360, 14, 12, 0.1, 0.1, 0.1, 0.03, 1, -1},
                    Case{"both reversed", 180, 14, 12, 0.1, 0.1, 0, -0.12, -1, -1},
                    Case{"axis off centre", 360, 15, 12, 0.1, 0.1, 0.1, 0.137, 1, 1},
                    Case{"thin beam", 180, 14, 12, 0.1, 0.1, 0, 0.02, 1, 1},
                    Case{"wide beam", 180, 14, 12, 0.1, 0.1, 0.27, 0, 1, 1},
                    Case{"coarse pixels", 180, 20, 7, 0.1, 0.23, 0.1, 0.01, 1, 1},
                    Case{"fine pixels", 180, 8, 17, 0.2, 0.07, 0, 0.01, 1, 1},
                    Case{"beyond the axis", 360, 6, 13, 0.1, 0.1, 0.1, 0.05, 1, 1},
                    Case{"more than a tile", 180, 30, 35, 0.1, 0.08, 0.1, 0, 1, 1}),
    [](const auto& info) {
        std::string name = info.param.name;
        std::replace(name.begin(), name.end(), ' ', '_');
        return name;
    });

/// Sum over the rays and first moment in depth of a voxel's first lane.
struct Moments {
    double sum = 0, depth = 0;
    std::size_t touched = 0;
};
Moments moments(const tomography::DepthProjector& projector, std::size_t rotation) {
    std::vector<float> q(projector.coefficient_count(), 0.0F), buffer(projector.buffer_size());
    q[0] = 1;
    projector.forward(rotation, q, buffer);
    Moments m;
    for (std::size_t l = 0; l < projector.layers().count; ++l) {
        double layer = 0;
        for (std::size_t j = 0; j < projector.translations(); ++j)
            layer += buffer[place(projector, 0, j, l)];
        m.sum += layer;
        m.depth += layer * projector.layers().depth(l);
        m.touched += layer != 0 ? 1 : 0;
    }
    m.depth /= m.sum;
    return m;
}

TEST(DepthProjector, PutsAVoxelAtItsDepth) {
    for (const int rotation_sense : {1, -1})
        for (const int translation_sense : {1, -1}) {
            tomography::ScanGeometry g = test::scan(9, 360, 41, 0.1);
            g.beam_width = 0.1;
            g.axis_offset = 0.04;
            g.rotation_sense = rotation_sense;
            g.translation_sense = translation_sense;
            const tomography::ImageGrid grid{20, 0.1};
            const std::size_t iy = 16, ix = 3;
            const tomography::DepthProjector projector(
                g, grid, std::vector<tomography::VoxelBlocks>{{iy * 20 + ix, 1}}, 1,
                tomography::DepthLayers::across(1.5, 11));
            for (std::size_t i = 0; i < g.rotation.size(); ++i) {
                const double w = rotation_sense * g.rotation[i] * M_PI / 180;
                const double z =
                    -grid.coordinate(ix) * std::sin(w) + grid.coordinate(iy) * std::cos(w);
                const Moments m = moments(projector, i);
                EXPECT_NEAR(m.depth, z, 2e-6) << g.rotation[i];
                EXPECT_NEAR(m.sum, 0.1, 1e-6);
                EXPECT_LE(m.touched, 2U);
            }
        }
}

TEST(DepthProjector, DepthsBeyondTheLayersCountAsTheOutermost) {
    tomography::ScanGeometry g = test::scan(2, 360, 41, 0.1);
    ASSERT_DOUBLE_EQ(g.rotation[1], 180);
    const tomography::ImageGrid grid{20, 0.1};
    const tomography::DepthProjector projector(
        g, grid, std::vector<tomography::VoxelBlocks>{{19 * 20 + 8, 1}}, 1,
        tomography::DepthLayers::across(0.5, 3));
    EXPECT_NEAR(moments(projector, 0).depth, 0.5, 1e-6);
    EXPECT_NEAR(moments(projector, 1).depth, -0.5, 1e-6);
    EXPECT_EQ(moments(projector, 0).touched, 1U);
}

TEST(DepthProjector, OneLayerIsKeptAsTwo) {
    const tomography::ScanGeometry g = test::scan(5, 180, 24, 0.1);
    const tomography::DepthProjector projector(
        g, {20, 0.1}, std::vector<tomography::VoxelBlocks>{{137, 1}}, 1, {});
    EXPECT_EQ(projector.layers().count, 2U);
    for (std::size_t i = 0; i < 5; ++i)
        EXPECT_NEAR(moments(projector, i).sum, 0.1, 1e-6);
}

TEST(DepthProjector, LayersAcross) {
    const auto layers = tomography::DepthLayers::across(6, 4);
    ASSERT_EQ(layers.count, 4U);
    EXPECT_DOUBLE_EQ(layers.depth(0), -6);
    EXPECT_DOUBLE_EQ(layers.depth(1), -2);
    EXPECT_DOUBLE_EQ(layers.depth(3), 6);
    EXPECT_EQ(tomography::DepthLayers::across(0, 4).count, 1U);
    EXPECT_EQ(tomography::DepthLayers::across(6, 1).count, 1U);
}

TEST(DepthProjector, NoVoxels) {
    const tomography::ScanGeometry g = test::scan(2, 180, 8, 0.1);
    const tomography::DepthProjector projector(g, {8, 0.1}, {}, 1,
                                               tomography::DepthLayers::across(1, 3));
    EXPECT_EQ(projector.coefficient_count(), 0U);
    std::vector<float> buffer(projector.buffer_size(), 1);
    projector.forward(1, {}, buffer);
    EXPECT_EQ(*std::max_element(buffer.begin(), buffer.end()), 0);
    projector.adjoint(1, buffer, {});
}

template <class F>
std::string message(F&& f) {
    try {
        f();
    } catch (const Error& error) {
        return error.what();
    }
    return "no error";
}

TEST(DepthProjector, BadInput) {
    const tomography::ScanGeometry g = test::scan(4, 180, 10, 0.1);
    const tomography::ImageGrid grid{10, 0.1};
    const auto layers = tomography::DepthLayers::across(0.5, 3);
    using Voxels = std::vector<tomography::VoxelBlocks>;
    const auto made = [&](const tomography::ScanGeometry& geometry,
                          const tomography::ImageGrid& image, const Voxels& voxels,
                          std::size_t blocks, const tomography::DepthLayers& depths) {
        return message(
            [&] { tomography::DepthProjector(geometry, image, voxels, blocks, depths); });
    };
    EXPECT_EQ(made(g, grid, {{99, 1}}, 1, layers), "no error");
    EXPECT_EQ(made(g, grid, {{99, 0x80000001U}}, 32, layers), "no error");
    EXPECT_THAT(made(g, grid, {{100, 1}}, 1, layers), HasSubstr("pixel 100 of 100"));
    EXPECT_THAT(made(g, grid, {{0, 2}}, 1, layers), HasSubstr("block that rays do not hold"));
    EXPECT_THAT(made(g, grid, {{0, 1}}, 0, layers), HasSubstr("0 blocks"));
    EXPECT_THAT(made(g, grid, {{0, 1}}, 33, layers), HasSubstr("33 blocks"));
    EXPECT_THAT(made(g, grid, {{0, 1}}, 1, {0, 0, 1}), HasSubstr("no layers"));
    EXPECT_THAT(made(g, grid, {{0, 1}}, 1, {3, 0, 0}), HasSubstr("no layers"));
    EXPECT_THAT(made(g, grid, {{0, 1}}, 1, {3, 0, std::nan("")}), HasSubstr("no layers"));
    EXPECT_NE(made(g, {0, 0.1}, {}, 1, layers), "no error");
    EXPECT_NE(made(g, {10, -1}, {{0, 1}}, 1, layers), "no error");
    EXPECT_THAT(made(g, {2, 20}, {{0, 1}}, 1, layers), HasSubstr("steps"));
    tomography::ScanGeometry bad = g;
    bad.rotation_sense = 0;
    EXPECT_NE(made(bad, grid, {{0, 1}}, 1, layers), "no error");

    const tomography::DepthProjector projector(g, grid, Voxels{{3, 1}, {4, 1}}, 1, layers);
    std::vector<float> q(projector.coefficient_count()), buffer(projector.buffer_size());
    std::vector<float> less(q.size() - 1), few(buffer.size() - 1), weights(39);
    EXPECT_THROW(projector.forward(4, q, buffer), Error);
    EXPECT_THROW(projector.forward(0, less, buffer), Error);
    EXPECT_THROW(projector.forward(0, q, few), Error);
    EXPECT_THROW(projector.adjoint(4, buffer, q), Error);
    EXPECT_THROW(projector.adjoint(0, few, q), Error);
    EXPECT_THROW(projector.adjoint(0, buffer, less), Error);
    EXPECT_THROW(projector.weighted_squares(weights), Error);
}

} // namespace
} // namespace xrdct
