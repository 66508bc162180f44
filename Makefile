# Builds, checks and tests nontax every day. `make` alone lists the targets.
# make/variants.mk has the tests with other builds, make/release.mk the rest.
PYTHON ?= python3
CC ?= cc
PKG_CONFIG ?= pkg-config
VENV := .venv
BIN := $(VENV)/bin
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SECONDARY:

CORE_C := $(wildcard csrc/core/*.c)
CORE_H := $(wildcard csrc/core/*.h csrc/core/*.def)
CTEST_C := $(wildcard tests/core/test_*.c)
CTEST_SHARED_C := $(filter-out $(CTEST_C),$(wildcard tests/core/*.c))
CTEST_H := $(wildcard tests/core/*.h)
EXAMPLE_C := $(wildcard examples/*.c)
EXTENSION := $(CORE_C) $(CORE_H) $(wildcard csrc/python/*.[ch] csrc/python/*.def)
ALL_C := $(CORE_C) $(EXAMPLE_C) $(wildcard csrc/*/*.h csrc/python/*.c tests/core/*.[ch] \
	tests/memory/*.c fuzz/*.[ch] benchmarks/*.[ch])
ALL_PY := setup.py $(foreach dir,nontax tests tools examples benchmarks fuzz,\
	$(if $(wildcard $(dir)/*.py $(dir)/*/*.py),$(dir)))

C_FLAGS = -std=c11 -D_DEFAULT_SOURCE -g -fvisibility=hidden -Wall -Wextra -Werror \
	-DNONTAX_VERSION='"$(VERSION)"' -Icsrc/core $(shell $(PKG_CONFIG) --cflags libcurl libcjson)
C_LIBS = $(shell $(PKG_CONFIG) --libs libcurl libcjson) -lpthread -ldl -lm
# Processes for the Python tests: more than cores, as most tests wait most of their time.
JOBS ?= 4
PYTEST = $(BIN)/pytest -q -n $(JOBS) --dist loadfile

# --- for everyone -------------------------------------------------------------------------------

.PHONY: help
help: ## list the targets
	@echo "nontax $(VERSION)"
	@sed -n 's/^\([a-z. -]*\):[^#]*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | \
		while IFS='|' read -r name text; do printf '  make %-14s %s\n' "$$name" "$$text"; done

.PHONY: deps
deps: ## install the system packages (Debian, Ubuntu)
	@PYTHON="$(PYTHON)" sh tools/deps.sh all

.PHONY: .venv
.venv: $(VENV)/installed ## make .venv with the locked tools

# The stamp is a copy of the lock: a checkout that changes only its date makes no new venv.
$(VENV)/installed: requirements/dev.txt
	@cmp -s $< $@ && touch $@ || $(MAKE) new-venv

.PHONY: new-venv
new-venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "nontax needs Python 3.11 or newer; name one with: make PYTHON=..." >&2; exit 1; }
	@echo "venv    $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV) || \
		{ echo "No venv could be made. Run: make deps" >&2; exit 1; }
	@$(BIN)/pip install -qq --disable-pip-version-check --require-hashes \
		-r requirements/dev.txt
	@cp requirements/dev.txt $(VENV)/installed

.PHONY: build
build: build/editable.stamp ## build the extension into .venv

build/editable.stamp: $(EXTENSION) setup.py pyproject.toml $(VENV)/installed
	@echo "build   nontax._core"
	@mkdir -p build
	@NONTAX_WERROR=1 $(BIN)/pip install -qq --disable-pip-version-check --no-build-isolation \
		--no-deps -e .
	@touch $@

.PHONY: core
core: build/libnontax.a $(EXAMPLE_C:examples/%.c=build/examples/%) ## build the C library and examples

build/libnontax.a: build/gcc/libnontax.a
	@cp $< $@

build/examples/%: examples/%.c build/libnontax.a $(CORE_H)
	@mkdir -p $(@D)
	@echo "cc      $@"
	@$(CC) $(C_FLAGS) -O2 $< build/libnontax.a $(C_LIBS) -o $@

.PHONY: demo
demo: ## build nontax and try it against the sandbox
	@PYTHON="$(PYTHON)" sh tools/deps.sh demo
	@$(MAKE) -s build
	@$(BIN)/python examples/demo.py

# --- checks -------------------------------------------------------------------------------------

.PHONY: test
test: ## build, lint, C tests and Python tests: about four minutes on two cores
	@echo "test    build, lint, C tests, Python tests: about 4 minutes on two cores"
	@PYTHON="$(PYTHON)" sh tools/deps.sh test
	@$(MAKE) -s build core
	@$(MAKE) -j2 -Otarget lint ctest
	@$(MAKE) pytest

.PHONY: test-all
test-all: ## what make test leaves out: sanitizers, valgrind, clang, other builds, servers: about 15 minutes
	@echo "test    sanitizers, valgrind, clang, the portable driver, fuzzed inputs, servers: about 15 minutes"
	@$(MAKE) deps
	@$(MAKE) -s build core
	@$(MAKE) -j2 -Otarget ctest-all
	@$(MAKE) pytest-build
	@$(MAKE) pytest-asan
	@$(MAKE) pytest-poll
	@$(MAKE) pytest-gnutls
	@$(MAKE) pytest-pages
	@$(MAKE) pytest-databases
	@$(MAKE) pytest-django6

