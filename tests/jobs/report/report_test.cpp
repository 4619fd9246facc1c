// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/report/report.hpp"

#include "base/error.hpp"
#include "jobs/report/products.hpp"
#include "mpi/hdf5/hdf5.hpp"
#include "mpi/nexus/nexus.hpp"
#include "support/temporary_directory.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <mpi.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <functional>
#include <iterator>
#include <set>
#include <string>
#include <vector>

namespace xrdct {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::ThrowsMessage;

const double nan = std::nan("");
constexpr std::size_t n = 12;

std::string text_of(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

std::size_t occurrences(const std::string& text, const std::string& word) {
    std::size_t count = 0;
    for (std::size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1))
        ++count;
    return count;
}

std::set<std::string> names_in(const fs::path& folder) {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder))
        names.insert(entry.path().filename().string());
    return names;
}

/// The first tag that is closed without being open or left open, empty when all match.
std::string unbalanced_tag(const std::string& html) {
    static const std::set<std::string> single{"meta", "img", "br", "!DOCTYPE"};
    std::vector<std::string> open;
    for (std::size_t at = html.find('<'); at != std::string::npos; at = html.find('<', at + 1)) {
        const bool closing = html[at + 1] == '/';
        const std::size_t begin = at + 1 + closing, end = html.find_first_of(" >", begin);
        const std::string name = html.substr(begin, end - begin);
        if (single.contains(name))
            continue;
        if (!closing)
            open.push_back(name);
        else if (open.empty() || open.back() != name)
            return name;
        else
            open.pop_back();
    }
    return open.empty() ? "" : open.back();
}

class ReportOfProducts : public ::testing::Test {
  protected:
    test::TemporaryDirectory folder_;

    using Fill = std::function<void(hdf5::Group& stage)>;

    void write_product(const std::string& stage, const Fill& fill, const std::string& title = "") {
        auto file = hdf5::File::open(folder_ / (stage + ".nxs"), hdf5::Access::create);
        auto root = file.root();
        nexus::write_root(root, "9.8.7", "abc", nexus::now_utc());
        auto entry = nexus::require_class(root, "entry", "NXentry");
        if (!title.empty())
            entry.write_string("title", title);
        auto group = nexus::require_class(entry, stage, "NXprocess");
        group.write_string("program", "xrdct");
        group.write_string("version", "9.8.7");
        group.write_string("date", "2031-02-03T04:05:06Z");
        group.write_string("job", "[input]\nfile = \"scan.nxs\" # <script>alert('job')</script>\n");
        group.write_string("inputs", R"({"/data/scan.nxs": "0123abcd"})");
        group.write_scalar("ranks", std::int64_t{3});
        auto timings = nexus::require_class(group, "timings", "NXcollection");
        nexus::write_value(timings, "total", 75.0, {"s", ""});
        nexus::write_value(timings, "compute", 61.0, {"s", ""});
        fill(group);
    }

    static std::vector<double> map_values(const std::function<double(double, double)>& f) {
        std::vector<double> values;
        for (std::size_t j = 0; j < n; ++j)
            for (std::size_t i = 0; i < n; ++i) {
                const double x = static_cast<double>(i) - 5.5, y = static_cast<double>(j) - 5.5;
                values.push_back(std::hypot(x, y) < 5.5 ? f(x, y) : nan);
            }
        return values;
    }

    static void write_axes(hdf5::Group& group) {
        std::vector<double> axis;
        for (std::size_t i = 0; i < n; ++i)
            axis.push_back(0.1 * static_cast<double>(i));
        nexus::write_axis(group, "x", axis, {"mm", "x"});
        nexus::write_axis(group, "y", axis, {"mm", "y"});
    }

    void write_fbp() {
        write_product("fbp", [&](hdf5::Group& stage) {
            auto total = nexus::require_data(stage, "total", "total", {"y", "x"});
            nexus::write_map(total, "total", map_values([](double x, double y) { return x + y; }),
                             n, n, {"intensity/mm", ""});
            write_axes(total);
            auto curve = nexus::require_data(stage, "progress", "residual", {"step"});
            curve.write_array("residual", {2}, std::span<const double>(std::vector<double>(2)));
            auto volume =
                nexus::require_data(stage, "volume", "intensity", {"y", "x", "two_theta"});
            volume.write_array("intensity", {2, 2, 3},
                               std::span<const float>(std::vector<float>(12)));
        });
    }

