# Stages that all harnesses in namespaces share. A harness is a script that sources this file,
# defines a function "place" and ends with: stage "$@"
# It is started as root: SCRIPT start ARGUMENT... Each stage executes the script again:
#
#   keeper  stands outside of the PID namespace, and removes what does not end with namespaces:
#           the control group and the folder HOME.
#   leader  is PID 1 of the namespaces, in a control group of its own.
#   place   is the leader with a control group namespace: PID ARGUMENT... (PID: on the host).
#           It writes a line when it is ready, and lives until its standard input ends. The kernel
#           ends the input even if the starter is killed, so that nothing outlives the starter.

start() {
    # A mount namespace first: the keeper must not mount on the host.
    exec unshare -m -- "$0" keeper "$@"
}

keeper() {
    # A host with control groups of version 1 may have no unified hierarchy at this path.
    [ -e /sys/fs/cgroup/cgroup.controllers ] || mount -t cgroup2 cgroup2 /sys/fs/cgroup
    name=$(basename "$0" .sh)
    group=$(mktemp -d "/sys/fs/cgroup/koi-$name.XXXXXX")
    HOME=$(mktemp -d "${TMPDIR:-/tmp}/koi-$name.XXXXXX")
    export HOME
    trap 'remove_traces "$group"' EXIT
    unshare -m -p -n -f --kill-child -- "$0" leader "$group" "$@"
}

remove_traces() {
    # The groups are empty: PID 1 of the namespaces has ended, and all other processes with it.
    find "$1" -depth -type d -exec rmdir {} \;
    rm -rf "$HOME"
}

leader() {
    # /proc is still the host's, so this is the leader's PID on the host.
    read -r pid _ </proc/self/stat
    echo 0 >"$1/cgroup.procs"
    shift
    # The root of a control group namespace is the group at this moment. If it is made later, a
    # manager sees itself outside of that root and ends when it executes itself again.
    exec unshare -C -m -- "$0" settle "$pid" "$@"
}

settle() {
    umount /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    # Programs from outside run here: only a group without processes passes controllers on.
    mkdir /sys/fs/cgroup/visitors
    mount -t proc proc /proc
    place "$@"
}

stage() {
    stage=$1
    shift
    "$stage" "$@"
}
