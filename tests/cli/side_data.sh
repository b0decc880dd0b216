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

# ---- what lies beside each frame: kept where the encoder can, said once where it cannot
cat >messages.py <<'P'
"""messages.py CODEC IN OUT KIND…: puts T.35 messages (SEI) in front of each picture of a raw stream"""
import re, sys
codec, source, target, kinds = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]
def bits(*fields):
    value = n = 0
    for v, k in fields: value, n = value << k | v, n + k
    pad = -n % 8
    return (value << pad).to_bytes((n + pad) // 8, "big")
def payload(kind):
    if kind == "captions":
        return b"\xb5\0\x31GA94\3" + bits((1, 1), (1, 1), (0, 1), (3, 5), (255, 8)) + \
            bytes([0xFC, 0x94, 0x20, 0xFD, 0x80, 0x80, 0xFC, 0xC8, 0xE9]) + b"\xff"
    assert kind == "hdr10+"  # ST 2094-40: one window, no curves
    return b"\xb5\0\x3c\0\1\4" + bits((1, 8), (1, 2), (400, 27), (0, 1), *[(5000 + i, 17) for i in range(3)],
                                       (1200, 17), (1, 4), (50, 7), (9000, 17), (10, 10), (0, 1), (0, 1), (0, 1))
def message(kind):
    p = payload(kind)
    body = b"\4" + bytes([len(p)]) + p + b"\x80"
    body = re.sub(b"\0\0(?=[\0-\3])", b"\0\0\3", body)
    return b"\0\0\0\1" + (b"\6" if codec == "h264" else b"\x4e\1") + body
out = b""
for nal in re.split(b"\0*\0\0\1", open(source, "rb").read())[1:]:
    kind = nal[0] & 31 if codec == "h264" else nal[0] >> 1 & 63
    first = nal[1] & 128 if codec == "h264" else nal[2] & 128
    if first and (1 <= kind <= 5 if codec == "h264" else kind < 32): out += b"".join(map(message, kinds))
    out += b"\0\0\0\1" + nal
open(target, "wb").write(out)
P
count() { ffprobe -v error -select_streams v -show_frames "$1" 2>/dev/null | grep -c "$2"; }
encoder() { ffmpeg -v error -encoders | grep -qw "$1"; }
ff -f lavfi -i testsrc2=size=64x48:rate=25:duration=0.4 -c:v libx264 -preset ultrafast -bf 0 -f h264 plain.h264
python3 messages.py h264 plain.h264 cc.h264 captions
ff -framerate 25 -i cc.h264 -c copy cc.mp4
[ "$(count cc.mp4 A53)" = 10 ] || bad "the input has no captions: the check is void"
expect 0 up --strict-streams cc.mp4 cc.mkv
[ "$(count cc.mkv A53)" = 10 ] || bad "H.264 loses captions"
grep -q lost err && bad "kept captions are said to be lost"
for c in libx265:e.mkv ffv1:f.mkv libvpx-vp9:g.webm mpeg4:h.mp4 gif:i.gif; do
    encoder "${c%:*}" || continue
    expect 0 up -c "${c%:*}" cc.mp4 "${c#*:}"
    n=$(count "${c#*:}" A53); m=$(grep -c 'captions .*lost' err)
    [ "$n:$m" = 10:0 ] || [ "$n:$m" = 0:1 ] || bad "${c%:*}: captions on $n of 10 frames, said $m times"
    [ "$n" = 10 ] || { expect 7 up -c "${c%:*}" --strict-streams cc.mp4 "x${c#*:}"; said captions
        [ -e "x${c#*:}" ] && bad "--strict-streams left a file"; }
done
up cc.mp4 - 2>err >/dev/null; grep -q 'captions .*lost' err || bad "y4m: captions are lost without a word"
# captions that begin late, after the frames that are looked at before the work
ff -f lavfi -i testsrc2=size=64x48:rate=25:duration=1.6 -c:v libx264 -preset ultrafast -bf 0 -f h264 before.h264
cat before.h264 cc.h264 >late.h264; ff -framerate 25 -i late.h264 -c copy late.mkv
expect 0 up late.mkv late.mp4; grep -q lost err && bad "late captions that are kept are said to be lost"
[ "$(count late.mp4 A53)" = 10 ] || bad "late captions are lost"
expect 0 up -c mpeg4 late.mkv late2.mp4; said "captions"
if encoder libx265; then
    ff -f lavfi -i testsrc2=size=64x48:rate=25:duration=0.4 -pix_fmt yuv420p10le -c:v libx265 -x265-params log-level=none:bframes=0:repeat-headers=1 \
        -color_primaries bt2020 -color_trc smpte2084 -colorspace bt2020nc -f hevc plain.hevc
    python3 messages.py hevc plain.hevc plus.hevc hdr10+ captions
    ff -framerate 25 -i plus.hevc -c copy plus.mkv
    [ "$(count plus.mkv 2094-40)" = 10 ] || bad "the input has no HDR10+: the check is void"
    said_plus() { ffprobe -v error -select_streams v -show_frames "$1" | sed -n '/2094-40/,/SIDE_DATA\]/p'; }
    said_plus plus.mkv >want
    for out in p.mp4 p.mkv p.ts; do # with pictures out of order, and captions beside it
        expect 0 up --strict-streams -c libx265 plus.mkv $out
        said_plus $out | cmp -s - want || bad "$out: HDR10+ is not what it was"
        [ "$(count $out A53)" = 10 ] || bad "$out: captions beside HDR10+ are lost"
    done
    for c in libx264:r.mp4 ffv1:q.mkv libvpx-vp9:s.webm; do
        encoder "${c%:*}" || continue
        expect 0 up -c "${c%:*}" plus.mkv "${c#*:}"
        n=$(count "${c#*:}" 2094-40); m=$(grep -c 'HDR10+ .*lost' err)
        [ "$n:$m" = 10:0 ] || [ "$n:$m" = 0:1 ] || bad "${c}: HDR10+ on $n of 10 frames, said $m times"
    done
fi

# ---- tags, titles, roles, chapters, the timecode: one line a container for what it cannot hold
printf ';FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=100\ntitle=One\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=100\nEND=200\ntitle=Two\n' >chapters.txt
ff -i tags.mkv -i chapters.txt -map 0 -map_chapters 1 -c copy -disposition:a:0 hearing_impaired rich.mkv
expect 0 up --strict-streams rich.mkv rich2.mkv
grep -q lost err && bad "Matroska is said to lose what it keeps"
for out in r.avi r.ts r.flv r.gif r.mpg r.mp4; do
    expect 0 up rich.mkv $out
    t=$(tags $out format_tags:stream_tags:program_tags); lost=$(grep -c 'tags .*lost' err)
    for v in A-name Maker x=y; do
        grep -qF "$v" <<<"$t" || [ "$lost" = 1 ] || bad "$out: '$v' is lost without a word, or with $lost"
    done
    n=$(ffprobe -v error -show_entries chapter=id -of csv=p=0 $out | grep -c .)
    [ "$n" = 2 ] || [ "$(grep -c 'chapters are lost: 2 of 2' err)" = 1 ] || bad "$out: $n chapters, unsaid"
    [ "$out" = r.gif ] || [ "$(ffprobe -v error -select_streams a -show_entries stream_disposition=hearing_impaired -of csv=p=0 $out | head -1 | tr -d ,)" = 1 ] ||
        grep -q "role (for the deaf)" err || bad "$out: the role of the sound is lost without a word"
done
expect 0 up --strict-streams --streams-from rich.mkv flat.mp4 from.mkv # chapters of the other file
[ "$(ffprobe -v error -show_entries chapter=id -of csv=p=0 from.mkv | grep -c .)" = 2 ] || bad "--streams-from: no chapters"
expect 7 up --strict-streams rich.mkv strict.avi; said "tags that such a file cannot hold"
ff -i flat.mp4 -c copy -timecode 01:02:03:04 time.mov
for out in c.mp4 c.mkv c.avi c.ts; do
    expect 0 up time.mov $out
    [ "$(grep -cE 'timecode is lost|tmcd.*dropped' err)" = "$(tags $out format_tags:stream_tags | grep -q 01:02:03 && echo 0 || echo 1)" ] ||
        bad "$out: the timecode: $(grep -iE 'timecode|tmcd' err | head -2)"
done

# ---- ProRes stays the kind it was
if encoder prores_ks; then
    for k in 0:apco 1:apcs 2:apcn 3:apch 4:ap4h 5:ap4x; do
        f=yuv422p10le; [ "${k%:*}" -ge 4 ] && f=yuv444p10le
        ff -f lavfi -i "testsrc2=size=64x48:rate=25:duration=0.12,format=$f" -c:v prores_ks -profile:v "${k%:*}" pro.mov
        expect 0 up -c prores_ks pro.mov pro2.mov
        [ "$(probe pro2.mov codec_tag_string | tr -d ,)" = "${k#*:}" ] || bad "ProRes ${k#*:} becomes $(probe pro2.mov codec_tag_string)"
    done
fi
finish
