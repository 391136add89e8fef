"""Names of our D-Bus API, for those who serve it and those who ask it."""

NAME = "org.sylin.koi.Runtime1"
ROOT = "/org/sylin/koi/Runtime1"
MANAGER = f"{NAME}.Manager"
INSTANCE = f"{NAME}.Instance"
BACKEND = f"{NAME}.Backend"
INSTANCES = f"{ROOT}/instance"
BACKENDS = f"{ROOT}/backend"
