"""The program `actscope` end to end: choices, exit statuses, messages, output, memory."""
import csv, fcntl, io, json, math, os, pty, re, signal, stat, struct, subprocess, sys, termios, unittest

import numpy as np

from program import encode, MIB, numbers, PROGRAM, Program, read, ROOT, SECTIONS, strict, write_safetensors


class Choices(Program):
    def test_statistics_that_were_not_asked_for_are_absent(self):
        self.save("x.npy", np.random.default_rng(1).standard_normal((20, 8)).astype(np.float32))
        everything = self.layer("x.npy")
        for section in SECTIONS:
            self.assertIn(section, everything)
            got = self.layer("--statistics", section, "x.npy")
            self.assertEqual([s for s in SECTIONS if s in got], [section])
        got = self.layer("--statistics=profile,rank", "x.npy")
        self.assertEqual([s for s in SECTIONS if s in got], ["profile", "rank"])
        self.assertEqual(got["profile"], everything["profile"])

    def test_layers(self):
        g = np.random.default_rng(2)
        np.savez(self.path("net.npz"), **{name: g.standard_normal((8, 4)).astype(np.float32)
                                         for name in ("block0.conv", "block0.relu", "block1.conv", "head")})
        self.save("alone.npy", g.standard_normal((8, 4)))
        names = lambda *words: [l["name"] for l in self.report(*words, "net.npz", "alone.npy")[0]["layers"]]
        self.assertEqual(names(), ["block0.conv", "block0.relu", "block1.conv", "head", "alone"])
        self.assertEqual(names("--layers", "*.conv"), ["block0.conv", "block1.conv"])
        self.assertEqual(names("--layers", "head", "--layers", "block0.*"), ["block0.conv", "block0.relu", "head"])
        self.assertEqual(names("--layers", "block?.relu", "--layers=al*"), ["block0.relu", "alone"])
        self.assertEqual(self.run_program("report", "--layers", "nothing*", "net.npz").returncode, 1)

    def test_npz_compressed(self):
        x = np.random.default_rng(3).standard_normal((30, 12)).astype(np.float32)
        np.savez_compressed(self.path("c.npz"), x=x)
        self.check(self.layer("c.npz"), x, "float32")

    def test_standard_input(self):
        x = np.random.default_rng(8).standard_normal((50, 6)).astype(np.float32)
        file = io.BytesIO()
        np.save(file, x)
        got = self.layer("-", stdin=file.getvalue())
        self.assertEqual(got["name"], "stdin")
        self.check(got, x, "float32")

    def test_large_tensors(self):
        self.save("x.npy", np.ones((30, 10), np.float32))
        document, _ = self.report("--large-tensor", 300, "x.npy")
        self.assertEqual(len(document["layers"][0]["warnings"]), 2, document["layers"][0]["warnings"])  # and no valid pair
        self.assertEqual(len(document["network"]["large_tensors"]), 1)
        document, _ = self.report("--large-tensor", 301, "x.npy")
        self.assertEqual(document["network"]["large_tensors"], [])

    def test_document(self):
        self.save("a.npy", np.random.default_rng(1).standard_normal((20, 8)).astype(np.float32))
        document, _ = self.report("--memory", "8MiB", "--seed", 5, "--device", "cpu", "a.npy")
        self.assertEqual(document["schema"], "actscope-report/1")
        self.assertEqual(set(document), {"schema", "version", "backend", "device", "options", "memory", "seconds", "layers", "network"})
        self.assertEqual((document["backend"], document["memory"]["budget_bytes"]), ("cpu", 8 * MIB))
        self.assertLessEqual(document["memory"]["workspace_bytes"], 8 * MIB)
        self.assertGreater(document["seconds"], 0)
        self.assertEqual([b["layer"] for b in document["network"]["bottlenecks"]], ["a"])

    def test_formats(self):
        g = np.random.default_rng(9)
        np.savez(self.path("net.npz"), first=g.standard_normal((16, 5)), second=np.zeros((3, 2)))
        out = {f: self.run_program("report", "--format", f, "net.npz") for f in ("table", "json", "jsonl", "csv", "html")}
        for name, done in out.items():
            self.assertEqual((done.returncode, done.stderr), (0, ""), name)
            self.assertIn(b"first", done.stdout, name)
        timeless = lambda text: re.sub(rb"[0-9.]+ m?s\b", b"", text)
        self.assertEqual(timeless(self.run_program("report", "net.npz").stdout), timeless(out["table"].stdout))
        lines = [strict(line) for line in out["jsonl"].stdout.splitlines()]
        self.assertTrue(all(isinstance(line, dict) for line in lines) and len(lines) >= 2)
        rows = list(csv.reader(io.StringIO(out["csv"].stdout.decode())))
        self.assertEqual(len(rows), 3)
        self.assertEqual({len(row) for row in rows}, {len(rows[0])})
        self.assertIn(b"<html", out["html"].stdout.lower())

    def test_verbosity(self):
        self.save("x.npy", np.ones((4, 4), np.float32))
        self.assertEqual(self.run_program("report", "x.npy").stderr, "")
        self.assertEqual(self.run_program("report", "-q", "x.npy").stderr, "")
        document, lines = self.report("-v", "x.npy")
        self.assertTrue(any("x" in line for line in lines) and document)
        _, debug = self.report("--log-level", "debug", "x.npy")
        self.assertGreater(len(debug), len(lines))

    def test_info_and_version(self):
        done = self.run_program("info", "--format", "json")
        info = strict(done.stdout)
        self.assertEqual(done.returncode, 0)
        self.assertTrue(info["version"] and len(info["devices"]) >= 1)
        self.assertIn(info["version"], self.run_program("--version").stdout.decode())
        self.assertEqual(info["schema"], "actscope-info/1")
        self.assertIn(info["version"], self.run_program("info").stdout.decode())
        for words in (("--help",), *((command, "--help") for command in ("report", "plan", "page", "watch", "stress", "info"))):
            done = self.run_program(*words)
            self.assertEqual((done.returncode, done.stderr), (0, ""), words)
            self.assertIn(b"usage", done.stdout)
            self.assertEqual([line for line in done.stdout.decode().splitlines() if len(line) > 80], [], words)

    def test_help_has_every_option(self):
        for source, commands in (("settings", ("report",)), *((c + "_command", (c,)) for c in ("page", "watch", "stress", "info"))):
            with open(os.path.join(ROOT, "host", "cli", source + ".c")) as file:
                options = re.findall(r'arguments_take\(&a, "(-[^"]+)"', file.read())
            self.assertTrue(options)
            for command in commands:
                text = self.run_program(command, "--help").stdout.decode()
                self.assertEqual([o for o in options if o not in text and o != "--help"], [], command)


