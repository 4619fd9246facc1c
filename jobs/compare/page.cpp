// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/compare/output.hpp"

#include "base/error.hpp"
#include "base/numbers.hpp"
#include "jobs/program/version.hpp"
#include "jobs/report/drawing_task.hpp"
#include "jobs/report/html.hpp"
#include "jobs/report/labels.hpp"
#include "jobs/report/picture.hpp"
#include "jobs/report/statistics.hpp"
#include "jobs/report/text.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <thread>

#include <fmt/format.h>

namespace xrdct::compare {

namespace fs = std::filesystem;

namespace {

using report::capital;
using report::ColourRange;
using report::DrawingTask;
using report::HtmlPage;
using report::MapPicture;
using report::MapRow;
using report::Palette;

constexpr std::size_t panels_per_line = 4;

std::string text_of(const std::string& quantity) {
    return quantity == relative_mass   ? "crystalline mass over the cell's mean"
           : quantity == relative_host ? "host over its mean"
                                       : report::describe_quantity(quantity).text;
}

/// "Lithium cathode" of "lithium_cathode".
std::string spaced(std::string name) {
    std::replace(name.begin(), name.end(), '_', ' ');
    return capital(std::move(name));
}

std::string html_of(const std::string& quantity) {
    return quantity == relative_mass ? report::escape_html(text_of(quantity))
                                     : report::describe_quantity(quantity).html;
}

std::string difference_of(const std::string& quantity) {
    return quantity == relative_mass ? "difference of mass over cell mean"
                                     : "difference of " + report::describe_quantity(quantity).text;
}

class Page {
  public:
    Page(const Comparison& comparison, const Settings& settings)
        : c_(comparison), settings_(settings) {
        for (std::size_t i = 0; i < c_.grid.nx; ++i)
            x_.values.push_back(c_.grid.x(static_cast<double>(i)));
        for (std::size_t i = 0; i < c_.grid.ny; ++i)
            y_.values.push_back(c_.grid.y(static_cast<double>(i)));
        x_.label = "x";
        y_.label = "y";
        x_.units = y_.units = "mm";
    }

    std::vector<fs::path> make(const fs::path& folder);

  private:
    MapPicture panel(const std::vector<double>& values, const std::string& quantity,
                     const std::string& units, const std::string& title) const;
    void plan_total();
    void plan(const ComparedGroup& group, const std::string& quantity);
    /// The maps of a quantity in all cells, empty where a cell has none; their differences.
    std::vector<MapPicture> maps_of(const ComparedGroup& group, const std::string& quantity,
                                    const std::string& units) const;
    std::vector<MapPicture> differences_of(const ComparedGroup& group, const std::string& quantity,
                                           const std::string& units) const;
    void plan_histogram(const ComparedGroup& group, const std::string& quantity,
                        const std::string& units, const std::string& stem);
    std::string html(const fs::path& pictures) const;
    void add_inputs(HtmlPage& page) const;
    void add_alignment(HtmlPage& page) const;
    void add_fractions(HtmlPage& page) const;
    void add_statistics(HtmlPage& page, const ComparedGroup& group) const;

    /// Statistics of a quantity in a cell, null when it has none.
    const maps::MapStatistics* statistics(std::size_t cell, const std::string& group,
                                          const std::string& quantity) const {
        const auto in_group = c_.statistics[cell].find(group);
        if (in_group == c_.statistics[cell].end())
            return nullptr;
        const auto at = in_group->second.find(quantity);
        return at == in_group->second.end() ? nullptr : &at->second;
    }
    /// The same number in every voxel of every cell: said in the table, not drawn.
    bool uniform(const std::string& group, const std::string& quantity) const;
    bool drawn(const std::string& group, const std::string& quantity) const;

