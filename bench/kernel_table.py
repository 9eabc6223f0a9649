#!/usr/bin/env python3
"""kernel_table.py: Nsight Compute's CSV (--page raw --csv) on standard input, one line a kernel on standard output: launches,
median duration, and medians of the shares it was asked for. Names are cut to what tells kernels apart."""
import csv
import re
import statistics
import sys

COLUMNS = (("gpu__time_duration", "time us"), ("dram__throughput", "dram %"), ("sm__throughput", "sm %"),
           ("sm__inst_executed_pipe_tensor", "tensor %"), ("sm__warps_active", "warps %"), ("launch__registers", "registers"))
SCALE = {"nsecond": 1e-3, "ns": 1e-3, "usecond": 1, "us": 1, "msecond": 1e3, "ms": 1e3, "second": 1e6, "s": 1e6}


def short(name):
    return re.sub(r"\s*\(.*", "", re.sub(r"^void |\(anonymous namespace\)::|<unnamed>::", "", name))


def table(lines):
    """[(kernel, launches, {column: median})], longest total time first. The second line of the CSV holds units."""
    rows = list(csv.DictReader(line for line in lines if line.startswith('"')))
    if not rows:
        return []
    units, kernels = rows[0], {}
    for row in rows[1:]:
        found = kernels.setdefault(short(row["Kernel Name"]), {title: [] for _, title in COLUMNS})
        for start, title in COLUMNS:
            for name, value in row.items():
                if name and name.startswith(start) and value:
                    scale = SCALE.get(units[name], 1) if title == "time us" else 1
                    found[title].append(float(value.replace(",", "")) * scale)
    out = [(name, max(map(len, values.values())), {t: statistics.median(v) for t, v in values.items() if v}, sum(values["time us"]))
           for name, values in kernels.items()]
    return [row[:3] for row in sorted(out, key=lambda row: -row[3])]


def main():
    rows = table(sys.stdin)
    print(f"{'kernel':<56} {'launches':>8}" + "".join(f" {title:>10}" for _, title in COLUMNS))
    for name, launches, values in rows:
        print(f"{name:<56.56} {launches:>8}" + "".join(f" {values[t]:>10.1f}" if t in values else f" {'-':>10}" for _, t in COLUMNS))
    return 0 if rows else 1


if __name__ == "__main__":
    sys.exit(main())
