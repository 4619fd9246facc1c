// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/condition/report.hpp"

#include "jobs/program/version.hpp"
#include "jobs/report/curve_picture.hpp"
#include "jobs/report/html.hpp"
#include "jobs/report/picture.hpp"
#include "jobs/report/text.hpp"
#include "mpi/files/text_file.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace xrdct::condition {

namespace {

report::MapPicture picture_of(const ConditionMap& map) {
    report::MapPicture picture;
    picture.title = map.title;
    picture.quantity = map.quantity;
    picture.values = map.values;
    picture.x = {map.translation, "translation", "mm"};
    picture.y = {map.rotation, "rotation", "deg"};
    return picture;
}

const ConditionMap* find(const Conditioner& conditioner, const std::string& name) {
    for (const auto& map : conditioner.maps())
        if (map.name == name)
            return &map;
    return nullptr;
}

/// Fills the page of a conditioned scan and makes its pictures.
class ConditionPage {
  public:
    ConditionPage(const ConditionJob& job, const ConditionInput& input,
                  const Conditioner& conditioner, const std::filesystem::path& folder)
        : job_(job), input_(input), conditioner_(conditioner), pictures_(folder / "pictures"),
          page_(job.title.empty() ? "Conditioned scan" : job.title,
                fmt::format("xrdct {} condition, {}", program_version,
                            job.input.file.filename().string())) {
        options_.force = true;
        std::filesystem::create_directories(pictures_);
    }

    std::string text() {
        if (!conditioner_.warnings().empty() || !input_.notes.empty()) {
            page_.section("To be looked at");
            for (const auto& warning : conditioner_.warnings())
                page_.note(warning);
            page_.list(input_.notes);
        }
        page_.section("Steps");
        std::vector<std::vector<std::string>> rows;
        for (const auto& step : conditioner_.steps())
            rows.push_back({report::escape_html(step.name), report::escape_html(step.state),
                            report::escape_html(step.text)});
        page_.table("Every step, whether it was asked for or not.", {"step", "outcome", "what"},
                    rows);
        page_.section("Before and after");
        add_steps();
        if (const auto* map = find(conditioner_, "written"); map && map->rotation.size() > 1)
            add_axis(map);
        page_.section("Mean pattern");
        add_patterns();
        page_.section("Numbers");
        for (const auto& step : conditioner_.steps())
            if (!step.details.empty()) {
                page_.subsection(step.name);
                page_.json(step.details.dump());
            }
        page_.section("Settings");
        page_.preformatted(job_.resolved);
        return page_.str();
    }

    std::vector<std::filesystem::path> take_files() { return std::move(files_); }

  private:
    std::filesystem::path keep(const std::vector<std::filesystem::path>& written) {
        files_.insert(files_.end(), written.begin(), written.end());
        return written.front();
    }

    /// Maps side by side with one range; nothing where there are none of these names.
    void figure(const std::vector<const char*>& names, const std::string& stem,
                const std::string& title, const std::string& caption) {
        std::vector<report::MapPicture> panels;
        std::vector<double> all;
        for (const char* name : names)
            if (const auto* map = find(conditioner_, name)) {
                panels.push_back(picture_of(*map));
                all.insert(all.end(), map->values.begin(), map->values.end());
            }
        if (panels.empty())
            return;
        const auto range = report::robust_range(all);
        for (auto& panel : panels)
            panel.range = range;
        const report::MapRow row{panels, true, 0};
        const auto png = keep(
            report::write_map_rows({&row, 1}, title, pictures_ / ("condition-" + stem), options_));
        page_.figure({png, caption});
    }

    /// What every step did to the sinogram.
    void add_steps() {
        const std::string mean = "Mean over the channels of every point, rotation [deg] upwards. ";
        figure({"recorded", "written"}, "whole", "whole chain",
               mean + "As recorded and as written.");
        if (find(conditioner_, "normalised"))
            figure({"recorded", "normalised"}, "flux", "monitor and exposure",
                   mean + "Before and after division by monitor or exposure.");
        if (find(conditioner_, "arranged"))
            figure({find(conditioner_, "normalised") ? "normalised" : "recorded", "arranged"},
                   "arranged", "zigzag and lag",
                   mean + "Before and after lines were turned and moved.");
        if (find(conditioner_, "air_subtracted"))
            figure({find(conditioner_, "arranged")     ? "arranged"
                    : find(conditioner_, "normalised") ? "normalised"
                                                       : "recorded",
                    "air_subtracted"},
                   "air", "air scatter", mean + "Before and after air scatter was subtracted.");
        figure({"spots"}, "spots", "spots",
               "Sum over the channels of what spots exceed their neighbours by.");
        if (find(conditioner_, "after_spots"))
            figure({find(conditioner_, "before_spots") ? "before_spots" : "air_subtracted",
                    "after_spots"},
                   "spots-treated", "spots", mean + "Before and after the spots were treated.");
        figure({"before_stripes", "after_stripes"}, "stripes", "stripes",
               mean + "Before and after stripes were taken out.");
        figure({"before_scaling", "after_scaling"}, "scaling", "scaling of projections",
               mean + "Before and after all projections were brought to one total.");
    }

