// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/report/palette.hpp"

#include "base/error.hpp"

#include <fmt/format.h>

namespace xrdct::report {

namespace {

// Ten equidistant samples each of the colour maps of van der Walt & Smith (2015: viridis, inferno,
// magma) and Nuñez, Anderton & Renslow (2018: cividis), and of Brewer's RdBu.
constexpr std::array<Rgb, 10> viridis{{{68, 1, 84},
                                       {72, 40, 120},
                                       {62, 73, 137},
                                       {49, 104, 142},
                                       {38, 130, 142},
                                       {31, 158, 137},
                                       {53, 183, 121},
                                       {109, 205, 89},
                                       {180, 222, 44},
                                       {253, 231, 37}}};
constexpr std::array<Rgb, 10> inferno{{{0, 0, 4},
                                       {27, 12, 65},
                                       {74, 12, 107},
                                       {120, 28, 109},
                                       {165, 44, 96},
                                       {207, 68, 70},
                                       {237, 105, 37},
                                       {251, 155, 6},
                                       {247, 209, 61},
                                       {252, 255, 164}}};
constexpr std::array<Rgb, 10> magma{{{0, 0, 4},
                                     {24, 15, 61},
                                     {68, 15, 118},
                                     {114, 31, 129},
                                     {158, 47, 127},
                                     {205, 64, 113},
                                     {241, 96, 93},
                                     {253, 150, 104},
                                     {254, 202, 141},
                                     {252, 253, 191}}};
constexpr std::array<Rgb, 10> cividis{{{0, 34, 78},
                                       {18, 53, 112},
                                       {59, 73, 108},
                                       {87, 93, 109},
                                       {112, 113, 115},
                                       {138, 134, 120},
                                       {165, 156, 116},
                                       {195, 179, 105},
                                       {225, 204, 85},
                                       {254, 232, 56}}};
constexpr std::array<Rgb, 9> diverging{{{33, 102, 172},
                                        {67, 147, 195},
                                        {146, 197, 222},
                                        {209, 229, 240},
                                        {247, 247, 247},
                                        {253, 219, 199},
                                        {244, 165, 130},
                                        {214, 96, 77},
                                        {178, 24, 43}}};

// The colour-blind-safe set of Okabe & Ito (2008), yellow last as it is weak on white.
constexpr std::array<Rgb, 8> categories{{{0, 114, 178},
                                         {213, 94, 0},
                                         {0, 158, 115},
                                         {204, 121, 167},
                                         {86, 180, 233},
                                         {230, 159, 0},
                                         {70, 70, 70},
                                         {240, 228, 66}}};

constexpr std::array<Rgb, 7> outcomes{{{158, 202, 225},
                                       {213, 94, 0},
                                       {40, 40, 40},
                                       {230, 159, 0},
                                       {204, 121, 167},
                                       {0, 158, 115},
                                       {0, 114, 178}}};

} // namespace

std::span<const Rgb> palette_anchors(Palette palette) {
    switch (palette) {
    case Palette::viridis:
        return viridis;
    case Palette::inferno:
        return inferno;
    case Palette::magma:
        return magma;
    case Palette::cividis:
        return cividis;
    case Palette::diverging:
        return diverging;
    }
    throw Error("unknown palette");
}

Rgb category_colour(std::size_t n) {
    return categories[n % categories.size()];
}

std::size_t category_dashes(std::size_t n) {
    return 1 + n / categories.size();
}

Rgb outcome_colour(std::size_t n) {
    return outcomes[n % outcomes.size()];
}

std::string hex_colour(Rgb colour) {
    return fmt::format("#{:02x}{:02x}{:02x}", colour[0], colour[1], colour[2]);
}

} // namespace xrdct::report
