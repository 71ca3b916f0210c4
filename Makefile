# Attention: from kernels to Transformers. `make help` lists what there is.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

# PYTHON may name an interpreter; left alone, the first suitable one is taken.
PYTHON ?=
VENV ?= .venv
COLAB_VENV ?= .venv-colab
OLDEST_VENV ?= .venv-oldest
# How many tests, and how many chapters, run side by side.
JOBS ?= 2
# The port of `make preview`.
PORT ?= 8000
# How many mutants of a module `make mutants` tries.
SAMPLE ?= 120
# Where versions come from; `make test CONSTRAINTS=` takes the newest that requirements.txt allows.
CONSTRAINTS ?= constraints.txt

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SITE := _build/html
heading = @printf '\n==== %s ====\n' $(1)

.PHONY: help
help: ## List these targets
	@echo 'make TARGET, where TARGET is one of:'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ---- The two commands ---------------------------------------------------------------------------

# Chapters run side by side into the cache, from which the build takes them. A chapter that fails there is not in
# the cache: the build runs it again, and stops with its error.
CHAPTERS := $(sort $(wildcard chapters/[!_]*.ipynb))
JCACHE := $(BIN)/jcache notebook -p _build/.jupyter_cache

.PHONY: book
book: $(STAMP) ## Execute the chapters and build the site from clean, warnings as errors
	@rm -rf _build
	@echo y | $(JCACHE) add $(CHAPTERS)
	@printf '%s\n' $(CHAPTERS) | OMP_NUM_THREADS=1 xargs -n 1 -P $(JOBS) $(JCACHE) execute --timeout 300
	OMP_NUM_THREADS=1 $(BIN)/jupyter-book build . -W --keep-going
	@echo
	@echo 'The book is built. Open this file in a browser, no server needed:'
	@echo '    file://$(CURDIR)/$(SITE)/index.html'
	@echo 'or run `make preview` to read it while you edit.'

.PHONY: test
test: $(STAMP) ## Run everything: lint, unit, notebooks, book, browser
	@$(MAKE) lint
	@$(MAKE) unit
	@$(MAKE) notebooks
	$(call heading,'book')
	@$(MAKE) book
	@$(MAKE) browser
	@printf '\nAll of make test passed.\n'

# ---- The parts of `make test` -------------------------------------------------------------------

.PHONY: lint
lint: $(STAMP) ## Check style and spelling, of code and of notebooks
	$(call heading,'lint')
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/python tools/repo.py notebooks --check

# One thread per process: the processes share the cores already.
.PHONY: unit
unit: $(STAMP) ## Run the unit, property and repository tests
	$(call heading,'unit')
	OMP_NUM_THREADS=1 $(BIN)/pytest tests --ignore=tests/browser -n $(JOBS) --dist loadscope

