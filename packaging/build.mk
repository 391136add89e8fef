# What is built: manual pages, completions, the copy of aiodocker, the source archive and the packages.
# The Makefile includes this file.

VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' koi_agent/__init__.py)

# The date of the release: that of debian/changelog. The source archive has no debian/, so
# "make dist" writes the date into a file of the archive.
RELEASE_DATE = $(or $(shell sed -n '/^ -- /{s/.*>  //p;q}' debian/changelog 2>/dev/null), \
	$(shell cat packaging/release-date 2>/dev/null), \
	$(error no release date: neither debian/changelog nor packaging/release-date has one))

# Archives have the same bytes on every day and every machine.
ARCHIVE = tar -c --sort=name --format=gnu --owner=0 --group=0 --numeric-owner --mode=u+rw,go=rX \
	--mtime='$(RELEASE_DATE)'

# The files to install that are built.
BUILT = $(shell sed -n 's,^[0-9]* *\(build/[^ ]*\).*,\1,p' packaging/install.list)

# Packages are built by the system's programs, not by those of a virtual environment.
SYSTEM_PATH = /usr/sbin:/usr/bin:/sbin:/bin

# scdoc puts a date on each page. It is the release's, so that all packages have the same pages: a
# SOURCE_DATE_EPOCH from outside is not used, because makepkg sets it to the time of the build.
build/man/%: packaging/man/%.scd $(wildcard debian/changelog packaging/release-date)
	@mkdir -p $(@D); command -v scdoc >/dev/null || $(MAKE) packages
	SOURCE_DATE_EPOCH=$$(date --date='$(RELEASE_DATE)' +%s) scdoc <$< >$@ || { rm -f $@; exit 1; }

