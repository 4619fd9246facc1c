#include "jobs/report/report.hpp"

#include "base/error.hpp"
#include "base/numbers.hpp"
#include "jobs/program/progress.hpp"
#include "jobs/report/analysis.hpp"
#include "jobs/report/analysis_page.hpp"
#include "jobs/report/analysis_pictures.hpp"
#include "jobs/report/curve_picture.hpp"
#include "jobs/report/dlsr_page.hpp"
#include "jobs/report/dlsr_pictures.hpp"
#include "jobs/report/gnuplot.hpp"
#include "jobs/report/html.hpp"
#include "jobs/report/labels.hpp"
#include "jobs/report/picture.hpp"
#include "jobs/report/products.hpp"
#include "jobs/report/provenance_page.hpp"
#include "jobs/report/statistics.hpp"
#include "jobs/report/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cctype>
#include <cmath>
#include <exception>
#include <fstream>
#include <functional>
#include <limits>
#include <mutex>
#include <set>
#include <thread>

namespace xrdct::report {

namespace fs = std::filesystem;

namespace report {
namespace {

/// Pictures that are to be drawn: a name below the pictures folder and the function that draws it.
struct Task {
    std::string stem;
    std::function<void(const fs::path& stem)> draw;
};

/// A map's numbers as they are shown.
struct Shown {
    double factor = 1.0;
    std::string units;
};

/// Agreement indices are stored as fractions and read as per cent.
Shown shown_as(const std::string& name, const std::string& units) {
    for (const char* index : {"rwp", "rp", "rexp", "r_bragg"})
        if (name == index && display_units(units).empty())
            return {100.0, "percent"};
    return {1.0, units};
}

struct MapEntry {
    const ProductStage* stage = nullptr;
    const ProductData* data = nullptr;
    const ProductMap* map = nullptr;
    maps::MapStatistics statistics;
    ColourRange range;
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

bool is_cell(const std::string& name) {
    static constexpr std::array names{"a", "b", "c", "alpha", "beta", "gamma"};
    return std::find(names.begin(), names.end(), name) != names.end();
}

/// What the rays of a phase tell, as the absorption stage names it: "<phase>_rays".
constexpr std::string_view rays_suffix = "_rays";
/// The residual sinogram of a DLSR.
constexpr std::string_view residuals_group = "residuals";

bool is_ray_group(const std::string& name) {
    return name.size() > rays_suffix.size() && name.ends_with(rays_suffix);
}

std::string lower(std::string text) {
    std::transform(text.begin(), text.end(), text.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return text;
}

/// Four decimals are well below a voxel.
std::string signed_millimetres(double value) {
    const std::string text = fmt::format("{:.4f} mm", std::abs(value));
    return value < -5e-5 ? "−" + text : text;
}

class Maker {
  public:
    Maker(const fs::path& folder, const ReportOptions& options)
        : folder_(folder), options_(options), products_(read_products(folder)) {}

    ReportResult make();

  private:
    void plan();
    void plan_stage(const ProductStage& stage);
    void plan_maps(StageEntry& stage, GroupEntry& group);
    void plan_pattern(const ProductStage& stage, GroupEntry& group);
    void plan_histogram(const ProductStage& stage, GroupEntry& group);
    void plan_overviews(StageEntry& stage);
    void find_analysis();
    void plan_analysis();
    const StageResult* result_of(const ProductStage& stage) const;
    void share_ranges();
    void draw(const fs::path& pictures) const;
    std::string page(const fs::path& pictures) const;

    void add_overviews(HtmlPage& page, const StageEntry& stage, const fs::path& pictures) const;
    void add_analysis(HtmlPage& page, const StageEntry& stage, bool lithium,
                      const fs::path& pictures) const;
    void add_stage(HtmlPage& page, const StageEntry& stage, const StageEntry* main,
                   const fs::path& pictures) const;
    const StageEntry* main_stage() const;
    void add_outcomes(HtmlPage& page, const GroupEntry& group) const;
    void add_maps(HtmlPage& page, const StageEntry& stage,
                  const std::vector<const GroupEntry*>& groups, const fs::path& pictures) const;
    void add_dlsr_section(HtmlPage& page, const StageEntry& stage, const fs::path& pictures) const;

    std::string unique_stem(const std::string& stage, const std::string& group,
                            const std::string& quantity);
    std::string qualified(const ProductStage& stage, const std::string& title) const;
    /// Values as shown; codes outside the stage's mask are NaN.
    std::vector<double> values(const ProductStage& stage, const ProductMap& map) const;
    std::vector<double> errors(const ProductStage& stage, const ProductMap& map) const;
    MapPicture picture(const MapEntry& entry) const;

    fs::path folder_;
    ReportOptions options_;
    Products products_;
    std::vector<StageEntry> stages_;
    std::vector<Task> tasks_;
    std::set<std::string> stems_;
    Analysis analysis_;
    std::vector<std::string> notes_;
    mutable std::mutex hdf5_; ///< the HDF5 library is not thread-safe
};

std::vector<double> Maker::values(const ProductStage& stage, const ProductMap& map) const {
    const std::lock_guard lock(hdf5_);
    std::vector<double> numbers = read_map_values(stage, map);
    const double factor = shown_as(map.name, map.units).factor;
    if (factor != 1.0)
        for (double& v : numbers)
            v *= factor;
    if (map.is_integer && map.name != "mask") {
        for (const ProductData& data : stage.data) {
            // Phases may have masks of their own: where they were sought.
            const ProductMap* mask = data.is_phase() ? nullptr : data.find("mask");
            if (!mask || mask->path == map.path)
                continue;
            const std::vector<double> inside = read_map_values(stage, *mask);
            if (inside.size() != numbers.size())
                continue;
            for (std::size_t i = 0; i < numbers.size(); ++i)
                if (inside[i] == 0.0)
                    numbers[i] = nan_value;
            break;
        }
    }
    return numbers;
}

std::vector<double> Maker::errors(const ProductStage& stage, const ProductMap& map) const {
    const std::lock_guard lock(hdf5_);
    std::vector<double> numbers = read_map_errors(stage, map);
    const double factor = shown_as(map.name, map.units).factor;
    for (double& v : numbers)
        v *= factor;
    return numbers;
}

std::string Maker::unique_stem(const std::string& stage, const std::string& group,
                               const std::string& quantity) {
    std::string stem = file_name_part(stage);
    if (!group.empty() && group != quantity && group != "maps")
        stem += "_" + file_name_part(group);
    if (!quantity.empty())
        stem += "_" + file_name_part(quantity);
    std::string name = stem;
    for (int n = 2; !stems_.insert(lower(name)).second; ++n)
        name = fmt::format("{}-{}", stem, n);
    return name;
}

std::string Maker::qualified(const ProductStage& stage, const std::string& title) const {
    const auto with_phases = [](const ProductStage& s) {
        return std::any_of(s.data.begin(), s.data.end(),
                           [](const ProductData& d) { return d.is_phase(); });
    };
    const auto count = std::count_if(products_.stages.begin(), products_.stages.end(), with_phases);
    return count > 1 && with_phases(stage) ? fmt::format("{} ({})", title, stage.name) : title;
}

MapPicture Maker::picture(const MapEntry& entry) const {
    MapPicture picture;
    picture.values = values(*entry.stage, *entry.map);
    picture.x = entry.data->x;
    picture.y = entry.data->y;
    picture.title = entry.caption;
    picture.quantity = entry.map->name;
    picture.units = shown_as(entry.map->name, entry.map->units).units;
    picture.categories = entry.map->meanings;
    if (picture.categories.empty())
        picture.range = entry.range;
    return picture;
}

void Maker::plan_maps(StageEntry& stage_entry, GroupEntry& group) {
    const ProductStage& stage = *stage_entry.stage;
    const ProductData& data = *group.data;
    std::vector<double> weights;
    // The scale factor of a phase is proportional to its amount in the voxel.
    for (const char* quantity : {"density", "volume_fraction", "scale", "weight_fraction", "area"})
        if (const ProductMap* map = data.find(quantity); map && weights.empty()) {
            weights = values(stage, *map);
            group.weights = quantity;
        }
    for (const ProductMap& map : data.maps) {
        MapEntry entry;
        entry.stage = &stage;
        entry.data = &data;
        entry.map = &map;
        const std::vector<double> numbers = values(stage, map), deviations = errors(stage, map);
        // Amounts are averaged over the voxels, properties over the amount.
        const Quantity quantity = describe_quantity(map.name);
        const bool amount = quantity.from_zero || map.is_integer;
        entry.statistics =
            maps::map_statistics(numbers, amount ? std::span<const double>{} : weights, deviations);
        entry.range = robust_range(
            numbers, quantity.from_zero,
            std::isfinite(entry.statistics.median_error) ? entry.statistics.median_error : 0.0);
        entry.stem = unique_stem(stage.name, data.name, map.name);
        const bool whole =
            data.name == "maps" || data.name == map.name || (!data.is_phase() && !data.is_peak());
        std::string label = quantity.text;
        if (whole && !label.empty())
            label[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(label[0])));
        const std::string name = is_ray_group(data.name)
                                     ? data.name.substr(0, data.name.size() - rays_suffix.size())
                                     : data.name;
        entry.caption =
            qualified(stage, whole && name == data.name ? label : name + ": " + quantity.text);
        if (map.name == "status" && !map.meanings.empty()) {
            std::map<int, std::size_t> counts;
            for (const double v : numbers)
                if (std::isfinite(v))
                    ++counts[static_cast<int>(std::lround(v))];
            for (const auto& [code, count] : counts) {
                const auto meaning = map.meanings.find(code);
                group.outcomes.emplace_back(
                    meaning != map.meanings.end() ? meaning->second : fmt::format("code {}", code),
                    count);
            }
        }
        if (map.has_errors)
            entry.errors_stem = unique_stem(stage.name, data.name, map.name + "_errors");
        group.maps.push_back(entry);
        if (!map.has_errors)
            continue;
        const std::string caption =
            qualified(stage, whole ? "Standard deviation of " + quantity.text
                                   : data.name + ": standard deviation of " + quantity.text);
        tasks_.push_back(
            {entry.errors_stem, [this, entry, caption](const fs::path& target) {
                 MapPicture errors_picture;
                 errors_picture.values = errors(*entry.stage, *entry.map);
                 errors_picture.x = entry.data->x;
                 errors_picture.y = entry.data->y;
                 errors_picture.title = caption;
                 errors_picture.quantity = entry.map->name + "_errors";
                 errors_picture.units = shown_as(entry.map->name, entry.map->units).units;
                 write_map_picture(errors_picture, target, {.gnuplot = options_.gnuplot});
             }});
    }
}

void Maker::plan_pattern(const ProductStage& stage, GroupEntry& group) {
    const ProductData& data = *group.data;
    static constexpr std::array radial{"two_theta", "q", "d", "radius"};
    if (std::find(radial.begin(), radial.end(), data.x.label) == radial.end()) {
        CurvePicture curve;
        curve.title = qualified(stage, capital(describe_quantity(data.name).text));
        curve.x_label = describe_quantity(data.x.label).text;
        curve.x_units = data.x.units;
        curve.points = true;
        double low = std::numeric_limits<double>::infinity(), high = 0.0;
        for (const ProductSeries& series : data.series) {
            curve.panels.push_back(
                {"", series.name, series.units, {{series.name, data.x.values, series.values, {}}}});
            for (const double v : series.values)
                if (std::isfinite(v)) {
                    low = std::min(low, v);
                    high = std::max(high, v);
                }
        }
        curve.log_scale = low > 0.0 && high > 30.0 * low;
        group.pattern_stem = unique_stem(stage.name, data.name, "");
        group.pattern_caption =
            data.name == "convergence"
                ? "Convergence of the iteration: the largest change of any ray's transmission from "
                  "one iteration to the next."
                : fmt::format("{} against {}.", capital(describe_quantity(data.name).text),
                              curve.x_label);
        tasks_.push_back({group.pattern_stem, [this, curve](const fs::path& target) {
                              write_curve_picture(curve, target, {.gnuplot = options_.gnuplot});
                          }});
        return;
    }
    PatternPicture pattern;
    pattern.axis = data.x;
    pattern.ticks = data.ticks;
    std::string units;
    const auto take = [&](const std::string& name, std::vector<double>& target) {
        if (const ProductSeries* series = data.find_series(name)) {
            target = series->values;
            if (units.empty())
                units = series->units;
        }
    };
    take("observed", pattern.observed);
    take("calculated", pattern.calculated);
    take("background", pattern.background);
    take("difference", pattern.difference);
    if (pattern.observed.empty() && pattern.calculated.empty())
        take(data.signal, pattern.observed);
    pattern.intensity_units = units;
    std::string label = data.title.empty() ? describe_quantity(data.name).text : data.title;
    if (!label.empty())
        label[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(label[0])));
    pattern.title = fmt::format("{} ({})", label, stage.name);
    const auto index = [&](const char* name, const char* shown, double factor, const char* unit) {
        if (const auto at = data.numbers.find(name); at != data.numbers.end())
            pattern.subtitle += fmt::format("{}{} {}{}", pattern.subtitle.empty() ? "" : ",  ",
                                            shown, format_number(at->second * factor, 3), unit);
    };
    index("rwp", "Rwp", 100.0, " %");
    index("gof", "goodness of fit", 1.0, "");
    group.pattern_stem = unique_stem(stage.name, data.name, "");
    group.pattern_caption =
        data.ticks.empty()
            ? "Pattern, on a linear and on a square-root scale (weak lines)."
            : "Observed and calculated pattern, on a linear and on a square-root scale (weak "
              "lines); marks: positions of the lines of each phase; below: difference.";
    tasks_.push_back({group.pattern_stem, [this, pattern](const fs::path& target) {
                          write_pattern_picture(pattern, target, {.gnuplot = options_.gnuplot});
                      }});
}

/// Distributions of the weight fractions and of the cell parameters that vary, each on its own axis
/// as phases lie far apart.
void Maker::plan_histogram(const ProductStage& stage, GroupEntry& group) {
    for (const MapEntry& entry : group.maps) {
        const bool fraction = entry.map->name == "weight_fraction";
        if ((!is_cell(entry.map->name) && !fraction) || entry.statistics.uniform ||
            entry.statistics.count < 2)
            continue;
        const std::string stem =
            unique_stem(stage.name, group.data->name, entry.map->name + "_histogram");
        const std::string weights = group.weights;
        group.histograms.emplace_back(
            stem,
            fmt::format("{}: distribution{}{}.", entry.caption,
                        weights.empty() ? ""
                                        : ", weighted with the amount of the phase in the voxel (" +
                                              describe_quantity(weights).text + ")",
                        fraction ? "; voxels in which the phase is a trace weigh little"
                                 : "; voxels without a refined cell are left out"));
        tasks_.push_back({stem, [this, entry, weights](const fs::path& target) {
                              HistogramPicture histogram;
                              histogram.quantity = entry.map->name;
                              histogram.units = entry.map->units;
                              histogram.title = entry.caption;
                              histogram.weight_label =
                                  weights.empty() ? "share of the voxels" : "share of the phase";
                              HistogramPicture::Series series;
                              series.name = entry.data->name;
                              series.values = values(*entry.stage, *entry.map);
                              if (const ProductMap* map = entry.data->find(weights))
                                  series.weights = values(*entry.stage, *map);
                              const auto summary = maps::summarise(series.values, series.weights);
                              histogram.mean = summary.mean;
                              histogram.median = summary.median;
                              histogram.series.push_back(std::move(series));
                              write_histogram_picture(histogram, target,
                                                      {.gnuplot = options_.gnuplot});
                          }});
    }
}

void Maker::plan_overviews(StageEntry& stage) {
    std::vector<MapEntry> fractions, cells;
    for (const char* quantity : {"weight_fraction", "volume_fraction", "density", "scale"}) {
        for (const GroupEntry& group : stage.groups)
            for (const MapEntry& entry : group.maps)
                if (group.data->is_phase() && entry.map->name == quantity)
                    fractions.push_back(entry);
        if (!fractions.empty()) {
            stage.fractions_quantity = quantity;
            break;
        }
    }
    for (const GroupEntry& group : stage.groups)
        for (const MapEntry& entry : group.maps)
            if (group.data->is_phase() && is_cell(entry.map->name) && !entry.statistics.uniform &&
                entry.statistics.count > 1)
                cells.push_back(entry);
    const auto grid = [&](std::vector<MapEntry> entries, const std::string& title,
                          const std::string& name) {
        const std::string stem = unique_stem(stage.stage->name, "overview", name);
        const bool one_quantity = std::all_of(entries.begin(), entries.end(), [&](const auto& e) {
            return e.map->name == entries.front().map->name;
        });
        tasks_.push_back({stem, [this, entries, title, one_quantity](const fs::path& target) {
                              std::vector<MapPicture> panels;
                              for (const MapEntry& entry : entries) {
                                  panels.push_back(picture(entry));
                                  panels.back().title =
                                      one_quantity ? entry.data->name
                                                   : entry.data->name + ": " +
                                                         describe_quantity(entry.map->name).text;
                              }
                              write_map_grid(panels, title, target, {.gnuplot = options_.gnuplot});
                          }});
        return stem;
    };
    if (!fractions.empty()) {
        std::string title = describe_quantity(stage.fractions_quantity).text;
        title[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(title[0])));
        if (stage.fractions_quantity == "weight_fraction")
            title = "Weight fractions of the refined crystalline phases";
        stage.fractions_stem =
            grid(fractions, qualified(*stage.stage, title), stage.fractions_quantity);
    }
    if (cells.size() > 1)
        stage.cells_stem = grid(cells, qualified(*stage.stage, "Lattice parameters"), "cells");
}

void Maker::share_ranges() {
    for (StageEntry& stage : stages_) {
        std::map<std::string, std::vector<MapEntry*>> families;
        for (GroupEntry& group : stage.groups)
            if (group.data->is_phase())
                for (MapEntry& entry : group.maps)
                    if (entry.statistics.count > 0)
                        families[entry.map->name].push_back(&entry);
        for (auto& [name, members] : families) {
            ColourRange range = members.front()->range;
            for (const MapEntry* entry : members)
                range = {std::min(range.low, entry->range.low),
                         std::max(range.high, entry->range.high)};
            for (MapEntry* entry : members)
                entry->range = range;
        }
    }
}

/// Groups of a DLSR that dlsr_pictures draws.
bool has_pictures_of_its_own(const StageEntry& stage, const std::string& group) {
    return stage.result && stage.result->dlsr &&
           (group == "lines" || group == "convergence" || group == "held_out");
}

void Maker::plan_stage(const ProductStage& stage) {
    StageEntry entry;
    entry.stage = &stage;
    entry.result = result_of(stage);
    for (const ProductData& data : stage.data) {
        if (has_pictures_of_its_own(entry, data.name))
            continue;
        GroupEntry group;
        group.data = &data;
        if (!data.maps.empty()) {
            plan_maps(entry, group);
            if (data.is_phase())
                plan_histogram(stage, group);
        }
        if (!data.series.empty())
            plan_pattern(stage, group);
        entry.groups.push_back(std::move(group));
    }
    stages_.push_back(std::move(entry));
}

void Maker::plan() {
    find_analysis();
    for (const ProductStage& stage : products_.stages)
        plan_stage(stage);
    if (options_.shared_ranges)
        share_ranges();
    for (StageEntry& stage : stages_) {
        for (const GroupEntry& group : stage.groups)
            for (const MapEntry& entry : group.maps)
                tasks_.push_back({entry.stem, [this, entry](const fs::path& target) {
                                      write_map_picture(picture(entry), target,
                                                        {.gnuplot = options_.gnuplot});
                                  }});
        plan_overviews(stage);
    }
    plan_analysis();
}

void Maker::find_analysis() {
    std::optional<std::vector<settings::LithiumSettings>> lithium;
    if (!options_.lithium.empty())
        lithium = settings::read_lithium_file(options_.lithium);
    analysis_ = analyse(products_, lithium, options_.lithium.string(), options_.stage);
    notes_.insert(notes_.end(), analysis_.notes.begin(), analysis_.notes.end());
}

const StageResult* Maker::result_of(const ProductStage& stage) const {
    const StageResult* found = nullptr;
    for (const StageResult& result : analysis_.stages)
        if (result.stage == stage.name && result.file == stage.file.filename().string())
            found = &result;
    return found;
}

void Maker::plan_analysis() {
    const auto add = [&](const std::string& stem, const auto& draw) {
        tasks_.push_back({stem, [this, draw](const fs::path& target) {
                              draw(target, {.gnuplot = options_.gnuplot});
                          }});
    };
    for (StageEntry& stage : stages_) {
        if (!stage.result)
            continue;
        for (PlannedPicture& planned : analysis_pictures(*stage.result)) {
            const std::string stem = unique_stem(stage.stage->name, "", planned.name);
            add(stem, planned.draw);
            stage.pictures.emplace_back(std::move(planned), stem);
        }
        if (!stage.result->dlsr)
            continue;
        const auto read = [this](const ProductStage& from, const ProductMap& map, bool deviations) {
            return deviations ? errors(from, map) : values(from, map);
        };
        const ProductStage* conventional = conventional_stage(products_, *stage.stage);
        auto pictures = dlsr_pictures(*stage.stage, *stage.result->dlsr, conventional, read);
        if (const StageResult* other = conventional ? result_of(*conventional) : nullptr)
            for (DlsrPicture& planned : dlsr_lithium_pictures(*stage.result, *other))
                pictures.push_back(std::move(planned));
        for (DlsrPicture& planned : pictures) {
            const std::string stem = unique_stem(stage.stage->name, "", planned.name);
            add(stem, planned.draw);
            stage.dlsr.emplace_back(std::move(planned), stem);
        }
    }
}

void Maker::draw(const fs::path& pictures) const {
    std::atomic<std::size_t> next{0};
    std::exception_ptr failure;
    std::mutex failure_lock;
    const auto work = [&] {
        for (std::size_t i; (i = next++) < tasks_.size();) {
            try {
                tasks_[i].draw(pictures / tasks_[i].stem);
            } catch (...) {
                const std::lock_guard lock(failure_lock);
                if (!failure)
                    failure = std::current_exception();
                next = tasks_.size();
            }
        }
    };
    const std::size_t wanted = options_.processes > 0 ? static_cast<std::size_t>(options_.processes)
                                                      : std::thread::hardware_concurrency();
    const std::size_t count = std::clamp<std::size_t>(std::min(wanted, tasks_.size()), 1, 64);
    {
        std::vector<std::jthread> helpers;
        for (std::size_t i = 1; i < count; ++i)
            helpers.emplace_back(work);
        work();
    }
    if (failure)
        std::rethrow_exception(failure);
}

// ---- the page
// --------------------------------------------------------------------------------------------------

void Maker::add_outcomes(HtmlPage& page, const GroupEntry& group) const {
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

void Maker::add_maps(HtmlPage& page, const StageEntry& stage,
                     const std::vector<const GroupEntry*>& groups, const fs::path& pictures) const {
    std::vector<HtmlPage::Figure> figures;
    std::vector<std::string> uniform;
    const auto picture_path = [&](const std::string& stem) {
        fs::path path = pictures / stem;
        path += ".png";
        return path;
    };
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
            figures.push_back({picture_path(entry.stem), entry.caption});
            if (options_.errors_in_page && !entry.errors_stem.empty())
                figures.push_back(
                    {picture_path(entry.errors_stem), entry.caption + ", standard deviation"});
        }
        for (const auto& [stem, caption] : group->histograms)
            figures.push_back({picture_path(stem), caption});
    }
    page.figures(figures);
    if (!uniform.empty()) {
        std::string text = "The same in all voxels: ";
        for (std::size_t i = 0; i < uniform.size(); ++i)
            text += (i == 0 ? "" : ", ") + uniform[i];
        page.paragraph(text + ".");
    }
}

std::string Maker::page(const fs::path& pictures) const {
    const std::string folder_name = fs::absolute(folder_).lexically_normal().filename().string();
    std::string title = products_.title;
    if (title.empty())
        title = "XRD-CT report";
    std::string versions;
    std::set<std::string> seen;
    for (const ProductStage& stage : products_.stages)
        if (seen.insert(stage.version).second)
            versions += (versions.empty() ? "" : ", ") + stage.version;
    HtmlPage page(title,
                  fmt::format("X-ray diffraction computed tomography · xrdct {}{}{}", versions,
                              folder_name.empty() ? "" : " · products in ", folder_name));
    const StageEntry* main = main_stage();
    page.section("Summary");
    if (main) {
        add_summary(page, analysis_, *main->result);
        add_overviews(page, *main, pictures);
        page.paragraph("Colour bars span the bulk of the values (1 to 99 %); a pointed end marks "
                       "values beyond. Voxels without a value are grey. x points right, y up.");
    } else {
        page.paragraph("The products hold no maps of phases.");
    }
    for (const StageEntry& stage : stages_)
        add_stage(page, stage, main, pictures);
    std::vector<std::string> notes = products_.notes;
    notes.insert(notes.end(), notes_.begin(), notes_.end());
    add_provenance(page, products_, notes);
    return page.str();
}

fs::path png(const fs::path& pictures, const std::string& stem) {
    fs::path path = pictures / stem;
    path += ".png";
    return path;
}

const StageEntry* Maker::main_stage() const {
    const StageEntry* main = nullptr;
    for (const StageEntry& stage : stages_)
        if (stage.result && stage.stage->name == analysis_.main)
            main = &stage;
    return main;
}

void Maker::add_overviews(HtmlPage& page, const StageEntry& stage, const fs::path& pictures) const {
    if (!stage.fractions_stem.empty())
        page.figure({png(pictures, stage.fractions_stem),
                     stage.fractions_quantity == "weight_fraction"
                         ? "Weight fractions of the refined crystalline phases; every panel has "
                           "its own colour bar."
                         : "The phases of the model; every panel has its own colour bar."});
    if (!stage.cells_stem.empty())
        page.figure({png(pictures, stage.cells_stem),
                     stage.result && stage.result->dlsr
                         ? "Lattice parameters refined in the voxels that may hold the phase; "
                           "where there is little of it smoothness takes them from the neighbours."
                         : "Lattice parameters refined in the voxels, where the phase is "
                           "significant."});
    for (const auto& [planned, stem] : stage.pictures)
        if (planned.kind == PlannedPicture::Kind::lithium_map)
            page.figure({png(pictures, stem), planned.caption});
}

void Maker::add_analysis(HtmlPage& page, const StageEntry& stage, bool lithium,
                         const fs::path& pictures) const {
    using Kind = PlannedPicture::Kind;
    const auto figures_of = [&](const std::set<Kind>& kinds) {
        std::vector<HtmlPage::Figure> figures;
        for (const auto& [planned, stem] : stage.pictures)
            if (kinds.contains(planned.kind))
                figures.push_back({png(pictures, stem), planned.caption});
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
    if (&stage != main_stage()) { // those of the main stage are in the summary
        add_lithium_table(page, *stage.result);
        kinds.insert(Kind::lithium_map);
    }
    page.figures(figures_of(kinds));
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

void Maker::add_dlsr_section(HtmlPage& page, const StageEntry& stage,
                             const fs::path& pictures) const {
    std::vector<DlsrFigure> figures;
    for (const auto& [picture, stem] : stage.dlsr)
        figures.push_back({&picture, png(pictures, stem)});
    std::optional<HtmlPage::Figure> residuals;
    for (const GroupEntry& group : stage.groups)
        if (group.data->name == residuals_group && !group.maps.empty())
            residuals = {png(pictures, group.maps.front().stem),
                         "Residuals of all rays: mean over the channels of the squared residual "
                         "over its variance; 1 where the model explains the ray within its noise, "
                         "grey: left out. What one place of the sample does follows a sine "
                         "curve; a line across is one projection, a line along the rotation one "
                         "distance from the axis."};
    add_dlsr(page, *stage.result, figures, residuals);
}

void Maker::add_stage(HtmlPage& page, const StageEntry& stage, const StageEntry* main,
                      const fs::path& pictures) const {
    const bool any_group =
        std::any_of(stage.groups.begin(), stage.groups.end(), [&](const GroupEntry& g) {
            return !g.maps.empty() || !g.pattern_stem.empty();
        });
    if (!any_group && stage.stage->start_model.empty() && stage.stage->details.empty())
        return;
    page.section(stage_title(stage.stage->name));
    for (const GroupEntry& group : stage.groups)
        if (!group.pattern_stem.empty())
            page.figure({png(pictures, group.pattern_stem), group.pattern_caption});
    if (stage.result && stage.result->dlsr) {
        add_dlsr_section(page, stage, pictures);
    } else if (!stage.stage->start_model.empty()) {
        page.subsection("Start model, refined on the mean pattern");
        page.json(stage.stage->start_model);
    }
    if (stage.result) {
        if (&stage != main)
            add_overviews(page, stage, pictures);
        add_analysis(page, stage, false, pictures);
        add_analysis(page, stage, true, pictures);
    }
    // The object as a whole first, then phase by phase, then single peaks, then single rays.
    const auto lone = [](const GroupEntry& group) {
        return group.maps.size() == 1 && !group.data->is_phase() && !group.data->is_peak() &&
               group.data->name != "maps";
    };
    const auto order = [&](const GroupEntry& group) {
        return lone(group)                  ? (is_ray_group(group.data->name) ? 5 : 0)
               : group.data->name == "maps" ? 1
               : group.data->is_phase()     ? 3
               : group.data->is_peak()      ? 4
                                            : 2;
    };
    for (int kind = 0; kind < 6; ++kind) {
        std::vector<const GroupEntry*> run_and_sync;
        for (const GroupEntry& group : stage.groups) {
            if (group.maps.empty() || order(group) != kind || !shows_more(stage, group))
                continue;
            if (lone(group)) {
                run_and_sync.push_back(&group);
                continue;
            }
            page.subsection(kind == 1   ? "Quality of the fits"
                            : kind == 2 ? capital(describe_quantity(group.data->name).text)
                                        : group.data->name);
            if (kind == 1)
                add_outcomes(page, group);
            add_maps(page, stage, {&group}, pictures);
        }
        if (!run_and_sync.empty() && kind == 5)
            page.subsection("Path lengths in the phases");
        add_maps(page, stage, run_and_sync, pictures);
    }
    if (!stage.stage->ring.empty()) {
        std::vector<std::vector<std::string>> rows;
        for (const auto& [name, value] : stage.stage->ring)
            rows.push_back(
                {escape_html(describe_quantity(name).text),
                 name == "misfit" ? format_number(value, 3) : signed_millimetres(value)});
        page.table("The reference ring by which amounts were turned into volumes.", {}, rows);
    }
    if (!stage.stage->details.empty()) {
        std::vector<std::vector<std::string>> rows;
        for (const auto& [name, text] : stage.stage->details)
            rows.push_back({escape_html(name), escape_html(text)});
        page.table("", {}, rows);
    }
}

void put_in_place(const fs::path& from, const fs::path& to) {
    std::error_code error;
    fs::rename(from, to, error);
    if (error)
        throw Error(fmt::format("{}: cannot be put in place: {}", to.string(), error.message()));
}

ReportResult Maker::make() {
    ReportResult result;
    result.page = folder_ / "report.html";
    const auto refuse_existing = [&](const fs::path& path) {
        if (!options_.force && fs::exists(fs::symlink_status(path)))
            throw Error(fmt::format("{}: exists already; use --force to overwrite the report",
                                    path.string()));
    };
    const fs::path json = folder_ / "report.json", csv = folder_ / "report.csv";
    for (const fs::path& path : {result.page, json, csv})
        refuse_existing(path);
    plan();
    const fs::path pictures = folder_ / "pictures";
    static constexpr std::array suffixes{".png", ".svg"};
    for (const Task& task : tasks_)
        for (const char* suffix : suffixes)
            refuse_existing(pictures / (task.stem + suffix));

    const TemporaryFolder work(folder_, "report");
    const fs::path drawn = work.path() / "pictures";
    fs::create_directory(drawn);
    draw(drawn);
    const auto write = [&](const fs::path& target, const std::string& text) {
        std::ofstream out(work.path() / target.filename(), std::ios::binary);
        out << text;
        out.close();
        if (!out)
            throw Error(fmt::format("{}: cannot be written (is the disk full?)", target.string()));
    };
    write(json, analysis_json(analysis_, products_.title));
    write(csv, analysis_csv(analysis_));
    write(result.page, page(drawn));
    std::error_code error;
    if (!tasks_.empty())
        fs::create_directories(pictures, error);
    if (error)
        throw Error(fmt::format("{}: cannot be made: {}", pictures.string(), error.message()));
    for (const Task& task : tasks_)
        for (const char* suffix : suffixes) {
            const fs::path target = pictures / (task.stem + suffix);
            put_in_place(drawn / (task.stem + suffix), target);
            result.files.push_back(target);
        }
    for (const fs::path& path : {json, csv, result.page}) {
        put_in_place(work.path() / path.filename(), path);
        result.files.push_back(path);
    }
    result.notes = products_.notes;
    result.notes.insert(result.notes.end(), notes_.begin(), notes_.end());
    return result;
}

} // namespace
} // namespace report

ReportResult make_report(const fs::path& folder, const ReportOptions& options) {
    return report::Maker(folder, options).make();
}

} // namespace xrdct::report
