# "make test" and "make run" install what they need, also on a fresh Debian 12 or later.
#
#   make test [ARGS="-k foo"]   run the tests; as root, because some of them create namespaces
#   make run                    run the agent in the foreground, on this host's systemd, or on a
#                               private one if systemd does not run here
#   make enter [CMD="..."]      run a shell, or one command, beside the private systemd of make run
#   make lint                   run the linters only
#   make bench [BEFORE=PATH]    measure speed and memory beside peers, and beside another checkout;
#                               ARGS="start units" selects parts; as root, 25 minutes
#   make bench-check            compare ratios with bench/expected.json; as root, two minutes
#   make machine-test [ARGS=]   test the installed packages in booted Debian machines, and run the
#                               tests that take long; as root
#   make kubernetes-test        test with a real API server of Kubernetes; the first run builds it,
#                               which needs Go and ten minutes, unless KUBE_APISERVER= names it
#   make install                install the files of packaging/install.list below PREFIX=/usr;
#                               DESTDIR= is put before each path
#   make uninstall              remove these files; the configuration stays
#   make all                    build what make install needs: manual pages and completions
#   make list                   print the paths of the files that make install installs
#   make deb, rpm, arch         build the package for Debian, Fedora or Arch, in build/
#   make dist                   build the source archive, in build/dist
#   make interfaces             write the D-Bus interface files (packaging/*.xml) from the code
#   make settings               write packaging/koi-runtime.conf from the code
#   make clean                  remove what these commands made in this folder

GOALS = $(or $(MAKECMDGOALS),test)
# The goals that run the agent's code; packages and make install need less.
RUN = $(filter test machine-test kubernetes-test run enter lint interfaces bench bench-check .venv/%, \
	$(GOALS))
# The Debian packages that the goals need.
PACKAGES = python3 python3-venv scdoc \
	$(if $(RUN),python3-dev gcc pkg-config libsystemd-dev \
		dbus dbus-daemon systemd util-linux mount iproute2) \
	$(if $(filter kubernetes-test,$(GOALS)),openssl) \
	$(if $(filter test machine-test lint,$(GOALS)),curl fish man-db openssl shellcheck zsh) \
	$(if $(filter test machine-test bench bench-check,$(GOALS)),$(DOCKER) $(AVAHI)) \
	$(if $(filter test machine-test,$(GOALS)),$(DNS) caddy) \
	$(if $(filter deb machine-test,$(GOALS)),dpkg-dev) \
	$(if $(filter rpm arch machine-test,$(GOALS)),libarchive-tools makepkg rpm) \
	$(if $(filter machine-test,$(GOALS)),lintian mmdebstrap systemd-container)
# Where systemd runs, installing these starts their daemons. The tests start their own.
DOCKER = busybox-static $(if $(shell command -v dockerd),,docker.io)
AVAHI = avahi-daemon avahi-utils
DNS = bind9 bind9-dnsutils dnsmasq-base knot nsd unbound
# systemd-resolved is only unpacked: if it were installed, it would take over the host's DNS.
RESOLVED = build/resolved/ready
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
BIN = .venv/bin
# The virtual environment uses the first of these that is new enough: that of the packages, if it is.
PYTHON = $(INTERPRETER) python3
# Two processes per CPU, because tests with real parts wait more than they compute. Each is given one
# test after the other, slow ones first. ARGS=-n0 for one process.
PARALLEL = --numprocesses=$$((2 * $$(nproc))) --maxprocesses=4 --dist=loadgroup \
	--no-loadscope-reorder
# Two machines at a time, and then the tests that take long. Each process is given one test after the
# other.
TWO = --numprocesses=2 --dist=loadgroup --no-loadscope-reorder
CLEAN = .venv build koi_agent.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis \
	.import_linter_cache
export CMD

PREFIX = /usr
DESTDIR =
# The Python of the installed programs.
INTERPRETER = /usr/bin/python3
# The variables of packaging/install.list.
CODE = $(PREFIX)/lib/koi-runtime
ZSH = $(PREFIX)/share/zsh/site-functions
VENDOR = build/vendor

.PHONY: test machine-test run enter lint interfaces all list install uninstall clean packages \
	dist deb rpm arch deb-packages
.DEFAULT_GOAL := test

include packaging/build.mk

test: .venv/ready $(RESOLVED)
	$(if $(SUDO),$(SUDO) -E) $(BIN)/python -m pytest $(PARALLEL) --ignore=tests/system --ignore=tests/real/long $(ARGS)

machine-test: .venv/ready deb
	$(if $(SUDO),$(SUDO) -E) env KOI_TEST_REQUIRE=machine,systemd,docker,avahi,rpm,makepkg \
		$(BIN)/python -m pytest $(TWO) tests/system tests/real/long $(ARGS)

.PHONY: kubernetes-test
kubernetes-test: .venv/ready
	program=$$($(BIN)/python -m tests.kubernetes) && \
		KUBE_APISERVER=$$program KOI_TEST_REQUIRE=kubernetes \
		$(BIN)/python -m pytest tests/real/test_kubernetes*.py $(ARGS)

