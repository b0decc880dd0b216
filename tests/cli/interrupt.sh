#!/bin/bash
# Ctrl-C ends cleanly: exit 130, a playable .part; resume.sh covers going on from there.
. "$(dirname "$0")/lib.sh"
need ffmpeg ffprobe
ffmpeg -v error -f lavfi -i testsrc2=size=640x360:rate=25:duration=60 -f lavfi -i sine=duration=60 \
    -pix_fmt yuv420p -c:v libx264 -preset ultrafast -c:a aac "$tmp/long.mp4"
for sig in INT:130 TERM:143; do
    out=$tmp/out_${sig%:*}.mp4
    "$UPREZ" -q -m lanczos -s 3 "$tmp/long.mp4" "$out" 2>"$tmp/err" &
    pid=$!
    # until frames are being written, then some more
    for i in $(seq 6000); do kill -0 $pid 2>/dev/null || break; [ -n "$(find "$out.uprez/seg" -name '*.tmp' -size +0 2>/dev/null)" ] && break; sleep 0.1; done
    sleep 1
    kill -"${sig%:*}" $pid
    wait $pid
    code=$?
    [ $code = "${sig#*:}" ] || bad "SIG${sig%:*}: exit $code $(cat "$tmp/err")"
    [ -e "$out" ] && bad "an interrupted run left $out"
    [ -f "$out.part" ] || { bad "no .part"; continue; }
    n=$(frames "$out.part")
    [ "${n:-0}" -gt 0 ] || bad "the .part has no frames"
    ffmpeg -v error -xerror -i "$out.part" -f null - 2>"$tmp/play" || bad "the .part does not play: $(head -2 "$tmp/play")"
    [ "$(ffprobe -v error -select_streams a -show_entries stream=codec_name -of csv=p=0 "$out.part")" = aac ] || bad "the .part has no audio"
    grep -qF "$out.part" "$tmp/err" || bad "the sentence does not say where the part is: $(cat "$tmp/err")"
done
finish
