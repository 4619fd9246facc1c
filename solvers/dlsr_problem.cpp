#include "solvers/dlsr_problem.hpp"

#include "base/error.hpp"
#include "mpi/decomposition.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <complex>
#include <limits>
#include <optional>

#include <fftw3.h>
#include <fmt/format.h>
#include <omp.h>

namespace xrdct {

namespace {

/// Least symbol of the preconditioned operator: what the beam's blur has removed stays as it is.
constexpr double least_symbol = 0.05;
constexpr std::size_t most_pixel_unknowns = 64;
/// Amounts (in their unit) that tell how the pattern changes with a shape.
constexpr double telling_amount = 0.1;

double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

std::size_t good_length(std::size_t least) {
    for (std::size_t n = least + least % 2;; n += 2) {
        std::size_t rest = n;
        for (const std::size_t factor : {2, 3, 5, 7})
            while (rest % factor == 0)
                rest /= factor;
        if (rest == 1)
            return n;
    }
}

double sinc(double x) {
    return std::abs(x) < 1e-6 ? 1 : std::sin(M_PI * x) / (M_PI * x);
}

/// Real even filters on square maps.
class MapFilter {
  public:
    explicit MapFilter(std::size_t n) : n_(n), length_(good_length(n + n / 8)) {
        const auto l = static_cast<int>(length_);
        float* map = fftwf_alloc_real(map_size());
        auto* spectrum = fftwf_alloc_complex(spectrum_size());
        forward_ = fftwf_plan_dft_r2c_2d(l, l, map, spectrum, FFTW_ESTIMATE);
        backward_ = fftwf_plan_dft_c2r_2d(l, l, spectrum, map, FFTW_ESTIMATE);
        fftwf_free(map);
        fftwf_free(spectrum);
    }
    ~MapFilter() {
        fftwf_destroy_plan(forward_);
        fftwf_destroy_plan(backward_);
    }
    MapFilter(const MapFilter&) = delete;
    MapFilter& operator=(const MapFilter&) = delete;

    std::size_t length() const { return length_; }
    std::size_t map_size() const { return length_ * length_; }
    std::size_t spectrum_size() const { return length_ * (length_ / 2 + 1); }
    /// Frequency in cycles per pixel of a spectrum's row or column.
    double frequency(std::size_t i) const {
        const auto signed_i = i <= length_ / 2
                                  ? static_cast<double>(i)
                                  : static_cast<double>(i) - static_cast<double>(length_);
        return signed_i / static_cast<double>(length_);
    }

    struct Work {
        explicit Work(const MapFilter& filter)
            : map(fftwf_alloc_real(filter.map_size())),
              spectrum(fftwf_alloc_complex(filter.spectrum_size())) {}
        ~Work() {
            fftwf_free(map);
            fftwf_free(spectrum);
        }
        Work(const Work&) = delete;
        Work& operator=(const Work&) = delete;
        float* map;
        fftwf_complex* spectrum;
    };
    /// work.map [length][length] in place; `symbol` [spectrum_size()] includes 1 / length².
    void apply(const std::vector<float>& symbol, Work& work) const {
        fftwf_execute_dft_r2c(forward_, work.map, work.spectrum);
        for (std::size_t i = 0; i < symbol.size(); ++i) {
            work.spectrum[i][0] *= symbol[i];
            work.spectrum[i][1] *= symbol[i];
        }
        fftwf_execute_dft_c2r(backward_, work.spectrum, work.map);
    }

  private:
    std::size_t n_, length_;
    fftwf_plan forward_, backward_;
};

void require_smoothness(double smoothness, double edge) {
    if (!(smoothness >= 0) || !std::isfinite(smoothness) || !(edge > 0))
        throw Error(fmt::format("DLSR: smoothness {} with edge {}; expected a strength of at least "
                                "0 and an edge above 0",
                                smoothness, edge));
}

/// Neighbours of a field's voxels, as springs.
struct Spring {
    std::uint32_t a, b;
    float strength;
};

std::vector<Spring> springs_of(const std::vector<std::size_t>& pixels, std::size_t n,
                               std::size_t max_gap) {
    std::vector<std::int32_t> place(n * n, -1);
    for (std::size_t v = 0; v < pixels.size(); ++v)
        place[pixels[v]] = static_cast<std::int32_t>(v);
    std::vector<Spring> springs;
    for (const std::size_t along : {std::size_t{1}, n}) {
        const std::size_t across = along == 1 ? n : 1;
        for (std::size_t line = 0; line < n; ++line) {
            std::int32_t last = -1;
            std::size_t last_at = 0;
            for (std::size_t i = 0; i < n; ++i) {
                const std::int32_t here = place[line * across + i * along];
                if (here < 0)
                    continue;
                if (last >= 0 && i - last_at <= max_gap)
                    springs.push_back({static_cast<std::uint32_t>(last),
                                       static_cast<std::uint32_t>(here),
                                       1.0F / static_cast<float>(i - last_at)});
                last = here;
                last_at = i;
            }
        }
    }
    return springs;
}

} // namespace

struct DlsrProblem::Impl {
    const mpi::Communicator& communicator;
    DlsrOperator& model;
    ImageGrid grid;
    std::span<const float> data;
    std::vector<DlsrField> fields;
    std::vector<DlsrGlobal> globals;
    std::vector<double> start_values;
    std::vector<std::size_t> first; ///< unknown of each field; globals after the last
    std::size_t unknowns = 0;
    mpi::BlockRange own;
    std::vector<std::vector<Spring>> springs;
    std::vector<float> pixel_weight; ///< of all ranks
    MapFilter filter;
    std::vector<float> projection_symbol; ///< of the projection, mean 1
    double misfit = 0, product_tolerance = 0;
    Counts counts;

