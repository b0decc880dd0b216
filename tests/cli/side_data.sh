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
finish
