#!/bin/bash
# What a newcomer types, with the habits of other programs, and what happens: each result is judged by
# ffprobe, and the table of docs/newcomer.md is made of what was seen.
# usage: tests/cli/newcomer.sh [--write]   --write: puts the table into docs/newcomer.md
. "$(dirname "$0")/lib.sh"
need ffmpeg ffprobe
write=${1-}
export UPREZ_MODEL_PATH=$tmp/models XDG_DATA_HOME='' HOME=$tmp/home
mkdir "$tmp/models" "$tmp/home" "$tmp/now" "$tmp/start" "$tmp/bin"; cd "$tmp/start" || exit 1
ln -s "$UPREZ" "$tmp/bin/uprez"; export PATH=$tmp/bin:$PATH
ffmpeg -v error -f lavfi -i testsrc2=size=64x48:rate=10:duration=0.6 -f lavfi -i sine=duration=0.6 -pix_fmt yuv420p \
    -c:v libx264 -c:a aac in.mp4
ffmpeg -v error -i in.mp4 -c:v copy -c:a ac3 film.mkv; cp in.mp4 b.mp4; cp in.mp4 there.mp4
ffmpeg -v error -i in.mp4 -frames:v 1 -q:v 2 photo.jpg; ffmpeg -v error -i in.mp4 -frames:v 1 pic.png
ffmpeg -v error -f lavfi -i testsrc2=size=48x64 -frames:v 1 portrait.jpg
mkdir pics frames; cp pic.png photo.jpg pics; ffmpeg -v error -i in.mp4 frames/f_%04d.png

# what FILE…: in words, by ffprobe
what() {
    for f in "$@"; do
        if [ -d "$f" ]; then echo "$f/: $(ls "$f" | wc -l) files"; continue; fi
        [ -e "$f" ] || { echo "no $f"; continue; }
        video=$(ffprobe -v error -count_frames -select_streams v:0 -show_entries stream=codec_name,width,height,nb_read_frames -of csv=p=0 "$f" | head -1 | tr -d '\r')
        IFS=, read -r codec w h n _ <<<"$video"
        sound=$(ffprobe -v error -select_streams a:0 -show_entries stream=codec_name -of csv=p=0 "$f" | head -1 | tr -d ,)
        case $codec in mjpeg) codec=JPEG ;; png) codec=PNG ;; webp) codec=WebP ;; h264) codec=H.264 ;; gif) codec=GIF ;; esac
        case $n in 1 | N/A | '') n= ;; *) n=", $n frames" ;; esac
        echo "$f: $codec ${w}x$h$n${sound:+, sound $sound}"
    done | paste -sd';' | sed 's/;/; /g'
}
seen=0
: >"$tmp/table"
# t EXIT 'COMMAND' 'RESULT FILES' 'WHAT THEY ARE' ['TEXT SAID']: run in a folder of its own
t() {
    rm -rf "$tmp/now"; cp -r "$tmp/start" "$tmp/now"; cd "$tmp/now" || exit 1
    seen=$((seen + 1))
    sh -c "$2" </dev/null >"$tmp/out" 2>"$tmp/err"; code=$?
    [ $code = "$1" ] || { bad "$2: exit $code instead of $1"; sed 's/^/    /' "$tmp/err" | tail -3; }
    # shellcheck disable=SC2086
    is=$(what $3)
    [ -z "$3" ] || [ "$is" = "$4" ] || bad "$2: $is instead of $4"
    [ -z "${5-}" ] || grep -qF -- "$5" "$tmp/err" "$tmp/out" || { bad "$2: not said: $5"; sed 's/^/    /' "$tmp/err" | tail -3; }
    # a refusal is one sentence and leaves nothing
    if [ "$1" != 0 ]; then
        [ "$(grep -c '^uprez: ' "$tmp/err")" = 1 ] || [ "$2" = uprez ] || bad "$2: $(grep -c . "$tmp/err") lines"
        [ -z "$(find . -newer "$tmp/out" -type f)" ] && [ "$(ls -R | wc -l)" = "$(cd "$tmp/start" && ls -R | wc -l)" ] || bad "$2: refused, and something was left"
        is=$(grep -E '^(uprez|usage): ' "$tmp/err" | head -1 | sed "s|$tmp/models|~/models|g; s|$tmp/home|~|g; s|/usr/share/uprez/models|…|g; s/^uprez: //")
    elif [ -z "$3" ]; then is=${5-}; fi
    printf '| `%s` | %s | %s |\n' "$(sed 's/|/\\|/g' <<<"$2")" "$1" "$(sed 's/|/\\|/g' <<<"$is")" >>"$tmp/table"
}
group() { printf '\n## %s\n\n| typed | exit | what happens |\n|---|---|---|\n' "$1" >>"$tmp/table"; }

