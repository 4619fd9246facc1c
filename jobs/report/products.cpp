// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/report/products.hpp"

#include "base/error.hpp"
#include "jobs/pipeline/registry.hpp"
#include "jobs/report/analysis_file.hpp"
#include "jobs/report/labels.hpp"
#include "jobs/report/text.hpp"
#include "mpi/hdf5/hdf5.hpp"
#include "mpi/nexus/nexus.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cctype>
#include <numeric>

namespace xrdct::report {

namespace fs = std::filesystem;

bool ProductData::is_phase() const {
    return find("scale") || find("weight_fraction") || find("volume_fraction") || find("density");
}

bool ProductData::is_peak() const {
    return !is_phase() && (find("area") || find("position"));
}

const ProductData* find_data(const ProductStage& stage, const std::string& name) {
    for (const ProductData& data : stage.data)
        if (data.name == name && !data.maps.empty())
            return &data;
    return nullptr;
}

const ProductMap* ProductData::find(const std::string& quantity) const {
    const auto at = std::find_if(maps.begin(), maps.end(),
                                 [&](const ProductMap& map) { return map.name == quantity; });
    return at == maps.end() ? nullptr : &*at;
}

const ProductSeries* ProductData::find_series(const std::string& quantity) const {
    const auto at = std::find_if(series.begin(), series.end(),
                                 [&](const ProductSeries& s) { return s.name == quantity; });
    return at == series.end() ? nullptr : &*at;
}

std::map<int, std::string> parse_meanings(const std::string& text) {
    std::map<int, std::string> meanings;
    std::string* last = nullptr;
    std::size_t begin = 0;
    while (begin <= text.size()) {
        std::size_t end = text.find_first_of(",;\n", begin);
        if (end == std::string::npos)
            end = text.size();
        std::string piece = text.substr(begin, end - begin);
        const std::string separator(1, end < text.size() ? text[end] : ' ');
        begin = end + 1;
        piece.erase(0, std::min(piece.find_first_not_of(" \t"), piece.size()));
        piece.erase(piece.find_last_not_of(" \t") + 1);
        if (piece.empty())
            continue;
        std::size_t digits = piece[0] == '-' ? 1 : 0;
        const std::size_t first = digits;
        while (digits < piece.size() && std::isdigit(static_cast<unsigned char>(piece[digits])))
            ++digits;
        if (digits == first || digits - first > 9) {
            // The comma belonged to the text before it.
            if (last)
                *last += ", " + piece;
            continue;
        }
        const std::size_t meaning = piece.find_first_not_of(" \t:=", digits);
        last = &meanings[std::stoi(piece.substr(0, digits))];
        *last = meaning == std::string::npos ? piece.substr(0, digits) : piece.substr(meaning);
    }
    return meanings;
}

namespace {

bool is_integer(hdf5::ElementType type) {
    return type != hdf5::ElementType::float32 && type != hdf5::ElementType::float64 &&
           type != hdf5::ElementType::string && type != hdf5::ElementType::other;
}

std::string text_attribute(const hdf5::Object& object, const std::string& name) {
    try {
        return object.string_attribute(name).value_or("");
    } catch (const Error&) {
        return {};
    }
}

std::vector<std::string> text_attributes(const hdf5::Object& object, const std::string& name) {
    try {
        return object.strings_attribute(name).value_or(std::vector<std::string>{});
    } catch (const Error&) {
        return {};
    }
}

std::string joined(const std::vector<std::string>& parts) {
    std::string text;
    for (const std::string& part : parts)
        text += (text.empty() ? "" : ", ") + part;
    return text;
}

/// The axis dataset of that name, pixel numbers when there is none of that length.
Axis read_axis(const hdf5::Group& group, const std::string& name, std::size_t length) {
    Axis axis;
    axis.label = name;
    if (name != "." && group.has_dataset(name)) {
        const auto dataset = group.open_dataset(name);
        if (dataset.is_numeric() && dataset.rank() == 1 && dataset.size() == length) {
            axis.values = dataset.read_all<double>();
            axis.units = text_attribute(dataset, "units");
            return axis;
        }
    }
    axis.values.resize(length);
    std::iota(axis.values.begin(), axis.values.end(), 0.0);
    if (name == ".")
        axis.label = "pixel";
    return axis;
}

constexpr std::string_view ticks_prefix = "ticks_";

bool is_errors(const std::string& name) {
    return name.ends_with(errors_suffix);
}

ProductMap describe_map(const hdf5::Group& group, const hdf5::Dataset& dataset,
                        const std::string& name) {
    ProductMap map;
    map.name = name;
    map.path = dataset.path();
    map.units = text_attribute(dataset, "units");
    map.is_integer = is_integer(dataset.element_type());
    map.meanings = parse_meanings(joined(text_attributes(dataset, "meanings")));
    if (map.is_integer && name == "mask" && map.meanings.empty())
        map.meanings = {{0, "outside"}, {1, "inside"}};
    const std::string errors = name + std::string(errors_suffix);
    map.has_errors = group.has_dataset(errors) &&
                     group.open_dataset(errors).shape() == dataset.shape() &&
                     group.open_dataset(errors).is_numeric();
    return map;
}

/// Maps, series and ticks of an NXdata group whose signal has the shape `shape`.
void read_members(const hdf5::Group& group, const hdf5::Shape& shape,
                  const std::vector<std::string>& axes, ProductData& data,
                  std::vector<std::string>& notes) {
    for (const hdf5::Entry& entry : group.entries()) {
        if (entry.kind != hdf5::Kind::dataset || entry.name == axes.front() ||
            entry.name == axes.back())
            continue;
        const auto dataset = group.open_dataset(entry.name);
        if (!dataset.is_numeric() || dataset.rank() == 0)
            continue;
        if (shape.size() == 1 && dataset.rank() == 1 && entry.name.starts_with(ticks_prefix)) {
            const std::string shown = text_attribute(dataset, "phase");
            data.ticks.push_back({shown.empty() ? entry.name.substr(ticks_prefix.size()) : shown,
                                  dataset.read_all<double>()});
            continue;
        }
        if (is_errors(entry.name))
            continue;
        // Another coordinate of one of the axes.
        if (dataset.rank() == 1 && shape.size() == 2 &&
            group.has_attribute(entry.name + "_indices"))
            continue;
        if (dataset.shape() != shape) {
            notes.push_back(fmt::format("{} has another shape than {} and no picture",
                                        dataset.describe(), data.signal));
            continue;
        }
        if (shape.size() == 1)
            data.series.push_back(
                {entry.name, text_attribute(dataset, "units"), dataset.read_all<double>()});
        else
            data.maps.push_back(describe_map(group, dataset, entry.name));
    }
}

/// The picture-worthy content of an NXdata group; nothing when it has neither one nor two axes.
std::optional<ProductData> read_data(const hdf5::Group& group, const std::string& name,
                                     std::vector<std::string>& notes) {
    ProductData data;
    data.name = name;
    data.title = group.has_dataset("title") ? group.open_dataset("title").read_string() : "";
    data.signal = nexus::signal_of(group).value_or("");
    if (data.signal.empty() || !group.has_dataset(data.signal)) {
        notes.push_back(fmt::format("{} names no signal", group.describe()));
        return std::nullopt;
    }
    const auto signal = group.open_dataset(data.signal);
    const hdf5::Shape shape = signal.shape();
    if (shape.size() > 2) // a volume is for viewers, not for the report
        return std::nullopt;
    if (!signal.is_numeric() || shape.empty() || signal.size() == 0) {
        notes.push_back(fmt::format("{} holds no numbers to show", signal.describe()));
        return std::nullopt;
    }
    std::vector<std::string> axes = text_attributes(group, "axes");
    if (axes.size() != shape.size())
        axes =
            shape.size() == 2 ? std::vector<std::string>{"y", "x"} : std::vector<std::string>{"."};
    data.x = read_axis(group, axes.back(), shape.back());
    if (shape.size() == 2)
        data.y = read_axis(group, axes.front(), shape.front());

    read_members(group, shape, axes, data, notes);
    std::stable_sort(data.maps.begin(), data.maps.end(), [](const auto& a, const auto& b) {
        return quantity_order(a.name) < quantity_order(b.name);
    });
    for (const std::string& attribute : group.attribute_names()) {
        try {
            if (const auto number = group.number_attribute(attribute))
                data.numbers[attribute] = *number;
        } catch (const Error&) { // text, or more than one number
        }
    }
    return data;
}

/// Scalars and short texts of a stage that have no place of their own.
void read_details(const hdf5::Group& group, ProductStage& stage) {
    static constexpr std::array own{"program", "version", "revision", "date",
                                    "job",     "inputs",  "settings", "start_model",
                                    "model",   "ranks",   "remarks"};
    for (const hdf5::Entry& entry : group.entries()) {
        if (entry.kind != hdf5::Kind::dataset ||
            std::find(own.begin(), own.end(), entry.name) != own.end())
            continue;
        const auto dataset = group.open_dataset(entry.name);
        if (dataset.size() != 1)
            continue;
        std::string text;
        if (dataset.is_numeric()) {
            const std::string units = display_units(text_attribute(dataset, "units"));
            text = format_number(dataset.read_scalar(), 7) + (units.empty() ? "" : " ") + units;
        } else if (dataset.element_type() == hdf5::ElementType::string) {
            text = dataset.read_string();
        } else {
            continue;
        }
        std::string name = entry.name;
        std::replace(name.begin(), name.end(), '_', ' ');
        stage.details.emplace_back(name, text);
    }
}

std::string optional_text(const hdf5::Group& group, const std::string& name) {
    if (!group.has_dataset(name))
        return {};
    const auto dataset = group.open_dataset(name);
    return dataset.element_type() == hdf5::ElementType::string ? dataset.read_string() : "";
}

/// HDF5 lists by name; the model's own order of the phases is the one its user chose.
void order_by_model(ProductStage& stage, const std::string& start_model) {
    const auto json = nlohmann::json::parse(start_model, nullptr, false);
    if (!json.is_object() || !json.contains("phases") || !json["phases"].is_array())
        return;
    std::vector<std::string> order;
    for (const auto& phase : json["phases"])
        if (phase.is_object() && phase.contains("name") && phase["name"].is_string())
            order.push_back(phase["name"].get<std::string>());
    const auto rank = [&](const std::string& name) {
        return std::find(order.begin(), order.end(), name) - order.begin();
    };
    std::stable_sort(stage.data.begin(), stage.data.end(),
                     [&](const auto& a, const auto& b) { return rank(a.name) < rank(b.name); });
    for (ProductData& data : stage.data)
        std::stable_sort(data.ticks.begin(), data.ticks.end(), [&](const auto& a, const auto& b) {
            return rank(a.phase) < rank(b.phase);
        });
}

/// The part of an object's path below a group.
std::string below(const hdf5::Group& group, const std::string& path) {
    const std::string prefix = group.path() == "/" ? "/" : group.path() + "/";
    return path.starts_with(prefix) ? path.substr(prefix.size()) : path;
}

ProductStage read_stage(const hdf5::Group& group, const std::string& name, const fs::path& file,
                        std::vector<std::string>& notes) {
    ProductStage stage;
    stage.name = name;
    stage.file = file;
    stage.program = optional_text(group, "program");
    stage.version = optional_text(group, "version");
    stage.date = optional_text(group, "date");
    stage.job = optional_text(group, "job");
    stage.start_model = optional_text(group, "start_model");
    if (stage.start_model.empty())
        stage.start_model = optional_text(group, "model");
    if (group.has_dataset("ranks"))
        stage.ranks = static_cast<long>(group.open_dataset("ranks").read_scalar());
    if (const std::string inputs = optional_text(group, "inputs"); !inputs.empty()) {
        const auto json = nlohmann::json::parse(inputs, nullptr, false);
        if (json.is_object()) {
            for (const auto& [path, checksum] : json.items())
                stage.inputs[path] =
                    checksum.is_string() ? checksum.get<std::string>() : checksum.dump();
        } else {
            notes.push_back(fmt::format("{}/inputs is not a JSON object", group.describe()));
        }
    }
    if (group.has_group("timings")) {
        const auto timings = group.open_group("timings");
        for (const hdf5::Entry& entry : timings.entries()) {
            if (entry.kind != hdf5::Kind::dataset)
                continue;
            const auto dataset = timings.open_dataset(entry.name);
            if (dataset.is_numeric() && dataset.size() == 1)
                stage.timings.emplace_back(entry.name, dataset.read_scalar());
        }
        std::stable_sort(stage.timings.begin(), stage.timings.end(),
                         [](const auto& a, const auto& b) { return a.second > b.second; });
    }
    stage.default_data = text_attribute(group, "default");
    read_details(group, stage);
    if (group.has_group("ring")) {
        const auto ring = group.open_group("ring");
        for (const hdf5::Entry& entry : ring.entries())
            if (entry.kind == hdf5::Kind::dataset)
                if (const auto dataset = ring.open_dataset(entry.name);
                    dataset.is_numeric() && dataset.size() == 1)
                    stage.ring[entry.name] = dataset.read_scalar();
    }
    for (const std::string& path : nexus::groups_of_class(group, "NXdata"))
        if (auto data = read_data(group.open_group(path), below(group, path), notes))
            stage.data.push_back(std::move(*data));
    order_by_model(stage, stage.start_model);
    return stage;
}

std::size_t pipeline_rank(const std::string& stage) {
    // What comes before a job, then its stages.
    static const auto order = [] {
        std::vector<std::string> names{"integrate", "condition"};
        for (const auto* one : pipeline::stages())
            names.push_back(one->name());
        return names;
    }();
    return static_cast<std::size_t>(std::find(order.begin(), order.end(), stage) - order.begin());
}

} // namespace

Products read_products(const fs::path& folder) {
    std::error_code error;
    std::vector<fs::path> files;
    if (fs::is_regular_file(folder, error))
        files.push_back(folder);
    else if (!fs::is_directory(folder, error))
        throw Error(
            fmt::format("{}: there is no such folder; the folder with the products of a job was "
                        "expected",
                        folder.string()));
    else
        for (const auto& entry : fs::directory_iterator(folder, error))
            if (entry.path().extension() == ".nxs" && entry.is_regular_file())
                files.push_back(entry.path());
    if (error)
        throw Error(fmt::format("{}: cannot be listed: {}", folder.string(), error.message()));
    std::sort(files.begin(), files.end());

    Products products;
    for (const fs::path& path : files) {
        const auto file = hdf5::File::open(path, hdf5::Access::read_only);
        const auto root = file.root();
        if (text_attribute(root, "file_type") != nexus::file_type) {
            products.notes.push_back(fmt::format("{} is no product of xrdct and was left out",
                                                 path.filename().string()));
            continue;
        }
        nexus::read_format_version(root);
        for (const std::string& entry_path : nexus::groups_of_class(root, "NXentry", 1)) {
            const auto entry = root.open_group(entry_path);
            if (products.title.empty())
                products.title = optional_text(entry, "title");
            for (const std::string& name : nexus::groups_of_class(entry, "NXprocess", 1))
                if (below(entry, name) != analysis_process) // made of the others
                    products.stages.push_back(read_stage(root.open_group(name), below(entry, name),
                                                         path, products.notes));
        }
    }
    if (products.stages.empty())
        throw Error(fmt::format("{}: there is no product of a stage (a file such as fbp.nxs or "
                                "rietveld.nxs with an NXprocess group)",
                                folder.string()));
    std::stable_sort(products.stages.begin(), products.stages.end(),
                     [](const ProductStage& a, const ProductStage& b) {
                         return pipeline_rank(a.name) < pipeline_rank(b.name);
                     });
    // Stages without a model of their own follow the others.
    const auto model = std::find_if(products.stages.begin(), products.stages.end(),
                                    [](const auto& stage) { return !stage.start_model.empty(); });
    if (model != products.stages.end())
        for (ProductStage& stage : products.stages)
            if (stage.start_model.empty())
                order_by_model(stage, model->start_model);
    return products;
}

namespace {

std::vector<double> read_values(const ProductStage& stage, const std::string& path) {
    const auto file = hdf5::File::open(stage.file, hdf5::Access::read_only);
    return file.root().open_dataset(path).read_all<double>();
}

} // namespace

std::vector<double> read_map_values(const ProductStage& stage, const ProductMap& map) {
    return read_values(stage, map.path);
}

std::vector<double> read_map_errors(const ProductStage& stage, const ProductMap& map) {
    if (!map.has_errors)
        return {};
    return read_values(stage, map.path + std::string(errors_suffix));
}

} // namespace xrdct::report
