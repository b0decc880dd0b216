#!/bin/bash
# Real clips through the command: nothing is lost on the way. ffprobe and ffmpeg are the witnesses.
. "$(dirname "$0")/lib.sh"
need ffmpeg ffprobe
need_media
V=$SHARED/media/video

# keep IN OUT [OPTIONS]: same frames, same times, twice the size, every audio stream byte for byte
keep() {
    in=$V/$1 out=$tmp/$2; shift 2
    expect 0 "$UPREZ" -q -m bicubic -s 2 --preset ultrafast "$@" "$in" "$out"
    [ -e "$out" ] || return
    a=$(frames "$in") b=$(frames "$out")
    [ "$a" = "$b" ] || bad "$(basename "$in"): $a frames in, $b out"
    pts "$in" >"$tmp/pts_in"; pts "$out" >"$tmp/pts_out"
    # same distances between frames within a millisecond (the target's clock may be coarser)
    paste "$tmp/pts_in" "$tmp/pts_out" | awk 'NR==1{o=$2-$1} {d=$2-$1-o; if (d<0) d=-d; if (d>m) m=d} END{exit !(m<=0.0011)}' ||
        bad "$(basename "$in"): timestamps moved"
    n=$(ffprobe -v error -select_streams a -show_entries stream=index -of csv=p=0 "$in" | wc -l)
    [ "$(ffprobe -v error -select_streams a -show_entries stream=index -of csv=p=0 "$out" | wc -l)" = "$n" ] ||
        bad "$(basename "$in"): audio streams"
    for k in $(seq 0 $((n - 1))); do
        [ "$(packets_md5 "$in" "a:$k")" = "$(packets_md5 "$out" "a:$k")" ] || bad "$(basename "$in"): audio $k changed"
    done
}
keep dog_848x464_aac.mp4 a.mp4
keep realshort_320x240_aac.mp4 a.mkv
keep phone_352x288_vfr_rot90.mp4 b.mp4
[ "$(ffprobe -v error -select_streams v:0 -show_entries stream_side_data=rotation -of csv=p=0 "$tmp/b.mp4")" = \
  "$(ffprobe -v error -select_streams v:0 -show_entries stream_side_data=rotation -of csv=p=0 "$V/phone_352x288_vfr_rot90.mp4")" ] || bad "rotation lost"
keep webcam_640x480_vfr.mov c.mov
keep bbb_800x640_sar64-45_bframes.mp4 d.mp4
[ "$(probe "$tmp/d.mp4" sample_aspect_ratio)" = 64:45 ] || bad "SAR is $(probe "$tmp/d.mp4" sample_aspect_ratio)"
keep dog_848x464_hevc10_hlg.mkv e.mkv
[ "$(probe "$tmp/e.mkv" pix_fmt)" = yuv420p10le ] || bad "10 bit became $(probe "$tmp/e.mkv" pix_fmt)"
[ "$(probe "$tmp/e.mkv" color_transfer)" = arib-std-b67 ] || bad "HLG tag lost"
keep face_1080x720.mp4 f.mp4

# the same command twice gives the same bytes, on any number of threads and at any level
for o in "--threads 1" "--threads 3" "--cpu c" "--cpu avx2"; do
    "$UPREZ" --help >/dev/null
    if "$UPREZ" -q -y -m bicubic -s 2 --preset ultrafast $o "$V/realshort_320x240_aac.mp4" "$tmp/t.mkv" 2>"$tmp/err"; then
        cmp -s "$tmp/a.mkv" "$tmp/t.mkv" || bad "$o gives other bytes"
    elif ! grep -q "has no" "$tmp/err"; then bad "$o: $(cat "$tmp/err")"; fi
done

# exact to the frame
expect 0 "$UPREZ" -q -m bicubic -s 1.5 --frames 7 "$V/dog_848x464_aac.mp4" "$tmp/seven.mp4"
[ "$(frames "$tmp/seven.mp4")" = 7 ] || bad "--frames 7 gave $(frames "$tmp/seven.mp4")"
expect 0 "$UPREZ" -q -m bicubic -s 1.5 --start 1 --duration 0.5 "$V/dog_848x464_aac.mp4" "$tmp/half.mp4"
[ "$(frames "$tmp/half.mp4")" = 15 ] || bad "half a second at 30/s gave $(frames "$tmp/half.mp4")"

# x265 tells memory it never wrote as decoding times of very short streams: filled with anything
for p in 1 85; do
    expect 0 env MALLOC_PERTURB_=$p "$UPREZ" -q -y -m bicubic -s 0.5 -c libx265 --preset ultrafast --frames 2 "$V/dog_848x464_aac.mp4" "$tmp/two.mkv"
    [ "$(frames "$tmp/two.mkv")" = 2 ] || bad "two frames through x265 gave $(frames "$tmp/two.mkv")"
done

# the real network on real frames
if [ -f "$SHARED/models/pytorch/realesr-animevideov3.pth" ]; then
    expect 0 "$UPREZ" -q --frames 2 -m "$SHARED/models/pytorch/realesr-animevideov3.pth" "$V/realshort_320x240_aac.mp4" "$tmp/net.mp4"
    [ "$(probe "$tmp/net.mp4" width,height)" = 1280,960 ] || bad "network: $(probe "$tmp/net.mp4" width,height)"
fi
finish
