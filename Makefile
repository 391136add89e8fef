# make test and make run set themselves up, on a fresh Debian 12 or later too.
#
#   make test [ARGS="-k foo"]   all tests; the real ones make namespaces, hence root
#   make run                    the agent in the foreground, on this systemd or a private one
#   make enter [CMD="..."]      a shell, or one command, in the private world of make run
#   make lint                   the linters alone
#   make clean                  remove what these commands made here

PACKAGES = python3 python3-venv dbus dbus-daemon systemd util-linux mount iproute2
PYTHON = python3 /usr/bin/python3
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
BIN = .venv/bin
CLEAN = .venv build koi_agent.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis \
	.import_linter_cache
export CMD

.PHONY: test run enter lint clean packages
.DEFAULT_GOAL := test

test: .venv/ready
	$(if $(SUDO),$(SUDO) -E) $(BIN)/python -m pytest $(ARGS)

lint: .venv/ready
	$(BIN)/python -m pytest tests/test_linters.py $(ARGS)

run: .venv/ready
	@$(BIN)/python -m tests.world run

enter:
	@$(BIN)/python -m tests.world enter $(if $(CMD),sh -c "$$CMD")

clean:
	$(SUDO) rm -rf $(CLEAN)

# The environment is made again when its wishes change, by the first Python that is new enough.
.venv/ready: pyproject.toml | packages
	@for python in $(PYTHON); do \
		if "$$python" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))'; then \
			set -ex; "$$python" -m venv .venv; \
			$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'; \
			exec touch $@; \
		fi; \
	done; echo "Python 3.11 or newer is needed (PYTHON=...)"; exit 1

# Elsewhere than on Debian the packages are the owner's concern.
packages:
	@command -v dpkg-query >/dev/null || exit 0; \
	missing=; for package in $(PACKAGES); do \
		dpkg-query -W -f '$${db:Status-Status}' "$$package" 2>/dev/null | grep -qx installed \
			|| missing="$$missing $$package"; \
	done; \
	[ -z "$$missing" ] || { set -ex; $(SUDO) apt-get update -q; \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive \
			apt-get install -qy --no-install-recommends $$missing; }
