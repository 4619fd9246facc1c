#include "absorption/image_levels.hpp"
#include "base/error.hpp"
#include "base/numbers.hpp"
#include "jobs/pipeline/map_output.hpp"
#include "jobs/pipeline/mask_image.hpp"
#include "jobs/pipeline/pipeline.hpp"
#include "jobs/program/progress.hpp"
#include "jobs/settings/model_settings.hpp"
#include "maps/phase_mask.hpp"
#include "mpi/comm/decomposition.hpp"
#include "mpi/comm/node_team.hpp"
#include "mpi/nexus/nexus.hpp"
#include "mpi/nexus/product_file.hpp"
#include "rietveld/fit/refinement.hpp"
#include "rietveld/voxel/voxel_fitter.hpp"
#include "solvers/voxels/global_widths.hpp"
#include "solvers/voxels/voxelwise_rietveld.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace xrdct::pipeline {

namespace {

/// Voxels whose patterns tell the widths that hold for the whole object.
constexpr std::size_t width_sample = 800;

/// The reconstructed volume on disk, opened for reading by one rank.
class VolumeFile {
  public:
    explicit VolumeFile(const std::filesystem::path& path)
        : file_(hdf5::File::open(path, hdf5::Access::read_only)),
          stage_(file_.root().open_group("entry/fbp")),
          intensity_(stage_.open_dataset("volume/intensity")),
          variance_(stage_.open_dataset("volume/coarse_variance")) {
        n_ = intensity_.shape().at(0);
        channels_ = intensity_.shape().at(2);
        coarse_ = variance_.shape().at(0);
        x_ = stage_.open_dataset("volume/x").read_all<double>();
        two_theta_ = stage_.open_dataset("volume/two_theta").read_all<double>();
        total_ = stage_.open_dataset("total/total").read_all<double>();
        coarse_pixel_ = variance_.number_attribute("pixel").value_or(1.0);
        relative_variance_ = variance_.string_attribute("kind").value_or("relative") == "relative";
        wavelength_ = nexus::read_value(stage_, "incident_wavelength").value_or(nan_value);
    }

    /// Channels in these regions [deg 2θ] get no variance, which leaves them out of every fit.
    void exclude(const std::vector<std::pair<double, double>>& regions) {
        for (std::size_t k = 0; k < channels_; ++k)
            for (const auto& [from, to] : regions)
                if (two_theta_[k] >= from && two_theta_[k] <= to)
                    excluded_.push_back(k);
    }

    std::size_t n() const { return n_; }
    std::size_t channels() const { return channels_; }
    const std::vector<double>& x() const { return x_; }
    const std::vector<double>& two_theta() const { return two_theta_; }
    const std::vector<double>& total() const { return total_; }
    bool relative_variance() const { return relative_variance_; }
    double wavelength() const { return wavelength_; }

    /// Pixels [x][channel] of one row.
    void read_row(std::size_t y, std::vector<float>& out) const {
        out.resize(n_ * channels_);
        intensity_.read(hdf5::Selection{{y, 0, 0}, {1, n_, channels_}}, std::span<float>(out));
    }

    /// Position of an image row or column on the coarse grid of variances: lower index and
    /// fraction.
    std::pair<std::size_t, double> coarse_position(std::size_t i) const {
        const double centre = 0.5 * (static_cast<double>(coarse_) - 1);
        const double position =
            std::clamp(x_[i] / coarse_pixel_ + centre, 0.0, static_cast<double>(coarse_) - 1);
        const auto lower = std::min(static_cast<std::size_t>(position),
                                    coarse_ > 1 ? coarse_ - 2 : std::size_t{0});
        return {lower, position - static_cast<double>(lower)};
    }

