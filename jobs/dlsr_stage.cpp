#include "base/error.hpp"
#include "jobs/dlsr_model.hpp"
#include "jobs/pipeline.hpp"
#include "jobs/progress.hpp"
#include "mpi/decomposition.hpp"
#include "mpi/nexus.hpp"
#include "mpi/product_file.hpp"
#include "solvers/dlsr_data.hpp"
#include "solvers/dlsr_operator.hpp"
#include "solvers/dlsr_problem.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <numbers>

#include <fmt/format.h>

namespace xrdct {

namespace {

std::size_t layers_for(const DlsrSettings& settings, const RadialAxis& axis,
                       const PatternModel& model, double half_depth, double distance) {
    if (settings.layers > 0)
        return static_cast<std::size_t>(settings.layers);
    // A tenth of the narrowest line's standard deviation, where depth shifts lines most.
    const double last = axis.two_theta().back();
    const auto line = pseudo_voigt(
        peak_widths(model.instrument.profile(), last, axis.wavelength()));
    const double sigma = line.fwhm / 2.355;
    const double t = std::tan(last * std::numbers::pi / 180);
    const double shift = 180 / std::numbers::pi * half_depth / distance * t / (1 + t * t);
    return std::max<std::size_t>(2, static_cast<std::size_t>(std::ceil(2 * shift / (0.2 * sigma))) + 1);
}

} // namespace

StageSummary run_dlsr_stage(StageContext& context) {
    Timings timings;
    const auto& job = context.job;
    const auto& scan = context.scan;
    const auto& communicator = context.communicator;
    const auto path = product_path(job, "dlsr");
    std::vector<std::string> notes;
    const auto conventional = communicator.collectively(
        [&] { return read_conventional_result(job, scan.wavelength(), notes); });
    const ImageGrid grid = scan.grid();
    const auto setup = communicator.collectively(
        [&] { return make_dlsr_setup(job, conventional, grid.pixel); });

    // Own rotations.
    const auto& geometry = scan.geometry();
    const auto rows = mpi::block_range(geometry.rotation.size(),
                                       static_cast<std::size_t>(communicator.size()),
                                       static_cast<std::size_t>(communicator.rank()));
    ScanGeometry own = geometry;
    own.rotation.assign(geometry.rotation.begin() + static_cast<std::ptrdiff_t>(rows.begin),
                        geometry.rotation.begin() + static_cast<std::ptrdiff_t>(rows.end));
    const std::size_t translations = geometry.translation.size(), channels = scan.n_channel();
    const std::size_t rays = rows.size() * translations;
    const auto two_theta = scan.two_theta();
    std::vector<unsigned char> excluded(channels, 0);
    for (std::size_t k = 0; k < channels; ++k)
        for (const auto& [from, to] : job.rietveld.excluded)
            if (two_theta[k] >= from && two_theta[k] <= to)
                excluded[k] = 1;

    // Whole transmission is kept as a map; intensities keep their absorption.
    StageContext unabsorbed = context;
    unabsorbed.transmission.clear();
    std::vector<float> line(translations * channels), variance(line.size());
    const auto read_rotation = [&](std::size_t i) {
        scan.file().read_rows({i, i + 1}, scan.channels(), line);
        if (scan.noise() == NoiseModel::errors)
            scan.file().read_rows({i, i + 1}, scan.channels(), variance,
                                  mpi::SinogramArray::errors);
        const bool errors = scan.noise() == NoiseModel::errors;
        for (std::size_t j = 0; j < translations; ++j) {
            const float factor = ray_factor(unabsorbed, i * translations + j, false);
            for (std::size_t k = 0; k < channels; ++k) {
                float& y = line[j * channels + k];
                float& v = variance[j * channels + k];
                double pixels = 1;
                if (scan.noise() == NoiseModel::counts && !scan.pixels().empty())
                    pixels = std::max(1.0, scan.pixels()[k]);
                v = factor * factor *
                    (errors ? v * v : std::abs(y) / static_cast<float>(pixels));
                y *= factor;
            }
        }
    };
    WeightFactors factors(channels, rays);
    communicator.collectively([&] {
        for (std::size_t i = rows.begin; i < rows.end; ++i) {
            read_rotation(i);
            for (std::size_t j = 0; j < translations; ++j)
                factors.add((i - rows.begin) * translations + j,
                            std::span<const float>(line).subspan(j * channels, channels),
                            std::span<const float>(variance).subspan(j * channels, channels));
        }
    });
    const auto weights = factors.finish(communicator, excluded);
    timings.lap("weights");

    double half_depth = 0;
    for (std::size_t i = 0; i < conventional.sample.size(); ++i)
        if (conventional.sample[i])
            half_depth = std::max(half_depth, std::hypot(grid.coordinate(i % grid.n),
                                                         grid.coordinate(i / grid.n)));
    half_depth += 0.5 * grid.pixel;
    const bool parallax = std::isfinite(geometry.distance) && geometry.distance < 1e7;
    const auto axis = communicator.collectively(
        [&] { return RadialAxis::from_two_theta(two_theta, scan.wavelength()); });
    const auto layers = DepthLayers::across(
        parallax ? half_depth : 0,
        parallax ? layers_for(job.dlsr, axis, setup.model, half_depth, geometry.distance) : 1);
    PatternBasisOptions basis_options;
    basis_options.tolerance = job.dlsr.tolerance;
    basis_options.layers = layers.count;
    basis_options.depth_first = layers.first;
    basis_options.depth_spacing = layers.spacing;
    basis_options.distance = parallax ? geometry.distance : 0;
    const auto channel_weight = weights.channel_weight();
    const auto basis = communicator.collectively([&] {
        return PatternBasis(axis, setup.model, setup.parts, channel_weight, basis_options);
    });
    timings.lap("basis");
    const std::size_t m = basis.size();
    std::vector<float> data(rays * m);
    const auto ray_weight = weights.ray_weight();
    double all_squares = 0, inside_squares = 0;
    communicator.collectively([&] {
        for (std::size_t i = rows.begin; i < rows.end; ++i) {
            read_rotation(i);
#pragma omp parallel for schedule(static) reduction(+ : all_squares, inside_squares)
            for (std::size_t j = 0; j < translations; ++j) {
                const std::size_t ray = (i - rows.begin) * translations + j;
                std::span<float> out(data.data() + ray * m, m);
                if (ray_weight[ray] == 0) {
                    std::fill(out.begin(), out.end(), 0.0F);
                    continue;
                }
                const std::span<const float> y(line.data() + j * channels, channels);
                basis.compress(y, out);
                double all = 0, inside = 0;
                for (std::size_t k = 0; k < channels; ++k)
                    if (channel_weight[k] > 0)
                        all += channel_weight[k] * y[k] * y[k];
                for (const float d : out)
                    inside += static_cast<double>(d) * d;
                all_squares += ray_weight[ray] * all;
                inside_squares += ray_weight[ray] * inside;
            }
        }
    });
    timings.lap("compress");
    std::vector<float> transmission(rays, 1.0F);
    if (!context.transmission.empty())
        std::copy_n(context.transmission.begin() +
                        static_cast<std::ptrdiff_t>(rows.begin * translations),
                    rays, transmission.begin());
    auto weight_used = ray_weight;
    for (std::size_t r = 0; r < rays; ++r)
        if (!(transmission[r] > 0))
            weight_used[r] = 0;
    auto model = communicator.collectively([&] {
        return DlsrOperator(own, grid, basis, layers, setup.pixels, weight_used, transmission);
    });
    std::vector<double> start(model.value_count(), 0.0);
    std::vector<DlsrField> fields;
    for (const auto& field : setup.fields) {
        fields.push_back(field.field);
        const auto& pixels = model.pixels(field.field.part);
        for (std::size_t v = 0; v < pixels.size(); ++v)
            start[model.offset(field.field.part, field.field.shape) + v] = field.start[pixels[v]];
    }
    for (std::size_t g = 0; g < basis.global_count(); ++g)
        start[model.global_offset() + g] = basis.start_globals()[g];
    DlsrProblem problem(communicator, model, grid, geometry, data, fields, setup.globals, start);
    timings.lap("prepare");
    if (communicator.is_root())
        fmt::print(stderr,
                   "dlsr: {} unknowns, {} basis patterns (error {:.1e}), {} lanes, {} layers, "
                   "shape error {:.1e}, outside the basis {:.4f} of the squares\n",
                   problem.size(), m, basis.basis_error(), basis.lane_count(), layers.count,
                   basis.shape_error(), 1 - inside_squares / all_squares);

    // Temporary: Gauss-Newton with preconditioned conjugate gradients.
    std::vector<double> x = problem.start(), lower(x.size()), upper(x.size());
    problem.bounds(lower, upper);
    const auto dot = [&](const std::vector<double>& a, const std::vector<double>& b) {
        double sum = 0;
        for (std::size_t i = 0; i < a.size(); ++i)
            sum += a[i] * b[i];
        return communicator.allreduce(sum, mpi::Reduction::sum);
    };
    std::vector<double> g(x.size());
    double f = problem.objective_and_gradient(x, g);
    for (int iteration = 0; iteration < job.dlsr.max_iterations; ++iteration) {
        problem.linearise(x);
        std::vector<unsigned char> free(x.size(), 1);
        for (std::size_t i = 0; i < x.size(); ++i)
            if ((x[i] <= lower[i] && g[i] > 0) || (x[i] >= upper[i] && g[i] < 0))
                free[i] = 0;
        const auto mask = [&](std::vector<double>& v) {
            for (std::size_t i = 0; i < v.size(); ++i)
                if (!free[i])
                    v[i] = 0;
        };
        std::vector<double> step(x.size(), 0.0), r(x.size()), z(x.size()), p, hp(x.size());
        for (std::size_t i = 0; i < x.size(); ++i)
            r[i] = -g[i];
        mask(r);
        problem.precondition(r, z);
        mask(z);
        p = z;
        double rz = dot(r, z);
        const double first = rz;
        int inner = 0;
        for (; inner < 40 && rz > 1e-3 * first; ++inner) {
            problem.gauss_newton_product(p, hp);
            mask(hp);
            const double alpha = rz / dot(p, hp);
            for (std::size_t i = 0; i < x.size(); ++i) {
                step[i] += alpha * p[i];
                r[i] -= alpha * hp[i];
            }
            problem.precondition(r, z);
            mask(z);
            const double next = dot(r, z);
            for (std::size_t i = 0; i < x.size(); ++i)
                p[i] = z[i] + next / rz * p[i];
            rz = next;
        }
        double length = 1;
        double trial = 0;
        std::vector<double> y(x.size());
        for (; length > 1e-3; length *= 0.5) {
            for (std::size_t i = 0; i < x.size(); ++i)
                y[i] = std::clamp(x[i] + length * step[i], lower[i], upper[i]);
            trial = problem.objective(y);
            if (trial < f)
                break;
        }
        const double before = f;
        x = y;
        f = problem.objective_and_gradient(x, g);
        const auto values = problem.values(x);
        if (communicator.is_root()) {
            const auto& c = problem.counts();
            fmt::print(stderr,
                       "dlsr {}: f {:.6e} -> {:.6e} step {} inner {} reduced {:.1e} | products {} "
                       "operator {:.2f} s precondition {:.2f} s exchange {:.2f} s\n",
                       iteration, before, f, length, inner, rz / first, c.products,
                       c.operator_seconds, c.precondition_seconds, c.exchange_seconds);
            std::string text;
            for (std::size_t k = 0; k < basis.global_count(); ++k)
                text += fmt::format(" {} {}={:.7g}", setup.global_quantities[k].group,
                                    setup.global_quantities[k].name,
                                    values[model.global_offset() + k]);
            if (iteration % 4 == 3)
                fmt::print(stderr, "   {}\n", text);
        }
        if (before - f < job.dlsr.convergence * f)
            break;
    }
    timings.lap("fit");
    const auto values = problem.values(x);
    communicator.collectively([&] {
        if (!communicator.is_root())
            return;
        auto product = mpi::ProductFile::create(path, context.options.force
                                                          ? mpi::ProductFile::Existing::replace
                                                          : mpi::ProductFile::Existing::refuse);
        {
            auto stage = write_provenance(product.root(), context.provenance, job.title);
            for (const auto& field : setup.fields) {
                auto group = nexus::require_data(stage, field.quantity.group, field.quantity.name,
                                                 {"y", "x"});
                std::vector<double> map(grid.size(), std::numeric_limits<double>::quiet_NaN());
                const auto& pixels = model.pixels(field.field.part);
                for (std::size_t v = 0; v < pixels.size(); ++v)
                    map[pixels[v]] =
                        values[model.offset(field.field.part, field.field.shape) + v];
                nexus::write_map(group, field.quantity.name, map, grid.n, grid.n,
                                 {field.quantity.unit, field.quantity.name});
            }
            write_timings(stage, timings);
        }
        product.commit();
    });
    return {"dlsr", path, false, timings.total(), timings.parts(), {}};
}

} // namespace xrdct
