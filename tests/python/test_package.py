"""The Python package: its structures against a C compiler, its reports against the program's, its errors, its wheel."""
import array, ctypes, glob, json, math, os, shutil, subprocess, sys, sysconfig, tempfile, unittest, zipfile

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("ACTSCOPE_BUILD", "build"))
os.environ["ACTSCOPE_BUILD"] = BUILD
PROGRAM = os.path.join(BUILD, "actscope")
sys.path.insert(0, os.path.join(ROOT, "python"))
import actscope
from actscope import _arrays, _errors, _library, _options

RANDOM = np.random.default_rng(7)


def activations(*shape, dtype=np.float32):
    """Values with structure: shared factors, zeros, a constant and a dead feature."""
    x = RANDOM.normal(size=shape) + RANDOM.normal(size=(shape[0],) + (1,) * (len(shape) - 1))
    x = np.maximum(x, -0.5)
    flat = x.reshape(shape[0], -1)
    flat[:, 0], flat[:, -1] = 0, 3
    return x.astype(dtype)


def program(*arguments):
    done = subprocess.run([PROGRAM, "report", "-q", "--format", "json", *arguments], capture_output=True)
    return json.loads(done.stdout) if done.stdout else None, done.returncode, done.stderr.decode()


def without(report):
    """A report without what differs between two runs and between a file and an array."""
    report = json.loads(json.dumps(report))
    report.pop("seconds")
    for name in report["memory"]:
        if "budget" not in name and "workspace" not in name:  # what the process holds
            report["memory"][name] = type(report["memory"][name]).__name__
    for layer in report["layers"] + report["network"]["bottlenecks"] + report["network"]["scores"]:
        layer.pop("source")
        layer.pop("seconds", None)
    return report


class Named:
    """Memory under a type that NumPy knows by name alone, as ml_dtypes' arrays are."""

    def __init__(self, bits, name):
        self.bits, self.dtype = bits, type("dtype", (), {"name": name})
        self.__array_interface__ = {**bits.__array_interface__, "typestr": f"<V{bits.itemsize}"}


class DLPack:
    """An array of which one can ask nothing but DLPack."""

    def __init__(self, x):
        self.x = x

    def __dlpack__(self, **options):
        return self.x.__dlpack__()

    def __dlpack_device__(self):
        return self.x.__dlpack_device__()


class TestHeader(unittest.TestCase):
    def test_structures_are_laid_out_as_the_compiler_does(self):
        header, lines = _library.header, []
        for name, struct in header.structs.items():
            lines.append(f'P("{name}", sizeof({name}))')
            lines += [f'P("{name}.{field}", offsetof({name}, {field})) P("{name}.{field}#", sizeof((({name} *)0)->{field}))'
                      for field, _ in struct._fields_]
        lines += [f'P("{name}", {name})' for name in header.constants]
        source = '#include <stdio.h>\n#include "actscope.h"\n#define P(n, v) printf("%s %lld\\n", n, (long long)(v));\n' \
                 "int main(void) {\n" + "\n".join(lines) + "\nreturn 0;\n}\n"
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "layout.c"), "w") as file:
                file.write(source)
            command = [*os.environ.get("CC", "cc").split(), "-I", os.path.join(ROOT, "include"), "layout.c", "-o", "layout"]
            subprocess.run(command, check=True, cwd=folder)
            out = subprocess.run([os.path.join(folder, "layout")], check=True, capture_output=True, text=True).stdout
        said = {name: int(value) for name, value in (line.split() for line in out.splitlines())}
        ours = dict(header.constants)
        for name, struct in header.structs.items():
            ours[name] = ctypes.sizeof(struct)
            for field, _ in struct._fields_:
                ours[f"{name}.{field}"], ours[f"{name}.{field}#"] = getattr(struct, field).offset, getattr(struct, field).size
        self.assertEqual(ours, said)
        self.assertGreater(len(ours), 150)

    def test_all_of_the_header_was_read(self):
        """Every declaration, found by a way that knows nothing of the reader's."""
        import re
        with open(os.path.join(ROOT, "include", "actscope.h")) as file:
            text = re.sub(r"/\*.*?\*/", "", file.read(), flags=re.S)
        functions = set(re.findall(r"\b(actscope_\w+)\s*\((?!\*)", text))
        self.assertEqual(set(_library.header.functions), functions)
        self.assertEqual(set(_library.header.structs), set(re.findall(r"\}\s*(actscope_\w+);", text)) - set(_library.header.enums))

    def test_a_library_of_another_version_is_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            native = os.path.join(folder, "actscope", "_native")
            shutil.copytree(os.path.join(ROOT, "python", "actscope"), os.path.join(folder, "actscope"),
                            ignore=shutil.ignore_patterns("__pycache__", "_native"))
            os.mkdir(native)
            shutil.copy(os.path.join(BUILD, "libactscope.so"), native)
            with open(os.path.join(ROOT, "include", "actscope.h")) as file:
                text = file.read()
            with open(os.path.join(native, "actscope.h"), "w") as file:
                file.write(text.replace("  int32_t sketch_bits;", "  int64_t sketch_bits[2];"))
            env = {k: v for k, v in os.environ.items() if k != "ACTSCOPE_BUILD"}
            done = subprocess.run([sys.executable, "-B", "-c", "import actscope"], cwd=folder, env=env, capture_output=True, text=True)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("ImportError", done.stderr)
        self.assertIn("options of", done.stderr)