class Failures(Program):
    def refused(self, status, *words, says="", **settings):
        done = self.run_program(*words, **settings)
        self.assertEqual(done.returncode, status, f"{words}: {done.stderr}")
        self.assertEqual(len(done.stderr.splitlines()), 1, f"{words}: {done.stderr}")
        self.assertIn(says, done.stderr, words)
        return done

    def test_1_wrong_usage(self):
        self.save("x.npy", np.ones((4, 4), np.float32))
        for words, says in ((("report",), "no files"), (("report", "--nonsense", "x.npy"), "--nonsense"),
                            (("nonsense",), "nonsense"), (("report", "x.npy", "--memory"), "--memory"),
                            (("report", "--memory", "much", "x.npy"), "much"), (("report", "--memory", "-5", "x.npy"), "-5"),
                            (("report", "--statistics", "mean", "x.npy"), "mean"), (("report", "--statistics", "", "x.npy"), "--statistics"),
                            (("report", "--correlation", "pearson", "x.npy"), "pearson"), (("report", "--pairs", "0", "x.npy"), "--pairs"),
                            (("report", "--pairs", "1e6", "x.npy"), "1e6"), (("report", "--seed", "-1", "x.npy"), "-1"),
                            (("report", "--precision", "fp8", "x.npy"), "fp8"), (("report", "--distinct", "hll", "x.npy"), "hll"),
                            (("report", "--sketch-bits", "3", "x.npy"), "3"), (("report", "--sketch-bits", "19", "x.npy"), "19"),
                            (("report", "--format", "xml", "x.npy"), "xml"), (("report", "--device", "tpu", "x.npy"), "tpu"),
                            (("report", "--device", "cuda:x", "x.npy"), "x"), (("report", "--log-level", "loud", "x.npy"), "loud"),
                            (("report", "--compat", "other", "x.npy"), "other"), (("report", "--channels=1", "x.npy"), "--channels"),
                            (("report", "--layers", "y*", "x.npy"), "--layers"), (("stress", "--layers", "0"), "--layers"),
                            (("report", "--top-pairs", "5", "--correlation", "gram", "x.npy"), "--correlation gram"),
                            (("info", "--format", "xml"), "xml")):
            with self.subTest(words=words):
                self.refused(1, *words, says=says)
        done = subprocess.run([PROGRAM], capture_output=True)
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertTrue(done.stderr.startswith(b"usage: actscope "))

    def test_2_bad_inputs_beside_good_ones(self):
        good = np.random.default_rng(1).standard_normal((12, 5)).astype(np.float32)
        self.save("good.npy", good)
        whole = read(self.path("good.npy"), "rb")
        bad = {"cut.npy": whole[:-7], "header.npy": whole[:40], "empty.npy": b"", "text.npy": b"not an array at all\n",
               "magic.npy": b"\x93NUMPY\x09\x00" + whole[8:], "short.safetensors": b"\x05\0\0",
               "lies.safetensors": struct.pack("<Q", 1 << 60) + b"{}", "broken.npz": b"PK\x03\x04" + b"x" * 50,
               "none.safetensors": struct.pack("<Q", 2) + b"{}", "none.npz": b"PK\x05\x06" + bytes(18)}
        for name, data in bad.items():
            with open(self.path(name), "wb") as file:
                file.write(data)
        self.save("integers.npy", np.arange(6))
        self.save("text_array.npy", np.array(["a", "b"]))
        os.mkdir(self.path("folder.npy"))
        for name in [*bad, "integers.npy", "text_array.npy", "missing.npy", "folder.npy"]:
            with self.subTest(name):
                done = self.refused(2, "report", name, says=name)
                self.assertRegex(done.stderr, rf"^actscope: {re.escape(name)}: (\S[^:]*: )?\S.*\n$")
                self.assertEqual(done.stdout, b"")
                document, errors = self.report(name, "good.npy", status=2)
                self.assertEqual([l["name"] for l in document["layers"]], ["good"])
                self.check(document["layers"][0], good, "float32", title=name)
                self.assertEqual(len(errors), 1)

    def test_2_names_file_layer_and_cause(self):
        np.savez(self.path("mixed.npz"), fine=np.ones((3, 2), np.float32), counts=np.arange(4), also=np.zeros((2, 2)))
        document, errors = self.report("mixed.npz", status=2)
        self.assertEqual([l["name"] for l in document["layers"]], ["fine", "also"])
        self.assertEqual(len(errors), 1)
        self.assertRegex(errors[0], r"^actscope: mixed\.npz: counts: .*int64")
        data, _ = encode(np.ones(6), "float32")
        write_safetensors(self.path("m.safetensors"), {"a": ("float32", (2, 3), data), "b": ("float32", (2, 4), data), "c": ("float32", (3, 2), data)})
        document, errors = self.report("m.safetensors", status=2)
        self.assertEqual([l["name"] for l in document["layers"]], ["a", "c"])
        self.assertRegex(errors[0], r"^actscope: m\.safetensors: b: \S")
        self.save("flat.npy", np.ones(5, np.float32))
        self.save("deep.npy", np.ones((2, 3), np.float32))
        document, errors = self.report("--channels", "flat.npy", "deep.npy", status=2)
        self.assertRegex(errors[0], r"^actscope: flat\.npy: flat: .*--channels")
        self.assertEqual([l["name"] for l in document["layers"]], ["deep"])
        self.assertEqual(self.report("--layers", "[fa]*", "mixed.npz")[1], [])  # what is not wanted is not complained of

    def test_2_of_a_truncated_stream(self):
        file = io.BytesIO()
        np.save(file, np.ones((8, 8)))
        self.refused(2, "report", "-", stdin=file.getvalue()[:-1], says="-")
        self.refused(2, "report", "-", stdin=b"", says="-")

    def test_3_memory_cap_names_the_smallest(self):
        np.savez(self.path("n.npz"), small=np.ones((3, 2), np.float32),
                 large=np.random.default_rng(1).standard_normal((60, 800)).astype(np.float32))
        done = self.refused(3, "report", "--memory", "1KiB", "n.npz", says="large")
        smallest = max(int(n) for n in re.findall(r"(\d+) bytes", done.stderr))
        self.assertEqual(done.stdout, b"")
        self.assertIn(str(smallest), self.refused(3, "report", "--memory", str(smallest - 1), "n.npz").stderr)
        document, _ = self.report("--memory", str(smallest), "n.npz")
        self.assertLessEqual(document["memory"]["workspace_bytes"], smallest)
        with np.load(self.path("n.npz")) as arrays:
            want = numbers(arrays["large"], "float32")
        large = [l for l in document["layers"] if l["name"] == "large"][0]
        self.close("mean_abs", large["correlation"]["mean_abs"], want["correlation"]["mean_abs"])
        self.close("variance", large["profile"]["variance"], want["profile"]["variance"])
        self.assertEqual(large["distinct"]["count"], want["distinct"])

    def test_4_no_device(self):
        self.save("x.npy", np.ones((4, 4), np.float32))
        reason = strict(self.run_program("info", "--format", "json").stdout).get("no_gpu_reason")
        if not reason:
            self.skipTest("there is a GPU: asking for one succeeds")
        self.refused(4, "report", "--device", "cuda", "x.npy", says=reason)
        self.refused(4, "report", "--device", "cuda:3", "x.npy", says=reason)

    def test_5_output_not_written(self):
        self.save("x.npy", np.ones((40, 40), np.float32))
        self.refused(5, "report", "-o", "nowhere/out.json", "x.npy", says="nowhere/out.json")
        self.refused(5, "report", "-o", self.folder, "x.npy", says=self.folder)
        if os.path.exists("/dev/full"):
            self.refused(5, "report", "--format", "json", "-o", "/dev/full", "x.npy", says="/dev/full")
            with open("/dev/full", "wb") as full:
                for kind in ("table", "json", "jsonl", "csv", "html"):
                    self.refused(5, "report", "--format", kind, "x.npy", says="standard output", stdout=full)
                for words in (("info",), ("info", "--format", "json"), ("--version",), ("--help",), ("report", "--help"), ("plan", "x.npy"),
                              ("plan", "--format", "json", "x.npy"), ("stress", "--layers", 2, "--seconds", 0, "--rounds", 1)):
                    self.refused(5, *words, says="standard output: No space left", stdout=full)
        if os.geteuid() != 0:
            os.chmod(self.folder, 0o500)
            self.addCleanup(os.chmod, self.folder, 0o700)
            self.refused(5, "report", "-o", "out.json", "x.npy", says="out.json")

    def test_a_closed_pipe_is_no_crash(self):
        np.savez(self.path("n.npz"), **{f"layer{k}": np.ones((3, 3)) for k in range(300)})
        process = subprocess.Popen([PROGRAM, "report", "--format", "json", "n.npz"], cwd=self.folder, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        process.stdout.close()
        error = process.stderr.read().decode()
        process.stderr.close()
        self.assertEqual(process.wait(), 5, error)
        self.assertIn("standard output", error)


class Output(Program):
    def test_is_replaced_atomically(self):
        self.save("x.npy", np.ones((6, 6), np.float32))
        old, out = "an older report\n", self.path("out.json")
        with open(out, "w") as file:
            file.write(old)
        os.chmod(out, 0o640)
        before = os.stat(out)
        kept = os.open(out, os.O_RDONLY)  # who has the old file open keeps it whole
        self.addCleanup(os.close, kept)
        done = self.run_program("report", "--format", "json", "-o", "out.json", "x.npy")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, b"", ""))
        self.assertEqual(strict(read(out))["layers"][0]["name"], "x")
        self.assertEqual(os.read(kept, 100).decode(), old)
        self.assertNotEqual(os.stat(out).st_ino, before.st_ino)
        self.assertEqual(stat.S_IMODE(os.stat(out).st_mode), 0o640)
        self.assertEqual(sorted(os.listdir(self.folder)), ["out.json", "x.npy"])

    def test_stays_when_nothing_can_be_reported(self):
        self.save("x.npy", np.ones((6, 6), np.float32))
        with open(self.path("bad.npy"), "wb") as file:
            file.write(b"nonsense")
        for status, words in ((1, ("--layers", "zzz", "x.npy")), (2, ("bad.npy",)), (3, ("--memory", "64", "x.npy"))):
            with open(self.path("out.json"), "w") as file:
                file.write("older")
            done = self.run_program("report", "-o", "out.json", *words)
            self.assertEqual(done.returncode, status, done.stderr)
            self.assertEqual(read(self.path("out.json")), "older")

    def test_good_layers_are_written_beside_bad_ones(self):
        self.save("x.npy", np.ones((6, 6), np.float32))
        done = self.run_program("report", "--format=json", "--output=out.json", "missing.npy", "x.npy")
        self.assertEqual(done.returncode, 2)
        self.assertEqual(len(strict(read(self.path("out.json")))["layers"]), 1)


