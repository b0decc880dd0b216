#!/bin/bash
# Random networks and clips (tests/fuzz/random_networks.c): plain, then fewer under AddressSanitizer + UBSan
# and ThreadSanitizer. A few minutes beside the builds. With FIRST, other cases than 0 and up.
# usage: tests/slow/random_networks.sh [FIRST]
set -eu
cd "$(dirname "$0")/../.."
first=${1:-0}

run() # FOLDER CASES OPTION…
{
    [ -d "$1" ] || meson setup "$1" "${@:3}"
    ninja -C "$1" tests/random_networks
    echo "$1:"
    UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
        "$1/tests/random_networks" "$first" $((first + $2))
}

run build 3000 -Dtests=enabled
run build-asan 200 --buildtype=debugoptimized -Db_sanitize=address,undefined
run build-tsan 100 --buildtype=debugoptimized -Db_sanitize=thread
