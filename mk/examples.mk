# Examples: small programs that use the public header and the library, nothing else of the tree.
EXAMPLE_C := $(filter-out examples/write_tensor.c,$(wildcard examples/*.c))
EXAMPLES  := $(EXAMPLE_C:examples/%.c=$(B)/examples/%)
# No contraction to fused multiply-adds: the trainer writes the same bytes whatever the processor can fuse.
EXAMPLE_FLAGS := -std=c11 -D_GNU_SOURCE -O3 -g -ffp-contract=off $(WARN) -Iinclude -Iexamples

.PHONY: examples example-data
## examples: build/examples/minimal, plan and digits
examples: $(EXAMPLES)

$(B)/examples/%: examples/%.c examples/write_tensor.c examples/write_tensor.h include/actscope.h $(B)/libactscope.a mk/examples.mk
	@mkdir -p $(@D)
	$(call say,EXAMPLE,$@)
	$(Q)$(CC) $(EXAMPLE_FLAGS) $< $(if $(filter %/digits,$@),examples/write_tensor.c) $(B)/libactscope.a -fopenmp -o $@ $(LIBS)

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
