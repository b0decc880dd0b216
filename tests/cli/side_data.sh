#!/bin/bash
# What a source says beside its pixels: kept, converted, or named in one line. Judges are ffprobe and
# plain Python that reads the boxes and chunks by itself.
. "$(dirname "$0")/lib.sh"
need ffmpeg ffprobe python3
cd "$tmp" || exit 1
up() { "$UPREZ" --progress none -m lanczos -s 2 -y "$@" </dev/null; }
ff() { ffmpeg -nostdin -v error -y "$@" || bad "ffmpeg cannot build the input: $*"; }
tags() { ffprobe -v error -show_entries "${2:-format_tags}" -of default=nw=1 "$1"; }
has() { tags "$1" "${3:-format_tags}" | grep -qiF -- "$2" || bad "$1 has no tag '$2'"; }
clip="-f lavfi -i testsrc2=size=64x48:rate=25:duration=0.2 -f lavfi -i sine=duration=0.2 -c:v libx264 -preset ultrafast -c:a aac"

# ---- tags of any name in MP4 and MOV, beside iTunes' own; titles, languages, the time of creation
# shellcheck disable=SC2086
ff $clip -metadata title=A-title -metadata artist=A-name -metadata "comment=Ünïcode — 日本" \
    -metadata com.apple.quicktime.make=Maker -metadata com.apple.quicktime.location.ISO6709=+50.0500+010.0300/ \
    -metadata com.android.version=14 -metadata "own_words=x=y;z" -metadata creation_time=2024-05-01T08:00:00Z \
    -metadata lyrics=la -metadata:s:v title=V-title -metadata:s:a title=S-title -metadata:s:a language=deu tags.mkv
for out in t.mp4 t.mov t.m4v; do
    expect 0 up tags.mkv $out
    for t in title=A-title artist=A-name "comment=Ünïcode — 日本" com.apple.quicktime.make=Maker \
        com.apple.quicktime.location.ISO6709=+50.0500+010.0300/ com.android.version=14 "own_words=x=y;z" \
        creation_time=2024-05-01T08:00:00; do has $out "$t"; done
    [ $out = t.mov ] || has $out lyrics=la
    has $out V-title stream_tags
    has $out S-title stream_tags
    tags $out stream_tags=language | grep -qE '=(deu|ger)$' || bad "$out: the sound's language is lost"
done
# the names that phones know, in QuickTime's box; the title in iTunes'; no placeholder stays
python3 - t.mp4 t.mov <<'P' || bad "the boxes of tags are not what they should be"
import struct, sys
def boxes(d):
    at = 0
    while at + 8 <= len(d):
        n, name = struct.unpack(">I4s", d[at:at + 8])
        assert 8 <= n <= len(d) - at, (name, n)
        yield name, d[at + 8:at + n]
        at += n
    assert at == len(d)
for path in sys.argv[1:]:
    moov = dict(boxes(open(path, "rb").read()))[b"moov"]
    assert b"uprez keeps" not in moov
    top = dict(boxes(moov))
    meta = dict(boxes(top[b"meta"]))
    assert meta[b"hdlr"][8:12] == b"mdta"
    keys = [k for _, k in boxes(meta[b"keys"][8:])]
    values = [dict(boxes(v))[b"data"][8:] for _, v in boxes(meta[b"ilst"])]
    assert len(keys) == len(values) == struct.unpack(">I", meta[b"keys"][4:8])[0]
    assert dict(zip(keys, values))[b"com.apple.quicktime.location.ISO6709"] == b"+50.0500+010.0300/", keys
    udta = dict(boxes(top[b"udta"]))
    if path.endswith("mp4"):
        assert b"\xa9nam" in dict(boxes(dict(boxes(udta[b"meta"][4:]))[b"ilst"]))
    else:
        assert b"\xa9nam" in udta
P
# round and round: nothing is lost, nothing doubled
expect 0 up t.mov t2.mp4
expect 0 up t2.mp4 t3.mov
n=$(tags t3.mov | grep -c -iE '^TAG:(title|own_words|com\.)'); [ "$n" = 5 ] || bad "after three passes $n of 5 tags"

# ---- how the picture is turned or mirrored: told by the stream itself or by the container
matrix() { # the four numbers that turn, of the stream or else of its first frame
    ffprobe -v error -select_streams v -read_intervals '%+#1' -show_streams -show_frames "$1" |
        sed -n '/^displaymatrix=/,/^rotation=/p' | grep -E '^0000000[01]:' | head -2 | awk '{print $2, $3}' | paste -sd' '
}
# shellcheck disable=SC2086
ff $clip flat.mp4
for how in rotate=90 rotate=180 rotate=270 flip=horizontal flip=vertical rotate=90:flip=horizontal; do
    ff -i flat.mp4 -c copy -bsf:v "h264_metadata=display_orientation=insert:$how" turned.mkv
    a=$(matrix turned.mkv); [ -n "$a" ] || bad "$how: the input is not turned: the check is void"
    for out in turned.mp4 turned.mov; do
        expect 0 up turned.mkv $out
        [ "$(matrix $out)" = "$a" ] || bad "$how into $out: '$(matrix $out)' instead of '$a'"
    done
    # in view: the corners of the picture are where its left upper corner is 0, 0
    python3 - turned.mp4 <<'P' || bad "$how: the turned picture is out of view"
import struct, sys
d = open(sys.argv[1], "rb").read(); at = d.index(b"tkhd")
m = struct.unpack(">9i", d[at + 44:at + 80]); w, h = struct.unpack(">2I", d[at + 80:at + 88])
one = 65536.0
c = [(x * m[0] / one + y * m[3] / one + m[6] / one, x * m[1] / one + y * m[4] / one + m[7] / one)
     for x in (0, w / one) for y in (0, h / one)]
sys.exit(abs(min(x for x, _ in c)) > 0.01 or abs(min(y for _, y in c)) > 0.01)
P
    expect 0 up turned.mkv turned.avi; said "the picture is shown"
    expect 7 up --strict-streams turned.mkv turned2.avi; said "the picture is shown"
done
finish