# A bare Python that starts the program as a child of its own and says how large it became: the figure of a child of
# this process would begin at the size of this process, NumPy and all.
MEASURE = """
import json, os, resource, sys
pid = os.fork()
if pid == 0:
    os.dup2(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o600), 1)
    os.execv(sys.argv[2], sys.argv[2:])
_, status, usage = os.wait4(pid, 0)
print(json.dumps([os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1, usage.ru_maxrss * 1024]))
"""


class Memory(Program):
    def measure(self, *words):
        """(document, the largest resident set in bytes)."""
        out = self.path("measured.json")
        process = subprocess.Popen([sys.executable, "-I", "-S", "-c", MEASURE, out, PROGRAM, "report", "--format", "json", *words],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=self.folder, start_new_session=True)
        try:
            text, error = process.communicate(timeout=300)
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)  # the program too, should it hang
            except ProcessLookupError:
                pass
        self.assertEqual(process.returncode, 0, error)
        status, resident = json.loads(text)
        self.assertEqual(status, 0, error)
        document = strict(read(out))
        os.remove(out)
        return document, resident

    def test_8192_features_take_the_input_and_48_mib(self):
        x = np.random.default_rng(1).standard_normal((128, 512, 4, 4), dtype=np.float32)
        document, resident = self.measure(self.save("x.npy", x))
        self.assertEqual(document["layers"][0]["correlation"]["pairs"], 33550336)
        self.assertLess(resident, x.nbytes + 48 * MIB, f"{resident / MIB:.1f} MiB for an input of {x.nbytes / MIB:.0f} MiB")

    def test_a_cap_of_128_mib_holds_65536_features(self):
        x = np.random.default_rng(2).standard_normal((128, 65536), dtype=np.float32)
        path = self.save("x.npy", x)
        document, resident = self.measure("--memory", "128MiB", path)
        c = document["layers"][0]["correlation"]
        self.assertEqual((c["method"], c["pairs"]), ("exact", 65536 * 65535 // 2))
        z = (x - x.mean(axis=0, dtype=np.float64)) / (x.std(axis=0, dtype=np.float64) * math.sqrt(128))
        gram = (np.linalg.norm(z @ z.T) ** 2 - 65536) / (65536 * 65535.0)  # mean r^2 without any pair
        self.assertAlmostEqual(c["mean_square"], gram, 6)
        self.assertLessEqual(document["memory"]["workspace_bytes"], 128 * MIB)
        # beside cap and input: the program itself
        self.assertLess(resident, x.nbytes + 128 * MIB + 24 * MIB, f"{resident / MIB:.1f} MiB")

    def test_a_small_cap_changes_no_number(self):
        x = np.random.default_rng(3).standard_normal((64, 3000), dtype=np.float32)
        self.save("x.npy", x)
        wide, _ = self.measure("x.npy")
        done = self.run_program("report", "--memory", "1KiB", "x.npy")
        smallest = max(int(n) for n in re.findall(r"(\d+) bytes", done.stderr))
        tight, resident = self.measure("--memory", str(smallest), "x.npy")
        a, b = wide["layers"][0], tight["layers"][0]
        for name in ("mean_abs", "mean_square", "max_abs"):
            self.assertAlmostEqual(a["correlation"][name], b["correlation"][name], 6)
        self.assertEqual(a["distinct"], b["distinct"])
        self.assertEqual(a["health"], b["health"])
        self.assertEqual(a["profile"]["quantiles"], b["profile"]["quantiles"])
        self.assertLess(resident, x.nbytes + smallest + 24 * MIB)

    def test_memory_fields(self):
        self.save("x.npy", np.random.default_rng(2).standard_normal((64, 500)).astype(np.float32))
        memory = self.report("x.npy")[0]["memory"]
        self.assertLessEqual(memory["workspace_bytes"], memory["held_peak_bytes"])
        self.assertLessEqual(memory["held_peak_bytes"], memory["budget_bytes"])
        self.assertLess(memory["held_peak_bytes"], memory["resident_peak_bytes"])
        self.assertLessEqual(memory["resident_bytes"], memory["resident_peak_bytes"])
        self.assertIn("resident", self.run_program("report", "-v", "x.npy").stderr)

    def test_stress(self):
        done = self.run_program("stress", "--layers", 2, "--seconds", 0, "--rounds", 4, "--memory", "32MiB")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout.decode(), r"4 rounds, best .* no growth")
        done = self.run_program("stress", "--layers", 6, "--shapes", "32x4x3x3,24x60", "--seconds", 0, "--rounds", 100, "--memory", "2MiB")
        self.assertEqual(done.returncode, 0, done.stderr)
        held = re.search(r"100 rounds, .* most held ([0-9.]+) MiB, .* no growth", done.stdout.decode())
        self.assertTrue(held, done.stdout)
        self.assertTrue(0 < float(held.group(1)) <= 2, held.group(0))
        done = self.run_program("stress", "--layers", 3, "--shapes", "16x4x3x3,8x10", "--seconds", 0, "--rounds", 3)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(b"3 layers", done.stdout)
        for words in (("--shapes", "16"), ("--shapes", "16x0"), ("--shapes", "4x4,"), ("--shapes", "axb"), ("--rounds", "0")):
            self.assertEqual(self.run_program("stress", *words).returncode, 1, words)
        done = self.run_program("stress", "--memory", "256KiB")
        self.assertEqual(done.returncode, 3)
        smallest = re.search(r"smallest that would is (\d+) bytes", done.stderr)
        self.assertTrue(smallest, done.stderr)
        self.assertEqual(self.run_program("stress", "--layers", 24, "--seconds", 0, "--rounds", 1, "--memory", smallest.group(1)).returncode, 0)


class Plan(Program):
    """`actscope plan`: what would be done, without doing it."""

    def plan(self, *words, status=0):
        done = self.run_program("plan", "--format", "json", *words)
        self.assertEqual(done.returncode, status, done.stderr)
        return json.loads(done.stdout)

    def test_says_what_report_does(self):
        g = np.random.default_rng(4)
        np.savez(self.path("n.npz"), a=g.standard_normal((40, 300)).astype(np.float32), b=g.standard_normal((40, 20)).astype(np.float16))
        plan, report = self.plan("n.npz"), self.report("n.npz")[0]
        self.assertEqual(plan["memory"]["workspace_bytes"], report["memory"]["workspace_bytes"])
        for p, r in zip(plan["layers"], report["layers"]):
            self.assertEqual((p["name"], p["correlation"], p["distinct"], p["pairs"]),
                             (r["name"], r["correlation"]["method"], r["distinct"]["method"], r["correlation"]["pairs_total"]))
            self.assertGreater(p["modelled_seconds"], 0)
        self.assertGreaterEqual(plan["modelled_seconds"], sum(p["modelled_seconds"] for p in plan["layers"]) * 0.999)

    def test_smallest_cap(self):
        self.save("x.npy", np.ones((128, 3000), np.float32))
        least = self.plan("x.npy")["memory"]["least_budget_bytes"]
        self.assertEqual(self.plan("--memory", str(least), "x.npy")["memory"]["least_budget_bytes"], least)
        self.assertEqual(self.run_program("plan", "--memory", str(least - 1), "x.npy").returncode, 3)
        self.assertEqual(self.run_program("report", "--memory", str(least), "x.npy").returncode, 0)
        self.assertEqual(self.run_program("report", "--memory", str(least - 1), "x.npy").returncode, 3)

    def test_time_budget(self):
        self.save("x.npy", np.random.default_rng(1).standard_normal((128, 2000)).astype(np.float32))
        self.assertEqual(self.plan("x.npy")["layers"][0]["correlation"], "exact")
        layer = self.plan("--time-budget", "1e-6", "--pairs", 5000, "x.npy")["layers"][0]
        self.assertEqual((layer["correlation"], layer["pairs"]), ("sampled", 5000))
        self.assertIn("time budget", layer["reason"])
        got = self.report("--time-budget", "1e-6", "--pairs", 5000, "x.npy")[0]["layers"][0]
        self.assertEqual((got["correlation"]["method"], got["correlation"]["pairs"]), ("sampled", 5000))
        self.assertEqual(self.run_program("plan", "--time-budget", "soon", "x.npy").returncode, 1)
        self.assertEqual(self.plan("--time-budget", "1e-6", "x.npy")["layers"][0]["pairs"], 65536)

    def test_a_time_budget_that_cannot_be_met(self):
        self.save("x.npy", np.random.default_rng(1).standard_normal((30, 20)).astype(np.float32))
        layer = self.report("--time-budget", "1e-9", "x.npy")[0]["layers"][0]
        self.assertEqual((layer["correlation"]["method"], layer["correlation"]["pairs"]), ("exact", 190))
        self.assertEqual(len(layer["warnings"]), 1, layer["warnings"])
        self.assertIn("longer than the time budget", layer["warnings"][0])

    def test_table_and_errors(self):
        self.save("x.npy", np.ones((5, 4), np.float32))
        done = self.run_program("plan", "x.npy", "missing.npy")
        self.assertEqual(done.returncode, 2)
        self.assertIn("missing.npy", done.stderr)
        header, row = done.stdout.decode().splitlines()[-2:]
        self.assertEqual(header.index("why"), row.index("exact: "))
        done = self.run_program("plan", "--format", "csv", "x.npy")
        self.assertEqual((done.returncode, done.stderr), (1, "actscope: --format wants table or json, not 'csv'\n"))
        self.assertEqual(self.run_program("plan", "-o", "plan.txt", "x.npy").returncode, 1)
        self.assertFalse(os.path.exists(self.path("plan.txt")))
        self.assertEqual(self.run_program("plan").returncode, 1)
        self.assertIn(b"plan", self.run_program("plan", "--help").stdout)

    def test_table_in_a_terminal(self):
        """The rows keep inside of it, and why stands below them; files are named once."""
        np.savez(self.path("a.npz"), **{"encoder.layers.7.mlp.down_proj": np.ones((20, 8, 4, 4), np.float32), "b": np.ones((9, 30), np.float32)})
        self.save("c.npy", np.ones((5, 4), np.float32))
        piped = self.run_program("plan", "a.npz", "c.npy").stdout.decode()
        self.assertEqual(len(piped.splitlines()), 3 + 1 + 2 + 3)
        for columns in (80, 200):
            master, slave = pty.openpty()
            fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
            done = self.run_program("plan", "a.npz", "c.npy", stdout=slave)
            os.close(slave)
            text = b""
            try:
                while piece := os.read(master, 1 << 16):
                    text += piece
            except OSError:
                pass  # Linux ends a terminal that nobody holds with an error
            os.close(master)
            lines = text.decode().replace("\r", "").splitlines()
            self.assertEqual(done.returncode, 0)
            self.assertEqual([line for line in lines if len(line) > columns], [])
            self.assertEqual([lines.count(name) for name in ("a.npz:", "c.npy:")], [1, 1])
            self.assertEqual([line for line in lines if line.startswith("    exact: ")] != [], columns == 80)
            if columns == 200:
                self.assertEqual(lines, piped.splitlines())


if __name__ == "__main__":
    unittest.main()
