# xrdct_revision: the library that knows the revision of the source (`xrdct::revision()`). Its only source is looked at in
# every build and compiled anew when the revision has changed; whatever else shows the revision is only linked again.
add_custom_target(xrdct_write_revision
  COMMAND ${CMAKE_COMMAND} -DSOURCE=${PROJECT_SOURCE_DIR} -DTEMPLATE=${CMAKE_CURRENT_LIST_DIR}/revision.cpp.in
    -DOUTPUT=${PROJECT_BINARY_DIR}/generated/version.cpp -P ${CMAKE_CURRENT_LIST_DIR}/WriteRevision.cmake
  BYPRODUCTS ${PROJECT_BINARY_DIR}/generated/version.cpp
  COMMENT ""
  VERBATIM)
add_library(xrdct_revision STATIC ${PROJECT_BINARY_DIR}/generated/version.cpp)
target_link_libraries(xrdct_revision PRIVATE xrdct_options)
add_dependencies(xrdct_revision xrdct_write_revision)

# The day of this version's release, from the heading of its section in CHANGELOG.md: "## [1.2.3] - 2026-01-31".
set(XRDCT_RELEASE_DATE "")
if(EXISTS ${PROJECT_SOURCE_DIR}/CHANGELOG.md)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/CHANGELOG.md)
  string(REPLACE "." "\\." version "${PROJECT_VERSION}")
  file(STRINGS ${PROJECT_SOURCE_DIR}/CHANGELOG.md heading REGEX "^## \\[${version}\\] - " LIMIT_COUNT 1)
  if(heading MATCHES "- ([0-9]+-[0-9]+-[0-9]+)$")
    set(XRDCT_RELEASE_DATE ${CMAKE_MATCH_1})
  endif()
endif()
