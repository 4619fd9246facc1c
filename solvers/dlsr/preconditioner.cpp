// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/dlsr/preconditioner.hpp"

#include "base/assertions.hpp"
#include "solvers/dlsr/clock.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

namespace xrdct::dlsr {

namespace {

/// Least symbol of the preconditioned operator: what the beam's blur has removed stays as it is.
constexpr double min_symbol = 0.05;

double sinc(double x) {
    return std::abs(x) < 1e-6 ? 1 : std::sin(M_PI * x) / (M_PI * x);
}

} // namespace

Preconditioner::Preconditioner(const Unknowns& unknowns, const Smoothness& smoothness,
                               const tomography::ImageGrid& grid,
                               const tomography::ScanGeometry& geometry,
                               std::span<const float> pixel_weight)
    : unknowns_(unknowns), smoothness_(smoothness), communicator_(unknowns.communicator()),
      team_(unknowns.team()), model_(unknowns.model()), grid_(grid), pixel_weight_(pixel_weight),
      filter_(grid.n), curvature_(unknowns) {
    make_projection_symbol(geometry);
    communicator_.collectively([&] { arrange_blocks(); });
}

void Preconditioner::make_projection_symbol(const tomography::ScanGeometry& geometry) {
    const std::size_t length = filter_.length(), columns = length / 2 + 1;
    projection_symbol_.resize(filter_.spectrum_size());
    const double step = std::abs(geometry.step()) / grid_.pixel,
                 beam = geometry.beam_width / grid_.pixel;
    const double lowest = 0.5 / static_cast<double>(grid_.n);
    double mean = 0;
    for (std::size_t y = 0; y < length; ++y)
        for (std::size_t x = 0; x < columns; ++x) {
            const double fx = filter_.frequency(x), fy = filter_.frequency(y),
                         f = std::hypot(fx, fy);
            const double blur = sinc(fx) * sinc(fy) * sinc(f * step) * sinc(f * beam);
            const double value = blur * blur / (f + lowest);
            projection_symbol_[y * columns + x] = static_cast<float>(value);
            mean += value * (x == 0 || 2 * x == length ? 1 : 2);
        }
    mean /= static_cast<double>(filter_.map_size());
    for (float& value : projection_symbol_)
        value /= static_cast<float>(mean);
}

template <class Each>
void Preconditioner::for_blocks(Each&& each) const {
    team_.run_and_sync([&] {
        std::vector<std::size_t> values;
        const auto [begin, end] = team_.share(blocks_.size());
        for (std::size_t i = begin; i < end; ++i) {
            std::size_t pixel = 0;
            model_.pixel_values(i, pixel, values);
            std::erase_if(values, [&](std::size_t value) { return unknown_of_[value] < 0; });
            each(i, values);
        }
    });
}

void Preconditioner::arrange_blocks() {
    const std::size_t count = model_.pixel_count();
    SharedArray<std::uint16_t> field_of;
    SharedArray<std::size_t> factor_size;
    unknown_of_.resize(team_, model_.value_count());
    field_of.resize(team_, model_.value_count());
    blocks_.resize(team_, count);
    factor_size.resize(team_, 1);
    team_.run_and_sync([&] {
        const auto [begin, end] = team_.share(model_.value_count());
        std::fill(unknown_of_.begin() + static_cast<std::ptrdiff_t>(begin),
                  unknown_of_.begin() + static_cast<std::ptrdiff_t>(end), -1);
    });
    team_.run_and_sync([&] {
        for (std::size_t f = 0; f < unknowns_.fields().size(); ++f)
            if (team_.owns(f) && unknowns_.is_per_voxel(f))
                for (std::size_t v = 0; v < unknowns_.voxels(f); ++v) {
                    unknown_of_[unknowns_.offset(f) + v] =
                        static_cast<std::int32_t>(unknowns_.first(f) + v);
                    field_of[unknowns_.offset(f) + v] = static_cast<std::uint16_t>(f);
                }
    });
    for_blocks([&](std::size_t i, const std::vector<std::size_t>& values) {
        blocks_[i].count = static_cast<std::uint16_t>(values.size());
    });
    team_.run_and_sync([&] {
        if (team_.rank() != 0)
            return;
        std::size_t unknown = 0, factor = 0;
        for (Block& block : blocks_) {
            block.first = static_cast<std::uint32_t>(unknown);
            block.factor = factor;
            unknown += block.count;
            factor += std::size_t{block.count} * (block.count + 1) / 2;
        }
        factor_size[0] = factor;
    });
    const std::size_t all =
        count > 0 ? blocks_[count - 1].first + std::size_t{blocks_[count - 1].count} : 0;
    factors_.resize(team_, factor_size[0]);
    block_unknowns_.resize(team_, all);
    block_fields_.resize(team_, all);
    block_places_.resize(team_, unknowns_.size());
    for_blocks([&](std::size_t i, const std::vector<std::size_t>& values) {
        for (std::size_t a = 0; a < values.size(); ++a) {
            const auto place = static_cast<std::uint32_t>(blocks_[i].first + a);
            block_unknowns_[place] = static_cast<std::uint32_t>(unknown_of_[values[a]]);
            block_fields_[place] = field_of[values[a]];
            block_places_[block_unknowns_[place]] = place;
        }
    });
}

bool Preconditioner::filters(std::size_t field) const {
    if (!unknowns_.is_per_voxel(field))
        return false;
    std::size_t k = 0;
    for (std::size_t other = 0; other < field; ++other)
        k += unknowns_.is_per_voxel(other);
    return k % static_cast<std::size_t>(communicator_.size()) ==
           static_cast<std::size_t>(communicator_.rank());
}

/// Reused from voxel to voxel.
struct Preconditioner::BlockWork {
    std::vector<std::size_t> values, kept;
    std::vector<float> gram;
    std::vector<double> matrix;
};

void Preconditioner::fill_block(std::size_t i, BlockWork& work, Diagonal& diagonal) const {
    std::size_t pixel = 0;
    model_.pixel_block(i, pixel, work.values, work.gram);
    const std::size_t all = work.values.size();
    work.kept.clear();
    for (std::size_t a = 0; a < all; ++a)
        if (unknown_of_[work.values[a]] >= 0)
            work.kept.push_back(a);
    const auto& kept = work.kept;
    const auto& fields = unknowns_.fields();
    const std::size_t n = kept.size();
    const std::uint32_t* unknown = block_unknowns_.data() + blocks_[i].first;
    const std::uint16_t* field = block_fields_.data() + blocks_[i].first;
    auto& matrix = work.matrix;
    matrix.assign(n * n, 0.0);
    for (std::size_t a = 0; a < n; ++a) {
        for (std::size_t b = 0; b <= a; ++b)
            matrix[a * n + b] = static_cast<double>(work.gram[kept[a] * all + kept[b]]) *
                                pixel_weight_[pixel] * fields[field[a]].unit *
                                fields[field[b]].unit;
        const double stiffness = diagonal.stiffness[unknown[a]];
        const double sum = matrix[a * n + a] + stiffness;
        diagonal.portion[unknown[a]] = sum > 0 ? stiffness / sum : 0;
        // A relative ridge keeps the factor finite where patterns are nearly alike.
        matrix[a * n + a] = sum * (1 + 1e-4) + 1e-12;
    }
}

void Preconditioner::factor_block(const Block& block, std::span<double> matrix) {
    const std::size_t n = block.count;
    float* factor = factors_.data() + block.factor;
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

void Preconditioner::factor_blocks(std::span<const double> x, Diagonal& diagonal) {
    BlockWork work;
    const auto [from, to] = team_.share(blocks_.size());
    for (std::size_t i = from; i < to; ++i) {
        const Block& block = blocks_[i];
        fill_block(i, work, diagonal);
        curvature_.take_block(block_unknowns_.span().subspan(block.first, block.count),
                              block_fields_.span().subspan(block.first, block.count), work.matrix,
                              x, diagonal.stiffness, diagonal.sensitivity.span());
        factor_block(block, work.matrix);
    }
}

void Preconditioner::sum_up_fields(Diagonal& diagonal) const {
    for (std::size_t f = 0; f < unknowns_.fields().size(); ++f) {
        if (!team_.owns(f) || !unknowns_.is_per_voxel(f))
            continue;
        // One after the other, whoever is in the team.
        const std::size_t voxels = unknowns_.voxels(f);
        for (std::size_t v = 0; v < voxels; ++v)
            diagonal.of_fields[2 * f + 1] +=
                diagonal.portion[unknowns_.first(f) + v] / static_cast<double>(voxels);
        if (curvature_.has(f))
            diagonal.of_fields[2 * f] = curvature_.median_sensitivity(f, diagonal.sensitivity);
    }
}

void Preconditioner::update(std::span<const double> x) {
    Diagonal diagonal;
    const std::size_t fields = unknowns_.fields().size();
    communicator_.collectively([&] {
        curvature_.allocate();
        diagonal.stiffness.resize(team_, unknowns_.size());
        diagonal.sensitivity.resize(team_, unknowns_.size());
        diagonal.portion.resize(team_, unknowns_.size());
        diagonal.of_fields.resize(team_, 2 * fields);
        team_.run_and_sync([&] { smoothness_.add_diagonal(diagonal.stiffness.span()); });
        team_.run_and_sync([&] { factor_blocks(x, diagonal); });
        team_.run_and_sync([&] { sum_up_fields(diagonal); });
        for (std::size_t f = 0; f < fields; ++f)
            curvature_.set_sensitivity(f, diagonal.of_fields[2 * f]);
    });
    make_symbols(diagonal.of_fields);
}

Preconditioner::Roughness Preconditioner::expected_roughness(double information,
                                                             double weight) const {
    const std::size_t length = filter_.length(), columns = length / 2 + 1;
    const double normalise = 1 / static_cast<double>(filter_.map_size());
    std::vector<double> squares(length);
    for (std::size_t i = 0; i < length; ++i)
        squares[i] = 4 * std::pow(std::sin(M_PI * filter_.frequency(i)), 2);
    Roughness result;
    for (std::size_t y = 0; y < length; ++y)
        for (std::size_t x = 0; x < columns; ++x) {
            const double laplacian = squares[y] + squares[x];
            const double h = information * static_cast<double>(projection_symbol_[y * columns + x]);
            const double times = (x == 0 || 2 * x == length ? 1 : 2) * normalise * h /
                                 std::pow(h + weight * laplacian, 2);
            // The mean (ℓ = 0) has no differences.
            result.of_unit_prior += laplacian > 0 ? times * h : 0;
            result.of_noise += times * laplacian;
        }
    return result;
}

void Preconditioner::make_symbols(std::span<const double> of_fields) {
    const std::size_t length = filter_.length(), columns = length / 2 + 1;
    const double normalise = 1 / static_cast<double>(filter_.map_size());
    symbols_.assign(unknowns_.fields().size(), {});
    for (std::size_t f = 0; f < symbols_.size(); ++f) {
        if (!filters(f))
            continue;
        const double share = of_fields[2 * f + 1];
        const auto& field = unknowns_.fields()[f];
        const double fine = mean_fine_symbol * field.fineness;
        const double fine_share = fine > 0 ? share * fine / (fine + 4 * field.smoothness) : 0;
        symbols_[f].resize(filter_.spectrum_size());
        for (std::size_t y = 0; y < length; ++y)
            for (std::size_t x = 0; x < columns; ++x) {
                const double sy = std::sin(M_PI * filter_.frequency(y)),
                             sx = std::sin(M_PI * filter_.frequency(x));
                const double smooth = sx * sx + sy * sy;
                const double squared = std::pow(4 * smooth / grid_symbol, 2);
                const double symbol = (1 - share) * projection_symbol_[y * columns + x] +
                                      (share - fine_share) * smooth +
                                      fine_share * squared * squared / mean_fine_symbol +
                                      min_symbol;
                symbols_[f][y * columns + x] = static_cast<float>(normalise / symbol);
            }
    }
}

void Preconditioner::solve_lower(std::span<const double> v) {
    // No structured binding: clang takes none into OpenMP regions.
    const auto part = team_.share(blocks_.size());
    const std::size_t first = part.first, last = part.second;
#pragma omp parallel for schedule(static)
    for (std::size_t i = first; i < last; ++i) {
        const Block& block = blocks_[i];
        const float* factor = factors_.data() + block.factor;
        float* y = solved_.data() + block.first;
        for (std::size_t a = 0; a < block.count; ++a) {
            double value = v[block_unknowns_[block.first + a]];
            for (std::size_t k = 0; k < a; ++k)
                value -= static_cast<double>(*factor++) * y[k];
            y[a] = static_cast<float>(value / *factor++);
            filtered_[block.first + a] = 0;
        }
    }
}

void Preconditioner::filter_fields() {
    std::vector<std::size_t> fields;
    for (std::size_t f = 0; f < symbols_.size(); ++f)
        if (!symbols_[f].empty())
            fields.push_back(f);
    const std::size_t length = filter_.length(), n = grid_.n;
#pragma omp parallel
    {
        std::optional<MapFilter::Work> work;
#pragma omp for schedule(dynamic, 1)
        for (std::size_t k = 0; k < fields.size(); ++k) {
            if (!work)
                work.emplace(filter_);
            std::fill_n(work->map.data(), filter_.map_size(), 0.0F);
            const auto pixels = model_.pixels(unknowns_.fields()[fields[k]].part);
            const std::uint32_t* place = block_places_.data() + unknowns_.first(fields[k]);
            const auto for_field = [&](auto&& each) {
                for (std::size_t v = 0; v < pixels.size(); ++v)
                    each(place[v], work->map[pixels[v] / n * length + pixels[v] % n]);
            };
            for_field([&](std::size_t a, float& at) { at = solved_[a]; });
            filter_.apply(symbols_[fields[k]], *work);
            for_field([&](std::size_t a, float& at) { filtered_[a] = at; });
        }
    }
}

void Preconditioner::solve_upper() {
    // No structured binding: clang takes none into OpenMP regions.
    const auto part = team_.share(blocks_.size());
    const std::size_t first = part.first, last = part.second;
#pragma omp parallel for schedule(static)
    for (std::size_t i = first; i < last; ++i) {
        const Block& block = blocks_[i];
        const float* factor = factors_.data() + block.factor;
        std::array<double, max_voxel_unknowns> z{};
        for (std::size_t a = block.count; a-- > 0;) {
            double value = filtered_[block.first + a];
            for (std::size_t k = a + 1; k < block.count; ++k)
                value -= static_cast<double>(factor[k * (k + 1) / 2 + a]) * z[k];
            z[a] = value / factor[a * (a + 1) / 2 + a];
            result_[block_unknowns_[block.first + a]] = z[a];
        }
    }
}

void Preconditioner::apply(std::span<const double> v, std::span<double> out, double& seconds) {
    XRDCT_ASSERT(v.size() == unknowns_.size() && out.size() == unknowns_.own().size(),
                 "the unknowns of all ranks and the own share of them");
    double begin = seconds_now();
    communicator_.collectively([&] {
        solved_.resize(team_, block_unknowns_.size());
        filtered_.resize(team_, block_unknowns_.size());
        result_.resize(team_, unknowns_.size());
        team_.run_and_sync([&] { solve_lower(v); });
        team_.run_and_sync([&] { filter_fields(); });
    });
    seconds += seconds_now() - begin;
    team_.sum(filtered_.span());
    begin = seconds_now();
    team_.run_and_sync([&] { solve_upper(); });
    const mpi::BlockRange own = unknowns_.own();
    std::copy_n(result_.begin() + static_cast<std::ptrdiff_t>(own.begin), own.size(), out.begin());
    for (const auto& [unknown, diagonal] : diagonal_)
        if (unknowns_.owns(unknown))
            out[unknown - own.begin] = v[unknown] / diagonal;
    seconds += seconds_now() - begin;
}

std::vector<double> Preconditioner::block_variances() {
    communicator_.collectively([&] {
        result_.resize(team_, unknowns_.size());
        team_.barrier();
        team_.run_and_sync([&] {
            const auto part = team_.share(blocks_.size());
            const std::size_t begin = part.first, end = part.second;
#pragma omp parallel for schedule(static)
            for (std::size_t i = begin; i < end; ++i) {
                const Block& block = blocks_[i];
                const float* factor = factors_.data() + block.factor;
                std::array<double, max_voxel_unknowns> column{};
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
                    result_[block_unknowns_[block.first + a]] = sum;
                }
            }
        });
    });
    const mpi::BlockRange own = unknowns_.own();
    std::vector<double> result(own.size());
    std::copy_n(result_.begin() + static_cast<std::ptrdiff_t>(own.begin), own.size(),
                result.begin());
    for (const auto& [unknown, diagonal] : diagonal_)
        if (unknowns_.owns(unknown))
            result[unknown - own.begin] = 1 / diagonal;
    return result;
}

} // namespace xrdct::dlsr
