// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/pattern/rietveld_results.hpp"

#include "base/error.hpp"
#include "base/numbers.hpp"
#include "jobs/program/version.hpp"
#include "jobs/report/picture.hpp"
#include "jobs/report/text.hpp"
#include "mpi/files/text_file.hpp"
#include "mpi/nexus/nexus.hpp"
#include "mpi/nexus/product_file.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace xrdct::pattern {

namespace {

constexpr double strong_correlation = 0.9;

/// √(Σ w (y_o − y_c)² / Σ w (y_o − y_b)²): independent of how much background there is.
double rwp_without_background(const PatternRefinement& r) {
    double difference = 0, net = 0;
    for (std::size_t k = 0; k < r.fitted.size(); ++k) {
        const double v = r.variance.empty() ? 1 : r.variance[k];
        if (!std::isfinite(r.fitted[k]) || !(v > 0) || !std::isfinite(v))
            continue;
        difference += std::pow(r.fitted[k] - r.result.calculated[k], 2) / v;
        net += std::pow(r.fitted[k] - r.result.background[k], 2) / v;
    }
    return net > 0 ? std::sqrt(difference / net) : nan_value;
}

std::string percent(double fraction) {
    return std::isfinite(fraction) ? fmt::format("{:.2f} %", 100 * fraction) : "–";
}

std::string title_of(const PatternRefinement& r) {
    return r.job.title.empty() ? r.pattern.path.filename().string() : r.job.title;
}

/// Fewer blanks than fmt would put after text that is not ASCII.
std::string padded(const std::string& text, std::size_t width) {
    const auto letters =
        static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
            return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
        }));
    return text + std::string(letters < width ? width - letters : 0, ' ');
}

bool both_background(const StrongCorrelation& pair) {
    return pair.first.starts_with("background ") && pair.second.starts_with("background ");
}

/// Degrees 2θ of a phase's lines.
std::vector<const rietveld::PatternLine*> lines_of(const rietveld::RefinementResult& result,
                                                   std::size_t phase) {
    std::vector<const rietveld::PatternLine*> lines;
    for (const auto& line : result.lines)
        if (line.phase == phase)
            lines.push_back(&line);
    return lines;
}

void write_curve(hdf5::Group& group, const std::string& name, const std::vector<double>& values) {
    group.write_array(name, {values.size()}, std::span<const double>(values))
        .set_attribute("long_name", name);
}

