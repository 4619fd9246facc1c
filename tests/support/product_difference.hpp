// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

namespace xrdct::test {

/// Largest differences of two sets of products.
struct ProductDifference {
    double relative = 0; ///< of any number, to the largest of its dataset
    double esds = 0;     ///< of the values of maps that have e.s.d.
    std::string where, where_esds;
    std::size_t compared = 0, with_esd = 0; ///< values
};

/// Of the floats in `products` (file names) of two folders, but for the timings.
ProductDifference compare_products(const std::filesystem::path& one,
                                   const std::filesystem::path& other,
                                   const std::vector<std::string>& products);

} // namespace xrdct::test
