# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2154,SC2034
# What the scripts of this folder share; to be sourced with $here (this folder), $xrdct and $work set.
fail() {
    echo "FAILED: $*" >&2
    for log in "$work"/cell/*/slurm-*.log "$work/slurm/log/controller"; do
        [ -e "$log" ] && { echo "--- $log" >&2; tail -n 20 "$log" >&2; }
    done
    exit 1
}
says() { grep -qF -- "$1" <<<"$2" || fail "'$1' is not in: $2"; }
# Until a command's output holds the words, at most $patience half seconds.
patience=180
until_says() {
    local words=$1 answer=
    shift
    for ((attempt = 0; attempt < patience; ++attempt)); do
        answer=$("$@" 2>&1)
        grep -qF -- "$words" <<<"$answer" && return
        sleep 0.5
    done
    fail "'$words' did not come: $answer"
}
# Until the state of the whole job, not of a stage, is what the pattern says.
until_state() {
    local answer=
    for ((attempt = 0; attempt < patience; ++attempt)); do
        answer=$("$xrdct" status "$2" 2>&1)
        grep -qE "job [0-9]+ $1" <<<"$answer" && return
        sleep 0.5
    done
    fail "$2 did not become '$1': $answer"
}
number() { sed -n 's/^job \([0-9]*\).*/\1/p' <<<"$1"; }
# A requeued job waits for two minutes unless told otherwise; at once, SLURM's end of the old start hits the new one.
start_now() {
    sleep 8
    scontrol update "JobId=$1" StartTime=now
}
