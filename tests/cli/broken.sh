#!/bin/bash
# Broken real files: exit code, and frames written against what ffprobe decodes. Prints the table.
# A frame that is lost in the middle is held: the last good one stands in for it, and times stay.
. "$(dirname "$0")/lib.sh"
need ffmpeg ffprobe python3
need_media
B=$SHARED/media/video/broken

field() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1])).get(sys.argv[2], ""))' "$tmp/out" "$1"; }
span() { # seconds from the first to the last frame's time
    ffprobe -v quiet -select_streams v:0 -show_entries frame=best_effort_timestamp_time -of csv=p=0 "$1" |
        tr -d , | grep '^[0-9-]' |
        sort -n | awk 'NR == 1 {a = $1} {b = $1} END {printf "%.3f", b - a}'
}

printf '%-28s %4s %8s %8s %5s %7s\n' file exit ffprobe written held damaged
check() { # FILE EXIT WRITTEN HELD
    file=$1 want=$2 written=$3 held=$4 out=$tmp/$1.mkv
    expect "$want" "$UPREZ" -q --json -m bicubic -s 2 --preset ultrafast "$B/$file" "$out"
    decodes=$(frames "$B/$file" 2>/dev/null)
    got=0
    [ ! -f "$out" ] || got=$(frames "$out")
    printf '%-28s %4s %8s %8s %5s %7s\n' "$file" "$want" "${decodes:-0}" "$got" "$(field held)" "$(field damaged)"
    [ "$got" = "$written" ] || bad "$file: $got frames written instead of $written"
    [ "$(field frames_out)" = "$got" ] || bad "$file: the summary says $(field frames_out) frames"
    [ "$(field held)" = "$held" ] || bad "$file: $(field held) frames held instead of $held"
    # every frame that decodes is there, plus those held
    [ "$got" -ge "${decodes:-0}" ] || bad "$file: ffprobe decodes $decodes frames, $got were written"
    case $want in
    3) said "$file"; [ -e "$out" ] && bad "$file: an output was left" ;;
    8) said "$file is damaged"; said "--tolerate-damage" ;;
    esac
    if [ "$got" -gt 0 ]; then # nothing moved: the last frame comes when the source's does
        a=$(span "$B/$file") b=$(span "$out")
        echo "$a $b" | awk '{d = $1 - $2; exit !(d > -0.05 && d < 0.05)}' || bad "$file: $a s from first to last became $b s"
        ffmpeg -v error -xerror -i "$out" -f null - 2>"$tmp/play" || bad "$file: what was written does not play"
    fi
    rm -f "$out"
    [ -z "$(ls -d "$tmp/$file".* 2>/dev/null)" ] || bad "$file: left behind: $(ls -d "$tmp/$file".*)"
}
# opens and decodes: what is odd about them harms no frame
check mdat_too_long.mp4 0 30 0
check broken_sps.flv 0 79 0
# damage inside
check h264_bitstream_corrupt.mp4 8 50 1
check invalid_nalu.mp4 8 30 1
check truncated_half.ts 8 10 0
# nothing to be had
for f in empty.flv fuzz_france.mp4 fuzz_gpac.mp4 not_a_video.mp4 truncated_half.mp4 truncated_header.mp4; do
    check $f 3 0 0
done
expect 0 "$UPREZ" -q --tolerate-damage -m bicubic -s 2 --preset ultrafast "$B/invalid_nalu.mp4" "$tmp/tolerated.mkv"
[ "$(frames "$tmp/tolerated.mkv")" = 30 ] || bad "--tolerate-damage: $(frames "$tmp/tolerated.mkv") frames"
finish
