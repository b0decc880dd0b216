#!/bin/bash
# What encoder and container cannot do is refused before a model runs, and what the ffmpeg at hand can
# write and read is written: pairs against ffmpeg itself. tests/slow/pairs.sh has all of them.
. "$(dirname "$0")/lib.sh"
need ffmpeg ffprobe
source="testsrc2=size=64x48:rate=25:duration=0.4"
ffmpeg -v error -f lavfi -i "$source" -f lavfi -i sine=duration=0.4 -pix_fmt yuv420p -c:v libx264 \
    -preset ultrafast -c:a aac "$tmp/in.mp4"
plain=(-m lanczos -s 2 --progress none)
# frames that come back, quickly; 0 where none do
back() { local n; n=$(frames "$1" 2>/dev/null); [[ "$n" =~ ^[0-9]+$ ]] && echo "$n" || echo 0; }

pair() { # ENCODER EXTENSION: written where ffmpeg writes all frames, refused where it does not
    local f=$tmp/f.$2 o=$tmp/o.$2 there
    rm -rf "$f" "$o"*
    ffmpeg -v error -nostdin -y -i "$tmp/in.mp4" -vf scale=128:96 -c:v "$1" -strict -2 -an "$f" 2>/dev/null
    there=$(back "$f")
    "$UPREZ" "${plain[@]}" --audio none -c "$1" "$tmp/in.mp4" "$o" 2>"$tmp/err"
    local code=$?
    tried=$((tried + 1))
    if [ "$there" = 10 ]; then
        [ "$code" = 0 ] || bad "$1 in .$2: exit $code, but ffmpeg writes it: $(tail -1 "$tmp/err")"
    elif [ "$code" != 0 ]; then
        [ "$code" = 2 ] || bad "$1 in .$2: exit $code instead of 2: $(tail -1 "$tmp/err")"
        [ -z "$(ls -d "$o"* 2>/dev/null)" ] || bad "$1 in .$2: left $(ls -d "$o"*)"
    fi
    if [ "$code" = 0 ]; then [ "$(back "$o")" = 10 ] || bad "$1 in .$2: $(back "$o") frames of 10"; fi
}
shown() { ffprobe -v error -select_streams v:0 -show_entries frame=best_effort_timestamp_time -of csv=p=0 "$1" | tr -d , | grep .; }
tried=0
for e in rawvideo ffv1 utvideo huffyuv v210 prores_ks cfhd mjpeg mpeg4 libx264 qtrle libtheora; do
    ffmpeg -v error -h "encoder=$e" 2>/dev/null | grep -q '^Encoder' || continue
    for x in mkv mov avi nut mp4; do pair "$e" "$x"; done
done
ffmpeg -v error -h encoder=libaom-av1 2>/dev/null | grep -q '^Encoder' && for x in mkv webm mp4; do pair libaom-av1 "$x"; done
# codecs that no other container has a name for, and one that a reader takes for raw video
for e in bmp ppm xwd sgi; do pair "$e" avi; done
for e in libx264 libx265 mpeg2video; do
    ffmpeg -v error -h "encoder=$e" 2>/dev/null | grep -q '^Encoder' && pair "$e" mpg
done
[ "$tried" -ge 40 ] || echo "only $tried pairs: this ffmpeg lacks encoders"

# times: an uneven film into containers that count, and into those that do not
ffmpeg -v error -f lavfi -i testsrc2=size=64x48:rate=60:duration=2 \
    -vf "select='not(mod(n,2))+lt(n,20)'" -fps_mode vfr -c:v libx264 -preset ultrafast "$tmp/uneven.mp4"
for x in mxf h264 m2v; do
    expect 2 "$UPREZ" "${plain[@]}" "$tmp/uneven.mp4" "$tmp/uneven.$x"
    said "times"
    [ -z "$(ls -d "$tmp/uneven.$x"* 2>/dev/null)" ] || bad "left: $(ls -d "$tmp/uneven.$x"*)"
done
expect 0 "$UPREZ" "${plain[@]}" "$tmp/uneven.mp4" "$tmp/uneven.y4m"
said "times"
for x in avi mkv ts; do
    expect 0 "$UPREZ" "${plain[@]}" "$tmp/uneven.mp4" "$tmp/kept.$x"
    # compared to the millisecond
    paste <(shown "$tmp/uneven.mp4") <(shown "$tmp/kept.$x") | awk 'NR == 1 { a = $1; b = $2 }
        { d = ($1 - a) - ($2 - b); if (d > 0.0011 || d < -0.0011) wrong = 1 } END { exit NR < 60 || wrong }' ||
        bad ".$x: other times"
done
expect 0 "$UPREZ" "${plain[@]}" --vf fps=30 "$tmp/uneven.mp4" "$tmp/even.mxf"

