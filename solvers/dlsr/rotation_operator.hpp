// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Private to the solvers: one rotation of the DLSR's forward model, from the coefficients of voxels
// through rays and depths to patterns, and its adjoint.

#include "base/shared_memory_team.hpp"
#include "tomography/depth_projector.hpp"
#include "tomography/scan_geometry.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <Eigen/Core>

namespace xrdct::dlsr {

/// Storage on the boundaries of vector registers: accesses that cross a cache line cost much.
using AlignedFloats = std::vector<float, Eigen::aligned_allocator<float>>;

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using ConstMap = Eigen::Map<const Matrix>;
using Map = Eigen::Map<Matrix>;

/// A voxel carries, for every part (a phase, a family of patterns), a few components: factors of
/// patterns that depend on the depth. With B the patterns of component i of all parts at layer l,
///
///     ray[M] = Σ_v w_v Σ_l h_l(z_v) Σ_i q_vi B_i(z_l)[M]
///
/// or, with depth factors, A_l ray by ray in front of h_l.
/// A part with texture has its components once for every function f_c of the angle ψ between the
/// layers' normal and the beam, the first of which is 1: a voxel's component i stands in the
/// components (c, i) of its rays with f_c(ψ_v(ω)) q_vi. The dependence on depth is reduced to a few
/// functions of the layer, fewer for components of little weight. What voxels have lies in the
/// memory of the team, over which the constructor, assemble() and reduce() are collective.
class RotationOperator {
  public:
    static constexpr std::size_t block = 8;

    /// Functions of ψ [function][harmonic]: f_c(ψ) = Σ_h a_ch cos 2hψ, the first one {1}.
    using TextureFunctions = std::vector<std::vector<double>>;

    /// `components[part]` components, `shapes[part]` voxel shape parameters and `texture[part]`
    /// functions of ψ of the parts. Layers are normal to the line from `centre` (x, y) [mm] to the
    /// voxel; for a voxel there the functions count as their means over ψ. Throws Error for pixels
    /// outside the grid or more components than the projector takes. The same on all members of
    /// `team`, which must outlive the object; rotations may differ. Collective.
    RotationOperator(const SharedMemoryTeam& team, const tomography::ScanGeometry& geometry,
                     const tomography::ImageGrid& grid, const tomography::DepthLayers& layers,
                     std::span<const std::span<const std::size_t>> pixels,
                     std::span<const std::size_t> components, std::span<const std::size_t> shapes,
                     std::span<const TextureFunctions> texture, std::array<double, 2> centre);

    struct Part {
        std::size_t components = 1, shapes = 0;
        TextureFunctions texture{{1}};
        /// cos 2φ and sin 2φ [voxel] of the normal's azimuth, both 0 at the centre; only with
        /// texture
        SharedArray<std::array<float, 2>> normal;
        std::size_t slot = 0; ///< of its first component among the components of a ray
        SharedArray<std::size_t> pixels;
        /// Of each voxel: its first among all coefficients, and from one block of eight to the
        /// next.
        SharedArray<std::uint32_t> coefficient, block_stride;
        std::size_t offset = 0; ///< among the values: amounts [voxel], then shapes [shape][voxel]
        /// [voxel][1 + shapes][component]: u, then S ∂u/∂η; empty for one component, where u = 1
        SharedArray<float> functions;

        std::size_t all_components() const {
            return texture.size() * components;
        } ///< of a ray: [function][component]
        /// Calls each(place among the coefficients, first component, last component + 1) for the
        /// blocks of a voxel.
        template <class Each>
        void for_blocks(std::size_t v, Each&& each) const {
            std::size_t place = coefficient[v];
            for (std::size_t begin = 0; begin < components;
                 begin += block, place += block_stride[v])
                each(place, begin, std::min(begin + block, components));
        }
    };
    std::vector<Part>& parts() { return parts_; }
    const std::vector<Part>& parts() const { return parts_; }
    const tomography::DepthProjector& projector() const { return *projector_; }
    /// A projector of the same voxels and blocks for another geometry.
    std::unique_ptr<tomography::DepthProjector>
    projector_of(const tomography::ScanGeometry& geometry, const tomography::ImageGrid& grid,
                 const tomography::DepthLayers& layers) const;
    void set_projector(std::unique_ptr<tomography::DepthProjector> projector) {
        projector_ = std::move(projector);
    }
    std::size_t value_count() const { return values_; } ///< of all parts
    std::size_t slots() const { return slots_; }
    std::size_t layers() const { return layers_; }
    std::size_t packed_size() const { return packed_; }

    /// Factors A [rotation][translation][layer] of what the layers of a ray contribute; null: 1.
    void set_depth_factors(std::shared_ptr<const std::vector<float>> factors) {
        depth_factors_ = std::move(factors);
    }

    /// Takes the patterns [layer][slot · m + coefficient]. The functions of the depth are chosen at
    /// the first call, so that the model stays the same function afterwards; they leave out
    /// `tolerance` of the patterns' change.
    void set_tables(const Matrix& patterns, std::size_t m, double tolerance);

