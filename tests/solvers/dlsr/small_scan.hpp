// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "mpi/comm/communicator.hpp"
#include "mpi/comm/decomposition.hpp"
#include "rietveld/model/pattern_basis.hpp"
#include "solvers/dlsr/operator.hpp"
#include "solvers/dlsr/problem.hpp"
#include "tomography/scan_geometry.hpp"

#include <array>
#include <cmath>
#include <limits>
#include <memory>
#include <span>
#include <vector>

namespace xrdct::test {

inline constexpr double infinity = std::numeric_limits<double>::infinity();
/// Parameters of the geometry that models with depth know.
inline const std::vector<dlsr::GeometryParameter> both{dlsr::GeometryParameter::axis_offset,
                                                       dlsr::GeometryParameter::distance};
const mpi::Communicator& world();

/// Parts of SmallScan.
inline constexpr std::size_t cathode_part = 0, metal_part = 1, peak_part = 2, term_part = 3;

struct SmallScanOptions {
    std::size_t n = 12, rotations = 7, channels = 120;
    double range = 180;
    double pixel = 1;        ///< mm
    double distance = 1000;  ///< mm; infinity: no depth
    std::size_t layers = 21; ///< 1 without depth
    int rotation_sense = 1;
    bool globals = true; ///< crystallite size, cell of the metal, place of the peak are refined
    double tolerance = 1e-3;
    double width = 0.08; ///< deg, of the lines
    /// March coefficients of the cathode (0 0 1; refined with the globals) and the metal (1 1 1);
    /// 1: no texture.
    double march = 1, metal_march = 1;
    std::array<double, 2> layer_centre{}; ///< mm
};

/// A scan of a cathode (cells a and c per voxel), a metal, a peak and a background term, each in
/// pixels of its own: what the tests of the DLSR have in common.
struct SmallScan {
    explicit SmallScan(const SmallScanOptions& options = {});

    SmallScanOptions options;
    rietveld::RadialAxis axis;
    rietveld::PatternModel model;
    tomography::ScanGeometry geometry;
    tomography::ImageGrid grid;
    tomography::DepthLayers layers;
    std::vector<std::vector<std::size_t>> pixels; ///< per part
    std::unique_ptr<rietveld::PatternBasis> basis;
    std::vector<double> unit_amount;         ///< per part, gives patterns of norm 1
    std::vector<float> weight, transmission; ///< [rotation][translation], uneven

    std::vector<std::span<const std::size_t>> places() const {
        return {pixels.begin(), pixels.end()};
    }
    std::size_t rays() const { return weight.size(); }
    /// Of rotations [begin, end) of the scan.
    tomography::ScanGeometry part_geometry(const mpi::BlockRange& rotations) const;
    dlsr::Operator make_operator(const mpi::BlockRange& rotations,
                                 const SharedMemoryTeam& team = SharedMemoryTeam::single()) const;
    dlsr::Operator make_operator() const { return make_operator({0, geometry.rotation.size()}); }
    /// The rays of some rotations out of [rotation][translation][width].
    template <class T>
    std::vector<T> part(std::span<const T> rays, const mpi::BlockRange& rotations,
                        std::size_t width = 1) const {
        const std::size_t row = geometry.translation.size() * width;
        const auto own = rays.subspan(rotations.begin * row, rotations.size() * row);
        return {own.begin(), own.end()};
    }

    /// Smooth maps of amounts and cells and globals off the start, in the operator's order.
    std::vector<double> values(const dlsr::Operator& model) const;
    /// Same with all amounts, cells and globals changed by up to `amount` of their ranges.
    std::vector<double> perturbed(const dlsr::Operator& model, double amount, unsigned seed) const;
    /// Typical size of each value: amounts, ranges of shapes.
    std::vector<double> scale(const dlsr::Operator& model) const;
};

mpi::BlockRange own_rotations(const SmallScan& scan); ///< shared out over the world's ranks

/// Everything per voxel and without smoothness: amounts of the four parts, cells a and c.
std::vector<dlsr::Field> voxel_fields(const SmallScan& scan);
std::vector<dlsr::Global> globals_of(const SmallScan& scan);

std::vector<float> predict(const dlsr::Operator& op); ///< at its point
std::vector<float> predict(dlsr::Operator& op, std::span<const double> values);
std::vector<float> jacobian(const dlsr::Operator& op, std::span<const float> direction);
/// Diagonal of Jᵀ W J at the operator's point, the depths of a voxel taken as 0 and depth factors
/// as 1; exact for the global parameters.
std::vector<float> diagonal(const dlsr::Operator& op);
/// Expects J d to be the change of predict() at `values` along d, for every kind of values of a
/// part and every global one; `scale`: typical size of each value.
void check_jacobian(dlsr::Operator& op, const std::vector<double>& values,
                    const std::vector<double>& scale);

/// Of what a problem lends until its next call.
inline std::vector<double> copy_of(std::span<const double> values) {
    return {values.begin(), values.end()};
}

std::vector<float> random_floats(std::size_t size, unsigned seed); ///< in [−1, 1)
double dot(std::span<const float> a, std::span<const float> b);
double norm(std::span<const float> a);
double distance(std::span<const float> a, std::span<const float> b); ///< ‖a − b‖₂

} // namespace xrdct::test
