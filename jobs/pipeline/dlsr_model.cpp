#include "jobs/pipeline/dlsr_model.hpp"

#include "base/error.hpp"
#include "base/numbers.hpp"
#include "crystal/march_dollase.hpp"
#include "mpi/hdf5/hdf5.hpp"
#include "mpi/nexus/nexus.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace xrdct::pipeline {

namespace {

/// Range of the values a map takes, outliers left out; empty maps give a NaN.
double finite_quantile(std::vector<double> values, double q) {
    std::erase_if(values, [](double v) { return !std::isfinite(v); });
    if (values.empty())
        return std::numeric_limits<double>::quiet_NaN();
    const auto at = static_cast<std::ptrdiff_t>(q * static_cast<double>(values.size() - 1));
    std::nth_element(values.begin(), values.begin() + at, values.end());
    return values[static_cast<std::size_t>(at)];
}

std::vector<double> optional_map(const hdf5::Group& stage, const std::string& group,
                                 const std::string& name) {
    if (!stage.has_group(group))
        return {};
    const auto data = stage.open_group(group);
    return data.has_dataset(name) ? nexus::read_map(data, name).values : std::vector<double>{};
}

} // namespace

ConventionalResult read_conventional_result(const settings::Job& job, double wavelength,
                                            std::vector<std::string>& notes) {
    const auto path = product_path(job, "rietveld");
    if (!std::filesystem::exists(path))
        throw Error(fmt::format("{} is missing; the dlsr stage starts from the rietveld stage's "
                                "product",
                                path.string()));
    if (program::read_provenance(path, "rietveld").settings != job.resolved_for("rietveld"))
        throw Error(fmt::format("{} was made with other settings than the job's; run the rietveld "
                                "stage again",
                                path.string()));
    const auto file = hdf5::File::open(path, hdf5::Access::read_only);
    const auto stage = file.root().open_group("entry/rietveld");
    ConventionalResult result;
    result.model = start_model(job, wavelength, notes);
    const auto maps = stage.open_group("maps");
    result.x = maps.open_dataset("x").read_all<double>();
    result.n = result.x.size();
    for (const double value : nexus::read_map(maps, "mask").values)
        result.sample.push_back(value != 0);

    const auto text = nexus::read_text(stage, "start_model");
    const auto json = nlohmann::json::parse(text.value_or("{}"), nullptr, false);
    auto parameters = list_parameters(result.model);
    if (json.is_object() && json.contains("parameters"))
        for (const auto& entry : json["parameters"])
            for (auto& parameter : parameters) {
                const auto& name = parameter.name;
                // Widths found on voxels hold what parallax has done to them.
                const bool width = name.ends_with("microstrain") || name.ends_with(" size");
                if (name == entry.value("name", "") && !width && entry["value"].is_number())
                    parameter.parameter->value = entry["value"];
            }
    for (const auto& phase : result.model.phases) {
        ConventionalResult::PhaseMaps of;
        of.scale = optional_map(stage, phase.name, "scale");
        for (const double value : optional_map(stage, phase.name, "mask"))
            of.mask.push_back(value != 0);
        if (of.scale.empty() || of.mask.empty())
            throw Error(fmt::format("{}: no maps of phase '{}'", path.string(), phase.name));
        for (const auto parameter : phase.phase.free_parameters())
            of.cell.push_back(optional_map(stage, phase.name, std::string(to_string(parameter))));
        result.phases.push_back(std::move(of));
    }
    for (const auto& peak : result.model.peaks)
        result.areas.push_back(optional_map(stage, peak.name, "area"));
    for (std::size_t i = 0; i < result.model.background.size(); ++i)
        result.background.push_back(
            optional_map(stage, "background", fmt::format("coefficient_{}", i)));
    return result;
}

void ConventionalResult::release_starts() {
    for (auto& phase : phases) {
        std::vector<double>().swap(phase.scale);
        phase.cell.clear();
    }
    areas.clear();
    background.clear();
}

