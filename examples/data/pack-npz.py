"""Packs .npy files into a deflated .npz, the same bytes each time: pack-npz.py OUT.npz FILE.npy..."""
import os, sys, zipfile

with zipfile.ZipFile(sys.argv[1], "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
    for path in sys.argv[2:]:
        with open(path, "rb") as file:
            entry = zipfile.ZipInfo(os.path.basename(path))  # dated 1980
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, file.read(), zipfile.ZIP_DEFLATED, 9)
