"""The test runner itself: it must count what ran, and never take a crash, a hang or an empty program for a pass."""
import importlib.machinery, importlib.util, os, re, subprocess, sys, tempfile, textwrap, threading, time, unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RUN = os.path.join(ROOT, "tests", "run")


def load():
    loader = importlib.machinery.SourceFileLoader("runner", RUN)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("runner", loader))
    keep, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    loader.exec_module(module)
    sys.dont_write_bytecode = keep
    return module


runner = load()


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(ROOT)  # the runner belongs to the root of the tree

    def write(self, name, text, mode=0o755):
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(textwrap.dedent(text))
        os.chmod(path, mode)
        return path

    def counts(self, tally):
        return tally.passed, len(tally.failures), len(tally.skips)

    def quiet(self, function, *arguments):
        """The runner prints as it goes; that is not this test's output."""
        with open(os.devnull, "w") as null:
            keep, sys.stdout = sys.stdout, null
            try:
                return function(*arguments)
            finally:
                sys.stdout = keep


class TestCriterion(Case):
    def fake(self, tap, ending="exit 0"):
        """A program that writes this TAP report where --tap= asks, then ends as told."""
        script = '#!/bin/bash\nfor a in "$@"; do case $a in --tap=*) out=${a#--tap=};; esac; done\n'
        if tap is not None:
            script += f'cat >"$out" <<\'TAP\'\n{textwrap.dedent(tap)}TAP\n'
        path = os.path.join(self.folder, "unit")
        with open(path, "w") as file:
            file.write(script + ending + "\n")
        os.chmod(path, 0o755)
        return self.quiet(runner.criterion, path)

    def test_counts_passed_failed_and_skipped(self):
        tally = self.fake("""\
            TAP version 13
            1..5
            # Running 2 tests from a
            ok - a::one  (0.00s)
            not ok - a::two  (0.00s)
              ---
              failures:
              - t.c:4: |+
                  Assertion failed: layer 3
              ...
            not ok - a::three unexpected signal after t.c:6
            ok - b::four  # SKIP no GPU
            not ok - b::five timed out (0.21s)
            """, "exit 1")
        self.assertEqual(self.counts(tally), (1, 3, 1))
        self.assertEqual([name for name, _ in tally.failures], ["unit: a::two", "unit: a::three", "unit: b::five"])
        self.assertIn("layer 3", tally.failures[0][1])
        self.assertIn("unexpected signal", tally.failures[1][1])
        self.assertEqual(tally.skips, [("unit: b::four", "no GPU")])

    def test_all_passed(self):
        self.assertEqual(self.counts(self.fake("1..2\nok - a::one  (0.00s)\nok - a::two  (0.00s)\n")), (2, 0, 0))

    def test_no_program_fails(self):
        self.assertEqual(self.counts(runner.criterion(os.path.join(self.folder, "absent"))), (0, 1, 0))

    def test_no_test_fails(self):
        self.assertEqual(self.counts(self.fake("1..0\n")), (0, 1, 0))

    def test_only_skips_fail(self):
        self.assertEqual(self.counts(self.fake("1..1\nok - a::one  # SKIP no GPU\n")), (0, 1, 1))

    def test_no_report_fails_though_status_is_0(self):
        self.assertEqual(self.counts(self.fake(None)), (0, 1, 0))

    def test_short_report_fails(self):
        self.assertEqual(self.counts(self.fake("1..3\nok - a::one  (0.00s)\n")), (1, 1, 0))

    def test_status_against_report_fails(self):
        self.assertEqual(self.counts(self.fake("1..1\nok - a::one  (0.00s)\n", "exit 3")), (1, 1, 0))
        self.assertEqual(self.counts(self.fake("1..1\nnot ok - a::one  (0.00s)\n", "exit 0")), (0, 2, 0))

    def test_crash_after_the_report_fails(self):
        tally = self.fake("1..1\nok - a::one  (0.00s)\n", "kill -SEGV $$")
        self.assertEqual(self.counts(tally), (1, 1, 0))
        self.assertIn("SIGSEGV", tally.failures[0][1])

    def test_hang_fails_and_is_ended(self):
        limit, runner.LIMIT_S = runner.LIMIT_S, 1
        try:
            tally = self.fake("1..1\nok - a::one  (0.00s)\n", "sleep 60")
        finally:
            runner.LIMIT_S = limit
        self.assertEqual(self.counts(tally), (1, 1, 0))
        self.assertIn("ran past", tally.failures[0][1])


