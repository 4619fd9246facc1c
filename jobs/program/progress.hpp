// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <chrono>
#include <cstddef>
#include <string>

namespace xrdct::program {

/// Progress of one stage on stderr: a bar with the time left on a terminal, a plain line every ten
/// per cent elsewhere. Only the rank that is told to speak prints; the others stay silent.
class Progress {
  public:
    /// `total` counts the units of work; `speaks` is true on one rank only.
    Progress(std::string title, std::size_t total, bool speaks);
    ~Progress();
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;
    Progress(Progress&&) = delete;
    Progress& operator=(Progress&&) = delete;

    /// `done` units of the total are finished; cheap enough to call often.
    void update(std::size_t done);
    /// Ends the bar with the time used and an optional remark.
    void finish(const std::string& remark = {});
    double seconds() const;

  private:
    void draw(std::size_t done);

    std::string title_;
    std::size_t total_;
    bool speaks_;
    bool terminal_;
    bool open_ = true;
    int last_decile_ = 0;
    std::chrono::steady_clock::time_point start_, last_draw_;
};

/// "1 h 05 min", "3 min 20 s", "4.2 s".
std::string duration_text(double seconds);

} // namespace xrdct::program
