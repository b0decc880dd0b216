#!/bin/bash
# The pictures in README.md: our own scene, small; enlarged four times by a classical kernel and by a
# network; the same details of both beside each other.
#
# usage: docs/scene/render.sh [MODEL]    (needs povray, ffmpeg, a built uprez in $UPREZ or build/)
set -eu
cd "$(dirname "$0")"
model=${1:-realesr-general-x4v3}
uprez=${UPREZ:-../../build/cli/uprez}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

[ -f street.png ] || povray +Istreet.pov +O"$PWD/street.png" +W320 +H180 +A0.1 +AM2 +R3 -D 2>/dev/null
"$uprez" -q -y -m lanczos -s 4 street.png "$tmp/kernel.png"
"$uprez" -q -y -m "$model" -s 4 street.png "$tmp/network.png"
# whole picture, and three details: lettering, bicycle and shutters, leaves and fence
ffmpeg -v error -y -i "$tmp/network.png" -q:v 4 -pix_fmt yuvj420p street-x4.jpg
details='split=3[a][b][c];[a]crop=480:230:370:30[a2];[b]crop=480:270:190:400[b2];[c]crop=480:270:800:400[c2];[a2][b2][c2]vstack=3'
for k in kernel network; do
    ffmpeg -v error -y -i "$tmp/$k.png" -vf "$details" "$tmp/$k-details.png"
done
ffmpeg -v error -y -i "$tmp/kernel-details.png" -i "$tmp/network-details.png" \
    -filter_complex '[0]pad=iw+8:ih:0:0:white[l];[l][1]hstack' -q:v 3 -pix_fmt yuvj444p details.jpg
ls -l street.png street-x4.jpg details.jpg
# docs/models.md: a compressed clip of the same street, enlarged twice by three models
[ -f street-large.jpg ] || {
    povray +Istreet.pov +O"$tmp/large.png" +W1600 +H900 +A0.1 +AM2 +R3 -D 2>/dev/null
    ffmpeg -v error -y -i "$tmp/large.png" -q:v 4 -pix_fmt yuvj444p street-large.jpg
}
ffmpeg -v error -y -loop 1 -framerate 25 -i street-large.jpg -t 0.4 \
    -vf "crop=1280:720:x='320*t/5':y='180*(1-t/5)',gblur=0.7,scale=480:270:flags=area,format=yuv420p" \
    -c:v libx264 -crf 25 "$tmp/in.mp4"
i=0
for m in lanczos uprez-video-2x "$model"; do
    i=$((i + 1))
    "$uprez" -q -y -m "$m" -s 2 --encoder ffv1 --frames 8 "$tmp/in.mp4" "$tmp/$i.mkv"
    ffmpeg -v error -y -i "$tmp/$i.mkv" -vf "select=eq(n\,6),split=3[a][b][c];[a]crop=310:150:60:0[a2];
        [b]crop=310:170:40:220[b2];[c]crop=310:170:560:300[c2];[a2][b2][c2]vstack=3" -frames:v 1 "$tmp/$i.png"
done
ffmpeg -v error -y -i "$tmp/1.png" -i "$tmp/2.png" -i "$tmp/3.png" -filter_complex \
    "[0]pad=iw+6:ih:0:0:white[a];[1]pad=iw+6:ih:0:0:white[b];[a][b][2]hstack=3" -q:v 3 -pix_fmt yuvj444p built-in.jpg
