#!/bin/bash
# Ways in which other tools fail and report success (docs/known-failures.md, second table), on clips
# made here. Each must end well, or with a sentence and the right code.
. "$(dirname "$0")/lib.sh"
need ffmpeg ffprobe python3
ff() { ffmpeg -v error -y "$@" </dev/null; }
up() { "$UPREZ" -q -m bicubic -s 2 --preset ultrafast "$@"; }
codecs() { ffprobe -v error -select_streams "$2" -show_entries stream=codec_name -of csv=p=0 "$1" | tr -d , | sort | tr '\n' ' '; }
src="testsrc2=size=96x64:rate=25:duration=2"

# wide colours: BT.2020 PQ in 10 bits comes out as that
ff -f lavfi -i "$src" -vf format=yuv420p10le,setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc:range=tv \
    -c:v libx265 -x265-params log-level=none -preset ultrafast \
    -color_primaries bt2020 -color_trc smpte2084 -colorspace bt2020nc "$tmp/hdr.mkv"
expect 0 up "$tmp/hdr.mkv" "$tmp/hdr.mp4"
[ "$(probe "$tmp/hdr.mp4" pix_fmt,color_space,color_transfer,color_primaries)" = yuv420p10le,bt2020nc,smpte2084,bt2020 ] ||
    bad "BT.2020: $(probe "$tmp/hdr.mp4" pix_fmt,color_space,color_transfer,color_primaries)"