    /// The first projection of the written map and the one nearest to half a turn from it, mirrored
    /// about the axis.
    void add_axis(const ConditionMap* map) {
        std::size_t opposite = 0;
        const auto off = [&](std::size_t i) {
            return std::abs(std::abs(map->rotation[i] - map->rotation[0]) - 180);
        };
        for (std::size_t i = 1; i < map->rotation.size(); ++i)
            if (off(i) < off(opposite))
                opposite = i;
        const std::size_t n = map->translation.size();
        const double centre = job_.centre ? 0 : conditioner_.axis();
        report::CurvePicture::Panel panel;
        panel.quantity = "intensity";
        for (const std::size_t i : {std::size_t{0}, opposite}) {
            report::CurvePicture::Series series;
            series.name = fmt::format("{:.4g}°{}", map->rotation[i], i > 0 ? ", mirrored" : "");
            for (std::size_t t = 0; t < n; ++t) {
                series.x.push_back(i > 0 ? 2 * centre - map->translation[t] : map->translation[t]);
                series.y.push_back(map->values[i * n + t]);
            }
            if (series.x.front() > series.x.back()) {
                std::ranges::reverse(series.x);
                std::ranges::reverse(series.y);
            }
            panel.series.push_back(std::move(series));
        }
        report::CurvePicture picture;
        picture.title = "rotation axis";
        picture.x_label = "translation";
        picture.x_units = "mm";
        picture.panels.push_back(std::move(panel));
        page_.figure(
            {keep(report::write_curve_picture(picture, pictures_ / "condition-axis", options_)),
             "Mean over the channels of two projections half a turn apart (or as near to it "
             "as the scan has them), the second one mirrored about the axis: they coincide "
             "where the axis is right and the sample does not absorb."});
    }

    void add_patterns() {
        const auto& before = conditioner_.mean_before();
        const auto curve = [&](const std::string& name, const std::vector<double>& x,
                               const std::vector<double>& y) {
            report::CurvePicture::Panel panel;
            panel.name = name;
            panel.quantity = "intensity";
            panel.series.push_back({name, x, y, {}});
            return panel;
        };
        report::CurvePicture patterns;
        patterns.title = "mean pattern";
        patterns.x_label = "2θ";
        patterns.x_units = "deg";
        patterns.panels.push_back(curve("as recorded", input_.two_theta, before));
        if (!conditioner_.air().empty())
            patterns.panels.push_back(curve("air scatter", input_.two_theta, conditioner_.air()));
        patterns.panels.push_back(
            curve("as written", conditioner_.two_theta(), conditioner_.mean_after()));
        page_.figure({keep(report::write_curve_picture(patterns, pictures_ / "condition-patterns",
                                                       options_)),
                      "Mean over all points. Dead channels are gaps in the lower curve."});
    }

    const ConditionJob& job_;
    const ConditionInput& input_;
    const Conditioner& conditioner_;
    std::filesystem::path pictures_;
    report::HtmlPage page_;
    report::PictureOptions options_;
    std::vector<std::filesystem::path> files_;
};

} // namespace

std::vector<std::filesystem::path> condition_report_targets(const std::filesystem::path& folder) {
    return {folder / "condition.html", folder / "condition.json"};
}

std::vector<std::filesystem::path> write_condition_report(const ConditionJob& job,
                                                          const ConditionInput& input,
                                                          const Conditioner& conditioner,
                                                          const std::filesystem::path& folder) {
    ConditionPage page(job, input, conditioner, folder);
    files::write_text_file(folder / "condition.html", page.text());
    auto files = page.take_files();
    files.push_back(folder / "condition.html");
    return files;
}

} // namespace xrdct::condition
