"""actscope-bench: its rows, its JSON, that wrong numbers are seen, and that the peers compute what they are timed for."""
import importlib.util, json, math, os, re, subprocess, sys, tempfile, textwrap, unittest
from unittest import mock

import numpy as np

from test_compat import formulas

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("ACTSCOPE_BUILD", "build"))
BENCH = os.path.join(BUILD, "actscope-bench")
ENV = {**os.environ, "OMP_WAIT_POLICY": "passive"}
DTYPE = "(f64|f32|f16|bf16|f8e4m3|f8e5m2)"
NAMES = re.compile(rf"profile/{DTYPE}/(moments|all)/\d+[KM]iB(/[a-z]+)?|distinct/{DTYPE}/[a-z0-9-]+/\d+[KM]iB|"
                   rf"correlation/(exact|gram|sampled)/(fp16|fp32)/\d+x\d+(/mean)?|24-layer/(direct|graph)|"
                   rf"(columns|standardise)/{DTYPE}/\d+x\d+|layers/\d+x\d+x\d+/(direct|graph)")


def module(name):
    spec = importlib.util.spec_from_file_location(name, os.path.join(ROOT, "bench", name + ".py"))
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def run(program, *arguments, status=0, **env):
    p = subprocess.run([program, *arguments], capture_output=True, text=True, env={**ENV, **env}, timeout=300)
    if p.returncode != status:
        raise AssertionError(f"exit status {p.returncode}, not {status}\n{p.stdout[-3000:]}{p.stderr[-2000:]}")
    return p.stdout


def rows_of(text):
    return [line.split() for line in text.splitlines() if line and not line.startswith("#") and "/" in line.split()[0]]


