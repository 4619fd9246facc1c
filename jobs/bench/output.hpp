// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/bench/stages.hpp"

#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace xrdct::bench {

/// Everything one run of `xrdct bench` has measured or predicted.
struct Results {
    Problem problem;
    int threads = 1;
    std::vector<Measurement> measurements;
    std::map<std::size_t, Machine> machines; ///< by number of ranks

    /// Stages of one slice on some ranks.
    struct Prediction {
        std::size_t ranks = 1;
        Time stages[9]; ///< by Stage
        Time slice;
        Counts product, fbp;            ///< per rank
        double product_seconds[3] = {}; ///< by Decomposition
        double memory = 0;
        StackPrediction stack;
    };
    std::vector<Prediction> predictions;
    Workload work;
    Rates rates;
    Machine machine; ///< that is predicted
    StepCalls step;
    std::size_t steps = 0, slices = 0;
    std::size_t ranks_per_node = 1; ///< predicted
};

/// Against the same stage on the fewest ranks, 1 where time falls (strong) or stays (weak) as it
/// should; NaN when there is none.
double efficiency(const Results& results, const Measurement& measurement);
/// The largest part of a limit of the machine that a stage reaches: arithmetic, memory or file;
/// NaN where nothing is counted.
double machine_share(const Results& results, const Measurement& measurement);

std::string table(const Results& results);
/// The same as JSON.
nlohmann::ordered_json to_json(const Results& results);
/// NeXus file. Throws Error when it exists and may not be replaced. Not collective.
void write_nexus(const Results& results, const std::filesystem::path& path, bool force);
/// Efficiency over ranks, measured, or predicted where nothing was measured, as `<stem>.png` and
/// `.svg`. Nothing is drawn for a single number of ranks. Throws Error as write_curve_picture.
std::vector<std::filesystem::path> draw(const Results& results, const std::filesystem::path& stem,
                                        bool force);

} // namespace xrdct::bench
