#!/bin/sh
# From a bare Debian to a bigger video: installs what is missing, builds, upscales.
#
# usage: ./quickstart.sh [--cuda pypi|debian|yes|no] [INPUT [OUTPUT]]
#   INPUT   a video or a picture; without one a short clip is made
#   OUTPUT  default: beside INPUT, NAME.upscaled.mp4 (a picture: NAME.upscaled.png)
#   --cuda  where an NVIDIA driver is and no nvcc: from where to get it (also $UPREZ_CUDA); without this
#           it is asked on a terminal, and left out elsewhere. yes: compile its kernels (minutes) although
#           no driver is here, as for another machine
set -eu

usage() { sed -n '2,/^set/s/^# \{0,1\}//p' "$0" | sed '/^set/d'; }
cuda=${UPREZ_CUDA-}
case ${1-} in
--cuda)
    cuda=${2-}
    case $cuda in pypi | debian | yes | no) shift 2 ;; *) usage >&2; exit 2 ;; esac ;;
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
# a folder that was set up without it looks again
if [ -z "$nvcc" ] && cuda_nvcc && [ -f build/build.ninja ]; then meson setup --reconfigure build >/dev/null || :; fi
options=
if [ ! -f build/build.ninja ] && cuda_nvcc && ! cuda_driver >/dev/null && [ -z "$cuda" ]; then
    echo "nvcc is here, NVIDIA's driver is not: built without the CUDA engine ('--cuda yes' builds it, too)."
    options=-Dcuda=disabled
elif [ "$cuda" = no ]; then options=-Dcuda=disabled
elif [ -n "$cuda" ]; then options=-Dcuda=auto; fi
[ -x build/cli/uprez ] || echo "Building (a minute or two) …"
# shellcheck disable=SC2086
targets=cli/uprez build_into build $options
uprez=$PWD/build/cli/uprez

if [ -z "$input" ]; then
    input=$PWD/build/demo.mp4
    [ -n "$output" ] || output=$PWD/build/demo.upscaled.mp4
    if [ ! -f "$input" ]; then
        echo "Making a clip of five seconds with sound: $input"
        # a rendered street, seen by a small camera that moves, softened and coded sparingly
        ffmpeg -v error -y -loop 1 -framerate 25 -i docs/scene/street-large.jpg \
            -f lavfi -i "sine=frequency=330:beep_factor=3" -t 5 \
            -vf "crop=1280:720:x='320*t/5':y='180*(1-t/5)',scale=480:270:flags=area,format=yuv420p" \
            -c:v libx264 -crf 25 -c:a aac -f mp4 "$input.part"
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

# The middle of the source, enlarged plainly, beside the same part of the result, as one picture.
before_after() {
    picture=${output%.*}.before-after.png
    size=$(ffprobe -v error -select_streams v:0 -show_entries stream=width,height -of csv=p=0:s=x "$output") || return 0
    w=${size%%x*} h=${size#*x} h=${h%%x*}
    [ "$w" -gt 0 ] && [ "$h" -gt 0 ] || return 0
    part="crop=min(iw\\,480):min(ih\\,540)"
    ffmpeg -v error -y -i "$1" -i "$output" -filter_complex "[0:v:0]scale=$w:$h:flags=bicubic,$part[a];
        [1:v:0]$part[b];[a][b]hstack" -frames:v 1 "$picture" 2>/dev/null &&
        echo "Before, enlarged plainly, and after: $picture"
}

# Asked for by this very command: a result of an earlier run is replaced.
code=0
"$uprez" -y "$input" "$output" || code=$?
if [ $code = 0 ] || [ $code = 8 ]; then
    echo "The result: $output"
    ! command -v ffmpeg >/dev/null || before_after "$input" || :
fi
exit $code
