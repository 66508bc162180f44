# What a release needs: packages, other systems, long runs, benchmarks.
SUITES ?= bookworm trixie sid
# For which machines `make wheels` and `make bundle` are: of tools/bundled.sh.
TARGETS ?= manylinux-x86_64 manylinux-aarch64 musllinux-x86_64 musllinux-aarch64
MACHINE ?= $(shell uname -m)
RELEASE_DEPS = PYTHON="$(PYTHON)" sh tools/deps.sh release

.PHONY: docs
docs: build/docs/installed ## the documentation in both languages, into build/docs/site
	@$(PYTHON) tools/docs_tree.py build/docs
	@rm -rf build/docs/site
	@for language in mkdocs.yml mkdocs.zh.yml; do \
		build/docs/venv/bin/zensical build --strict --config-file $$language || exit 1; done
	@$(PYTHON) tools/docs_tree.py build/docs build/docs/site
	@echo "docs    build/docs/site/index.html"

build/docs/installed: requirements/docs.txt
	@echo "venv    build/docs/venv"
	@mkdir -p build/docs
	@$(PYTHON) -m venv --clear build/docs/venv
	@build/docs/venv/bin/pip install -qq --disable-pip-version-check --require-hashes -r $<
	@touch $@

.PHONY: sdist
sdist: $(VENV)/installed ## the source distribution, into dist/
	@$(BIN)/python -m build --sdist --no-isolation --outdir dist .

.PHONY: wheel
wheel: ## the wheel that needs nothing and the sdist, into dist/, both tried (needs root)
	@$(RELEASE_DEPS)
	@PYTHON="$(PYTHON)" sh tools/wheel.sh dist
	@sh tools/check_wheel.sh dist $(SUITES)

.PHONY: wheels
wheels: ## the wheels of all TARGETS, into dist/; Debian's cross compilers make what is not for this machine
	@$(RELEASE_DEPS)
	@for target in $(TARGETS); do PYTHON="$(PYTHON)" sh tools/wheel.sh dist $$target || exit 1; done

.PHONY: bundle
bundle: ## one archive for machines without a network, into dist/, tried (needs root and the wheel of MACHINE)
	@$(RELEASE_DEPS)
	@PYTHON="$(PYTHON)" sh tools/bundle.sh dist $(MACHINE)
	@sh tools/check_bundle.sh dist/nontax-$(VERSION)-linux-$(MACHINE).tar.gz

.PHONY: outdated
outdated: ## what wheels and bundles bring along and has a newer release
	@$(PYTHON) tools/outdated.py

.PHONY: matrix
matrix: ## the tests of the last commit in several Debians (needs root); writes docs/matrix.md
	@sh tools/matrix.sh $(SUITES)

.PHONY: free-threaded
free-threaded: ## the Python tests on a CPython without the GIL, built from Debian's source (WHEEL=dist: of its wheel)
	@$(RELEASE_DEPS)
	@PYTHON="$(PYTHON)" sh tools/deps.sh test
	@$(MAKE) -s core
	@WHEEL="$(WHEEL)" sh tools/free_threaded.sh $(ARGS)

.PHONY: wheel-check
wheel-check: build ## sdist, wheel from it, its tag, symbols and stable ABI, a clean install
	@$(BIN)/pytest -q -m build

.PHONY: chaos
chaos: build ## 100,000 bills against a server that fails at random (ARGS="--seed N --bills N")
	@PYTHONPATH=tests $(BIN)/python -m chaos $(ARGS)

.PHONY: crash
crash: build ## 1,000 kills, power losses, full disks, sixteen processes: ten minutes
	@CRASH_KILLS=1000 CRASH_STEP=1 CRASH_IMAGES=500 FLIP_EVERY=97 WIDE_HISTORIES=1 \
		LEDGER_PROCESSES=16 LEDGER_BILLS=20000 INTERRUPT_ROUNDS=12 $(BIN)/pytest -q -s -o timeout=3600 \
		tests/test_crashes.py tests/test_ledger_processes.py tests/test_ledger.py \
		tests/test_ledger_interrupts.py \
		tests/test_delivery_histories.py $(ARGS)

.PHONY: crash-backend
crash-backend: build ## the Django outbox: 1,000 kills, 200 crashes, a cut at each statement; prints a table
	@$(BIN)/pip install -qq --disable-pip-version-check --require-hashes -r requirements/databases.txt
	@DJANGO_SERVERS=required DJANGO_KILLS=160 DJANGO_CRASHES=200 DJANGO_CUTS=1 DJANGO_QUOTA=1000 \
		$(BIN)/pytest -q -n $(JOBS) -o timeout=3600 \
		$(foreach name,cuts engines servers crowds faults clocks,tests/test_django_$(name).py) \
		tests/test_django_outbox.py::test_kill_9_of_relays $(ARGS)

.PHONY: bench
bench: build $(VENV)/bench-installed ## the benchmarks (ARGS=--quick for rough numbers)
	@$(BIN)/python benchmarks/run.py $(ARGS)

.PHONY: bench-slow
bench-slow: build $(VENV)/bench-installed ## what a slow link makes of it
	@$(BIN)/python benchmarks/slow_link.py

.PHONY: bench-ledger
bench-ledger: build ## what a ledger costs (ARGS=--million for a million bills)
	@$(BIN)/python benchmarks/ledger.py $(ARGS)

.PHONY: bench-backend
bench-backend: build ## what the Django outbox costs on PostgreSQL (ARGS="--rows 0 10000000")
	@$(BIN)/pip install -qq --disable-pip-version-check --require-hashes -r requirements/databases.txt
	@DJANGO_SERVERS=required $(BIN)/python benchmarks/backend.py $(ARGS)

$(VENV)/bench-installed: requirements/bench.txt $(VENV)/installed
	@$(BIN)/pip install -qq --disable-pip-version-check --require-hashes -r $<
	@touch $@

.PHONY: bench-office
bench-office: build build/office/installed ## reading and reconciling 1,000,000 rows, beside pandas and others
	@$(BIN)/python benchmarks/office.py $(ARGS)

# datacompy needs an older pandas than .venv has.
build/office/installed: requirements/bench-office.txt
	@echo "venv    build/office"
	@mkdir -p build
	@$(PYTHON) -m venv --clear build/office
	@build/office/bin/pip install -qq --disable-pip-version-check --require-hashes -r $<
	@touch $@
