#!/bin/bash
# --for: models by purpose, what browsers play, and what is said about it, once.
. "$(dirname "$0")/lib.sh"
need ffmpeg ffprobe
need_media
mkdir "$tmp/w" "$tmp/m"; cd "$tmp/w" || exit 1
export UPREZ_MODEL_PATH=$tmp/m HOME=$tmp/none XDG_DATA_HOME=
P=$SHARED/models/pytorch
ffmpeg -v error -f lavfi -i testsrc2=size=32x24:rate=10:duration=0.5 -f lavfi -i sine=duration=0.5 -pix_fmt yuv420p -c:v libx264 -c:a aac v.mkv
ffmpeg -v error -i v.mkv -frames:v 1 p.png
up() { "$UPREZ" --progress none -y "$@"; }
used() { sed -n 's/.*; model //p' "$tmp/err" | tail -1; }

# nothing installed: an error that says what to do, or the built-in network and the same line
expect 4 up --for anime v.mkv a.mkv; said "uprez model pull realesr-animevideov3"; said "-m FILE"; [ -e a.mkv ] && bad "something was written"
expect 0 up --for film v.mkv a.mkv; said "uprez model pull realesr-general-x4v3"; said "-m FILE"; [ "$(used)" = uprez-video-2x ] || bad "film: $(used)"
expect 0 up --for photo p.png a.png; said "uprez model pull"; [ "$(used)" = uprez-fast-2x ] || bad "photo: $(used)"
# installed: the best one, another for pictures than for video
cp "$P/realesr-animevideov3.pth" "$tmp/m"
expect 0 up --for anime v.mkv a.mkv; [ "$(used)" = realesr-animevideov3 ] || bad "anime: $(used)"; [ "$(probe a.mkv width)" = 128 ] || bad "not 4x"
expect 0 up --for anime p.png a.png; [ "$(used)" = realesr-animevideov3 ] || bad "anime picture: $(used)"
cp "$P/RealESRGAN_x4plus_anime_6B.pth" "$tmp/m" # the best for pictures; not always the published file
if "$UPREZ" model verify RealESRGAN_x4plus_anime_6B >/dev/null 2>&1; then best=RealESRGAN_x4plus_anime_6B; else best=realesr-animevideov3; fi
expect 0 up --for anime p.png a.png; [ "$(used)" = $best ] || bad "the best for pictures: $(used) instead of $best"
[ $best = RealESRGAN_x4plus_anime_6B ] || said "passes it over"
# another file under a known name: never silently
cp "$P/sudo_UltraCompact_2x_1.121.175_G.pth" "$tmp/m/realesr-general-x4v3.pth"
expect 0 up --for film v.mkv a.mkv; said "is not the published realesr-general-x4v3"; [ "$(used)" = uprez-video-2x ] || bad "a wrong file was used: $(used)"
expect 4 up -m realesr-general-x4v3 v.mkv a.mkv; said "is not the published realesr-general-x4v3"
expect 0 up -m "$tmp/m/realesr-general-x4v3.pth" v.mkv a.mkv; said "is not the published realesr-general-x4v3"
expect 0 up -m "$P/realesr-animevideov3.pth" v.mkv a.mkv; grep -q published "$tmp/err" && bad "the published file is doubted"
expect 2 up --for anime --for film v.mkv a.mkv; expect 2 up --for cats v.mkv a.mkv; expect 2 up --for film -m lanczos v.mkv a.mkv

# browsers: one line where they would not play it, naming the options; nothing where they do
name() { probe "$1" codec_name a:0 | tr -d ,; }
line() { grep -c 'browsers and some' "$tmp/err"; }
src() { ffmpeg -v error -y -i v.mkv -map 0 -c copy "$@"; }
expect 0 up -m lanczos v.mkv plain.mp4; [ "$(line)" = 0 ] || bad "AAC and H.264 are doubted"
for c in ac3 eac3 dca; do
    src -c:a $c -strict -2 $c.mkv
    expect 0 up -m lanczos $c.mkv $c.mp4; [ "$(line)" = 1 ] || bad "$c: $(line) lines"; said "--audio aac"
    [ "$(name $c.mp4)" = "$(name $c.mkv)" ] || bad "$c was not copied"
    expect 0 up -m lanczos --for browser $c.mkv $c.mp4; [ "$(line)" = 0 ] || bad "$c with --for browser"
    [ "$(name $c.mp4)" = aac ] || bad "$c for browsers: $(probe $c.mp4 codec_name a:0)"
    expect 0 up -m lanczos $c.mkv $c.2.mkv; [ "$(line)" = 0 ] || bad "$c in .mkv: browsers are not asked"
done
src -c:v libx265 -x265-params log-level=none -pix_fmt yuv420p10le ten.mkv
expect 0 up -m lanczos ten.mkv ten.mp4; [ "$(line)" = 1 ] || bad "10 bits: $(line) lines"; said "10-bit H.265"; said "yuv420p"
[ "$(probe ten.mp4 pix_fmt)" = yuv420p10le ] || bad "10 bits are not kept"
expect 0 up -m lanczos --for browser ten.mkv ten.mp4; [ "$(probe ten.mp4 codec_name,pix_fmt)" = h264,yuv420p ] || bad "for browsers: $(probe ten.mp4 codec_name,pix_fmt)"
expect 0 up -m lanczos --for browser ten.mkv ten.webm; [ "$(probe ten.webm pix_fmt)" = yuv420p ] || bad ".webm for browsers: $(probe ten.webm pix_fmt)"
expect 0 up -m lanczos --for browser ten.mkv; [ "$(probe ten.upscaled.mp4 codec_name)" = h264 ] || bad "no ten.upscaled.mp4"
expect 0 up -m lanczos --for browser -c libx265 --audio copy ac3.mkv own.mp4; [ "$(probe own.mp4 codec_name) $(name own.mp4)" = "hevc ac3" ] || bad "the user's own choice is not kept"
expect 2 up -m lanczos --for browser v.mkv x.mkv; said ".webm"; expect 2 up -m lanczos --for browser p.png x.tif

# a mixed folder: each kind of network is named once, in whatever order the files come
mkdir mix; for i in 1 3 5; do cp v.mkv mix/$i.mkv; cp p.png mix/$((i + 1)).png; done
expect 0 up mix mixed; [ "$(grep -c 'no -m' "$tmp/err")" = 2 ] || bad "a mixed folder: $(grep 'no -m' "$tmp/err")"
# and not before a refusal
expect 2 up v.mkv a.xyz; grep -q 'no -m' "$tmp/err" && bad "the network is named before a refusal"
expect 2 up v.mkv a.mkv --pix-fmt nonsense; grep -q 'no -m' "$tmp/err" && bad "the network is named before a refusal"
# the colour matrix: only with -v, unless other tags speak against the guess
expect 0 up -m lanczos v.mkv a.mkv; grep -q matrix "$tmp/err" && bad "the guess is told without -v"
expect 0 up -v -m lanczos v.mkv a.mkv; said "does not say its colour matrix"
ffmpeg -v error -i v.mkv -c copy -bsf:v h264_metadata=transfer_characteristics=1 tagged.mkv
expect 0 up -m lanczos tagged.mkv a.mkv; said "setparams=colorspace=bt709"
expect 0 up -m lanczos --vf setparams=colorspace=bt709 tagged.mkv b.mkv; grep -q matrix "$tmp/err" && bad "the remedy is none"
[ "$(probe b.mkv color_space)" = bt709 ] || bad "the remedy does nothing: $(probe b.mkv color_space)"
finish