    // The model's point.
    std::vector<double> at; ///< unknowns (whole) at which the operator stands
    bool at_derivatives = false;
    double at_condensed = 0; ///< tolerance to which the operator is condensed
    // Linearisation.
    std::vector<double> linear;
    std::vector<std::vector<float>> spring_weight; ///< lagged, per field with an edge
    struct Block {
        std::uint32_t first = 0;
        std::uint16_t count = 0;
    };
    std::vector<Block> blocks;
    std::vector<std::uint32_t> block_unknowns, block_pixels;
    std::vector<std::uint16_t> block_fields;
    std::vector<std::size_t> block_factor; ///< first entry of each block's factor
    std::vector<float> factors;            ///< lower Cholesky factors, packed row by row
    std::vector<std::vector<float>> symbols;
    std::vector<double> single; ///< diagonal of factors and globals, per unknown (0: in a block)
    /// What the data and the springs say of a voxel shape.
    struct Curvature {
        std::size_t amount = 0; ///< its field
        /// Squared change of the pattern, relative to it, per unit of the shape; 0: not known.
        double sensitivity = 0;
        std::vector<float> information, springs; ///< of the amount; on the shape; per voxel
    };
    std::vector<std::optional<Curvature>> curvatures; ///< per field

    Impl(const mpi::Communicator& c, DlsrOperator& m, const ImageGrid& g)
        : communicator(c), model(m), grid(g), filter(g.n) {}

    std::size_t voxels(std::size_t f) const { return model.pixels(fields[f].part).size(); }
    std::size_t offset(std::size_t f) const {
        return model.offset(fields[f].part, fields[f].shape);
    }

    std::vector<double> whole(std::span<const double> x) {
        const double begin = now();
        auto all = communicator.allgather(x);
        counts.exchange_seconds += now() - begin;
        return all;
    }
    std::vector<double> expand(const std::vector<double>& x) const {
        std::vector<double> values = start_values;
        for (std::size_t f = 0; f < fields.size(); ++f) {
            double* to = values.data() + offset(f);
            if (fields[f].treatment == FieldTreatment::voxel)
                for (std::size_t v = 0; v < voxels(f); ++v)
                    to[v] = x[first[f] + v] * fields[f].unit;
            else if (fields[f].treatment == FieldTreatment::scaled)
                for (std::size_t v = 0; v < voxels(f); ++v)
                    to[v] *= x[first[f]] * fields[f].unit;
        }
        for (std::size_t g = 0; g < globals.size(); ++g)
            values[model.global_offset() + g] = x[first.back() + g] * globals[g].unit;
        return values;
    }
    std::vector<float> expand_direction(const std::vector<double>& x) const {
        std::vector<float> values(start_values.size(), 0.0F);
        for (std::size_t f = 0; f < fields.size(); ++f) {
            float* to = values.data() + offset(f);
            const double* from = start_values.data() + offset(f);
            if (fields[f].treatment == FieldTreatment::voxel)
                for (std::size_t v = 0; v < voxels(f); ++v)
                    to[v] = static_cast<float>(x[first[f] + v] * fields[f].unit);
            else if (fields[f].treatment == FieldTreatment::scaled)
                for (std::size_t v = 0; v < voxels(f); ++v)
                    to[v] = static_cast<float>(from[v] * x[first[f]] * fields[f].unit);
        }
        for (std::size_t g = 0; g < globals.size(); ++g)
            values[model.global_offset() + g] =
                static_cast<float>(x[first.back() + g] * globals[g].unit);
        return values;
    }
    /// Own rank's part of a gradient in the unknowns; to be summed over the ranks.
    std::vector<double> contract(const std::vector<float>& values) const {
        std::vector<double> x(unknowns, 0.0);
        for (std::size_t f = 0; f < fields.size(); ++f) {
            const float* from = values.data() + offset(f);
            const double* start = start_values.data() + offset(f);
            if (fields[f].treatment == FieldTreatment::voxel)
                for (std::size_t v = 0; v < voxels(f); ++v)
                    x[first[f] + v] = from[v] * fields[f].unit;
            else if (fields[f].treatment == FieldTreatment::scaled)
                for (std::size_t v = 0; v < voxels(f); ++v)
                    x[first[f]] += from[v] * start[v] * fields[f].unit;
        }
        for (std::size_t g = 0; g < globals.size(); ++g)
            x[first.back() + g] = values[model.global_offset() + g] * globals[g].unit;
        return x;
    }
    void sum(std::vector<double>& x) {
        const double begin = now();
        communicator.allreduce(std::span<double>(x), mpi::Reduction::sum);
        counts.exchange_seconds += now() - begin;
    }

