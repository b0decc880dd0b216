#!/bin/sh
# Builds engine-libtorch.so, uprez's module for LibTorch (TorchScript files, --engine libtorch), for
# the LibTorch found, and installs it where uprez looks.
#
# usage: tools/build-libtorch.sh [DIR] [--prefix PREFIX | --dest FOLDER] [--no-cuda] [--force]
#   DIR              an unpacked LibTorch archive, or site-packages/torch; without it the active
#                    Python's torch is taken, else the system's (Debian: libtorch-dev)
#   --prefix PREFIX  into PREFIX/lib/uprez
#   --dest FOLDER    into FOLDER; the default is ~/.local/share/uprez/modules
#   --no-cuda        without the part that records CUDA graphs
#   --force          also when the module there is up to date
# Needs a C++ compiler. CXX and CXXFLAGS are obeyed. One to two minutes at most.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)

say() { echo "build-libtorch: $*"; }
die() { echo "build-libtorch: $*" >&2; exit 1; }

dir='' dest='' cuda=yes force=no
while [ $# -gt 0 ]; do
    case $1 in
    --prefix) [ $# -gt 1 ] || die "--prefix needs a folder"; dest=$2/lib/uprez; shift ;;
    --dest) [ $# -gt 1 ] || die "--dest needs a folder"; dest=$2; shift ;;
    --no-cuda) cuda=no ;;
    --force) force=yes ;;
    -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) die "there is no option $1; see --help" ;;
    *) [ -z "$dir" ] || die "one folder only"; dir=$1 ;;
    esac
    shift
done
[ -n "$dest" ] || dest=${XDG_DATA_HOME:-$HOME/.local/share}/uprez/modules
cxx=${CXX:-c++}
command -v "$cxx" >/dev/null || die "there is no C++ compiler '$cxx'; install g++, or set CXX"

# ---- which LibTorch: $lib with libtorch_cpu.so, $inc with ATen/ ----

lib='' inc=''
# take ROOT: an archive's or a wheel's own folder
take() {
    [ -e "$1/lib/libtorch_cpu.so" ] && [ -d "$1/include/ATen" ] || return 1
    lib=$(cd "$1/lib" && pwd) inc=$(cd "$1/include" && pwd)
}
system() {
    [ -d /usr/include/ATen ] || return 1
    file=$("$cxx" -print-file-name=libtorch_cpu.so)
    [ "$file" != libtorch_cpu.so ] || return 1
    lib=$(dirname "$(readlink -f "$file")") inc=/usr/include
}
if [ -n "$dir" ]; then
    [ -d "$dir" ] || die "$dir is not a folder"
    take "$dir" || take "$dir/torch" || take "$dir/libtorch" || take "$dir/.." ||
        { [ "$(cd "$dir" && pwd)" = /usr ] && system; } ||
        die "$dir holds no LibTorch with headers (lib/libtorch_cpu.so and include/ATen)"
