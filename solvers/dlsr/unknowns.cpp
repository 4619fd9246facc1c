// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/dlsr/unknowns.hpp"

#include "base/assertions.hpp"
#include "base/error.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace xrdct::dlsr {

namespace {

void require_smoothness(double smoothness, double edge) {
    if (!(smoothness >= 0) || !std::isfinite(smoothness) || !(edge > 0))
        throw Error(fmt::format("DLSR: smoothness {} with edge {}; expected a weight of at least "
                                "0 and an edge above 0",
                                smoothness, edge));
}

} // namespace

void require_fields(const Operator& model, std::span<const Field> fields,
                    std::span<const Global> globals) {
    std::vector<std::size_t> load(model.pixel_weight().size(), 0);
    for (std::size_t f = 0; f < fields.size(); ++f) {
        const Field& field = fields[f];
        if (field.part >= model.basis().parts().size() || field.shape < -1 ||
            field.shape >= static_cast<int>(model.basis().parts()[field.part].voxel.size()))
            throw Error("DLSR: a field of a part or shape that does not exist");
        if (!(field.unit > 0) || !(field.lower < field.upper))
            throw Error("DLSR: a field without a unit or with bounds that exclude each other");
        require_smoothness(field.smoothness, field.edge);
        for (const Field& other : fields.first(f))
            if (other.part == field.part && other.shape == field.shape)
                throw Error("DLSR: a field is given twice");
        if (field.treatment == FieldTreatment::voxel)
            for (const std::size_t pixel : model.pixels(field.part))
                if (++load[pixel] > max_voxel_unknowns)
                    throw Error(
                        fmt::format("DLSR: more than {} unknowns in a voxel", max_voxel_unknowns));
    }
    for (const Global& global : globals)
        if (!(global.unit > 0) || !(global.lower < global.upper))
            throw Error("DLSR: a global parameter without a unit or range");
}

Unknowns::Unknowns(const mpi::Communicator& communicator, const mpi::NodeTeam& team,
                   const Operator& model, std::vector<Field> fields, std::vector<Global> globals,
                   std::span<const double> values)
    : communicator_(communicator), team_(team), model_(model), fields_(std::move(fields)),
      globals_(std::move(globals)) {
    XRDCT_ASSERT(values.size() == model.value_count(), "the operator's values");
    XRDCT_ASSERT(globals_.size() == model.global_count(), "the operator's global parameters");
    communicator.collectively([&] {
        start_values_ = {team, values};
        values_ = {team, values}; // those of no field stay
        team.run_and_sync([&] {
            for (std::size_t f = 0; f < fields_.size(); ++f) {
                if (!is_per_voxel(f))
                    continue;
                const auto [begin, end] = team.share(voxels(f));
                for (std::size_t v = begin; v < end; ++v) {
                    double& value = start_values_[offset(f) + v];
                    value = std::clamp(value, fields_[f].lower, fields_[f].upper);
                }
            }
        });
    });
    for (std::size_t f = 0; f < fields_.size(); ++f) {
        first_.push_back(size_);
        size_ += unknowns_of(fields_[f].treatment, voxels(f));
    }
    first_.push_back(size_);
    size_ += globals_.size();
    own_ = mpi::block_range(size_, static_cast<std::size_t>(communicator.size()),
                            static_cast<std::size_t>(communicator.rank()));
}

void Unknowns::set_smoothness(std::size_t field, double smoothness, double edge) {
    if (field >= fields_.size())
        throw Error("DLSR: smoothness of a field that does not exist");
    require_smoothness(smoothness, edge);
    fields_[field].smoothness = smoothness;
    fields_[field].edge = edge;
}

void Unknowns::set_fineness(std::size_t field, double fineness) {
    if (field >= fields_.size() || !(fineness >= 0) || !std::isfinite(fineness))
        throw Error(fmt::format("DLSR: fineness {} of field {} of {}; expected a weight of at "
                                "least 0",
                                fineness, field, fields_.size()));
    fields_[field].fineness = fineness;
}

void Unknowns::set_global_bounds(std::size_t global, double lower, double upper) {
    if (global >= globals_.size())
        throw Error("DLSR: bounds of a global parameter that does not exist");
    if (!(lower <= upper))
        throw Error("DLSR: bounds of a global parameter that cross");
    globals_[global].lower = lower;
    globals_[global].upper = upper;
}

std::pair<std::size_t, std::size_t> Unknowns::own_voxels(std::size_t field) const {
    const std::size_t begin = first_[field], end = begin + voxels(field);
    const std::size_t from = std::clamp(own_.begin, begin, end),
                      to = std::clamp(own_.end, begin, end);
    return {from - begin, to - begin};
}

