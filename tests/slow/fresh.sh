#!/bin/bash
# The two commands in a fresh Debian: bootstraps one, copies the sources in, runs quickstart.sh
# twice and test.sh with and without the real media, and prints the times. As root.
#
# usage: tests/slow/fresh.sh bookworm|trixie … [MIRROR=URL] [DIR=FOLDER] [RUNS="quickstart test bare"]
#   DIR    where the system is made (default /tmp/uprez-SUITE); one that is there is used as it is
#   RUNS   quickstart: twice, on the demonstration clip · test: ./test.sh with ../shared
#          bare: ./test.sh without
set -u
cd "$(dirname "$0")/../.." || exit 1
MIRROR=${MIRROR:-http://deb.debian.org/debian}
RUNS=${RUNS:-quickstart test bare}
status=0
inside() { chroot "$root" env -i $pip PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 sh -c "cd $1 && $2"; }
timed() { # NAME COMMAND…
    name=$1 begin=$(date +%s.%N)
    shift
    "$@" >"$root/tmp/log" 2>&1
    code=$?
    printf '%s: %-24s exit %d in %6.1f s: %s\n' "$suite" "$name" $code \
        "$(echo "$(date +%s.%N) - $begin" | bc)" "$(tail -1 "$root/tmp/log")"
    [ $code = 0 ] || { status=1; tail -60 "$root/tmp/log" | sed 's/^/    /'; }
    cp "$root/tmp/log" "$root/tmp/log.${name// /-}"
}
for suite in "$@"; do
    root=${DIR:-/tmp/uprez-$suite}
    if [ ! -x "$root/bin/sh" ]; then
        debootstrap --variant=minbase "$suite" "$root" "$MIRROR" >/dev/null || exit 1
    fi
    cp -L /etc/resolv.conf "$root/etc/resolv.conf"
    # pip's settings, as apt's mirror: not part of what is tried
    pip=
    if [ -f /etc/pip.conf ]; then cp -L /etc/pip.conf "$root/etc/pip.conf"; fi
    if [ -f "${PIP_CERT:-}" ]; then
        cp -L "$PIP_CERT" "$root/etc/pip-ca.pem"
        pip="PIP_CERT=/etc/pip-ca.pem"
    fi
    rm -rf "$root/src/with" "$root/src/bare"
    mkdir -p "$root/src/with/uprez" "$root/src/bare"
    tar -c --exclude='./build*' --exclude=./.git . | tar -x -C "$root/src/with/uprez"
    if [ -d ../shared/media ]; then
        mkdir "$root/src/with/shared"
        cp -a ../shared/media ../shared/models "$root/src/with/shared/"
    fi
    mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
    # shellcheck disable=SC2064
    trap "umount '$root/proc'" EXIT
    for run in $RUNS; do
        case $run in
        quickstart)
            timed "first quickstart" inside /src/with/uprez ./quickstart.sh
            timed "second quickstart" inside /src/with/uprez ./quickstart.sh ;;
        test) timed "test.sh" inside /src/with/uprez ./test.sh ;;
        bare)
            mv "$root/src/with/uprez" "$root/src/bare/"
            timed "test.sh without media" inside /src/bare/uprez ./test.sh
            mv "$root/src/bare/uprez" "$root/src/with/" ;;
        esac
    done
    umount "$root/proc"
    trap - EXIT
done
exit $status