void write_pattern_data(hdf5::Group& stage, const PatternRefinement& r) {
    const auto& result = r.result;
    const auto axis = [&](hdf5::Group& group) {
        nexus::write_axis(group, "two_theta", r.pattern.axis.two_theta(), {"deg", "2theta"});
    };
    std::vector<double> difference(r.fitted.size());
    for (std::size_t k = 0; k < difference.size(); ++k)
        difference[k] = r.fitted[k] - result.calculated[k];
    auto group = nexus::require_data(stage, "pattern", "observed", {"two_theta"});
    write_curve(group, "observed", r.pattern.intensity);
    write_curve(group, "calculated", result.calculated);
    write_curve(group, "background", result.background);
    write_curve(group, "difference", difference);
    if (!r.variance.empty()) {
        std::vector<double> errors(r.variance.size());
        std::transform(r.variance.begin(), r.variance.end(), errors.begin(),
                       [](double v) { return v > 0 ? std::sqrt(v) : nan_value; });
        write_curve(group, "observed_errors", errors);
    }
    std::vector<std::int32_t> used(r.fitted.size());
    for (std::size_t k = 0; k < used.size(); ++k)
        used[k] = std::isfinite(r.fitted[k]) && (r.variance.empty() || r.variance[k] > 0) ? 1 : 0;
    group.write_array("fitted", {used.size()}, std::span<const std::int32_t>(used))
        .set_attribute("long_name", "1 where the channel was fitted");
    axis(group);
    group.set_attribute("auxiliary_signals",
                        std::vector<std::string>{"calculated", "background", "difference"});
    group.set_attribute("title", title_of(r));
    nexus::set_default(group);

    auto apart = nexus::require_data(stage, "difference", "difference", {"two_theta"});
    write_curve(apart, "difference", difference);
    axis(apart);

    if (!r.single.empty()) {
        auto peaks = nexus::require_class(stage, "peaks", "NXcollection");
        for (std::size_t p = 0; p < r.single.size(); ++p) {
            auto peak =
                nexus::require_data(peaks, result.model.peaks[p].name, "calculated", {"two_theta"});
            write_curve(peak, "calculated", r.single[p]);
            axis(peak);
        }
    }
    auto phases = nexus::require_class(stage, "phases", "NXcollection");
    for (std::size_t p = 0; p < result.model.phases.size(); ++p) {
        const auto& phase = result.phases.at(p);
        auto collection = nexus::require_class(phases, phase.name, "NXcollection");
        auto partial = nexus::require_data(collection, "pattern", "calculated", {"two_theta"});
        write_curve(partial, "calculated", r.partial.at(p));
        axis(partial);
        partial.set_attribute("title", phase.name);

        std::vector<double> position, intensity, spacing;
        std::vector<std::int32_t> hkl, multiplicity;
        for (const auto* line : lines_of(result, p)) {
            position.push_back(line->two_theta);
            intensity.push_back(line->intensity);
            spacing.push_back(line->d);
            hkl.insert(hkl.end(), line->hkl.begin(), line->hkl.end());
            multiplicity.push_back(line->multiplicity);
        }
        if (!position.empty()) {
            auto lines = nexus::require_data(collection, "lines", "intensity", {"two_theta"});
            write_curve(lines, "intensity", intensity);
            nexus::write_axis(lines, "two_theta", position, {"deg", "2theta"});
            nexus::write_axis(lines, "d", spacing, {"angstrom", "d"});
            lines.write_array("hkl", {multiplicity.size(), 3}, std::span<const std::int32_t>(hkl));
            lines.write_array("multiplicity", {multiplicity.size()},
                              std::span<const std::int32_t>(multiplicity));
            lines.set_attribute("title", phase.name + " lines");
        }
        auto numbers = nexus::require_class(collection, "results", "NXcollection");
        nexus::write_value(numbers, "weight_fraction", phase.weight_fraction);
        nexus::write_value(numbers, "weight_fraction_errors", phase.weight_fraction_esd);
        nexus::write_value(numbers, "scale", phase.scale);
        nexus::write_value(numbers, "scale_errors", phase.scale_esd);
        nexus::write_value(numbers, "r_bragg", phase.r_bragg);
        for (std::size_t i = 0; i < phase.cell.size(); ++i) {
            const std::string name(to_string(phase.cell_parameters[i]));
            const std::string unit =
                phase.cell_parameters[i] <= crystal::CellParameter::c ? "angstrom" : "deg";
            nexus::write_value(numbers, name, phase.cell[i], {unit, ""});
            nexus::write_value(numbers, name + "_errors", phase.cell_esd[i], {unit, ""});
        }
    }
}

void write_parameters(hdf5::Group& stage, const rietveld::RefinementResult& result) {
    const std::size_t n = result.parameters.size();
    if (n == 0)
        return;
    std::vector<std::string> names, units;
    std::vector<double> values, errors;
    std::vector<std::int32_t> at_bound;
    for (const auto& parameter : result.parameters) {
        names.push_back(parameter.name);
        units.push_back(parameter.unit);
        values.push_back(parameter.value);
        errors.push_back(parameter.esd);
        at_bound.push_back(parameter.at_bound ? 1 : 0);
    }
    auto table = nexus::require_class(stage, "parameters", "NXcollection");
    table.write_strings("name", names);
    table.write_strings("unit", units);
    table.write_array("value", {n}, std::span<const double>(values));
    table.write_array("value_errors", {n}, std::span<const double>(errors));
    table.write_array("at_bound", {n}, std::span<const std::int32_t>(at_bound));
    auto matrix = nexus::require_data(stage, "correlation", "correlation", {".", "."});
    matrix.write_array("correlation", {n, n}, std::span<const double>(result.correlation));
    matrix.write_strings("name", names);
}

