# The Python package under python/: its wheel, and its tests with PyTorch.
#
# Settings:  TORCH_VENV=DIR    virtual environment with PyTorch for test-python (made when it is not there)
#            TORCH="torch==2.11.0"  what pip installs there
# Without either, a Python that has PyTorch already (Debian's python3-torch, or $PYTHON) does.
TORCH_ASKED := $(filter-out undefined,$(origin TORCH) $(origin TORCH_VENV))
TORCH_VENV ?= $(B)/venv-torch
TORCH      ?= torch
PYTHON_TESTS := test_package* test_monitor* test_sinks*

.PHONY: wheel test-python
## wheel: build/dist/actscope-*.whl, with the library and the program inside
wheel: all
	$(Q)mkdir -p $(B)/dist && cd python && ACTSCOPE_BUILD=$(abspath $(B)) \
	  python3 -B -c 'import sys; sys.path.insert(0, "."); import build_backend; print(build_backend.build_wheel(sys.argv[1]))' $(abspath $(B)/dist)

## test-python: the tests of the Python package, with a PyTorch that is installed or, once, from PyPI (gigabytes)
test-python: all
	$(Q)python=$(if $(TORCH_ASKED)$(wildcard $(TORCH_VENV)/bin/python),,$$(tools/python --installed torch 2>/dev/null)); \
	if [ -z "$$python" ]; then \
	  python=$(abspath $(TORCH_VENV))/bin/python; \
	  [ -x "$$python" ] || { echo "  VENV     $(TORCH_VENV): $(TORCH) tensorboard"; python3 -m venv $(TORCH_VENV) && \
	    $$python -m pip install --quiet numpy tensorboard $(TORCH); } || { rm -rf $(TORCH_VENV); \
	    echo "test-python: PyTorch could not be installed; TORCH_VENV names an environment that has it" >&2; exit 1; }; \
	fi; \
	echo "test-python: $$python, PyTorch $$($$python -c 'import torch; print(torch.__version__)')"; \
	PYTHON=$$python ACTSCOPE_PYTHON_TESTS="$(PYTHON_TESTS)" tests/run $(B) python
