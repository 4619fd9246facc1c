// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/program/program.hpp"

int main(int argc, char** argv) {
    return xrdct::program::run_program(argc, argv);
}
