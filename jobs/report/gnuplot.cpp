// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/report/gnuplot.hpp"

#include "base/error.hpp"
#include "jobs/program/child_process.hpp"
#include "jobs/report/text.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <utility>

namespace xrdct::report {

namespace fs = std::filesystem;

TemporaryFolder::TemporaryFolder(const fs::path& parent, const std::string& purpose) {
    std::string name = (parent / ("." + purpose + "-XXXXXX")).string();
    if (mkdtemp(name.data()) == nullptr)
        throw Error(fmt::format("{}: cannot make a temporary folder there: {}", parent.string(),
                                std::strerror(errno)));
    path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
    if (path_.empty())
        return;
    std::error_code ignored;
    fs::remove_all(path_, ignored);
}

TemporaryFolder::TemporaryFolder(TemporaryFolder&& other) noexcept
    : path_(std::exchange(other.path_, {})) {}

namespace {

std::string read_text(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

void write_bytes(const fs::path& path, const char* data, std::size_t size) {
    std::ofstream out(path, std::ios::binary);
    out.write(data, static_cast<std::streamsize>(size));
    out.close();
    if (!out)
        throw Error(fmt::format("{}: cannot be written (is the disk full?)", path.string()));
}

/// What gnuplot complained about, in one line.
std::string complaint(const std::string& messages) {
    std::string text = clean_utf8(messages);
    const std::size_t first = text.find_first_not_of(" \n\t");
    if (first == std::string::npos)
        return {};
    text = text.substr(first, 600);
    for (char& c : text)
        if (c == '\n' || c == '\t')
            c = ' ';
    return ": " + text;
}

/// Browsers smooth enlarged images; voxels are to stay voxels.
void keep_pixels_sharp(const fs::path& svg) {
    std::string text = read_text(svg);
    const std::string tag = "<image ", style = "<image style='image-rendering:pixelated' ";
    std::string out;
    std::size_t from = 0;
    for (std::size_t at; (at = text.find(tag, from)) != std::string::npos; from = at + tag.size())
        out.append(text, from, at - from).append(style);
    out.append(text, from);
    write_bytes(svg, out.data(), out.size());
}

/// A kind of file that gnuplot writes, and how it is told to.
struct Format {
    std::string suffix, terminal;
};

std::vector<Format> formats_of(const PictureOptions& options) {
    std::vector<Format> formats;
    // pngcairo takes font sizes in points at 96 dots per inch, svg in pixels: the factor 3/4 makes
    // them alike.
    if (options.png)
        formats.push_back(
            {".png", "pngcairo enhanced rounded fontscale 0.75 background '#ffffff'"});
    if (options.svg)
        formats.push_back({".svg", "svg enhanced rounded background '#ffffff'"});
    return formats;
}

std::vector<fs::path> targets_of(const fs::path& stem, const std::vector<Format>& formats,
                                 bool force) {
    std::vector<fs::path> targets;
    for (const Format& format : formats) {
        fs::path target = stem;
        target += format.suffix;
        if (!force && fs::exists(fs::symlink_status(target)))
            throw Error(fmt::format("{}: exists already; force overwrites it", target.string()));
        targets.push_back(std::move(target));
    }
    return targets;
}

/// Runs the script in its folder; returns what gnuplot wrote about it.
std::string run_gnuplot(const std::string& gnuplot, const fs::path& folder,
                        const std::string& picture) {
    // -d keeps the user's gnuplotrc out; the script and its data are found by bare names.
    const program::ChildOutcome outcome = program::run_child(
        {gnuplot, "-d", "script.gp"}, {.folder = fs::absolute(folder), .timeout = 0});
    if (outcome.start_error != 0)
        throw Error(
            fmt::format("picture {}: the plotting program '{}' cannot be started: {}; install "
                        "gnuplot (Debian package gnuplot-nox)",
                        picture, gnuplot, std::strerror(outcome.start_error)));
    if (outcome.code != 0)
        throw Error(fmt::format("picture {}: '{}' failed with status {}{}", picture, gnuplot,
                                outcome.code, complaint(outcome.errors)));
    return outcome.errors;
}

} // namespace

Gnuplot::Gnuplot(std::string name, int width, int height)
    : name_(std::move(name)), width_(width), height_(height) {}

void Gnuplot::add(const std::string& line) {
    script_ += line + "\n";
}

std::string Gnuplot::data(std::vector<double> values) {
    data_.push_back(std::move(values));
    return fmt::format("'data{}'", data_.size() - 1);
}

void Gnuplot::palette(Palette palette) {
    const auto anchors = palette_anchors(palette);
    std::string line = "set palette maxcolors 0 defined (";
    for (std::size_t i = 0; i < anchors.size(); ++i)
        line += fmt::format("{}{} '{}'", i == 0 ? "" : ", ", i, hex_colour(anchors[i]));
    add(line + ")");
}

std::vector<fs::path> Gnuplot::write(const fs::path& stem, const PictureOptions& options) const {
    const fs::path parent = stem.parent_path().empty() ? fs::path(".") : stem.parent_path();
    const std::vector<Format> formats = formats_of(options);
    const std::vector<fs::path> targets = targets_of(stem, formats, options.force);

    const TemporaryFolder folder(parent, "picture");
    for (std::size_t i = 0; i < data_.size(); ++i)
        write_bytes(folder.path() / fmt::format("data{}", i),
                    reinterpret_cast<const char*>(data_[i].data()),
                    data_[i].size() * sizeof(double));
    std::string script;
    for (const Format& format : formats)
        script += fmt::format(
            "reset\nset encoding utf8\nset terminal {} size {},{} "
            "font 'DejaVu Sans,18'\nset minussign\nset output 'picture{}'\n{}unset output\n",
            format.terminal, width_, height_, format.suffix, script_);
    write_bytes(folder.path() / "script.gp", script.data(), script.size());

    const std::string messages = run_gnuplot(options.gnuplot, folder.path(), name_);
    for (const Format& format : formats) {
        const fs::path made = folder.path() / ("picture" + format.suffix);
        std::error_code error;
        if (!fs::exists(made, error) || fs::file_size(made, error) == 0)
            throw Error(fmt::format("picture {}: '{}' left no {} picture{}", name_, options.gnuplot,
                                    format.suffix.substr(1), complaint(messages)));
        if (format.suffix == ".svg")
            keep_pixels_sharp(made);
    }
    for (std::size_t i = 0; i < formats.size(); ++i) {
        std::error_code error;
        fs::rename(folder.path() / ("picture" + formats[i].suffix), targets[i], error);
        if (error)
            throw Error(fmt::format("{}: cannot be put in place: {}", targets[i].string(),
                                    error.message()));
    }
    return targets;
}

} // namespace xrdct::report
