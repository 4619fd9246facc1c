// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/pipeline/pipeline.hpp"

#include "base/error.hpp"
#include "jobs/pipeline/inspection.hpp"
#include "jobs/pipeline/scan_rays.hpp"
#include "jobs/program/run_record.hpp"
#include "jobs/program/stop_request.hpp"
#include "jobs/report/analysis_file.hpp"
#include "mpi/nexus/nexus.hpp"
#include "solvers/absorption/ray_sums.hpp"
#include "tomography/ray_total.hpp"
#include "tomography/rotation_axis.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include <sys/resource.h>

#include <fmt/format.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace xrdct::pipeline {

namespace {

double peak_memory_bytes() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return 1024.0 * static_cast<double>(usage.ru_maxrss);
}

/// Sum over the channels in use of the conditioned intensities, [rotation][translation], on every
/// rank; channels that are masked in a ray count as those of the mean pattern. Collective.
std::vector<float> summed_sinogram(const StageContext& context) {
    const auto& communicator = context.communicator;
    const ScanRays rays(context.scan, communicator, context.transmission);
    const auto sums = absorption::sum_rays(communicator, rays);
    auto total = sums.total;
    const auto known = [](float value) { return std::isfinite(value); };
    if (std::all_of(total.begin(), total.end(), known))
        return total;
    const std::size_t n = rays.n_channel(), n_translation = rays.geometry().translation.size();
    std::vector<float> completed(total.size(), 0.0F);
    communicator.collectively([&] {
        absorption::for_own_rotations(
            communicator, rays, [&](std::size_t i, std::span<const float> line) {
                for (std::size_t j = 0; j < n_translation; ++j)
                    if (const std::size_t ray = i * n_translation + j; !known(total[ray]))
                        completed[ray] = static_cast<float>(
                            tomography::completed_total(line.subspan(j * n, n), sums.mean));
            });
    });
    communicator.allreduce(std::span<float>(completed), mpi::Reduction::sum);
    for (std::size_t ray = 0; ray < total.size(); ++ray)
        if (!known(total[ray]))
            total[ray] = completed[ray];
    return total;
}

void find_axis(StageContext& context) {
    if (context.job.geometry.axis_offset) {
        context.axis_note =
            fmt::format("axis offset {} mm as given", context.scan.geometry().axis_offset);
        return;
    }
    const auto sinogram = summed_sinogram(context);
    const auto result = context.communicator.collectively(
        [&] { return find_axis_offset(context.scan.geometry(), sinogram); });
    context.scan.set_axis_offset(result.offset);
    const auto words = [](const tomography::AxisEstimate& estimate) {
        return estimate.valid
                   ? fmt::format("{:.5f} +- {:.5f} mm", estimate.offset, estimate.uncertainty)
                   : std::string("not available");
    };
    context.axis_note =
        fmt::format("axis offset {:.5f} mm found; mirrored projections: {}; centre of mass: {}",
                    result.offset, words(result.mirror), words(result.centre_of_mass));
    if (result.mirror.valid && result.centre_of_mass.valid && !result.agree)
        context.notes.push_back("the two estimates of the rotation axis disagree: " +
                                context.axis_note);
}

} // namespace

namespace {

/// What killed runs left of files they were writing; "" for nothing. Another run may be writing
/// there, so that they are named and stay.
std::string left_behind(const std::filesystem::path& output) {
    std::size_t count = 0;
    std::uintmax_t bytes = 0;
    std::error_code code;
    for (const auto& entry : std::filesystem::directory_iterator(output, code)) {
        const auto name = entry.path().filename().string();
        if (name.find(".nxs.tmp-") == std::string::npos)
            continue;
        ++count;
        if (const auto size = entry.file_size(code); !code)
            bytes += size;
    }
    return count == 0 ? std::string()
                      : fmt::format("{}/*.nxs.tmp-*: {} unfinished file{} ({:.0f} MB) of runs that "
                                    "were killed; remove when no other run writes there",
                                    output.string(), count, count == 1 ? "" : "s",
                                    1e-6 * static_cast<double>(bytes));
}

} // namespace