lint: .venv/ready
	$(BIN)/python -m pytest tests/test_linters.py tests/test_language.py $(ARGS)

run: .venv/ready
	@$(BIN)/python -m tests.world run

enter:
	@$(BIN)/python -m tests.world enter $(if $(CMD),sh -c "$$CMD")

# The table goes to the standard output: make bench >table.md
.PHONY: bench bench-check
bench: .venv/ready
	@$(SUDO) $(BIN)/python -m bench $(if $(BEFORE),--before '$(BEFORE)') $(ARGS)

bench-check: .venv/ready
	@$(SUDO) $(BIN)/python -m bench.check $(ARGS)

interfaces: .venv/ready
	$(BIN)/python -m tests.unit.interface_files

.PHONY: settings
settings:
	$(INTERPRETER) -m koi_agent.config.template >packaging/koi-runtime.conf

# --- installation --------------------------------------------------------------------------------
# A shell command that prints the lines of packaging/install.list, with the variables replaced.
LIST = sed -e '/^\#/d' -e '/^$$/d' $(foreach name,CODE ZSH VENDOR AIODOCKER PREFIX, \
	-e 's,@$(name)@,$($(name)),') packaging/install.list

all: $(BUILT)

list:
	@$(LIST) | while read -r _ _ destination; do echo "$$destination"; done

# Files of an older version are removed first. The programs name their paths below /usr: the sed
# command puts PREFIX there. With DESTDIR, the rest is up to the package that is being built.
install: all $(if $(filter build/vendor,$(VENDOR)),build/vendor/aiodocker/__init__.py)
	@set -e; umask 022; rm -rf '$(DESTDIR)$(CODE)/koi_agent' '$(DESTDIR)$(CODE)/vendor'; \
	$(LIST) | while read -r mode source destination; do \
		if [ "$$mode" = link ]; then \
			install -d "$(DESTDIR)$${destination%/*}"; \
			ln -sfn "$$source" "$(DESTDIR)$$destination"; \
			continue; \
		fi; \
		[ -r "$$source" ] || { echo "$$source: no such file" >&2; exit 1; }; \
		case $$source in \
		*/) for file in $$(cd "$$source"; find . -name '*.py' -o -name py.typed); do \
				install -Dm "$$mode" "$$source$$file" "$(DESTDIR)$$destination$$file"; \
			done ;; \
		*) sed 's,/usr/\(bin\|lib\)/koi-runtime,$(PREFIX)/\1/koi-runtime,g' "$$source" \
			| install -Dm "$$mode" /dev/stdin "$(DESTDIR)$$destination" ;; \
		esac; \
	done
	$(if $(DESTDIR),,@set -e; $(INTERPRETER) -m compileall -q '$(CODE)/koi_agent' '$(CODE)/vendor'; \
		systemd-sysusers '$(PREFIX)/lib/sysusers.d/koi-runtime.conf'; \
		systemd-tmpfiles --create '$(PREFIX)/lib/tmpfiles.d/koi-runtime.conf'; \
		journalctl --update-catalog; $(RELOAD))

uninstall:
	@set -e; $(LIST) | while read -r _ _ destination; do rm -rf "$(DESTDIR)$$destination"; done; \
	rm -rf '$(DESTDIR)$(CODE)'
	$(if $(DESTDIR),,@$(RELOAD))

# Make the running systemd and the running bus read what has changed on disk.
RELOAD = [ ! -d /run/systemd/system ] || { systemctl daemon-reload; \
	busctl call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus ReloadConfig; }

# --- setting up ----------------------------------------------------------------------------------
clean:
	$(SUDO) rm -rf $(CLEAN)

# The virtual environment is made again when pyproject.toml changes.
.venv/ready: pyproject.toml | packages
	@for python in $(PYTHON); do \
		if "$$python" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))'; then \
			set -ex; "$$python" -m venv --clear .venv; \
			$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'; \
			exec touch $@; \
		fi; \
	done; echo "no Python 3.11 or newer found: tried $(PYTHON); set PYTHON=" >&2; exit 1

# systemd-resolved needs the libsystemd-shared of its own version. On other systems than Debian the
# tests of resolved are skipped.
$(RESOLVED): | packages
	@rm -rf $(@D); mkdir -p $(@D); cd $(@D); command -v dpkg-query >/dev/null || exec touch ready; \
	set -ex; fetch() { apt-get download -q systemd-resolved libsystemd-shared; }; \
	fetch || { $(SUDO) apt-get update -q; fetch; }; \
	for package in ./*.deb; do dpkg-deb -x "$$package" .; done; touch ready

# On other systems than Debian the administrator installs what is needed.
packages:
	@command -v dpkg-query >/dev/null || exit 0; \
	missing=; for package in $(PACKAGES); do \
		dpkg-query -W -f '$${db:Status-Status}' "$$package" 2>/dev/null | grep -qx installed \
			|| missing="$$missing $$package"; \
	done; \
	[ -z "$$missing" ] || { set -ex; $(SUDO) apt-get update -q; \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive \
			apt-get install -qy --no-install-recommends $$missing; }
