// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// What the parts of the HDF5 wrapper share. Not for others: it brings hdf5.h along.
#include "base/error.hpp"
#include "mpi/comm/communicator.hpp"
#include "mpi/hdf5/hdf5.hpp"

#include <hdf5.h>

#include <cstring>
#include <filesystem>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace xrdct::hdf5::detail {

static_assert(std::is_same_v<hid_t, std::int64_t>, "HDF5 identifiers are expected to be 64-bit");

struct FileState {
    std::filesystem::path path;
    hdf5::detail::Handle id;
    bool writable = false;
    bool created = false;
    bool discarded = false;
    int reserve = -1; ///< descriptor of the space held for closing, see hdf5_file.cpp
    /// Of files (RLIMIT_FSIZE) as it was when this one was opened: the shell's.
    std::size_t size_limit = std::numeric_limits<std::size_t>::max();
    /// The first failure to write. On a shared file it is the same on all ranks.
    std::optional<std::string> failure;
    std::optional<mpi::Communicator> communicator;

    FileState() = default;
    FileState(const FileState&) = delete;
    FileState& operator=(const FileState&) = delete;
    ~FileState();
    bool shared() const { return communicator.has_value(); }
    bool is_root() const { return !communicator || communicator->is_root(); }
    /// Collective on a shared file.
    void agree(const std::optional<std::string>& error) const;
    /// The same, and keeps a failure: the file cannot be delivered any more.
    void agree_on_writing(const std::optional<std::string>& error);

    std::filesystem::path folder() const;
    /// A message when `bytes` more would pass the limit on the size of files (RLIMIT_FSIZE), where
    /// HDF5 is left with a file that it cannot close.
    std::optional<std::string> beyond_size_limit(std::size_t bytes) const;
    /// A message when the file system has less than `bytes` left.
    std::optional<std::string> missing_space(std::size_t bytes) const;
    void take_reserve();
    void drop_reserve() noexcept;
    void discard() noexcept;
};

/// The innermost description on HDF5's error stack: what really went wrong.
std::string reason();

template <class T>
T checked(T value, const std::string& where, const char* what) {
    if (value < 0)
        throw Error(where + ": " + what + " failed: " + reason());
    return value;
}

inline hdf5::detail::Handle own(hid_t id, const std::string& where, const char* what) {
    return hdf5::detail::Handle(checked(id, where, what));
}

hid_t memory_type(ElementType type);
hid_t stored_type(ElementType type);
ElementType element_type_of_id(hid_t type);
bool is_boolean(hid_t type);
bool is_number(hid_t type);

Shape shape_of_space(hid_t space);
std::size_t product(const Shape& shape);
std::string text_of(const Shape& shape);
hdf5::detail::Handle simple_space(const Shape& shape, const std::string& where);

/// A fixed-length UTF-8 type that holds all the texts, and their bytes in it.
std::pair<hdf5::detail::Handle, std::vector<char>> fixed_texts(std::span<const std::string> texts,
                                                               const std::string& where);

/// Reads the n strings of an attribute or dataset through `read(memory type, buffer)`.
template <class Read>
std::vector<std::string> read_texts(hid_t file_type, hid_t space, std::size_t n,
                                    const std::string& where, Read&& read) {
    std::vector<std::string> texts(n);
    if (n == 0)
        return texts;
    const hdf5::detail::Handle type = own(H5Tcopy(H5T_C_S1), where, "making a string type");
    H5Tset_cset(type.get(), H5Tget_cset(file_type));
    if (H5Tis_variable_str(file_type) > 0) {
        H5Tset_size(type.get(), H5T_VARIABLE);
        std::vector<char*> pointers(n, nullptr);
        checked(read(type.get(), pointers.data()), where, "reading text");
        for (std::size_t i = 0; i < n; ++i)
            texts[i] = pointers[i] != nullptr ? pointers[i] : "";
        H5Dvlen_reclaim(type.get(), space, H5P_DEFAULT, pointers.data());
        return texts;
    }
    const std::size_t length = H5Tget_size(file_type);
    H5Tset_size(type.get(), length);
    const H5T_str_t padding = H5Tget_strpad(file_type);
    H5Tset_strpad(type.get(), padding);
    std::vector<char> bytes(n * length);
    checked(read(type.get(), bytes.data()), where, "reading text");
    for (std::size_t i = 0; i < n; ++i) {
        const char* begin = bytes.data() + i * length;
        std::string text(begin, strnlen(begin, length));
        if (padding == H5T_STR_SPACEPAD)
            text.erase(text.find_last_not_of(' ') + 1);
        texts[i] = std::move(text);
    }
    return texts;
}

} // namespace xrdct::hdf5::detail
