// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace xrdct::report {

/// Valid UTF-8 without control characters but tab and newline: offending bytes become U+FFFD, so
/// that text from files can be shown anywhere.
std::string clean_utf8(std::string_view text);

/// `text` inside HTML, in attributes too: & < > " ' are escaped and the text is cleaned.
std::string escape_html(std::string_view text);

/// A gnuplot string constant, single-quoted: nothing in it is substituted or executed. Line breaks
/// become blanks, an apostrophe its typographic form (gnuplot misreads a doubled quote at the
/// start).
std::string quote_gnuplot(std::string_view text);

/// One path component made of `text`: letters, digits, '.', '+' and '-' of it stay, runs of others
/// become one '_', never empty, hidden or an option.
std::string file_name_part(std::string_view text);

/// "⁻⁷" for -7.
std::string superscript(int number);

/// A number with the given significant digits, without needless zeros; very small and large ones as
/// "2.5 × 10⁻⁷"; "–" for NaN.
std::string format_number(double value, int digits = 4);

/// With a capital first letter.
std::string capital(std::string text);

/// "−" for the hyphen of a negative number; none for one that shows as zero.
std::string with_minus(const std::string& number);

/// Value with the standard deviation in units of its last digits: 2.8651(12); the deviation keeps
/// one digit, two when it begins with 1. An uncertainty that is not finite or not positive is left
/// out.
std::string format_with_uncertainty(double value, double uncertainty);

} // namespace xrdct::report
