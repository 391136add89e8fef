"""A private bus: a real dbus-daemon alone, for tests that need no systemd.

It can be killed and started again on the same socket, and it can be stopped and continued.
"""

import shutil
import signal
import subprocess
from pathlib import Path
from typing import Final

PROGRAMS: Final = ("dbus-daemon", "setpriv")

# With type session all users of the socket have equal rights; the policy allows everything.
CONFIG: Final = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>{address}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
  </policy>
</busconfig>
"""


def missing() -> str:
    """Return what this host lacks for a private bus; "" if nothing."""
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    return f"not installed: {', '.join(absent)}" if absent else ""


class PrivateBus:
    """One dbus-daemon on a socket in a folder."""

    def __init__(self, folder: Path) -> None:
        self.address = f"unix:path={folder / 'bus'}"
        self._config = folder / "bus.conf"
        self._config.write_text(CONFIG.format(address=self.address))

    @property
    def pid(self) -> int:
        return self._daemon.pid

    def start(self) -> None:
        """Start the daemon, always on the same socket, and wait until it listens."""
        # The kernel kills the daemon with us, also if we are killed.
        command = ["setpriv", "--pdeathsig", "KILL", "dbus-daemon", "--nofork", "--nopidfile"]
        self._daemon = subprocess.Popen(
            [*command, "--print-address", f"--config-file={self._config}"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._daemon.stdout is not None
        if not self._daemon.stdout.readline():
            raise RuntimeError(f"dbus-daemon ended: {self._daemon.wait()}")

    def kill(self) -> None:
        """Kill the daemon; the file of the socket stays."""
        with self._daemon:
            self._daemon.kill()

    def stop(self) -> None:
        """Stop the daemon: it accepts connections and does not answer."""
        self._daemon.send_signal(signal.SIGSTOP)

    def cont(self) -> None:
        """Continue a stopped daemon."""
        self._daemon.send_signal(signal.SIGCONT)
