"""A private bus: a real dbus-daemon alone, for tests that need no systemd.

It can die and come back on the same socket, and it can fall silent.
"""

import shutil
import signal
import subprocess
from pathlib import Path
from typing import Final

PROGRAMS: Final = ("dbus-daemon", "setpriv")

# Type session makes everybody with the socket equal; the policy lets them do all.
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
    """What this machine lacks for a private bus, or nothing."""
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    return f"not installed: {', '.join(absent)}" if absent else ""


class PrivateBus:
    """One dbus-daemon on a socket in a folder of the caller's."""

    def __init__(self, folder: Path) -> None:
        self.address = f"unix:path={folder / 'bus'}"
        self._config = folder / "bus.conf"
        self._config.write_text(CONFIG.format(address=self.address))

    @property
    def pid(self) -> int:
        return self._daemon.pid

    def start(self) -> None:
        """Start the daemon, on the same socket each time, and wait until it listens."""
        # The kernel ends it with us, however we end.
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
        """End the daemon as a crash would; the socket's file stays."""
        with self._daemon:
            self._daemon.kill()

    def stop(self) -> None:
        """Have the daemon accept and never answer."""
        self._daemon.send_signal(signal.SIGSTOP)

    def cont(self) -> None:
        """Have a stopped daemon answer again."""
        self._daemon.send_signal(signal.SIGCONT)
