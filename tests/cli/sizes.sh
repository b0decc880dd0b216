#!/bin/bash
# --size, --fit and -s: shapes are kept, and what is cut or surrounded is, sample by sample, what ffmpeg's
# crop and pad make of the plain result.
. "$(dirname "$0")/lib.sh"
need ffmpeg ffprobe
plain=(-m lanczos --progress none)
mkdir "$tmp/w"; cd "$tmp/w" || exit 1
sums() { ffmpeg -v error -i "$1" ${2:+-vf "$2"} -f framemd5 - | grep -v '^#' | cut -d, -f6; }
side() { probe "$1" width,height | sed 's/,*$//'; }
is() { [ "$(side "$1")" = "$2" ] || bad "$1 is $(side "$1"), not $2"; }
square() { case $(probe "$1" sample_aspect_ratio) in 1:1* | 0:1* | N/A* | '') ;; *) bad "$1 has pixels of $(probe "$1" sample_aspect_ratio)" ;; esac; }

for fmt in yuv420p yuv422p10le yuv444p gray bgr0; do
    ffmpeg -v error -y -f lavfi -i testsrc2=size=64x48:rate=5:duration=0.6 -c:v ffv1 -pix_fmt $fmt in.mkv
    run() { expect 0 "$UPREZ" "${plain[@]}" -y -c ffv1 --pix-fmt $fmt --size "$1" --fit "$2" in.mkv $2.mkv; square $2.mkv; }
    run 160x90 contain; is contain.mkv 120,90
    run 160x90 pad; is pad.mkv 160,90
    [ "$(sums pad.mkv crop=120:90:20:0)" = "$(sums contain.mkv)" ] || bad "$fmt: pad is not the picture"
    case $fmt in # ffmpeg's own bars, where they are black: its 10-bit and gray ones are not quite
    *p10le) [ "$(ffmpeg -v error -i pad.mkv -vf crop=20:90:0:0 -f rawvideo - | od -An -tu2 -v | tr -s ' \n' '\n' | sort -un | tr '\n' ' ')" = " 64 512 " ] || bad "$fmt: the bars" ;;
    gray) ;;
    *) [ "$(sums pad.mkv)" = "$(sums contain.mkv pad=160:90:20:0:black)" ] || bad "$fmt: pad is not ffmpeg's" ;;
    esac
    run 90x160 pad; is pad.mkv 90,160
    expect 0 "$UPREZ" "${plain[@]}" -y -c ffv1 --pix-fmt $fmt --width 160 in.mkv wide.mkv; is wide.mkv 160,120
    run 160x80 cover; is cover.mkv 160,80
    [ "$(sums cover.mkv)" = "$(sums wide.mkv crop=160:80:0:20)" ] || bad "$fmt: cover is not ffmpeg's crop"
    run 160x90 stretch; is stretch.mkv 160,90
done
# pictures, with and without transparency
ffmpeg -v error -f lavfi -i testsrc2=size=64x48 -frames:v 1 p.png
ffmpeg -v error -f lavfi -i testsrc2=size=64x48,format=rgba,colorchannelmixer=aa=0.5 -frames:v 1 a.png
for p in p a; do
    for f in contain:133,100 pad:200,100 cover:200,100 stretch:200,100; do
        expect 0 "$UPREZ" "${plain[@]}" --size 200x100 --fit ${f%:*} $p.png $p-${f%:*}.png; is $p-${f%:*}.png ${f#*:}
    done
    expect 0 "$UPREZ" "${plain[@]}" --size 320x180 $p.png $p-default.png; is $p-default.png 240,180
    [ "$(sums $p-pad.png crop=133:100:33:0)" = "$(sums $p-contain.png)" ] || bad "$p: pad is not the picture"
done
[ "$(ffmpeg -v error -i a-pad.png -vf alphaextract,crop=33:100:0:0 -f rawvideo - | od -An -tu1 -v | tr -s ' \n' '\n' | sort -u | tr -d '\n')" = 0 ] ||
    bad "what surrounds a transparent picture is not transparent"

# pixels that are not square; a turned film; names
ffmpeg -v error -f lavfi -i testsrc2=size=72x57:rate=5:duration=0.4 -vf scale=72:56,setsar=16/15 -pix_fmt yuv420p -c:v libx264 dvd.mp4
expect 0 "$UPREZ" "${plain[@]}" --size 320x180 dvd.mp4 d.mp4; is d.mp4 246,180; square d.mp4 # 72*16/15 : 56
expect 0 "$UPREZ" "${plain[@]}" -s 2x dvd.mp4 s.mp4; is s.mp4 144,112; [ "$(probe s.mp4 sample_aspect_ratio)" = 16:15 ] || bad "-s 2x: pixels of $(probe s.mp4 sample_aspect_ratio)"
ffmpeg -v error -i dvd.mp4 -vf setsar=1 -c:v libx264 -pix_fmt yuv420p plain.mp4; ffmpeg -v error -i plain.mp4 -c copy -metadata:s:v rotate=90 turned.mp4
expect 0 "$UPREZ" "${plain[@]}" --size 360p turned.mp4 t.mp4; is t.mp4 462,360 # as stored; 360 wide as shown
expect 0 "$UPREZ" "${plain[@]}" --size 360p plain.mp4 n.mp4; is n.mp4 462,360
expect 0 "$UPREZ" "${plain[@]}" --size 360p p.png n.png; is n.png 480,360
ffmpeg -v error -i p.png -vf transpose up.png
expect 0 "$UPREZ" "${plain[@]}" --size 360p up.png n2.png; is n2.png 360,480
for s in 4x x4 4 4X; do expect 0 "$UPREZ" "${plain[@]}" -y -s $s p.png s.png; is s.png 256,192; done
for o in "-s 4y" "-s x" "--size 5000" "--fit pad" "--fit pad --width 10" "--fit crop --size 4k" "-s 2 --size 4k"; do
    # shellcheck disable=SC2086
    expect 2 "$UPREZ" -m none $o p.png no.png
done
finish
