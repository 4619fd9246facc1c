# SPDX-License-Identifier: BSD-3-Clause
# `cmake --install`: the program with its man pages, completion and documents (component program), and the libraries of src/,
# mpi/ and solvers/ with their headers and a CMake package (component development). What is in jobs/ is the program itself
# and no library for others.
#
# Headers are included in the sources as "crystal/phase.hpp", "mpi/nexus/nexus.hpp": src/ and the source's root are include
# folders. Installed, all of them stand below include/xrdct; that folder and the one above are the include folders of exported targets, so that
# both "crystal/phase.hpp" and <xrdct/crystal/phase.hpp> are found. A target xrdct_crystal is exported as xrdct::crystal.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# All libraries that the folders, and those below them, build.
function(xrdct_libraries_below result)
  set(found)
  foreach(folder ${ARGN})
    get_property(targets DIRECTORY ${folder} PROPERTY BUILDSYSTEM_TARGETS)
    foreach(target ${targets})
      get_target_property(type ${target} TYPE)
      if(type MATCHES "^(STATIC|INTERFACE)_LIBRARY$")
        list(APPEND found ${target})
      endif()
    endforeach()
    get_property(below DIRECTORY ${folder} PROPERTY SUBDIRECTORIES)
    if(below)
      xrdct_libraries_below(deeper ${below})
      list(APPEND found ${deeper})
    endif()
  endforeach()
  set(${result} ${found} PARENT_SCOPE)
endfunction()

# The targets of this project that `ARGN` need, themselves included, and what these link from elsewhere (A::B).
function(xrdct_link_closure targets_result packages_result)
  set(queue ${ARGN})
  set(targets)
  set(packages)
  while(queue)
    list(POP_FRONT queue target)
    if(target IN_LIST targets)
      continue()
    endif()
    list(APPEND targets ${target})
    set(links)
    foreach(property LINK_LIBRARIES INTERFACE_LINK_LIBRARIES)
      get_target_property(value ${target} ${property})
      if(value)
        list(APPEND links ${value})
      endif()
    endforeach()
    foreach(link ${links})
      string(REGEX REPLACE "^\\$<LINK_ONLY:(.*)>$" "\\1" link "${link}")
      if(link MATCHES "::")
        list(APPEND packages ${link})
      elseif(TARGET ${link})
        list(APPEND queue ${link})
      endif()
    endforeach()
  endwhile()
  list(REMOVE_DUPLICATES packages)
  list(SORT packages)
  set(${targets_result} ${targets} PARENT_SCOPE)
  set(${packages_result} ${packages} PARENT_SCOPE)
endfunction()

# The lines of xrdctConfig.cmake that find what the exported targets link.
function(xrdct_find_dependency_lines result)
  set(lines)
  set(packages)
  foreach(target ${ARGN})
    string(REGEX MATCH "^(.+)::(.+)$" matched ${target})
    set(package ${CMAKE_MATCH_1})
    set(part ${CMAKE_MATCH_2})
    if(package STREQUAL PkgConfig)
      # Made by pkg_check_modules(<part> IMPORTED_TARGET <module>).
      list(APPEND lines "xrdct_find_module(${part} ${${part}_MODULE_NAME})")
      continue()
    endif()
    list(APPEND packages ${package})
    if(package MATCHES "^(MPI|OpenMP)$")
      string(REGEX REPLACE "^${package}_" "" part ${part})
      list(APPEND ${package}_parts ${part})
    elseif(package STREQUAL Boost AND NOT part MATCHES "^(boost|headers)$")
      list(APPEND ${package}_parts ${part})
    endif()
  endforeach()
  list(REMOVE_DUPLICATES packages)
  foreach(package ${packages})
    set(components)
    if(${package}_parts)
      list(JOIN ${package}_parts " " components)
      set(components " COMPONENTS ${components}")
    endif()
    list(APPEND lines "find_dependency(${package}${components})")
  endforeach()
  list(JOIN lines "\n" lines)
  set(${result} "${lines}" PARENT_SCOPE)
endfunction()

