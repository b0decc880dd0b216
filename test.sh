#!/bin/sh
# Installs what the tests need, builds, runs everything. Real media and models are looked for in
# ../shared; without them those tests are skipped.
#
# usage: ./test.sh [MESON TEST ARGUMENT…]   for example: ./test.sh base upscaler
# The last line is "N passed, N failed, N skipped"; the exit status is 1 when any failed.
set -eu
cd "$(dirname "$0")"
. tools/packages.sh
. tools/build.sh
# shellcheck disable=SC2046,SC2086
missing=$(packages_missing $packages_build $packages_test libtorch-dev)
if command -v apt-get >/dev/null && [ -n "$missing" ]; then
    echo "For the tests: $(echo "$missing" | wc -w) Debian packages are missing; with libtorch-dev, for one engine's tests,
they take some hundred MB on disk; apt's own count comes before it fetches anything."
fi
[ -f build/runtimes/made ] ||
    echo "From PyPI come ONNX Runtime, OpenVINO, NumPy and ONNX for the tests, into build/runtimes: about 200 MB to fetch, 500 MB on disk."
# shellcheck disable=SC2086
packages_need $packages_build $packages_test
echo "Building …"
build_into build -Dtests=enabled -Dcuda=auto || { echo "0 passed, 1 failed, 0 skipped"; exit 1; }
tools/runtimes.sh build/runtimes
# Debian's LibTorch, for its engine's tests: without it they are skipped
{ packages_need libtorch-dev && tools/build-libtorch.sh /usr --dest build/modules/libtorch; } ||
    echo "No module for LibTorch: its tests are skipped"
rm -f build/meson-logs/testlog.json
status=0
meson test -C build --no-rebuild "$@" || status=$?
python3 tools/count_tests.py build/meson-logs/testlog.json "$status"
