// SPDX-License-Identifier: BSD-3-Clause
#include "mpi/frames/hdf5_frames.hpp"

#include "base/error.hpp"
#include "mpi/frames/file_names.hpp"
#include "mpi/nexus/nexus.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <fnmatch.h>

namespace xrdct::frames::detail {

namespace {

/// Members of a group that fit, checked to be a gapless series that leads somewhere.
template <typename Fits>
std::vector<std::string> in_order(const hdf5::Group& group, const Fits& fits,
                                  const std::string& name) {
    std::vector<std::string> found;
    for (const auto& entry : group.entries())
        if (entry.kind == hdf5::Kind::dataset && fits(entry.name))
            found.push_back(entry.name);
    for (const auto& dead : group.dead_links())
        if (fits(dead))
            throw Error(fmt::format("{}: the link {}/{} leads nowhere: the file with these "
                                    "frames is missing or damaged",
                                    name, group.path() == "/" ? "" : group.path(), dead));
    if (found.empty())
        return {};
    const auto missing = missing_names(found);
    if (!missing.empty())
        throw Error(fmt::format("{}: {} has no {} between {} and {}", name, group.path(),
                                missing.front().second, found.front(), found.back()));
    for (auto& one : found)
        one = (group.path() == "/" ? "" : group.path()) + "/" + one;
    return found;
}

/// The only dataset of a file that can hold frames: a stack of an NXdetector, any stack, an image.
std::vector<std::string> only_stack(const hdf5::Group& root, const std::string& name) {
    std::vector<std::string> stacks, images, of_detector;
    root.visit([&](const std::string& path, hdf5::Kind kind) {
        if (kind != hdf5::Kind::dataset)
            return;
        const auto dataset = root.open_dataset(path);
        if (!dataset.is_numeric() || dataset.rank() < 2)
            return;
        const auto& shape = dataset.shape();
        // A table of numbers is no image.
        if (shape[shape.size() - 1] < 8 || shape[shape.size() - 2] < 8)
            return;
        (dataset.rank() == 2 ? images : stacks).push_back(dataset.path());
        const auto parent = hdf5::parent_of(dataset);
        if (dataset.rank() > 2 && parent.has_attribute("NX_class") &&
            parent.string_attribute("NX_class") == "NXdetector")
            of_detector.push_back(dataset.path());
    });
    for (const auto* candidates : {&of_detector, &stacks, &images})
        if (candidates->size() == 1)
            return *candidates;
    if (stacks.empty() && images.empty())
        throw Error(fmt::format("{}: holds no images", name));
    throw Error(fmt::format("{}: holds several stacks of images ({}); name one with --dataset",
                            name, fmt::join(stacks.empty() ? images : stacks, ", ")));
}

} // namespace

std::vector<std::string> find_frame_datasets(const hdf5::Group& root, const std::string& name,
                                             const std::string& wanted) {
    if (!wanted.empty()) {
        if (wanted.find_first_of("*?") == std::string::npos)
            return {wanted};
        const auto slash = wanted.rfind('/');
        const auto folder =
            slash == std::string::npos ? std::string("/") : wanted.substr(0, slash + 1);
        const auto pattern = wanted.substr(slash + 1);
        const auto group = root.open_group(folder);
        const auto fits = [&](const std::string& text) {
            return fnmatch(pattern.c_str(), text.c_str(), 0) == 0;
        };
        return in_order(group, fits, name);
    }
    // Eiger: data_000001, …, in a group of their own.
    const auto numbered = [](const std::string& text) {
        return text.size() > 5 && text.compare(0, 5, "data_") == 0 &&
               text.find_first_not_of("0123456789", 5) == std::string::npos;
    };
    for (const char* path : {"entry/data", "entry", "entry/instrument/detector"})
        if (root.has_group(path)) {
            const auto found = in_order(root.open_group(path), numbered, name);
            if (!found.empty())
                return found;
        }
    return only_stack(root, name);
}

void check_eiger_count(const hdf5::Group& root, const std::string& name, std::size_t count) {
    const char* path = "entry/instrument/detector/detectorSpecific";
    if (!root.has_group(path))
        return;
    const auto group = root.open_group(path);
    const auto images = nexus::read_value(group, "nimages");
    const double triggers = nexus::read_value(group, "ntrigger").value_or(1);
    if (images && *images * triggers != static_cast<double>(count))
        throw Error(fmt::format("{}: the detector was set to {} frames (nimages {}, ntrigger "
                                "{}), the file leads to {}; --dataset 'entry/data/data_*' "
                                "takes these",
                                name, *images * triggers, *images, triggers, count));
}

PixelType pixel_type_of(const hdf5::Dataset& dataset) {
    switch (dataset.element_type()) {
    case hdf5::ElementType::float32:
    case hdf5::ElementType::float64:
    case hdf5::ElementType::other:
        return PixelType::f32;
    case hdf5::ElementType::uint8:
        return PixelType::u8;
    case hdf5::ElementType::int16:
        return PixelType::i16;
    case hdf5::ElementType::uint16:
        return PixelType::u16;
    default:
        return PixelType::i32;
    }
}

} // namespace xrdct::frames::detail
