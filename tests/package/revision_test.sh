#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The revision that a build writes down: of a working tree, a modified one, a source archive, and of neither.
#   revision_test.sh SOURCE CMAKE      exit code 77: git is not installed
set -u
source_folder=$1
cmake=$2
command -v git >/dev/null || { echo "skipped: git is not installed"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset XRDCT_REVISION
version=$(sed -n 's/^ *VERSION \([0-9.]*\)$/\1/p' "$source_folder/CMakeLists.txt" | head -n 1)
export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=test GIT_AUTHOR_EMAIL=test@test GIT_COMMITTER_NAME=test GIT_COMMITTER_EMAIL=test@test
fail() {
    echo "FAILED: $*" >&2
    exit 1
}
# revision FOLDER: what a build of the folder writes
revision() {
    "$cmake" -DSOURCE="$1" -DVERSION="$version" -DTEMPLATE="$source_folder/cmake/revision.cpp.in" -DOUTPUT="$work/version.cpp" \
        -P "$source_folder/cmake/WriteRevision.cmake" >&2 || fail "WriteRevision.cmake"
    returned revision
}
# What a function of the written file returns.
returned() { sed -n "/ $1() {/,/}/s/.*return \"\(.*\)\".*/\1/p" "$work/version.cpp"; }
expect() { [ "$2" = "$3" ] || fail "$1: '$2' where '$3' was expected"; }

tree=$work/tree
mkdir -p "$tree/cmake"
cp "$source_folder/.gitattributes" "$tree/" && cp "$source_folder/cmake/revision.txt" "$tree/cmake/" || fail "copy"
grep -qF '$Format:%H$' "$tree/cmake/revision.txt" || { echo "skipped: this source is itself an archive"; exit 77; }
expect "no repository" "$(revision "$tree")" unknown
git -C "$tree" init -q && git -C "$tree" add . && git -C "$tree" commit -q -m first || fail "git"
first=$(git -C "$tree" rev-parse HEAD | cut -c 1-12)
expect "working tree" "$(revision "$tree")" "$first"
git -C "$tree" tag -a v9 -m v9
expect "tagged" "$(revision "$tree")" "$first"
touch -d '2001-01-01' "$work/version.cpp"
expect "again" "$(revision "$tree")" "$first"
expect "time of a file that need not change" "$(date -r "$work/version.cpp" +%Y)" 2001
touch "$tree/new"
expect "a file that git does not know" "$(revision "$tree")" "$first"
git -C "$tree" add new
expect "modified" "$(revision "$tree")" "$first-dirty"
git -C "$tree" commit -q -m second
second=$(git -C "$tree" rev-parse HEAD | cut -c 1-12)
expect "next commit" "$(revision "$tree")" "$second"
mkdir "$work/archive"
git -C "$tree" archive HEAD | tar -x -C "$work/archive" || fail "git archive"
expect "archive" "$(revision "$work/archive")" "$second"
mkdir "$tree/inside" && cp -r "$work/archive/cmake" "$tree/inside/"
expect "archive inside another repository" "$(revision "$tree/inside")" "$second"
export XRDCT_REVISION=0123456789abcdef0123456789abcdef01234567-dirty
expect "environment" "$(revision "$tree")" 0123456789ab-dirty
XRDCT_REVISION='"; words'
expect "nonsense" "$(revision "$tree")" unknown

# One version and one day in all files that name them.
expect "version in CITATION.cff" "$(sed -n 's/^version: //p' "$source_folder/CITATION.cff")" "$version"
day=$(sed -n "s/^## \[${version//./\\.}\] - //p" "$source_folder/CHANGELOG.md")
[ -n "$day" ] || fail "CHANGELOG.md has no section for $version"
revision "$source_folder" >/dev/null
expect "day in the program" "$(returned release_date)" "$day"
expect "day in CITATION.cff" "$(sed -n 's/^date-released: //p' "$source_folder/CITATION.cff")" "$day"
echo passed
