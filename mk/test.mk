# Tests. Every tests/unit/*.c becomes part of one Criterion program; tests/python/test_*.py are unittest modules.
UNIT_C   := $(wildcard tests/unit/*.c)
REF_C    := $(wildcard tests/reference/*.c)
UNIT_O   := $(UNIT_C:%.c=$(B)/obj/%.o) $(REF_C:%.c=$(B)/obj/%.o)
$(B)/obj/tests/%.o: DEFS += $(CRITFLAGS) $(IODEFS) -Itests

$(B)/tests/unit: $(UNIT_O) $(APP_O) $(B)/libactscope.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) -fopenmp $^ -o $@ $(CRITLIBS) $(IOLIBS) $(LIBS)

# Every tests/tools/*.c is a small program that Python tests call.
TOOLS    := $(patsubst tests/tools/%.c,$(B)/tests/%,$(wildcard tests/tools/*.c))
$(TOOLS): $(B)/tests/%: $(B)/obj/tests/tools/%.o $(APP_O) $(B)/libactscope.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) -fopenmp $^ -o $@ $(IOLIBS) $(LIBS)

.PHONY: test unit setup
## setup: install what building and testing need (through apt when it may)
setup:
	$(Q)tools/setup

## test: set up and run every test this machine can run
test: setup
	$(Q)$(MAKE) --no-print-directory $(JOBS) run-tests

run-tests: all examples $(B)/tests/unit $(TOOLS)
	$(Q)tests/run $(B)

## unit: the C tests alone, without set-up; UNIT_ARGS="--filter SUITE/NAME" picks some
unit: $(B)/tests/unit
	$(Q)OMP_WAIT_POLICY=passive $(B)/tests/unit -j2 $(UNIT_ARGS)

$(B)/tests/coverage $(B)/tests/wide: $(B)/tests/%: $(B)/obj/tests/coverage/%.o $(REF_C:%.c=$(B)/obj/%.o) \
    $(B)/libactscope.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) -fopenmp $^ -o $@ $(LIBS)

## test-coverage: how often the interval of sampled pairs holds, by repetition (about a minute; not part of test)
.PHONY: test-coverage test-wide
test-coverage: $(B)/tests/coverage
	$(Q)OMP_WAIT_POLICY=passive $(B)/tests/coverage

## test-wide: a sample of [128, 1048576] against every pair, and its memory (minutes; not part of test)
test-wide: $(B)/tests/wide
	$(Q)OMP_WAIT_POLICY=passive $(B)/tests/wide
