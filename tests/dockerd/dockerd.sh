#!/bin/sh
# A place for a Docker daemon, in namespaces of its own: dockerd.sh start LOG ARGUMENT...
# Run by root. Each stage is this same file: keeper, leader, place.
#
# The keeper stands outside and removes what namespaces do not take with them: the control
# group. The leader is PID 1 of the place. It starts a daemon for each line that it reads, and
# lives until its standard input ends. The kernel ends that even when the starter is killed,
# so nothing outlives it.
set -eu

start() {
    # First of all a mount namespace: the keeper must not mount on the host.
    exec unshare -m -- "$0" keeper "$@"
}

keeper() {
    # Where the host has no unified hierarchy in place, here it has.
    [ -e /sys/fs/cgroup/cgroup.controllers ] || mount -t cgroup2 cgroup2 /sys/fs/cgroup
    group=$(mktemp -d /sys/fs/cgroup/koi-dockerd.XXXXXX)
    trap 'remove_group "$group"' EXIT
    unshare -m -p -n -f --kill-child -- "$0" leader "$group" "$@"
}

remove_group() {
    # The containers' groups are empty by now: PID 1 of the place is gone, and all with it.
    find "$1" -depth -type d -exec rmdir {} \;
}

leader() {
    # /proc is still the host's, so this is our number as the host sees it.
    read -r pid _ </proc/self/stat
    echo 0 >"$1/cgroup.procs"
    shift
    exec unshare -C -m -- "$0" place "$pid" "$@"
}

place() {
    umount /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    # Only a group without processes of its own can hand its controllers on.
    mkdir /sys/fs/cgroup/visitors
    echo 0 >/sys/fs/cgroup/visitors/cgroup.procs
    mount -t proc proc /proc
    # Images and containers are on it too: they need not outlive the place, and on a disk
    # the daemon would wait for its syncs. Also, it hides the host's containerd and systemd.
    mount -t tmpfs -o mode=755 tmpfs /run
    echo '{}' >/run/daemon.json
    ip link set lo up
    echo "$1"
    exec >/dev/null
    log=$2
    shift 2
    # The pipe has PID 1 wait, so that it reaps what comes to it: every daemon, and all that a
    # killed one leaves. A daemon takes the unreaped one before it for one that still runs.
    cat | while read -r _; do
        (dockerd --config-file=/run/daemon.json --data-root=/run/docker-data \
            --exec-root=/run/docker --pidfile=/run/docker.pid \
            --exec-opt=native.cgroupdriver=cgroupfs "$@" >>"$log" 2>&1 &)
    done
}

stage=$1
shift
"$stage" "$@"
