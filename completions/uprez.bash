# Completion of uprez for bash.
# Options and their choices are read from the program's own --help, so they cannot be out of date.

_uprez_help() { "${COMP_WORDS[0]}" "$@" --help 2>/dev/null; }

_uprez() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} IFS=$' \t\n'
    local -a command=()
    local help values options words=''
    COMPREPLY=()
    case ${COMP_WORDS[1]-} in
    model)
        if [ "$COMP_CWORD" = 2 ]; then
            mapfile -t COMPREPLY < <(compgen -W 'list info verify pull convert compile --help' -- "$cur")
            return
        fi
        command=(model "${COMP_WORDS[2]}") ;;
    bench | check | compare | devices | estimate | sample) command=("${COMP_WORDS[1]}") ;;
    esac
    if [ "$COMP_CWORD" = 1 ]; then words='model bench check compare devices estimate sample --version'; fi

    help=$(_uprez_help ${command[@]+"${command[@]}"})
    # lines like "  -x,--long ARG   text" become "-x --long ARG"
    options=$(sed -nE 's/^  (-[^ ]+)( ([^ ]+))?.*/\1 \3/p' <<<"$help" | tr ',' ' ')
    values=$(awk -v o="$prev" '{ for (i = 1; i < NF; i++) if ($i == o) print $NF }' <<<"$options")
    case $prev in
    -*)
        case $values in
        *'NAME|FILE'*)
            words="lanczos bicubic spline36 $(_uprez_names)"
            mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur"; compgen -f -- "$cur")
            return ;;
        FILE) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        'WxH|NAME') mapfile -t COMPREPLY < <(compgen -W '8k 4k 1440p 1080p 720p' -- "$cur"); return ;;
        [a-z]*'|'*) mapfile -t COMPREPLY < <(compgen -W "${values//|/ }" -- "$cur"); return ;;
        [A-Z0-9]*) return ;;
        esac ;;
    esac
    if [[ $cur == -* ]]; then
        words+=" --help $(grep -oE -- '(^| )--?[a-z][a-z0-9-]*' <<<"$options" | tr '\n' ' ')"
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
    elif [ "${command[0]-}" = model ]; then
        case ${command[1]} in
        info | convert | compile) mapfile -t COMPREPLY < <(compgen -W "$(_uprez_names)" -- "$cur"; compgen -f -- "$cur") ;;
        verify | pull) mapfile -t COMPREPLY < <(compgen -W "$(_uprez_names)" -- "$cur") ;;
        esac
    elif [[ ${command[0]-} = [ces]* ]]; then
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
    elif [ ${#command[@]} = 0 ]; then
        mapfile -t COMPREPLY < <([ -z "$words" ] || compgen -W "$words" -- "$cur"; compgen -f -- "$cur")
    fi
}

# What 'uprez model list' knows.
_uprez_names() {
    "${COMP_WORDS[0]}" model list 2>/dev/null | awk 'NR > 1 && $2 ~ /^[0-9]+x$/ { print $1 }'
}

complete -o filenames -F _uprez uprez
