#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Installs the build into a folder, moves that, and builds another project with find_package(xrdct).
#   find_package_test.sh BUILD DOWNSTREAM CMAKE CXX
set -u
build=$1
downstream=$2
cmake=$3
compiler=$4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
    echo "FAILED: $*" >&2
    [ -e "$work/log" ] && tail -n 40 "$work/log" >&2
    exit 1
}
"$cmake" --install "$build" --prefix "$work/first" >"$work/log" 2>&1 || fail "cmake --install"
mv "$work/first" "$work/prefix"
prefix=$work/prefix
for made in bin/xrdct include/xrdct/base/error.hpp include/xrdct/crystal/phase.hpp share/man/man1/xrdct.1 \
    share/man/man1/xrdct-run.1 share/man/man5/xrdct-job.5 share/bash-completion/completions/xrdct \
    share/zsh/site-functions/_xrdct share/doc/xrdct/copyright share/doc/xrdct/docs/user-guide.md; do
    [ -s "$prefix/$made" ] || fail "$made is not installed"
done
[ "$("$prefix/bin/xrdct" --version)" = "$("$build/bin/xrdct" --version)" ] || fail "the installed program"
# Nothing that is installed points back to where it was built.
source_folder=$(sed -n 's/^CMAKE_HOME_DIRECTORY:INTERNAL=//p' "$build/CMakeCache.txt")
grep -rlF "$source_folder" "$prefix/lib"*/*/cmake "$prefix/lib"*/cmake "$prefix/share" 2>/dev/null && fail "paths of the source"

"$cmake" -G Ninja -S "$downstream" -B "$work/build" -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_PREFIX_PATH="$prefix" \
    -DCMAKE_BUILD_TYPE=Release >"$work/log" 2>&1 || fail "configuring"
"$cmake" --build "$work/build" >"$work/log" 2>&1 || fail "building"
"$work/build/downstream" >"$work/log" 2>&1 || fail "running"
grep -qx '47.24 cubic angstrom' "$work/log" || fail "its output"
echo passed