    void stand_at(const std::vector<double>& x, bool derivatives) {
        if (x == at && (at_derivatives || !derivatives))
            return;
        // The patterns' part is the same on all ranks: each makes some rows.
        const auto values = expand(x);
        auto rows = communicator.collectively([&] {
            return model.table_rows(values, derivatives,
                                    static_cast<std::size_t>(communicator.rank()),
                                    static_cast<std::size_t>(communicator.size()));
        });
        if (!rows.empty())
            communicator.allreduce(std::span<double>(rows), mpi::Reduction::sum);
        communicator.collectively([&] { model.set_point(values, derivatives, rows); });
        at = x;
        at_derivatives = derivatives;
        at_condensed = 0;
    }
    void condense() {
        if (at_condensed != product_tolerance)
            model.condense(product_tolerance);
        at_condensed = product_tolerance;
    }

    bool smooth(std::size_t f) const {
        return fields[f].treatment == FieldTreatment::voxel && fields[f].smoothness > 0;
    }
    /// Cost of the smoothness; adds its gradient unless `gradient` is empty.
    double smoothness(const std::vector<double>& x, std::span<double> gradient) const {
        double total = 0;
        for (std::size_t f = 0; f < fields.size(); ++f) {
            if (!smooth(f))
                continue;
            const double* field = x.data() + first[f];
            const double edge = fields[f].edge, strength = fields[f].smoothness;
            double cost = 0;
            for (const Spring& spring : springs[f]) {
                const double difference = field[spring.a] - field[spring.b];
                double force = difference;
                if (std::isfinite(edge)) {
                    // The gap's difference is shared by its voxels.
                    const double reach = edge / spring.strength;
                    const double root = std::sqrt(1 + difference * difference / (reach * reach));
                    cost += spring.strength * reach * reach * (root - 1);
                    force /= root;
                } else {
                    cost += 0.5 * spring.strength * difference * difference;
                }
                if (!gradient.empty()) {
                    const double pull = strength * spring.strength * force;
                    gradient[first[f] + spring.a] += pull;
                    gradient[first[f] + spring.b] -= pull;
                }
            }
            total += strength * cost;
        }
        return total;
    }
    void smoothness_product(const std::vector<double>& v, std::vector<double>& out) const {
        for (std::size_t f = 0; f < fields.size(); ++f) {
            if (!smooth(f))
                continue;
            for (std::size_t s = 0; s < springs[f].size(); ++s) {
                const Spring& spring = springs[f][s];
                const double pull = fields[f].smoothness * spring_weight[f][s] *
                                    (v[first[f] + spring.a] - v[first[f] + spring.b]);
                out[first[f] + spring.a] += pull;
                out[first[f] + spring.b] -= pull;
            }
        }
    }

    void make_projection_symbol(const ScanGeometry& geometry) {
        const std::size_t length = filter.length(), columns = length / 2 + 1;
        projection_symbol.resize(filter.spectrum_size());
        const double step = std::abs(geometry.step()) / grid.pixel,
                     beam = geometry.beam_width / grid.pixel;
        const double lowest = 0.5 / static_cast<double>(grid.n);
        double mean = 0;
        for (std::size_t y = 0; y < length; ++y)
            for (std::size_t x = 0; x < columns; ++x) {
                const double fx = filter.frequency(x), fy = filter.frequency(y),
                             f = std::hypot(fx, fy);
                const double blur = sinc(fx) * sinc(fy) * sinc(f * step) * sinc(f * beam);
                const double value = blur * blur / (f + lowest);
                projection_symbol[y * columns + x] = static_cast<float>(value);
                mean += value * (x == 0 || 2 * x == length ? 1 : 2);
            }
        mean /= static_cast<double>(filter.map_size());
        for (float& value : projection_symbol)
            value /= static_cast<float>(mean);
    }

