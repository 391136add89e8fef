"""The agent as it is installed, whose loop stands still when it gets SIGUSR2."""

import signal
import sys
import time


def block(_number: int, _frame: object) -> None:
    time.sleep(3600)


if __name__ == "__main__":
    sys.path.insert(0, "/usr/lib/koi-runtime")
    sys.path.append("/usr/lib/koi-runtime/vendor")
    from koi_agent.__main__ import main

    signal.signal(signal.SIGUSR2, block)
    main()
