// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/settings/lithium_settings.hpp"

#include "base/error.hpp"
#include "jobs/settings/job.hpp"
#include "support/temporary_directory.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

using namespace xrdct;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

namespace {

const std::string job_text =
    "[input]\nfile = 'scan.nxs'\n[[phase]]\nname = 'NMC532'\ncif = 'a.cif'\n"
    "[[phase]]\nname = 'LiC6'\ncif = 'b.cif'\n[[phase]]\nname = 'LiC12'\ncif = 'c.cif'\n";

std::string message_of(const std::string& lithium) {
    try {
        settings::parse_job(job_text + lithium, "job.toml");
    } catch (const Error& error) {
        return error.what();
    }
    return "no error";
}

std::string cathode(const std::string& rest) {
    return "[[lithium]]\nelectrode = 'cathode'\nphase = 'NMC532'\n" + rest + "\n";
}

TEST(LithiumSettingsOf, AJobKeepsThemThroughItsResolvedForm) {
    const std::string text =
        job_text + cathode("table = [[14.5, 0.45], [14.3, 0.85]]\noutside = 'clamp'") +
        "[[lithium]]\nelectrode = 'anode'\nphase = 'LiC6'\ncontent = 1\nhost_mass = 79.01\n"
        "[[lithium]]\nelectrode = 'anode'\nphase = 'LiC12'\ncontent = 0.5\nhost_mass = 75.54\n";
    const auto job = settings::parse_job(text, "job.toml");
    ASSERT_EQ(job.lithium.size(), 3U);
    EXPECT_TRUE(job.lithium[0].clamp);
    EXPECT_EQ(job.lithium[0].parameter, "c");
    EXPECT_EQ(job.lithium[0].table.at(1), std::pair(14.3, 0.85));
    EXPECT_EQ(job.lithium[2].content, 0.5);
    const auto again = settings::parse_job(job.resolved, "job.toml");
    EXPECT_EQ(again.resolved, job.resolved);
    const auto from_product = settings::lithium_of_job(job.resolved, "rietveld.nxs");
    ASSERT_EQ(from_product.size(), 3U);
    EXPECT_EQ(from_product[0].table, job.lithium[0].table);
    EXPECT_TRUE(std::isnan(from_product[0].content));
    // The report alone uses them: no stage has to run again.
    const auto without = settings::parse_job(job_text, "job.toml");
    for (const char* stage : {"absorption", "fbp", "rietveld"})
        EXPECT_EQ(job.resolved_for(stage), without.resolved_for(stage));
}

TEST(LithiumSettingsOf, MistakesAreNamed) {
    const std::string table = "table = [[14.5, 0.45], [14.3, 0.85]]";
    EXPECT_EQ(message_of(cathode(table)), "no error");
    EXPECT_THAT(message_of("[[lithium]]\nelectrode = 'cathode'\nphase = 'NMC523'\n" + table),
                AllOf(HasSubstr("lithium[0].phase"), HasSubstr("'NMC523'"),
                      HasSubstr("nearest is 'NMC532'")));
    EXPECT_THAT(message_of("[[lithium]]\nelectrode = 'anod'\nphase = 'LiC6'\ncontent = 1"),
                AllOf(HasSubstr("electrode"), HasSubstr("did you mean 'anode'")));
    EXPECT_THAT(message_of("[[lithium]]\nphase = 'LiC6'\ncontent = 1"),
                AllOf(HasSubstr("lithium[0].electrode"), HasSubstr("required")));
    EXPECT_THAT(message_of("[[lithium]]\nelectrode = 'anode'\ncontent = 1"),
                AllOf(HasSubstr("lithium[0].phase"), HasSubstr("required")));
    EXPECT_THAT(message_of(cathode("")),
                AllOf(HasSubstr("lithium[0].table"), HasSubstr("required")));
    EXPECT_THAT(message_of(cathode(table + "\ncontent = 1")), HasSubstr("exclude each other"));
    EXPECT_THAT(message_of(cathode("table = [[14.5, 0.45]]")), HasSubstr("at least two"));
    EXPECT_THAT(message_of(cathode("table = [14.5, 0.45]")), HasSubstr("list of pairs"));
    EXPECT_THAT(message_of(cathode("table = [[14.5, 0.45, 1], [14, 1, 1]]")),
                HasSubstr("list of pairs"));
    EXPECT_THAT(message_of(cathode("table = [[14.5, 0.45], [14.3, 0.85], [14.4, 0.6]]")),
                AllOf(HasSubstr("not sorted"), HasSubstr("14.4 follows 14.3")));
    EXPECT_THAT(message_of(cathode("table = [[14.5, 0.45], [14.5, 0.85]]")),
                AllOf(HasSubstr("14.5"), HasSubstr("twice")));
    EXPECT_THAT(message_of(cathode("table = [[1.45, 0.45], [1.43, 0.85]]")),
                AllOf(HasSubstr("lithium[0].table"), HasSubstr("angstrom")));
    EXPECT_THAT(message_of(cathode("table = [[1450, 0.45], [1430, 0.85]]")), HasSubstr("angstrom"));
    EXPECT_THAT(message_of(cathode("table = [[14.5, 45], [14.3, 85]]")), HasSubstr("per cent"));
    EXPECT_THAT(message_of(cathode("table = [[14.5, -0.1], [14.3, 0.85]]")),
                HasSubstr("between 0"));
    EXPECT_THAT(message_of(cathode("table = [[nan, 0.1], [14.3, 0.85]]")), HasSubstr("nan"));
    EXPECT_THAT(message_of(cathode("content = 100")), HasSubstr("per cent"));
    EXPECT_THAT(message_of(cathode("content = inf")), HasSubstr("content"));
    EXPECT_THAT(message_of(cathode(table + "\nparameter = 'd'")), HasSubstr("parameter"));
    EXPECT_THAT(message_of(cathode(table + "\noutside = 'extrapolate'")), HasSubstr("outside"));
    EXPECT_THAT(message_of(cathode(table + "\nhost_mass = -1")), HasSubstr("host_mass"));
    EXPECT_THAT(message_of(cathode(table + "\ngamma = 0")), HasSubstr("gamma"));
    EXPECT_THAT(message_of(cathode(table + "\nhostmass = 96")),
                AllOf(HasSubstr("hostmass"), HasSubstr("nearest is 'lithium[].host_mass'")));
    EXPECT_THAT(message_of(cathode(table) + cathode(table)), HasSubstr("given twice"));
    EXPECT_THAT(message_of("[[lithium]]\nelectrode = 'anode'\nphase = 'LiC6'\ncontent = 1\n"
                           "host_mass = 79.01\n[[lithium]]\nelectrode = 'anode'\n"
                           "phase = 'LiC12'\ncontent = 0.5\n"),
                AllOf(HasSubstr("lithium[1].host_mass"), HasSubstr("anode has several phases")));
}

TEST(LithiumSettingsOf, AFileOfItsOwn) {
    const test::TemporaryDirectory folder;
    const auto path = folder / "lithium.toml";
    const auto write = [&](const std::string& text) { std::ofstream(path) << text; };
    write(cathode("table = [[14.5, 0.45], [14.3, 0.85]]"));
    EXPECT_EQ(settings::read_lithium_file(path).size(), 1U);
    write(job_text + cathode("content = 1"));
    EXPECT_EQ(settings::read_lithium_file(path).size(), 1U) << "a job will do";
    write(job_text);
    EXPECT_THAT([&] { settings::read_lithium_file(path); },
                ThrowsMessage<Error>(AllOf(HasSubstr("lithium.toml"), HasSubstr("[[lithium]]"))));
    write(cathode("contents = 1"));
    EXPECT_THAT([&] { settings::read_lithium_file(path); },
                ThrowsMessage<Error>(HasSubstr("lithium[].content")));
    write("[[lithium]\n");
    EXPECT_THAT([&] { settings::read_lithium_file(path); },
                ThrowsMessage<Error>(HasSubstr("line 1")));
    EXPECT_THAT([&] { settings::read_lithium_file(folder / "absent.toml"); },
                ThrowsMessage<Error>(HasSubstr("absent.toml")));
}

} // namespace
