#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Man pages and completion, written from the option tables.
#   manual_test.sh XRDCT
set -u
xrdct=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
    echo "FAILED: $*" >&2
    exit 1
}
"$xrdct" describe --output "$work" || fail "xrdct describe"
mapfile -t commands < <("$xrdct" --help | sed -n '/^commands:/,/^ *--version/s/^  \([a-z]\+\) .*/\1/p')
[ ${#commands[@]} -ge 18 ] || fail "only ${#commands[@]} commands in the help"
# options_of COMMAND: as its help shows them
options_of() { "$xrdct" "$1" --help | grep -o '^ *\(-[a-z] \[ \)\?--[a-z-]\+' | grep -o -- '--[a-z-]\+'; }

echo "man pages"
for page in "$work"/man/man*/*; do
    if command -v mandoc >/dev/null; then
        said=$(mandoc -T lint -W warning "$page") || fail "mandoc: $said"
    elif command -v man >/dev/null && command -v groff >/dev/null; then
        said=$(LC_ALL=C.UTF-8 MANROFFSEQ='' MANWIDTH=100 man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null)
        [ -z "$said" ] || fail "man: $page: $said"
    else
        echo "neither mandoc nor man is installed: the pages are not checked"
        break
    fi
done
for command in "${commands[@]}"; do
    page=$work/man/man1/xrdct-$command.1
    [ -s "$page" ] || fail "xrdct-$command.1 is missing"
    grep -qF "xrdct\\-$command" "$work/man/man1/xrdct.1" || fail "xrdct.1 does not name $command"
    for option in $(options_of "$command"); do
        grep -qF -- "${option//-/\\-}\\fR" "$page" || fail "xrdct-$command.1 has no $option"
    done
done
"$xrdct" reference | sed -n 's/^| `\([^`]*\)` .*/\1/p' | while read -r key; do
    grep -qF "\\fB${key//-/\\-}\\fR" "$work/man/man5/xrdct-job.5" || { echo "$key is not in xrdct-job.5"; exit 1; }
done || fail "keys of the job file"

echo "completion in bash"
mkdir -p "$work/files/folder" && touch "$work/files/job.toml" "$work/files/with space.toml"
# complete WORD...: the answers, one a line, for a command line whose last word is being typed
complete_words() {
    (
        cd "$work/files" || exit
        # shellcheck disable=SC1091
        source "$work/bash/xrdct"
        COMP_WORDS=("$@")
        COMP_CWORD=$(($# - 1))
        _xrdct
        printf '%s\n' "${COMPREPLY[@]}"
    )
}
expect() {
    local wanted=$1
    shift
    local found
    found=$(complete_words "$@" | sort | paste -sd ' ')
    [ "$found" = "$wanted" ] || fail "completion of '$*': '$found' where '$wanted' was expected"
}
expect run xrdct ru
expect --version xrdct --v
expect "reference report" xrdct re
expect "--resume" xrdct run --res
expect "job.toml" xrdct run job
expect "folder job.toml with space.toml" xrdct run ""
expect "folder" xrdct simulate --output ""
expect "folder" xrdct simulate --output = ""
expect "folder" xrdct simulate --output =
expect "job.toml" xrdct submit --profile jo
expect "" xrdct run --memory ""
expect "" xrdct nonsense --
for command in "${commands[@]}"; do
    complete_words xrdct "" | grep -qx "$command" || fail "$command is not completed"
    complete_words xrdct "$command" -- >"$work/answers"
    for option in $(options_of "$command"); do
        grep -qx -- "$option" "$work/answers" || fail "$command $option is not completed"
        grep -q -- "$option\(\[\|=\[\|,\)" <(sed -n "/^        $command)/,/;;/p" "$work/zsh/_xrdct") ||
            [ "$option" = --help ] || fail "$command $option is not in the completion for zsh"
    done
done

if command -v zsh >/dev/null; then
    echo "completion in zsh"
    zsh -n "$work/zsh/_xrdct" || fail "_xrdct is no zsh"
else
    echo "zsh is not installed: its completion is not read"
fi
echo passed
