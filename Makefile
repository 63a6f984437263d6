# The table of contents of Parapet. Every target runs on a fresh Debian 12 machine:
# `tools/setup` installs what is missing (apt, pip, cargo) before the first build.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

TARGET ?= $(or $(CARGO_TARGET_DIR),target)
PYTHON := $(TARGET)/venv/bin/python
EXECUTABLES := parapet parapet-launcher parapet-ingest parapet-codec parapet-infer parapet-virtual-camera
BINARIES := $(addprefix --bin ,$(EXECUTABLES))

.PHONY: help
help: ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.PHONY: demo
demo: build ## Control plane, appliance, cameras and a sample application (ARGS='--check' for one JSON object)
	@$(TARGET)/debug/parapet demo $(ARGS)

.PHONY: test
test: build ## All tests, Rust and Python, one of which runs the demo check
	@tools/setup --tests
	tools/test

.PHONY: lint
lint: setup ## Format, clippy, crate directions, licences and bans
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo xtask check-deps
	cargo xtask check-promises
	tools/deny
	$(PYTHON) -m ruff check python examples bench tests
	$(PYTHON) -m ruff format --check python examples bench tests

.PHONY: build
build: setup ## Build every executable
	cargo build --locked $(BINARIES)
	cargo xtask check-libs

.PHONY: setup
setup: ## Install what the build needs and is missing
	@tools/setup

.PHONY: model
model: build ## Train the sample's detector on the synthetic scenes (minutes; not part of CI)
	tools/train-model

.PHONY: bench
bench: build ## Speed as ratios against named peers (a minute; not part of CI)
	tools/bench

.PHONY: install
install: setup ## Release build below PREFIX (default /usr/local), with the units of systemd (docs/hardening.md)
	cargo build --release --locked $(BINARIES)
	tools/install $(PREFIX)

.PHONY: fuzz
fuzz: setup ## Bad input for the parsers, for long (FUZZ=policy FOR=600, or INPUT=FILE; not part of CI)
	@tools/setup --tests
	INPUT=$(INPUT) tools/fuzz $(or $(FUZZ),all) $(or $(FOR),60)

.PHONY: sbom
sbom: setup ## Software bill of materials (CycloneDX) of each executable, into target/sbom
	tools/sbom

.PHONY: ci
ci: lint test ## What continuous integration runs