group "Just trying"
t 2 'uprez' '' '' 'usage: uprez [options] INPUT [OUTPUT]'
t 0 'uprez --help' '' '' 'usage: uprez [options] INPUT [OUTPUT]'
t 0 'uprez help model list' '' '' 'usage: uprez model'
t 0 'uprez version' '' '' 'uprez 0.1'
t 0 'uprez in.mp4' in.upscaled.mp4 'in.upscaled.mp4: H.264 128x96, 6 frames, sound aac'
t 0 'uprez photo.jpg' photo.upscaled.jpg 'photo.upscaled.jpg: JPEG 128x96'
t 0 'uprez in.mp4 out.mkv' out.mkv 'out.mkv: H.264 128x96, 6 frames, sound aac'
t 2 'uprez upscale in.mp4 out.mp4' '' '' 'no file upscale'
t 2 'uprez in.mp4 there.mp4' there.mp4 'there.mp4: H.264 64x48, 6 frames, sound aac' '-y overwrites'
t 0 'uprez in.mp4 there.mp4 -y' there.mp4 'there.mp4: H.264 128x96, 6 frames, sound aac'
t 2 'uprez in.mp4 in.mp4 -y' in.mp4 'in.mp4: H.264 64x48, 6 frames, sound aac' 'is the input'
t 3 'uprez nosuch.mp4 out.mp4' '' '' 'nosuch.mp4'
t 2 'uprez in.mp4 out' '' '' 'has no extension'
t 4 'uprez in.mp4 out.mp4 -m anime' '' '' '--for anime'
t 4 'uprez in.mp4 out.mp4 --for anime' '' '' 'uprez model pull'
t 2 'uprez compare' '' '' ''
t 0 'uprez estimate in.mp4' '' '' 'frames to 128x96'

group "Several files, sizes, pictures"
t 0 'uprez in.mp4 b.mp4 photo.jpg out/' 'out out/b.mp4 out/photo.jpg' 'out/: 3 files; out/b.mp4: H.264 128x96, 6 frames, sound aac; out/photo.jpg: JPEG 128x96'
t 2 'uprez in.mp4 b.mp4 out' '' '' 'end it with a slash'
t 2 'uprez in.mp4 b.mp4 there.mp4' '' '' 'there is no folder there.mp4'
t 0 'uprez pics bigger' 'bigger bigger/pic.png' 'bigger/: 2 files; bigger/pic.png: PNG 128x96'
t 0 'uprez in.mp4 out.mp4 --size 240p' out.mp4 'out.mp4: H.264 320x240, 6 frames, sound aac'
t 0 'uprez -m lanczos in.mp4 out.mp4 --size 4k' out.mp4 'out.mp4: H.264 2880x2160, 6 frames, sound aac'
t 0 'uprez portrait.jpg out.png --size 240p' out.png 'out.png: PNG 240x320'
t 0 'uprez in.mp4 out.mp4 --size 320x180 --fit pad' out.mp4 'out.mp4: H.264 320x180, 6 frames, sound aac'
t 0 'uprez in.mp4 out.mp4 --size 320x180' out.mp4 'out.mp4: H.264 240x180, 6 frames, sound aac'
t 0 'uprez in.mp4 frames2/%05d.png' 'frames2 frames2/00006.png' 'frames2/: 6 files; frames2/00006.png: PNG 128x96'
t 0 'uprez frames out.mp4 --fps 24' out.mp4 'out.mp4: H.264 128x96, 6 frames'
t 0 'uprez frames/f_%04d.png out.mp4' out.mp4 'out.mp4: H.264 128x96, 6 frames'
t 2 'uprez in.mp4 still.png' '' '' '--frames 1'
t 0 'uprez in.mp4 still.png --start 0.3 --frames 1' still.png 'still.png: PNG 128x96'
t 0 'uprez in.mp4 out.gif' out.gif 'out.gif: GIF 128x96, 6 frames'
t 0 'uprez film.mkv out.mp4' out.mp4 'out.mp4: H.264 128x96, 6 frames, sound ac3' '--for browser'
t 0 'uprez film.mkv out.mp4 --for browser' out.mp4 'out.mp4: H.264 128x96, 6 frames, sound aac'

