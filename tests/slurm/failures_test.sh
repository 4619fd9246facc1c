#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What goes wrong on a cluster, on a real SLURM: time limits, nodes that die, full nodes, refusals, folders that cannot be
# written; and how long a submission takes.
#   failures_test.sh XRDCT      exit code 77: no SLURM can be started here
set -u
here=$(dirname "$(realpath "$0")")
xrdct=$1
work=$(mktemp -d)
chmod 711 "$work" # munged wants a path that all may pass
export HOME=$work/home XRDCT_PROFILE=
mkdir "$HOME"
finish() {
    cd / || return
    "$here/cluster.sh" down "$work/slurm"
    mountpoint -q "$work/readonly" && umount "$work/readonly"
    rm -rf "$work"
}
trap finish EXIT
. "$here/common.sh"

"$xrdct" simulate --output "$work/cell" --translations 24 --rotations 20 --channels 260 --first-channel 1.3 \
    --channel-width 0.0142 >"$work/simulate" 2>&1 || fail "simulate: $(<"$work/simulate")"
cd "$work/cell" || exit 1
cat >>job.toml <<'TOML'

[dlsr]
layers = 3
smoothness = 1.0
amount_smoothness = 3.0
error_samples = 6
convergence = 1e-5
TOML
# A job of its own: all stages, results in the folder of its name.
all_stages() {
    sed -e "s/^output.*/output = \"$1\"\\nstages = [\"absorption\", \"fbp\", \"rietveld\", \"dlsr\"]/" job.toml >"$1.toml"
}
conventional() { sed -e "s/^output.*/output = \"$1\"/" job.toml >"$1.toml"; }
equal_maps() {
    local words
    words=$(/usr/bin/python3 "$here/../house/same-results" "$work/cell/undisturbed" "$work/cell/$1" --relative 1e-9 \
        --floats-only --allow-new --at-least 100 --files absorption.nxs fbp.nxs rietveld.nxs dlsr.nxs 2>&1)
    case $? in
        0) echo "  $1: $words" ;;
        77) echo "  $1: maps are not compared: no h5py" ;;
        *) fail "$1: $words" ;;
    esac
}
# Stops the ranks of a job once its dlsr stage has saved something, so that it does not end before what is to befall it.
hold() {
    local attempt
    for ((attempt = 0; attempt < 2400; ++attempt)); do
        if [ -e "$1/dlsr-checkpoint.nxs" ] && grep -q '"iteration": [1-9]' "$1/progress.json"; then
            mapfile -t ranks < <(pgrep -f "^$xrdct run $work/cell/$1.toml")
            [ ${#ranks[@]} -eq 2 ] || fail "$1: not two ranks: ${ranks[*]}"
            kill -STOP "${ranks[@]}" && return
        fi
        sleep 0.05
    done
    fail "$1 saved nothing: $("$xrdct" status "$1")"
}

mkdir "$work/readonly"
cp scan.nxs job.toml "$work/readonly"
cp -r cif "$work/readonly"
mount --bind "$work/readonly" "$work/readonly" && mount -o remount,ro,bind "$work/readonly" || rm -rf "$work/readonly"

"$here/cluster.sh" up "$work/slurm" 2
code=$?
[ $code -eq 0 ] || exit $code
. "$work/slurm/environment"

echo "time of a submission"
mkdir "$work/stamps"
for name in sbatch srun program; do
    case $name in program) real='exec "$@"' ;; *) real="exec $(command -v $name) \"\$@\"" ;; esac
    printf '#!/bin/bash\necho $EPOCHREALTIME >>%s\n%s\n' "$work/stamps/$name.time" "$real" >"$work/stamps/$name"
done
chmod +x "$work"/stamps/*
cat >"$work/stamps.toml" <<TOML
[run]
setup = ["echo \$EPOCHREALTIME >>$work/stamps/script.time", "export PATH=$work/stamps:\$PATH"]
container = ["$work/stamps/program"]
program = "$xrdct"
TOML
best=
for repeat in 1 2 3; do
    rm -f "$work"/stamps/*.time
    conventional "timed$repeat"
    called=$EPOCHREALTIME
    answer=$(PATH=$work/stamps:$PATH "$xrdct" submit "timed$repeat.toml" --ranks 1 --profile "$work/stamps.toml" 2>&1) || fail "$answer"
    until_state finished "timed$repeat"
    began=$(sed -n 's/^ "started": \([0-9.]*\).*/\1/p' "timed$repeat/progress.json")
    own=$(awk -v called="$called" -v sbatch="$(<"$work/stamps/sbatch.time")" -v script="$(<"$work/stamps/script.time")" \
        -v srun="$(<"$work/stamps/srun.time")" -v program="$(<"$work/stamps/program.time")" -v began="$began" 'BEGIN {
            printf "%.3f %.3f %.3f %.3f", sbatch - called + srun - script + began - program, sbatch - called, srun - script, began - program }')
    echo "  command to sbatch, script to srun, program to first stage [s]: ${own#* }; together ${own%% *}"
    best=$(printf '%s\n%s\n' "$best" "${own%% *}" | grep . | sort -g | head -n 1)
done
# What is promised holds on idle processors.
load=$(cut -d " " -f 1 /proc/loadavg)
if ! awk -v best="$best" 'BEGIN { exit !(best <= 1.0) }'; then
    awk -v load="$load" -v processors="$(nproc)" 'BEGIN { exit !(load > processors) }' ||
        fail "our part of a submission takes $best s, more than 1 s"
    echo "  not judged: the load of $(nproc) processors is $load"
fi

echo "undisturbed"
all_stages undisturbed
answer=$("$xrdct" submit undisturbed.toml --ranks 2 2>&1) || fail "$answer"
until_state finished undisturbed

