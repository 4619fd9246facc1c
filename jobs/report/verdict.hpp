// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/report/analysis.hpp"

#include <string>
#include <vector>

namespace xrdct::report {

/// Where fewer of the fitted voxels converged the maps show the optimiser, not the object.
inline constexpr double min_converged_share = 0.5;
/// Above it the misfit is more than the noise, which counts of a million reach with maps that are
/// right: e.s.d. of counting noise are too small then, no more.
inline constexpr double max_gof = 3;
/// Share of the squared intensities that neither model nor noise explains (unexplained_share()),
/// over all rays of a DLSR. Good ones have below 0.02, also with a million counts; a metal left out
/// gives 0.11, a wrong structure 0.2.
inline constexpr double max_unexplained_rays = 0.08;
/// The same of the median voxel. Conventional maps of a scan with parallax of 1 % have 0.08, of 2 %
/// 0.27, and amounts that are right; an active material left out gives 0.4, a wavelength 8 % off or
/// lines 30 times too broad 0.5 and more.
inline constexpr double max_unexplained = 0.33, doubtful_unexplained = 0.1;
/// Voxels of which more than half is unexplained: a metal of the can with the wrong structure fills
/// 20 % of a cell's voxels with them, parallax of 2 % 6 %.
inline constexpr double max_lost_voxels = 0.1;
/// Rwp without background of the mean pattern. Its noise is nothing, parallax only broadens its
/// lines: 2 to 7 % where all is right, 9 % with parallax of 1 % and a wavelength 3 % off, 18 % with
/// parallax of 2 %; a phase of 10 % left out or widths thrice too large give 30 % and more.
inline constexpr double max_mean_rwp = 0.3, doubtful_mean_rwp = 0.15;
/// Relative misfit of the image's projections to the summed rays: 6 to 8 % by the discretisation,
/// 32 % with exchanged axes, 38 % with an axis off by a tenth of the field.
inline constexpr double max_reprojection = 0.25, doubtful_reprojection = 0.15;
/// What all cells differ by from those of their structures, the same for most of them. 0.4 % is
/// thermal expansion of metals by 200 K; at 1 % they would differ among themselves.
inline constexpr double max_common_cell = 0.01, doubtful_common_cell = 0.004;
/// Of the voxels in which a phase is significant: more on a bound say that its range made the map.
inline constexpr double max_bound_share = 0.5;
/// Share of a phase's voxels without a width of their own from which on one doubts its map.
inline constexpr double max_unresolved_share = 0.5;
/// A phase of less is a trace, whose cell on a bound does not spoil the rest.
inline constexpr double trace_share = 0.05;
/// A phase whose own cell is to be mapped has to be found in more of the voxels where it is sought.
inline constexpr double min_found_share = 0.01;
/// Noise averages out over an object: a total below is misfit.
inline constexpr double min_whole_fraction = -0.01;
/// Below it the variances of the data cannot be right, and e.s.d. are too large by its inverse.
inline constexpr double min_gof = 0.3;

/// What the numbers of an analysis say of its own worth.
struct Verdict {
    std::vector<std::string> faults; ///< why the result cannot be trusted; empty: it can
    std::vector<std::string> doubts; ///< what to look at
    std::string fits, amounts, cells;

    bool trusted() const { return faults.empty(); }
};

/// Looks at the main stage of the analysis; nothing but empty texts when it has none.
Verdict judge(const Analysis& analysis);

/// Five lines for the end of a run: fits, amounts, cells (and widths that vary), doubts, what to do
/// next.
std::vector<std::string> verdict_lines(const Verdict& verdict, const std::string& folder);

} // namespace xrdct::report