# GIF: hundredths of a second, two at least
expect 2 "$UPREZ" "${plain[@]}" "$tmp/uneven.mp4" "$tmp/o.gif"
said "0.02 s"

# a picture that no encoder takes: before the work, whatever the network would need
ffmpeg -v error -f lavfi -i color=gray:size=2000x2000:rate=25:duration=0.2 -pix_fmt gray -c:v ffv1 "$tmp/large.mkv"
expect 2 timeout 60 "$UPREZ" --progress none -m lanczos -s 9 -c ffv1 "$tmp/large.mkv" "$tmp/huge.mkv"
said "18000x18000"

# a picture that stays the same: Theora's empty packets become pictures, which look the same
ffmpeg -v error -f lavfi -i testsrc2=size=70x50:rate=25:duration=0.4 -vf tpad=stop=10:stop_mode=clone \
    -pix_fmt yuv420p -c:v ffv1 "$tmp/still.mkv"
if ffmpeg -v error -h encoder=libtheora 2>/dev/null | grep -q '^Encoder'; then
    for f in yuv420p yuv422p yuv444p; do
        rm -f "$tmp/o.ogv" "$tmp/exact.mkv"
        expect 0 "$UPREZ" "${plain[@]}" -c libtheora --pix-fmt $f "$tmp/still.mkv" "$tmp/o.ogv"
        expect 0 "$UPREZ" "${plain[@]}" -c ffv1 --pix-fmt $f "$tmp/still.mkv" "$tmp/exact.mkv"
        [ "$(frames "$tmp/o.ogv")" = 20 ] || bad "Theora $f: $(frames "$tmp/o.ogv") frames of 20"
        worst=$(ffmpeg -v error -i "$tmp/o.ogv" -i "$tmp/exact.mkv" -lavfi \
            "[0:v]settb=1/25,setpts=N[a];[1:v]settb=1/25,setpts=N[b];[a][b]psnr=stats_file=-" -f null - |
            grep -o 'psnr_avg:[0-9.]*' | cut -d: -f2 | sort -n | head -1)
        awk -v p="${worst:-0}" 'BEGIN { exit p < 40 }' || bad "Theora $f: a frame has ${worst} dB"
    done
fi

# sound that a container does not hold becomes one that it does
expect 0 "$UPREZ" "${plain[@]}" "$tmp/in.mp4" "$tmp/sound.ogv"
[ "$(probe "$tmp/sound.ogv" codec_name a:0)" = opus ] || bad "the sound in .ogv: $(probe "$tmp/sound.ogv" codec_name a:0)"

# an interrupted run's plan says that it was rehearsed
ffmpeg -v error -f lavfi -i testsrc2=size=320x240:rate=25:duration=20 -pix_fmt yuv420p -c:v libx264 \
    -preset ultrafast "$tmp/long.mp4"
timeout -s INT 2 "$UPREZ" -m lanczos -s 3 --threads 1 --progress none "$tmp/long.mp4" "$tmp/long.mkv" 2>/dev/null
[ ! -e "$tmp/long.mkv.uprez/plan.json" ] || grep -q '"rehearsed":.*true' "$tmp/long.mkv.uprez/plan.json" ||
    bad "the plan does not say that it was rehearsed"

# ten bits, and what a buffer held before
expect 0 "$UPREZ" "${plain[@]}" -c libx264 --preset ultrafast --pix-fmt yuv420p10le "$tmp/in.mp4" "$tmp/deep.mkv"

# times that filters make are known before the work, too; what depends on the pictures is not guessed
for vf in "select='lt(mod(n,5),3)'" "setpts='if(gt(N,5),PTS+0.1/TB,PTS)'" framestep=3; do
    rm -rf "$tmp/f.mxf"*
    expect 2 "$UPREZ" "${plain[@]}" --audio none -c mpeg2video --vf "$vf" "$tmp/in.mp4" "$tmp/f.mxf"; said "does not keep the times"
    expect 0 "$UPREZ" "${plain[@]}" -y --audio none -c ffv1 --vf "$vf" "$tmp/in.mp4" "$tmp/f.mkv"
done
for vf in mpdecimate hue=s=0 fps=50; do
    expect 0 "$UPREZ" "${plain[@]}" -y --audio none -c mpeg2video --vf "$vf" "$tmp/in.mp4" "$tmp/f.mxf"
    expect 0 "$UPREZ" "${plain[@]}" -y --audio none -c ffv1 --vf "$vf" "$tmp/in.mp4" "$tmp/f.mkv"
done

# pictures, too
ffmpeg -v error -f lavfi -i color=gray:size=9000x9000 -frames:v 1 -pix_fmt gray "$tmp/large.png"
for x in png tif; do
    expect 2 "$UPREZ" -m lanczos -s 2 "$tmp/large.png" "$tmp/huge.$x"
    said "18000x18000"
done
finish
