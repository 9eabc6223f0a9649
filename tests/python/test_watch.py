"""`actscope watch` on files as they come: growing by half a line, cut off, emptied, replaced; in a terminal and without one."""
import codecs, fcntl, os, pty, re, select, signal, struct, subprocess, tempfile, termios, time, unittest

import runs
from test_package import PROGRAM

LIMIT_S = 60


class Screen:
    """What a terminal shows of the sequences that the table uses; anything else is an error."""

    def __init__(self):
        self.lines, self.row, self.colours = [""], 0, set()
        self._decoder, self._rest = codecs.getincrementaldecoder("utf-8")(), ""

    def feed(self, data):
        text = self._rest + self._decoder.decode(data)
        cut = re.search("\x1b[^A-Za-z]*$", text)
        text, self._rest = (text[:cut.start()], cut.group()) if cut else (text, "")
        for piece in re.split("(\x1b\\[[0-9;?]*[A-Za-z]|\r?\n|\r)", text):
            if piece.startswith("\x1b["):
                number, kind = int(piece[2:-1] or 0), piece[-1]
                if kind == "m":
                    self.colours.add(number)
                elif kind == "F":
                    self.row = max(0, self.row - number)
                elif kind == "J" and number == 0:
                    del self.lines[self.row + 1:]
                    self.lines[self.row] = ""
                else:
                    raise AssertionError(f"unknown sequence {piece!r}")
            elif piece in ("\n", "\r\n"):
                self.row += 1
                if self.row == len(self.lines):
                    self.lines.append("")
            elif piece and piece != "\r":
                self.lines[self.row] += piece

    def text(self):
        return "\n".join(self.lines)


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "run.jsonl")

    def data(self, *records):
        """The bytes that the sink writes."""
        path = runs.write(self.path + ".made", records)
        with open(path, "rb") as file:
            data = file.read()
        os.unlink(path)
        return data

    def put(self, data, mode="ab"):
        with open(self.path, mode) as file:
            file.write(data)

    def start(self, *arguments, **settings):
        process = subprocess.Popen([PROGRAM, "watch", "--interval", "0.02", *arguments, self.path], **settings)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def once(self, *arguments):
        done = subprocess.run([PROGRAM, "watch", "--once", *arguments, self.path], capture_output=True, timeout=LIMIT_S)
        return done.stdout.decode().splitlines(), done.returncode, done.stderr.decode().replace(self.path, "FILE")


STEPS = list(runs.records(runs.layers(5), 6, bad={30: 3}))


