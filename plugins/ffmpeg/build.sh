#!/bin/sh
# FFmpeg with the filter uprez: takes FFmpeg's source, adds the filter, builds and installs.
#
# usage: plugins/ffmpeg/build.sh VERSION|SOURCE_DIR [PREFIX] [-- CONFIGURE OPTION…]
#        plugins/ffmpeg/build.sh --patch SOURCE_DIR|VERSION OUT_DIR
#   VERSION      5.1, 7.1, 9.0 or a Debian suite: fetched with apt-get source (8.1: in no Debian; a folder)
#   SOURCE_DIR   FFmpeg's source; it is copied, never modified
#   PREFIX       where to install (default: build/ffmpeg-VERSION); bin/ffmpeg lies there
#   OPTIONS      for FFmpeg's configure, instead of our own choice (x264, x265, NVIDIA's codecs)
#   --patch      no build: a git-format-patch series into OUT_DIR
# libuprez itself is built and installed into the same PREFIX.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
. "$here/source.sh"
. "$here/insert.sh"
. "$root/tools/packages.sh"
usage() { sed -n '/^# usage/,/^# libuprez/s/^# \{0,1\}//p' "$0"; exit "$1"; }

patch_only=
case ${1:-} in
--help | -h) usage 0 ;;
--patch) patch_only=1; shift; [ $# = 2 ] || usage 2 ;;
'') usage 2 ;;
esac
what=$1
shift
prefix=
case ${1:-} in '' | --) ;; *) prefix=$1; shift ;; esac
[ "${1:-}" = -- ] && shift

work=$(mktemp -d "${TMPDIR:-/tmp}/uprez-ffmpeg.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
mkdir "$work/ffmpeg"
if [ -d "$what" ]; then
    [ -f "$what/libavfilter/allfilters.c" ] || { echo "$what is no source of FFmpeg." >&2; exit 2; }
    tar -C "$what" --exclude=.git -c . | tar -C "$work/ffmpeg" -x
else
    packages_need xz-utils patch
    echo "Fetching FFmpeg $what …"
    ffmpeg_source "$what" "$work/ffmpeg"
fi
version=$(cat "$work/ffmpeg/RELEASE" 2>/dev/null || echo unknown)
if [ -n "$patch_only" ]; then
    . "$here/patch.sh"
    make_patch "$work/ffmpeg" "$prefix"
    exit
fi
insert_uprez "$work/ffmpeg"

prefix=${prefix:-$root/build/ffmpeg-$version}
mkdir -p "$prefix"
prefix=$(cd "$prefix" && pwd)
jobs=$(nproc)
step() { # WHAT COMMAND…: quiet unless it fails
    echo "$1 …"
    shift
    "$@" >>"$log" 2>&1 || { tail -20 "$log" >&2; echo "Failed; the whole log: $log" >&2; exit 1; }
}
if [ $# = 0 ]; then
    # shellcheck disable=SC2086
    packages_need $packages_build nasm make libx264-dev libx265-dev libffmpeg-nvenc-dev
    set -- --enable-gpl --enable-libx264 --enable-libx265 --disable-doc --disable-debug
    nvidia=1 # found by configure itself, when the headers are not too old for this FFmpeg
else
    # shellcheck disable=SC2086
    packages_need $packages_build nasm make
fi
log=$prefix/build.log
: >"$log"
meson_dir=$work/uprez
step "Configuring libuprez" meson setup "$meson_dir" "$root" --buildtype=release --prefix="$prefix" --libdir=lib -Dtests=disabled
step "Building libuprez" ninja -C "$meson_dir"
step "Installing libuprez" meson install -C "$meson_dir" --no-rebuild
export PKG_CONFIG_PATH="$prefix/lib/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}"
cd "$work/ffmpeg"
# found without LD_LIBRARY_PATH
step "Configuring FFmpeg $version" ./configure --prefix="$prefix" --enable-libuprez \
    --extra-ldexeflags="-Wl,-rpath,$prefix/lib" --extra-ldsoflags="-Wl,-rpath,$prefix/lib" "$@"
[ -z "${nvidia-}" ] || grep -q '^#define CONFIG_NVENC 1' config.h config_components.h 2>/dev/null ||
    echo "Without NVIDIA's decoders and encoders: the ffnvcodec headers here are too old for FFmpeg $version"
step "Building FFmpeg $version" make -j"$jobs"
step "Installing" make install
"$prefix/bin/ffmpeg" -v error -h filter=uprez >/dev/null || { echo "The built ffmpeg has no filter uprez; see $log" >&2; exit 1; }
cat <<EOF
FFmpeg $version with the filter uprez:
  $prefix/bin/ffmpeg -i INPUT -vf uprez=model=MODEL OUTPUT.mp4
EOF
