#!/bin/sh
# A systemd user manager with a bus of its own, in namespaces of its own: world.sh start NAME
set -eu
. "$(dirname "$0")/../namespaces/namespaces.sh"

place() {
    [ "$2" != demo ] || keep_engines
    mount -t tmpfs -o mode=755 tmpfs /run
    # What the host's administrator enabled for users must not run here.
    [ ! -d /etc/systemd/user ] || mount -t tmpfs -o mode=755 tmpfs /etc/systemd/user
    ip link set lo up
    # Without this folder the manager takes the host for one without systemd and exits.
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
    # The demonstration shows the containers of this host's Docker and Podman.
    for socket in docker.sock podman/podman.sock; do
        [ -S "/run/$socket" ] || continue
        touch "$HOME/${socket##*/}"
        mount --bind "/run/$socket" "$HOME/${socket##*/}"
    done
}

write_settings() {
    mkdir -p /run/systemd/user.conf.d /run/systemd/user/sockets.target.wants
    # World.reset() waits this long for a unit that ignores SIGTERM.
    printf '[Manager]\nDefaultTimeoutStopSec=3s\n' >/run/systemd/user.conf.d/world.conf
    write_bus_units
}

# The manager's own connection to the bus follows the state of the units with these two names
# (manager_recheck_dbus in systemd): it connects when dbus.service becomes active while
# dbus.socket runs, and drops the connection when dbus.service stops. The manager would connect at
# most once to a dbus-daemon outside of dbus.service.
# When the daemon is killed, systemd holds the socket. The first client that connects starts the
# daemon again, and the manager connects to it. So there is no Restart=, and there are no limits:
# tests kill the bus many times.
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

stage "$@"
