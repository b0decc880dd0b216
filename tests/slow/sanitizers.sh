#!/bin/bash
# Unit tests under AddressSanitizer + UBSan, then ThreadSanitizer; and a clang build without warnings.
# usage: tests/slow/sanitizers.sh [asan|tsan|clang …]
set -eu
cd "$(dirname "$0")/../.."
for kind in "${@:-asan}"; do
    case $kind in
    asan) flags="-Db_sanitize=address,undefined" ;;
    tsan) flags="-Db_sanitize=thread" ;;
    clang) flags="-Dwerror=true" CC=clang; export CC ;;
    *) echo "asan, tsan or clang, not $kind"; exit 2 ;;
    esac
    # shellcheck disable=SC2086
    [ -d "build-$kind" ] || meson setup "build-$kind" --buildtype=debugoptimized $flags
    ninja -C "build-$kind"
    [ "$kind" = clang ] || UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
        LSAN_OPTIONS=suppressions=$PWD/tests/slow/lsan.supp:print_suppressions=0 \
        TSAN_OPTIONS=suppressions=$PWD/tests/slow/tsan.supp \
        meson test -C "build-$kind" --suite unit --print-errorlogs --timeout-multiplier 10
done
