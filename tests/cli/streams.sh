#!/bin/bash
# Streams other than the enlarged one, on real clips: subtitles of every kind, chapters, several
# videos, data, HDR side data, --streams-from, --strict-streams. Warned about exactly when changed.
. "$(dirname "$0")/lib.sh"
need ffmpeg ffprobe
need_media
V=$SHARED/media/video
up() { # n: only so many frames
    # shellcheck disable=SC2086
    "$UPREZ" --progress none -m bicubic -s 1.5 ${n:+--frames $n} --preset ultrafast "$@" </dev/null
}
kinds() { ffprobe -v error -show_entries stream=codec_type -of csv=p=0 "$1" | tr -d , | grep -v '^data$' | tr '\n' ' '; }
codec() { ffprobe -v error -select_streams "$2" -show_entries stream=codec_name -of csv=p=0 "$1" | tr -d , | tr '\n' ' '; }
warned() { grep -c 'warning: .*stream' "$tmp/err"; }
chapters() { ffprobe -v error -show_entries chapter=start_time,end_time:chapter_tags=title -of csv=p=0 "$1"; }

n=6

# subtitles: kept, converted, or dropped with one warning naming the stream
while read -r file out kept warnings; do
    expect 0 up -y "$V/$file" "$tmp/$out"
    [ "$(codec "$tmp/$out" s)" = "${kept//,/ } " ] || bad "$file -> $out: subtitles '$(codec "$tmp/$out" s)', not '$kept'"
    [ "$(warned)" = "$warnings" ] || bad "$file -> $out: $(warned) warnings about streams instead of $warnings"
done <<'T'
face_srt.mkv a.mkv subrip 0
face_srt.mkv a.mp4 mov_text 1
face_ass.mkv b.mkv ass 0
face_ass.mkv b.mp4 mov_text 1
face_pgs.mkv c.mkv hdmv_pgs_subtitle 0
face_vobsub.mkv d.mkv dvd_subtitle 0
nasa_320x180_two_video_two_audio_subs.mp4 e.mp4 mov_text,mov_text 0
T
# a last frame that says 1 ms is shown as long as the others: 30 frames of 1/30 s
expect 0 up -y --duration 100 "$V/face_ass.mkv" "$tmp/b.mp4"
n=$(frames "$tmp/b.mp4")
ffprobe -v error -select_streams v:0 -show_entries stream=duration -of csv=p=0 "$tmp/b.mp4" | tr -d , |
    awk -v n="$n" '{exit !($1 * 30 > n - 0.1 && $1 * 30 < n + 0.1)}' || bad "$n frames last $(ffprobe -v error -select_streams v:0 -show_entries stream=duration -of csv=p=0 "$tmp/b.mp4") s"
n=6
expect 0 up "$V/face_pgs.mkv" "$tmp/c.mp4"; said "subtitle stream 2 (hdmv_pgs_subtitle) is dropped"
[ -z "$(codec "$tmp/c.mp4" s)" ] || bad "PGS in MP4: $(codec "$tmp/c.mp4" s)"
expect 7 up --strict-streams "$V/face_pgs.mkv" "$tmp/strict.mp4"; said "hdmv_pgs_subtitle"
[ -e "$tmp/strict.mp4" ] && bad "--strict-streams left an output"
expect 0 up --strict-streams "$V/face_pgs.mkv" "$tmp/strict.mkv"

# several videos and sounds: all there, in their order
for out in m.mkv m.mp4; do
    expect 0 up "$V/dog_multires_two_video.mkv" "$tmp/$out"
    [ "$(kinds "$tmp/$out")" = "video audio video audio " ] || bad "$out: $(kinds "$tmp/$out")"
done
[ "$(probe "$tmp/m.mkv" width v:0)" = 1272 ] && [ "$(probe "$tmp/m.mkv" width v:1)" = 424 ] || bad "the second video is not the source's"

