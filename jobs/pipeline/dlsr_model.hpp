#pragma once

#include "base/shared_memory_team.hpp"
#include "jobs/pipeline/pipeline.hpp"
#include "rietveld/model/pattern_basis.hpp"
#include "solvers/dlsr/problem.hpp"

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace xrdct::pipeline {

/// What the conventional analysis hands to the DLSR.
struct ConventionalResult {
    std::size_t n = 0;
    std::vector<double> x;        ///< mm
    rietveld::PatternModel model; ///< as refined on the mean pattern
    std::vector<unsigned char> sample;
    struct PhaseMaps {
        std::vector<unsigned char> mask;
        std::vector<double> scale;
        std::vector<std::vector<double>> cell; ///< per independent parameter; empty: not a map
    };
    std::vector<PhaseMaps> phases;
    std::vector<std::vector<double>> areas;      ///< of the single peaks
    std::vector<std::vector<double>> background; ///< per Chebyshev term

    /// Gives up the maps but for sample and masks: a setup has what it needs of them.
    void release_starts();
};
/// Reads the rietveld stage's product. Throws Error when it is missing or was made with other
/// settings.
ConventionalResult read_conventional_result(const settings::Job& job, double wavelength,
                                            std::vector<std::string>& notes);

/// A value of the fit and what it is called.
struct DlsrQuantity {
    std::string group, name, unit; ///< such as "NMC532", "c", "angstrom"
};

/// The parts of the pattern, where they are, what is refined and where it starts.
struct DlsrSetup {
    rietveld::PatternModel model;
    std::vector<rietveld::PatternPart> parts;
    std::vector<SharedArray<std::size_t>> pixels; ///< per part
    struct Field {
        dlsr::Field field;
        DlsrQuantity quantity;
        SharedArray<double> start; ///< map [y · n + x]
    };
    std::vector<Field> fields; ///< every amount and voxel shape, fixed ones too
    std::vector<dlsr::Global> globals;
    std::vector<DlsrQuantity> global_quantities;
    /// Centroid of the sample (x, y) [mm], which the layers of textured phases are wound about.
    std::array<double, 2> layer_centre{};
};
/// Maps lie in the memory of the team. Collective over it.
DlsrSetup make_dlsr_setup(const SharedMemoryTeam& team, const settings::Job& job,
                          const ConventionalResult& conventional, double pixel);

/// Ranges of the global shapes, for which patterns are tabulated, and where they start.
struct GlobalRanges {
    std::vector<double> lower, upper, start;
};
GlobalRanges global_ranges(const DlsrSetup& setup);
void set_global_ranges(DlsrSetup& setup, const GlobalRanges& ranges);
/// Ranges about `values` for the shapes that ended at the end of theirs, with the others as they
/// are; nothing when none did. Ends that nature sets (widths of 0) stay.
std::optional<GlobalRanges> moved_ranges(const DlsrSetup& setup, std::span<const double> values);

} // namespace xrdct::pipeline
