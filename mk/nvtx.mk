# Ranges for profilers in the CUDA backend (host/cuda/ranges.h).  NVTX=0: without.
NVTX ?= 1
ifneq ($(NVCC),)
$(B)/nvtx.flags: FORCE
	@mkdir -p $(@D); echo '$(NVTX)' | cmp -s - $@ || echo '$(NVTX)' >$@
$(B)/obj/host/cuda/ranges.o $(B)/obj/host/cuda/backend.o: DEFS += $(if $(filter 0,$(NVTX)),,-DACTSCOPE_NVTX)
$(B)/obj/host/cuda/backend.o: $(B)/nvtx.flags
# NVTX's header defines its own names in whatever includes it: they stay inside the one object that does.
$(B)/obj/host/cuda/ranges.o: host/cuda/ranges.c Makefile $(B)/nvtx.flags
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CFLAGS_ALL) -c $< -o $@.part
	$(Q)objcopy -w --keep-global-symbol='actscope_*' $@.part $@ && rm $@.part
endif
