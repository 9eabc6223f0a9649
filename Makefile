# actscope. `make help` lists the targets; DESIGN of the tree is in docs/architecture.md.
#
# Settings:  CUDA=0        leave the CUDA backend out; it is built wherever there is nvcc
#            CUDA_ARCHS="80 90a"  what the kernels are compiled for (mk/cuda.mk); 90a alone is quick
#            CRITERION=DIR Criterion from DIR/include and DIR/lib instead of the system's
#            DEPS=DIR      cJSON and libzip from DIR/include and DIR/lib (default: .deps if it is there)
#            PREFIX=DIR    where `make install` puts things (default /usr/local)
#            V=1           show the commands

VERSION  := $(shell sed -n 's/.*VERSION_STRING "\(.*\)".*/\1/p' include/actscope.h)
SOVERSION := $(firstword $(subst ., ,$(VERSION)))
PREFIX   ?= /usr/local
DESTDIR  ?=
B        := build
Q        := $(if $(V),,@)
say       = $(if $(V),,@printf '  %-8s %s\n' "$(1)" "$(2)")

CC       ?= cc
CXX      ?= c++
AR       ?= ar
OPT      ?= -O2 -g
WARN     := -Wall -Wextra -Wno-missing-field-initializers -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes -Wno-unknown-pragmas
DEFS     := -D_GNU_SOURCE -Iinclude -Ihost
CFLAGS_ALL = -std=gnu11 $(OPT) $(WARN) $(DEFS) -fPIC -fvisibility=hidden -fopenmp -fno-strict-aliasing -MMD -MP $(CFLAGS)

# ---- What this machine has -----------------------------------------------------------------------------------------
MACHINE  := $(shell uname -m)
CUDA     ?= 1
export CUDA
# The kernels need CUDA 12.1: sm_90a, and tables of several kilobytes as arguments.
CUDA_VERSION := $(if $(filter 0,$(CUDA)),,$(shell nvcc --version 2>/dev/null | sed -n 's/.*release \([0-9.]*\).*/\1/p'))
NVCC     := $(if $(CUDA_VERSION),$(shell printf '%s\n' 12.1 $(CUDA_VERSION) | sort -CV && command -v nvcc))
NO_CUDA  := $(if $(filter 0,$(CUDA)),CUDA=0,$(if $(CUDA_VERSION),nvcc is of CUDA $(CUDA_VERSION) and 12.1 is needed,no nvcc))
DEPS     ?= $(wildcard .deps)
DEPFLAGS := $(if $(DEPS),-I$(DEPS)/include)
# The old kind of run path also serves the libraries that an unpacked library needs itself.
RUNPATH   = -L$(1)/lib -Wl,--disable-new-dtags,-rpath,$(abspath $(1))/lib
DEPLIBS  := $(if $(DEPS),$(call RUNPATH,$(DEPS)))
has_header = $(shell printf '\043include <%s>\n' '$(1)' | $(CC) $(DEPFLAGS) -E - >/dev/null 2>&1 && echo yes)
HAVE_CJSON := $(call has_header,cjson/cJSON.h)
HAVE_ZIP   := $(call has_header,zip.h)
IOLIBS   := $(DEPLIBS) $(if $(HAVE_CJSON),-lcjson) $(if $(HAVE_ZIP),-lzip)
IODEFS   := $(DEPFLAGS) $(if $(HAVE_ZIP),-DACTSCOPE_HAVE_ZIP)
CRITERION ?= $(wildcard .deps/criterion)
CRITFLAGS := $(if $(CRITERION),-I$(CRITERION)/include -Wno-unused-parameter)
CRITLIBS  := $(if $(CRITERION),$(call RUNPATH,$(CRITERION))) -lcriterion

