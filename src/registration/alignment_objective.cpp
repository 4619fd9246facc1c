// SPDX-License-Identifier: BSD-3-Clause
#include "registration/alignment_objective.hpp"

#include "base/error.hpp"
#include "base/units.hpp"
#include "registration/resampling.hpp"

#include <algorithm>
#include <cmath>

#include <Eigen/Dense>

namespace xrdct::registration {

namespace {

/// Share of the values at either end that is clipped: single failed fits must not rule.
constexpr double clipped_share = 0.002;
constexpr double min_pixels = 12; ///< of a tile that is to count

std::vector<double> gaussian(double sigma_pixels) {
    const auto half = static_cast<std::ptrdiff_t>(std::ceil(3.5 * sigma_pixels));
    std::vector<double> kernel;
    for (std::ptrdiff_t i = -half; i <= half; ++i) {
        const double t = static_cast<double>(i) / sigma_pixels;
        kernel.push_back(std::exp(-0.5 * t * t));
    }
    double sum = 0;
    for (const double k : kernel)
        sum += k;
    for (double& k : kernel)
        k /= sum;
    return kernel;
}

/// Separable convolution, zero outside.
std::vector<double> convolve(const std::vector<double>& image, std::size_t nx, std::size_t ny,
                             const std::vector<double>& kernel) {
    const auto half = static_cast<std::ptrdiff_t>(kernel.size() / 2);
    const auto pass = [&](const std::vector<double>& in, std::size_t n, std::size_t stride,
                          std::size_t lines, std::size_t line_stride) {
        std::vector<double> out(in.size());
        const auto length = static_cast<std::ptrdiff_t>(n);
        for (std::size_t l = 0; l < lines; ++l)
            for (std::ptrdiff_t i = 0; i < length; ++i) {
                double sum = 0;
                for (std::ptrdiff_t k = std::max(-half, -i); k <= std::min(half, length - 1 - i);
                     ++k)
                    sum += kernel[static_cast<std::size_t>(k + half)] *
                           in[l * line_stride + static_cast<std::size_t>(i + k) * stride];
                out[l * line_stride + static_cast<std::size_t>(i) * stride] = sum;
            }
        return out;
    };
    return pass(pass(image, nx, 1, ny, nx), ny, nx, nx, 1);
}

void clip(std::vector<double>& values) {
    std::vector<double> sorted;
    std::copy_if(values.begin(), values.end(), std::back_inserter(sorted),
                 [](double v) { return std::isfinite(v); });
    if (sorted.size() < 100)
        return;
    const auto cut = static_cast<std::size_t>(clipped_share * static_cast<double>(sorted.size()));
    const auto low_at = sorted.begin() + static_cast<std::ptrdiff_t>(cut),
               high_at = sorted.end() - 1 - static_cast<std::ptrdiff_t>(cut);
    std::nth_element(sorted.begin(), low_at, sorted.end());
    const double low = *low_at;
    std::nth_element(sorted.begin(), high_at, sorted.end());
    const double high = *high_at;
    for (double& v : values)
        if (std::isfinite(v))
            v = std::clamp(v, low, high);
}

bool same(const PixelGrid& a, const PixelGrid& b) {
    return a.nx == b.nx && a.ny == b.ny && a.x0 == b.x0 && a.y0 == b.y0 && a.pixel == b.pixel;
}

/// Catmull–Rom weights of the four neighbours at a fraction t between the middle two, and their
/// derivatives.
void cubic(double t, std::array<double, 4>& w, std::array<double, 4>& d) {
    w = {t * (-0.5 + t * (1 - 0.5 * t)), 1 + t * t * (-2.5 + 1.5 * t),
         t * (0.5 + t * (2 - 1.5 * t)), t * t * (-0.5 + 0.5 * t)};
    d = {-0.5 + t * (2 - 1.5 * t), t * (-5 + 4.5 * t), 0.5 + t * (4 - 4.5 * t), t * (-1 + 1.5 * t)};
}

/// Linear regression of r on 1 and f over the pixels of one tile, and what is left of the
/// derivatives beside them. Not valid without variation or with a negative factor.
struct Regression {
    Eigen::Vector2d beta;              ///< offset, factor
    Eigen::Matrix<double, 2, 3> taken; ///< of the derivatives, by 1 and f
    double residual = 0, total = 0;    ///< sums of squares of r

