// SPDX-License-Identifier: BSD-3-Clause
#include "mpi/files/cif_file.hpp"

#include "base/error.hpp"
#include "mpi/files/text_file.hpp"

#include <utility>

#include <fmt/format.h>

namespace xrdct::files {

crystal::Phase read_phase(const std::filesystem::path& file, std::string name,
                          const std::string& block) {
    std::string text;
    try {
        text = read_text_file(file);
    } catch (const Error&) {
        throw Error(fmt::format("{}: cannot read the CIF file", file.string()));
    }
    return crystal::Phase::from_cif_text(text, file.string(), std::move(name), block);
}

} // namespace xrdct::files
