// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/report/verdict.hpp"

#include <cmath>

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
    EXPECT_THAT(judge(analysis_of(980, 0, 0.7, 9)).faults,
                ElementsAre(HasSubstr("the model misses the patterns")));
    // What is missed counts, not how many counts tell it.
    EXPECT_THAT(judge(analysis_of(980, 0, 0.75, 1.6)).faults,
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

TEST(Verdict, UnexplainedShareDoesNotDependOnTheNumberOfCounts) {
    EXPECT_DOUBLE_EQ(unexplained_share(0.3, 1), 0);
    EXPECT_DOUBLE_EQ(unexplained_share(1, 5), 1); // no model at all
    // The same misfit, a quarter of the squares, under much and little noise.
    for (const double noise : {1e-4, 0.1, 0.5}) {
        const double squares = 0.25 * (1 - noise) + noise;
        EXPECT_NEAR(unexplained_share(std::sqrt(squares), std::sqrt(squares / noise)), 0.25, 1e-9);
    }
    EXPECT_TRUE(std::isnan(unexplained_share(std::nan(""), 1)));
    EXPECT_TRUE(std::isnan(unexplained_share(0.999, 1))); // noise alone
}

Analysis with_evidence(const Evidence& evidence) {
    auto analysis = analysis_of(980, 0, 0.12, 1.1);
    analysis.stages[0].evidence = evidence;
    return analysis;
}

TEST(Verdict, AWavelengthThatScalesAllCells) {
    const auto cells = [](double factor) {
        Evidence evidence;
        evidence.cells = {{"Fe", factor * 1.0003},
                          {"Cu", factor * 0.9997},
                          {"Al", factor},
                          {"NMC", factor * 0.985},
                          {"NMC", factor * 1.021}};
        return judge(with_evidence(evidence));
    };
    EXPECT_TRUE(cells(1).trusted()); // a charged electrode among metals
    EXPECT_THAT(cells(1).doubts, IsEmpty());
    EXPECT_THAT(cells(0.97).faults, ElementsAre(HasSubstr("Fe, Cu, Al are all 3.0 % smaller")));
    EXPECT_THAT(cells(1.03).faults, ElementsAre(HasSubstr("3.0 % larger")));
    EXPECT_THAT(cells(1.006).doubts, ElementsAre(HasSubstr("0.6 % larger")));
    Evidence hot; // 800 K: each expands in its own way
    hot.cells = {{"Fe", 1.0095}, {"Cu", 1.0136}, {"Al", 1.019}};
    EXPECT_THAT(judge(with_evidence(hot)).doubts, IsEmpty());
    Evidence one;
    one.cells = {{"NMC", 1.03}, {"NMC", 1.03}};
    EXPECT_THAT(judge(with_evidence(one)).doubts, IsEmpty());
}

TEST(Verdict, PatternsAndImageThatDoNotExplainTheScan) {
    Evidence evidence;
    evidence.mean_pattern_rwp = 0.07;
    evidence.lost_voxels = 0.02;
    evidence.unexplained = 0.01;
    evidence.reprojection_misfit = 0.08;
    EXPECT_THAT(judge(with_evidence(evidence)).doubts, IsEmpty());
    EXPECT_TRUE(judge(with_evidence(evidence)).trusted());
    evidence.mean_pattern_rwp = 0.18;
    EXPECT_THAT(judge(with_evidence(evidence)).doubts, ElementsAre(HasSubstr("mean pattern")));
    evidence.mean_pattern_rwp = 0.4;
    evidence.lost_voxels = 0.2;
    evidence.reprojection_misfit = 0.32;
    EXPECT_THAT(judge(with_evidence(evidence)).faults,
                ElementsAre(HasSubstr("mean pattern"), HasSubstr("20 % of the voxels"),
                            HasSubstr("its projections miss the rays by 32 %")));
}

TEST(Verdict, APhaseAtItsBoundsIsNamed) {
    Evidence evidence;
    PhaseEvidence cathode{"NMC", true, true, 900, 800, 700, {}},
        lost{"LCO", true, true, 900, 2, 0, {}}, good{"Cu", false, true, 900, 10, 0, {}};
    evidence.phases = {cathode, lost, good};
    auto analysis = with_evidence(evidence);
    analysis.stages[0].phases.resize(1);
    analysis.stages[0].phases[0].phase = "NMC";
    analysis.stages[0].phases[0].whole_weight_fraction = 0.4;
    EXPECT_THAT(judge(analysis).faults,
                ElementsAre(HasSubstr("NMC has a cell on its bound in 88 %")));
    EXPECT_THAT(judge(analysis).doubts, ElementsAre(HasSubstr("LCO: significant in hardly any")));
    analysis.stages[0].phases[0].whole_weight_fraction = 0.01; // a trace
    EXPECT_TRUE(judge(analysis).trusted());
    EXPECT_THAT(judge(analysis).doubts.front(), HasSubstr("NMC has a cell on its bound"));
    analysis.stages[0].evidence.phases = {{"NMC", true, true, 900, 800, 0, {"c"}}};
    analysis.stages[0].phases[0].whole_weight_fraction = 0.4;
    EXPECT_THAT(judge(analysis).faults, ElementsAre(HasSubstr("c of NMC: one value")));
    analysis.stages[0].evidence = {};
    analysis.stages[0].evidence.globals_at_bound = {"separator fwhm"};
    analysis.stages[0].phases[0].whole_weight_fraction = -0.02;
    analysis.stages[0].evidence.phases = {{"NMC", true, true, 900, 800, 0, {}}};
    EXPECT_THAT(judge(analysis).doubts, ElementsAre(HasSubstr("less than nothing"),
                                                    HasSubstr("on a bound: separator fwhm")));
}

TEST(Verdict, WidthsThatVaryAndThoseThatAreNotTold) {
    auto analysis = analysis_of(980, 0, 0.12, 1.1);
    analysis.stages[0].evidence.phases = {{"NMC", true, true, 900, 800, 0, {}, 300}};
    EXPECT_THAT(judge(analysis).doubts, IsEmpty());
    EXPECT_THAT(judge(analysis).cells, testing::Not(HasSubstr("size")));
    analysis.stages[0].evidence.phases[0].unresolved = 600;
    EXPECT_THAT(judge(analysis).doubts,
                ElementsAre(HasSubstr("the widths of NMC are not told in 75 % of the 800 voxels")));
    EXPECT_TRUE(judge(analysis).trusted());
    auto& phase = analysis.stages[0].phases.emplace_back();
    phase.phase = "NMC";
    auto& quantity = phase.quantities.emplace_back();
    quantity.quantity = "size";
    quantity.units = "angstrom";
    quantity.summary.count = 200;
    quantity.summary.mean = 152.3;
    quantity.summary.spread = 31.4;
    EXPECT_THAT(judge(analysis).cells, HasSubstr("NMC size 152 (31) angstrom"));
}

TEST(Verdict, NothingWithoutPhases) {
    EXPECT_THAT(verdict_lines(judge({}), "r"), IsEmpty());
    EXPECT_TRUE(judge({}).trusted());
}

} // namespace
} // namespace xrdct::report
