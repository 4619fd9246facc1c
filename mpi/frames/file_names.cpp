// SPDX-License-Identifier: BSD-3-Clause
#include "mpi/frames/file_names.hpp"
#include "base/error.hpp"
#include "base/text.hpp"
#include "mpi/frames/frame_series.hpp"

#include <algorithm>
#include <cctype>
#include <numeric>

#include <fmt/format.h>
#include <fnmatch.h>

namespace xrdct::frames {

namespace {

/// Digits compare as numbers: 2 before 10.
bool natural_less(const std::string& a, const std::string& b) {
    const auto digit = [](char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; };
    std::size_t i = 0, j = 0;
    while (i < a.size() && j < b.size()) {
        if (digit(a[i]) && digit(b[j])) {
            std::size_t u = i, v = j;
            while (u < a.size() && digit(a[u]))
                ++u;
            while (v < b.size() && digit(b[v]))
                ++v;
            std::string x = a.substr(i, u - i), y = b.substr(j, v - j);
            x.erase(0, std::min(x.find_first_not_of('0'), x.size()));
            y.erase(0, std::min(y.find_first_not_of('0'), y.size()));
            if (x.size() != y.size())
                return x.size() < y.size();
            if (x != y)
                return x < y;
            i = u;
            j = v;
        } else {
            if (a[i] != b[j])
                return a[i] < b[j];
            ++i;
            ++j;
        }
    }
    if (a.size() - i != b.size() - j)
        return a.size() - i < b.size() - j;
    return a < b;
}

/// "scan_0012.cbf" → "scan_", "0012", ".cbf"; no number: empty in the middle.
struct NumberedName {
    std::string before, number, after;
    explicit NumberedName(const std::string& name) {
        const auto slash = name.rfind('/') == std::string::npos ? 0 : name.rfind('/') + 1;
        auto end = name.rfind('.');
        if (end == std::string::npos || end < slash)
            end = name.size();
        while (end > slash && !std::isdigit(static_cast<unsigned char>(name[end - 1])))
            --end;
        auto begin = end;
        while (begin > slash && std::isdigit(static_cast<unsigned char>(name[begin - 1])))
            --begin;
        if (end - begin > 12)
            begin = end;
        before = name.substr(0, begin);
        number = name.substr(begin, end - begin);
        after = name.substr(end);
    }
};

} // namespace

std::vector<std::pair<std::size_t, std::string>>
detail::missing_names(const std::vector<std::string>& names) {
    std::vector<long> numbers;
    const NumberedName first(names.front());
    for (const auto& name : names) {
        const NumberedName one(name);
        if (one.number.empty() || one.before != first.before || one.after != first.after)
            return {};
        numbers.push_back(std::stol(one.number));
    }
    long step = 0;
    for (std::size_t i = 1; i < numbers.size(); ++i) {
        if (numbers[i] <= numbers[i - 1])
            return {};
        step = std::gcd(step, numbers[i] - numbers[i - 1]);
    }
    std::vector<std::pair<std::size_t, std::string>> missing; // before which name, and what
    for (std::size_t i = 1; i < numbers.size() && step > 0; ++i)
        for (long n = numbers[i - 1] + step; n < numbers[i]; n += step)
            missing.emplace_back(
                i, fmt::format("{}{:0{}}{}", first.before, n, first.number.size(), first.after));
    return missing;
}

std::string detail::extension_of(const std::string& name) {
    return lower_case(std::filesystem::path(name).extension().string());
}

std::vector<std::string> expand_names(const std::vector<std::string>& inputs) {
    std::vector<std::string> names;
    for (const auto& input : inputs) {
        if (input.find_first_of("*?") == std::string::npos) {
            names.push_back(input);
            continue;
        }
        const std::filesystem::path path = input;
        const auto folder = path.has_parent_path() ? path.parent_path() : ".";
        if (folder.string().find_first_of("*?") != std::string::npos)
            throw Error(
                fmt::format("{}: * and ? stand in the name of the file, not of a folder", input));
        std::vector<std::string> found;
        std::error_code code;
        for (const auto& entry : std::filesystem::directory_iterator(folder, code))
            if (fnmatch(path.filename().c_str(), entry.path().filename().c_str(), 0) == 0)
                found.push_back(path.has_parent_path() ? entry.path().string()
                                                       : entry.path().filename().string());
        if (code)
            throw Error(fmt::format("{}: {}", folder.string(), code.message()));
        if (found.empty())
            throw Error(fmt::format("{}: no file fits the pattern", input));
        std::sort(found.begin(), found.end(), natural_less);
        names.insert(names.end(), found.begin(), found.end());
    }
    return names;
}

} // namespace xrdct::frames
