# shellcheck shell=bash
# Completion of culvert(8) for bash. The verbs are those that --help lists.
_culvert() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} verbs sockets
    if [ "$before" = --config ]; then
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        compopt -o filenames 2>/dev/null
        return
    fi
    verbs=$(culvert --help 2>/dev/null | sed -n 's/^  culvert \([a-z]*\) .*/\1/p')
    if [ "$COMP_CWORD" = 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W "--foreground --config --help --version $verbs" -- "$word")
        return
    fi
    sockets=$(cd /var/run/wireguard 2>/dev/null && ls -- *.sock 2>/dev/null | sed 's/\.sock$//')
    case " ${verbs//$'\n'/ } " in
        *" ${COMP_WORDS[1]} "*)
            case $word in
                */* | .*) mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;
                *) mapfile -t COMPREPLY < <(compgen -W "$sockets" -- "$word") ;;
            esac
            ;;
        *) mapfile -t COMPREPLY < <(compgen -W "--foreground --config" -- "$word") ;;
    esac
}
complete -F _culvert culvert
