// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "base/numbers.hpp"
#include "jobs/report/dlsr.hpp"
#include "jobs/report/evidence.hpp"
#include "jobs/report/products.hpp"
#include "jobs/settings/lithium_settings.hpp"
#include "maps/lithium.hpp"
#include "maps/radial_profile.hpp"
#include "maps/statistics.hpp"

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace xrdct::report {

/// Statistics and radial profile of one map of a phase.
struct QuantityResult {
    std::string quantity; ///< name of the dataset
    std::string units;
    maps::WeightedSummary summary; ///< weighted with the phase's amount
    maps::RadialProfile profile;   ///< weighted as profile_weights says; empty when uniform
    std::string profile_weights;
};

struct PhaseResult {
    std::string phase;
    std::string weights; ///< the map that says how much of the phase a voxel holds
    std::vector<QuantityResult> quantities;
    double whole_weight_fraction = 0.0; ///< of the crystalline part of the object; NaN: unknown
    double cross_section =
        nan_value; ///< area of the slice that the phase fills [mm²]; NaN: unknown
    double mass_per_length =
        nan_value; ///< of the phase per height of the slice [mg/mm]; NaN: unknown
    /// One value for the object [Å, deg]: refined on the mean pattern, by a DLSR on all
    /// projections.
    std::map<std::string, maps::Estimate> global_cell;
};

struct ElectrodeResult {
    std::string electrode;
    std::vector<settings::LithiumSettings> settings;
    maps::LithiumMap map;
    maps::WeightedSummary summary; ///< weighted with the moles of host
    maps::RadialProfile profile;
    std::string weights_units; ///< "mol/cm^3"; empty: up to a constant
};

/// Share of the fits with an outcome.
struct Outcome {
    std::string meaning;
    std::size_t voxels = 0;
};

struct StageResult {
    std::string stage;
    std::string file; ///< name of the product
    std::string version, date;
    Axis x, y;
    std::vector<PhaseResult> phases;
    std::string whole_method; ///< how whole_weight_fraction was found
    double centre_x = 0.0, centre_y = 0.0;
    std::string centre; ///< what the centre of the radial profiles is
    std::vector<ElectrodeResult> lithium;
    std::vector<std::pair<std::string, maps::WeightedSummary>>
        agreement; ///< rwp, gof, …: unweighted
    std::vector<Outcome> outcomes;
    std::optional<DlsrDiagnostics> dlsr;    ///< of a DLSR
    std::vector<MapDifference> differences; ///< of a DLSR to the conventional analysis
    Evidence evidence;                      ///< of the product, read with it each time

    const PhaseResult* find(const std::string& phase) const;
};

struct Analysis {
    std::vector<StageResult> stages; ///< those with phases, in the order of the products
    std::string main; ///< the stage whose numbers come first; empty: there are no phases
    std::vector<std::string> notes;
};

/// Statistics of all stages that have maps of phases. `main_stage`: the one whose numbers come
/// first; empty: the last one, absorption only where it is alone. `lithium` replaces the
/// [[lithium]] tables of the products' jobs; `lithium_source` names its file in messages. Reads
/// maps: not thread-safe.
/// @throws Error for a main stage that has no phases, for lithium settings that do not fit the
/// products (an unknown phase, a lattice parameter that is neither a map nor refined on the mean
/// pattern, a table in other units).
Analysis analyse(const Products& products,
                 const std::optional<std::vector<settings::LithiumSettings>>& lithium = {},
                 const std::string& lithium_source = "", const std::string& main_stage = "");

/// The stage whose numbers come first, see analyse(); empty: there are no phases. @throws Error
/// when `wanted` is not among the stages.
std::string find_main_stage(const Analysis& analysis, const std::string& wanted);

/// The numbers of an analysis: report.json.
std::string analysis_json(const Analysis& analysis, const std::string& title);

/// The same as one row per stage, phase and quantity: report.csv (RFC 4180, UTF-8, header line).
std::string analysis_csv(const Analysis& analysis);

} // namespace xrdct::report
