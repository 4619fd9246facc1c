// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/report/verdict.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace xrdct::report {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

Analysis analysis_of(std::size_t converged, std::size_t bound, double rwp, double gof) {
    StageResult stage;
    stage.stage = "rietveld";
    stage.outcomes = {
        {"converged", converged}, {"masked", 5000}, {"at bound", bound}, {"singular", 10}};
    maps::WeightedSummary summary;
    summary.count = converged;
    summary.median = rwp;
    stage.agreement.emplace_back("rwp", summary);
    summary.median = gof;
    stage.agreement.emplace_back("gof", summary);
    Analysis analysis;
    analysis.stages = {stage};
    analysis.main = "rietveld";
    return analysis;
}

TEST(Verdict, AGoodResultIsTrusted) {
    const auto verdict = judge(analysis_of(980, 10, 0.12, 1.1));
    EXPECT_THAT(verdict.faults, IsEmpty());
    EXPECT_THAT(verdict.doubts, IsEmpty());
    EXPECT_THAT(verdict.fits, HasSubstr("98.0 % of 1000 voxels converged"));
    EXPECT_EQ(verdict_lines(verdict, "results").size(), 5U);
}

TEST(Verdict, FewConvergedVoxelsAreAFault) {
    EXPECT_THAT(judge(analysis_of(400, 590, 0.12, 1.1)).faults,
                ElementsAre(HasSubstr("59 % of the voxels have a cell on its bound")));
    EXPECT_THAT(judge(analysis_of(80, 110, 0.12, 1.1)).faults, ElementsAre(HasSubstr("bound")));
    EXPECT_THAT(judge(analysis_of(8, 0, 0.12, 1.1)).faults,
                ElementsAre(HasSubstr("only 44 % of the voxels converged")));
}

TEST(Verdict, WeakDataAndManyCountsAreNoFaults) {
    EXPECT_TRUE(judge(analysis_of(980, 0, 0.6, 1.0)).trusted()); // few counts
    const auto strong = judge(analysis_of(980, 0, 0.08, 9));     // many
    EXPECT_TRUE(strong.trusted());
    EXPECT_THAT(strong.doubts, ElementsAre(HasSubstr("GoF 9.0")));
    EXPECT_THAT(judge(analysis_of(980, 0, 0.5, 9)).faults,
                ElementsAre(HasSubstr("the model misses the patterns")));
    EXPECT_THAT(judge(analysis_of(980, 0, 0.1, 0.1)).doubts,
                ElementsAre(HasSubstr("less precise than they are")));
}

TEST(Verdict, ADlsrThatDidNotConvergeAndParametersOnBounds) {
    auto analysis = analysis_of(980, 0, 0.1, 1);
    DlsrDiagnostics dlsr;
    dlsr.rwp = 0.1;
    dlsr.gof = 1;
    dlsr.converged = true;
    dlsr.globals.push_back({"separator", "position", "deg", 1.8, 0.01, true});
    analysis.stages[0].dlsr = dlsr;
    EXPECT_TRUE(judge(analysis).trusted());
    EXPECT_THAT(judge(analysis).doubts, ElementsAre(HasSubstr("on a bound: separator position")));
    analysis.stages[0].dlsr->converged = false;
    analysis.stages[0].dlsr->stop_reason = "maximum number of iterations";
    EXPECT_TRUE(judge(analysis).trusted());
    EXPECT_THAT(verdict_lines(judge(analysis), "r")[3],
                HasSubstr("did not converge (maximum number of iterations)"));
    analysis.stages[0].dlsr->rwp = 0.5;
    analysis.stages[0].dlsr->gof = 9;
    EXPECT_FALSE(judge(analysis).trusted());
    EXPECT_THAT(verdict_lines(judge(analysis), "r")[3], HasSubstr("NOT TO BE TRUSTED"));
}

TEST(Verdict, NothingWithoutPhases) {
    EXPECT_THAT(verdict_lines(judge({}), "r"), IsEmpty());
    EXPECT_TRUE(judge({}).trusted());
}

} // namespace
} // namespace xrdct::report
