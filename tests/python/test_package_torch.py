"""Tensors of PyTorch in the Python package: every element type, any strides, nothing copied."""
import os, sys, unittest

import numpy as np

try:
    import torch
except ImportError:
    torch = None

import test_package  # sets the path up
from test_package import activations, actscope, without

TYPES = {"float32": "float32", "float64": "float64", "float16": "float16", "bfloat16": "bfloat16",
         "float8_e4m3fn": "float8_e4m3", "float8_e5m2": "float8_e5m2"}
TYPES = {name: dtype for name, dtype in TYPES.items() if torch and hasattr(torch, name)}  # float8 came with PyTorch 2.1


@unittest.skipUnless(torch, "no PyTorch here; make test-python installs it")
class TestTensors(unittest.TestCase):
    def test_every_type(self):
        x = torch.from_numpy(activations(40, 12))
        for name, dtype in TYPES.items():
            with self.subTest(name):
                y = x.to(getattr(torch, name))
                layer = actscope.report(y)["layers"][0]
                self.assertEqual(layer["dtype"], dtype)
                wide = y.double()
                self.assertAlmostEqual(layer["profile"]["mean"], wide.mean().item(), places=5)
                self.assertEqual(layer["profile"]["max"], wide.max().item())
                self.assertEqual(layer["distinct"]["count"], wide.unique().numel())
        self.assertEqual(without(actscope.report(x)), without(actscope.report(x.numpy())))

    def test_nothing_is_copied(self):
        x = torch.from_numpy(activations(30, 8, 4, 4)).to(torch.bfloat16).requires_grad_()
        for y in (x, x[3:], x.permute(0, 2, 3, 1), x.detach(), x[:, 2], x.expand(30, 8, 4, 4), x.to(memory_format=torch.channels_last)):
            v = actscope._arrays.view(y)
            self.assertEqual((v.data, v.shape, v.strides, v.device), (y.data_ptr(), tuple(y.shape), y.stride(), -1))

    def test_dlpack_agrees(self):
        """The numbers of DLPack's types, from a library that knows them."""
        for name, dtype in TYPES.items():
            x = torch.from_numpy(activations(9, 5)).to(getattr(torch, name))
            hidden = type("Hidden", (), {"__dlpack__": lambda self, **k: x.__dlpack__(), "__dlpack_device__": lambda self: x.__dlpack_device__()})()
            with self.subTest(name):
                try:
                    x.__dlpack__()
                except (BufferError, RuntimeError):
                    self.skipTest(f"this PyTorch gives no {name} to DLPack")
                v = actscope._arrays.view(hidden)
                self.assertEqual((v.data, v.shape), (x.data_ptr(), (9, 5)))
                self.assertEqual(v.dtype, actscope._arrays.dtype_code(dtype))

    def test_refused(self):
        x = torch.ones(4, 4)
        for bad, words in ((torch.ones(3, dtype=torch.int32), "not measured"), (x.to_sparse(), "layout"),
                           (torch.ones(3, device="meta"), "device meta"), (torch.ones(3, dtype=torch.complex64), "not measured")):
            with self.subTest(words), self.assertRaisesRegex(TypeError, words):
                actscope.report(bad)


if __name__ == "__main__":
    unittest.main()
