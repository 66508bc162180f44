# Builds, checks and tests nontax. `make` alone lists what there is; `make test` is what CI runs.
PYTHON ?= python3
CC ?= cc
PKG_CONFIG ?= pkg-config
VENV := .venv
BIN := $(VENV)/bin
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

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
C_LIBS = $(shell $(PKG_CONFIG) --libs libcurl libcjson) -lpthread -lm
SANITIZE := address,undefined
SUITES ?= bookworm trixie sid
# Files of Python tests run at a time: in most of a test somebody waits for somebody.
JOBS ?= 2
PYTEST = $(BIN)/pytest -q -n $(JOBS) --dist loadfile

# --- for everyone -------------------------------------------------------------------------------

.PHONY: help
help: ## list the targets
	@echo "nontax $(VERSION)"
	@sed -n 's/^\([a-z. -]*\):[^#]*## \(.*\)/\1|\2/p' Makefile | \
		while IFS='|' read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

.PHONY: deps
deps: ## install the system packages (Debian, Ubuntu)
	@PYTHON="$(PYTHON)" sh tools/deps.sh

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
test: ## everything that CI runs
	@$(MAKE) deps
	@$(MAKE) -s build core
	@$(MAKE) lint
	@$(MAKE) -j2 -Otarget ctest
	@$(MAKE) pytest-asan
	@$(MAKE) pytest-poll
	@$(MAKE) pytest

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
	@$(BIN)/stubtest nontax._core >build/stubtest.log 2>&1 || { cat build/stubtest.log; exit 1; }

.PHONY: pytest
pytest: build core ## the Python tests
	@echo "pytest"
	@$(PYTEST)

# --- the C tests: each tests/core/test_*.c is one cmocka program, built in several variants --------

.PHONY: ctest
ctest: ctest-gcc ctest-asan ctest-valgrind ctest-poll ctest-clang ctest-tsan fuzz-replay ## the C unit tests, in every variant

# $(1) variant, $(2) compiler, $(3) its flags, $(4) its programs; all, if none are named
define variant
build/$(1)/core/%.o: csrc/core/%.c $$(CORE_H) Makefile pyproject.toml
	@mkdir -p $$(@D)
	@$(2) $$(C_FLAGS) $(3) -c $$< -o $$@

build/$(1)/libnontax.a: $$(CORE_C:csrc/core/%.c=build/$(1)/core/%.o)
	@echo "cc      $$@"
	@rm -f $$@
	@ar rcs $$@ $$^

build/$(1)/tests/%: tests/core/%.c $$(CTEST_SHARED_C) $$(CTEST_H) build/$(1)/libnontax.a
	@mkdir -p $$(@D)
	@$(2) $$(C_FLAGS) $(3) -Itests/core $$< $$(CTEST_SHARED_C) build/$(1)/libnontax.a \
		$$(C_LIBS) $$(CTEST_LIBS) -o $$@

.PHONY: ctest-$(1)
ctest-$(1): $$(patsubst tests/core/%.c,build/$(1)/tests/%,$(if $(4),$(4),$$(CTEST_C)))
	@sh tools/run_ctests.sh "$(1)" "" $$^
endef

CTEST_LIBS = $(shell $(PKG_CONFIG) --libs cmocka)

$(eval $(call variant,gcc,$(CC),-O2))
$(eval $(call variant,asan,$(CC),-O1 -fno-omit-frame-pointer -fsanitize=$(SANITIZE) -fno-sanitize-recover=all))
$(eval $(call variant,poll,$(CC),-O2 -DNONTAX_PORTABLE_POLL))
$(eval $(call variant,clang,clang,-O2))

# The other programs have no threads, and fork, which this tool does not get along with.
$(eval $(call variant,tsan,clang,-O1 -fsanitize=thread,tests/core/test_threads.c))

.PHONY: ctest-valgrind
ctest-valgrind: $(CTEST_C:tests/core/%.c=build/gcc/tests/%)
	@sh tools/run_ctests.sh valgrind "valgrind -q --error-exitcode=99 --leak-check=full \
		--errors-for-leak-kinds=definite,indirect" $^

# --- coverage -------------------------------------------------------------------------------------

$(eval $(call variant,coverage,gcc,-O0 --coverage -DNONTAX_COVERAGE))

COVERAGE_ENV = PYTHONSAFEPATH=1 PYTHONPATH="$(CURDIR)/build/coverage/lib"
COVERAGE_PYTEST = -q -m "not build" -p no:cacheprovider --durations=1
# What measures Python would be measured itself there, or wants no subinterpreter.
UNTRACED = tests/test_memory.py tests/test_subinterpreters.py