.PHONY: pytest-databases
pytest-databases: build ## the Django outbox on PostgreSQL, MariaDB, Redis, RabbitMQ, with kills and crashes
	@echo "pytest  PostgreSQL, MariaDB, Redis, RabbitMQ"
	@$(BIN)/pip install -qq --disable-pip-version-check --require-hashes -r requirements/databases.txt
	@DJANGO_SERVERS=required DJANGO_KILLS=10 DJANGO_CRASHES=10 $(BIN)/pytest -q -n 2 \
		$(foreach name,servers faults clocks cuts crowds engines desk_servers upgrade,tests/test_django_$(name).py)

.PHONY: format
format: $(VENV)/installed ## lay out all C and Python
	@$(BIN)/clang-format -i $(ALL_C)
	@$(BIN)/ruff check -q --fix $(ALL_PY) || true
	@$(BIN)/ruff format -q $(ALL_PY)

.PHONY: lint
lint: build ## layout, clang on the extension, ruff, mypy, stubtest
	@echo "lint    clang-format"
	@$(BIN)/clang-format --dry-run -Werror $(ALL_C)
	@echo "lint    clang"
	@clang $(C_FLAGS) -DPy_LIMITED_API=0x030B0000 -fsyntax-only csrc/python/*.c \
		-isystem "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("include"))')"
	@echo "lint    ruff"
	@$(BIN)/ruff check -q $(ALL_PY)
	@$(BIN)/ruff format -q --check $(ALL_PY)
	@echo "lint    mypy"
	@$(BIN)/mypy --no-error-summary $(ALL_PY)
	@echo "lint    stubtest"
	@# For the Python that runs, not for the oldest: classes have methods by version.
	@sed '/^python_version/d' pyproject.toml >build/stubtest.toml
	@$(BIN)/stubtest --mypy-config-file build/stubtest.toml nontax._core >build/stubtest.log 2>&1 || { cat build/stubtest.log; exit 1; }

.PHONY: pytest
pytest: build core ## the Python tests
	@echo "pytest"
	@$(PYTEST) --ignore=tests/test_build.py

.PHONY: pytest-build
pytest-build: build core ## building wheels and source distributions
	@echo "pytest  build"
	@$(BIN)/pytest -q tests/test_build.py

.PHONY: pytest-pages
pytest-pages: build ## reports as pages, and the hospital, in LibreOffice and Chromium
	@echo "pytest  pages"
	@$(BIN)/pip install -qq --disable-pip-version-check --require-hashes -r requirements/databases.txt
	@NONTAX_TEST_PAGES=1 $(BIN)/pytest -q tests/test_reconciliation_pages.py tests/test_hospital.py

# --- the C tests: each tests/core/test_*.c is one cmocka program, built in several variants --------

.PHONY: ctest
ctest: ctest-gcc ## the C tests

# $(1) variant, $(2) compiler, $(3) its flags, $(4) its programs; all, if none are named
define variant
build/$(1)/core/%.o: csrc/core/%.c $$(CORE_H) Makefile pyproject.toml
	@mkdir -p $$(@D)
	@$(2) $$(C_FLAGS) $(3) -c $$< -o $$@

build/$(1)/libnontax.a: $$(CORE_C:csrc/core/%.c=build/$(1)/core/%.o)
	@echo "cc      $$@"
	@rm -f $$@
	@ar rcs $$@ $$^

build/$(1)/tests/%.o: tests/core/%.c $$(CTEST_H) $$(CORE_H) Makefile
	@mkdir -p $$(@D)
	@$(2) $$(C_FLAGS) $(3) -Itests/core -c $$< -o $$@

build/$(1)/tests/%: build/$(1)/tests/%.o $$(CTEST_SHARED_C:tests/core/%.c=build/$(1)/tests/%.o) \
		build/$(1)/libnontax.a
	@$(2) $(3) $$^ $$(C_LIBS) $$(CTEST_LIBS) -o $$@

.PHONY: ctest-$(1)
ctest-$(1): $$(patsubst tests/core/%.c,build/$(1)/tests/%,$(if $(4),$(4),$$(CTEST_C)))
	@sh tools/run_ctests.sh "$(1)" "" $$^
endef

CTEST_LIBS = $(shell $(PKG_CONFIG) --libs cmocka)

$(eval $(call variant,gcc,$(CC),-O2))

# --- upkeep ---------------------------------------------------------------------------------------

.PHONY: lock
lock: ## renew requirements/*.txt from requirements/*.in (needs uv)
	@for name in dev databases django6 bench bench-office wheel free-threaded fuzz coverage docs bundle; do \
		case $$name in bundle) python=3.13;; django6) python=3.12;; *) python=3.11;; esac; \
		uv pip compile -q --universal --python-version $$python --generate-hashes --upgrade \
			--custom-compile-command 'make lock' requirements/$$name.in -o requirements/$$name.txt || exit 1; \
	done

.PHONY: clean
clean: ## remove all that was built, but not .venv
	@rm -rf build dist *.egg-info nontax/_core*.so
	@rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find nontax tests tools examples benchmarks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

include make/variants.mk make/release.mk
