// SPDX-License-Identifier: BSD-3-Clause
#include "support/product_difference.hpp"

#include "mpi/hdf5/hdf5.hpp"
#include "support/cell_maps.hpp"

#include <algorithm>
#include <cmath>
#include <map>

namespace xrdct::test {

ProductDifference compare_products(const std::filesystem::path& one,
                                   const std::filesystem::path& other,
                                   const std::vector<std::string>& products) {
    ProductDifference result;
    for (const auto& product : products) {
        std::map<std::string, std::vector<double>> values;
        hdf5::File::open(one / product, hdf5::Access::read_only)
            .root()
            .visit([&](const std::string& path, hdf5::Kind kind) {
                // What is no float is text, a rank count or a status; times differ.
                if (kind != hdf5::Kind::dataset || path.find("timings") != std::string::npos)
                    return;
                const auto file = hdf5::File::open(one / product, hdf5::Access::read_only);
                const auto type = file.root().open_dataset(path).element_type();
                if (type == hdf5::ElementType::float32 || type == hdf5::ElementType::float64)
                    values[path] = map_of(one / product, path);
            });
        for (const auto& [path, a] : values) {
            const auto b = map_of(other / product, path);
            const auto name = product + ":" + path;
            if (a.size() != b.size()) {
                result.relative = result.esds = INFINITY;
                result.where = result.where_esds = name + ": another size";
                return result;
            }
            const auto errors = values.find(path + "_errors");
            double largest = 0;
            for (const double v : a)
                if (std::isfinite(v))
                    largest = std::max(largest, std::abs(v));
            for (std::size_t i = 0; i < a.size(); ++i) {
                const bool both = std::isfinite(a[i]) && std::isfinite(b[i]);
                double relative = both && largest > 0 ? std::abs(a[i] - b[i]) / largest : 0;
                if (std::isfinite(a[i]) != std::isfinite(b[i]))
                    relative = INFINITY;
                result.compared += both;
                if (relative > result.relative) {
                    result.relative = relative;
                    result.where = name + "[" + std::to_string(i) + "]";
                }
                if (errors == values.end() || errors->second.size() != a.size())
                    continue;
                const double esd = errors->second[i];
                const double difference = !both && std::isinf(relative) ? INFINITY
                                          : both && esd > 0 ? std::abs(a[i] - b[i]) / esd
                                                            : 0;
                result.with_esd += both && esd > 0;
                if (difference > result.esds) {
                    result.esds = difference;
                    result.where_esds = name + "[" + std::to_string(i) + "]";
                }
            }
        }
    }
    return result;
}

} // namespace xrdct::test
