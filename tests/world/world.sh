#!/bin/sh
# A systemd user manager with a bus of its own, in namespaces of its own.
# Run by root. Each stage is this same file: keeper, leader, manager.
#
# The keeper stands outside and removes what namespaces do not take with them: the control
# group and the home folder. The leader is PID 1 of the world and lives until its standard
# input ends. The kernel ends that even when the starter is killed, so nothing outlives it.
set -eu

start() {
    # First of all a mount namespace: the keeper must not mount on the host.
    exec unshare -m -- "$0" keeper "$@"
}

keeper() {
    # Where the host has no unified hierarchy in place, here it has.
    [ -e /sys/fs/cgroup/cgroup.controllers ] || mount -t cgroup2 cgroup2 /sys/fs/cgroup
    group=$(mktemp -d /sys/fs/cgroup/koi-world.XXXXXX)
    HOME=$(mktemp -d "${TMPDIR:-/tmp}/koi-world.XXXXXX")
    export HOME
    trap 'remove_traces "$group"' EXIT
    unshare -m -p -n -f --kill-child -- "$0" leader "$group" "$@"
}

remove_traces() {
    # The manager's groups are empty by now: PID 1 of the world is gone, and all with it.
    find "$1" -depth -type d -exec rmdir {} \;
    rm -rf "$HOME"
}

leader() {
    # /proc is still the host's, so this is our number as the host sees it.
    read -r pid _ </proc/self/stat
    echo 0 >"$1/cgroup.procs"
    shift
    # The control group namespace takes its root from where we are now. Any later, and the
    # manager sees itself outside that root and dies when it executes itself anew.
    exec unshare -C -m -- "$0" manager "$pid" "$@"
}

manager() {
    umount /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    mkdir /sys/fs/cgroup/visitors # for programs that come in from outside
    mount -t proc proc /proc
    [ "$2" != demo ] || keep_engines
    mount -t tmpfs -o mode=755 tmpfs /run
    # What the host's owner enabled for users has no place here.
    [ ! -d /etc/systemd/user ] || mount -t tmpfs -o mode=755 tmpfs /etc/systemd/user
    ip link set lo up
    # Without this folder the manager takes the machine for one without systemd and exits.
    mkdir -p /run/systemd/system /run/user/0
    write_settings
    env -i HOME="$HOME" PATH="$PATH" LANG=C.UTF-8 USER=root LOGNAME=root SHELL=/bin/sh \
        XDG_RUNTIME_DIR=/run/user/0 DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/0/bus \
        /lib/systemd/systemd --user --unit=basic.target >/run/manager.log 2>&1 &
    echo "$1 $HOME"
    exec >/dev/null
    cat
}

keep_engines() {
    # Who looks at the demonstration may have a Docker or a Podman that runs, to be seen in it.
    for socket in docker.sock podman/podman.sock; do
        [ -S "/run/$socket" ] || continue
        touch "$HOME/${socket##*/}"
        mount --bind "/run/$socket" "$HOME/${socket##*/}"
    done
}

write_settings() {
    mkdir -p /run/systemd/user.conf.d /run/systemd/user/sockets.target.wants
    # A unit of a test that ignores SIGTERM costs the reset this long.
    printf '[Manager]\nDefaultTimeoutStopSec=3s\n' >/run/systemd/user.conf.d/world.conf
    write_bus_units
}

# The manager's own connection to the bus follows the state of the units by these two names
# (manager_recheck_dbus in systemd): it connects when dbus.service becomes active while
# dbus.socket runs, and drops the connection when it does not. A dbus-daemon that is no
# dbus.service would be connected to once at most and lost for ever when it dies.
# When the daemon is killed, systemd holds the socket; the first client that connects starts
# it again, and with it the manager comes back to the bus. Hence no Restart=, and no limits,
# since tests kill the bus as often as they like.
write_bus_units() {
    cat >/run/systemd/user/dbus.socket <<'UNIT'
[Unit]
Description=Message Bus Socket of the private world
StartLimitIntervalSec=0
[Socket]
ListenStream=%t/bus
TriggerLimitIntervalSec=0
UNIT
    cat >/run/systemd/user/dbus.service <<'UNIT'
[Unit]
Description=Message Bus of the private world
Requires=dbus.socket
StartLimitIntervalSec=0
[Service]
Type=notify
ExecStart=/usr/bin/dbus-daemon --session --address=systemd: --nofork --nopidfile --systemd-activation --syslog-only
Slice=session.slice
UNIT
    ln -s ../dbus.socket /run/systemd/user/sockets.target.wants/dbus.socket
}

stage=$1
shift
"$stage" "$@"
