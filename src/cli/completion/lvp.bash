# Completion of lvp for bash. All it knows it asks of lvp; see lvp completion --help.
# shellcheck shell=bash

_lvp() {
    local token glued='' line lead current=${COMP_WORDS[COMP_CWORD]}
    local -a words=()
    COMPREPLY=()
    # bash divides words at = and : and lvp does not.
    for token in "${COMP_WORDS[@]:1:COMP_CWORD}"; do
        if [[ $token =~ ^[=:]+$ && ${#words[@]} -gt 0 ]]; then
            words[-1]+=$token
            glued=yes
        elif [[ -n $glued && -n $token ]]; then
            words[-1]+=$token
            glued=''
        else
            words+=("$token")
            glued=''
        fi
    done
    [[ ! $current =~ ^[=:]+$ ]] || current=''
    # What bash takes for words before the one it completes.
    lead=${words[-1]%"$current"}
    while IFS= read -r line; do
        if [[ $line == $'\tfile' ]]; then
            compopt -o default 2>/dev/null
            return
        fi
        line=${line%%$'\t'*}
        # Quoted: whoever gives a domain its name must not have a command run by it.
        printf -v line '%q' "${line#"$lead"}"
        COMPREPLY+=("$line")
    done < <(lvp complete -- "${words[@]}" 2>/dev/null)
}

complete -F _lvp lvp