    void write_rietveld(const std::string& phase = "NMC532 (P)") {
        write_product(
            "rietveld",
            [&](hdf5::Group& stage) {
                stage.write_string(
                    "start_model",
                    R"({"rwp": 0.0421, "phases": [{"name": "Cu"}, {"name": "NMC <1>", "a": 2.86514, "a_esd": 0.0012}],
                    "parameters": [{"name": "NMC <1> size", "value": 416.3, "esd": 21.0, "unit": "angstrom"},
                                   {"name": "zero shift", "value": -0.00123, "esd": 0.0004, "unit": "deg"}]})");
                const auto phase_group = [&](const std::string& name, double fraction) {
                    auto group = nexus::require_data(stage, name, "weight_fraction", {"y", "x"});
                    const auto weights = map_values([&](double, double) { return fraction; });
                    const auto cell =
                        map_values([](double x, double) { return x > 0 ? 14.3 : 14.2; });
                    nexus::write_map(group, "weight_fraction", weights, n, n);
                    nexus::write_map(group, "c", cell,
                                     map_values([](double, double) { return 0.004; }), n, n,
                                     {"angstrom", ""});
                    nexus::write_map(group, "b", map_values([](double, double) { return 3.61; }), n,
                                     n, {"angstrom", ""});
                    write_axes(group);
                };
                phase_group(phase, 0.75);
                phase_group("Cu", 0.25);
                auto maps = nexus::require_data(stage, "maps", "rwp", {"y", "x"});
                nexus::write_map(maps, "rwp",
                                 map_values([](double x, double) { return 0.05 + 0.001 * x; }), n,
                                 n);
                std::vector<std::int32_t> status(n * n, 0), mask(n * n, 0);
                std::size_t inside = 0;
                const auto all = map_values([](double, double) { return 1.0; });
                for (std::size_t i = 0; i < n * n; ++i)
                    if (std::isfinite(all[i])) {
                        mask[i] = 1;
                        status[i] = inside++ < 7 ? 3 : 0;
                    }
                nexus::write_map(maps, "status", std::span<const std::int32_t>(status), n, n);
                maps.open_dataset("status").set_attribute("meanings",
                                                          "0 converged, 3 <not> converged");
                nexus::write_map(maps, "mask", std::span<const std::int32_t>(mask), n, n);
                write_axes(maps);
                auto pattern =
                    nexus::require_data(stage, "mean_pattern", "observed", {"two_theta"});
                std::vector<double> two_theta, intensity;
                for (int k = 0; k < 50; ++k) {
                    two_theta.push_back(1.0 + 0.1 * k);
                    intensity.push_back(100.0 + k % 7);
                }
                nexus::write_axis(pattern, "two_theta", two_theta, {"deg", ""});
                pattern.write_array("observed", {50}, std::span<const double>(intensity));
                pattern.write_array("calculated", {50}, std::span<const double>(intensity));
                pattern.write_array("ticks_" + phase, {2},
                                    std::span<const double>(two_theta).first(2));
                pattern.write_array("ticks_Cu", {1}, std::span<const double>(two_theta).first(1));
                pattern.set_attribute("rwp", 0.0421);
            },
            "Cell <7> & \"friends\"");
    }
};

