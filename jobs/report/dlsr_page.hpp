// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/report/analysis.hpp"
#include "jobs/report/dlsr_pictures.hpp"
#include "jobs/report/html.hpp"

#include <filesystem>
#include <optional>
#include <vector>

namespace xrdct::report {

/// A picture of dlsr_pictures() and where it was drawn.
struct DlsrFigure {
    const DlsrPicture* picture = nullptr;
    std::filesystem::path png;
};

/// What a DLSR tells beyond the maps every stage has: how it ended, global values, comparison with
/// the conventional analysis, smoothness and resolution, residuals, convergence. `stage.dlsr` has a
/// value; `residuals`: the residual sinogram.
void add_dlsr(HtmlPage& page, const StageResult& stage, const std::vector<DlsrFigure>& figures,
              const std::optional<HtmlPage::Figure>& residuals);

} // namespace xrdct::report
