// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/report/picture.hpp"

#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace xrdct::report {

/// A folder that is removed with all it holds.
class TemporaryFolder {
  public:
    /// Makes `.<purpose>-XXXXXX` inside `parent`. @throws Error naming the parent.
    TemporaryFolder(const std::filesystem::path& parent, const std::string& purpose);
    ~TemporaryFolder();
    TemporaryFolder(TemporaryFolder&& other) noexcept;
    TemporaryFolder& operator=(TemporaryFolder&&) = delete;
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;

    const std::filesystem::path& path() const { return path_; }

  private:
    std::filesystem::path path_;
};

/// A picture being composed: gnuplot commands and their data in a temporary folder, run once per
/// format.
class Gnuplot {
  public:
    /// `name` stands for the picture in messages; width and height in pixels (PNG) or points (SVG).
    Gnuplot(std::string name, int width, int height);

    /// Adds a line of script.
    void add(const std::string& line);
    /// Adds a block of float64 numbers; returns the name of its file, to be used in the script.
    std::string data(std::vector<double> values);
    /// The palette command for continuous maps.
    void palette(Palette palette);

    /// Runs gnuplot and puts `<stem>.png` and/or `<stem>.svg` in place. @throws Error naming the
    /// picture.
    std::vector<std::filesystem::path> write(const std::filesystem::path& stem,
                                             const PictureOptions& options) const;

  private:
    std::string name_;
    int width_, height_;
    std::string script_;
    std::vector<std::vector<double>> data_;
};

} // namespace xrdct::report
