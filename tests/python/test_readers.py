"""What the readers see in files that numpy, safetensors and ml_dtypes write, against what was written."""
import io, json, os, struct, subprocess, tempfile, unittest, zipfile, zlib

import numpy as np

try:
    import ml_dtypes
except ImportError:
    ml_dtypes = None
try:
    import safetensors.numpy
except ImportError:
    safetensors = None

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("ACTSCOPE_BUILD", "build"))
DUMP = os.path.join(BUILD, "tests", "dump_reader")
FLOATS = ("<f2", ">f2", "<f4", ">f4", "<f8", ">f8")
NAMES = {"float16": "float16", "float32": "float32", "float64": "float64", "bfloat16": "bfloat16",
         "float8_e4m3fn": "float8_e4m3", "float8_e5m2": "float8_e5m2"}
SHAPES = ((), (1,), (7,), (0,), (3, 0, 2), (4, 5), (128, 3, 2, 2), (1,) * 16)


def dump(*paths, stdin=None):
    done = subprocess.run([DUMP, *paths], input=stdin, capture_output=True, timeout=120)
    if done.returncode not in (0, 2):
        raise AssertionError(f"dump_reader: status {done.returncode}: {done.stderr.decode()}")
    return done.returncode, [json.loads(line) for line in done.stdout.decode().splitlines()]


def sample(dtype, shape, seed=0):
    """Values of every kind that the type has: infinities, NaN, zeros of both signs, subnormals."""
    generator = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    raw = generator.integers(0, 256, (int(np.prod(shape)), dtype.itemsize), dtype=np.uint8)
    return raw.reshape(-1).view(dtype).reshape(shape)