TEST_F(ReportOfProducts, IsOneSelfContainedPageAndPictures) {
    write_fbp();
    write_rietveld();
    const report::ReportResult result = report::make_report(folder_.path());
    EXPECT_EQ(result.page, folder_ / "report.html");
    EXPECT_EQ(result.files.back(), result.page);
    for (const fs::path& file : result.files)
        EXPECT_GT(fs::file_size(file), 500U) << file;
    EXPECT_EQ(names_in(folder_.path()),
              (std::set<std::string>{"analysis.nxs", "fbp.nxs", "rietveld.nxs", "pictures",
                                     "report.html", "report.json", "report.csv"}));
    const auto pictures = names_in(folder_ / "pictures");
    EXPECT_EQ(pictures.size() + 4, result.files.size());
    for (const std::string name :
         {"fbp_total", "rietveld_NMC532_P_weight_fraction", "rietveld_NMC532_P_c",
          "rietveld_NMC532_P_c_errors", "rietveld_NMC532_P_c_histogram", "rietveld_Cu_b",
          "rietveld_profile_c", "fbp_progress", "rietveld_rwp", "rietveld_status",
          "rietveld_mean_pattern", "rietveld_overview_weight_fraction", "rietveld_overview_cells"})
        for (const char* suffix : {".png", ".svg"})
            EXPECT_THAT(pictures, Contains(name + suffix));

    const std::string page = text_of(result.page);
    EXPECT_EQ(unbalanced_tag(
                  page.substr(page.find("<body>"), page.rfind("</html>") - page.find("<body>"))),
              "");
    EXPECT_THAT(page, HasSubstr("Cell &lt;7&gt; &amp; &quot;friends&quot;"));
    EXPECT_THAT(page, HasSubstr("&lt;script&gt;alert(&#39;job&#39;)"));
    for (const char* forbidden : {"<script", "http://", "https://", "<link", "@import", "url("})
        EXPECT_THAT(page, Not(HasSubstr(forbidden)));
    EXPECT_EQ(occurrences(page, "src="), occurrences(page, "src=\"data:image/png;base64,"));
    EXPECT_GE(occurrences(page, "<img"), 10U);
    for (const char* wanted : {"9.8.7", "2031-02-03T04:05:06Z", "0123abcd", "/data/scan.nxs",
                               "1 min 15 s", "crystalline part", "&lt;not&gt; converged",
                               "2.8651(12)", "4.21 %", "NMC &lt;1&gt;", "crystallite size [Å]",
                               "416(21)", "<th scope=\"row\">zero shift</th><td>−0.0012(4)</td>"})
        EXPECT_THAT(page, HasSubstr(wanted));
    EXPECT_TRUE(result.notes.empty());
    // Every figure has its number, once and in order.
    for (std::size_t k = 1; k <= occurrences(page, "<img"); ++k)
        EXPECT_EQ(occurrences(page, "<b>Figure " + std::to_string(k) + ".</b>"), 1U) << k;
    int initialised = 1;
    MPI_Initialized(&initialised);
    EXPECT_FALSE(initialised);
}

TEST_F(ReportOfProducts, NumbersInTheTablesAreRight) {
    write_rietveld();
    const std::string page = text_of(report::make_report(folder_.path()).page);
    // c is 14.3 in one half, 14.2 in the other: mean 14.25, spread 0.05; b is uniform.
    EXPECT_THAT(page, HasSubstr("14.250 ± 0.050"));
    EXPECT_THAT(page, HasSubstr("b = 3.61 Å"));
    const auto disc = map_values([](double, double) { return 1.0; });
    const auto inside = static_cast<std::size_t>(
        std::count_if(disc.begin(), disc.end(), [](double v) { return std::isfinite(v); }));
    EXPECT_THAT(page, HasSubstr("<th scope=\"row\">converged</th><td>" +
                                std::to_string(inside - 7) + "</td>"))
        << "only voxels of the mask count";
    EXPECT_THAT(page, HasSubstr("<th scope=\"row\">&lt;not&gt; converged</th><td>7</td>"));
}

TEST_F(ReportOfProducts, PhasesKeepTheOrderOfTheModel) {
    write_rietveld("A phase");
    const auto products = report::read_products(folder_.path());
    ASSERT_EQ(products.stages.size(), 1U);
    const auto& data = products.stages[0].data;
    ASSERT_FALSE(data.empty());
    EXPECT_EQ(data[0].name, "Cu") << "first in the start model though not in the file";
}

TEST_F(ReportOfProducts, NamesThatCollideOnDiskStayApart) {
    write_product("rietveld", [&](hdf5::Group& stage) {
        for (const char* name : {"NMC (P)", "NMC_P", "nmc p"}) {
            auto group = nexus::require_data(stage, name, "weight_fraction", {"y", "x"});
            nexus::write_map(group, "weight_fraction",
                             map_values([](double x, double) { return x; }), n, n);
            write_axes(group);
        }
    });
    report::make_report(folder_.path());
    const auto pictures = names_in(folder_ / "pictures");
    EXPECT_THAT(pictures, Contains("rietveld_NMC_P_weight_fraction.png"));
    EXPECT_THAT(pictures, Contains("rietveld_NMC_P_weight_fraction-2.png"));
    EXPECT_THAT(pictures, Contains("rietveld_nmc_p_weight_fraction-3.png"));
}

