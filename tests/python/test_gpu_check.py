"""tools/gpu-check with programs that stand in for a GPU's: what becomes of each step's outcome in the result file."""
import json, os, shutil, subprocess, sys, tempfile, textwrap, unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "bench"))
import gpu_result
BENCH = {"ceilings": {"copy_gbs": 4300.0, "fp16_tflops": 790.0}, "rows": [
    {"case": "profile/f32/all/256MiB", "dtype": "f32", "bytes": 268435456, "time_us": 80.0, "noise": 0.01, "samples": 31,
     "gbs": 3355.4, "fraction_of_ceiling": 0.78, "workspace_bytes": 4096, "allocations": 0, "synchronisations": 0, "launches": 2,
     "wrong": 0, "peer": {"name": "PyTorch", "time_us": 2000.0, "samples": 9, "peak_bytes": 1000}, "ratio": 25.0, "peers": []},
    {"case": "24-layer/graph", "time_us": 300.0, "noise": 0.02, "workspace_bytes": 4096, "allocations": 0, "synchronisations": 0, "wrong": 0}]}
SANITIZER = """\
    #!/bin/bash
    while [ $# -gt 0 ]; do [ "$1" = --tool ] && tool=$2; shift; done
    if [ $tool = racecheck ]; then echo "========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)"
    else echo "========= ERROR SUMMARY: 0 errors"; echo "========= ERROR SUMMARY: 0 errors"; fi
"""


