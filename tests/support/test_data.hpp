// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace xrdct::test {

/// The measured file at a path below the folder named by the environment variable XRDCT_DATA;
/// nothing when the variable is not set or the file is not there. A test that gets nothing skips
/// with `measured_data_reason(name)`.
std::optional<std::filesystem::path> measured_data(const std::string& name);
std::string measured_data_reason(const std::string& name);

/// Whole content of a file.
std::string read_text(const std::filesystem::path& path);
void write_text(const std::filesystem::path& path, const std::string& text);

} // namespace xrdct::test
