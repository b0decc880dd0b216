#!/bin/bash
# Pictures and folders: depth, alpha, gray kept; a folder goes on after a bad file.
. "$(dirname "$0")/lib.sh"
need ffmpeg ffprobe python3
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

# a palette without transparency stays RGB, one with it keeps it; dots per inch stay
python3 - "$tmp" <<'P'
import struct, sys, zlib
def chunk(t, d): return struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d))
rows = b"".join(b"\0" + bytes((x + y) % 3 for x in range(8)) for y in range(8))
for name, trns in (("opaque", b"\xff\xff\xff\x00"), ("clear", b"\xff\x80")): # the fourth colour is never used
    open(f"{sys.argv[1]}/{name}.png", "wb").write(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 3, 0, 0, 0))
        + chunk(b"PLTE", bytes(range(0, 240, 20))) + chunk(b"tRNS", trns)
        + chunk(b"pHYs", struct.pack(">IIB", 11811, 5906, 1)) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
P
for n in opaque:rgb24 clear:rgba; do
    expect 0 "$UPREZ" -q -m lanczos -s 2 "$tmp/${n%:*}.png" "$tmp/p.png" -y
    [ "$(probe "$tmp/p.png" pix_fmt)" = "${n#*:}" ] || bad "${n%:*} palette became $(probe "$tmp/p.png" pix_fmt)"
done
from=$tmp/opaque.png
for to in dpi.png dpi.jpg dpi.tif dpi2.png; do
    expect 0 "$UPREZ" -q -m lanczos -s 2 "$from" "$tmp/$to"; from=$tmp/$to
    python3 - "$tmp/$to" <<'P' || bad "$to: other dots per inch"
import struct, sys
d = open(sys.argv[1], "rb").read()
if d[:4] == b"\x89PNG":
    at = d.index(b"pHYs") + 4
    assert d.count(b"pHYs") == 1 and d.index(b"pHYs") < d.index(b"IDAT")
    x, y, unit = struct.unpack(">IIB", d[at:at + 9])
    assert (x, y, unit) == (11811, 5906, 1), (x, y, unit)
elif d[:2] == b"\xff\xd8":
    assert struct.unpack(">BHH", d[13:18]) == (1, 300, 150), d[:20]
else:
    at, = struct.unpack("<I", d[4:8])
    n, = struct.unpack("<H", d[at:at + 2])
    tags = {t: v for t, _, _, v in struct.iter_unpack("<HHII", d[at + 2:at + 2 + 12 * n])}
    res = [struct.unpack("<II", d[tags[t]:tags[t] + 8]) for t in (282, 283)]
    assert [a / b for a, b in res] == [300, 150] and tags[296] == 2, (res, tags[296])
P
done