TEST_F(ReportOfProducts, UnknownStagesAndQuantitiesAppear) {
    write_product("dlsr", [&](hdf5::Group& stage) {
        auto group = nexus::require_data(stage, "Phase X", "scale", {"y", "x"});
        nexus::write_map(group, "scale", map_values([](double x, double) { return x * x; }), n, n);
        nexus::write_map(group, "brand_new", map_values([](double x, double) { return x; }), n, n,
                         {"furlong", ""});
        write_axes(group);
    });
    const report::ReportResult result = report::make_report(folder_.path());
    EXPECT_TRUE(fs::exists(folder_ / "pictures" / "dlsr_Phase_X_brand_new.svg"));
    EXPECT_THAT(text_of(folder_ / "pictures" / "dlsr_Phase_X_brand_new.svg"),
                AllOf(HasSubstr("brand new"), HasSubstr("furlong")));
    EXPECT_THAT(text_of(result.page), HasSubstr("DLSR"));
}

TEST_F(ReportOfProducts, ExistingReportsAreKeptUnlessForced) {
    write_fbp();
    std::ofstream(folder_ / "report.html") << "mine";
    EXPECT_THAT([&] { report::make_report(folder_.path()); },
                ThrowsMessage<Error>(AllOf(HasSubstr("report.html"), HasSubstr("exists"))));
    EXPECT_EQ(text_of(folder_ / "report.html"), "mine");
    EXPECT_FALSE(fs::exists(folder_ / "pictures"));
    fs::remove(folder_ / "report.html");
    fs::create_directory(folder_ / "pictures");
    std::ofstream(folder_ / "pictures" / "fbp_total.svg") << "mine";
    EXPECT_THAT([&] { report::make_report(folder_.path()); },
                ThrowsMessage<Error>(HasSubstr("fbp_total.svg")));
    report::ReportOptions options;
    options.force = true;
    make_report(folder_.path(), options);
    EXPECT_THAT(text_of(folder_ / "pictures" / "fbp_total.svg"), HasSubstr("<svg"));
    make_report(folder_.path(), options);
}

TEST_F(ReportOfProducts, AFailingPlotLeavesNothingBehind) {
    write_fbp();
    write_rietveld();
    report::ReportOptions options;
    options.gnuplot = "/bin/false";
    EXPECT_THAT([&] { make_report(folder_.path(), options); },
                ThrowsMessage<Error>(AllOf(HasSubstr("picture "), HasSubstr("/bin/false"))));
    EXPECT_EQ(names_in(folder_.path()), (std::set<std::string>{"fbp.nxs", "rietveld.nxs"}));
}

TEST_F(ReportOfProducts, BadFoldersAndFilesAreNamed) {
    EXPECT_THAT([&] { report::make_report(folder_ / "absent"); },
                ThrowsMessage<Error>(HasSubstr("absent")));
    EXPECT_THAT([&] { report::make_report(folder_.path()); },
                ThrowsMessage<Error>(HasSubstr("no product of a stage")));
    {
        auto file = hdf5::File::open(folder_ / "scan.nxs", hdf5::Access::create);
        auto root = file.root();
        nexus::require_class(root, "entry", "NXentry");
    }
    EXPECT_THAT([&] { report::make_report(folder_.path()); },
                ThrowsMessage<Error>(HasSubstr("no product of a stage")))
        << "a foreign file is none";
    write_fbp();
    EXPECT_THAT(report::make_report(folder_.path()).notes, Contains(HasSubstr("scan.nxs")));
    fs::resize_file(folder_ / "fbp.nxs", fs::file_size(folder_ / "fbp.nxs") / 2);
    report::ReportOptions options;
    options.force = true;
    EXPECT_THAT([&] { make_report(folder_.path(), options); },
                ThrowsMessage<Error>(HasSubstr("fbp.nxs")));
}

TEST_F(ReportOfProducts, SharedRangesAndErrorsAreOptions) {
    write_rietveld();
    report::ReportOptions options;
    options.shared_ranges = true;
    options.errors_in_page = true;
    options.processes = 1;
    const std::string page = text_of(make_report(folder_.path(), options).page);
    EXPECT_THAT(page, HasSubstr("NMC532 (P): c, standard deviation"));
}

} // namespace
} // namespace xrdct
