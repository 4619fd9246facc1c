#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The container image: built with whatever engine answers, run as somebody who is not root, on two ranks inside, and under
# Charliecloud from an mpirun and a SLURM outside.
#   container_test.sh SOURCE XRDCT      exit code 77: it cannot be built here; the reason is on stderr
# Environment: see docker/build. The kept image is xrdct-test.
set -u
source_folder=$1
xrdct=$2
tag="xrdct-test"
most_megabytes=500
work=$(mktemp -d)
chmod 711 "$work"
mkdir -m 777 "$work/data"
container=
finish() {
    [ -n "$container" ] && buildah rm "$container" >/dev/null 2>&1
    [ -e "$work/slurm" ] && "$source_folder/tests/slurm/cluster.sh" down "$work/slurm"
    rm -rf "$work"
}
trap finish EXIT
fail() {
    echo "FAILED: $*" >&2
    exit 1
}

"$source_folder/docker/build" --unpack "$work/image" "$tag" >"$work/build" 2>&1
code=$?
tail -n 4 "$work/build" >&2
[ $code -eq 77 ] && exit 77
[ $code -eq 0 ] || fail "docker/build: $(tail -n 40 "$work/build")"
engine=$(sed -n 's/^\([a-z]*\): .* was built in .*/\1/p' "$work/build")

# As a user who is not in the image.
inside() {
    local program=$1
    shift
    if [ "$engine" = buildah ]; then
        [ -n "$container" ] || container=$(buildah from --pull-never "$tag") || return
        buildah run --user 4321:4321 --volume "$work/data:/work" "$container" -- "$program" "$@"
    else
        "$engine" run --rm --pull never --network none --user 4321:4321 --volume "$work/data:/work" \
            --entrypoint "$program" "$tag" "$@"
    fi
}
cell=(--translations 24 --rotations 20 --channels 260 --first-channel 1.3 --channel-width 0.0142)
two_ranks=(-n 2 --oversubscribe --bind-to none)

echo "size and contents"
size=$(du -s --apparent-size --block-size=1000000 "$work/image" | cut -f 1)
[ "$size" -le $most_megabytes ] || fail "the image takes $size MB, more than $most_megabytes MB"
for name in gcc g++ cmake ninja; do
    [ -e "$work/image/usr/bin/$name" ] && fail "$name of the build is in the image"
done
if [ "$engine" != buildah ]; then
    description=$("$engine" image inspect "$tag")
    for words in '"User": "xrdct"' '"org.opencontainers.image.licenses": "BSD-3-Clause"' '"org.opencontainers.image.revision"' \
        '"Healthcheck"'; do
        grep -qF "$words" <<<"$description" || fail "the image does not say $words"
    done
    # The entry point.
    "$engine" run --rm --pull never --network none "$tag" --version | grep -q '^xrdct [0-9]' || fail "its entry point is not xrdct"
fi

echo "inside, as a user"
[ "$(inside xrdct --version)" = "$("$xrdct" --version)" ] || fail "--version differs from that of $xrdct"
[ "$(inside id -u)" = 4321 ] || fail "it does not run as the user"
inside xrdct simulate --output cell "${cell[@]}" >"$work/log" 2>&1 || fail "simulate: $(<"$work/log")"
inside mpirun "${two_ranks[@]}" xrdct run cell/job.toml >"$work/log" 2>&1 || fail "run on 2 ranks: $(<"$work/log")"
grep -q ', 2 ranks, ' "$work/log" || fail "not two ranks: $(<"$work/log")"
inside xrdct report cell/results >"$work/log" 2>&1 || fail "report: $(<"$work/log")"
for made in rietveld.nxs report.html; do
    [ "$(stat -c %u "$work/data/cell/results/$made")" = 4321 ] || fail "$made is not the user's"
done
inside xrdct run cell/job.toml >"$work/log" 2>&1 && fail "products were replaced"
grep -q -- --force "$work/log" || fail "no message: $(<"$work/log")"

# From here on by whoever runs this.
inside chmod -R a+rwX cell

command -v ch-run >/dev/null || { echo "passed; Charliecloud (ch-run) is not installed: not tried"; exit 0; }
export USER=${USER:-$(id -un)}
# Charliecloud makes namespaces of its own, which not every machine permits.
ch-run "$work/image" -- true 2>"$work/log" || { echo "passed; ch-run does not start here: $(tail -n 1 "$work/log")"; exit 0; }
charliecloud=(ch-run --set-env --bind "$work/data:/mnt" "$work/image" -- xrdct)

echo "under mpirun outside, by Charliecloud"
"${charliecloud[@]}" --version | grep -q '^xrdct' || fail "ch-run xrdct --version"
mpirun "${two_ranks[@]}" "${charliecloud[@]}" run /mnt/cell/job.toml --set output=charliecloud >"$work/log" 2>&1 ||
    fail "mpirun ch-run: $(<"$work/log")"
grep -q ', 2 ranks, ' "$work/log" || fail "not two ranks: $(<"$work/log")"

echo "under srun outside, by Charliecloud"
"$source_folder/tests/slurm/cluster.sh" up "$work/slurm" 2 2>"$work/log" || {
    rm -rf "$work/slurm"
    echo "passed; $(tail -n 1 "$work/log"): srun not tried"
    exit 0
}
. "$work/slurm/environment"
srun --mpi=pmix -N 2 -n 2 "${charliecloud[@]}" run /mnt/cell/job.toml --set output=srun >"$work/log" 2>&1 ||
    fail "srun ch-run: $(<"$work/log")"
grep -q ', 2 ranks, ' "$work/log" || fail "not two ranks: $(<"$work/log")"
# The same by xrdct submit and a profile: the job's folder has the same path inside.
cat >"$work/site.toml" <<TOML
[run]
launcher_options = ["--mpi=pmix"]
container = ["ch-run", "--set-env", "$work/image", "--"]
TOML
# /tmp is that of the host anyway.
case $work in
    /tmp/*) ;;
    *) sed -i "s|\"--set-env\"|&, \"--bind\", \"$work/data:$work/data\"|" "$work/site.toml" ;;
esac
mkdir -p "$work/image$work/data"
export HOME=$work XRDCT_PROFILE=
cd "$work/data/cell" || exit 1
sed 's/^output.*/output = "submitted"/' job.toml >submitted.toml
"$xrdct" submit submitted.toml --ranks 2 --profile "$work/site.toml" >"$work/log" 2>&1 || fail "submit: $(<"$work/log")"
timeout 120 "$xrdct" watch submitted --interval 1 >"$work/log" 2>&1 ||
    fail "the submitted job: $(<"$work/log") $("$xrdct" logs submitted)"
[ -e submitted/rietveld.nxs ] || fail "no product"
echo "passed"
