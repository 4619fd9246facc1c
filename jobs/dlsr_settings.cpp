#include "jobs/dlsr_settings.hpp"

#include "jobs/model_settings.hpp"

namespace xrdct {

DlsrSettings read_dlsr_settings(Settings& s) {
    DlsrSettings dlsr;
    dlsr.scales = s.choice("dlsr.scales", "voxel", {"voxel", "map"},
                           "amounts of the phases: refined in every voxel, or the conventional map "
                           "times one factor per phase");
    dlsr.tolerance = s.number("dlsr.tolerance", 1e-3, "",
                              "part of a pattern that its compression may leave out");
    require(dlsr.tolerance > 0 && dlsr.tolerance < 0.1, s, "dlsr.tolerance",
            "must lie between 0 and 0.1");
    dlsr.layers = s.integer("dlsr.layers", 0,
                            "layers along the beam between which patterns are interpolated; 0: by "
                            "the widths of the lines");
    require(dlsr.layers >= 0 && dlsr.layers <= 1000, s, "dlsr.layers",
            "must lie between 0 and 1000");
    dlsr.bounded = s.boolean("dlsr.bounded", true, "amounts of phases may not become negative");
    dlsr.smoothness = s.number_or_word("dlsr.smoothness", std::nullopt, "auto", "",
                                       "strength of the smoothness of voxel cells");
    dlsr.amount_smoothness =
        s.number("dlsr.amount_smoothness", 0, "", "strength of the smoothness of amounts");
    dlsr.edge = s.number("dlsr.edge", 0, "", "edge-preserving smoothness; 0: quadratic");
    dlsr.gap = s.number("dlsr.gap", 0.3, "mm",
                        "gap across which voxels of a phase still count as neighbours");
    dlsr.max_iterations = s.integer("dlsr.max_iterations", 12, "most Gauss-Newton steps");
    dlsr.convergence = s.number("dlsr.convergence", 1e-5, "",
                                "relative change of the objective that ends the fit");
    dlsr.refine_widths = s.boolean("dlsr.refine_widths", true, "refine global widths again");
    dlsr.petsc = s.text("dlsr.petsc", "", "options for PETSc");
    return dlsr;
}

} // namespace xrdct
