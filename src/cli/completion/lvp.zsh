#compdef lvp
# Completion of lvp for zsh. All it knows it asks of lvp; see lvp completion --help.

_lvp() {
  local line word about
  local -a candidates
  for line in "${(@f)$(lvp complete -- "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}"; do
    [[ -n $line ]] || continue
    if [[ $line == $'\tfile' ]]; then
      compset -P '--*='
      _files
      return
    fi
    # _describe divides at the first colon that has no backslash before it.
    word=${${${line%%$'\t'*}//\\/\\\\}//:/\\:}
    about=${line#*$'\t'}
    candidates+=("$word${about:+:$about}")
  done
  _describe -t candidates candidate candidates
}

# Loaded from a folder of $fpath it is the function itself, elsewhere it only says that there is one.
if [[ $funcstack[1] == _lvp ]]; then
  _lvp "$@"
else
  compdef _lvp lvp
fi