mkdir "$tmp/in"
cp "$P/lq_comic.png" "$tmp/in/2 with space.png"; cp "$P/lq_baboon.png" "$tmp/in/10.png"
expect 0 "$UPREZ" -q -m bicubic -s 2 "$tmp/in" "$tmp/made"
[ -f "$tmp/made/2 with space.png" ] && [ -f "$tmp/made/10.png" ] || bad "folder: $(ls "$tmp/made")"
# folders inside are named once, not entered; nothing to do leaves nothing behind
mkdir -p "$tmp/in/inner one" "$tmp/in/two" "$tmp/none/below"
expect 0 "$UPREZ" --progress none -y -m bicubic -s 2 "$tmp/in" "$tmp/made"; said "2 folders in $tmp/in are not entered: inner one, two"
[ "$(grep -c "not entered" "$tmp/err")" = 1 ] || bad "inner folders: $(cat "$tmp/err")"
expect 3 "$UPREZ" -m bicubic -s 2 "$tmp/none" "$tmp/none2"; said "below"
[ -e "$tmp/none2" ] && bad "an empty output folder was left"
expect 2 "$UPREZ" -m bicubic --ext avif "$tmp/in" "$tmp/none2"; said "avif"
[ -e "$tmp/none2" ] && bad "a refused run made a folder"
echo broken >"$tmp/in/5.png"
expect 3 "$UPREZ" -q -m bicubic -s 2 "$tmp/in" "$tmp/made2"
[ "$(ls "$tmp/made2" | wc -l)" = 2 ] || bad "a bad file stopped the folder: $(ls "$tmp/made2")"
# pictures in files that could hold a film, and from an address
one() { # INPUT SIZE: becomes a PNG of twice the size
    rm -f "$tmp/one.png"
    expect 0 "$UPREZ" -m lanczos -s 2 --progress none "$1" "$tmp/one.png"
    [ "$(probe "$tmp/one.png" width,height)" = "$2" ] || bad "$1: $(probe "$tmp/one.png" width,height) instead of $2"
}
ffmpeg -v error -f lavfi -i testsrc2=size=64x48 -frames:v 1 "$tmp/single.gif"
ffmpeg -v error -f lavfi -i testsrc2=size=64x48 -frames:v 1 -c:v ffv1 "$tmp/single.mkv"
ffmpeg -v error -f lavfi -i testsrc2=size=64x48 -frames:v 1 "$tmp/single.png"
one "$tmp/single.gif" 128,96
[ "$(probe "$tmp/one.png" pix_fmt)" = rgb24 ] || bad "an opaque GIF became $(probe "$tmp/one.png" pix_fmt)"
one "$tmp/single.mkv" 128,96
ffmpeg -v error -f lavfi -i testsrc2=size=16x16 -f lavfi -i testsrc2=size=48x48 -f lavfi -i testsrc2=size=32x32 \
    -map 0 -map 1 -map 2 -frames:v 1 -c:v png "$tmp/sizes.ico" && one "$tmp/sizes.ico" 96,96
ffmpeg -v error -f lavfi -i testsrc2=size=64x48 -frames:v 1 -c:v libaom-av1 -still-picture 1 "$tmp/single.avif" 2>/dev/null &&
    ffprobe -v error "$tmp/single.avif" 2>/dev/null && one "$tmp/single.avif" 128,96
