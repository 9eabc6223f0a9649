# The main job on a fresh machine: what is missing is installed, then real activations are analysed.
DEMO_DATA := $(wildcard examples/data/*.safetensors examples/data/*.npy examples/data/*.npz)

.PHONY: demo demo-run
## demo: set up, build, analyse the activations under examples/data: a table here, a page in build/demo.html
demo:
	$(Q)tools/setup build
	$(Q)$(MAKE) --no-print-directory $(JOBS) demo-run

demo-run: $(B)/actscope
	$(Q)$(B)/actscope report $(DEMO_DATA)
	$(Q)$(B)/actscope report -q --format html -o $(B)/demo.html $(DEMO_DATA)
	@echo "The same as a page, with histograms: file://$(abspath $(B))/demo.html"
