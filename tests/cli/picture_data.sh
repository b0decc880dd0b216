#!/bin/bash
# What a picture's file says beside its pixels, in all pairs of kinds: kept, converted, or named in one
# line. Judges are plain Python that reads chunks and profiles by itself, and ExifTool.
. "$(dirname "$0")/lib.sh"
need ffmpeg python3
cd "$tmp" || exit 1
up() { "$UPREZ" --progress none -m lanczos -s 2 -y "$@" </dev/null; }
cat >png.py <<'P'
import struct, sys, zlib
def chunk(t, d): return struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d))
def write(path, extra, after=()):
    rows = b"".join(b"\0" + bytes((x * 5 + y * 3 + c * 40) % 256 for x in range(32) for c in range(3)) for y in range(24))
    d = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 24, 8, 2, 0, 0, 0))
    d += b"".join(chunk(*c) for c in extra) + chunk(b"IDAT", zlib.compress(rows))
    open(path, "wb").write(d + b"".join(chunk(*c) for c in after) + chunk(b"IEND", b""))
def read(path):
    d = open(path, "rb").read(); at = 8; out = []
    while at < len(d):
        n, = struct.unpack(">I", d[at:at + 4]); t, v = d[at + 4:at + 8], d[at + 8:at + 8 + n]
        assert zlib.crc32(t + v) == struct.unpack(">I", d[at + 8 + n:at + 12 + n])[0]
        out.append((t, v)); at += 12 + n
    return out
P
export PYTHONPATH=$tmp

# ---- PNG's texts, in front of and behind the pixels, packed and not
python3 - <<'P'
import png, zlib
png.write("text.png", [(b"tEXt", b"parameters\0a castle, steps: 20"), (b"zTXt", b"Long\0\0" + zlib.compress(b"word " * 500)),
    (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x:xmpmeta xmlns:x=\"adobe:ns:meta/\"/>"), (b"tIME", b"\x07\xe8\5\1\12\0\0")],
    [(b"iTXt", b"Title\0\1\0de\0Titel\0" + zlib.compress("schön".encode())), (b"tEXt", b"late\0behind")])
P
expect 0 up text.png text2.png; grep -q lost err && bad "kept texts are said to be lost"
python3 - <<'P' || bad "texts of a PNG are not what they were"
import png, sys
kinds = (b"tEXt", b"zTXt", b"iTXt", b"tIME")
a, b = [[c for c in png.read(p) if c[0] in kinds] for p in ("text.png", "text2.png")]
sys.exit(sorted(a) != sorted(b))
P
expect 0 up text.png text.jpg
for w in "parameters: a castle, steps: 20" "word word" xmpmeta "Title: schön" "late: behind"; do
    grep -qaF "$w" text.jpg || bad "JPEG: '$w' is lost"; done
expect 0 up text.png text.tif
for w in "parameters: a castle" xmpmeta "Title: schön"; do grep -qaF "$w" text.tif || bad "TIFF: '$w' is lost"; done
expect 0 up text.png text.webp; said "the text 'parameters'"
[ "$(grep -c 'metadata of' err)" = 1 ] || bad "WebP: not one line"
grep -qa xmpmeta text.webp || bad "WebP: XMP is lost"
expect 7 up --strict-streams text.png strict.webp; said "the text 'parameters'"
[ -e strict.webp ] && bad "--strict-streams left a file"
expect 0 up --strict-streams text.png strict.png
printf 'GIF89a\1\0\1\0\200\0\0\0\0\0\377\377\377!\376\12made by me\0,\0\0\0\0\1\0\1\0\0\2\2D\1\0;' >c.gif
expect 0 up c.gif gif.png; grep -qa "made by me" gif.png || bad "GIF's comment is lost without a word"

# ---- what the numbers mean: chunks stay; other files get a profile
python3 - <<'P'
import png, struct
g = lambda v: (b"gAMA", struct.pack(">I", v))
chrm = (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000))  # Adobe RGB
png.write("linear.png", [g(100000)]); png.write("adobe.png", [g(45455), chrm])
png.write("srgb.png", [g(45455), (b"sRGB", b"\0")]); png.write("usual.png", [g(45455)])
png.write("p3.png", [(b"cICP", bytes([12, 13, 0, 1]))]); png.write("pq.png", [(b"cICP", bytes([9, 16, 0, 1]))])
P
for n in linear adobe srgb usual p3 pq; do
    expect 0 up $n.png $n.out.png
    python3 - $n.png $n.out.png <<'P' || bad "$n: PNG's words about colours are not what they were"
import png, sys
kinds = (b"gAMA", b"cHRM", b"sRGB", b"cICP", b"iCCP")
a, b = [sorted(c for c in png.read(p) if c[0] in kinds) for p in sys.argv[1:]]
sys.exit(a != b)
P
    for e in jpg tif webp; do
        expect 0 up $n.png $n.$e
        [ $n = pq ] && said "the meaning of its colours"
    done
done
python3 - <<'P' || bad "a profile does not say what PNG's chunks said"
import struct, sys
def profile(path):
    d = open(path, "rb").read(); at = d.find(b"acsp")
    if at < 0: return None
    d = d[at - 36:]; size, = struct.unpack(">I", d[:4]); tags = {}
    for i in range(struct.unpack(">I", d[128:132])[0]):
        t, o, n = struct.unpack(">4sII", d[132 + 12 * i:144 + 12 * i]); assert o + n <= size; tags[t] = d[o:o + n]
    return tags
