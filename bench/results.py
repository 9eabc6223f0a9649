#!/usr/bin/env python3
"""results.py [--check]: writes the tables of README.md and docs/performance.md from the files under bench/results/, between
the lines <!-- results NAME --> and <!-- end -->. --check only compares, and fails when a page says something else.

cpu-*.json is what `actscope-bench --device cpu --json` wrote, any other name what `make gpu-check` left. Of several of a
kind the newest date counts. A number that nobody measured reads "not yet measured"."""
import glob
import json
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NONE = "not yet measured"
# README: what, and the case on either device.
HEADLINES = (
    ("moments, extrema, norms, counts of 16 million fp32 values", "profile/f32/moments/64MiB"),
    ("the whole profile of them, with entropy, quantiles, distinct values", "profile/f32/all/64MiB"),
    ("distinct values of 4 million fp32 values", "distinct/f32/normal/16MiB"),
    ("exact correlations of [128, 8192] fp32 (33.5 million pairs)", "correlation/exact/fp32/128x8192"),
    ("their mean r² alone, from the Gram matrix", "correlation/gram/fp32/128x8192"),
    ("everything for 24 layers (12 × [128, 512, 4, 4], 12 × [128, 1024])", ("24-layer/direct", "24-layer/graph")),
)


def load(folder=os.path.join(ROOT, "bench", "results")):
    """(newest CPU result, newest GPU result), None where there is none."""
    found = {}
    for path in sorted(glob.glob(os.path.join(folder, "*.json"))):
        with open(path) as file:
            result = json.load(file)
        result["path"] = os.path.relpath(path, ROOT)
        kind = "cpu" if os.path.basename(path).startswith("cpu-") else "gpu"
        if kind not in found or result["date"] >= found[kind]["date"]:
            found[kind] = result
    return found.get("cpu"), found.get("gpu")


def row_of(result, case):
    return next((r for r in result["rows"] if r["case"] == case), None) if result else None


def time(us):
    """Three digits."""
    for unit, size in (("s", 1e6), ("ms", 1e3), ("µs", 1)):
        if us >= size or unit == "µs":
            value = us / size
            return f"{value:.0f} {unit}" if value >= 100 else f"{value:.1f} {unit}" if value >= 10 else f"{value:.2f} {unit}"


def size(count):
    """Bytes, three digits."""
    for unit, one in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= one:
            return f"{count / one:.3g} {unit}"
    return f"{count:.0f} B"


def ratio(value):
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def peer(row):
    """The fastest way of somebody else, and how much slower it is."""
    if not row or "peer" not in row:
        return "", ""
    return f"{time(row['peer']['time_us'])} ({row['peer']['name']})", ratio(row["ratio"])


def kernels(gpu):
    """Which kernels a GPU's numbers are of: `git rev-parse HEAD:kernels` says whether they are those of a commit."""
    return "kernels " + gpu.get("source", {}).get("kernels", "unknown")[:12]


def where(cpu):
    return (f"`actscope-bench` on {cpu['threads']} cores of an {cpu['cpu']} ({cpu['backend']}), {cpu['date']}, against {cpu['peers']} "
            f"on the same data, a sample of ours and one of theirs in turn; medians; the fastest peer is shown.")


def readme(cpu, gpu):
    lines = [where(cpu) if cpu else "On a CPU: " + NONE + ".", ""]
    if gpu:
        lines[0] += f" On {gpu['gpu']}, {gpu['date']}, {kernels(gpu)}."
    lines += [f"| what | CPU | fastest peer | ratio | GPU{': ' + gpu['gpu'] if gpu else ''} |", "|---|---|---|---|---|"]
    for what, case in HEADLINES:
        on_cpu, on_gpu = case if isinstance(case, tuple) else (case, case)
        c, g = row_of(cpu, on_cpu), row_of(gpu, on_gpu)
        name, times = peer(c)
        device = NONE
        if g and "time_us" in g:
            device = time(g["time_us"]) + (f", {ratio(g['ratio'])}× ({g['peer']['name']})" if "peer" in g else "")
        lines.append(f"| {what} | {time(c['time_us']) if c else NONE} | {name or '–'} | {times or '–'} | {device} |")
    return lines


