#include "solvers/dlsr/map_filter.hpp"

namespace xrdct::dlsr {

namespace {

/// The next even length of small prime factors.
std::size_t good_length(std::size_t least) {
    for (std::size_t n = least + least % 2;; n += 2) {
        std::size_t rest = n;
        for (const std::size_t factor : {2, 3, 5, 7})
            while (rest % factor == 0)
                rest /= factor;
        if (rest == 1)
            return n;
    }
}

} // namespace

MapFilter::MapFilter(std::size_t n) : length_(good_length(n + n / 8)) {
    const auto l = static_cast<int>(length_);
    float* map = fftwf_alloc_real(map_size());
    auto* spectrum = fftwf_alloc_complex(spectrum_size());
    forward_ = fftwf_plan_dft_r2c_2d(l, l, map, spectrum, FFTW_ESTIMATE);
    backward_ = fftwf_plan_dft_c2r_2d(l, l, spectrum, map, FFTW_ESTIMATE);
    fftwf_free(map);
    fftwf_free(spectrum);
}

MapFilter::~MapFilter() {
    fftwf_destroy_plan(forward_);
    fftwf_destroy_plan(backward_);
}

void MapFilter::apply(const std::vector<float>& symbol, Work& work) const {
    fftwf_execute_dft_r2c(forward_, work.map, work.spectrum);
    for (std::size_t i = 0; i < symbol.size(); ++i) {
        work.spectrum[i][0] *= symbol[i];
        work.spectrum[i][1] *= symbol[i];
    }
    fftwf_execute_dft_c2r(backward_, work.spectrum, work.map);
}

} // namespace xrdct::dlsr
