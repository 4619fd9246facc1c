// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/bench/output.hpp"

#include "base/numbers.hpp"
#include "jobs/program/version.hpp"
#include "jobs/report/curve_picture.hpp"
#include "mpi/nexus/nexus.hpp"
#include "mpi/nexus/product_file.hpp"

#include <cmath>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace xrdct::bench {

namespace {

constexpr double giga = 1e9, mega = 1e6;

const char* name_of(Scaling scaling) {
    return scaling == Scaling::strong ? "strong" : "weak";
}

/// "–" for what is not known.
std::string cell(double value, const char* form, int width) {
    if (!std::isfinite(value))
        return fmt::format("{:>{}}", "–", width);
    return fmt::format("{:>{}}", fmt::format(fmt::runtime(form), value), width);
}

const Stage predicted_stages[] = {Stage::read,         Stage::fbp,      Stage::fits,
                                  Stage::product,      Stage::gradient, Stage::linearise,
                                  Stage::precondition, Stage::step};

std::string machine_text(const Machine& m) {
    std::string text = fmt::format("{:.1f} GFLOP/s and {:.1f} GB/s from memory per rank",
                                   m.flop_rate / giga, m.memory_bandwidth / giga);
    if (m.network_bandwidth > 0)
        text += fmt::format(", network {:.1f} GB/s per node, {:.1f} us ({:.1f} us within a node)",
                            m.network_bandwidth / giga, m.latency * 1e6, m.node_latency * 1e6);
    if (m.file_bandwidth > 0)
        text += fmt::format(", files {:.2f} GB/s per rank, {:.2f} GB/s in all",
                            m.file_bandwidth / giga, m.file_system / giga);
    return text;
}

std::string prediction_table(const Results& r) {
    const auto& w = r.work;
    std::string text = fmt::format(
        "\nPREDICTIONS, one slice of {} x {} x {}: {} unknowns, {} coefficients per ray, {} "
        "Gauss-Newton steps of {} products\nmachine: {}, {} ranks per node\n",
        w.translations, w.rotations, w.channels, w.unknowns, w.basis, r.steps, r.step.products,
        machine_text(r.machine), r.ranks_per_node);
    text += fmt::format("rates measured on one rank of a machine with {}\n",
                        machine_text(r.rates.machine));
    text += fmt::format("{:>6}", "ranks");
    for (const Stage stage : predicted_stages)
        text += fmt::format(" {:>17}", fmt::format("{} [s]", to_string(stage)));
    text += fmt::format(" {:>10} {:>10} {:>9}\n", "slice [s]", "efficiency", "MB/rank");
    const double alone =
        predict_slice(w, r.rates, r.machine, {}, Decomposition::rotations, r.step, r.steps).total();
    for (const auto& p : r.predictions) {
        text += fmt::format("{:>6}", p.ranks);
        for (const Stage stage : predicted_stages)
            text += fmt::format(" {:>17.4g}", p.stages[static_cast<std::size_t>(stage)].total());
        text += fmt::format(" {:>10.3g} {:>9.0f}% {:>9.0f}\n", p.slice.total(),
                            100 * alone / (static_cast<double>(p.ranks) * p.slice.total()),
                            p.memory / mega);
    }
    text += fmt::format(
        "\none product [s]: {:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>8} {:>14}\n", "rotations",
        "rays", "patterns", "exchange", "node", "repeated", "calls", "sent [MB/rank]");
    for (const auto& p : r.predictions) {
        const Time& t = p.stages[static_cast<std::size_t>(Stage::product)];
        text +=
            fmt::format("{:>16}: {:>10.4g} {:>10.4g} {:>10.4g} {:>10.3g} {:>10.3g} {:>10.3g} "
                        "{:>8.0f} {:>14.2f}\n",
                        p.ranks, p.product_seconds[0], p.product_seconds[1], p.product_seconds[2],
                        t.exchange, t.node, t.repeated, p.product.calls, p.product.sent / mega);
    }
    text += fmt::format("\nstack of {} slices: {:>8} {:>12} {:>10} {:>12} {:>10}\n", r.slices,
                        "groups", "ranks each", "time [s]", "slices/hour", "efficiency");
    for (const auto& p : r.predictions)
        text += fmt::format("{:>18}: {:>8} {:>12} {:>10.4g} {:>12.4g} {:>9.0f}%\n", p.ranks,
                            p.stack.groups, p.stack.ranks_per_group, p.stack.seconds,
                            3600 * static_cast<double>(r.slices) / p.stack.seconds,
                            100 * p.stack.efficiency);
    return text;
}

nlohmann::ordered_json to_json(const Machine& m) {
    return {{"flop_rate", m.flop_rate},
            {"memory_bandwidth", m.memory_bandwidth},
            {"network_bandwidth", m.network_bandwidth},
            {"latency", m.latency},
            {"node_latency", m.node_latency},
            {"file_bandwidth", m.file_bandwidth},
            {"file_system", m.file_system}};
}
nlohmann::ordered_json to_json(const Time& t) {
    return {{"seconds", t.total()},   {"compute", t.compute},   {"node", t.node},
            {"repeated", t.repeated}, {"exchange", t.exchange}, {"file", t.file}};
}
nlohmann::ordered_json json_number(double value) {
    if (std::isfinite(value))
        return value;
    return nullptr;
}

} // namespace

