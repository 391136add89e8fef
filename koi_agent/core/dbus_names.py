"""Names of the agent's D-Bus API, for the service and for its clients."""

NAME = "org.sylin.koi.Runtime1"
ROOT = "/org/sylin/koi/Runtime1"
MANAGER = f"{NAME}.Manager"
INSTANCE = f"{NAME}.Instance"
BACKEND = f"{NAME}.Backend"
INSTANCES = f"{ROOT}/instance"
BACKENDS = f"{ROOT}/backend"
