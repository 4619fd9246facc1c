// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/pipeline/scan.hpp"
#include "jobs/program/provenance.hpp"
#include "jobs/settings/job.hpp"
#include "jobs/settings/stage_rules.hpp"
#include "mpi/comm/communicator.hpp"

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace xrdct::pipeline {

struct RunOptions {
    bool force = false;       ///< replace products that exist
    bool resume = false;      ///< keep products made with the same settings and inputs
    bool force_data = false;  ///< go on with a scan that makes no sense
    std::uint64_t memory = 0; ///< bytes over all ranks; 0: no limit
};

/// What a stage has done, for the summary of a run.
struct StageSummary {
    std::string name;
    std::filesystem::path product;
    bool reused = false;
    double seconds = 0;
    std::vector<std::pair<std::string, double>> timings;
    std::map<std::string, double> numbers; ///< counts and rates worth knowing
};

/// What the stages share while a job runs.
struct StageContext {
    const settings::Job& job;
    const RunOptions& options;
    const mpi::Communicator& communicator;
    Scan& scan;
    std::vector<float> transmission; ///< [rotation][translation], empty: no absorption correction
    std::string axis_note;           ///< how the rotation axis was found
    program::Provenance provenance;  ///< stage and settings are filled in per stage
    std::vector<std::string> notes;
};

/// Of what size a run would be.
struct RunSize {
    const settings::Job& job;
    const Scan& scan;
    int ranks = 1;
    std::uint64_t memory = 0; ///< bytes over all ranks; 0: no limit
};

/// What a stage will need, from the size of the scan and rates measured on one core of a
/// present-day machine.
struct StageEstimate {
    std::string stage;
    double seconds = 0;       ///< wall clock with the given ranks, each on a core of its own
    std::uint64_t memory = 0; ///< bytes per rank
    std::uint64_t disk = 0;   ///< bytes of the product
};

/// An earlier stage's product that a stage reads. The texts complete messages to the user.
struct NeededProduct {
    std::string stage;
    std::string reason;   ///< "the rietveld stage needs the fbp stage's product"
    std::string settings; ///< "the scan or the reconstruction": what decides the product
};

/// What kind of quantity a map shows, which decides how a report draws it.
enum class QuantityKind {
    amount,    ///< how much there is: from 0
    intensity, ///< a measured or summed intensity
    value,     ///< a property, such as a length of the cell
    misfit,    ///< how badly a model fits, or how much was corrected
    count,     ///< iterations and the like
    deviation  ///< differences of both signs
};

/// How people call a quantity of a product.
struct QuantityLabel {
    std::string_view name;     ///< of the dataset
    std::string_view text;     ///< plain UTF-8
    std::string_view enhanced; ///< in gnuplot's enhanced syntax; empty: as text
    std::string_view html;     ///< escaped HTML; empty: as text
    QuantityKind kind = QuantityKind::value;
};

/// One stage of a job. The registry holds one object of every class; all that the program knows of
/// a stage is asked here. Immutable.
class Stage : public settings::StageRules {
  public:
    /// For headings: "Filtered back-projection".
    virtual std::string title() const = 0;
    /// Labels of the quantities that its product brings in.
    virtual std::span<const QuantityLabel> quantities() const { return {}; }
    /// Whether its maps serve later stages only and are not what a user asks for.
    virtual bool is_auxiliary() const { return false; }
    /// The stage whose maps it gives more accurately, to compare with; "": none.
    virtual std::string improves() const { return {}; }

    /// Whether a job that names the stage has anything for it to do.
    virtual bool is_active(const settings::Job& /*job*/) const { return true; }
    /// Whether it fits patterns of the scan, which then has to have channels and a wavelength.
    virtual bool fits_patterns() const { return false; }
    /// Whether it reads the scan and needs its rotation axis.
    virtual bool uses_scan() const { return true; }
    /// Whether it divides the scan by the transmission where the job asks for that.
    virtual bool corrects_absorption() const { return false; }
    /// Products of other stages that it reads.
    virtual std::vector<NeededProduct> needs(const settings::Job& /*job*/) const { return {}; }

    /// Throws Error for inputs that the stage would fail at, before anything runs. Serial; every
    /// rank may call it.
    virtual void check_inputs(const RunSize& /*run*/) const {}
    /// Time, memory and disk. Throws Error when the memory of the run does not do.
    virtual StageEstimate estimate(const RunSize& run) const = 0;
    /// Reads, solves, writes the product. Collective; the same Error on all ranks.
    virtual StageSummary run(StageContext& context) const = 0;
    /// Removes what an earlier run may have left beside a product that is kept. Serial.
    virtual void remove_leftovers(const settings::Job& /*job*/) const {}
};

/// File of a stage's product.
std::filesystem::path product_path(const settings::Job& job, const std::string& stage);

} // namespace xrdct::pipeline
