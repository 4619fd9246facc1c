// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/settings/instrument_file.hpp"

#include "base/error.hpp"
#include "jobs/settings/job.hpp"
#include "jobs/settings/settings.hpp"
#include "mpi/files/text_file.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <unistd.h>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace xrdct::settings {

namespace {

constexpr const char* format_name = "xrdct instrument 1";

std::string number(double value) {
    if (!std::isfinite(value))
        return std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
    std::string text = fmt::format("{}", value);
    if (text.find_first_of(".e") == std::string::npos)
        text += ".0";
    return text;
}

/// Digits beyond a tenth of the e.s.d. say nothing; 0: all digits.
std::string number(double value, double error) {
    if (!(error > 0) || !std::isfinite(value) || value == 0)
        return number(value);
    const int digits = static_cast<int>(std::ceil(std::log10(std::abs(value) / error))) + 3;
    return number(std::stod(fmt::format("{:.{}g}", value, std::clamp(digits, 3, 15))));
}

std::string quoted(const std::string& text) {
    std::string result = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\')
            result += '\\';
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
            result += fmt::format("\\u{:04x}", static_cast<unsigned char>(c));
        else
            result += c;
    }
    return result + "\"";
}

template <typename T, typename F>
std::string list(const T& values, F&& one) {
    std::string text = "[";
    for (const auto& value : values)
        text += (text.size() > 1 ? ", " : "") + one(value);
    return text + "]";
}

const auto plain = [](double value) { return number(value); };

} // namespace

std::string to_toml(const InstrumentFile& f) {
    std::string text = "# An instrument as a powder standard shows it. Name it in a job:\n"
                       "#   [instrument]\n#   file = \"…\"\n";
    text += fmt::format("format = \"{}\"\n\n[instrument]\n", format_name);
    text += "# FWHM_Gauss^2 = u tan^2(theta) + v tan(theta) + w [deg^2]\n"
            "# FWHM_Lorentz = x / cos(theta) + y tan(theta) + z [deg]; e.s.d. in [errors]\n";
    const auto& p = f.profile;
    const auto& e = f.profile_errors;
    text += fmt::format("u = {}\nv = {}\nw = {}\nx = {}\ny = {}\nz = {}\n", number(p.u, e.u),
                        number(p.v, e.v), number(p.w, e.w), number(p.x, e.x), number(p.y, e.y),
                        number(p.z, e.z));
    text += fmt::format("wavelength = {}  # angstrom\n", number(f.wavelength, f.wavelength_error));
    if (f.distance > 0)
        text += fmt::format("distance = {}  # mm\n", number(f.distance, f.distance_error));
    text += fmt::format("zero = {}  # deg, added to the 2theta of every line\n",
                        number(f.zero, f.zero_error));
    text += fmt::format("calibrated = {}{}\n\n[errors]\n", list(f.calibrated, quoted),
                        f.calibrated.empty() ? "  # the wavelength is nominal" : "");
    text += "# e.s.d., multiplied by the goodness of fit where that exceeds 1; 0: not refined\n";
    for (const auto& [name, value] : {std::pair{"u", e.u},
                                      {"v", e.v},
                                      {"w", e.w},
                                      {"x", e.x},
                                      {"y", e.y},
                                      {"z", e.z},
                                      {"wavelength", f.wavelength_error},
                                      {"distance", f.distance_error},
                                      {"zero", f.zero_error}})
        text += fmt::format("{} = {}\n", name, number(value, 10 * value));
    text += fmt::format("\n[standard]\nname = {}\nsource = {}\ncell = {}  # angstrom, deg\n",
                        quoted(f.standard), quoted(f.standard_source), list(f.cell, plain));
    text += fmt::format("cell_deviation = {}  # ppm, refined against certified; 0: fixed\n"
                        "cell_deviation_error = {}  # ppm\n",
                        number(f.cell_deviation, f.cell_deviation_error),
                        number(f.cell_deviation_error, 10 * f.cell_deviation_error));
    text += fmt::format("\n[range]\ntwo_theta_min = {}  # deg\ntwo_theta_max = {}  # deg\n"
                        "excluded = {}  # deg, from, to, ...\n",
                        number(f.two_theta_min), number(f.two_theta_max), list(f.excluded, plain));
    text += fmt::format(
        "\n[widths]\n# what the profile comes to; outside the range it is an extrapolation\n"
        "two_theta = {}  # deg\nfwhm = {}  # deg\nlargest_deviation = {}  # of lines fitted "
        "alone, relative\n",
        list(f.two_theta, [](double v) { return number(v, 0.001 * v); }),
        list(f.fwhm, [](double v) { return number(v, 0.01 * v); }),
        number(f.largest_width_deviation, 0.01 * std::abs(f.largest_width_deviation)));
    text += fmt::format("\n[fit]\nintensities = {}\nrwp = {:.5f}\ngof = {:.4f}\nr_bragg = {:.5f}\n",
                        quoted(f.intensities), f.rwp, f.gof, f.r_bragg);
    text +=
        fmt::format("\n[provenance]\nprogram = {}\ndate = {}\npattern = {}\n"
                    "pattern_sha256 = {}\n",
                    quoted(f.program), quoted(f.date), quoted(f.pattern), quoted(f.pattern_sha256));
    return text;
}