void write_nexus(const PatternRefinement& r, const std::filesystem::path& path, bool force) {
    auto product = nexus::ProductFile::create(path, force ? nexus::ProductFile::Existing::replace
                                                          : nexus::ProductFile::Existing::refuse);
    {
        program::Provenance provenance;
        provenance.stage = "refinement";
        provenance.job = provenance.settings = r.job.resolved;
        provenance.inputs = r.inputs;
        provenance.date = nexus::now_utc();
        auto stage = write_provenance(product.root(), provenance, title_of(r));
        const auto& a = r.result.agreement;
        stage.write_string("status", std::string(to_string(r.result.status)));
        stage.write_string("message", r.result.message);
        stage.write_string("noise", r.errors);
        for (const auto& [name, value] : {std::pair{"rp", a.rp},
                                          {"rwp", a.rwp},
                                          {"rexp", a.rexp},
                                          {"gof", a.gof},
                                          {"chi_squared", a.chi_squared}})
            nexus::write_value(stage, name, value);
        auto entry = product.root().open_group("entry");
        auto instrument = nexus::require_class(entry, "instrument", "NXinstrument");
        auto beam = nexus::require_class(instrument, "beam", "NXbeam");
        nexus::write_value(beam, "incident_wavelength", r.result.model.wavelength.value,
                           {"angstrom", ""});
        write_parameters(stage, r.result);
        write_pattern_data(stage, r);
        write_timings(stage, r.timings);
    }
    product.commit();
}

std::vector<std::filesystem::path> draw(const PatternRefinement& r,
                                        const std::filesystem::path& stem, bool force) {
    report::PatternPicture picture;
    const auto centres = r.pattern.axis.two_theta();
    picture.axis = {std::vector<double>(centres.begin(), centres.end()), "two_theta", "deg"};
    picture.observed = r.pattern.intensity;
    picture.calculated = r.result.calculated;
    picture.background = r.result.background;
    picture.difference.resize(centres.size());
    for (std::size_t k = 0; k < centres.size(); ++k) {
        picture.difference[k] = r.fitted[k] - r.result.calculated[k];
        // What was not fitted must not look as if it had been.
        if (!std::isfinite(r.fitted[k]))
            picture.calculated[k] = picture.background[k] = nan_value;
    }
    picture.title = title_of(r);
    const auto& a = r.result.agreement;
    picture.subtitle = fmt::format("Rwp {}, Rexp {}, GoF {:.2f}, {}", percent(a.rwp),
                                   percent(a.rexp), a.gof, to_string(r.result.status));
    for (std::size_t p = 0; p < r.result.model.phases.size(); ++p) {
        report::PatternPicture::Ticks ticks{r.result.model.phases[p].name, {}};
        for (const auto* line : lines_of(r.result, p))
            ticks.positions.push_back(line->two_theta);
        picture.ticks.push_back(std::move(ticks));
    }
    report::PictureOptions options;
    options.force = force;
    return report::write_pattern_picture(picture, stem, options);
}

} // namespace

std::vector<StrongCorrelation> strong_correlations(const rietveld::RefinementResult& result) {
    std::vector<StrongCorrelation> list;
    const std::size_t n = result.parameters.size();
    for (std::size_t i = 0; i < n; ++i)
        for (std::size_t j = i + 1; j < n; ++j)
            if (const double r = result.correlation[i * n + j]; std::abs(r) > strong_correlation)
                list.push_back({result.parameters[i].name, result.parameters[j].name, r});
    std::stable_sort(list.begin(), list.end(), [](const auto& a, const auto& b) {
        return std::abs(a.value) > std::abs(b.value);
    });
    return list;
}