    /// Variances interpolated to row y: [coarse x][channel].
    void read_variance_row(std::size_t y, std::vector<float>& out) const {
        const auto [lower, fraction] = coarse_position(y);
        const std::size_t rows = std::min<std::size_t>(2, coarse_);
        std::vector<float> pair(rows * coarse_ * channels_);
        variance_.read(hdf5::Selection{{lower, 0, 0}, {rows, coarse_, channels_}},
                       std::span<float>(pair));
        out.resize(coarse_ * channels_);
        for (std::size_t i = 0; i < out.size(); ++i)
            out[i] = rows == 1 ? pair[i] : blend(pair[i], pair[out.size() + i], fraction);
    }

    /// Variance [channel] at column x from a row of read_variance_row().
    void variance_at(const std::vector<float>& row, std::size_t x, float* out) const {
        const auto [lower, fraction] = coarse_position(x);
        const float* a = row.data() + lower * channels_;
        const float* b = coarse_ > 1 ? a + channels_ : a;
        for (std::size_t k = 0; k < channels_; ++k)
            out[k] = blend(a[k], b[k], fraction);
        for (const std::size_t k : excluded_)
            out[k] = std::numeric_limits<float>::quiet_NaN();
    }

  private:
    /// Linear interpolation; a neighbour outside the field of view (variance 0) does not count.
    static float blend(float a, float b, double fraction) {
        if (!(b > 0))
            return a;
        if (!(a > 0))
            return b;
        return static_cast<float>((1 - fraction) * a + fraction * b);
    }