class Rows(unittest.TestCase):
    def test_every_case_is_right(self):
        text = run(BENCH, "--smoke", "--device", "cpu")
        rows = rows_of(text)
        self.assertGreater(len(rows), 30)
        self.assertEqual({row[-1] for row in rows}, {"0"})
        self.assertEqual(text.splitlines()[-1], f"{len(rows)} passed, 0 failed")

    def test_names(self):
        for device in ("cpu", "cuda"):
            names = run(BENCH, "--list", "--device", device).split()
            self.assertEqual([n for n in names if not NAMES.fullmatch(n)], [])
            self.assertEqual(len(names), len(set(names)))
            for family in ("profile/f32/all", "profile/f8e5m2/moments", "distinct/f32/256ths", "correlation/gram/fp32/128x8192",
                           "correlation/exact/fp32/128x8192", "correlation/sampled", "24-layer/direct", "columns/", "layers/96"):
                self.assertTrue(any(n.startswith(family) for n in names), family)
        for name in ("24-layer/graph", "correlation/exact/fp16/128x1048576/mean", "profile/f32/all/256MiB"):
            self.assertIn(name, names)

    def test_a_timed_row(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "rows.json")
            text = run(BENCH, "--device", "cpu", "--filter", "^profile/f32/all/1MiB$|exact/fp32/32x1024", "--seconds", "0.02",
                       "--no-peers", "--json", path)
            with open(path) as file:
                result = json.load(file)
        self.assertGreater(result["ceilings"]["read_gbs"], 0)
        self.assertGreater(result["ceilings"]["fp32_gflops"], 0)
        self.assertIn("# ceilings: read", text)
        profile, pairs = result["rows"]
        self.assertEqual((profile["case"], profile["dtype"], profile["bytes"]), ("profile/f32/all/1MiB", "f32", 1 << 20))
        for row in (profile, pairs):
            self.assertEqual(row["wrong"], 0)
            self.assertGreater(row["compared"], 20)
            self.assertGreaterEqual(row["samples"], 5)
            self.assertIn(row["stop"], ("time", "noise", "samples"))
            self.assertEqual(row["allocations"], 0)
            self.assertNotIn("synchronisations", row)  # nothing of a GPU
            self.assertNotIn("peer", row)
            self.assertGreater(row["hot_us"], 0)
        self.assertAlmostEqual(profile["gbs"], profile["bytes"] / profile["time_us"] / 1e3, delta=1e-6 * profile["gbs"])
        self.assertAlmostEqual(profile["fraction_of_ceiling"], profile["gbs"] / profile["ceiling_gbs"], places=9)
        self.assertAlmostEqual(pairs["fraction_of_ceiling"], pairs["tflops"] / pairs["ceiling_tflops"], places=9)
        self.assertLessEqual(profile["ceiling_gbs"], result["ceilings"]["read_gbs"])  # the median of looks, the best of all
        self.assertLessEqual(1e3 * pairs["ceiling_tflops"], result["ceilings"]["fp32_gflops"])
        self.assertAlmostEqual(pairs["tflops"], 32 * 1024 * 1023 / pairs["time_us"] / 1e6, delta=1e-6 * pairs["tflops"])

    def test_a_peer_beside_a_row(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "rows.json")
            env = {**ENV, "PYTHON": sys.executable}
            subprocess.run([BENCH, "--device", "cpu", "--filter", "^correlation/gram/fp32/128x8192$", "--seconds", "0.02",
                            "--peer-seconds", "0", "--json", path], check=True, capture_output=True, env=env, timeout=300)
            with open(path) as file:
                result = json.load(file)
        row = result["rows"][0]
        self.assertIn("NumPy", result["peers"])
        self.assertIn("NumPy Gram", [p["name"] for p in row["peers"]])
        self.assertEqual(row["peer"]["time_us"], min(p["time_us"] for p in row["peers"]))
        self.assertAlmostEqual(row["ratio"], row["peer"]["time_us"] / row["time_us"], places=6)
        for peer in row["peers"]:
            self.assertGreater(peer["time_us"], 0)
            self.assertGreaterEqual(peer["samples"], 1)

    def test_unchecked_is_not_zero(self):
        rows = rows_of(run(BENCH, "--device", "cpu", "--profile", "--filter", "32x1024"))
        self.assertEqual([row[-1] for row in rows], ["N/A"])

    def test_wrong_usage(self):
        for arguments in (["--what"], ["--json"], ["--device", "tpu"], ["--filter", "("], ["--seconds", "fast"], ["--threads", "0"], ["--filter", "zzz"]):
            run(BENCH, *arguments, status=2)


class Wrong(unittest.TestCase):
    """The same program over a library whose reports are wrong in one number each (tests/bench/broken_reports.c)."""
    def test_every_row_notices(self):
        text = run(os.path.join(BUILD, "tests", "bench-broken"), "--smoke", "--device", "cpu", status=1)
        rows = rows_of(text)
        self.assertGreater(len(rows), 30)
        own = [row for row in rows if row[0].startswith("standardise/")]  # no reports: they stay right
        self.assertGreater(len(own), 5)
        self.assertEqual([row[0] for row in rows if (int(row[-1]) > 0) == (row in own)], [])
        self.assertEqual(text.splitlines()[-1], f"{len(own)} passed, {len(rows) - len(own)} failed")
        self.assertEqual(text.count("# wrong: "), len(rows) - len(own))  # each with one line that says what

    def test_rows_of_a_broken_kernel_notice(self):
        """Kernels that are wrong at their ends (mk/bench.mk): the rows that they make, and no others."""
        text = run(os.path.join(BUILD, "tests", "bench-broken-kernel"), "--smoke", "--device", "cpu", status=1, ACTSCOPE_ISA="baseline")
        self.assertIn(", baseline,", text)
        wrong = {row[0]: int(row[-1]) > 0 for row in rows_of(text)}
        broken = [name for name in wrong if re.match(r"profile/f(32|64)/|standardise/|correlation/exact/fp32/", name)]
        self.assertGreater(len(broken), 12)
        self.assertEqual([name for name in broken if not wrong[name]], [])
        sound = [name for name in wrong if re.match(r"distinct/|columns/|profile/(bf16/all|f8)", name)]
        self.assertGreater(len(sound), 5)
        self.assertEqual([name for name in sound if wrong[name]], [])
        self.assertEqual(text.splitlines()[-1], f"{len(wrong) - sum(wrong.values())} passed, {sum(wrong.values())} failed")

    def test_in_the_json(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "rows.json")
            run(os.path.join(BUILD, "tests", "bench-broken"), "--check", "--device", "cpu", "--filter", "32x1024", "--json", path, status=1)
            with open(path) as file:
                self.assertGreater(json.load(file)["rows"][0]["wrong"], 0)