# ---- Sources -------------------------------------------------------------------------------------------------------
# host/cpu/simd is built once for each instruction set, products for AVX512-VNNI too; the table that matches the processor
# is taken at run time.
LIB_C    := $(wildcard host/*.c host/core/*.c host/cpu/*.c host/analysis/*.c)
SIMD_C   := $(wildcard host/cpu/simd/*.c)
APP_C    := $(wildcard host/io/*.c host/report/*.c)
CLI_C    := $(wildcard host/cli/*.c)
BENCH_C  := $(wildcard bench/*.c)
ifneq ($(filter x86_64 amd64,$(MACHINE)),)
ISAS     := baseline avx2 avx512
VNNI     := avx512vnni
else
ISAS     := baseline
endif
ISA_baseline :=
ISA_avx2     := -march=x86-64-v3
ISA_avx512   := -march=x86-64-v4 -mprefer-vector-width=512
ISA_avx512vnni := $(ISA_avx512) -mavx512vnni
SIMDFLAGS := -O3 -fno-math-errno -fno-trapping-math -fno-signed-zeros -fassociative-math -ffp-contract=fast -Wno-psabi

# The profile's sums depend on the order in which they are written.
$(foreach i,$(ISAS) $(VNNI),$(foreach f,profile product,$(B)/obj/host/cpu/simd/$(f).$(i).o)): SIMDFLAGS += -fno-associative-math

LIBS     := -lm -lpthread
include mk/cuda.mk

LIB_O    := $(LIB_C:%.c=$(B)/obj/%.o) $(KERNELS_O) $(foreach i,$(ISAS),$(SIMD_C:%.c=$(B)/obj/%.$(i).o)) $(VNNI:%=$(B)/obj/host/cpu/simd/product.%.o)
APP_O    := $(APP_C:%.c=$(B)/obj/%.o)
CLI_O    := $(CLI_C:%.c=$(B)/obj/%.o)

.DEFAULT_GOAL := all
.PHONY: all found help clean

## all: library, build/actscope and build/actscope-bench (the default)
all: found $(B)/libactscope.a $(B)/libactscope.so $(B)/actscope $(if $(BENCH_C),$(B)/actscope-bench)

found:
	@echo "actscope $(VERSION): $$($(CC) --version | head -n 1)"
	@echo "  backends   cpu ($(ISAS))$(if $(NVCC), and cuda (CUDA $(CUDA_VERSION); sm $(CUDA_ARCHS)$(if $(CUDA_PTX), and PTX $(CUDA_PTX))), alone ($(NO_CUDA)))"
	@echo "  readers    npy$(if $(HAVE_CJSON), safetensors)$(if $(HAVE_ZIP), npz)$(if $(HAVE_ZIP),,; no libzip: .npz is refused)"
	@$(if $(HAVE_CJSON),true,echo "  missing    cJSON (Debian: libcjson-dev)"; exit 1)

## help: this list
help:
	@echo "actscope $(VERSION)"; sed -n 's/^## \([^:]*\): \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | sort | awk -F'|' '{printf "%-28s %s\n", $$1, $$2}'

# For targets that build all by themselves: every processor, unless make was told how many.
JOBS      = $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc 2>/dev/null || echo 2))

# ---- Building ------------------------------------------------------------------------------------------------------
$(B)/obj/host/io/%.o $(B)/obj/host/report/%.o $(B)/obj/host/cli/%.o: DEFS += $(IODEFS)

$(B)/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CFLAGS_ALL) -c $< -o $@

define isa_rule
$(B)/obj/%.$(1).o: %.c Makefile
	@mkdir -p $$(@D)
	$$(call say,CC,$$< ($(1)))
	$$(Q)$$(CC) $$(CFLAGS_ALL) $$(SIMDFLAGS) $$(ISA_$(1)) -DACTSCOPE_ISA=$(1) -c $$< -o $$@
endef
$(foreach i,$(ISAS) $(VNNI),$(eval $(call isa_rule,$(i))))

$(B)/libactscope.a: $(LIB_O) $(B)/parts
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $(LIB_O)

$(B)/libactscope.so.$(VERSION): $(LIB_O) $(B)/parts mk/exports.map
	$(call say,LD,$@)
	$(Q)$(CC) -shared -fopenmp -Wl,-soname,libactscope.so.$(SOVERSION),--version-script,mk/exports.map $(LIB_O) -o $@ $(LIBS)
$(B)/libactscope.so: $(B)/libactscope.so.$(VERSION)
	$(Q)ln -sf libactscope.so.$(VERSION) $(B)/libactscope.so.$(SOVERSION) && ln -sf libactscope.so.$(VERSION) $@

$(B)/actscope: $(CLI_O) $(APP_O) $(B)/libactscope.a
	$(call say,LD,$@)
	$(Q)$(CC) -fopenmp $^ -o $@ $(IOLIBS) $(LIBS)

-include $(shell find $(B)/obj $(B)/cuda -name '*.d' 2>/dev/null)

include $(filter-out mk/cuda.mk,$(wildcard mk/*.mk))

## clean: remove build/
clean:
	$(Q)rm -rf $(B)