.PHONY: coverage
coverage: build core $(VENV)/coverage-installed ## which lines of C and Python the tests execute
	@rm -rf build/coverage
	@$(MAKE) -j2 ctest-coverage
	@echo "build   nontax._core (coverage)"
	@NONTAX_COVERAGE=1 $(BIN)/python setup.py -q build --build-base build/coverage \
		--build-lib build/coverage/lib >build/coverage.log 2>&1 || { cat build/coverage.log; exit 1; }
	@echo "pytest  coverage"
	@status=0; \
	$(COVERAGE_ENV) $(BIN)/python -m coverage run -m pytest $(COVERAGE_PYTEST) \
		$(UNTRACED:%=--deselect %) --deselect tests/test_leaks.py || status=1; \
	$(COVERAGE_ENV) $(BIN)/python -m pytest $(COVERAGE_PYTEST) $(UNTRACED) || status=1; \
	$(BIN)/python tools/coverage.py && exit $$status

$(VENV)/coverage-installed: requirements/coverage.txt $(VENV)/installed
	@$(BIN)/pip install -qq --disable-pip-version-check --require-hashes -r $<
	@touch $@

# --- fuzzing --------------------------------------------------------------------------------------

FUZZ := reply request
SECONDS := 60
FUZZ_FLAGS = -O1 -fno-omit-frame-pointer -fsanitize=fuzzer,$(SANITIZE) -fno-sanitize-recover=all

.PHONY: fuzz-replay
fuzz-replay: $(FUZZ:%=build/asan/fuzz/%) ## the inputs in fuzz/corpus again, without a fuzzer
	@for target in $(FUZZ); do \
		build/asan/fuzz/$$target fuzz/corpus/$$target/* >build/asan/fuzz/log 2>&1 || \
			{ cat build/asan/fuzz/log; exit 1; }; \
		echo "fuzz    $$target: $$(cat build/asan/fuzz/log)"; \
	done

build/asan/fuzz/%: fuzz/fuzz_%.c fuzz/replay.c fuzz/target.h build/asan/libnontax.a
	@mkdir -p $(@D)
	@$(CC) $(C_FLAGS) -g -fsanitize=$(SANITIZE) -fno-sanitize-recover=all fuzz/replay.c $< \
		build/asan/libnontax.a $(C_LIBS) -o $@

build/fuzz/%: fuzz/fuzz_%.c fuzz/target.h $(CORE_C) $(CORE_H)
	@mkdir -p $(@D)
	@echo "cc      $@"
	@clang $(C_FLAGS) $(FUZZ_FLAGS) $< $(CORE_C) $(C_LIBS) -o $@

.PHONY: fuzz
fuzz: $(FUZZ:%=build/fuzz/%) build $(VENV)/fuzz-installed ## fuzz each target (SECONDS=60), keep what is new
	@for target in $(FUZZ); do \
		sh fuzz/run.sh $$target $(SECONDS) build/fuzz/$$target || exit 1; \
	done
	@sh fuzz/run.sh events $(SECONDS) $(BIN)/python fuzz/fuzz_events.py

$(VENV)/fuzz-installed: requirements/fuzz.txt $(VENV)/installed
	@$(BIN)/pip install -qq --disable-pip-version-check --require-hashes -r $<
	@touch $@

# --- the Python tests again, with another build of the extension --------------------------------

# The variant's package lies in build/NAME/lib. PYTHONPATH puts it before the editable one, and
# safe-path mode keeps the source tree from coming first in the processes that tests start.
VARIANT_ENV = PYTHONSAFEPATH=1 PYTHONPATH="$(CURDIR)/build/$*/lib" $(RUN_ENV)

# What does not run the extension is not run again; and where only the driver is another, nor is
# what passes through it in one way only, or what leaks.
NOT_AGAIN = --ignore-glob="*/test_sandbox*" --ignore-glob="*/test_events*" \
	--ignore-glob="*/test_memory_over_tls.py" \
	--deselect=tests/test_chaos.py::test_the_server_s_http2 \
	--deselect=tests/test_chaos.py::test_the_same_seed_makes_the_same_choices
pytest-poll: NOT_AGAIN += $(foreach name,secrets input errors interfaces tokens tokens_processes token_sources \
	upload readme advice import leaks layers memory,--ignore-glob="*/test_$(name).py") \
	--deselect=tests/test_aio.py::test_clients_that_are_made_for_one_request

# A test may hide the report of a process it started: reports go to files, and any file is a failure.
# With --capture=sys the last words of pytest's own process are shown too.
REPORT = $(CURDIR)/build/$*/report

MAKE_VARIANT = $(SWITCH) $(BIN)/python setup.py -q build --build-base build/$* --build-lib build/$*/lib

.PHONY: pytest-asan pytest-poll pytest-wheel
pytest-asan: SWITCH = NONTAX_SANITIZE=$(SANITIZE)
pytest-asan: RUN_ENV = LD_PRELOAD="$$($(CC) -print-file-name=libasan.so)" PYTHONMALLOC=malloc \
	ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:log_path=$(REPORT) \
	UBSAN_OPTIONS=print_stacktrace=1
