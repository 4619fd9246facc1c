// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/manual/completion.hpp"
#include "jobs/manual/man_page.hpp"

#include <stdexcept>

#include <gmock/gmock.h>

using namespace xrdct::manual;
using testing::HasSubstr;

namespace {

OptionDescription option(const std::string& name, const std::string& value,
                         const std::string& help) {
    OptionDescription one;
    one.name = name;
    one.value = value;
    one.help = help;
    return one;
}

ProgramDescription program() {
    ProgramDescription described{"1.2.3", "2026-01-31", {"do it: 'quickly'"}, {}};
    CommandDescription command{"do", "do it", "[options]", "xrdct do --from a", {}};
    command.options = {option("from", "FILE", "what [sic] it's from"),
                       option("to", "FOLDER", "where to"), option("times", "N", ".5 or more"),
                       option("quiet", "", "say nothing")};
    command.options[0].repeated = true;
    command.options[2].default_value = "10";
    command.options[3].short_name = 'q';
    described.commands.push_back(command);
    return described;
}

TEST(Roff, ShowsTextLiterally) {
    EXPECT_EQ(roff("a-b"), "a\\-b");
    EXPECT_EQ(roff("C:\\x"), "C:\\ex");
    EXPECT_EQ(roff(".TH\n'br\na.b"), "\\&.TH\n\\&'br\na.b");
    EXPECT_EQ(roff("2θ, Å, …, 𝜃"), "2\\[u03B8], \\[u00C5], \\[u2026], \\[u1D703]");
    EXPECT_THROW(roff("\xFF"), std::invalid_argument);
    EXPECT_THROW(roff("cut \xC3"), std::invalid_argument);
}

TEST(ManPage, NamesOptionsValuesAndDefaults) {
    const auto page = command_page(program(), program().commands[0]);
    EXPECT_THAT(page, HasSubstr(".TH XRDCT\\-DO 1 2026-01-31 \"xrdct 1.2.3\""));
    EXPECT_THAT(page, HasSubstr("\\fB\\-\\-from\\fR \\fIFILE\\fR\nWhat [sic] it's from.\n"
                                "May be repeated.\n"));
    EXPECT_THAT(page, HasSubstr("\n\\&.5 or more.\nDefault: 10.\n"));
    EXPECT_THAT(page, HasSubstr("\\fB\\-q\\fR, \\fB\\-\\-quiet\\fR\n"));
    EXPECT_THAT(program_page(program()), HasSubstr(".BR xrdct\\-do (1)\nDo it: 'quickly'.\n"));
}

TEST(Completion, KnowsWhichValuesAreFiles) {
    const auto bash = bash_completion(program());
    EXPECT_THAT(bash, HasSubstr("options=\"--from --to --times -q --quiet \""));
    EXPECT_THAT(bash, HasSubstr(" files=\"--from \""));
    EXPECT_THAT(bash, HasSubstr("folders=\"--to \""));
    EXPECT_THAT(bash, HasSubstr("others=\"--times \""));
    const auto zsh = zsh_completion(program());
    EXPECT_THAT(zsh, HasSubstr("'do:do it\\: '\\''quickly'\\'''"));
    EXPECT_THAT(zsh, HasSubstr("'*--from=[what \\[sic\\] it'\\''s from]:FILE:_files'"));
    EXPECT_THAT(zsh, HasSubstr("'--to=[where to]:FOLDER:_files -/'"));
    EXPECT_THAT(zsh, HasSubstr("'(-q --quiet)'{-q,--quiet}'[say nothing]'"));
}

} // namespace
