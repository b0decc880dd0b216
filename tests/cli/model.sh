#!/bin/bash
# uprez model: info on real files, the registry, and pull over file:// and HTTP on this machine.
. "$(dirname "$0")/lib.sh"
need python3
export HOME=$tmp/home XDG_DATA_HOME=
unset UPREZ_MODEL_PATH UPREZ_MODEL_MIRROR
mkdir -p "$HOME" "$tmp/mirror"
models=$HOME/.local/share/uprez/models

expect 2 "$UPREZ" model
expect 2 "$UPREZ" model nonsense
expect 0 "$UPREZ" model list
grep -q '^RealESRGAN_x4plus ' "$tmp/out" || bad "list lacks x4plus"
grep -q 'RealESRGANv2-animevideo-xsx4 .*unverified' "$tmp/out" || bad "list does not show what is unverified"
expect 0 "$UPREZ" model list --json
python3 - "$tmp/out" <<'P' || bad "list --json"
import json, sys
l = json.load(open(sys.argv[1]))
assert len(l) >= 9 and all({"name", "scale", "installed", "verified", "url"} <= set(m) for m in l)
P
expect 4 "$UPREZ" model info nosuchmodel; said "nosuchmodel"
expect 4 "$UPREZ" model info realesr-animevideov3; said "uprez model pull"
expect 4 "$UPREZ" model pull nosuchmodel
expect 2 "$UPREZ" model pull
expect 0 "$UPREZ" model verify

