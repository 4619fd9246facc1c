// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/program/progress.hpp"

#include "jobs/program/run_record.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include <unistd.h>

#include <fmt/format.h>

namespace xrdct::program {

std::string duration_text(double seconds) {
    if (seconds < 9.95)
        return fmt::format("{:.1f} s", seconds);
    const auto whole = static_cast<long>(std::llround(seconds));
    if (whole < 60)
        return fmt::format("{} s", whole);
    if (whole < 3600)
        return fmt::format("{} min {:02} s", whole / 60, whole % 60);
    return fmt::format("{} h {:02} min", whole / 3600, whole % 3600 / 60);
}

Progress::Progress(std::string title, std::size_t total, bool speaks)
    : title_(std::move(title)), total_(std::max<std::size_t>(total, 1)), speaks_(speaks),
      terminal_(isatty(STDERR_FILENO) != 0), start_(std::chrono::steady_clock::now()),
      last_draw_(start_) {
    if (speaks_ && terminal_)
        draw(0);
    if (auto* record = RunRecord::current(); record && speaks_)
        record->part(title_, 0, total_, 0);
}

Progress::~Progress() {
    if (open_ && speaks_ && terminal_)
        fmt::print(stderr, "\n");
}

double Progress::seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

void Progress::draw(std::size_t done) {
    const double fraction = std::min(1.0, static_cast<double>(done) / static_cast<double>(total_));
    const double elapsed = seconds();
    const std::string left =
        fraction > 0.01 ? duration_text(elapsed * (1 - fraction) / fraction) + " left" : "";
    if (terminal_) {
        constexpr int width = 30;
        const int filled = static_cast<int>(fraction * width);
        fmt::print(stderr, "\r{:<24} [{}{}] {:3.0f} %  {:<20}", title_, std::string(filled, '='),
                   std::string(width - filled, ' '), 100 * fraction, left);
        std::fflush(stderr);
    } else {
        fmt::print(stderr, "{}: {:.0f} %, {}{}\n", title_, 100 * fraction, duration_text(elapsed),
                   left.empty() ? "" : ", " + left);
    }
}

void Progress::update(std::size_t done) {
    if (!speaks_ || !open_)
        return;
    if (auto* record = RunRecord::current())
        record->part(title_, done, total_, seconds());
    const auto now = std::chrono::steady_clock::now();
    if (terminal_) {
        if (now - last_draw_ > std::chrono::milliseconds(200)) {
            last_draw_ = now;
            draw(done);
        }
        return;
    }
    const int decile = static_cast<int>(10 * done / total_);
    if (decile > last_decile_ && decile < 10 && now - last_draw_ > std::chrono::seconds(2)) {
        last_decile_ = decile;
        last_draw_ = now;
        draw(done);
    }
}

void Progress::finish(const std::string& remark) {
    if (!open_)
        return;
    open_ = false;
    if (!speaks_)
        return;
    if (auto* record = RunRecord::current())
        record->part(title_, total_, total_, seconds());
    const std::string text = fmt::format("{}: done in {}{}", title_, duration_text(seconds()),
                                         remark.empty() ? "" : "; " + remark);
    if (terminal_)
        fmt::print(stderr, "\r{:<80}\n", text);
    else
        fmt::print(stderr, "{}\n", text);
}

} // namespace xrdct::program
