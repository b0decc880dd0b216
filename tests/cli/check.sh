#!/bin/bash
# `uprez check`: twenty defects that are planted here, each with FFmpeg or by changing bytes, and sound films.
. "$(dirname "$0")/lib.sh"
cd "$tmp" || exit 1
ff() { ffmpeg -v error -y -nostdin "$@"; }

# The source: moving picture, sound that swells and falls in two languages, subtitles.
printf '1\n00:00:01,000 --> 00:00:02,000\none\n\n2\n00:00:04,000 --> 00:00:05,000\ntwo\n' >s.srt
tone="aevalsrc='0.4*sin(2*PI*t*(300+200*sin(3*t)))*(0.55+0.45*sin(7.3*t+2*sin(1.7*t)))':s=48000:d=8"
ff -f lavfi -i "testsrc2=s=160x120:r=25:d=8" -f lavfi -i "$tone" -i s.srt -map 0 -map 1 -map 1 -map 2 \
    -c:v libx264 -preset veryfast -g 25 -crf 20 -pix_fmt yuv420p -c:a pcm_s16le -c:s srt \
    -metadata:s:a:0 language=eng -metadata:s:a:1 language=fre source.mkv
# Its enlargement, as it should be; and what defects are planted into.
film() { # OUT FILTER-OF-PICTURE FILTER-OF-SOUND [OPTION...]
    ff -i source.mkv -map 0 -filter:v "scale=320:240:flags=bicubic${2:+,$2}" ${3:+-filter:a "$3"} \
        -c:v libx264 -preset veryfast -g 25 -crf 18 -c:a pcm_s16le -c:s copy "${@:4}" "$1"
}
film good.mkv "" ""

planted=0
# NAME KIND WITH: `check` ends with 8 and names the kind; WITH is `against` or `alone`
finds() {
    planted=$((planted + 1))
    local args=()
    [ "${3:-}" = alone ] || args=(--against source.mkv)
    "$UPREZ" check -q --json "$1" "${args[@]}" >found.json 2>said
    local code=$?
    [ $code = 8 ] || bad "$1: exit $code instead of 8: $(cat said)"
    python3 - "$2" <<'P' || bad "$1: no defect '$2': $(tail -c 600 found.json)"
import json, sys
d = json.load(open("found.json"))
sys.exit(not any(f["defect"] and f["kind"] == sys.argv[1] for f in d["findings"]))
P
}

film missing.mkv "select='not(eq(n,77))'" "" -fps_mode passthrough;           finds missing.mkv "missing frames"
film gap.mkv "select='not(between(n,70,80))'" "" -fps_mode passthrough;       finds gap.mkv "missing frames" alone
film black.mkv "drawbox=c=black:t=fill:enable='between(t,3,4)'" "";           finds black.mkv black
film grey.mkv "drawbox=c=gray:t=fill:enable='between(n,60,62)'" "";           finds grey.mkv flat
ff -i good.mkv -f lavfi -i nullsrc=s=2x2:d=1 -filter_complex \
    "[0:v]split[a][b];[a]trim=end_frame=100,setpts=PTS-STARTPTS[x];[b]trim=start_frame=125,setpts=PTS-STARTPTS[z];[0:v]trim=start_frame=99:end_frame=100,loop=24:1:0,setpts=N/25/TB[y];[x][y][z]concat=n=3:v=1,fps=25[v]" \
    -map "[v]" -map 0:a -map 0:s -c:v libx264 -preset veryfast -crf 18 -c:a copy -c:s copy frozen.mkv
finds frozen.mkv frozen
film late.mkv "" "adelay=40:all=1,atrim=end=8";                               finds late.mkv "sound offset"
film early.mkv "" "atrim=start=0.06,asetpts=PTS-STARTPTS,apad=whole_dur=8";   finds early.mkv "sound offset"
film silent.mkv "" "volume=0:enable='between(t,2,2.6)'";                      finds silent.mkv sound
film short.mkv "" "atrim=end=6.5";                                            finds short.mkv sound
ff -i good.mkv -map 0 -map -0:a:1 -c copy language.mkv;                       finds language.mkv streams
ff -i good.mkv -map 0 -map -0:s -c copy subtitles.mkv;                        finds subtitles.mkv streams
film cutend.mkv "trim=end_frame=180" "";                                      finds cutend.mkv "missing frames"
film twice.mkv "fps=50:start_time=0,select='between(n,0,199)+gte(n,202)*not(mod(n,2))+lt(n,200)*not(mod(n,2))'" "" \
    -fps_mode passthrough;                                                    finds twice.mkv "extra frames"