class Peers(unittest.TestCase):
    """Every way of peers.py that this machine can run, against double precision."""
    @classmethod
    def setUpClass(cls):
        cls.peers = module("peers")
        cls.worker = cls.peers.Worker("cpu", True)

    def expected(self, x):
        v = x.astype(np.float64)
        z = v - v.mean(0)
        z = z[:, (z != 0).any(0)]
        r = np.corrcoef(z.T)
        off = ~np.eye(len(r), dtype=bool)
        d, flat = v - v.mean(), np.sort(v.ravel())
        m2 = (d * d).mean()
        p = np.abs(flat) / np.abs(flat).sum()
        p = p[p > 0]
        return dict(mean=v.mean(), variance=v.var(ddof=1), skewness=(d**3).mean() / m2**1.5, kurtosis=(d**4).mean() / m2**2 - 3,
                    min=v.min(), max=v.max(), abs_mean=np.abs(v).mean(), l2_norm=np.sqrt((v * v).sum()), zero=(v == 0).sum(),
                    nan=0, inf=0, negative=(v < 0).sum(), entropy=-(p * np.log(p)).sum() / np.log(v.size),
                    quantiles=[flat[max(math.ceil(q * flat.size) - 1, 0)] for q in self.peers.LEVELS], distinct=len(set(flat)),
                    constant=(v.min(0) == v.max(0)).sum(), dead=(np.abs(v).max(0) <= 1e-6).sum(), std=None,
                    mean_abs=np.abs(r[off]).mean(), mean_square=(r[off]**2).mean())

    def test_numbers(self):
        x = np.random.default_rng(1).standard_normal((64, 96)).astype(np.float32)
        x[:, 3] = x[:, 4] * 0.5 + x[:, 5]
        want, seen = self.expected(x), 0
        for operation, ways in self.peers.WAYS.items():
            for name, library, dtypes, function in ways:
                if "neuroexapt" in name:
                    continue  # numbers of its own: below
                with self.subTest(operation=operation, name=name):
                    got = function(self.worker.device.given(x, library))
                    rough = name.startswith("DataSketches")
                    self.assertTrue(got)
                    for key, value in got.items():
                        if operation == "columns" and key in ("mean", "std"):
                            continue
                        value, wanted = np.asarray(value, np.float64), np.asarray(want[key], np.float64)
                        if rough and key == "quantiles":  # by rank
                            rank = np.searchsorted(np.sort(x.ravel()), value.astype(np.float32)) / x.size
                            np.testing.assert_allclose(rank, self.peers.LEVELS, atol=0.03)
                        else:
                            np.testing.assert_allclose(value, wanted, rtol=0.06 if rough else 2e-5, atol=2e-6, err_msg=key)
                    seen += 1
        self.assertGreaterEqual(seen, 9)

    def test_formulas_of_neuroexapt(self):
        """Against NumPy's, which --compat is held against too."""
        ways = [w for w in self.peers.WAYS["network"] if "neuroexapt" in w[0]]
        if "PyTorch" in self.worker.absent:
            self.skipTest("no PyTorch here")
        (name, library, dtypes, function), = ways
        self.assertEqual(dtypes, self.peers.WIDE)
        x = np.random.default_rng(2).standard_normal((64, 96)).astype(np.float32)
        x[:, 3], x[:, 7] = x[:, 4] * 0.5 + x[:, 5], -np.abs(x[:, 7])
        many = np.random.default_rng(3).standard_normal((64, 2000)).astype(np.float32)
        constant, relu = x.copy(), np.maximum(x - 0.2, 0)
        constant[:, 9] = 1.5
        for kind, data in (("normal", x), ("ReLU", relu[:, np.ptp(relu, 0) > 0]), ("constant", constant), ("float64", x.astype(np.float64)),
                           ("alike", 5 + 0.1 * x), ("few samples", x[:4]), ("many", many)):
            want = formulas(data, None)
            got = function(self.worker.device.given(np.ascontiguousarray(data), library))
            self.assertEqual(set(got), set(want) - {"information_loss"})  # that one is of two layers
            for key, value in got.items():
                with self.subTest(data=kind, score=key):
                    np.testing.assert_allclose(float(value), want[key], rtol=2e-5, atol=2e-6)

    def test_a_cpu_has_all_ways_only_where_asked(self):
        ways = {}
        for wish in ([], ["all"]):
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "0")
                np.arange(8, dtype=np.float32).tofile(path)
                p = subprocess.run([sys.executable, "-B", os.path.join(ROOT, "bench", "peers.py"), "cpu", *wish], input=f"load\tnetwork\tf32\t{path}\t8x4\n",
                                   capture_output=True, text=True, timeout=120)
            ways[bool(wish)] = p.stdout.strip().split("\t")
        more = [] if "PyTorch" in self.worker.absent else ["PyTorch neuroexapt formulas"]
        self.assertEqual(ways[True], ways[False] + more)
        self.assertNotIn("neuroexapt", "".join(ways[False]))

    def test_who_asks_for_all_ways(self):
        with tempfile.TemporaryDirectory() as folder:
            python, said = os.path.join(folder, "python"), os.path.join(folder, "said")
            with open(python, "w") as file:
                file.write(f'#!/bin/sh\necho "$@" >> {said}\nexec {sys.executable} "$@"\n')
            os.chmod(python, 0o755)
            for wish in ([], ["--all-peers"], ["--all-peers", "--no-peers"]):
                subprocess.run([BENCH, "--device", "cpu", "--filter", "^correlation/exact/fp32/32x1024$", "--seconds", "0", "--peer-seconds", "0", *wish],
                               check=True, capture_output=True, env={**ENV, "PYTHON": python}, timeout=300)
            with open(said) as file:
                lines = file.read().splitlines()
        self.assertEqual([line.split()[2:] for line in lines], [["cpu"], ["cpu", "all"]])

    def test_protocol(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "0")
            np.arange(8, dtype=np.float32).tofile(path)
            talk = f"ping\npresent\nknows\tdistinct\tbf16\nknows\tdistinct\tf32\nload\tdistinct\tf32\t{path}\t8x4\nrun\t0\npeak\t0\nrun\t99\nunload\nwhat\n"
            p = subprocess.run([sys.executable, "-B", os.path.join(ROOT, "bench", "peers.py"), "cpu"], input=talk,
                               capture_output=True, text=True, timeout=120)
        ping, present, no, yes, names, seconds, peak, error, gone, unknown = p.stdout.splitlines()
        self.assertEqual((ping, no, yes, gone), ("ok", "no", "yes", "ok"))
        self.assertIn("NumPy " + np.__version__, present)
        self.assertEqual(names.split("\t")[0], "NumPy unique")
        self.assertGreater(float(seconds), 0)
        self.assertGreaterEqual(float(peak), 0)
        self.assertTrue(error.startswith("error") and unknown.startswith("error"))


