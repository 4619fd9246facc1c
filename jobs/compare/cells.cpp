// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/compare/cells.hpp"

#include "base/error.hpp"
#include "base/numbers.hpp"
#include "base/statistics.hpp"
#include "jobs/pipeline/registry.hpp"
#include "jobs/report/analysis_file.hpp"
#include "jobs/report/text.hpp"
#include "jobs/settings/settings.hpp"
#include "mpi/files/checksum.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <set>

#include <fmt/format.h>

namespace xrdct::compare {

namespace fs = std::filesystem;

const CellMap* CellGroup::find(const std::string& quantity) const {
    const auto at = maps.find(quantity);
    return at == maps.end() ? nullptr : &at->second;
}

const CellGroup* Cell::find(const std::string& group) const {
    const auto at = std::find_if(groups.begin(), groups.end(),
                                 [&](const CellGroup& g) { return g.name == group; });
    return at == groups.end() ? nullptr : &*at;
}

std::string name_of(GroupKind kind) {
    return kind == GroupKind::phase  ? "phase"
           : kind == GroupKind::peak ? "single peak"
                                     : "electrode";
}

namespace {

std::string folder_name_of(const fs::path& path) {
    fs::path clean = fs::absolute(path).lexically_normal();
    if (clean.filename().empty())
        clean = clean.parent_path();
    if (clean.extension() == ".nxs") {
        std::string stem = clean.stem().string();
        if (!pipeline::find_stage(stem))
            return stem;
        clean = clean.parent_path();
    }
    if (clean.filename() == "results" && clean.has_parent_path())
        clean = clean.parent_path();
    const std::string name = clean.filename().string();
    return name.empty() ? "cell" : name;
}

/// Spacing of an axis that rises in equal steps.
double spacing(const report::Axis& axis, const std::string& where) {
    const auto& v = axis.values;
    const auto n = static_cast<double>(v.size());
    if (v.size() < 2)
        throw Error(fmt::format("{}: axis {} has fewer than two points", where, axis.label));
    const double step = (v.back() - v.front()) / (n - 1);
    for (std::size_t i = 0; i < v.size(); ++i)
        if (!(step > 0) ||
            !(std::abs(v[i] - v.front() - step * static_cast<double>(i)) < 1e-3 * step))
            throw Error(fmt::format("{}: axis {} does not rise in equal steps", where, axis.label));
    return step;
}

registration::PixelGrid grid_of(const report::ProductData& data, const std::string& where) {
    for (const report::Axis* axis : {&data.x, &data.y})
        if (axis->units != "mm")
            throw Error(fmt::format("{}: axis {} is in '{}', expected mm", where, axis->label,
                                    axis->units));
    const double dx = spacing(data.x, where), dy = spacing(data.y, where);
    if (std::abs(dx - dy) > 1e-4 * dx)
        throw Error(fmt::format("{}: pixels of {} by {} mm are not square", where, dx, dy));
    return {data.x.values.size(), data.y.values.size(), data.x.values.front(),
            data.y.values.front(), dx};
}

bool same(const registration::PixelGrid& a, const registration::PixelGrid& b) {
    return a.nx == b.nx && a.ny == b.ny && std::abs(a.x0 - b.x0) < 1e-3 * a.pixel &&
           std::abs(a.y0 - b.y0) < 1e-3 * a.pixel && std::abs(a.pixel - b.pixel) < 1e-4 * a.pixel;
}

bool has_phases(const report::ProductStage& stage) {
    return std::any_of(stage.data.begin(), stage.data.end(),
                       [](const auto& data) { return !data.maps.empty() && data.is_phase(); });
}

CellGroup read_group(const report::ProductStage& stage, const report::ProductData& data) {
    CellGroup group;
    group.name = data.name;
    group.kind = data.is_peak() ? GroupKind::peak : GroupKind::phase;
    for (const report::ProductMap& map : data.maps) {
        CellMap& target = group.maps[map.name];
        target.units = map.units;
        target.values = report::read_map_values(stage, map);
        target.errors = report::read_map_errors(stage, map);
        target.codes = map.is_integer;
    }
    for (const char* amount : {"volume_fraction", "density", "scale", "weight_fraction", "area"})
        if (group.amount.empty() && group.find(amount))
            group.amount = amount;
    return group;
}

/// Mass per unit of the scale factor for all phases, up to one common factor. In a voxel the weight
/// fraction is proportional to it times the scale: phases are chained by the voxels they share.
/// Empty when a phase shares none or has no weight fractions.
std::map<std::string, double> mass_per_scale(const std::vector<const CellGroup*>& phases) {
    std::map<std::string, double> factor;
    std::vector<std::vector<double>> per_scale; // weight fraction over scale
    for (const CellGroup* phase : phases) {
        const CellMap *scale = phase->find("scale"), *fraction = phase->find("weight_fraction");
        if (!scale || !fraction)
            return {};
        std::vector<double>& ratio = per_scale.emplace_back(scale->values.size(), nan_value);
        for (std::size_t i = 0; i < ratio.size(); ++i)
            if (scale->values[i] > 0 && fraction->values[i] > 0)
                ratio[i] = fraction->values[i] / scale->values[i];
    }
    if (phases.empty())
        return {};
    std::vector<double> known(phases.size(), 0.0);
    known[0] = 1;
    for (std::size_t round = 1; round < phases.size(); ++round) {
        std::vector<double> best;
        std::size_t target = 0, base = 0;
        for (std::size_t p = 0; p < phases.size(); ++p)
            for (std::size_t q = 0; known[p] == 0 && q < phases.size(); ++q) {
                if (known[q] == 0)
                    continue;
                std::vector<double> ratios;
                for (std::size_t i = 0; i < per_scale[p].size(); ++i)
                    if (std::isfinite(per_scale[p][i]) && std::isfinite(per_scale[q][i]))
                        ratios.push_back(per_scale[p][i] / per_scale[q][i]);
                if (ratios.size() > best.size()) {
                    best = std::move(ratios);
                    target = p;
                    base = q;
                }
            }
        if (best.empty())
            break;
        known[target] = known[base] * median(std::move(best));
    }
    for (std::size_t p = 0; p < phases.size(); ++p) {
        // A phase that is nowhere has no mass; any factor will do.
        const auto& scale = phases[p]->find("scale")->values;
        const bool absent =
            std::none_of(scale.begin(), scale.end(), [](double s) { return s > 0; });
        if (known[p] == 0 && !absent)
            return {};
        factor[phases[p]->name] = known[p];
    }
    return factor;
}

/// Amounts of scans of different exposure are made comparable: the map relative_mass of every phase
/// and mass_share of the cell, from the densities or else from scale factors and weight fractions.
void add_relative_mass(Cell& cell) {
    std::vector<CellGroup*> phases;
    std::vector<const CellGroup*> views;
    for (CellGroup& group : cell.groups)
        if (group.kind == GroupKind::phase)
            phases.push_back(&group);
    views.assign(phases.begin(), phases.end());
    const bool densities = std::all_of(phases.begin(), phases.end(),
                                       [](const CellGroup* g) { return g->find("density"); });
    std::map<std::string, double> factor;
    if (!densities)
        factor = mass_per_scale(views);
    if (phases.empty() || (!densities && factor.empty()))
        return;
    std::vector<double> whole(cell.grid.size(), nan_value);
    for (CellGroup* phase : phases) {
        const CellMap& source = *phase->find(densities ? "density" : "scale");
        const double f = densities ? 1.0 : factor[phase->name];
        CellMap mass{"", source.values, source.errors, false};
        for (double& v : mass.values)
            v *= f;
        for (double& v : mass.errors)
            v *= f;
        for (std::size_t i = 0; i < whole.size(); ++i)
            if (std::isfinite(mass.values[i]))
                whole[i] = (std::isfinite(whole[i]) ? whole[i] : 0.0) + mass.values[i];
        phase->maps[relative_mass] = std::move(mass);
    }
    double sum = 0, count = 0;
    for (std::size_t i = 0; i < whole.size(); ++i)
        if (std::isfinite(whole[i]) && (cell.mask.empty() ? whole[i] > 0 : cell.mask[i] != 0)) {
            sum += whole[i];
            count += 1;
        }
    for (CellGroup* phase : phases) {
        if (!(sum > 0)) {
            phase->maps.erase(relative_mass);
            continue;
        }
        CellMap& mass = phase->maps[relative_mass];
        double own = 0;
        for (std::size_t i = 0; i < whole.size(); ++i)
            if (std::isfinite(mass.values[i]) && (cell.mask.empty() || cell.mask[i] != 0))
                own += mass.values[i];
        cell.mass_share[phase->name] = own / sum;
        for (auto* numbers : {&mass.values, &mass.errors})
            for (double& v : *numbers)
                v *= count / sum;
    }
}

/// The lithium of the electrodes, of the folder's analysis.
void add_lithium(Cell& cell, const report::Products& products) {
    std::error_code code;
    if (!fs::is_directory(cell.path, code))
        return;
    const fs::path path = cell.path / report::analysis_file;
    const auto analysis = report::read_analysis(path, products, report::any_lithium);
    if (!analysis)
        return;
    for (const report::StageResult& stage : analysis->stages) {
        if (stage.stage != cell.stage)
            continue;
        for (const report::ElectrodeResult& electrode : stage.lithium) {
            if (electrode.map.values.size() != cell.grid.size() || electrode.summary.count == 0)
                continue;
            CellGroup group;
            group.name = "lithium_" + electrode.electrode;
            group.kind = GroupKind::electrode;
            group.maps["lithium"] = {"", electrode.map.values, electrode.map.errors, false};
            // Up to a constant where amounts are, and so over the mean where there is any.
            CellMap host{"", electrode.map.weights, {}, false};
            double sum = 0, count = 0;
            for (const double v : host.values)
                if (v > 0) {
                    sum += v;
                    count += 1;
                }
            for (double& v : host.values)
                v *= count / sum;
            group.maps[relative_host] = std::move(host);
            group.amount = relative_host;
            cell.groups.push_back(std::move(group));
            cell.checksums[path.string()] = files::sha256_of_file(path);
        }
    }
}

Cell read_cell(const fs::path& path, const report::Products& products,
               const std::string& stage_name) {
    Cell cell;
    cell.path = path;
    cell.title = products.title;
    cell.stage = stage_name;
    bool have_grid = false;
    const auto take_grid = [&](const report::ProductData& data, const std::string& where) {
        const registration::PixelGrid grid = grid_of(data, where);
        if (have_grid && !same(grid, cell.grid))
            throw Error(fmt::format("{}: its maps are not on the axes of the others", where));
        cell.grid = grid;
        have_grid = true;
    };
    for (const report::ProductStage& stage : products.stages) {
        if (stage.name != stage_name)
            continue;
        cell.version = stage.version;
        cell.date = stage.date;
        cell.checksums[stage.file.string()] = files::sha256_of_file(stage.file);
        for (const report::ProductData& data : stage.data) {
            if (data.maps.empty())
                continue;
            const std::string where = fmt::format("{}: {}", stage.file.string(), data.name);
            if (data.is_phase() || data.is_peak()) {
                take_grid(data, where);
                cell.groups.push_back(read_group(stage, data));
            } else if (const auto* mask = data.find("mask")) {
                take_grid(data, where);
                for (const double v : report::read_map_values(stage, *mask))
                    cell.mask.push_back(v != 0);
            }
        }
    }
    for (const report::ProductStage& stage : products.stages)
        for (const report::ProductData& data : stage.data)
            if (const auto* map = data.find("total");
                map && cell.total.empty() && same(grid_of(data, stage.file.string()), cell.grid)) {
                cell.total = report::read_map_values(stage, *map);
                cell.total_units = map->units;
                cell.checksums[stage.file.string()] = files::sha256_of_file(stage.file);
            }
    bool any = false;
    for (const CellGroup& group : cell.groups)
        for (const auto& [name, map] : group.maps)
            any |= !map.codes && std::any_of(map.values.begin(), map.values.end(),
                                             [](double v) { return std::isfinite(v) && v != 0; });
    if (!any)
        throw Error(fmt::format("{}: the maps of the stage '{}' are empty: no voxel has a value",
                                path.string(), stage_name));
    add_relative_mass(cell);
    add_lithium(cell, products);
    return cell;
}

std::vector<std::string> stages_with_phases(const report::Products& products) {
    std::vector<std::string> names;
    for (const report::ProductStage& stage : products.stages)
        if (has_phases(stage))
            names.push_back(stage.name);
    return names;
}

std::string joined(const std::vector<std::string>& names) {
    std::string text;
    for (const auto& name : names)
        text += (text.empty() ? "" : ", ") + name;
    return text;
}

std::string common_stage(const std::vector<fs::path>& paths,
                         const std::vector<report::Products>& products, const std::string& wanted) {
    std::vector<std::string> candidates = stages_with_phases(products.front());
    std::string all;
    for (std::size_t i = 0; i < paths.size(); ++i) {
        const auto names = stages_with_phases(products[i]);
        if (names.empty())
            throw Error(fmt::format("{}: no stage has maps of phases; a rietveld.nxs was expected",
                                    paths[i].string()));
        if (!wanted.empty() && std::find(names.begin(), names.end(), wanted) == names.end())
            throw Error(fmt::format("{}: there is no stage '{}' with phases; there is {}",
                                    paths[i].string(), wanted, joined(names)));
        std::erase_if(candidates, [&](const std::string& name) {
            return std::find(names.begin(), names.end(), name) == names.end();
        });
        all += fmt::format("{}{}: {}", i == 0 ? "" : "; ", paths[i].string(), joined(names));
    }
    if (!wanted.empty())
        return wanted;
    if (candidates.empty())
        throw Error(fmt::format("the results have no stage in common ({})", all));
    return candidates.back();
}

report::Products products_of(const fs::path& path) {
    std::error_code error;
    if (!fs::exists(path, error))
        throw Error(fmt::format("{}: there is no such folder or file", path.string()));
    return report::read_products(path);
}

} // namespace

Cell read_result(const fs::path& path, const std::string& stage) {
    const report::Products products = products_of(path);
    Cell cell = read_cell(path, products, common_stage({path}, {products}, stage));
    cell.label = folder_name_of(path);
    return cell;
}

std::vector<Cell> read_cells(const std::vector<fs::path>& paths,
                             const std::vector<std::string>& labels, const std::string& stage) {
    if (paths.size() < 2)
        throw Error(fmt::format("{} result{} given; at least two are needed for a comparison",
                                paths.size(), paths.size() == 1 ? " is" : "s are"));
    if (!labels.empty() && labels.size() != paths.size())
        throw Error(fmt::format("--label: {} labels for {} results; give one for each or none",
                                labels.size(), paths.size()));
    std::vector<report::Products> products;
    for (const fs::path& path : paths)
        products.push_back(products_of(path));
    const std::string common = common_stage(paths, products, stage);
    std::vector<Cell> cells;
    std::set<std::string> names;
    for (std::size_t i = 0; i < paths.size(); ++i) {
        cells.push_back(read_cell(paths[i], products[i], common));
        std::string label = labels.empty() ? folder_name_of(paths[i]) : labels[i];
        if (label.empty())
            throw Error("--label: a label is empty");
        // The label becomes a group in the product and part of a name.
        std::string key = report::file_name_part(label);
        if (!labels.empty() && names.contains(key))
            throw Error(fmt::format("--label: '{}' is given twice, or two labels differ in special "
                                    "characters only",
                                    label));
        for (int n = 2; names.contains(key); ++n)
            key = report::file_name_part(label = fmt::format("{}-{}", folder_name_of(paths[i]), n));
        names.insert(key);
        cells.back().label = label;
    }
    return cells;
}

} // namespace xrdct::compare
