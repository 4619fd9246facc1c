#include "jobs/program/program.hpp"

int main(int argc, char** argv) {
    return xrdct::program::run_program(argc, argv);
}
