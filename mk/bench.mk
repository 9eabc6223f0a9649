# The benchmark, bench/: checked against the oracle of the tests. Without CUDA its GPU half is bench/no_gpu.c.
BENCH_C     := $(filter-out $(if $(NVCC),bench/no_gpu.c,bench/gpu.c),$(wildcard bench/*.c))
BENCH_O     := $(patsubst %.c,$(B)/obj/%.o,$(BENCH_C) $(wildcard tests/reference/*.c)) $(if $(NVCC),$(B)/cuda/bench/native_peers.o)
$(B)/obj/bench/%.o: DEFS += $(DEPFLAGS) -Itests

# Calls of the CUDA runtime that allocate, wait or launch go through bench/gpu.c, which counts them.
COUNTED     := cudaMalloc cudaMallocAsync cudaMallocManaged cudaMallocHost cudaHostAlloc cudaFree cudaFreeHost cudaFreeAsync \
               cudaMemcpy cudaDeviceSynchronize cudaStreamSynchronize cudaEventSynchronize \
               cudaLaunchKernel cudaLaunchKernelExC cudaGraphLaunch
BENCH_WRAP  := $(COUNTED:%=-Wl,--wrap=%)
BENCH_LINK   = $(CC) -fopenmp $(BENCH_WRAP) $^ -o $@ $(IOLIBS) $(LIBS)
$(B)/actscope-bench: $(BENCH_O) $(B)/libactscope.a
	$(call say,LD,$@)
	$(Q)$(BENCH_LINK)

ifneq ($(NVCC),)
$(B)/obj/bench/gpu.o: DEFS += $(CUDA_DEFS) -DBENCH_CUDA_LIB='"$(CUDA_LIB)"'
# CUB takes a minute an architecture: the last of the list alone; elsewhere these peers fail, and their rows do without.
$(B)/cuda/bench/native_peers.o: NVCC_BASE += -Ibench -Xcompiler -fexceptions
$(B)/cuda/bench/native_peers.o: NVCC_CODE := -gencode arch=compute_$(lastword $(CUDA_ARCHS)),code=sm_$(lastword $(CUDA_ARCHS))
endif

# The same program with a library whose reports are wrong in one number each: every row has to notice.
BENCH_BROKEN := $(B)/tests/bench-broken
$(BENCH_BROKEN): BENCH_WRAP += -Wl,--wrap=actscope_plan_report
$(BENCH_BROKEN): $(B)/obj/tests/bench/broken_reports.o $(BENCH_O) $(B)/libactscope.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(BENCH_LINK)
run-tests: $(BENCH_BROKEN)

.PHONY: bench bench-smoke bench-peers
## bench: run build/actscope-bench with its peers; BENCH_ARGS="--filter RE --json FILE"
bench: $(B)/actscope-bench
	$(Q)$(B)/actscope-bench $(BENCH_ARGS)

## bench-smoke: every case of the benchmark at a small size, checked and not timed
bench-smoke: $(B)/actscope-bench
	$(Q)$(B)/actscope-bench --smoke $(BENCH_ARGS)

## bench-peers: the Python peers of the benchmark (NumPy, PyTorch, DataSketches) into build/peers, through pip
bench-peers:
	$(Q)python3 -m venv $(B)/peers && $(B)/peers/bin/python -m pip install --quiet numpy torch datasketches
