// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/commands/commands.hpp"

#include "base/error.hpp"
#include "base/text.hpp"
#include "jobs/compare/comparison.hpp"
#include "jobs/compare/output.hpp"
#include "jobs/compare/truth.hpp"
#include "jobs/pipeline/registry.hpp"
#include "jobs/program/command_line.hpp"
#include "jobs/program/program.hpp"
#include "jobs/report/gnuplot.hpp"
#include "mpi/nexus/nexus.hpp"

#include <cmath>
#include <cstdio>
#include <fstream>
#include <functional>
#include <string_view>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace xrdct::commands {

namespace fs = std::filesystem;

namespace {

double read_number(const std::string& text, const std::string& option, const std::string& whole) {
    if (const auto value = finite_number(text))
        return *value;
    throw Error(fmt::format("{}: '{}' in '{}' is not a number", option, text, whole));
}

/// "NAME=…": the name and what follows it.
std::pair<std::string, std::string> split_name(const std::string& text, const std::string& option,
                                               const char* form) {
    const std::size_t at = text.rfind('=');
    if (at == std::string::npos || at == 0)
        throw Error(fmt::format("{}: '{}' is not of the form {}", option, text, form));
    return {text.substr(0, at), text.substr(at + 1)};
}

void write_text(const fs::path& path, const std::string& text) {
    std::ofstream out(path, std::ios::binary);
    out << text;
    out.close();
    if (!out)
        throw Error(fmt::format("{}: cannot be written (is the disk full?)", path.string()));
}

nlohmann::ordered_json settings_of(const compare::Comparison& c,
                                   const compare::CompareOptions& options) {
    nlohmann::ordered_json json{{"reference", c.cells.front().label},
                                {"stage", c.cells.front().stage},
                                {"align", options.align},
                                {"try_mirrored", options.try_mirrored},
                                {"pixel_mm", c.grid.pixel},
                                {"angles_deg", options.angles},
                                {"shifts_mm", options.shifts}};
    json["inputs"] = nlohmann::ordered_json::object();
    for (const auto& cell : c.cells)
        json["inputs"][cell.label] = cell.path.string();
    return json;
}

/// The output folder; removed again if it was made here and nothing came of it.
class OutputFolder {
  public:
    explicit OutputFolder(fs::path path) : path_(std::move(path)) {
        std::error_code error;
        made_ = fs::create_directories(path_, error);
        if (error)
            throw Error(
                fmt::format("{}: the folder cannot be made: {}", path_.string(), error.message()));
    }
    ~OutputFolder() {
        std::error_code ignored;
        if (made_ && fs::is_empty(path_, ignored))
            fs::remove(path_, ignored);
    }
    OutputFolder(const OutputFolder&) = delete;
    OutputFolder& operator=(const OutputFolder&) = delete;

