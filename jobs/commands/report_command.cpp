// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/commands/commands.hpp"

#include "jobs/program/command_line.hpp"
#include "jobs/program/program.hpp"
#include "jobs/report/report.hpp"

#include <cstdio>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace xrdct::commands {

int command_report(const std::vector<std::string>& arguments) {
    program::CommandLine line("report", "make pictures and an HTML page from the products of a job",
                              "FOLDER [options]", "xrdct report results");
    line.flag("force", "replace a report that exists");
    line.flag("shared-ranges",
              "one colour range per quantity for all phases (default: one per map)");
    line.flag("errors", "show the maps of the standard deviations in the page, too");
    line.optional<std::string>(
        "stage", "NAME",
        "stage whose numbers make the summary, such as rietveld (default: the last with maps of "
        "phases; dlsr where it was run)");
    line.optional<std::string>(
        "lithium", "FILE",
        "TOML file with [[lithium]] tables (lattice values in angstrom or angstrom^3), or a job "
        "with them (default: those of the job that made the products)");
    line.flag("json", "print the files made as JSON");
    line.positional("folder", program::CommandLine::Need::required);
    if (!line.parse(arguments))
        return 0;
    report::ReportOptions options;
    options.force = line.has("force");
    options.shared_ranges = line.has("shared-ranges");
    options.errors_in_page = line.has("errors");
    if (line.has("stage"))
        options.stage = line.get<std::string>("stage");
    if (line.has("lithium"))
        options.lithium = line.get<std::string>("lithium");
    const auto result = make_report(line.get<std::string>("folder"), options);
    for (const auto& note : result.notes)
        fmt::print(stderr, "note: {}\n", note);
    if (line.has("json")) {
        nlohmann::json json{{"page", result.page.string()}, {"files", nlohmann::json::array()}};
        for (const auto& file : result.files)
            json["files"].push_back(file.string());
        fmt::print("{}\n", json.dump(1));
    } else {
        fmt::print(stderr, "{} files; open {}\n", result.files.size(), result.page.string());
    }
    return 0;
}

} // namespace xrdct::commands
