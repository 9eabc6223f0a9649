"""Sinks of a monitor: what they write, off the training thread, and what is left of it after kill -9."""
import csv, json, os, random, re, signal, subprocess, sys, tempfile, textwrap, threading, time, unittest

import numpy as np

import test_package  # sets the path up
from test_package import ROOT, activations, actscope
from actscope import _fields, sinks
from actscope._writer import CAPACITY, Writer

try:
    import torch
    from torch.utils.tensorboard import SummaryWriter
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
except ImportError:
    EventAccumulator = None


def record(step, layers=3, alarm=None, warnings=()):
    """A record of a monitor, from real reports."""
    arrays = {f"block.{i}\"\\": activations(12, 5 + i) for i in range(layers)}
    reports = actscope.report(arrays, threads=1)["layers"] if layers else []
    for order, layer in enumerate(reports):
        del layer["source"], layer["role"]
        layer.update(kind="activation" if order % 2 == 0 else "gradient", order=order)
    return {"schema": sinks.SCHEMA, "step": step, "time": 1e9 + step / 3, "rank": 0, "seconds": 0.25, "layers": reports,
            "alarm": alarm, "warnings": list(warnings)}


RECORDS = [record(10 * i, layers) for i, layers in enumerate((3, 1, 4, 2))]


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.complaints = []

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, *all_sinks, records=RECORDS):
        writer = Writer([sinks.make(sink) for sink in all_sinks], self.complaints.append)
        for r in records:
            self.assertTrue(writer.put(lambda r=r: r))
        writer.close()


class TestJSONL(Case):
    def test_lines(self):
        path = self.path("run.jsonl")
        self.write(path)
        with open(path) as file:
            lines = [json.loads(line) for line in file]
        self.assertEqual([line["type"] for line in lines], ["layer"] * 3 + ["step"] + ["layer", "step"] + ["layer"] * 4 + ["step"] + ["layer"] * 2 + ["step"])
        self.assertTrue(all(line["schema"] == sinks.SCHEMA for line in lines))
        self.assertEqual({k: v for k, v in lines[1].items() if k not in ("schema", "type", "step")}, RECORDS[0]["layers"][1])
        last = {k: v for k, v in lines[3].items() if k not in ("type", "layers")}
        self.assertEqual(last, {k: v for k, v in RECORDS[0].items() if k != "layers"})
        self.assertEqual((lines[3]["layers"], lines[-1]["step"]), (3, 30))

    def test_opened_again_after_a_cut_at_any_byte(self):
        path = self.path("run.jsonl")
        sink = sinks.JSONL(path)
        sink.open()
        ends = [0]
        for r in RECORDS:
            sink.write(r)
            ends.append(os.path.getsize(path))
        sink.close()
        with open(path, "rb") as file:
            whole = file.read()
        for cut in [*range(ends[-2], ends[-1] + 1, 37), ends[-1] - 1, ends[-1], *random.Random(1).sample(range(ends[-2]), 40), *ends]:
            with open(path, "wb") as file:
                file.write(whole[:cut])
            sink = sinks.JSONL(path)
            sink.open()
            kept = max(end for end in ends if end <= cut)
            self.assertEqual((sink.repaired, os.path.getsize(path)), (cut - kept, kept), cut)
            sink.write(RECORDS[1])
            sink.close()
            with open(path, "rb") as file:
                text = file.read()
            self.assertEqual(text[:kept], whole[:kept])
            self.assertEqual(json.loads(text.splitlines()[-1])["step"], 10)

    def test_long_steps_are_cut_off_whole(self):
        path = self.path("run.jsonl")
        big = {**RECORDS[0], "step": 7, "layers": RECORDS[0]["layers"] * 60}
        self.write(path, records=[RECORDS[1], big])
        size = os.path.getsize(path)
        self.assertGreater(size, 3 << 16)
        os.truncate(path, size - 1)
        sink = sinks.JSONL(path)
        sink.open()
        sink.close()
        with open(path) as file:
            self.assertEqual([json.loads(line)["step"] for line in file], [10, 10])

    def test_lines_of_others_stay(self):
        path = self.path("run.jsonl")
        with open(path, "w") as file:
            file.write('{"mine": 1}\n')
        self.write(path, records=RECORDS[:1])
        with open(path) as file:
            self.assertEqual(json.loads(file.readline()), {"mine": 1})