# The completions of the shells are generated from the tables of the command line.
$(filter build/completion/%,$(BUILT)) &: $(wildcard packaging/completion/*) \
		$(shell find koi_agent -name '*.py')
	PYTHONPATH=. $(INTERPRETER) -B packaging/completion/generate.py build/completion

# --- aiodocker -----------------------------------------------------------------------------------
# No Debian suite has aiodocker, so a copy is installed beside the code. It is used where Python
# finds no other. The version is the last one that works with Debian 12's aiohttp.
AIODOCKER = aiodocker-0.24.0
AIODOCKER_SHA256 = 661a6f9a479951f11f793031dcd5d55337e232c4ceaee69d51ceb885e5f16fac

# The source distribution, as its authors released it.
build/$(AIODOCKER).tar.gz: | packages
	rm -rf build/download; $(INTERPRETER) -m venv build/download
	build/download/bin/pip download --quiet --disable-pip-version-check --no-deps \
		--no-binary=aiodocker --dest build/download $(subst -,==,$(AIODOCKER))
	echo '$(AIODOCKER_SHA256)  build/download/$(@F)' | sha256sum --check --quiet
	mv build/download/$(@F) $@; rm -rf build/download

# The default VENDOR. Packages unpack the source distribution themselves and set VENDOR.
build/vendor/aiodocker/__init__.py: build/$(AIODOCKER).tar.gz
	rm -rf build/vendor; mkdir -p build/vendor
	tar -xf $< -C build/vendor --strip-components=1 \
		$(addprefix $(AIODOCKER)/,aiodocker LICENSE)
	touch $@

# By this file Python knows the version of the copy.
build/aiodocker/METADATA: packaging/build.mk
	@mkdir -p $(@D)
	printf 'Metadata-Version: 2.1\nName: %s\nVersion: %s\n' $(subst -, ,$(AIODOCKER)) >$@

# Debian's source package has no tests, documents and examples of aiodocker: its tests contain
# container images without their source (debian/copyright).
build/$(AIODOCKER)+ds.tar.gz: build/$(AIODOCKER).tar.gz
	rm -rf build/repacked; mkdir -p build/repacked
	tar -xf $< -C build/repacked $(foreach part,tests docs examples,--exclude='$(AIODOCKER)/$(part)')
	$(ARCHIVE) -C build/repacked $(AIODOCKER) | gzip -9n >$@

# --- the source archive and the packages ---------------------------------------------------------
DIST = build/dist/koi-runtime-$(VERSION)

# A git checkout contributes the files that git tracks, an exported tree all files but CLEAN.
dist:
	@set -eu; umask 022; rm -rf build/dist; mkdir -p $(DIST); \
	if [ -e .git ]; then git ls-files -z; else \
		find . -mindepth 1 \( $(patsubst %,-path ./% -o,$(CLEAN)) -name __pycache__ \) -prune \
			-o \( -type f -o -type l \) -print0; fi >build/dist/files; \
	tar -cf build/dist/files.tar --null --files-from=build/dist/files; \
	tar -xf build/dist/files.tar -C $(DIST); \
	echo '$(RELEASE_DATE)' >$(DIST)/packaging/release-date; \
	$(ARCHIVE) --anchored --exclude=$(notdir $(DIST))/debian \
		-C $(dir $(DIST)) $(notdir $(DIST)) | gzip -9n >$(DIST).tar.gz

# The build does not run the tests, because they need packages that Debian 12 does not have.
deb: dist build/$(AIODOCKER)+ds.tar.gz deb-packages
	@set -eu; umask 022; rm -rf build/deb; mkdir -p build/deb; \
	archive=build/deb/koi-runtime_$(VERSION).orig; tree=build/deb/$(notdir $(DIST)); \
	cp $(DIST).tar.gz "$$archive.tar.gz"; \
	cp build/$(AIODOCKER)+ds.tar.gz "$$archive-aiodocker.tar.gz"; \
	cp -a $(DIST) "$$tree"; mkdir "$$tree/aiodocker"; \
	tar -x -C "$$tree/aiodocker" --strip-components=1 -f "$$archive-aiodocker.tar.gz"; \
	cd "$$tree"; PATH=$(SYSTEM_PATH) DEB_BUILD_OPTIONS=nocheck \
		dpkg-buildpackage --no-sign --build-profiles=nocheck

deb-packages: packages
	@dpkg-checkbuilddeps -Pnocheck 2>/dev/null || { set -ex; $(SUDO) apt-get update -q; \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive \
			apt-get build-dep -qy --no-install-recommends -Pnocheck .; }

# On a Debian host, rpm's database is empty: --nodeps skips its check of build dependencies.
rpm: dist build/$(AIODOCKER).tar.gz | packages
	@set -eu; umask 022; rm -rf build/rpm; mkdir -p build/rpm/SOURCES; \
	cp $(DIST).tar.gz build/$(AIODOCKER).tar.gz build/rpm/SOURCES; \
	PATH=$(SYSTEM_PATH) rpmbuild -ba --clean \
		$(if $(shell command -v dpkg-query),--nodeps) --define '_topdir $(CURDIR)/build/rpm' \
		packaging/rpm/koi-runtime.spec

# makepkg does not run as root, and another user may have no access to the checkout: it runs in a
# temporary folder. It needs a pacman even with --nodeps; elsewhere than on Arch, true stands in.
arch: dist build/$(AIODOCKER).tar.gz | packages
	@set -eu; umask 022; rm -rf build/arch; mkdir -p build/arch; \
	work=$$(mktemp -d); trap 'rm -rf "$$work"' EXIT; \
	cp packaging/arch/* $(DIST).tar.gz build/$(AIODOCKER).tar.gz "$$work"; \
	$(if $(SUDO),,chown -R 65534:65534 "$$work";) (cd "$$work"; \
		PATH=$(SYSTEM_PATH) HOME="$$work" PKGDEST="$$work" \
		$(if $(shell command -v pacman),,PACMAN=true) \
		$(if $(SUDO),,setpriv --reuid=65534 --regid=65534 --clear-groups) makepkg --nodeps); \
	cp "$$work"/*.pkg.tar* build/arch
