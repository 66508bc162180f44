# The tests with other compilers, under sanitizers and valgrind, and with other builds of the extension.
SANITIZE := address,undefined

.PHONY: ctest-all
ctest-all: ctest-asan ctest-valgrind ctest-poll ctest-clang ctest-tsan fuzz-replay ## the C tests in all other variants

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
# What measures Python would be measured itself there, or wants no subinterpreter; and Ctrl-C would hit it.
UNTRACED = tests/test_memory.py tests/test_subinterpreters.py \
	tests/test_ledger_processes.py::test_ctrl_c_while_the_disk_works_leaves_nothing_open
# What wants to start a Python that nothing traces, with another search path, or a full disk.
NOT_MEASURED = tests/test_import.py tests/test_events_frameworks.py tests/test_leaks.py \
	tests/test_cli_day.py::test_what_only_looks_answers_on_a_full_disk \
	tests/test_cli_settings.py::test_it_starts_quickly

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
		$(UNTRACED:%=--deselect %) $(NOT_MEASURED:%=--deselect %) || status=1; \
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
NOT_AGAIN = $(foreach name,sandbox* events* sheets* reconciliation* delivery* ledger* language values \
	layers core_layers readme import django* hospital pytest_plugin cli* notebook* demo memory_over_tls,\
	--ignore-glob="*/test_$(name).py") \
	--deselect=tests/test_problems.py::test_validating_needs_no_credential_and_no_network \
	--deselect=tests/test_chaos.py::test_the_same_seed_makes_the_same_choices
pytest-poll: NOT_AGAIN += $(foreach name,secrets input errors interfaces tokens tokens_processes token_sources \
	upload uploads advice leaks memory,--ignore-glob="*/test_$(name).py") \
	--deselect=tests/test_aio.py::test_clients_that_are_made_for_one_request

# A test may hide the report of a process it started: reports go to files, and any file is a failure.
# With --capture=sys the last words of pytest's own process are shown too.
REPORT = $(CURDIR)/build/$*/report

.PHONY: pytest-asan pytest-poll pytest-gnutls
pytest-asan: SWITCH = NONTAX_SANITIZE=$(SANITIZE)
pytest-asan: RUN_ENV = LD_PRELOAD="$$($(CC) -print-file-name=libasan.so)" PYTHONMALLOC=malloc \
	ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:log_path=$(REPORT) \
	UBSAN_OPTIONS=print_stacktrace=1
pytest-poll: SWITCH = NONTAX_POLL=1
# Another TLS library below libcurl: what goes over TLS is run again. It has the headers of the first.
pytest-gnutls: SWITCH = NONTAX_LIBS="-l:libcurl-gnutls.so.4 -lcjson"
pytest-gnutls: TLS_LIBRARY = GnuTLS
pytest-gnutls: NOT_AGAIN = $(foreach name,surplus tls replies aio_bulk chaos,tests/test_$(name).py)
pytest-asan pytest-poll pytest-gnutls: pytest-%: $(VENV)/installed core ## the Python tests with another build: sanitized, portable, GnuTLS
	@echo "build   nontax._core ($*)"
	@mkdir -p build
	@$(SWITCH) $(BIN)/python setup.py -q build --build-base build/$* --build-lib build/$*/lib \
		>build/$*.log 2>&1 || { cat build/$*.log; exit 1; }
	@$(VARIANT_ENV) $(BIN)/python -c \
		'import sys, nontax._core as core; sys.exit("/build/$*/lib/" not in core.__file__ or \
			"$(TLS_LIBRARY)" not in str(core.libraries()[1]))'
	@echo "pytest  $*"
	@rm -f $(REPORT)*
	@$(VARIANT_ENV) $(PYTEST) -m "not build" -p no:cacheprovider --durations=5 \
		--capture=sys $(NOT_AGAIN); status=$$?; for report in $(REPORT)*; do \
			[ ! -e "$$report" ] || { cat "$$report"; status=1; }; \
		done; exit $$status

# What is to be published is tested whole and as users have it: installed, and from another folder
# than the clone's, where Python would import the sources.
.PHONY: pytest-wheel
pytest-wheel: core build/pytest-wheel/venv/installed ## the Python tests with the wheel in dist/, installed
	@cd build/pytest-wheel && venv/bin/pip install -qq --disable-pip-version-check --no-index --no-deps \
		--force-reinstall ../../dist/nontax-*-abi3-manylinux_*_$$(uname -m).whl
	@echo "pytest  wheel"
	@cd build/pytest-wheel && venv/bin/pytest -q -n $(JOBS) --dist loadfile -m "not build" \
		-p no:cacheprovider --durations=5 -c ../../pyproject.toml --rootdir ../.. ../../tests

build/pytest-wheel/venv/installed: requirements/dev.txt
	@echo "venv    build/pytest-wheel/venv"
	@mkdir -p $(@D)
	@$(PYTHON) -m venv --clear build/pytest-wheel/venv
	@build/pytest-wheel/venv/bin/pip install -qq --disable-pip-version-check --require-hashes -r $<
	@cp $< $@

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

# --- the Django outbox on a newer Django ---------------------------------------------------------

# The first Python 3.12 or newer there is.
NEWER_PYTHON = $(firstword $(shell for python in python3 python3.14 python3.13 python3.12 \
	$(HOME)/.pyenv/versions/3.1[2-9]*/bin/python; do \
		"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && echo "$$python"; \
	done))

.PHONY: pytest-django6
pytest-django6: build ## the Django outbox on Django 6.0, if there is a Python 3.12 or newer
	@$(if $(NEWER_PYTHON),$(MAKE) pytest-django6-there,echo "pytest  Django 6.0: skipped, it needs Python 3.12")

# test_django_asgi.py needs the web frameworks of .venv.
.PHONY: pytest-django6-there
pytest-django6-there: build/django6/installed
	@echo "pytest  Django 6.0"
	@PYTHONSAFEPATH=1 PYTHONPATH="$(CURDIR)" build/django6/bin/python -m pytest -q -n $(JOBS) --dist loadfile \
		-p no:cacheprovider $(filter-out %_asgi.py,$(wildcard tests/test_django_*.py))

build/django6/installed: requirements/django6.txt
	@echo "venv    build/django6"
	@mkdir -p build
	@$(NEWER_PYTHON) -m venv --clear build/django6
	@build/django6/bin/pip install -qq --disable-pip-version-check --require-hashes -r $<
	@touch $@