class TestCSV(Case):
    def read(self, path):
        with open(path, newline="") as file:
            return list(csv.DictReader(file))

    def test_rows(self):
        path = self.path("run.csv")
        self.write(path)
        rows = self.read(path)
        self.assertEqual([(row["step"], row["order"], row["layers"]) for row in rows],
                         [(str(r["step"]), str(i), str(len(r["layers"]))) for r in RECORDS for i in range(len(r["layers"]))])
        numbers = _fields.flatten(RECORDS[0]["layers"][2])
        self.assertEqual(len(numbers), len(_fields.columns()))
        for column, value in numbers.items():
            text = rows[2][column]
            self.assertEqual(text if isinstance(value, str) else None if text == "" else float(text), value, column)
        self.assertEqual((rows[2]["name"], rows[2]["shape"], rows[2]["kind"]), ('block.2"\\', "12x7", "activation"))
        self.assertEqual(float(rows[0]["time"]), RECORDS[0]["time"])

    def test_the_columns_do_not_depend_on_what_was_measured(self):
        part = record(5)
        for layer in part["layers"]:
            del layer["correlation"], layer["distinct"]
        path = self.path("run.csv")
        self.write(path, records=[part, RECORDS[0]])
        rows = self.read(path)
        self.assertEqual(rows[0]["correlation.mean_abs"], "")
        self.assertNotEqual(rows[3]["correlation.mean_abs"], "")
        self.assertEqual(set(rows[0]), set(rows[3]))

    def test_columns_of_the_program(self):
        """The paths are those of `actscope report --format csv`."""
        x = self.path("x.npy")
        np.save(x, activations(8, 3))
        out = subprocess.run([test_package.PROGRAM, "report", "-q", "--format", "csv", x], capture_output=True, text=True).stdout
        theirs = [column for column in out.splitlines()[0].split(",") if column.split(".")[0] in actscope._options.STATISTICS and "." in column]
        self.assertEqual(sorted(_fields.columns()), sorted(theirs))

    def test_opened_again_after_a_cut_at_any_byte(self):
        path = self.path("run.csv")
        sink = sinks.CSV(path)
        sink.open()
        header = os.path.getsize(path)
        ends = [0, header]
        for r in RECORDS:
            sink.write(r)
            ends.append(os.path.getsize(path))
        sink.close()
        with open(path, "rb") as file:
            whole = file.read()
        for cut in [*range(ends[-3], ends[-1] + 1, 53), ends[-1] - 1, *random.Random(2).sample(range(ends[-2]), 40), *ends]:
            with open(path, "wb") as file:
                file.write(whole[:cut])
            sink = sinks.CSV(path)
            sink.open()
            kept = max(end for end in ends if end <= cut)
            self.assertEqual(os.path.getsize(path), max(kept, header), cut)
            sink.write(RECORDS[1])
            sink.close()
            rows = self.read(path)
            steps = [s for s, end in zip((r["step"] for r in RECORDS), ends[2:]) if end <= cut] + [10]
            self.assertEqual(sorted({int(row["step"]) for row in rows}), sorted(set(steps)))

    def test_another_file_is_refused(self):
        path = self.path("run.csv")
        with open(path, "w") as file:
            file.write("a,b\n1,2\n")
        with self.assertRaisesRegex(ValueError, "other columns"):
            sinks.CSV(path).open()
        with open(path) as file:
            self.assertEqual(file.read(), "a,b\n1,2\n")


class TestPrometheus(Case):
    LINE = re.compile(r'([a-z0-9_]+)\{((?:[a-z]+="(?:[^"\\\n]|\\.)*",?)+)\} (\S+)')

    def test_text(self):
        path = self.path("run.prom")
        self.write(path, records=[{**RECORDS[0], "alarm": {"layer": "a"}, "warnings": ["x", "y"]}, RECORDS[2]])
        with open(path) as file:
            lines = file.read().splitlines()
        samples, typed = {}, set()
        for line in lines:
            if line.startswith("# TYPE"):
                typed.add(line.split()[2])
            elif not line.startswith("#"):
                name, labels, value = self.LINE.fullmatch(line).groups()
                self.assertIn(name, typed)
                samples[name, re.search(r'layer="((?:[^"\\]|\\.)*)"', labels).group(1) if "layer=" in labels else ""] = float(value)
        self.assertEqual(samples["actscope_step", ""], 20)
        self.assertEqual((samples["actscope_alarms_total", ""], samples["actscope_warnings_total", ""]), (1, 2))
        self.assertEqual(samples["actscope_profile_mean", r'block.3\"\\'], RECORDS[2]["layers"][3]["profile"]["mean"])
        self.assertEqual(len([1 for name, _ in samples if name == "actscope_health_dead"]), 4)

    def test_replaced_atomically(self):
        path, stop, seen = self.path("run.prom"), threading.Event(), set()

        def read():
            while not stop.is_set():
                try:
                    with open(path) as file:
                        text = file.read()
                except FileNotFoundError:
                    continue
                seen.add((text.startswith("# HELP actscope_step"), text.count("actscope_profile_mean{"), text.endswith("\n")))

        reader = threading.Thread(target=read)
        reader.start()
        for _ in range(20):
            self.write(path, records=[RECORDS[0]])
        stop.set()
        reader.join()
        self.assertLessEqual(seen, {(True, 3, True)})
        self.assertEqual(os.listdir(self.folder), ["run.prom"])

    def test_wrong_folder(self):
        with self.assertRaises(OSError):
            sinks.Prometheus(self.path("no/run.prom")).open()


