// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/report/dlsr.hpp"

#include "base/error.hpp"
#include "base/numbers.hpp"
#include "jobs/pipeline/registry.hpp"
#include "maps/statistics.hpp"
#include "mpi/hdf5/hdf5.hpp"
#include "mpi/nexus/nexus.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace xrdct::report {

namespace {

/// Over the known rotations of a line.
template <class Value>
double root_mean_square(const DlsrDiagnostics::Line& line, const Value& value) {
    double sum = 0.0;
    std::size_t count = 0;
    for (std::size_t i = 0; i < line.ratio.size(); ++i)
        if (line.known(i) && std::isfinite(line.ratio[i]) && line.errors[i] > 0.0) {
            sum += value(i) * value(i);
            ++count;
        }
    return count > 0 ? std::sqrt(sum / static_cast<double>(count)) : nan_value;
}

std::vector<double> numbers(const hdf5::Group& group, const std::string& name,
                            std::size_t expected) {
    const auto dataset = group.open_dataset(name);
    auto values = dataset.read_all<double>();
    if (values.size() != expected)
        throw Error(
            fmt::format("{}: {} values, expected {}", dataset.describe(), values.size(), expected));
    return values;
}

std::vector<std::string> texts(const hdf5::Group& group, const std::string& name,
                               std::size_t expected) {
    const auto dataset = group.open_dataset(name);
    auto values = dataset.read_strings();
    if (values.size() != expected)
        throw Error(
            fmt::format("{}: {} texts, expected {}", dataset.describe(), values.size(), expected));
    return values;
}

void read_globals(const hdf5::Group& group, DlsrDiagnostics& out) {
    for (const auto& entry : group.entries()) {
        if (entry.kind != hdf5::Kind::dataset || entry.name.ends_with("_errors"))
            continue;
        const auto dataset = group.open_dataset(entry.name);
        if (!dataset.is_numeric() || dataset.size() != 1)
            continue;
        DlsrDiagnostics::Global global;
        global.group = dataset.string_attribute("group").value_or("");
        global.quantity = dataset.string_attribute("quantity").value_or(entry.name);
        global.units = dataset.string_attribute("units").value_or("");
        global.value = dataset.read_scalar();
        global.esd = nexus::read_value(group, entry.name + "_errors").value_or(nan_value);
        global.at_bound = dataset.number_attribute("at_bound").value_or(0.0) != 0.0;
        out.globals.push_back(std::move(global));
    }
}

void read_geometry(const hdf5::Group& group, DlsrDiagnostics& out) {
    for (const auto& entry : group.entries()) {
        if (entry.kind != hdf5::Kind::dataset || entry.name.ends_with("_errors"))
            continue;
        const auto dataset = group.open_dataset(entry.name);
        if (!dataset.is_numeric() || dataset.rank() != 0)
            continue;
        out.geometry.push_back(
            {entry.name, dataset.string_attribute("units").value_or(""), dataset.read_scalar(),
             nexus::read_value(group, entry.name + "_errors").value_or(nan_value),
             dataset.number_attribute("given").value_or(nan_value),
             dataset.number_attribute("refined").value_or(0.0) != 0.0,
             dataset.number_attribute("systematic").value_or(nan_value)});
    }
}

void read_lines(const hdf5::Group& group, DlsrDiagnostics& out) {
    const auto ratio = group.open_dataset("ratio");
    if (ratio.rank() != 2)
        throw Error(ratio.describe() + ": expected [line, rotation_angle]");
    const std::size_t lines = ratio.shape()[0], rotations = ratio.shape()[1];
    const auto values = ratio.read_all<double>();
    const auto errors = numbers(group, "ratio_errors", lines * rotations);
    const auto two_theta = numbers(group, "two_theta", lines);
    const auto phases = texts(group, "phase", lines), hkl = texts(group, "hkl", lines);
    out.rotation = numbers(group, "rotation_angle", rotations);
    for (std::size_t k = 0; k < lines; ++k) {
        const auto from = static_cast<std::ptrdiff_t>(k * rotations);
        const auto to = from + static_cast<std::ptrdiff_t>(rotations);
        out.lines.push_back({phases[k],
                             hkl[k],
                             two_theta[k],
                             {values.begin() + from, values.begin() + to},
                             {errors.begin() + from, errors.begin() + to}});
    }
}

void read_history(const hdf5::Group& group, DlsrDiagnostics& out) {
    const auto iterations = group.open_dataset("iteration").read_all<double>();
    const std::size_t count = iterations.size();
    const auto column = [&](const char* name) { return numbers(group, name, count); };
    const auto objective = column("objective"), misfit = column("misfit"),
               gradient = column("gradient_norm"), rwp = column("rwp"),
               linear = column("linear_iterations"),
               squares = group.has_dataset("data_squares") ? column("data_squares")
                                                           : std::vector<double>(count, 0.0);
    for (std::size_t i = 0; i < count; ++i)
        out.history.push_back(
            {iterations[i], objective[i], misfit[i], gradient[i], rwp[i], linear[i], squares[i]});
}

bool varies(const std::vector<double>& values) {
    const auto summary = maps::summarise(values);
    return summary.count > 1 && !summary.uniform;
}

bool same(const Axis& a, const Axis& b) {
    if (a.values.size() != b.values.size() || a.units != b.units || a.values.size() < 2)
        return false;
    const double step = std::abs(a.values[1] - a.values[0]);
    for (std::size_t i = 0; i < a.values.size(); ++i)
        if (!(std::abs(a.values[i] - b.values[i]) < 1e-3 * step))
            return false;
    return true;
}

} // namespace

