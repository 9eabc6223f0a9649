#!/usr/bin/env python3
"""compare.py OLD.json NEW.json: the rows of two runs of actscope-bench side by side.

  --threshold SHARE   a row is a regression when it is slower by more than this share, and by more than the noise of both
                      runs (0.05)
  --scale             times are first divided by the machine: by the ratio of the two runs' ceilings, for runs on a machine
                      that was not equally fast

A row: case, old and new time, ratio new / old, the noise of both together, verdict. Exit 1 when a row regressed, when a row
of NEW has wrong numbers, or when a row of OLD is missing from NEW; 2 for wrong usage or files without rows."""
import argparse
import json
import math
import sys


def load(path):
    try:
        with open(path) as file:
            result = json.load(file)
        return result, {row["case"]: row for row in result["rows"]}
    except (OSError, ValueError, KeyError, TypeError) as problem:
        print(f"compare.py: {path}: not a result of actscope-bench: {problem}", file=sys.stderr)
        raise SystemExit(2)


def scale(old, new, row, fresh):
    """How much longer the new machine should take for this row: the ratio of the ceilings that bind it, the row's own first."""
    for name in ("ceiling_tflops", "ceiling_gbs"):
        if row.get(name) and fresh.get(name):
            return row[name] / fresh[name]
    pairs = (("fp16_tflops", "fp32_gflops") if "tflops" in row else ("copy_gbs", "read_gbs"))
    for name in pairs:
        before, after = old["ceilings"].get(name), new["ceilings"].get(name)
        if before and after:
            return before / after
    return 1.0


def verdict(old, new, threshold):
    """ratio, noise, word. Noise: both rows' half quartile distances, together, three times over."""
    if new.get("wrong"):
        return None, None, f"{new['wrong']} WRONG"
    if not old.get("time_us") or not new.get("time_us"):
        return None, None, "not timed"
    ratio = new["time_us"] / old["time_us"]
    noise = 3 * math.hypot(old.get("noise", 0), new.get("noise", 0))
    if ratio > 1 + max(threshold, noise):
        return ratio, noise, "SLOWER"
    return ratio, noise, "faster" if ratio < 1 / (1 + max(threshold, noise)) else "same"


def compare(old, new, threshold, scaled, out=sys.stdout):
    """The table; how many rows are bad."""
    (old_result, old_rows), (new_result, new_rows) = old, new
    print(f"{'# case':<40} {'old us':>12} {'new us':>12} {'new/old':>8} {'noise':>7}  verdict", file=out)
    bad = 0
    for case, row in old_rows.items():
        if case not in new_rows:
            print(f"{case:<40} {row.get('time_us', math.nan):12.1f} {'-':>12} {'-':>8} {'-':>7}  MISSING", file=out)
            bad += 1
            continue
        fresh = dict(new_rows[case])
        if scaled and "time_us" in fresh:
            fresh["time_us"] /= scale(old_result, new_result, row, fresh)
        ratio, noise, word = verdict(row, fresh, threshold)
        bad += word == "SLOWER" or word.endswith("WRONG")
        times = [f"{r['time_us']:12.1f}" if "time_us" in r else f"{'-':>12}" for r in (row, fresh)]
        print(f"{case:<40} {times[0]} {times[1]} " + (f"{ratio:8.3f} {100 * noise:6.1f}%" if ratio else f"{'-':>8} {'-':>7}") +
              f"  {word}", file=out)
    for case, row in new_rows.items():
        if case not in old_rows:
            word = f"{row['wrong']} WRONG" if row.get("wrong") else "new"
            bad += word != "new"
            print(f"{case:<40} {'-':>12} {row.get('time_us', math.nan):12.1f} {'-':>8} {'-':>7}  {word}", file=out)
    print(f"# {len(old_rows)} rows before, {len(new_rows)} now, {bad} bad", file=out)
    return bad


def main(arguments):
    parser = argparse.ArgumentParser(prog="compare.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--threshold", type=float, default=0.05)
    parser.add_argument("--scale", action="store_true")
    options = parser.parse_args(arguments)
    old, new = load(options.old), load(options.new)
    if not old[1]:
        print(f"compare.py: {options.old}: no rows", file=sys.stderr)
        return 2
    return 1 if compare(old, new, options.threshold, options.scale) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