film other.mkv "reverse" "";                                                  finds other.mkv "other picture"
film begin.mkv "trim=start_frame=10,setpts=PTS-STARTPTS" "";                  finds begin.mkv "missing frames"
head -c $(($(stat -c %s good.mkv) * 2 / 3)) good.mkv >truncated.mkv;          finds truncated.mkv damage alone
ff -i good.mkv -map 0:v -map 0:a -c:v copy -c:a aac good.mp4
head -c $(($(stat -c %s good.mp4) / 2)) good.mp4 >truncated.mp4
"$UPREZ" check -q truncated.mp4 >/dev/null 2>&1; [ $? = 3 ] || bad "an MP4 without its index opens"
ff -i good.mkv -map 0:v -map 0:a -c:v copy -c:a aac -movflags +faststart web.mp4
head -c $(($(stat -c %s web.mp4) / 2)) web.mp4 >truncated.mp4;                finds truncated.mp4 damage alone
python3 - <<'P'
import random
d = bytearray(open("web.mp4", "rb").read())
random.seed(4)
at = d.index(b"mdat") + len(d) // 3
for i in range(at, at + 3000):
    d[i] = random.randrange(256)
open("middle.mp4", "wb").write(d)
d = bytearray(open("good.mkv", "rb").read())
i = d.index(b"\x44\x89\x88") + 3   # Matroska: Duration, a double of 8 bytes
import struct
struct.pack_into(">d", d, i, 3 * struct.unpack(">d", d[i:i + 8])[0])
open("duration.mkv", "wb").write(d)
P
finds middle.mp4 damage alone
finds duration.mkv duration alone
film mute.mkv "" "volume=0";                                                  finds mute.mkv sound
[ $planted -ge 20 ] || bad "only $planted defects were planted"

# Sound films: no defect, alone and beside the source. A black second and a still second are noted only.
sound=0
whole() {
    sound=$((sound + 1))
    "$UPREZ" check -q "$@" >said 2>&1 || bad "$*: exit $?: $(cat said)"
}
whole good.mkv --against source.mkv
whole web.mp4 --against good.mp4
for v in "libx264 mkv aac" "libx264 mp4 aac" "libx264 mov pcm_s16le" "libsvtav1 mkv libopus" "mpeg2video ts mp2" \
    "libvpx webm libvorbis" "libvpx-vp9 webm libopus" "mpeg4 avi libmp3lame" "ffv1 mkv flac" "mjpeg mov pcm_s16le"; do
    # shellcheck disable=SC2086 # three words
    set -- $v
    ff -i good.mkv -map 0:v -map 0:a -t 4 -c:v "$1" -b:v 1M -deadline realtime -cpu-used 5 -c:a "$3" "as-$1.$2" || continue
    whole "as-$1.$2"
done
ff -i source.mkv -map 0:v -map 0:a -t 4 -c:v ffv1 -c:a pcm_s16le four.mkv
for f in as-libx264.mkv as-libx264.mp4 as-libsvtav1.mkv as-mpeg2video.ts as-libvpx.webm as-libvpx-vp9.webm as-ffv1.mkv; do
    [ ! -e $f ] || whole $f --against four.mkv
done
whole black.mkv
grep -q '^note: 0:00:03.000: black for 1\.' said || bad "the black second was not noted: $(cat said)"
whole frozen.mkv
grep -q 'stands still for 1\.' said || bad "the still second was not noted: $(cat said)"
"$UPREZ" -q -y -m lanczos -s 2 source.mkv ours.mkv && whole ours.mkv --against source.mkv
[ $sound -ge 20 ] || bad "only $sound sound films were tried"

# browsers
"$UPREZ" check -q web.mp4 | grep -qx 'plays in browsers' || bad "a plain MP4 plays in browsers"
"$UPREZ" check -q good.mp4 | grep -q 'index is at its end' || bad "an MP4 with its index at the end"
"$UPREZ" check -q as-mjpeg.mov | grep -q 'mjpeg as picture' || bad "Motion JPEG plays in no browser"

expect 2 "$UPREZ" check
expect 3 "$UPREZ" check missing-file.mkv
expect 3 "$UPREZ" check s.srt
finish