class TestPython(Case):
    def module(self, body):
        self.write("test_fake.py", "import os, unittest\nclass T(unittest.TestCase):\n" + textwrap.indent(
            textwrap.dedent(body), "    "))
        return runner.python("build", self.folder)

    def test_counts_each_test(self):
        tally = self.module("""\
            def test_ok(self): print("noise on standard output")
            def test_bad(self): self.assertEqual(1, 2)
            def test_error(self): {}["a"]
            @unittest.skip("no package")
            def test_skip(self): pass
            def test_sub(self):
                for k in range(3):
                    with self.subTest(k=k): self.assertNotEqual(k, 1)
            """)
        self.assertEqual(self.counts(tally), (1, 3, 1))
        self.assertEqual(tally.skips[0][1], "no package")

    def test_crash_loses_the_module_but_is_seen(self):
        tally = self.module("""\
            def test_a(self): pass
            def test_b(self): os.abort()
            def test_c(self): pass
            """)
        self.assertEqual(self.counts(tally), (1, 1, 0))
        self.assertIn("SIGABRT", tally.failures[0][1])

    def test_quiet_exit_is_seen(self):
        self.assertEqual(self.counts(self.module("def test_a(self): pass\ndef test_b(self): os._exit(0)\n")), (1, 1, 0))

    def test_broken_module_fails(self):
        self.write("test_fake.py", "import no_such_module_at_all\n")
        self.assertEqual(len(runner.python("build", self.folder).failures), 1)

    def test_empty_module_fails(self):
        self.write("test_fake.py", "x = 1\n")
        self.assertEqual(self.counts(runner.python("build", self.folder)), (0, 1, 0))

    def test_no_module_fails(self):
        self.assertEqual(self.counts(runner.python("build", self.folder)), (0, 1, 0))


class TestScripts(Case):
    def test_status_decides(self):
        self.write("ok.sh", "#!/bin/sh\n[ \"$1\" = build ] && [ \"$ACTSCOPE_BUILD\" = build ]\n")
        self.write("bad.sh", "#!/bin/sh\necho why; exit 1\n")
        self.write("skip.sh", "#!/bin/sh\necho 'no tool'; exit 77\n")
        self.write("crash.sh", "#!/bin/sh\nkill -ABRT $$\n")
        self.write("helper.sh", "exit 1\n", 0o644)
        tally = runner.scripts("build", self.folder)
        self.assertEqual(self.counts(tally), (1, 2, 1))
        self.assertIn("why", tally.failures[0][1])
        self.assertEqual(tally.skips[0][1], "no tool")


class TestSim(Case):
    def sim(self, said, ending="exit 0"):
        """A tree with the one target test-sim, and a make that says this for it."""
        self.write("Makefile", "test-sim:\n\tfalse\n")
        fake = self.write("make", f"#!/bin/sh\nprintf '%b\\n' '{said}'\n{ending}\n")
        keep = os.environ.get("MAKE")
        os.environ["MAKE"] = fake
        os.chdir(self.folder)
        try:
            return runner.sim("build")
        finally:
            os.environ.pop("MAKE")
            if keep is not None:
                os.environ["MAKE"] = keep

    def test_counts_of_the_last_line(self):
        self.assertEqual(self.counts(self.sim("noise\\n5 passed, 0 failed, 2 skipped")), (5, 0, 2))
        self.assertEqual(self.counts(self.sim("5 passed, 2 failed", "exit 2")), (5, 2, 0))

    def test_what_is_no_pass(self):
        for said, ending in (("5 passed, 0 failed", "exit 2"), ("5 passed, 0 failed", "kill -SEGV $$"), ("", "exit 0"),
                             ("5 passed, 1 failed", "exit 0"), ("0 passed, 0 failed, 3 skipped", "exit 0")):
            self.assertEqual(len(self.sim(said, ending).failures), 1, said)

    def test_no_target_is_nothing(self):
        self.write("Makefile", "other:\n")
        os.chdir(self.folder)
        self.assertEqual(self.counts(runner.sim("build")), (0, 0, 0))


class TestHeader(Case):
    def test_good_and_broken_headers(self):
        good = self.write("good.h", "#ifndef G\n#define G\nint actscope_f(void);\n#endif\n")
        self.assertEqual(self.counts(runner.header("build", good)), (3, 0, 0))
        unguarded = self.write("twice.h", "struct s { int a; };\n")
        self.assertEqual(self.counts(runner.header("build", unguarded)), (0, 3, 0))
        c_only = self.write("c.h", "#ifndef G\n#define G\nextern int *class;\n#endif\n")
        self.assertEqual(self.counts(runner.header("build", c_only)), (2, 1, 0))


