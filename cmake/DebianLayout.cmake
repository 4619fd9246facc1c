# SPDX-License-Identifier: BSD-3-Clause
# Run by CPack between installation and packing: what Debian wants otherwise than `cmake --install` puts it.
file(GLOB_RECURSE folders LIST_DIRECTORIES TRUE "${CPACK_TEMPORARY_DIRECTORY}/*")
foreach(root ${folders})
  if(IS_DIRECTORY "${root}/share/doc/xrdct")
    file(RENAME "${root}/share/doc/xrdct/CHANGELOG.md" "${root}/share/doc/xrdct/changelog")
    # Debian's zsh reads vendor-completions.
    file(REMOVE_RECURSE "${root}/share/zsh/site-functions")
    file(GLOB pages "${root}/share/man/man*/*")
    execute_process(COMMAND gzip -9n "${root}/share/doc/xrdct/changelog" ${pages} COMMAND_ERROR_IS_FATAL ANY)
  endif()
endforeach()