@unittest.skipUnless(EventAccumulator, "no PyTorch with tensorboard here; make test-python installs both")
class TestTensorBoard(Case):
    def test_scalars_and_histograms(self):
        folder = self.path("events")
        self.write(folder + "/")
        self.assertEqual(self.complaints, [])
        events = EventAccumulator(folder, size_guidance={"scalars": 0, "histograms": 0})
        events.Reload()
        layer = RECORDS[0]["layers"][0]
        scalars = events.Scalars(f"activation/correlation.mean_abs/{layer['name']}")
        self.assertEqual([s.step for s in scalars], [0, 10, 20, 30])
        self.assertAlmostEqual(scalars[0].value, layer["correlation"]["mean_abs"], places=6)
        h = events.Histograms(f"activation/abs_correlation/{layer['name']}")[0].histogram_value
        self.assertEqual(sum(h.bucket), layer["correlation"]["pairs"])
        v = events.Histograms(f"activation/values/{layer['name']}")[0].histogram_value
        self.assertEqual((v.num, v.min), (60, layer["profile"]["min"]))
        self.assertAlmostEqual(sum(v.bucket), 60)
        self.assertEqual(list(v.bucket_limit), sorted(v.bucket_limit))
        self.assertAlmostEqual(v.sum, layer["profile"]["mean"] * 60, places=4)
        held = {upto: n for upto, n in zip(v.bucket_limit, v.bucket) if n}
        x = np.array([-3.0, -3.5, -0.1, 0, 1e-20, 0.3, 1, 1.49, 1.5, 70000], np.float32)
        buckets = actscope.report(x)["layers"][0]["profile"]["buckets"]
        limits = sinks.bucket_limits(buckets)
        self.assertEqual({upto: n for upto, n in zip(limits, buckets["counts"]) if n},
                         {-3.0: 2, -0.09375: 1, 2.0**-40: 1, 1.5 * 2.0**-40: 1, 0.375: 1, 1.5: 2, 2.0: 1, 65536.0: 1})
        self.assertEqual(held, {upto: n for upto, n in zip(sinks.bucket_limits(layer["profile"]["buckets"]),
                                                           layer["profile"]["buckets"]["counts"]) if n})


class TestWriter(Case):
    def test_off_the_training_thread_and_in_order(self):
        seen = []
        self.write(lambda r: seen.append((r["step"], threading.get_ident())))
        self.assertEqual([step for step, _ in seen], [0, 10, 20, 30])
        self.assertEqual(len({ident for _, ident in seen} - {threading.get_ident()}), 1)

    def test_a_sink_that_fails_stops_nothing(self):
        def fail(r):
            raise RuntimeError(f"no {r['step']}")

        seen = []
        self.write(fail, lambda r: seen.append(r["step"]))
        self.assertEqual(seen, [0, 10, 20, 30])
        self.assertEqual(len(self.complaints), 4)
        self.assertIn("no 10", self.complaints[1])

    def test_a_sink_that_hangs_neither_blocks_nor_eats_memory(self):
        gate, seen = threading.Event(), []
        writer = Writer([sinks.make(lambda r: (gate.wait(), seen.append(r)))], self.complaints.append)
        results = [writer.put(lambda i=i: i) for i in range(CAPACITY + 50)]
        self.assertTrue(all(results[:CAPACITY]))
        self.assertFalse(any(results[CAPACITY + 1:]))
        gate.set()
        writer.close()
        self.assertEqual(seen, list(range(len(seen))))
        self.assertGreaterEqual(len(seen), CAPACITY)

    def test_flush(self):
        path = self.path("run.jsonl")
        writer = Writer([sinks.JSONL(path)], self.complaints.append)
        for r in RECORDS:
            writer.put(lambda r=r: r)
            self.assertTrue(writer.flush())
            with open(path) as file:
                self.assertEqual(json.loads(file.read().splitlines()[-1])["step"], r["step"])
        writer.close()

    def test_opened_where_the_monitor_is_made(self):
        with self.assertRaises(OSError):
            Writer([sinks.JSONL(self.path("no/run.jsonl"))], self.complaints.append)
        first = sinks.JSONL(self.path("run.jsonl"))
        with self.assertRaises(OSError):
            Writer([first, sinks.CSV(self.path("no/run.csv"))], self.complaints.append)
        writer = Writer([sinks.JSONL(first.path)], self.complaints.append)  # the first one was closed again
        with self.assertRaisesRegex(OSError, "another monitor"):
            sinks.JSONL(first.path).open()
        writer.close()
        sinks.JSONL(first.path).open()

    def test_a_full_disk_leaves_whole_steps(self):
        path = self.path("run.jsonl")
        sink, real = sinks.JSONL(path), os.write
        sink.open()
        sink.write(RECORDS[0])
        size = os.path.getsize(path)

        def full(descriptor, data):
            if len(data) <= 100:
                raise OSError(28, "No space left on device")
            return real(descriptor, data[:-100])

        os.write = full
        try:
            with self.assertRaises(OSError):
                sink.write(RECORDS[1])
        finally:
            os.write = real
        self.assertEqual(os.path.getsize(path), size)
        sink.write(RECORDS[2])
        sink.close()
        with open(path) as file:
            self.assertEqual([json.loads(line)["step"] for line in file if '"type":"step"' in line], [0, 20])

    def test_names(self):
        for name, kind in (("a.jsonl", sinks.JSONL), ("a.csv", sinks.CSV), ("a.prom", sinks.Prometheus), ("a/", sinks.TensorBoard)):
            self.assertIs(type(sinks.make(name)), kind)
        with self.assertRaises(ValueError):
            sinks.make("a.txt")