# pull: nothing at the mirror
expect 4 "$UPREZ" model pull realesr-animevideov3 --mirror "file://$tmp/mirror"; said "there is no file://"
[ -e "$models/realesr-animevideov3.pth" ] && bad "a failed pull left a file"
# plain http to elsewhere, and other schemes
expect 2 "$UPREZ" model pull realesr-animevideov3 --mirror "http://192.0.2.1/"
expect 2 "$UPREZ" model pull realesr-animevideov3 --mirror "ftp://127.0.0.1/"
# wrong content of the right size is thrown away
head -c 2504012 /dev/zero >"$tmp/mirror/realesr-animevideov3.pth"
expect 4 "$UPREZ" model pull realesr-animevideov3 --mirror "file://$tmp/mirror"; said "where b8a83768"
[ -z "$(ls "$models")" ] || bad "wrong content stayed: $(ls "$models")"
# too much content
head -c 2600000 /dev/zero >"$tmp/mirror/realesr-animevideov3.pth"
expect 4 "$UPREZ" model pull realesr-animevideov3 --mirror "file://$tmp/mirror"
[ -f "$models/realesr-animevideov3.pth" ] && bad "too much content was accepted"
rm -f "$models"/*.part
# without a published hash: refused, told, accepted when vouched for
echo weights >"$tmp/mirror/RealESRGANv2-animevideo-xsx4.pth"
hash=$(sha256sum "$tmp/mirror/RealESRGANv2-animevideo-xsx4.pth" | cut -c1-64)
expect 4 "$UPREZ" model pull RealESRGANv2-animevideo-xsx4 --mirror "file://$tmp/mirror"; said "$hash"
expect 4 "$UPREZ" model pull RealESRGANv2-animevideo-xsx4 --mirror "file://$tmp/mirror" --accept-hash "${hash%?????}00000"
expect 0 "$UPREZ" model pull RealESRGANv2-animevideo-xsx4 --mirror "file://$tmp/mirror" --accept-hash "$hash"
[ "$(sha256sum "$models/RealESRGANv2-animevideo-xsx4.pth" | cut -c1-64)" = "$hash" ] || bad "--accept-hash"

# HTTP on this machine: redirects, drops, resume
real=$SHARED/models/pytorch/realesr-animevideov3.pth
if [ -f "$real" ]; then
    cp "$real" "$tmp/mirror/realesr-animevideov3.pth"
    cat >"$tmp/serve.py" <<'P'
import http.server, os, sys
os.chdir(sys.argv[1])
drops = [2]
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        log = open('../requests', 'a')
        path = self.path.lstrip('/')
        if not os.path.exists(path):
            self.send_error(404); return
        data = open(path, 'rb').read()
        start = 0
        r = self.headers.get('Range')
        if r:
            start = int(r.split('=')[1].split('-')[0])
            self.send_response(206)
            self.send_header('Content-Range', f'bytes {start}-{len(data) - 1}/{len(data)}')
        else:
            self.send_response(200)
        body = data[start:]
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        if drops[0]:  # the line breaks half way
            drops[0] -= 1
            body = body[:len(body) // 2]
        print(start, len(body), file=log)
        self.wfile.write(body)
        self.close_connection = True
    def log_message(self, *a): pass
s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), H)
open('../port', 'w').write(str(s.server_port))
s.serve_forever()
P
    python3 "$tmp/serve.py" "$tmp/mirror" & server=$!
    for i in $(seq 50); do [ -s "$tmp/port" ] && break; sleep 0.1; done
    url=http://127.0.0.1:$(cat "$tmp/port")
    expect 4 "$UPREZ" model pull realesr-general-x4v3 --mirror "$url"; said "there is no http"
    [ "$(wc -l <"$tmp/requests" 2>/dev/null || echo 0)" = 0 ] || bad "a 404 was tried again"
    expect 0 "$UPREZ" model pull realesr-animevideov3 --mirror "$url"
    cmp -s "$real" "$models/realesr-animevideov3.pth" || bad "what was pulled differs"
    grep -q '^[1-9]' "$tmp/requests" || bad "a broken line was not resumed: $(cat "$tmp/requests")"
    # there already: no request
    n=$(wc -l <"$tmp/requests")
    expect 0 "$UPREZ" model pull animevideov3 --mirror "$url"
    [ "$(wc -l <"$tmp/requests")" = "$n" ] || bad "it was fetched again"
    # an old wrong part is discarded
    rm "$models/realesr-animevideov3.pth"; head -c 1000000 /dev/zero >"$models/realesr-animevideov3.pth.part"
    expect 0 "$UPREZ" model pull realesr-animevideov3 --mirror "$url"
    cmp -s "$real" "$models/realesr-animevideov3.pth" || bad "a wrong part poisoned the file"
    # two at once
    rm "$models/realesr-animevideov3.pth"
    "$UPREZ" model pull realesr-animevideov3 --mirror "$url" >/dev/null 2>"$tmp/e1" & a=$!
    "$UPREZ" model pull realesr-animevideov3 --mirror "$url" >/dev/null 2>"$tmp/e2" & b=$!
    wait $a || bad "first of two: $(cat "$tmp/e1")"
    wait $b || bad "second of two: $(cat "$tmp/e2")"
    cmp -s "$real" "$models/realesr-animevideov3.pth" || bad "two at once spoiled the file"
    kill $server; wait $server 2>/dev/null
    expect 0 "$UPREZ" model verify; grep -q 'realesr-animevideov3 .*right' "$tmp/out" || bad "verify"
    printf x | dd of="$models/realesr-animevideov3.pth" bs=1 seek=1000 conv=notrunc 2>/dev/null
    expect 4 "$UPREZ" model verify; said "where b8a83768"

    expect 0 "$UPREZ" model info --json "$real"
    python3 - "$tmp/out" <<'P' || bad "info: $(cat "$tmp/out")"
import json, sys
m = json.load(open(sys.argv[1]))
assert m["architecture"] == "srvgg" and m["scale"] == 4 and m["reach"] == 18 and m["input"] == "RGB", m
assert m["sha256"].startswith("b8a83768"), m
P
    for f in "$SHARED"/models/pytorch/unsupported_* "$SHARED"/models/onnx/broken_*; do
        expect 4 "$UPREZ" model info "$f"; said "$(basename "$f")"
    done
fi
finish