namespace {

/// The measured transmission of every ray; a note counts those without.
std::vector<float> measured_transmission(const Scan& scan, std::vector<std::string>& notes) {
    auto transmission = scan.transmission();
    std::size_t masked = 0;
    for (float& value : transmission)
        if (!(std::isfinite(value) && value > 0)) {
            value = std::numeric_limits<float>::quiet_NaN();
            ++masked;
        }
    if (masked > 0)
        notes.push_back(fmt::format("{} rays have no valid transmission and are left out", masked));
    return transmission;
}

/// Whatever can go wrong before anything runs; the output folder. Serial.
void prepare(StageContext& context) {
    const auto& job = context.job;
    const auto& options = context.options;
    refuse_existing_products(job, options.force, options.resume);
    check_run({job, context.scan, context.communicator.size(), options.memory});
    if (context.communicator.is_root()) {
        std::error_code code;
        std::filesystem::create_directories(job.output, code);
        if (code)
            throw Error(fmt::format("{}: the output folder cannot be made: {}", job.output.string(),
                                    code.message()));
    }
    if (job.absorption.method == settings::AbsorptionMethod::transmission)
        context.transmission = measured_transmission(context.scan, context.notes);
}

/// What all products say about how they were made. Collective.
program::Provenance provenance_of(const settings::Job& job, const mpi::Communicator& communicator) {
    program::Provenance provenance;
    provenance.job = job.resolved;
    provenance.inputs = program::input_checksums(job, communicator);
    provenance.ranks = communicator.size();
    provenance.date = nexus::now_utc();
    communicator.broadcast(provenance.date);
    return provenance;
}

/// Whether a product on disk is what the stage would make. Collective.
bool can_reuse(const StageContext& context, const std::string& stage) {
    // Rank 0 decides, as another rank may see the folder a moment later on a network file system.
    const auto& communicator = context.communicator;
    int reuse = communicator.collectively([&] {
        const auto path = product_path(context.job, stage);
        if (!communicator.is_root() || !context.options.resume || !std::filesystem::exists(path))
            return 0;
        const auto earlier = program::read_provenance(path, stage);
        if (earlier.settings == context.provenance.settings &&
            earlier.inputs == context.provenance.inputs)
            return 1;
        if (!context.options.force)
            throw Error(fmt::format(
                "{} was made with other settings or inputs; --force replaces it", path.string()));
        return 0;
    });
    communicator.broadcast(reuse);
    return reuse != 0;
}

/// Runs a stage or keeps its product. Collective.
StageSummary run_or_keep(const Stage& stage, StageContext& context) {
    const auto& job = context.job;
    const auto& communicator = context.communicator;
    const auto name = stage.name();
    context.provenance.stage = name;
    context.provenance.settings = job.resolved_for(name);
    const bool reuse = can_reuse(context, name);
    if (stage.corrects_absorption() && context.transmission.empty() &&
        job.absorption.method == settings::AbsorptionMethod::phases)
        context.transmission =
            communicator.collectively([&] { return read_absorption_product(job).transmission; });
    if (reuse) {
        if (communicator.is_root())
            stage.remove_leftovers(job);
        return {name, product_path(job, name), true, 0, {}, {}};
    }
    communicator.collectively([&] {
        for (const auto& needed : stage.needs(job))
            check_product(job, needed);
    });
    auto summary = stage.run(context);
#ifdef __GLIBC__
    // What a stage has freed in small pieces (lists of segments to write, say) is not the next
    // one's burden.
    malloc_trim(0);
#endif
    return summary;
}

/// What is doubtful about the scan, shown at once; on rank 0 only. Collective; a scan that makes no
/// sense is an Error on all ranks.
std::vector<std::string> look_at_scan(const settings::Job& job, const RunOptions& options,
                                      const Scan& scan, const mpi::Communicator& communicator) {
    return communicator.collectively([&] {
        std::vector<std::string> texts;
        if (!communicator.is_root())
            return texts;
        for (auto& doubt : inspect_scan(job, scan, options.force_data)) {
            fmt::print(stderr, "warning: {}\n", doubt.text);
            texts.push_back(std::move(doubt.text));
        }
        return texts;
    });
}

/// Collective.
void run_stages(const std::vector<const Stage*>& list, StageContext& context, RunSummary& summary) {
    auto* record = program::RunRecord::current();
    if (record) {
        std::vector<std::string> names;
        for (const auto* stage : list)
            names.push_back(stage->name());
        record->begin(context.job.output, names, context.communicator.size());
    }
    for (const auto* stage : list) {
        program::stop_if_asked(context.communicator);
        if (record)
            record->enter_stage(stage->name());
        summary.stages.push_back(run_or_keep(*stage, context));
        if (record)
            record->leave_stage(summary.stages.back().reused ? "kept" : "finished");
    }
}

} // namespace

RunSummary run_job(const settings::Job& job, const RunOptions& options,
                   const mpi::Communicator& communicator) {
    program::Timings clock;
    RunSummary summary;
    auto scan = communicator.collectively([&] { return Scan::open(job); });
    const auto doubts = look_at_scan(job, options, scan, communicator);
    StageContext context{job, options, communicator, scan, {}, {}, {}, {}};
    context.notes = scan.metadata().notes;
    const auto list = communicator.collectively([&] {
        prepare(context);
        return stages_of(job);
    });
    context.provenance = provenance_of(job, communicator);
    if (std::any_of(list.begin(), list.end(), [](const Stage* s) { return s->uses_scan(); }))
        find_axis(context);
    run_stages(list, context, summary);
    // What the report shows of lithium and amounts is a product, too.
    communicator.collectively([&] {
        if (!communicator.is_root())
            return;
        auto analysis = report::refresh_analysis(job.output);
        for (auto& note : analysis.notes)
            context.notes.push_back(std::move(note));
        summary.verdict = std::move(analysis.verdict);
    });
    summary.peak_memory = communicator.gather(std::vector<double>{peak_memory_bytes()});
    summary.notes = job.notes;
    summary.notes.insert(summary.notes.end(), doubts.begin(), doubts.end());
    summary.notes.insert(summary.notes.end(), context.notes.begin(), context.notes.end());
    if (communicator.is_root())
        if (const auto left = left_behind(job.output); !left.empty())
            summary.notes.push_back(left);
    clock.lap("all");
    summary.seconds = clock.total();
    return summary;
}

} // namespace xrdct::pipeline
