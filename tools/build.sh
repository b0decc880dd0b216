# build_progress: of ninja's lines "[STEP/STEPS] …" one that changes on a terminal, elsewhere each tenth
build_progress() {
    tenth=0
    while IFS= read -r line; do
        case $line in "["[0-9]*/[0-9]*"]"*) ;; *) continue ;; esac
        line=${line#"["} line=${line%%"]"*}
        step=${line%%/*} steps=${line#*/}
        if [ -t 1 ]; then
            printf '\r  %d of %d \033[K' "$step" "$steps"
        elif [ "$steps" -ge 20 ] && [ $((step * 10 / steps)) -gt $tenth ]; then
            tenth=$((step * 10 / steps))
            echo "  $((tenth * 10)) % of $steps steps"
        fi
    done
    [ ! -t 1 ] || printf '\r\033[K'
}

# build_into DIR [MESON OPTION…]: configures where that is needed, and builds. Sourced, in the root
# of the sources. $targets: what to build, default everything.
build_into() {
    dir=$1
    shift
    # a folder configured for other sources (a copied tree) cannot be used again
    if [ -d "$dir/meson-private" ] && [ "$(cat "$dir/sources" 2>/dev/null)" != "$PWD" ] &&
        ! grep -qF "\"source\": \"$PWD\"" "$dir/meson-info/meson-info.json" 2>/dev/null; then
        echo "$dir/ belongs to other sources: made anew"
        rm -rf "$dir"
    fi
    log=$(mktemp)
    if [ ! -f "$dir/build.ninja" ]; then
        rm -rf "$dir/meson-private"
        meson setup "$dir" "$@" >"$log" 2>&1 || { cat "$log" >&2; rm -f "$log"; return 1; }
        echo "$PWD" >"$dir/sources"
    elif [ $# -gt 0 ] && ! [ -f "$dir/with$(echo "$*" | tr -c 'a-zA-Z0-9\n' _)" ]; then
        meson setup --reconfigure "$dir" "$@" >"$log" 2>&1 || { cat "$log" >&2; rm -f "$log"; return 1; }
    fi
    [ $# = 0 ] || : >"$dir/with$(echo "$*" | tr -c 'a-zA-Z0-9\n' _)"
    # shellcheck disable=SC2086
    { NINJA_STATUS='[%f/%t] ' ninja -C "$dir" ${targets-} 2>&1 || echo failed >"$log.status"; } | tee "$log" | build_progress
    if [ -e "$log.status" ]; then
        grep -v '^\[' "$log" | tail -60 >&2
        rm -f "$log" "$log.status"
        return 1
    fi
    grep -i 'warning:' "$log" >&2 || :
    rm -f "$log"
}
