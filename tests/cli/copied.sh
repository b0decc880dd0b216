#!/bin/bash
# What is copied beside the picture and does not come whole: a source or a second file that ends while
# it is copied, packets that the container does not take, headers that cannot be decoded. Kept, said,
# exit 8.
. "$(dirname "$0")/lib.sh"
need ffmpeg ffprobe python3
cd "$tmp" || exit 1
ff() { ffmpeg -v error -y -nostdin "$@" 2>fferr || { bad "ffmpeg cannot build a source: $(tail -1 fferr)"; }; }
up() { "$UPREZ" --progress none -m lanczos -s 1 --preset ultrafast -y "$@" </dev/null; }
packets() { ffprobe -v error -count_packets -select_streams "$2" -show_entries stream=nb_read_packets -of csv=p=0 "$1" | tr -d , | head -1; }
cut_to() { head -c $(($(stat -c %s "$1") * $2 / 100)) "$1" >"$3"; }
x264="-c:v libx264 -preset ultrafast -pix_fmt yuv420p"
ff -f lavfi -i testsrc2=size=64x48:rate=25:duration=8 -f lavfi -i anoisesrc=duration=8:r=48000 -map 0 -map 1 -map 1 -map 1 $x264 -c:a pcm_s24le whole.mkv
ff -i whole.mkv -map 0:v -c copy v.mp4
ff -i whole.mkv -map 0:a:0 -c:a aac -movflags +faststart whole.m4a
ff -i whole.mkv -map 0:a:0 -c:a flac whole.mka

# --streams-from: whole is exit 0; cut off is exit 8, what came is there, and the summary says where
for f in whole.mkv whole.m4a whole.mka; do
    e=${f##*.}
    expect 0 up --streams-from "$f" v.mp4 s.mkv
    [ "$(packets s.mkv a:0)" = "$(packets "$f" a:0)" ] || bad "$f: $(packets s.mkv a:0) of $(packets "$f" a:0) packets"
    for part in 30 60 90; do
        cut_to "$f" $part "cut.$e"
        expect 8 up --streams-from "cut.$e" v.mp4 s.mkv
        said "cut.$e"; said "s.mkv: 200 frames"; said "--tolerate-damage"
        [ "$(frames s.mkv)" = 200 ] || bad "$f cut to $part %: $(frames s.mkv) frames"
    done
    expect 0 up --tolerate-damage --streams-from "cut.$e" v.mp4 s.mkv
    said "is damaged"
done

# a pipe is as good as a file
expect 0 up --streams-from <(cat whole.mka) v.mp4 s.mkv
[ "$(packets s.mkv a:0)" = "$(packets whole.mka a:0)" ] || bad "a pipe: $(packets s.mkv a:0) packets"

# the source loses its end while its sound is copied. How fast this goes is nobody's promise: exit 0
# means that all packets are there
for _ in 1 2 3; do
    cp whole.mkv in.mkv; rm -rf o.mkv*
    up -q in.mkv o.mkv 2>err & p=$!
    while kill -0 $p 2>/dev/null && [ ! -e o.mkv.part ]; do :; done
    kill -STOP $p 2>/dev/null
    cut_to in.mkv 30 cut.mkv; truncate -s "$(stat -c %s cut.mkv)" in.mkv
    kill -CONT $p 2>/dev/null
    wait $p; c=$?
    case $c in
    0) [ "$(packets o.mkv a:2)" = "$(packets whole.mkv a:2)" ] || bad "exit 0 with $(packets o.mkv a:2) packets of sound" ;;
    8) grep -q 'stream 3 ends [0-9]* packets early' err || bad "not said: $(cat err)"; [ -e o.mkv ] || bad "exit 8 kept nothing" ;;
    *) bad "exit $c: $(cat err)" ;;
    esac
done

# packets of AAC that lost their beginning do not fit into MP4: left out and counted, never exit 7
ff -f lavfi -i testsrc2=size=64x48:rate=25:duration=2 -f lavfi -i sine=duration=2 $x264 -c:a aac -b:a 192k -f mpegts a.ts
refusals=0
for k in 3 9 15 21 27 33; do
    python3 - $k <<'P'
import sys
d = open("a.ts", "rb").read(); n = 0
for i in range(0, len(d), 188):
    if (d[i+1] & 31) << 8 | d[i+2] == 0x101:
        n += 1
        if n == int(sys.argv[1]): open("lost.ts", "wb").write(d[:i] + d[i+188:])
P
    for out in l.mp4 l.mov l.mkv; do
        up lost.ts $out 2>err; c=$?
        case $c in
        0) ;;
        8) [ "$(frames $out)" = 50 ] || bad "packet $k lost, $out: $(frames $out) frames"
           grep -q 'packets* of stream 1 cannot be written' err && refusals=$((refusals + 1)) ;;
        *) bad "packet $k lost, $out: exit $c: $(tail -1 err)" ;;
        esac
    done
done
[ "$refusals" -ge 1 ] || bad "no packet was refused: the check is void"

# a header of sound that no decoder takes: the stream is left out by name, the file opens
ff -f lavfi -i testsrc2=size=64x48:rate=25:duration=2 -f lavfi -i sine=duration=2 -c:v libvpx -c:a libvorbis v.webm
python3 - <<'P'
d = bytearray(open("v.webm", "rb").read()); i = d.find(b"\5vorbis")
for k in (20, 60, 100): d[i + k] ^= 0x55
open("header.webm", "wb").write(d)
P
for out in h.webm h.mkv; do
    expect 8 "$UPREZ" --progress none -m lanczos -s 1 -c libvpx -y header.webm $out
    said "audio stream 1 (vorbis) is dropped: its header is damaged"
    said "$out has what could be decoded"
    [ "$(frames $out)" = 50 ] && [ -z "$(packets $out a:0)" ] || bad "$out: $(frames $out) frames, $(packets $out a:0) packets of sound"
done

# ---- Blu-ray's packets have 192 bytes; a timecode that MP4 keeps is not said to be lost ----
ffmpeg -v error -y -f lavfi -i testsrc2=size=64x48:rate=25:duration=1 -pix_fmt yuv420p -c:v libx264 -timecode 01:02:03:04 "$tmp/code.mov"
for name in blu.m2ts BLU.M2TS cam.mts CAM.MTS; do
    expect 0 "$UPREZ" -q -m lanczos "$tmp/code.mov" "$tmp/$name"
    python3 -c 'import sys; d = open(sys.argv[1], "rb").read(); sys.exit(len(d) % 192 or any(d[i] != 0x47 for i in range(4, len(d), 192)))' \
    "$tmp/$name" || bad "$name has no packets of 192 bytes"
done
for kind in mp4 mkv mxf; do
    expect 0 "$UPREZ" --strict-streams --progress none -m lanczos "$tmp/code.mov" "$tmp/code.$kind"
    ! grep -q dropped "$tmp/err" || bad "$kind: a timecode that is kept is said to be lost: $(cat "$tmp/err")"
    ffprobe -v error -show_entries format_tags=timecode:stream_tags=timecode -of csv=p=0 "$tmp/code.$kind" |
        grep -q 01:02:03:04 || bad "$kind: the timecode is gone"
done
finish
