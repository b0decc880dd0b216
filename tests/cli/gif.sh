#!/bin/bash
# GIF: the colours of the film, transparency, and how long each picture stays.
. "$(dirname "$0")/lib.sh"
need ffmpeg ffprobe
ffmpeg -v error -filters 2>/dev/null | grep -q ' palettegen ' || skip "this ffmpeg chooses no palettes"
plain=(-m lanczos -s 2 --progress none)
pauses() { ffprobe -v error -select_streams v:0 -show_entries packet=duration_time -of csv=p=0 "$1" | tr -d , | grep . | tr '\n' ' '; }
psnr() { ffmpeg -v error -i "$1" -i "$2" -lavfi "[0:v]settb=1/100,setpts=N,format=gbrp[a];[1:v]settb=1/100,setpts=N,format=gbrp[b];[a][b]psnr=stats_file=-" -f null - |
    grep -o 'psnr_avg:[0-9.]*' | cut -d: -f2 | sort -n | head -1; }

# colours: as near to the film as those that ffmpeg chooses from it
ffmpeg -v error -f lavfi -i testsrc2=size=96x64:rate=25:duration=1 -c:v ffv1 -pix_fmt bgr0 "$tmp/in.mkv"
expect 0 "$UPREZ" "${plain[@]}" "$tmp/in.mkv" "$tmp/out.gif"
expect 0 "$UPREZ" "${plain[@]}" -c ffv1 "$tmp/in.mkv" "$tmp/exact.mkv"
ffmpeg -v error -i "$tmp/exact.mkv" -lavfi "split[a][b];[a]palettegen=reserve_transparent=0[p];[b][p]paletteuse" "$tmp/reference.gif"
ours=$(psnr "$tmp/out.gif" "$tmp/exact.mkv") theirs=$(psnr "$tmp/reference.gif" "$tmp/exact.mkv")
awk -v a="${ours:-0}" -v b="${theirs:-99}" 'BEGIN { exit a < b - 1 }' || bad "colours: $ours dB, ffmpeg's own $theirs dB"
[ "$(frames "$tmp/out.gif")" = 25 ] || bad "$(frames "$tmp/out.gif") frames of 25"

# uneven pauses, the last one longest, shortest, and in a film of several segments
for last in 3 20 150; do
    ffmpeg -v error -y -f lavfi -i testsrc2=size=32x24:rate=20:duration=2 \
        -vf "select='eq(n,0)+eq(n,2)+eq(n,8)+eq(n,9)+eq(n,23)'" -fps_mode vfr -final_delay $last "$tmp/in.gif"
    rm -f "$tmp/pause.gif"
    expect 0 "$UPREZ" "${plain[@]}" "$tmp/in.gif" "$tmp/pause.gif"
    [ "$(pauses "$tmp/in.gif")" = "$(pauses "$tmp/pause.gif")" ] || bad "pauses: $(pauses "$tmp/pause.gif") instead of $(pauses "$tmp/in.gif")"
done
ffmpeg -v error -f lavfi -i testsrc2=size=32x24:rate=10:duration=50 "$tmp/long.gif"
expect 0 "$UPREZ" "${plain[@]}" "$tmp/long.gif" "$tmp/long2.gif"
[ "$(pauses "$tmp/long.gif")" = "$(pauses "$tmp/long2.gif")" ] || bad "a long GIF has other pauses"
[ "$(frames "$tmp/long2.gif")" = 500 ] || bad "a long GIF: $(frames "$tmp/long2.gif") frames of 500"

# transparency stays
ffmpeg -v error -f lavfi -i "color=red:size=40x40:rate=10:duration=1,format=rgba,geq=r='200':g='X*5':b='0':a='255*gt(X,10+N)'" \
    -lavfi "split[a][b];[a]palettegen[p];[b][p]paletteuse" "$tmp/clear.gif"
expect 0 "$UPREZ" "${plain[@]}" "$tmp/clear.gif" "$tmp/clear2.gif"
alpha() { ffmpeg -v error -i "$1" -frames:v 1 -vf alphaextract,scale=4:4:flags=area -f rawvideo -pix_fmt gray - | od -An -tu1 | tr -s ' ' | head -1; }
[ "$(alpha "$tmp/clear.gif" | cut -c1-20)" = "$(alpha "$tmp/clear2.gif" | cut -c1-20)" ] ||
    bad "transparency: $(alpha "$tmp/clear2.gif") instead of $(alpha "$tmp/clear.gif")"

# at most 50 pictures a second
ffmpeg -v error -f lavfi -i testsrc2=size=32x24:rate=60:duration=1 -pix_fmt yuv420p "$tmp/fast.mkv"
expect 2 "$UPREZ" "${plain[@]}" "$tmp/fast.mkv" "$tmp/fast.gif"
said "0.02 s"
expect 0 "$UPREZ" "${plain[@]}" --vf fps=50 "$tmp/fast.mkv" "$tmp/fast.gif"
ffmpeg -v error -i "$tmp/fast.mkv" -vf fps=50 -c:v ffv1 "$tmp/slower.mkv"
n=$(frames "$tmp/slower.mkv")
[ "$(frames "$tmp/fast.gif")" -ge $((n - 1)) ] || bad "fps=50: $(frames "$tmp/fast.gif") frames of $n"
finish
