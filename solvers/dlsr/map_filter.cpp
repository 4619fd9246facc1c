// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/dlsr/map_filter.hpp"

namespace xrdct::dlsr {

MapFilter::MapFilter(std::size_t n) : transform_(fft::good_length(n + n / 8, 2, 7)) {}

void MapFilter::apply(const std::vector<float>& symbol, Work& work) const {
    transform_.forward(work.map.data(), work.spectrum.data());
    for (std::size_t i = 0; i < symbol.size(); ++i)
        work.spectrum[i] *= symbol[i];
    transform_.backward(work.spectrum.data(), work.map.data());
}

} // namespace xrdct::dlsr
