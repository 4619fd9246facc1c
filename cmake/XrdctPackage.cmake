# SPDX-License-Identifier: BSD-3-Clause
# The Debian package xrdct_<version>_<architecture>.deb in the build folder: target `deb`. It holds the component `program`.
# Of packages.txt [run] the shared libraries (lib…) are left to dpkg-shlibdeps, which knows the versions; the rest is
# what the program runs or loads when it works.
set(section "")
set(tools)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/packages.txt)
file(STRINGS ${PROJECT_SOURCE_DIR}/packages.txt lines REGEX "^[^#]")
foreach(line ${lines})
  if(line MATCHES "^\\[(.+)\\]")
    set(section ${CMAKE_MATCH_1})
  elseif(section STREQUAL run AND NOT line MATCHES "^lib" AND line MATCHES "^([a-z0-9.+-]+)")
    list(APPEND tools ${CMAKE_MATCH_1})
  endif()
endforeach()
list(JOIN tools ", " tools)
if(tools STREQUAL "")
  message(FATAL_ERROR "packages.txt has no section [run], or nothing but libraries in it")
endif()

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME xrdct)
set(CPACK_PACKAGE_VENDOR "the xrdct authors")
set(CPACK_PACKAGE_CONTACT "the xrdct authors <xrdct@example.org>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "maps of crystalline phases from X-ray diffraction CT")
set(CPACK_PACKAGE_DESCRIPTION
  "xrdct turns X-ray diffraction computed tomography scans of whole devices
into maps of the phases inside them, on any number of MPI ranks.")
if(XRDCT_ARCHITECTURE)
  string(APPEND CPACK_PACKAGE_DESCRIPTION "\nIt was built for processors of the kind ${XRDCT_ARCHITECTURE}.")
endif()
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL program)
set(CPACK_COMPONENTS_GROUPING ALL_COMPONENTS_IN_ONE)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "${tools}")
set(CPACK_PRE_BUILD_SCRIPTS ${PROJECT_SOURCE_DIR}/cmake/DebianLayout.cmake)
include(CPack)

add_custom_target(deb
  COMMAND ${CMAKE_CPACK_COMMAND} -G DEB --config ${PROJECT_BINARY_DIR}/CPackConfig.cmake -B ${PROJECT_BINARY_DIR}
  WORKING_DIRECTORY ${PROJECT_BINARY_DIR}
  COMMENT "Making the Debian package"
  USES_TERMINAL VERBATIM)
add_dependencies(deb xrdct)
