#include "jobs/pipeline/pipeline.hpp"

#include "base/error.hpp"
#include "crystal/phase.hpp"
#include "jobs/program/run_record.hpp"
#include "jobs/program/stop_request.hpp"
#include "mpi/files/cif_file.hpp"
#include "mpi/nexus/nexus.hpp"
#include "tomography/rotation_axis.hpp"

#include <algorithm>
#include <cmath>

#include <sys/resource.h>

#include <fmt/format.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace xrdct::pipeline {

namespace {

/// Memory of a rank before it holds any data: program, MPI, HDF5, plans, exchange buffers.
constexpr std::uint64_t base_memory = 110'000'000;
constexpr std::uint64_t exchange_memory = std::uint64_t{64} << 20;

double peak_memory_bytes() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return 1024.0 * static_cast<double>(usage.ru_maxrss);
}

/// Sum over the channels in use of the conditioned intensities, [rotation][translation], on every
/// rank. Collective.
std::vector<float> summed_sinogram(const StageContext& context) {
    const auto& scan = context.scan;
    const auto& communicator = context.communicator;
    const std::size_t n_rotation = scan.geometry().rotation.size();
    const std::size_t n_translation = scan.geometry().translation.size();
    std::vector<double> sum(n_rotation * n_translation, 0.0);
    communicator.collectively([&] {
        const auto rows =
            mpi::block_range(n_rotation, static_cast<std::size_t>(communicator.size()),
                             static_cast<std::size_t>(communicator.rank()));
        const std::size_t n = scan.n_channel();
        std::vector<float> line(n_translation * n);
        for (std::size_t i = rows.begin; i < rows.end; ++i) {
            scan.file().read_rows({i, i + 1}, scan.channels(), line);
            for (std::size_t j = 0; j < n_translation; ++j) {
                double total = 0;
                for (std::size_t k = 0; k < n; ++k)
                    total += line[j * n + k];
                const std::size_t ray = i * n_translation + j;
                sum[ray] = total * ray_factor(context, ray);
            }
        }
    });
    // NaN marks missing rays and must survive the exchange of sums.
    std::vector<double> missing(sum.size(), 0.0);
    for (std::size_t i = 0; i < sum.size(); ++i)
        if (!std::isfinite(sum[i])) {
            missing[i] = 1;
            sum[i] = 0;
        }
    communicator.allreduce(std::span<double>(sum), mpi::Reduction::sum);
    communicator.allreduce(std::span<double>(missing), mpi::Reduction::sum);
    std::vector<float> result(sum.size());
    for (std::size_t i = 0; i < sum.size(); ++i)
        result[i] =
            missing[i] > 0 ? std::numeric_limits<float>::quiet_NaN() : static_cast<float>(sum[i]);
    return result;
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

float ray_factor(const StageContext& context, std::size_t ray, bool absorption) {
    const auto& monitor = context.scan.monitor_factor();
    const float factor = monitor.empty() ? 1.0F : monitor[ray];
    return context.transmission.empty() || !absorption ? factor
                                                       : factor / context.transmission[ray];
}

std::filesystem::path product_path(const settings::Job& job, const std::string& stage) {
    return job.output / (stage + ".nxs");
}

std::uint64_t fbp_memory(const Scan& scan, std::size_t channels) {
    const std::uint64_t rays = scan.geometry().rotation.size() * scan.geometry().translation.size();
    const std::uint64_t pixels = scan.grid().size();
    // Shard, its variances, the slab it is read into and the exchange's copies, the image; filtered
    // projections of 32 channels. Agrees with the peaks measured at 8, 32 and 64 channels within 20
    // %, from above.
    return base_memory + exchange_memory + 4 * channels * (4 * rays + pixels) + 4 * 32 * rays;
}

std::size_t channels_per_pass(const Scan& scan, int ranks, std::uint64_t memory_per_rank) {
    const std::size_t share =
        (scan.n_channel() + static_cast<std::size_t>(ranks) - 1) / static_cast<std::size_t>(ranks);
    // The ranks hold about 128 channels run_and_sync, so that a rank's share of the memory falls
    // with their number; few channels at a time make inefficient kernels.
    const std::size_t wanted = std::max<std::size_t>(8, 128 / static_cast<std::size_t>(ranks));
    std::size_t channels = std::min(wanted, std::max<std::size_t>(share, 1));
    if (memory_per_rank == 0)
        return channels;
    while (channels > 1 && fbp_memory(scan, channels) > memory_per_rank)
        channels -= channels > 8 ? 8 - (8 - channels % 8) % 8 : 1;
    if (fbp_memory(scan, channels) > memory_per_rank)
        throw Error(
            fmt::format("--memory: {:.0f} MB per rank do not hold one channel of this scan; "
                        "{:.0f} MB per rank are needed",
                        1e-6 * static_cast<double>(memory_per_rank),
                        1e-6 * static_cast<double>(fbp_memory(scan, 1))));
    return channels;
}

void condition_shard(const StageContext& context, std::size_t first_channel, std::size_t n_channel,
                     std::span<float> intensity, std::span<float> variance) {
    const auto& scan = context.scan;
    const std::size_t rays = n_channel ? intensity.size() / n_channel : 0;
    const bool errors = scan.noise() == settings::NoiseModel::errors;
    std::vector<float> per_pixel(n_channel, 1.0F);
    if (scan.noise() == settings::NoiseModel::counts && !scan.pixels().empty())
        for (std::size_t k = 0; k < n_channel; ++k) {
            const double pixels = scan.pixels()[first_channel + k];
            per_pixel[k] = pixels > 0 ? static_cast<float>(1 / pixels)
                                      : std::numeric_limits<float>::quiet_NaN();
        }
    for (std::size_t ray = 0; ray < rays; ++ray) {
        const float factor = ray_factor(context, ray);
        float* y = intensity.data() + ray * n_channel;
        if (!variance.empty()) {
            float* v = variance.data() + ray * n_channel;
            const float squared = factor * factor;
            for (std::size_t k = 0; k < n_channel; ++k)
                v[k] = squared * (errors ? v[k] * v[k] : std::abs(y[k]) * per_pixel[k]);
        }
        for (std::size_t k = 0; k < n_channel; ++k)
            y[k] *= factor;
    }
}

RunSummary run_job(const settings::Job& job, const RunOptions& options,
                   const mpi::Communicator& communicator) {
    program::Timings clock;
    RunSummary summary;
    auto scan = communicator.collectively([&] { return Scan::open(job); });

    StageContext context{job, options, communicator, scan, {}, {}, {}, {}};
    communicator.collectively([&] {
        for (const auto& stage : job.stages) {
            if (stage == "absorption" && job.absorption.method == "none")
                continue;
            const auto path = product_path(job, stage);
            if (std::filesystem::exists(path) && !options.force && !options.resume)
                throw Error(
                    fmt::format("{} exists; --force replaces it, --resume keeps it if it was made "
                                "with the same settings",
                                path.string()));
        }
        // Structures are checked before hours go into a reconstruction.
        if (std::find(job.stages.begin(), job.stages.end(), "rietveld") != job.stages.end())
            for (const auto& phase : job.phases)
                files::read_phase(phase.cif, phase.name);
        if (communicator.is_root()) {
            std::error_code code;
            std::filesystem::create_directories(job.output, code);
            if (code)
                throw Error(fmt::format("{}: the output folder cannot be made: {}",
                                        job.output.string(), code.message()));
        }
        if (job.absorption.method == "transmission") {
            context.transmission = scan.transmission();
            std::size_t masked = 0;
            for (float& value : context.transmission)
                if (!(std::isfinite(value) && value > 0)) {
                    value = std::numeric_limits<float>::quiet_NaN();
                    ++masked;
                }
            if (masked > 0)
                context.notes.push_back(
                    fmt::format("{} rays have no valid transmission and are left out", masked));
        }
        if (options.memory)
            channels_per_pass(scan, communicator.size(),
                              options.memory / static_cast<std::uint64_t>(communicator.size()));
    });
    context.provenance.job = job.resolved;
    context.provenance.inputs = program::input_checksums(job, communicator);
    context.provenance.ranks = communicator.size();
    context.provenance.date = nexus::now_utc();
    communicator.broadcast(context.provenance.date);
    if (std::any_of(job.stages.begin(), job.stages.end(),
                    [](const auto& stage) { return stage != "rietveld"; }))
        find_axis(context);

    auto* record = program::RunRecord::current();
    if (record) {
        auto stages = job.stages;
        if (job.absorption.method == "none")
            std::erase(stages, "absorption");
        record->begin(job.output, stages, communicator.size());
    }
    for (const auto& stage : job.stages) {
        if (stage == "absorption" && job.absorption.method == "none")
            continue;
        program::stop_if_asked(communicator);
        if (record)
            record->enter_stage(stage);
        const auto path = product_path(job, stage);
        context.provenance.stage = stage;
        context.provenance.settings = job.resolved_for(stage);
        // Rank 0 decides, as another rank may see the folder a moment later on a network file
        // system.
        int reuse = communicator.collectively([&] {
            if (!communicator.is_root() || !options.resume || !std::filesystem::exists(path))
                return 0;
            const auto earlier = program::read_provenance(path, stage);
            if (earlier.settings == context.provenance.settings &&
                earlier.inputs == context.provenance.inputs)
                return 1;
            if (!options.force)
                throw Error(
                    fmt::format("{} was made with other settings or inputs; --force replaces it",
                                path.string()));
            return 0;
        });
        communicator.broadcast(reuse);
        if ((stage == "fbp" || stage == "dlsr") && job.absorption.method == "phases" &&
            context.transmission.empty())
            context.transmission = communicator.collectively(
                [&] { return read_absorption_product(job).transmission; });
        if (reuse) {
            // A run that was killed after its product was complete may have left it.
            if (std::error_code code; stage == "dlsr" && communicator.is_root())
                std::filesystem::remove(job.output / "dlsr-checkpoint.nxs", code);
            summary.stages.push_back({stage, path, true, 0, {}, {}});
            if (record)
                record->leave_stage("kept");
            continue;
        }
        summary.stages.push_back(stage == "absorption" ? run_absorption_stage(context)
                                 : stage == "fbp"      ? run_fbp_stage(context)
                                 : stage == "rietveld" ? run_rietveld_stage(context)
                                                       : run_dlsr_stage(context));
#ifdef __GLIBC__
        // What a stage has freed in small pieces (lists of segments to write, say) is not the next
        // one's burden.
        malloc_trim(0);
#endif
        if (record)
            record->leave_stage("finished");
    }
    summary.peak_memory = communicator.gather(std::vector<double>{peak_memory_bytes()});
    summary.notes = job.notes;
    summary.notes.insert(summary.notes.end(), context.notes.begin(), context.notes.end());
    if (communicator.is_root())
        if (const auto left = left_behind(job.output); !left.empty())
            summary.notes.push_back(left);
    clock.lap("all");
    summary.seconds = clock.total();
    return summary;
}

} // namespace xrdct::pipeline
