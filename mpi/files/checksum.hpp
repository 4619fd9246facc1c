// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace xrdct::files {

/// SHA-256 of a file's content as 64 hexadecimal digits, as `sha256sum` prints it. The file is read
/// in pieces. Serial. Throws Error naming the file when it cannot be read.
std::string sha256_of_file(const std::filesystem::path& path);

/// SHA-256 of a text.
std::string sha256_of_text(std::string_view text);

/// Base 64 of RFC 4648, with padding. At most 2 GiB of data.
std::string base64(std::span<const std::byte> data);

/// MD5 of bytes in base 64, as the headers of binary sections state it.
std::string md5_base64(std::string_view bytes);

} // namespace xrdct::files
