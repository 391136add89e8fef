# Completes koi-runtime's command line.

# Print the command that is typed, and what it is given: no options, and not their values. An
# instance may have a command's name, hence no __fish_seen_subcommand_from.
function __koi_runtime_words
    # The empty word stands for the value of an option that waits for one.
    argparse --ignore-unknown json= runtime= log-level= -- (commandline -opc)[2..] ''
    string match --regex -- '^[^-].*' $argv
end

function __koi_runtime_needs_command
    not count (__koi_runtime_words) >/dev/null
end

function __koi_runtime_has_command
    set -l words (__koi_runtime_words)
    contains -- "$words[1]" $argv
end

function __koi_runtime_needs_backend
    set -l words (__koi_runtime_words)
    test "$words" = resync
end

# Print a table of the agent that is meant, or nothing.
function __koi_runtime_table
    set -l scope (string match --regex -- '^--(?:user|system)$' (commandline -opc))
    timeout 2 koi-runtime $argv $scope[-1] --no-legend 2>/dev/null
end

# Fish quotes what is offered, all but a tilde at the start: no name with one is offered.
function __koi_runtime_instances
    __koi_runtime_table list | string replace --filter --regex '^([^~\s]\S*).*' '$1'
end

# Status has its table below an empty line.
function __koi_runtime_backends
    __koi_runtime_table status | sed '1,/^$/d; s/[[:space:]].*//'
end

complete -c koi-runtime -f
complete -c koi-runtime -s h -l help -d 'Show a summary, and exit'
complete -c koi-runtime -l system -d "The system's agent"
complete -c koi-runtime -l user -d "The user's agent"
complete -c koi-runtime -l json -x -a 'pretty short off' -d 'Write JSON'
complete -c koi-runtime -l no-legend -d 'No headers and no count below tables'
complete -c koi-runtime -l no-pager -d 'Accepted; there is no pager'

set -l command complete -c koi-runtime -n __koi_runtime_needs_command
$command -l version -d 'Show the version, and exit'
$command -a list -d 'List all instances'
$command -a show -d 'Show all that is known of instances'
$command -a explain -d 'Explain why instances are announced, or not'
$command -a status -d 'Show how the agent and its backends are'
$command -a watch -d 'Print what happens as it happens'
$command -a resync -d 'List what runs anew, now'
$command -a reload -d 'Have the agent read its configuration anew'
$command -a doctor -d 'Find out what is wrong, and what to do'
$command -a cat-config -d 'Show what is set, and who set it'
$command -a install-units -d "Install the units of a user's agent"
$command -a run -d 'Run the agent in the foreground'

complete -c koi-runtime -n '__koi_runtime_has_command show explain' \
    -a '(__koi_runtime_instances)' -d Instance
complete -c koi-runtime -n __koi_runtime_needs_backend -a '(__koi_runtime_backends)' -d Backend
complete -c koi-runtime -n '__koi_runtime_has_command install-units' \
    -l remove -d 'Remove what this has written'

set -l run complete -c koi-runtime -n '__koi_runtime_has_command run'
$run -l runtime -x -d 'The runtimes to follow' \
    -a '(__fish_append , auto docker podman systemd incus kubernetes)'
$run -l no-runtime -d 'Follow no runtime'
$run -l log-level -x -a 'emerg alert crit err warning notice info debug' \
    -d 'Log what is as grave as this'