# ten bits are ten: not eight of them with two zeros behind
python3 - "$tmp/ramp.yuv" <<'P'
import struct, sys
w, h = 256, 16
y = b"".join(struct.pack("<H", 64 + x * 3) for x in range(w)) * h
open(sys.argv[1], "wb").write((y + struct.pack("<H", 512) * (w * h // 2)) * 3)
P
ff -f rawvideo -pix_fmt yuv420p10le -s 256x16 -r 25 -i "$tmp/ramp.yuv" -c:v ffv1 "$tmp/ramp.mkv"
expect 0 "$UPREZ" -q -m bicubic -s 2 -c ffv1 "$tmp/ramp.mkv" "$tmp/ramp2.mkv"
ff -i "$tmp/ramp2.mkv" -frames:v 1 -f rawvideo "$tmp/ramp2.yuv"
python3 - "$tmp/ramp2.yuv" <<'P' || bad "ten bits became eight"
import array, sys
a = array.array("H", open(sys.argv[1], "rb").read())[: 512 * 32]
low = [v & 3 for v in a]
assert max(a) > 255 and all(low.count(k) > len(a) // 10 for k in range(4)), (max(a), [low.count(k) for k in range(4)])
P

# frames at uneven times under a misleading nominal rate keep their times and the duration
ff -f lavfi -i "testsrc2=size=96x64:rate=60:duration=3" -vf "select='not(mod(n,2))+lt(n,20)'" -fps_mode vfr \
    -c:v libx264 -preset ultrafast -pix_fmt yuv420p "$tmp/vfr.mp4"
expect 0 up "$tmp/vfr.mp4" "$tmp/vfr2.mp4"
pts "$tmp/vfr.mp4" >"$tmp/p1"; pts "$tmp/vfr2.mp4" >"$tmp/p2"
[ "$(frames "$tmp/vfr.mp4")" = "$(frames "$tmp/vfr2.mp4")" ] || bad "VFR: $(frames "$tmp/vfr.mp4") frames became $(frames "$tmp/vfr2.mp4")"
paste "$tmp/p1" "$tmp/p2" | awk 'NR==1{o=$2-$1} {d=$2-$1-o; if (d<0) d=-d; if (d>0.0011) exit 1}' || bad "VFR: times moved"

# subtitles of any text kind into MP4; kept as they are, with their fonts, in Matroska
printf '1\n00:00:00,200 --> 00:00:01,500\nhello\n' >"$tmp/s.srt"
ff -i "$tmp/s.srt" "$tmp/s.ass"
head -c 3000 /dev/urandom >"$tmp/font.ttf"
ff -f lavfi -i "$src" -f lavfi -i sine=duration=2 -i "$tmp/s.srt" -i "$tmp/s.ass" -attach "$tmp/font.ttf" \
    -metadata:s:t mimetype=font/ttf -map 0 -map 1 -map 2 -map 3 -c:v libx264 -preset ultrafast -pix_fmt yuv420p \
    -c:a libopus -c:s:0 srt -c:s:1 ass -metadata title=kept "$tmp/subs.mkv"
expect 0 up "$tmp/subs.mkv" "$tmp/subs.mp4"
[ "$(codecs "$tmp/subs.mp4" s)" = "mov_text mov_text " ] || bad "MP4 subtitles: $(codecs "$tmp/subs.mp4" s)"
ff -i "$tmp/subs.mp4" -map 0:s:0 "$tmp/back.srt"; grep -q hello "$tmp/back.srt" || bad "the subtitle's text is gone"
expect 0 up "$tmp/subs.mkv" "$tmp/subs2.mkv"
[ "$(codecs "$tmp/subs2.mkv" s)" = "ass subrip " ] || bad "MKV subtitles: $(codecs "$tmp/subs2.mkv" s)"
[ "$(ffprobe -v error -select_streams t -show_entries stream_tags=filename -of csv=p=0 "$tmp/subs2.mkv")" = font.ttf ] || bad "the font is gone"
[ "$(ffprobe -v error -show_entries format_tags=title -of csv=p=0 "$tmp/subs2.mkv")" = kept ] || bad "the title is gone"
# what the target cannot hold is refused before the work when asked for
expect 7 up --strict-streams "$tmp/subs.mkv" "$tmp/strict.mp4"
[ -e "$tmp/strict.mp4" ] && bad "--strict-streams left an output"

# Opus into .mov: sound, and a file that opens
expect 0 up "$tmp/subs.mkv" "$tmp/opus.mov"
[ -n "$(codecs "$tmp/opus.mov" a)" ] || bad ".mov lost the sound"
ff -xerror -i "$tmp/opus.mov" -f null - || bad ".mov does not decode"

# lossless sound stays lossless: copied where the container can hold it, plain samples where not
samples() { ffmpeg -nostdin -v error -i "$1" -map 0:a:0 -c:a pcm_s32le -f md5 -; }
for c in flac:mkv pcm_s24le:mkv pcm_s16be:mov pcm_dvd:vob alac:mkv pcm_f32le:mkv; do
    fmt=; case $c in pcm_dvd* | flac*) fmt=s16 ;; esac
    # shellcheck disable=SC2086
    ff -f lavfi -i "$src" -f lavfi -i "aevalsrc=0.3*sin(440*t)+0.001*sin(3000*t):s=48000:d=2:c=stereo" -c:v mpeg2video -c:a "${c%:*}" ${fmt:+-sample_fmt $fmt} "$tmp/pure_${c%:*}.${c#*:}"
done
while read -r from to codec words; do
    set -- "$tmp"/pure_"$from".*
    expect 0 "$UPREZ" --progress none -y -m bicubic -s 2 --preset ultrafast "$1" "$tmp/pure.$to" </dev/null
    [ "$(codecs "$tmp/pure.$to" a)" = "$codec " ] || bad "$from -> $to: $(codecs "$tmp/pure.$to" a)"
    [ "$(samples "$1")" = "$(samples "$tmp/pure.$to")" ] || bad "$from -> $to: other samples"
    case $words in
    copied) [ "$(packets_md5 "$1" a:0 | cut -d= -f2)" = "$(packets_md5 "$tmp/pure.$to" a:0 | cut -d= -f2)" ] || bad "$from -> $to: not copied"
            grep -q "audio stream" "$tmp/err" && bad "$from -> $to: $(grep "audio stream" "$tmp/err")" ;;
    *) said "without loss" ;;
    esac
done <<'T'
flac mkv flac copied
flac mp4 flac copied
flac mov pcm_s16le converted
pcm_s24le mkv pcm_s24le copied
pcm_s24le mov pcm_s24le copied
pcm_s16be mkv pcm_s16be copied
pcm_s16be mov pcm_s16be copied
pcm_f32le mkv pcm_f32le copied
pcm_dvd mkv pcm_s16le converted
pcm_dvd mov pcm_s16le converted
alac mp4 alac copied
T
# MP4 and plain samples: as libavformat can, or AAC with a warning
expect 0 "$UPREZ" --progress none -y -m bicubic -s 2 --preset ultrafast "$tmp/pure_pcm_s16be.mov" "$tmp/pure.mp4"
case $(codecs "$tmp/pure.mp4" a) in
pcm_s16be\ ) [ "$(samples "$tmp/pure_pcm_s16be.mov")" = "$(samples "$tmp/pure.mp4")" ] || bad "PCM in MP4: other samples" ;;
aac\ ) said "warning: audio stream 1 (pcm_s16be) becomes aac" ;;
*) bad "PCM in MP4 became $(codecs "$tmp/pure.mp4" a)" ;;
esac

