// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace xrdct::report {

/// A self-contained HTML page: style and pictures inline, no scripts, nothing loaded from
/// elsewhere. All text given is escaped unless the parameter's name says it is HTML.
class HtmlPage {
  public:
    HtmlPage(const std::string& title, const std::string& subtitle);

    /// A section with an anchor; appears in the contents at the top.
    void section(const std::string& title);
    void subsection(const std::string& title);
    void paragraph(const std::string& text);
    void note(const std::string& text);
    void list(const std::vector<std::string>& items);
    void preformatted(const std::string& text);
    /// Cells are HTML; the first column is a row heading. Tables with a caption are numbered.
    void table(const std::string& caption, const std::vector<std::string>& header_html,
               const std::vector<std::vector<std::string>>& rows_html);

    struct Figure {
        std::filesystem::path png; ///< read and put inline
        std::string caption;
    };
    /// One figure over the full width with its caption; figures are numbered.
    void figure(const Figure& figure);
    /// Figures two in a row (one below the other on narrow screens), each with its number and
    /// caption.
    void figures(const std::vector<Figure>& figures);
    /// Tables of a JSON text: objects become name and value, arrays of objects rows; `x` with
    /// `x_esd`, or `value` with `esd`, are shown as 2.8651(12). Text that is no JSON is shown as it
    /// is.
    void json(const std::string& text);

    std::string str() const;

  private:
    std::string title_, subtitle_, body_;
    std::vector<std::string> sections_;
    int figures_ = 0, tables_ = 0; ///< numbered so far
};

} // namespace xrdct::report
