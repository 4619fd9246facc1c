// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/report/report_page.hpp"

#include "jobs/report/analysis_page.hpp"
#include "jobs/report/dlsr_page.hpp"
#include "jobs/report/html.hpp"
#include "jobs/report/labels.hpp"
#include "jobs/report/provenance_page.hpp"
#include "jobs/report/statistics.hpp"
#include "jobs/report/text.hpp"
#include "jobs/report/verdict.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <vector>

namespace xrdct::report {

namespace fs = std::filesystem;

namespace {

/// Four decimals are well below a voxel.
std::string signed_millimetres(double value) {
    const std::string text = fmt::format("{:.4f} mm", std::abs(value));
    return value < -5e-5 ? "−" + text : text;
}

/// A group of one map that is neither a phase nor a peak.
bool is_lone(const GroupEntry& group) {
    return group.maps.size() == 1 && !group.data->is_phase() && !group.data->is_peak() &&
           group.data->name != "maps";
}

/// The object as a whole first, then phase by phase, then single peaks, then single rays.
int order_of(const GroupEntry& group) {
    return is_lone(group)               ? (is_ray_group(group.data->name) ? 5 : 0)
           : group.data->name == "maps" ? 1
           : group.data->is_phase()     ? 3
           : group.data->is_peak()      ? 4
                                        : 2;
}

/// Whether maps of the group are left for the page when the DLSR's own pictures are there.
bool shows_more(const StageEntry& stage, const GroupEntry& group) {
    if (!stage.result || !stage.result->dlsr)
        return true;
    return group.data->name != residuals_group &&
           (!group.histograms.empty() ||
            std::any_of(group.maps.begin(), group.maps.end(), [&](const MapEntry& entry) {
                return entry.map->name != "mask" &&
                       !stage.compares(group.data->name, entry.map->name);
            }));
}

class ReportPage {
  public:
    ReportPage(const ReportPlan& plan, const ReportOptions& options, const fs::path& folder,
               const fs::path& pictures)
        : plan_(plan), options_(options), folder_(folder), pictures_(pictures) {}

    std::string str() const;

  private:
    void add_overviews(HtmlPage& page, const StageEntry& stage) const;
    void add_analysis(HtmlPage& page, const StageEntry& stage, bool lithium) const;
    void add_stage(HtmlPage& page, const StageEntry& stage, const StageEntry* main) const;
    void add_groups(HtmlPage& page, const StageEntry& stage) const;
    void add_outcomes(HtmlPage& page, const GroupEntry& group) const;
    void add_maps(HtmlPage& page, const StageEntry& stage,
                  const std::vector<const GroupEntry*>& groups) const;
    void add_dlsr_section(HtmlPage& page, const StageEntry& stage) const;

    fs::path png(const std::string& stem) const {
        fs::path path = pictures_ / stem;
        path += ".png";
        return path;
    }