    hdf5::File file_;
    hdf5::Group stage_;
    hdf5::Dataset intensity_, variance_;
    std::size_t n_ = 0, channels_ = 0, coarse_ = 0;
    std::vector<double> x_, two_theta_, total_;
    double coarse_pixel_ = 1, wavelength_ = nan_value;
    bool relative_variance_ = false;
    std::vector<std::size_t> excluded_;
};

struct MeanPattern {
    std::vector<double> intensity, variance;
    std::size_t voxels = 0;
};

/// Mean over the mask; the rows are shared out, the sums exchanged. Collective.
MeanPattern mean_pattern(const VolumeFile& volume, const std::vector<unsigned char>& mask,
                         const mpi::Communicator& communicator) {
    const std::size_t n = volume.n(), channels = volume.channels();
    std::vector<double> sums(2 * channels + 1, 0.0);
    communicator.collectively([&] {
        const auto rows = mpi::block_range(n, static_cast<std::size_t>(communicator.size()),
                                           static_cast<std::size_t>(communicator.rank()));
        std::vector<float> line, variance_line, variance(channels);
        for (std::size_t y = rows.begin; y < rows.end; ++y) {
            const auto* in_row = mask.data() + y * n;
            if (std::none_of(in_row, in_row + n, [](unsigned char m) { return m != 0; }))
                continue;
            volume.read_row(y, line);
            volume.read_variance_row(y, variance_line);
            for (std::size_t x = 0; x < n; ++x) {
                if (!in_row[x])
                    continue;
                volume.variance_at(variance_line, x, variance.data());
                for (std::size_t k = 0; k < channels; ++k) {
                    sums[k] += line[x * channels + k];
                    sums[channels + k] += variance[k];
                }
                sums[2 * channels] += 1;
            }
        }
    });
    communicator.allreduce(std::span<double>(sums), mpi::Reduction::sum);
    MeanPattern mean;
    const double count = sums.back();
    mean.voxels = static_cast<std::size_t>(count);
    mean.intensity.assign(sums.begin(), sums.begin() + static_cast<std::ptrdiff_t>(channels));
    mean.variance.assign(sums.begin() + static_cast<std::ptrdiff_t>(channels), sums.end() - 1);
    for (double& value : mean.intensity)
        value /= count;
    for (double& value : mean.variance)
        value /= count * count;
    return mean;
}

/// Marks what is refined in every voxel.
rietveld::VoxelFitOptions voxel_options(const settings::Job& job, rietveld::PatternModel& model,
                                        bool relative_variance) {
    rietveld::VoxelFitOptions options;
    for (std::size_t p = 0; p < job.phases.size(); ++p) {
        const auto free = model.phases[p].phase.free_parameters();
        bool any = false;
        for (std::size_t i = 0; i < free.size(); ++i) {
            const bool voxel =
                job.phases[p].cell[static_cast<std::size_t>(free[i])] == settings::Treatment::voxel;
            model.phases[p].cell[i].refine = voxel;
            any = any || voxel;
        }
        if (any)
            options.cell_phases.push_back(job.phases[p].name);
    }
    for (const auto& peak : job.peaks)
        if (peak.position_treatment == settings::Treatment::voxel)
            options.position_peaks.push_back(peak.name);
    options.significance = job.rietveld.significance;
    options.max_iterations = static_cast<int>(job.rietveld.max_iterations);
    options.scale_errors = relative_variance;
    return options;
}

nlohmann::json start_model_json(const rietveld::RefinementResult& start, std::size_t voxels) {
    nlohmann::json json;
    json["status"] = std::string(to_string(start.status));
    json["message"] = start.message;
    json["voxels"] = voxels;
    json["rp"] = start.agreement.rp;
    json["rwp"] = start.agreement.rwp;
    json["rexp"] = start.agreement.rexp;
    json["gof"] = start.agreement.gof;
    for (const auto& parameter : start.parameters)
        json["parameters"].push_back({{"name", parameter.name},
                                      {"value", parameter.value},
                                      {"esd", parameter.esd},
                                      {"unit", parameter.unit}});
    for (const auto& phase : start.phases) {
        nlohmann::json entry{{"name", phase.name},
                             {"weight_fraction", phase.weight_fraction},
                             {"weight_fraction_esd", phase.weight_fraction_esd},
                             {"r_bragg", phase.r_bragg}};
        for (std::size_t i = 0; i < phase.cell.size(); ++i) {
            const std::string name(to_string(phase.cell_parameters[i]));
            entry[name] = phase.cell[i];
            entry[name + "_esd"] = phase.cell_esd[i];
        }
        json["phases"].push_back(entry);
    }
    return json;
}

/// Widths to refine on voxels: of phases whose cell varies, and of their twins with the same
/// structure; the mean pattern would take the variation for broad lines.
std::vector<voxels::GlobalWidth> voxel_widths(const settings::Job& job) {
    const auto varies = [](const settings::PhaseSettings& phase) {
        return std::any_of(phase.cell.begin(), phase.cell.end(),
                           [](settings::Treatment t) { return t == settings::Treatment::voxel; });
    };
    std::vector<voxels::GlobalWidth> widths;
    for (std::size_t p = 0; p < job.phases.size(); ++p) {
        const auto& phase = job.phases[p];
        if (std::none_of(job.phases.begin(), job.phases.end(),
                         [&](const settings::PhaseSettings& other) {
                             return varies(other) && other.cif == phase.cif;
                         }))
            continue;
        if (phase.size_treatment == settings::Treatment::global)
            widths.push_back({p, voxels::GlobalWidth::Kind::size});
        if (phase.microstrain_treatment == settings::Treatment::global)
            widths.push_back({p, voxels::GlobalWidth::Kind::microstrain});
        if (phase.gauss_microstrain_treatment == settings::Treatment::global)
            widths.push_back({p, voxels::GlobalWidth::Kind::gauss_microstrain});
    }
    return widths;
}

/// Masks [phase][y][x], derived from the maps of a first fit (on the root) or edited; the same on
/// all ranks. Collective.
std::vector<std::vector<unsigned char>> phase_masks(const StageContext& context,
                                                    const voxels::VoxelwiseResult& fits,
                                                    const std::vector<unsigned char>& sample,
                                                    std::size_t n) {
    const auto& job = context.job;
    const auto& communicator = context.communicator;
    std::vector<std::vector<unsigned char>> masks(job.phases.size());
    communicator.collectively([&] {
        if (!communicator.is_root())
            return;
        const auto map_of = [&](const std::string& phase, const std::string& quantity) {
            for (const auto& map : fits.maps)
                if (map.quantity.group == phase && map.quantity.quantity == quantity)
                    return std::span<const double>(map.values);
            throw Error("there is no map of the " + quantity + " of " + phase);
        };
        maps::PhaseMaskOptions options;
        options.significance = job.mask.significance;
        options.fraction = job.mask.fraction;
        options.growth = static_cast<int>(job.mask.growth);
        for (std::size_t p = 0; p < job.phases.size(); ++p) {
            const auto& name = job.phases[p].name;
            const auto image = job.mask.images / (name + ".pgm");
            if (!job.mask.images.empty() && std::filesystem::exists(image)) {
                masks[p] = read_mask_image(image, n, n);
                for (std::size_t i = 0; i < masks[p].size(); ++i)
                    masks[p][i] = masks[p][i] && sample[i];
            } else if (job.mask.phases) {
                masks[p] = phase_mask(map_of(name, "scale"), map_of(name, "scale_errors"), n, n,
                                      sample, options);
            } else {
                masks[p] = sample;
            }
        }
    });
    for (auto& mask : masks)
        communicator.broadcast(mask);
    return masks;
}

/// Volume fraction and density of a phase, from its maps of scale and cell.
void write_phase_amounts(hdf5::Group& group, std::size_t n, const rietveld::PhaseModel& phase,
                         double constant, const voxels::VoxelwiseResult& fits) {
    const auto map_of = [&](const std::string& quantity) -> const std::vector<double>* {
        for (const auto& map : fits.maps)
            if (map.quantity.group == phase.name && map.quantity.quantity == quantity)
                return &map.values;
        return nullptr;
    };
    PhaseMapView maps{map_of("scale"), map_of("scale_errors"), {}};
    if (!maps.scale || !maps.scale_errors)
        return;
    for (const auto name : phase.phase.free_parameters())
        maps.cell.push_back(map_of(std::string(to_string(name))));
    write_amounts(group, n, phase, maps, constant);
}

void write_maps(hdf5::Group& stage, const VolumeFile& volume, const rietveld::PatternModel& model,
                const voxels::VoxelwiseResult& fits, const std::vector<unsigned char>& mask,
                const std::vector<std::vector<unsigned char>>& masks,
                std::optional<double> constant) {
    const std::size_t n = volume.n();
    std::vector<std::string> order;
    for (const auto& map : fits.maps) {
        const std::string group = map.quantity.group.empty() ? "maps" : map.quantity.group;
        if (std::find(order.begin(), order.end(), group) == order.end())
            order.push_back(group);
    }
    for (const auto& name : order) {
        const auto in_group = [&](const voxels::VoxelMap& map) {
            return (map.quantity.group.empty() ? "maps" : map.quantity.group) == name;
        };
        std::string signal;
        for (const auto* preferred : {"weight_fraction", "area", "rwp"})
            for (const auto& map : fits.maps)
                if (signal.empty() && in_group(map) && map.quantity.quantity == preferred)
                    signal = preferred;
        if (signal.empty())
            signal = std::find_if(fits.maps.begin(), fits.maps.end(), in_group)->quantity.quantity;
        auto group = nexus::require_data(stage, name, signal, {"y", "x"});
        for (const auto& map : fits.maps) {
            if (!in_group(map))
                continue;
            if (map.quantity.quantity == "status") {
                std::vector<std::int32_t> values(map.values.size());
                for (std::size_t i = 0; i < values.size(); ++i)
                    values[i] =
                        std::isnan(map.values[i])
                            ? (name == "maps"
                                   ? static_cast<std::int32_t>(rietveld::FitStatus::masked)
                                   : static_cast<std::int32_t>(rietveld::VoxelPhaseStatus::absent))
                            : static_cast<std::int32_t>(map.values[i]);
                nexus::write_map(group, "status", std::span<const std::int32_t>(values), n, n,
                                 {"", "status"});
                auto dataset = group.open_dataset("status");
                dataset.set_attribute(
                    "meanings", name == "maps"
                                    ? "0 converged, 1 masked, 2 no signal, 3 not "
                                      "converged, 4 singular, 5 at bound"
                                    : "0 refined, 1 insignificant, 2 at bound, 3 not in the model");
                continue;
            }
            nexus::write_map(group, map.quantity.quantity, map.values, n, n,
                             {map.quantity.unit, map.quantity.quantity});
        }
        write_map_axes(group, volume.x());
        for (std::size_t p = 0; p < model.phases.size(); ++p) {
            if (model.phases[p].name != name)
                continue;
            write_mask_map(group, masks[p], n, "voxels whose model contains the phase");
            if (constant)
                write_phase_amounts(group, n, model.phases[p], *constant, fits);
        }
        if (name == "maps")
            write_mask_map(group, mask, n, "voxels that were fitted");
    }
    // The first phase's map is what a viewer opens.
    if (!model.phases.empty() && stage.has_group(model.phases.front().name))
        nexus::set_default(stage.open_group(model.phases.front().name));
}

} // namespace