def cell(row, name, text):
    return text(row[name]) if name in row else "–"


def rate(row):
    if "tflops" in row:
        return f"{row['tflops']:.0f} TFLOP/s" if row["tflops"] >= 10 else f"{1e3 * row['tflops']:.0f} GFLOP/s"
    return f"{row['gbs']:.1f} GB/s" if "gbs" in row and not re.match(r"24-layer|layers/", row["case"]) else "–"


def full(result):
    """Every row."""
    if not result:
        return [NONE[0].upper() + NONE[1:] + "."]
    ceilings = {"read_gbs": "reading {:.1f} GB/s", "fp32_gflops": "fp32 multiply-add {:.1f} GFLOP/s", "copy_gbs": "copy {:.0f} GB/s (read + write)",
                "fp16_tflops": "cuBLAS fp16 product {:.0f} TFLOP/s"}
    said = ", ".join(ceilings[k].format(v) for k, v in result["ceilings"].items())
    said += f"; {kernels(result)}" if "gpu" in result else ""
    checked = [r["wrong"] for r in result["rows"] if "wrong" in r]
    lines = [f"From `{result['path']}` (`{result['command']}`). Ceilings of the run: {said}. `#wrong` is "
             f"{sum(checked)} over {len(checked)} checked rows of {len(result['rows'])}.", "",
             "| case | time | noise | hot | rate | of the ceiling | workspace | fastest peer | its memory | ratio |", "|---|---|---|---|---|---|---|---|---|---|"]
    for r in result["rows"]:
        name, times = peer(r)
        held = cell(r.get("peer", {}), "peak_bytes", size)
        lines.append(f"| {r['case']} | {cell(r, 'time_us', time)} | {cell(r, 'noise', lambda v: f'{100 * v:.1f} %')} | "
                     f"{cell(r, 'hot_us', time)} | {rate(r)} | {cell(r, 'fraction_of_ceiling', lambda v: f'{100 * v:.0f} %')} | "
                     f"{cell(r, 'workspace_bytes', size)} | {name or '–'} | {held} | {times or '–'} |")
    return lines


def every_peer(cpu):
    lines = ["| case | peer | time | samples | memory | ratio |", "|---|---|---|---|---|---|"]
    for r in cpu["rows"] if cpu else []:
        for p in r.get("peers", [])[1:]:
            lines.append(f"| {r['case']} | {p['name']} | {time(p['time_us'])} | {p['samples']} | {cell(p, 'peak_bytes', size)} | {ratio(p['ratio'])} |")
    return lines


def pages():
    cpu, gpu = load()
    return {"readme": readme(cpu, gpu), "cpu": full(cpu), "gpu": full(gpu), "peers": every_peer(cpu)}


def fill(text, blocks):
    """The page with its blocks as they should be."""
    def block(match):
        return f"<!-- results {match.group(1)} -->\n" + "\n".join(blocks[match.group(1)]) + "\n<!-- end -->"
    return re.sub(r"<!-- results (\w+) -->\n.*?<!-- end -->", block, text, flags=re.S)


def main(check):
    blocks, differ = pages(), []
    for name in ("README.md", "docs/performance.md"):
        with open(os.path.join(ROOT, name)) as file:
            text = file.read()
        wanted = fill(text, blocks)
        if wanted == text:
            continue
        differ.append(name)
        if not check:
            with open(os.path.join(ROOT, name), "w") as file:
                file.write(wanted)
    for name in differ:
        print(f"{name}: {'not what bench/results says' if check else 'written'}")
    return 1 if check and differ else 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
