#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The Debian package: made, installed on a Debian 12 of nothing but the essential packages, and run there by a user.
#   debian_package_test.sh BUILD CMAKE      exit code 77: it cannot be made here; the reason is on stdout
# Environment: XRDCT_DEBIAN_MIRROR (default: as on this machine, or http://deb.debian.org/debian)
set -u
build=$1
cmake=$2
skip() {
    echo "skipped: $*"
    exit 77
}
[ "$(id -u)" = 0 ] || skip "making a Debian root needs root"
for tool in mmdebstrap dpkg-shlibdeps unshare; do
    command -v $tool >/dev/null || skip "$tool is not installed"
done
unshare --mount --pid --fork true 2>/dev/null || skip "namespaces cannot be made here"
grep -q '^VERSION_CODENAME=bookworm' /etc/os-release || skip "packages for Debian 12 are made on Debian 12"
source_folder=$(sed -n 's/^CMAKE_HOME_DIRECTORY:INTERNAL=//p' "$build/CMakeCache.txt")
work=$(mktemp -d)
chmod 755 "$work"
root=$work/root
# Mounts live in a namespace of their own and end with it.
inside() { unshare --mount --pid --fork --mount-proc="$root/proc" chroot "$root" "$@"; }
trap 'rm -rf --one-file-system "$work"' EXIT
fail() {
    echo "FAILED: $*" >&2
    [ -e "$work/log" ] && tail -n 40 "$work/log" >&2
    exit 1
}

echo "the package"
rm -f "$build"/xrdct_*.deb
"$cmake" --build "$build" --target deb >"$work/log" 2>&1 || fail "target deb"
package=$(echo "$build"/xrdct_*.deb)
[ -f "$package" ] || fail "no package was made"
[[ $package == */xrdct_*.*.*_$(dpkg --print-architecture).deb ]] || fail "its name is $(basename "$package")"
dpkg-deb --info "$package"
for tool in $("$source_folder/docker/install-packages" --list run | grep -v '^lib'); do
    dpkg-deb --field "$package" Depends | grep -q "\(^\|, \)$tool\(,\|\$\)" || fail "it does not depend on $tool"
done
dpkg-deb --contents "$package" >"$work/contents"
for made in ./usr/bin/xrdct ./usr/share/man/man1/xrdct-run.1.gz ./usr/share/man/man5/xrdct-job.5.gz \
    ./usr/share/bash-completion/completions/xrdct ./usr/share/zsh/vendor-completions/_xrdct ./usr/share/doc/xrdct/copyright \
    ./usr/share/doc/xrdct/changelog.gz ./usr/share/doc/xrdct/README.md; do
    grep -q " $made\$" "$work/contents" || fail "$made is not in the package"
done
grep -q '/include/\|\.a$' "$work/contents" && fail "headers or libraries are in the package"
if command -v lintian >/dev/null; then lintian --fail-on error "$package" >"$work/log" 2>&1 || fail "lintian"; fi

echo "a bare Debian 12"
mmdebstrap --variant=minbase --quiet bookworm "$root" ${XRDCT_DEBIAN_MIRROR:-} >"$work/log" 2>&1 ||
    skip "mmdebstrap: $(tail -n 1 "$work/log")"
cp "$package" "$root/tmp/xrdct.deb"
[ -e /etc/resolv.conf ] && cp -L /etc/resolv.conf "$root/etc/resolv.conf"
for file in /etc/apt/apt.conf.d/*prox*; do [ -e "$file" ] && cp "$file" "$root/etc/apt/apt.conf.d/"; done
# A host name that resolves, or OpenMPI waits for it.
printf '127.0.0.1 localhost %s\n' "$(hostname)" >"$root/etc/hosts"
inside sh -c 'apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends /tmp/xrdct.deb' \
    >"$work/log" 2>&1 || fail "installing"
echo "it takes $(du -sm --apparent-size "$root" | cut -f 1) MB with all of Debian"

echo "run there by a user"
inside useradd --create-home user || fail "useradd"
as_user() {
    inside sh -c 'mount -t sysfs sysfs /sys; mkdir -p /dev/shm; mount -t tmpfs -o mode=1777 tmpfs /dev/shm; exec "$@"' - \
        setpriv --reuid=user --regid=user --init-groups env -i HOME=/home/user PATH=/usr/bin:/bin OMP_NUM_THREADS=1 \
        OPENBLAS_NUM_THREADS=1 OMPI_MCA_btl_vader_single_copy_mechanism=none sh -c "cd && $1" >"$work/log" 2>&1 ||
        fail "$1"
}
as_user 'xrdct --version'
[ "$(<"$work/log")" = "$("$build/bin/xrdct" --version)" ] || fail "--version"
cell='--translations 24 --rotations 20 --channels 260 --first-channel 1.3 --channel-width 0.0142'
as_user "xrdct simulate --output cell $cell"
as_user 'xrdct run cell/job.toml'
as_user 'mpirun -n 2 --oversubscribe --bind-to none xrdct run cell/job.toml --force'
grep -q ', 2 ranks, ' "$work/log" || fail "not two ranks"
as_user 'xrdct report cell/results && test -s cell/results/report.html && ls cell/results/pictures/*.png'
echo passed
