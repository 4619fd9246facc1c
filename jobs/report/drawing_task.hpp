// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <filesystem>
#include <functional>
#include <span>
#include <string>

namespace xrdct::report {

/// A picture that is to be drawn: its name below the pictures folder, without suffix, and the
/// function that draws it.
struct DrawingTask {
    std::string stem;
    std::function<void(const std::filesystem::path& stem)> draw;
};

/// Draws all pictures into `folder`, `processes` at a time; 0: one per hardware thread. Rethrows
/// the first exception of a task, after which no further one is begun.
void draw_all(std::span<const DrawingTask> tasks, const std::filesystem::path& folder,
              int processes = 0);

} // namespace xrdct::report