  private:
    fs::path path_;
    bool made_ = false;
};

/// What the command line says.
struct CompareWords {
    std::string output, stage, truth, reference;
    std::vector<std::string> inputs, labels, angles, shifts;
    double pixel = 0;
};

compare::CompareOptions options_of(const program::CommandLine& line, const CompareWords& words) {
    compare::CompareOptions options;
    options.reference = words.reference;
    options.align = !line.has("no-align");
    options.try_mirrored = line.has("mirror");
    options.pixel = words.pixel;
    if (line.has("pixel") && !(words.pixel > 0 && std::isfinite(words.pixel)))
        throw Error(fmt::format("--pixel: {} is not a positive length in mm", words.pixel));
    for (const auto& text : words.angles) {
        const auto [name, value] = split_name(text, "--angle", "NAME=degrees");
        options.angles[name] = read_number(value, "--angle", text);
    }
    for (const auto& text : words.shifts) {
        const auto [name, value] = split_name(text, "--shift", "NAME=x,y in mm");
        const std::size_t comma = value.find(',');
        if (comma == std::string::npos)
            throw Error(fmt::format("--shift: '{}' is not of the form NAME=x,y in mm", text));
        options.shifts[name] = {read_number(value.substr(0, comma), "--shift", text),
                                read_number(value.substr(comma + 1), "--shift", text)};
    }
    if (!options.align && (!words.angles.empty() || !words.shifts.empty() || options.try_mirrored))
        throw Error("--no-align excludes --angle, --shift and --mirror");
    return options;
}

void print_registrations(const compare::Comparison& comparison) {
    for (std::size_t k = 1; k < comparison.cells.size(); ++k)
        if (const auto& r = comparison.aligned[k].registration)
            fmt::print(stderr,
                       "{}: turned by {:.2f}({:.2f})°, shifted by {:.4f}, {:.4f} mm; correlation "
                       "{:.4f}\n",
                       comparison.cells[k].label, r->transform.angle, r->uncertainty[0],
                       r->transform.shift_x, r->transform.shift_y, r->correlation);
}

/// Moves finished files from the working folder into the output folder.
void put_in_place(const std::vector<fs::path>& files, const fs::path& work,
                  const fs::path& folder) {
    std::error_code error;
    fs::create_directories(folder / "pictures", error);
    for (const auto& file : files) {
        if (!error)
            fs::rename(work / file, folder / file, error);
        if (error)
            throw Error(fmt::format("{}: cannot be put in place: {}", (folder / file).string(),
                                    error.message()));
    }
}

/// Prints the errors of results against the truth of a simulation.
int compare_with_truth(const program::CommandLine& line, const CompareWords& words) {
    for (const char* option :
         {"output", "label", "reference", "pixel", "angle", "shift", "mirror", "no-align", "force"})
        if (line.has(option) &&
            (std::string_view(option) != "label" || !line.texts("label").empty()))
            throw Error(fmt::format("--truth prints errors and excludes --{}", option));
    if (words.inputs.empty())
        throw Error("--truth: no results are given to compare with it");
    const compare::Cell truth = compare::read_result(words.truth, "");
    if (truth.stage != "truth")
        throw Error(fmt::format("--truth: {} holds the stage {}, not the truth of a simulation",
                                words.truth, truth.stage));
    std::vector<compare::Cell> results;
    std::vector<compare::TruthErrors> errors;
    for (const auto& input : words.inputs) {
        results.push_back(compare::read_result(input, words.stage));
        errors.push_back(compare::errors_against(truth, results.back()));
    }
    if (line.has("json")) {
        fmt::print("{}", compare::truth_json(truth, results, errors));
        return 0;
    }
    for (std::size_t k = 0; k < results.size(); ++k)
        fmt::print("{}{}", k == 0 ? "" : "\n", compare::truth_table(results[k], errors[k]));
    return 0;
}

void declare_compare(program::CommandLine& line, CompareWords& words) {
    line.optional("output", words.output, "FOLDER",
                  "folder for comparison.html, .nxs, .json, .csv and pictures/");
    line.optional("truth", words.truth, "FILE",
                  "truth.nxs of xrdct simulate: print the errors of amounts, cells, sizes and "
                  "microstrains of the results against it, and make no files");
    line.list("label", words.labels, "NAME",
              "name of a cell, once for each in their order (default: the folders' names)");
    line.optional("reference", words.reference, "NAME",
                  "the cell the others are aligned to and subtracted from (default: the first)");
    line.optional("stage", words.stage, "NAME",
                  "stage whose maps are compared (default: the last that all have)");
    line.optional("pixel", words.pixel, "mm",
                  "pixel of the compared maps (default: the coarsest of the inputs)");
    line.list("angle", words.angles, "NAME=deg",
              "the cell is turned counter-clockwise by this against the reference; not searched");
    line.list("shift", words.shifts, "NAME=x,y", "and moved by this, mm; not searched");
    line.flag("mirror", "search mirrored orientations, too");
    line.flag("no-align", "take the maps as they lie in their scans");
    line.flag("force", "replace files that exist");
    line.flag("json", "print comparison.json on stdout");
    line.positionals("inputs", words.inputs);
}

void print_notes(const compare::Comparison& comparison, bool stage_given) {
    const std::string& compared = comparison.cells.front().stage;
    fmt::print(stderr, "maps of the stage {}\n", compared);
    const auto improves = [&](const pipeline::Stage* one) { return one->improves() == compared; };
    for (const auto* finer : pipeline::stages())
        for (const auto& cell : comparison.cells)
            if (!stage_given && improves(finer) && fs::exists(cell.path / (finer->name() + ".nxs")))
                fmt::print(stderr,
                           "note: {} has maps of the stage {}, which not all have; they are not "
                           "compared\n",
                           cell.label, finer->name());
    for (const auto& note : comparison.notes)
        fmt::print(stderr, "note: {}\n", note);
}

/// Makes all files in the folder; returns how many there are. `refuse_existing` throws for a path
/// that must not be replaced.
std::size_t write_files(const compare::Comparison& comparison, const compare::Settings& settings,
                        const std::string& json, const fs::path& folder,
                        const std::function<void(const fs::path&)>& refuse_existing) {
    const OutputFolder made(folder);
    const report::TemporaryFolder work(folder, "compare");
    auto files = make_page(comparison, settings, work.path());
    write_text(work.path() / "comparison.json", json);
    write_text(work.path() / "comparison.csv", comparison_csv(comparison));
    files.insert(files.end() - 1, {"comparison.json", "comparison.csv"});
    write_comparison(comparison, settings, work.path() / "comparison.nxs", false);
    files.insert(files.end() - 1, "comparison.nxs");
    for (const auto& file : files)
        refuse_existing(folder / file);
    put_in_place(files, work.path(), folder);
    return files.size();
}

} // namespace

