#!/bin/bash
# Sourced by go.sh and measure.sh: steps with a time limit each, and a JSON line for each at once.
#
# begin: reads the arguments, finds or builds the programs. step NAME SECONDS TEXT: runs it by a shell in a group
# of its own, ends it after so many seconds, leaves it behind when even that does not end it (a hung kernel may keep a
# process for minutes), and goes on. What it prints lies in $out/NAME.txt; its lines of JSON follow the step's.
set -u
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
passed=0 failed=0 skipped=0 stop_at_red=
out=${OUT:-$root/build-gpu/out} pack= build= models= seconds= rehearse= slow=1

usage() { sed -n '/^# usage/,/^# Writes/s/^# \{0,1\}//p' "$0"; exit "$1"; }

json_text() { sed 's/\\/\\\\/g; s/"/\\"/g; s/[[:cntrl:]]/ /g' <<<"$1"; }
# tell RESULT NAME TIME LIMIT [WHY]
tell() {
    local why=
    [ -z "${5:-}" ] || why=", \"why\": \"$(json_text "$5")\""
    printf '{"step": "%s", "result": "%s", "seconds": %s, "limit": %s%s}\n' "$2" "$1" "$3" "$4" "$why" | tee -a "$json"
}
skip() { # NAME WHY
    skipped=$((skipped + 1))
    tell skipped "$1" 0 0 "$2"
}
end_all() {
    [ -z "${watch:-}" ] || kill "$watch" 2>/dev/null
    echo "$passed passed, $failed failed, $skipped skipped, in $((SECONDS - started)) s of $seconds" | tee -a "$out/log"
    [ $failed = 0 ]
    exit
}
now() { date +%s.%N; }
since() { awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.1f", b - a }'; }

# step NAME SECONDS TEXT; true when it is ok or has nothing to do
step() {
    local name=$1 limit=$2 left begin pid code=stuck time
    shift 2
    limit=$(awk -v l="$limit" -v s="$slow" 'BEGIN { print l * s }')
    local own="LIMIT_$name"
    limit=${!own:-$limit} # a test's
    left=$((seconds - 5 - (SECONDS - started))) # five are for ending what hangs
    if [ "$left" -lt 1 ]; then
        skip "$name" "no time is left"
        return 1
    fi
    awk -v l="$limit" -v m="$left" 'BEGIN { exit !(l > m) }' && limit=$left
    begin=$(now)
    echo "== $name: $1" >>"$out/log"
    rm -f "$out/$name.rc"
    { setsid timeout -k 3 "$limit" bash -c "$1" >"$out/$name.txt" 2>&1 </dev/null; echo $? >"$out/$name.rc"; } &
    pid=$!
    while awk -v a="$begin" -v b="$(now)" -v l="$limit" 'BEGIN { exit !(b - a < l + 5) }'; do
        [ -s "$out/$name.rc" ] && { code=$(cat "$out/$name.rc"); break; }
        sleep 0.1
    done
    [ "$code" = stuck ] || wait $pid
    time=$(since "$begin")
    case $code in
    0) passed=$((passed + 1)); tell ok "$name" "$time" "$limit" ;;
    77) skip "$name" "$(tail -1 "$out/$name.txt")" ;;
    124 | 137) failed=$((failed + 1)); tell hangs "$name" "$time" "$limit" "$(tail -1 "$out/$name.txt")" ;;
    stuck) failed=$((failed + 1)); tell hangs "$name" "$time" "$limit" "it cannot even be ended and is left behind" ;;
    *) failed=$((failed + 1)); tell FAILED "$name" "$time" "$limit" "exit $code: $(grep -v '^{' "$out/$name.txt" | tail -1)" ;;
    esac
    grep -h '^{' "$out/$name.txt" | tee -a "$json"
    tail -40 "$out/$name.txt" >>"$out/log"
    [ "$code" = 0 ] && return 0
    [ "$code" = 77 ] && return 0
    if [ -n "$stop_at_red" ]; then
        tail -15 "$out/$name.txt"
        end_all
    fi
    return 1
}

# ours COMMAND…: one of our programs, with the pack's libraries; nobody else's programs see those
ours() { LD_LIBRARY_PATH=$libs exec "$@"; }
export -f ours
have() { type -P "$1" >/dev/null 2>&1; }

meson() { if have meson; then command meson "$@"; else python3 -m mesonbuild.mesonmain "$@"; fi; }
# from the pack where they start here, else from a build
find_programs() {
    local arch
    if [ -n "$pack" ]; then
        bin=$pack/bin fatbin=$pack/share/probe.fatbin
        (ours "$bin/gpu") >"$out/start.txt" 2>&1
        [ $? = 2 ] && return # it says how it is used
        echo "The pack's programs do not start here, so they are built: $(tail -1 "$out/start.txt")"
    fi
    bin=${build:=$root/build-gpu/lib}/bench fatbin=$build/bench/probe.fatbin
    [ -x "$bin/gpu" ] && [ -f "$fatbin" ] && return
    [ -z "$rehearse" ] || return
    PATH=$PATH:/usr/local/cuda/bin
    [ -z "$pack" ] || export PKG_CONFIG=$pack/bin/pkg-config # and the small libraries' headers
    arch=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -1 | tr -d .)
    [ "$arch" = 90 ] && arch=90a
    echo "Building for sm_${arch:-90a} …"
    meson setup "$build" "$root" --buildtype=release -Dprograms=disabled -Dtests=disabled -Dcuda=enabled \
        "-Dgpu_arch=${arch:-90a}" >"$out/build.txt" 2>&1 &&
        ninja -C "$build" bench/gpu bench/network bench/probe bench/probe.fatbin >>"$out/build.txt" 2>&1 ||
        { tail -20 "$out/build.txt"; echo "It cannot be built here."; exit 1; }
    started=$SECONDS # the card was not needed yet
}

