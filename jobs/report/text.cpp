// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/report/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>

namespace xrdct::report {

namespace {

/// Length of the well-formed UTF-8 sequence at the start of `text` (Unicode 15, table 3-7), 0 if
/// there is none.
std::size_t sequence_length(std::string_view text) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char lead = byte(0);
    if (lead < 0x80)
        return 1;
    std::size_t length = 0;
    unsigned char low = 0x80, high = 0xBF;
    if (lead >= 0xC2 && lead <= 0xDF) {
        length = 2;
    } else if (lead >= 0xE0 && lead <= 0xEF) {
        length = 3;
        low = lead == 0xE0 ? 0xA0 : 0x80;
        high = lead == 0xED ? 0x9F : 0xBF;
    } else if (lead >= 0xF0 && lead <= 0xF4) {
        length = 4;
        low = lead == 0xF0 ? 0x90 : 0x80;
        high = lead == 0xF4 ? 0x8F : 0xBF;
    }
    if (length == 0 || text.size() < length || byte(1) < low || byte(1) > high)
        return 0;
    for (std::size_t i = 2; i < length; ++i)
        if (byte(i) < 0x80 || byte(i) > 0xBF)
            return 0;
    return length;
}

} // namespace

std::string clean_utf8(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    while (!text.empty()) {
        const std::size_t length = sequence_length(text);
        const auto lead = static_cast<unsigned char>(text[0]);
        const bool control = lead < 0x20 || lead == 0x7F;
        // C1 controls are U+0080 … U+009F, 0xC2 0x80 … 0xC2 0x9F.
        const bool c1 = length == 2 && lead == 0xC2 && static_cast<unsigned char>(text[1]) < 0xA0;
        if (length == 0 || c1 || (control && lead != '\t' && lead != '\n'))
            out += "\xEF\xBF\xBD";
        else
            out += text.substr(0, length);
        text.remove_prefix(std::max<std::size_t>(length, 1));
    }
    return out;
}

std::string escape_html(std::string_view text) {
    std::string out;
    for (const char c : clean_utf8(text)) {
        switch (c) {
        case '&':
            out += "&amp;";
            break;
        case '<':
            out += "&lt;";
            break;
        case '>':
            out += "&gt;";
            break;
        case '"':
            out += "&quot;";
            break;
        case '\'':
            out += "&#39;";
            break;
        default:
            out += c;
        }
    }
    return out;
}

std::string quote_gnuplot(std::string_view text) {
    std::string out = "'";
    for (const char c : clean_utf8(text)) {
        if (c == '\'')
            out += "’";
        else
            out += c == '\n' || c == '\t' ? ' ' : c;
    }
    return out + "'";
}

std::string file_name_part(std::string_view text) {
    std::string out;
    bool gap = false;
    while (!text.empty()) {
        const std::size_t length = std::max<std::size_t>(sequence_length(text), 1);
        const auto lead = static_cast<unsigned char>(text[0]);
        const bool letter = (lead >= '0' && lead <= '9') || (lead >= 'A' && lead <= 'Z') ||
                            (lead >= 'a' && lead <= 'z') || length > 1;
        if (letter || ((lead == '.' || lead == '-' || lead == '+') && !out.empty())) {
            if (gap && !out.empty())
                out += '_';
            gap = false;
            out += text.substr(0, length);
        } else {
            gap = true;
        }
        text.remove_prefix(length);
    }
    constexpr std::size_t longest =
        80; // three parts and a suffix stay below the 255 bytes of a name
    if (out.size() > longest) {
        std::size_t end = longest;
        while (end > 0 && (static_cast<unsigned char>(out[end]) & 0xC0) == 0x80)
            --end;
        out.resize(end);
    }
    return out.empty() ? "unnamed" : out;
}

std::string superscript(int number) {
    static const char* const digits[] = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
    std::string out = number < 0 ? "⁻" : "";
    for (const char c : std::to_string(std::abs(number)))
        out += digits[c - '0'];
    return out;
}

namespace {

/// The power of ten to be taken out of a number that is awkward to read, 0 if it is not.
int awkward_exponent(double value) {
    const double magnitude = std::abs(value);
    if (magnitude == 0.0 || (magnitude >= 1e-4 && magnitude < 1e7))
        return 0;
    return static_cast<int>(std::floor(std::log10(magnitude)));
}

std::string times_power(const std::string& mantissa, int exponent) {
    return mantissa + " × 10" + superscript(exponent);
}

} // namespace

std::string format_number(double value, int digits) {
    if (std::isnan(value))
        return "–";
    if (std::isinf(value))
        return value > 0 ? "∞" : "−∞";
    const double magnitude = std::abs(value);
    if (const int exponent = awkward_exponent(value); exponent != 0)
        return times_power(format_number(value / std::pow(10.0, exponent), digits), exponent);
    // Integer digits are never rounded away: 12345 with 3 digits stays 12345.
    const int before =
        magnitude < 1.0 ? 0 : static_cast<int>(std::floor(std::log10(magnitude))) + 1;
    const int leading_zeros = magnitude > 0.0 && magnitude < 0.1
                                  ? -static_cast<int>(std::floor(std::log10(magnitude))) - 1
                                  : 0;
    std::string text = fmt::format(
        "{:.{}f}", value, std::max(0, before > 0 ? digits - before : digits + leading_zeros));
    if (text.find('.') != std::string::npos) {
        text.erase(text.find_last_not_of('0') + 1);
        if (text.ends_with('.'))
            text.pop_back();
    }
    return text == "-0" ? "0" : text;
}

std::string capital(std::string text) {
    if (!text.empty())
        text[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(text[0])));
    return text;
}

std::string with_minus(const std::string& number) {
    if (number.starts_with('-') && number.find_first_of("123456789") == std::string::npos)
        return number.substr(1);
    return number.starts_with('-') ? "−" + number.substr(1) : number;
}

std::string format_with_uncertainty(double value, double uncertainty) {
    if (!std::isfinite(value) || !std::isfinite(uncertainty) || uncertainty <= 0.0)
        return format_number(value, 6);
    if (const int power = awkward_exponent(std::max(std::abs(value), uncertainty)); power != 0) {
        const double unit = std::pow(10.0, power);
        return times_power(format_with_uncertainty(value / unit, uncertainty / unit), power);
    }
    int exponent = static_cast<int>(std::floor(std::log10(uncertainty)));
    double leading = uncertainty / std::pow(10.0, exponent);
    // 1.95 and more rounds to 2, which keeps one digit; 9.5 and more rounds to 10 of the next place
    // up.
    int digits = leading < 1.95 ? 2 : 1;
    if (leading >= 9.5) {
        ++exponent;
        leading = 1.0;
        digits = 2;
        uncertainty = std::pow(10.0, exponent);
    }
    const int decimals = digits - 1 - exponent;
    if (decimals <= 0)
        return fmt::format("{:.0f}({:.0f})", value, uncertainty);
    return fmt::format("{:.{}f}({:.0f})", value, decimals, uncertainty * std::pow(10.0, decimals));
}

} // namespace xrdct::report
