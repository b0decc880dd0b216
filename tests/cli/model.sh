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

# a file under a known name whose content is another: refused by that name, used with a warning as a file
python3 - "$tmp" <<'P'
import struct, sys, zlib
raw = b"".join(b"\0" + bytes((x * 7 + y * 5) % 256 for x in range(24) for _ in range(3)) for y in range(16))
def chunk(k, d): return struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d))
open(sys.argv[1] + "/in.png", "wb").write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 24, 16, 8, 2, 0, 0, 0)) +
                                          chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b""))
P
known=$models/realesr-animevideov3.pth; mkdir -p "$models"
expect 0 "$UPREZ" model convert -q uprez-fast-2x "$tmp/own.safetensors"
cp "$tmp/own.safetensors" "$known"
for name in realesr-animevideov3 animevideov3 realesr-animevideov3.pth; do
    expect 4 "$UPREZ" -q -m $name "$tmp/in.png" "$tmp/out.png"; said "uprez model pull realesr-animevideov3"
    [ "$(wc -l <"$tmp/err")" = 1 ] || bad "$name: $(wc -l <"$tmp/err") lines"
done
[ ! -e "$tmp/out.png" ] || bad "a wrong file under a known name was used"
expect 4 "$UPREZ" model convert $name "$tmp/x.onnx"
expect 4 "$UPREZ" -q -m uprez-fast-2x --denoise 0.5:realesr-animevideov3 "$tmp/in.png" "$tmp/out.png"; said "not the published"
expect 0 "$UPREZ" --progress none -m "$known" "$tmp/in.png" "$tmp/out.png"; said "is not the published realesr-animevideov3"
mv "$known" "$models/realesr-animevideov3.safetensors"
expect 0 "$UPREZ" --progress none -y -m realesr-animevideov3 "$tmp/in.png" "$tmp/out.png"; said "stands in for"
rm -f "$models"/realesr-animevideov3.*

# --denoise with a second file: of one's own, half of each is the mean of both
expect 0 "$UPREZ" model convert -q uprez-fast-2x "$tmp/a.safetensors"
python3 - "$tmp/a.safetensors" "$tmp/b.safetensors" "$tmp/half.safetensors" <<'P'
import array, json, struct, sys
d = open(sys.argv[1], "rb").read(); n, = struct.unpack_from("<Q", d)
a = array.array("f", d[8 + n:]); b = array.array("f", [v * 0.9 + 0.001 * (i % 7) for i, v in enumerate(a)])
half = array.array("f", [(x + y) / 2 for x, y in zip(a, b)])
for path, v in zip(sys.argv[2:], (b, half)): open(path, "wb").write(d[:8 + n] + v.tobytes())
P
expect 0 "$UPREZ" -q -y -m "$tmp/half.safetensors" "$tmp/in.png" "$tmp/want.png"
expect 0 "$UPREZ" -q -y -m "$tmp/a.safetensors" --denoise "0.5:$tmp/b.safetensors" "$tmp/in.png" "$tmp/got.png"
cmp -s "$tmp/want.png" "$tmp/got.png" || bad "--denoise 0.5:FILE is not the mean of both"
expect 0 "$UPREZ" -q -y -m uprez-fast-2x --denoise "0:$tmp/b.safetensors" "$tmp/in.png" "$tmp/got.png"
expect 0 "$UPREZ" -q -y -m "$tmp/b.safetensors" "$tmp/in.png" "$tmp/want.png"
cmp -s "$tmp/want.png" "$tmp/got.png" || bad "--denoise 0:FILE is not FILE"
for wrong in 2 x 0.5: :f 0.5:/nowhere.pth; do
    want=2; [ "$wrong" = 0.5:/nowhere.pth ] && want=4
    expect $want "$UPREZ" -q -y -m uprez-fast-2x --denoise "$wrong" "$tmp/in.png" "$tmp/got.png"
done
expect 4 "$UPREZ" -q -y -m uprez-fast-2x --denoise 0.5:uprez-fast-4x "$tmp/in.png" "$tmp/got.png"; said "cannot be mixed"
finish
