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

# The same program with kernels of the CPU that are wrong at their ends: the profile leaves out the last element of a block,
# the product does not clear the last column of a tile beyond the band, packing zeroes the last z-score of a short panel. Their
# sources are copies with one line changed, for the instruction set that every processor has (ACTSCOPE_ISA=baseline).
BROKEN        := $(B)/broken
BROKEN_H      := $(BROKEN)/cpu/simd/profile_sums.h $(BROKEN)/cpu/simd/product_real.h $(BROKEN)/cpu/simd/product_pack.h
BROKEN_O      := $(BROKEN)/profile.baseline.o $(BROKEN)/product.baseline.o
BROKEN_KERNEL := $(B)/tests/bench-broken-kernel
$(BROKEN)/cpu/simd/profile_sums.h: BREAK := s/vectors = n \/ WIDTH, rest = n % WIDTH/vectors = (n - 1) \/ WIDTH, rest = (n - 1) % WIDTH/
$(BROKEN)/cpu/simd/product_real.h: BREAK := s/if (!in) c\[r\]\[l\] = 0;/if (!in \&\& l + 1 < COLUMNS) c[r][l] = 0;/
$(BROKEN)/cpu/simd/product_pack.h: BREAK := s/      if (l < positions) {/      if (l + 1 < positions) {/
$(BROKEN)/cpu/simd/%.h: host/cpu/simd/%.h mk/bench.mk
	@mkdir -p $(@D)
	$(Q)sed '$(BREAK)' $< >$@ && if cmp -s $< $@; then echo "$<: the line that is to be broken is not there" >&2; rm $@; exit 1; fi
$(BROKEN_O): SIMDFLAGS += -fno-associative-math
$(BROKEN)/%.baseline.o: host/cpu/simd/%.c $(BROKEN_H) Makefile
	$(call say,CC,$< (baseline, broken))
	$(Q)$(CC) -I$(BROKEN) $(CFLAGS_ALL) $(SIMDFLAGS) $(ISA_baseline) -DACTSCOPE_ISA=baseline -c $< -o $@
$(BROKEN_KERNEL): $(BROKEN_O) $(BENCH_O) $(B)/libactscope.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(BENCH_LINK)
run-tests: $(BROKEN_KERNEL)
-include $(wildcard $(BROKEN)/*.d)

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

.PHONY: results
## results: write the tables of README.md and docs/performance.md, and docs/plots, from bench/results/*.json
results:
	$(Q)python3 -B bench/results.py && python3 -B bench/plots.py

# ---- Profilers ---------------------------------------------------------------------------------------------------------
# Both run the benchmark's --profile: each case once, nothing round it. FILTER=RE picks the cases, PROFILE_OUT the folder.
FILTER      ?= ^(24-layer/direct|profile/f32/all/256MiB|correlation/exact/fp32/128x8192)$$
PROFILE_OUT ?= $(B)/profile
PROFILED     = $(B)/actscope-bench --device cuda --profile --filter '$(FILTER)'
# A missing tool is said before anything is built, and is a failure: nothing was recorded.
has_tool     = command -v $(1) >/dev/null || { echo "make $@: no $(1) on PATH: nothing was recorded" >&2; exit 1; }
programs     = $(MAKE) --no-print-directory $(B)/actscope-bench

.PHONY: nsys ncu
## nsys: time line of FILTER's cases with their NVTX ranges (Nsight Systems); prints the kernel table
nsys:
	@$(call has_tool,nsys)
	$(Q)$(programs)
	$(Q)mkdir -p $(PROFILE_OUT)
	$(Q)nsys profile --force-overwrite=true --trace=cuda,nvtx --output=$(PROFILE_OUT)/bench $(PROFILED)
	$(Q)nsys stats --force-export=true --report cuda_gpu_kern_sum --report nvtx_sum --format table $(PROFILE_OUT)/bench.nsys-rep

## ncu: what binds each kernel of FILTER's cases (Nsight Compute): durations, shares of bandwidth and arithmetic
NCU_METRICS := gpu__time_duration.sum,dram__throughput.avg.pct_of_peak_sustained_elapsed,sm__throughput.avg.pct_of_peak_sustained_elapsed,sm__inst_executed_pipe_tensor.avg.pct_of_peak_sustained_active,launch__registers_per_thread,sm__warps_active.avg.pct_of_peak_sustained_active
ncu:
	@$(call has_tool,ncu)
	$(Q)$(programs)
	$(Q)mkdir -p $(PROFILE_OUT)
	$(Q)ncu --nvtx --force-overwrite --export $(PROFILE_OUT)/bench --metrics $(NCU_METRICS) $(PROFILED)
	$(Q)ncu --import $(PROFILE_OUT)/bench.ncu-rep --page raw --csv --metrics $(NCU_METRICS) | bench/kernel_table.py
