// SPDX-License-Identifier: BSD-3-Clause
#include "mpi/frames/detector_facts.hpp"

#include "base/error.hpp"
#include "mpi/nexus/nexus.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace xrdct::frames::detail {

namespace {

constexpr const char* mask_names[] = {"pixel_mask", "detectorSpecific/pixel_mask"};
constexpr const char* limit_names[] = {"saturation_value", "bit_depth_image", "bit_depth_readout"};

/// The first of these datasets of a group that is there.
template <std::size_t n>
std::optional<hdf5::Dataset> first_of(const hdf5::Group& group, const char* const (&names)[n]) {
    for (const char* name : names)
        if (group.has_dataset(name))
            return group.open_dataset(name);
    return std::nullopt;
}

bool says_anything(const hdf5::Group& group) {
    return first_of(group, mask_names) || first_of(group, limit_names);
}

bool holds(const hdf5::Group& group, const hdf5::Dataset& images) {
    const auto entries = group.entries();
    return std::any_of(entries.begin(), entries.end(), [&](const hdf5::Entry& entry) {
        return entry.kind == hdf5::Kind::dataset &&
               is_same_object(group.open_dataset(entry.name), images);
    });
}

/// Paths of the detectors that may have taken the images; several: it cannot be told.
std::vector<std::string> detectors_of(const hdf5::Group& root, const hdf5::Dataset& images) {
    const auto beside = parent_of(images);
    if (says_anything(beside))
        return {beside.path()};
    std::vector<std::string> candidates;
    const auto consider = [&](const std::string& path) {
        const auto group = root.open_group(path);
        if (says_anything(group) &&
            std::find(candidates.begin(), candidates.end(), group.path()) == candidates.end())
            candidates.push_back(group.path());
    };
    // Some of DECTRIS' files have no classes.
    for (const auto* usual : {"entry/instrument/detector", "entry/instrument/detector_1"})
        if (root.has_group(usual))
            consider(usual);
    for (const auto& path : nexus::groups_of_class(root, "NXdetector", 6))
        consider(path);
    for (const auto& path : candidates)
        if (holds(root.open_group(path), images))
            return {path};
    // Files of several scans: the one in the same entry.
    const auto entry = images.path().substr(0, images.path().find('/', 1) + 1);
    std::vector<std::string> near;
    std::copy_if(candidates.begin(), candidates.end(), std::back_inserter(near),
                 [&](const std::string& path) { return path.starts_with(entry); });
    return near.empty() ? candidates : near;
}

void take_mask(const hdf5::Group& detector, const hdf5::Shape& image, DetectorFacts& facts) {
    const auto dataset = first_of(detector, mask_names);
    if (!dataset)
        return;
    hdf5::Shape shape = dataset->shape();
    while (shape.size() > 2 && shape.front() == 1)
        shape.erase(shape.begin());
    if (shape != image || !dataset->is_numeric()) {
        facts.notes.push_back(fmt::format("{} is not used: its shape is [{}], that of the frames "
                                          "[{}]",
                                          dataset->describe(), fmt::join(dataset->shape(), ", "),
                                          fmt::join(image, ", ")));
        return;
    }
    try {
        facts.mask = dataset->read_all<std::int32_t>();
    } catch (const Error& error) {
        facts.notes.push_back(fmt::format("the detector's own mask is not used: {}", error.what()));
        return;
    }
    const auto n = facts.mask.size() -
                   static_cast<std::size_t>(std::count(facts.mask.begin(), facts.mask.end(), 0));
    facts.notes.push_back(
        fmt::format("the detector's own mask is used: {}, {} pixels", dataset->describe(), n));
}

void take_limit(const hdf5::Group& detector, DetectorFacts& facts) {
    const auto dataset = first_of(detector, limit_names);
    if (!dataset || !dataset->is_numeric() || dataset->size() != 1)
        return;
    double value = NAN;
    try {
        value = dataset->read_scalar();
    } catch (const Error& error) {
        facts.notes.push_back(fmt::format("the limit of saturation is not used: {}", error.what()));
    }
    if (!dataset->path().ends_with("saturation_value"))
        value = std::exp2(value) - 1;
    if (!(value > 1 && value <= 0x7fffffff))
        return;
    facts.limit = static_cast<std::int32_t>(std::ceil(value)) - 1;
    facts.notes.push_back(fmt::format("values of {} and more are saturated, as {} says; "
                                      "--saturation sets another limit",
                                      *facts.limit + 1, dataset->describe()));
}

void take_fill(const hdf5::Dataset& images, DetectorFacts& facts) {
    for (const char* name : {"_FillValue", "missing_value"}) {
        if (!images.has_attribute(name))
            continue;
        try {
            facts.fill = images.number_attribute(name);
        } catch (const Error&) {
            facts.notes.push_back(fmt::format("{}: the attribute {} is no number and is not used",
                                              images.describe(), name));
        }
        // NaN is no value in any case, and 0 the default of programs that fill nothing.
        if (facts.fill && (!std::isfinite(*facts.fill) || *facts.fill == 0))
            facts.fill.reset();
        if (facts.fill) {
            facts.notes.push_back(
                fmt::format("pixels of {:.7g} have no value, as the attribute {} of {} says",
                            *facts.fill, name, images.describe()));
            return;
        }
    }
}

} // namespace

DetectorFacts detector_facts(const hdf5::Group& root, const hdf5::Dataset& images) {
    DetectorFacts facts;
    take_fill(images, facts);
    const auto& shape = images.shape();
    const auto paths = detectors_of(root, images);
    if (paths.size() > 1)
        facts.notes.push_back(fmt::format("{} are not used: which detector took the frames {} "
                                          "cannot be told",
                                          fmt::join(paths, " and "), images.path()));
    if (paths.size() != 1 || shape.size() < 2)
        return facts;
    const auto detector = root.open_group(paths.front());
    take_mask(detector, {shape[shape.size() - 2], shape[shape.size() - 1]}, facts);
    take_limit(detector, facts);
    return facts;
}

} // namespace xrdct::frames::detail
