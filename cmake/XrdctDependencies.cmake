# SPDX-License-Identifier: BSD-3-Clause
# Everything comes from the distribution's packages (packages.txt); nothing is vendored.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(MPI REQUIRED COMPONENTS C)
find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(Eigen3 3.4 REQUIRED NO_MODULE)
find_package(Boost 1.74 REQUIRED COMPONENTS program_options)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
pkg_check_modules(hdf5 REQUIRED IMPORTED_TARGET hdf5-openmpi)
pkg_check_modules(fftw3f REQUIRED IMPORTED_TARGET fftw3f)
pkg_check_modules(xraylib REQUIRED IMPORTED_TARGET libxrl)
pkg_check_modules(libcrypto REQUIRED IMPORTED_TARGET libcrypto)
pkg_check_modules(petsc REQUIRED IMPORTED_TARGET PETSc)
pkg_check_modules(tomlplusplus REQUIRED IMPORTED_TARGET tomlplusplus)

# gemmi is used header-only; its headers want PEGTL beside them.
find_path(GEMMI_INCLUDE_DIR gemmi/smcif.hpp REQUIRED)
find_path(PEGTL_INCLUDE_DIR tao/pegtl.hpp REQUIRED)
add_library(xrdct_gemmi INTERFACE)
target_include_directories(xrdct_gemmi SYSTEM INTERFACE ${GEMMI_INCLUDE_DIR} ${PEGTL_INCLUDE_DIR})
target_compile_definitions(xrdct_gemmi INTERFACE USE_STD_SNPRINTF=1)

add_library(xrdct_mpi_c INTERFACE)
target_link_libraries(xrdct_mpi_c INTERFACE MPI::MPI_C)
target_compile_definitions(xrdct_mpi_c INTERFACE OMPI_SKIP_MPICXX=1 MPICH_SKIP_MPICXX=1)