rietveld::PatternModel start_model(const settings::Job& job, double wavelength,
                                   std::vector<std::string>& notes) {
    rietveld::PatternModel model;
    model.wavelength.value = wavelength;
    const auto& widths = job.instrument;
    model.instrument = rietveld::InstrumentParameters(
        rietveld::InstrumentProfile{widths.u, widths.v, widths.w, widths.x, widths.y, widths.z});
    model.polarisation = job.instrument.polarization_corrected ? 0 : 1;
    model.solid_angle_corrected = job.instrument.solid_angle_corrected;
    model.anomalous = job.rietveld.anomalous;
    add_phases(model, job.phases, job.source.string(), notes);
    add_peaks(model, job.peaks);
    model.set_background(static_cast<std::size_t>(job.rietveld.background_terms));
    return model;
}

StageSummary run_rietveld_stage(StageContext& context) {
    program::Timings timings;
    const auto& job = context.job;
    const auto& communicator = context.communicator;
    const auto path = product_path(job, "rietveld");
    const auto volume_path = product_path(job, "fbp");
    auto volume = communicator.collectively([&] {
        if (!std::filesystem::exists(volume_path))
            throw Error(
                fmt::format("{} is missing; the rietveld stage needs the fbp stage's product",
                            volume_path.string()));
        const auto earlier = program::read_provenance(volume_path, "fbp");
        if (earlier.settings != job.resolved_for("fbp"))
            throw Error(fmt::format(
                "{} was made with other settings for the scan or the reconstruction than "
                "the job's; run the fbp stage again",
                volume_path.string()));
        VolumeFile opened(volume_path);
        opened.exclude(job.rietveld.excluded);
        if (std::isnan(opened.wavelength()))
            throw Error(
                fmt::format("{}: no incident_wavelength; give geometry.wavelength and run the fbp "
                            "stage again",
                            volume_path.string()));
        return opened;
    });
    const std::size_t n = volume.n(), channels = volume.channels();
    const auto mask = absorption::sample_mask(volume.total(), job.mask.threshold);
    if (std::none_of(mask.begin(), mask.end(), [](unsigned char m) { return m != 0; }))
        throw Error(
            fmt::format("{}: no voxel has intensity above the mask's threshold; nothing to fit",
                        volume_path.string()));

    const auto mean = mean_pattern(volume, mask, communicator);
    timings.lap("read");
    std::vector<std::string> notes;
    auto start = communicator.collectively([&] {
        const auto axis =
            rietveld::RadialAxis::from_two_theta(volume.two_theta(), volume.wavelength());
        const auto model = start_model(job, volume.wavelength(), notes);
        rietveld::RefinementOptions options;
        options.scale_errors = true;
        options.cell_search = 0.03;
        if (!job.rietveld.refine_start)
            options.max_iterations = 0;
        return refine(axis, mean.intensity, mean.variance, model, options);
    });
    for (const auto& note : notes)
        context.notes.push_back(note);
    if (start.status != rietveld::FitStatus::converged && job.rietveld.refine_start)
        context.notes.push_back(fmt::format("the start model on the mean pattern: {}{}",
                                            rietveld::to_string(start.status),
                                            start.message.empty() ? "" : "; " + start.message));
    else if (!start.message.empty())
        context.notes.push_back("the start model on the mean pattern: " + start.message);
    timings.lap("start model");

    const auto axis = communicator.collectively([&] {
        return rietveld::RadialAxis::from_two_theta(volume.two_theta(), volume.wavelength());
    });
    const mpi::NodeTeam team(communicator);
    const auto options = voxel_options(job, start.model, volume.relative_variance());
    std::vector<std::vector<unsigned char>> masks;
    std::vector<float> row, variance_row;
    // Patterns of the voxels of a row that `wanted` marks.
    const auto read_voxels = [&](std::size_t y, const unsigned char* wanted,
                                 voxels::PatternTile& tile) {
        tile.voxels.clear();
        for (std::size_t x = 0; x < n; ++x)
            if (wanted[x])
                tile.voxels.push_back(y * n + x);
        tile.intensity.resize(tile.voxels.size() * channels);
        tile.variance.resize(tile.voxels.size() * channels);
        tile.present.clear();
        if (tile.voxels.empty())
            return;
        volume.read_row(y, row);
        volume.read_variance_row(y, variance_row);
        for (std::size_t i = 0; i < tile.voxels.size(); ++i) {
            const std::size_t x = tile.voxels[i] - y * n;
            std::copy_n(row.data() + x * channels, channels, tile.intensity.data() + i * channels);
            volume.variance_at(variance_row, x, tile.variance.data() + i * channels);
            for (const auto& phase : masks)
                tile.present.push_back(phase[tile.voxels[i]]);
        }
    };
    const auto fit_voxels = [&](const std::string& what) {
        const auto fitter = communicator.collectively(
            [&] { return rietveld::VoxelFitter(axis, start.model, options, team); });
        timings.lap("prepare");
        program::Progress progress(what, n, communicator.is_root());
        auto fits =
            voxels::VoxelwiseRietveld(communicator, fitter)
                .run(
                    n, n * n,
                    [&](std::size_t y, voxels::PatternTile& tile) {
                        read_voxels(y, mask.data() + y * n, tile);
                    },
                    [&](std::size_t tiles, std::size_t) {
                        progress.update(tiles * static_cast<std::size_t>(communicator.size()));
                    });
        const double fitted = static_cast<double>(fits.summary.fitted);
        progress.finish(
            fmt::format("{} voxels, {:.1f} % converged", fits.summary.fitted,
                        100 * static_cast<double>(fits.summary.converged) / std::max(1.0, fitted)));
        timings.lap("fit");
        return fits;
    };

    voxels::VoxelwiseResult fits;
    const bool edited = !job.mask.images.empty();
    if (job.mask.phases || edited) {
        fits = fit_voxels("rietveld: where the phases are");
        masks = phase_masks(context, fits, mask, n);
        fits = {};
    }
    if (const auto widths = voxel_widths(job); !widths.empty() && job.rietveld.refine_start) {
        // Evenly through the list of voxels; the ranks take turns at the rows, so that each is read
        // once.
        const auto inside = static_cast<std::size_t>(
            std::count_if(mask.begin(), mask.end(), [](unsigned char m) { return m != 0; }));
        const std::size_t count = std::min(width_sample, inside);
        std::vector<voxels::PatternTile> own;
        communicator.collectively([&] {
            std::vector<unsigned char> wanted(n * n, 0);
            std::size_t seen = 0, taken = 0;
            for (std::size_t i = 0; i < n * n && taken < count; ++i)
                if (mask[i] && seen++ * count >= taken * inside) {
                    ++taken;
                    wanted[i] = 1;
                }
            std::size_t rows = 0;
            for (std::size_t y = 0; y < n; ++y) {
                const auto* in_row = wanted.data() + y * n;
                if (std::none_of(in_row, in_row + n, [](unsigned char m) { return m != 0; }) ||
                    rows++ % static_cast<std::size_t>(communicator.size()) !=
                        static_cast<std::size_t>(communicator.rank()))
                    continue;
                own.emplace_back();
                read_voxels(y, in_row, own.back());
            }
        });
        auto refined = refine_global_widths(communicator, axis, start.model, options, widths, own);
        start.model = refined.model;
        for (std::size_t i = 0; i < widths.size(); ++i) {
            const auto& name = start.model.phases[widths[i].phase].name;
            const auto kind = widths[i].kind;
            const std::string quantity = kind == voxels::GlobalWidth::Kind::size ? "size"
                                         : kind == voxels::GlobalWidth::Kind::microstrain
                                             ? "microstrain"
                                             : "gauss_microstrain";
            for (auto& parameter : start.parameters)
                if (parameter.name == name + " " + quantity) {
                    parameter.value = refined.values[i];
                    parameter.esd = refined.esd[i];
                }
        }
        timings.lap("widths");
    }
    fits = fit_voxels("rietveld");
    if (masks.empty())
        masks.assign(job.phases.size(), mask);
    std::optional<double> constant;
    if (job.absorption.method != "none")
        constant = communicator.collectively([&]() -> std::optional<double> {
            if (!std::filesystem::exists(product_path(job, "absorption")))
                return {};
            return read_absorption_product(job).constant;
        });

    communicator.collectively([&] {
        if (!communicator.is_root())
            return;
        auto product = nexus::ProductFile::create(path, context.options.force
                                                            ? nexus::ProductFile::Existing::replace
                                                            : nexus::ProductFile::Existing::refuse);
        {
            auto stage = write_provenance(product.root(), context.provenance, job.title);
            stage.write_string("start_model", start_model_json(start, mean.voxels).dump(1));
            stage.write_string("noise",
                               volume.relative_variance()
                                   ? "variances proportional to the intensity, e.s.d. scaled by GoF"
                                   : "variances propagated through the reconstruction");
            stage.write_string(
                "conventions",
                "TCH pseudo-Voigt, FWHM in degrees 2theta; Scherrer constant 0.94; LP = (1 + "
                "cos^2 2theta) / (2 sin^2 theta cos theta) for azimuthal means corrected for solid "
                "angle unless the job says otherwise; weight fractions of the refined crystalline "
                "phases after Hill and Howard");
            write_mean_pattern(stage,
                               {volume.two_theta(), mean.intensity, start.calculated,
                                start.background, "intensity/mm", start.agreement.rwp,
                                start.agreement.gof},
                               start.model.phases, start.lines);
            write_maps(stage, volume, start.model, fits, mask, masks, constant);
            timings.lap("write");
            write_timings(stage, timings);
        }
        product.commit();
    });
    communicator.collectively([&] {
        if (!communicator.is_root())
            return;
        const auto folder = job.output / "masks";
        std::error_code code;
        std::filesystem::create_directories(folder, code);
        if (code)
            throw Error(
                fmt::format("{}: the folder cannot be made: {}", folder.string(), code.message()));
        for (std::size_t p = 0; p < job.phases.size(); ++p)
            write_mask_image(folder / (job.phases[p].name + ".pgm"), masks[p], n, n);
    });
    const auto& summary = fits.summary;
    const double fitted = static_cast<double>(summary.fitted);
    return {"rietveld",
            path,
            false,
            timings.total(),
            timings.parts(),
            {{"voxels", fitted},
             {"converged", static_cast<double>(summary.converged)},
             {"fits_per_core_second", fitted / std::max(1e-9, summary.fit_seconds)},
             {"mean_pattern_rwp", start.agreement.rwp}}};
}

} // namespace xrdct::pipeline
