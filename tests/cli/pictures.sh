#!/bin/bash
# Pictures and folders: depth, alpha, gray kept; a folder goes on after a bad file.
. "$(dirname "$0")/lib.sh"
need ffmpeg ffprobe
need_media
P=$SHARED/media/images/realworld

check() { # FILE OUT PIX_FMT
    expect 0 "$UPREZ" -q -m lanczos -s 2 "$P/$1" "$tmp/$2"
    [ "$(probe "$tmp/$2" pix_fmt)" = "$3" ] || bad "$1 -> $2 is $(probe "$tmp/$2" pix_fmt), not $3"
    w=$(probe "$P/$1" width); [ "$(probe "$tmp/$2" width)" = $((2 * w)) ] || bad "$1 -> $2: width"
}
check lq_comic.png a.png rgb24
check 00017_gray.png b.png gray
check children-alpha.png c.png rgba
check tree_alpha_16bit.png d.png rgba64be
check 0014.jpg e.png rgb24
check lq_baboon.png f.jpg yuvj444p
expect 0 "$UPREZ" -q -m lanczos -s 2 "$P/lq_baboon.png" "$tmp/g.webp"
[ "$(probe "$tmp/g.webp" width,height)" = 246,240 ] || bad "webp: $(probe "$tmp/g.webp" width,height)"

mkdir "$tmp/in"
cp "$P/lq_comic.png" "$tmp/in/2 with space.png"; cp "$P/lq_baboon.png" "$tmp/in/10.png"
expect 0 "$UPREZ" -q -m bicubic -s 2 "$tmp/in" "$tmp/made"
[ -f "$tmp/made/2 with space.png" ] && [ -f "$tmp/made/10.png" ] || bad "folder: $(ls "$tmp/made")"
echo broken >"$tmp/in/5.png"
expect 3 "$UPREZ" -q -m bicubic -s 2 "$tmp/in" "$tmp/made2"
[ "$(ls "$tmp/made2" | wc -l)" = 2 ] || bad "a bad file stopped the folder: $(ls "$tmp/made2")"
finish