else
    # the folder without running torch itself
    python=$(python3 -c 'import importlib.util as u
s = u.find_spec("torch")
print(s.submodule_search_locations[0] if s else "")' 2>/dev/null) || python=
    { [ -n "$python" ] && take "$python"; } || system ||
        die "there is no LibTorch here: 'pip install torch', or 'apt-get install libtorch-dev', or" \
            "give the folder of an unpacked archive"
fi

header=$inc/torch/headeronly/version.h
[ -f "$header" ] || header=$inc/torch/csrc/api/include/torch/version.h
[ -f "$header" ] || die "$inc has no torch/version.h: not a whole LibTorch"
part() { sed -n "s/^#define TORCH_VERSION_$1 \([0-9]*\).*/\1/p" "$header"; }
major=$(part MAJOR) minor=$(part MINOR) patch=$(part PATCH)
version=$major.$minor.$patch
number=$((major * 10000 + minor * 100 + patch))
[ "$number" -ge 11200 ] || die "LibTorch $version in $lib is too old: 1.12 or newer is needed"

# Both C++ ABIs are about: which one, its own symbols say.
abi=1
if command -v nm >/dev/null; then
    # c10::Error's constructor takes a string; other symbols may be of a static libstdc++
    nm -D --defined-only "$lib/libc10.so" 2>/dev/null | grep -q '3c105ErrorC.*Location.*__cxx11' ||
        abi=0
elif grep -qs 'CXX11_ABI=0' "$lib/../share/cmake/Torch/TorchConfig.cmake"; then
    abi=0
fi
standard=c++17
[ "$number" -lt 20900 ] || standard=c++20

# ---- CUDA's headers, for the part that records graphs ----

cuda_inc=
if [ "$cuda" = yes ] && [ -e "$lib/libtorch_cuda.so" ]; then
    for d in "${CUDA_HOME:-/usr/local/cuda}/include" "$lib"/../../nvidia/cu[0-9]*/include \
        "$lib/../../nvidia/cuda_runtime/include" /usr/include; do
        [ -f "$d/cuda_runtime_api.h" ] && cuda_inc=$d && break
    done
fi

# ---- is it there already? ----

sources="src/engine/libtorch/module.cc src/engine/libtorch/module.h src/base/compiler.h
    include/uprez/error.h"
key=$(cd "$here" && { cat $sources tools/build-libtorch.sh; echo "$version $lib $abi $cuda_inc"; } |
    cksum | cut -d' ' -f1)
note=$dest/engine-libtorch.txt
if [ "$force" = no ] && [ -f "$dest/engine-libtorch.so" ] && grep -qsx "key $key" "$note"; then
    say "$dest/engine-libtorch.so is up to date (LibTorch $version)"
    exit 0
fi

# ---- build ----

mkdir -p "$dest"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
set -- -std=$standard -O2 -fPIC -shared -fvisibility=hidden -D_GNU_SOURCE \
    "-D_GLIBCXX_USE_CXX11_ABI=$abi" "-DUPZ_TORCH_VERSION=$number" \
    "-DUPZ_TORCH_TEXT=\"$version\"" "-I$here/src" "-I$here/include"
[ "$inc" = /usr/include ] || set -- "$@" -isystem "$inc"
set -- "$@" -isystem "$inc/torch/csrc/api/include"
source=$here/src/engine/libtorch/module.cc
say "LibTorch $version in $lib, C++ ABI $abi"
other=
if [ -n "$cuda_inc" ]; then
    # shellcheck disable=SC2086
    "$cxx" "$@" ${CXXFLAGS-} -DUPZ_TORCH_CUDA_PART -isystem "$cuda_inc" "$source" \
        -o "$work/engine-libtorch-cuda.so" "-L$lib" -Wl,--no-as-needed -ltorch_cuda -ltorch_cpu \
        -lc10_cuda -lc10 -Wl,--allow-shlib-undefined "-Wl,-rpath,$lib" >"$work/cuda.log" 2>&1 &
    other=$!
fi
# shellcheck disable=SC2086
"$cxx" "$@" ${CXXFLAGS-} "$source" -o "$work/engine-libtorch.so" "-L$lib" -ltorch_cpu -lc10 -ldl \
    -Wl,--allow-shlib-undefined "-Wl,-rpath,$lib" || { [ -z "$other" ] || wait "$other" || :; exit 1; }
graphs=no
if [ -n "$other" ]; then
    if wait "$other"; then
        graphs=yes
    else
        say "the part for CUDA graphs could not be built; networks run without them:"
        grep -m3 -i error "$work/cuda.log" || tail -3 "$work/cuda.log"
    fi
fi

# The note goes first and comes last: a module never stands beside another's note.
rm -f "$note" "$dest/engine-libtorch-cuda.so"
for f in engine-libtorch.so engine-libtorch-cuda.so; do
    [ -f "$work/$f" ] || continue
    cp "$work/$f" "$dest/.$f.new"
    mv "$dest/.$f.new" "$dest/$f"
done
bytes=$(wc -c <"$dest/engine-libtorch.so")
printf 'libtorch %s\nfolder %s\nbytes %d\nabi %s\ngraphs %s\nkey %s\n' "$version" "$lib" "$bytes" \
    "$abi" "$graphs" "$key" >"$note"
say "installed $dest/engine-libtorch.so (CUDA graphs: $graphs)"
