#include "solvers/dlsr/problem.hpp"

#include "base/error.hpp"
#include "base/shared_memory_team.hpp"
#include "mpi/comm/decomposition.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <complex>
#include <limits>
#include <optional>

#include <fftw3.h>
#include <fmt/format.h>
#include <omp.h>

namespace xrdct::dlsr {

namespace {

/// Least symbol of the preconditioned operator: what the beam's blur has removed stays as it is.
constexpr double min_symbol = 0.05;
constexpr std::size_t max_pixel_unknowns = 64;
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

std::vector<Spring> springs_of(std::span<const std::size_t> pixels, std::size_t n,
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

struct Problem::Impl {
    const mpi::Communicator& communicator;
    std::optional<mpi::NodeTeam> own_team;
    const mpi::NodeTeam& team;
    Operator& model;
    tomography::ImageGrid grid;
    std::span<const float> data;
    std::vector<Field> fields;
    std::vector<Global> globals;
    SharedArray<double> start_values;
    std::vector<std::size_t> first; ///< unknown of each field; globals after the last
    std::size_t unknowns = 0;
    mpi::BlockRange own;
    std::vector<SharedArray<Spring>> springs;
    std::vector<float> pixel_weight; ///< of all ranks
    MapFilter filter;
    std::vector<float> projection_symbol; ///< of the projection, mean 1
    double misfit = 0, product_tolerance = 0;
    Counts counts;

    // What passes through, whole: unknowns, values of the model, a direction of these, a product.
    SharedArray<double> gathered, values;
    SharedArray<float> direction;
    SharedArray<double> product;

    // The model's point.
    SharedArray<double> at; ///< unknowns (whole) at which the operator stands
    bool stands = false, at_derivatives = false;
    bool at_linear = false;  ///< with derivatives
    double at_condensed = 0; ///< tolerance to which the operator is condensed
    // Linearisation.
    SharedArray<double> linear;
    std::vector<SharedArray<float>> spring_weight; ///< lagged, per field with an edge
    struct Block {
        std::uint32_t first = 0;
        std::uint16_t count = 0;
        std::size_t factor = 0; ///< first entry
    };
    SharedArray<Block> blocks;
    SharedArray<std::uint32_t> block_unknowns, block_places; ///< and where there each unknown is
    SharedArray<std::uint16_t> block_fields;
    SharedArray<float> factors;          ///< lower Cholesky factors, packed row by row
    SharedArray<float> solved, filtered; ///< [block unknown]
    SharedArray<double> preconditioned;
    SharedArray<std::int32_t> unknown_of; ///< of the model's values; −1: none
    SharedArray<std::uint16_t> field_of;
    std::vector<std::vector<float>> symbols;            ///< of the fields that this rank filters
    std::vector<std::pair<std::size_t, double>> single; ///< diagonal of factors and globals
    /// What the data and the springs say of a voxel shape.
    struct Curvature {
        std::size_t amount = 0; ///< its field
        /// Squared change of the pattern, relative to it, per unit of the shape; 0: not known.
        double sensitivity = 0;
        SharedArray<float> information, springs; ///< of the amount; on the shape; per voxel
    };
    std::vector<std::optional<Curvature>> curvatures; ///< per field

    Impl(const mpi::Communicator& c, const mpi::NodeTeam* t, Operator& m,
         const tomography::ImageGrid& g)
        : communicator(c), team(t ? *t : own_team.emplace(c, 1)), model(m), grid(g), filter(g.n) {}

    std::size_t voxels(std::size_t f) const { return model.pixels(fields[f].part).size(); }
    std::size_t offset(std::size_t f) const {
        return model.offset(fields[f].part, fields[f].shape);
    }

    /// The shares of all ranks.
    std::span<const double> whole(std::span<const double> x) {
        const double begin = now();
        gathered.resize(team, unknowns);
        team.gather(x, gathered.span());
        counts.exchange_seconds += now() - begin;
        return gathered;
    }
    /// The part of voxels [from, to) of a field that is this rank's own.
    std::pair<std::size_t, std::size_t> own_voxels(std::size_t f) const {
        const std::size_t begin = first[f], end = begin + voxels(f);
        const std::size_t from = std::clamp(own.begin, begin, end),
                          to = std::clamp(own.end, begin, end);
        return {from - begin, to - begin};
    }
    /// Whether some of a field's voxels are this rank's own.
    bool concerns(std::size_t f) const {
        const auto [from, to] = own_voxels(f);
        return from < to;
    }
    bool owns(std::size_t unknown) const { return unknown >= own.begin && unknown < own.end; }
    std::span<const double> expand(std::span<const double> x) {
        team.barrier(); // nobody reads any more what was there
        team.run_and_sync([&] {
            for (std::size_t f = 0; f < fields.size(); ++f) {
                double* to = values.data() + offset(f);
                const double* from = start_values.data() + offset(f);
                const auto [begin, end] = team.share(voxels(f));
                const bool each = fields[f].treatment == FieldTreatment::voxel;
                const double factor = fields[f].treatment == FieldTreatment::scaled
                                          ? x[first[f]] * fields[f].unit
                                          : 1;
                for (std::size_t v = begin; v < end; ++v)
                    to[v] = each ? x[first[f] + v] * fields[f].unit : from[v] * factor;
            }
            for (std::size_t g = 0; g < globals.size() && team.rank() == 0; ++g)
                values[model.global_offset() + g] = x[first.back() + g] * globals[g].unit;
        });
        return values;
    }
    std::span<const float> expand_direction(std::span<const double> x) {
        direction.resize(team, model.value_count());
        team.run_and_sync([&] {
            for (std::size_t f = 0; f < fields.size(); ++f) {
                if (fields[f].treatment == FieldTreatment::fixed)
                    continue;
                float* to = direction.data() + offset(f);
                const double* from = start_values.data() + offset(f);
                const auto [begin, end] = team.share(voxels(f));
                const bool each = fields[f].treatment == FieldTreatment::voxel;
                for (std::size_t v = begin; v < end; ++v)
                    to[v] = static_cast<float>((each ? x[first[f] + v] : from[v] * x[first[f]]) *
                                               fields[f].unit);
            }
            for (std::size_t g = 0; g < globals.size() && team.rank() == 0; ++g)
                direction[model.global_offset() + g] =
                    static_cast<float>(x[first.back() + g] * globals[g].unit);
        });
        return direction;
    }
    std::span<double> product_room() {
        product.resize(team, model.value_count());
        return product.span();
    }
    /// Adds the teams' products and takes this rank's own share of the sum in the unknowns.
    void contract(std::span<double> x) {
        const double begin = now();
        team.sum(product.span());
        counts.exchange_seconds += now() - begin;
        std::fill(x.begin(), x.end(), 0.0);
        for (std::size_t f = 0; f < fields.size(); ++f) {
            const double* from = product.data() + offset(f);
            if (fields[f].treatment == FieldTreatment::voxel) {
                const auto [begin_voxel, end_voxel] = own_voxels(f);
                for (std::size_t v = begin_voxel; v < end_voxel; ++v)
                    x[first[f] + v - own.begin] = from[v] * fields[f].unit;
            } else if (fields[f].treatment == FieldTreatment::scaled && owns(first[f])) {
                x[first[f] - own.begin] = scaled_product(f);
            }
        }
        for (std::size_t g = 0; g < globals.size(); ++g)
            if (owns(first.back() + g))
                x[first.back() + g - own.begin] =
                    product[model.global_offset() + g] * globals[g].unit;
    }
    double scaled_product(std::size_t f) const {
        double sum = 0;
        for (std::size_t v = 0; v < voxels(f); ++v)
            sum += product[offset(f) + v] * start_values[offset(f) + v] * fields[f].unit;
        return sum;
    }

    void stand_at(std::span<const double> x, bool derivatives) {
        if (stands && (at_derivatives || !derivatives)) {
            const bool same = std::equal(x.begin() + static_cast<std::ptrdiff_t>(own.begin),
                                         x.begin() + static_cast<std::ptrdiff_t>(own.end),
                                         at.begin() + static_cast<std::ptrdiff_t>(own.begin));
            if (communicator.allreduce(static_cast<std::int64_t>(same), mpi::Reduction::min) == 1)
                return;
        }
        // The patterns' part is the same on all ranks: each makes some rows.
        SharedArray<double> rows;
        communicator.collectively([&] {
            expand(x);
            rows.resize(team, model.table_size(values, derivatives));
            team.run_and_sync([&] {
                model.table_rows(values, derivatives, static_cast<std::size_t>(communicator.rank()),
                                 static_cast<std::size_t>(communicator.size()), rows.span());
            });
        });
        if (!rows.empty())
            team.sum(rows.span());
        stands = at_linear = false;
        communicator.collectively([&] { model.set_point(values, derivatives, rows); });
        communicator.collectively([&] {
            at.resize(team, unknowns);
            team.run_and_sync([&] {
                const auto [begin, end] = team.share(unknowns);
                std::copy(x.begin() + static_cast<std::ptrdiff_t>(begin),
                          x.begin() + static_cast<std::ptrdiff_t>(end),
                          at.begin() + static_cast<std::ptrdiff_t>(begin));
            });
        });
        stands = true;
        at_derivatives = derivatives;
        at_condensed = 0;
    }
    void stand_at_linear() {
        if (!stands || !at_linear)
            stand_at(linear, true);
        at_linear = true;
    }
    void condense() {
        if (at_condensed != product_tolerance)
            model.condense(product_tolerance);
        at_condensed = product_tolerance;
    }

    bool smooth(std::size_t f) const {
        return fields[f].treatment == FieldTreatment::voxel && fields[f].smoothness > 0;
    }
    /// This rank's part of the cost of the smoothness, from the springs that begin in its own
    /// unknowns; adds the own share of the gradient unless `gradient` is empty.
    double smoothness(std::span<const double> x, std::span<double> gradient) const {
        double total = 0;
        for (std::size_t f = 0; f < fields.size(); ++f) {
            if (!smooth(f) || !concerns(f))
                continue;
            const double* field = x.data() + first[f];
            const double edge = fields[f].edge, strength = fields[f].smoothness;
            double cost = 0;
            for (const Spring& spring : springs[f]) {
                const bool counts_here = owns(first[f] + spring.a);
                if (!counts_here && !owns(first[f] + spring.b))
                    continue;
                const double difference = field[spring.a] - field[spring.b];
                double force = difference, energy = 0;
                if (std::isfinite(edge)) {
                    // The gap's difference is shared by its voxels.
                    const double reach = edge / spring.strength;
                    const double root = std::sqrt(1 + difference * difference / (reach * reach));
                    energy = spring.strength * reach * reach * (root - 1);
                    force /= root;
                } else {
                    energy = 0.5 * spring.strength * difference * difference;
                }
                if (counts_here)
                    cost += energy;
                if (!gradient.empty())
                    pull(f, spring, strength * spring.strength * force, gradient);
            }
            total += strength * cost;
        }
        return total;
    }
    /// The objective out of the ranks' parts of misfit and smoothness. Collective.
    double total(double own_misfit, double own_smoothness) {
        std::array<double, 2> sums{own_misfit, own_smoothness};
        communicator.allreduce(std::span<double>(sums), mpi::Reduction::sum);
        misfit = sums[0];
        return sums[0] + sums[1];
    }
    /// Adds a spring's force to the own share.
    void pull(std::size_t f, const Spring& spring, double force, std::span<double> out) const {
        if (owns(first[f] + spring.a))
            out[first[f] + spring.a - own.begin] += force;
        if (owns(first[f] + spring.b))
            out[first[f] + spring.b - own.begin] -= force;
    }
    /// Adds the own share.
    void smoothness_product(std::span<const double> v, std::span<double> out) const {
        for (std::size_t f = 0; f < fields.size(); ++f) {
            if (!smooth(f) || !concerns(f))
                continue;
            for (std::size_t s = 0; s < springs[f].size(); ++s) {
                const Spring& spring = springs[f][s];
                pull(f, spring,
                     fields[f].smoothness * spring_weight[f][s] *
                         (v[first[f] + spring.a] - v[first[f] + spring.b]),
                     out);
            }
        }
    }

    void make_projection_symbol(const tomography::ScanGeometry& geometry) {
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

    void make_springs();
    void arrange_blocks();
    void start_curvatures();
    void make_preconditioner();
    /// Diagonal of the globals, of all ranks. Collective.
    std::vector<double> global_information() const {
        const auto diagonal = model.global_diagonal();
        std::vector<double> result(globals.size(), 0.0);
        for (std::size_t g = 0; g < globals.size(); ++g)
            result[g] = static_cast<double>(diagonal[g]) * globals[g].unit * globals[g].unit;
        communicator.allreduce(std::span<double>(result), mpi::Reduction::sum);
        return result;
    }
    /// Whether this rank filters a field; the fields are shared out over all ranks.
    bool filters(std::size_t f) const {
        if (fields[f].treatment != FieldTreatment::voxel)
            return false;
        std::size_t k = 0;
        for (std::size_t other = 0; other < f; ++other)
            k += fields[other].treatment == FieldTreatment::voxel;
        return k % static_cast<std::size_t>(communicator.size()) ==
               static_cast<std::size_t>(communicator.rank());
    }
};

Problem::Problem(const mpi::Communicator& communicator, Operator& model,
                 const tomography::ImageGrid& grid, const tomography::ScanGeometry& geometry,
                 std::span<const float> data, std::vector<Field> fields,
                 std::vector<Global> globals, std::span<const double> values,
                 const mpi::NodeTeam* team)
    : impl_(std::make_unique<Impl>(communicator, team, model, grid)) {
    Impl& impl = *impl_;
    communicator.collectively([&] {
        if (data.size() != model.coefficient_count() || values.size() != model.value_count() ||
            globals.size() != model.global_count())
            throw Error("DLSR: wrong sizes of data, start values or global parameters");
        if (model.pixel_weight().size() != grid.size())
            throw Error("DLSR: the grid is not that of the operator");
        if (&model.team() != team && (team || model.team().size() != 1))
            throw Error("DLSR: the operator has another team");
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
                    if (++load[pixel] > max_pixel_unknowns)
                        throw Error(fmt::format("DLSR: more than {} unknowns in a voxel",
                                                max_pixel_unknowns));
        }
        for (const auto& global : globals)
            if (!(global.unit > 0) || !(global.lower < global.upper))
                throw Error("DLSR: a global parameter without a unit or range");
    });
    impl.data = data;
    impl.fields = std::move(fields);
    impl.globals = std::move(globals);
    communicator.collectively([&] {
        impl.start_values = {impl.team, values};
        impl.values = {impl.team, values}; // those of no field stay
        // Start within the bounds.
        impl.team.run_and_sync([&] {
            for (std::size_t f = 0; f < impl.fields.size(); ++f) {
                const auto& field = impl.fields[f];
                if (field.treatment != FieldTreatment::voxel)
                    continue;
                const auto [begin, end] = impl.team.share(impl.voxels(f));
                for (std::size_t v = begin; v < end; ++v) {
                    double& value = impl.start_values[impl.offset(f) + v];
                    value = std::clamp(value, field.lower, field.upper);
                }
            }
        });
    });
    for (std::size_t f = 0; f < impl.fields.size(); ++f) {
        impl.first.push_back(impl.unknowns);
        impl.unknowns += unknowns_of(impl.fields[f].treatment, impl.voxels(f));
    }
    impl.first.push_back(impl.unknowns);
    impl.unknowns += impl.globals.size();
    impl.own = mpi::block_range(impl.unknowns, static_cast<std::size_t>(communicator.size()),
                                static_cast<std::size_t>(communicator.rank()));
    impl.pixel_weight = model.pixel_weight();
    communicator.allreduce(std::span<float>(impl.pixel_weight), mpi::Reduction::sum);
    impl.make_projection_symbol(geometry);
    communicator.collectively([&] {
        impl.make_springs();
        impl.arrange_blocks();
    });
}

void Problem::Impl::make_springs() {
    springs.resize(fields.size());
    std::vector<std::vector<Spring>> made(fields.size());
    SharedArray<std::size_t> counts_of;
    counts_of.resize(team, fields.size());
    team.run_and_sync([&] {
        for (std::size_t f = 0; f < fields.size(); ++f)
            if (team.owns(f) && fields[f].treatment == FieldTreatment::voxel &&
                fields[f].max_gap > 0) {
                made[f] = springs_of(model.pixels(fields[f].part), grid.n, fields[f].max_gap);
                counts_of[f] = made[f].size();
            }
    });
    for (std::size_t f = 0; f < fields.size(); ++f)
        springs[f].resize(team, counts_of[f]);
    team.run_and_sync([&] {
        for (std::size_t f = 0; f < fields.size(); ++f)
            std::copy(made[f].begin(), made[f].end(), springs[f].begin());
    });
}

/// Which unknowns the voxels have.
void Problem::Impl::arrange_blocks() {
    unknown_of.resize(team, model.value_count());
    field_of.resize(team, model.value_count());
    const std::size_t count = model.pixel_count();
    blocks.resize(team, count);
    SharedArray<std::size_t> sizes;
    sizes.resize(team, 1);
    team.run_and_sync([&] {
        const auto [begin, end] = team.share(model.value_count());
        std::fill(unknown_of.begin() + static_cast<std::ptrdiff_t>(begin),
                  unknown_of.begin() + static_cast<std::ptrdiff_t>(end), -1);
    });
    team.run_and_sync([&] {
        for (std::size_t f = 0; f < fields.size(); ++f)
            if (team.owns(f) && fields[f].treatment == FieldTreatment::voxel)
                for (std::size_t v = 0; v < voxels(f); ++v) {
                    unknown_of[offset(f) + v] = static_cast<std::int32_t>(first[f] + v);
                    field_of[offset(f) + v] = static_cast<std::uint16_t>(f);
                }
    });
    const auto for_blocks = [&](auto&& each) {
        team.run_and_sync([&] {
            std::vector<std::size_t> members;
            const auto [begin, end] = team.share(count);
            for (std::size_t i = begin; i < end; ++i) {
                std::size_t pixel = 0;
                model.pixel_values(i, pixel, members);
                std::erase_if(members, [&](std::size_t value) { return unknown_of[value] < 0; });
                each(i, members);
            }
        });
    };
    for_blocks([&](std::size_t i, const std::vector<std::size_t>& members) {
        blocks[i].count = static_cast<std::uint16_t>(members.size());
    });
    team.run_and_sync([&] {
        if (team.rank() != 0)
            return;
        std::size_t unknown = 0, factor = 0;
        for (Block& block : blocks) {
            block.first = static_cast<std::uint32_t>(unknown);
            block.factor = factor;
            unknown += block.count;
            factor += std::size_t{block.count} * (block.count + 1) / 2;
        }
        sizes[0] = factor;
    });
    const std::size_t all =
        count > 0 ? blocks[count - 1].first + std::size_t{blocks[count - 1].count} : 0;
    factors.resize(team, sizes[0]);
    block_unknowns.resize(team, all);
    block_fields.resize(team, all);
    block_places.resize(team, unknowns);
    for_blocks([&](std::size_t i, const std::vector<std::size_t>& members) {
        for (std::size_t a = 0; a < members.size(); ++a) {
            const auto place = static_cast<std::uint32_t>(blocks[i].first + a);
            block_unknowns[place] = static_cast<std::uint32_t>(unknown_of[members[a]]);
            block_fields[place] = field_of[members[a]];
            block_places[block_unknowns[place]] = place;
        }
    });
}

Problem::~Problem() = default;

std::size_t Problem::size() const {
    return impl_->unknowns;
}
std::size_t Problem::local_size() const {
    return impl_->own.size();
}
const std::vector<Field>& Problem::fields() const {
    return impl_->fields;
}
const Problem::Counts& Problem::counts() const {
    return impl_->counts;
}
double Problem::last_misfit() const {
    return impl_->misfit;
}
void Problem::set_smoothness(std::size_t field, double smoothness, double edge) {
    if (field >= impl_->fields.size())
        throw Error("DLSR: smoothness of a field that does not exist");
    require_smoothness(smoothness, edge);
    impl_->fields[field].smoothness = smoothness;
    impl_->fields[field].edge = edge;
}
void Problem::set_product_tolerance(double tolerance) {
    impl_->product_tolerance = tolerance;
}
std::vector<double> Problem::information() {
    Impl& impl = *impl_;
    impl.stand_at_linear();
    std::vector<double> result(impl.own.size(), 0.0);
    impl.communicator.collectively([&] {
        impl.condense();
        auto diagonal = impl.product_room();
        impl.team.barrier(); // nobody reads any more what was there
        impl.team.run_and_sync([&] {
            std::vector<std::size_t> values;
            std::vector<float> gram;
            const auto [begin, end] = impl.team.share(impl.model.pixel_count());
            for (std::size_t i = begin; i < end; ++i) {
                std::size_t pixel = 0;
                impl.model.pixel_block(i, pixel, values, gram);
                for (std::size_t a = 0; a < values.size(); ++a)
                    diagonal[values[a]] = gram[a * values.size() + a] * impl.pixel_weight[pixel];
            }
        });
    });
    for (std::size_t f = 0; f < impl.fields.size(); ++f) {
        if (impl.fields[f].treatment != FieldTreatment::voxel)
            continue;
        const auto [begin, end] = impl.own_voxels(f);
        for (std::size_t v = begin; v < end; ++v)
            result[impl.first[f] + v - impl.own.begin] =
                impl.product[impl.offset(f) + v] * impl.fields[f].unit * impl.fields[f].unit;
    }
    const auto globals = impl.global_information();
    for (std::size_t g = 0; g < globals.size(); ++g)
        if (impl.owns(impl.first.back() + g))
            result[impl.first.back() + g - impl.own.begin] = globals[g];
    return result;
}
void Problem::set_operator_point(std::span<const double> x, bool derivatives) {
    impl_->stand_at(impl_->whole(x), derivatives);
}
void Problem::forget_point() {
    impl_->stands = impl_->at_linear = false;
}
void Problem::rest() {
    forget_point();
    impl_->model.release_columns();
}
void Problem::set_global_bounds(std::size_t global, double lower, double upper) {
    if (global >= impl_->globals.size())
        throw Error("DLSR: bounds of a global parameter that does not exist");
    if (!(lower <= upper))
        throw Error("DLSR: bounds of a global parameter that cross");
    impl_->globals[global].lower = lower;
    impl_->globals[global].upper = upper;
}
void Problem::set_data(std::span<const float> data) {
    if (data.size() != impl_->model.coefficient_count())
        throw Error("DLSR: wrong number of data");
    impl_->data = data;
}

std::vector<double> Problem::back_project(std::span<const float> rays) {
    Impl& impl = *impl_;
    impl.stand_at_linear();
    impl.communicator.collectively([&] { impl.model.weighted_adjoint(rays, impl.product_room()); });
    std::vector<double> result(impl.own.size());
    impl.contract(result);
    return result;
}

std::vector<double> Problem::smoothness_product(std::span<const double> v) const {
    const auto all = impl_->whole(v);
    std::vector<double> result(impl_->own.size(), 0.0);
    impl_->smoothness_product(all, result);
    return result;
}

mpi::BlockRange Problem::own() const {
    return impl_->own;
}
mpi::BlockRange Problem::field_unknowns(std::size_t field) const {
    const auto& first = impl_->first;
    return {first[field], field + 1 < first.size() ? first[field + 1] : impl_->unknowns};
}

std::vector<double> Problem::block_variances() const {
    Impl& impl = *impl_;
    impl.communicator.collectively([&] {
        impl.preconditioned.resize(impl.team, impl.unknowns);
        impl.team.barrier();
        impl.team.run_and_sync([&] {
            const auto [begin, end] = impl.team.share(impl.blocks.size());
#pragma omp parallel for schedule(static)
            for (std::size_t i = begin; i < end; ++i) {
                const auto& block = impl.blocks[i];
                const float* factor = impl.factors.data() + block.factor;
                std::array<double, max_pixel_unknowns> column{};
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
                    impl.preconditioned[impl.block_unknowns[block.first + a]] = sum;
                }
            }
        });
    });
    std::vector<double> result(impl.own.size());
    std::copy_n(impl.preconditioned.begin() + static_cast<std::ptrdiff_t>(impl.own.begin),
                impl.own.size(), result.begin());
    for (const auto& [unknown, diagonal] : impl.single)
        if (impl.owns(unknown))
            result[unknown - impl.own.begin] = 1 / diagonal;
    return result;
}

std::vector<double> Problem::unknowns(std::span<const double> values) const {
    const Impl& impl = *impl_;
    std::vector<double> x(impl.own.size(), 1.0);
    for (std::size_t f = 0; f < impl.fields.size(); ++f) {
        const auto& field = impl.fields[f];
        if (field.treatment == FieldTreatment::voxel) {
            const auto [begin, end] = impl.own_voxels(f);
            for (std::size_t v = begin; v < end; ++v)
                x[impl.first[f] + v - impl.own.begin] = values[impl.offset(f) + v] / field.unit;
        } else if (field.treatment == FieldTreatment::scaled && impl.owns(impl.first[f])) {
            double above = 0, below = 0;
            for (std::size_t v = 0; v < impl.voxels(f); ++v) {
                const double start = impl.start_values[impl.offset(f) + v];
                above += start * values[impl.offset(f) + v];
                below += start * start;
            }
            x[impl.first[f] - impl.own.begin] = (below > 0 ? above / below : 1) / field.unit;
        }
    }
    for (std::size_t g = 0; g < impl.globals.size(); ++g)
        if (impl.owns(impl.first.back() + g))
            x[impl.first.back() + g - impl.own.begin] =
                values[impl.model.global_offset() + g] / impl.globals[g].unit;
    return x;
}
std::vector<double> Problem::start() const {
    return unknowns(impl_->start_values);
}
std::span<const double> Problem::values(std::span<const double> x) const {
    return impl_->communicator.collectively(
        [&, all = impl_->whole(x)] { return impl_->expand(all); });
}
std::span<const double> Problem::whole(std::span<const double> own) const {
    return impl_->whole(own);
}

void Problem::bounds(std::span<double> lower, std::span<double> upper) const {
    const Impl& impl = *impl_;
    const auto set = [&](std::size_t begin, std::size_t end, double low, double high) {
        for (std::size_t i = std::max(begin, impl.own.begin); i < std::min(end, impl.own.end);
             ++i) {
            lower[i - impl.own.begin] = low;
            upper[i - impl.own.begin] = high;
        }
    };
    for (std::size_t f = 0; f < impl.fields.size(); ++f) {
        const auto& field = impl.fields[f];
        set(impl.first[f], impl.first[f + 1], field.lower / field.unit, field.upper / field.unit);
    }
    for (std::size_t g = 0; g < impl.globals.size(); ++g)
        set(impl.first.back() + g, impl.first.back() + g + 1,
            impl.globals[g].lower / impl.globals[g].unit,
            impl.globals[g].upper / impl.globals[g].unit);
}

double Problem::objective(std::span<const double> x) {
    Impl& impl = *impl_;
    const auto all = impl.whole(x);
    const double begin = now();
    impl.stand_at(all, false);
    const double own =
        impl.communicator.collectively([&] { return impl.model.objective(impl.data); });
    ++impl.counts.objectives;
    impl.counts.operator_seconds += now() - begin;
    return impl.total(own, impl.smoothness(all, {}));
}

double Problem::objective_and_gradient(std::span<const double> x, std::span<double> gradient) {
    Impl& impl = *impl_;
    const auto all = impl.whole(x);
    const double begin = now();
    impl.stand_at(all, true);
    const double own = impl.communicator.collectively(
        [&] { return impl.model.objective(impl.data, impl.product_room()); });
    ++impl.counts.gradients;
    impl.counts.operator_seconds += now() - begin;
    impl.contract(gradient);
    return impl.total(own, impl.smoothness(all, gradient));
}

void Problem::linearise(std::span<const double> x) {
    Impl& impl = *impl_;
    const auto all = impl.whole(x);
    impl.stand_at(all, true);
    impl.communicator.collectively([&] {
        impl.linear.resize(impl.team, impl.unknowns);
        impl.spring_weight.resize(impl.fields.size());
        for (std::size_t f = 0; f < impl.fields.size(); ++f)
            impl.spring_weight[f].resize(impl.team, impl.smooth(f) ? impl.springs[f].size() : 0);
        impl.condense();
        impl.team.run_and_sync([&] {
            const auto [begin, end] = impl.team.share(impl.unknowns);
            std::copy(all.begin() + static_cast<std::ptrdiff_t>(begin),
                      all.begin() + static_cast<std::ptrdiff_t>(end),
                      impl.linear.begin() + static_cast<std::ptrdiff_t>(begin));
            for (std::size_t f = 0; f < impl.fields.size(); ++f) {
                if (!impl.smooth(f))
                    continue;
                const auto [from, to] = impl.team.share(impl.springs[f].size());
                for (std::size_t s = from; s < to; ++s) {
                    const Spring& spring = impl.springs[f][s];
                    double weight = spring.strength;
                    if (std::isfinite(impl.fields[f].edge)) {
                        const double difference =
                            all[impl.first[f] + spring.a] - all[impl.first[f] + spring.b];
                        const double reach = impl.fields[f].edge / spring.strength;
                        weight /= std::sqrt(1 + difference * difference / (reach * reach));
                    }
                    impl.spring_weight[f][s] = static_cast<float>(weight);
                }
            }
        });
    });
    impl.at_linear = true;
    impl.make_preconditioner();
}

void Problem::Impl::start_curvatures() {
    curvatures.resize(fields.size());
    for (std::size_t f = 0; f < fields.size(); ++f) {
        if (fields[f].treatment != FieldTreatment::voxel || fields[f].shape < 0)
            continue;
        for (std::size_t a = 0; a < fields.size(); ++a)
            if (fields[a].part == fields[f].part && fields[a].shape < 0 &&
                fields[a].treatment == FieldTreatment::voxel) {
                if (!curvatures[f])
                    curvatures[f].emplace();
                curvatures[f]->amount = a;
                curvatures[f]->information.resize(team, voxels(f));
                curvatures[f]->springs.resize(team, voxels(f));
            }
    }
}

void Problem::Impl::make_preconditioner() {
    const double begin = now();
    SharedArray<double> springs_at, portions, of_fields; ///< portions: the springs' of the diagonal
    SharedArray<float> sensitivities;                    ///< of voxel shapes, NaN: they do not tell
    communicator.collectively([&] {
        start_curvatures();
        springs_at.resize(team, unknowns);
        sensitivities.resize(team, unknowns);
        portions.resize(team, unknowns);
        of_fields.resize(team, 2 * fields.size()); // sensitivity, mean portion
        team.run_and_sync([&] {
            for (std::size_t f = 0; f < fields.size(); ++f)
                if (team.owns(f) && smooth(f))
                    for (std::size_t s = 0; s < springs[f].size(); ++s) {
                        const double strength = fields[f].smoothness * spring_weight[f][s];
                        springs_at[first[f] + springs[f][s].a] += strength;
                        springs_at[first[f] + springs[f][s].b] += strength;
                    }
        });
        team.run_and_sync([&] {
            std::vector<std::size_t> members, kept;
            std::vector<float> gram;
            std::vector<double> matrix;
            const auto [from, to] = team.share(blocks.size());
            for (std::size_t i = from; i < to; ++i) {
                std::size_t pixel = 0;
                model.pixel_block(i, pixel, members, gram);
                const std::size_t all = members.size();
                kept.clear();
                for (std::size_t a = 0; a < all; ++a)
                    if (unknown_of[members[a]] >= 0)
                        kept.push_back(a);
                const std::size_t n = kept.size();
                const std::uint32_t* unknown = block_unknowns.data() + blocks[i].first;
                const std::uint16_t* field = block_fields.data() + blocks[i].first;
                matrix.assign(n * n, 0.0);
                for (std::size_t a = 0; a < n; ++a) {
                    for (std::size_t b = 0; b <= a; ++b)
                        matrix[a * n + b] = static_cast<double>(gram[kept[a] * all + kept[b]]) *
                                            pixel_weight[pixel] * fields[field[a]].unit *
                                            fields[field[b]].unit;
                    const double springs_here = springs_at[unknown[a]];
                    const double diagonal = matrix[a * n + a] + springs_here;
                    portions[unknown[a]] = diagonal > 0 ? springs_here / diagonal : 0;
                    // A relative ridge keeps the factor finite where patterns are nearly alike.
                    matrix[a * n + a] = diagonal * (1 + 1e-4) + 1e-12;
                }
                for (std::size_t a = 0; a < n; ++a) {
                    if (!curvatures[field[a]])
                        continue;
                    auto& curvature = *curvatures[field[a]];
                    const std::size_t v = unknown[a] - first[field[a]];
                    float& sensitivity = sensitivities[unknown[a]];
                    sensitivity = std::numeric_limits<float>::quiet_NaN();
                    for (std::size_t b = 0; b < n; ++b) {
                        if (field[b] != curvature.amount)
                            continue;
                        const double amount = linear[first[curvature.amount] + v],
                                     information = matrix[b * n + b];
                        curvature.information[v] = static_cast<float>(information);
                        curvature.springs[v] = static_cast<float>(springs_at[unknown[a]]);
                        if (std::abs(amount) > telling_amount && information > 0)
                            sensitivity =
                                static_cast<float>((matrix[a * n + a] - springs_at[unknown[a]]) /
                                                   (amount * amount * information));
                    }
                }
                float* factor = factors.data() + blocks[i].factor;
                for (std::size_t a = 0; a < n; ++a)
                    for (std::size_t b = 0; b <= a; ++b) {
                        double value = matrix[a * n + b];
                        for (std::size_t k = 0; k < b; ++k)
                            value -= matrix[a * n + k] * matrix[b * n + k];
                        matrix[a * n + b] =
                            a == b ? std::sqrt(std::max(value, 1e-12)) : value / matrix[b * n + b];
                        *factor++ = static_cast<float>(matrix[a * n + b]);
                    }
            }
        });
        team.run_and_sync([&] {
            for (std::size_t f = 0; f < fields.size(); ++f) {
                if (!team.owns(f) || fields[f].treatment != FieldTreatment::voxel)
                    continue;
                // One after the other, whoever is in the team.
                for (std::size_t v = 0; v < voxels(f); ++v)
                    of_fields[2 * f + 1] += portions[first[f] + v] / static_cast<double>(voxels(f));
                if (!curvatures[f])
                    continue;
                std::vector<float> all;
                for (std::size_t v = 0; v < voxels(f); ++v)
                    if (const float value = sensitivities[first[f] + v]; !std::isnan(value))
                        all.push_back(value);
                if (all.empty())
                    continue;
                const auto middle = all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2);
                std::nth_element(all.begin(), middle, all.end());
                of_fields[2 * f] = static_cast<double>(std::max(*middle, 0.0F));
            }
        });
        for (std::size_t f = 0; f < fields.size(); ++f)
            if (curvatures[f])
                curvatures[f]->sensitivity = of_fields[2 * f];
    });
    const std::size_t length = filter.length(), columns = length / 2 + 1;
    const double normalise = 1 / static_cast<double>(filter.map_size());
    symbols.assign(fields.size(), {});
    for (std::size_t f = 0; f < fields.size(); ++f) {
        if (!filters(f))
            continue;
        const double share = of_fields[2 * f + 1];
        symbols[f].resize(filter.spectrum_size());
        for (std::size_t y = 0; y < length; ++y)
            for (std::size_t x = 0; x < columns; ++x) {
                const double sy = std::sin(M_PI * filter.frequency(y)),
                             sx = std::sin(M_PI * filter.frequency(x));
                const double symbol = (1 - share) * projection_symbol[y * columns + x] +
                                      share * (sx * sx + sy * sy) + min_symbol;
                symbols[f][y * columns + x] = static_cast<float>(normalise / symbol);
            }
    }
    // Factors and globals: their own curvature.
    single.clear();
    const auto of_globals = global_information();
    for (std::size_t g = 0; g < globals.size(); ++g)
        single.emplace_back(first.back() + g, std::max(of_globals[g], 1e-12));
    for (std::size_t f = 0; f < fields.size(); ++f) {
        if (fields[f].treatment != FieldTreatment::scaled)
            continue;
        std::vector<double> unit(own.size(), 0.0);
        if (owns(first[f]))
            unit[first[f] - own.begin] = 1;
        const auto all = whole(unit);
        communicator.collectively(
            [&] { model.gauss_newton(expand_direction(all), product_room()); });
        team.sum(product.span());
        single.emplace_back(first[f], std::max(scaled_product(f), 1e-12));
        team.barrier(); // all have read the product
    }
    counts.precondition_seconds += now() - begin;
}

void Problem::retract(std::span<const double>, std::span<double> trial) {
    const Impl& impl = *impl_;
    if (std::none_of(impl.curvatures.begin(), impl.curvatures.end(),
                     [](const auto& curvature) { return curvature.has_value(); }))
        return;
    const auto to = impl_->whole(trial);
    const std::span<const double> from = impl.linear;
    for (std::size_t f = 0; f < impl.curvatures.size(); ++f) {
        const auto& curvature = impl.curvatures[f];
        if (!curvature || !(curvature->sensitivity > 0))
            continue;
        const auto& field = impl.fields[f];
        const double farthest = 1 / std::sqrt(curvature->sensitivity);
        for (std::size_t v = 0; v < impl.voxels(f); ++v) {
            const std::size_t i = impl.first[f] + v;
            if (!impl.owns(i))
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

void Problem::gauss_newton_product(std::span<const double> v, std::span<double> out) {
    Impl& impl = *impl_;
    const auto all = impl.whole(v);
    const double begin = now();
    impl.stand_at_linear();
    impl.communicator.collectively([&] {
        impl.condense();
        impl.model.gauss_newton(impl.expand_direction(all), impl.product_room());
    });
    ++impl.counts.products;
    impl.counts.operator_seconds += now() - begin;
    impl.contract(out);
    impl.smoothness_product(all, out);
}

void Problem::precondition(std::span<const double> v, std::span<double> out) {
    Impl& impl = *impl_;
    const auto all = impl.whole(v);
    const double begin = now();
    const std::size_t count = impl.blocks.size(), length = impl.filter.length(), n = impl.grid.n;
    const auto [first, last] = impl.team.share(count);
    impl.communicator.collectively([&] {
        impl.solved.resize(impl.team, impl.block_unknowns.size());
        impl.filtered.resize(impl.team, impl.block_unknowns.size());
        impl.preconditioned.resize(impl.team, impl.unknowns);
        impl.team.run_and_sync([&] {
#pragma omp parallel for schedule(static)
            for (std::size_t i = first; i < last; ++i) {
                const auto& block = impl.blocks[i];
                const float* factor = impl.factors.data() + block.factor;
                float* y = impl.solved.data() + block.first;
                for (std::size_t a = 0; a < block.count; ++a) {
                    double value = all[impl.block_unknowns[block.first + a]];
                    for (std::size_t k = 0; k < a; ++k)
                        value -= static_cast<double>(*factor++) * y[k];
                    y[a] = static_cast<float>(value / *factor++);
                    impl.filtered[block.first + a] = 0;
                }
            }
        });
        impl.team.run_and_sync([&] {
            std::vector<std::size_t> mine;
            for (std::size_t f = 0; f < impl.fields.size(); ++f)
                if (!impl.symbols[f].empty())
                    mine.push_back(f);
#pragma omp parallel
            {
                std::optional<MapFilter::Work> work;
#pragma omp for schedule(dynamic, 1)
                for (std::size_t k = 0; k < mine.size(); ++k) {
                    if (!work)
                        work.emplace(impl.filter);
                    std::fill_n(work->map, impl.filter.map_size(), 0.0F);
                    const auto pixels = impl.model.pixels(impl.fields[mine[k]].part);
                    const std::uint32_t* place = impl.block_places.data() + impl.first[mine[k]];
                    const auto for_field = [&](auto&& each) {
                        for (std::size_t v = 0; v < pixels.size(); ++v)
                            each(place[v], work->map[pixels[v] / n * length + pixels[v] % n]);
                    };
                    for_field([&](std::size_t a, float& at) { at = impl.solved[a]; });
                    impl.filter.apply(impl.symbols[mine[k]], *work);
                    for_field([&](std::size_t a, float& at) { impl.filtered[a] = at; });
                }
            }
        });
    });
    impl.counts.precondition_seconds += now() - begin;
    impl.team.sum(impl.filtered.span());
    const double again = now();
    impl.team.run_and_sync([&] {
#pragma omp parallel for schedule(static)
        for (std::size_t i = first; i < last; ++i) {
            const auto& block = impl.blocks[i];
            const float* factor = impl.factors.data() + block.factor;
            std::array<double, max_pixel_unknowns> z{};
            for (std::size_t a = block.count; a-- > 0;) {
                double value = impl.filtered[block.first + a];
                for (std::size_t k = a + 1; k < block.count; ++k)
                    value -= static_cast<double>(factor[k * (k + 1) / 2 + a]) * z[k];
                z[a] = value / factor[a * (a + 1) / 2 + a];
                impl.preconditioned[impl.block_unknowns[block.first + a]] = z[a];
            }
        }
    });
    std::copy_n(impl.preconditioned.begin() + static_cast<std::ptrdiff_t>(impl.own.begin),
                impl.own.size(), out.begin());
    for (const auto& [unknown, diagonal] : impl.single)
        if (impl.owns(unknown))
            out[unknown - impl.own.begin] = all[unknown] / diagonal;
    ++impl.counts.preconditions;
    impl.counts.precondition_seconds += now() - again;
}

} // namespace xrdct::dlsr
