#include "jobs/report/labels.hpp"

#include "jobs/report/text.hpp"

#include <algorithm>
#include <array>
#include <cctype>

namespace xrdct::report {

namespace {

struct Known {
    std::string_view name, text, enhanced, html; // empty enhanced or html: as text
    Palette palette;
    bool from_zero;
};

constexpr std::array known{
    Known{"scale", "scale factor", "", "", Palette::inferno, true},
    Known{"volume_fraction", "volume fraction", "", "", Palette::inferno, true},
    Known{"weight_fraction", "weight fraction", "", "", Palette::inferno, true},
    Known{"density", "mass per voxel volume", "", "", Palette::inferno, true},
    Known{"a", "a", "{/:Italic a}", "<i>a</i>", Palette::viridis, false},
    Known{"b", "b", "{/:Italic b}", "<i>b</i>", Palette::viridis, false},
    Known{"c", "c", "{/:Italic c}", "<i>c</i>", Palette::viridis, false},
    Known{"alpha", "α", "", "<i>α</i>", Palette::viridis, false},
    Known{"beta", "β", "", "<i>β</i>", Palette::viridis, false},
    Known{"gamma", "γ", "", "<i>γ</i>", Palette::viridis, false},
    Known{"cell_volume", "cell volume", "", "", Palette::viridis, false},
    Known{"size", "crystallite size", "", "", Palette::viridis, false},
    Known{"microstrain", "microstrain", "", "", Palette::viridis, false},
    Known{"area", "peak area", "", "", Palette::inferno, true},
    Known{"position", "peak position", "", "", Palette::viridis, false},
    Known{"fwhm", "peak width (FWHM)", "", "", Palette::viridis, false},
    Known{"rwp", "Rwp", "{/:Italic R}_{wp}", "<i>R</i><sub>wp</sub>", Palette::magma, false},
    Known{"rp", "Rp", "{/:Italic R}_{p}", "<i>R</i><sub>p</sub>", Palette::magma, false},
    Known{"rexp", "Rexp", "{/:Italic R}_{exp}", "<i>R</i><sub>exp</sub>", Palette::magma, false},
    Known{"r_bragg", "RBragg", "{/:Italic R}_{Bragg}", "<i>R</i><sub>Bragg</sub>", Palette::magma,
          false},
    Known{"gof", "goodness of fit", "", "", Palette::magma, false},
    Known{"status", "status of the fit", "", "", Palette::viridis, false},
    Known{"iterations", "iterations", "", "", Palette::cividis, false},
    Known{"total", "total intensity", "", "", Palette::inferno, false},
    Known{"mask", "mask", "", "", Palette::viridis, false},
    Known{"mu", "attenuation coefficient μ", "attenuation coefficient {/:Italic μ}",
          "attenuation coefficient <i>μ</i>", Palette::inferno, true},
    Known{"transmission", "transmission I/I₀", "transmission {/:Italic I}/{/:Italic I}_0",
          "transmission <i>I</i>/<i>I</i><sub>0</sub>", Palette::viridis, false},
    Known{"correction_factor", "correction factor", "", "", Palette::magma, false},
    Known{"chi_squared", "squared residual over variance", "", "", Palette::magma, false},
    Known{"ratio", "observed / calculated − 1", "", "", Palette::diverging, false},
    Known{"residuals", "residuals of the projections", "", "", Palette::magma, false},
    Known{"gradient_norm", "gradient", "", "", Palette::viridis, false},
    Known{"gauss_microstrain", "Gaussian microstrain", "", "", Palette::viridis, false},
    Known{"path_length", "path length", "", "", Palette::inferno, true},
    Known{"change", "change of the transmission", "", "", Palette::viridis, false},
    Known{"lithium", "lithium content x", "lithium content {/:Italic x}",
          "lithium content <i>x</i>", Palette::viridis, false},
    Known{"two_theta", "2θ", "2{/:Italic θ}", "2<i>θ</i>", Palette::viridis, false},
    Known{"x", "x", "{/:Italic x}", "<i>x</i>", Palette::viridis, false},
    Known{"y", "y", "{/:Italic y}", "<i>y</i>", Palette::viridis, false},
    Known{"q", "q", "{/:Italic q}", "<i>q</i>", Palette::viridis, false},
    Known{"rotation", "rotation angle", "", "", Palette::viridis, false},
};

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
    for (const Known& k : known)
        if (k.name == name)
            return {std::string(k.text), std::string(k.enhanced.empty() ? k.text : k.enhanced),
                    std::string(k.html.empty() ? k.text : k.html), k.palette, k.from_zero};
    const std::string text = spaced(name);
    return {text, escape_enhanced(text), escape_html(text), Palette::viridis, false};
}

int quantity_order(std::string_view name) {
    static constexpr std::array first{"weight_fraction",
                                      "volume_fraction",
                                      "density",
                                      "a",
                                      "b",
                                      "c",
                                      "alpha",
                                      "beta",
                                      "gamma",
                                      "cell_volume",
                                      "size",
                                      "microstrain",
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
    if (stage == "fbp")
        return "Filtered back-projection";
    if (stage == "dlsr")
        return "DLSR";
    if (stage == "rietveld")
        return "Voxelwise Rietveld refinement";
    std::string text = spaced(stage);
    if (!text.empty())
        text[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(text[0])));
    return text;
}

} // namespace xrdct::report
