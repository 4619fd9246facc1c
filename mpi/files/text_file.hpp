// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <filesystem>
#include <string>

namespace xrdct::files {

/// Whole text of a file; throws Error naming it.
std::string read_text_file(const std::filesystem::path& path);

/// Writes a small file whole, under a temporary name first, which is then renamed; what exists is
/// replaced. Throws Error naming the file, and leaves nothing behind.
void write_text_file(const std::filesystem::path& path, const std::string& text);

} // namespace xrdct::files