double efficiency(const Results& results, const Measurement& m) {
    const Measurement* least = nullptr;
    for (const auto& other : results.measurements)
        if (other.stage == m.stage && other.scaling == m.scaling &&
            (!least || other.ranks < least->ranks))
            least = &other;
    if (!least)
        return nan_value;
    const double ratio = least->seconds / m.seconds;
    return m.scaling == Scaling::weak
               ? ratio
               : ratio * static_cast<double>(least->ranks) / static_cast<double>(m.ranks);
}

double machine_share(const Results& results, const Measurement& m) {
    const auto machine = results.machines.find(m.ranks);
    if (machine == results.machines.end())
        return nan_value;
    const double time = m.seconds * static_cast<double>(m.ranks);
    double share = 0;
    if (m.flops > 0)
        share = std::max(share, m.flops / time / machine->second.flop_rate);
    if (m.bytes > 0)
        share = std::max(share, m.bytes / time / machine->second.memory_bandwidth);
    if (m.file_bytes > 0 && machine->second.file_bandwidth > 0)
        share = m.file_bytes / m.seconds / machine->second.file_system;
    return share > 0 ? share : nan_value;
}

std::string table(const Results& r) {
    std::string text;
    if (!r.measurements.empty()) {
        text += fmt::format("{} x {} x {}, {} thread(s) per rank\n", r.problem.translations,
                            r.problem.rotations, r.problem.channels, r.threads);
        for (const auto& [ranks, machine] : r.machines)
            text += fmt::format("limits on {} ranks: {}\n", ranks, machine_text(machine));
        text +=
            fmt::format("{:<18} {:<7} {:>5} {:>5} {:>10} {:>10} {:>9} {:>10} {:>10} {:>7} {:>9} "
                        "{:>8} {:>9}\n",
                        "stage", "scaling", "ranks", "team", "time [s]", "efficiency", "GFLOP/s",
                        "sent [MB]", "recv [MB]", "calls", "peak [MB]", "limit", "error");
        for (const auto& m : r.measurements) {
            const double share = machine_share(r, m);
            text +=
                fmt::format("{:<18} {:<7} {:>5} {:>5} {:>10.4g} {:>9.0f}% {} {:>10.3f} "
                            "{:>10.3f} {:>7.0f} {:>9.0f} "
                            "{} {:>9.1e}\n",
                            to_string(m.stage), name_of(m.scaling), m.ranks, m.team, m.seconds,
                            100 * efficiency(r, m),
                            cell(m.flops > 0 ? m.flops / m.seconds / giga : nan_value, "{:.1f}", 9),
                            m.sent / mega, m.received / mega, m.calls, m.peak_memory / mega,
                            cell(100 * share, "{:.0f}%", 8), m.error);
        }
    }
    if (!r.predictions.empty())
        text += prediction_table(r);
    return text;
}

