# Completion of lvp for fish. All it knows it asks of lvp; see lvp completion --help.

function __lvp_candidates
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    for line in (lvp complete -- $before[2..-1] "$current" 2>/dev/null)
        if test "$line" = \tfile
            # --config=PATH is one word.
            set -l lead (string match -r -- '^--[^=]*=' "$current")
            set -l path (string replace -r -- '^--[^=]*=' '' "$current")
            for found in (__fish_complete_path "$path")
                printf '%s%s\n' "$lead" $found
            end
            return
        end
        printf '%s\n' $line
    end
end

complete --command lvp --no-files --arguments '(__lvp_candidates)'
