"""actscope.torch.Monitor on compiled models: one graph, the same numbers, nothing left in it on other steps."""
import os, unittest

try:
    import torch
    from torch import nn
except ImportError:
    torch = None

from test_monitor import Case, batches, names, network, train
import test_package  # sets the path up
from test_package import actscope

if torch:
    import actscope.torch
    from actscope.torch import _compiled

SUPPORTED = torch is not None and _compiled.SUPPORTED
# Inductor compiles C++: a minute on a busy machine. ACTSCOPE_TEST_INDUCTOR=1 asks for it.
BACKENDS = ("eager", "aot_eager") + (("inductor",) if os.environ.get("ACTSCOPE_TEST_INDUCTOR") == "1" else ())


if torch:
    class Tuples(nn.Module):
        def __init__(self):
            super().__init__()
            self.split, self.join = Split(), nn.Linear(4, 3)

        def forward(self, x):
            a, _, b = self.split(x)
            return self.join(a) * b.sum()

    class Split(nn.Module):
        def forward(self, x):
            return x * 2, x.argmax(-1), x.sin()


@unittest.skipUnless(SUPPORTED, "compiled models need PyTorch 2.4 or later" if torch else
                     "no PyTorch here; make test-python installs it")
class TestCompiled(Case):
    def graphs(self, backend):
        """A backend, and how many graphs it was given."""
        seen = []
        inner = torch._dynamo.lookup_backend(backend)

        def counted(graph, inputs):
            seen.append(graph)
            return inner(graph, inputs)

        torch._dynamo.reset()
        return counted, seen

    def run_model(self, model, call, count=5, every=2, **options):
        monitor = self.monitor(call, every, **options)
        torch.manual_seed(1)
        for x, y in batches(count):
            nn.functional.cross_entropy(call(x), y).backward()
            monitor.step()
        monitor.close()
        records, self.records[:] = list(self.records), []
        return records

    def test_equal_the_numbers_of_eager_code(self):
        want = self.run_model(*[network()] * 2, statistics="all", threads=1)
        for backend in BACKENDS:
            with self.subTest(backend):
                model = network()
                compiler, graphs = self.graphs(backend)
                records = self.run_model(model, torch.compile(model, backend=compiler, fullgraph=True), statistics="all", threads=1)
                self.assertEqual(len(graphs), 2)  # one that measures, one that does not
                operators = [sum("actscope" in str(node.target) or "autograd_function" in str(node.target) for node in g.graph.nodes)
                             for g in graphs]
                self.assertEqual(operators[1], 0)
                self.assertGreater(operators[0], 0)
                self.assertEqual([r["step"] for r in records], [0, 2, 4])
                for mine, eager in zip(records, want):
                    self.assertEqual([(l["name"], l["kind"]) for l in mine["layers"]], [(l["name"], l["kind"]) for l in eager["layers"]])
                    for a, b in zip(mine["layers"], eager["layers"]):
                        self.assertEqual((a["shape"], a["profile"]["count"]), (b["shape"], b["profile"]["count"]))
                        for path in (("profile", "mean"), ("profile", "l2_norm"), ("correlation", "mean_abs"), ("rank", "effective_rank")):
                            x, y = a[path[0]][path[1]], b[path[0]][path[1]]
                            self.assertTrue(x == y or abs(x - y) <= 1e-4 * max(abs(y), 1e-3), (a["name"], a["kind"], path, x, y))
                    self.assertEqual(mine["warnings"], [])

    def test_gradients_are_not_changed(self):
        gradients = []
        for wrap in (False, True):
            model = network()
            compiler, _ = self.graphs("aot_eager")
            self.run_model(model, torch.compile(model, backend=compiler, fullgraph=True) if wrap else model, count=2, every=1)
            gradients.append([p.grad for p in model.parameters()])
        for a, b in zip(*gradients):
            torch.testing.assert_close(a, b)

    def test_several_outputs(self):
        model = Tuples()
        compiler, graphs = self.graphs("aot_eager")
        call = torch.compile(model, backend=compiler, fullgraph=True)
        monitor = self.monitor(call)
        call(torch.randn(6, 4)).sum().backward()
        monitor.step()
        self.assertEqual(names(monitor.last, "activation"), ["split", "split#2", "join"])

    def test_compiled_in_place_and_in_part(self):
        model = network()
        compiler, graphs = self.graphs("eager")
        model.compile(backend=compiler, fullgraph=True)
        records = self.run_model(model, model, count=2, every=1)
        self.assertEqual([len(r["layers"]) for r in records], [16, 16])
        model = network()
        compiler, graphs = self.graphs("eager")
        model[5] = torch.compile(model[5], backend=compiler, fullgraph=True)
        records = self.run_model(model, model, count=3, every=2)
        self.assertEqual([r["step"] for r in records], [0, 2])
        self.assertEqual([len(r["layers"]) for r in records], [16, 16])

    def test_compiled_after_the_monitor_was_made(self):
        """Its hooks are not in that code: said aloud, never silently nothing."""
        model = network()
        monitor = self.monitor(model, every=2)
        train(model, batches(2), monitor)
        compiler, graphs = self.graphs("eager")
        model.compile(backend=compiler, fullgraph=True)
        train(model, batches(1), monitor)
        self.assertIn("make the monitor after compiling", monitor.warnings[-1])

    def test_on_and_off_and_closed(self):
        model = network()
        compiler, graphs = self.graphs("eager")
        call = torch.compile(model, backend=compiler, fullgraph=True)
        monitor = self.monitor(call, every=1)
        for i, (x, _) in enumerate(batches(5)):
            monitor.enabled = i % 2 == 0
            call(x)
            monitor.step()
        self.assertEqual(len(graphs), 2)
        monitor.close()
        self.assertEqual(self.steps(), [0, 2, 4])
        call(batches(1)[0][0])
        self.assertEqual(self.steps(), [0, 2, 4])

    def test_training_is_the_same(self):
        compiler, _ = self.graphs("aot_eager")
        plain, model = network(), network()
        want = train(torch.compile(plain, backend=compiler), batches(4))
        call = torch.compile(model, backend=compiler)
        got = train(call, batches(4), self.monitor(call, every=2))
        for a, b in zip(want, got):
            torch.testing.assert_close(a, b)

    def test_alarm(self):
        model, alarms = network(), []
        with torch.no_grad():
            model[5][0].weight[3] = float("inf")
        compiler, _ = self.graphs("aot_eager")
        call = torch.compile(model, backend=compiler, fullgraph=True)
        monitor = self.monitor(call, on_alarm=alarms.append)
        call(batches(1)[0][0])
        monitor.step()
        self.assertEqual([(a.layer, a.kind) for a in alarms], [("5.0", "activation")])


if __name__ == "__main__":
    unittest.main()
