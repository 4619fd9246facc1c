// SPDX-License-Identifier: BSD-3-Clause
#include "mpi/files/cif_file.hpp"

#include "base/error.hpp"
#include "support/test_data.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace xrdct {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string error_of(const std::filesystem::path& file) {
    try {
        files::read_phase(file);
    } catch (const Error& error) {
        return error.what();
    }
    return "no error";
}

TEST(CifFileTest, AFileThatCannotBeReadIsNamed) {
    for (const char* file : {"/nonexistent/none.cif", "/"})
        EXPECT_THAT(error_of(file), AllOf(HasSubstr(file), HasSubstr("cannot read the CIF file")));
}

TEST(CifFileTest, ReadsTheStructureAndNamesTheFileInErrors) {
    const auto file = std::filesystem::path(testing::TempDir()) / "cif_file_test.cif";
    const std::string cell = "data_iron\n_cell_length_a 2.87\n_cell_length_b 2.87\n"
                             "_cell_length_c 2.87\n_space_group_name_H-M_alt 'I m -3 m'\n";
    test::write_text(file, cell + "loop_\n_atom_site_label\n_atom_site_fract_x\n"
                                  "_atom_site_fract_y\n_atom_site_fract_z\nFe 0 0 0\n");
    EXPECT_EQ(files::read_phase(file).name(), "iron");
    EXPECT_EQ(files::read_phase(file, "Fe").name(), "Fe");
    test::write_text(file, cell);
    EXPECT_THAT(error_of(file), AllOf(HasSubstr(file.string()), HasSubstr("no atoms")));
    std::filesystem::remove(file);
}

} // namespace
} // namespace xrdct