class TestKilled(Case):
    """A process that writes as fast as it can is killed at some moment; what it had announced as flushed must be there."""

    CODE = """
        import json, sys; sys.path.insert(0, {package!r})
        from actscope._writer import Writer
        from actscope import sinks
        records = json.load(open({records!r}))
        writer = Writer([sinks.make(p) for p in {paths!r}], print)
        for step in range({first}, 10 ** 6):
            r = {{**records[step % 4], "step": step}}
            writer.put(lambda r=r: r)
            if step % 5 == 0:
                writer.flush()
                print(step, flush=True)
    """

    def test_kill_9(self):
        paths = [self.path(name) for name in ("run.jsonl", "run.csv", "run.prom")]
        first, rng, records = 0, random.Random(4), self.path("records.json")
        with open(records, "w") as file:
            json.dump(RECORDS, file)
        for round in range(3):
            code = textwrap.dedent(self.CODE).format(package=os.path.join(ROOT, "python"), records=records, paths=paths, first=first)
            child = subprocess.Popen([sys.executable, "-B", "-c", code], stdout=subprocess.PIPE, text=True)
            flushed = int(child.stdout.readline())
            for _ in range(rng.randrange(1, 8)):
                flushed = int(child.stdout.readline())
            time.sleep(rng.random() * 0.05)
            child.kill()
            rest = child.communicate()[0].split()
            flushed = int(rest[-1]) if rest and rest[-1].isdigit() and len(rest) > 1 else flushed
            sink, table = sinks.JSONL(paths[0]), sinks.CSV(paths[1])
            for s in (sink, table):  # opening repairs; then everything is whole
                s.open()
                s.close()
            with open(paths[0]) as file:
                lines = [json.loads(line) for line in file]
            steps = [line["step"] for line in lines if line["type"] == "step"]
            self.assertEqual(steps, list(range(len(steps))))
            self.assertGreaterEqual(steps[-1], flushed)
            for step in steps[-3:]:
                of = [line for line in lines if line["step"] == step]
                self.assertEqual(len(of) - 1, of[-1]["layers"])
            with open(paths[1], newline="") as file:
                rows = list(csv.DictReader(file))
            counts = {}
            for row in rows:
                counts[int(row["step"])] = counts.get(int(row["step"]), 0) + 1
                self.assertIsNotNone(row["rank.effective_rank"])
            self.assertGreaterEqual(max(counts), flushed)
            self.assertEqual(sorted(counts), list(range(max(counts) + 1)))
            self.assertTrue(all(n == len(RECORDS[step % 4]["layers"]) for step, n in counts.items()))
            with open(paths[2]) as file:
                self.assertTrue(file.read().endswith("\n"))
            # The sinks are written one after the other, so one may be a step ahead: go on from what both have.
            first = min(len(steps), max(counts) + 1)
            for path, number in ((paths[0], lambda line: json.loads(line)["step"]), (paths[1], lambda line: int(line.split(",")[0]))):
                with open(path) as file:
                    kept = [line for line in file if line.startswith("step,") or number(line) < first]
                with open(path, "w") as file:
                    file.writelines(kept)


if __name__ == "__main__":
    unittest.main()