nlohmann::json to_json(const PatternRefinement& r) {
    using nlohmann::json;
    const auto& result = r.result;
    const auto& a = result.agreement;
    const auto centres = r.pattern.axis.two_theta();
    json out{{"program", "xrdct"},
             {"version", program_version},
             {"revision", revision()},
             {"date", nexus::now_utc()},
             {"title", title_of(r)},
             {"status", std::string(to_string(result.status))},
             {"message", result.message},
             {"notes", r.notes},
             {"iterations", result.iterations},
             {"esd_multiplied_by_gof", result.errors_scaled}};
    out["pattern"] = {{"file", r.pattern.path.string()},
                      {"format", r.pattern.format},
                      {"channels", centres.size()},
                      {"two_theta_deg", {centres.front(), centres.back()}},
                      {"wavelength_angstrom", r.pattern.axis.wavelength()},
                      {"errors", r.errors}};
    out["agreement"] = {{"rp", a.rp},
                        {"rwp", a.rwp},
                        {"rexp", a.rexp},
                        {"gof", a.gof},
                        {"chi_squared", a.chi_squared},
                        {"rwp_without_background", rwp_without_background(r)},
                        {"observations", a.observations},
                        {"parameters", a.parameters}};
    out["parameters"] = json::array();
    json names = json::array(), matrix = json::array();
    const std::size_t n = result.parameters.size();
    for (std::size_t i = 0; i < n; ++i) {
        const auto& parameter = result.parameters[i];
        out["parameters"].push_back(
            {{"name", parameter.name},
             {"value", parameter.value},
             {"esd", parameter.esd},
             {"unit", parameter.unit},
             {"at_bound", parameter.at_bound},
             {"text", report::format_with_uncertainty(parameter.value, parameter.esd)}});
        names.push_back(parameter.name);
        json row = json::array();
        for (std::size_t j = 0; j < n; ++j)
            row.push_back(result.correlation[i * n + j]);
        matrix.push_back(row);
    }
    out["correlation"] = {{"names", names}, {"matrix", matrix}, {"strong", json::array()}};
    for (const auto& pair : strong_correlations(result))
        out["correlation"]["strong"].push_back(
            {{"parameters", {pair.first, pair.second}}, {"value", pair.value}});
    out["phases"] = json::array();
    for (std::size_t p = 0; p < result.phases.size(); ++p) {
        const auto& phase = result.phases[p];
        const auto& structure = result.model.phases[p].phase;
        json entry{{"name", phase.name},
                   {"space_group", structure.space_group()},
                   {"significant", phase.significant},
                   {"scale", phase.scale},
                   {"scale_esd", phase.scale_esd},
                   {"weight_fraction", phase.weight_fraction},
                   {"weight_fraction_esd", phase.weight_fraction_esd},
                   {"r_bragg", phase.r_bragg},
                   {"volume", phase.unit_cell.volume()},
                   {"density", structure.cell_mass() / phase.unit_cell.volume() * 1.66053907},
                   {"lines", lines_of(result, p).size()}};
        for (std::size_t i = 0; i < phase.cell.size(); ++i) {
            const std::string name(to_string(phase.cell_parameters[i]));
            entry["cell"][name] = phase.cell[i];
            entry["cell_esd"][name] = phase.cell_esd[i];
        }
        out["phases"].push_back(entry);
    }
    out["peaks"] = json::array();
    for (const auto& peak : result.model.peaks)
        out["peaks"].push_back({{"name", peak.name},
                                {"position_deg", peak.position.value},
                                {"fwhm_deg", peak.fwhm.value},
                                {"mixing", peak.mixing.value},
                                {"area", peak.area.value}});
    out["job"] = r.job.resolved;
    out["inputs"] = r.inputs;
    for (const auto& [name, seconds] : r.timings.parts())
        out["seconds"][name] = seconds;
    return out;
}