namespace {

nlohmann::ordered_json to_json(const Results::Prediction& p) {
    nlohmann::ordered_json one{{"ranks", p.ranks}};
    for (const Stage stage : predicted_stages)
        one[std::string(to_string(stage))] = to_json(p.stages[static_cast<std::size_t>(stage)]);
    one["slice"] = to_json(p.slice);
    one["product_flops_per_rank"] = p.product.flops;
    one["product_sent_per_rank"] = p.product.sent;
    one["product_received_per_rank"] = p.product.received;
    one["product_collective_calls"] = p.product.calls;
    for (const auto by : {Decomposition::rotations, Decomposition::rays, Decomposition::patterns})
        one["product_seconds_by"][std::string(to_string(by))] =
            p.product_seconds[static_cast<std::size_t>(by)];
    one["memory_per_rank"] = p.memory;
    one["stack"] = {{"groups", p.stack.groups},
                    {"ranks_per_group", p.stack.ranks_per_group},
                    {"seconds", p.stack.seconds},
                    {"efficiency", p.stack.efficiency}};
    return one;
}

} // namespace

nlohmann::ordered_json to_json(const Results& r) {
    nlohmann::ordered_json json{
        {"program_version", program_version},     {"program_revision", revision()},
        {"translations", r.problem.translations}, {"rotations", r.problem.rotations},
        {"channels", r.problem.channels},         {"threads_per_rank", r.threads}};
    for (const auto& [ranks, machine] : r.machines) {
        auto one = to_json(machine);
        one["ranks"] = ranks;
        json["machine_limits"].push_back(one);
    }
    for (const auto& m : r.measurements)
        json["measured"].push_back({{"stage", to_string(m.stage)},
                                    {"scaling", name_of(m.scaling)},
                                    {"ranks", m.ranks},
                                    {"team", m.team},
                                    {"seconds", m.seconds},
                                    {"efficiency", json_number(efficiency(r, m))},
                                    {"flops", m.flops},
                                    {"memory_bytes", m.bytes},
                                    {"sent_per_rank", m.sent},
                                    {"received_per_rank", m.received},
                                    {"collective_calls", m.calls},
                                    {"one_sided_per_rank", m.one_sided},
                                    {"file_bytes", m.file_bytes},
                                    {"peak_memory_per_rank", m.peak_memory},
                                    {"share_of_limit", json_number(machine_share(r, m))},
                                    {"difference_from_one_rank", json_number(m.error)}});
    if (!r.predictions.empty()) {
        auto& predicted = json["predicted"];
        predicted["note"] = "predictions of a model, not measurements";
        predicted["machine"] = to_json(r.machine);
        predicted["rates_measured_on"] = to_json(r.rates.machine);
        predicted["ranks_per_node"] = r.ranks_per_node;
        predicted["unknowns"] = r.work.unknowns;
        predicted["coefficients_per_ray"] = r.work.basis;
        predicted["steps"] = r.steps;
        predicted["products_per_step"] = r.step.products;
        predicted["slices"] = r.slices;
        for (const auto& p : r.predictions)
            predicted["by_ranks"].push_back(to_json(p));
    }
    return json;
}

namespace {

hdf5::Group write_stage(hdf5::Group& bench, const Results& r, Scaling scaling, Stage stage,
                        const std::vector<const Measurement*>& rows) {
    const auto column = [&](hdf5::Group& group, const char* name, const char* units,
                            const std::vector<const Measurement*>& rows, auto&& value) {
        std::vector<double> values;
        for (const auto* m : rows)
            values.push_back(value(*m));
        nexus::write_axis(group, name, values, {units, name});
    };
    std::string name = fmt::format("{}_{}", to_string(stage), name_of(scaling));
    std::replace(name.begin(), name.end(), ' ', '_');
    auto group = nexus::require_data(bench, name, "efficiency", {"ranks"});
    using M = Measurement;
    column(group, "ranks", "", rows, [](const M& m) { return static_cast<double>(m.ranks); });
    column(group, "efficiency", "", rows, [&](const M& m) { return efficiency(r, m); });
    column(group, "time", "s", rows, [](const M& m) { return m.seconds; });
    column(group, "floating_point_operations", "", rows, [](const M& m) { return m.flops; });
    column(group, "sent_per_rank", "byte", rows, [](const M& m) { return m.sent; });
    column(group, "received_per_rank", "byte", rows, [](const M& m) { return m.received; });
    column(group, "peak_memory_per_rank", "byte", rows, [](const M& m) { return m.peak_memory; });
    column(group, "share_of_limit", "", rows, [&](const M& m) { return machine_share(r, m); });
    column(group, "difference_from_one_rank", "", rows, [](const M& m) { return m.error; });
    return group;
}

hdf5::Group write_prediction(hdf5::Group& bench, const Results& r) {
    auto group = nexus::require_data(bench, "prediction", "slice_time", {"ranks"});
    std::vector<double> ranks, time, stack;
    for (const auto& p : r.predictions) {
        ranks.push_back(static_cast<double>(p.ranks));
        time.push_back(p.slice.total());
        stack.push_back(p.stack.seconds);
    }
    nexus::write_axis(group, "ranks", ranks, {"", "ranks"});
    nexus::write_axis(group, "slice_time", time, {"s", "predicted time of a slice"});
    nexus::write_axis(group, "stack_time", stack, {"s", "predicted time of the stack"});
    return group;
}

} // namespace