    const ReportPlan& plan_;
    const ReportOptions& options_;
    const fs::path& folder_;
    const fs::path& pictures_;
};

/// Ring and single numbers of a stage.
void add_details(HtmlPage& page, const ProductStage& stage) {
    if (!stage.ring.empty()) {
        std::vector<std::vector<std::string>> rows;
        for (const auto& [name, value] : stage.ring)
            rows.push_back(
                {escape_html(describe_quantity(name).text),
                 name == "misfit" ? format_number(value, 3) : signed_millimetres(value)});
        page.table("The can wall by which amounts were turned into volumes.", {}, rows);
    }
    if (!stage.details.empty()) {
        std::vector<std::vector<std::string>> rows;
        for (const auto& [name, text] : stage.details)
            rows.push_back({escape_html(name), escape_html(text)});
        page.table("", {}, rows);
    }
}

void ReportPage::add_outcomes(HtmlPage& page, const GroupEntry& group) const {
    if (group.outcomes.empty())
        return;
    std::size_t total = 0;
    for (const auto& [meaning, count] : group.outcomes)
        total += count;
    std::vector<std::vector<std::string>> rows;
    for (const auto& [meaning, count] : group.outcomes) {
        const double share = 100.0 * static_cast<double>(count) / static_cast<double>(total);
        rows.push_back(
            {escape_html(meaning), std::to_string(count), format_number(share, 3) + " %"});
    }
    page.table("", {"Status of the fit", "voxels", "share"}, rows);
}

void ReportPage::add_maps(HtmlPage& page, const StageEntry& stage,
                          const std::vector<const GroupEntry*>& groups) const {
    std::vector<HtmlPage::Figure> figures;
    std::vector<std::string> uniform;
    for (const GroupEntry* group : groups) {
        for (const MapEntry& entry : group->maps) {
            if (entry.map->name == "mask") // it shows in all other maps
                continue;
            if (stage.compares(group->data->name, entry.map->name))
                continue;
            // Proportional to one that is shown; the picture is in the folder.
            if ((entry.map->name == "scale" && group->data->find("weight_fraction")) ||
                (entry.map->name == "density" && group->data->find("volume_fraction")))
                continue;
            const maps::MapStatistics& s = entry.statistics;
            const std::string units =
                display_units(shown_as(entry.map->name, entry.map->units).units);
            if (s.uniform && entry.map->meanings.empty() && s.count > 0) {
                uniform.push_back(
                    fmt::format("{} = {}{}{}", describe_quantity(entry.map->name).text,
                                format_number(s.mean, 6), units.empty() ? "" : " ", units));
                continue;
            }
            figures.push_back({png(entry.stem), entry.caption});
            if (options_.errors_in_page && !entry.errors_stem.empty())
                figures.push_back({png(entry.errors_stem), entry.caption + ", standard deviation"});
        }
        for (const auto& [stem, caption] : group->histograms)
            figures.push_back({png(stem), caption});
    }
    page.figures(figures);
    if (!uniform.empty()) {
        std::string text = "The same in all voxels: ";
        for (std::size_t i = 0; i < uniform.size(); ++i)
            text += (i == 0 ? "" : ", ") + uniform[i];
        page.paragraph(text + ".");
    }
}

std::string ReportPage::str() const {
    const std::string folder_name = fs::absolute(folder_).lexically_normal().filename().string();
    std::string title = plan_.products().title;
    if (title.empty())
        title = "XRD-CT report";
    std::string versions;
    std::set<std::string> seen;
    for (const ProductStage& stage : plan_.products().stages)
        if (seen.insert(stage.version).second)
            versions += (versions.empty() ? "" : ", ") + stage.version;
    HtmlPage page(title,
                  fmt::format("X-ray diffraction computed tomography · xrdct {}{}{}", versions,
                              folder_name.empty() ? "" : " · products in ", folder_name));
    const StageEntry* main = plan_.main_stage();
    page.section("Summary");
    if (const Verdict verdict = judge(plan_.analysis()); !verdict.trusted())
        page.paragraph(
            fmt::format("This result cannot be trusted: {}.", fmt::join(verdict.faults, "; ")));
    if (main) {
        add_summary(page, plan_.analysis(), *main->result);
        add_overviews(page, *main);
        page.paragraph("Colour bars span the bulk of the values (1 to 99 %); a pointed end marks "
                       "values beyond. Voxels without a value are grey. x points right, y up.");
    } else {
        page.paragraph("The products hold no maps of phases.");
    }
    for (const StageEntry& stage : plan_.stages())
        add_stage(page, stage, main);
    std::vector<std::string> notes = plan_.products().notes;
    notes.insert(notes.end(), plan_.notes().begin(), plan_.notes().end());
    add_provenance(page, plan_.products(), notes);
    return page.str();
}

void ReportPage::add_overviews(HtmlPage& page, const StageEntry& stage) const {
    if (!stage.fractions_stem.empty())
        page.figure({png(stage.fractions_stem),
                     stage.fractions_quantity == "weight_fraction"
                         ? "Weight fractions of the refined crystalline phases; every panel has "
                           "its own colour bar."
                         : "The phases of the model; every panel has its own colour bar."});
    if (!stage.cells_stem.empty())
        page.figure({png(stage.cells_stem),
                     stage.result && stage.result->dlsr
                         ? "Lattice parameters, shown where the phase is significant (three "
                           "e.s.d.); smoothness ties them to their neighbours."
                         : "Lattice parameters refined in the voxels, where the phase is "
                           "significant."});
    for (const auto& [planned, stem] : stage.pictures)
        if (planned.kind == PlannedPicture::Kind::lithium_map)
            page.figure({png(stem), planned.caption});
}

void ReportPage::add_analysis(HtmlPage& page, const StageEntry& stage, bool lithium) const {
    using Kind = PlannedPicture::Kind;
    const auto figures_of = [&](const std::set<Kind>& kinds) {
        std::vector<HtmlPage::Figure> figures;
        for (const auto& [planned, stem] : stage.pictures)
            if (kinds.contains(planned.kind))
                figures.push_back({png(stem), planned.caption});
        return figures;
    };
    if (!lithium) {
        page.subsection("Statistics");
        add_statistics(page, *stage.result);
        if (const auto figures = figures_of({Kind::profile}); !figures.empty()) {
            page.subsection("Radial profiles");
            page.paragraph(profile_note(*stage.result));
            page.figures(figures);
        }
        return;
    }
    if (stage.result->lithium.empty())
        return;
    page.subsection("Lithium content");
    std::set<Kind> kinds{Kind::lithium_errors, Kind::lithium_distribution};
    if (&stage != plan_.main_stage()) { // those of the main stage are in the summary
        add_lithium_table(page, *stage.result);
        kinds.insert(Kind::lithium_map);
    }
    page.figures(figures_of(kinds));
}

void ReportPage::add_dlsr_section(HtmlPage& page, const StageEntry& stage) const {
    std::vector<DlsrFigure> figures;
    for (const auto& [picture, stem] : stage.dlsr)
        figures.push_back({&picture, png(stem)});
    std::optional<HtmlPage::Figure> residuals;
    for (const GroupEntry& group : stage.groups)
        if (group.data->name == residuals_group && !group.maps.empty())
            residuals = {png(group.maps.front().stem),
                         "Residuals of all rays: mean over the channels of the squared residual "
                         "over its variance; 1 where the model explains the ray within its noise, "
                         "grey: left out. What one place of the sample does follows a sine "
                         "curve; a line across is one projection, a line along the rotation one "
                         "distance from the axis."};
    add_dlsr(page, *stage.result, figures, residuals);
}

void ReportPage::add_groups(HtmlPage& page, const StageEntry& stage) const {
    for (int kind = 0; kind < 6; ++kind) {
        std::vector<const GroupEntry*> lone;
        for (const GroupEntry& group : stage.groups) {
            if (group.maps.empty() || order_of(group) != kind || !shows_more(stage, group))
                continue;
            if (is_lone(group)) {
                lone.push_back(&group);
                continue;
            }
            page.subsection(kind == 1   ? "Quality of the fits"
                            : kind == 2 ? capital(describe_quantity(group.data->name).text)
                                        : group.data->name);
            if (kind == 1)
                add_outcomes(page, group);
            add_maps(page, stage, {&group});
        }
        if (!lone.empty() && kind == 5)
            page.subsection("Path lengths in the phases");
        add_maps(page, stage, lone);
    }
}

void ReportPage::add_stage(HtmlPage& page, const StageEntry& stage, const StageEntry* main) const {
    const bool any_group =
        std::any_of(stage.groups.begin(), stage.groups.end(), [&](const GroupEntry& g) {
            return !g.maps.empty() || !g.pattern_stem.empty();
        });
    if (!any_group && stage.stage->start_model.empty() && stage.stage->details.empty())
        return;
    page.section(stage_title(stage.stage->name));
    for (const GroupEntry& group : stage.groups)
        if (!group.pattern_stem.empty())
            page.figure({png(group.pattern_stem), group.pattern_caption});
    if (stage.result && stage.result->dlsr) {
        add_dlsr_section(page, stage);
    } else if (!stage.stage->start_model.empty()) {
        page.subsection("Start model, refined on the mean pattern");
        page.json(stage.stage->start_model);
    }
    if (stage.result) {
        if (&stage != main)
            add_overviews(page, stage);
        add_analysis(page, stage, false);
        add_analysis(page, stage, true);
    }
    add_groups(page, stage);
    add_details(page, *stage.stage);
}

} // namespace

std::string report_page(const ReportPlan& plan, const ReportOptions& options,
                        const fs::path& folder, const fs::path& pictures) {
    return ReportPage(plan, options, folder, pictures).str();
}

} // namespace xrdct::report
