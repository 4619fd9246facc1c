// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/pipeline/volume_file.hpp"

#include "base/error.hpp"
#include "base/numbers.hpp"
#include "mpi/nexus/nexus.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

namespace xrdct::pipeline {

VolumeFile::VolumeFile(const std::filesystem::path& path,
                       const std::vector<std::pair<double, double>>& excluded)
    : file_(hdf5::File::open(path, hdf5::Access::read_only)),
      stage_(file_.root().open_group("entry/fbp")),
      intensity_(stage_.open_dataset("volume/intensity")),
      variance_(stage_.open_dataset("volume/coarse_variance")) {
    n_ = intensity_.shape().at(0);
    channels_ = intensity_.shape().at(2);
    x_ = stage_.open_dataset("volume/x").read_all<double>();
    two_theta_ = stage_.open_dataset("volume/two_theta").read_all<double>();
    total_ = stage_.open_dataset("total/total").read_all<double>();
    coarse_.emplace(variance_.shape().at(0), variance_.number_attribute("pixel").value_or(1.0),
                    channels_);
    relative_variance_ = variance_.string_attribute("kind").value_or("relative") == "relative";
    wavelength_ = nexus::read_value(stage_, "incident_wavelength").value_or(nan_value);
    for (std::size_t k = 0; k < channels_; ++k)
        for (const auto& [from, to] : excluded)
            if (two_theta_[k] >= from && two_theta_[k] <= to)
                excluded_.push_back(k);
    if (std::isnan(wavelength_))
        throw Error(fmt::format("{}: no incident_wavelength; give geometry.wavelength and run the "
                                "fbp stage again",
                                path.string()));
}

void VolumeFile::read_patterns(std::size_t y, std::span<const std::size_t> x,
                               std::span<float> intensity, std::span<float> variance) const {
    if (x.empty())
        return;
    row_.resize(n_ * channels_);
    intensity_.read(hdf5::Selection{{y, 0, 0}, {1, n_, channels_}}, std::span<float>(row_));
    const auto [first, count] = coarse_->rows(x_[y]);
    const std::size_t coarse_n = variance_.shape().at(0);
    coarse_rows_.resize(count * coarse_n * channels_);
    variance_.read(hdf5::Selection{{first, 0, 0}, {count, coarse_n, channels_}},
                   std::span<float>(coarse_rows_));
    coarse_->row_at(x_[y], coarse_rows_, variance_row_);
    for (std::size_t i = 0; i < x.size(); ++i) {
        std::copy_n(row_.data() + x[i] * channels_, channels_, intensity.data() + i * channels_);
        const auto out = variance.subspan(i * channels_, channels_);
        coarse_->column_at(x_[x[i]], variance_row_, out);
        for (const std::size_t k : excluded_)
            out[k] = std::numeric_limits<float>::quiet_NaN();
    }
}

} // namespace xrdct::pipeline
