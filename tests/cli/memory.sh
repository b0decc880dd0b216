#!/bin/bash
# A network on 1280x720 needs at most 400 MB more than the same run without one.
. "$(dirname "$0")/lib.sh"
need ffmpeg python3
model=$SHARED/models/pytorch/realesr-general-x4v3.fp16w.pth
[ -f "$model" ] || skip "no $model"
ffmpeg -v error -f lavfi -i testsrc2=size=1280x720:rate=25 -frames:v 1 -c:v libx264 -pix_fmt yuv420p "$tmp/a.mkv"
peak() { # MODEL: MiB
    python3 - "$UPREZ" -q -y -m "$1" -s 4 --preset ultrafast "$tmp/a.mkv" "$tmp/b.mkv" <<'P'
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
P
}
plain=$(peak bicubic) net=$(peak "$model")
echo "bicubic $plain MiB, network $net MiB"
[ "$plain" -gt 0 ] && [ "$((net - plain))" -le 381 ] || bad "the network takes $((net - plain)) MiB more"
finish
