// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/compare/comparison.hpp"

#include "base/error.hpp"
#include "jobs/report/labels.hpp"
#include "jobs/report/text.hpp"
#include "jobs/settings/settings.hpp"
#include "registration/resampling.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

namespace xrdct::compare {

namespace {

/// A map whose variance is mostly its own uncertainty does not help to align.
constexpr double min_reliability = 0.2;
constexpr std::size_t histogram_bins = 40;
constexpr double margin = 0.04;     ///< round the sample, of its size
constexpr double margin_pixels = 3; ///< and at least

std::size_t index_of(const std::vector<Cell>& cells, const std::string& label,
                     const std::string& option) {
    std::vector<std::string> names;
    for (std::size_t i = 0; i < cells.size(); ++i) {
        if (cells[i].label == label)
            return i;
        names.push_back(cells[i].label);
    }
    std::string known;
    for (const auto& name : names)
        known += (known.empty() ? "" : ", ") + name;
    throw Error(fmt::format("{}: no result is called '{}'{}; there are {}", option, label,
                            nearest_hint(label, names), known));
}

/// Amounts for the alignment: outside the sample there is nothing, which is a value.
std::vector<double> amount_for_alignment(const Cell& cell, const CellMap& map) {
    std::vector<double> values = map.values;
    for (std::size_t i = 0; i < values.size() && !cell.mask.empty(); ++i)
        if (!cell.mask[i])
            values[i] = 0;
    return values;
}

/// Part of a map's variance that is not its uncertainty; 1 where that is not known.
double reliability(const CellMap& map) {
    double n = 0, sum = 0, squares = 0, noise = 0;
    for (std::size_t i = 0; i < map.values.size(); ++i) {
        const double v = map.values[i], e = map.errors.empty() ? 0.0 : map.errors[i];
        if (!std::isfinite(v) || !std::isfinite(e))
            continue;
        n += 1;
        sum += v;
        squares += v * v;
        noise += e * e;
    }
    const double variance = n > 1 ? squares - sum * sum / n : 0;
    return variance > 0 ? std::max(0.0, 1 - noise / variance) : 0;
}

void align(const Cell& reference, const Cell& cell, const CompareOptions& options, AlignedCell& out,
           std::vector<std::string>& notes) {
    registration::RegistrationOptions registration;
    registration.try_mirrored = options.try_mirrored;
    if (const auto at = options.angles.find(cell.label); at != options.angles.end())
        registration.angle = at->second;
    if (const auto at = options.shifts.find(cell.label); at != options.shifts.end())
        registration.shift = at->second;
    std::vector<std::vector<double>> images;
    std::vector<double> weights;
    if (!reference.total.empty() && !cell.total.empty()) {
        images.push_back(reference.total);
        images.push_back(cell.total);
        weights.push_back(1);
        out.channels.emplace_back("total scattering");
    }
    for (const CellGroup& group : reference.groups) {
        const CellGroup* other = cell.find(group.name);
        if (!other || group.amount.empty() || group.kind == GroupKind::electrode)
            continue;
        const CellMap *a = group.find(group.amount), *b = other->find(group.amount);
        if (!a || !b)
            continue;
        const double weight = reliability(*a) * reliability(*b);
        if (weight < min_reliability)
            continue;
        images.push_back(amount_for_alignment(reference, *a));
        images.push_back(amount_for_alignment(cell, *b));
        weights.push_back(weight);
        out.channels.push_back(group.name);
    }
    if (images.empty())
        throw Error(fmt::format("{} has no map in common with {} that could align them; give "
                                "--angle and --shift, or --no-align",
                                cell.label, reference.label));
    std::vector<registration::RegistrationChannel> channels;
    for (std::size_t c = 0; c < weights.size(); ++c)
        channels.push_back({images[2 * c], images[2 * c + 1], weights[c]});
    try {
        out.registration = register_images(reference.grid, cell.grid, channels, registration);
    } catch (const Error& error) {
        throw Error(fmt::format("{} on {}: {}", cell.label, reference.label, error.what()));
    }
    out.transform = out.registration->transform;
    const registration::RegistrationResult& r = *out.registration;
    if (!r.certain)
        notes.push_back(fmt::format(
            "the alignment of {} is not certain: correlation {:.3f}, {:.4f} above {} at {:.1f}°, "
            "angle ± {:.2f}°; look at the maps, or give --angle and --shift",
            cell.label, r.correlation, r.margin,
            r.second_is_optimum ? "another optimum" : "the best other angle",
            r.second ? r.second->angle : 0.0, r.uncertainty[0]));
    if (r.transform.mirrored)
        notes.push_back(fmt::format("{} is mirrored against {}: check rotation_sense and "
                                    "translation_sense of their jobs",
                                    cell.label, reference.label));
}

/// Pixels of a cell that belong to the sample: its mask, or any finite value.
std::vector<unsigned char> sample_of(const Cell& cell) {
    if (!cell.mask.empty())
        return cell.mask;
    std::vector<unsigned char> sample(cell.grid.size(), 0);
    for (const CellGroup& group : cell.groups)
        for (const auto& [name, map] : group.maps)
            for (std::size_t i = 0; i < sample.size() && !map.codes; ++i)
                sample[i] |= std::isfinite(map.values[i]) && map.values[i] != 0 ? 1 : 0;
    return sample;
}

/// The part of the reference's field that holds the samples of all cells, with a margin, and that
/// all of them have seen wherever they have a sample.
registration::PixelGrid common_grid(const Comparison& c, const CompareOptions& options) {
    const registration::PixelGrid& field = c.cells.front().grid;
    double pixel = options.pixel;
    for (const Cell& cell : c.cells)
        if (options.pixel == 0)
            pixel = std::max(pixel, cell.grid.pixel);
    double low_x = std::numeric_limits<double>::infinity(), low_y = low_x, high_x = -low_x,
           high_y = -low_x;
    for (std::size_t k = 0; k < c.cells.size(); ++k) {
        const registration::PixelGrid& grid = c.cells[k].grid;
        const auto sample = sample_of(c.cells[k]);
        for (std::size_t y = 0; y < grid.ny; ++y)
            for (std::size_t x = 0; x < grid.nx; ++x) {
                if (!sample[y * grid.nx + x])
                    continue;
                const auto p = c.aligned[k].transform.inverse(grid.x(static_cast<double>(x)),
                                                              grid.y(static_cast<double>(y)));
                low_x = std::min(low_x, p.x);
                high_x = std::max(high_x, p.x);
                low_y = std::min(low_y, p.y);
                high_y = std::max(high_y, p.y);
            }
    }
    // Whole pixels of the reference's field, so that its own voxels stay what they are.
    const auto range = [&](double low, double high, double first, std::size_t n, double& start,
                           std::size_t& count) {
        const double half = 0.5 * field.pixel;
        const double edge = first - half, end = edge + static_cast<double>(n) * field.pixel;
        const double room = std::max(margin_pixels, std::ceil(margin * (high - low) / pixel));
        const double total = std::floor((end - edge) / pixel + 1e-6);
        const double from = std::clamp(std::floor((low - half - edge) / pixel) - room, 0.0,
                                       std::max(total - 1, 0.0)),
                     to = std::clamp(std::ceil((high + half - edge) / pixel) + room, from, total);
        start = edge + (from + 0.5) * pixel;
        count = static_cast<std::size_t>(to - from);
        return count >= 2;
    };
    registration::PixelGrid out;
    out.pixel = pixel;
    if (!(high_x >= low_x) || !range(low_x, high_x, field.x0, field.nx, out.x0, out.nx) ||
        !range(low_y, high_y, field.y0, field.ny, out.y0, out.ny))
        throw Error(fmt::format("nothing is left to compare: the samples do not lie in the field "
                                "of the reference at pixels of {} mm",
                                pixel));
    return out;
}

/// Rounding of the grid's origin must not move a reference's voxel: coordinates that are whole
/// pixels of the source are made exactly that.
registration::PixelGrid snapped(registration::PixelGrid target,
                                const registration::PixelGrid& source) {
    if (std::abs(target.pixel - source.pixel) > 1e-9 * source.pixel)
        return target;
    target.pixel = source.pixel;
    const double column = std::round(source.column(target.x0)),
                 row = std::round(source.row(target.y0));
    if (std::abs(source.column(target.x0) - column) < 1e-3)
        target.x0 = source.x(column);
    if (std::abs(source.row(target.y0) - row) < 1e-3)
        target.y0 = source.y(row);
    return target;
}

void resample(const Cell& cell, const registration::PixelGrid& grid, AlignedCell& out) {
    for (const CellGroup& group : cell.groups) {
        CellGroup target;
        target.name = group.name;
        target.kind = group.kind;
        target.amount = group.amount;
        for (const auto& [name, map] : group.maps) {
            CellMap& to = target.maps[name];
            to.units = map.units;
            to.codes = map.codes;
            if (map.codes) {
                to.values = resample_codes(map.values, cell.grid, out.transform, grid);
            } else {
                registration::ResampledMap resampled =
                    resample_map(map.values, map.errors, cell.grid, out.transform, grid);
                to.values = std::move(resampled.values);
                to.errors = std::move(resampled.errors);
            }
        }
        out.groups.push_back(std::move(target));
    }
    if (!cell.total.empty())
        out.total = resample_map(cell.total, {}, cell.grid, out.transform, grid).values;
}

std::string list(const std::vector<std::string>& names) {
    std::string text;
    for (std::size_t i = 0; i < names.size(); ++i)
        text += (i == 0 ? "" : i + 1 == names.size() ? " and " : ", ") + names[i];
    return text;
}

/// Notes the quantities of a group that were mapped in some cells only.
void note_missing(Comparison& c, const ComparedGroup& group) {
    for (const std::string& quantity : group.quantities) {
        std::vector<std::string> has, lacks;
        for (const Cell& cell : c.cells)
            if (const CellGroup* own = cell.find(group.name))
                (own->find(quantity) ? has : lacks).push_back(cell.label);
        if (!lacks.empty())
            c.notes.push_back(fmt::format("{}: {} was mapped in {}, not in {}", group.name,
                                          report::describe_quantity(quantity).text, list(has),
                                          list(lacks)));
    }
}

/// Phases by name, in the order of the reference, then of the others; what only some have is noted.
void match(Comparison& c) {
    for (const Cell& cell : c.cells)
        for (const CellGroup& group : cell.groups)
            if (std::none_of(c.groups.begin(), c.groups.end(),
                             [&](const ComparedGroup& g) { return g.name == group.name; }))
                c.groups.push_back({group.name, group.kind, {}});
    bool common_phase = false;
    std::vector<std::string> phases;
    for (ComparedGroup& group : c.groups) {
        std::map<std::string, std::pair<std::string, std::string>> units; // unit, whose
        std::vector<std::string> with, without;
        for (const Cell& cell : c.cells) {
            const CellGroup* own = cell.find(group.name);
            (own ? with : without).push_back(cell.label);
            if (!own)
                continue;
            if (own->kind != group.kind)
                throw Error(fmt::format("'{}' is a {} in {} and a {} in {}", group.name,
                                        name_of(group.kind), with.front(), name_of(own->kind),
                                        cell.label));
            for (const auto& [quantity, map] : own->maps) {
                if (map.codes)
                    continue;
                const auto known = units.try_emplace(quantity, map.units, cell.label).first;
                if (report::display_units(known->second.first) != report::display_units(map.units))
                    throw Error(fmt::format("{}: {} is in '{}' in {} and in '{}' in {}", group.name,
                                            quantity, known->second.first, known->second.second,
                                            map.units, cell.label));
                if (std::find(group.quantities.begin(), group.quantities.end(), quantity) ==
                    group.quantities.end())
                    group.quantities.push_back(quantity);
            }
        }
        std::stable_sort(group.quantities.begin(), group.quantities.end(),
                         [](const auto& a, const auto& b) {
                             const auto place = [](const std::string& name) {
                                 return name == relative_mass ? -1 : report::quantity_order(name);
                             };
                             return place(a) < place(b);
                         });
        if (group.kind == GroupKind::phase) {
            phases.push_back(group.name);
            common_phase |= with.size() > 1;
        }
        if (!without.empty())
            c.notes.push_back(fmt::format("{} is in the model of {}, not of {}", group.name,
                                          list(with), list(without)));
        note_missing(c, group);
    }
    if (!common_phase)
        throw Error(fmt::format("the results have no phase in common (there are {}); phases are "
                                "matched by their names",
                                list(phases)));
}

void take_differences(Comparison& c) {
    for (const ComparedGroup& group : c.groups)
        for (const std::string& quantity : group.quantities) {
            // Scale factors of scans of different exposure differ for that alone.
            if (quantity == "scale" && !c.cells.front().mass_share.empty())
                continue;
            const CellGroup* reference = c.aligned.front().find(group.name);
            const CellMap* a = reference ? reference->find(quantity) : nullptr;
            for (std::size_t k = 1; a && k < c.cells.size(); ++k) {
                const CellGroup* other = c.aligned[k].find(group.name);
                const CellMap* b = other ? other->find(quantity) : nullptr;
                if (!b)
                    continue;
                Difference d{group.name, quantity, a->units, k, {}, {}, {}};
                d.values.resize(a->values.size());
                for (std::size_t i = 0; i < d.values.size(); ++i)
                    d.values[i] = b->values[i] - a->values[i];
                if (!a->errors.empty() && !b->errors.empty())
                    for (std::size_t i = 0; i < d.values.size(); ++i)
                        d.errors.push_back(std::hypot(a->errors[i], b->errors[i]));
                d.statistics = maps::map_statistics(
                    d.values, weighted(*reference, quantity).weights, d.errors);
                c.differences.push_back(std::move(d));
            }
        }
}

void take_histograms(Comparison& c) {
    for (const ComparedGroup& group : c.groups)
        for (const std::string& quantity : group.quantities) {
            if (quantity == "scale")
                continue;
            Histogram h{group.name, quantity, "", 0, 0, {}};
            std::vector<Weighted> data;
            std::vector<double> all;
            bool varies = false;
            for (std::size_t k = 0; k < c.cells.size(); ++k) {
                const CellGroup* own = c.cells[k].find(group.name);
                data.push_back(own && own->find(quantity) ? weighted(*own, quantity) : Weighted{});
                if (own && !data.back().values.empty()) {
                    h.units = own->find(quantity)->units;
                    const auto& s = c.statistics[k].at(group.name).at(quantity);
                    varies |= s.count > 1 && !s.uniform;
                }
                for (std::size_t i = 0; i < data.back().values.size(); ++i)
                    if (std::isfinite(data.back().values[i]) &&
                        (data.back().weights.empty() || data.back().weights[i] > 0))
                        all.push_back(data.back().values[i]);
            }
            if (!varies)
                continue;
            std::sort(all.begin(), all.end());
            const auto n = static_cast<double>(all.size());
            const double low = all[static_cast<std::size_t>(0.005 * n)],
                         high = all[static_cast<std::size_t>(std::ceil(0.995 * n)) - 1];
            if (!(high > low))
                continue;
            h.low = low;
            h.width = (high - low) / static_cast<double>(histogram_bins);
            for (const Weighted& d : data) {
                std::vector<double> share(histogram_bins, 0.0);
                double sum = 0;
                for (std::size_t i = 0; i < d.values.size(); ++i) {
                    const double w = d.weights.empty() ? 1.0 : d.weights[i];
                    if (!std::isfinite(d.values[i]) || !(w > 0))
                        continue;
                    sum += w;
                    const double bin = (d.values[i] - low) / h.width;
                    if (bin >= 0 && bin <= static_cast<double>(histogram_bins))
                        share[std::min(static_cast<std::size_t>(bin), histogram_bins - 1)] += w;
                }
                for (double& s : share)
                    s = sum > 0 ? s / sum : 0;
                h.shares.push_back(d.values.empty() ? std::vector<double>{} : std::move(share));
            }
            c.histograms.push_back(std::move(h));
        }
}

} // namespace

const CellGroup* AlignedCell::find(const std::string& group) const {
    const auto at = std::find_if(groups.begin(), groups.end(),
                                 [&](const CellGroup& g) { return g.name == group; });
    return at == groups.end() ? nullptr : &*at;
}

bool is_amount(const std::string& quantity) {
    return quantity == relative_mass || quantity == relative_host ||
           report::describe_quantity(quantity).from_zero;
}

Weighted weighted(const CellGroup& group, const std::string& quantity) {
    const CellMap& map = *group.find(quantity);
    Weighted out{map.values, {}, map.errors};
    if (!is_amount(quantity))
        if (const CellMap* amount = group.find(group.amount))
            out.weights = amount->values;
    return out;
}

namespace {

/// Of the cell's own voxels before resampling.
void take_statistics(const Cell& cell, Comparison& c) {
    auto& statistics = c.statistics.emplace_back();
    for (const CellGroup& group : cell.groups)
        for (const auto& [quantity, map] : group.maps)
            if (!map.codes) {
                const Weighted w = weighted(group, quantity);
                statistics[group.name][quantity] =
                    maps::map_statistics(w.values, w.weights, w.errors);
            }
}

/// Share of a sample outside the common grid; 0 up to a thousandth.
double share_outside(const Cell& cell, const AlignedCell& aligned,
                     const registration::PixelGrid& grid) {
    const auto sample = sample_of(cell);
    std::size_t inside = 0, all = 0;
    for (std::size_t y = 0; y < cell.grid.ny; ++y)
        for (std::size_t x = 0; x < cell.grid.nx; ++x) {
            if (!sample[y * cell.grid.nx + x])
                continue;
            ++all;
            const auto p = aligned.transform.inverse(cell.grid.x(static_cast<double>(x)),
                                                     cell.grid.y(static_cast<double>(y)));
            const double column = grid.column(p.x), row = grid.row(p.y);
            inside += column > -0.5 && row > -0.5 && column < static_cast<double>(grid.nx) - 0.5 &&
                      row < static_cast<double>(grid.ny) - 0.5;
        }
    if (!(static_cast<double>(inside) < 0.999 * static_cast<double>(all)))
        return 0;
    return 1 - static_cast<double>(inside) / static_cast<double>(all);
}

} // namespace

Comparison compare_cells(std::vector<Cell> cells, const CompareOptions& options) {
    Comparison c;
    const std::size_t reference =
        options.reference.empty() ? 0 : index_of(cells, options.reference, "--reference");
    std::rotate(cells.begin(), cells.begin() + static_cast<std::ptrdiff_t>(reference),
                cells.begin() + static_cast<std::ptrdiff_t>(reference) + 1);
    c.cells = std::move(cells);
    for (const auto& [label, angle] : options.angles)
        if (index_of(c.cells, label, "--angle") == 0)
            throw Error(fmt::format("--angle: {} is the reference and stays where it is", label));
    for (const auto& [label, shift] : options.shifts)
        if (index_of(c.cells, label, "--shift") == 0)
            throw Error(fmt::format("--shift: {} is the reference and stays where it is", label));
    match(c);

    c.aligned.resize(c.cells.size());
    for (std::size_t k = 1; k < c.cells.size() && options.align; ++k)
        align(c.cells.front(), c.cells[k], options, c.aligned[k], c.notes);
    for (std::size_t k = 1; k < c.cells.size(); ++k) {
        const double a = c.cells.front().grid.pixel, b = c.cells[k].grid.pixel;
        if (std::abs(a - b) > 0.05 * std::max(a, b))
            c.notes.push_back(fmt::format(
                "voxels of {} are {:.4g} µm wide, those of {} {:.4g} µm: structure finer than the "
                "larger shows in the differences without being one",
                c.cells[k].label, 1000 * b, c.cells.front().label, 1000 * a));
    }
    c.grid = snapped(common_grid(c, options), c.cells.front().grid);
    for (std::size_t k = 0; k < c.cells.size(); ++k) {
        const Cell& cell = c.cells[k];
        resample(cell, c.grid, c.aligned[k]);
        take_statistics(cell, c);
        if (cell.mass_share.empty())
            c.notes.push_back(fmt::format(
                "{}: no whole-cell weight fractions, which need densities, or scale factors and "
                "weight fractions of phases that share voxels",
                cell.label));
        // Parts of a sample beyond the reference's field are lost.
        if (const double outside = share_outside(cell, c.aligned[k], c.grid); outside > 0)
            c.notes.push_back(fmt::format(
                "{:.1f} % of {} lies outside the common field and is missing in the maps",
                100 * outside, cell.label));
    }
    take_differences(c);
    take_histograms(c);
    return c;
}

} // namespace xrdct::compare
