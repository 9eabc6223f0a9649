# On a machine with a GPU: the tests of tests/gpu on the device, and everything that only a device can show.
ifneq ($(NVCC),)
$(B)/obj/tests/gpu/%.o: DEFS += $(CUDA_DEFS) -Itests
DEVICE_TEST := $(B)/tests/device
$(DEVICE_TEST): $(patsubst %.c,$(B)/obj/%.o,$(wildcard tests/gpu/*.c tests/reference/*.c)) $(B)/libactscope.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) -fopenmp $^ -o $@ $(LIBS)
run-tests: $(DEVICE_TEST)
endif

OUT ?= $(B)/gpu-check
.PHONY: gpu-check
## gpu-check: on a machine with a GPU, in under 8 minutes: build, device tests, sanitizers, result file under OUT
gpu-check:
	$(Q)tools/gpu-check $(B) $(OUT)
