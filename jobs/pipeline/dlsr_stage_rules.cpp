// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "jobs/pipeline/absorption_product.hpp"
#include "jobs/pipeline/dlsr_stage.hpp"
#include "jobs/pipeline/rates.hpp"
#include "mpi/files/cif_file.hpp"

#include <array>
#include <filesystem>

#include <fmt/format.h>

namespace xrdct::pipeline {

namespace {

constexpr std::array dlsr_labels{
    QuantityLabel{"chi_squared", "squared residual over variance", "", "", QuantityKind::misfit},
    QuantityLabel{"ratio", "observed / calculated − 1", "", "", QuantityKind::deviation},
    QuantityLabel{"residuals", "residuals of the projections", "", "", QuantityKind::misfit},
    QuantityLabel{"gradient_norm", "gradient", "", "", QuantityKind::value},
};

// With the default settings: what it takes besides the time of a product with the Gauss-Newton
// matrix (docs/scaling.md), in seconds of one core; coefficients of a ray, columns and copies of
// the data, bytes of a voxel on a node and on every rank, bytes of a rank.
constexpr double start_seconds = 5, seconds_per_operation = 2e-8;
constexpr double coefficients = 128, columns = 20, node_voxel = 4000, rank_voxel = 250,
                 rank_bytes = 1e8;

} // namespace

std::span<const QuantityLabel> DlsrStage::quantities() const {
    return dlsr_labels;
}

std::vector<std::string> DlsrStage::tables(const settings::Job& /*job*/) const {
    return {"absorption", "fbp",   "noise", "mask", "instrument",
            "rietveld",   "phase", "peak",  "dlsr"};
}

std::vector<std::string> DlsrStage::reserved_names() const {
    return {"background", "globals", "residuals", "lines", "held_out", "model", "geometry"};
}

std::vector<NeededProduct> DlsrStage::needs(const settings::Job& job) const {
    auto list = needed_absorption(job);
    list.push_back({"rietveld", "the dlsr stage starts from the rietveld stage's product",
                    "the scan, the phases or the fits"});
    return list;
}

// What the basis of patterns tabulates (PatternBasis), known before hours go into other stages.
void DlsrStage::check_inputs(const RunSize& run) const {
    using settings::Treatment;
    constexpr int most = 3;
    for (const auto& phase : run.job.phases) {
        int maps = 0;
        for (const auto parameter :
             files::read_phase(phase.cif, phase.name, phase.block).free_parameters())
            maps += phase.cell[static_cast<std::size_t>(parameter)] == Treatment::voxel ? 1 : 0;
        for (const auto treatment :
             {phase.size_treatment, phase.microstrain_treatment, phase.gauss_microstrain_treatment})
            maps += run.job.dlsr.refine_widths && treatment == Treatment::voxel ? 1 : 0;
        if (maps > most)
            throw Error(fmt::format(
                "{}: phase '{}' has {} values of cell and widths that are refined in every voxel; "
                "the dlsr stage takes {} at most: make some of them global, or fixed",
                run.job.source.string(), phase.name, maps, most));
    }
}

StageEstimate DlsrStage::estimate(const RunSize& run) const {
    const auto size = rates::size_of(run.scan);
    const double cores = run.ranks;
    StageEstimate one;
    one.stage = name();
    const double operations = 640 * size.rotations * size.disc + 1.5e5 * size.rays;
    one.seconds = (start_seconds + seconds_per_operation * operations) / cores +
                  4 * size.rays * size.channels / rates::disk;
    one.memory = static_cast<std::uint64_t>(
        rank_bytes + rank_voxel * size.disc +
        (node_voxel * size.disc + 4 * size.rays * coefficients * columns) / cores);
    one.disk = static_cast<std::uint64_t>(16 * size.pixels *
                                          (4.0 + 3.0 * static_cast<double>(run.job.phases.size())));
    return one;
}

StageSummary DlsrStage::run(StageContext& context) const {
    return run_dlsr_stage(context);
}

// A run that was killed after its product was complete may have left its checkpoint.
void DlsrStage::remove_leftovers(const settings::Job& job) const {
    std::error_code code;
    std::filesystem::remove(job.output / "dlsr-checkpoint.nxs", code);
}

} // namespace xrdct::pipeline
