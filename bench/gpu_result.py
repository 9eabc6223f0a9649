#!/usr/bin/env python3
"""gpu_result.py FOLDER: puts together what `make gpu-check` left in FOLDER into the result file <gpu>.json, and prints the
table that ends the run.

FOLDER holds facts.json (gpu, driver, cuda, date, command, source, steps: name -> [status, seconds]), device.log,
memcheck.log .. synccheck.log, bench.log, bench.json and bench-wgmma.json. What is missing or cut off leaves its field out: the
file never says more than a log does. Exit status: 0 when every step, test, sanitizer and row is well, else 1."""
import hashlib
import json
import os
import re
import sys

TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
FIELDS = ("case", "time_us", "noise", "gbs", "tflops", "fraction_of_ceiling", "workspace_bytes", "allocations",
          "synchronisations", "wrong")


def text(folder, name):
    try:
        with open(os.path.join(folder, name), errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def parsed(folder, name):
    try:
        return json.loads(text(folder, name))
    except ValueError:
        return {}


def tests(log):
    """passed, failed, skipped of a closing line; None where there is none."""
    found = re.findall(r"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$", log, flags=re.M)
    return dict(zip(("passed", "failed", "skipped"), (int(n or 0) for n in found[-1]))) if found else None


def errors(log):
    """The count of a compute-sanitizer tool: of all processes it followed; None when it did not get to a summary. Racecheck's
    warnings stay in the log."""
    found = re.findall(r"ERROR SUMMARY: (\d+) error|RACECHECK SUMMARY: (?:\d+ hazards? displayed \((\d+) error|(\d+) hazard)", log)
    return sum(int(next(n for n in counts if n)) for counts in found) if found else None


def tree(folder):
    """What `git rev-parse HEAD:folder` prints when the folder is as committed: the machine may have a copy without git."""
    def name(kind, content):
        return hashlib.sha1(b"%s %d\0" % (kind, len(content)) + content)
    entries = []
    for entry in os.scandir(folder):
        path, mode = os.fsencode(entry.name), b"100644"
        if entry.is_symlink():
            mode, found = b"120000", name(b"blob", os.fsencode(os.readlink(entry.path)))
        elif entry.is_dir():
            mode, found = b"40000", tree(entry.path)
            if found is None:
                continue
        else:
            if os.access(entry.path, os.X_OK):
                mode = b"100755"
            with open(entry.path, "rb") as file:
                found = name(b"blob", file.read())
        entries.append((path + b"/" * (mode == b"40000"), mode + b" " + path + b"\0" + found.digest()))
    return name(b"tree", b"".join(content for _, content in sorted(entries))) if entries else None  # git knows no empty folders


def row(r):
    out = {name: r[name] for name in FIELDS if name in r}
    if "peer" in r:
        out["peer"] = {name: r["peer"][name] for name in ("name", "time_us", "peak_bytes") if name in r["peer"]}
        out["ratio"] = r["ratio"]
    return out


def assemble(folder):
    facts, bench = parsed(folder, "facts.json"), parsed(folder, "bench.json")
    result = {name: facts[name] for name in ("gpu", "driver", "cuda", "date", "command", "source") if facts.get(name)}
    ceilings = {n: bench["ceilings"][n] for n in ("copy_gbs", "fp16_tflops") if n in bench.get("ceilings", {})}
    if ceilings:
        result["ceilings"] = ceilings
    counted = tests(text(folder, "device.log"))
    if counted:
        result["tests"] = counted
    found = {tool: errors(text(folder, tool + ".log")) for tool in TOOLS}
    found = {tool: n for tool, n in found.items() if n is not None}
    if found:
        result["sanitizers"] = found
    result["rows"] = [row(r) for r in bench.get("rows", [])]
    # The kernel of sm_90a that is asked for by name.
    result["rows"] += [row({**r, "case": r["case"] + "/wgmma"}) for r in parsed(folder, "bench-wgmma.json").get("rows", [])]
    return result, facts.get("steps", {})


def problems(result, steps):
    out = [f"{name}: status {status} after {seconds} s" for name, (status, seconds) in steps.items() if status]
    counted = result.get("tests")
    if not counted or counted["failed"] or not counted["passed"]:
        out.append(f"device tests: {counted or 'no count'}")
    for tool in TOOLS:
        n = result.get("sanitizers", {}).get(tool)
        if n != 0:
            out.append(f"{tool}: {'no summary' if n is None else f'{n} errors'}")
    out += [f"{r['case']}: {r['wrong']} wrong" for r in result["rows"] if r.get("wrong")]
    if not result["rows"]:
        out.append("benchmark: no rows")
    return out


def table(result):
    lines = []
    for r in result["rows"]:
        rate = f"{r['tflops']:8.1f} TFLOP/s" if "tflops" in r else f"{r['gbs']:8.1f} GB/s   " if "gbs" in r else " " * 16
        share = f"{100 * r['fraction_of_ceiling']:5.0f}%" if "fraction_of_ceiling" in r else "     -"
        peer = f"{r['ratio']:8.1f}x {r['peer']['name']}" if "peer" in r else ""
        lines.append(f"{r['case']:<42} {r.get('time_us', float('nan')):11.1f} us {rate} {share}  wrong {r.get('wrong', 'N/A')} {peer}")
    return lines


def main(folder):
    result, steps = assemble(folder)
    name = re.sub(r"[^a-z0-9.]+", "-", re.sub(r"^nvidia\b", "", result.get("gpu", "unknown").lower())).strip("-")
    path = os.path.join(folder, name + ".json")
    with open(path + ".part", "w") as file:
        json.dump(result, file, indent=1)
        file.write("\n")
    os.replace(path + ".part", path)
    bad = problems(result, steps)
    print("\n".join(table(result)))
    print("ceilings: " + (", ".join(f"{k} {v:.1f}" for k, v in result.get("ceilings", {}).items()) or "not measured"))
    print("tests: " + (", ".join(f"{v} {k}" for k, v in result.get("tests", {}).items()) or "no count"))
    print("sanitizers: " + (", ".join(f"{k} {v}" for k, v in result.get("sanitizers", {}).items()) or "none finished"))
    late = re.findall(r"^# not run, no time left: (.*)$", text(folder, "bench.log"), flags=re.M)
    if late:
        print(f"no time left for {len(late)} cases: " + ", ".join(late))
    for line in bad:
        print("FAILED " + line)
    print(f"result file: {path} (for bench/results/)")
    print(f"gpu-check: {'FAILED' if bad else 'passed'}")
    return 1 if bad else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: gpu_result.py FOLDER")
    sys.exit(main(sys.argv[1]))
