// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/compare/truth.hpp"

#include "base/error.hpp"
#include "base/numbers.hpp"
#include "base/statistics.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace xrdct::compare {

namespace {

constexpr double much = 0.3; ///< of the phase's amount where there is much of it

bool same_axes(const registration::PixelGrid& a, const registration::PixelGrid& b) {
    return a.nx == b.nx && a.ny == b.ny && std::abs(a.x0 - b.x0) < 0.05 * a.pixel &&
           std::abs(a.y0 - b.y0) < 0.05 * a.pixel && std::abs(a.pixel - b.pixel) < 1e-3 * a.pixel;
}

MapError error_of(const std::vector<double>& truth, const std::vector<double>& found) {
    MapError e;
    e.voxels = truth.size();
    if (truth.empty())
        return e;
    const auto n = static_cast<double>(truth.size());
    double mean_found = 0, square = 0;
    std::vector<double> absolute;
    for (std::size_t i = 0; i < truth.size(); ++i) {
        const double difference = found[i] - truth[i];
        e.mean += truth[i] / n;
        mean_found += found[i] / n;
        square += difference * difference / n;
        absolute.push_back(std::abs(difference));
    }
    e.bias = mean_found - e.mean;
    e.rms = std::sqrt(square);
    e.median = median(std::move(absolute));
    double tt = 0, ff = 0, tf = 0;
    for (std::size_t i = 0; i < truth.size(); ++i) {
        const double t = truth[i] - e.mean, f = found[i] - mean_found;
        tt += t * t;
        ff += f * f;
        tf += t * f;
    }
    const double least = 1e-20 * n * e.mean * e.mean;
    e.correlation = tt > least && ff > least ? tf / std::sqrt(tt * ff) : nan_value;
    return e;
}

/// Voxels that hold any phase.
std::vector<bool> voxels_of_sample(const Cell& truth) {
    std::vector<bool> within(truth.grid.size(), false);
    for (const CellGroup& group : truth.groups)
        if (const CellMap* density = group.find("density"))
            for (std::size_t i = 0; i < within.size(); ++i)
                if (density->values[i] > 0)
                    within[i] = true;
    return within;
}

/// Voxels with much of one phase.
std::vector<bool> voxels_of_phase(const CellGroup& truth) {
    const CellMap* amount = truth.find(truth.amount);
    std::vector<double> present;
    for (const double v : amount->values)
        if (v > 0)
            present.push_back(v);
    std::vector<bool> within(amount->values.size(), false);
    if (present.empty())
        return within;
    const double least = much * quantile(std::move(present), 0.99);
    for (std::size_t i = 0; i < within.size(); ++i)
        within[i] = amount->values[i] >= least;
    return within;
}

void add_map(const CellGroup& truth, const CellGroup& found, const std::string& quantity,
             const std::vector<bool>& within, bool amount, std::vector<MapError>& errors) {
    const CellMap *t = truth.find(quantity), *f = found.find(quantity);
    if (t == nullptr || f == nullptr)
        return;
    std::vector<double> true_values, found_values;
    std::size_t possible = 0;
    for (std::size_t i = 0; i < within.size(); ++i) {
        if (!within[i] || !std::isfinite(t->values[i]))
            continue;
        ++possible;
        if (!amount && !std::isfinite(f->values[i]))
            continue;
        true_values.push_back(t->values[i]);
        found_values.push_back(std::isfinite(f->values[i]) ? f->values[i] : 0.0);
    }
    MapError error = error_of(true_values, found_values);
    error.phase = truth.name;
    error.quantity = quantity;
    error.units = t->units;
    error.possible = possible;
    errors.push_back(std::move(error));
}

double total_of(const CellMap& map) {
    double sum = 0;
    for (const double v : map.values)
        if (std::isfinite(v))
            sum += v;
    return sum;
}

/// In six digits at most; NaN as a dash.
std::string short_number(double value) {
    return std::isfinite(value) ? fmt::format("{:.4g}", value) : std::string("-");
}

nlohmann::ordered_json json_number(double value) {
    return std::isfinite(value) ? nlohmann::ordered_json(value) : nlohmann::ordered_json(nullptr);
}

} // namespace

