// SPDX-License-Identifier: BSD-3-Clause
#include "registration/coarse_search.hpp"

#include "base/fft.hpp"
#include "base/units.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <complex>
#include <utility>
#include <vector>

namespace xrdct::registration {

namespace {

using fft::Complex;

/// Transforms and circular correlations of real n × n images.
class Fourier {
  public:
    explicit Fourier(std::size_t n)
        : transform_(n), map_(transform_.map_size()), spectrum_(transform_.spectrum_size()) {}

    std::size_t length() const { return transform_.length(); }
    std::size_t points() const { return transform_.map_size(); }

    std::vector<Complex> forward(const std::vector<float>& image) {
        std::copy(image.begin(), image.end(), map_.begin());
        transform_.forward(map_.data(), spectrum_.data());
        return {spectrum_.begin(), spectrum_.end()};
    }

    /// Σ_p a(p) b(p + u) for all u, circular.
    std::vector<float> correlate(const std::vector<Complex>& a, const std::vector<Complex>& b) {
        const float scale = 1.0F / static_cast<float>(points());
        for (std::size_t i = 0; i < a.size(); ++i)
            spectrum_[i] = std::conj(a[i]) * b[i] * scale;
        transform_.backward(spectrum_.data(), map_.data());
        return {map_.begin(), map_.end()};
    }

  private:
    fft::RealSquare transform_;
    fft::Array<float> map_;
    fft::Array<Complex> spectrum_;
};

/// An image with its mask: transforms of mask, masked values and their squares.
struct Transformed {
    std::vector<Complex> mask, values, squares;
    double pixels = 0;
};

/// Values of a smooth image at transform(p) of the pixels p of a grid, bilinear; put into an n × n
/// field.
Transformed place(Fourier& fourier, const SmoothImage& image, const PixelGrid& grid,
                  const RigidTransform& turn) {
    const std::size_t side = fourier.length();
    std::vector<float> mask(fourier.points()), values(fourier.points()), squares(fourier.points());
    Transformed out;
    const PixelGrid& from = image.grid;
    for (std::size_t iy = 0; iy < grid.ny; ++iy)
        for (std::size_t ix = 0; ix < grid.nx; ++ix) {
            const auto q = turn(grid.x(static_cast<double>(ix)), grid.y(static_cast<double>(iy)));
            const double fx = from.column(q.x), fy = from.row(q.y);
            if (!(fx > -0.5 && fy > -0.5 && fx < static_cast<double>(from.nx) - 0.5 &&
                  fy < static_cast<double>(from.ny) - 0.5))
                continue;
            const auto nearest = static_cast<std::size_t>(std::lround(fy)) * from.nx +
                                 static_cast<std::size_t>(std::lround(fx));
            if (!(image.weight[nearest] > 0.3F))
                continue;
            const double cx = std::clamp(fx, 0.0, static_cast<double>(from.nx) - 1.0),
                         cy = std::clamp(fy, 0.0, static_cast<double>(from.ny) - 1.0);
            const auto x = static_cast<std::size_t>(cx), y = static_cast<std::size_t>(cy);
            const std::size_t x1 = std::min(x + 1, from.nx - 1), y1 = std::min(y + 1, from.ny - 1);
            const auto tx = static_cast<float>(cx - static_cast<double>(x)),
                       ty = static_cast<float>(cy - static_cast<double>(y));
            const float* v = image.values.data();
            const float value =
                (1 - ty) * ((1 - tx) * v[y * from.nx + x] + tx * v[y * from.nx + x1]) +
                ty * ((1 - tx) * v[y1 * from.nx + x] + tx * v[y1 * from.nx + x1]);
            const std::size_t at = iy * side + ix;
            mask[at] = 1;
            values[at] = value;
            squares[at] = value * value;
            out.pixels += 1;
        }
    out.mask = fourier.forward(mask);
    out.values = fourier.forward(values);
    out.squares = fourier.forward(squares);
    return out;
}

/// Of the unexplained part, as CombinedCorrelation has it; 0 for no correlation.
float logarithm(float r) {
    return std::log((1 + static_cast<float>(model_error) - std::min(r * r, 1.0F)) /
                    (1 + static_cast<float>(model_error)));
}

double combined(double minus_logarithm) {
    return std::sqrt(std::max(0.0, (1 + model_error) * (1 - std::exp(-minus_logarithm))));
}

double angle_between(double a, double b) {
    return std::abs(std::remainder(a - b, 360.0));
}

/// What all shifts of a moving image give: −Σ weight · logarithm of the unexplained variance, per
/// pixel of the field.
struct Shifts {
    std::vector<float> sum;
    std::vector<unsigned char> allowed; ///< enough common pixels in every channel
    double weight = 0;
};

Shifts compare_shifts(Fourier& fourier, const std::vector<Transformed>& still,
                      const ImagePairs& pairs, const PixelGrid& grid, const RigidTransform& turn,
                      double min_overlap) {
    const std::size_t channels = pairs.reference.size();
    Shifts shifts{std::vector<float>(fourier.points(), 0.0F),
                  std::vector<unsigned char>(fourier.points(), 1)};
    auto& [sum, allowed, weight] = shifts;
    for (std::size_t c = 0; c < channels; ++c) {
        const Transformed g = place(fourier, pairs.moving[c], grid, turn);
        const Transformed& r = still[c];
        const auto common = fourier.correlate(r.mask, g.mask);
        const auto sr = fourier.correlate(r.values, g.mask),
                   srr = fourier.correlate(r.squares, g.mask),
                   sg = fourier.correlate(r.mask, g.values),
                   sgg = fourier.correlate(r.mask, g.squares),
                   srg = fourier.correlate(r.values, g.values);
        const double least = min_overlap * std::min(r.pixels, g.pixels);
        const auto w = static_cast<float>(pairs.weights[c]);
        weight += pairs.weights[c];
        for (std::size_t i = 0; i < sum.size(); ++i) {
            const float overlap = common[i];
            if (overlap < 3 || overlap < least) {
                allowed[i] = 0;
                continue;
            }
            const float vr = srr[i] - sr[i] * sr[i] / overlap,
                        vg = sgg[i] - sg[i] * sg[i] / overlap;
            if (vr > 1e-3F * overlap && vg > 1e-3F * overlap)
                sum[i] -= w * logarithm(std::max(0.0F, (srg[i] - sr[i] * sg[i] / overlap) /
                                                           std::sqrt(vr * vg)));
        }
    }
    return shifts;
}

/// One orientation of the moving image, on a grid whose first pixel lies first_x, first_y pixels
/// from the reference's.
struct Orientation {
    RigidTransform turn;
    double first_x, first_y, pixel;
    std::size_t side; ///< of the field

