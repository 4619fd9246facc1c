// SPDX-License-Identifier: BSD-3-Clause
#include "phantom/body_shape.hpp"

#include "base/error.hpp"
#include "base/units.hpp"
#include "phantom/poisson.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

namespace xrdct::phantom {

namespace {

// Streams of the random numbers that shape a body.
constexpr std::uint64_t lobe_stream = 0x6c6f6265, grain_stream = 0x677261696e,
                        tilt_stream = 0x74696c74;
/// Distance of a lobe's centre from the axis over its radius.
constexpr double lobe_distance = 0.85;
/// Largest radius of a grain over the mean one, and the smallest.
constexpr double largest_grain = 1.5, smallest_grain = 0.4;
constexpr int tries_per_grain = 400;
constexpr std::size_t most_grains = 200000;

bool outside_others(const std::array<Trilobe::Disc, 3>& discs, std::size_t i, std::size_t j,
                    double x, double y) {
    for (std::size_t k = 0; k < discs.size(); ++k)
        if (k != i && k != j && std::hypot(x - discs[k].x, y - discs[k].y) < discs[k].radius)
            return false;
    return true;
}

} // namespace

Trilobe::Trilobe(double diameter, double shell, std::uint64_t seed)
    : diameter_(diameter), shell_(shell) {
    RayRandom random(seed, lobe_stream, 0);
    const double full = 0.5 * diameter / (1 + lobe_distance);
    const double start = 2 * pi * random.uniform();
    for (std::size_t i = 0; i < discs_.size(); ++i) {
        const double radius = full * (1 - 0.12 * random.uniform());
        const double angle =
            start + 2 * pi * static_cast<double>(i) / 3 + radians(8) * (random.uniform() - 0.5);
        const double distance = lobe_distance * radius;
        discs_[i] = {distance * std::cos(angle), distance * std::sin(angle), radius};
    }
    for (std::size_t i = 0; i < 3; ++i)
        for (std::size_t j = 0; j < i; ++j) {
            const Disc &a = discs_[i], &b = discs_[j];
            const double dx = b.x - a.x, dy = b.y - a.y, d = std::hypot(dx, dy);
            const double along = (d * d + a.radius * a.radius - b.radius * b.radius) / (2 * d);
            const double across = std::sqrt(std::max(a.radius * a.radius - along * along, 0.0));
            for (const double sign : {-1.0, 1.0}) {
                const double x = a.x + (along * dx - sign * across * dy) / d,
                             y = a.y + (along * dy + sign * across * dx) / d;
                if (outside_others(discs_, i, j, x, y))
                    corners_.push_back({x, y});
            }
        }
    for (int iy = -40; iy <= 40; ++iy)
        for (int ix = -40; ix <= 40; ++ix)
            reach_ = std::max(reach_, depth(0.0125 * ix * diameter, 0.0125 * iy * diameter));
    if (!(shell < reach_))
        throw Error(
            fmt::format("simulated extrudate: the shell is {} mm, expected less than {:.3g} "
                        "mm, the depth of the middle",
                        shell, reach_));
}

/// Distance to the outline from within; 0 outside.
double Trilobe::depth(double x, double y) const {
    bool within = false;
    double nearest = 2 * diameter_;
    for (std::size_t i = 0; i < discs_.size(); ++i) {
        const Disc& disc = discs_[i];
        const double dx = x - disc.x, dy = y - disc.y, d = std::hypot(dx, dy);
        within = within || d < disc.radius;
        const double scale = d > 0 ? disc.radius / d : 0;
        const double px = d > 0 ? disc.x + dx * scale : disc.x + disc.radius,
                     py = disc.y + dy * scale;
        if (outside_others(discs_, i, i, px, py))
            nearest = std::min(nearest, std::abs(disc.radius - d));
    }
    if (!within)
        return 0;
    for (const Corner& corner : corners_)
        nearest = std::min(nearest, std::hypot(x - corner.x, y - corner.y));
    return nearest;
}

Place Trilobe::at(double x, double y) const {
    const double d = depth(x, y);
    if (d <= 0)
        return {};
    return {d < shell_ ? extrudate_shell : extrudate_core, static_cast<float>(d),
            static_cast<float>(reach_)};
}

Bundle::Bundle(double diameter, double shell, std::uint64_t seed, int pieces) {
    const double ring = pieces == 1 ? 0 : 0.5 * 1.05 * diameter / std::sin(pi / pieces);
    for (int i = 0; i < pieces; ++i) {
        const double angle = 2 * pi * i / pieces;
        // Seeds of single bodies that follow each other share no piece.
        const std::uint64_t own = seed + 1000003ULL * static_cast<std::uint64_t>(i);
        pieces_.push_back(
            {Trilobe(diameter, shell, own), ring * std::cos(angle), ring * std::sin(angle)});
    }
    radius_ = ring + 0.5 * diameter;
}

Place Bundle::at(double x, double y) const {
    for (const Piece& piece : pieces_) {
        const double dx = x - piece.x, dy = y - piece.y, radius = piece.shape.radius();
        if (dx * dx + dy * dy < radius * radius)
            return piece.shape.at(dx, dy);
    }
    return {};
}

Capillary::Capillary(double diameter, double wall, double grain, std::uint64_t seed)
    : outer_(0.5 * diameter), inner_(0.5 * diameter - wall), wall_(wall) {
    if (!(inner_ > largest_grain * 0.5 * grain))
        throw Error(
            fmt::format("simulated capillary: there is no room for grains of {} mm in {} mm "
                        "with a wall of {} mm",
                        grain, diameter, wall));
    const double mean = 0.5 * grain;
    if (inner_ * inner_ > static_cast<double>(most_grains) * mean * mean)
        throw Error(fmt::format("simulated capillary: grains of {} mm are too many, expected at "
                                "least a four-hundredth of the diameter",
                                grain));
    pitch_ = 2 * mean;
    cells_ = static_cast<std::size_t>(std::ceil(2 * inner_ / pitch_)) + 1;
    buckets_.resize(cells_ * cells_);
    RayRandom random(seed, grain_stream, 0);
    // The largest first; grains then grow until they touch, and small ones fill the gaps.
    int turn = static_cast<int>(n_grain_kinds * random.uniform());
    for (const double part : {1.0, 0.8, 0.6})
        turn = scatter(random, part * mean, 0.35, turn);
    grow(largest_grain * mean);
    for (const double part : {0.6, 0.5, smallest_grain})
        turn = scatter(random, part * mean, 0.25, turn);
}

/// Adds grains of one radius that would cover a share of the inside if all found a place. Returns
/// the number of the next grain, which decides its kind.
int Capillary::scatter(RayRandom& random, double radius, double share, int turn) {
    const auto wanted = static_cast<int>(std::ceil(share * inner_ * inner_ / (radius * radius)));
    for (int i = 0; i < wanted; ++i)
        for (int t = 0; t < tries_per_grain; ++t) {
            const double r = (inner_ - radius) * std::sqrt(random.uniform());
            const double angle = 2 * pi * random.uniform();
            if (add({r * std::cos(angle), r * std::sin(angle), radius, turn % n_grain_kinds})) {
                ++turn;
                break;
            }
        }
    return turn;
}

/// Lets the grains grow, one after the other, until they touch each other or the wall.
void Capillary::grow(double largest) {
    for (std::size_t i = 0; i < grains_.size(); ++i) {
        Grain& grain = grains_[i];
        double room = std::min(largest, inner_ - std::hypot(grain.x, grain.y));
        around(grain.x, grain.y, 2 * largest, [&](std::size_t bucket) {
            for (const int j : buckets_[bucket]) {
                const Grain& other = grains_[static_cast<std::size_t>(j)];
                if (static_cast<std::size_t>(j) != i)
                    room = std::min(room, std::hypot(grain.x - other.x, grain.y - other.y) -
                                              other.radius);
            }
        });
        grain.radius = std::max(grain.radius, room);
        around(grain.x, grain.y, grain.radius, [&](std::size_t bucket) {
            auto& list = buckets_[bucket];
            if (std::find(list.begin(), list.end(), static_cast<int>(i)) == list.end())
                list.push_back(static_cast<int>(i));
        });
    }
}

template <typename Each>
void Capillary::around(double x, double y, double reach, const Each& each) const {
    const auto index = [&](double v) {
        return static_cast<std::size_t>(
            std::clamp((v + inner_) / pitch_, 0.0, static_cast<double>(cells_ - 1)));
    };
    for (std::size_t iy = index(y - reach); iy <= index(y + reach); ++iy)
        for (std::size_t ix = index(x - reach); ix <= index(x + reach); ++ix)
            each(iy * cells_ + ix);
}

/// False when it would overlap another one.
bool Capillary::add(const Grain& grain) {
    bool free = true;
    around(grain.x, grain.y, grain.radius, [&](std::size_t bucket) {
        for (const int i : buckets_[bucket]) {
            const Grain& other = grains_[static_cast<std::size_t>(i)];
            free = free &&
                   std::hypot(grain.x - other.x, grain.y - other.y) > grain.radius + other.radius;
        }
    });
    if (!free)
        return false;
    around(grain.x, grain.y, grain.radius, [&](std::size_t bucket) {
        buckets_[bucket].push_back(static_cast<int>(grains_.size()));
    });
    grains_.push_back(grain);
    return true;
}

double Capillary::thinnest() const {
    double thin = wall_;
    for (const Grain& grain : grains_)
        thin = std::min(thin, grain.radius);
    return thin;
}

Place Capillary::at(double x, double y) const {
    const double r = std::hypot(x, y);
    if (r >= outer_)
        return {};
    if (r >= inner_)
        return {glass, static_cast<float>(outer_ - r), static_cast<float>(wall_)};
    Place place;
    around(x, y, 0, [&](std::size_t bucket) {
        for (const int i : buckets_[bucket]) {
            const Grain& grain = grains_[static_cast<std::size_t>(i)];
            const double dx = x - grain.x, dy = y - grain.y, squared = dx * dx + dy * dy;
            if (squared < grain.radius * grain.radius)
                place = {grain_first + grain.kind,
                         static_cast<float>(grain.radius - std::sqrt(squared)),
                         static_cast<float>(grain.radius)};
        }
    });
    return place;
}

PouchStrip::PouchStrip(double length, double height, const LayerThickness& layers,
                       std::uint64_t seed)
    : half_x_(0.5 * length), half_y_(0.5 * height), half_length_(0.5 * length - foil - gap),
      thinnest_(std::min({layers.aluminium, layers.cathode, layers.anode, layers.copper,
                          layers.separator, foil})) {
    const double room = height - 2 * foil;
    const auto repeats = static_cast<int>(std::floor(room / layers.period()));
    if (repeats < 1 || !(half_length_ > 0))
        throw Error(
            fmt::format("simulated pouch cell: {} by {} mm have no room for layers of {} mm "
                        "in a foil of {} mm",
                        length, height, layers.period(), foil));
    RayRandom random(seed, tilt_stream, 0);
    // Between whole degrees, where rotations lie.
    const double tilt = random.uniform() < 0.5 ? 3.4 : 6.4;
    const double angle = radians(tilt + 0.2 * random.uniform());
    cosine_ = std::cos(angle);
    sine_ = std::sin(angle);
    double y = -0.5 * static_cast<double>(repeats) * layers.period();
    const auto stack = [&](int region, double thickness) {
        layers_.push_back({region, y, y + thickness});
        y += thickness;
    };
    for (int i = 0; i < repeats; ++i) {
        stack(cathode_coating, layers.cathode);
        stack(aluminium_layer, layers.aluminium);
        stack(cathode_coating, layers.cathode);
        stack(separator_layer, layers.separator);
        stack(anode_coating, layers.anode);
        stack(copper_layer, layers.copper);
        stack(anode_coating, layers.anode);
        stack(separator_layer, layers.separator);
    }
}

double PouchStrip::radius() const {
    return std::hypot(half_x_, half_y_);
}

Place PouchStrip::at(double turned_x, double turned_y) const {
    const double x = turned_x * cosine_ + turned_y * sine_,
                 y = -turned_x * sine_ + turned_y * cosine_;
    const double ax = std::abs(x), ay = std::abs(y);
    if (ax >= half_x_ || ay >= half_y_)
        return {};
    const double depth = std::min(half_x_ - ax, half_y_ - ay);
    if (depth < foil)
        return {pouch_foil, static_cast<float>(depth), static_cast<float>(foil)};
    const auto reach = static_cast<float>(half_length_);
    if (ax >= half_length_ || y < layers_.front().from || y >= layers_.back().to)
        return {electrolyte_gap, 0, reach};
    const auto layer = std::upper_bound(layers_.begin(), layers_.end(), y,
                                        [](double v, const Layer& l) { return v < l.to; });
    return {layer == layers_.end() ? electrolyte_gap : layer->region,
            static_cast<float>(half_length_ - ax), reach};
}

std::unique_ptr<const BodyShape> make_shape(const BodyDesign& d) {
    switch (d.kind) {
    case BodyKind::extrudate:
        return std::make_unique<Bundle>(d.diameter, d.shell, d.seed, d.pieces);
    case BodyKind::capillary:
        return std::make_unique<Capillary>(d.diameter, d.wall, d.grain, d.seed);
    case BodyKind::pouch:
        return std::make_unique<PouchStrip>(d.diameter, d.height, d.layers, d.seed);
    }
    throw Error("unknown body");
}

} // namespace xrdct::phantom
