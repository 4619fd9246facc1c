# SPDX-License-Identifier: BSD-3-Clause
# Flags every target shares. NaN marks missing data, so nothing here may relax its meaning
# (no -ffast-math, no -ffinite-math-only); errno and floating-point traps are not used.
add_library(xrdct_options INTERFACE)
target_compile_options(xrdct_options INTERFACE -Wall -Wextra -fno-math-errno -fno-trapping-math)
option(XRDCT_WERROR "A warning ends the build" OFF)
if(XRDCT_WERROR)
  # What follows the flow of data into inlined library code, GCC 12 gets wrong at times.
  target_compile_options(xrdct_options INTERFACE -Werror -Wno-error=array-bounds -Wno-error=free-nonheap-object
    -Wno-error=maybe-uninitialized -Wno-error=restrict -Wno-error=stringop-overflow)
endif()
option(XRDCT_ASSERTIONS "Check what only a mistake in the program can break (base/assertions.hpp)" OFF)
if(XRDCT_ASSERTIONS)
  target_compile_definitions(xrdct_options INTERFACE XRDCT_ASSERTIONS)
endif()
if(XRDCT_ARCHITECTURE)
  target_compile_options(xrdct_options INTERFACE -march=${XRDCT_ARCHITECTURE})
endif()
option(XRDCT_UNITY "Compile the sources of a library together, up to 16 at a time: half the time of a whole build" ON)
if(XRDCT_UNITY)
  # It takes sources that are compiled together for headers.
  target_compile_options(xrdct_options INTERFACE -Wno-subobject-linkage)
endif()
# The compiler tidies its memory when it holds this many kilobytes, not all the time.
target_compile_options(xrdct_options INTERFACE $<BUILD_INTERFACE:$<$<CXX_COMPILER_ID:GNU>:--param=ggc-min-heapsize=400000>>)
if(XRDCT_SANITIZE)
  target_compile_options(xrdct_options INTERFACE
    -fsanitize=${XRDCT_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(xrdct_options INTERFACE -fsanitize=${XRDCT_SANITIZE})
endif()

# xrdct_add_library(NAME INCLUDE folder SOURCES ... [PUBLIC lib ...] [PRIVATE lib ...] [STRICT] [PLAIN])
# One static library of the house; its headers are found below the include folder of its layer. STRICT is for new rooms:
# their sources are compiled with -Wshadow -Wconversion, too. PLAIN is for rooms that read, write and show: their code waits
# for files and solvers, so that less optimisation (without what looks at all functions at once) saves compile time and costs
# none of the run.
set(XRDCT_PLAIN_OPTIONS $<$<CONFIG:Release>:-O1>
  "$<$<AND:$<CONFIG:Release>,$<CXX_COMPILER_ID:GNU>>:-fno-ipa-pta;-fno-ipa-cp;-fno-ipa-modref;-fno-ipa-icf;-fno-tree-pta>")
function(xrdct_add_library name)
  cmake_parse_arguments(ARG "STRICT;PLAIN" "INCLUDE" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_include_directories(${name} PUBLIC ${ARG_INCLUDE})
  target_link_libraries(${name} PUBLIC xrdct_options ${ARG_PUBLIC} PRIVATE ${ARG_PRIVATE})
  if(ARG_STRICT)
    target_compile_options(${name} PRIVATE -Wshadow -Wconversion)
  endif()
  if(ARG_PLAIN)
    target_compile_options(${name} PRIVATE ${XRDCT_PLAIN_OPTIONS})
  endif()
  if(XRDCT_UNITY)
    set_target_properties(${name} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 16)
  endif()
endfunction()