class GpuCheck(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.top = folder.name
        for name in ("bin", "tree/bench", "tree/tools", "tree/kernels", "tree/host", "tree/build/tests"):
            os.makedirs(os.path.join(self.top, name))
        for name in ("tools/gpu-check", "bench/gpu_result.py"):
            shutil.copy(os.path.join(ROOT, name), os.path.join(self.top, "tree", name))
        self.write("bin/nvidia-smi", '#!/bin/sh\necho "NVIDIA H200, 580.1, 9.0"\n')
        self.write("bin/nvcc", '#!/bin/sh\necho "Cuda compilation tools, release 13.0, V13.0.48"\n')
        self.write("bin/make", '#!/bin/sh\necho "$@"\n')
        self.write("bin/compute-sanitizer", SANITIZER)
        self.write("tree/build/tests/device", '#!/bin/sh\necho "12 passed, 0 failed"\n')
        self.write("tree/kernels/gram.cu", "kernel\n")
        self.write("tree/host/plan.c", "plan\n")
        self.bench(BENCH)

    def write(self, name, content):
        path = os.path.join(self.top, name)
        with open(path, "w") as file:
            file.write(textwrap.dedent(content))
        os.chmod(path, 0o755)

    def bench(self, rows, ending="exit 0"):
        self.write("tree/bench.rows", json.dumps(rows))
        self.write("tree/build/actscope-bench", '#!/bin/bash\nwhile [ $# -gt 0 ]; do [ "$1" = --json ] && out=$2; shift; done\n'
                   f'cp {self.top}/tree/bench.rows "$out"\n{ending}\n')

    def run_check(self, status, **env):
        p = subprocess.run([os.path.join(self.top, "tree/tools/gpu-check"), "build"], capture_output=True, text=True, timeout=60,
                           env={**os.environ, "PATH": os.path.join(self.top, "bin") + ":" + os.environ["PATH"], "OUT": "", **env})
        self.assertEqual(p.returncode, status, p.stdout + p.stderr)
        path = os.path.join(self.top, "tree/build/gpu-check/h200.json")
        with open(path) as file:
            return json.load(file), p.stdout

    def test_all_well(self):
        result, out = self.run_check(0)
        self.assertEqual(set(result), {"gpu", "driver", "cuda", "date", "command", "source", "ceilings", "tests", "sanitizers", "rows"})
        self.assertEqual((result["gpu"], result["driver"], result["cuda"], result["command"]),
                         ("NVIDIA H200", "580.1", "13.0", "make gpu-check"))
        self.assertRegex(result["date"], r"^\d{4}-\d\d-\d\d$")
        self.assertEqual(result["source"], {part: gpu_result.tree(os.path.join(self.top, "tree", part)).hexdigest() for part in ("kernels", "host")})
        self.assertEqual(result["ceilings"], BENCH["ceilings"])
        self.assertEqual(result["tests"], {"passed": 12, "failed": 0, "skipped": 0})
        self.assertEqual(result["sanitizers"], dict.fromkeys(("memcheck", "racecheck", "initcheck", "synccheck"), 0))
        first, graph, *named = result["rows"]
        self.assertEqual([r["case"] for r in named], [r["case"] + "/wgmma" for r in BENCH["rows"]])
        self.assertEqual(first, {"case": "profile/f32/all/256MiB", "time_us": 80.0, "noise": 0.01, "gbs": 3355.4,
                                 "fraction_of_ceiling": 0.78, "workspace_bytes": 4096, "allocations": 0, "synchronisations": 0,
                                 "wrong": 0, "peer": {"name": "PyTorch", "time_us": 2000.0, "peak_bytes": 1000}, "ratio": 25.0})
        self.assertEqual(set(graph), {"case", "time_us", "noise", "workspace_bytes", "allocations", "synchronisations", "wrong"})
        with open(os.path.join(self.top, "tree/build/gpu-check/build.log")) as file:
            self.assertIn("CUDA_ARCHS=90a", file.read())
        self.assertEqual(out.splitlines()[-1], "gpu-check: passed")

    def test_failing_steps_leave_the_others(self):
        self.write("bin/make", "#!/bin/sh\nexit 2\n")
        self.write("tree/build/tests/device", '#!/bin/sh\necho "11 passed, 1 failed"\nexit 1\n')
        self.write("bin/compute-sanitizer", SANITIZER.replace("0 hazards displayed (0 errors, 0", "5 hazards displayed (3 errors, 2"))
        result, out = self.run_check(1)
        self.assertEqual(result["tests"], {"passed": 11, "failed": 1, "skipped": 0})
        self.assertEqual(result["sanitizers"]["racecheck"], 3)
        self.assertEqual(result["sanitizers"]["memcheck"], 0)
        self.assertEqual(len(result["rows"]), 2)
        for line in ("FAILED build: status 2", "FAILED racecheck: 3 errors", "FAILED device tests"):
            self.assertIn(line, out)
        self.assertEqual(out.splitlines()[-1], "gpu-check: FAILED")

    def test_what_did_not_finish_is_absent(self):
        self.write("bin/compute-sanitizer", "#!/bin/sh\nexit 1\n")
        self.write("tree/build/tests/device", "#!/bin/sh\nkill -SEGV $$\n")
        self.bench(BENCH, ending="exit 139")
        result, out = self.run_check(1)
        self.assertNotIn("tests", result)
        self.assertNotIn("sanitizers", result)
        self.assertEqual(len(result["rows"]), 2)  # the rows before the crash
        self.assertIn("memcheck: no summary", out)
        self.write("tree/build/actscope-bench", "#!/bin/sh\nexit 139\n")
        result, out = self.run_check(1)
        self.assertEqual(result["rows"], [])
        self.assertNotIn("ceilings", result)
        self.assertIn("benchmark: no rows", out)

    def test_errors_of_any_process_count(self):
        self.write("bin/compute-sanitizer", '#!/bin/sh\necho "ERROR SUMMARY: 4 errors"\necho "ERROR SUMMARY: 0 errors"\n')
        result, out = self.run_check(1)
        self.assertEqual(result["sanitizers"]["memcheck"], 4)

    def test_warnings_of_racecheck_are_no_errors(self):
        self.write("bin/compute-sanitizer", SANITIZER.replace("0 hazards displayed (0 errors, 0", "2 hazards displayed (0 errors, 2"))
        result, out = self.run_check(0)
        self.assertEqual(result["sanitizers"]["racecheck"], 0)

    def test_wrong_rows_fail(self):
        rows = json.loads(json.dumps(BENCH))
        rows["rows"][1]["wrong"] = 2
        self.bench(rows, ending="exit 1")
        result, out = self.run_check(1)
        self.assertEqual(result["rows"][1]["wrong"], 2)
        self.assertIn("FAILED 24-layer/graph: 2 wrong", out)

    def test_rows_without_time_are_named(self):
        self.bench(BENCH, ending='echo "# not run, no time left: correlation/exact/fp16/128x65536/mean"')
        result, out = self.run_check(0)
        self.assertIn("no time left for 1 cases: correlation/exact/fp16/128x65536/mean\n", out)

    def test_source_as_git_names_it(self):
        folder = os.path.join(self.top, "repository")
        for name in ("a/b/one", "a/b.c", "a-b", "a/run", "z/\u00fc"):
            os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
            with open(os.path.join(folder, name), "w") as file:
                file.write(name)
        os.makedirs(os.path.join(folder, "a/empty"))
        os.chmod(os.path.join(folder, "a/run"), 0o755)
        os.symlink("b.c", os.path.join(folder, "a/link"))
        def git(*command):
            return subprocess.run(["git", *command], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()
        git("init", "-q")
        git("add", ".")
        top = git("write-tree")
        for part in ("a", "z", "a/b"):
            self.assertEqual(gpu_result.tree(os.path.join(folder, part)).hexdigest(), git("rev-parse", f"{top}:{part}"))

    def test_no_time(self):
        self.write("tree/build/tests/device", "#!/bin/sh\nexec sleep 30\n")
        result, out = self.run_check(1, GPU_CHECK_SECONDS="2")
        self.assertNotIn("tests", result)
        self.assertIn("FAILED device: status 124", out)

    def test_no_gpu(self):
        self.write("bin/nvidia-smi", "#!/bin/sh\nexit 9\n")
        p = subprocess.run([os.path.join(self.top, "tree/tools/gpu-check"), "build"], capture_output=True, text=True, timeout=60,
                           env={**os.environ, "PATH": os.path.join(self.top, "bin") + ":" + os.environ["PATH"]})
        self.assertEqual(p.returncode, 2)
        self.assertIn("no GPU here", p.stderr)


if __name__ == "__main__":
    unittest.main()
