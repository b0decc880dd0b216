#!/bin/sh
# From a bare Debian to a bigger video: installs what is missing, builds, upscales.
#
# usage: ./quickstart.sh [--cuda pypi|debian|no] [INPUT [OUTPUT]]
#   INPUT   a video or a picture; without one a short clip is made
#   OUTPUT  default: beside INPUT, NAME.upscaled.mp4 (a picture: NAME.upscaled.png)
#   --cuda  where an NVIDIA driver is and no nvcc: from where to get it (also $UPREZ_CUDA); without this
#           it is asked on a terminal, and left out elsewhere
set -eu

usage() { sed -n '2,/^set/s/^# \{0,1\}//p' "$0" | sed '/^set/d'; }
cuda=${UPREZ_CUDA-}
case ${1-} in
--cuda)
    cuda=${2-}
    case $cuda in pypi | debian | no) shift 2 ;; *) usage >&2; exit 2 ;; esac ;;
esac
case ${1-} in -h | --help) usage; exit 0 ;; -*) usage >&2; exit 2 ;; esac
[ $# -le 2 ] || { usage >&2; exit 2; }
# names are meant from where the user stands
absolute() {
    at=$(cd -- "$(dirname -- "$1")" 2>/dev/null && pwd) || at=$PWD/$(dirname -- "$1")
    printf '%s/%s\n' "${at%/}" "${1##*/}"
}
input=${1:+$(absolute "$1")} output=${2:+$(absolute "$2")}
if [ -n "$input" ] && [ ! -f "$input" ]; then
    echo "quickstart: $1: there is no such file" >&2
    exit 3
fi

cd "$(dirname "$0")"
. tools/packages.sh
. tools/build.sh
. tools/cuda.sh
demo=
[ -n "$input" ] || [ -f build/demo.mp4 ] || demo=$packages_demo
# shellcheck disable=SC2086
packages_need $packages_build $demo
nvcc=$(cuda_nvcc && echo there) || nvcc=
cuda_offer "$cuda"
[ -x build/cli/uprez ] || echo "Building (a minute or two) …"
# a folder that was set up without it looks again
if [ -z "$nvcc" ] && cuda_nvcc && [ -f build/build.ninja ]; then meson setup --reconfigure build >/dev/null || :; fi
targets=cli/uprez build_into build
uprez=$PWD/build/cli/uprez

if [ -z "$input" ]; then
    input=$PWD/build/demo.mp4
    [ -n "$output" ] || output=$PWD/build/demo.upscaled.mp4
    if [ ! -f "$input" ]; then
        echo "Making a clip of five seconds with sound: $input"
        ffmpeg -v error -y -f lavfi -i "testsrc2=size=480x270:rate=25:duration=5" \
            -f lavfi -i "sine=frequency=330:beep_factor=3:duration=5" -pix_fmt yuv420p \
            -c:v libx264 -crf 20 -c:a aac -f mp4 "$input.part"
        mv "$input.part" "$input"
    fi
fi
if [ -z "$output" ]; then
    name=${input##*/}
    kind=mp4
    case $(printf %s "${name##*.}" | tr A-Z a-z) in
    png | jpg | jpeg | jpe | webp | tif | tiff | bmp | ppm | pgm | pnm | tga | jp2 | qoi | avif | heic)
        kind=png ;;
    esac
    output=${input%/*}/${name%.*}.upscaled.$kind
fi

# Asked for by this very command: a result of an earlier run is replaced.
code=0
"$uprez" -y "$input" "$output" || code=$?
[ $code != 0 ] && [ $code != 8 ] || echo "The result: $output"
exit $code
