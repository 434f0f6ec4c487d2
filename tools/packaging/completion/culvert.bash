# shellcheck shell=bash
# Completion of culvert(8) for bash. The verbs are those that --help lists.
_culvert() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} options='--foreground --config --source-ports --workers --dpdk --outer-port --inner-port --busy-poll'
    local verbs names
    verbs=$(culvert --help 2>/dev/null | sed -n 's/^  culvert \([a-z]*\) .*/\1/p' | tr '\n' ' ')
    case $before in
        --config)
            mapfile -t COMPREPLY < <(compgen -f -- "$word")
            compopt -o filenames 2>/dev/null
            return
            ;;
        --workers) mapfile -t COMPREPLY < <(compgen -W auto -- "$word"); return ;;
        --source-ports | --dpdk | --outer-port | --inner-port) return ;;
    esac
    if [ "$COMP_CWORD" = 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W "$options --help --version $verbs" -- "$word")
        return
    fi
    # Interfaces that run; and for those that read files, all that have one.
    names=$(cd /var/run/wireguard 2>/dev/null && ls -- *.sock 2>/dev/null | sed 's/\.sock$//')
    case " $verbs" in
        *" ${COMP_WORDS[1]} "*)
            case ${COMP_WORDS[1]} in
                up | check | reload | down) names+=" $(ls /etc/culvert /etc/wireguard 2>/dev/null | sed -n 's/\.conf$//p')" ;;
                doctor) names= ;;
            esac
            case $word in
                */* | .*) mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;
                *) mapfile -t COMPREPLY < <(compgen -W "$names" -- "$word" | sort -u) ;;
            esac
            ;;
        *) mapfile -t COMPREPLY < <(compgen -W "$options" -- "$word") ;;
    esac
}
complete -F _culvert culvert