double DlsrDiagnostics::Line::rms() const {
    return root_mean_square(*this, [&](std::size_t i) { return ratio[i]; });
}

double DlsrDiagnostics::Line::rms_errors() const {
    return root_mean_square(*this, [&](std::size_t i) { return errors[i]; });
}

double DlsrDiagnostics::Line::excess() const {
    return root_mean_square(*this, [&](std::size_t i) { return ratio[i] / errors[i]; });
}

const DlsrDiagnostics::MapState* DlsrDiagnostics::find(const std::string& group,
                                                       const std::string& quantity) const {
    const auto at = std::find_if(maps.begin(), maps.end(), [&](const MapState& map) {
        return map.group == group && map.quantity == quantity;
    });
    return at == maps.end() ? nullptr : &*at;
}

std::optional<DlsrDiagnostics> read_dlsr_diagnostics(const ProductStage& stage) {
    const auto file = hdf5::File::open(stage.file, hdf5::Access::read_only);
    const std::string path = "entry/" + stage.name;
    if (!file.root().has_group(path))
        return std::nullopt;
    const auto group = file.root().open_group(path);
    if (!group.has_dataset("stop_reason"))
        return std::nullopt;
    DlsrDiagnostics out;
    out.rwp = nexus::read_value(group, "rwp").value_or(nan_value);
    out.gof = nexus::read_value(group, "gof").value_or(nan_value);
    out.converged = nexus::read_value(group, "converged").value_or(0.0) != 0.0;
    out.stop_reason = nexus::read_text(group, "stop_reason").value_or("");
    if (group.has_dataset("remarks"))
        out.remarks = group.open_dataset("remarks").read_strings();
    if (group.has_group("globals"))
        read_globals(group.open_group("globals"), out);
    if (group.has_group("geometry"))
        read_geometry(group.open_group("geometry"), out);
    if (group.has_group("lines"))
        read_lines(group.open_group("lines"), out);
    if (group.has_group("convergence"))
        read_history(group.open_group("convergence"), out);
    if (group.has_group("held_out")) {
        const auto tried = group.open_group("held_out");
        const auto smoothness = tried.open_dataset("smoothness").read_all<double>();
        const auto chi_squared = numbers(tried, "chi_squared", smoothness.size());
        for (std::size_t i = 0; i < smoothness.size(); ++i)
            out.held_out.emplace_back(smoothness[i], chi_squared[i]);
    }
    for (const ProductData& data : stage.data)
        for (const ProductMap& map : data.maps) {
            const auto dataset = file.root().open_dataset(map.path);
            if (const auto smoothness = dataset.number_attribute("smoothness"))
                out.maps.push_back({data.name, map.name, *smoothness,
                                    dataset.number_attribute("resolution").value_or(0.0)});
        }
    // HDF5 lists by name; the phases come in the model's order.
    const auto rank = [&](const std::string& name) {
        return std::find_if(stage.data.begin(), stage.data.end(),
                            [&](const ProductData& data) { return data.name == name; }) -
               stage.data.begin();
    };
    std::stable_sort(out.globals.begin(), out.globals.end(),
                     [&](const auto& a, const auto& b) { return rank(a.group) < rank(b.group); });
    return out;
}

