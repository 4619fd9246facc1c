# SPDX-License-Identifier: BSD-3-Clause
# cmake -DSOURCE=<source folder> -DVERSION=<version> -DTEMPLATE=<revision.cpp.in> -DOUTPUT=<version.cpp> -P WriteRevision.cmake
# Finds the revision of the source folder and the day of the version's release and writes them into OUTPUT, which is left
# alone if it says so already. The first that answers tells the revision:
#   the environment variable XRDCT_REVISION   for builds without the repository, such as the container's
#   git                                       if the source folder is the top of a working tree; with -dirty if modified
#   cmake/revision.txt                        filled in by `git archive`
#   "unknown"
set(found "$ENV{XRDCT_REVISION}")
if(found STREQUAL "" AND EXISTS "${SOURCE}/.git")
  find_program(git git)
  if(git)
    # The folder may belong to somebody else, such as when root installs.
    execute_process(
      COMMAND ${git} -c safe.directory=* describe --always --dirty --abbrev=40 --exclude=*
      WORKING_DIRECTORY "${SOURCE}" OUTPUT_VARIABLE found OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  endif()
endif()
if(found STREQUAL "" AND EXISTS "${SOURCE}/cmake/revision.txt")
  file(STRINGS "${SOURCE}/cmake/revision.txt" found LIMIT_COUNT 1)
endif()

set(XRDCT_REVISION unknown)
if(found MATCHES "^([0-9a-f]+)(-dirty)?$")
  string(SUBSTRING "${CMAKE_MATCH_1}" 0 12 XRDCT_REVISION)
  string(APPEND XRDCT_REVISION "${CMAKE_MATCH_2}")
endif()

# The heading of the version's section in CHANGELOG.md: "## [1.2.3] - 2026-01-31".
set(RELEASE_DATE "")
if(EXISTS "${SOURCE}/CHANGELOG.md")
  string(REPLACE "." "\\." version "${VERSION}")
  file(STRINGS "${SOURCE}/CHANGELOG.md" heading REGEX "^## \\[${version}\\] - " LIMIT_COUNT 1)
  if(heading MATCHES "- ([0-9]+-[0-9]+-[0-9]+)$")
    set(RELEASE_DATE ${CMAKE_MATCH_1})
  endif()
endif()
configure_file("${TEMPLATE}" "${OUTPUT}" @ONLY)
