// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "crystal/phase.hpp"

#include <filesystem>
#include <string>

namespace xrdct::files {

/// The structure in the data block `block` of a CIF file, empty: the first structure; `name` names
/// the phase, empty: the data block does.
/// Throws Error naming the file, if it cannot be read and for the reasons of
/// crystal::Phase::from_cif_text().
crystal::Phase read_phase(const std::filesystem::path& file, std::string name = {},
                          const std::string& block = {});

} // namespace xrdct::files