DlsrSetup make_dlsr_setup(const SharedMemoryTeam& team, const settings::Job& job,
                          const ConventionalResult& conventional, double pixel) {
    DlsrSetup setup;
    setup.model = conventional.model;
    const std::size_t size = conventional.n * conventional.n;
    double area = 0;
    for (std::size_t i = 0; i < size; ++i)
        if (conventional.sample[i]) {
            setup.layer_centre[0] += conventional.x[i % conventional.n];
            setup.layer_centre[1] += conventional.x[i / conventional.n];
            area += 1;
        }
    for (double& coordinate : setup.layer_centre)
        coordinate /= std::max(area, 1.0);
    const auto gap =
        std::max<std::size_t>(1, static_cast<std::size_t>(std::lround(job.dlsr.gap / pixel)));
    const auto pixels_of = [&](const std::vector<unsigned char>& mask) {
        std::vector<std::size_t> pixels;
        for (std::size_t i = 0; i < size; ++i)
            if (mask[i] && conventional.sample[i])
                pixels.push_back(i);
        return SharedArray<std::size_t>(team, pixels);
    };
    const auto amount = [&](std::size_t part, const DlsrQuantity& quantity,
                            const std::vector<double>& map, bool signed_values,
                            dlsr::FieldTreatment treatment) {
        DlsrSetup::Field field;
        field.quantity = quantity;
        std::vector<double> start(size, 0.0);
        for (std::size_t i = 0; i < size && i < map.size(); ++i)
            start[i] = std::isfinite(map[i]) ? map[i] : 0;
        field.start = {team, start};
        std::vector<double> magnitudes;
        for (const std::size_t i : setup.pixels[part])
            magnitudes.push_back(std::abs(field.start[i]));
        const double typical = finite_quantile(magnitudes, 0.95);
        field.field.part = part;
        field.field.treatment = treatment;
        field.field.unit = typical > 0 ? typical : 1;
        field.field.lower = signed_values || !job.dlsr.bounded ? -infinity : 0;
        field.field.upper = infinity;
        if (treatment == dlsr::FieldTreatment::scaled) {
            field.field.unit = 1;
            field.field.lower = 0;
        }
        field.field.smoothness = job.dlsr.amount_smoothness;
        field.field.edge = infinity;
        field.field.max_gap = 1;
        setup.fields.push_back(std::move(field));
    };
    const auto global = [&](rietveld::PatternPart& part, rietveld::ShapeParameter::Kind kind,
                            std::size_t index, double value, double lower, double upper,
                            double unit, const DlsrQuantity& quantity) {
        part.global.push_back({kind, index, std::min(lower, value), std::max(upper, value)});
        setup.globals.push_back({std::min(lower, value), std::max(upper, value), unit});
        setup.global_quantities.push_back(quantity);
    };

    for (std::size_t p = 0; p < setup.model.phases.size(); ++p) {
        const auto& settings = job.phases[p];
        auto& phase = setup.model.phases[p];
        const auto& maps = conventional.phases[p];
        const std::size_t at = setup.parts.size();
        rietveld::PatternPart part;
        part.kind = rietveld::PatternPart::Kind::phase;
        part.index = p;
        setup.pixels.push_back(pixels_of(maps.mask));
        amount(at, {phase.name, "scale", ""}, maps.scale, false,
               settings.scale == settings::Treatment::fixed ? dlsr::FieldTreatment::fixed
               : settings.scale == settings::Treatment::global || job.dlsr.scales == "map"
                   ? dlsr::FieldTreatment::scaled
                   : dlsr::FieldTreatment::voxel);
        const auto free = phase.phase.free_parameters();
        for (std::size_t i = 0; i < free.size(); ++i) {
            const auto treatment = settings.cell[static_cast<std::size_t>(free[i])];
            const bool length = free[i] <= crystal::CellParameter::c;
            const DlsrQuantity quantity{phase.name, std::string(to_string(free[i])),
                                        length ? "angstrom" : "deg"};
            const double value = phase.cell[i].value;
            if (treatment == settings::Treatment::global) {
                global(part, rietveld::ShapeParameter::Kind::cell, i, value, value * (1 - 3e-3),
                       value * (1 + 3e-3), 3e-4 * value, quantity);
            } else if (treatment == settings::Treatment::voxel && !setup.pixels[at].empty()) {
                std::vector<double> inside;
                for (const std::size_t pixel_index : setup.pixels[at])
                    inside.push_back(maps.cell[i].empty() ? value : maps.cell[i][pixel_index]);
                double low = finite_quantile(inside, 0.02), high = finite_quantile(inside, 0.98);
                const double middle = std::isfinite(low) ? finite_quantile(inside, 0.5) : value;
                if (!std::isfinite(low))
                    low = high = value;
                const double margin = std::max(1.5e-3 * value, 0.35 * (high - low));
                low -= margin;
                high += margin;
                DlsrSetup::Field field;
                field.quantity = quantity;
                std::vector<double> map(size, middle);
                for (const std::size_t pixel_index : setup.pixels[at]) {
                    const double start = maps.cell[i].empty() ? middle : maps.cell[i][pixel_index];
                    if (std::isfinite(start))
                        map[pixel_index] = std::clamp(start, low, high);
                }
                field.start = {team, map};
                field.field.part = at;
                field.field.shape = static_cast<int>(part.voxel.size());
                field.field.lower = low;
                field.field.upper = high;
                field.field.unit = 3e-4 * value;
                field.field.smoothness = job.dlsr.smoothness.value_or(0);
                field.field.edge = job.dlsr.edge > 0 ? job.dlsr.edge : infinity;
                field.field.max_gap = gap;
                setup.fields.push_back(std::move(field));
                part.voxel.push_back({rietveld::ShapeParameter::Kind::cell, i, low, high});
            }
        }
        if (job.dlsr.refine_widths) {
            if (settings.size_treatment == settings::Treatment::global && phase.size.value > 0 &&
                std::isfinite(phase.size.value)) {
                const double value = 1 / phase.size.value;
                global(part, rietveld::ShapeParameter::Kind::size, 0, value, 0.3 * value, 3 * value,
                       0.1 * value, {phase.name, "inverse_size", "1/angstrom"});
            }
            if (settings.microstrain_treatment == settings::Treatment::global)
                global(part, rietveld::ShapeParameter::Kind::microstrain, 0,
                       phase.microstrain.value, 0, 3 * phase.microstrain.value + 2e-3, 1e-4,
                       {phase.name, "microstrain", ""});
            if (settings.gauss_microstrain_treatment == settings::Treatment::global) {
                const double value = std::pow(phase.gauss_microstrain.value, 2);
                global(part, rietveld::ShapeParameter::Kind::gauss_microstrain, 0, value, 0,
                       3 * value + 4e-6, 1e-7, {phase.name, "gauss_microstrain_squared", ""});
            }
        }
        if (settings.march_treatment == settings::Treatment::global) {
            const double r = phase.texture.r, half = 0.15 * std::max(1.0, r);
            global(part, rietveld::ShapeParameter::Kind::march, 0, r,
                   std::max(crystal::min_march, r - half),
                   std::min(crystal::largest_march, r + half), 0.01, {phase.name, "march", ""});
        }
        setup.parts.push_back(std::move(part));
    }
    const auto everywhere = pixels_of(conventional.sample);
    for (std::size_t i = 0; i < setup.model.peaks.size(); ++i) {
        const auto& settings = job.peaks[i];
        const auto& peak = setup.model.peaks[i];
        rietveld::PatternPart part;
        part.kind = rietveld::PatternPart::Kind::peak;
        part.index = i;
        setup.pixels.push_back(everywhere);
        amount(setup.parts.size(), {peak.name, "area", "intensity deg/mm"}, conventional.areas[i],
               false, dlsr::FieldTreatment::voxel);
        if (settings.position_treatment != settings::Treatment::fixed)
            global(part, rietveld::ShapeParameter::Kind::position, 0, peak.position.value,
                   peak.position.value - 0.2 * peak.fwhm.value,
                   peak.position.value + 0.2 * peak.fwhm.value, 0.02 * peak.fwhm.value,
                   {peak.name, "position", "deg"});
        if (settings.fwhm_treatment != settings::Treatment::fixed)
            global(part, rietveld::ShapeParameter::Kind::fwhm, 0, peak.fwhm.value,
                   0.5 * peak.fwhm.value, 2 * peak.fwhm.value, 0.02 * peak.fwhm.value,
                   {peak.name, "fwhm", "deg"});
        setup.parts.push_back(std::move(part));
    }
    for (std::size_t i = 0; i < setup.model.background.size(); ++i) {
        rietveld::PatternPart part;
        part.kind = rietveld::PatternPart::Kind::background;
        part.index = i;
        setup.pixels.push_back(everywhere);
        amount(setup.parts.size(), {"background", fmt::format("coefficient_{}", i), "intensity/mm"},
               conventional.background[i], true, dlsr::FieldTreatment::voxel);
        setup.parts.push_back(std::move(part));
    }
    return setup;
}