    bool valid = false;

    explicit Regression(const Moments& m) {
        if (!(m(0, 0) >= min_pixels))
            return;
        total = residual = std::max(m(5, 5) - m(0, 5) * m(0, 5) / m(0, 0), 0.0);
        Eigen::Matrix2d x;
        x << m(0, 0), m(0, 1), m(0, 1), m(1, 1);
        const double determinant = x.determinant();
        if (!(determinant > 1e-9 * m(0, 0) * m(0, 0)))
            return;
        const Eigen::Matrix2d inverse = x.inverse();
        beta = inverse * Eigen::Vector2d(m(0, 5), m(1, 5));
        if (!(beta[1] > 0))
            return;
        for (int j = 0; j < 3; ++j) {
            const auto column = static_cast<std::size_t>(j) + 2;
            taken.col(j) = inverse * Eigen::Vector2d(m(0, column), m(1, column));
        }
        residual = std::max(m(5, 5) - beta[0] * m(0, 5) - beta[1] * m(1, 5), 0.0);
        valid = true;
    }

    /// Normal equations of a part of the pixels for the given regression of all of them.
    void add(const Moments& m, double weight, Eigen::Matrix3d& h, Eigen::Vector3d& g) const {
        Eigen::Matrix2d xx;
        xx << m(0, 0), m(0, 1), m(0, 1), m(1, 1);
        Eigen::Matrix<double, 2, 3> xj;
        Eigen::Matrix3d jj;
        Eigen::Vector3d jr;
        for (int j = 0; j < 3; ++j) {
            const auto a = static_cast<std::size_t>(j) + 2;
            xj(0, j) = m(0, a);
            xj(1, j) = m(1, a);
            jr[j] = m(a, 5);
            for (int k = 0; k < 3; ++k)
                jj(j, k) = m(a, static_cast<std::size_t>(k) + 2);
        }
        const Eigen::Vector2d xr(m(0, 5), m(1, 5));
        const double f = beta[1];
        h +=
            weight * f * f *
            (jj - taken.transpose() * xj - xj.transpose() * taken + taken.transpose() * xx * taken);
        g += weight * f * (jr - xj.transpose() * beta - taken.transpose() * (xr - xx * beta));
    }
};

/// Normal equations of a part of the data.
struct Part {
    Eigen::Matrix3d h = Eigen::Matrix3d::Zero();
    Eigen::Vector3d g = Eigen::Vector3d::Zero();
};
using NormalEquations = std::vector<Part>;

/// Σ_c w_c ln(ε + Σ_t RSS_ct / Σ_t TSS_ct), the sums over tiles t with a regression of their own: a
/// gain that varies slowly over the image (absorption, parallax, another distribution of what is
/// compared) must not turn the image. Adds the normal equations of the step that reduces it;
/// their parts by tile and by channel if asked for.
double assess(const ImagePairs& pairs, const Comparison& at, Eigen::Matrix3d* h, Eigen::Vector3d* g,
              NormalEquations* by_tile = nullptr, NormalEquations* by_channel = nullptr) {
    double value = 0;
    for (std::size_t c = 0; c < pairs.weights.size(); ++c) {
        double residual = 0, total = 0;
        Eigen::Matrix3d channel_h = Eigen::Matrix3d::Zero();
        Eigen::Vector3d channel_g = Eigen::Vector3d::Zero();
        std::array<Eigen::Matrix3d, n_tiles> th;
        std::array<Eigen::Vector3d, n_tiles> tg;
        for (std::size_t t = 0; t < n_tiles; ++t) {
            th[t].setZero();
            tg[t].setZero();
            const Moments& m = at.tiles[c][t];
            const Regression regression(m);
            residual += regression.residual;
            total += regression.total;
            if (h && regression.valid) {
                regression.add(m, 1, th[t], tg[t]);
                channel_h += th[t];
                channel_g += tg[t];
            }
        }
        if (!(total > 0))
            continue;
        value += pairs.weights[c] * std::log(residual / total + model_error);
        if (h) {
            const double weight = pairs.weights[c] / (residual + model_error * total);
            *h += weight * channel_h;
            *g += weight * channel_g;
            for (std::size_t t = 0; by_tile && t < n_tiles; ++t) {
                (*by_tile)[t].h += weight * th[t];
                (*by_tile)[t].g += weight * tg[t];
            }
            if (by_channel)
                (*by_channel)[c] = {weight * channel_h, weight * channel_g};
        }
    }
    return value;
}

/// Keeps the held parameters where they are.
void hold(Eigen::Matrix3d& h, Eigen::Vector3d& g, const std::array<bool, 3>& free) {
    for (int i = 0; i < 3; ++i)
        if (!free[static_cast<std::size_t>(i)]) {
            h.row(i).setZero();
            h.col(i).setZero();
            h(i, i) = 1;
            g[i] = 0;
        }
}

} // namespace

PixelGrid regrid(const PixelGrid& grid, double pixel) {
    const auto count = [&](std::size_t n) {
        return std::max<std::size_t>(1, static_cast<std::size_t>(std::ceil(
                                            static_cast<double>(n) * grid.pixel / pixel - 1e-6)));
    };
    PixelGrid out{count(grid.nx), count(grid.ny), 0, 0, pixel};
    out.x0 = grid.centre_x() - 0.5 * (static_cast<double>(out.nx) - 1) * pixel;
    out.y0 = grid.centre_y() - 0.5 * (static_cast<double>(out.ny) - 1) * pixel;
    return out;
}

SmoothImage smooth_image(std::span<const double> values, const PixelGrid& source,
                         const PixelGrid& grid, double sigma) {
    std::vector<double> image(values.begin(), values.end());
    clip(image);
    if (!same(source, grid))
        image = resample_map(image, {}, source, {}, grid).values;
    std::vector<double> mask(image.size());
    for (std::size_t i = 0; i < image.size(); ++i) {
        mask[i] = std::isfinite(image[i]) ? 1 : 0;
        if (mask[i] == 0)
            image[i] = 0;
    }
    SmoothImage out{grid, std::vector<float>(image.size()), std::vector<float>(image.size())};
    const double pixels = std::max(sigma / grid.pixel, 0.3);
    const auto kernel = gaussian(pixels);
    image = convolve(image, grid.nx, grid.ny, kernel);
    const auto weight = convolve(mask, grid.nx, grid.ny, kernel);
    // At the border of the image the Gaussian leaves it on one side or two.
    const auto inside = convolve(std::vector<double>(image.size(), 1.0), grid.nx, grid.ny, kernel);
    double n = 0, sum = 0, squares = 0;
    for (std::size_t i = 0; i < image.size(); ++i) {
        mask[i] = std::max(0.0, 2 * weight[i] / inside[i] - 1);
        image[i] = weight[i] > 1e-6 ? image[i] / weight[i] : 0;
        n += mask[i];
        sum += mask[i] * image[i];
    }
    const double mean = n > 0 ? sum / n : 0;
    for (std::size_t i = 0; i < image.size(); ++i)
        squares += mask[i] * (image[i] - mean) * (image[i] - mean);
    const double deviation = n > 0 ? std::sqrt(squares / n) : 0;
    const double scale = deviation > 1e-12 * std::abs(mean) ? 1 / deviation : 0;
    for (std::size_t i = 0; i < image.size(); ++i) {
        out.weight[i] = static_cast<float>(mask[i]);
        out.values[i] = static_cast<float>(std::clamp((image[i] - mean) * scale, -1e3, 1e3));
    }
    return out;
}

Moments& Moments::operator+=(const Moments& other) {
    for (std::size_t i = 0; i < sums.size(); ++i)
        sums[i] += other.sums[i];
    return *this;
}

Moments Moments::operator-(const Moments& other) const {
    Moments out = *this;
    for (std::size_t i = 0; i < sums.size(); ++i)
        out.sums[i] -= other.sums[i];
    return out;
}

double Moments::correlation() const {
    const Moments& m = *this;
    const double n = m(0, 0);
    if (n < 3)
        return 0;
    const double ff = m(1, 1) - m(0, 1) * m(0, 1) / n, rr = m(5, 5) - m(0, 5) * m(0, 5) / n,
                 fr = m(1, 5) - m(0, 1) * m(0, 5) / n;
    return ff > 1e-9 * n && rr > 1e-9 * n ? fr / std::sqrt(ff * rr) : 0;
}

void CombinedCorrelation::add(double correlation, double weight) {
    const double r = std::clamp(correlation, 0.0, 1.0);
    logarithm_ += weight * std::log(1 + model_error - r * r);
    weight_ += weight;
}

double CombinedCorrelation::value() const {
    if (!(weight_ > 0))
        return 0;
    return std::sqrt(std::max(0.0, 1 + model_error - std::exp(logarithm_ / weight_)));
}

double Comparison::correlation(std::span<const double> weights) const {
    CombinedCorrelation sum;
    for (std::size_t c = 0; c < weights.size(); ++c)
        sum.add(totals[c].correlation(), weights[c]);
    return sum.value();
}

double Comparison::correlation_without(std::size_t tile, std::span<const double> weights) const {
    CombinedCorrelation sum;
    for (std::size_t c = 0; c < weights.size(); ++c)
        sum.add((totals[c] - tiles[c][tile]).correlation(), weights[c]);
    return sum.value();
}

Comparison ImagePairs::compare(const RigidTransform& transform) const {
    const std::size_t channels = reference.size();
    Comparison out;
    out.tiles.resize(channels);
    out.totals.resize(channels);
    const PixelGrid& from = reference.front().grid;
    const PixelGrid& to = moving.front().grid;
    const auto nx = static_cast<std::ptrdiff_t>(to.nx), ny = static_cast<std::ptrdiff_t>(to.ny);
    std::array<double, 4> wx{}, wy{}, dx{}, dy{};
    std::array<std::size_t, 4> column{}, row{};
    for (std::size_t iy = 0; iy < from.ny; ++iy)
        for (std::size_t ix = 0; ix < from.nx; ++ix) {
            const auto q =
                transform(from.x(static_cast<double>(ix)), from.y(static_cast<double>(iy)));
            const double fx = to.column(q.x), fy = to.row(q.y);
            if (!(fx > 0 && fy > 0 && fx < static_cast<double>(nx) - 1 &&
                  fy < static_cast<double>(ny) - 1))
                continue;
            const double border = std::min(
                {1.0, fx, fy, static_cast<double>(nx) - 1 - fx, static_cast<double>(ny) - 1 - fy});
            const auto x = static_cast<std::ptrdiff_t>(std::floor(fx)),
                       y = static_cast<std::ptrdiff_t>(std::floor(fy));
            const double tx = fx - static_cast<double>(x), ty = fy - static_cast<double>(y);
            cubic(tx, wx, dx);
            cubic(ty, wy, dy);
            for (std::ptrdiff_t k = 0; k < 4; ++k) {
                column[static_cast<std::size_t>(k)] =
                    static_cast<std::size_t>(std::clamp<std::ptrdiff_t>(x - 1 + k, 0, nx - 1));
                row[static_cast<std::size_t>(k)] =
                    static_cast<std::size_t>(std::clamp<std::ptrdiff_t>(y - 1 + k, 0, ny - 1)) *
                    to.nx;
            }
            const double arm_x = -(q.y - transform.shift_y), arm_y = q.x - transform.shift_x;
            const std::size_t at = iy * from.nx + ix;
            const std::size_t tile =
                iy * tiles_per_side / from.ny * tiles_per_side + ix * tiles_per_side / from.nx;
            for (std::size_t c = 0; c < channels; ++c) {
                const float* mask = moving[c].weight.data();
                const double weight =
                    border * reference[c].weight[at] *
                    ((1 - ty) *
                         ((1 - tx) * mask[row[1] + column[1]] + tx * mask[row[1] + column[2]]) +
                     ty * ((1 - tx) * mask[row[2] + column[1]] + tx * mask[row[2] + column[2]]));
                if (!(weight > 0))
                    continue;
                const float* image = moving[c].values.data();
                double f = 0, gx = 0, gy = 0;
                for (std::size_t j = 0; j < 4; ++j) {
                    double value = 0, slope = 0;
                    for (std::size_t k = 0; k < 4; ++k) {
                        const double v = image[row[j] + column[k]];
                        value += wx[k] * v;
                        slope += dx[k] * v;
                    }
                    f += wy[j] * value;
                    gx += wy[j] * slope;
                    gy += dy[j] * value;
                }
                gx /= to.pixel;
                gy /= to.pixel;
                const std::array<double, 6> row_of{1,  f,  gx * arm_x + gy * arm_y,
                                                   gx, gy, reference[c].values[at]};
                double* sums = out.tiles[c][tile].sums.data();
                for (std::size_t i = 0; i < 6; ++i)
                    for (std::size_t j = i; j < 6; ++j)
                        *sums++ += weight * row_of[i] * row_of[j];
            }
        }
    for (std::size_t c = 0; c < channels; ++c)
        for (const Moments& tile : out.tiles[c])
            out.totals[c] += tile;
    return out;
}

Refined refine(const ImagePairs& pairs, const RigidTransform& start,
               const std::array<bool, 3>& free, int max_iterations) {
    Refined best{start, 0, pairs.compare(start)};
    double value = assess(pairs, best.comparison, nullptr, nullptr);
    const double rim = 0.5 * pairs.reference.front().grid.extent();
    const double pixel = pairs.moving.front().grid.pixel;
    double damping = 1e-3;
    const bool any_free = free[0] || free[1] || free[2];
    for (int iteration = 0; any_free && iteration < max_iterations && damping < 1e6; ++iteration) {
        Eigen::Matrix3d h = Eigen::Matrix3d::Zero();
        Eigen::Vector3d g = Eigen::Vector3d::Zero();
        assess(pairs, best.comparison, &h, &g);
        hold(h, g, free);
        bool improved = false;
        double step = 0;
        while (!improved && damping < 1e6) {
            Eigen::Matrix3d damped = h;
            for (int i = 0; i < 3; ++i)
                damped(i, i) += damping * h(i, i) + 1e-12;
            Eigen::Vector3d change = damped.ldlt().solve(g);
            if (!change.allFinite())
                break;
            // Beyond two pixels the linearisation says nothing.
            step = std::abs(change[0]) * rim + std::hypot(change[1], change[2]);
            if (step > 2 * pixel) {
                change *= 2 * pixel / step;
                step = 2 * pixel;
            }
            RigidTransform trial = best.transform;
            trial.angle += degrees(change[0]);
            trial.shift_x += change[1];
            trial.shift_y += change[2];
            Comparison comparison = pairs.compare(trial);
            const double trial_value = assess(pairs, comparison, nullptr, nullptr);
            if (trial_value < value) {
                improved = true;
                value = trial_value;
                best.transform = trial;
                best.comparison = std::move(comparison);
                damping = std::max(damping * 0.2, 1e-6);
            } else {
                damping *= 10;
                if (step < 1e-3 * pixel)
                    break;
            }
        }
        if (!improved || step < 1e-4 * pixel)
            break;
    }
    best.correlation = best.comparison.correlation(pairs.weights);
    return best;
}

namespace {

/// Jackknife variances of the parameters when single parts are left out.
Eigen::Vector3d jackknife(const Part& whole, const NormalEquations& parts,
                          const std::array<bool, 3>& free) {
    std::vector<Eigen::Vector3d> changes;
    Eigen::Vector3d mean = Eigen::Vector3d::Zero();
    for (const Part& part : parts) {
        if (part.h.isZero(0))
            continue;
        Eigen::Matrix3d h = whole.h - part.h;
        Eigen::Vector3d g = whole.g - part.g;
        hold(h, g, free);
        changes.push_back((h + 1e-12 * h.trace() * Eigen::Matrix3d::Identity()).ldlt().solve(g));
        mean += changes.back();
    }
    Eigen::Vector3d variance = Eigen::Vector3d::Zero();
    if (changes.size() < 2)
        return variance;
    const auto n = static_cast<double>(changes.size());
    mean /= n;
    for (const Eigen::Vector3d& change : changes)
        variance += (n - 1) / n * (change - mean).cwiseAbs2();
    return variance;
}

} // namespace

std::array<double, 3> uncertainties(const ImagePairs& pairs, const Comparison& at,
                                    const std::array<bool, 3>& free) {
    Part whole;
    NormalEquations tiles(n_tiles), channels(pairs.weights.size());
    assess(pairs, at, &whole.h, &whole.g, &tiles, &channels);
    const Eigen::Vector3d variance =
        jackknife(whole, tiles, free) + jackknife(whole, channels, free);
    std::array<double, 3> out{};
    for (std::size_t i = 0; i < 3; ++i)
        out[i] = free[i] ? std::sqrt(variance[static_cast<Eigen::Index>(i)]) : 0;
    out[0] = degrees(out[0]);
    return out;
}

} // namespace xrdct::registration