ffmpeg -v error -f lavfi -i testsrc2=size=64x48:rate=5:duration=1 "$tmp/moves.gif"
expect 2 "$UPREZ" -m lanczos -s 2 "$tmp/moves.gif" "$tmp/moves.png"
if command -v python3 >/dev/null; then
    (cd "$tmp" && exec python3 -u -c 'import http.server
s = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
print(s.server_port)
s.serve_forever()' >port 2>/dev/null) &
    server=$!
    for i in $(seq 100); do [ -s "$tmp/port" ] && break; sleep 0.1; done
    one "http://127.0.0.1:$(cat "$tmp/port")/single.png" 128,96
    kill $server
fi
# two files of a folder that want one name: nothing is touched; files that keep apart are fine
mkdir "$tmp/twins"
ffmpeg -v error -f lavfi -i testsrc2=size=32x24 -frames:v 1 "$tmp/twins/a.bmp" -frames:v 1 "$tmp/twins/b.png"
cp "$tmp/twins/b.png" "$tmp/twins/a.png"; echo text >"$tmp/twins/a.txt"
expect 2 "$UPREZ" -q -m lanczos "$tmp/twins" "$tmp/twins.out"; said "a.bmp and a.png"
[ ! -e "$tmp/twins.out" ] || bad "a clash of names, and the folder was made"
rm "$tmp/twins/a.png"
expect 0 "$UPREZ" -q -m lanczos "$tmp/twins" "$tmp/twins.out"
[ "$(ls "$tmp/twins.out" | tr '\n' ' ')" = "a.png b.png " ] || bad "twins: $(ls "$tmp/twins.out")"
# TIFF: pages are counted, what cannot be read is refused
python3 - "$tmp" <<'P'
import struct, sys


def tiff(path, pages, tiles=False, how=1):
    """Pages of 16x16 RGB, each (colour, new subfile type)."""
    out, at = b"II*\0", 8
    body, offsets = b"", []
    for colour, kind in pages:
        data = bytes(colour) * 256
        where = 8 + len(body)
        body += data
        tags = [(254, 4, kind), (256, 3, 16), (257, 3, 16), (258, 3, 8), (259, 3, how), (262, 3, 2), (277, 3, 3)]
        tags += [(322, 3, 16), (323, 3, 16), (324, 4, where), (325, 4, 768)] if tiles else \
                [(273, 4, where), (278, 3, 16), (279, 4, 768)]
        tags.sort()
        offsets.append(8 + len(body))
        body += struct.pack("<H", len(tags))
        for tag, t, v in tags:
            body += struct.pack("<HHI", tag, t, 1) + (struct.pack("<HH", v, 0) if t == 3 else struct.pack("<I", v))
        body += struct.pack("<I", 0)
    body = bytearray(body)
    for a, b in zip(offsets, offsets[1:]):
        n = struct.unpack_from("<H", body, a - 8)[0]
        struct.pack_into("<I", body, a - 8 + 2 + 12 * n, b)
    open(path, "wb").write(out + struct.pack("<I", offsets[0]) + bytes(body))


red, blue = (200, 10, 10), (10, 10, 200)
tiff(sys.argv[1] + "/pages.tif", [(red, 0), (blue, 1), (blue, 0)])
tiff(sys.argv[1] + "/page.tif", [(red, 0), (blue, 1)])
tiff(sys.argv[1] + "/tiles.tif", [(red, 0)], tiles=True)
tiff(sys.argv[1] + "/jpeg.tif", [(red, 0)], how=7)
P
expect 0 "$UPREZ" --progress none -m lanczos "$tmp/pages.tif" "$tmp/pages.png"; said "has 2 pages"
expect 0 "$UPREZ" --progress none -m lanczos "$tmp/page.tif" "$tmp/page.png"
! grep -q pages "$tmp/err" || bad "a thumbnail counted as a page"
expect 3 "$UPREZ" -q -m lanczos "$tmp/tiles.tif" "$tmp/tiles.png"; said "in tiles"
expect 3 "$UPREZ" -q -m lanczos "$tmp/jpeg.tif" "$tmp/jpeg.png"
[ ! -e "$tmp/tiles.png" ] || bad "a tiled TIFF gave a picture"

# what stands under alpha 0 bleeds into no edge, and a picture of one colour is not "flat"
for hidden in 0 255; do
    for f in rgba rgba64be ya8; do
        ffmpeg -nostdin -v error -y -f lavfi -i "color=gray:size=48x48:rate=1:duration=1,format=rgba,geq=r='if(lt(hypot(X-24,Y-24),15),190,$hidden)':g='if(lt(hypot(X-24,Y-24),15),190,$hidden)':b='if(lt(hypot(X-24,Y-24),15),190,$hidden)':a='if(lt(hypot(X-24,Y-24),15),255,0)'" -frames:v 1 -pix_fmt "$f" "$tmp/sprite.png"
        for o in "-m lanczos -s 2" "-m bicubic -s 3.4" "-m lanczos -s 0.6" "-m uprez-fast-2x" "-m uprez-fast-2x --tta"; do
            expect 0 "$UPREZ" -q -y $o "$tmp/sprite.png" "$tmp/sprite2.png"
            ffmpeg -nostdin -v error -i "$tmp/sprite2.png" -f rawvideo -pix_fmt rgba - | python3 -c '
import sys
p = sys.stdin.buffer.read()
seen = [p[i] for i in range(0, len(p), 4) if p[i + 3] > 2]
sys.exit(not seen or max(abs(v - 190) for v in seen) > 8)' || bad "$f $o: what is hidden ($hidden) is seen at the edge"
        done
    done
done
finish