class Readers(unittest.TestCase):
    def setUp(self):
        if not os.access(DUMP, os.X_OK):
            self.fail(f"{DUMP} is not there: run `make {os.path.relpath(DUMP, ROOT)}`")
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def path(self, name):
        return os.path.join(self.folder, name)

    def check(self, entry, name, array):
        """The entry is this array: the same dtype, shape and bits, in row-major order."""
        self.assertNotIn("problem", entry, name)
        self.assertNotIn("error", entry, name)
        native = np.ascontiguousarray(array)
        if native.dtype.byteorder == ">":
            native = native.byteswap().view(native.dtype.newbyteorder("<"))  # bits alone: a NaN keeps its payload
        self.assertEqual(entry["name"], name)
        self.assertEqual(entry["dtype"], NAMES[native.dtype.name])
        self.assertEqual(tuple(entry["shape"]), array.shape)
        self.assertEqual(entry["bytes"], array.nbytes)
        self.assertEqual(entry["crc32"], zlib.crc32(native.tobytes()), f"{name}: other bits")
        self.assertTrue(entry["aligned"], f"{name}: misaligned")

    # ---- .npy --------------------------------------------------------------------------------------------------------
    def test_npy(self):
        for dtype in FLOATS:
            for shape in SHAPES:
                for order in "CF":
                    with self.subTest(dtype=dtype, shape=shape, order=order):
                        array = np.asarray(sample(dtype, shape), order=order)
                        np.save(self.path("layer.npy"), array)
                        status, entries = dump(self.path("layer.npy"))
                        self.assertEqual((status, len(entries)), (0, 1))
                        self.check(entries[0], "layer", array)
                        self.assertEqual(entries[0]["copied"], dtype[0] == ">" and array.size > 0)

    def test_npy_versions(self):
        array = sample("<f4", (6, 7))
        for version in ((1, 0), (2, 0), (3, 0)):
            with open(self.path("v.npy"), "wb") as file:
                np.lib.format.write_array(file, array, version=version)
            self.check(dump(self.path("v.npy"))[1][0], "v", array)

    def test_npy_fortran_strides(self):
        np.save(self.path("f.npy"), np.asfortranarray(sample("<f8", (3, 4, 5))))
        self.assertEqual(dump(self.path("f.npy"))[1][0]["strides"], [1, 3, 12])

    def test_npy_from_standard_input(self):
        array = sample("<f4", (300, 500))
        data = io.BytesIO()
        np.save(data, array)
        status, entries = dump("-", stdin=data.getvalue())
        self.assertEqual(status, 0)
        self.check(entries[0], "stdin", array)
        with open(self.path("a.npy"), "wb") as file:
            file.write(data.getvalue())
        with open(self.path("a.npy"), "rb") as file:  # a file in the place of a pipe
            done = subprocess.run([DUMP, "-"], stdin=file, capture_output=True, timeout=60)
        self.check(json.loads(done.stdout), "stdin", array)

    def test_npy_dtypes_refused(self):
        refused = {"int64": np.int64, "uint8": np.uint8, "bool": np.bool_, "complex64": np.complex64,
                   "complex128": np.complex128, "string": "U4", "string ": "S4", "datetime64": "M8[s]",
                   "structured": [("x", "<f4")], "object": object}
        if np.dtype(np.longdouble).itemsize == 16:
            refused["float128"] = np.longdouble
        for word, dtype in refused.items():
            with self.subTest(dtype=word):
                np.save(self.path("x.npy"), np.zeros(3, dtype), allow_pickle=True)
                status, entries = dump(self.path("x.npy"))
                self.assertEqual(status, 2)
                self.assertIn(word.strip(), entries[0]["problem"])
                self.assertNotIn("crc32", entries[0])

    @unittest.skipIf(ml_dtypes is None, "ml_dtypes is not installed")
    def test_npy_of_ml_dtypes_is_refused(self):
        for dtype in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
            with self.subTest(dtype=dtype):
                np.save(self.path("x.npy"), np.zeros(3, getattr(ml_dtypes, dtype)))
                status, entries = dump(self.path("x.npy"))
                self.assertEqual(status, 2)
                self.assertIn("does not say", entries[0]["problem"])
                self.assertIn(".safetensors", entries[0]["problem"])

    # ---- .npz --------------------------------------------------------------------------------------------------------
    def npz(self, *arguments, **arrays):
        save = arguments[0]
        save(self.path("layers.npz"), **arrays)
        status, entries = dump(self.path("layers.npz"))
        if entries and "without libzip" in entries[0].get("error", ""):
            self.skipTest("this build has no libzip: .npz is refused")
        return status, entries

    def test_npz(self):
        arrays = {f"{dtype[1:]}{'big' * (dtype[0] == '>')}.{'x'.join(map(str, shape))}.{order}": np.asarray(
            sample(dtype, shape), order=order) for dtype in FLOATS for shape in SHAPES for order in "CF"}
        for save in (np.savez, np.savez_compressed):
            with self.subTest(save=save.__name__):
                status, entries = self.npz(save, **arrays)
                self.assertEqual((status, len(entries)), (0, len(arrays)))
                for entry, (name, array) in zip(entries, arrays.items()):
                    self.check(entry, name, array)
        status, entries = self.npz(np.savez, **arrays)
        copied = [e["copied"] for e in entries if e["bytes"]]
        self.assertTrue(any(copied) and not all(copied), "aligned entries are mapped, the others copied")

    def test_npz_large(self):
        arrays = {"random": sample("<f4", (1000, 1000)), "zeros": np.zeros((2000, 5000), "<f4")}
        for save in (np.savez, np.savez_compressed):
            status, entries = self.npz(save, **arrays)
            self.assertEqual(status, 0)
            for entry, (name, array) in zip(entries, arrays.items()):
                self.check(entry, name, array)

    def test_npz_names_and_mixtures(self):
        arrays = {"encoder/block.0": sample("<f4", (3,)), "größe": sample("<f2", (5,)), "indices": np.arange(4)}
        status, entries = self.npz(np.savez_compressed, **arrays)
        self.assertEqual((status, len(entries)), (2, 3))
        self.check(entries[0], "encoder/block.0", arrays["encoder/block.0"])
        self.check(entries[1], "größe", arrays["größe"])
        self.assertEqual(entries[2], {"name": "indices", "problem": "dtype int64 is not a floating-point type"})

    def test_npz_compression_methods(self):
        array = sample("<f4", (50, 50))
        data = io.BytesIO()
        np.save(data, array)
        for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
            with self.subTest(method=method):
                with zipfile.ZipFile(self.path("m.npz"), "w", method) as archive:
                    archive.writestr("a.npy", data.getvalue())
                status, entries = dump(self.path("m.npz"))
                if "without libzip" in entries[0].get("error", ""):
                    self.skipTest("this build has no libzip: .npz is refused")
                if method >= zipfile.ZIP_BZIP2 and "problem" in entries[0]:  # libzip may have been built without
                    self.assertIn("Compression method not supported", entries[0]["problem"])
                else:
                    self.check(entries[0], "a", array)

    # ---- .safetensors ------------------------------------------------------------------------------------------------
    def write_safetensors(self, path, arrays, codes, pad=""):
        """By hand, in the order given, with any header length."""
        header, at = {"__metadata__": {"format": "pt"}}, 0
        for name, array in arrays.items():
            header[name] = {"dtype": codes[array.dtype.name], "shape": list(array.shape),
                            "data_offsets": [at, at + array.nbytes]}
            at += array.nbytes
        text = (json.dumps(header, ensure_ascii=False) + pad).encode()
        with open(path, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text + b"".join(a.tobytes() for a in arrays.values()))

    def test_safetensors_by_hand(self):
        codes = {"float32": "F32", "float16": "F16", "float64": "F64"}
        arrays = {f"größe.{shape}.{dtype}": sample(dtype, shape) for shape in SHAPES for dtype in ("<f2", "<f4", "<f8")}
        for pad in range(8):  # every alignment of the data
            self.write_safetensors(self.path("t.safetensors"), arrays, codes, " " * pad)
            status, entries = dump(self.path("t.safetensors"))
            self.assertEqual((status, len(entries)), (0, len(arrays)))
            for entry, (name, array) in zip(entries, arrays.items()):
                self.check(entry, name, array)

    @unittest.skipIf(safetensors is None, "safetensors is not installed")
    def test_safetensors(self):
        dtypes = [np.float16, np.float32, np.float64]
        arrays = {f"{np.dtype(d).name}.{'x'.join(map(str, shape))}": sample(d, shape) for d in dtypes for shape in SHAPES}
        arrays["ids"] = np.arange(5)
        safetensors.numpy.save_file(arrays, self.path("t.safetensors"), metadata={"step": "7"})
        with open(self.path("t.safetensors"), "rb") as file:
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        order = [name for name in header if name != "__metadata__"]
        status, entries = dump(self.path("t.safetensors"))
        self.assertEqual(status, 2)
        self.assertEqual([e["name"] for e in entries], order)
        for entry in entries:
            if entry["name"] == "ids":
                self.assertEqual(entry["problem"], "dtype int64 is not a floating-point type")
            else:
                self.check(entry, entry["name"], arrays[entry["name"]])

    @unittest.skipIf(ml_dtypes is None, "ml_dtypes is not installed")
    def test_safetensors_of_ml_dtypes(self):
        codes = {"bfloat16": "BF16", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2"}
        arrays = {f"{dtype}.{shape}": sample(getattr(ml_dtypes, dtype), shape) for dtype in codes for shape in SHAPES}
        self.write_safetensors(self.path("t.safetensors"), arrays, codes)
        status, entries = dump(self.path("t.safetensors"))
        self.assertEqual((status, len(entries)), (0, len(arrays)))
        for entry, (name, array) in zip(entries, arrays.items()):
            self.check(entry, name, array)

    # ---- Several files -----------------------------------------------------------------------------------------------
    def test_a_bad_file_spares_the_others(self):
        array = sample("<f4", (4, 4))
        np.save(self.path("good.npy"), array)
        with open(self.path("bad.npz"), "wb") as file:
            file.write(b"PK\x03\x04 and nothing else")
        status, entries = dump(self.path("bad.npz"), self.path("none.npy"), self.folder, self.path("good.npy"))
        self.assertEqual(status, 2)
        self.assertEqual(["error" in e for e in entries], [True, True, True, False])
        self.check(entries[3], "good", array)


if __name__ == "__main__":
    unittest.main()