class Compare(unittest.TestCase):
    """bench/compare.py: a regression is a row that is slower by more than the threshold and the noise."""
    OLD = {"ceilings": {"read_gbs": 20.0, "fp32_gflops": 200.0}, "rows": [
        {"case": "a", "time_us": 100.0, "noise": 0.01, "gbs": 1.0, "wrong": 0},
        {"case": "b", "time_us": 100.0, "noise": 0.20, "gbs": 1.0, "wrong": 0},
        {"case": "c", "time_us": 100.0, "noise": 0.01, "tflops": 1.0, "wrong": 0}]}

    def compare(self, change, *arguments):
        new = json.loads(json.dumps(self.OLD))
        change(new, {row["case"]: row for row in new["rows"]})
        with tempfile.TemporaryDirectory() as folder:
            paths = [os.path.join(folder, name) for name in ("old", "new")]
            for path, result in zip(paths, (self.OLD, new)):
                with open(path, "w") as file:
                    json.dump(result, file)
            p = subprocess.run([sys.executable, "-B", os.path.join(ROOT, "bench", "compare.py"), *paths, *arguments],
                               capture_output=True, text=True)
        return p.returncode, {line.split()[0]: line.split()[-1] for line in p.stdout.splitlines() if not line.startswith("#")}

    def test_verdicts(self):
        self.assertEqual(self.compare(lambda n, r: None), (0, {"a": "same", "b": "same", "c": "same"}))
        self.assertEqual(self.compare(lambda n, r: r["a"].update(time_us=110.0)), (1, {"a": "SLOWER", "b": "same", "c": "same"}))
        self.assertEqual(self.compare(lambda n, r: r["a"].update(time_us=110.0), "--threshold", "0.2")[0], 0)
        self.assertEqual(self.compare(lambda n, r: r["b"].update(time_us=150.0))[1]["b"], "same")  # within its noise
        self.assertEqual(self.compare(lambda n, r: r["b"].update(time_us=200.0))[0], 1)
        self.assertEqual(self.compare(lambda n, r: r["a"].update(time_us=50.0)), (0, {"a": "faster", "b": "same", "c": "same"}))
        self.assertEqual(self.compare(lambda n, r: r["a"].update(wrong=1))[0], 1)
        self.assertEqual(self.compare(lambda n, r: n["rows"].pop(0)), (1, {"a": "MISSING", "b": "same", "c": "same"}))
        self.assertEqual(self.compare(lambda n, r: n["rows"].append({"case": "d", "time_us": 1.0}))[0], 0)

    def test_scaled_by_the_ceilings(self):
        def slower_machine(new, rows):
            new["ceilings"] = {"read_gbs": 10.0, "fp32_gflops": 200.0}
            for row in rows.values():
                row["time_us"] = 200.0
        code, words = self.compare(slower_machine, "--scale")
        self.assertEqual((code, words), (1, {"a": "same", "b": "same", "c": "SLOWER"}))

    def test_scaled_by_the_ceilings_of_the_rows(self):
        def slower_memory(new, rows):
            rows["a"].update(time_us=400.0, ceiling_gbs=5.0)
            rows["c"].update(time_us=400.0, ceiling_gbs=5.0)  # the old row has none
        with mock.patch.dict(self.OLD["rows"][0], ceiling_gbs=20.0):
            self.assertEqual(self.compare(slower_memory, "--scale"), (1, {"a": "same", "b": "same", "c": "SLOWER"}))

    def test_not_a_result(self):
        p = subprocess.run([sys.executable, "-B", os.path.join(ROOT, "bench", "compare.py"), __file__, __file__], capture_output=True)
        self.assertEqual(p.returncode, 2)