    /// Coefficients of a direction [value_count()] by the parts' functions, in the memory of the
    /// team [coefficient_count]. Collective.
    void assemble(std::span<const float> direction, std::span<float> q) const;
    /// The adjoint, of the sum over the members' coefficients, `stride` apart in the memory of the
    /// team, into its memory (float or double). Collective.
    template <class Number>
    void reduce(std::span<const float> q, std::size_t stride, std::span<Number> direction) const;

    std::size_t buffer_size() const {
        return projector_->buffer_size() + (textured_ ? projector_->coefficient_count() : 0);
    }
    std::size_t reduced_size() const { return projector_->translations() * packed_; }
    /// Rays [translation][m] of one rotation; `buffer` [buffer_size()], `reduced` [reduced_size()].
    void project(std::size_t i, std::span<const float> q, float* buffer, float* reduced,
                 float* out) const;
    /// Only to the functions of the depth: [translation][packed].
    void project_packed(std::size_t i, std::span<const float> q, float* buffer,
                        float* reduced) const;
    /// The same with the projector of another geometry.
    void project_packed(const tomography::DepthProjector& projector, std::size_t i,
                        std::span<const float> q, float* buffer, float* reduced) const;
    /// The adjoint of project(); adds to `q`.
    void back_project(std::size_t i, const float* rays, float* buffer, float* reduced,
                      std::span<float> q) const;

    /// Mean over ψ of the product of two functions of one or two parts.
    double texture_product(std::size_t part, std::size_t function, std::size_t other_part,
                           std::size_t other_function) const;

    /// Where a part's components [function][component] lie among the packed ones.
    struct PackedComponent {
        std::size_t function, component, place;
    };
    std::vector<PackedComponent> packed_components(std::size_t part) const;
    const std::vector<float>& table() const { return table_; }         ///< [packed][m]
    const Matrix& depth_functions() const { return depth_functions_; } ///< [layer][function]

  private:
    /// Where the parts' components stand among those of a ray.
    void arrange_slots(std::span<const std::span<const std::size_t>> pixels,
                       std::span<const std::size_t> components, std::span<const std::size_t> shapes,
                       std::span<const TextureFunctions> texture);
    /// The voxels of all parts with their blocks of components.
    std::vector<tomography::VoxelBlocks>
    voxel_blocks(const tomography::ImageGrid& grid,
                 std::span<const std::span<const std::size_t>> pixels) const;
    /// Where the parts' voxels stand among values and coefficients. Collective.
    void arrange_voxels(const tomography::ImageGrid& grid,
                        std::span<const std::span<const std::size_t>> pixels,
                        std::array<double, 2> centre);
    void place_voxels(Part& part, const tomography::ImageGrid& grid,
                      std::span<const unsigned char> present, std::array<double, 2> centre) const;
    void choose_depth_functions(const Matrix& patterns, double tolerance);
    /// Calls each(function > 0, value) of the functions of ψ of a part's voxel at a rotation.
    template <class Each>
    void for_texture(const Part& part, std::size_t v, std::size_t i, Each&& each) const;
    /// Calls each(coefficient, the same component's of a function > 0, value of the function) of
    /// all voxels with texture.
    template <class Each>
    void for_textured(std::size_t i, std::span<float> q, Each&& each) const;
    /// What a voxel adds at a rotation, from its coefficients; and the adjoint, which leaves the
    /// components of the functions beyond the first one at 0.
    void apply_texture(std::size_t i, std::span<float> q) const;
    void add_texture_adjoint(std::size_t i, std::span<float> q) const;
    template <bool with_factors>
    void reduce_depth(std::size_t i, const float* buffer, float* reduced) const;
    template <bool with_factors>
    void spread_depth(std::size_t i, const float* reduced, float* buffer) const;
    /// Of a block's plane in the projector's buffer.
    std::size_t first_ray() const { return projector_->padding() * projector_->ray_size(); }

    const SharedMemoryTeam& team_;
    std::unique_ptr<tomography::DepthProjector> projector_;
    std::vector<Part> parts_;
    bool textured_ = false;
    std::vector<std::array<double, 2>>
        double_angle_; ///< cos 2ω, sin 2ω [rotation]; only with texture
    std::size_t values_ = 0, slots_ = 0, layers_ = 0, translations_ = 0, m_ = 0;
    /// Components of little weight need fewer functions: a block of eight components takes the
    /// first block_functions_[block] and lies packed as [function][8] from 8 · block_first_[block]
    /// on.
    Matrix depth_functions_;
    std::size_t functions_ = 0, packed_ = 0, functions_padded_ = 0;
    std::vector<float> depth_padded_; ///< the same with rows filled up to a multiple of eight
    std::vector<std::size_t> block_functions_, block_first_;
    std::shared_ptr<const std::vector<float>> depth_factors_;
    std::vector<float> table_, transposed_; ///< [packed][m], [m][packed]
};

} // namespace xrdct::dlsr
