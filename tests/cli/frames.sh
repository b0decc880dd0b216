#!/bin/bash
# Numbered pictures in and out, folders of frames, and stills of a video.
. "$(dirname "$0")/lib.sh"
need ffmpeg ffprobe
plain=(-m lanczos -s 2 --progress none)
mkdir "$tmp/w"; cd "$tmp/w" || exit 1
ffmpeg -v error -f lavfi -i testsrc2=size=64x48:rate=24:duration=1 -pix_fmt yuv444p -c:v ffv1 v.mkv
mkdir f un 'odd [1] %'
ffmpeg -v error -i v.mkv -start_number 7 f/f_%04d.png; ffmpeg -v error -i v.mkv un/%d.png; cp f/* 'odd [1] %'
same() { # A B: frame by frame at least 45 dB, as many frames, on one time base
    ffmpeg -v error -i "$1" -i "$2" -lavfi "[0:v]settb=1/100,setpts=N,format=gbrp[a];[1:v]settb=1/100,setpts=N,format=gbrp[b];[a][b]psnr=stats_file=-" -fps_mode passthrough -f null - 2>/dev/null |
        awk '{ sub(/.*psnr_avg:/, ""); n++; if ($1 != "inf" && $1 < 45) bad++ } END { exit !(n == 24 && !bad) }'
}
# the reference: the film itself
expect 0 "$UPREZ" "${plain[@]}" -c ffv1 --pix-fmt bgr0 f/f_%04d.png ref.mkv
[ "$(frames ref.mkv)" = 24 ] || bad "a pattern that begins at 7: $(frames ref.mkv) frames of 24"
for from in f 'odd [1] %' un un/%d.png; do
    rm -f film.mkv
    expect 0 "$UPREZ" "${plain[@]}" -c ffv1 --pix-fmt bgr0 --fps 24 "$from" film.mkv
    same film.mkv ref.mkv || bad "$from: not the film"
    [ "$(probe film.mkv r_frame_rate)" = 24/1 ] || bad "$from: $(probe film.mkv r_frame_rate)"
done
expect 0 "$UPREZ" "${plain[@]}" --fps 23.976 f film.mp4; [ "$(probe film.mp4 r_frame_rate)" = 24000/1001 ] || bad "--fps 23.976: $(probe film.mp4 r_frame_rate)"
[ -f film.mp4 ] || bad "a folder was made of the video's name"
expect 2 "$UPREZ" "${plain[@]}" --fps fast f film2.mp4; said "--fps"
expect 2 "$UPREZ" "${plain[@]}" --fps 24 v.mkv film2.mp4; said "--fps"
expect 2 "$UPREZ" "${plain[@]}" --fps 24 f folder/; [ -e folder ] && bad "a refused run made a folder"
expect 2 "$UPREZ" "${plain[@]}" f x.png; said "slash"
# gaps: never silently the half of it
rm f/f_0015.png un/9.png
expect 3 "$UPREZ" "${plain[@]}" f/f_%04d.png film3.mp4; said "f_0015.png is missing"
expect 0 "$UPREZ" "${plain[@]}" f film3.mp4; said "1 number is missing"; [ "$(frames film3.mp4)" = 23 ] || bad "$(frames film3.mp4) frames"
expect 2 "$UPREZ" "${plain[@]}" un film4.mp4; said "the order of the frames"
cp v.mkv un; expect 2 "$UPREZ" "${plain[@]}" un film4.mp4; said "v.mkv"
mkdir mixed; cp f/f_0007.png mixed/1.png; ffmpeg -v error -i f/f_0008.png mixed/2.jpg
expect 2 "$UPREZ" "${plain[@]}" mixed film4.mp4; said ".jpg"

# out
expect 0 "$UPREZ" "${plain[@]}" v.mkv out/%05d.png
[ "$(ls out | wc -l)" = 24 ] && [ -f out/00001.png ] && [ -f out/00024.png ] || bad "out: $(ls out)"
ffmpeg -v error -framerate 24 -i out/%05d.png -c:v ffv1 -pix_fmt gbrp out.mkv
ffmpeg -v error -i v.mkv -vf scale=128:96:flags=lanczos -c:v ffv1 -pix_fmt gbrp swscale.mkv
psnr=$(ffmpeg -i out.mkv -i swscale.mkv -lavfi psnr -f null - 2>&1 | grep -o 'average:[0-9.]*' | cut -d: -f2)
awk -v p="${psnr:-0}" 'BEGIN { exit p < 30 }' || bad "the pictures are not those of the film: $psnr dB"
expect 2 "$UPREZ" "${plain[@]}" -m "$tmp/none.pth" v.mkv out/%05d.png; said "-y overwrites"
expect 0 "$UPREZ" "${plain[@]}" -y --frames 5 v.mkv out/%05d.png; said "19 pictures named like these are older"
expect 0 "$UPREZ" "${plain[@]}" v.mkv 'j/100%%_%d.jpg'; [ "$(ls j | wc -l)" = 24 ] && [ -f 'j/100%_24.jpg' ] || bad "j: $(ls j)"
expect 2 "$UPREZ" "${plain[@]}" v.mkv bad/%03d.bmp; said ".png, .jpg, .webp or .tif"
[ -e bad ] && bad "a refused run made a folder"
ls -d -- *.uprez out/*.uprez 2>/dev/null && bad "the folder of the job is still there"

# an interrupted run goes on: what is there is neither made again nor changed
ffmpeg -v error -f lavfi -i testsrc2=size=320x240:rate=25:duration=5 -pix_fmt yuv420p -c:v libx264 -preset ultrafast long.mp4
"$UPREZ" "${plain[@]}" -q long.mp4 cut/%d.png & run=$!
for _ in $(seq 200); do [ -f cut/3.png ] && break; sleep 0.05; done
kill -TERM $run; wait $run; code=$?
if [ $code = 143 ]; then
    was=$(stat -c %Y%i cut/1.png); n=$(ls cut | wc -l)
    [ "$n" -lt 125 ] || bad "nothing was interrupted"
    expect 0 "$UPREZ" "${plain[@]}" --frames 125 long.mp4 other/%d.png
    expect 0 "$UPREZ" "${plain[@]}" long.mp4 cut/%d.png; said "of an earlier run are used"
    [ "$(stat -c %Y%i cut/1.png)" = "$was" ] || bad "the first picture was made again"
    diff -r cut other >/dev/null || bad "the resumed pictures are not those of a run in one go"
else
    bad "an interrupted run is exit $code"
fi

# a still: the frame that an exact cut has, upright, with square pixels
expect 2 "$UPREZ" "${plain[@]}" v.mkv still.png; said "--frames 1"
expect 0 "$UPREZ" "${plain[@]}" --start 0.5 --frames 1 v.mkv still.png
expect 0 "$UPREZ" "${plain[@]}" -y v.mkv out/%05d.png
cmp -s still.png out/00013.png || bad "--start 0.5 is not the 13th picture of 24 a second"
ffmpeg -v error -i v.mkv -vf setsar=4/3 -c:v ffv1 wide.mkv
expect 0 "$UPREZ" "${plain[@]}" --frames 1 wide.mkv wide.png; [ "$(probe wide.png width,height)" = 171,96 ] || bad "wide pixels: $(probe wide.png width,height)"
# upright as ffmpeg turns it by itself, whether the container says so or the stream, mirrored or not
ffmpeg -v error -i v.mkv -c:v libx264 -pix_fmt yuv420p plain.mp4
ffmpeg -v error -i plain.mp4 -c copy -metadata:s:v rotate=90 turned90.mp4
ffmpeg -v error -i plain.mp4 -c copy -metadata:s:v rotate=180 turned180.mp4
ffmpeg -v error -i plain.mp4 -c copy -bsf:v h264_metadata=display_orientation=insert:rotate=90 turned.mkv
ffmpeg -v error -i plain.mp4 -c copy -bsf:v h264_metadata=display_orientation=insert:flip=horizontal mirror.mkv
for f in plain.mp4 turned90.mp4 turned180.mp4 turned.mkv mirror.mkv; do
    expect 0 "$UPREZ" "${plain[@]}" --frames 1 $f $f.png
    ffmpeg -v error -y -i $f -frames:v 1 -vf scale=iw*2:ih*2:flags=lanczos upright.png
    psnr=$(ffmpeg -i $f.png -i upright.png -lavfi psnr -f null - 2>&1 | grep -o 'average:[0-9.]*' | cut -d: -f2)
    awk -v p="${psnr:-0}" 'BEGIN { exit p < 25 }' || bad "$f: $(probe $f.png width,height), $psnr dB from ffmpeg's"
done
finish
