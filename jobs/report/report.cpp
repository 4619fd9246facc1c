// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/report/report.hpp"

#include "base/error.hpp"
#include "jobs/report/gnuplot.hpp"
#include "jobs/report/report_page.hpp"
#include "jobs/report/report_plan.hpp"

#include <fmt/format.h>

#include <array>
#include <fstream>

namespace xrdct::report {

namespace fs = std::filesystem;

namespace {

void put_in_place(const fs::path& from, const fs::path& to) {
    std::error_code error;
    fs::rename(from, to, error);
    if (error)
        throw Error(fmt::format("{}: cannot be put in place: {}", to.string(), error.message()));
}

} // namespace

ReportResult make_report(const fs::path& folder, const ReportOptions& options) {
    ReportResult result;
    result.page = folder / "report.html";
    const auto refuse_existing = [&](const fs::path& path) {
        if (!options.force && fs::exists(fs::symlink_status(path)))
            throw Error(fmt::format("{}: exists already; use --force to overwrite the report",
                                    path.string()));
    };
    const fs::path json = folder / "report.json", csv = folder / "report.csv";
    for (const fs::path& path : {result.page, json, csv})
        refuse_existing(path);
    const ReportPlan plan(folder, options);
    const fs::path pictures = folder / "pictures";
    static constexpr std::array suffixes{".png", ".svg"};
    for (const DrawingTask& task : plan.tasks())
        for (const char* suffix : suffixes)
            refuse_existing(pictures / (task.stem + suffix));

    const TemporaryFolder work(folder, "report");
    const fs::path drawn = work.path() / "pictures";
    fs::create_directory(drawn);
    draw_all(plan.tasks(), drawn, options.processes);
    const auto write = [&](const fs::path& target, const std::string& text) {
        std::ofstream out(work.path() / target.filename(), std::ios::binary);
        out << text;
        out.close();
        if (!out)
            throw Error(fmt::format("{}: cannot be written (is the disk full?)", target.string()));
    };
    write(json, analysis_json(plan.analysis(), plan.products().title));
    write(csv, analysis_csv(plan.analysis()));
    write(result.page, report_page(plan, options, folder, drawn));
    if (plan.has_new_analysis()) {
        result.files.push_back(folder / analysis_file);
        write_analysis(plan.analysis(), plan.products(), plan.lithium(), result.files.back());
    }
    std::error_code error;
    if (!plan.tasks().empty())
        fs::create_directories(pictures, error);
    if (error)
        throw Error(fmt::format("{}: cannot be made: {}", pictures.string(), error.message()));
    for (const DrawingTask& task : plan.tasks())
        for (const char* suffix : suffixes) {
            const fs::path target = pictures / (task.stem + suffix);
            put_in_place(drawn / (task.stem + suffix), target);
            result.files.push_back(target);
        }
    for (const fs::path& path : {json, csv, result.page}) {
        put_in_place(work.path() / path.filename(), path);
        result.files.push_back(path);
    }
    result.notes = plan.products().notes;
    result.notes.insert(result.notes.end(), plan.notes().begin(), plan.notes().end());
    return result;
}

} // namespace xrdct::report