class Lines(Case):
    def test_a_line_a_step_the_answer_first(self):
        self.put(self.data(*STEPS))
        lines, status, complaint = self.once()
        self.assertEqual((status, complaint, len(lines)), (0, "", 6))
        self.assertTrue(lines[0].startswith("step 0: ok; 5 layers; most constrained encoder.layers."), lines[0])
        self.assertTrue(lines[3].startswith("step 30: NaN or infinity in encoder.layers.2.mlp.down (gradient): 3 NaN, 1 infinite; 5 layers"), lines[3])
        self.assertTrue(lines[1].endswith("; warning: fc9 (activation): 64 KiB is too small"), lines[1])
        self.assertNotIn("\x1b", "".join(lines))

    def test_the_pair_that_is_most_alike(self):
        one, other = runs.with_cka(STEPS[0], 4), {**STEPS[1], "cka": None}
        names, matrix = one["cka"]["layers"], one["cka"]["matrix"]
        most, a, b = max((v, i, j) for i, row in enumerate(matrix) for j, v in enumerate(row) if i > j and v is not None)
        self.put(self.data(one, other))
        lines, status, complaint = self.once()
        self.assertEqual((status, complaint), (0, ""))
        self.assertTrue(lines[0].endswith(f"; most alike {names[a]} and {names[b]}, CKA {most:.2f}"), lines[0])
        self.assertNotIn("alike", lines[1])

    def test_names_cannot_draw(self):
        record = STEPS[0]
        layer = dict(record["layers"][0], name="a\x1b[31m\nb")
        self.put(self.data({**record, "layers": [layer], "warnings": ["w\x07"], "alarm": {"layer": "c\x1b[0m", "kind": "activation", "nan": None, "inf": None}}))
        (line,), status, _ = self.once()
        self.assertTrue(line.startswith(r"step 0: NaN or infinity in c\x1b[0m (activation); 1 layer; most constrained a\x1b[31m\nb"), line)
        self.assertTrue(line.endswith(r"warning: w\x07"))

    def test_what_is_not_there(self):
        self.assertEqual(self.once(), ([], 2, "actscope: FILE: No such file or directory\n"))
        self.put(self.data(STEPS[0])[:-1])
        self.assertEqual(self.once(), ([], 2, "actscope: FILE: there is no whole step in it\n"))
        self.put(b"\njunk\n" + self.data(STEPS[1]))
        lines, status, complaint = self.once()
        self.assertEqual((len(lines), status), (2, 2))
        self.assertRegex(complaint, r"^actscope: FILE: the line that ends at byte \d+: not JSON\n$")

    def test_follows(self):
        """Each change as soon as it is there, nothing twice, nothing that is not whole."""
        watched = self.start(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        said = watched.stderr.readline().decode()
        self.assertEqual(said, f"actscope: {self.path}: waiting for the first step\n")
        os.set_blocking(watched.stdout.fileno(), False)
        seen = []

        def lines(count):
            """The lines that come, at least `count`; a moment longer, so that one too many would be seen."""
            text, end = b"", time.monotonic() + LIMIT_S
            while time.monotonic() < end and text.count(b"\n") < count:
                select.select([watched.stdout], [], [], 0.1)
                text += watched.stdout.read() or b""
            time.sleep(0.1)
            text += watched.stdout.read() or b""
            return [line.split(";")[0] for line in text.decode().splitlines()]

        data = [self.data(record) for record in STEPS]
        self.put(data[0][:100])
        self.assertEqual(lines(0), [])
        self.put(data[0][100:] + data[1][:-1])
        self.assertEqual(lines(1), ["step 0: ok"])
        self.put(data[1][-1:])
        self.assertEqual(lines(1), ["step 10: ok"])
        # A writer dies in the middle of a step, and the next one cuts off what it left, as the sink does.
        self.put(data[2][:-100])
        self.assertEqual(lines(0), [])
        os.truncate(self.path, len(data[0] + data[1]))
        self.put(data[3] + data[4])
        self.assertEqual([line[:10] for line in lines(2)], ["step 30: N", "step 40: o"])
        # Emptied, as copytruncate does it.
        self.put(data[0], "wb")
        self.assertEqual(lines(1), ["step 0: ok"])
        # Replaced, as logrotate does it; the old file got one more step before.
        self.put(data[1])
        os.rename(self.path, self.path + ".1")
        self.put(data[4] + data[5], "wb")
        self.assertEqual(lines(3), ["step 10: ok", "step 40: ok", "step 50: ok"])
        # A line that is none of a monitor is named once, however often the file is read.
        self.put(b"junk\n" + data[2][:50])
        time.sleep(0.1)
        self.put(data[2][50:])
        self.assertEqual(lines(1), ["step 20: ok"])
        watched.send_signal(signal.SIGINT)
        self.assertEqual(watched.wait(LIMIT_S), 0)
        self.assertEqual(watched.stderr.read().decode().count("not JSON"), 1)
        watched.stdout.close()
        watched.stderr.close()

    def test_nobody_reads(self):
        self.put(self.data(*STEPS) * 40)
        watched = self.start(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        watched.stdout.readline()
        watched.stdout.close()
        self.assertEqual(watched.wait(LIMIT_S), 5)
        self.assertEqual(watched.stderr.read(), b"actscope: standard output: Broken pipe\n")
        watched.stderr.close()

    def test_usage(self):
        for arguments, status, word in ((("--help",), 0, "usage: actscope watch"), ((), 1, "no file"), (("--what", "x"), 1, "unknown option"),
                                        (("a", "b"), 1, "one file"), (("-",), 1, "only a file"), (("--interval", "x", "a"), 1, "wants seconds")):
            done = subprocess.run([PROGRAM, "watch", *arguments], capture_output=True, timeout=LIMIT_S)
            self.assertEqual(done.returncode, status)
            self.assertIn(word, (done.stdout if status == 0 else done.stderr).decode())


class Terminal(Case):
    def terminal(self, rows, columns, *arguments, **environment):
        """A watch in a terminal of its own, and the screen."""
        self.master, slave = pty.openpty()
        self.addCleanup(os.close, self.master)
        self.size(rows, columns)
        environment = {**{k: v for k, v in os.environ.items() if k != "NO_COLOR"}, **environment}
        process = self.start(*arguments, stdout=slave, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, env=environment)
        self.addCleanup(process.stderr.close)
        os.close(slave)
        self.screen = Screen()
        return process

    def size(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def wait(self, found):
        """Until the screen shows it, and nothing more comes."""
        end, there = time.monotonic() + LIMIT_S, True
        while there and time.monotonic() < end:
            if select.select([self.master], [], [], 0.2)[0]:
                try:
                    self.screen.feed(os.read(self.master, 1 << 16))
                    continue
                except OSError:  # the other end is closed
                    there = False
            if re.search(found, self.screen.text()):
                return
        self.fail(f"{found!r} never came:\n{self.screen.text()}")

    def test_in_place(self):
        self.put(self.data(STEPS[0]))
        watched = self.terminal(40, 100)
        self.wait("step 0, 5 layers")
        self.assertIn("no NaN or infinity in 1 step\n", self.screen.text())
        rows = lambda: [line.split()[0] for line in self.screen.lines if "24×" in line]
        self.assertEqual(rows(), ["0.attn.out", "1.mlp.up", "2.mlp.down", "2.mlp.down.gradient", "4.mlp.up"])
        for record in STEPS[1:4]:
            self.put(self.data(record))
        self.wait("step 30, ")
        self.assertEqual(self.screen.text().count("layers, measured in 12.5 ms"), 1, "one table, in place")
        self.assertEqual(len(rows()), 5)
        self.assertIn("\nNaN or infinity in encoder.layers.2.mlp.down (gradient): 3 NaN, 1 infinite\n", self.screen.text())
        self.assertTrue({1, 31} <= self.screen.colours)
        self.put(self.data(STEPS[4]))
        self.wait("step 40, ")
        self.assertIn("\nfinite; 1 of 5 steps were not, the last at 30: NaN or infinity in enc", self.screen.text())
        # Nothing is drawn where nothing is new.
        self.assertFalse(select.select([self.master], [], [], 0.3)[0])
        # A smaller window: fewer rows, the most constrained ones, and shorter lines.
        self.size(8, 60)
        self.wait("and 3 more; the most constrained are shown")
        self.assertLessEqual(len(self.screen.lines), 8)
        self.assertLessEqual(max(map(len, self.screen.lines)), 60)
        watched.send_signal(signal.SIGINT)
        self.assertEqual(watched.wait(LIMIT_S), 0)

    def test_400_layers_fit(self):
        self.put(self.data(*runs.records(runs.layers(400, "profile,health"), 1)))
        watched = self.terminal(24, 80, "--once")
        self.wait("and 38[0-9] more; the most constrained are shown")
        self.assertEqual(watched.wait(LIMIT_S), 0)
        self.assertLessEqual(len(self.screen.lines), 24)
        self.assertLessEqual(max(map(len, self.screen.lines)), 80)

    def test_the_pair_that_is_most_alike(self):
        self.put(self.data(runs.with_cka(STEPS[0])))
        watched = self.terminal(24, 100)
        self.wait("\nmost alike encoder.+ and encoder.+, CKA 0\\.\\d\\d\n")
        self.put(self.data(STEPS[2]))
        self.wait("step 20, ")
        self.assertNotIn("alike", self.screen.text())
        self.size(12, 100)
        self.put(self.data(runs.with_cka({**STEPS[3], "alarm": None})))
        self.wait("step 30, ")
        self.assertLessEqual(len(self.screen.lines), 12)

    def test_no_color(self):
        self.put(self.data(STEPS[3]))
        self.terminal(40, 100, NO_COLOR="1")
        self.wait("step 30, ")
        self.assertEqual(self.screen.colours, set())


if __name__ == "__main__":
    unittest.main()
