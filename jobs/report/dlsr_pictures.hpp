// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/report/analysis.hpp"
#include "jobs/report/picture.hpp"

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace xrdct::report {

/// A picture of what a DLSR found.
struct DlsrPicture {
    enum class Kind { comparison, errors, lines, convergence, held_out };
    Kind kind = Kind::comparison;
    std::string group;                   ///< phase or peak; empty: the fit as a whole
    std::vector<std::string> quantities; ///< that the picture shows
    std::string name;                    ///< for the file: "NMC532_comparison"
    std::string caption;
    std::function<void(const std::filesystem::path& stem, const PictureOptions& options)> draw;
};

/// Values [y, x] of a map, or of its standard deviations (empty: none); may be called by several
/// threads.
using MapReader = std::function<std::vector<double>(const ProductStage& stage,
                                                    const ProductMap& map, bool errors)>;

/// Conventional and DLSR maps with one colour range beside their difference, the same of the
/// standard deviations, reflections against rotation, convergence and held-out projections.
/// `conventional` may be null. The functions refer to the stages, which must outlive them.
std::vector<DlsrPicture> dlsr_pictures(const ProductStage& dlsr, const DlsrDiagnostics& diagnostics,
                                       const ProductStage* conventional, const MapReader& read);

/// The same for the lithium contents of the electrodes that both have. Refers to neither
/// afterwards.
std::vector<DlsrPicture> dlsr_lithium_pictures(const StageResult& dlsr,
                                               const StageResult& conventional);

} // namespace xrdct::report
