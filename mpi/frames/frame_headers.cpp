// SPDX-License-Identifier: BSD-3-Clause
#include "mpi/frames/frame_headers.hpp"

#include "base/error.hpp"
#include "base/names.hpp"
#include "mpi/frames/file_names.hpp"

#include <cmath>
#include <cstdlib>

#include <fmt/format.h>

namespace xrdct::frames::detail {

const std::array<FrameKind, 6> frame_kinds = {{{"rotation_angle", units::Quantity::angle, true},
                                               {"translation", units::Quantity::length, true},
                                               {"monitor", units::Quantity::time, false},
                                               {"exposure_time", units::Quantity::time, true},
                                               {"transmission", units::Quantity::time, false},
                                               {"time", units::Quantity::time, true}}};

namespace {

/// A kind of number that is looked for in headers.
struct Wanted {
    std::size_t kind; ///< index of frame_kinds
    std::string key;
    std::optional<double> factor; ///< of a stated unit
    std::size_t known = 0;
    std::string first_lack; ///< file and what is wrong
};

std::vector<Wanted> wanted_of(const std::map<std::string, std::string>& given) {
    std::vector<Wanted> wanted;
    for (std::size_t k = 0; k < frame_kinds.size(); ++k) {
        const auto found = given.find(frame_kinds[k].name);
        if (found == given.end())
            continue;
        Wanted one{k, found->second, {}, 0, {}};
        const auto colon = one.key.rfind(':');
        if (colon != std::string::npos && frame_kinds[k].has_unit) {
            one.factor = units::unit_factor(frame_kinds[k].quantity, one.key.substr(colon + 1),
                                            "header key '" + one.key + "'");
            one.key.erase(colon);
        }
        wanted.push_back(std::move(one));
    }
    return wanted;
}

/// Headers of a file's frames; none, and why, when it is missing or damaged.
std::vector<FrameHeader> headers_of(const FramePart& part, std::string& reason) {
    if (!part.dataset.empty())
        throw Error(fmt::format("{}: header keys are for CBF and EDF frames; datasets of HDF5 "
                                "files have options of their own",
                                part.file));
    std::vector<FrameHeader> headers;
    reason = part.missing;
    if (!reason.empty())
        return headers;
    try {
        if (extension_of(part.file) == ".cbf")
            read_cbf_header(part.file, &headers.emplace_back());
        else
            headers = read_edf_headers(part.file);
    } catch (const Error& error) {
        reason = error.what();
        headers.clear();
    }
    return headers;
}

/// The number behind a key ("0.5000 deg."), in the canonical unit; nothing, and why, when there
/// is none.
std::optional<double> header_number(const FrameHeader& header, const std::string& key,
                                    const FrameKind& kind, const std::optional<double>& factor,
                                    const std::string& file, std::string& lack) {
    const auto found = header.find(key);
    if (found == header.end()) {
        lack = fmt::format("the header has no '{}'", key);
        return std::nullopt;
    }
    const char* text = found->second.c_str();
    char* end = nullptr;
    const double value = std::strtod(text, &end);
    if (end == text || !std::isfinite(value)) {
        lack = fmt::format("'{}' in the header is '{}', a number is expected", key, text);
        return std::nullopt;
    }
    std::string unit = end;
    unit.erase(0, unit.find_first_not_of(" \t"));
    while (!unit.empty() && (unit.back() == ' ' || unit.back() == '.'))
        unit.pop_back();
    if (factor)
        return value * *factor;
    if (!kind.has_unit || unit.empty())
        return value;
    return value * units::unit_factor(kind.quantity, unit,
                                      fmt::format("{}: '{}' in the header", file, key));
}

/// Takes one kind of number of a file's frames.
void take(Wanted& one, const FramePart& part, const std::vector<FrameHeader>& headers,
          const std::string& reason, std::vector<double>& values) {
    for (std::size_t i = 0; i < part.count; ++i) {
        std::string lack = reason;
        const auto value = i < headers.size()
                               ? header_number(headers[i], one.key, frame_kinds[one.kind],
                                               one.factor, part.file, lack)
                               : std::nullopt;
        if (value) {
            values[part.first + i] = *value;
            ++one.known;
        } else if (one.first_lack.empty()) {
            one.first_lack = lack.rfind(part.file, 0) == 0 ? lack : part.file + ": " + lack;
        }
    }
}

} // namespace

void read_header_numbers(const std::map<std::string, std::string>& given,
                         const std::vector<FramePart>& parts, std::size_t size,
                         FrameVectors& vectors, std::vector<std::string>& notes) {
    if (given.empty())
        return;
    const auto targets = by_name(vectors);
    std::vector<Wanted> wanted = wanted_of(given);
    for (const auto& one : wanted)
        targets[one.kind].second->assign(size, std::nan(""));
    std::vector<std::string> keys; // of the first header, for messages
    for (const auto& part : parts) {
        std::string reason;
        const auto headers = headers_of(part, reason);
        if (keys.empty() && !headers.empty())
            for (const auto& [key, value] : headers.front())
                keys.push_back(key);
        for (auto& one : wanted)
            take(one, part, headers, reason, *targets[one.kind].second);
    }
    for (const auto& one : wanted) {
        const auto& kind = frame_kinds[one.kind].name;
        if (one.known == 0)
            throw Error(fmt::format("{} of no frame is known from header key '{}'; {}{}", kind,
                                    one.key, one.first_lack, nearest_hint(one.key, keys)));
        notes.push_back(fmt::format(
            "{} is read from header key '{}'{}", kind, one.key,
            one.known == size ? ""
                              : fmt::format("; it is not known for {} of {} frames, the first: {}",
                                            size - one.known, size, one.first_lack)));
    }
}

} // namespace xrdct::frames::detail
