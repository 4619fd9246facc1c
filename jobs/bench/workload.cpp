// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/bench/stages.hpp"
#include "mpi/comm/redistribution.hpp"

#include <algorithm>

namespace xrdct::bench {

namespace {

/// Blocks of eight lanes of all voxels, times eight (see RotationOperator): single lanes share
/// blocks.
double coefficients_of(const Sample& sample, const dlsr::Operator& op) {
    const auto& basis = sample.basis();
    std::vector<std::size_t> single;
    double total = 0;
    for (std::size_t p = 0; p < basis.parts().size(); ++p)
        if (basis.components(p) == 1)
            single.push_back(p);
        else
            total += static_cast<double>((basis.components(p) + 7) / 8 * 8 * op.pixels(p).size());
    std::stable_sort(single.begin(), single.end(), [&](std::size_t a, std::size_t b) {
        return op.pixels(a).size() > op.pixels(b).size();
    });
    std::vector<unsigned char> carries;
    for (std::size_t i = 0; i < single.size(); ++i) {
        if (i % 8 == 0)
            carries.assign(sample.grid().size(), 0);
        for (const std::size_t pixel : op.pixels(single[i])) {
            total += carries[pixel] ? 0 : 8;
            carries[pixel] = 1;
        }
    }
    return total;
}

} // namespace

Workload make_workload(const Sample& sample) {
    const auto& problem = sample.problem();
    Workload w;
    w.rotations = problem.rotations;
    w.translations = problem.translations;
    w.channels = problem.channels;
    w.pixels = sample.grid().n;
    w.view_pixels = static_cast<double>(sample.view_pixels());
    w.channels_per_pass = fbp_pass;
    w.exchange_buffer = mpi::Redistribution::default_buffer_bytes;
    w.basis = sample.basis().size();
    const auto fields = sample.fields();
    w.fields = fields.size();
    w.globals = sample.globals().size();
    w.parts = sample.basis().parts().size();
    for (std::size_t p = 0; p < w.parts; ++p)
        w.families += sample.basis().components(p) > 8;

    // All rotations: the strips are widest along the diagonals.
    auto op = sample.make_operator({0, problem.rotations});
    const auto rotations = static_cast<double>(problem.rotations);
    w.table_rows = op.table_size(sample.start(op), true);
    op.set_point(sample.start(op), false);
    const auto exact = op.cost();
    w.gradient_flops = (exact.projection_flops + exact.table_flops) / rotations;
    w.gradient_bytes = exact.bytes / rotations;
    op.set_low_rank_tolerance(product_tolerance);
    const auto condensed = op.cost();
    w.product_projection = condensed.projection_flops / rotations;
    w.product_tables = condensed.table_flops / rotations;
    w.product_bytes = condensed.bytes / rotations;
    w.coefficients = coefficients_of(sample, op);
    w.condensed_coefficients = w.coefficients * condensed.projection_flops / exact.projection_flops;
    std::vector<std::size_t> load(sample.grid().size(), 0);
    for (const auto& field : fields)
        for (const std::size_t pixel : op.pixels(field.part)) {
            ++load[pixel];
            ++w.block_unknowns;
        }
    for (const std::size_t count : load)
        w.block_entries += 0.5 * static_cast<double>(count * (count + 1));
    w.unknowns = w.block_unknowns + w.globals;

    w.fits = sample.sample_voxels();
    w.tiles = sample.grid().n;
    for (std::size_t y = 0; y < w.tiles; ++y)
        w.largest_tile = std::max(w.largest_tile, sample.row_voxels(y).size());
    w.quantities = sample.fitter().quantities().size();
    return w;
}

} // namespace xrdct::bench
