// SPDX-License-Identifier: BSD-3-Clause
// Another project that uses the installed libraries.
#include "crystal/standards.hpp"
#include <xrdct/crystal/unit_cell.hpp>

#include <cstdio>

using namespace xrdct::crystal;

int main() {
    const UnitCell copper{3.615, 3.615, 3.615, 90, 90, 90};
    std::printf("%.2f cubic angstrom\n", copper.volume());
    const auto silicon = powder_standard("Si").phase();
    std::printf("%s\n", silicon.name().c_str());
    return 0;
}
