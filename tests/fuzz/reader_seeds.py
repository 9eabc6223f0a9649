"""Writes small well-formed files for the fuzzer to start from: reader_seeds.py FOLDER. Needs nothing but Python."""
import json, os, struct, sys, zipfile

folder = sys.argv[1]
os.makedirs(folder, exist_ok=True)


def write(name, data):
    with open(os.path.join(folder, name), "wb") as file:
        file.write(data)


def npy(descr, order, shape, size, version=1):
    header = f"{{'descr': {descr!r}, 'fortran_order': {order}, 'shape': {shape!r}, }}".encode()
    prefix = 10 if version == 1 else 12
    header += b" " * (-(prefix + len(header) + 1) % 64) + b"\n"
    return (b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(header)) + header
            + bytes(k % 251 for k in range(size)))


def safetensors(header, size):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(size)


arrays = {"a": npy("<f4", False, (2, 3), 24), "b": npy(">f8", True, (3,), 24, 2), "c": npy("<f2", False, (), 2, 3),
          "d": npy("<i8", False, (1,), 8), "e": npy([("x", "<f4"), ("y", "<f4", (2,))], False, (0,), 0),
          "f": npy("|V2", False, (0, 5), 0), "g": npy("<f4", False, (0,), 0)}
for name, data in arrays.items():
    write(f"{name}.npy", data)
for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(os.path.join(folder, f"method{method}.npz"), "w", method) as archive:
        for name, data in arrays.items():
            archive.writestr(f"{name}.npy", data)
    with zipfile.ZipFile(os.path.join(folder, f"wide{method}.npz"), "w", method) as archive:
        with archive.open("a.npy", "w", force_zip64=True) as file:
            file.write(arrays["a"])
write("a.safetensors", safetensors({"__metadata__": {"k": "v"}, "w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
                                    "h": {"dtype": "BF16", "shape": [], "data_offsets": [24, 26]},
                                    "i": {"dtype": "I64", "shape": [1], "data_offsets": [26, 34]},
                                    "n": {"dtype": "F8_E4M3", "shape": [0], "data_offsets": [34, 34]}}, 34))
