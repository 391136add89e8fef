#!/bin/sh
# Docker daemons in namespaces of their own: dockerd.sh start LOG ARGUMENT...
# A daemon starts for each line of the standard input, one after the other.
set -eu
. "$(dirname "$0")/../namespaces/namespaces.sh"

place() {
    echo 0 >/sys/fs/cgroup/visitors/cgroup.procs
    # Images and containers are on it too: on a disk the daemon would wait for its syncs. It also
    # hides the host's containerd and systemd.
    mount -t tmpfs -o mode=755 tmpfs /run
    echo '{}' >/run/daemon.json
    ip link set lo up
    echo "$1 $HOME"
    exec >/dev/null
    log=$2
    shift 2
    # PID 1 waits for the pipe, and so reaps every daemon and what a killed daemon leaves. A daemon
    # takes an unreaped one before it for one that still runs.
    cat | while read -r _; do
        (dockerd --config-file=/run/daemon.json --data-root=/run/docker-data \
            --exec-root=/run/docker --pidfile=/run/docker.pid \
            --exec-opt=native.cgroupdriver=cgroupfs "$@" >>"$log" 2>&1 &)
    done
}

stage "$@"
