// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "base/numbers.hpp"
#include "mpi/patterns/rows.hpp"

#include <gemmi/cif.hpp>
#include <gemmi/numb.hpp>

#include <array>
#include <cmath>

#include <fmt/format.h>

namespace xrdct::patterns::detail {

namespace {

namespace cif = gemmi::cif;

struct CifQuantity {
    const char* tag;
    PatternUnit unit;
};

/// Positions, the corrected ones before those of the measurement.
constexpr std::array positions{
    CifQuantity{"_pd_proc_2theta_corrected", PatternUnit::two_theta},
    CifQuantity{"_pd_meas_2theta_corrected", PatternUnit::two_theta},
    CifQuantity{"_pd_meas_2theta_scan", PatternUnit::two_theta},
    CifQuantity{"_pd_meas_angle_2theta", PatternUnit::two_theta},
    CifQuantity{"_pd_proc_d_spacing", PatternUnit::d_spacing},
    CifQuantity{"_pd_proc_recip_len_q", PatternUnit::q},
};

/// Intensities, counts before what was made of them. `counts`: their noise is known.
struct Intensity {
    const char* tag;
    bool counts;
};
constexpr std::array intensities{
    Intensity{"_pd_meas_counts_total", true},     Intensity{"_pd_meas_intensity_total", false},
    Intensity{"_pd_proc_intensity_total", false}, Intensity{"_pd_proc_intensity_net", false},
    Intensity{"_pd_meas_counts_net", false},      Intensity{"_pd_meas_intensity_net", false},
};

/// Equal steps of 2θ, stated as limits.
constexpr std::array ranges{"_pd_proc_2theta_range_", "_pd_meas_2theta_range_"};

double number(const std::string& value) {
    return cif::as_number(value);
}

/// The standard uncertainty in parentheses, 1234(35); NaN without one.
double uncertainty(const std::string& value) {
    const auto open = value.find('(');
    const auto close = value.find(')');
    if (open == std::string::npos || close == std::string::npos || close < open)
        return nan_value;
    double digits = 0;
    if (!number_from(value.substr(open + 1, close - open - 1), digits))
        return nan_value;
    if (value.substr(open, close - open).find('.') != std::string::npos)
        return digits;
    auto mantissa = value.substr(0, open);
    double power = 0;
    if (const auto e = mantissa.find_first_of("eE"); e != std::string::npos) {
        number_from(mantissa.substr(e + 1), power);
        mantissa.erase(e);
    }
    const auto point = mantissa.find('.');
    if (point != std::string::npos)
        power -= static_cast<double>(mantissa.size() - point - 1);
    return digits * std::pow(10, power);
}

/// The loop's column with the intensities; nothing without one.
struct Found {
    const cif::Block* block = nullptr;
    Intensity intensity{};
};

Found find_pattern(const cif::Document& document, std::size_t& blocks) {
    Found found;
    blocks = 0;
    for (const auto& block : document.blocks) {
        for (const auto& quantity : intensities) {
            auto column = const_cast<cif::Block&>(block).find_loop(quantity.tag);
            if (column.length() < 2)
                continue;
            if (found.block == nullptr)
                found = {&block, quantity};
            ++blocks;
            break;
        }
    }
    return found;
}

/// Positions of n points. Throws Error naming the file.
void take_positions(cif::Block& block, std::size_t n, const std::string& file, Rows& rows) {
    for (const auto& quantity : positions) {
        auto column = block.find_loop(quantity.tag);
        if (column.length() == 0)
            continue;
        if (static_cast<std::size_t>(column.length()) != n)
            continue; // of reflections, say
        for (const auto& value : column)
            rows.position.push_back(number(value));
        rows.unit = quantity.unit;
        return;
    }
    for (const std::string range : ranges) {
        const std::string* first = block.find_value(range + "min");
        const std::string* last = block.find_value(range + "max");
        const std::string* step = block.find_value(range + "inc");
        if (first == nullptr || (step == nullptr && last == nullptr))
            continue;
        const double from = number(*first);
        const double by =
            step != nullptr ? number(*step) : (number(*last) - from) / static_cast<double>(n - 1);
        if (last != nullptr &&
            std::abs(from + by * static_cast<double>(n - 1) - number(*last)) > 0.6 * std::abs(by))
            throw Error(fmt::format("{}: {} intensities, but {}min, max and inc make another "
                                    "number",
                                    file, n, range));
        for (std::size_t i = 0; i < n; ++i)
            rows.position.push_back(from + by * static_cast<double>(i));
        rows.unit = PatternUnit::two_theta;
        return;
    }
    throw Error(fmt::format("{}: a powder CIF without positions that are read: 2theta in a loop "
                            "or as range, d or Q",
                            file));
}

/// The wavelength that is stated first; of a loop (Kα1, Kα2) the one of the largest weight.
double wavelength_in(const cif::Document& document) {
    for (const auto& constant : document.blocks) {
        auto& block = const_cast<cif::Block&>(constant);
        for (const char* tag : {"_diffrn_radiation_wavelength",
                                "_diffrn_radiation_wavelength_value", "_pd_proc_wavelength"}) {
            if (const auto* value = block.find_value(tag); value != nullptr && number(*value) > 0)
                return number(*value);
            double best = 0, weight = -1;
            auto table = block.find({tag, "_diffrn_radiation_wavelength_wt"});
            for (auto row : table)
                if (number(row[1]) > weight) {
                    weight = number(row[1]);
                    best = number(row[0]);
                }
            if (best > 0)
                return best;
            for (const auto& value : block.find_loop(tag))
                if (number(value) > 0)
                    return number(value);
        }
    }
    return 0;
}

/// Of the values in parentheses, or of the weights of the refinement, 1/σ².
void take_sigma(cif::Block& block, const cif::Column& column, Rows& rows) {
    for (const auto& value : column)
        rows.sigma.push_back(uncertainty(value));
    if (std::any_of(rows.sigma.begin(), rows.sigma.end(),
                    [](double sigma) { return std::isfinite(sigma); }))
        return;
    rows.sigma.clear();
    auto weights = block.find_loop("_pd_proc_ls_weight");
    if (weights.length() != column.length())
        return;
    for (const auto& value : weights) {
        const double weight = number(value);
        rows.sigma.push_back(weight > 0 ? 1 / std::sqrt(weight) : 0);
    }
}

} // namespace

bool is_powder_cif(const std::string& text) {
    const auto lower = lower_case(text.substr(0, 4'000'000));
    return contains(lower, "data_") && contains(lower, "loop_") &&
           (contains(lower, "_pd_meas_") || contains(lower, "_pd_proc_"));
}

Rows read_cif_rows(const std::string& text, const std::string& file) {
    cif::Document document;
    try {
        cif::pegtl::memory_input<> input(text.data(), text.size(), file);
        cif::parse_input(document, input);
    } catch (const std::exception& error) {
        throw Error(fmt::format("{}: is no valid powder CIF ({})", file, error.what()));
    }
    std::size_t blocks = 0;
    const Found found = find_pattern(document, blocks);
    if (found.block == nullptr)
        throw Error(fmt::format("{}: a CIF without a measured pattern: no loop with "
                                "_pd_meas_counts_total, _pd_meas_intensity_total, "
                                "_pd_proc_intensity_total or _pd_proc_intensity_net",
                                file));
    auto& block = const_cast<cif::Block&>(*found.block);
    Rows rows;
    rows.format = "pdCIF";
    const auto column = block.find_loop(found.intensity.tag);
    for (const auto& value : column) {
        rows.intensity.push_back(number(value));
        rows.where.push_back(fmt::format("row {}", rows.intensity.size()));
    }
    take_positions(block, rows.intensity.size(), file, rows);
    take_sigma(block, column, rows);
    // Weights of others than counts may hold more than counting noise; of counts the noise is
    // known.
    if (found.intensity.counts)
        rows.sigma.clear();
    rows.wavelength = wavelength_in(document);
    if (blocks > 1)
        rows.notes.push_back(fmt::format("the file holds {} patterns; that of block {} is used",
                                         blocks, block.name));
    return rows;
}

} // namespace xrdct::patterns::detail