.PHONY: notebooks
notebooks: $(STAMP) ## Run every cell of every notebook; compare the outputs that are kept
	$(call heading,'notebooks')
	OMP_NUM_THREADS=1 $(BIN)/pytest --nbval-lax --nbval-current-env --nbval-cell-timeout=300 \
	    -n $(JOBS) --dist loadscope chapters/*.ipynb

.PHONY: browser
browser: $(STAMP) ## Test the built site in a browser (run `make book` first)
	$(call heading,'browser')
	@test -f $(SITE)/index.html || { echo 'There is no built site yet: run `make book` first.'; exit 1; }
	$(BIN)/pytest tests/browser

# ---- Releasing ----------------------------------------------------------------------------------

# $(call release,kind): one file of the book, in _build/release.
define release
	@test -f $(SITE)/index.html || { echo 'There is no built site yet: run `make book` first.'; exit 1; }
	PYTHONPATH=. OMP_NUM_THREADS=1 $(BIN)/python tools/release.py $(1)
endef

.PHONY: zip
zip: $(STAMP) ## Pack the built site, which works from disk, into _build/release (run `make book` first)
	$(call release,zip)

.PHONY: epub
epub: $(STAMP) ## Make an EPUB for e-readers, beside the zip (run `make book` first)
	$(call release,epub)

.PHONY: pdf
pdf: $(STAMP) ## Print the built site as one PDF, beside the zip (run `make book` first)
	$(call release,pdf)

# ---- Writing ------------------------------------------------------------------------------------

.PHONY: preview
preview: $(STAMP) ## Serve the book, open it, and rebuild when a file changes
	$(BIN)/python tools/preview.py --port $(PORT)

.PHONY: format
format: $(STAMP) ## Put code and notebooks in shape; strip outputs
	$(BIN)/ruff check --fix --exit-zero --quiet .
	$(BIN)/ruff format .
	$(BIN)/python tools/repo.py notebooks

.PHONY: repo
repo: $(STAMP) ## Set the repository's address everywhere: make repo SLUG=owner/name
	@test -n '$(SLUG)' || { echo 'Say which: make repo SLUG=owner/name'; exit 2; }
	$(BIN)/python tools/repo.py slug '$(SLUG)'

# ---- Slower or rarer ----------------------------------------------------------------------------

.PHONY: bench
bench: $(STAMP) ## Measure speed and memory side by side with the alternatives
	@for file in benchmarks/bench_*.py; do echo; echo "== $$file"; PYTHONPATH=. $(BIN)/python "$$file"; done

.PHONY: linkcheck
linkcheck: $(STAMP) ## Follow every external link of the book
	trap 'rm -f $(SITE)/output.json $(SITE)/output.txt' EXIT; \
	$(BIN)/jupyter-book build . --builder linkcheck

.PHONY: colab-test
colab-test: $(COLAB_VENV)/.installed ## Run explorers and notebooks under the versions that Colab has
	$(call heading,'explorers and notebooks under the versions of Colab')
	$(call explorers_and_notebooks,$(COLAB_VENV))

.PHONY: oldest-test
oldest-test: $(OLDEST_VENV)/.installed ## Run them under the oldest versions that pyproject.toml allows
	$(call heading,'explorers and notebooks under the oldest versions')
	$(call explorers_and_notebooks,$(OLDEST_VENV))

define explorers_and_notebooks
	$(1)/bin/pytest tests/test_explorers.py --disable-warnings
	OMP_NUM_THREADS=1 $(1)/bin/pytest --nbval-lax --nbval-current-env \
	    --nbval-cell-timeout=300 chapters/*.ipynb
endef

.PHONY: mutants
mutants: $(STAMP) ## Change the code in many small ways and see whether its tests notice
	$(BIN)/pip install --quiet --disable-pip-version-check \
	    $(if $(CONSTRAINTS),-c $(CONSTRAINTS)) -r tests/mutants-requirements.txt
	OMP_NUM_THREADS=1 $(BIN)/python tools/mutants.py --jobs $(JOBS) --sample $(SAMPLE)

.PHONY: constraints
constraints: $(STAMP) ## Pin the newest versions that requirements.txt allows
	$(BIN)/pip install --quiet uv
	$(BIN)/python tools/repo.py constraints

.PHONY: clean
clean: ## Remove what builds and tests leave behind, not the environments
	@rm -rf _build build dist *.egg-info .pytest_cache .ruff_cache .hypothesis test-results
	@find attn_utils benchmarks chapters tests tools _ext \
	    \( -name __pycache__ -o -name .ruff_cache -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} + 2>/dev/null || true

# ---- Environments -------------------------------------------------------------------------------

define SUITABLE
import sys
if not (3, 10) <= sys.version_info[:2] <= (3, 13):
    raise SystemExit(1)
endef
export SUITABLE

# $(call new_venv,folder): a virtual environment with pip, or a sentence that says what is missing.
define new_venv
	@found=; \
	for candidate in $(if $(PYTHON),$(PYTHON),python3 python3.13 python3.12 python3.11 python3.10); do \
	    if "$$candidate" -c "$$SUITABLE" 2>/dev/null; then found=$$candidate; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo 'No suitable Python found (tried: $(or $(PYTHON),python3, python3.13 … python3.10)).'; \
	    echo 'The book needs Python 3.10 to 3.13; name one with: make PYTHON=/path/to/python3.12 …'; \
	    exit 1; \
	fi; \
	if ! "$$found" -c 'import venv, ensurepip' 2>/dev/null; then \
	    echo "$$found lacks the venv module. On Debian and Ubuntu: sudo apt install python3-venv"; \
	    exit 1; \
	fi; \
	if ! $(1)/bin/python -m pip --version >/dev/null 2>&1; then \
	    echo "Setting up $(1) with $$("$$found" --version)"; \
	    "$$found" -m venv --clear $(1); \
	fi
endef

$(STAMP): requirements.txt $(CONSTRAINTS) pyproject.toml
	$(call new_venv,$(VENV))
	@echo 'Installing what the book needs; the first time this takes a few minutes.'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(CONSTRAINTS),-c $(CONSTRAINTS)) -r requirements.txt
	@touch $@

# The oldest torch knows no Python above 3.12.
$(OLDEST_VENV)/.installed: PYTHON = python3.10
$(OLDEST_VENV)/.installed: tests/oldest-requirements.txt
$(COLAB_VENV)/.installed: tests/colab-requirements.txt
$(COLAB_VENV)/.installed $(OLDEST_VENV)/.installed: pyproject.toml
	$(call new_venv,$(@D))
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r $(filter tests/%,$^)
	$(@D)/bin/python -m pip install --quiet --no-deps -e .
	@touch $@