    void start_curvatures();
    void make_preconditioner();
};

DlsrProblem::DlsrProblem(const mpi::Communicator& communicator, DlsrOperator& model,
                         const ImageGrid& grid, const ScanGeometry& geometry,
                         std::span<const float> data, std::vector<DlsrField> fields,
                         std::vector<DlsrGlobal> globals, std::vector<double> values)
    : impl_(std::make_unique<Impl>(communicator, model, grid)) {
    Impl& impl = *impl_;
    communicator.collectively([&] {
        if (data.size() != model.coefficient_count() || values.size() != model.value_count() ||
            globals.size() != model.global_count())
            throw Error("DLSR: wrong sizes of data, start values or global parameters");
        if (model.pixel_weight().size() != grid.size())
            throw Error("DLSR: the grid is not that of the operator");
        std::vector<std::size_t> load(grid.size(), 0);
        for (const auto& field : fields) {
            if (field.part >= model.basis().parts().size() || field.shape < -1 ||
                field.shape >= static_cast<int>(model.basis().parts()[field.part].voxel.size()))
                throw Error("DLSR: a field of a part or shape that does not exist");
            if (!(field.unit > 0) || !(field.lower < field.upper))
                throw Error("DLSR: a field without a unit or with bounds that exclude each other");
            require_smoothness(field.smoothness, field.edge);
            for (const auto* other = fields.data(); other != &field; ++other)
                if (other->part == field.part && other->shape == field.shape)
                    throw Error("DLSR: a field is given twice");
            if (field.treatment == FieldTreatment::voxel)
                for (const std::size_t pixel : model.pixels(field.part))
                    if (++load[pixel] > most_pixel_unknowns)
                        throw Error(fmt::format("DLSR: more than {} unknowns in a voxel",
                                                most_pixel_unknowns));
        }
        for (const auto& global : globals)
            if (!(global.unit > 0) || !(global.lower < global.upper))
                throw Error("DLSR: a global parameter without a unit or range");
    });
    impl.data = data;
    impl.fields = std::move(fields);
    impl.globals = std::move(globals);
    impl.start_values = std::move(values);
    for (std::size_t f = 0; f < impl.fields.size(); ++f) {
        const auto& field = impl.fields[f];
        impl.first.push_back(impl.unknowns);
        if (field.treatment == FieldTreatment::voxel)
            impl.unknowns += impl.voxels(f);
        else if (field.treatment == FieldTreatment::scaled)
            impl.unknowns += 1;
        impl.springs.push_back(field.treatment == FieldTreatment::voxel && field.max_gap > 0
                                   ? springs_of(model.pixels(field.part), grid.n, field.max_gap)
                                   : std::vector<Spring>{});
        // Start within the bounds.
        if (field.treatment == FieldTreatment::voxel)
            for (std::size_t v = 0; v < impl.voxels(f); ++v) {
                double& value = impl.start_values[impl.offset(f) + v];
                value = std::clamp(value, field.lower, field.upper);
            }
    }
    impl.first.push_back(impl.unknowns);
    impl.unknowns += impl.globals.size();
    impl.own = mpi::block_range(impl.unknowns, static_cast<std::size_t>(communicator.size()),
                                static_cast<std::size_t>(communicator.rank()));
    impl.pixel_weight = model.pixel_weight();
    communicator.allreduce(std::span<float>(impl.pixel_weight), mpi::Reduction::sum);
    impl.make_projection_symbol(geometry);
}

DlsrProblem::~DlsrProblem() = default;

std::size_t DlsrProblem::size() const {
    return impl_->unknowns;
}
std::size_t DlsrProblem::local_size() const {
    return impl_->own.size();
}
const std::vector<DlsrField>& DlsrProblem::fields() const {
    return impl_->fields;
}
const DlsrProblem::Counts& DlsrProblem::counts() const {
    return impl_->counts;
}
double DlsrProblem::last_misfit() const {
    return impl_->misfit;
}
void DlsrProblem::set_smoothness(std::size_t field, double smoothness, double edge) {
    if (field >= impl_->fields.size())
        throw Error("DLSR: smoothness of a field that does not exist");
    require_smoothness(smoothness, edge);
    impl_->fields[field].smoothness = smoothness;
    impl_->fields[field].edge = edge;
}
void DlsrProblem::set_product_tolerance(double tolerance) {
    impl_->product_tolerance = tolerance;
}
std::vector<double> DlsrProblem::information() {
    Impl& impl = *impl_;
    std::vector<double> result;
    impl.stand_at(impl.linear, true);
    impl.communicator.collectively([&] {
        impl.condense();
        const auto diagonal = impl.model.diagonal();
        result.assign(impl.unknowns, 0.0);
        for (std::size_t f = 0; f < impl.fields.size(); ++f)
            if (impl.fields[f].treatment == FieldTreatment::voxel)
                for (std::size_t v = 0; v < impl.voxels(f); ++v)
                    result[impl.first[f] + v] = static_cast<double>(diagonal[impl.offset(f) + v]) *
                                                impl.fields[f].unit * impl.fields[f].unit;
        for (std::size_t g = 0; g < impl.globals.size(); ++g)
            result[impl.first.back() + g] =
                static_cast<double>(diagonal[impl.model.global_offset() + g]) *
                impl.globals[g].unit * impl.globals[g].unit;
    });
    impl.sum(result);
    return result;
}
void DlsrProblem::set_operator_point(std::span<const double> x, bool derivatives) {
    impl_->stand_at(impl_->whole(x), derivatives);
}
void DlsrProblem::forget_point() {
    impl_->at.clear();
}
void DlsrProblem::set_global_bounds(std::size_t global, double lower, double upper) {
    if (global >= impl_->globals.size())
        throw Error("DLSR: bounds of a global parameter that does not exist");
    if (!(lower <= upper))
        throw Error("DLSR: bounds of a global parameter that cross");
    impl_->globals[global].lower = lower;
    impl_->globals[global].upper = upper;
}
void DlsrProblem::set_data(std::span<const float> data) {
    if (data.size() != impl_->model.coefficient_count())
        throw Error("DLSR: wrong number of data");
    impl_->data = data;
}

std::vector<double> DlsrProblem::back_project(std::span<const float> rays) {
    Impl& impl = *impl_;
    std::vector<double> result;
    impl.stand_at(impl.linear, true);
    impl.communicator.collectively([&] {
        std::vector<float> values(impl.model.value_count());
        impl.model.weighted_adjoint(rays, values);
        result = impl.contract(values);
    });
    impl.sum(result);
    return {result.begin() + static_cast<std::ptrdiff_t>(impl.own.begin),
            result.begin() + static_cast<std::ptrdiff_t>(impl.own.end)};
}

std::vector<double> DlsrProblem::smoothness_product(std::span<const double> v) const {
    const auto all = impl_->whole(v);
    std::vector<double> result(impl_->unknowns, 0.0);
    impl_->smoothness_product(all, result);
    return {result.begin() + static_cast<std::ptrdiff_t>(impl_->own.begin),
            result.begin() + static_cast<std::ptrdiff_t>(impl_->own.end)};
}

mpi::BlockRange DlsrProblem::own() const {
    return impl_->own;
}
mpi::BlockRange DlsrProblem::field_unknowns(std::size_t field) const {
    const auto& first = impl_->first;
    return {first[field], field + 1 < first.size() ? first[field + 1] : impl_->unknowns};
}

std::vector<double> DlsrProblem::block_variances() const {
    const Impl& impl = *impl_;
    std::vector<double> result(impl.unknowns, 0.0);
    for (std::size_t i = 0; i < impl.unknowns; ++i)
        if (impl.single[i] > 0)
            result[i] = 1 / impl.single[i];
#pragma omp parallel for schedule(static)
    for (std::size_t i = 0; i < impl.blocks.size(); ++i) {
        const auto& block = impl.blocks[i];
        const float* factor = impl.factors.data() + impl.block_factor[i];
        std::array<double, 64> column{};
        for (std::size_t a = 0; a < block.count; ++a) {
            // |L⁻¹ e_a|²
            double sum = 0;
            for (std::size_t r = a; r < block.count; ++r) {
                double value = r == a ? 1 : 0;
                for (std::size_t k = a; k < r; ++k)
                    value -= static_cast<double>(factor[r * (r + 1) / 2 + k]) * column[k];
                column[r] = value / factor[r * (r + 1) / 2 + r];
                sum += column[r] * column[r];
            }
            result[impl.block_unknowns[block.first + a]] = sum;
        }
    }
    return result;
}

std::vector<double> DlsrProblem::unknowns(std::span<const double> values) const {
    const Impl& impl = *impl_;
    std::vector<double> x(impl.unknowns, 1.0);
    for (std::size_t f = 0; f < impl.fields.size(); ++f) {
        const auto& field = impl.fields[f];
        if (field.treatment == FieldTreatment::voxel)
            for (std::size_t v = 0; v < impl.voxels(f); ++v)
                x[impl.first[f] + v] = values[impl.offset(f) + v] / field.unit;
        else if (field.treatment == FieldTreatment::scaled) {
            double above = 0, below = 0;
            for (std::size_t v = 0; v < impl.voxels(f); ++v) {
                const double start = impl.start_values[impl.offset(f) + v];
                above += start * values[impl.offset(f) + v];
                below += start * start;
            }
            x[impl.first[f]] = (below > 0 ? above / below : 1) / field.unit;
        }
    }
    for (std::size_t g = 0; g < impl.globals.size(); ++g)
        x[impl.first.back() + g] = values[impl.model.global_offset() + g] / impl.globals[g].unit;
    return {x.begin() + static_cast<std::ptrdiff_t>(impl.own.begin),
            x.begin() + static_cast<std::ptrdiff_t>(impl.own.end)};
}
std::vector<double> DlsrProblem::start() const {
    return unknowns(impl_->start_values);
}
std::vector<double> DlsrProblem::values(std::span<const double> x) const {
    return impl_->expand(impl_->whole(x));
}

void DlsrProblem::bounds(std::span<double> lower, std::span<double> upper) const {
    const Impl& impl = *impl_;
    std::vector<double> low(impl.unknowns), high(impl.unknowns);
    for (std::size_t f = 0; f < impl.fields.size(); ++f) {
        const auto& field = impl.fields[f];
        const std::size_t end = f + 1 < impl.fields.size() ? impl.first[f + 1] : impl.first.back();
        for (std::size_t i = impl.first[f]; i < end; ++i) {
            low[i] = field.lower / field.unit;
            high[i] = field.upper / field.unit;
        }
    }
    for (std::size_t g = 0; g < impl.globals.size(); ++g) {
        low[impl.first.back() + g] = impl.globals[g].lower / impl.globals[g].unit;
        high[impl.first.back() + g] = impl.globals[g].upper / impl.globals[g].unit;
    }
    std::copy_n(low.begin() + static_cast<std::ptrdiff_t>(impl.own.begin), impl.own.size(),
                lower.begin());
    std::copy_n(high.begin() + static_cast<std::ptrdiff_t>(impl.own.begin), impl.own.size(),
                upper.begin());
}

double DlsrProblem::objective(std::span<const double> x) {
    Impl& impl = *impl_;
    const auto all = impl.whole(x);
    const double begin = now();
    impl.stand_at(all, false);
    const double own =
        impl.communicator.collectively([&] { return impl.model.objective(impl.data, {}); });
    ++impl.counts.objectives;
    impl.counts.operator_seconds += now() - begin;
    impl.misfit = impl.communicator.allreduce(own, mpi::Reduction::sum);
    return impl.misfit + impl.smoothness(all, {});
}

double DlsrProblem::objective_and_gradient(std::span<const double> x, std::span<double> gradient) {
    Impl& impl = *impl_;
    const auto all = impl.whole(x);
    std::vector<double> slope;
    const double begin = now();
    impl.stand_at(all, true);
    const double own = impl.communicator.collectively([&] {
        std::vector<float> values(impl.model.value_count());
        const double result = impl.model.objective(impl.data, values);
        slope = impl.contract(values);
        return result;
    });
    ++impl.counts.gradients;
    impl.counts.operator_seconds += now() - begin;
    impl.sum(slope);
    impl.misfit = impl.communicator.allreduce(own, mpi::Reduction::sum);
    const double total = impl.misfit + impl.smoothness(all, slope);
    std::copy_n(slope.begin() + static_cast<std::ptrdiff_t>(impl.own.begin), impl.own.size(),
                gradient.begin());
    return total;
}

void DlsrProblem::linearise(std::span<const double> x) {
    Impl& impl = *impl_;
    impl.linear = impl.whole(x);
    impl.stand_at(impl.linear, true);
    impl.communicator.collectively([&] {
        impl.condense();
        impl.spring_weight.assign(impl.fields.size(), {});
        for (std::size_t f = 0; f < impl.fields.size(); ++f) {
            if (!impl.smooth(f))
                continue;
            auto& weights = impl.spring_weight[f];
            for (const Spring& spring : impl.springs[f]) {
                double weight = spring.strength;
                if (std::isfinite(impl.fields[f].edge)) {
                    const double difference = impl.linear[impl.first[f] + spring.a] -
                                              impl.linear[impl.first[f] + spring.b];
                    const double reach = impl.fields[f].edge / spring.strength;
                    weight /= std::sqrt(1 + difference * difference / (reach * reach));
                }
                weights.push_back(static_cast<float>(weight));
            }
        }
    });
    impl.make_preconditioner();
}

void DlsrProblem::Impl::start_curvatures() {
    curvatures.assign(fields.size(), {});
    for (std::size_t f = 0; f < fields.size(); ++f) {
        if (fields[f].treatment != FieldTreatment::voxel || fields[f].shape < 0)
            continue;
        for (std::size_t a = 0; a < fields.size(); ++a)
            if (fields[a].part == fields[f].part && fields[a].shape < 0 &&
                fields[a].treatment == FieldTreatment::voxel)
                curvatures[f] = Curvature{a, 0, std::vector<float>(voxels(f), 0.0F),
                                          std::vector<float>(voxels(f), 0.0F)};
    }
}

void DlsrProblem::Impl::make_preconditioner() {
    const double begin = now();
    // Which unknown belongs to a value, and to which field.
    std::vector<std::int32_t> unknown_of(model.value_count(), -1);
    std::vector<std::uint16_t> field_of(model.value_count(), 0);
    std::vector<double> springs_at(unknowns, 0.0);
    for (std::size_t f = 0; f < fields.size(); ++f) {
        if (fields[f].treatment != FieldTreatment::voxel)
            continue;
        for (std::size_t v = 0; v < voxels(f); ++v) {
            unknown_of[offset(f) + v] = static_cast<std::int32_t>(first[f] + v);
            field_of[offset(f) + v] = static_cast<std::uint16_t>(f);
        }
        if (smooth(f))
            for (std::size_t s = 0; s < springs[f].size(); ++s) {
                springs_at[first[f] + springs[f][s].a] +=
                    fields[f].smoothness * spring_weight[f][s];
                springs_at[first[f] + springs[f][s].b] +=
                    fields[f].smoothness * spring_weight[f][s];
            }
    }
    const std::size_t count = model.pixel_count();
    blocks.assign(count, {});
    block_unknowns.clear();
    block_fields.clear();
    block_pixels.assign(count, 0);
    block_factor.assign(count, 0);
    factors.clear();
    std::vector<double> smooth_share(fields.size(), 0.0), shares(fields.size(), 0.0);
    std::vector<std::vector<double>> sensitivities(fields.size());
    start_curvatures();
    std::vector<std::size_t> members;
    std::vector<float> gram;
    std::vector<double> matrix;
    for (std::size_t i = 0; i < count; ++i) {
        std::size_t pixel = 0;
        model.pixel_block(i, pixel, members, gram);
        const std::size_t all = members.size();
        blocks[i].first = static_cast<std::uint32_t>(block_unknowns.size());
        block_pixels[i] = static_cast<std::uint32_t>(pixel);
        block_factor[i] = factors.size();
        std::vector<std::size_t> kept;
        for (std::size_t a = 0; a < all; ++a)
            if (unknown_of[members[a]] >= 0) {
                kept.push_back(a);
                block_unknowns.push_back(static_cast<std::uint32_t>(unknown_of[members[a]]));
                block_fields.push_back(field_of[members[a]]);
            }
        const std::size_t n = kept.size();
        blocks[i].count = static_cast<std::uint16_t>(n);
        matrix.assign(n * n, 0.0);
        for (std::size_t a = 0; a < n; ++a) {
            const std::size_t fa = field_of[members[kept[a]]];
            for (std::size_t b = 0; b <= a; ++b) {
                const std::size_t fb = field_of[members[kept[b]]];
                matrix[a * n + b] = static_cast<double>(gram[kept[a] * all + kept[b]]) *
                                    pixel_weight[pixel] * fields[fa].unit * fields[fb].unit;
            }
            const double springs_here =
                springs_at[static_cast<std::size_t>(unknown_of[members[kept[a]]])];
            const double diagonal = matrix[a * n + a] + springs_here;
            smooth_share[fa] += diagonal > 0 ? springs_here / diagonal : 0;
            shares[fa] += 1;
            // A relative ridge keeps the factor finite where patterns are nearly alike.
            matrix[a * n + a] = diagonal * (1 + 1e-4) + 1e-12;
        }
        for (std::size_t a = 0; a < n; ++a) {
            const std::size_t f = field_of[members[kept[a]]];
            if (!curvatures[f])
                continue;
            auto& curvature = *curvatures[f];
            const auto shape = static_cast<std::size_t>(unknown_of[members[kept[a]]]),
                       v = shape - first[f];
            for (std::size_t b = 0; b < n; ++b) {
                if (field_of[members[kept[b]]] != curvature.amount)
                    continue;
                const double amount = linear[first[curvature.amount] + v],
                             information = matrix[b * n + b];
                curvature.information[v] = static_cast<float>(information);
                curvature.springs[v] = static_cast<float>(springs_at[shape]);
                if (std::abs(amount) > telling_amount && information > 0)
                    sensitivities[f].push_back((matrix[a * n + a] - springs_at[shape]) /
                                               (amount * amount * information));
            }
        }
        for (std::size_t a = 0; a < n; ++a)
            for (std::size_t b = 0; b <= a; ++b) {
                double value = matrix[a * n + b];
                for (std::size_t k = 0; k < b; ++k)
                    value -= matrix[a * n + k] * matrix[b * n + k];
                matrix[a * n + b] =
                    a == b ? std::sqrt(std::max(value, 1e-12)) : value / matrix[b * n + b];
                factors.push_back(static_cast<float>(matrix[a * n + b]));
            }
    }
    for (std::size_t f = 0; f < fields.size(); ++f)
        if (auto& all = sensitivities[f]; curvatures[f] && !all.empty()) {
            const auto middle = all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2);
            std::nth_element(all.begin(), middle, all.end());
            curvatures[f]->sensitivity = std::max(*middle, 0.0);
        }
    const std::size_t length = filter.length(), columns = length / 2 + 1;
    const double normalise = 1 / static_cast<double>(filter.map_size());
    symbols.assign(fields.size(), {});
    for (std::size_t f = 0; f < fields.size(); ++f) {
        if (fields[f].treatment != FieldTreatment::voxel)
            continue;
        const double share = shares[f] > 0 ? smooth_share[f] / shares[f] : 0;
        symbols[f].resize(filter.spectrum_size());
        for (std::size_t y = 0; y < length; ++y)
            for (std::size_t x = 0; x < columns; ++x) {
                const double sy = std::sin(M_PI * filter.frequency(y)),
                             sx = std::sin(M_PI * filter.frequency(x));
                const double symbol = (1 - share) * projection_symbol[y * columns + x] +
                                      share * (sx * sx + sy * sy) + least_symbol;
                symbols[f][y * columns + x] = static_cast<float>(normalise / symbol);
            }
    }
    // Factors and globals: their own curvature.
    single.assign(unknowns, 0.0);
    const auto diagonal = model.diagonal();
    std::vector<double> own(globals.size(), 0.0);
    for (std::size_t g = 0; g < globals.size(); ++g)
        own[g] = diagonal[model.global_offset() + g] * globals[g].unit * globals[g].unit;
    communicator.allreduce(std::span<double>(own), mpi::Reduction::sum);
    for (std::size_t g = 0; g < globals.size(); ++g)
        single[first.back() + g] = std::max(own[g], 1e-12);
    for (std::size_t f = 0; f < fields.size(); ++f) {
        if (fields[f].treatment != FieldTreatment::scaled)
            continue;
        std::vector<double> direction(unknowns, 0.0);
        direction[first[f]] = 1;
        std::vector<float> product(model.value_count());
        model.gauss_newton(expand_direction(direction), product);
        single[first[f]] = std::max(
            communicator.allreduce(contract(product)[first[f]], mpi::Reduction::sum), 1e-12);
    }
    counts.precondition_seconds += now() - begin;
}

