# make test and make run set themselves up, on a fresh Debian 12 or later too.
#
#   make test [ARGS="-k foo"]   all tests; the real ones make namespaces, hence root
#   make run                    the agent in the foreground, on this systemd or a private one
#   make enter [CMD="..."]      a shell, or one command, in the private world of make run
#   make lint                   the linters alone
#   make machine-test [ARGS=]   the installed service in booted Debian machines, and what
#                               takes long; as root
#   make deb                    the Debian package, in build/deb
#   make rpm                    the one for Fedora, in build/rpm
#   make arch                   the one for Arch, in build/arch
#   make install                all to its place; PREFIX=/usr, DESTDIR= for a package's tree
#   make uninstall              what that put there away again; configuration stays
#   make interfaces             the D-Bus interface files anew, after the interface has changed
#   make settings               packaging/koi-runtime.conf, after a setting has changed
#   make clean                  remove what these commands made here

GOALS = $(or $(MAKECMDGOALS),test)
# All that runs our code needs this; packages and make install need less.
RUN = $(filter test machine-test run enter lint interfaces .venv/%,$(GOALS))
PACKAGES = python3 python3-venv scdoc \
	$(if $(RUN),python3-dev gcc pkg-config libsystemd-dev \
		dbus dbus-daemon systemd util-linux mount iproute2) \
	$(if $(filter test machine-test lint,$(GOALS)),curl fish man-db openssl shellcheck zsh) \
	$(if $(filter test,$(GOALS)),$(DOCKER) $(AVAHI)) \
	$(if $(filter deb machine-test,$(GOALS)),dpkg-dev) \
	$(if $(filter rpm arch machine-test,$(GOALS)),libarchive-tools makepkg rpm) \
	$(if $(filter machine-test,$(GOALS)),lintian mmdebstrap systemd-container)
# Where systemd runs, the daemons of these start; the tests have their own.
DOCKER = busybox-static $(if $(shell command -v dockerd),,docker.io)
AVAHI = avahi-daemon avahi-utils
# Installed, systemd-resolved would take over a host's name look-ups: the tests run a copy.
RESOLVED = build/resolved/ready
PYTHON = python3 /usr/bin/python3
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
BIN = .venv/bin
CLEAN = .venv build koi_agent.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis \
	.import_linter_cache
export CMD