# net NAME: a network's file: a real one where there is one, the pack's, or made here with weights from a seed
net() {
    local real=
    case $1 in
    general) real=realesr-general-x4v3.pth ;;
    anime) real=realesr-animevideov3.pth ;;
    x4plus) real=RealESRGAN_x4plus.pth ;;
    anime6b) real=RealESRGAN_x4plus_anime_6B.pth ;;
    esac
    for f in "${models:+$models/$real}" "${pack:+$pack/share/$real}" "${pack:+$pack/share/$1.safetensors}"; do
        [ -n "$f" ] && [ -f "$f" ] && { echo "$f"; return; }
    done
    echo "$out/models/$1.safetensors"
}

begin() { # SECONDS ARGUMENT…
    seconds=$1
    shift
    started=$SECONDS
    while [ $# -gt 0 ]; do
        case $1 in
        --pack) pack=$(cd "$2" && pwd) || exit 2; shift ;;
        --build) build=$(cd "$2" && pwd) || exit 2; shift ;;
        --models) models=$(cd "$2" && pwd) || exit 2; shift ;;
        --out) out=$2; shift ;;
        --seconds) seconds=$2; shift ;;
        --rehearse) rehearse=1 slow=50 seconds=3000 ;;
        --help | -h) usage 0 ;;
        *) usage 2 ;;
        esac
        shift
    done
    mkdir -p "$out"
    out=$(cd "$out" && pwd)
    json=$out/$(basename "$0" .sh).json
    : >"$json"
    : >"$out/log"
    tmp=$(mktemp -d)
    trap 'rm -rf "$tmp"' EXIT
    if [ -z "$rehearse" ] && ! have nvidia-smi; then
        echo "nvidia-smi is not here, so there is no GPU: nothing to run"
        exit 77
    fi
    libs=${pack:+$pack/lib}${pack:+${LD_LIBRARY_PATH:+:}}${LD_LIBRARY_PATH:-}
    find_programs
    export libs root out json bin fatbin models pack rehearse tmp
    # clocks and power all along; it also keeps the driver awake between the steps
    if have nvidia-smi; then
        nvidia-smi --query-gpu=timestamp,clocks.sm,clocks.mem,power.draw,temperature.gpu,clocks_event_reasons.active \
            --format=csv -lms 200 >"$out/smi.csv" 2>/dev/null &
        watch=$!
        trap 'kill "$watch" 2>/dev/null; rm -rf "$tmp"' EXIT
    fi
}

# what machine this is, as one JSON line
facts() {
    local sanitizer=no profiler=no torch
    have compute-sanitizer && sanitizer=yes
    have ncu && profiler=yes
    torch=$(timeout 20 python3 -c 'import torch; print(torch.__version__, torch.cuda.is_available())' 2>/dev/null)
    printf '{"machine": "%s", "nvcc": "%s", "nvcuvid": "%s", "ncu": "%s", "compute-sanitizer": "%s", "torch": "%s", "cores": %s, "commit": "%s"}\n' \
        "$(json_text "$(nvidia-smi --query-gpu=name,driver_version,memory.total,compute_cap --format=csv,noheader 2>/dev/null | head -1)")" \
        "$(nvcc --version 2>/dev/null | sed -n 's/.*release \([0-9.]*\).*/\1/p')" \
        "$(ldconfig -p 2>/dev/null | grep -q libnvcuvid && echo yes || echo no)" "$profiler" "$sanitizer" \
        "${torch:-no}" "$(nproc)" "$(git -C "$root" rev-parse --short HEAD 2>/dev/null || cat "${pack:-/nowhere}/share/commit" 2>/dev/null)"
}
# an ordinary program's absence is no failure: 77
need() { have "$1" || { echo "$1 is not here"; exit 77; }; }
has_torch() { python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null || { echo "no torch with CUDA here"; exit 77; }; }
make_nets() { # those that are not there
    local n wanted=
    for n in "$@"; do [ -f "$(net "$n")" ] || wanted="$wanted $n"; done
    # shellcheck disable=SC2086
    [ -z "$wanted" ] || python3 "$root/tests/gpu/make_models.py" "$out/models" $wanted
}
checks() { # LINE…: MODEL FORMAT WxH and so on, in one process
    printf '%s\n' "$@" >"$out/list"
    ours "$bin/gpu" list "$out/list"
}
export -f facts have json_text need has_torch make_nets checks net