TruthErrors errors_against(const Cell& truth, const Cell& result) {
    if (!same_axes(truth.grid, result.grid))
        throw Error(fmt::format(
            "{}: its maps are {} x {} voxels of {:.5g} mm, the truth's in {} are {} x {} of "
            "{:.5g} mm; only maps on the scan's own grid can be compared with it",
            result.path.string(), result.grid.nx, result.grid.ny, result.grid.pixel,
            truth.path.string(), truth.grid.nx, truth.grid.ny, truth.grid.pixel));
    TruthErrors errors;
    const std::vector<bool> sample = voxels_of_sample(truth);
    bool densities = true;
    for (const CellGroup& phase : truth.groups) {
        const CellGroup* found = result.find(phase.name);
        if (phase.kind != GroupKind::phase || phase.amount.empty())
            continue;
        if (found == nullptr) {
            errors.notes.push_back(
                fmt::format("{} is in the truth, not in the result", phase.name));
            continue;
        }
        densities = densities && found->find("density") != nullptr;
        for (const char* quantity : {"density", "weight_fraction"})
            add_map(phase, *found, quantity, sample, true, errors.maps);
        const std::vector<bool> there = voxels_of_phase(phase);
        for (const char* quantity : {"a", "b", "c", "size", "microstrain"})
            add_map(phase, *found, quantity, there, false, errors.maps);
        WholeError whole{phase.name, nan_value, nan_value, nan_value};
        if (const auto at = truth.mass_share.find(phase.name); at != truth.mass_share.end())
            whole.true_fraction = at->second;
        if (const auto at = result.mass_share.find(phase.name); at != result.mass_share.end())
            whole.fraction = at->second;
        if (found->find("density") && phase.find("density"))
            whole.mass_ratio = total_of(*found->find("density")) / total_of(*phase.find("density"));
        errors.whole.push_back(std::move(whole));
    }
    if (errors.whole.empty())
        throw Error(fmt::format("{}: no phase of the truth {} is among its phases",
                                result.path.string(), truth.path.string()));
    if (!densities)
        errors.notes.push_back("the result has no densities: its absorption is not calibrated");
    return errors;
}

std::string truth_table(const Cell& result, const TruthErrors& errors) {
    std::string text =
        fmt::format("{} (stage {}) against the truth\n", result.path.string(), result.stage);
    text += fmt::format("{:<18} {:<16} {:>9} {:>13} {:>11} {:>11} {:>11} {:>12} {}\n", "phase",
                        "quantity", "voxels", "mean", "bias", "rms", "median |e|", "correlation",
                        "unit");
    for (const MapError& e : errors.maps)
        text +=
            fmt::format("{:<18} {:<16} {:>9} {:>13} {:>11} {:>11} {:>11} {:>12} {}\n", e.phase,
                        e.quantity, fmt::format("{}/{}", e.voxels, e.possible),
                        fmt::format("{:.6g}", e.mean), short_number(e.bias), short_number(e.rms),
                        short_number(e.median), short_number(e.correlation), e.units);
    for (const WholeError& w : errors.whole)
        text += fmt::format("whole sample: {} {} of the crystalline mass, truth {}; its mass {} "
                            "times the true one\n",
                            w.phase, short_number(w.fraction), short_number(w.true_fraction),
                            short_number(w.mass_ratio));
    for (const auto& note : errors.notes)
        text += "note: " + note + "\n";
    return text;
}

std::string truth_json(const Cell& truth, const std::vector<Cell>& results,
                       const std::vector<TruthErrors>& errors) {
    nlohmann::ordered_json json{{"truth", truth.path.string()}};
    json["results"] = nlohmann::ordered_json::array();
    for (std::size_t k = 0; k < results.size(); ++k) {
        nlohmann::ordered_json one{{"path", results[k].path.string()}, {"stage", results[k].stage}};
        for (const MapError& e : errors[k].maps)
            one["maps"].push_back({{"phase", e.phase},
                                   {"quantity", e.quantity},
                                   {"units", e.units},
                                   {"voxels", e.voxels},
                                   {"possible_voxels", e.possible},
                                   {"mean", json_number(e.mean)},
                                   {"bias", json_number(e.bias)},
                                   {"rms", json_number(e.rms)},
                                   {"median_absolute", json_number(e.median)},
                                   {"correlation", json_number(e.correlation)}});
        for (const WholeError& w : errors[k].whole)
            one["whole"].push_back({{"phase", w.phase},
                                    {"weight_fraction", json_number(w.fraction)},
                                    {"true_weight_fraction", json_number(w.true_fraction)},
                                    {"mass_ratio", json_number(w.mass_ratio)}});
        one["notes"] = errors[k].notes;
        json["results"].push_back(std::move(one));
    }
    return json.dump(1) + "\n";
}

} // namespace xrdct::compare