PREFIX = /usr
DESTDIR =
INTERPRETER = /usr/bin/python3
CODE = $(PREFIX)/lib/koi-runtime
DBUS = $(PREFIX)/share/dbus-1
NAME = org.sylin.koi.Runtime1
ZSH = $(PREFIX)/share/zsh/site-functions
VENDOR = build/vendor
AIODOCKER = aiodocker-0.24.0
AIODOCKER_SHA256 = 661a6f9a479951f11f793031dcd5d55337e232c4ceaee69d51ceb885e5f16fac
AIODOCKER_HERE = $(VENDOR)/aiodocker/__init__.py
MANUALS = $(patsubst packaging/man/%.scd,build/man/%,$(wildcard packaging/man/*.scd))
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' koi_agent/__init__.py)
DIST = build/dist/koi-runtime-$(VERSION)
# The same bytes each time; times are the changelog's.
ARCHIVE = tar -c --sort=name --format=gnu --owner=0 --group=0 --numeric-owner --mode=u+rw,go=rX \
	--mtime="$$(sed -n '/^ -- /{s/.*>  //p;q}' debian/changelog)"
# Packages are built by the system's own programs.
SYSTEM_PATH = /usr/sbin:/usr/bin:/sbin:/bin
# What is installed besides the code, and where.
PLACES = \
	packaging/koi-runtime:$(PREFIX)/bin/koi-runtime \
	packaging/koi-runtime-gate:$(CODE)/koi-runtime-gate \
	packaging/koi-runtime.conf:$(CODE)/koi-runtime.conf \
	packaging/koi-runtime.catalog:$(PREFIX)/lib/systemd/catalog/koi-runtime.catalog \
	packaging/koi-runtime.sysusers:$(PREFIX)/lib/sysusers.d/koi-runtime.conf \
	packaging/koi-runtime.tmpfiles:$(PREFIX)/lib/tmpfiles.d/koi-runtime.conf \
	packaging/completion/bash/koi-runtime:$(PREFIX)/share/bash-completion/completions/koi-runtime \
	packaging/completion/zsh/_koi-runtime:$(ZSH)/_koi-runtime \
	packaging/completion/fish/koi-runtime.fish:$(PREFIX)/share/fish/vendor_completions.d/koi-runtime.fish \
	packaging/$(NAME).conf:$(DBUS)/system.d/$(NAME).conf \
	packaging/$(NAME).service:$(DBUS)/system-services/$(NAME).service \
	packaging/$(NAME).service:$(DBUS)/services/$(NAME).service \
	packaging/$(NAME).policy:$(PREFIX)/share/polkit-1/actions/$(NAME).policy \
	packaging/koi-runtime.rules:$(PREFIX)/share/polkit-1/rules.d/koi-runtime.rules \
	$(foreach file,$(notdir $(wildcard packaging/$(NAME).*.xml)), \
		packaging/$(file):$(DBUS)/interfaces/$(file)) \
	$(foreach unit,$(notdir $(wildcard systemd/koi-*)), \
		systemd/$(unit):$(PREFIX)/lib/systemd/system/$(unit)) \
	$(foreach unit,$(notdir $(wildcard systemd/user/koi-*)), \
		systemd/user/$(unit):$(PREFIX)/lib/systemd/user/$(unit)) \
	$(foreach page,$(MANUALS),$(page):$(PREFIX)/share/man/man$(subst .,,$(suffix $(page)))/$(notdir $(page)))
# A manager and a bus that run are told of what changed on disk.
TELL = [ ! -d /run/systemd/system ] || { systemctl daemon-reload; \
	busctl call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus ReloadConfig; }

.PHONY: test machine-test run enter lint install uninstall dist deb rpm arch manuals interfaces clean packages deb-packages
.DEFAULT_GOAL := test

test: .venv/ready $(RESOLVED)
	$(if $(SUDO),$(SUDO) -E) $(BIN)/python -m pytest --ignore=tests/system --ignore=tests/real/long $(ARGS)

machine-test: .venv/ready deb $(AIODOCKER_HERE) $(MANUALS)
	$(if $(SUDO),$(SUDO) -E) env KOI_TEST_REQUIRE=machine,systemd,rpm,makepkg \
		$(BIN)/python -m pytest tests/system tests/real/long $(ARGS)

lint: .venv/ready
	$(BIN)/python -m pytest tests/test_linters.py $(ARGS)

run: .venv/ready
	@$(BIN)/python -m tests.world run

enter:
	@$(BIN)/python -m tests.world enter $(if $(CMD),sh -c "$$CMD")

interfaces: .venv/ready
	$(BIN)/python -m tests.unit.interface_files

.PHONY: settings
settings:
	$(INTERPRETER) -m koi_agent.config.template >packaging/koi-runtime.conf

# aiodocker is in no Debian suite: a copy goes with us, of the last version for Debian 12's
# aiohttp. Where the system has one, that is taken.
build/$(AIODOCKER).tar.gz: | packages
	rm -rf build/download; $(INTERPRETER) -m venv build/download
	build/download/bin/pip download --quiet --disable-pip-version-check --no-deps \
		--no-binary=aiodocker --dest build/download $(subst -,==,$(AIODOCKER))
	echo '$(AIODOCKER_SHA256)  build/download/$(@F)' | sha256sum --check --quiet
	mv build/download/$(@F) $@; rm -rf build/download

build/vendor/aiodocker/__init__.py: build/$(AIODOCKER).tar.gz
	rm -rf build/vendor; mkdir -p build/vendor
	tar -xf $< -C build/vendor --strip-components=1 \
		$(addprefix $(AIODOCKER)/,aiodocker LICENSE)
	touch $@

# Its tests bring images of others, without their source (debian/copyright).
build/$(AIODOCKER)+ds.tar.gz: build/$(AIODOCKER).tar.gz
	rm -rf build/repacked; mkdir -p build/repacked
	tar -xf $< -C build/repacked $(foreach part,tests docs examples,--exclude='$(AIODOCKER)/$(part)')
	$(ARCHIVE) -C build/repacked $(AIODOCKER) | gzip -9n >$@

build/man/%: packaging/man/%.scd
	@mkdir -p $(@D); command -v scdoc >/dev/null || $(MAKE) packages
	scdoc <$< >$@ || { rm -f $@; exit 1; }

manuals: $(MANUALS)

# What packages are made of: from a checkout what git knows, from an exported tree all.
dist:
	@set -eu; umask 022; rm -rf build/dist; mkdir -p $(DIST); \
	if [ -e .git ]; then git ls-files -z; else \
		find . -mindepth 1 \( $(patsubst %,-path ./% -o,$(CLEAN)) -name __pycache__ \) -prune \
			-o \( -type f -o -type l \) -print0; fi >build/dist/files; \
	tar -cf build/dist/files.tar --null --files-from=build/dist/files; \
	tar -xf build/dist/files.tar -C $(DIST); \
	$(ARCHIVE) --anchored --exclude=$(notdir $(DIST))/debian \
		-C $(dir $(DIST)) $(notdir $(DIST)) | gzip -9n >$(DIST).tar.gz

# The tests are make test's: those of the build need what Debian has since 13.
deb: dist build/$(AIODOCKER)+ds.tar.gz deb-packages
	@set -eu; umask 022; rm -rf build/deb; mkdir -p build/deb; \
	archive=build/deb/koi-runtime_$(VERSION).orig; tree=build/deb/$(notdir $(DIST)); \
	cp $(DIST).tar.gz "$$archive.tar.gz"; \
	cp build/$(AIODOCKER)+ds.tar.gz "$$archive-aiodocker.tar.gz"; \
	cp -a $(DIST) "$$tree"; mkdir "$$tree/aiodocker"; \
	tar -x -C "$$tree/aiodocker" --strip-components=1 -f "$$archive-aiodocker.tar.gz"; \
	cd "$$tree"; PATH=$(SYSTEM_PATH) DEB_BUILD_OPTIONS=nocheck \
		dpkg-buildpackage --no-sign --build-profiles=nocheck

# Where dpkg installs, rpm knows of nothing that is installed.
rpm: dist build/$(AIODOCKER).tar.gz | packages
	@set -eu; umask 022; rm -rf build/rpm; mkdir -p build/rpm/SOURCES; \
	cp $(DIST).tar.gz build/$(AIODOCKER).tar.gz build/rpm/SOURCES; \
	PATH=$(SYSTEM_PATH) rpmbuild -ba --clean \
		$(if $(shell command -v dpkg-query),--nodeps) --define '_topdir $(CURDIR)/build/rpm' \
		packaging/rpm/koi-runtime.spec

# makepkg refuses to be root, and nobody else may have access to the checkout. It wants some pacman
# even where there is nothing to ask it.
arch: dist build/$(AIODOCKER).tar.gz | packages
	@set -eu; umask 022; rm -rf build/arch; mkdir -p build/arch; \
	work=$$(mktemp -d); trap 'rm -rf "$$work"' EXIT; \
	cp packaging/arch/* $(DIST).tar.gz build/$(AIODOCKER).tar.gz "$$work"; \
	$(if $(SUDO),,chown -R 65534:65534 "$$work";) (cd "$$work"; \
		PATH=$(SYSTEM_PATH) HOME="$$work" PKGDEST="$$work" \
		$(if $(shell command -v pacman),,PACMAN=true) \
		$(if $(SUDO),,setpriv --reuid=65534 --regid=65534 --clear-groups) makepkg --nodeps); \
	cp "$$work"/*.pkg.tar* build/arch

# What was there of an older version goes. The running system is told at once; a package's
# scripts tell theirs, and compile the code for the Python that they find.
install: $(AIODOCKER_HERE) $(MANUALS)
	@set -e; umask 022; rm -rf '$(DESTDIR)$(CODE)/koi_agent' '$(DESTDIR)$(CODE)/vendor'; \
	install -Dm644 -t '$(DESTDIR)$(CODE)/vendor/aiodocker' \
		$(VENDOR)/aiodocker/*.py $(VENDOR)/aiodocker/py.typed $(VENDOR)/LICENSE; \
	printf 'Metadata-Version: 2.1\nName: %s\nVersion: %s\n' $(subst -, ,$(AIODOCKER)) \
		| install -Dm644 /dev/stdin '$(DESTDIR)$(CODE)/vendor/$(AIODOCKER).dist-info/METADATA'; \
	for file in $$(find koi_agent -name '*.py'); do \
		install -Dm644 "$$file" "$(DESTDIR)$(CODE)/$$file"; \
	done; \
	for place in $(PLACES); do \
		source="$${place%%:*}"; mode=644; [ ! -x "$$source" ] || mode=755; \
		[ -r "$$source" ] || { echo "$$source is missing"; exit 1; }; \
		sed 's,/usr/\(bin\|lib\)/koi-runtime,$(PREFIX)/\1/koi-runtime,g' "$$source" \
			| install -Dm$$mode /dev/stdin "$(DESTDIR)$${place#*:}"; \
	done
	$(if $(DESTDIR),,@set -e; $(INTERPRETER) -m compileall -q '$(CODE)/koi_agent' '$(CODE)/vendor'; \
		systemd-sysusers '$(PREFIX)/lib/sysusers.d/koi-runtime.conf'; \
		systemd-tmpfiles --create '$(PREFIX)/lib/tmpfiles.d/koi-runtime.conf'; \
		journalctl --update-catalog; $(TELL))

uninstall:
	rm -rf '$(DESTDIR)$(CODE)' $(foreach place,$(PLACES),'$(DESTDIR)$(lastword $(subst :, ,$(place)))')
	$(if $(DESTDIR),,@$(TELL))

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

# With the library of its very version; where systemd is not Debian's, the tests of resolved are
# left out.
$(RESOLVED): | packages
	@rm -rf $(@D); mkdir -p $(@D); cd $(@D); command -v dpkg-query >/dev/null || exec touch ready; \
	set -ex; fetch() { apt-get download -q systemd-resolved libsystemd-shared; }; \
	fetch || { $(SUDO) apt-get update -q; fetch; }; \
	for package in ./*.deb; do dpkg-deb -x "$$package" .; done; touch ready

deb-packages: packages
	@dpkg-checkbuilddeps -Pnocheck 2>/dev/null || { set -ex; $(SUDO) apt-get update -q; \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive \
			apt-get build-dep -qy --no-install-recommends -Pnocheck .; }

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
