// SPDX-License-Identifier: BSD-3-Clause
#include "rietveld/voxel/voxel_fitter.hpp"

#include "base/error.hpp"
#include "rietveld/voxel/voxel_tables.hpp"

#include <cmath>
#include <fmt/format.h>

namespace xrdct::rietveld {

VoxelFitter::VoxelFitter(const RadialAxis& axis, const PatternModel& start,
                         const VoxelFitOptions& options, const SharedMemoryTeam& team)
    : implementation_(std::make_unique<const Implementation>(axis, start, options, team, nullptr)) {
}
VoxelFitter::VoxelFitter(const VoxelFitter& like, const PatternModel& start,
                         const SharedMemoryTeam& team)
    : implementation_(std::make_unique<const Implementation>(
          like.axis(), start, like.options(), team, like.implementation_->shared_calculator)) {}
VoxelFitter::~VoxelFitter() = default;
VoxelFitter::VoxelFitter(VoxelFitter&&) noexcept = default;
VoxelFitter& VoxelFitter::operator=(VoxelFitter&&) noexcept = default;

VoxelFitter::Workspace::Workspace(const VoxelFitter& fitter)
    : state_(std::make_unique<State>(*fitter.implementation_)) {}
VoxelFitter::Workspace::~Workspace() = default;
VoxelFitter::Workspace::Workspace(Workspace&&) noexcept = default;
VoxelFitter::Workspace& VoxelFitter::Workspace::operator=(Workspace&&) noexcept = default;

std::size_t VoxelFitter::channel_count() const {
    return implementation_->n;
}
const RadialAxis& VoxelFitter::axis() const {
    return implementation_->axis;
}
const PatternModel& VoxelFitter::model() const {
    return implementation_->model;
}
const VoxelFitOptions& VoxelFitter::options() const {
    return implementation_->options;
}
double VoxelFitter::interpolation_error() const {
    return implementation_->interpolation_error;
}
const std::vector<VoxelQuantity>& VoxelFitter::quantities() const {
    return implementation_->quantities;
}

void VoxelFitter::fit(std::span<const float> intensity, std::span<const float> variance,
                      Workspace& workspace, VoxelFit& result,
                      std::span<const unsigned char> present) const {
    const std::size_t n = implementation_->n;
    if (intensity.size() != n || (!variance.empty() && variance.size() != n)) {
        throw Error(
            fmt::format("a voxel's pattern has {} channels and its variance {}, expected {}",
                        intensity.size(), variance.size(), n));
    }
    if (!present.empty() && present.size() != implementation_->model.phases.size())
        throw Error(fmt::format("a voxel's fit: {} phases marked present or absent of {}",
                                present.size(), implementation_->model.phases.size()));
    fit_voxel(*implementation_, *workspace.state_, intensity, variance, present, result);
}

VoxelFit VoxelFitter::fit(std::span<const float> intensity, std::span<const float> variance) const {
    Workspace workspace(*this);
    VoxelFit result;
    fit(intensity, variance, workspace, result);
    return result;
}

std::vector<double> VoxelFitter::calculate(const VoxelFit& result) const {
    const VoxelTables& f = *implementation_;
    PatternModel model = f.model;
    const auto number = [](double value, double otherwise) {
        return std::isfinite(value) ? value : otherwise;
    };
    for (std::size_t p = 0; p < model.phases.size(); ++p) {
        model.phases[p].scale.value = number(result.phases[p].scale, 0);
        for (std::size_t j = 0; j < model.phases[p].cell.size(); ++j) {
            double& value = model.phases[p].cell[j].value;
            value = number(result.phases[p].cell[j], value);
        }
        for (std::size_t w = 0; w < width_count; ++w) {
            double& value = width_parameter(model.phases[p], static_cast<Width>(w)).value;
            value = number(result.phases[p].width[w], value);
        }
    }
    for (std::size_t i = 0; i < model.peaks.size(); ++i) {
        model.peaks[i].area.value = number(result.peaks[i].area, 0);
        model.peaks[i].position.value =
            number(result.peaks[i].position, model.peaks[i].position.value);
    }
    for (std::size_t i = 0; i < model.background.size(); ++i) {
        model.background[i].value = number(result.background[i], 0);
    }
    std::vector<double> y(f.n);
    f.calculator.evaluate(model, y);
    return y;
}

void VoxelFitter::flatten(const VoxelFit& result, std::span<double> row) const {
    const VoxelTables& f = *implementation_;
    if (row.size() != f.quantities.size()) {
        throw Error(fmt::format("a row of {} numbers is expected, not {}", f.quantities.size(),
                                row.size()));
    }
    std::size_t i = 0;
    row[i++] = static_cast<double>(result.status);
    row[i++] = result.iterations;
    row[i++] = result.rwp;
    row[i++] = result.gof;
    for (std::size_t p = 0; p < result.phases.size(); ++p) {
        const VoxelPhaseFit& phase = result.phases[p];
        row[i++] = phase.scale;
        row[i++] = phase.scale_esd;
        row[i++] = phase.weight_fraction;
        row[i++] = phase.weight_fraction_esd;
        row[i++] = static_cast<double>(phase.status);
        if (f.phase_mover[p] >= 0) {
            for (const std::size_t j : f.movers[f.phase_mover[p]].which) {
                row[i++] = phase.cell[j];
                row[i++] = phase.cell_esd[j];
            }
            for (const Width width : f.movers[f.phase_mover[p]].widths) {
                row[i++] = phase.width[static_cast<std::size_t>(width)];
                row[i++] = phase.width_esd[static_cast<std::size_t>(width)];
            }
        }
    }
    for (std::size_t k = 0; k < result.peaks.size(); ++k) {
        row[i++] = result.peaks[k].area;
        row[i++] = result.peaks[k].area_esd;
        if (f.peak_mover[k] >= 0) {
            row[i++] = result.peaks[k].position;
            row[i++] = result.peaks[k].position_esd;
        }
    }
    for (std::size_t k = 0; k < result.background.size(); ++k) {
        row[i++] = result.background[k];
        row[i++] = result.background_esd[k];
    }
}

} // namespace xrdct::rietveld