std::string summary_text(const PatternRefinement& r) {
    const auto& result = r.result;
    const auto& a = result.agreement;
    const auto centres = r.pattern.axis.two_theta();
    std::string text = fmt::format(
        "{}: {} channels, {:.5g} to {:.5g} deg 2theta, wavelength {:.6g} angstrom\nerrors: {}\n\n",
        title_of(r), centres.size(), centres.front(), centres.back(), r.pattern.axis.wavelength(),
        r.errors);
    text += fmt::format("{} after {} iterations\n"
                        "Rp {}   Rwp {}   Rexp {}   GoF {:.3f}   ({} channels, {} parameters)\n",
                        to_string(result.status), result.iterations, percent(a.rp), percent(a.rwp),
                        percent(a.rexp), a.gof, a.observations, a.parameters);
    text += "\n" + padded("phase", 18) + padded("weight %", 14) + padded("R_Bragg", 10) + "cell\n";
    for (const auto& phase : result.phases) {
        const bool weighed = phase.weight_fraction_esd < 1 || phase.significant;
        std::string cell;
        for (std::size_t i = 0; i < phase.cell.size(); ++i)
            cell += fmt::format("{}{} {}", i > 0 ? "  " : "", to_string(phase.cell_parameters[i]),
                                report::format_with_uncertainty(phase.cell[i], phase.cell_esd[i]));
        text += padded(phase.name, 17) + " " +
                padded(weighed ? report::format_with_uncertainty(100 * phase.weight_fraction,
                                                                 100 * phase.weight_fraction_esd)
                               : "–",
                       14) +
                padded(percent(phase.r_bragg), 10) + cell +
                (phase.significant ? "" : "   (not significant)") + "\n";
    }
    text += "\n" + padded("parameter", 32) + padded("value(e.s.d.)", 26) + "unit\n";
    for (const auto& parameter : result.parameters)
        text += padded(parameter.name, 31) + " " +
                padded(report::format_with_uncertainty(parameter.value, parameter.esd) +
                           (parameter.at_bound          ? "  on its bound"
                            : std::isnan(parameter.esd) ? "  not determined"
                                                        : ""),
                       25) +
                " " + parameter.unit + "\n";
    text += result.errors_scaled ? "e.s.d. are of counting noise alone, multiplied by GoF\n"
                                 : "e.s.d. are of counting noise alone\n";
    const auto strong = strong_correlations(result);
    constexpr std::size_t most = 15;
    std::size_t shown = 0;
    for (const auto& pair : strong) {
        if (both_background(pair))
            continue;
        if (++shown > most)
            break;
        text += fmt::format("{}  {:+.3f}  {}, {}\n", shown == 1 ? "\nstrong correlations\n" : "",
                            pair.value, pair.first, pair.second);
    }
    if (shown > most)
        text += "  … more in rietveld.json\n";
    if (!result.message.empty())
        text += "\nnote: " + result.message + "\n";
    for (const auto& note : r.notes)
        text += "note: " + note + "\n";
    return text;
}

std::vector<std::filesystem::path> result_files(const std::filesystem::path& folder,
                                                bool pictures) {
    std::vector<std::filesystem::path> files{folder / "rietveld.json", folder / "rietveld.nxs"};
    if (pictures) {
        files.push_back(folder / "rietveld.png");
        files.push_back(folder / "rietveld.svg");
    }
    return files;
}

std::vector<std::filesystem::path> write_results(PatternRefinement& refinement, bool pictures,
                                                 bool force) {
    const auto& folder = refinement.job.output;
    std::error_code code;
    std::filesystem::create_directories(folder, code);
    if (code)
        throw Error(fmt::format("{}: {}", folder.string(), code.message()));
    std::vector<std::filesystem::path> files{folder / "rietveld.nxs"};
    write_nexus(refinement, files.front(), force);
    if (pictures) {
        try {
            const auto drawn = draw(refinement, folder / "rietveld", force);
            files.insert(files.end(), drawn.begin(), drawn.end());
        } catch (const Error& error) {
            refinement.notes.push_back(fmt::format("no picture: {}", error.what()));
        }
    }
    // Pictures of an earlier refinement must not stand beside these results.
    if (force && files.size() == 1)
        for (const auto* suffix : {".png", ".svg"})
            std::filesystem::remove(folder / (std::string("rietveld") + suffix), code);
    refinement.timings.lap("write");
    files.insert(files.begin(), folder / "rietveld.json");
    files::write_text_file(
        files.front(),
        to_json(refinement).dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
    return files;
}

} // namespace xrdct::pattern