void write_nexus(const Results& r, const std::filesystem::path& path, bool force) {
    auto product = nexus::ProductFile::create(path, force ? nexus::ProductFile::Existing::replace
                                                          : nexus::ProductFile::Existing::refuse);
    {
        auto root = product.root();
        nexus::write_root(root, program_version, revision(), nexus::now_utc());
        auto entry = nexus::require_class(root, "entry", "NXentry");
        auto bench = nexus::require_class(entry, "bench", "NXprocess");
        bench.write_string("program", "xrdct bench");
        bench.write_string("results", to_json(r).dump(2));
        bool first = true;
        for (const Scaling scaling : {Scaling::strong, Scaling::weak})
            for (std::size_t s = 0; s <= static_cast<std::size_t>(Stage::read); ++s) {
                std::vector<const Measurement*> rows;
                for (const auto& m : r.measurements)
                    if (m.scaling == scaling && m.stage == static_cast<Stage>(s))
                        rows.push_back(&m);
                if (rows.empty())
                    continue;
                const auto group = write_stage(bench, r, scaling, static_cast<Stage>(s), rows);
                if (first)
                    nexus::set_default(group);
                first = false;
            }
        if (!r.predictions.empty()) {
            const auto group = write_prediction(bench, r);
            if (first)
                nexus::set_default(group);
        }
    }
    product.commit();
}

std::vector<std::filesystem::path> draw(const Results& r, const std::filesystem::path& stem,
                                        bool force) {
    report::CurvePicture picture;
    picture.title = "xrdct bench";
    picture.x_label = "ranks";
    picture.points = true;
    for (const Scaling scaling : {Scaling::strong, Scaling::weak}) {
        report::CurvePicture::Panel panel{name_of(scaling), "efficiency", "", {}};
        for (std::size_t s = 0; s <= static_cast<std::size_t>(Stage::read); ++s) {
            report::CurvePicture::Series series{
                std::string(to_string(static_cast<Stage>(s))), {}, {}, {}};
            for (const auto& m : r.measurements)
                if (m.scaling == scaling && m.stage == static_cast<Stage>(s)) {
                    series.x.push_back(static_cast<double>(m.ranks));
                    series.y.push_back(efficiency(r, m));
                }
            if (series.x.size() > 1)
                panel.series.push_back(std::move(series));
        }
        if (!panel.series.empty())
            picture.panels.push_back(std::move(panel));
    }
    if (picture.panels.empty() && r.predictions.size() > 1) {
        report::CurvePicture::Panel panel{"predicted", "efficiency", "", {}};
        report::CurvePicture::Series slice{"one slice", {}, {}, {}},
            stack{fmt::format("{} slices", r.slices), {}, {}, {}};
        const double alone =
            predict_slice(r.work, r.rates, r.machine, {}, Decomposition::rotations, r.step, r.steps)
                .total();
        for (const auto& p : r.predictions) {
            const auto ranks = static_cast<double>(p.ranks);
            slice.x.push_back(std::log2(ranks));
            slice.y.push_back(alone / (ranks * p.slice.total()));
            stack.x.push_back(std::log2(ranks));
            stack.y.push_back(p.stack.efficiency);
        }
        panel.series = {slice, stack};
        picture.x_label = "binary logarithm of the ranks";
        picture.panels.push_back(std::move(panel));
    }
    if (picture.panels.empty())
        return {};
    report::PictureOptions options;
    options.force = force;
    return write_curve_picture(picture, stem, options);
}

} // namespace xrdct::bench
