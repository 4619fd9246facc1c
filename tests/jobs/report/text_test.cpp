// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/report/text.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

namespace xrdct::report {
namespace {

TEST(ReportText, HtmlIsEscapedInTextAndAttributes) {
    EXPECT_EQ(escape_html("a < b & c > d"), "a &lt; b &amp; c &gt; d");
    EXPECT_EQ(escape_html("\"x\" onload='y'"), "&quot;x&quot; onload=&#39;y&#39;");
    EXPECT_EQ(escape_html("&amp;"), "&amp;amp;");
    EXPECT_EQ(escape_html("NMC532 (P) – α, 2θ"), "NMC532 (P) – α, 2θ");
}

TEST(ReportText, BrokenUtf8AndControlCharactersAreReplaced) {
    const std::string mark = "\xEF\xBF\xBD";
    EXPECT_EQ(clean_utf8("a\xFF"
                         "b"),
              "a" + mark + "b");
    EXPECT_EQ(clean_utf8("\xC3"), mark);                                  // cut off
    EXPECT_EQ(clean_utf8("\xC0\xAF"), mark + mark);                       // overlong '/'
    EXPECT_EQ(clean_utf8("\xED\xA0\x80"), mark + mark + mark);            // a surrogate
    EXPECT_EQ(clean_utf8("\xF4\x90\x80\x80"), mark + mark + mark + mark); // beyond U+10FFFF
    EXPECT_EQ(clean_utf8(std::string("a\0b", 3)), "a" + mark + "b");
    EXPECT_EQ(clean_utf8("\x1B[31m"), mark + "[31m");
    EXPECT_EQ(clean_utf8("tab\tline\n"), "tab\tline\n");
    EXPECT_EQ(clean_utf8("Å 𝄞"), "Å 𝄞");
}

TEST(ReportText, GnuplotStringsCannotBeLeft) {
    EXPECT_EQ(quote_gnuplot("plain"), "'plain'");
    EXPECT_EQ(quote_gnuplot("it's"), "'it’s'");
    EXPECT_EQ(quote_gnuplot("'"), "'’'");
    EXPECT_EQ(quote_gnuplot("a\nset output"), "'a set output'");
    EXPECT_EQ(quote_gnuplot("`date` \"x\" \\n"), "'`date` \"x\" \\n'");
}

TEST(ReportText, FileNamesHoldOneHarmlessComponent) {
    EXPECT_EQ(file_name_part("NMC532 (P)"), "NMC532_P");
    EXPECT_EQ(file_name_part("a/b\\c"), "a_b_c");
    EXPECT_EQ(file_name_part("../../etc/passwd"), "etc_passwd");
    EXPECT_EQ(file_name_part(".hidden"), "hidden");
    EXPECT_EQ(file_name_part("-rf x"), "rf_x");
    EXPECT_EQ(file_name_part(""), "unnamed");
    EXPECT_EQ(file_name_part("///"), "unnamed");
    EXPECT_EQ(file_name_part("α-Fe"), "α-Fe");
    EXPECT_EQ(file_name_part("weight_fraction"), "weight_fraction");
    EXPECT_EQ(file_name_part("x\xFF*?y"), "x_y");
    const std::string cut = file_name_part(std::string(79, 'a') + "αα");
    EXPECT_EQ(cut, std::string(79, 'a')) << "not within a letter";
}

TEST(ReportText, NumbersKeepTheirDigits) {
    EXPECT_EQ(format_number(2.82214), "2.822");
    EXPECT_EQ(format_number(2.5), "2.5");
    EXPECT_EQ(format_number(0.0), "0");
    EXPECT_EQ(format_number(-0.00001, 1), "-1 × 10⁻⁵");
    EXPECT_EQ(format_number(2.53e-7, 3), "2.53 × 10⁻⁷");
    EXPECT_EQ(format_number(1.5e12), "1.5 × 10¹²");
    EXPECT_EQ(format_number(12345.6, 3), "12346");
    EXPECT_EQ(format_number(0.00123456, 3), "0.00123");
    EXPECT_EQ(format_number(100.0, 3), "100");
    EXPECT_EQ(format_number(std::numeric_limits<double>::quiet_NaN()), "–");
    EXPECT_EQ(format_number(std::numeric_limits<double>::infinity()), "∞");
}

TEST(ReportText, UncertaintiesAreInUnitsOfTheLastDigits) {
    EXPECT_EQ(format_with_uncertainty(2.86514, 0.0012), "2.8651(12)");
    EXPECT_EQ(format_with_uncertainty(2.86514, 0.0042), "2.865(4)");
    EXPECT_EQ(format_with_uncertainty(14.3161, 0.0199), "14.32(2)");
    EXPECT_EQ(format_with_uncertainty(14.3161, 0.0194), "14.316(19)");
    EXPECT_EQ(format_with_uncertainty(14.3161, 0.096), "14.32(10)");
    EXPECT_EQ(format_with_uncertainty(-0.0012, 0.0003), "-0.0012(3)");
    EXPECT_EQ(format_with_uncertainty(1234.0, 30.0), "1234(30)");
    EXPECT_EQ(format_with_uncertainty(2.5e-7, 4e-9), "2.50(4) × 10⁻⁷");
    EXPECT_EQ(format_with_uncertainty(1e-6, 0.02), "0.00(2)");
    EXPECT_EQ(format_with_uncertainty(3.5, 0.0), "3.5");
    EXPECT_EQ(format_with_uncertainty(3.5, std::nan("")), "3.5");
    EXPECT_EQ(format_with_uncertainty(std::nan(""), 0.1), "–");
}

} // namespace
} // namespace xrdct::report
