// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/pipeline/mask_image.hpp"
#include "mpi/files/text_file.hpp"

#include "base/error.hpp"

#include <cctype>
#include <fstream>
#include <sstream>
#include <string>

#include <fmt/format.h>

namespace xrdct::pipeline {

namespace {

/// Next token of a PGM header; comments run from # to the end of the line.
std::string token(std::istream& in) {
    std::string word;
    while (in) {
        const int c = in.get();
        if (c == '#') {
            std::string rest;
            std::getline(in, rest);
        } else if (c == EOF || std::isspace(c)) {
            if (!word.empty())
                return word;
        } else {
            word += static_cast<char>(c);
        }
    }
    return word;
}

std::size_t number(std::istream& in, const std::filesystem::path& path, const char* what) {
    const auto word = token(in);
    if (word.empty() || word.size() > 8 ||
        word.find_first_not_of("0123456789") != std::string::npos)
        throw Error(fmt::format("{}: the image has no valid {}", path.string(), what));
    return std::stoul(word);
}

} // namespace

void write_mask_image(const std::filesystem::path& path, std::span<const unsigned char> mask,
                      std::size_t ny, std::size_t nx) {
    std::string image = fmt::format("P5\n{} {}\n255\n", nx, ny);
    for (std::size_t line = 0; line < ny; ++line)
        for (std::size_t x = 0; x < nx; ++x)
            image += mask[(ny - 1 - line) * nx + x] ? '\xff' : '\0';
    files::write_text_file(path, image);
}

std::vector<unsigned char> read_mask_image(const std::filesystem::path& path, std::size_t ny,
                                           std::size_t nx) {
    std::ifstream file(path, std::ios::binary);
    if (!file)
        throw Error(fmt::format("{}: no such file, or it cannot be read", path.string()));
    const auto magic = token(file);
    if (magic != "P5" && magic != "P2")
        throw Error(fmt::format("{}: is no PGM image (grey, portable graymap)", path.string()));
    const std::size_t width = number(file, path, "width"), height = number(file, path, "height"),
                      maximum = number(file, path, "maximum");
    if (width != nx || height != ny)
        throw Error(fmt::format("{}: the image has {} x {} pixels, the maps have {} x {}",
                                path.string(), width, height, nx, ny));
    if (maximum == 0 || maximum > 65535)
        throw Error(fmt::format("{}: the image has no valid maximum", path.string()));
    std::vector<unsigned char> mask(nx * ny);
    for (std::size_t line = 0; line < ny; ++line)
        for (std::size_t x = 0; x < nx; ++x) {
            std::size_t value = 0;
            if (magic == "P2") {
                value = number(file, path, "pixel");
            } else {
                const int high = file.get();
                value = static_cast<std::size_t>(high);
                if (maximum > 255)
                    value = 256 * value + static_cast<std::size_t>(file.get());
                if (!file)
                    throw Error(fmt::format("{}: the image is cut off", path.string()));
            }
            mask[(ny - 1 - line) * nx + x] = 2 * value > maximum;
        }
    return mask;
}

} // namespace xrdct::pipeline
