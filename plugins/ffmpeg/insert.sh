# insert_uprez DIR: adds the filter to a copy of FFmpeg's source: our two files, and the few lines in
# configure, Makefile and allfilters.c beside those of neighbours that every version has. Sourced;
# $here is the folder of this file. Stops when an anchor is not found exactly once.
after() { # FILE PATTERN TEXT: TEXT as a line behind the first line that matches; exactly one must
    n=$(grep -cE -- "$2" "$1") || :
    [ "$n" = 1 ] || { echo "$1: '$2' stands $n times, not once: this FFmpeg is too different." >&2; return 1; }
    P=$2 T=$3 awk '{print} $0 ~ ENVIRON["P"] {print ENVIRON["T"]}' "$1" >"$1.uprez" && cat "$1.uprez" >"$1" &&
        rm "$1.uprez"
}
insert_uprez() {
    cp "$here/vf_uprez.c" "$here/vf_uprez_compat.h" "$1/libavfilter/" || return 1
    kind=$(sed -nE 's/^extern const (AVFilter|FFFilter) +ff_vf_unsharp;/\1/p' "$1/libavfilter/allfilters.c")
    after "$1/libavfilter/allfilters.c" '^extern const (AVFilter|FFFilter) +ff_vf_untile;' \
        "extern const ${kind:-FFFilter} ff_vf_uprez;" &&
        after "$1/libavfilter/Makefile" '^OBJS-\$\(CONFIG_UNTILE_FILTER\)' \
            'OBJS-$(CONFIG_UPREZ_FILTER)                  += vf_uprez.o' &&
        after "$1/configure" '^  --enable-libuavs3d ' \
            '  --enable-libuprez        enable super-resolution with libuprez [no]' &&
        after "$1/configure" '^    libuavs3d$' '    libuprez' &&
        after "$1/configure" '^unsharp_opencl_filter_deps=' 'uprez_filter_deps="libuprez"' &&
        after "$1/configure" '^enabled libuavs3d ' \
            'enabled libuprez          && require_pkg_config libuprez "uprez >= 0.1.0" uprez/uprez.h uprez_version'
}
