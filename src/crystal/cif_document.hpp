// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Internal to the crystal library: speaks gemmi's types.

#include <gemmi/cifdoc.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace xrdct::crystal {

/// The data blocks of a CIF's text: UTF-8 or UTF-16, with or without byte order mark, lines that
/// end as on any system. What other programs let pass is read with a warning: a last word that
/// belongs to nothing, characters beyond ASCII in bare values. Tags with dots ("_cell.length_a")
/// are spelled with underscores. Throws Error, naming `source`, for a text that is no CIF.
gemmi::cif::Document parse_cif(std::string_view text, const std::string& source,
                               std::vector<std::string>& warnings);

/// The block named `wanted` (case does not matter), or the structure of that number, from 1, if no
/// block has such a name; empty: the first with a structure, since files
/// may begin with one of publication data only, and a warning if there are others. Tags without
/// value are left out of it, and tags given twice once, with a warning. Throws Error, naming
/// `source`, for a block that is not there and for cell, symmetry, atoms or content stated twice
/// with different values.
gemmi::cif::Block& structure_block(gemmi::cif::Document& document, const std::string& wanted,
                                   const std::string& source, std::vector<std::string>& warnings);

} // namespace xrdct::crystal
