// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/report/html.hpp"

#include "base/error.hpp"
#include "jobs/report/labels.hpp"
#include "jobs/report/text.hpp"
#include "mpi/files/checksum.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cctype>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <span>

namespace xrdct::report {

namespace {

constexpr const char* style = R"(
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { font: 15px/1.5 "DejaVu Sans", "Segoe UI", "Helvetica Neue", Arial, sans-serif; color: #1a1a1a;
       background: #fff; max-width: 1120px; margin: 2.5em auto 4em; padding: 0 1.5em; }
h1 { font-size: 1.75em; font-weight: 600; line-height: 1.25; margin: 0 0 .15em; }
h2 { font-size: 1.25em; font-weight: 600; margin: 2.2em 0 .6em; padding-bottom: .2em; border-bottom: 1px solid #bbb; }
h3 { font-size: 1.05em; font-weight: 600; margin: 1.6em 0 .4em; }
p { margin: .5em 0; max-width: 52em; }
.subtitle { color: #555; }
.note { border-left: 3px solid #0072b2; padding: .3em 0 .3em .9em; margin: .8em 0; }
nav { margin: 1.2em 0; font-size: .93em; }
nav a { color: #0b5394; text-decoration: none; margin-right: 1.2em; white-space: nowrap; }
nav a:hover { text-decoration: underline; }
table { border-collapse: collapse; margin: .8em 0 1.2em; font-size: .9em; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: #444; padding-bottom: .4em; }
th, td { padding: .25em .9em .25em 0; text-align: left; vertical-align: top; }
thead th { font-weight: 600; border-bottom: 1.5px solid #333; vertical-align: bottom; }
tbody th { font-weight: 600; }
tbody tr { border-bottom: 1px solid #e4e4e4; }
.wide { overflow-x: auto; }
code, pre { font-family: "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: .85em; }
code { word-break: break-all; }
pre { background: #f5f5f5; padding: 1em; overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; }
figure { margin: .6em 0; break-inside: avoid; }
figure img { display: block; max-width: 100%; height: auto; }
.figures figure { display: inline-block; width: 48.5%; margin: .6em 2.4% .6em 0; vertical-align: top; }
.figures figure:nth-child(2n) { margin-right: 0; }
figcaption { font-size: .87em; color: #444; margin-top: .3em; }
footer { margin-top: 3em; color: #666; font-size: .85em; border-top: 1px solid #bbb; padding-top: .6em; }
@media (max-width: 720px) { .figures figure { width: 100%; } }
@media print {
  body { font-size: 10pt; max-width: none; margin: 0; padding: 0; }
  nav { display: none; }
  h2, h3 { break-after: avoid; }
  pre { white-space: pre-wrap; border: 1px solid #ccc; }
  @page { margin: 16mm; }
}
)";

std::string inline_png(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    if (!in || bytes.empty())
        throw Error(fmt::format("{}: the picture cannot be read", path.string()));
    return "data:image/png;base64," + files::base64(std::as_bytes(std::span(bytes)));
}

std::string image_html(const HtmlPage::Figure& figure) {
    return fmt::format("<img alt=\"{}\" src=\"{}\">", escape_html(figure.caption),
                       inline_png(figure.png));
}

using Json = nlohmann::ordered_json;

constexpr std::string_view esd_suffix = "_esd";

std::string with_minus_sign(std::string text) {
    return text.starts_with('-') ? "−" + text.substr(1) : text;
}

std::string plain_cell(const Json& value) {
    if (value.is_null())
        return "–";
    if (value.is_number_integer() || value.is_boolean())
        return value.dump();
    if (value.is_number())
        return with_minus_sign(format_number(value.get<double>(), 6));
    if (value.is_string())
        return escape_html(value.get<std::string>());
    return escape_html(value.dump());
}

double number_or_zero(const Json& object, const std::string& key) {
    const auto at = object.find(key);
    return at != object.end() && at->is_number() ? at->get<double>() : 0.0;
}

/// Agreement indices are stored as fractions and read as per cent.
bool is_agreement_index(const std::string& key) {
    return key == "rwp" || key == "rp" || key == "rexp" || key == "r_bragg";
}

/// `key` of an object, with its standard deviation when the object has one.
std::string cell(const Json& object, const std::string& key) {
    const auto at = object.find(key);
    if (at == object.end())
        return {};
    if (at->is_object() && at->contains("value"))
        return cell(*at, "value");
    const double esd =
        number_or_zero(object, key == "value" ? "esd" : key + std::string(esd_suffix));
    if (key == "unit" && at->is_string())
        return escape_html(display_units(at->get<std::string>()));
    if (at->is_number() && is_agreement_index(key))
        return format_number(100.0 * at->get<double>(), 3) + " %";
    if (at->is_number() && esd > 0.0)
        return with_minus_sign(format_with_uncertainty(at->get<double>(), esd));
    return plain_cell(*at);
}

bool is_scalar(const Json& value) {
    return value.is_primitive() || (value.is_object() && value.contains("value"));
}

/// Keys shown as columns: those of all rows, without the standard deviations that go into the
/// cells.
std::vector<std::string> columns_of(const Json& rows) {
    std::vector<std::string> columns;
    for (const Json& row : rows)
        for (const auto& [key, value] : row.items()) {
            const bool esd = (key == "esd" && row.contains("value")) ||
                             (key.ends_with(esd_suffix) &&
                              row.contains(key.substr(0, key.size() - esd_suffix.size())));
            if (!esd && std::find(columns.begin(), columns.end(), key) == columns.end())
                columns.push_back(key);
        }
    const auto place = [](const std::string& key) {
        return key == "name"      ? -2
               : key == "value"   ? -1
               : key == "r_bragg" ? 100
                                  : quantity_order(key);
    };
    std::stable_sort(columns.begin(), columns.end(),
                     [&](const auto& a, const auto& b) { return place(a) < place(b); });
    return columns;
}

/// Moves parameters called "<phase> <quantity>" from the list `parameters` to the rows of `phases`,
/// where they take a column each. Returns the units of the quantities.
std::map<std::string, std::string> move_parameters_to_phases(Json& root) {
    std::map<std::string, std::string> units;
    if (!root.contains("phases") || !root.contains("parameters") || !root["phases"].is_array() ||
        !root["parameters"].is_array())
        return units;
    Json others = Json::array();
    for (const Json& parameter : root["parameters"]) {
        const std::string name = parameter.is_object() ? parameter.value("name", "") : "";
        Json* row = nullptr;
        std::size_t longest = 0;
        for (Json& phase : root["phases"]) {
            const std::string prefix = phase.is_object() ? phase.value("name", "") + " " : " ";
            if (prefix.size() > 1 && prefix.size() > longest && name.starts_with(prefix)) {
                row = &phase;
                longest = prefix.size();
            }
        }
        if (row == nullptr || !parameter.contains("value")) {
            others.push_back(parameter);
            continue;
        }
        const std::string quantity = name.substr(longest);
        if (parameter.contains("unit") && parameter["unit"].is_string())
            units[quantity] = parameter["unit"].get<std::string>();
        if (row->contains(quantity))
            continue;
        (*row)[quantity] = parameter["value"];
        if (parameter.contains("esd"))
            (*row)[quantity + std::string(esd_suffix)] = parameter["esd"];
    }
    root["parameters"] = others;
    return units;
}

std::string spaced(std::string text) {
    std::replace(text.begin(), text.end(), '_', ' ');
    return text;
}

/// A key as the caption of its table.
std::string heading(const std::string& key) {
    std::string text = spaced(key);
    if (!text.empty())
        text[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(text[0])));
    return text + " (e.s.d. in units of the last digit).";
}

std::vector<std::string> headings(const std::vector<std::string>& keys,
                                  const std::map<std::string, std::string>& units) {
    std::vector<std::string> html;
    for (const std::string& key : keys) {
        const auto unit = units.find(key);
        html.push_back(
            html_with_units(describe_quantity(key).html, unit == units.end() ? "" : unit->second));
    }
    return html;
}

} // namespace

HtmlPage::HtmlPage(const std::string& title, const std::string& subtitle)
    : title_(title), subtitle_(subtitle) {}

void HtmlPage::section(const std::string& title) {
    sections_.push_back(title);
    body_ += fmt::format("<h2 id=\"s{}\">{}</h2>\n", sections_.size(), escape_html(title));
}

void HtmlPage::subsection(const std::string& title) {
    body_ += fmt::format("<h3>{}</h3>\n", escape_html(title));
}

void HtmlPage::paragraph(const std::string& text) {
    body_ += fmt::format("<p>{}</p>\n", escape_html(text));
}

void HtmlPage::note(const std::string& text) {
    body_ += fmt::format("<p class=\"note\">{}</p>\n", escape_html(text));
}

void HtmlPage::list(const std::vector<std::string>& items) {
    body_ += "<ul>\n";
    for (const std::string& item : items)
        body_ += fmt::format("<li>{}</li>\n", escape_html(item));
    body_ += "</ul>\n";
}

void HtmlPage::preformatted(const std::string& text) {
    body_ += fmt::format("<pre>{}</pre>\n", escape_html(text));
}

void HtmlPage::table(const std::string& caption, const std::vector<std::string>& header_html,
                     const std::vector<std::vector<std::string>>& rows_html) {
    body_ += "<div class=\"wide\"><table>";
    if (!caption.empty())
        body_ +=
            fmt::format("<caption><b>Table {}.</b> {}</caption>", ++tables_, escape_html(caption));
    if (!header_html.empty()) {
        body_ += "\n<thead><tr>";
        for (const std::string& heading : header_html)
            body_ += fmt::format("<th scope=\"col\">{}</th>", heading);
        body_ += "</tr></thead>";
    }
    body_ += "\n<tbody>\n";
    for (const auto& row : rows_html) {
        body_ += "<tr>";
        for (std::size_t i = 0; i < row.size(); ++i)
            body_ += i == 0 ? fmt::format("<th scope=\"row\">{}</th>", row[i])
                            : fmt::format("<td>{}</td>", row[i]);
        body_ += "</tr>\n";
    }
    body_ += "</tbody></table></div>\n";
}

void HtmlPage::figure(const Figure& figure) {
    body_ += fmt::format("<figure>{}<figcaption><b>Figure {}.</b> {}</figcaption></figure>\n",
                         image_html(figure), ++figures_, escape_html(figure.caption));
}

void HtmlPage::figures(const std::vector<Figure>& figures) {
    if (figures.empty())
        return;
    body_ += "<div class=\"figures\">\n";
    for (const Figure& one : figures)
        figure(one);
    body_ += "</div>\n";
}

void HtmlPage::json(const std::string& text) {
    Json root = Json::parse(text, nullptr, false);
    if (root.is_discarded() || !root.is_structured()) {
        preformatted(text);
        return;
    }
    const auto units = move_parameters_to_phases(root);
    const auto rows_table = [&](const std::string& caption, const Json& rows) {
        const std::vector<std::string> columns = columns_of(rows);
        std::vector<std::vector<std::string>> cells;
        for (const Json& row : rows) {
            cells.emplace_back();
            for (const std::string& column : columns)
                cells.back().push_back(cell(row, column));
        }
        table(caption, headings(columns, units), cells);
    };
    const auto all_objects = [](const Json& value) {
        return value.is_structured() && !value.empty() &&
               std::all_of(value.begin(), value.end(), [](const Json& v) { return v.is_object(); });
    };
    if (root.is_array()) {
        if (all_objects(root))
            rows_table("", root);
        else
            preformatted(root.dump(1));
        return;
    }
    std::vector<std::vector<std::string>> plain;
    for (const std::string& key : columns_of(Json::array({root})))
        if (is_scalar(root[key])) {
            std::string text_html = cell(root, key);
            if (!text_html.empty())
                plain.push_back({describe_quantity(key).html, text_html});
        }
    if (!plain.empty())
        table("", {}, plain);
    std::vector<std::string> keys;
    for (const auto& [key, value] : root.items())
        keys.push_back(key);
    std::stable_partition(keys.begin(), keys.end(),
                          [](const auto& key) { return key == "phases"; });
    for (const std::string& key : keys) {
        const Json& value = root[key];
        if (is_scalar(value) || value.empty())
            continue;
        if (value.is_array() && all_objects(value)) {
            rows_table(heading(key), value);
        } else if (value.is_object()) {
            // Objects of objects are rows with their key as the name; plain objects are one row.
            Json rows = Json::array();
            if (std::all_of(value.begin(), value.end(),
                            [](const Json& v) { return v.is_object(); }))
                for (const auto& [name, row] : value.items()) {
                    Json named = {{"name", name}};
                    named.update(row);
                    rows.push_back(named);
                }
            else
                rows.push_back(value);
            rows_table(heading(key), rows);
        } else {
            table("", {}, {{describe_quantity(key).html, escape_html(value.dump())}});
        }
    }
}

std::string HtmlPage::str() const {
    std::string page = fmt::format(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta "
        "name=\"viewport\" "
        "content=\"width=device-width, initial-scale=1\">\n<title>{0}</title>\n<style>{1}</style>\n"
        "</head>\n<body>\n<header>\n<h1>{0}</h1>\n<p class=\"subtitle\">{2}</p>\n</header>\n<nav>",
        escape_html(title_), style, escape_html(subtitle_));
    for (std::size_t i = 0; i < sections_.size(); ++i)
        page += fmt::format("<a href=\"#s{}\">{}</a>\n", i + 1, escape_html(sections_[i]));
    return page + "</nav>\n<main>\n" + body_ + "</main>\n</body>\n</html>\n";
}

} // namespace xrdct::report
