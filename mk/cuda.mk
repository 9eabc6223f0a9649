# The CUDA kernels, where nvcc is there. CUDA_ARCHS: compute capabilities to build machine code for.
#   make kernels CUDA_ARCHS="80 86 89 90a 100 120"
CUDA_ARCHS ?= 80 90a
KERNEL_CU  := $(wildcard kernels/*.cu)
KERNEL_O   := $(KERNEL_CU:%.cu=$(B)/cuda/%.o)
NVCC_BASE  := -std=c++17 -O3 -lineinfo -Iinclude -Ihost -Ikernels -cudart static -Xcompiler -fPIC,-fvisibility=hidden,-Wno-unknown-pragmas
NVCC_CODE   = $(foreach a,$(CUDA_ARCHS),-gencode arch=compute_$(a),code=sm_$(a))

.PHONY: kernels kernels-report
ifneq ($(NVCC),)
## kernels: compile the CUDA kernels for CUDA_ARCHS (default "80 90a")
kernels: $(KERNEL_O)

$(B)/cuda/%.o: %.cu mk/cuda.mk $(wildcard kernels/*.cuh kernels/*.h host/core/*.h) include/actscope.h
	@mkdir -p $(@D)
	$(call say,NVCC,$< ($(CUDA_ARCHS)))
	$(Q)$(NVCC) $(NVCC_BASE) $(NVCC_CODE) -c $< -o $@

# What ptxas says of every kernel for sm_90a. Register, shared memory and spill figures stay in the log.
$(B)/cuda/report/%.log: kernels/%.cu mk/cuda.mk $(wildcard kernels/*.cuh kernels/*.h host/core/*.h) include/actscope.h
	@mkdir -p $(@D)
	$(call say,PTXAS,$<)
	$(Q)$(NVCC) $(NVCC_BASE) -gencode arch=compute_90a,code=sm_90a -Xptxas -v,--warn-on-spills -cubin $< -o $(@:.log=.cubin) >$@.tmp 2>&1 \
	  || { cat $@.tmp; exit 1; }; mv $@.tmp $@

## kernels-report: registers, shared memory and spills of every kernel for sm_90a; a spill fails
kernels-report: $(KERNEL_CU:kernels/%.cu=$(B)/cuda/report/%.log)
	$(Q)tools/ptxas-report $^
else
kernels kernels-report:
	@echo "$@: no nvcc (or CUDA=0): nothing was compiled" >&2; exit 1
endif
