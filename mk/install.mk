# Installation: headers, static and shared library (with its soname), pkg-config file, programs.
# DESTDIR is a staging folder in front of PREFIX; it does not appear in what is installed.
BINDIR     ?= $(PREFIX)/bin
LIBDIR     ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
INSTALL    ?= install
# What a program that links libactscope.a needs besides; the shared library brings its own.
PRIVATE_LIBS = -fopenmp $(LIBS)

define PKGCONFIG
prefix=$(PREFIX)
libdir=$(LIBDIR)
includedir=$(INCLUDEDIR)

Name: actscope
Description: Statistics, distinct values and feature correlations of activations and gradients
Version: $(VERSION)
Cflags: -I$${includedir}
Libs: -L$${libdir} -lactscope
Libs.private: $(PRIVATE_LIBS)
endef

.PHONY: install
## install: into PREFIX (/usr/local), behind DESTDIR if that is set
install: all
	$(Q)$(INSTALL) -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(INCLUDEDIR)
	$(Q)$(INSTALL) -m 644 include/actscope.h include/actscope_dlpack.h $(DESTDIR)$(INCLUDEDIR)
	$(Q)$(INSTALL) -m 644 $(B)/libactscope.a $(DESTDIR)$(LIBDIR)/libactscope.a
	$(Q)$(INSTALL) -m 755 $(B)/libactscope.so.$(VERSION) $(DESTDIR)$(LIBDIR)/libactscope.so.$(VERSION)
	$(Q)ln -sf libactscope.so.$(VERSION) $(DESTDIR)$(LIBDIR)/libactscope.so.$(SOVERSION)
	$(Q)ln -sf libactscope.so.$(VERSION) $(DESTDIR)$(LIBDIR)/libactscope.so
	$(Q)$(file >$(B)/actscope.pc,$(PKGCONFIG)) $(INSTALL) -m 644 $(B)/actscope.pc $(DESTDIR)$(LIBDIR)/pkgconfig/actscope.pc
	$(Q)$(INSTALL) -m 755 $(B)/actscope $(DESTDIR)$(BINDIR)/actscope
	$(Q)$(if $(BENCH_C),$(INSTALL) -m 755 $(B)/actscope-bench $(DESTDIR)$(BINDIR)/actscope-bench)
	@echo "installed actscope $(VERSION) under $(DESTDIR)$(PREFIX)"