DlsrDiagnostics::Global customary(const DlsrDiagnostics::Global& global) {
    auto shown = global;
    if (global.quantity == "inverse_size" && global.value > 0.0) {
        shown.quantity = "size";
        shown.units = "angstrom";
        shown.value = 1.0 / global.value;
        shown.esd = global.esd / (global.value * global.value);
    } else if (global.quantity == "gauss_microstrain_squared" && global.value > 0.0) {
        shown.quantity = "gauss_microstrain";
        shown.value = std::sqrt(global.value);
        shown.esd = global.esd / (2.0 * shown.value);
    }
    return shown;
}

std::vector<std::string> compared_quantities(const ProductStage& conventional,
                                             const ProductStage& dlsr, const ProductData& phase) {
    const ProductData* other = find_data(conventional, phase.name);
    std::vector<std::string> quantities;
    if (!other)
        return quantities;
    bool amount = false;
    for (const char* name : {"volume_fraction", "density", "scale", "weight_fraction", "area",
                             "position", "a", "b", "c", "alpha", "beta", "gamma"}) {
        const ProductMap *own = phase.find(name), *theirs = other->find(name);
        const std::string quantity = name;
        const bool is_amount =
            quantity == "volume_fraction" || quantity == "density" || quantity == "scale";
        if (!own || !theirs || (is_amount && amount))
            continue;
        if (!varies(read_map_values(dlsr, *own)) && !varies(read_map_values(conventional, *theirs)))
            continue;
        amount = amount || is_amount;
        quantities.push_back(quantity);
    }
    return quantities;
}

const ProductStage* conventional_stage(const Products& products, const ProductStage& dlsr) {
    for (const ProductStage& stage : products.stages) {
        const auto* refined = pipeline::find_stage(dlsr.name);
        if (!refined || stage.name != refined->improves())
            continue;
        for (const ProductData& data : dlsr.data)
            if (const auto* other = data.is_phase() ? find_data(stage, data.name) : nullptr;
                other && same(data.x, other->x) && same(data.y, other->y))
                return &stage;
    }
    return nullptr;
}

std::vector<MapDifference> map_differences(const ProductStage& conventional,
                                           const ProductStage& dlsr) {
    std::vector<MapDifference> differences;
    for (const ProductData& data : dlsr.data) {
        if (!data.is_phase() && !data.is_peak())
            continue;
        std::vector<double> amount;
        for (const char* name : {"density", "volume_fraction", "scale", "area"})
            if (const ProductMap* map = data.find(name); map && amount.empty())
                amount = read_map_values(dlsr, *map);
        for (const std::string& quantity : compared_quantities(conventional, dlsr, data)) {
            const ProductMap& own = *data.find(quantity);
            const auto a =
                read_map_values(conventional, *find_data(conventional, data.name)->find(quantity));
            const auto b = read_map_values(dlsr, own);
            MapDifference out{data.name, quantity,  own.units, 0,
                              nan_value, nan_value, nan_value, nan_value};
            // A property counts as often as there is matter that has it, an amount once a voxel.
            const bool property = quantity.size() == 1 || quantity == "alpha" ||
                                  quantity == "beta" || quantity == "gamma";
            double sum = 0, sa = 0, sb = 0, saa = 0, sbb = 0, sab = 0;
            const auto weight = [&](std::size_t i) {
                return !property || amount.empty() ? 1.0 : amount[i];
            };
            const auto each = [&](const auto& take) {
                for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i)
                    if (std::isfinite(a[i]) && std::isfinite(b[i]) && weight(i) > 0.0)
                        take(i, weight(i));
            };
            each([&](std::size_t i, double w) {
                ++out.voxels;
                sum += w;
                sa += w * a[i];
                sb += w * b[i];
            });
            if (out.voxels > 0) {
                out.conventional = sa / sum;
                out.dlsr = sb / sum;
                double squares = 0;
                each([&](std::size_t i, double w) {
                    const double da = a[i] - out.conventional, db = b[i] - out.dlsr;
                    saa += w * da * da;
                    sbb += w * db * db;
                    sab += w * da * db;
                    squares += w * (b[i] - a[i]) * (b[i] - a[i]);
                });
                out.rms = std::sqrt(squares / sum);
                if (saa > 0.0 && sbb > 0.0)
                    out.correlation = sab / std::sqrt(saa * sbb);
            }
            differences.push_back(std::move(out));
        }
    }
    return differences;
}

} // namespace xrdct::report
