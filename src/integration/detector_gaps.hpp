// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace xrdct::integration {

/// A detector made of equal modules with gaps between them.
struct ModuleGrid {
    std::string name;                          ///< family, "Pilatus"
    std::size_t rows = 0, columns = 0;         ///< pixels of one module
    std::size_t gap_rows = 0, gap_columns = 0; ///< pixels between modules
};

/// The family of which a whole number of modules (more than one) fills an image of this shape:
/// Pilatus, Eiger, Eiger2, Pilatus4; nothing when none does.
std::optional<ModuleGrid> module_grid(std::size_t rows, std::size_t columns);

/// Sets mask[row][column] of all pixels in gaps to 1 and returns how many were not set before.
std::size_t mask_gaps(const ModuleGrid& grid, std::size_t rows, std::size_t columns,
                      std::span<std::uint8_t> mask);

} // namespace xrdct::integration