std::span<const double> Unknowns::values(std::span<const double> x) {
    XRDCT_ASSERT(x.size() == size_, "the unknowns of all ranks");
    team_.barrier(); // nobody reads any more what was there
    team_.run_and_sync([&] {
        for (std::size_t f = 0; f < fields_.size(); ++f) {
            double* to = values_.data() + offset(f);
            const double* from = start_values_.data() + offset(f);
            const auto [begin, end] = team_.share(voxels(f));
            const bool each = is_per_voxel(f);
            const double factor =
                fields_[f].treatment == FieldTreatment::scaled ? x[first_[f]] * fields_[f].unit : 1;
            for (std::size_t v = begin; v < end; ++v)
                to[v] = each ? x[first_[f] + v] * fields_[f].unit : from[v] * factor;
        }
        for (std::size_t g = 0; g < globals_.size() && team_.rank() == 0; ++g)
            values_[model_.global_offset() + g] = x[first_.back() + g] * globals_[g].unit;
    });
    return values_;
}

std::span<const float> Unknowns::direction(std::span<const double> x) {
    direction_.resize(team_, model_.value_count());
    team_.run_and_sync([&] {
        for (std::size_t f = 0; f < fields_.size(); ++f) {
            if (fields_[f].treatment == FieldTreatment::fixed)
                continue;
            float* to = direction_.data() + offset(f);
            const double* from = start_values_.data() + offset(f);
            const auto [begin, end] = team_.share(voxels(f));
            const bool each = is_per_voxel(f);
            for (std::size_t v = begin; v < end; ++v)
                to[v] = static_cast<float>((each ? x[first_[f] + v] : from[v] * x[first_[f]]) *
                                           fields_[f].unit);
        }
        for (std::size_t g = 0; g < globals_.size() && team_.rank() == 0; ++g)
            direction_[model_.global_offset() + g] =
                static_cast<float>(x[first_.back() + g] * globals_[g].unit);
    });
    return direction_;
}

void Unknowns::take_own(std::span<const double> gradient, std::span<double> own_x) const {
    XRDCT_ASSERT(gradient.size() == model_.value_count(), "a gradient in the values");
    XRDCT_ASSERT(own_x.size() == own_.size(), "the own share of the unknowns");
    std::fill(own_x.begin(), own_x.end(), 0.0);
    for (std::size_t f = 0; f < fields_.size(); ++f) {
        const double* from = gradient.data() + offset(f);
        if (is_per_voxel(f)) {
            const auto [begin, end] = own_voxels(f);
            for (std::size_t v = begin; v < end; ++v)
                own_x[first_[f] + v - own_.begin] = from[v] * fields_[f].unit;
        } else if (fields_[f].treatment == FieldTreatment::scaled && owns(first_[f])) {
            own_x[first_[f] - own_.begin] = along_factor(gradient, f);
        }
    }
    for (std::size_t g = 0; g < globals_.size(); ++g)
        if (owns(first_.back() + g))
            own_x[first_.back() + g - own_.begin] =
                gradient[model_.global_offset() + g] * globals_[g].unit;
}

double Unknowns::along_factor(std::span<const double> gradient, std::size_t field) const {
    double sum = 0;
    for (std::size_t v = 0; v < voxels(field); ++v)
        sum += gradient[offset(field) + v] * start_values_[offset(field) + v] * fields_[field].unit;
    return sum;
}

std::vector<double> Unknowns::from_values(std::span<const double> values) const {
    XRDCT_ASSERT(values.size() == model_.value_count(), "the operator's values");
    std::vector<double> x(own_.size(), 1.0);
    for (std::size_t f = 0; f < fields_.size(); ++f) {
        const Field& field = fields_[f];
        if (field.treatment == FieldTreatment::voxel) {
            const auto [begin, end] = own_voxels(f);
            for (std::size_t v = begin; v < end; ++v)
                x[first_[f] + v - own_.begin] = values[offset(f) + v] / field.unit;
        } else if (field.treatment == FieldTreatment::scaled && owns(first_[f])) {
            double above = 0, below = 0;
            for (std::size_t v = 0; v < voxels(f); ++v) {
                const double start = start_values_[offset(f) + v];
                above += start * values[offset(f) + v];
                below += start * start;
            }
            x[first_[f] - own_.begin] = (below > 0 ? above / below : 1) / field.unit;
        }
    }
    for (std::size_t g = 0; g < globals_.size(); ++g)
        if (owns(first_.back() + g))
            x[first_.back() + g - own_.begin] =
                values[model_.global_offset() + g] / globals_[g].unit;
    return x;
}

void Unknowns::bounds(std::span<double> lower, std::span<double> upper) const {
    const auto set = [&](std::size_t begin, std::size_t end, double low, double high) {
        for (std::size_t i = std::max(begin, own_.begin); i < std::min(end, own_.end); ++i) {
            lower[i - own_.begin] = low;
            upper[i - own_.begin] = high;
        }
    };
    for (std::size_t f = 0; f < fields_.size(); ++f) {
        const Field& field = fields_[f];
        set(first_[f], first_[f + 1], field.lower / field.unit, field.upper / field.unit);
    }
    for (std::size_t g = 0; g < globals_.size(); ++g)
        set(first_.back() + g, first_.back() + g + 1, globals_[g].lower / globals_[g].unit,
            globals_[g].upper / globals_[g].unit);
}

} // namespace xrdct::dlsr