    /// An index of the field, which wraps, with its sign.
    double signed_index(std::size_t i) const {
        return i <= side / 2 ? static_cast<double>(i)
                             : static_cast<double>(i) - static_cast<double>(side);
    }
    std::size_t wrapped(double v) const {
        const auto k = static_cast<std::ptrdiff_t>(std::lround(v));
        const auto m = static_cast<std::ptrdiff_t>(side);
        return static_cast<std::size_t>(((k % m) + m) % m);
    }
    Candidate candidate(const Shifts& shifts, std::size_t iy, std::size_t ix) const {
        const auto d =
            turn(pixel * (signed_index(ix) + first_x), pixel * (signed_index(iy) + first_y));
        return Candidate{{turn.angle, d.x, d.y, turn.mirrored},
                         combined(shifts.sum[iy * side + ix] / shifts.weight)};
    }
    /// The one pixel nearest to a known shift [mm].
    Candidate at_shift(const Shifts& shifts, const std::array<double, 2>& shift) const {
        const auto u = turn.inverse(shift[0], shift[1]);
        Candidate at =
            candidate(shifts, wrapped(u.y / pixel - first_y), wrapped(u.x / pixel - first_x));
        at.transform.shift_x = shift[0];
        at.transform.shift_y = shift[1];
        return at;
    }
    /// The three highest maxima, best first.
    std::vector<Candidate> best_maxima(const Shifts& shifts) const;
};

std::vector<Candidate> Orientation::best_maxima(const Shifts& shifts) const {
    const auto& [sum, allowed, weight] = shifts;
    std::vector<Candidate> peaks;
    for (std::size_t iy = 0; iy < side; ++iy)
        for (std::size_t ix = 0; ix < side; ++ix) {
            const std::size_t at = iy * side + ix;
            if (!allowed[at] || !(sum[at] > 0))
                continue;
            bool highest = true;
            for (std::size_t dy = 0; highest && dy < 3; ++dy)
                for (std::size_t dx = 0; highest && dx < 3; ++dx) {
                    const std::size_t other =
                        (iy + side + dy - 1) % side * side + (ix + side + dx - 1) % side;
                    highest = !allowed[other] || sum[other] <= sum[at];
                }
            if (highest)
                peaks.push_back(candidate(shifts, iy, ix));
        }
    const std::size_t kept = std::min<std::size_t>(peaks.size(), 3);
    std::partial_sort(
        peaks.begin(), peaks.begin() + static_cast<std::ptrdiff_t>(kept), peaks.end(),
        [](const Candidate& a, const Candidate& b) { return a.correlation > b.correlation; });
    peaks.resize(kept);
    return peaks;
}

std::vector<double> angles_of(const SearchRange& range, std::size_t pixels) {
    if (range.angle)
        return {*range.angle};
    std::vector<double> angles;
    const auto steps = static_cast<std::size_t>(std::ceil(pi * static_cast<double>(pixels)));
    for (std::size_t i = 0; i < steps; ++i)
        angles.push_back(360.0 * static_cast<double>(i) / static_cast<double>(steps));
    return angles;
}

/// The best `count` candidates, best first, and of those that are alike only the best.
std::vector<Candidate> best_distinct(std::vector<Candidate> found, std::size_t count,
                                     double pixel) {
    std::stable_sort(found.begin(), found.end(), [](const Candidate& a, const Candidate& b) {
        return a.correlation > b.correlation;
    });
    std::vector<Candidate> out;
    for (const Candidate& c : found) {
        if (out.size() >= count)
            break;
        const bool alike = std::any_of(out.begin(), out.end(), [&](const Candidate& o) {
            return o.transform.mirrored == c.transform.mirrored &&
                   angle_between(o.transform.angle, c.transform.angle) < 5 &&
                   std::hypot(o.transform.shift_x - c.transform.shift_x,
                              o.transform.shift_y - c.transform.shift_y) < 2.5 * pixel;
        });
        if (!alike)
            out.push_back(c);
    }
    return out;
}

} // namespace

std::vector<Candidate> coarse_search(const ImagePairs& pairs, const SearchRange& range,
                                     std::size_t count) {
    const PixelGrid& reference = pairs.reference.front().grid;
    const PixelGrid& moving = pairs.moving.front().grid;
    const double pixel = reference.pixel;
    const std::size_t n_reference = std::max(reference.nx, reference.ny);
    // Room for the corners of a turned image.
    const auto n_moving = static_cast<std::size_t>(
        std::ceil(1.25 * static_cast<double>(std::max(moving.nx, moving.ny))));
    const std::size_t reach = std::max(n_reference, n_moving) / 2;
    const std::size_t side = fft::good_length((n_reference + n_moving) / 2 + reach + 2);
    Fourier fourier(side);
    std::vector<Transformed> still;
    for (const SmoothImage& image : pairs.reference)
        still.push_back(place(fourier, image, reference, {}));

    std::vector<Candidate> found;
    for (const bool mirrored : {false, true}) {
        if (mirrored && !range.try_mirrored)
            continue;
        for (const double angle : angles_of(range, std::max(n_reference, n_moving))) {
            // g(p) = moving(R M p) on a grid whose pixels coincide with the reference's, about the
            // place the middle of the moving image is turned to; a match at g(p + u) is a shift of
            // R M u.
            const RigidTransform turn{angle, 0, 0, mirrored};
            const auto middle = turn.inverse(moving.centre_x(), moving.centre_y());
            const double half = 0.5 * (static_cast<double>(n_moving) - 1);
            const double first_x = std::round(reference.column(middle.x) - half),
                         first_y = std::round(reference.row(middle.y) - half);
            const PixelGrid grid{n_moving, n_moving, reference.x(first_x), reference.y(first_y),
                                 pixel};
            const Shifts shifts =
                compare_shifts(fourier, still, pairs, grid, turn, range.min_overlap);
            const Orientation orientation{turn, first_x, first_y, pixel, side};
            if (range.shift) {
                found.push_back(orientation.at_shift(shifts, *range.shift));
            } else {
                const auto peaks = orientation.best_maxima(shifts);
                found.insert(found.end(), peaks.begin(), peaks.end());
            }
        }
    }
    return best_distinct(std::move(found), count, pixel);
}

} // namespace xrdct::registration
