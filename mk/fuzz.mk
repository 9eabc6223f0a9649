# Fuzzing needs clang with libFuzzer; it is not part of the tests. What it finds becomes a test in tests/unit.
FUZZ_SECONDS ?= 60
FUZZ_CC      ?= clang
FUZZ_IO_C    := tests/fuzz/fuzz_readers.c $(wildcard host/io/*.c)

$(B)/fuzz/readers: $(FUZZ_IO_C) $(wildcard host/io/*.h) $(B)/libactscope.a
	@mkdir -p $(@D)
	$(call say,FUZZ,$@)
	$(Q)$(FUZZ_CC) -std=gnu11 -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all $(DEFS) $(IODEFS) $(FUZZ_IO_C) $(B)/libactscope.a -o $@ $(IOLIBS) -lgomp $(LIBS)

.PHONY: fuzz-readers
## fuzz-readers: malformed .npy, .npz and .safetensors for FUZZ_SECONDS (60), under ASan and UBSan
fuzz-readers: $(B)/fuzz/readers
	$(Q)python3 tests/fuzz/reader_seeds.py $(B)/fuzz/seeds
	$(Q)mkdir -p $(B)/fuzz/found
	$(Q)$(B)/fuzz/readers -max_total_time=$(FUZZ_SECONDS) -max_len=4096 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
	  -dict=tests/fuzz/readers.dict -artifact_prefix=$(B)/fuzz/ $(B)/fuzz/found $(B)/fuzz/seeds
