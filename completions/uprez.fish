# Completion of uprez for fish. Options and their choices are read from the program's own --help, so
# they cannot be out of date.

# The words of the command at hand: nothing, "model info", "bench", …
function __uprez_command
    set -l words (commandline -opc)
    switch "$words[2]"
        case model
            echo model
            set -q words[3]; and echo $words[3]
        case bench check compare devices estimate sample
            echo $words[2]
    end
end

# Lines like "  -x,--long ARG   text" become "-x,--long<tab>ARG<tab>text".
function __uprez_table
    set -l words (commandline -opc)
    $words[1] (__uprez_command) --help 2>/dev/null |
        string replace -rf '^  (-\S+)( (\S+))?(\s+(.*))?$' '$1\t$3\t$5'
end

function __uprez_options
    for row in (__uprez_table)
        set -l column (string split \t -- $row)
        for option in (string split , -- $column[1])
            printf '%s\t%s\n' $option $column[3]
        end
    end
    printf '%s\t%s\n' --help 'what there is'
    test -z "$(__uprez_command)"; and printf '%s\t%s\n' --version 'of the program'
end

# What the option before the cursor takes; nothing when it takes none.
function __uprez_argument
    set -l words (commandline -opc)
    for row in (__uprez_table)
        set -l column (string split \t -- $row)
        contains -- $words[-1] (string split , -- $column[1]); and echo $column[2]
    end
end

# What 'uprez model list' knows.
function __uprez_models
    set -l words (commandline -opc)
    $words[1] model list 2>/dev/null | string match -rg '^(\S+)\s+\d+x\s'
end

function __uprez_words
    set -l words (commandline -opc)
    set -l argument (__uprez_argument)
    set -l command (__uprez_command)
    if test -n "$argument"
        switch $argument
            case 'NAME|FILE'
                printf '%s\n' lanczos bicubic spline36
                __uprez_models
                __fish_complete_path (commandline -ct)
            case 'WxH|NAME'
                printf '%s\n' 8k 4k 1440p 1080p 720p
            case FILE DIR
                __fish_complete_path (commandline -ct)
            case '*|*'
                string split '|' -- $argument | string match -r '^[a-z0-9]+$'
        end
        return
    end
    if string match -q -- '-*' (commandline -ct)
        __uprez_options
        return
    end
    switch "$command"
        case model
            printf '%s\t%s\n' list 'what is known' info 'what a file is' verify 'compare hashes' \
                pull 'fetch a model' convert 'write it as another kind of file' \
                compile 'build a TensorRT engine'
        case 'model verify' 'model pull'
            __uprez_models
        case 'model *'
            __uprez_models
            __fish_complete_path (commandline -ct)
        case ''
            if test (count $words) = 1
                printf '%s\t%s\n' model 'models: list, info, verify, pull, convert, compile' \
                    bench 'how fast it is here' check 'is a film whole' compare 'how far two films are apart' devices 'engines and devices' estimate 'how long it takes' sample 'frames through several models'
            end
            __fish_complete_path (commandline -ct)
    end
end

complete -c uprez -f -a '(__uprez_words)'