void DlsrProblem::retract(std::span<const double>, std::span<double> trial) {
    const Impl& impl = *impl_;
    if (std::none_of(impl.curvatures.begin(), impl.curvatures.end(),
                     [](const auto& curvature) { return curvature.has_value(); }))
        return;
    const auto to = impl_->whole(trial);
    const auto& from = impl.linear;
    for (std::size_t f = 0; f < impl.curvatures.size(); ++f) {
        const auto& curvature = impl.curvatures[f];
        if (!curvature || !(curvature->sensitivity > 0))
            continue;
        const auto& field = impl.fields[f];
        const double farthest = 1 / std::sqrt(curvature->sensitivity);
        for (std::size_t v = 0; v < impl.voxels(f); ++v) {
            const std::size_t i = impl.first[f] + v;
            if (i < impl.own.begin || i >= impl.own.end)
                continue;
            // min over Δη' of s I (a₁ Δη' − a₀ Δη)² + k (Δη' − Δη)²
            const double before = from[impl.first[curvature->amount] + v],
                         after = to[impl.first[curvature->amount] + v],
                         information = curvature->sensitivity * curvature->information[v],
                         springs = curvature->springs[v] + curvature->sensitivity;
            const double step = (to[i] - from[i]) * (information * before * after + springs) /
                                (information * after * after + springs);
            trial[i - impl.own.begin] =
                std::clamp(from[i] + std::clamp(step, -farthest, farthest),
                           field.lower / field.unit, field.upper / field.unit);
        }
    }
}

