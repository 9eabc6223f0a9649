# Sim: the kernels' own source compiled by the C++ compiler and run on fibres, for machines without a GPU. No CUDA needed.
# One build for each way of looking: plain (three schedules), ASan + UBSan, TSan (small sizes, two workers).
SIM_CU    := $(wildcard kernels/*.cu)
SIM_TEST  := $(wildcard tests/sim/*_test.cu)
# The plan on sim's device: the CUDA backend against sim's runtime, the rest as the library has it.
SIM_HOST  := $(wildcard host/cuda/*.c)
SIM_PLAN  := $(filter-out tests/gpu/hooks.c,$(wildcard tests/gpu/*.c))
# The benchmark on sim's device: every case at a small size, checked.
SIM_BENCH := $(filter-out bench/no_gpu.c,$(wildcard bench/*.c))
SIM_BASE  := -std=c++17 -g1 $(OPT) -Wall -Wextra -Wno-unknown-pragmas -fno-strict-aliasing -ffp-contract=off -fopenmp \
             -D_GNU_SOURCE -Iinclude -Ihost -Ikernels -Itests -Itests/sim -MMD -MP
SIM_CBASE := -std=gnu11 -g1 $(OPT) $(WARN) -fno-strict-aliasing -fopenmp -D_GNU_SOURCE -Iinclude -Ihost -Ikernels -Itests \
             -Itests/sim/toolkit -DACTSCOPE_CUDA_VERSION='"sim"' -DACTSCOPE_CUDA_ARCHS='"80 90a"' -DBENCH_CUDA_LIB='""' $(DEPFLAGS) -MMD -MP
SIM_ENGINE := engine/simt engine/hopper tests/sim/runtime tests/sim/streams
# Two more schedules, at small sizes: who may come before whom is the same at every size.
SIM_SEEDS := 1 7
# Tests that look at less of a kernel's code when they are small.
SIM_LARGE := features_strips features_tiles features_wgmma_panels features_many_samples eigen_ distinct_ profile_zeros similarity_shapes
# Tests of the plan that run the kernels of pairs, by their names.
SIM_PAIRS := reports features pairs_kernel each_feature each_feature_in_windows largest_pairs_in_strips strips capture \
             order_of_pairs samples streams graph
# cuRAND's own Philox, whose header has a path for the host, where the toolkit is installed.
SIM_CURAND := $(if $(CUDA_HOME),$(wildcard $(CUDA_HOME)/include/curand_philox4x32_x.h))
$(foreach v,plain asan tsan,$(B)/sim/$(v)/tests/sim/random_test.cu.o): SIM_BASE += -DSIM_CURAND=$(if $(SIM_CURAND),1 -idirafter $(CUDA_HOME)/include,0)
# The oracle and the core's C functions, as the unit tests have them.
SIM_C     := $(patsubst %.c,$(B)/obj/%.o,$(wildcard tests/reference/*.c)) $(B)/libactscope.a

SIM_FLAGS_plain := -O2
# Bad pointers are AddressSanitizer's to find: UBSan's checks of them take a third of the compiler's time.
SIM_FLAGS_asan  := -O1 -g1 -fsanitize=address,undefined -fno-sanitize-recover=undefined \
                   -fno-sanitize=null,pointer-overflow,object-size
SIM_FLAGS_tsan  := -O1 -g1 -fsanitize=thread

# The engine is not instrumented for TSan: it tells TSan about its fibres itself.
define sim_build
$(B)/sim/$(1)/engine/%.o: tests/sim/%.cpp mk/sim.mk
	@mkdir -p $$(@D)
	$$(call say,CXX,$$< ($(1)))
	$$(Q)$$(CXX) $$(SIM_BASE) $(if $(filter tsan,$(1)),-DSIMT_TSAN,$$(SIM_FLAGS_$(1))) -O3 -c $$< -o $$@
$(B)/sim/$(1)/%.cu.o: %.cu mk/sim.mk
	@mkdir -p $$(@D)
	$$(call say,CXX,$$< ($(1)))
	$$(Q)$$(CXX) $$(SIM_BASE) $$(SIM_FLAGS_$(1)) -include simt.h -x c++ -c $$< -o $$@
$(B)/sim/$(1)/%.o: %.cpp mk/sim.mk
	@mkdir -p $$(@D)
	$$(call say,CXX,$$< ($(1)))
	$$(Q)$$(CXX) $$(SIM_BASE) $$(SIM_FLAGS_$(1)) -c $$< -o $$@
$(B)/sim/$(1)/%.o: %.c mk/sim.mk
	@mkdir -p $$(@D)
	$$(call say,CC,$$< ($(1)))
	$$(Q)$$(CC) $$(SIM_CBASE) $$(SIM_FLAGS_$(1)) -c $$< -o $$@
$(B)/sim/$(1)/faults: $(B)/sim/$(1)/tests/sim/faults.cu.o $(SIM_ENGINE:%=$(B)/sim/$(1)/%.o)
	$$(call say,LD,$$@)
	$$(Q)$$(CXX) -fopenmp $$(SIM_FLAGS_$(1)) $$^ -o $$@ -pthread
$(B)/sim/$(1)/test: $(patsubst %,$(B)/sim/$(1)/%.o,$(SIM_CU) $(SIM_TEST)) $(B)/sim/$(1)/tests/sim/main.o \
    $(SIM_ENGINE:%=$(B)/sim/$(1)/%.o) $(SIM_C)
	$$(call say,LD,$$@)
	$$(Q)$$(CXX) -fopenmp $$(SIM_FLAGS_$(1)) $$^ -o $$@ -pthread -lm
$(B)/sim/$(1)/plan: $(patsubst %,$(B)/sim/$(1)/%.o,$(SIM_CU)) $(patsubst %.c,$(B)/sim/$(1)/%.o,$(SIM_HOST) $(SIM_PLAN)) \
    $(B)/sim/$(1)/tests/sim/hooks.o $(SIM_ENGINE:%=$(B)/sim/$(1)/%.o) $(SIM_C)
	$$(call say,LD,$$@)
	$$(Q)$$(CXX) -fopenmp $$(SIM_FLAGS_$(1)) $$^ -o $$@ -pthread -lm
$(B)/sim/$(1)/actscope-bench: $(patsubst %,$(B)/sim/$(1)/%.o,$(SIM_CU)) $(patsubst %.c,$(B)/sim/$(1)/%.o,$(SIM_HOST) $(SIM_BENCH)) \
    $(SIM_ENGINE:%=$(B)/sim/$(1)/%.o) $(SIM_C)
	$$(call say,LD,$$@)
	$$(Q)$$(CXX) -fopenmp $$(SIM_FLAGS_$(1)) $$(BENCH_WRAP) $$^ -o $$@ -pthread $$(IOLIBS) -lm -ldl
endef
$(foreach v,plain asan tsan,$(eval $(call sim_build,$(v))))

# The examples for a GPU, on sim's.
SIM_LINK = $(patsubst %,$(B)/sim/plain/%.o,$(SIM_CU)) $(patsubst %.c,$(B)/sim/plain/%.o,$(SIM_HOST)) $(SIM_ENGINE:%=$(B)/sim/plain/%.o) $(B)/libactscope.a
$(B)/sim/plain/examples/%: SIM_CBASE += -Iexamples -DDIGITS_CUDA=1 -ffp-contract=off -O3
$(B)/sim/plain/examples/%: SIM_BASE += -Iexamples -Itests/sim/toolkit
$(B)/sim/plain/digits: $(DIGITS_C:%.c=$(B)/sim/plain/%.o) $(B)/sim/plain/examples/digits_cuda.cu.o $(B)/sim/plain/tests/sim/cublas.o $(SIM_LINK)
	$(call say,LD,$@)
	$(Q)$(CXX) -fopenmp $^ -o $@ -pthread -lm
$(B)/sim/plain/streams: $(B)/sim/plain/examples/streams.o $(SIM_LINK)
	$(call say,LD,$@)
	$(Q)$(CXX) -fopenmp $^ -o $@ -pthread -lm
-include $(shell find $(B)/sim -name '*.d' 2>/dev/null)

.PHONY: test-sim test-sim-asan test-sim-asan-plan test-sim-tsan test-sim-mutation
# The longest programs first.
# One plan on a device with the shared memory of 8.6, 8.9 and 12.0, of what has kernels of its own there.
## test-sim: the kernels' own source on the CPU, in three schedules
test-sim: $(B)/sim/plain/digits $(B)/sim/plain/streams $(B)/sim/plain/faults $(B)/sim/plain/test $(B)/sim/plain/plan $(B)/sim/plain/actscope-bench
	$(Q)tests/sim/run "$(B)/sim/plain/plan 0" "$(B)/sim/plain/test 0" "env SIM_SMALL=1 SIMT_SHARED=101376 $(B)/sim/plain/plan 7 $(SIM_PAIRS)" \
	  "env SIM_SMALL=1 ACTSCOPE_CORRELATION_KERNEL=wgmma $(B)/sim/plain/plan 11 $(SIM_PAIRS)" $(SIM_SEEDS:%="env SIM_SMALL=1 $(B)/sim/plain/test %") \
	  "$(B)/sim/plain/actscope-bench --smoke --device cuda" "tests/sim/examples $(B)/sim/plain" $(B)/sim/plain/faults

## test-sim-asan: the kernels under AddressSanitizer and UndefinedBehaviorSanitizer, large sizes where small ones do not go
test-sim-asan: $(B)/sim/asan/faults $(B)/sim/asan/test
	$(Q)tests/sim/run "env SIM_SMALL=1 $(B)/sim/asan/test 0" "$(B)/sim/asan/test 0 $(SIM_LARGE)" $(B)/sim/asan/faults

## test-sim-asan-plan: the plan on sim's device under both, small sizes (6 minutes; not part of test)
test-sim-asan-plan: $(B)/sim/asan/plan
	$(Q)SIM_SMALL=1 tests/sim/run "$(B)/sim/asan/plan 0"

## test-sim-tsan: the kernels under ThreadSanitizer, small sizes, two workers
test-sim-tsan: $(B)/sim/tsan/faults $(B)/sim/tsan/test
	$(Q)SIM_SMALL=1 SIMT_WORKERS=2 tests/sim/run "$(B)/sim/tsan/test 0 0/2" "$(B)/sim/tsan/test 0 1/2" $(B)/sim/tsan/faults

## test-sim-mutation: delete each barrier, fence and wait of the kernels in turn; which tests notice? (minutes)
test-sim-mutation:
	$(Q)tests/sim/mutate