void write_instrument_file(const std::filesystem::path& path, const InstrumentFile& instrument,
                           bool force) {
    if (std::filesystem::exists(path) && !force)
        throw Error(fmt::format("{} exists; --force replaces it", path.string()));
    files::write_text_file(path, to_toml(instrument));
}

InstrumentFile read_instrument_file(const std::filesystem::path& path) {
    auto s = Settings::parse(files::read_text_file(path), path.string());
    const auto require = [&](bool condition, const std::string& key, const std::string& expected) {
        if (!condition)
            throw Error(fmt::format("{}: {}", s.where(key), expected));
    };
    std::vector<std::string> missing;
    const auto value = [&](const std::string& key) {
        if (!s.has(key))
            missing.push_back(key);
        return s.number(key, 0, "", "");
    };
    const auto text = [&](const std::string& key) {
        if (!s.has(key))
            missing.push_back(key);
        return s.text(key, "", "");
    };
    InstrumentFile f;
    const std::string format = text("format");
    if (format != format_name)
        throw Error(fmt::format("{} is not an instrument file: key 'format' is {}, expected \"{}\"",
                                path.string(), format.empty() ? "missing" : "\"" + format + "\"",
                                format_name));
    f.profile = {value("instrument.u"), value("instrument.v"), value("instrument.w"),
                 value("instrument.x"), value("instrument.y"), value("instrument.z")};
    f.wavelength = value("instrument.wavelength");
    f.distance = s.number("instrument.distance", 0, "", "");
    f.zero = value("instrument.zero");
    f.calibrated = s.texts("instrument.calibrated", {}, "");
    auto& e = f.profile_errors;
    for (const auto& [key, target] : {std::pair{"u", &e.u},
                                      {"v", &e.v},
                                      {"w", &e.w},
                                      {"x", &e.x},
                                      {"y", &e.y},
                                      {"z", &e.z},
                                      {"wavelength", &f.wavelength_error},
                                      {"distance", &f.distance_error},
                                      {"zero", &f.zero_error}})
        *target = s.number(fmt::format("errors.{}", key), 0, "", "");
    f.standard = text("standard.name");
    f.standard_source = s.text("standard.source", "", "");
    const auto cell = s.numbers("standard.cell", {}, "", "");
    f.cell_deviation = s.number("standard.cell_deviation", 0, "", "");
    f.cell_deviation_error = s.number("standard.cell_deviation_error", 0, "", "");
    f.two_theta_min = value("range.two_theta_min");
    f.two_theta_max = value("range.two_theta_max");
    f.excluded = s.numbers("range.excluded", {}, "", "");
    f.two_theta = s.numbers("widths.two_theta", {}, "", "");
    f.fwhm = s.numbers("widths.fwhm", {}, "", "");
    f.largest_width_deviation = s.number("widths.largest_deviation", 0, "", "");
    f.intensities = s.text("fit.intensities", "", "");
    f.rwp = s.number("fit.rwp", 0, "", "");
    f.gof = s.number("fit.gof", 0, "", "");
    f.r_bragg = s.number("fit.r_bragg", 0, "", "");
    f.program = s.text("provenance.program", "", "");
    f.date = s.text("provenance.date", "", "");
    f.pattern = s.text("provenance.pattern", "", "");
    f.pattern_sha256 = s.text("provenance.pattern_sha256", "", "");
    // A misspelt key shows as a missing one: name the misspelling first.
    s.refuse_unknown();
    if (!missing.empty())
        require(false, missing[0], "is required in an instrument file");
    for (const auto& [key, number] : {std::pair{"instrument.u", f.profile.u},
                                      {"instrument.v", f.profile.v},
                                      {"instrument.w", f.profile.w},
                                      {"instrument.x", f.profile.x},
                                      {"instrument.y", f.profile.y},
                                      {"instrument.z", f.profile.z},
                                      {"instrument.zero", f.zero}})
        require(std::isfinite(number), key, fmt::format("must be a finite number, is {}", number));
    require(f.wavelength > 0 && std::isfinite(f.wavelength), "instrument.wavelength",
            fmt::format("must be positive, is {}", f.wavelength));
    require(f.distance >= 0 && std::isfinite(f.distance), "instrument.distance",
            fmt::format("must be positive, is {}", f.distance));
    require(f.two_theta_min < f.two_theta_max, "range.two_theta_max",
            "must exceed range.two_theta_min");
    require(cell.size() == f.cell.size(), "standard.cell", "expected six numbers");
    std::copy(cell.begin(), cell.end(), f.cell.begin());
    require(f.fwhm.size() == f.two_theta.size(), "widths.fwhm",
            "expected as many numbers as in widths.two_theta");
    for (const auto& name : f.calibrated) {
        const std::vector<std::string> known{"wavelength", "distance", "zero"};
        require(std::find(known.begin(), known.end(), name) != known.end(), "instrument.calibrated",
                fmt::format("there is no '{}' to calibrate", name));
    }
    return f;
}

} // namespace xrdct::settings