# Gives a target the properties it is exported with.
function(xrdct_prepare_export target)
  string(REGEX REPLACE "^xrdct_" "" name ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${name})
  get_target_property(folders ${target} INTERFACE_INCLUDE_DIRECTORIES)
  if(folders)
    set(kept)
    set(ours FALSE)
    foreach(folder ${folders})
      cmake_path(IS_PREFIX PROJECT_SOURCE_DIR "${folder}" NORMALIZE in_source)
      if(in_source)
        set(ours TRUE)
        list(APPEND kept $<BUILD_INTERFACE:${folder}>)
      else()
        list(APPEND kept ${folder})
      endif()
    endforeach()
    if(ours)
      list(APPEND kept $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/xrdct>
        $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
    endif()
    set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${kept}")
  endif()
  # Warnings are the project's own affair; what changes how data lie in memory (-march) is not.
  get_target_property(options ${target} INTERFACE_COMPILE_OPTIONS)
  if(options)
    list(TRANSFORM options REPLACE "^(-W.*)$" "$<BUILD_INTERFACE:\\1>")
    set_target_properties(${target} PROPERTIES INTERFACE_COMPILE_OPTIONS "${options}")
  endif()
endfunction()

function(xrdct_install_libraries)
  xrdct_libraries_below(libraries ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/mpi ${PROJECT_SOURCE_DIR}/solvers)
  xrdct_link_closure(targets packages ${libraries})
  foreach(target ${targets})
    xrdct_prepare_export(${target})
  endforeach()
  target_compile_features(xrdct_options INTERFACE cxx_std_20)

  set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/xrdct)
  install(TARGETS ${targets} EXPORT xrdct ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT development)
  install(EXPORT xrdct NAMESPACE xrdct:: FILE xrdctTargets.cmake DESTINATION ${package_folder} COMPONENT development)
  install(DIRECTORY src/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/xrdct COMPONENT development
    FILES_MATCHING PATTERN "internal.hpp" EXCLUDE PATTERN "*.hpp")
  install(DIRECTORY mpi solvers DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/xrdct COMPONENT development
    FILES_MATCHING PATTERN "internal.hpp" EXCLUDE PATTERN "*.hpp")

  xrdct_find_dependency_lines(XRDCT_FIND_DEPENDENCIES ${packages})
  configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/xrdctConfig.cmake.in
    ${PROJECT_BINARY_DIR}/generated/xrdctConfig.cmake INSTALL_DESTINATION ${package_folder}
    NO_SET_AND_CHECK_MACRO NO_CHECK_REQUIRED_COMPONENTS_MACRO)
  write_basic_package_version_file(${PROJECT_BINARY_DIR}/generated/xrdctConfigVersion.cmake
    COMPATIBILITY SameMinorVersion)
  install(FILES ${PROJECT_BINARY_DIR}/generated/xrdctConfig.cmake
    ${PROJECT_BINARY_DIR}/generated/xrdctConfigVersion.cmake
    DESTINATION ${package_folder} COMPONENT development)
endfunction()

function(xrdct_install_program)
  install(TARGETS xrdct RUNTIME COMPONENT program)

  # Man pages and completion come from the program's own option tables. They are written when something is installed, or by
  # the target `manual`; a plain build does without.
  set(manual ${PROJECT_BINARY_DIR}/manual)
  add_custom_target(manual
    COMMAND ${CMAKE_COMMAND} -E rm -rf ${manual}
    COMMAND xrdct describe --output ${manual}
    COMMENT "Writing man pages and completion" VERBATIM)
  install(CODE "
    file(REMOVE_RECURSE \"${manual}\")
    execute_process(COMMAND \"$<TARGET_FILE:xrdct>\" describe --output \"${manual}\" COMMAND_ERROR_IS_FATAL ANY)"
    COMPONENT program)
  install(DIRECTORY ${manual}/man/ DESTINATION ${CMAKE_INSTALL_MANDIR} COMPONENT program)
  install(FILES ${manual}/bash/xrdct DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions COMPONENT program)
  # Debian's zsh looks for functions of packages in vendor-completions, others' in site-functions.
  install(FILES ${manual}/zsh/_xrdct DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions COMPONENT program)
  install(FILES ${manual}/zsh/_xrdct DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions COMPONENT program)

  set(documents ${CMAKE_INSTALL_DATADIR}/doc/xrdct)
  install(FILES README.md CHANGELOG.md CITATION.cff DESTINATION ${documents} COMPONENT program)
  install(FILES LICENSE DESTINATION ${documents} RENAME copyright COMPONENT program)
  install(DIRECTORY docs DESTINATION ${documents} COMPONENT program)
endfunction()

xrdct_install_libraries()
xrdct_install_program()
