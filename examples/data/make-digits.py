"""Packs the UCI digits as scikit-learn ships them into digits-8x8.bin: for each of the 1,797 images its 64 pixels
(0..16, row by row) and its label, one byte each. Python's standard library does.

  make-digits.py digits.csv.gz digits-8x8.bin
"""
import csv, gzip, sys

with gzip.open(sys.argv[1], "rt") as file:
    rows = [[int(float(cell)) for cell in row] for row in csv.reader(file)]
assert len(rows) == 1797 and all(len(row) == 65 and max(row[:64]) <= 16 and row[64] <= 9 for row in rows)
with open(sys.argv[2], "wb") as file:
    file.write(b"".join(bytes(row) for row in rows))
