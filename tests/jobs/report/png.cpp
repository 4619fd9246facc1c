// SPDX-License-Identifier: BSD-3-Clause
#include "png.hpp"

#include <cstdlib>
#include <stdexcept>
#include <utility>

#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_PNG
#include <stb/stb_image.h>

namespace xrdct::test {

report::Rgb Png::at(int x, int y) const {
    const std::size_t at = 3 * (static_cast<std::size_t>(y) * static_cast<std::size_t>(width) +
                                static_cast<std::size_t>(x));
    return {pixels[at], pixels[at + 1], pixels[at + 2]};
}

namespace {

bool close(report::Rgb a, report::Rgb b, int tolerance) {
    for (std::size_t k = 0; k < 3; ++k)
        if (std::abs(int(a[k]) - int(b[k])) > tolerance)
            return false;
    return true;
}

} // namespace

int Png::count(report::Rgb colour, int tolerance) const {
    int n = 0;
    for (int y = 0; y < height; ++y)
        for (int x = 0; x < width; ++x)
            n += close(at(x, y), colour, tolerance);
    return n;
}

std::pair<double, double> Png::centre(report::Rgb colour, int tolerance) const {
    double row = 0, column = 0, n = 0;
    for (int y = 0; y < height; ++y)
        for (int x = 0; x < width; ++x)
            if (close(at(x, y), colour, tolerance)) {
                row += y;
                column += x;
                n += 1;
            }
    return {row / n, column / n};
}

Png read_png(const std::filesystem::path& path) {
    Png png;
    int channels = 0;
    unsigned char* data = stbi_load(path.c_str(), &png.width, &png.height, &channels, 3);
    if (data == nullptr)
        throw std::runtime_error(path.string() + " is no PNG");
    png.pixels.assign(data,
                      data + std::size_t(3) * std::size_t(png.width) * std::size_t(png.height));
    stbi_image_free(data);
    return png;
}

} // namespace xrdct::test
