// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/dlsr/system.hpp"

#include "base/error.hpp"
#include "solvers/dlsr/geometry.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include <fmt/format.h>

namespace xrdct::dlsr {

namespace {

/// Distance of layers in standard deviations of the narrowest line.
constexpr double layer_spacing = 0.2;
/// Layers that factors of exit rays need at least, and a distance [mm] that makes no parallax.
constexpr std::size_t min_exit_layers = 17;
constexpr double far_away = 1e9;
/// Where there is no distance, lines are moved as if it were this [mm].
constexpr double nominal_distance = 1000;
/// Part of the patterns' derivatives that the products may leave out: steps correct it.
constexpr double product_tolerance = 0.05;
/// Ranges of the axis [steps] and of the distance (relative).
constexpr double axis_range = 2, distance_range = 0.3;

std::size_t layers_for(const Options& options, const rietveld::RadialAxis& axis,
                       const rietveld::PatternModel& model, double half_depth, double distance) {
    if (options.layers > 0)
        return options.layers;
    // Depth shifts lines most at the end of the axis.
    const double last = axis.two_theta().back();
    const auto line =
        pseudo_voigt(peak_widths(model.instrument.profile(), last, axis.wavelength()));
    const double sigma = line.fwhm / (2 * std::sqrt(2 * std::log(2.0)));
    const double t = std::tan(last * std::numbers::pi / 180);
    const double shift = 180 / std::numbers::pi * half_depth / distance * t / (1 + t * t);
    return std::max<std::size_t>(
        2, static_cast<std::size_t>(std::ceil(2 * shift / (layer_spacing * sigma))) + 1);
}

} // namespace

System::System(const solvers::RaySource& rays, std::span<const float> transmission,
               const tomography::ImageGrid& grid, ConventionalMaps conventional, Options options,
               const mpi::Communicator& communicator, Observer& observer,
               const std::function<std::vector<float>()>& mu)
    : communicator_(communicator), observer_(observer), options_(std::move(options)),
      scan_(std::make_unique<ScanData>(rays, communicator, transmission, options_)),
      team_(communicator), conventional_(std::move(conventional)), grid_(grid) {
    conventional_.share_masks(options_);
    setup_ = communicator.collectively(
        [&] { return make_setup(team_, options_, conventional_, grid_.pixel); });
    conventional_.release_starts();
    standards_ = communicator.collectively([&] { return find_standards(); });
    for (std::size_t p = 0; p < setup_.model.phases.size(); ++p)
        if (setup_.pixels[p].empty())
            remark(fmt::format("phase '{}' is nowhere significant: it is not in the model",
                               setup_.model.phases[p].name));
    read_weights(scan_->weights());
    observer_.lap("weights");
    choose_layers(mu);
    geometry_parameters_ = {GeometryParameter::axis_offset};
    if (parallax_)
        geometry_parameters_.push_back(GeometryParameter::distance);
}

std::vector<std::size_t> System::find_standards() const {
    auto standards = radial_standards(setup_, options_.standards);
    if (options_.correct_radial_scale && standards.empty())
        throw Error("dlsr.radial_scale is \"metals\", but no phase of the model is a standard: "
                    "one of a single element with cell = \"global\", or named in "
                    "dlsr.standards");
    // A metal of a sample may be an alloy: by itself it says nothing of the scale, unless the user
    // says so; several that agree do.
    if (options_.standards.empty() && !options_.correct_radial_scale && standards.size() == 1)
        standards.clear();
    return standards;
}

void System::log(const std::string& line) const {
    if (communicator_.is_root())
        observer_.log(line);
}

/// Which rays and channels count how much.
void System::read_weights(const FactoredWeights& weights) {
    weight_ = weights.ray_weight();
    channel_weight_ = weights.channel_weight();
    const auto& transmission = scan_->transmission();
    double kept = 0;
    for (std::size_t r = 0; r < weight_.size(); ++r) {
        if (!(transmission[r] > 0))
            weight_[r] = 0;
        kept += weight_[r] > 0;
    }
    ray_count_ = communicator().allreduce(kept, mpi::Reduction::sum);
    const auto rays =
        static_cast<double>(geometry().rotation.size() * geometry().translation.size());
    if (ray_count_ == 0)
        throw Error(fmt::format("{}: no ray of the scan can be used by the dlsr stage: all samples "
                                "are masked (not finite), or the rays have no transmission",
                                scan_->rays().name()));
    if (ray_count_ < rays)
        remark(fmt::format("{:.0f} of {:.0f} rays are left out: their transmission or "
                           "(nearly) all their channels are missing",
                           rays - ray_count_, rays));
}

/// Depths at which patterns are tabulated, for the parallax and for rays that leave deviated.
void System::choose_layers(const std::function<std::vector<float>()>& mu) {
    double half_depth = 0;
    for (std::size_t i = 0; i < conventional_.sample.size(); ++i)
        if (conventional_.sample[i])
            half_depth = std::max(half_depth, std::hypot(grid_.coordinate(i % grid_.n),
                                                         grid_.coordinate(i / grid_.n)));
    half_depth += 0.5 * grid_.pixel;
    half_depth_ = half_depth;
    const double distance = geometry().distance;
    parallax_ = std::isfinite(distance) && half_depth / distance > 1e-7;
    const auto axis = communicator().collectively([&] { return radial_axis(); });
    const bool deviated = options_.deviated_exit_rays;
    std::size_t layers =
        parallax_ ? layers_for(options_, axis, setup_.model, half_depth, distance) : 1;
    if (deviated)
        layers = options_.layers > 0 ? options_.layers : std::max(layers, min_exit_layers);
    layers_ = tomography::DepthLayers::across(parallax_ || deviated ? half_depth : 0, layers);
    basis_options_.tolerance = options_.tolerance;
    basis_options_.layers = layers_.count;
    basis_options_.depth_first = layers_.first;
    basis_options_.depth_spacing = layers_.spacing;
    basis_options_.distance = parallax_ ? distance : deviated ? far_away : 0;
    if (deviated) {
        communicator().collectively([&] {
            exit_ray_ = std::make_unique<ExitRay>(grid_, mu(), axis, setup_.model, channel_weight_);
            depth_factors_ = exit_ray_->factors(scan_->geometry(), layers_);
        });
        remark(exit_ray_->describe(communicator(), depth_factors_, weight_));
        log(remarks_.back());
        observer_.lap("exit rays");
    }
}

std::unique_ptr<Operator> System::make_operator(const rietveld::PatternBasis& basis) const {
    return communicator().collectively([&] {
        std::vector<std::span<const std::size_t>> pixels;
        for (const auto& of_part : setup_.pixels)
            pixels.push_back(of_part.span());
        return std::make_unique<Operator>(scan_->geometry(), grid_, basis, layers_, pixels, weight_,
                                          scan_->transmission(), geometry_parameters_,
                                          setup_.layer_centre, team_);
    });
}

void System::build(std::span<const double> globals) {
    problem_.reset();
    model_.reset();
    basis_ = communicator().collectively([&] {
        return std::make_unique<rietveld::PatternBasis>(radial_axis(), setup_.model, setup_.parts,
                                                        channel_weight_, basis_options_);
    });
    observer_.lap("basis");
    squares_.assign(weight_.size(), 0.0);
    data_ =
        communicator().collectively([&] { return scan_->compress(*basis_, weight_, squares_); });
    observer_.lap("compress");
    model_ = make_operator(*basis_);
    communicator().collectively([&] { model_->set_depth_factors(depth_factors_); });
    make_start_values();
    globals_ = setup_.globals;
    const double step = std::abs(geometry().step());
    globals_.push_back({-axis_range * step, axis_range * step, axis_unit * step});
    if (parallax_)
        globals_.push_back({-distance_range, distance_range, distance_unit});
    problem_ = std::make_unique<Problem>(communicator(), *model_, grid_, geometry(), data_, fields_,
                                         globals_, start_values_, &team_);
    problem_->set_product_tolerance(product_tolerance);
    hold_geometry(globals);
    use_rays(used_weight_.empty() ? weight_ : used_weight_);
    // Functions of the depth are chosen at the first point: the start, wherever the fit stands.
    problem_->objective(problem_->start());
    observer_.lap("prepare");
}

/// Start of everything in the operator's order.
void System::make_start_values() {
    auto& start = start_values_;
    fields_.clear();
    for (const auto& field : setup_.fields)
        fields_.push_back(field.field);
    communicator().collectively([&] {
        start.resize(team_, model_->value_count());
        team_.run_and_sync([&] {
            for (std::size_t f = 0; f < setup_.fields.size(); ++f) {
                const auto& field = setup_.fields[f];
                if (!team_.owns(f))
                    continue;
                const auto pixels = model_->pixels(field.field.part);
                const std::size_t first = model_->offset(field.field.part, field.field.shape);
                for (std::size_t v = 0; v < pixels.size(); ++v)
                    start[first + v] = field.start[pixels[v]];
            }
            for (std::size_t g = 0; g < model_->global_count() && team_.rank() == 0; ++g)
                start[model_->global_offset() + g] =
                    g < basis_->global_count() ? basis_->start_globals()[g] : 0;
        });
    });
}

void System::scale_radial_axis(double factor) {
    communicator().collectively(
        [&] { apply_radial_scale(team_, setup_, factor, model_distance()); });
}

double System::model_distance() const {
    return parallax_ ? geometry().distance : nominal_distance;
}

void System::use_rays(std::vector<float> weight) {
    used_weight_ = std::move(weight);
    model_->set_ray_weight(used_weight_);
    const std::size_t m = basis_->size();
    std::vector<double> sums(2, 0.0);
    for (std::size_t r = 0; r < used_weight_.size(); ++r)
        if (used_weight_[r] > 0) {
            const double weight = used_weight_[r];
            for (std::size_t i = 0; i < m; ++i)
                sums[0] += weight * data_[r * m + i] * data_[r * m + i];
            sums[1] += weight * squares_[r];
        }
    communicator().allreduce(std::span<double>(sums), mpi::Reduction::sum);
    data_squares_ = sums[0];
    pattern_squares_ = sums[1];
}

double System::rwp(double misfit) const {
    return std::sqrt((2 * misfit + std::max(0.0, pattern_squares_ - data_squares_)) /
                     pattern_squares_);
}

double System::replace_data(std::span<const double> x) {
    std::vector<float> data(data_.size());
    problem_->set_operator_point(x, true);
    communicator().collectively([&] { model_->predict(data); });
    scan_->replace(*basis_, weight_, data, squares_);
    const std::size_t m = basis_->size();
    double change = 0;
    for (std::size_t r = 0; r < weight_.size(); ++r)
        for (std::size_t i = 0; i < m; ++i) {
            const double difference = data[r * m + i] - data_[r * m + i];
            change += weight_[r] * difference * difference;
        }
    change = std::sqrt(communicator().allreduce(change, mpi::Reduction::sum) /
                       static_cast<double>(problem_->size()));
    data_.swap(data);
    problem_->set_data(data_);
    use_rays(used_weight_);
    ++passes_;
    const auto& counts = scan_->counts();
    log(fmt::format("pass {} over the data: {:.3f} % masked{}, change {:.3f} e.s.d.", passes_,
                    100 * counts.masked / counts.samples,
                    options_.loss == Loss::huber
                        ? fmt::format(", {:.3f} % beyond {:.3g} s.d.",
                                      100 * counts.outlying / counts.samples,
                                      options_.threshold * scan_->residual_scale())
                        : "",
                    change));
    return change;
}

void System::hold_geometry(Problem& problem, std::span<const double> globals) const {
    for (std::size_t g = 0; g < geometry_parameters_.size(); ++g) {
        const std::size_t global = setup_.globals.size() + g;
        const double value = globals.size() > global ? globals[global] * globals_[global].unit : 0;
        problem.set_global_bounds(global, value, value);
    }
    model_->set_geometry_columns(false);
    problem.invalidate();
}

void System::free_geometry() const {
    model_->set_geometry_columns(true);
    problem_->invalidate();
}

System::Reversed System::reversed(std::span<const float> weight,
                                  std::span<const double> globals) const {
    Reversed result;
    auto options = basis_options_;
    options.depth_first = -basis_options_.depth_first;
    options.depth_spacing = -basis_options_.depth_spacing;
    result.basis = communicator().collectively([&] {
        return std::make_unique<rietveld::PatternBasis>(radial_axis(), setup_.model, setup_.parts,
                                                        channel_weight_, options);
    });
    result.data =
        communicator().collectively([&] { return scan_->compress(*result.basis, weight); });
    result.model = make_operator(*result.basis);
    if (exit_ray_)
        communicator().collectively([&] {
            result.model->set_depth_factors(exit_ray_->factors(scan_->geometry(), layers_, true));
        });
    result.model->set_geometry_columns(false);
    result.model->set_ray_weight(weight);
    if (result.model->value_count() != start_values_.size())
        return result;
    result.problem =
        std::make_unique<Problem>(communicator(), *result.model, grid_, geometry(), result.data,
                                  fields_, globals_, start_values_, &team_);
    hold_geometry(*result.problem, globals);
    return result;
}

rietveld::RadialAxis System::radial_axis() const {
    return rietveld::RadialAxis::from_two_theta(scan_->rays().two_theta(),
                                                scan_->rays().wavelength());
}

std::size_t System::unknown_count() const {
    std::size_t count = setup_.globals.size() + geometry_parameters_.size();
    for (const auto& field : setup_.fields)
        count += unknowns_of(field.field.treatment, setup_.pixels[field.field.part].size());
    return count;
}

bool System::has_smooth_fields() const {
    return std::any_of(setup_.fields.begin(), setup_.fields.end(), [](const auto& field) {
        return field.field.shape >= 0 && field.field.treatment == FieldTreatment::voxel;
    });
}

std::vector<double> System::global_unknowns(std::span<const double> x) const {
    const auto own = problem_->own();
    std::vector<double> globals(globals_.size(), 0.0);
    for (std::size_t g = 0; g < globals.size(); ++g)
        if (const std::size_t i = first_global() + g; i >= own.begin && i < own.end)
            globals[g] = x[i - own.begin];
    communicator().allreduce(std::span<double>(globals), mpi::Reduction::sum);
    return globals;
}

std::size_t System::first_global() const {
    return problem_->field_unknowns(setup_.fields.size()).begin;
}

std::size_t System::geometry_unknown(GeometryParameter parameter) const {
    const auto at = std::find(geometry_parameters_.begin(), geometry_parameters_.end(), parameter);
    return setup_.globals.size() + static_cast<std::size_t>(at - geometry_parameters_.begin());
}

std::vector<double> System::global_values(std::span<const double> globals) const {
    std::vector<double> values;
    for (std::size_t g = 0; g < setup_.globals.size(); ++g)
        values.push_back(globals[g] * globals_[g].unit);
    return values;
}

} // namespace xrdct::dlsr
