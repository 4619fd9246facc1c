// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace xrdct::phantom {

/// A crystal structure that simulated samples are made of.
struct StructureFile {
    std::string name; ///< "Fe", "Cu", "Al", "NMC532", "LiC6", "LiC12", "graphite", "CeO2",
                      ///< "TiO2", "gamma-Al2O3"
    std::string text; ///< CIF
    std::string file_name() const { return name + ".cif"; }
};

/// All structures, as CIF text typed from published cells and sites.
const std::vector<StructureFile>& structure_files();

/// The one of that name; throws Error for another name.
const StructureFile& structure_file(std::string_view name);

} // namespace xrdct::phantom
