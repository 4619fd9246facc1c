// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/report/labels.hpp"

#include "jobs/pipeline/registry.hpp"
#include "jobs/report/text.hpp"

#include <algorithm>
#include <array>
#include <cctype>

namespace xrdct::report {

namespace {

using pipeline::QuantityKind;
using pipeline::QuantityLabel;

/// Of axes, patterns and what several stages or none find; the other labels are those of the
/// stages.
constexpr std::array common{
    QuantityLabel{"a", "a", "{/:Italic a}", "<i>a</i>", QuantityKind::value},
    QuantityLabel{"b", "b", "{/:Italic b}", "<i>b</i>", QuantityKind::value},
    QuantityLabel{"c", "c", "{/:Italic c}", "<i>c</i>", QuantityKind::value},
    QuantityLabel{"alpha", "α", "", "<i>α</i>", QuantityKind::value},
    QuantityLabel{"beta", "β", "", "<i>β</i>", QuantityKind::value},
    QuantityLabel{"gamma", "γ", "", "<i>γ</i>", QuantityKind::value},
    QuantityLabel{"cell_volume", "cell volume", "", "", QuantityKind::value},
    QuantityLabel{"rwp", "Rwp", "{/:Italic R}_{wp}", "<i>R</i><sub>wp</sub>", QuantityKind::misfit},
    QuantityLabel{"rp", "Rp", "{/:Italic R}_{p}", "<i>R</i><sub>p</sub>", QuantityKind::misfit},
    QuantityLabel{"rexp", "Rexp", "{/:Italic R}_{exp}", "<i>R</i><sub>exp</sub>",
                  QuantityKind::misfit},
    QuantityLabel{"r_bragg", "RBragg", "{/:Italic R}_{Bragg}", "<i>R</i><sub>Bragg</sub>",
                  QuantityKind::misfit},
    QuantityLabel{"gof", "goodness of fit", "", "", QuantityKind::misfit},
    QuantityLabel{"mask", "mask", "", "", QuantityKind::value},
    QuantityLabel{"lithium", "lithium content x", "lithium content {/:Italic x}",
                  "lithium content <i>x</i>", QuantityKind::value},
    QuantityLabel{"two_theta", "2θ", "2{/:Italic θ}", "2<i>θ</i>", QuantityKind::value},
    QuantityLabel{"x", "x", "{/:Italic x}", "<i>x</i>", QuantityKind::value},
    QuantityLabel{"y", "y", "{/:Italic y}", "<i>y</i>", QuantityKind::value},
    QuantityLabel{"q", "q", "{/:Italic q}", "<i>q</i>", QuantityKind::value},
    QuantityLabel{"rotation", "rotation angle", "", "", QuantityKind::value},
};

Quantity quantity_of(const QuantityLabel& label) {
    Quantity q;
    q.text = label.text;
    q.enhanced = label.enhanced.empty() ? label.text : label.enhanced;
    q.html = label.html.empty() ? label.text : label.html;
    q.from_zero = label.kind == QuantityKind::amount;
    switch (label.kind) {
    case QuantityKind::amount:
    case QuantityKind::intensity:
        q.palette = Palette::inferno;
        break;
    case QuantityKind::value:
        q.palette = Palette::viridis;
        break;
    case QuantityKind::misfit:
        q.palette = Palette::magma;
        break;
    case QuantityKind::count:
        q.palette = Palette::cividis;
        break;
    case QuantityKind::deviation:
        q.palette = Palette::diverging;
        break;
    }
    return q;
}

std::string spaced(std::string_view name) {
    std::string text = clean_utf8(name);
    std::replace(text.begin(), text.end(), '_', ' ');
    return text;
}

} // namespace

std::string escape_enhanced(std::string_view text) {
    std::string out;
    for (const char c : clean_utf8(text)) {
        if (std::string_view("{}_^@&~\\").find(c) != std::string_view::npos)
            out += '\\';
        out += c;
    }
    return out;
}

Quantity describe_quantity(std::string_view name) {
    if (name.size() > errors_suffix.size() && name.ends_with(errors_suffix)) {
        Quantity q = describe_quantity(name.substr(0, name.size() - errors_suffix.size()));
        q.text = "standard deviation of " + q.text;
        q.enhanced = "standard deviation of " + q.enhanced;
        q.html = "standard deviation of " + q.html;
        q.palette = Palette::cividis;
        q.from_zero = false;
        return q;
    }
    for (const auto& label : common)
        if (label.name == name)
            return quantity_of(label);
    for (const auto* stage : pipeline::stages())
        for (const auto& label : stage->quantities())
            if (label.name == name)
                return quantity_of(label);
    const std::string text = spaced(name);
    return {text, escape_enhanced(text), escape_html(text), Palette::viridis, false};
}

int quantity_order(std::string_view name) {
    static constexpr std::array first{"volume_fraction",
                                      "density",
                                      "weight_fraction",
                                      "a",
                                      "b",
                                      "c",
                                      "alpha",
                                      "beta",
                                      "gamma",
                                      "cell_volume",
                                      "size",
                                      "microstrain",
                                      "gauss_microstrain",
                                      "area",
                                      "position",
                                      "fwhm",
                                      "rwp",
                                      "rp",
                                      "rexp",
                                      "gof"};
    static constexpr std::array last{"scale", "iterations", "status", "mask"};
    const auto late = std::find(last.begin(), last.end(), name);
    if (late != last.end())
        return static_cast<int>(first.size() + 1 + (late - last.begin()));
    return static_cast<int>(std::find(first.begin(), first.end(), name) - first.begin());
}

std::string display_units(std::string_view units) {
    struct Form {
        std::string_view file, shown;
    };
    static constexpr std::array forms{
        Form{"", ""},
        Form{"1", ""},
        Form{"none", ""},
        Form{"dimensionless", ""},
        Form{"angstrom", "Å"},
        Form{"Angstrom", "Å"},
        Form{"angstroms", "Å"},
        Form{"1/angstrom", "Å⁻¹"},
        Form{"angstrom^-1", "Å⁻¹"},
        Form{"angstrom^3", "Å³"},
        Form{"deg", "°"},
        Form{"degree", "°"},
        Form{"degrees", "°"},
        Form{"intensity", "arb. units"},
        Form{"intensity/mm", "arb. units/mm"},
        Form{"intensity deg", "arb. units °"},
        Form{"intensity deg/mm", "arb. units °/mm"},
        Form{"1/mm", "mm⁻¹"},
        Form{"mm^-1", "mm⁻¹"},
        Form{"1/cm", "cm⁻¹"},
        Form{"g/cm^3", "g/cm³"},
        Form{"g/cm3", "g/cm³"},
        Form{"um", "µm"},
        Form{"micrometer", "µm"},
        Form{"percent", "%"},
    };
    for (const Form& form : forms)
        if (form.file == units)
            return std::string(form.shown);
    return clean_utf8(units);
}

namespace {

std::string bracketed(const std::string& label, const std::string& units) {
    return units.empty() ? label : label + " [" + units + "]";
}

} // namespace

std::string enhanced_with_units(const std::string& enhanced_label, std::string_view units) {
    return bracketed(enhanced_label, escape_enhanced(display_units(units)));
}

std::string html_with_units(const std::string& html_label, std::string_view units) {
    return bracketed(html_label, escape_html(display_units(units)));
}

std::string stage_title(std::string_view stage) {
    if (const auto* known = pipeline::find_stage(stage))
        return known->title();
    std::string text = spaced(stage);
    if (!text.empty())
        text[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(text[0])));
    return text;
}

} // namespace xrdct::report