# .webm gets a codec it may hold, or is refused: never a stump called success
expect 0 "$UPREZ" -q -m bicubic -s 2 --frames 10 "$tmp/subs.mkv" "$tmp/a.webm"
[ "$(frames "$tmp/a.webm")" = 10 ] || bad ".webm has $(frames "$tmp/a.webm") frames"
expect 2 "$UPREZ" -q -m bicubic -s 2 -c libx264 "$tmp/subs.mkv" "$tmp/b.webm"
[ -e "$tmp/b.webm" ] && bad "H.264 in .webm left an output"

# a source that ends too early is damage, not a shorter success
ff -f lavfi -i "testsrc2=size=96x64:rate=25:duration=8" -c:v libx264 -g 25 -preset ultrafast -pix_fmt yuv420p "$tmp/long.mkv"
head -c $(($(stat -c %s "$tmp/long.mkv") / 2)) "$tmp/long.mkv" >"$tmp/cut.mkv"
expect 8 up "$tmp/cut.mkv" "$tmp/cut2.mkv"
n=$(frames "$tmp/cut2.mkv")
[ "${n:-0}" -ge 60 ] && [ "$n" -lt 200 ] || bad "a cut source gave $n frames"
expect 0 up --tolerate-damage "$tmp/cut.mkv" "$tmp/cut3.mkv"

# recordings begin anywhere: what comes before the first keyframe is left out with a note, in every
# codec; damage behind it still is damage
ff -f lavfi -i "testsrc2=size=96x64:rate=25:duration=6" -pix_fmt yuv420p "$tmp/six.y4m"
while read -r codec ext options; do
    # shellcheck disable=SC2086
    ff -i "$tmp/six.y4m" -c:v "$codec" -g 50 $options "$tmp/six.$ext"
    ff -i "$tmp/six.$ext" -c copy -bsf:v 'noise=drop=lt(n\,20)' "$tmp/mid_$codec.$ext"
    expect 0 "$UPREZ" --progress json -y -m bicubic -s 2 --preset ultrafast "$tmp/mid_$codec.$ext" "$tmp/mid.mkv"
    said "begins between two keyframes"
    n=$(frames "$tmp/mid.mkv")
    grep -q '"frame":'"$n,\"total\":$n," "$tmp/err" || bad "$codec: progress does not end at $n: $(grep total "$tmp/err" | tail -1)"
    # the first keyframe is the 50th picture or, with B-frames, near it
    [ "$n" -ge 98 ] && [ "$n" -le 103 ] || bad "$codec from the 20th packet on: $n frames"
done <<'T'
libx264 mkv -bf 2 -preset veryfast
libx264 ts -bf 2 -preset veryfast
libx265 mkv -preset ultrafast -x265-params log-level=none:keyint=50:min-keyint=50
mpeg2video ts -bf 2
mpeg4 avi
libvpx webm -deadline realtime
libvpx-vp9 webm -deadline realtime
T
python3 - "$tmp/mid_libx264.ts" "$tmp/hurt.ts" <<'P'
import sys
d = bytearray(open(sys.argv[1], "rb").read())
at = len(d) * 2 // 3 // 188 * 188
for i in range(at, at + 188 * 60, 188):
    d[i + 30:i + 180] = b"\x5a" * 150
