// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/report/analysis.hpp"
#include "jobs/report/products.hpp"
#include "jobs/report/verdict.hpp"

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

/// The product of the analysis, analysis.nxs: what report, compare and users read of lithium
/// contents, amounts, statistics and radial profiles (see file-formats.md). Serial.
namespace xrdct::report {

/// Name of the file beside the products it was made of, and of its process.
inline constexpr const char* analysis_file = "analysis.nxs";
inline constexpr const char* analysis_process = "analysis";

/// [[lithium]] tables that replace those of the products' jobs; nothing: those of the jobs.
using GivenLithium = std::optional<std::vector<settings::LithiumSettings>>;

/// Checksums (file name → SHA-256) of the products that the analysis looks at: those with maps of
/// phases, with the reference ring or with a mask.
std::map<std::string, std::string> analysed_products(const Products& products);

/// For read_analysis: whatever tables it was made with.
struct AnyLithium {};
inline constexpr AnyLithium any_lithium;

/// The settings that decide an analysis, as JSON.
std::string analysis_settings(const GivenLithium& lithium);

/// Writes the analysis of the products beside them, over an older one. @throws Error when it cannot
/// be written.
void write_analysis(const Analysis& analysis, const Products& products, const GivenLithium& lithium,
                    const std::filesystem::path& path);

/// Reads an analysis; nothing when the file is missing, or was made of other products, with other
/// settings or by another version of the program. `main_stage` as in analyse().
/// @throws Error when the file is damaged, or for a main stage that it does not have.
std::optional<Analysis> read_analysis(const std::filesystem::path& path, const Products& products,
                                      const GivenLithium& lithium,
                                      const std::string& main_stage = "");

std::optional<Analysis> read_analysis(const std::filesystem::path& path, const Products& products,
                                      AnyLithium, const std::string& main_stage = "");

/// What a run says of its products at its end.
struct RunAnalysis {
    std::vector<std::string> notes; ///< what a user should know, such as why there is no analysis
    Verdict verdict;                ///< empty where no stage has phases
};
/// At the end of a run: brings analysis.nxs of the folder up to date and judges it.
RunAnalysis refresh_analysis(const std::filesystem::path& folder);

} // namespace xrdct::report
