// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace xrdct {

/// `text` without the `blanks` at its ends.
inline std::string trimmed(std::string_view text, const char* blanks = " \t\r\n") {
    const auto begin = text.find_first_not_of(blanks);
    if (begin == std::string_view::npos)
        return {};
    return std::string(text.substr(begin, text.find_last_not_of(blanks) - begin + 1));
}

/// `text` with the letters A to Z in lower case, whatever the locale; other bytes stay.
inline std::string lower_case(std::string_view text) {
    std::string result(text);
    for (char& c : result)
        if (c >= 'A' && c <= 'Z')
            c = static_cast<char>(c - 'A' + 'a');
    return result;
}

/// The words between commas, empty ones too.
inline std::vector<std::string> words(const std::string& text) {
    std::vector<std::string> list;
    for (std::size_t begin = 0; begin <= text.size();) {
        const std::size_t end = std::min(text.find(',', begin), text.size());
        list.push_back(text.substr(begin, end - begin));
        begin = end + 1;
    }
    return list;
}

/// The finite number that the whole text is, blanks at its ends and a leading + aside, whatever the
/// locale; nothing if it is none.
inline std::optional<double> finite_number(std::string_view text) {
    std::string word = trimmed(text);
    if (word.size() > 1 && word[0] == '+' && word[1] != '-')
        word.erase(0, 1);
    double value = 0;
    const auto [end, code] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (code != std::errc{} || end != word.data() + word.size() || !std::isfinite(value))
        return std::nullopt;
    return value;
}

} // namespace xrdct
