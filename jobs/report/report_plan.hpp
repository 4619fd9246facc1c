// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/report/analysis.hpp"
#include "jobs/report/analysis_file.hpp"
#include "jobs/report/analysis_pictures.hpp"
#include "jobs/report/dlsr_pictures.hpp"
#include "jobs/report/drawing_task.hpp"
#include "jobs/report/picture.hpp"
#include "jobs/report/products.hpp"
#include "jobs/report/report.hpp"
#include "maps/statistics.hpp"

#include <filesystem>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// What a report will consist of, before anything is drawn.
namespace xrdct::report {

/// A map's numbers as they are shown.
struct Shown {
    double factor = 1.0;
    std::string units;
};

/// Agreement indices are stored as fractions and read as per cent.
Shown shown_as(const std::string& name, const std::string& units);

/// A map and how it is shown.
struct MapEntry {
    const ProductStage* stage = nullptr;
    const ProductData* data = nullptr;
    const ProductMap* map = nullptr;
    maps::MapStatistics statistics;
    ColourRange range;
    ColourRange errors_range; ///< of its standard deviations
    std::string stem;
    std::string errors_stem; ///< of the picture of the standard deviations, empty: none
    std::string caption;
};

/// One stage's entries of a data group, in the order of the file.
struct GroupEntry {
    const ProductData* data = nullptr;
    std::vector<MapEntry> maps;
    std::string weights; ///< quantity the statistics are weighted with, empty: none
    std::string pattern_stem, pattern_caption;
    std::vector<std::pair<std::string, std::string>> histograms; ///< stem and caption
    std::vector<std::pair<std::string, std::size_t>> outcomes;   ///< of the map "status"
};

/// What of a stage goes into pictures and page.
struct StageEntry {
    const ProductStage* stage = nullptr;
    std::vector<GroupEntry> groups;
    std::string fractions_stem, cells_stem; ///< overviews, empty: none
    std::string fractions_quantity;
    const StageResult* result = nullptr; ///< statistics of its phases, none: it has no phases
    std::vector<std::pair<PlannedPicture, std::string>> pictures; ///< of the statistics, with stems
    std::vector<std::pair<DlsrPicture, std::string>> dlsr;        ///< of a DLSR, with stems

    /// Whether a picture of the DLSR shows the map beside the conventional one.
    bool compares(const std::string& group, const std::string& quantity) const {
        return std::any_of(dlsr.begin(), dlsr.end(), [&](const auto& entry) {
            const DlsrPicture& picture = entry.first;
            return picture.kind == DlsrPicture::Kind::comparison && picture.group == group &&
                   std::find(picture.quantities.begin(), picture.quantities.end(), quantity) !=
                       picture.quantities.end();
        });
    }
};

/// What the rays of a phase tell, as the absorption stage names it: "<phase>_rays".
inline constexpr std::string_view rays_suffix = "_rays";
/// The residual sinogram of a DLSR.
inline constexpr std::string_view residuals_group = "residuals";

bool is_ray_group(const std::string& name);

/// Products, their analysis, and the pictures with their captions. Its entries point into it.
class ReportPlan {
  public:
    ReportPlan(const std::filesystem::path& folder, const ReportOptions& options);
    ReportPlan(const ReportPlan&) = delete;
    ReportPlan& operator=(const ReportPlan&) = delete;

    const Products& products() const { return products_; }
    const Analysis& analysis() const { return analysis_; }
    /// The [[lithium]] tables of --lithium.
    const GivenLithium& lithium() const { return lithium_; }
    /// Whether the analysis was made here rather than read from an analysis.nxs that is up to date.
    bool has_new_analysis() const { return is_new_; }
    const std::vector<StageEntry>& stages() const { return stages_; }
    const std::vector<DrawingTask>& tasks() const { return tasks_; }
    const std::vector<std::string>& notes() const { return notes_; }
    /// The stage of the summary; null: no stage has phases.
    const StageEntry* main_stage() const;

  private:
    void plan_stage(const ProductStage& stage);
    void plan_maps(StageEntry& stage, GroupEntry& group);
    MapEntry describe_entry(const ProductStage& stage, GroupEntry& group, const ProductMap& map,
                            const std::vector<double>& weights);
    void plan_errors(const MapEntry& entry);
    void plan_pattern(const ProductStage& stage, GroupEntry& group);
    void plan_curve(const ProductStage& stage, GroupEntry& group);
    void plan_histogram(const ProductStage& stage, GroupEntry& group);
    void plan_overviews(StageEntry& stage);
    std::string plan_grid(const ProductStage& stage, const std::vector<MapEntry>& entries,
                          const std::string& title, const std::string& name);
    void find_analysis(const std::filesystem::path& folder);
    void plan_analysis();
    void plan_dlsr(StageEntry& stage);
    const StageResult* result_of(const ProductStage& stage) const;
    void share_ranges();

    /// A picture's name below the pictures folder that no other has.
    std::string unique_stem(const std::string& stage, const std::string& group,
                            const std::string& quantity);
    std::string qualified(const ProductStage& stage, const std::string& title) const;
    /// Values as shown; codes outside the stage's mask are NaN.
    std::vector<double> values(const ProductStage& stage, const ProductMap& map) const;
    std::vector<double> errors(const ProductStage& stage, const ProductMap& map) const;
    MapPicture picture(const MapEntry& entry) const;

    ReportOptions options_;
    Products products_;
    std::vector<StageEntry> stages_;
    std::vector<DrawingTask> tasks_;
    std::set<std::string> stems_;
    GivenLithium lithium_;
    Analysis analysis_;
    bool is_new_ = false;
    std::vector<std::string> notes_;
    mutable std::mutex hdf5_; ///< the HDF5 library is not thread-safe
};

} // namespace xrdct::report
