// SPDX-License-Identifier: BSD-3-Clause
#include "support/cell_maps.hpp"

#include "mpi/hdf5/hdf5.hpp"
#include "support/program.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace xrdct::test {

namespace {

const std::vector<std::string> phases{"Fe",   "Cu",   "Al", "NMC532", "NMC532_secondary",
                                      "LiC6", "LiC12"};

double finite(double value) {
    return std::isfinite(value) ? value : 0;
}

double quantile(const std::vector<double>& sorted, double q) {
    return sorted[static_cast<std::size_t>(q * static_cast<double>(sorted.size() - 1))];
}

} // namespace

std::vector<double> map_of(const std::filesystem::path& file, const std::string& path) {
    return hdf5::File::open(file, hdf5::Access::read_only)
        .root()
        .open_dataset(path)
        .read_all<double>();
}

void simulate_cell(const std::filesystem::path& cell, const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"simulate", "--output", cell.string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const auto made = run_xrdct(arguments, 2, 600);
    if (made.exit_code != 0)
        throw std::runtime_error("simulate failed: " + made.errors);
}

std::vector<double> smooth_map(const std::vector<double>& map, std::size_t n, double sigma) {
    const auto reach = static_cast<long>(std::ceil(4 * sigma));
    std::vector<double> across(map.size()), result(map.size());
    const auto pass = [&](const std::vector<double>& in, std::vector<double>& out, long dx,
                          long dy) {
        for (long y = 0; y < static_cast<long>(n); ++y)
            for (long x = 0; x < static_cast<long>(n); ++x) {
                double sum = 0;
                for (long k = -reach; k <= reach; ++k) {
                    const long v = y + k * dy, u = x + k * dx;
                    if (v >= 0 && u >= 0 && v < static_cast<long>(n) && u < static_cast<long>(n))
                        sum += std::exp(-0.5 * static_cast<double>(k * k) / (sigma * sigma)) *
                               in[static_cast<std::size_t>(v) * n + static_cast<std::size_t>(u)];
                }
                out[static_cast<std::size_t>(y) * n + static_cast<std::size_t>(x)] = sum;
            }
    };
    pass(map, across, 1, 0);
    pass(across, result, 0, 1);
    return result;
}

AmountErrors compare_amounts(const std::filesystem::path& cell,
                             const std::filesystem::path& product, const std::string& stage) {
    const auto x = map_of(cell / "truth.nxs", "entry/truth/Fe/x");
    const std::size_t n = x.size();
    const double sigma = 0.15 / (x[1] - x[0]);
    double all_true = 0, all_found = 0;
    std::vector<double> sum_true(n * n, 0.0), sum_found(n * n, 0.0), whole_true, whole_found;
    std::vector<std::vector<double>> truth, found;
    for (const auto& phase : phases) {
        auto t = map_of(cell / "truth.nxs", "entry/truth/" + phase + "/density");
        auto f = map_of(product, "entry/" + stage + "/" + phase + "/density");
        double total_true = 0, total_found = 0;
        for (std::size_t i = 0; i < n * n; ++i) {
            t[i] = finite(t[i]);
            f[i] = finite(f[i]);
            total_true += t[i];
            total_found += f[i];
        }
        all_true += total_true;
        all_found += total_found;
        whole_true.push_back(total_true);
        whole_found.push_back(total_found);
        truth.push_back(smooth_map(t, n, sigma));
        found.push_back(smooth_map(f, n, sigma));
        for (std::size_t i = 0; i < n * n; ++i) {
            sum_true[i] += truth.back()[i];
            sum_found[i] += found.back()[i];
        }
    }
    AmountErrors result;
    result.mass = all_found / all_true;
    const double highest = *std::max_element(sum_true.begin(), sum_true.end());
    for (std::size_t p = 0; p < phases.size(); ++p) {
        AmountErrors::Phase phase;
        phase.name = phases[p];
        phase.whole = whole_found[p] / all_found - whole_true[p] / all_true;
        std::vector<double> errors;
        for (std::size_t i = 0; i < n * n; ++i)
            if (sum_true[i] > 0.02 * highest && truth[p][i] > 0.1 * sum_true[i])
                errors.push_back(std::abs(found[p][i] / std::max(sum_found[i], 1e-12) -
                                          truth[p][i] / sum_true[i]));
        if (errors.size() >= 20) {
            std::sort(errors.begin(), errors.end());
            phase.local = errors[errors.size() / 2];
        }
        result.phases.push_back(phase);
    }
    return result;
}

CellErrors compare_cathode(const std::filesystem::path& cell, const std::filesystem::path& product,
                           const std::string& stage, const std::string& parameter) {
    const auto fraction = map_of(cell / "truth.nxs", "entry/truth/NMC532/volume_fraction");
    const auto truth = map_of(cell / "truth.nxs", "entry/truth/NMC532/" + parameter);
    const std::string path = "entry/" + stage + "/NMC532/" + parameter;
    const auto value = map_of(product, path);
    std::vector<double> esd;
    if (hdf5::File::open(product, hdf5::Access::read_only)
            .root()
            .open_group("entry/" + stage + "/NMC532")
            .has_dataset(parameter + "_errors"))
        esd = map_of(product, path + "_errors");
    CellErrors result;
    std::vector<double> errors, magnitudes, relative;
    for (std::size_t i = 0; i < truth.size(); ++i) {
        if (!(fraction[i] > 0.31))
            continue;
        ++result.voxels;
        if (!std::isfinite(value[i]))
            continue;
        errors.push_back(value[i] - truth[i]);
        magnitudes.push_back(std::abs(errors.back()));
        if (!esd.empty() && esd[i] > 0)
            relative.push_back(errors.back() / esd[i]);
    }
    if (errors.empty())
        return result;
    for (auto* values : {&errors, &magnitudes, &relative})
        std::sort(values->begin(), values->end());
    result.coverage = static_cast<double>(errors.size()) / static_cast<double>(result.voxels);
    result.bias = errors[errors.size() / 2];
    result.median = magnitudes[magnitudes.size() / 2];
    if (!relative.empty())
        result.spread = 0.5 * (quantile(relative, 0.8413) - quantile(relative, 0.1587));
    return result;
}

double noise_spread(const std::filesystem::path& cell, const std::filesystem::path& one,
                    const std::filesystem::path& other, const std::string& parameter) {
    const auto fraction = map_of(cell / "truth.nxs", "entry/truth/NMC532/volume_fraction");
    const std::string path = "entry/dlsr/NMC532/" + parameter;
    const auto a = map_of(one, path), b = map_of(other, path),
               esd_a = map_of(one, path + "_errors"), esd_b = map_of(other, path + "_errors");
    std::vector<double> relative;
    for (std::size_t i = 0; i < fraction.size(); ++i)
        if (fraction[i] > 0.31 && std::isfinite(a[i] - b[i]) && esd_a[i] > 0 && esd_b[i] > 0)
            relative.push_back((a[i] - b[i]) / std::hypot(esd_a[i], esd_b[i]));
    std::sort(relative.begin(), relative.end());
    return relative.empty() ? std::numeric_limits<double>::quiet_NaN()
                            : 0.5 * (quantile(relative, 0.8413) - quantile(relative, 0.1587));
}

} // namespace xrdct::test