pytest-poll: SWITCH = NONTAX_POLL=1
# What is to be published is tested whole.
pytest-wheel: NOT_AGAIN =
pytest-wheel: MAKE_VARIANT = rm -rf build/$*/lib; $(BIN)/python -m zipfile -e dist/nontax-*.whl build/$*/lib
pytest-asan pytest-poll pytest-wheel: pytest-%: $(VENV)/installed core ## the Python tests with another build: sanitized, portable, of dist/
	@echo "build   nontax._core ($*)"
	@mkdir -p build
	@{ $(MAKE_VARIANT); } >build/$*.log 2>&1 || { cat build/$*.log; exit 1; }
	@$(VARIANT_ENV) $(BIN)/python -c \
		'import sys, nontax._core as core; sys.exit("/build/$*/lib/" not in core.__file__)'
	@echo "pytest  $*"
	@rm -f $(REPORT)*
	@$(VARIANT_ENV) $(PYTEST) -m "not build" -p no:cacheprovider --durations=5 \
		--capture=sys $(NOT_AGAIN); status=$$?; for report in $(REPORT)*; do \
			[ ! -e "$$report" ] || { cat "$$report"; status=1; }; \
		done; exit $$status

# A debug Python checks much of what an extension may do wrong, and counts all references. It does by
# itself what dev mode does, but for asyncio's debug mode, which complains of a machine under load.
# It has a venv of its own: what .venv holds may depend on the last digit of its Python's version.
DEBUG_PYTHON := python3-dbg
DEBUG_ENV = PYTHONPATH="$(CURDIR)/build/debug/lib" PYTHONSAFEPATH=1 PYTHONFAULTHANDLER=1

.PHONY: pytest-debug
pytest-debug: ## the Python tests with a debug build of Python (Debian: python3-dbg)
	@PYTHON="$(PYTHON)" sh tools/deps.sh debug
	@$(MAKE) -s core build/debug/venv/installed
	@echo "build   nontax._core (debug)"
	@NONTAX_LIMITED_API=0 NONTAX_WERROR=1 build/debug/venv/bin/python setup.py -q build \
		--build-base build/debug --build-lib build/debug/lib >build/debug.log 2>&1 || \
		{ cat build/debug.log; exit 1; }
	@$(DEBUG_ENV) build/debug/venv/bin/python -c \
		'import sys, nontax._core as core; sys.exit("/build/debug/lib/" not in core.__file__)'
	@echo "pytest  debug"
	@$(DEBUG_ENV) build/debug/venv/bin/python -m pytest -q -n $(JOBS) \
		--dist loadfile -m "not build" -p no:cacheprovider --durations=5

# pip has many warnings of its own.
build/debug/venv/installed: requirements/dev.txt
	@echo "venv    build/debug/venv"
	@mkdir -p build/debug
	@$(DEBUG_PYTHON) -m venv --clear build/debug/venv
	@PYTHONWARNINGS=ignore build/debug/venv/bin/pip install -qq --disable-pip-version-check \
		--require-hashes -r $<
	@cp $< $@

# --- releases and the rest ----------------------------------------------------------------------

.PHONY: sdist
sdist: $(VENV)/installed ## the source distribution, into dist/
	@$(BIN)/python -m build --sdist --no-isolation --outdir dist .

.PHONY: wheel
wheel: ## the wheel that needs nothing and the sdist, into dist/, both tried (needs root)
	@PYTHON="$(PYTHON)" sh tools/wheel.sh dist
	@sh tools/check_wheel.sh dist $(SUITES)

.PHONY: matrix
matrix: ## the tests of the last commit in several Debians (needs root); writes docs/matrix.md
	@sh tools/matrix.sh $(SUITES)

.PHONY: free-threaded
free-threaded: core ## the Python tests on a CPython without the GIL, built from Debian's source
	@sh tools/free_threaded.sh $(ARGS)

.PHONY: wheel-check
wheel-check: build ## sdist, wheel from it, its tag, symbols and stable ABI, a clean install
	@$(BIN)/pytest -q -m build

.PHONY: chaos
chaos: build ## 100,000 bills against a server that fails at random (ARGS="--seed N --bills N")
	@PYTHONPATH=tests $(BIN)/python -m chaos $(ARGS)

.PHONY: bench
bench: build $(VENV)/bench-installed ## the benchmarks (ARGS=--quick for rough numbers)
	@$(BIN)/python benchmarks/run.py $(ARGS)

.PHONY: bench-slow
bench-slow: build $(VENV)/bench-installed ## what a slow link makes of it
	@$(BIN)/python benchmarks/slow_link.py

$(VENV)/bench-installed: requirements/bench.txt $(VENV)/installed
	@$(BIN)/pip install -qq --disable-pip-version-check --require-hashes -r $<
	@touch $@

.PHONY: lock
lock: ## renew requirements/*.txt from requirements/*.in (needs uv)
	@for name in dev bench wheel free-threaded fuzz coverage; do \
		uv pip compile -q --universal --python-version 3.11 --generate-hashes --upgrade \
			--custom-compile-command 'make lock' requirements/$$name.in -o requirements/$$name.txt || exit 1; \
	done

.PHONY: clean
clean: ## remove all that was built, but not .venv
	@rm -rf build dist *.egg-info nontax/_core*.so
	@rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find nontax tests tools examples benchmarks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