int command_compare(const std::vector<std::string>& arguments) {
    CompareWords words;
    program::CommandLine line(
        "compare", "align the maps of several cells and show them side by side",
        "RESULTS RESULTS [RESULTS …] --output FOLDER [options], or RESULTS --truth FILE [--json]",
        "xrdct compare cell-1/results cell-2/results --label pristine --label charged --output "
        "compared");
    declare_compare(line, words);
    if (!line.parse(arguments))
        return 0;

    if (line.has("truth"))
        return compare_with_truth(line, words);
    if (!line.has("output"))
        throw Error("--output is missing: the folder for the comparison");
    const auto options = options_of(line, words);
    const bool force = line.has("force");
    const fs::path folder = words.output;
    if (fs::exists(folder) && !fs::is_directory(folder))
        throw Error(fmt::format("{}: is not a folder", folder.string()));
    const auto refuse_existing = [&](const fs::path& path) {
        if (!force && fs::exists(fs::symlink_status(path)))
            throw Error(fmt::format("{} exists; --force replaces it", path.string()));
    };
    for (const char* name :
         {"comparison.html", "comparison.nxs", "comparison.json", "comparison.csv"})
        refuse_existing(folder / name);

    const std::vector<fs::path> paths(words.inputs.begin(), words.inputs.end());
    const compare::Comparison comparison =
        compare::compare_cells(compare::read_cells(paths, words.labels, words.stage), options);
    print_registrations(comparison);
    print_notes(comparison, !words.stage.empty());

    compare::Settings settings;
    settings.command = "xrdct compare";
    for (const auto& argument : arguments)
        settings.command += " " + argument;
    settings.date = nexus::now_utc();
    settings.json = settings_of(comparison, options).dump(1);

    const std::string json = comparison_json(comparison, settings);
    const std::size_t files = write_files(comparison, settings, json, folder, refuse_existing);
    if (line.has("json"))
        fmt::print("{}", json);
    else
        fmt::print(stderr, "{} files; open {}\n", files, (folder / "comparison.html").string());
    return 0;
}

} // namespace xrdct::commands