class TestReport(unittest.TestCase):
    def same(self, arrays, *arguments, **options):
        """The program on files of these arrays, and the package on the arrays."""
        with tempfile.TemporaryDirectory() as folder:
            paths = [os.path.join(folder, f"{name}.npy") for name in arrays]
            for path, x in zip(paths, arrays.values()):
                np.save(path, x)
            theirs, status, err = program(*arguments, *paths)
        self.assertEqual(status, 0, err)
        ours = actscope.report(arrays, **options)
        json.dumps(ours, allow_nan=False)
        self.assertEqual(without(ours), without(theirs))
        return ours

    def test_equals_the_program(self):
        ours = self.same({"conv": activations(64, 6, 4, 4), "half": activations(33, 50, dtype=np.float16),
                          "double": activations(20, 9, dtype=np.float64), "line": activations(40), "one": activations(1, 5)})
        self.assertEqual([layer["source"] for layer in ours["layers"]], [None] * 5)
        self.assertGreater(ours["seconds"], 0)

    def test_gradients_and_weights_are_paired_as_by_the_program(self):
        x = activations(32, 40)
        arrays = {"a": x, "b": activations(32, 20), "b.weight": activations(20, 40), "a.gradient": 0.01 * x, "b.grad": activations(32, 20),
                  "c.gradient": x, "a.grad": activations(16, 40)}
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "net.npz")
            np.savez(path, **arrays)
            theirs, status, err = program(path)
        self.assertEqual(status, 0, err)
        ours = actscope.report(arrays)
        self.assertEqual([layer["role"] for layer in ours["layers"]],
                         ["activation", "activation", "weight", "gradient", "gradient", "activation", "activation"])
        self.assertEqual([(row["layer"], row["gradient"], row["weight"]) for row in ours["network"]["scores"]],
                         [("a", "a.gradient", None), ("b", "b.grad", "b.weight"), ("c.gradient", None, None), ("a.grad", None, None)])
        self.assertEqual(without(ours), without(theirs))

    def test_numbers_that_do_not_exist_are_none(self):
        x = activations(16, 4)
        x[3, 2], x[4, 1] = np.nan, np.inf
        ours = self.same({"bad": x, "empty": np.zeros((0, 4), np.float32), "scalar": np.float32(2.5).reshape(())})
        self.assertIsNone(ours["layers"][1]["profile"]["mean"])

    def test_single_pairs_and_features(self):
        x = activations(24, 6, 5)
        r = np.corrcoef(x.reshape(24, 30)[:, 1:-1].astype(np.float64), rowvar=False)
        np.fill_diagonal(r, 0)
        with actscope.Plan([("x", "float32", x.shape)], top_pairs=4, pairs_above=0.5, top_features=1, device="cpu") as plan:
            with self.assertRaises(actscope.NotReadyError):
                plan.top_pairs(0)
            plan.enqueue([x])
            pairs, above = plan.top_pairs(0)
            mean, largest = (np.asarray(a) for a in plan.feature_correlations(0))
        self.assertEqual(above, (np.abs(r) > 0.5).sum() // 2)
        self.assertAlmostEqual(abs(pairs[0]["r"]), np.abs(r).max(), 12)
        self.assertEqual(len(pairs), 4)
        np.testing.assert_allclose(mean[1:-1], np.abs(r).sum(axis=0) / 27, atol=1e-6)
        np.testing.assert_allclose(largest[1:-1], np.abs(r).max(axis=0), atol=1e-6)
        self.assertTrue(np.isnan(mean[[0, -1]]).all() and np.isnan(largest[[0, -1]]).all())
        for wrong in ({"top_features": 0}, {"top_features": True}, {"top_pairs": -1}, {"pairs_above": 0.5}, {"top_pairs": 1, "pairs_above": 2}):
            with self.assertRaises(actscope.InvalidArgumentError):
                actscope.report(x, **wrong)

    def test_options_are_those_of_the_program(self):
        x = {"conv": activations(16, 12, 3, 3), "fc": activations(16, 40)}
        self.same(x, "--correlation", "sampled", "--pairs", "200", "--seed", "9", correlation="sampled", pairs=200, seed=9)
        self.same(x, "--correlation=gram", "--statistics=correlation,rank", correlation="gram", statistics="correlation,rank")
        self.same(x, "--statistics=profile", statistics=["profile"])
        self.same(x, "--signed", signed=True)
        self.same(x, "--top-pairs", "12", top_pairs=12)
        self.same(x, "--top-pairs", "5", "--pairs-above", "0.4", "--top-features", "6", top_pairs=5, pairs_above=0.4, top_features=6)
        self.same(x, "--channels", channels=True, layers=None)
        self.same(x, "--memory", "1.5MiB", "--distinct", "sketch", "--sketch-bits", "7", "--large-tensor", "500", "--precision",
                  "fp16", "--threads", "1", "--device", "cpu", memory="1.5MiB", distinct="sketch", sketch_bits=7,
                  large_tensor=500, precision="fp16", threads=1, device="cpu")
        self.same({"conv": x["conv"]}, "--layers", "c*", layers="c*")
        self.assertEqual(actscope.report(x, layers=["c*", "f?"])["layers"][1]["name"], "fc")

    def test_files_go_to_the_program(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "-x.npy")
            np.save(path, activations(16, 10))
            want = program("--seed", "3", "--statistics", "profile,health", path)[0]
            ours = actscope.report(path, seed=3, statistics=["profile", "health"])
            self.assertEqual(without(ours), without(want))
            self.assertEqual(ours["layers"][0]["source"], path)
            self.assertIn("compat", actscope.report([path], compat="neuroexapt")["layers"][0])
            lines = []
            actscope.report(path, log=lambda level, line: lines.append(line))
            self.assertTrue(any("-x" in line for line in lines))
            bad = os.path.join(folder, "bad.npy")
            with open(bad, "wb") as file:
                file.write(b"\x93NUMPY")
            with self.assertRaises(actscope.InputError) as caught:
                actscope.report([bad, path])
            self.assertEqual(len(caught.exception.report["layers"]), 1)
            self.assertIn("bad.npy", str(caught.exception))
            with self.assertRaises(actscope.BudgetTooSmallError) as caught:
                actscope.report(path, memory="1KiB")
            self.assertIn("smallest that would", str(caught.exception))
            with self.assertRaises(actscope.InvalidArgumentError):
                actscope.report(path, layers="nothing")
            with self.assertRaises(actscope.InputError):
                actscope.report(os.path.join(folder, "absent.npy"))

    def test_memory_of_the_process(self):
        usage = actscope.memory_usage()
        self.assertGreater(usage["resident_bytes"], 1 << 20)
        report = actscope.report(activations(64, 40))
        self.assertGreaterEqual(actscope.memory_usage()["held_peak_bytes"], report["memory"]["workspace_bytes"])

    def test_parts_of_the_profile(self):
        x = activations(64, 40)
        whole = actscope.report(x, statistics="profile")["layers"][0]["profile"]
        moments, rest = (actscope.report(x, statistics=s)["layers"][0]["profile"] for s in ("moments", ["entropy", "quantiles"]))
        self.assertEqual({k: v for k, v in moments.items() if v is not None}, {k: v for k, v in whole.items() if k not in ("entropy", "quantiles", "buckets")})
        self.assertEqual({k: v for k, v in rest.items() if v is not None}, {k: whole[k] for k in ("entropy", "quantiles", "buckets")})

    def test_names(self):
        x = activations(8, 4)
        self.assertEqual([layer["name"] for layer in actscope.report([x, x])["layers"]], ["layer 0", "layer 1"])
        self.assertEqual([layer["name"] for layer in actscope.report(x)["layers"]], ["layer 0"])
        self.assertEqual([layer["name"] for layer in actscope.report({"b": x, 1: x})["layers"]], ["b", "1"])

    def test_log(self):
        lines = []
        actscope.report(activations(8, 4), log=lambda level, line: lines.append((level, line)), log_level="info")
        self.assertTrue(any(level == "info" and "layer 0" in line for level, line in lines), lines)


class TestArrays(unittest.TestCase):
    def test_nothing_is_copied(self):
        x = activations(32, 6, 4)
        for y in (x, x[::2], x[:, ::-1], x.T, x[:, :, 1], np.broadcast_to(x[:1], (9, 6, 4)), x[0, 0, 0:1].reshape(())):
            v = _arrays.view(y)
            self.assertEqual(v.data, y.__array_interface__["data"][0])
            strides = v.strides or tuple(s // 4 for s in np.empty(y.shape, np.float32).strides)
            self.assertEqual(strides, tuple(s // 4 for s in y.strides))
        y = x.copy()
        y.flags.writeable = False
        self.assertEqual(_arrays.view(y).data, y.ctypes.data)

    def close(self, a, b, path=""):
        """Equal but for the order in which reals were added: counts exactly, reals to 1e-5."""
        self.assertEqual(type(a), type(b), path)
        if isinstance(a, (dict, list)):
            self.assertEqual(len(a), len(b), path)
            for key in a if isinstance(a, dict) else range(len(a)):
                self.close(a[key], b[key], f"{path}.{key}")
        elif isinstance(a, float):
            self.assertLessEqual(abs(a - b), 1e-5 * max(1, abs(b)), path)
        elif ".histogram." in path:  # a pair on the edge of two bins
            self.assertLessEqual(abs(a - b), 1, path)
        else:
            self.assertEqual(a, b, path)

    def test_strides(self):
        x = activations(32, 12, 4)
        for name, y in {"slice": x[::2, 1::3], "reversed": x[::-1, :, ::-1], "transposed": x.transpose(1, 0, 2)}.items():
            with self.subTest(name):
                self.close(without(actscope.report(y)), without(actscope.report(np.ascontiguousarray(y))))

    def test_dlpack(self):
        x = activations(20, 6, 3)
        for y in (x, x[::2], x.transpose(2, 0, 1), x.astype(np.float16), x.astype(np.float64)):
            v = _arrays.view(DLPack(y))
            self.assertEqual((v.data, v.shape), (y.ctypes.data, y.shape))
            self.assertEqual(without(actscope.report(DLPack(y))), without(actscope.report(y)))
        with self.assertRaisesRegex(TypeError, "not measured"):
            actscope.report(DLPack(np.arange(6)))

    def test_buffers(self):
        x = activations(24)
        for code, dtype in (("f", np.float32), ("d", np.float64)):
            y = x.astype(dtype)
            self.assertEqual(without(actscope.report(array.array(code, y))), without(actscope.report(y)))
        held = memoryview(array.array("f", x))
        before = sys.getrefcount(held.obj)
        self.assertEqual(_arrays.view(held[2:]).data, _arrays.view(held).data + 8)
        self.assertEqual(sys.getrefcount(held.obj), before)
        with self.assertRaisesRegex(TypeError, "not measured"):
            actscope.report(b"bytes")

    def test_types_that_numpy_does_not_have(self):
        x = activations(40, 12)
        bits = (x.view(np.uint32) >> 16).astype(np.uint16)
        values = (bits.astype(np.uint32) << 16).view(np.float32)
        ours, wide = (actscope.report(a)["layers"][0] for a in (Named(bits, "bfloat16"), values))
        self.assertEqual(ours["dtype"], "bfloat16")
        for field in ("count", "zero", "negative", "min", "max"):
            self.assertEqual(ours["profile"][field], wide["profile"][field])
        for name, dtype, one in (("float8_e4m3fn", "float8_e4m3", 0x38), ("float8_e5m2", "float8_e5m2", 0x3C)):
            layer = actscope.report(Named(np.full((4, 4), one, np.uint8), name))["layers"][0]
            self.assertEqual((layer["dtype"], layer["profile"]["mean"]), (dtype, 1.0))

    def test_device_memory(self):
        """Not run on a device: what is known of the memory, and that it is never taken for the host's."""
        x = activations(8, 4)
        fake = type("Fake", (), {"device": type("Device", (), {"id": 1})(),
                                 "__cuda_array_interface__": {**x.__array_interface__, "stream": 2, "version": 3}})()
        v = _arrays.view(fake)
        self.assertEqual((v.device, v.stream, v.shape), (1, 2, (8, 4)))
        with self.assertRaises(TypeError):
            actscope.report([fake, x])
        with self.assertRaises(actscope.InvalidArgumentError):
            actscope.report(fake, device="cpu")
        if not any(d["backend"] == "cuda" for d in actscope.devices()):
            with self.assertRaises(actscope.NoDeviceError):
                actscope.report(fake)
            with actscope.Plan([("a", "float32", (8, 4))]) as plan, self.assertRaisesRegex(TypeError, "plan runs on the CPU"):
                plan.enqueue_layer(0, fake)

    def test_refused(self):
        record = np.zeros(4, dtype=[("a", "f4"), ("b", "i2")])
        for bad, words in ((np.arange(4), "not measured"), (np.zeros(3, ">f4"), "byte order"), (object(), "no array"),
                           (record["a"], "strides"), (np.zeros(3, complex), "not measured"), ([1.0, 2.0], "no array"),
                           (np.zeros(3, bool), "not measured")):
            with self.subTest(repr(bad)), self.assertRaisesRegex(TypeError, words):
                actscope.report(bad)
        misaligned = np.frombuffer(bytes(33), np.uint8)[1:].view(np.float32)
        with self.assertRaisesRegex(actscope.InvalidArgumentError, "aligned"):
            actscope.report(misaligned)


class TestErrors(unittest.TestCase):
    def test_every_status_has_its_class(self):
        statuses = set(_library.header.enums["actscope_status"]) - {"ACTSCOPE_OK"}
        self.assertEqual(statuses, set(_errors.BY_STATUS))
        for name, kind in _errors.BY_STATUS.items():
            error = _errors.make(name, 5, "text")
            self.assertIsInstance(error, actscope.Error)
            self.assertEqual((type(error), error.name, error.status, str(error)), (kind, name, 5, "text"))
        self.assertEqual(len(set(_errors.BY_STATUS.values())), len(statuses))

    def test_options(self):
        x = activations(8, 4)
        for options in ({"device": "gpu"}, {"device": "cpu:1"}, {"memory": "64 apples"}, {"memory": -1}, {"statistics": "mean"},
                        {"correlation": "full"}, {"sketch_bits": 3}, {"precision": "fp8"}, {"statistics": []}, {"seed": -1},
                        {"threads": 1.5}, {"distinct": 3}, {"pairs": "many"}, {"threads": 1 << 40}):
            with self.subTest(options), self.assertRaises(actscope.InvalidArgumentError) as caught:
                actscope.report(x, **options)
            self.assertIn(next(iter(options)), str(caught.exception))
        with self.assertRaises(TypeError):
            actscope.report(x, colour="red")
        with self.assertRaises(actscope.InvalidArgumentError):
            actscope.report([])
        with self.assertRaises(actscope.InvalidArgumentError):
            actscope.report({"a": x}, layers="b")

    def test_sizes(self):
        for text, value in {"64MiB": 64 << 20, "1 G": 1 << 30, "1.5kB": 1500, "12": 12, "2TB": 2 * 10 ** 12}.items():
            self.assertEqual(_options.size(text), value)

    def test_budget(self):
        layers = [("a", "float32", (64, 32)), ("b", "bfloat16", (64, 8))]
        least = actscope.minimum_budget(layers)
        actscope.Plan(layers, memory=least).close()
        with self.assertRaisesRegex(actscope.BudgetTooSmallError, str(least)):
            actscope.Plan(layers, memory=least - 1)


class TestPlan(unittest.TestCase):
    def test_enqueue(self):
        x, y = activations(16, 8), activations(16, 3, 2)
        with actscope.Plan([("x", "float32", x.shape), ("y", "float32", y.shape)], memory="8MiB", threads=1) as plan:
            self.assertEqual((len(plan), plan.device), (2, "cpu"))
            with self.assertRaises(actscope.NotReadyError):
                plan.report(0)
            self.assertFalse(plan.poll())
            plan.enqueue([x, None])
            self.assertTrue(plan.poll())
            first = plan.report(0)
            with self.assertRaises(actscope.NotReadyError):
                plan.report(1)
            plan.enqueue([None, y])
            plan.wait()
            self.assertEqual(plan.report(0), first)
            whole = actscope.report({"x": x, "y": y})["layers"]
            for i, layer in enumerate(whole):
                self.assertEqual({**plan.report(i), "seconds": 0}, {**layer, "seconds": 0})
            for bad in ([x], [x[:4], y], [y, x]):
                with self.assertRaises(actscope.InvalidArgumentError):
                    plan.enqueue(bad)
        with self.assertRaises(actscope.InvalidArgumentError):
            plan.poll()

    def test_reshape(self):
        whole = {"x": activations(16, 8), "y": activations(16, 3, 2)}
        layers = [(name, "float32", a.shape, "gradient") for name, a in whole.items()]
        with actscope.Plan(layers, threads=1) as plan:
            for samples in (16, 5, 16):
                part = {name: a[:samples] for name, a in whole.items()}
                plan.reshape([(name, "float32", a.shape, "gradient") for name, a in part.items()])
                plan.enqueue(list(part.values()))
                for i, a in enumerate(part.values()):
                    got, want = plan.report(i), actscope.report(a)["layers"][0]
                    self.assertEqual(got["shape"], list(a.shape))
                    self.assertEqual((got["profile"], got["correlation"]), (want["profile"], want["correlation"]))
            for other in (layers[:1], layers[::-1], [layer[:3] for layer in layers]):
                with self.assertRaisesRegex(actscope.InvalidArgumentError, "other layers than the plan's: x, y"):
                    plan.reshape(other)
            with self.assertRaisesRegex(actscope.InvalidArgumentError, "y: .*shape"):
                plan.reshape([layers[0], ("y", "float32", (16, -3), "gradient")])
            plan.enqueue(list(whole.values()))  # as it was
            self.assertEqual(plan.report(1)["shape"], [16, 3, 2])
        with self.assertRaises(actscope.InvalidArgumentError):
            plan.reshape(layers)

    def test_lent_workspace(self):
        x = activations(16, 8)
        with actscope.Plan([("x", "float32", x.shape)]) as plan:
            room = np.zeros(plan.workspace_bytes + 256, np.uint8)
            with self.assertRaises(actscope.WorkspaceTooSmallError):
                plan.bind(-(-room.ctypes.data // 256) * 256, plan.workspace_bytes - 1)
            plan.bind(-(-room.ctypes.data // 256) * 256, plan.workspace_bytes)
            plan.enqueue([x])
            self.assertTrue(room.any())
            self.assertEqual(plan.report(0)["profile"], actscope.report(x)["layers"][0]["profile"])


class TestWheel(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp()
        code = f"import sys; sys.path.insert(0, {os.path.join(ROOT, 'python')!r}); import build_backend; " \
               f"print(build_backend.build_wheel({cls.folder!r}))"
        try:
            import tomllib
        except ImportError:
            raise unittest.SkipTest("building a wheel without pip needs Python 3.11")
        done = subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        cls.wheel = os.path.join(cls.folder, done.stdout.split()[-1])
        cls.site = os.path.join(cls.folder, "site")
        with zipfile.ZipFile(cls.wheel) as archive:
            archive.extractall(cls.site)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def test_record(self):
        import base64, csv, hashlib
        with zipfile.ZipFile(self.wheel) as archive:
            record = next(name for name in archive.namelist() if name.endswith("RECORD"))
            rows = list(csv.reader(archive.read(record).decode().splitlines()))
            self.assertEqual([row[0] for row in rows], archive.namelist())
            for name, digest, size in rows[:-1]:
                data = archive.read(name)
                self.assertEqual(int(size), len(data))
                self.assertEqual(digest, "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode())
            self.assertEqual(archive.getinfo("actscope/_native/actscope").external_attr >> 16 & 0o777, 0o755)
        self.assertIn("-py3-none-" + sysconfig.get_platform().replace("-", "_").replace(".", "_"), self.wheel)

    def test_works_alone(self):
        """Far from the tree, with the library, the header and the program that the wheel brings."""
        os.chmod(os.path.join(self.site, "actscope/_native/actscope"), 0o755)
        code = ("import actscope, array, json; from actscope import _library, _program;"
                "r = actscope.report(array.array('f', [1, 2, 4])); print(r['layers'][0]['profile']['max'], _library.library._name);"
                "print(_program.path()); print(actscope.report('x.npy')['layers'][0]['name'])")
        env = {k: v for k, v in os.environ.items() if k not in ("ACTSCOPE_BUILD", "PYTHONPATH")}
        with tempfile.TemporaryDirectory() as folder:
            np.save(os.path.join(folder, "x.npy"), activations(8, 3))
            done = subprocess.run([sys.executable, "-B", "-c", code], cwd=folder, env={**env, "PYTHONPATH": self.site},
                                  capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = done.stdout.splitlines()
        self.assertEqual(lines[0].split()[0], "4.0")
        self.assertTrue(lines[0].split()[1].startswith(self.site) and lines[1].startswith(self.site), lines)
        self.assertEqual(lines[2], "x")

    def test_pip_installs_it(self):
        if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode:
            self.skipTest("no pip here")
        target = os.path.join(self.folder, "target")
        done = subprocess.run([sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--no-compile", "--target", target,
                               self.wheel], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        env = {k: v for k, v in os.environ.items() if k != "ACTSCOPE_BUILD"}
        script = glob.glob(os.path.join(target, "bin", "actscope"))
        self.assertTrue(script)
        done = subprocess.run([sys.executable, *script, "info"], env={**env, "PYTHONPATH": target}, capture_output=True, text=True)
        self.assertIn(actscope.__version__, done.stdout, done.stderr)


if __name__ == "__main__":
    unittest.main()