GlobalRanges global_ranges(const DlsrSetup& setup) {
    GlobalRanges ranges;
    for (const auto& part : setup.parts)
        for (const auto& shape : part.global) {
            ranges.lower.push_back(shape.lower);
            ranges.upper.push_back(shape.upper);
            ranges.start.push_back(shape_value(
                setup.model, part.kind == rietveld::PatternPart::Kind::phase, part.index, shape));
        }
    return ranges;
}

void set_global_ranges(DlsrSetup& setup, const GlobalRanges& ranges) {
    std::size_t g = 0;
    for (auto& part : setup.parts)
        for (auto& shape : part.global) {
            shape.lower = setup.globals[g].lower = ranges.lower[g];
            shape.upper = setup.globals[g].upper = ranges.upper[g];
            set_shape_value(setup.model, part.kind == rietveld::PatternPart::Kind::phase,
                            part.index, shape, ranges.start[g]);
            ++g;
        }
}

std::optional<GlobalRanges> moved_ranges(const DlsrSetup& setup, std::span<const double> values) {
    using Kind = rietveld::ShapeParameter::Kind;
    GlobalRanges ranges;
    bool moved = false;
    for (const auto& part : setup.parts)
        for (const auto& shape : part.global) {
            const std::size_t g = ranges.start.size();
            const double value = values[g], width = shape.upper - shape.lower,
                         margin = 1e-3 * width;
            const bool place = shape.kind == Kind::cell || shape.kind == Kind::position,
                       march = shape.kind == Kind::march;
            const bool at_lower = value <= shape.lower + margin &&
                                  (place || shape.lower > (march ? crystal::min_march : 0)),
                       at_upper = value >= shape.upper - margin &&
                                  !(march && shape.upper >= crystal::largest_march);
            double lower = shape.lower, upper = shape.upper;
            if (march && (at_lower || at_upper)) {
                lower = std::max(crystal::min_march, value - 0.5 * width);
                upper = std::min(crystal::largest_march, value + 0.5 * width);
            } else if (place && (at_lower || at_upper)) {
                lower = value - 0.5 * width;
                upper = value + 0.5 * width;
            } else if (at_lower) {
                lower = value / 3;
                upper = value + 0.5 * width;
            } else if (at_upper) {
                lower = shape.lower > 0 ? value - 0.5 * width : 0;
                upper = value + width;
            }
            moved = moved || at_lower || at_upper;
            ranges.lower.push_back(lower);
            ranges.upper.push_back(upper);
            ranges.start.push_back(std::clamp(value, lower, upper));
        }
    if (!moved)
        return {};
    return ranges;
}

} // namespace xrdct::pipeline
