#!/bin/bash
# Waiting: a source that stalls, a reader that does not read, Ctrl-C at any moment. Limits are generous: what is
# tested is that these runs end at all, and what they say.
. "$(dirname "$0")/lib.sh"
need python3
cd "$tmp" || exit 1
soon=150 # seconds; it is well below one on a machine that has nothing else to do
ffmpeg -v error -f lavfi -i testsrc2=size=64x48:rate=25:duration=40 -f lavfi -i sine=duration=40 -pix_fmt yuv420p -c:v libx264 -preset ultrafast -g 50 -c:a aac in.mkv
ffmpeg -v error -i in.mkv -t 2 -an -f yuv4mpegpipe in.y4m
job=("$UPREZ" -m lanczos --preset ultrafast)
# ends WANT NAME: the job $p ends soon with that code
ends() {
    for _ in $(seq $((soon * 20))); do kill -0 $p 2>/dev/null || break; sleep 0.05; done
    kill -0 $p 2>/dev/null && { bad "$2: does not end"; kill -9 $p; }
    wait $p; got=$?
    [ $got = "$1" ] || { bad "$2: exit $got instead of $1"; tail -3 "$tmp/err"; }
}
# asleep: until the job takes signals, has read all that comes and waits
asleep() {
    for _ in $(seq 600); do case $(awk '/^SigCgt/ {print $2}' /proc/$p/status 2>/dev/null) in *[2367abef]) break ;; esac; sleep 0.05; done
    was=-1; now=0
    for _ in $(seq 600); do now=$(awk '{print $14 + $15}' /proc/$p/stat 2>/dev/null || echo gone); [ "$now" = "$was" ] && break; was=$now; sleep 0.15; done
}
int() { asleep; kill -INT $p; ends 130 "$1"; }

# ---- y4m that stalls: in its header, before and in a frame ----
mkfifo pipe
for part in 20 200 40000; do
    { head -c $part in.y4m; exec sleep 1000; } >pipe & w=$!
    "${job[@]}" - o.mkv <pipe 2>err & p=$!
    int "standard input that stalls after $part bytes"
    kill $w; wait $w 2>/dev/null
    rm -rf o.*
    { head -c $part in.y4m; exec sleep 1000; } >pipe & w=$!
    "${job[@]}" pipe o.mkv 2>err & p=$!
    int "a named pipe that stalls after $part bytes"
    kill $w; wait $w 2>/dev/null
    rm -rf o.*
done
# the same, ended by itself, and said
{ head -c 40000 in.y4m; exec sleep 1000; } >pipe & w=$!
"${job[@]}" --stall-timeout 1 - o.mkv <pipe 2>err & p=$!
ends 3 "--stall-timeout, standard input"; said "nothing comes from standard input for 1 s"
kill $w; wait $w 2>/dev/null; rm -rf o.*
# a stream that comes slowly is none that stalls, and a network that takes its time neither
{ for i in 0 1 2 3; do tail -c +$((i * 40000 + 1)) in.y4m | head -c 40000; sleep 0.3; done; tail -c +160001 in.y4m; } >pipe & w=$!
expect 0 "${job[@]}" --stall-timeout 20 - o.mkv <pipe
wait $w; [ "$(frames o.mkv)" = 50 ] || bad "a slow stream: $(frames o.mkv) frames of 50"; rm -rf o.*

# ---- a reader that never reads ----
sleep 1000 <pipe & w=$!
"${job[@]}" in.mkv - >pipe 2>err & p=$!
int "y4m to a reader that never reads"; said "interrupted after"
"${job[@]}" --stall-timeout 1 in.mkv - >pipe 2>err & p=$!
ends 7 "--stall-timeout, standard output"; said "nobody reads standard output for 1 s"
kill $w; wait $w 2>/dev/null
"${job[@]}" -q in.y4m - 2>err | cat >o.y4m
expect 0 "${job[@]}" in.y4m o2.y4m; cmp -s o.y4m o2.y4m || bad "y4m through a pipe is not y4m in a file"
rm -rf o*.y4m*

# ---- an address that stalls: after its header, in the middle, with a time limit ----
cat >server.py <<'P'
import http.server, os, socketserver, sys, time
data = open("in.mkv", "rb").read()
class H(http.server.BaseHTTPRequestHandler):
    def log_message(self, *a): pass
    def do_GET(self):
        share = int(self.path.strip("/").split(".")[0])
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        try:
            self.wfile.write(data[:len(data) * share // 100])
            self.wfile.flush()
            time.sleep(1000 if share < 100 else 0)
        except OSError:
            pass
class S(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
s = S(("127.0.0.1", 0), H)
open("port", "w").write(str(s.server_port))
s.serve_forever()
P
python3 server.py & server=$!
for _ in $(seq 200); do [ -s port ] && break; sleep 0.05; done
at=http://127.0.0.1:$(cat port)
if "${job[@]}" -q "$at/100.mkv" o.mkv 2>err; then
    rm -rf o.mkv*
    for share in 0 1 50; do
        "${job[@]}" "$at/$share.mkv" o.mkv 2>err & p=$!
        int "an address that stalls at $share %"
        rm -rf o.mkv*
    done
    "${job[@]}" "$at/0.png" o.png 2>err & p=$!
    int "a picture at an address that stalls"
    "${job[@]}" "$at/50.mkv" o.mkv 2>err & p=$!
    for _ in $(seq 1500); do grep -q "nothing comes from" err && break; sleep 0.1; done
    said "nothing comes from $at/50.mkv"; said "stall-timeout"
    int "an address, after it was said"; said "stopping: "; said "Ctrl-C again ends at once"
    expect 3 "${job[@]}" --stall-timeout 1 "$at/50.mkv" o.mkv; said "for 1 s (--stall-timeout)"
else
    echo "addresses are left out: this FFmpeg has no http"
fi
kill $server; wait $server 2>/dev/null
rm -rf o.mkv*

# ---- Ctrl-C in the join and in the check: 130, and the same command gives the same bytes ----
"${job[@]}" -q in.mkv ref.mp4 2>err || bad "the reference: $(cat err)"
ends_at() { # CALLS: an interruption at the n-th call that opens o.mp4.part
    rm -rf o.mp4*
    "${job[@]}" in.mkv o.mp4 2>err & p=$!
    for _ in $(seq 100000); do [ -e o.mp4.part ] && break; [ -e o.mp4 ] && break; kill -0 $p 2>/dev/null || break; done
    sleep "$1"; kill -INT $p 2>/dev/null
    wait $p; got=$?
    case $got in
    0) [ -s o.mp4 ] || bad "exit 0 without a result" ;;
    130)
        [ ! -e o.mp4 ] || bad "exit 130 and a result"
        grep -q "the same command" err || bad "not said how to go on: $(tail -1 err)" ;;
    *) bad "interrupted in the join: exit $got $(tail -1 err)" ;;
    esac
    [ $got = 130 ] || return 0
    "${job[@]}" -q in.mkv o.mp4 2>err || bad "after an interruption in the join: exit $? $(cat err)"
    cmp -s o.mp4 ref.mp4 || bad "after an interruption in the join: other bytes"
    hits=$((hits + 1))
}
hits=0
for wait in 0 0.002 0.005 0.01 0.02; do ends_at $wait; done
echo "$hits interruptions hit the join or the check"
finish
