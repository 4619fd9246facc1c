// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "mpi/patterns/rows.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <sstream>

#include <fmt/format.h>

namespace xrdct::patterns::detail {

namespace {

/// What a key says of the numbers below it.
struct DataKey {
    bool pairs = false; ///< 2theta and intensity in each row
    bool rates = false; ///< counts per second
};

std::optional<DataKey> data_key(const std::string& key) {
    static const std::map<std::string, DataKey> known{
        {"_COUNTS", {}},
        {"_CPS", {false, true}},
        {"_2THETACOUNTS", {true, false}},
        {"_2THETACPS", {true, true}},
    };
    const auto found = known.find(key);
    return found == known.end() ? std::nullopt : std::optional(found->second);
}

class Reader {
  public:
    Reader(const std::vector<std::string>& lines, const std::string& file)
        : lines_(lines), file_(file) {}

    std::optional<Rows> read() {
        for (std::size_t i = 0; i < lines_.size(); ++i) {
            std::string line = lines_[i];
            line.erase(0, line.find_first_not_of(" \t"));
            line.erase(line.find_last_not_of(" \t\x1a") + 1);
            if (line.empty() || line[0] == ';')
                continue;
            if (line[0] == '_')
                take_key(line);
            else if (!data_)
                return std::nullopt; // no file of this kind
            else if (ranges_ == 1)
                take_numbers(line, i + 1);
        }
        if (ranges_ == 0)
            return std::nullopt;
        finish();
        return std::move(rows_);
    }

  private:
    void take_key(const std::string& line) {
        const auto equals = line.find('=');
        const auto key = line.substr(0, equals);
        if (equals != std::string::npos) {
            if (ranges_ == 0) // of the range that is read
                keys_[key] = line.substr(equals + 1);
            return;
        }
        if (const auto data = data_key(key)) {
            if (++ranges_ == 1)
                data_ = data;
        }
    }

    /// A number of the range; nothing where it is not stated.
    std::optional<double> number(const std::string& key) const {
        const auto found = keys_.find(key);
        if (found == keys_.end())
            return std::nullopt;
        std::istringstream stream(found->second);
        std::string word;
        double value = 0;
        return stream >> word && number_from(word, value) ? std::optional(value) : std::nullopt;
    }

    void take_numbers(const std::string& line, std::size_t where) {
        std::string text = line;
        std::replace(text.begin(), text.end(), ',', ' ');
        std::istringstream stream(text);
        for (std::string word; stream >> word;) {
            double value = 0;
            if (!number_from(word, value))
                throw Error(fmt::format("{}: line {}: '{}' is not a number", file_, where, word));
            if (data_->pairs && rows_.position.size() == rows_.intensity.size()) {
                rows_.position.push_back(value);
                continue;
            }
            rows_.intensity.push_back(value);
            rows_.where.push_back(fmt::format("line {}", where));
        }
        if (data_->pairs && rows_.position.size() != rows_.intensity.size())
            throw Error(
                fmt::format("{}: line {}: expected pairs of 2theta and intensity", file_, where));
    }

    void finish() {
        if (!data_->pairs) {
            const auto start = number(keys_.contains("_START") ? "_START" : "_2THETA");
            const auto step = number("_STEPSIZE");
            if (!start || !step)
                throw Error(
                    fmt::format("{}: a file of Bruker (.uxd) without _START and _STEPSIZE", file_));
            for (std::size_t i = 0; i < rows_.intensity.size(); ++i)
                rows_.position.push_back(*start + *step * static_cast<double>(i));
        }
        const auto time = number("_STEPTIME");
        if (data_->rates && time && *time > 0)
            for (const double rate : rows_.intensity)
                rows_.sigma.push_back(std::sqrt(std::max(rate, 1 / *time) / *time));
        rows_.wavelength = number("_WL1").value_or(0);
        rows_.unit = PatternUnit::two_theta;
        rows_.format = "uxd";
        if (ranges_ > 1)
            rows_.notes.push_back(
                fmt::format("the file holds {} ranges; the first is used", ranges_));
    }

    const std::vector<std::string>& lines_;
    std::string file_;
    std::map<std::string, std::string> keys_;
    std::optional<DataKey> data_;
    std::size_t ranges_ = 0;
    Rows rows_;
};

} // namespace

std::optional<Rows> read_uxd_rows(const std::vector<std::string>& lines, const std::string& file) {
    return Reader(lines, file).read();
}

} // namespace xrdct::patterns::detail