    const Comparison& c_;
    const Settings& settings_;
    report::Axis x_, y_;
    std::vector<DrawingTask> tasks_;
    struct Figure {
        fs::path stem;
        std::string group, caption;
    };
    std::vector<Figure> figures_;
};

bool Page::uniform(const std::string& group, const std::string& quantity) const {
    for (std::size_t k = 0; k < c_.cells.size(); ++k)
        if (const auto* s = statistics(k, group, quantity); s && s->count > 0 && !s->uniform)
            return false;
    return true;
}

bool Page::drawn(const std::string& group, const std::string& quantity) const {
    // Scale factors depend on the exposure; the relative mass shows the same distribution.
    if (quantity == "scale")
        for (const Cell& cell : c_.cells)
            if (const CellGroup* own = cell.find(group); own && own->find(relative_mass))
                return false;
    return !uniform(group, quantity);
}

MapPicture Page::panel(const std::vector<double>& values, const std::string& quantity,
                       const std::string& units, const std::string& title) const {
    MapPicture picture;
    picture.values = values;
    if (values.empty())
        picture.values.assign(c_.grid.size(), nan_value);
    picture.x = x_;
    picture.y = y_;
    picture.quantity = quantity;
    picture.units = units;
    picture.title = title;
    return picture;
}

/// The maps of all cells with one range, and the differences to the reference with one of theirs.
std::vector<MapRow> rows_of(std::vector<MapPicture> maps, std::vector<MapPicture> differences,
                            ColourRange range, Palette palette) {
    std::vector<MapRow> rows;
    const std::size_t count = maps.size();
    for (std::size_t k = 0; k < count; ++k) {
        maps[k].range = range;
        maps[k].palette = palette;
        if (k % panels_per_line == 0)
            rows.emplace_back();
        rows.back().panels.push_back(std::move(maps[k]));
    }
    if (differences.empty())
        return rows;
    std::vector<double> all;
    for (const MapPicture& d : differences)
        all.insert(all.end(), d.values.begin(), d.values.end());
    const ColourRange change = report::symmetric_range(all, 1e-4 * (range.high - range.low), 0.98);
    for (std::size_t k = 0; k < differences.size(); ++k) {
        differences[k].range = change;
        differences[k].palette = Palette::diverging;
        if (k == 0) {
            rows.emplace_back();
            // Two cells and their difference stand side by side; else each difference below its
            // cell.
            rows.back().new_line = count > 2;
            rows.back().skip = count > 2 && count <= panels_per_line ? 1 : 0;
        } else if (count > panels_per_line && k % panels_per_line == 0) {
            rows.emplace_back();
        }
        rows.back().panels.push_back(std::move(differences[k]));
    }
    return rows;
}

void Page::plan_total() {
    std::vector<MapPicture> maps;
    std::vector<double> all;
    for (std::size_t k = 0; k < c_.cells.size(); ++k) {
        // Exposures differ: each over its own mean where there is sample.
        std::vector<double> values = c_.aligned[k].total;
        double sum = 0, n = 0;
        for (const double v : values)
            if (std::isfinite(v) && v > 0) {
                sum += v;
                n += 1;
            }
        for (double& v : values)
            v *= sum > 0 ? n / sum : 0;
        all.insert(all.end(), values.begin(), values.end());
        maps.push_back(panel(values, "total scattering over its mean", "", c_.cells[k].label));
    }
    if (std::all_of(c_.aligned.begin(), c_.aligned.end(),
                    [](const AlignedCell& a) { return a.total.empty(); }))
        return;
    std::vector<MapPicture> differences;
    for (std::size_t k = 1; k < c_.cells.size(); ++k) {
        std::vector<double> d(c_.grid.size(), nan_value);
        for (std::size_t i = 0; i < d.size(); ++i)
            d[i] = maps[k].values[i] - maps[0].values[i];
        differences.push_back(
            panel(d, "difference", "",
                  fmt::format("{} − {}", c_.cells[k].label, c_.cells.front().label)));
    }
    const auto rows = rows_of(std::move(maps), std::move(differences),
                              report::robust_range(all, true), Palette::inferno);
    tasks_.push_back({"total", [rows](const fs::path& stem) {
                          report::write_map_rows(rows, "Total scattering", stem);
                      }});
    figures_.push_back({"total", "",
                        "Total scattering, each cell over its own mean, aligned: what stays in the "
                        "difference at edges is misalignment or a change of the structure."});
}

std::vector<MapPicture> Page::maps_of(const ComparedGroup& group, const std::string& quantity,
                                      const std::string& units) const {
    std::vector<MapPicture> maps;
    for (std::size_t k = 0; k < c_.cells.size(); ++k) {
        const CellGroup* own = c_.aligned[k].find(group.name);
        const CellMap* map = own ? own->find(quantity) : nullptr;
        maps.push_back(
            panel(map ? map->values : std::vector<double>{},
                  quantity == relative_mass ? "mass over cell mean" : quantity, units,
                  c_.cells[k].label + (own ? (map ? "" : ": not mapped") : ": not in the model")));
    }
    return maps;
}

std::vector<MapPicture> Page::differences_of(const ComparedGroup& group,
                                             const std::string& quantity,
                                             const std::string& units) const {
    const auto title_of = [&](std::size_t cell) {
        return fmt::format("{} − {}", c_.cells[cell].label, c_.cells.front().label);
    };
    std::vector<MapPicture> differences;
    for (const Difference& d : c_.differences)
        if (d.group == group.name && d.quantity == quantity)
            differences.push_back(
                panel(d.values, difference_of(quantity), units, title_of(d.cell)));
    if (c_.cells.size() <= 2 || differences.empty() || differences.size() + 1 >= c_.cells.size())
        return differences;
    // Below their cells: one missing must not move the others.
    std::vector<MapPicture> complete;
    for (std::size_t k = 1; k < c_.cells.size(); ++k) {
        const std::string title = title_of(k);
        const auto at = std::find_if(differences.begin(), differences.end(),
                                     [&](const MapPicture& d) { return d.title == title; });
        complete.push_back(
            at != differences.end() ? *at : panel({}, difference_of(quantity), units, title));
    }
    return complete;
}

void Page::plan(const ComparedGroup& group, const std::string& quantity) {
    if (!drawn(group.name, quantity))
        return;
    const report::Quantity known = report::describe_quantity(quantity);
    const bool amount = is_amount(quantity);
    std::vector<double> all;
    std::string units;
    double median_error = 0;
    for (std::size_t k = 0; k < c_.cells.size(); ++k) {
        const CellGroup* own = c_.aligned[k].find(group.name);
        const CellMap* map = own ? own->find(quantity) : nullptr;
        if (map) {
            all.insert(all.end(), map->values.begin(), map->values.end());
            units = map->units;
            if (const auto* s = statistics(k, group.name, quantity); s && s->median_error > 0)
                median_error = std::max(median_error, s->median_error);
        }
    }
    const ColourRange range = report::robust_range(all, amount, amount ? 0.0 : median_error);
    const Palette palette = amount ? Palette::inferno : known.palette;
    const std::string stem = report::file_name_part(group.name) + "_" + quantity;
    const std::string title = fmt::format("{}: {}", group.name, text_of(quantity));
    const auto rows = rows_of(maps_of(group, quantity, units),
                              differences_of(group, quantity, units), range, palette);
    tasks_.push_back({stem, [rows, title](const fs::path& target) {
                          report::write_map_rows(rows, title, target);
                      }});
    const bool letter = text_of(quantity).size() == 1;
    figures_.push_back({stem, group.name,
                        letter ? "Lattice parameter " + text_of(quantity) + "."
                               : capital(text_of(quantity)) + "."});
    if (!amount)
        plan_histogram(group, quantity, units, stem);
}

void Page::plan_histogram(const ComparedGroup& group, const std::string& quantity,
                          const std::string& units, const std::string& stem) {
    if (std::none_of(c_.histograms.begin(), c_.histograms.end(), [&](const Histogram& h) {
            return h.group == group.name && h.quantity == quantity;
        }))
        return;
    report::HistogramPicture picture;
    picture.title = fmt::format("{}: {}", group.name, text_of(quantity));
    picture.quantity = quantity;
    picture.units = units;
    for (const Cell& cell : c_.cells) {
        const CellGroup* own = cell.find(group.name);
        if (!own || !own->find(quantity))
            continue;
        Weighted w = weighted(*own, quantity);
        if (w.weights.empty())
            picture.weight_label = "share of the voxels";
        picture.series.push_back({cell.label, std::move(w.values), std::move(w.weights)});
    }
    const std::string histogram_stem = stem + "_histogram";
    tasks_.push_back({histogram_stem, [picture](const fs::path& target) {
                          report::write_histogram_picture(picture, target);
                      }});
    figures_.push_back({histogram_stem, group.name,
                        "Distribution over the cell's own voxels, weighted with the amount of the "
                        "phase."});
}

void Page::add_inputs(HtmlPage& page) const {
    std::vector<std::vector<std::string>> rows;
    for (const Cell& cell : c_.cells)
        rows.push_back({report::escape_html(cell.label), report::escape_html(cell.title),
                        "<code>" + report::escape_html(cell.path.string()) + "</code>",
                        report::escape_html(report::stage_title(cell.stage)),
                        fmt::format("{} × {}", cell.grid.ny, cell.grid.nx),
                        report::format_number(1000 * cell.grid.pixel, 4) + " µm"});
    page.table("The first is the reference.",
               {"Cell", "title", "result", "stage", "voxels", "voxel size"}, rows);
}

void Page::add_alignment(HtmlPage& page) const {
    std::vector<std::vector<std::string>> rows;
    for (std::size_t k = 1; k < c_.cells.size(); ++k) {
        const AlignedCell& a = c_.aligned[k];
        const auto value = [&](double v, std::size_t i) {
            return a.registration && a.registration->uncertainty[i] > 0
                       ? report::format_with_uncertainty(v, a.registration->uncertainty[i])
                       : report::format_number(v, 5);
        };
        std::vector<std::string> row{report::escape_html(c_.cells[k].label),
                                     value(a.transform.angle, 0), value(a.transform.shift_x, 1),
                                     value(a.transform.shift_y, 2)};
        for (std::string& cell : row)
            if (cell.starts_with('-'))
                cell = "−" + cell.substr(1);
        if (a.registration) {
            const registration::RegistrationResult& r = *a.registration;
            row.push_back(fmt::format("{:.4f}", r.correlation));
            row.push_back(r.second ? fmt::format("{:.4f} at {}{:.1f}°", r.margin,
                                                 r.second->angle < 0 ? "−" : "",
                                                 std::abs(r.second->angle))
                                   : "–");
            std::string channels;
            for (std::size_t i = 0; i < a.channels.size(); ++i)
                channels += fmt::format("{}{} {:.3f}", i == 0 ? "" : ", ", a.channels[i],
                                        r.channel_correlations[i]);
            row.push_back(report::escape_html(channels));
            row.push_back(r.certain ? "yes" : "<strong>no</strong>");
        } else {
            row.insert(row.end(), {"–", "–", "–", "not aligned"});
        }
        rows.push_back(std::move(row));
    }
    page.table("How each cell stands in its scan against the reference: turned counter-clockwise "
               "by the angle about the rotation axis, then moved by the shift. Margin: to the best "
               "other optimum, or to the best angle 10° or more away.",
               {"Cell", "angle [°]", "shift <i>x</i> [mm]", "shift <i>y</i> [mm]", "correlation",
                "margin", "by map", "certain"},
               rows);
}

void Page::add_fractions(HtmlPage& page) const {
    std::vector<std::string> header{"Phase"};
    for (const Cell& cell : c_.cells)
        header.push_back(report::escape_html(cell.label));
    std::vector<std::vector<std::string>> rows;
    bool any = false;
    for (const ComparedGroup& group : c_.groups) {
        if (group.kind != GroupKind::phase)
            continue;
        std::vector<std::string> row{report::escape_html(group.name)};
        for (const Cell& cell : c_.cells) {
            const auto share = cell.mass_share.find(group.name);
            any |= share != cell.mass_share.end();
            row.push_back(
                share == cell.mass_share.end() ? "–" : fmt::format("{:.2f}", 100 * share->second));
        }
        rows.push_back(std::move(row));
    }
    if (any)
        page.table("Weight fractions of the whole cell [wt. %], of the refined crystalline phases, "
                   "summed over the voxels.",
                   header, rows);
}

void Page::add_statistics(HtmlPage& page, const ComparedGroup& group) const {
    std::vector<std::string> header{"Quantity"};
    for (const Cell& cell : c_.cells)
        header.push_back(report::escape_html(cell.label));
    for (std::size_t k = 1; k < c_.cells.size(); ++k)
        header.push_back(
            report::escape_html(fmt::format("{} − {}", c_.cells[k].label, c_.cells.front().label)));
    std::vector<std::vector<std::string>> rows;
    for (const std::string& quantity : group.quantities) {
        if (quantity == "scale")
            continue;
        std::string units;
        std::vector<std::string> row{""};
        for (std::size_t k = 0; k < c_.cells.size(); ++k) {
            const auto* s = statistics(k, group.name, quantity);
            if (s)
                units = c_.cells[k].find(group.name)->find(quantity)->units;
            row.push_back(
                s && s->count > 0
                    ? report::escape_html(report::mean_and_spread(*s)) +
                          fmt::format("<br><small>{} voxels{}</small>", s->count,
                                      s->median_error > 0
                                          ? ", e.s.d. " + report::format_number(s->median_error, 2)
                                          : "")
                    : "–");
        }
        for (std::size_t k = 1; k < c_.cells.size(); ++k) {
            const auto at = std::find_if(
                c_.differences.begin(), c_.differences.end(), [&](const Difference& d) {
                    return d.cell == k && d.group == group.name && d.quantity == quantity;
                });
            row.push_back(at == c_.differences.end()
                              ? "–"
                              : report::escape_html(report::mean_and_spread(at->statistics)));
            if (row.back().starts_with('-'))
                row.back() = "−" + row.back().substr(1);
        }
        row[0] = report::html_with_units(html_of(quantity), units);
        rows.push_back(std::move(row));
    }
    page.table("Mean ± spread (standard deviation over the voxels) of the cell's own voxels before "
               "resampling; lattice parameters and other properties weighted with the amount of "
               "the phase. Differences: voxel by voxel where both have a value.",
               header, rows);
}

std::string Page::html(const fs::path& pictures) const {
    std::string title = "Comparison of ";
    for (std::size_t k = 0; k < c_.cells.size(); ++k)
        title += (k == 0 ? "" : k + 1 == c_.cells.size() ? " and " : ", ") + c_.cells[k].label;
    HtmlPage page(title, fmt::format("X-ray diffraction computed tomography · xrdct {} · {}",
                                     program_version, settings_.date));
    page.section("Summary");
    add_inputs(page);
    for (const std::string& note : c_.notes)
        page.note(capital(note) + ".");
    add_alignment(page);
    add_fractions(page);
    page.paragraph("Maps are in the frame of the reference, resampled by bilinear interpolation of "
                   "valid voxels. All maps of a row share one colour bar, which spans the bulk of "
                   "the values (1 to 99 %); a pointed end marks values beyond. Differences are "
                   "cell minus reference: red where the cell has more. Voxels without a value are "
                   "grey. x points right, y up.");
    const auto add_figures = [&](const std::string& group) {
        for (const Figure& figure : figures_)
            if (figure.group == group) {
                fs::path path = pictures / figure.stem;
                path += ".png";
                page.figure({path, figure.caption});
            }
    };
    add_figures("");
    for (const GroupKind kind : {GroupKind::phase, GroupKind::electrode, GroupKind::peak})
        for (const ComparedGroup& group : c_.groups) {
            if (group.kind != kind)
                continue;
            page.section(kind == GroupKind::electrode ? spaced(group.name) : group.name);
            add_statistics(page, group);
            add_figures(group.name);
        }
    page.section("Provenance");
    std::vector<std::vector<std::string>> rows;
    for (const Cell& cell : c_.cells)
        for (const auto& [file, checksum] : cell.checksums)
            rows.push_back({report::escape_html(cell.label),
                            "<code>" + report::escape_html(file) + "</code>",
                            "<code>" + checksum + "</code>"});
    page.table("", {"Cell", "File", "SHA-256"}, rows);
    page.preformatted(settings_.command);
    page.paragraph("The aligned maps and differences are in comparison.nxs, the numbers in "
                   "comparison.json and comparison.csv, the pictures as PNG and SVG in the folder "
                   "pictures.");
    return page.str();
}

std::vector<fs::path> Page::make(const fs::path& folder) {
    plan_total();
    for (const ComparedGroup& group : c_.groups)
        for (const std::string& quantity : group.quantities)
            plan(group, quantity);
    const fs::path pictures = folder / "pictures";
    fs::create_directories(pictures);
    report::draw_all(tasks_, pictures,
                     static_cast<int>(std::min(4U, std::thread::hardware_concurrency())));
    const fs::path path = folder / "comparison.html";
    std::ofstream out(path, std::ios::binary);
    out << html(pictures);
    out.close();
    if (!out)
        throw Error("comparison.html: cannot be written (is the disk full?)");
    std::vector<fs::path> files;
    for (const DrawingTask& task : tasks_)
        for (const char* suffix : {".png", ".svg"})
            files.push_back(fs::path("pictures") / (task.stem + suffix));
    files.emplace_back("comparison.html");
    return files;
}

} // namespace

std::vector<fs::path> make_page(const Comparison& comparison, const Settings& settings,
                                const fs::path& folder) {
    return Page(comparison, settings).make(folder);
}

} // namespace xrdct::compare
