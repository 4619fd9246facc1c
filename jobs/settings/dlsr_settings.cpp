// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/settings/dlsr_settings.hpp"

#include "jobs/settings/model_settings.hpp"

namespace xrdct::settings {

namespace {

/// What is refined, and how smooth it is.
void read_unknowns(Settings& s, DlsrSettings& dlsr) {
    dlsr.scales = s.choice("dlsr.scales", "voxel", {"voxel", "map"},
                           "amounts of the phases: refined in every voxel, or the conventional map "
                           "times one factor per phase");
    dlsr.bounded = s.boolean("dlsr.bounded", dlsr.bounded,
                             "amounts of phases may not become negative; they then are no longer "
                             "unbiased where there is little of a phase");
    dlsr.refine_widths =
        s.boolean("dlsr.refine_widths", dlsr.refine_widths,
                  "refine the global sizes and microstrains that the phases ask for, from the "
                  "job's start values: those of the conventional fit contain parallax");
    dlsr.smoothness = s.number_or_word(
        "dlsr.smoothness", std::nullopt, "auto", "",
        "regularisation weight of voxel cells: weight of a squared relative difference of 3e-4 "
        "between neighbouring voxels of a phase; \"auto\": chosen by cross-validation; 0: none");
    require(!dlsr.smoothness || *dlsr.smoothness >= 0, s, "dlsr.smoothness",
            "must not be negative");
    dlsr.amount_smoothness = s.number_or_word(
        "dlsr.amount_smoothness", dlsr.amount_smoothness, "auto", "",
        "regularisation weight of amounts: weight of the squared difference of neighbouring voxels "
        "over the phase's 95th percentile; \"auto\": one for each phase, from how much its "
        "amounts differ beyond what noise makes; 0: none");
    require(!dlsr.amount_smoothness || *dlsr.amount_smoothness >= 0, s, "dlsr.amount_smoothness",
            "must not be negative");
    dlsr.edge = s.number("dlsr.edge", dlsr.edge, "",
                         "edge-preserving smoothness: relative differences of cells beyond this "
                         "many times 3e-4 cost linearly, not quadratically; 0: quadratic "
                         "everywhere");
    require(dlsr.edge >= 0, s, "dlsr.edge", "must not be negative");
    dlsr.gap = s.number("dlsr.gap", dlsr.gap, "mm",
                        "gap (other layers) across which voxels of a phase along x or y still "
                        "count as neighbours");
    require(dlsr.gap >= 0, s, "dlsr.gap", "must not be negative");
}

/// What a residual costs, and how the result is judged.
void read_judgement(Settings& s, DlsrSettings& dlsr) {
    dlsr.loss = s.choice("dlsr.loss", "squares", {"squares", "huber"},
                         "what a residual costs: its square, or beyond dlsr.threshold its size "
                         "only, so that spots and streaks do not draw the maps after them; takes "
                         "one more pass over the scan per step");
    dlsr.threshold = s.number("dlsr.threshold", dlsr.threshold, "standard deviations",
                              "residual beyond which dlsr.loss = \"huber\" is no longer a square");
    require(dlsr.threshold >= 1 && dlsr.threshold <= 100, s, "dlsr.threshold",
            "must lie between 1 and 100");
    dlsr.held_out = s.integer(
        "dlsr.held_out", dlsr.held_out,
        "every n-th projection is kept for validation, to choose the regularisation weight");
    require(dlsr.held_out >= 2, s, "dlsr.held_out", "must be at least 2");
    dlsr.error_samples =
        s.integer("dlsr.error_samples", dlsr.error_samples,
                  "samples of noise that are propagated for the e.s.d.; 0: no e.s.d.");
    require(dlsr.error_samples >= 0 && dlsr.error_samples <= 1000, s, "dlsr.error_samples",
            "must lie between 0 and 1000");
    dlsr.resolution_products = s.integer(
        "dlsr.resolution_products", dlsr.resolution_products,
        "most matrix-vector products with the normal matrix that are spent on the effective "
        "resolutions of the cells, and on those of the amounts; 0: they are not determined");
    require(dlsr.resolution_products >= 0 && dlsr.resolution_products <= 1000, s,
            "dlsr.resolution_products", "must lie between 0 and 1000");
    dlsr.check_senses =
        s.boolean("dlsr.check_senses", dlsr.check_senses,
                  "check the handedness: try reversed depths (one reversed sense of rotation or "
                  "translation) on some of the projections and report the change of the misfit");
}

/// What is refined of the geometry.
void read_geometry(Settings& s, DlsrSettings& dlsr) {
    dlsr.axis_offset = s.choice(
        "dlsr.axis_offset", "auto", {"auto", "fixed", "refine"},
        "the axis offset: refined with the maps, or kept and only checked; \"auto\": refined when "
        "the first steps show it to be off by more than 0.05 translation steps and 5 e.s.d.");
    dlsr.distance = s.choice(
        "dlsr.distance", "fixed", {"fixed", "refine"},
        "the distance as the lever arm of the parallax, the radial axis untouched: kept and only "
        "checked, or refined where the data tell it to 2 %");
    dlsr.radial_scale =
        s.choice("dlsr.radial_scale", "fixed", {"fixed", "metals"},
                 "scale of the radial axis: as it is, the cells of the standards being reported; "
                 "\"metals\": "
                 "such that the standards get the cells of their CIFs, all other cells following");
    dlsr.standards =
        s.texts("dlsr.standards", {},
                "phases whose CIF has their true cell (one free parameter, treatment \"global\"); "
                "none named: those of a single element, such as the metals of can and foils");
    dlsr.standard_uncertainty =
        s.number("dlsr.standard_uncertainty", dlsr.standard_uncertainty, "",
                 "relative standard deviation of the standards' cells about their CIFs' (alloys, "
                 "temperature)");
    require(dlsr.standard_uncertainty > 0 && dlsr.standard_uncertainty < 0.1, s,
            "dlsr.standard_uncertainty", "must lie between 0 and 0.1");
}

/// How exact the model is and when a fit ends.
void read_numerics(Settings& s, DlsrSettings& dlsr) {
    dlsr.tolerance = s.number("dlsr.tolerance", dlsr.tolerance, "",
                              "part of a pattern (norm) that its compression may leave out");
    require(dlsr.tolerance > 0 && dlsr.tolerance < 0.1, s, "dlsr.tolerance",
            "must lie between 0 and 0.1");
    dlsr.layers = s.integer("dlsr.layers", dlsr.layers,
                            "layers along the beam between which patterns are interpolated; 0: by "
                            "the widths of the lines");
    require(dlsr.layers >= 0 && dlsr.layers <= 1000, s, "dlsr.layers",
            "must lie between 0 and 1000");
    dlsr.exit_ray = s.choice(
        "dlsr.exit_ray", "straight", {"straight", "deviated"},
        "way out of the sample that absorption counts: the rest of the straight ray, or rays that "
        "leave at the mean 2theta of the lines, all around; \"deviated\" needs absorption.method "
        "\"transmission\" or \"phases\"");
    require(dlsr.exit_ray == "straight" || dlsr.layers != 1, s, "dlsr.exit_ray",
            "\"deviated\" needs more than one of dlsr.layers");
    dlsr.max_iterations =
        s.integer("dlsr.max_iterations", dlsr.max_iterations, "most Gauss-Newton steps of a fit");
    require(dlsr.max_iterations >= 1, s, "dlsr.max_iterations", "must be at least 1");
    dlsr.convergence = s.number("dlsr.convergence", dlsr.convergence, "",
                                "relative decrease of the objective in a step that ends the fit");
    require(dlsr.convergence > 0 && dlsr.convergence < 1, s, "dlsr.convergence",
            "must lie between 0 and 1");
    dlsr.petsc = s.text("dlsr.petsc", "",
                        "options for PETSc's TAO and KSP, such as \"-tao_monitor -ksp_rtol 1e-3\"");
}

} // namespace

DlsrSettings read_dlsr_settings(Settings& s) {
    DlsrSettings dlsr;
    read_unknowns(s, dlsr);
    read_judgement(s, dlsr);
    read_geometry(s, dlsr);
    read_numerics(s, dlsr);
    return dlsr;
}

} // namespace xrdct::settings
