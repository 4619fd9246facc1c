// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/report/provenance_page.hpp"

#include "jobs/program/progress.hpp"
#include "jobs/report/labels.hpp"
#include "jobs/report/text.hpp"

#include <algorithm>
#include <map>
#include <utility>

namespace xrdct::report {

namespace {

void add_stage_table(HtmlPage& page, const Products& products) {
    std::vector<std::vector<std::string>> rows;
    for (const ProductStage& stage : products.stages) {
        const auto total = std::find_if(stage.timings.begin(), stage.timings.end(),
                                        [](const auto& t) { return t.first == "total"; });
        rows.push_back({escape_html(stage_title(stage.name)),
                        "<code>" + escape_html(stage.file.filename().string()) + "</code>",
                        escape_html(stage.program + " " + stage.version), escape_html(stage.date),
                        stage.ranks > 0 ? std::to_string(stage.ranks) : "–",
                        total != stage.timings.end()
                            ? escape_html(program::duration_text(total->second))
                            : "–"});
    }
    page.table("", {"Stage", "Product", "Program", "Date", "Ranks", "Time"}, rows);
}

} // namespace

void add_provenance(HtmlPage& page, const Products& products,
                    const std::vector<std::string>& notes) {
    page.section("Provenance");
    add_stage_table(page, products);
    page.subsection("Timings");
    std::vector<std::vector<std::string>> timings;
    for (const ProductStage& stage : products.stages)
        for (const auto& [part, seconds] : stage.timings)
            timings.push_back({escape_html(stage.name), escape_html(part),
                               escape_html(program::duration_text(seconds))});
    page.table("Wall-clock time of the slowest rank.", {"Stage", "part", "time"}, timings);

    std::map<std::string, std::string> inputs;
    for (const ProductStage& stage : products.stages)
        inputs.insert(stage.inputs.begin(), stage.inputs.end());
    if (!inputs.empty()) {
        page.subsection("Inputs");
        std::vector<std::vector<std::string>> rows;
        for (const auto& [file, checksum] : inputs)
            rows.push_back({"<code>" + escape_html(file) + "</code>",
                            "<code>" + escape_html(checksum) + "</code>"});
        page.table("", {"File", "SHA-256"}, rows);
    }
    std::vector<std::pair<std::string, std::string>>
        jobs; // stages that ran with the same job share its text
    for (const ProductStage& stage : products.stages) {
        if (stage.job.empty())
            continue;
        const auto same = std::find_if(jobs.begin(), jobs.end(),
                                       [&](const auto& j) { return j.second == stage.job; });
        if (same != jobs.end())
            same->first += ", " + stage.name;
        else
            jobs.emplace_back(stage.name, stage.job);
    }
    for (const auto& [names, text] : jobs) {
        page.subsection(jobs.size() == 1 ? "Job, resolved" : "Job, resolved (" + names + ")");
        page.preformatted(text);
    }
    page.subsection("Files");
    page.paragraph("The pictures of this page and those of all other maps, standard deviations "
                   "included, are in the folder "
                   "pictures as PNG and SVG; the statistics and radial profiles are in report.json "
                   "and report.csv, all numbers in the products named above.");
    if (!notes.empty())
        page.list(notes);
}

} // namespace xrdct::report
