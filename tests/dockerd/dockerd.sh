#!/bin/sh
# Namespaces for a Docker daemon: dockerd.sh start LOG ARGUMENT...
# It needs root. Each stage runs this file again: keeper, leader, place.
#
# The keeper runs outside and removes the control group, which does not go with the namespaces.
# The leader is PID 1 inside. It starts a daemon for each line that it reads, and runs until its
# standard input ends. The kernel closes that also when the starter is killed, so that nothing
# is left behind.
set -eu

start() {
    # A mount namespace first: the keeper must not mount on the host.
    exec unshare -m -- "$0" keeper "$@"
}

keeper() {
    # The host may not have mounted the unified hierarchy.
    [ -e /sys/fs/cgroup/cgroup.controllers ] || mount -t cgroup2 cgroup2 /sys/fs/cgroup
    group=$(mktemp -d /sys/fs/cgroup/koi-dockerd.XXXXXX)
    trap 'remove_group "$group"' EXIT
    unshare -m -p -n -f --kill-child -- "$0" leader "$group" "$@"
}

remove_group() {
    # The containers' groups are empty by now: all processes ended with PID 1 inside.
    find "$1" -depth -type d -exec rmdir {} \;
}

leader() {
    # /proc is still the host's, so this is the PID as the host numbers it.
    read -r pid _ </proc/self/stat
    echo 0 >"$1/cgroup.procs"
    shift
    exec unshare -C -m -- "$0" place "$pid" "$@"
}

place() {
    umount /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    # Only a group without processes can enable controllers for its children.
    mkdir /sys/fs/cgroup/visitors
    echo 0 >/sys/fs/cgroup/visitors/cgroup.procs
    mount -t proc proc /proc
    # Images and containers are on it too: they are temporary, and on a disk the daemon would
    # wait for each sync. It also hides the host's containerd and systemd.
    mount -t tmpfs -o mode=755 tmpfs /run
    echo '{}' >/run/daemon.json
    ip link set lo up
    echo "$1"
    exec >/dev/null
    log=$2
    shift 2
    # The pipe makes PID 1 wait, so that it reaps each daemon and the orphans of a killed one.
    # To the next daemon, one that is not reaped seems to run.
    cat | while read -r _; do
        (dockerd --config-file=/run/daemon.json --data-root=/run/docker-data \
            --exec-root=/run/docker --pidfile=/run/docker.pid \
            --exec-opt=native.cgroupdriver=cgroupfs "$@" >>"$log" 2>&1 &)
    done
}

stage=$1
shift
"$stage" "$@"
