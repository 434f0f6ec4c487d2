# shellcheck shell=bash
# Sourced by the programs in bash: what they say of themselves, and of words that they do not know.

# The comment that the program begins with.
usage() { sed -n '2,/^[^#]/{/^#/!d;s/^# \{0,1\}//;p}' "$0"; }
# asked_for_help WORD...: prints the usage and ends the program if a word asks for it.
asked_for_help() {
    local word
    for word; do
        case $word in --help | -h) usage; exit 0 ;; esac
    done
}
# wrong WHAT...: a command line that cannot be right.
wrong() { echo "${0##*/}: $* (${0##*/} --help says what there is)" >&2; exit 2; }
# takes_nothing WORD...: for programs that have no options.
takes_nothing() { asked_for_help "$@"; [ $# = 0 ] || wrong "does not know \`$1\`"; }
