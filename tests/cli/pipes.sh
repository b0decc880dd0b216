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
finish
