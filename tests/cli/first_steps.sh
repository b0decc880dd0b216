#!/bin/bash
# What quickstart.sh and test.sh decide and say before they build, with stand-ins for apt, meson and ninja.
. "$(dirname "$0")/lib.sh"
mkdir "$tmp/bin" "$tmp/tree"
cp -r "$SOURCE_ROOT/quickstart.sh" "$SOURCE_ROOT/test.sh" "$SOURCE_ROOT/tools" "$tmp/tree"
stub() { printf '#!/bin/sh\n%s\n' "$2" >"$tmp/bin/$1"; chmod +x "$tmp/bin/$1"; }
stub dpkg-query 'echo installed'
stub meson 'echo "meson $*" >>"$TMP_LOG"; [ "$1" != setup ] || { mkdir -p build/meson-info build/meson-private; : >build/build.ninja; }'
stub ninja 'i=0; while [ $i -lt 200 ]; do i=$((i + 1)); echo "[$i/200] Compiling"; done
mkdir -p build/cli; printf "#!/bin/sh\nshift; cp \$1 \$2\n" >build/cli/uprez; chmod +x build/cli/uprez'
stub nvcc 'exit 0'
stub ffmpeg 'exit 1'
stub ffprobe 'exit 1'
export PATH=$tmp/bin:$PATH TMP_LOG=$tmp/calls CUDACXX= CUDA_HOME= UPREZ_CUDA=
echo film >"$tmp/in.mp4"
quick() { rm -rf "$tmp/tree/build" "$tmp/calls"; expect 0 sh "$tmp/tree/quickstart.sh" "$@" "$tmp/in.mp4" "$tmp/out.mp4"; }

quick
[ "$(grep -c ' % of 200 steps' "$tmp/out")" = 10 ] || bad "progress of the build: $(grep -c 'steps' "$tmp/out") lines"
if (. "$SOURCE_ROOT/tools/packages.sh"; cd "$SOURCE_ROOT" && . tools/cuda.sh && cuda_driver >/dev/null); then
    echo "NVIDIA's driver is here: what happens without it is not tried"
else
    grep -q -- '-Dcuda=disabled' "$tmp/calls" || bad "nvcc without a driver compiles the kernels: $(cat "$tmp/calls")"
    grep -q -- '--cuda yes' "$tmp/out" || bad "how to have them is not said"
    quick --cuda yes; grep -q -- '-Dcuda=auto' "$tmp/calls" || bad "--cuda yes: $(cat "$tmp/calls")"
    stub nvcc 'exit 0'; rm "$tmp/bin/nvcc"
fi
quick --cuda no; grep -q -- '-Dcuda=disabled' "$tmp/calls" || bad "--cuda no: $(cat "$tmp/calls")"
expect 2 sh "$tmp/tree/quickstart.sh" --cuda maybe "$tmp/in.mp4"
# a build that fails says why and is an error
stub ninja 'echo "[1/2] Compiling a.c"; echo "a.c:1: error: no such thing"; exit 1'
rm -rf "$tmp/tree/build"; sh "$tmp/tree/quickstart.sh" "$tmp/in.mp4" "$tmp/out.mp4" >"$tmp/out" 2>&1 && bad "a failed build is no error"
grep -q 'no such thing' "$tmp/out" || bad "a failed build does not say why: $(cat "$tmp/out")"

# what would be installed is said first, with its size
stub dpkg-query 'exit 1'
stub sudo 'exec "$@"'
stub apt-get 'echo "apt-get $*" >>"$TMP_LOG"
case "$*" in *assume-no*) cat <<T
0 upgraded, 42 newly installed, 0 to remove and 1 not upgraded.
Need to get 31.2 MB of archives.
After this operation, 136 MB of additional disk space will be used.
T
exit 1 ;; *" install "* | "install "*) exit 100 ;; esac'
rm -f "$tmp/calls"
sh "$tmp/tree/test.sh" >"$tmp/out" 2>&1 && bad "packages that cannot be installed are no error"
grep -q '42 packages: 31.2 MB to fetch, 136 MB on disk' "$tmp/out" || bad "the size is not said: $(cat "$tmp/out")"
grep -q 'PyPI' "$tmp/out" || bad "what comes from PyPI is not said"
finish
