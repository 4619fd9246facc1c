#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Jobs through a real SLURM: submit, status, a stop that is continued, a campaign with a broken scan, refusals.
#   submit_test.sh XRDCT      exit code 77: no SLURM can be started here
set -u
here=$(dirname "$(realpath "$0")")
xrdct=$1
work=$(mktemp -d)
chmod 711 "$work" # munged wants a path that all may pass
export HOME=$work/home XRDCT_PROFILE=
mkdir "$HOME"
trap '"$here/cluster.sh" down "$work/slurm"; rm -rf "$work"' EXIT

. "$here/common.sh"

# Without SLURM: a clear message, nothing left behind.
"$xrdct" simulate --output "$work/cell" --translations 24 --rotations 20 --channels 260 --first-channel 1.3 \
    --channel-width 0.0142 >"$work/simulate" 2>&1 || fail "simulate: $(<"$work/simulate")"
cd "$work/cell" || exit 1
"$here/cluster.sh" up "$work/slurm" 2
code=$?
[ $code -eq 0 ] || exit $code
. "$work/slurm/environment"

echo "a partition that is refused"
echo 'slurm.partition = "gpu"' >"$work/refused.toml"
answer=$("$xrdct" submit job.toml --profile "$work/refused.toml" 2>&1) && fail "gpu was accepted"
says "slurm.partition of $work/refused.toml" "$answer"
[ -e results/submission.json ] && fail "a record was left"

echo "a job on two ranks"
answer=$("$xrdct" submit job.toml --ranks 2 2>&1) || fail "$answer"
says "2 ranks" "$answer"
until_state finished results
"$xrdct" watch results --interval 1 >/dev/null || fail "watch: a finished job"
says results "$("$xrdct" jobs)"
says "finished in" "$("$xrdct" logs results)"
[ -e results/rietveld.nxs ] || fail "no product"
answer=$("$xrdct" submit job.toml 2>&1) && fail "products would be replaced"
says "--force" "$answer"

echo "a stop before the time limit, and the job goes on where it was"
sed -e 's/^output.*/output = "dlsr"\nstages = ["absorption", "fbp", "rietveld", "dlsr"]/' job.toml >dlsr.toml
printf '\n[dlsr]\nerror_samples = 800\n' >>dlsr.toml # long enough to be stopped
answer=$("$xrdct" submit dlsr.toml --ranks 2 2>&1) || fail "$answer"
id=$(number "$answer")
answer=$("$xrdct" submit dlsr.toml --force 2>&1) && fail "two jobs in one folder"
says "xrdct cancel $id" "$answer"
until_says "iteration 2" "$xrdct" status dlsr
scancel --signal=USR2 --batch "$id"
until_says "continued" "$xrdct" status "$id"
start_now "$id"
until_says "continued 1 time" "$xrdct" status dlsr.toml
until_says "goes on from" "$xrdct" logs dlsr
says "kept" "$("$xrdct" status dlsr)"

echo "a job file that is changed before it is continued"
until_says "running" "$xrdct" status dlsr
sed -i 's/^title.*/title = "another"/' dlsr.toml
scontrol requeue "$id"
start_now "$id"
until_says "was changed since it was submitted" "$xrdct" status dlsr

echo "a campaign with a broken scan"
for i in 1 2 3; do cp scan.nxs "part_$i.nxs"; done
{ sed -e '/^file = /d' -e 's/^output.*/output = "campaign"/' job.toml; printf '\n[campaign]\nscans = ["part_*.nxs"]\n'; } >campaign.toml
answer=$("$xrdct" submit campaign.toml 2>&1) || fail "$answer"
# The scan spoils while its member waits or begins.
head -c 20000 scan.nxs >part_2.nxs
until_says "2 finished" "$xrdct" status campaign
until_says "1 failed" "$xrdct" status campaign
says "part_2.nxs" "$("$xrdct" status campaign)"
cp scan.nxs part_2.nxs
answer=$("$xrdct" submit campaign.toml --failed 2>&1) || fail "$answer"
says "1 scan:" "$answer"
until_says "3 finished" "$xrdct" status campaign
says "nothing to submit again" "$("$xrdct" submit campaign.toml --failed 2>&1)"

echo "cancel"
sed -i 's/^output.*/output = "third"/' dlsr.toml
answer=$("$xrdct" submit dlsr.toml 2>&1) || fail "$answer"
until_says "running" "$xrdct" status third
"$xrdct" cancel third || fail "cancel"
until_says "cancelled" "$xrdct" status third

echo "munge is down"
kill "$(<"$work/slurm/run/munge.pid")"
sleep 0.5
answer=$("$xrdct" submit job.toml --resume 2>&1) && fail "submitted without munge"
says "munge does not answer" "$answer"
answer=$("$xrdct" status third 2>&1)
says "munge does not answer" "$answer"
echo "passed"