class TestSymbols(Case):
    def build(self, source):
        path = self.write("lib.c", source)
        for command in (["cc", "-shared", "-fPIC", path, "-o", f"{self.folder}/libactscope.so"],
                        ["cc", "-c", path, "-o", f"{self.folder}/lib.o"],
                        ["ar", "rcs", f"{self.folder}/libactscope.a", f"{self.folder}/lib.o"]):
            subprocess.run(command, check=True)
        header = self.write("api.h", "ACTSCOPE_API int actscope_f(void);\nACTSCOPE_API extern const double actscope_v[3];\n"
                            "/* ACTSCOPE_API int actscope_in_prose(void); */\n#define ACTSCOPE_API\n")
        return runner.symbols(self.folder, header)

    def test_clean(self):
        self.assertEqual(self.counts(self.build("int actscope_f(void){return 0;} const double actscope_v[3]; "
                                                "static int g; int *actscope_p = &g;")), (3, 0, 0))

    def test_foreign_name(self):
        tally = self.build("int actscope_f(void){return 0;} const double actscope_v[3]; int stray;")
        self.assertEqual(self.counts(tally), (1, 2, 0))
        self.assertEqual(tally.failures[0][1], "stray")

    def test_missing_function(self):
        tally = self.build("const double actscope_v[3];")
        self.assertEqual(self.counts(tally), (2, 1, 0))
        self.assertEqual(tally.failures[0][1], "actscope_f")

    def test_no_library(self):
        self.assertEqual(len(runner.symbols(self.folder, os.path.join(ROOT, "include/actscope.h")).failures), 3)


class TestGpu(Case):
    def setUp(self):
        super().setUp()
        keep = os.environ.pop("ACTSCOPE_REQUIRE_GPU", None)
        self.addCleanup(lambda: os.environ.pop("ACTSCOPE_REQUIRE_GPU", None))
        if keep is not None:
            self.addCleanup(lambda: os.environ.__setitem__("ACTSCOPE_REQUIRE_GPU", keep))

    def test_missing_gpu_is_a_skip(self):
        self.assertEqual(self.counts(self.quiet(runner.gpu, self.folder)), (0, 0, 1))

    def info(self, devices, ending=""):
        self.write("actscope", f"#!/bin/sh\necho '{{\"devices\": [{devices}], \"no_gpu_reason\": \"no driver\"}}'\n{ending}\n")
        return self.quiet(runner.gpu, self.folder)

    def test_info_decides(self):
        self.assertEqual(self.counts(self.info('{"backend": "cpu"}, {"backend": "cuda"}')), (1, 0, 0))
        tally = self.info('{"backend": "cpu"}')
        self.assertEqual(self.counts(tally), (0, 0, 1))
        self.assertIn("no driver", tally.skips[0][1])

    def test_broken_info_is_a_failure(self):
        self.assertEqual(self.counts(self.info('{"backend": "cuda"}', "kill -SEGV $$")), (0, 1, 0))
        self.assertEqual(self.counts(self.info("nonsense")), (0, 1, 0))

    def test_required_gpu_is_a_failure(self):
        os.environ["ACTSCOPE_REQUIRE_GPU"] = "1"
        self.assertEqual(self.counts(self.quiet(runner.gpu, self.folder)), (0, 1, 0))


class TestOrder(Case):
    def test_sim_runs_beside_the_suites_before_it_and_device_alone(self):
        begun, ended, met = threading.Event(), threading.Event(), []

        def unit(build):
            met.append(begun.wait(20) and not ended.is_set())
            return runner.Tally()

        def sim(build):
            begun.set()
            while not met:
                time.sleep(0.01)
            ended.set()
            return runner.Tally()

        def device(build):
            met.append(ended.is_set())
            return runner.Tally()

        suites = (("unit", unit), ("sim", sim), ("device", device))
        self.assertEqual([name for name, *_ in runner.run_suites(suites, "build")], ["unit", "sim", "device"])
        self.assertEqual(met, [True, True])


class TestWhole(Case):
    def whole(self, *suites):
        done = subprocess.run([RUN, self.folder, *suites], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return done.returncode, done.stdout.decode().rstrip().splitlines()

    def test_last_line_and_status(self):
        status, lines = self.whole("header")
        self.assertEqual((status, lines[-1]), (0, "3 passed, 0 failed"))
        status, lines = self.whole("unit", "header")
        self.assertEqual((status, lines[-1]), (1, "3 passed, 1 failed"))

    def test_skips_are_in_the_last_line(self):
        environment = dict(os.environ, ACTSCOPE_REQUIRE_GPU="0")
        done = subprocess.run([RUN, self.folder, "header", "gpu"], cwd=ROOT, env=environment, stdout=subprocess.PIPE)
        text = done.stdout.decode()
        self.assertEqual(text.rstrip().splitlines()[-1], "3 passed, 0 failed, 1 skipped")
        self.assertIn("*** NO GPU", text)
        self.assertEqual(done.returncode, 0)

    def test_unknown_suite_is_refused(self):
        status, lines = self.whole("nonsense")
        self.assertNotEqual(status, 0)
        self.assertFalse(re.fullmatch(r"\d+ passed.*", lines[-1]))


if __name__ == "__main__":
    unittest.main()