# data streams: dropped by name, never silently
expect 0 up "$V/gopro_480x320_datastreams.mp4" "$tmp/g.mp4"
[ "$(warned)" = 4 ] || bad "four data streams, $(warned) warnings"
[ "$(kinds "$tmp/g.mp4")" = "audio video " ] || bad "order of streams: $(kinds "$tmp/g.mp4")"

# chapters with their titles, into both kinds of container
n=
for t in "chapters.mkv 1.mkv" "chapters.mkv 1.mp4" "chapters.mp4 2.mkv" "chapters.mp4 2.mp4"; do
    set -- $t
    expect 0 up "$V/$1" "$tmp/ch$2"
    [ "$(chapters "$V/$1" | cut -d, -f3)" = "$(chapters "$tmp/ch$2" | cut -d, -f3)" ] || bad "$1 -> $2: chapters $(chapters "$tmp/ch$2" | tr '\n' ' ')"
    [ "$(chapters "$V/$1" | wc -l)" -ge 2 ] || bad "$1 has no chapters: the check is void"
done
n=6

# HDR10: mastering display and light level, from container or bitstream, into both containers
hdr() { # of the stream or its first frame: where it is shown depends on codec and FFmpeg
    ffprobe -v error -select_streams v:0 -read_intervals '%+#1' -show_streams -show_frames "$1" |
        grep -E '^(red_x|green_y|blue_x|white_point_x|max_luminance|max_content|max_average)' |
        awk -F'[=/]' '{printf "%s %.4f\n", $1, $2 / ($3 ? $3 : 1)}' | sort -u
}
n=2
hdr "$V/hdr10_av1_mdcv_clli_1920x1080.mp4" >"$tmp/h1"
[ -s "$tmp/h1" ] || bad "the source has no HDR side data: the check is void"
for out in h.mkv h.mp4; do
    expect 0 up "$V/hdr10_av1_mdcv_clli_1920x1080.mp4" "$tmp/$out"
    hdr "$tmp/$out" >"$tmp/h2"
    diff "$tmp/h1" "$tmp/h2" >"$tmp/diff" || bad "$out: HDR metadata differs: $(tr '\n' ' ' <"$tmp/diff")"
    [ "$(probe "$tmp/$out" color_transfer | tr -d ,)" = smpte2084 ] || bad "$out: transfer $(probe "$tmp/$out" color_transfer)"
done
[ "$(ffprobe -v error -select_streams v:0 -show_entries stream=codec_tag_string -of csv=p=0 "$tmp/h.mp4" | tr -d ,)" = hvc1 ] || bad "HEVC in MP4 is not hvc1"
n=

# sound, subtitles and chapters of another file; the picture's own are left out
n=25
expect 0 up --streams-from "$V/chapters.mkv" "$V/dog_848x464_aac.mp4" "$tmp/from.mkv"
[ "$(chapters "$tmp/from.mkv" | wc -l)" -ge 1 ] || bad "--streams-from: no chapters"
[ "$(ffprobe -v error -select_streams a -show_entries stream=channels -of csv=p=0 "$tmp/from.mkv")" = 1 ] || bad "--streams-from: not the other file's sound"
n=
expect 0 up --streams-from "$V/face_srt.mkv" "$V/face_1080x720.mp4" "$tmp/from2.mkv"
[ "$(codec "$tmp/from2.mkv" s)" = "subrip " ] && [ "$(codec "$tmp/from2.mkv" a)" = "ac3 " ] || bad "--streams-from: $(codec "$tmp/from2.mkv" s)$(codec "$tmp/from2.mkv" a)"
[ "$(packets_md5 "$V/face_srt.mkv" a:0 | cut -d= -f2)" = "$(packets_md5 "$tmp/from2.mkv" a:0 | cut -d= -f2)" ] || bad "--streams-from: the sound is not the other file's, byte for byte"
expect 3 up --streams-from "$tmp/none.mkv" "$V/face_1080x720.mp4" "$tmp/from3.mkv"; said "none.mkv"
[ -e "$tmp/from3.mkv" ] && bad "a refused run left an output"
finish
