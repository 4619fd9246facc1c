// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/report/report_plan.hpp"

#include "base/numbers.hpp"
#include "base/text.hpp"
#include "jobs/report/curve_picture.hpp"
#include "jobs/report/labels.hpp"
#include "jobs/report/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <span>

namespace xrdct::report {

namespace fs = std::filesystem;

namespace {

bool is_cell(const std::string& name) {
    static constexpr std::array names{"a", "b", "c", "alpha", "beta", "gamma"};
    return std::find(names.begin(), names.end(), name) != names.end();
}

} // namespace

Shown shown_as(const std::string& name, const std::string& units) {
    for (const char* index : {"rwp", "rp", "rexp", "r_bragg"})
        if (name == index && display_units(units).empty())
            return {100.0, "percent"};
    return {1.0, units};
}

namespace {

/// The lattice, size or strain of a phase is a number where the phase is: elsewhere it is what
/// smoothness, or the start, makes of it.
void keep_where_found(const ProductStage& stage, const ProductMap& map,
                      std::vector<double>& numbers) {
    if (!is_cell(map.name) && map.name != "cell_volume" &&
        map.name.find("size") == std::string::npos && map.name.find("strain") == std::string::npos)
        return;
    for (const ProductData& data : stage.data) {
        const ProductMap* status = data.find("status");
        const ProductMap* own = data.find(map.name);
        if (!status || !own || own->path != map.path || !data.is_phase())
            continue;
        const std::vector<double> codes = read_map_values(stage, *status);
        if (codes.size() != numbers.size())
            return;
        for (std::size_t i = 0; i < numbers.size(); ++i)
            if (const auto meaning = status->meanings.find(static_cast<int>(std::lround(codes[i])));
                meaning != status->meanings.end() && meaning->second != "refined" &&
                meaning->second != "width unresolved")
                numbers[i] = nan_value;
        return;
    }
}

} // namespace

bool is_ray_group(const std::string& name) {
    return name.size() > rays_suffix.size() && name.ends_with(rays_suffix);
}

std::vector<double> ReportPlan::values(const ProductStage& stage, const ProductMap& map) const {
    const std::lock_guard lock(hdf5_);
    std::vector<double> numbers = read_map_values(stage, map);
    const double factor = shown_as(map.name, map.units).factor;
    if (factor != 1.0)
        for (double& v : numbers)
            v *= factor;
    keep_where_found(stage, map, numbers);
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

std::vector<double> ReportPlan::errors(const ProductStage& stage, const ProductMap& map) const {
    const std::lock_guard lock(hdf5_);
    std::vector<double> numbers = read_map_errors(stage, map);
    const double factor = shown_as(map.name, map.units).factor;
    for (double& v : numbers)
        v *= factor;
    keep_where_found(stage, map, numbers);
    return numbers;
}

std::string ReportPlan::unique_stem(const std::string& stage, const std::string& group,
                                    const std::string& quantity) {
    std::string stem = file_name_part(stage);
    if (!group.empty() && group != quantity && group != "maps")
        stem += "_" + file_name_part(group);
    if (!quantity.empty())
        stem += "_" + file_name_part(quantity);
    std::string name = stem;
    for (int n = 2; !stems_.insert(lower_case(name)).second; ++n)
        name = fmt::format("{}-{}", stem, n);
    return name;
}

std::string ReportPlan::qualified(const ProductStage& stage, const std::string& title) const {
    const auto with_phases = [](const ProductStage& s) {
        return std::any_of(s.data.begin(), s.data.end(),
                           [](const ProductData& d) { return d.is_phase(); });
    };
    const auto count = std::count_if(products_.stages.begin(), products_.stages.end(), with_phases);
    return count > 1 && with_phases(stage) ? fmt::format("{} ({})", title, stage.name) : title;
}

MapPicture ReportPlan::picture(const MapEntry& entry) const {
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

namespace {

/// Whether the maps of a group are of the whole object.
bool is_whole(const ProductData& data, const ProductMap& map) {
    return data.name == "maps" || data.name == map.name || (!data.is_phase() && !data.is_peak());
}

/// How often each code of a map "status" occurs.
std::vector<std::pair<std::string, std::size_t>> outcomes_of(const ProductMap& map,
                                                             const std::vector<double>& numbers) {
    std::map<int, std::size_t> counts;
    for (const double v : numbers)
        if (std::isfinite(v))
            ++counts[static_cast<int>(std::lround(v))];
    std::vector<std::pair<std::string, std::size_t>> outcomes;
    for (const auto& [code, count] : counts) {
        const auto meaning = map.meanings.find(code);
        outcomes.emplace_back(
            meaning != map.meanings.end() ? meaning->second : fmt::format("code {}", code), count);
    }
    return outcomes;
}

} // namespace

MapEntry ReportPlan::describe_entry(const ProductStage& stage, GroupEntry& group,
                                    const ProductMap& map, const std::vector<double>& weights) {
    const ProductData& data = *group.data;
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
    const double least =
        std::isfinite(entry.statistics.median_error) ? entry.statistics.median_error : 0.0;
    entry.range = amount || weights.empty() ? robust_range(numbers, quantity.from_zero, least)
                                            : weighted_range(numbers, weights, least);
    entry.errors_range =
        weights.empty() ? robust_range(deviations) : weighted_range(deviations, weights);
    entry.stem = unique_stem(stage.name, data.name, map.name);
    const bool whole = is_whole(data, map);
    const std::string label = whole ? capital(quantity.text) : quantity.text;
    const std::string name = is_ray_group(data.name)
                                 ? data.name.substr(0, data.name.size() - rays_suffix.size())
                                 : data.name;
    entry.caption =
        qualified(stage, whole && name == data.name ? label : name + ": " + quantity.text);
    if (map.name == "status" && !map.meanings.empty())
        for (auto& outcome : outcomes_of(map, numbers))
            group.outcomes.push_back(std::move(outcome));
    if (map.has_errors)
        entry.errors_stem = unique_stem(stage.name, data.name, map.name + "_errors");
    return entry;
}

void ReportPlan::plan_maps(StageEntry& stage_entry, GroupEntry& group) {
    const ProductStage& stage = *stage_entry.stage;
    std::vector<double> weights;
    // The scale factor of a phase is proportional to its amount in the voxel.
    for (const char* quantity : {"density", "volume_fraction", "scale", "weight_fraction", "area"})
        if (const ProductMap* map = group.data->find(quantity); map && weights.empty()) {
            weights = values(stage, *map);
            group.weights = quantity;
        }
    for (const ProductMap& map : group.data->maps) {
        group.maps.push_back(describe_entry(stage, group, map, weights));
        if (map.has_errors)
            plan_errors(group.maps.back());
    }
}

void ReportPlan::plan_errors(const MapEntry& entry) {
    const std::string text = describe_quantity(entry.map->name).text;
    const std::string caption =
        qualified(*entry.stage, is_whole(*entry.data, *entry.map)
                                    ? "Standard deviation of " + text
                                    : entry.data->name + ": standard deviation of " + text);
    tasks_.push_back({entry.errors_stem, [this, entry, caption](const fs::path& target) {
                          MapPicture errors_picture;
                          errors_picture.values = errors(*entry.stage, *entry.map);
                          errors_picture.x = entry.data->x;
                          errors_picture.y = entry.data->y;
                          errors_picture.title = caption;
                          errors_picture.quantity = entry.map->name + "_errors";
                          errors_picture.units = shown_as(entry.map->name, entry.map->units).units;
                          errors_picture.range = entry.errors_range;
                          write_map_picture(errors_picture, target, {.gnuplot = options_.gnuplot});
                      }});
}

void ReportPlan::plan_curve(const ProductStage& stage, GroupEntry& group) {
    const ProductData& data = *group.data;
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
}

void ReportPlan::plan_pattern(const ProductStage& stage, GroupEntry& group) {
    const ProductData& data = *group.data;
    static constexpr std::array radial{"two_theta", "q", "d", "radius"};
    if (std::find(radial.begin(), radial.end(), data.x.label) == radial.end()) {
        plan_curve(stage, group);
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
    const std::string label =
        capital(data.title.empty() ? describe_quantity(data.name).text : data.title);
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
void ReportPlan::plan_histogram(const ProductStage& stage, GroupEntry& group) {
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

std::string ReportPlan::plan_grid(const ProductStage& stage, const std::vector<MapEntry>& entries,
                                  const std::string& title, const std::string& name) {
    const std::string stem = unique_stem(stage.name, "overview", name);
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
}

void ReportPlan::plan_overviews(StageEntry& stage) {
    std::vector<MapEntry> fractions, cells;
    for (const char* quantity : {"volume_fraction", "density", "weight_fraction", "scale"}) {
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
    if (!fractions.empty()) {
        std::string title = capital(describe_quantity(stage.fractions_quantity).text);
        if (stage.fractions_quantity == "weight_fraction")
            title = "Weight fractions of the refined crystalline phases";
        if (stage.fractions_quantity == "volume_fraction")
            title = "Volume fractions of the phases";
        stage.fractions_stem = plan_grid(*stage.stage, fractions, qualified(*stage.stage, title),
                                         stage.fractions_quantity);
    }
    if (cells.size() > 1)
        stage.cells_stem =
            plan_grid(*stage.stage, cells, qualified(*stage.stage, "Lattice parameters"), "cells");
}

void ReportPlan::share_ranges() {
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

namespace {

/// Groups of a DLSR that dlsr_pictures draws.
bool has_pictures_of_its_own(const StageEntry& stage, const std::string& group) {
    return stage.result && stage.result->dlsr &&
           (group == "lines" || group == "convergence" || group == "held_out");
}

} // namespace

void ReportPlan::plan_stage(const ProductStage& stage) {
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

ReportPlan::ReportPlan(const fs::path& folder, const ReportOptions& options)
    : options_(options), products_(read_products(folder)) {
    find_analysis(folder);
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

void ReportPlan::find_analysis(const fs::path& folder) {
    if (!options_.lithium.empty())
        lithium_ = settings::read_lithium_file(options_.lithium);
    if (auto known = read_analysis(folder / analysis_file, products_, lithium_, options_.stage)) {
        analysis_ = std::move(*known);
    } else {
        analysis_ = analyse(products_, lithium_, options_.lithium.string(), options_.stage);
        is_new_ = !analysis_.stages.empty();
    }
    notes_.insert(notes_.end(), analysis_.notes.begin(), analysis_.notes.end());
}

const StageResult* ReportPlan::result_of(const ProductStage& stage) const {
    const StageResult* found = nullptr;
    for (const StageResult& result : analysis_.stages)
        if (result.stage == stage.name && result.file == stage.file.filename().string())
            found = &result;
    return found;
}

void ReportPlan::plan_analysis() {
    for (StageEntry& stage : stages_) {
        if (!stage.result)
            continue;
        for (PlannedPicture& planned : analysis_pictures(*stage.result)) {
            const std::string stem = unique_stem(stage.stage->name, "", planned.name);
            tasks_.push_back({stem, [this, draw = planned.draw](const fs::path& target) {
                                  draw(target, {.gnuplot = options_.gnuplot});
                              }});
            stage.pictures.emplace_back(std::move(planned), stem);
        }
        if (stage.result->dlsr)
            plan_dlsr(stage);
    }
}

void ReportPlan::plan_dlsr(StageEntry& stage) {
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
        tasks_.push_back({stem, [this, draw = planned.draw](const fs::path& target) {
                              draw(target, {.gnuplot = options_.gnuplot});
                          }});
        stage.dlsr.emplace_back(std::move(planned), stem);
    }
}

const StageEntry* ReportPlan::main_stage() const {
    const StageEntry* main = nullptr;
    for (const StageEntry& stage : stages_)
        if (stage.result && stage.stage->name == analysis_.main)
            main = &stage;
    return main;
}

} // namespace xrdct::report
