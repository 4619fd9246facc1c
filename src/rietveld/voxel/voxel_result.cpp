// SPDX-License-Identifier: BSD-3-Clause
#include "base/numbers.hpp"
#include "rietveld/voxel/voxel_task.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace xrdct::rietveld {

int VoxelTask::position_of(std::size_t column) const {
    const auto found = std::find(s_.list.begin(), s_.list.end(), static_cast<int>(column));
    return found == s_.list.end() ? -1 : static_cast<int>(found - s_.list.begin());
}

double VoxelTask::coefficient_esd(std::size_t c, double variance_factor) const {
    if (!f_.columns[c].refined) {
        return 0;
    }
    const std::size_t count = s_.list.size();
    if (const int i = position_of(c); i >= 0) {
        const double v =
            s_.inverse[static_cast<std::size_t>(i) * count + static_cast<std::size_t>(i)];
        return v > 0 ? unit(c) * std::sqrt(v * variance_factor) : nan_value;
    }
    // On its bound: what it would be if free, from the Schur complement.
    const double* row = &s_.gram[c * total_];
    double schur = row[c];
    for (std::size_t a = 0; a < count; ++a) {
        const double ga = row[static_cast<std::size_t>(s_.list[a])] * s_.slope[a];
        for (std::size_t b = 0; b < count; ++b) {
            const double gb = row[static_cast<std::size_t>(s_.list[b])] * s_.slope[b];
            schur -= ga * gb * s_.inverse[a * count + b];
        }
    }
    return schur > 0 ? unit(c) * std::sqrt(variance_factor / schur) : nan_value;
}

/// Cell of a phase that moves; `cell` holds the start values and gets what was found. True when on
/// a bound.
bool VoxelTask::write_cell(std::size_t phase, double variance_factor, VoxelPhaseFit& out,
                           double* cell) const {
    const Mover& mover = f_.movers[static_cast<std::size_t>(f_.phase_mover[phase])];
    for (std::size_t j = 0; j < mover.without_widths(); ++j) {
        const double value = s_.values[mover.place + j];
        if (value <= mover.lower[j] || value >= mover.upper[j]) {
            return true;
        }
    }
    const std::size_t count = s_.list.size();
    for (std::size_t j = 0; j < mover.without_widths(); ++j) {
        const int i = position_of(mover.derivative + j);
        const double v =
            i >= 0 ? s_.inverse[static_cast<std::size_t>(i) * count + static_cast<std::size_t>(i)]
                   : 0;
        if (v > 0) {
            cell[mover.which[j]] = out.cell[mover.which[j]] = s_.values[mover.place + j];
            out.cell_esd[mover.which[j]] = std::sqrt(v * variance_factor);
        }
    }
    return false;
}

/// Widths of a phase that move; false when one of them is not resolved.
bool VoxelTask::write_widths(std::size_t phase, double variance_factor, VoxelPhaseFit& out) const {
    constexpr double resolved = 2; ///< e.s.d.
    const auto m = static_cast<std::size_t>(f_.phase_mover[phase]);
    const Mover& mover = f_.movers[m];
    const std::size_t cells = mover.without_widths(), count = s_.list.size();
    bool all = true;
    for (std::size_t w = 0; w < mover.widths.size(); ++w) {
        const std::size_t j = cells + w;
        const double variable = s_.values[mover.place + j];
        const int i = position_of(mover.derivative + j);
        const double v =
            i >= 0 ? s_.inverse[static_cast<std::size_t>(i) * count + static_cast<std::size_t>(i)]
                   : 0;
        const double esd = std::sqrt(std::max(v, 0.0) * variance_factor);
        if (s_.held[m] || !(v > 0) || variable <= mover.lower[j] || variable >= mover.upper[j] ||
            variable < resolved * esd) {
            all = false;
            continue;
        }
        const auto which = static_cast<std::size_t>(mover.widths[w]);
        const double value = width_value(mover.widths[w], variable);
        out.width[which] = value;
        // ∂ value / ∂ variable: size², 1, 1 / (2 ε_G)
        out.width_esd[which] = esd * (mover.widths[w] == Width::size                ? value * value
                                      : mover.widths[w] == Width::gauss_microstrain ? 0.5 / value
                                                                                    : 1);
    }
    return all;
}

/// Hill & Howard, with the covariance of all scales; s_.mass holds (ZMV)_p.
void VoxelTask::write_weight_fractions(double variance_factor, VoxelFit& result) {
    double mass = 0;
    for (std::size_t p = 0; p < result.phases.size(); ++p) {
        mass += absent(p) ? 0 : result.phases[p].scale * s_.mass[p];
    }
    if (!(mass > 0)) {
        return;
    }
    const std::size_t count = s_.list.size();
    for (std::size_t p = 0; p < result.phases.size(); ++p) {
        VoxelPhaseFit& phase = result.phases[p];
        if (absent(p)) {
            continue;
        }
        phase.weight_fraction = phase.scale * s_.mass[p] / mass;
        const auto slope = [&](std::size_t q) {
            return s_.mass[q] / mass * ((q == p ? 1.0 : 0.0) - phase.weight_fraction) *
                   unit(f_.phase_column[q]);
        };
        double variance = 0;
        for (std::size_t q = 0; q < result.phases.size(); ++q) {
            const int i = position_of(f_.phase_column[q]);
            if (i < 0) {
                continue;
            }
            for (std::size_t r = 0; r < result.phases.size(); ++r) {
                if (const int j = position_of(f_.phase_column[r]); j >= 0) {
                    variance += slope(q) * slope(r) *
                                s_.inverse[static_cast<std::size_t>(i) * count +
                                           static_cast<std::size_t>(j)];
                }
            }
        }
        phase.weight_fraction_esd = std::sqrt(std::max(variance, 0.0) * variance_factor);
    }
}

