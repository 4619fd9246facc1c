#pragma once

#include "jobs/pipeline/scan.hpp"
#include "jobs/program/provenance.hpp"
#include "jobs/settings/job.hpp"
#include "mpi/comm/communicator.hpp"
#include "mpi/hdf5/hdf5.hpp"
#include "rietveld/model/pattern_model.hpp"
#include "tomography/fbp.hpp"

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace xrdct::pipeline {

struct RunOptions {
    bool force = false;       ///< replace products that exist
    bool resume = false;      ///< keep products made with the same settings and inputs
    std::uint64_t memory = 0; ///< bytes over all ranks; 0: no limit
};

/// One stage of a run, for the summary.
struct StageSummary {
    std::string name;
    std::filesystem::path product;
    bool reused = false;
    double seconds = 0;
    std::vector<std::pair<std::string, double>> timings;
    std::map<std::string, double> numbers; ///< counts and rates worth knowing
};

struct RunSummary {
    std::vector<StageSummary> stages;
    std::vector<double> peak_memory; ///< bytes per rank
    std::vector<std::string> notes; ///< what a user should know: warnings of phases, masked rays, …
    double seconds = 0;
};

/// Runs the stages of a job. Collective; every rank passes the same job and options. Throws the
/// same Error on all ranks; finished products stay, nothing unfinished is left under a final name.
RunSummary run_job(const settings::Job& job, const RunOptions& options,
                   const mpi::Communicator& communicator);

/// File of a stage's product.
std::filesystem::path product_path(const settings::Job& job, const std::string& stage);

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

/// Start model of the map's patterns: structures, widths, peaks and background as the job gives
/// them. `notes` takes the warnings of the structures.
rietveld::PatternModel start_model(const settings::Job& job, double wavelength,
                                   std::vector<std::string>& notes);

/// What the absorption stage's product tells the later ones.
struct AbsorptionProduct {
    std::vector<float> transmission; ///< [rotation][translation]
    std::vector<float> mu;           ///< [y][x], 1/mm
    std::optional<double> constant;  ///< volume fraction over S V²
};
/// Reads it. Throws Error when it is missing or was made with other settings.
AbsorptionProduct read_absorption_product(const settings::Job& job);

/// Filter of the reconstruction as the job wants it.
tomography::FbpOptions fbp_options(const settings::Job& job);
/// Axes y and x [mm] of an image, into an NXdata group.
void write_image_axes(hdf5::Group& group, const tomography::ImageGrid& grid);

/// The stages; collective.
StageSummary run_absorption_stage(StageContext& context);
StageSummary run_fbp_stage(StageContext& context);
StageSummary run_rietveld_stage(StageContext& context);
StageSummary run_dlsr_stage(StageContext& context);

/// Intensities of a shard [rotation][translation][channel] as the reconstruction wants them, in
/// place: monitor normalisation and division by the transmission; and their variances if `variance`
/// is not empty (which then holds the given standard deviations or is filled from counts).
/// `first_channel` is the shard's first among the channels in use.
void condition_shard(const StageContext& context, std::size_t first_channel, std::size_t n_channel,
                     std::span<float> intensity, std::span<float> variance);

/// What a ray's intensities are multiplied by: monitor normalisation and, if asked for, absorption
/// correction.
float ray_factor(const StageContext& context, std::size_t ray, bool absorption = true);

/// Channels per rank that the fbp stage holds at a time under a memory limit [bytes per rank, 0:
/// none]. Throws Error if not even one fits.
std::size_t channels_per_pass(const Scan& scan, int ranks, std::uint64_t memory_per_rank);
/// Bytes per rank of the fbp stage with that many channels at a time.
std::uint64_t fbp_memory(const Scan& scan, std::size_t channels);

} // namespace xrdct::pipeline
