#include "base/error.hpp"
#include "mpi/frames/frame_series.hpp"

#include <algorithm>
#include <cctype>

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

} // namespace

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
