// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "base/shared_memory_team.hpp"
#include "rietveld/model/pattern_basis.hpp"
#include "rietveld/model/pattern_model.hpp"
#include "solvers/dlsr/options.hpp"
#include "solvers/dlsr/problem.hpp"

#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace xrdct::dlsr {

/// What the conventional analysis (reconstruction, then a fit of every voxel) hands to the DLSR.
/// Maps are [y · n + x], NaN or empty where it has no value.
struct ConventionalMaps {
    std::size_t n = 0;
    std::vector<double> x;        ///< mm, both axes
    rietveld::PatternModel model; ///< as refined on the mean pattern
    std::vector<unsigned char> sample;
    struct PhaseMaps {
        std::vector<unsigned char> mask;
        std::vector<double> scale;
        std::vector<std::vector<double>> cell; ///< per independent parameter; empty: not a map
        /// Crystallite size [Å] and microstrains; empty: not a map.
        std::vector<double> size{}, microstrain{}, gauss_microstrain{};
    };
    std::vector<PhaseMaps> phases;
    std::vector<std::vector<double>> areas;      ///< of the single peaks
    std::vector<std::vector<double>> background; ///< per Chebyshev term

    /// Phases that start absent may be wherever their leaders are, too: these maps do not tell the
    /// two apart.
    void share_masks(const Options& options);
    /// Gives up the maps but for sample and masks: a setup has what it needs of them.
    void release_starts();
};

/// A value of the fit and what it is called.
struct Quantity {
    std::string group, name, unit; ///< such as "NMC532", "c", "angstrom"
};

/// The parts of the pattern, where they are, what is refined and where it starts.
struct Setup {
    rietveld::PatternModel model;
    std::vector<rietveld::PatternPart> parts;
    std::vector<SharedArray<std::size_t>> pixels; ///< per part
    struct Field {
        dlsr::Field field;
        Quantity quantity;
        SharedArray<double> start; ///< map [y · n + x]
        bool late = false;         ///< tied to its neighbours more strongly in the rough steps
    };
    std::vector<Field> fields; ///< every amount and voxel shape, fixed ones too
    std::vector<dlsr::Global> globals;
    std::vector<Quantity> global_quantities;
    std::vector<unsigned char> late; ///< per global: held at its start in the rough steps
    /// Centroid of the sample (x, y) [mm], which the layers of textured phases are wound about.
    std::array<double, 2> layer_centre{};
};

/// The setup of a DLSR that starts from the conventional maps, whose pixels are `pixel` [mm] wide.
/// Phases and peaks of the options are those of the model. Maps lie in the memory of the team.
/// Collective over it.
Setup make_setup(const SharedMemoryTeam& team, const Options& options,
                 const ConventionalMaps& conventional, double pixel);

/// Whether it has amounts per voxel that are tied to their neighbours, of a part that did not start
/// absent.
bool is_smooth_amount(const Setup::Field& field);

/// Ranges of the global shapes, for which patterns are tabulated, and where they start.
struct GlobalRanges {
    std::vector<double> lower, upper, start;
};
GlobalRanges global_ranges(const Setup& setup);
void set_global_ranges(Setup& setup, const GlobalRanges& ranges);
/// Ranges about `values` for the shapes that ended at the end of theirs, with the others as they
/// are; nothing when none did. Ends that nature (widths of 0) or the bounds of the model's
/// parameter set stay.
std::optional<GlobalRanges> moved_ranges(const Setup& setup, std::span<const double> values);

} // namespace xrdct::dlsr
