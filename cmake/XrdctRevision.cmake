# SPDX-License-Identifier: BSD-3-Clause
# xrdct_revision: the library that knows the revision of the source and the day of the version (jobs/program/version.hpp.in). Its only
# source is written in every build and compiled anew when something in it has changed; whatever shows them is only linked again.
add_custom_target(xrdct_write_revision
  COMMAND ${CMAKE_COMMAND} -DSOURCE=${PROJECT_SOURCE_DIR} -DVERSION=${PROJECT_VERSION}
    -DTEMPLATE=${CMAKE_CURRENT_LIST_DIR}/revision.cpp.in -DOUTPUT=${PROJECT_BINARY_DIR}/generated/version.cpp -P ${CMAKE_CURRENT_LIST_DIR}/WriteRevision.cmake
  BYPRODUCTS ${PROJECT_BINARY_DIR}/generated/version.cpp
  COMMENT ""
  VERBATIM)
add_library(xrdct_revision STATIC ${PROJECT_BINARY_DIR}/generated/version.cpp)
target_link_libraries(xrdct_revision PRIVATE xrdct_options)
add_dependencies(xrdct_revision xrdct_write_revision)