open(sys.argv[2], "wb").write(d)
P
expect 8 up "$tmp/hurt.ts" "$tmp/hurt.mkv"; said "is damaged"
# without any keyframe there is still something to see
ff -i "$tmp/six.y4m" -c:v libx265 -preset ultrafast -x265-params log-level=none:keyint=-1 -frames:v 60 "$tmp/one.mkv"
ff -i "$tmp/one.mkv" -c copy -bsf:v 'noise=drop=lt(n\,20)' "$tmp/nokey.mkv"
expect 0 up "$tmp/nokey.mkv" "$tmp/nokey2.mkv"
[ "$(frames "$tmp/nokey2.mkv")" -ge 30 ] || bad "no keyframe: $(frames "$tmp/nokey2.mkv") frames"

# sixteen bits and transparency: what is lost is said by name
ff -f lavfi -i testsrc2=size=64x48 -frames:v 1 -vf format=rgba64be,colorchannelmixer=aa=0.5,format=rgba64be "$tmp/deep.png"
expect 0 "$UPREZ" --progress none -m lanczos -s 2 "$tmp/deep.png" "$tmp/deep.mp4"
said "16 bits become 12"; said "transparency is lost: hevc video has none"
ff -f lavfi -i testsrc2=size=64x48:rate=10:duration=1 "$tmp/opaque.gif"
expect 0 "$UPREZ" --progress none -m lanczos -s 2 "$tmp/opaque.gif" "$tmp/opaque2.gif"
grep -q transparency "$tmp/err" && bad "an opaque GIF: $(grep transparency "$tmp/err")"
ff -f lavfi -i color=red@0.0:size=64x48:rate=10:duration=1,format=rgba -vf "split[a][b];[a]palettegen[p];[b][p]paletteuse" "$tmp/clear.gif"
expect 0 "$UPREZ" --progress none -m lanczos -s 2 "$tmp/clear.gif" "$tmp/clear2.gif"
grep -q transparency "$tmp/err" && bad "a GIF keeps it (gif.sh), and yet: $(grep transparency "$tmp/err")"

# a picture is a success
ff -i "$tmp/hdr.mkv" -frames:v 1 -pix_fmt rgb24 "$tmp/in.png"
expect 0 up "$tmp/in.png" "$tmp/one.png"
[ "$(probe "$tmp/one.png" width,height)" = 192,128 ] || bad "PNG: $(probe "$tmp/one.png" width,height)"

# a folder whose first clip is silent keeps the others' sound
mkdir "$tmp/batch"
ff -f lavfi -i "$src" -c:v libx264 -preset ultrafast -pix_fmt yuv420p "$tmp/batch/1.mp4"
ff -f lavfi -i "$src" -f lavfi -i sine=duration=2 -c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a aac "$tmp/batch/2.mp4"
expect 0 up "$tmp/batch" "$tmp/batch2"
[ -z "$(codecs "$tmp/batch2/1.mp4" a)" ] && [ "$(codecs "$tmp/batch2/2.mp4" a)" = "aac " ] || bad "folder: sound $(codecs "$tmp/batch2/2.mp4" a)"
[ "$(packets_md5 "$tmp/batch/2.mp4" a:0)" = "$(packets_md5 "$tmp/batch2/2.mp4" a:0)" ] || bad "folder: the sound changed"

# a network that answers black is no success
python3 - "$tmp/black.safetensors" <<'P'
import json, struct, sys
f, header, data = 8, {}, b""
for name, shape, value in (("0.weight", [f, 3, 3, 3], 0), ("0.bias", [f], 0), ("1.weight", [f], 0.25),
                           ("2.weight", [f, f, 3, 3], 0), ("2.bias", [f], 0), ("3.weight", [f], 0.25),
                           ("4.weight", [12, f, 3, 3], 0), ("4.bias", [12], -2)):
    n = 1
    for s in shape:
        n *= s
    header["body." + name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + 4 * n]}
    data += struct.pack(f"<{n}f", *[value] * n)
text = json.dumps(header).encode()
open(sys.argv[1], "wb").write(struct.pack("<Q", len(text)) + text + data)
P
expect 8 "$UPREZ" -q -m "$tmp/black.safetensors" "$tmp/batch/1.mp4" "$tmp/black.mp4"; said "computes wrongly"
[ -e "$tmp/black.mp4" ] && bad "a black video was kept as the output"
expect 8 "$UPREZ" -q -m "$tmp/black.safetensors" "$tmp/in.png" "$tmp/black.png"
rm -rf "$tmp"/black.mp4.*