void DlsrProblem::gauss_newton_product(std::span<const double> v, std::span<double> out) {
    Impl& impl = *impl_;
    const auto all = impl.whole(v);
    std::vector<double> result;
    const double begin = now();
    impl.stand_at(impl.linear, true);
    impl.communicator.collectively([&] {
        impl.condense();
        std::vector<float> product(impl.model.value_count());
        impl.model.gauss_newton(impl.expand_direction(all), product);
        result = impl.contract(product);
    });
    ++impl.counts.products;
    impl.counts.operator_seconds += now() - begin;
    impl.sum(result);
    impl.smoothness_product(all, result);
    std::copy_n(result.begin() + static_cast<std::ptrdiff_t>(impl.own.begin), impl.own.size(),
                out.begin());
}

void DlsrProblem::precondition(std::span<const double> v, std::span<double> out) {
    Impl& impl = *impl_;
    const auto all = impl.whole(v);
    const double begin = now();
    const std::size_t count = impl.blocks.size(), length = impl.filter.length(), n = impl.grid.n;
    std::vector<float> y(impl.block_unknowns.size());
#pragma omp parallel for schedule(static)
    for (std::size_t i = 0; i < count; ++i) {
        const auto& block = impl.blocks[i];
        const float* factor = impl.factors.data() + impl.block_factor[i];
        for (std::size_t a = 0; a < block.count; ++a) {
            double value = all[impl.block_unknowns[block.first + a]];
            for (std::size_t k = 0; k < a; ++k)
                value -= static_cast<double>(*factor++) * y[block.first + k];
            y[block.first + a] = static_cast<float>(value / *factor++);
        }
    }
    // Fields are shared out over the ranks.
    std::vector<std::vector<float>> maps(impl.fields.size());
    const auto size = static_cast<std::size_t>(impl.communicator.size());
    const auto rank = static_cast<std::size_t>(impl.communicator.rank());
    std::vector<std::size_t> mine;
    for (std::size_t f = 0, k = 0; f < impl.fields.size(); ++f)
        if (!impl.symbols[f].empty() && k++ % size == rank)
            mine.push_back(f);
    for (const std::size_t f : mine)
        maps[f].assign(n * n, 0.0F);
    for (std::size_t i = 0; i < count; ++i) {
        const auto& block = impl.blocks[i];
        for (std::size_t a = block.first; a < block.first + block.count; ++a)
            if (!maps[impl.block_fields[a]].empty())
                maps[impl.block_fields[a]][impl.block_pixels[i]] = y[a];
    }
#pragma omp parallel
    {
        MapFilter::Work work(impl.filter);
#pragma omp for schedule(dynamic, 1)
        for (std::size_t k = 0; k < mine.size(); ++k) {
            auto& map = maps[mine[k]];
            std::fill_n(work.map, impl.filter.map_size(), 0.0F);
            for (std::size_t line = 0; line < n; ++line)
                std::copy_n(map.data() + line * n, n, work.map + line * length);
            impl.filter.apply(impl.symbols[mine[k]], work);
            for (std::size_t line = 0; line < n; ++line)
                std::copy_n(work.map + line * length, n, map.data() + line * n);
        }
    }
    std::vector<float> filtered(y.size(), 0.0F);
    for (std::size_t i = 0; i < count; ++i) {
        const auto& block = impl.blocks[i];
        for (std::size_t a = block.first; a < block.first + block.count; ++a)
            if (!maps[impl.block_fields[a]].empty())
                filtered[a] = maps[impl.block_fields[a]][impl.block_pixels[i]];
    }
    impl.counts.precondition_seconds += now() - begin;
    if (size > 1)
        impl.communicator.allreduce(std::span<float>(filtered), mpi::Reduction::sum);
    const double again = now();
    std::vector<double> result(impl.unknowns, 0.0);
#pragma omp parallel for schedule(static)
    for (std::size_t i = 0; i < count; ++i) {
        const auto& block = impl.blocks[i];
        const float* factor = impl.factors.data() + impl.block_factor[i];
        std::array<double, most_pixel_unknowns> z{};
        for (std::size_t a = block.count; a-- > 0;) {
            double value = filtered[block.first + a];
            for (std::size_t k = a + 1; k < block.count; ++k)
                value -= static_cast<double>(factor[k * (k + 1) / 2 + a]) * z[k];
            z[a] = value / factor[a * (a + 1) / 2 + a];
            result[impl.block_unknowns[block.first + a]] = z[a];
        }
    }
    for (std::size_t i = 0; i < impl.unknowns; ++i)
        if (impl.single[i] > 0)
            result[i] = all[i] / impl.single[i];
    ++impl.counts.preconditions;
    impl.counts.precondition_seconds += now() - again;
    std::copy_n(result.begin() + static_cast<std::ptrdiff_t>(impl.own.begin), impl.own.size(),
                out.begin());
}

} // namespace xrdct
