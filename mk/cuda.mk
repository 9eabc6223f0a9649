# The CUDA backend: kernels/*.cu and host/cuda/*.c, when there is an nvcc and CUDA is not 0. Read before the other rules,
# because it changes what the libraries are made of.
#
# Settings:  CUDA_ARCHS="80 90a"  compute capabilities to build machine code for; 90a alone halves the time for trying out
#            CUDA_PTX=NN          PTX for architectures to come; empty: none
#            NVCCFLAGS=-lineinfo  more for nvcc: here, lines of the source for ncu and compute-sanitizer (a sixth more time)
CUDA_ARCHS   ?= 80 90a
CUDA_PTX     ?=
CUDA_RELEASE := 80 86 89 90a 100 120
KERNEL_CU    := $(wildcard kernels/*.cu)

.PHONY: FORCE release kernels kernels-report
FORCE:
# What the libraries are made of depends on what this machine has: a list that changes with it.
$(B)/parts: FORCE
	@mkdir -p $(@D); echo '$(LIB_C) $(KERNEL_O)' | cmp -s - $@ || echo '$(LIB_C) $(KERNEL_O)' >$@

ifneq ($(NVCC),)
CUDA_HOME    := $(patsubst %/,%,$(dir $(patsubst %/,%,$(dir $(realpath $(NVCC))))))
CUDA_LIB     := $(firstword $(wildcard $(CUDA_HOME)/lib64 $(CUDA_HOME)/targets/$(MACHINE)-linux/lib $(CUDA_HOME)/lib))
KERNEL_O     := $(KERNEL_CU:%.cu=$(B)/cuda/%.o)
NVCC_BASE    := -std=c++17 -O3 $(NVCCFLAGS) -ccbin $(CXX) -Iinclude -Ihost -Ikernels -cudart static \
                -Xcompiler -fPIC,-fvisibility=hidden,-fno-exceptions,-Wno-unknown-pragmas
NVCC_CODE    := $(foreach a,$(CUDA_ARCHS),-gencode arch=compute_$(a),code=sm_$(a)) \
                $(foreach a,$(CUDA_PTX),-gencode arch=compute_$(a),code=compute_$(a))
KERNELS_O    := $(B)/cuda/kernels.o
LIB_C        := $(filter-out host/no_cuda.c,$(LIB_C)) $(wildcard host/cuda/*.c)
# The runtime is linked statically, so that the programs start where there is no driver.
CUDA_LIBS    := -L$(CUDA_LIB) -lcudart_static -ldl -lrt -lpthread -lstdc++
LIBS         += $(CUDA_LIBS)
CUDA_DEFS    := -Ikernels -isystem $(CUDA_HOME)/include -DACTSCOPE_CUDA_VERSION='"$(CUDA_VERSION)"' \
                -DACTSCOPE_CUDA_ARCHS='"$(strip $(CUDA_ARCHS) $(CUDA_PTX:%=PTX %))"'
$(B)/obj/host/cuda/%.o: DEFS += $(CUDA_DEFS)
$(B)/obj/host/cuda/device.o: $(B)/cuda.flags

## kernels: compile the CUDA kernels for CUDA_ARCHS (default "80 90a")
kernels: $(KERNEL_O)

# Anew when the architectures or flags change.
$(B)/cuda.flags: FORCE
	@mkdir -p $(@D); echo '$(NVCC) $(NVCC_CODE) $(NVCCFLAGS)' | cmp -s - $@ || echo '$(NVCC) $(NVCC_CODE) $(NVCCFLAGS)' >$@
$(B)/cuda/%.o: %.cu mk/cuda.mk $(B)/cuda.flags
	@mkdir -p $(@D)
	$(call say,NVCC,$< ($(CUDA_ARCHS)$(if $(CUDA_PTX), and PTX)))
	$(Q)$(NVCC) $(NVCC_BASE) $(NVCC_CODE) -MMD -MP -c $< -o $@

# One object for the libraries, whose only names are the entry points: nvcc makes its stubs visible to every linker.
$(KERNELS_O): $(KERNEL_O)
	$(call say,LD,$@)
	$(Q)$(CC) -r -nostdlib -Wl,--force-group-allocation $^ -o $@.part
	$(Q)objcopy -w --keep-global-symbol='actscope_*' $@.part $@ && rm $@.part

# What ptxas says of every kernel for sm_90a. Register, shared memory and spill figures stay in the log.
$(B)/cuda/report/%.log: kernels/%.cu mk/cuda.mk
	@mkdir -p $(@D)
	$(call say,PTXAS,$<)
	$(Q)$(NVCC) $(NVCC_BASE) -gencode arch=compute_90a,code=sm_90a -Xptxas -v,--warn-on-spills \
	  -MMD -MP -MF $(@:.log=.d) -MT $@ -cubin $< -o $(@:.log=.cubin) >$@.tmp 2>&1 \
	  || { cat $@.tmp; exit 1; }; mv $@.tmp $@

## kernels-report: registers, shared memory and spills of every kernel for sm_90a; a spill fails
kernels-report: $(KERNEL_CU:kernels/%.cu=$(B)/cuda/report/%.log)
	$(Q)tools/ptxas-report $^

## release: as make, with kernels for sm_80 86 89 90a 100 120 and PTX for what comes
release:
	$(Q)$(MAKE) --no-print-directory $(JOBS) all CUDA_ARCHS="$(CUDA_RELEASE)" CUDA_PTX=$(lastword $(CUDA_RELEASE))
else
kernels kernels-report release:
	@echo "$@: nothing was compiled: $(NO_CUDA)" >&2; exit 1
endif