# parts of a clip are exact to the frame
for n in 1 7 49 50; do
    expect 0 up -y --frames $n "$tmp/batch/1.mp4" "$tmp/part.mp4"
    [ "$(frames "$tmp/part.mp4")" = $n ] || bad "--frames $n gave $(frames "$tmp/part.mp4")"
done
expect 0 up -y --start 0.4 --duration 1 "$tmp/batch/1.mp4" "$tmp/part.mp4"
[ "$(frames "$tmp/part.mp4")" = 25 ] || bad "one second at 25/s gave $(frames "$tmp/part.mp4") frames"

# sound that begins later still does
ff -i "$tmp/batch/2.mp4" -itsoffset 0.5 -i "$tmp/batch/2.mp4" -map 0:v -map 1:a -c copy "$tmp/late.mkv"
gap() { for s in v a; do ffprobe -v error -select_streams $s:0 -show_entries stream=start_time -of csv=p=0 "$1" | tr -d ,; done | tr '\n' ' ' | awk '{printf "%.2f", $2 - $1}'; }
for t in late2.mkv late2.mp4; do
    expect 0 up "$tmp/late.mkv" "$tmp/$t"
    [ "$(gap "$tmp/late.mkv")" = "$(gap "$tmp/$t")" ] || bad "$t: the sound begins $(gap "$tmp/$t") s later, not $(gap "$tmp/late.mkv")"
done

# colours nobody tagged are guessed, and that is said
expect 0 "$UPREZ" -v -m bicubic -s 2 --progress none "$tmp/batch/1.mp4" "$tmp/untagged.mp4"; said "does not say its colour matrix"

# two runs at once share nothing
ff -f lavfi -i "$src" -vf setparams=colorspace=smpte170m:color_primaries=smpte170m:color_trc=smpte170m -c:v libx264 \
    -colorspace smpte170m -color_primaries smpte170m -color_trc smpte170m -preset ultrafast -pix_fmt yuv420p "$tmp/sd.mkv"
up "$tmp/sd.mkv" "$tmp/sd2.mkv" 2>"$tmp/e1" & a=$!
up "$tmp/hdr.mkv" "$tmp/hdr2.mkv" 2>"$tmp/e2" & b=$!
wait $a || bad "first of two runs: $(cat "$tmp/e1")"
wait $b || bad "second of two runs: $(cat "$tmp/e2")"
[ "$(probe "$tmp/sd2.mkv" color_space)" = smpte170m ] && [ "$(probe "$tmp/hdr2.mkv" color_space)" = bt2020nc ] ||
    bad "two runs mixed their tags: $(probe "$tmp/sd2.mkv" color_space) $(probe "$tmp/hdr2.mkv" color_space)"
ls -d "$tmp"/*.part "$tmp"/*.uprez 2>/dev/null && bad "something was left behind"

# a film in black and white stays so through a network that knows colours
if [ -f "$SHARED/models/pytorch/realesr-animevideov3.pth" ]; then
    ff -f lavfi -i testsrc2=size=96x64:rate=10:duration=0.3 -vf hue=s=0,format=yuv420p -c:v ffv1 "$tmp/bw.mkv"
    for f in yuv420p yuv422p10le; do
        ff -i "$tmp/bw.mkv" -vf "format=$f" -c:v ffv1 "$tmp/bw_$f.mkv"
        expect 0 "$UPREZ" -q -m "$SHARED/models/pytorch/realesr-animevideov3.pth" -c ffv1 "$tmp/bw_$f.mkv" "$tmp/bw2_$f.mkv"
        for p in u v; do
            n=$(ffmpeg -nostdin -v error -i "$tmp/bw2_$f.mkv" -vf "extractplanes=$p" -f rawvideo - |
                od -An -v -tx2 | tr ' ' '\n' | grep . | sort | uniq -c | wc -l)
            [ "$n" = 1 ] || bad "plane $p of a grey film in $f has $n values"
        done
    done
fi
finish
