// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "base/numbers.hpp"
#include "mpi/files/text_file.hpp"
#include "mpi/patterns/rows.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <fstream>
#include <limits>
#include <sstream>

#include <fmt/format.h>

namespace xrdct::patterns::detail {

namespace {

/// Formats of powder patterns that are known by how they begin, and not read.
struct ForeignFormat {
    const char* begin;
    const char* name;
};

constexpr ForeignFormat foreign_formats[] = {
    {"PK\x03\x04", "a zip archive (Rigaku .rasx, Bruker .brml)"},
    {"\x1f\x8b", "compressed by gzip"},
    {"RAW1.01", "a binary file of Bruker (.raw)"},
    {"RAW2", "a binary file of Bruker (.raw)"},
    {"RAW4.00", "a binary file of Bruker (.raw)"},
    {"FI", "a binary file of Rigaku (.raw)"},
    {"V3RD", "a binary file of Philips (.rd)"},
    {"V5RD", "a binary file of Philips (.rd)"},
    {"SampleIdent", "a file of Philips (.udf)"},
    {"HR-XRDScan", "a file of Philips (.x00)"},
    {"SIETRONICS XRD SCAN", "a file of Sietronics (.cpi)"},
    {"%PDF", "a PDF document"},
    {"{\\rtf", "a text document (.rtf)"},
};

void refuse_foreign(const std::string& text, const std::string& file) {
    const bool binary = text.find('\0') != std::string::npos;
    const auto refuse = [&](const char* name) {
        throw Error(fmt::format("{}: is {}, which is not read; export the pattern as columns of "
                                "position and intensity (.xy)",
                                file, name));
    };
    for (const auto& [begin, name] : foreign_formats)
        if (text.starts_with(begin) && (binary || std::string_view(begin) != "FI"))
            refuse(name);
}

/// UTF-16 as UTF-8, anything beyond ASCII as '?': numbers and units are what counts.
std::string from_utf16(const std::string& bytes) {
    const bool little = bytes[0] == '\xff';
    std::string text;
    for (std::size_t i = 2; i + 1 < bytes.size(); i += 2) {
        const auto low = static_cast<unsigned char>(bytes[little ? i : i + 1]);
        const auto high = static_cast<unsigned char>(bytes[little ? i + 1 : i]);
        text += high == 0 && low < 0x80 ? static_cast<char>(low) : '?';
    }
    return text;
}

} // namespace

std::string read_text(const std::filesystem::path& path) {
    std::string text;
    {
        std::ifstream stream(path, std::ios::binary);
        if (!stream)
            throw Error(fmt::format("{}: cannot be read", path.string()));
        std::ostringstream content;
        content << stream.rdbuf();
        text = std::move(content).str();
    }
    if (text.empty())
        throw Error(fmt::format("{}: is empty", path.string()));
    if (text.starts_with("\xff\xfe") || text.starts_with("\xfe\xff"))
        text = from_utf16(text);
    if (text.starts_with("\xef\xbb\xbf"))
        text.erase(0, 3);
    return text;
}

bool is_xml(const std::string& text) {
    const auto first = text.find_first_not_of(" \t\r\n");
    return first != std::string::npos && (text.compare(first, 5, "<?xml") == 0 ||
                                          text.compare(first, 16, "<xrdMeasurements") == 0);
}

std::vector<std::string> text_lines(const std::string& text, const std::string& file) {
    refuse_foreign(text, file);
    std::vector<std::string> lines;
    for (std::size_t at = 0; at < text.size();) {
        const auto end = std::min(text.find_first_of("\r\n", at), text.size());
        lines.push_back(text.substr(at, end - at));
        at = end + (text.compare(end, 2, "\r\n") == 0 ? 2 : 1);
        if (lines.back().find('\0') != std::string::npos)
            throw Error(fmt::format("{}: line {}: is no text; expected columns of numbers or an "
                                    "HDF5 file",
                                    file, lines.size()));
    }
    return lines;
}

bool number_from(std::string_view word, double& value) {
    std::string text(word);
    if (!text.empty() && text.front() == '+')
        text.erase(0, 1);
    // Fortran writes 1.5D+03.
    if (text.size() > 1 && (std::isdigit(static_cast<unsigned char>(text.front())) != 0 ||
                            text.front() == '-' || text.front() == '.'))
        std::replace_if(
            text.begin() + 1, text.end(), [](char c) { return c == 'D' || c == 'd'; }, 'e');
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (code == std::errc{} && end == text.data() + text.size())
        return true;
    // Microsoft's C, perhaps cut off to the width that was asked for: 1.#QNAN, -1.#IND00, 1.#J.
    const auto mark = text.find(".#");
    if (mark == std::string::npos || mark == 0 || text.find_first_not_of("-0123456789") < mark)
        return false;
    const bool infinite = lower_case(text.substr(mark + 2)).starts_with("inf");
    value = !infinite             ? nan_value
            : text.front() == '-' ? -std::numeric_limits<double>::infinity()
                                  : std::numeric_limits<double>::infinity();
    return true;
}

} // namespace xrdct::patterns::detail
