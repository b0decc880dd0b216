#!/bin/bash
# '-' is y4m, both ways; a closed pipe is a write error, not a crash.
. "$(dirname "$0")/lib.sh"
need ffmpeg ffprobe
ffmpeg -v error -f lavfi -i testsrc2=size=96x64:rate=25:duration=1 -pix_fmt yuv420p "$tmp/a.y4m"
"$UPREZ" -q -m bicubic -s 2 - - <"$tmp/a.y4m" >"$tmp/b.y4m" 2>"$tmp/err" || bad "pipe: exit $? $(cat "$tmp/err")"
[ "$(frames "$tmp/b.y4m")" = 25 ] || bad "pipe: $(frames "$tmp/b.y4m") frames"
[ "$(probe "$tmp/b.y4m" width,height)" = 192,128 ] || bad "pipe: size"
# the same pixels as through files
"$UPREZ" -q -m bicubic -s 2 -c ffv1 "$tmp/a.y4m" "$tmp/b.mkv" 2>"$tmp/err" || bad "file: exit $? $(cat "$tmp/err")"
[ "$(ffmpeg -v error -i "$tmp/b.y4m" -f md5 -)" = "$(ffmpeg -v error -i "$tmp/b.mkv" -f md5 -)" ] || bad "pipe and file differ"
"$UPREZ" -q -m bicubic -s 2 "$tmp/a.y4m" - 2>"$tmp/err" | head -c 100000 >/dev/null
[ "${PIPESTATUS[0]}" = 7 ] || bad "closed pipe: exit ${PIPESTATUS[0]}"
head -c 60000 "$tmp/a.y4m" | "$UPREZ" -q -m bicubic -s 2 - "$tmp/cut.mp4" 2>"$tmp/err"
code=$?
[ $code = 8 ] || bad "a truncated pipe: exit $code $(cat "$tmp/err")"
[ -f "$tmp/cut.mp4" ] || bad "what came through the truncated pipe is gone"
echo hello | "$UPREZ" -q - "$tmp/x.mp4" 2>"$tmp/err"
[ $? = 3 ] || bad "text on the pipe"

# named pipes and <(command): whole films with their sound, pictures, a second file's streams, and y4m
ffmpeg -v error -f lavfi -i testsrc2=size=64x48:rate=25:duration=1 -f lavfi -i sine=duration=1 -pix_fmt yuv420p \
    -c:v libx264 -preset ultrafast -c:a aac "$tmp/film.mp4"
ffmpeg -v error -i "$tmp/film.mp4" -c copy "$tmp/film.ts"
ffmpeg -v error -i "$tmp/film.mp4" -frames:v 1 "$tmp/film.png"
plain=(-m bicubic -s 2 --progress none)
for f in mp4 ts; do
    expect 0 timeout 60 "$UPREZ" "${plain[@]}" <(cat "$tmp/film.$f") "$tmp/from_$f.mkv"
    expect 0 "$UPREZ" "${plain[@]}" "$tmp/film.$f" "$tmp/file_$f.mkv"
    for s in v:0 a:0; do
        [ "$(packets_md5 "$tmp/from_$f.mkv" $s)" = "$(packets_md5 "$tmp/file_$f.mkv" $s)" ] || bad "<(cat film.$f): $s differs from the file's"
    done
    mkfifo "$tmp/fifo_$f"
    (sleep 0.5; cat "$tmp/film.$f" >"$tmp/fifo_$f") &
    expect 0 timeout 60 "$UPREZ" "${plain[@]}" "$tmp/fifo_$f" "$tmp/named_$f.mkv"
    [ "$(frames "$tmp/named_$f.mkv")" = 25 ] || bad "a named pipe: $(frames "$tmp/named_$f.mkv") frames of 25"
done
expect 0 timeout 60 "$UPREZ" "${plain[@]}" <(cat "$tmp/film.png") "$tmp/from.png"
[ "$(probe "$tmp/from.png" width,height)" = 128,96 ] || bad "a picture from <(): $(probe "$tmp/from.png" width,height)"
expect 0 timeout 60 "$UPREZ" "${plain[@]}" -c ffv1 <(cat "$tmp/a.y4m") "$tmp/from_y4m.mkv"
[ "$(ffmpeg -v error -i "$tmp/from_y4m.mkv" -f md5 -)" = "$(ffmpeg -v error -i "$tmp/b.mkv" -f md5 -)" ] || bad "y4m from <() differs"
expect 0 timeout 60 "$UPREZ" "${plain[@]}" --streams-from <(cat "$tmp/film.mp4") "$tmp/a.y4m" "$tmp/sound.mkv"
[ "$(probe "$tmp/sound.mkv" codec_name a:0)" = aac ] || bad "--streams-from <(): no sound"
expect 3 timeout 60 "$UPREZ" "${plain[@]}" <(:) "$tmp/nothing.mkv"
said "first byte"
expect 3 timeout 60 "$UPREZ" "${plain[@]}" <(echo hello) "$tmp/nothing.mkv"
said "/dev/fd/"
# nobody writes: an interrupt ends it
mkfifo "$tmp/silent"
timeout -s INT 1 "$UPREZ" "${plain[@]}" "$tmp/silent" "$tmp/nothing.mkv" 2>"$tmp/err"
[ $? = 124 ] && said "interrupted"
[ -z "$(ls -A "$tmp" | grep -E '^\.uprez|nothing')" ] || bad "left behind: $(ls -A "$tmp" | grep -E '^\.uprez|nothing')"
finish