echo "on two nodes"
all_stages spread
answer=$("$xrdct" submit spread.toml --ranks 2 --nodes 2 2>&1) || fail "$answer"
until_state finished spread
equal_maps spread

echo "an account that is refused"
conventional refused
echo 'slurm.account = "refused"' >"$work/refused.toml"
answer=$("$xrdct" submit refused.toml --profile "$work/refused.toml" 2>&1) && fail "the account was accepted"
says "slurm.account of $work/refused.toml" "$answer"
says "nothing was submitted" "$answer"
[ -e refused/submission.json ] && fail "a record was left"

echo "jobs that wait, with the reason"
conventional waiting
echo 'slurm.partition = "closed"' >"$work/closed.toml"
answer=$("$xrdct" submit waiting.toml --profile "$work/closed.toml" 2>&1) || fail "$answer"
until_state "waiting: Account" waiting
"$xrdct" cancel waiting 2>/dev/null || fail "cancel"
until_state cancelled waiting
filler=$(sbatch --parsable --exclusive --nodes=2 --output=/dev/null --wrap "sleep 600")
conventional full
answer=$("$xrdct" submit full.toml 2>&1) || fail "$answer"
until_state "waiting: Resources" full
says "waiting" "$("$xrdct" jobs | grep "/full ")"
scancel "$filler"
until_state finished full

echo "from a folder without write access"
if [ -e "$work/readonly" ]; then
    cd "$work/readonly" || exit 1
    answer=$("$xrdct" submit job.toml 2>&1) && fail "results can go nowhere"
    says "$work/readonly/results" "$answer"
    says "Read-only file system" "$answer"
    [ -e "$HOME/.local/state/xrdct/submissions" ] && grep -qF "$work/readonly" "$HOME/.local/state/xrdct/submissions" &&
        fail "it is listed as submitted"
    # Results elsewhere need no right to write where one stands.
    cd "$work/cell" && conventional elsewhere && cd "$work/readonly" || exit 1
    answer=$("$xrdct" submit "$work/cell/elsewhere.toml" 2>&1) || fail "$answer"
    cd "$work/cell" || exit 1
    until_state finished elsewhere
fi

echo "a chain: a job after another, and one after another that fails"
conventional first
conventional second
answer=$("$xrdct" submit first.toml 2>&1) || fail "$answer"
echo "slurm.options = [\"--dependency=afterok:$(number "$answer")\"]" >"$work/after.toml"
answer=$("$xrdct" submit second.toml --profile "$work/after.toml" 2>&1) || fail "$answer"
until_state "waiting: Dependency" second
until_state finished first
until_state finished second
conventional broken
conventional third
echo 'run.setup = ["sleep 3", "exit 3"]' >"$work/broken.toml"
answer=$("$xrdct" submit broken.toml --profile "$work/broken.toml" 2>&1) || fail "$answer"
echo "slurm.options = [\"--dependency=afterok:$(number "$answer")\"]" >"$work/after.toml"
answer=$("$xrdct" submit third.toml --profile "$work/after.toml" 2>&1) || fail "$answer"
until_state failed broken
until_state cancelled third

echo "cancelled, then submitted again"
all_stages cancelled
answer=$("$xrdct" submit cancelled.toml --ranks 2 2>&1) || fail "$answer"
hold cancelled
until_says iteration "$xrdct" status cancelled
"$xrdct" cancel cancelled 2>/dev/null || fail "cancel"
until_state cancelled cancelled
answer=$("$xrdct" submit cancelled.toml --ranks 2 2>&1) && fail "products would be replaced"
answer=$("$xrdct" submit cancelled.toml --ranks 2 --resume 2>&1) || fail "$answer"
until_says "goes on from" "$xrdct" logs cancelled
until_state finished cancelled
equal_maps cancelled

echo "a time limit"
all_stages limited
echo 'time.notice = 1.0' >"$work/limited.toml"
answer=$("$xrdct" submit limited.toml --ranks 2 --time 2min --profile "$work/limited.toml" 2>&1) || fail "$answer"
id=$(number "$answer")
# The ranks rest until the signal comes, with which SLURM wakes them.
hold limited
until_state continued limited
start_now "$id"
until_says "goes on from" "$xrdct" logs limited
until_state finished limited
says "continued 1 time" "$("$xrdct" status limited)"
equal_maps limited

echo "a node dies, and its job may not be requeued"
all_stages lost
echo 'slurm.options = ["--no-requeue"]' >"$work/lost.toml"
answer=$("$xrdct" submit lost.toml --ranks 2 --profile "$work/lost.toml" 2>&1) || fail "$answer"
id=$(number "$answer")
hold lost
node=$(squeue --noheader --job="$id" --format=%B)
"$here/cluster.sh" kill "$work/slurm" "$node"
until_state "failed: .*NODE_FAIL" lost
answer=$("$xrdct" submit lost.toml --ranks 2 --resume 2>&1) || fail "$answer"
until_says "goes on from" "$xrdct" logs lost
until_state finished lost
equal_maps lost
"$here/cluster.sh" start "$work/slurm" "$node" || fail "node $node does not start again"

echo "a node dies, and its job goes on elsewhere"
all_stages moved
answer=$("$xrdct" submit moved.toml --ranks 2 2>&1) || fail "$answer"
id=$(number "$answer")
hold moved
"$here/cluster.sh" kill "$work/slurm" "$(squeue --noheader --job="$id" --format=%B)"
until_state continued moved
# SLURM keeps it for two minutes; sooner the end of the old start may hit the new one.
# shellcheck disable=SC2034  # of common.sh
patience=600
until_says "goes on from" "$xrdct" logs moved
until_state finished moved
equal_maps moved
echo "passed"
