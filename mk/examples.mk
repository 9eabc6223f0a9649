# Examples: small programs that use the public header and the library, nothing else of the tree.
# The trainer computes on the CPU and, where there is nvcc and cuBLAS, on a GPU; streams needs a GPU.
DIGITS_C     := examples/digits.c examples/digits_cpu.c examples/write_tensor.c
CUDA_EXAMPLE := $(if $(NVCC),$(wildcard $(CUDA_HOME)/include/cublas_v2.h))
EXAMPLES     := $(B)/examples/minimal $(B)/examples/plan $(B)/examples/digits $(if $(CUDA_EXAMPLE),$(B)/examples/streams)
# No contraction to fused multiply-adds: the trainer writes the same bytes whatever the processor can fuse.
EXAMPLE_FLAGS := -std=c11 -D_GNU_SOURCE -O3 -g -ffp-contract=off $(WARN) -Iinclude -Iexamples $(if $(CUDA_EXAMPLE),-isystem $(CUDA_HOME)/include) \
                 -DDIGITS_CUDA=$(if $(CUDA_EXAMPLE),1,0)

.PHONY: examples example-data
## examples: build/examples/minimal, plan and digits; with CUDA streams, and digits --device cuda
examples: $(EXAMPLES)

$(B)/examples/%: examples/%.c include/actscope.h $(B)/libactscope.a mk/examples.mk
	@mkdir -p $(@D)
	$(call say,EXAMPLE,$@)
	$(Q)$(CC) $(EXAMPLE_FLAGS) $< $(B)/libactscope.a -fopenmp -o $@ $(LIBS)
$(B)/examples/digits: $(DIGITS_C) examples/digits.h examples/write_tensor.h include/actscope.h $(B)/libactscope.a mk/examples.mk \
    $(if $(CUDA_EXAMPLE),$(B)/examples/digits_cuda.o)
	@mkdir -p $(@D)
	$(call say,EXAMPLE,$@)
	$(Q)$(CC) $(EXAMPLE_FLAGS) $(filter %.c %.o,$^) $(B)/libactscope.a -fopenmp -o $@ $(if $(CUDA_EXAMPLE),$(call RUNPATH,$(CUDA_HOME)) -L$(CUDA_LIB) -lcublas) $(LIBS)
$(B)/examples/digits_cuda.o: examples/digits_cuda.cu examples/digits.h include/actscope.h mk/examples.mk $(B)/cuda.flags
	@mkdir -p $(@D)
	$(call say,NVCC,$<)
	$(Q)$(NVCC) $(NVCC_BASE) $(NVCC_CODE) -Iexamples -c $< -o $@

# The trainer's dump, from two runs: one that learns, and one whose learning rate is too high and kills its units.
EXAMPLE_DATA ?= examples/data
NPZ := python3 examples/data/pack-npz.py
## example-data: remake the activations shipped under examples/data (EXAMPLE_DATA=DIR: elsewhere)
example-data: $(B)/examples/digits
	$(Q)rm -rf $(B)/example-data && mkdir -p $(B)/example-data/learns $(B)/example-data/collapses $(EXAMPLE_DATA)
	$(Q)$< --every 0 --dump $(B)/example-data/learns
	$(Q)$< --every 0 --rate 0.3 --dump $(B)/example-data/collapses
	$(Q)cd $(B)/example-data && cp learns/activations.safetensors $(abspath $(EXAMPLE_DATA))/digits-activations.safetensors
	$(Q)cd $(B)/example-data && cp learns/conv2.npy $(abspath $(EXAMPLE_DATA))/digits-conv2.npy
	$(Q)$(NPZ) $(EXAMPLE_DATA)/digits-gradients.npz $(foreach l,conv1 conv2 fc1 fc2 fc3,$(B)/example-data/learns/$(l).gradient.npy)
	$(Q)$(NPZ) $(EXAMPLE_DATA)/digits-collapsed.npz $(foreach l,conv1 conv2 fc1 fc2 fc3,$(B)/example-data/collapses/$(l).npy)
