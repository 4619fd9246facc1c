// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/pattern/pattern_job.hpp"
#include "jobs/program/provenance.hpp"
#include "rietveld/fit/refinement.hpp"

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace xrdct::pattern {

/// A refined pattern with all that its reports need.
struct PatternRefinement {
    PatternJob job;
    patterns::PatternFile pattern;
    std::vector<double> fitted;   ///< [n] intensities; NaN: left out
    std::vector<double> variance; ///< [n], or empty: constant weights
    std::string errors;           ///< where the variances come from, in words
    rietveld::RefinementResult result;
    std::vector<std::vector<double>> partial; ///< per phase of the result's model: [n]
    std::vector<std::vector<double>> single;  ///< per single peak: [n]
    std::vector<std::string> notes;
    std::map<std::string, std::string> inputs; ///< path → SHA-256
    program::Timings timings;
};

/// Two refined parameters whose correlation exceeds 0.9 in magnitude.
struct StrongCorrelation {
    std::string first, second;
    double value = 0;
};
/// Strongest first.
std::vector<StrongCorrelation> strong_correlations(const rietveld::RefinementResult& result);

/// Everything a program may want: agreement, parameters, correlation matrix, phases, provenance.
nlohmann::json to_json(const PatternRefinement& refinement);

/// The table for people.
std::string summary_text(const PatternRefinement& refinement);

/// The files that write_results makes in a folder.
std::vector<std::filesystem::path> result_files(const std::filesystem::path& folder, bool pictures);

/// Writes rietveld.json, rietveld.nxs and, if asked, rietveld.png and .svg, each under a temporary
/// name first. Pictures that cannot be made become a note. Throws Error for what cannot be written.
/// Returns the files.
std::vector<std::filesystem::path> write_results(PatternRefinement& refinement, bool pictures,
                                                 bool force);

} // namespace xrdct::pattern