def xyz(t): return [v / 65536 for v in struct.unpack(">3i", t[8:20])]
def curve(t, x):
    n, = struct.unpack(">I", t[8:12]); v = struct.unpack(">%dH" % n, t[12:12 + 2 * n]); return v[round(x * (n - 1))] / 65535
def near(a, b, e): return all(abs(x - y) < e for x, y in zip(a, b))
srgb = lambda v: v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4
# colorants under D50 as colour.org and Apple publish them
want = {"linear": (lambda v: v, [(0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7139)]),
        "adobe": (lambda v: v ** 2.2, [(0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446)]),
        "p3": (srgb, [(0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841)])}
for name, (f, columns) in want.items():
    for e in ("jpg", "tif", "webp"):
        t = profile(name + "." + e)
        assert t, (name, e)
        for c, w in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns): assert near(xyz(t[c]), w, 0.0015), (name, c, xyz(t[c]))
        for x in (0.1, 0.5, 0.9): assert abs(curve(t[b"gTRC"], x) - f(round(x * 1023) / 1023)) < 0.002, (name, x)
for name in ("srgb", "usual"):
    for e in ("jpg", "tif", "webp"): assert profile(name + "." + e) is None, (name, e)
P

# ---- EXIF, GPS, XMP, IPTC, comments, from every kind into every kind, in both byte orders
if ! command -v exiftool >/dev/null; then
    echo "not tried: EXIF of all pairs (exiftool is not installed)"
    finish
fi
ffmpeg -nostdin -v error -y -f lavfi -i testsrc2=size=48x40 -frames:v 1 a.png
for e in jpg tif webp; do ffmpeg -nostdin -v error -y -i a.png a.$e || bad "no $e to try"; done
tag() { exiftool -q -overwrite_original "$@" 2>/dev/null; }
for e in png jpg tif webp; do
    for order in II MM; do
        cp a.$e $order.$e
        [ $e = tif ] && [ $order = MM ] && python3 - MM.tif <<'P'
import struct, sys  # a TIFF of the other byte order
rows = bytes(range(256)) * 3
tags = [(256, 4, 1, 16), (257, 4, 1, 16), (258, 3, 1, 8 << 16), (259, 3, 1, 1 << 16), (262, 3, 1, 1 << 16), (273, 4, 1, 8), (277, 3, 1, 1 << 16), (278, 4, 1, 16), (279, 4, 1, 256)]
open(sys.argv[1], "wb").write(b"MM\0*" + struct.pack(">I", 8 + 256) + rows[:256] + struct.pack(">H", len(tags)) +
    b"".join(struct.pack(">HHII", *t) for t in tags) + bytes(4))
P
        tag -ExifByteOrder=$order -EXIF:ImageDescription="the old mill" -EXIF:Make=Maker -EXIF:DateTimeOriginal="2024:05:01 10:00:00" \
            -EXIF:FNumber=2.8 -EXIF:UserComment="a castle" -EXIF:GPSLatitude=50.05 -EXIF:GPSLatitudeRef=N -EXIF:Orientation#=6 \
            -EXIF:ExifImageWidth=48 -EXIF:InteropIndex=R98 -EXIF:LensInfo="24 70 2.8 2.8" -XMP-dc:Title=Xtitle $order.$e
        [ $e = webp ] || tag -IPTC:City=Wetzlar -IPTC:Keywords=one -IPTC:Keywords=two $order.$e
    done
done
tag -Comment="a comment" II.jpg
list() { exiftool -s -s -ImageDescription -Make -DateTimeOriginal -FNumber -UserComment -GPSLatitude -Orientation -InteropIndex -LensInfo -XMP:Title -IPTC:City -Keywords "$1" | sort; }
for i in png jpg tif webp; do
    for o in png jpg tif webp; do
        case $i in tif) orders="II MM" ;; png) orders=II ;; *) orders=MM ;; esac
        for order in $orders; do
            list $order.$i >want; [ "$(wc -l <want)" -ge 10 ] || bad "$order.$i has few tags: the check is void"
            expect 0 up $order.$i out.$o
            [ $o = webp ] && grep -q City want && { said IPTC; sed -i '/^City\|^Keywords/d' want; }
            list out.$o >got
            diff want got >diff.txt || bad "$order.$i into $o: $(tr '\n' ' ' <diff.txt)"
            width=$(exiftool -s3 -ExifImageWidth out.$o); real=$(exiftool -s3 -File:ImageWidth -PNG:ImageWidth -RIFF:ImageWidth -IFD0:ImageWidth out.$o | tail -1)
            [ -z "$width" ] || [ "$width" = "$real" ] || bad "$order.$i into $o: EXIF's width is $width of $real"
            [ -z "$(exiftool -s3 -Warning out.$o)" ] || bad "$order.$i into $o: $(exiftool -s3 -Warning out.$o)"
        done
    done
done
expect 0 up II.jpg c.png; [ "$(exiftool -s3 -Comment c.png)" = "a comment" ] || bad "JPEG's comment is not in the PNG"
expect 0 up II.jpg c.webp; said "the text 'Comment'"
# a block that is too long for a JPEG's segment, because of its thumbnail
head -c 66000 /dev/urandom | base64 -w0 | head -c 66000 >long; cp a.png long.png
tag -EXIF:ImageDescription="the old mill" "-EXIF:UserComment<=long" long.png
expect 0 up long.png long.jpg; grep -q "EXIF (too long" err || [ -n "$(exiftool -s3 -UserComment long.jpg)" ] || bad "EXIF too long for a JPEG is lost without a word"
finish
