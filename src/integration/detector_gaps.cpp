// SPDX-License-Identifier: BSD-3-Clause
#include "integration/detector_gaps.hpp"

#include "base/error.hpp"

namespace xrdct::integration {

std::optional<ModuleGrid> module_grid(std::size_t rows, std::size_t columns) {
    // Sizes as the maker states them.
    static const ModuleGrid families[] = {{"Pilatus", 195, 487, 17, 7},
                                          {"Eiger", 514, 1030, 37, 10},
                                          {"Eiger2", 512, 1028, 38, 12},
                                          {"Pilatus4", 255, 513, 20, 7}};
    const auto fits = [](std::size_t size, std::size_t module, std::size_t gap) {
        return size >= module && (size + gap) % (module + gap) == 0;
    };
    for (const auto& family : families)
        if (fits(rows, family.rows, family.gap_rows) &&
            fits(columns, family.columns, family.gap_columns) &&
            (rows > family.rows || columns > family.columns))
            return family;
    return std::nullopt;
}

std::size_t mask_gaps(const ModuleGrid& grid, std::size_t rows, std::size_t columns,
                      std::span<std::uint8_t> mask) {
    if (mask.size() != rows * columns)
        throw Error("detector gaps: the mask has another size than the image");
    std::size_t changed = 0;
    for (std::size_t i = 0; i < rows; ++i) {
        const bool row_gap = i % (grid.rows + grid.gap_rows) >= grid.rows;
        for (std::size_t j = 0; j < columns; ++j)
            if (row_gap || j % (grid.columns + grid.gap_columns) >= grid.columns) {
                auto& pixel = mask[i * columns + j];
                changed += pixel == 0;
                pixel = 1;
            }
    }
    return changed;
}

} // namespace xrdct::integration
