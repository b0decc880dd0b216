#!/bin/bash
# The three commands of docs/ffmpeg.md in a fresh Debian: bootstraps one, copies a clean clone, a model
# and a clip in, runs exactly what stands in the document, looks at the result. As root.
#
# usage: tests/slow/ffmpeg_fresh.sh bookworm|trixie … [MIRROR=URL] [DIR=FOLDER]
#   MIRROR, DIR come from the environment. DIR: where the system is made (default /tmp/uprez-ffmpeg-SUITE);
#   one that is there is used as it is. The clone is of the last commit. Needs ../shared.
# In place of URL, INPUT and MODEL.pth stand the clone, a clip and a file; of 5.1 the suite's version.
set -u
cd "$(dirname "$0")/../.." || exit 1
here=$PWD
MIRROR=${MIRROR:-http://deb.debian.org/debian}
model=$here/../shared/models/pytorch/sudo_UltraCompact_2x_1.121.175_G.pth
clip=$here/../shared/media/video/carphone_176x144_qcif.mp4
[ -f "$model" ] && [ -f "$clip" ] || { echo "no real media beside the sources; nothing to enlarge"; exit 77; }
[ "$(id -u)" = 0 ] || { echo "not root: no system can be made"; exit 77; }
status=0
for suite in "$@"; do
    case $suite in bookworm) version=5.1 ;; trixie) version=7.1 ;; *) echo "$suite? bookworm or trixie"; exit 2 ;; esac
    root=${DIR:-/tmp/uprez-ffmpeg-$suite}
    if [ ! -x "$root/bin/sh" ]; then
        command -v debootstrap >/dev/null || { echo "debootstrap is not installed"; exit 77; }
        debootstrap --variant=minbase --include=git,ca-certificates "$suite" "$root" "$MIRROR" >"$root.log" 2>&1 ||
            { tail -3 "$root.log"; exit 1; }
        rm "$root.log"
    fi
    cp -L /etc/resolv.conf "$root/etc/resolv.conf"
    rm -rf "$root/src" "$root/opt/ffmpeg-uprez"
    mkdir -p "$root/src"
    git clone -q --bare --no-hardlinks "$here" "$root/src/uprez.git" || exit 1
    cp "$model" "$root/src/model.pth"
    cp "$clip" "$root/src/in.mp4"
    # the first block of commands, without its comments
    awk '/^```/ {if (inside) exit; inside = 1; next} inside' docs/ffmpeg.md | sed "s/ *# .*//
        s|git clone URL|git clone -q /src/uprez.git|; s/ 5\.1 / $version /
        s|INPUT|/src/in.mp4|; s|MODEL\.pth|/src/model.pth|; s|OUTPUT|/src/out|" >"$root/src/commands"
    n=$(grep -c . "$root/src/commands")
    [ "$n" = 3 ] || { echo "$suite: docs/ffmpeg.md has $n commands, not three"; status=1; continue; }
    mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
    # shellcheck disable=SC2064
    trap "umount '$root/proc'" EXIT
    begin=$SECONDS line=0
    (
        echo "cd /src"
        while read -r command; do
            line=$((line + 1))
            printf 'echo "== %s"; %s || exit %d\n' "${command//\"/}" "$command" $line
        done <"$root/src/commands"
    ) >"$root/src/run"
    chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
        sh /src/run </dev/null >"$root/src/log" 2>&1
    code=$?
    probe=$(chroot "$root" /opt/ffmpeg-uprez/bin/ffprobe -v error -count_frames -select_streams v:0 \
        -show_entries stream=codec_name,width,height,nb_read_frames -of csv=p=0 /src/out.mp4 2>&1)
    want=$(chroot "$root" /opt/ffmpeg-uprez/bin/ffprobe -v error -count_frames -select_streams v:0 \
        -show_entries stream=nb_read_frames -of csv=p=0 /src/in.mp4 2>&1)
    umount "$root/proc"
    trap - EXIT
    if [ $code = 0 ] && [ "$probe" = "h264,352,288,$want" ]; then
        echo "$suite: three commands in $((SECONDS - begin)) s: FFmpeg $version, $probe"
    else
        status=1
        echo "$suite: FAIL: command $code, '$probe', $want frames wanted"
        tail -40 "$root/src/log" | sed 's/^/    /'
    fi
done
exit $status