class Pages(unittest.TestCase):
    """Tables and plots come from result files, and nothing in them from elsewhere."""
    GPU = {"gpu": "Some GPU", "date": "2026-01-02", "command": "make gpu-check", "source": {"kernels": "0123456789abcdef"},
           "ceilings": {"copy_gbs": 4000.0, "fp16_tflops": 700.0}, "rows": [
               {"case": "profile/f32/moments/64MiB", "time_us": 23.4, "noise": 0.01, "gbs": 2868.0, "fraction_of_ceiling": 0.717,
                "wrong": 0, "peer": {"name": "PyTorch", "time_us": 1000.0, "peak_bytes": 1 << 28}, "ratio": 42.7},
               {"case": "24-layer/graph", "time_us": 312.0, "noise": 0.01, "wrong": 0},
               {"case": "correlation/exact/fp32/128x1024", "time_us": 10.0, "tflops": 13.4, "wrong": 0},
               {"case": "correlation/exact/fp32/128x8192", "time_us": 60.0, "tflops": 143.1, "wrong": 0}]}

    @classmethod
    def setUpClass(cls):
        sys.path.insert(0, os.path.join(ROOT, "bench"))
        cls.addClassCleanup(sys.path.remove, os.path.join(ROOT, "bench"))
        cls.results, cls.plots = module("results"), module("plots")

    def test_pages_say_what_the_files_say(self):
        p = subprocess.run([sys.executable, "-B", os.path.join(ROOT, "bench", "results.py"), "--check"], capture_output=True, text=True)
        self.assertEqual(p.returncode, 0, p.stdout + "make results writes them")

    def test_what_nobody_measured_says_so(self):
        rows = [line.split("|") for line in self.results.readme(None, None)[4:]]
        self.assertEqual({(row[2].strip(), row[5].strip()) for row in rows}, {("not yet measured", "not yet measured")})
        self.assertEqual(self.results.full(None), ["Not yet measured."])
        rows = {row.split("|")[1].strip(): row.split("|")[5].strip() for row in self.results.readme(None, self.GPU)[4:]}
        self.assertEqual([v for v in rows.values() if v != "not yet measured"], ["23.4 µs, 43× (PyTorch)", "60.0 µs", "312 µs"])

    def test_every_row_and_its_source(self):
        lines = self.results.full(dict(self.GPU, path="bench/results/some-gpu.json"))
        self.assertIn("kernels 0123456789ab", lines[0])
        self.assertIn("`#wrong` is 0 over 4 checked rows of 4", lines[0])
        self.assertEqual(len(lines), 4 + len(self.GPU["rows"]))
        self.assertIn("| 23.4 µs | 1.0 % | – | 2868.0 GB/s | 72 % |", lines[4])

    def test_blocks_alone_are_written(self):
        text = "a\n<!-- results x -->\nold\n<!-- end -->\nb\n"
        self.assertEqual(self.results.fill(text, {"x": ["new", "lines"]}), "a\n<!-- results x -->\nnew\nlines\n<!-- end -->\nb\n")

    def test_plots_are_svg(self):
        import xml.etree.ElementTree as tree
        svg = self.plots.draw(self.GPU)
        self.assertEqual(set(svg), {"roofline", "growth-D"})  # the others have too few rows
        points = [e for e in tree.fromstring(svg["growth-D"]).iter() if e.tag.endswith("circle")]
        self.assertEqual(len(points), 2)
        heights = [float(p.get("cy")) for p in points]
        self.assertGreater(heights[0], heights[1])  # more features are higher up
        for name in os.listdir(os.path.join(ROOT, "docs", "plots")):
            tree.parse(os.path.join(ROOT, "docs", "plots", name))


class KernelTable(unittest.TestCase):
    def test_medians_of_each_kernel(self):
        table = module("kernel_table").table(textwrap.dedent("""\
            ==PROF== Connected to process 1
            "ID","Kernel Name","dram__throughput.avg.pct_of_peak_sustained_elapsed","gpu__time_duration.sum"
            "","","%","nsecond"
            "0","void <unnamed>::profile<0>(Table)","80.0","1,000"
            "1","void <unnamed>::profile<0>(Table)","90.0","3,000"
            "2","finish(Table)","1.0","500"
            """).splitlines())
        self.assertEqual(table, [("profile<0>", 2, {"time us": 2.0, "dram %": 85.0}), ("finish", 1, {"time us": 0.5, "dram %": 1.0})])


if __name__ == "__main__":
    unittest.main()
