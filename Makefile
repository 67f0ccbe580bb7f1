# SPDX-License-Identifier: LGPL-2.1-or-later
# Each target installs what it needs (Debian packages as root, Python packages into .venv).

PYTHON ?= python3
venv := .venv
python := $(venv)/bin/python
ready := $(venv)/.ready

.PHONY: help deps demo test check images test-system test-desktop test-vm bench deb install clean

help:
	@echo "make demo         a live update before your eyes, in a virtual machine; root"
	@echo "make test         all of the following three; root, /dev/kvm is used where it works"
	@echo "make check        format, lint, types, unit tests and tests on a private bus"
	@echo "make test-system  tests with a real systemd in a container; root"
	@echo "make test-vm      tests with real kernels and real kexec in QEMU; root"
	@echo "make test-desktop tests of window, notifications and GNOME extension, in Debian; root"
	@echo "make bench        what the idle daemon costs, the kernel's boot, and the blackout"
	@echo "                  beside other ways, into bench/; root, more than an hour under emulation"
	@echo "make deb          the Debian packages, into dist/"
	@echo "make install      install into the running system, or below DESTDIR"
	@echo "make clean        remove what was built here; images in ~/.cache/liveupdated stay"

# Two at a time: each waits much of its time.
test: $(ready)
	$(MAKE) --no-print-directory --jobs=2 check images
	$(MAKE) --no-print-directory --jobs=2 test-system test-vm

images: $(ready)
	$(python) -m tests.lab disk
	$(python) -m tests.lab container

check: $(ready)
	$(python) -m ruff format --check .
	$(python) -m ruff check .
	$(python) -m mypy
	$(python) -m pytest

test-system: $(ready)
	$(python) -m tests.lab container
	$(python) -m pytest tests/system

test-desktop: $(ready)
	tests/eslint/run
	$(python) -m tests.lab desktop
	$(python) -m tests.desktop
	$(python) -m pytest tests/graphical

# Under emulation, and with a neighbour, a test may take long and still be right.  A guest that the
# emulator itself crashed proves nothing: that test runs once more, and the summary says so.
test-vm: $(ready)
	$(python) -m tests.lab disk
	$(python) -m pytest --timeout=3600 --durations=0 -rR \
		--reruns 1 --only-rerun EmulatorFault tests/vm

demo: $(ready)
	$(python) -m tests.lab.demo

bench: $(ready)
	$(python) -m bench.daemon
	$(python) -m bench.smp
	$(python) -m bench.blackout

deb: deps
	packaging/build-deb --lint dist

install:
	packaging/install $(DESTDIR)

deps:
	@tests/lab/install-deps

$(ready): pyproject.toml | deps
	$(PYTHON) -m venv $(venv)
	$(python) -m pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf dist build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