group "As users of Upscayl, waifu2x, realesrgan-ncnn-vulkan and Real-ESRGAN"
t 0 'uprez -i pic.png -o out.png' out.png 'out.png: PNG 128x96'
t 0 'uprez -i pic.png -o out.png -s 4' out.png 'out.png: PNG 256x192'
t 0 'uprez -i pic.png -o out.png -s 4x -f png' out.png 'out.png: PNG 256x192'
t 0 'uprez -i pics -o out -f png -s 2' 'out out/photo.png' 'out/: 2 files; out/photo.png: PNG 128x96'
t 2 'uprez -i pics -o out.mp4' '' '' 'of one kind'
t 0 'uprez -i pic.png -o out.webp -t 100 -g 0 -j 1:2:2' out.webp 'out.webp: WebP 128x96'
t 0 'uprez -i pic.png -o out.png -g -1 -x' out.png 'out.png: PNG 128x96'
t 0 'uprez -i pic.png -o out.png -r 320x240' out.png 'out.png: PNG 320x240'
t 0 'uprez -i pic.png -o out.png -w 320' out.png 'out.png: PNG 320x240'
t 4 'uprez -i pic.png -o out.png -n realesrgan-x4plus' '' '' 'uprez model pull RealESRGAN_x4plus'
t 4 'uprez -i pic.png -o out.png -n realesr-animevideov3 -s 2' '' '' 'uprez model pull realesr-animevideov3'
t 4 'uprez -i pic.png -o out.png -n 2 -s 2' '' '' "no model '2'"
t 0 'uprez -i pics -o out --outscale 3.5 --fp32 --ext auto --suffix out' 'out out/picout.png' 'out/: 2 files; out/picout.png: PNG 224x168'
t 2 'uprez -i pic.png -o out.png --face_enhance' '' '' '--face_enhance'

group "As users of video2x, Topaz and FFmpeg"
t 0 'uprez -i in.mp4 -o out.mp4 -s 4' out.mp4 'out.mp4: H.264 256x192, 6 frames, sound aac'
t 2 'uprez -i in.mp4 -o out.mp4 -p realesrgan -s 4' '' '' 'no option -p'
t 0 'uprez --input in.mp4 --output out.mp4 --scale 4' out.mp4 'out.mp4: H.264 256x192, 6 frames, sound aac'
t 4 'uprez --input in.mp4 --output out.mp4 --model proteus' '' '' "no model 'proteus'"
t 0 'uprez -i in.mp4 out.mp4' out.mp4 'out.mp4: H.264 128x96, 6 frames, sound aac'
t 0 'uprez -y -i in.mp4 -c:v libx264 -crf 20 -preset fast -c:a copy there.mp4' there.mp4 'there.mp4: H.264 128x96, 6 frames, sound aac'
t 0 'uprez -ss 0.2 -i in.mp4 -vframes 3 out.mp4' out.mp4 'out.mp4: H.264 128x96, 3 frames, sound aac'
t 0 'uprez -i in.mp4 -an out.mp4' out.mp4 'out.mp4: H.264 128x96, 6 frames'
t 0 'uprez -i in.mp4 -vf hflip out.mp4' out.mp4 'out.mp4: H.264 128x96, 6 frames, sound aac'
t 2 'uprez -i in.mp4 -s 1280x720 out.mp4' '' '' '--size'
t 0 'ffmpeg -v error -i in.mp4 -f yuv4mpegpipe - | uprez - out.mp4' out.mp4 'out.mp4: H.264 128x96, 6 frames'

[ "$seen" -ge 50 ] || bad "only $seen commands"
cd "$SOURCE_ROOT" || exit 1
page=docs/newcomer.md
awk '/<!-- table -->/ { print; exit } { print }' $page >"$tmp/page"
cat "$tmp/table" >>"$tmp/page"
if [ "$write" = --write ]; then cp "$tmp/page" $page
else diff $page "$tmp/page" >"$tmp/diff" || bad "docs/newcomer.md says otherwise (tests/cli/newcomer.sh --write): $(head -5 "$tmp/diff")"; fi
finish