/// Rwp and GoF; returns the factor from the inverse normal matrix to variances.
double VoxelTask::write_agreement(VoxelFit& result) const {
    const double freedom = std::max(1.0, static_cast<double>(valid_) -
                                             static_cast<double>(f_.refined_columns + nonlinear()));
    const double reduced = objective_ / freedom;
    double variance_factor = 1 / chi_unit_;
    if (unit_weights_ || (f_.options.scale_errors && reduced > variance_factor)) {
        variance_factor = reduced;
    }
    result.rwp = weighted_squares_ > 0 ? std::sqrt(objective_ / weighted_squares_) : nan_value;
    result.gof = unit_weights_ ? 1 : std::sqrt(reduced * chi_unit_);
    return variance_factor;
}

/// Scale, status and cell of a phase that is there. `judging`: significance counts misfit as noise
/// even where the e.s.d. do not.
void VoxelTask::write_phase(std::size_t p, double variance_factor, double judging,
                            VoxelPhaseFit& out) {
    const std::size_t c = f_.phase_column[p];
    out.scale = s_.x[c] * unit(c);
    out.scale_esd = coefficient_esd(c, variance_factor);
    const bool significant =
        out.scale > 0 && out.scale >= f_.options.significance * out.scale_esd * judging;
    out.status = significant ? VoxelPhaseStatus::refined : VoxelPhaseStatus::insignificant;

    const PhaseModel& model = f_.model.phases[p];
    std::array<double, 6> cell{};
    for (std::size_t j = 0; j < model.cell.size(); ++j) {
        cell[j] = model.cell[j].value;
    }
    const int m = f_.phase_mover[p];
    if (m >= 0 && significant) {
        // Significant perhaps only since its shape was put back to the start.
        const bool active = s_.active[static_cast<std::size_t>(m)];
        if (!(active ? write_widths(p, variance_factor, out)
                     : f_.movers[static_cast<std::size_t>(m)].widths.empty())) {
            out.status = VoxelPhaseStatus::unresolved;
        }
        if (active && write_cell(p, variance_factor, out, cell.data())) {
            out.status = VoxelPhaseStatus::at_bound;
            out.width.fill(nan_value);
            out.width_esd.fill(nan_value);
        }
    }
    const crystal::UnitCell unit_cell = cell_from_independent(
        model.phase.crystal_system(), std::span<const double>(cell.data(), model.cell.size()),
        model.phase.unique_axis());
    s_.mass[p] = f_.phase_weight[p] * unit_cell.volume();
}

void VoxelTask::write_phases(double variance_factor, VoxelFit& result) {
    const double judging = std::sqrt(unit_variance() / variance_factor);
    for (std::size_t p = 0; p < result.phases.size(); ++p) {
        if (absent(p)) {
            result.phases[p].status = VoxelPhaseStatus::absent;
            s_.mass[p] = 0;
        } else {
            write_phase(p, variance_factor, judging, result.phases[p]);
        }
    }
    write_weight_fractions(variance_factor, result);
}

void VoxelTask::write_peak(std::size_t peak, double variance_factor, VoxelPeakFit& out) const {
    const std::size_t c = f_.peak_column[peak];
    out.area = s_.x[c] * unit(c);
    out.area_esd = coefficient_esd(c, variance_factor);
    const int m = f_.peak_mover[peak];
    if (m < 0) {
        out.position = f_.model.peaks[peak].position.value;
        return;
    }
    const Mover& mover = f_.movers[static_cast<std::size_t>(m)];
    const int j = position_of(mover.derivative);
    const double v =
        j >= 0
            ? s_.inverse[static_cast<std::size_t>(j) * s_.list.size() + static_cast<std::size_t>(j)]
            : 0;
    if (s_.active[static_cast<std::size_t>(m)] && v > 0) {
        out.position = s_.values[mover.place];
        out.position_esd = std::sqrt(v * variance_factor);
    }
}

/// Needs invert_joint().
void VoxelTask::write(bool converged, VoxelFit& result) {
    const double variance_factor = write_agreement(result);
    write_phases(variance_factor, result);
    for (std::size_t i = 0; i < result.peaks.size(); ++i) {
        write_peak(i, variance_factor, result.peaks[i]);
    }
    for (std::size_t i = 0; i < result.background.size(); ++i) {
        const std::size_t c = f_.background_column[i];
        result.background[i] = s_.x[c] * unit(c);
        result.background_esd[i] = coefficient_esd(c, variance_factor);
    }
    const auto any = [&](VoxelPhaseStatus status) {
        return std::any_of(result.phases.begin(), result.phases.end(),
                           [&](const VoxelPhaseFit& phase) { return phase.status == status; });
    };
    const bool any_bound = any(VoxelPhaseStatus::at_bound);
    const bool any_significant =
        any_bound || any(VoxelPhaseStatus::refined) || any(VoxelPhaseStatus::unresolved);
    if (!result.phases.empty() && !any_significant) {
        result.status = FitStatus::no_signal;
    } else if (dependent_ > 0) {
        result.status = FitStatus::singular;
    } else if (!converged) {
        result.status = FitStatus::not_converged;
    } else {
        result.status = any_bound ? FitStatus::at_bound : FitStatus::converged;
    }
}

} // namespace xrdct::rietveld
