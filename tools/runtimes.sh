#!/bin/sh
# Installs the tensor runtimes that the tests run, into a Python environment of their own: ONNX Runtime
# and OpenVINO (about 200 MB). Without a package index, or Python's venv, it says so and leaves: the
# tests of that runtime are skipped with a reason. Quick when there is nothing to do.
#
# LibTorch is not among them: it comes from Debian (libtorch-dev) or from whoever has torch installed.
#
# usage: tools/runtimes.sh [DIR]      default build/runtimes, where tests/meson.build looks
set -eu
cd "$(dirname "$0")/.."
dir=${1:-build/runtimes}
wanted='onnxruntime openvino numpy onnx'
# what reads compiled kernels, where nvcc made some (15 MB)
[ ! -f build/src/engine/cuda/kernels/kernels.fatbin ] || wanted="$wanted nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm"
[ "$(cat "$dir/made" 2>/dev/null)" = "$wanted" ] && exit 0

leave() {
    echo "$*; tests that need these runtimes are skipped"
    exit 0
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
if [ ! -x "$dir/bin/python3" ]; then
    python3 -m venv "$dir" >"$log" 2>&1 || { rm -rf "$dir"; leave "Python makes no environment here ($(tail -1 "$log"))"; }
fi
echo "Installing runtimes for the tests into $dir: $wanted"
# one by one: what one lacks (an index without it, another processor) leaves the others
missing=
for package in $wanted; do
    "$dir/bin/python3" -m pip --disable-pip-version-check install --quiet --retries 1 --timeout 20 \
        "$package" >"$log" 2>&1 || missing="$missing $package"
done
[ -z "$missing" ] || leave "pip cannot install$missing ($(grep -m 1 ERROR "$log" | cut -c 1-200))"
echo "$wanted" >"$dir/made"
