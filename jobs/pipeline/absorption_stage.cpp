#include "absorption/self_absorption.hpp"
#include "base/error.hpp"
#include "base/units.hpp"
#include "crystal/attenuation.hpp"
#include "jobs/pipeline/pipeline.hpp"
#include "jobs/program/progress.hpp"
#include "mpi/comm/decomposition.hpp"
#include "mpi/nexus/nexus.hpp"
#include "mpi/nexus/product_file.hpp"
#include "rietveld/fit/refinement.hpp"
#include "rietveld/voxel/ray_decomposition.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

namespace xrdct::pipeline {

namespace {

/// What the rays tell before any model: mean pattern and summed intensity.
struct RaySums {
    std::vector<double> mean; ///< [channel], over valid rays
    std::vector<float>
        total;             ///< [rotation][translation], monitor applied, no absorption correction
    double half_width = 0; ///< of the object as seen by all rotations [mm]
    double lateral_spread = 0; ///< standard deviation of the intensity along the translation [mm]
};

/// Reads the rotations of this rank; `each` gets rotation index and its rays [translation][channel]
/// with the monitor applied. Not collective.
template <typename Each>
void for_own_rotations(const StageContext& context, Each&& each) {
    const auto& scan = context.scan;
    const auto& communicator = context.communicator;
    const std::size_t n_translation = scan.geometry().translation.size(), n = scan.n_channel();
    const auto rows = mpi::block_range(scan.geometry().rotation.size(),
                                       static_cast<std::size_t>(communicator.size()),
                                       static_cast<std::size_t>(communicator.rank()));
    std::vector<float> line(n_translation * n);
    for (std::size_t i = rows.begin; i < rows.end; ++i) {
        scan.file().read_rows({i, i + 1}, scan.channels(), line);
        for (std::size_t j = 0; j < n_translation; ++j) {
            const float factor = ray_factor(context, i * n_translation + j, false);
            for (std::size_t k = 0; k < n; ++k)
                line[j * n + k] *= factor;
        }
        each(i, std::span<const float>(line));
    }
}

RaySums sum_rays(const StageContext& context) {
    const auto& scan = context.scan;
    const auto& communicator = context.communicator;
    const std::size_t n_translation = scan.geometry().translation.size(), n = scan.n_channel();
    const std::size_t rays = scan.geometry().rotation.size() * n_translation;
    std::vector<double> sums(2 * n, 0.0);
    RaySums result;
    result.total.assign(rays, 0.0F);
    communicator.collectively([&] {
        for_own_rotations(context, [&](std::size_t i, std::span<const float> line) {
            for (std::size_t j = 0; j < n_translation; ++j) {
                double total = 0;
                for (std::size_t k = 0; k < n; ++k) {
                    const float value = line[j * n + k];
                    total += value;
                    if (std::isfinite(value)) {
                        sums[k] += value;
                        sums[n + k] += 1;
                    }
                }
                result.total[i * n_translation + j] = static_cast<float>(total);
            }
        });
    });
    communicator.allreduce(std::span<double>(sums), mpi::Reduction::sum);
    communicator.allreduce(std::span<float>(result.total), mpi::Reduction::sum);
    for (std::size_t k = 0; k < n; ++k)
        result.mean.push_back(sums[n + k] > 0 ? sums[k] / sums[n + k]
                                              : std::numeric_limits<double>::quiet_NaN());

    const double step = scan.geometry().step(), origin = scan.geometry().origin_index();
    float highest = 0;
    for (const float value : result.total)
        if (std::isfinite(value))
            highest = std::max(highest, value);
    double mass = 0, squares = 0;
    for (std::size_t i = 0; i < rays; ++i) {
        const double s = (static_cast<double>(i % n_translation) - origin) * step;
        if (!(result.total[i] > 0.02F * highest))
            continue;
        result.half_width = std::max(result.half_width, std::abs(s));
        mass += result.total[i];
        squares += result.total[i] * s * s;
    }
    result.lateral_spread = mass > 0 ? std::sqrt(squares / mass) : 0;
    return result;
}

/// Counting noise of a typical ray up to a factor; 0 in excluded channels and those without data.
std::vector<double> typical_variance(const settings::Job& job, const rietveld::RadialAxis& axis,
                                     const std::vector<double>& mean) {
    double highest = 0;
    for (const double value : mean)
        if (std::isfinite(value))
            highest = std::max(highest, value);
    std::vector<double> variance;
    for (std::size_t k = 0; k < mean.size(); ++k) {
        const double place = axis.two_theta()[k];
        const bool excluded = std::any_of(
            job.rietveld.excluded.begin(), job.rietveld.excluded.end(),
            [&](const auto& region) { return place >= region.first && place <= region.second; });
        variance.push_back(!excluded && std::isfinite(mean[k]) ? std::max(mean[k], 1e-3 * highest)
                                                               : 0.0);
    }
    return variance;
}

/// The start model refined on the mean of all rays, where parallax has broadened every phase's
/// lines by what its depths along the beam do; widths then go back to those of the phases.
rietveld::PatternModel model_of_rays(const StageContext& context, const RaySums& sums,
                                     const rietveld::RadialAxis& axis,
                                     std::vector<std::string>& notes) {
    const auto& job = context.job;
    auto model = start_model(job, context.scan.wavelength(), notes);
    const double distance = context.scan.geometry().distance;
    // Depths spread as lateral positions do, seen from all sides. A relative shift of 2 θ by σ_z /
    // D is a Gaussian FWHM of 2 √(2 ln 2) · 2 tan θ · σ_z / D = 4 ε_G tan θ.
    const double strain =
        std::isfinite(distance) ? std::sqrt(2 * std::log(2.0)) * sums.lateral_spread / distance : 0;
    std::vector<double> own;
    for (auto& phase : model.phases) {
        own.push_back(phase.gauss_microstrain.value);
        phase.size.refine = phase.microstrain.refine = phase.b_overall.refine = false;
        phase.gauss_microstrain.value = std::hypot(phase.gauss_microstrain.value, strain);
        phase.gauss_microstrain.refine = strain > 1e-5;
    }
    rietveld::RefinementOptions options;
    options.scale_errors = true;
    options.cell_search = 0.03;
    if (!job.rietveld.refine_start)
        options.max_iterations = 0;
    const auto variance = typical_variance(job, axis, sums.mean);
    auto fit = refine(axis, sums.mean, variance, model, options);
    if (fit.status != rietveld::FitStatus::converged && job.rietveld.refine_start)
        notes.push_back(fmt::format("absorption: the model on the mean of all rays: {}{}",
                                    to_string(fit.status),
                                    fit.message.empty() ? "" : "; " + fit.message));
    for (std::size_t p = 0; p < fit.model.phases.size(); ++p)
        fit.model.phases[p].gauss_microstrain.value = own[p];
    return fit.model;
}

/// Amounts ∫ S dl per phase [phase][rotation][translation], not corrected for absorption; on the
/// root only. Collective.
std::vector<std::vector<float>> amounts_of_rays(const StageContext& context, const RaySums& sums,
                                                const rietveld::PatternModel& model,
                                                const rietveld::RadialAxis& axis) {
    const auto& job = context.job;
    const auto& geometry = context.scan.geometry();
    const auto& communicator = context.communicator;
    const std::size_t n_translation = geometry.translation.size(), n = context.scan.n_channel();
    const std::size_t rays = geometry.rotation.size() * n_translation;
    std::vector<std::vector<float>> own(model.phases.size());
    program::Progress progress("absorption: amounts along rays", geometry.rotation.size(),
                               communicator.is_root());
    communicator.collectively([&] {
        rietveld::RayAmountOptions options;
        if (std::isfinite(geometry.distance)) {
            options.distance = geometry.distance;
            options.depths.clear();
            for (long i = 0; i < job.absorption.depths; ++i)
                options.depths.push_back(
                    job.absorption.depths == 1
                        ? 0.0
                        : sums.half_width * 0.98 *
                              (2.0 * static_cast<double>(i) /
                                   static_cast<double>(job.absorption.depths - 1) -
                               1));
        }
        for (const auto& phase : job.phases)
            if (std::any_of(phase.cell.begin(), phase.cell.end(),
                            [](settings::Treatment t) { return t == settings::Treatment::voxel; }))
                options.varying_cells.push_back(phase.name);
        const auto variance = typical_variance(job, axis, sums.mean);
        const rietveld::RayAmounts along(axis, model, variance, options);
        rietveld::RayAmounts::Workspace workspace(along);
        std::vector<double> amounts(along.phase_count() + along.peak_count());
        std::size_t done = 0;
        for_own_rotations(context, [&](std::size_t, std::span<const float> line) {
            for (std::size_t j = 0; j < n_translation; ++j) {
                along.fit(line.subspan(j * n, n), amounts, workspace);
                for (std::size_t p = 0; p < own.size(); ++p)
                    own[p].push_back(static_cast<float>(amounts[p]));
            }
            progress.update(++done * static_cast<std::size_t>(communicator.size()));
        });
    });
    // The ranks' rotations follow each other.
    std::vector<std::vector<float>> result;
    for (auto& amounts : own) {
        result.push_back(communicator.gather(amounts));
        std::vector<float>().swap(amounts);
    }
    progress.finish(fmt::format("{} rays", rays));
    return result;
}

absorption::AmountCalibration calibration_of(const settings::AbsorptionSettings& settings) {
    const auto& name = settings.calibration;
    if (name == "transmission" || (name == "auto" && settings.method == "transmission"))
        return absorption::AmountCalibration::transmission;
    if (name == "plateau")
        return absorption::AmountCalibration::plateau;
    return name == "constant" ? absorption::AmountCalibration::given
                              : absorption::AmountCalibration::can_wall;
}

void write_rays(hdf5::Group& group, const Scan& scan, const std::string& name,
                std::span<const float> values, const nexus::Labels& labels) {
    nexus::write_map(group, name, std::vector<double>(values.begin(), values.end()),
                     scan.geometry().rotation.size(), scan.geometry().translation.size(), labels);
}

void write_ray_axes(hdf5::Group& group, const Scan& scan) {
    nexus::write_axis(group, "rotation_angle", scan.geometry().rotation, {"deg", "rotation angle"});
    nexus::write_axis(group, "translation", scan.geometry().translation, {"mm", "translation"});
}

void write_phases(hdf5::Group& stage, const Scan& scan, const rietveld::PatternModel& model,
                  const absorption::SelfAbsorptionResult& result) {
    const tomography::ImageGrid grid = scan.grid();
    std::vector<std::vector<double>> density;
    std::vector<double> sum(grid.size(), 0.0);
    for (std::size_t p = 0; p < model.phases.size(); ++p) {
        const auto& phase = model.phases[p];
        const double rho =
            atomic_mass_g_per_cm3 * phase.phase.cell_mass() / phase.unit_cell().volume();
        density.emplace_back();
        for (const float fraction : result.volume_fractions[p])
            density.back().push_back(rho * fraction);
        for (std::size_t i = 0; i < sum.size(); ++i)
            sum[i] += density.back()[i];
    }
    double mass = 0;
    std::vector<double> masses;
    for (const auto& map : density) {
        double total = 0;
        for (const double value : map)
            total += value;
        masses.push_back(total);
        mass += total;
    }
    double highest = 0;
    for (std::size_t i = 0; i < sum.size(); ++i)
        if (result.sample[i])
            highest = std::max(highest, sum[i]);
    for (std::size_t p = 0; p < model.phases.size(); ++p) {
        auto group =
            nexus::require_data(stage, model.phases[p].name, "volume_fraction", {"y", "x"});
        const auto& fraction = result.volume_fractions[p];
        nexus::write_map(group, "volume_fraction",
                         std::vector<double>(fraction.begin(), fraction.end()), grid.n, grid.n,
                         {"", "volume fraction"});
        nexus::write_map(group, "density", density[p], grid.n, grid.n, {"g/cm^3", "density"});
        std::vector<double> weight(grid.size(), std::numeric_limits<double>::quiet_NaN());
        for (std::size_t i = 0; i < weight.size(); ++i)
            if (sum[i] > 0.02 * highest)
                weight[i] = density[p][i] / sum[i];
        nexus::write_map(group, "weight_fraction", weight, grid.n, grid.n,
                         {"", "weight fraction of the crystalline part"});
        write_image_axes(group, grid);
        group.set_attribute("whole_weight_fraction", mass > 0 ? masses[p] / mass : 0.0);
        auto rays = nexus::require_data(stage, model.phases[p].name + "_rays", "path_length",
                                        {"rotation_angle", "translation"});
        write_rays(rays, scan, "path_length", result.path_lengths[p],
                   {"mm", "path length in the phase"});
        write_ray_axes(rays, scan);
    }
}

} // namespace

AbsorptionProduct read_absorption_product(const settings::Job& job) {
    const auto path = product_path(job, "absorption");
    if (!std::filesystem::exists(path))
        throw Error(fmt::format("{} is missing; the job's absorption.method needs the absorption "
                                "stage's product",
                                path.string()));
    if (program::read_provenance(path, "absorption").settings != job.resolved_for("absorption"))
        throw Error(fmt::format("{} was made with other settings for the scan, the phases or the "
                                "absorption than the job's; run the absorption stage again",
                                path.string()));
    const auto file = hdf5::File::open(path, hdf5::Access::read_only);
    const auto stage = file.root().open_group("entry/absorption");
    AbsorptionProduct product;
    product.transmission = stage.open_dataset("rays/transmission").read_all<float>();
    product.mu = stage.open_dataset("attenuation/mu").read_all<float>();
    product.constant = nexus::read_value(stage, "amount_constant");
    return product;
}

StageSummary run_absorption_stage(StageContext& context) {
    program::Timings timings;
    const auto& job = context.job;
    const auto& scan = context.scan;
    const auto& communicator = context.communicator;
    const auto path = product_path(job, "absorption");
    const tomography::ImageGrid grid = scan.grid();
    const auto& settings = job.absorption;
    const bool patterns = !scan.two_theta().empty() && !std::isnan(scan.wavelength());
    const bool fitted =
        std::find(job.stages.begin(), job.stages.end(), "rietveld") != job.stages.end();
    bool phases = settings.method == "phases" || (!job.phases.empty() && patterns && fitted);
    if (settings.method == "phases" && !patterns)
        throw Error(fmt::format("{}: absorption.method = \"phases\" needs a radial axis and a "
                                "wavelength",
                                job.source.string()));

    absorption::SelfAbsorptionResult result;
    rietveld::PatternModel model;
    const auto use_phases = [&] {
        const auto axis = communicator.collectively([&] {
            return rietveld::RadialAxis::from_two_theta(scan.two_theta(), scan.wavelength());
        });
        const auto sums = sum_rays(context);
        timings.lap("read");
        std::vector<std::string> notes;
        model =
            communicator.collectively([&] { return model_of_rays(context, sums, axis, notes); });
        for (const auto& note : notes)
            context.notes.push_back(note);
        timings.lap("start model");
        auto amounts = amounts_of_rays(context, sums, model, axis);
        timings.lap("amounts");
        program::Progress progress("absorption", static_cast<std::size_t>(settings.max_iterations),
                                   communicator.is_root());
        // Two-dimensional all of it, and quick: the root's work and memory.
        result = communicator.collectively([&] {
            if (!communicator.is_root())
                return absorption::SelfAbsorptionResult{};
            const double energy = energy_from_wavelength(scan.wavelength());
            absorption::SelfAbsorptionInput input;
            for (std::size_t p = 0; p < model.phases.size(); ++p) {
                const auto& phase = model.phases[p];
                const double volume = phase.unit_cell().volume();
                const double rho = atomic_mass_g_per_cm3 * phase.phase.cell_mass() / volume;
                input.mu.push_back(0.1 * rho * phase.phase.mass_attenuation(energy));
                input.amounts.push_back(std::move(amounts[p]));
                for (float& value : input.amounts.back())
                    value *= static_cast<float>(volume * volume);
            }
            input.total = sums.total;
            if (settings.method == "transmission")
                input.transmission = context.transmission;
            absorption::SelfAbsorptionOptions options;
            options.calibration = calibration_of(settings);
            options.constant = std::isnan(settings.constant) ? 0 : settings.constant;
            options.reference_fraction = settings.reference_fraction;
            for (std::size_t p = 0; p < job.phases.size(); ++p)
                if (job.phases[p].name == settings.reference_phase)
                    options.reference = p;
            if (!settings.filling.empty())
                options.filling = 0.1 * settings.filling_density *
                                  crystal::mass_attenuation(settings.filling, energy);
            options.hollow_diameter = settings.hollow_diameter;
            options.mask_threshold = settings.sample_threshold;
            options.fbp = fbp_options(job);
            options.tolerance = settings.tolerance;
            options.max_iterations = static_cast<int>(settings.max_iterations);
            return correct_self_absorption(scan.geometry(), grid, input, options,
                                           [&](int iteration, double) {
                                               progress.update(static_cast<std::size_t>(iteration));
                                               return true;
                                           });
        });
        communicator.broadcast(result.transmission);
        context.transmission = result.transmission;
        if (communicator.is_root() && !result.converged)
            context.notes.push_back(fmt::format(
                "absorption: not converged after {} iterations; the transmission still changed by "
                "{:.4f}",
                result.iterations, result.changes.back()));
        if (communicator.is_root() && result.opaque > 0)
            context.notes.push_back(fmt::format(
                "absorption: for {} rays no transmission agrees with the amounts of the phases; "
                "they were given the least possible",
                result.opaque));
        progress.finish(settings.method == "phases"
                            ? fmt::format("{} iterations", result.iterations)
                            : std::string("calibrated"));
        timings.lap("compute");
    };
    if (settings.method == "phases") {
        use_phases();
    } else if (phases) {
        // The correction itself needs no phases: what they cannot tell costs volumes only.
        try {
            use_phases();
        } catch (const Error& error) {
            phases = false;
            context.notes.push_back(
                fmt::format("no volume fractions and densities: {}", error.what()));
        }
    }
    if (!phases) {
        result = communicator.collectively([&] {
            absorption::SelfAbsorptionResult map;
            map.transmission = context.transmission;
            std::vector<float> path_integral(context.transmission.size());
            for (std::size_t i = 0; i < path_integral.size(); ++i)
                path_integral[i] = -std::log(context.transmission[i]);
            map.mu_map.resize(grid.size());
            tomography::FilteredBackProjection(scan.geometry(), grid, fbp_options(job))
                .reconstruct(path_integral, 1, map.mu_map);
            return map;
        });
        timings.lap("compute");
    }

    communicator.collectively([&] {
        if (!communicator.is_root())
            return;
        auto product = nexus::ProductFile::create(path, context.options.force
                                                            ? nexus::ProductFile::Existing::replace
                                                            : nexus::ProductFile::Existing::refuse);
        {
            auto stage = write_provenance(product.root(), context.provenance, job.title);
            auto map = nexus::require_data(stage, "attenuation", "mu", {"y", "x"});
            nexus::write_map(map, "mu",
                             std::vector<double>(result.mu_map.begin(), result.mu_map.end()),
                             grid.n, grid.n, {"1/mm", "linear attenuation coefficient"});
            write_image_axes(map, grid);
            auto rays = nexus::require_data(stage, "rays", "transmission",
                                            {"rotation_angle", "translation"});
            write_rays(rays, scan, "transmission", result.transmission,
                       {"", "transmission of the ray"});
            std::vector<float> factor;
            for (const float value : result.transmission)
                factor.push_back(1 / value);
            write_rays(rays, scan, "correction_factor", factor,
                       {"", "factor that corrects the intensity"});
            write_ray_axes(rays, scan);
            if (phases) {
                nexus::write_value(stage, "amount_constant", result.constant,
                                   {"", "volume fraction over scale times cell volume squared"});
                write_phases(stage, scan, model, result);
                if (result.wall) {
                    auto ring = nexus::require_class(stage, "ring", "NXcollection");
                    nexus::write_value(ring, "centre_x", result.wall->centre_x, {"mm", ""});
                    nexus::write_value(ring, "centre_y", result.wall->centre_y, {"mm", ""});
                    nexus::write_value(ring, "outer_radius", result.wall->outer_radius, {"mm", ""});
                    nexus::write_value(ring, "inner_radius", result.wall->inner_radius, {"mm", ""});
                    nexus::write_value(ring, "hollow_diameter", result.hollow_diameter, {"mm", ""});
                    nexus::write_value(ring, "misfit", result.wall->misfit, {"", ""});
                }
                if (!result.changes.empty()) {
                    auto history =
                        nexus::require_data(stage, "convergence", "change", {"iteration"});
                    history.write_array("change", {result.changes.size()},
                                        std::span<const double>(result.changes));
                    std::vector<double> iterations;
                    for (std::size_t i = 0; i < result.changes.size(); ++i)
                        iterations.push_back(static_cast<double>(i + 1));
                    nexus::write_axis(history, "iteration", iterations, {"", "iteration"});
                }
            }
            stage.write_string(
                "method",
                settings.method == "transmission"
                    ? "measured transmission, zero order: intensity / transmission"
                    : "transmission from the amounts of the phases along every ray, zero order; "
                      "iterated until it agrees with the amounts that it corrects");
            timings.lap("write");
            write_timings(stage, timings);
            nexus::set_default(map);
        }
        product.commit();
    });
    std::map<std::string, double> numbers;
    if (phases) {
        numbers["amount_constant"] = result.constant;
        numbers["iterations"] = result.iterations;
        numbers["converged"] = result.converged ? 1 : 0;
    }
    return {"absorption", path, false, timings.total(), timings.parts(), numbers};
}

} // namespace xrdct::pipeline
