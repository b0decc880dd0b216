#!/bin/bash
# All video encoders of the FFmpeg at hand by all containers: what ffmpeg itself writes and reads back
# whole, uprez writes; what it does not, uprez refuses with exit 2 before the work, or writes better.
# usage: UPREZ=build/cli/uprez tests/slow/pairs.sh [ENCODER…]     an hour on two cores; a line a pair
set -u
: "${UPREZ:?the program}"
containers=${CONTAINERS:-mkv mov mp4 avi nut webm mxf ts mpg flv wmv ogv gif 3gp y4m}
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
encoders=("$@")
[ $# -gt 0 ] || mapfile -t encoders < <(ffmpeg -hide_banner -encoders 2>/dev/null | awk '/^ V/ && $2 != "=" { print $2 }')
# sizes that encoders with few of them take; the film is a third or half of it
size() { case $1 in dnxhd) echo 1920x1080 ;; dvvideo) echo 720x576 ;; h261 | h263*) echo 352x288 ;; roqvideo) echo 128x64 ;; *) echo 128x96 ;; esac; }
frames() { local n; n=$(ffprobe -v error -count_frames -select_streams v:0 -show_entries stream=nb_read_frames -of csv=p=0 "$1" 2>/dev/null | head -1 | tr -d ,); [[ "$n" =~ ^[0-9]+$ ]] && echo "$n" || echo 0; }
agree=0 refused=0 better=0 wrong=0
for e in "${encoders[@]}"; do
    s=$(size "$e") w=${s%x*} h=${s#*x}
    ffmpeg -v error -nostdin -y -f lavfi -i "testsrc2=size=$((w / 2))x$((h / 2)):rate=25:duration=0.4" -pix_fmt yuv420p -c:v ffv1 "$tmp/in.mkv"
    for x in $containers; do
        rm -rf "$tmp"/[fo].*
        timeout -s KILL 60 ffmpeg -v error -nostdin -y -i "$tmp/in.mkv" -vf "scale=$w:$h" -c:v "$e" -strict -2 -an "$tmp/f.$x" 2>/dev/null
        there=$(frames "$tmp/f.$x")
        timeout -s KILL 120 "$UPREZ" --progress none -m lanczos --width "$w" --height "$h" -c "$e" "$tmp/in.mkv" "$tmp/o.$x" >/dev/null 2>"$tmp/err"
        code=$?
        n=0
        [ $code = 0 ] && n=$(frames "$tmp/o.$x")
        if [ $code = 0 ] && [ "$n" != 10 ]; then what=WRONG
        elif [ "$there" = 10 ] && [ $code != 0 ]; then what=WRONG
        elif [ $code != 0 ] && [ $code != 2 ]; then what=WRONG
        elif [ $code != 0 ]; then what=refused
        elif [ "$there" != 10 ]; then what=better
        else what=agree; fi
        case $what in agree) agree=$((agree + 1)) ;; refused) refused=$((refused + 1)) ;; better) better=$((better + 1)) ;; *) wrong=$((wrong + 1)) ;; esac
        echo "$what $e .$x: ffmpeg $there frames, uprez exit $code and $n $([ $code = 0 ] || tail -1 "$tmp/err" | cut -c1-160)"
    done
done
echo "both write $agree, both refuse $refused, only uprez writes $better, wrong $wrong"
[ $wrong = 0 ]
