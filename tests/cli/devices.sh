#!/bin/bash
# uprez devices: every engine with and without its runtime. Runtimes are looked for where the machine
# has them; without one, only the "not here" half of its checks runs.
. "$(dirname "$0")/lib.sh"
need python3 cc
given=${UPREZ_RUNTIME_PATH-}
bare() { env -i HOME="$tmp" PATH="$tmp/bin" "$@"; }
mkdir "$tmp/bin" "$tmp/empty"

# json NAME: that engine's entry of $tmp/out; then python code sees it as e
entry() {
    python3 - "$tmp/out" "$1" "$2" <<'P' || bad "$1: $2: $(cat "$tmp/out")"
import json, sys
a = json.load(open(sys.argv[1]))
e = [x for x in a if x["engine"] == sys.argv[2]]
assert len(e) == 1, sys.argv[2]
e = e[0]
assert eval(sys.argv[3]), e
P
}

expect 0 "$UPREZ" devices --json
for e in resample cpu; do entry "$e" 'e["devices"][0]["device"] == "cpu" and "missing" not in e'; done
expect 0 "$UPREZ" devices
grep -q '^cpu  ' "$tmp/out" || bad "no cpu engine"
awk 'length > 100 && !/library|not here|\// { exit 1 }' "$tmp/out" || bad "a line is too long"
expect 2 "$UPREZ" devices extra
expect 2 "$UPREZ" devices --runtime-path

# a machine without runtimes: each says its package; its engine asked for by name is exit 5
expect 0 bare "$UPREZ" devices --json
cp "$tmp/out" "$tmp/bare"
for engine in onnxruntime openvino libtorch; do
    grep -q "\"$engine\"" "$tmp/bare" || continue
    cp "$tmp/bare" "$tmp/out"
    if python3 -c 'import json, sys; sys.exit(not [e for e in json.load(open(sys.argv[1])) if e["engine"] == sys.argv[2] and not e["devices"]])' "$tmp/bare" $engine; then
        entry $engine '"\n" not in e["missing"] and ("install" in e["missing"] or "build" in e["missing"])'
        expect 0 bare "$UPREZ" devices; grep -q "not here" "$tmp/out" || bad "$engine: the text does not say it"
    else
        echo "note: $engine is among the system's libraries"
    fi
done

# OpenVINO: something else under its name; a version without what is needed
cat >"$tmp/fake.c" <<'C'
struct version { const char *build, *description; };
int ov_get_openvino_version(struct version *v) { v->build = "2021.4.2-1-x"; v->description = ""; return 0; }
void ov_version_free(struct version *v) { v->build = 0; }
C
mkdir "$tmp/old" "$tmp/junk"
cc -shared -fPIC -o "$tmp/old/libopenvino_c.so" "$tmp/fake.c" || bad "the old library cannot be built"
echo junk >"$tmp/junk/libopenvino_c.so"
expect 0 "$UPREZ" devices --runtime-path "$tmp/old" --json
entry openvino 'not e["devices"] and "2021.4.2" in e["missing"] and "2024.0" in e["missing"] and "pip install" in e["missing"]'
expect 0 "$UPREZ" devices --runtime-path "$tmp/junk" --json
entry openvino 'not e["devices"] and "cannot be loaded" in e["missing"] and "\n" not in e["missing"]'

# the real ones, by --runtime-path and by $UPREZ_RUNTIME_PATH alike
expect 0 "$UPREZ" devices --json
cp "$tmp/out" "$tmp/here"
# uprez's module for LibTorch may be among the user's own
bare() { env -i HOME="$tmp" XDG_DATA_HOME="${XDG_DATA_HOME:-$HOME/.local/share}" PATH="$tmp/bin" "$@"; }
for engine in onnxruntime openvino libtorch; do
    file=$(python3 -c 'import json, sys
print(*[d.get("runtime", "") for e in json.load(open(sys.argv[1])) if e["engine"] == sys.argv[2] for d in e["devices"]][:1])' "$tmp/here" $engine)
    [ -n "$file" ] || { echo "note: $engine is not here, its positive half is not checked"; continue; }
    cp "$tmp/here" "$tmp/out"
    entry $engine 'all(d["version"][0].isdigit() and "fp32" in d["can"] for d in e["devices"])'
    [ -f "$file" ] || bad "$engine names no file: $file"
    expect 0 bare "$UPREZ" devices --runtime-path "$(dirname "$file")" --json
    entry $engine 'e["devices"] and e["devices"][0]["runtime"].startswith("'"$(dirname "$file")"'/")'
    expect 0 bare UPREZ_RUNTIME_PATH="$tmp/empty:$(dirname "$file")" "$UPREZ" devices
    grep -qF "library" "$tmp/out" || bad "$engine: the text names no library"
done
[ -n "$given" ] || echo "note: UPREZ_RUNTIME_PATH is not set"
finish
