"""actscope.torch.Monitor on the CPU: the numbers, the schedule, the hooks, and that training is never disturbed."""
import copy, ctypes, os, pickle, re, sys, tempfile, threading, unittest, warnings

try:
    import torch
    from torch import nn
except ImportError:
    torch = None

import test_package  # sets the path up
from test_package import actscope

if torch:
    import actscope.torch
    from actscope.torch import _probes
    torch.set_num_threads(1)

MODERN = torch is not None and int(torch.__version__.split(".")[0]) >= 2
needs_torch = unittest.skipUnless(torch, "no PyTorch here; make test-python installs it")


def network():
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten(),
                         nn.Sequential(nn.Linear(96, 20), nn.ReLU()), nn.Linear(20, 5))


def batches(count, size=24):
    generator = torch.Generator().manual_seed(5)
    return [(torch.randn(size, 2, 8, 8, generator=generator), torch.randint(5, (size,), generator=generator)) for _ in range(count)]


def train(model, data, monitor=None, step=True, passes=1):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for i, (x, y) in enumerate(data):
        nn.functional.cross_entropy(model(x), y).backward()
        if (i + 1) % passes == 0:
            optimizer.step()
            optimizer.zero_grad()
            if step and monitor is not None:
                monitor.step()
    return [p.detach().clone() for p in model.parameters()]


def names(record, kind=None):
    return [layer["name"] for layer in record["layers"] if kind in (None, layer["kind"])]


class Case(unittest.TestCase):
    def setUp(self):
        self.records = []
        catcher = warnings.catch_warnings(record=True)
        self.caught = catcher.__enter__()
        self.addCleanup(catcher.__exit__, None, None, None)
        warnings.simplefilter("always")

    def monitor(self, model, every=1, **options):
        monitor = actscope.torch.Monitor(model, every, sinks=[self.records.append], **options)
        self.addCleanup(monitor.close)
        return monitor

    def steps(self):
        return [record["step"] for record in self.records]


@needs_torch
class TestNumbers(Case):
    def test_equal_the_report_on_dumped_tensors(self):
        model, dumped = network(), {}
        monitor = self.monitor(model, statistics="all", threads=1)

        def dump(name):
            def hook(module, inputs, output):
                dumped[name, "activation"] = output.detach().clone()
                output.register_hook(lambda g: dumped.__setitem__((name, "gradient"), g.clone()))
            return hook

        for name, module in model.named_modules():
            if not any(module.children()):
                module.register_forward_hook(dump(name))
        train(model, batches(1), monitor)
        monitor.close()
        (record,) = self.records
        self.assertEqual(len(record["layers"]), 2 * 8)
        self.assertEqual({(layer["name"], layer["kind"]) for layer in record["layers"]}, set(dumped))
        for layer in record["layers"]:
            want = actscope.report({layer["name"]: dumped[layer["name"], layer["kind"]]}, threads=1)["layers"][0]
            for section in actscope._options.STATISTICS:
                self.assertEqual(layer[section], want[section], (layer["name"], layer["kind"], section))
            self.assertEqual((layer["shape"], layer["dtype"]), (want["shape"], want["dtype"]))
        self.assertEqual((record["schema"], record["step"], record["rank"], record["alarm"], record["warnings"]),
                         ("actscope-monitor/1", 0, 0, None, []))

    def test_single_pairs_and_features(self):
        model = nn.Sequential(nn.Linear(6, 12), nn.Identity(), nn.Linear(12, 4))
        with torch.no_grad():
            model[0].weight[3] = model[0].weight[7]  # features 3 and 7 differ by a constant
            model[0].weight[5] = 0  # constant
        seen = []
        model[0].register_forward_hook(lambda module, inputs, output: seen.append(output.detach().clone()))
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        paths = [os.path.join(folder.name, name) for name in ("run.jsonl", "run.csv")]
        asked = {"top_pairs": 2, "pairs_above": 0.1, "top_features": 3}
        monitor = actscope.torch.Monitor(model, 1, statistics="correlation", sinks=[self.records.append, *paths], **asked)
        model(torch.randn(30, 6)).sum().backward()
        monitor.close()
        want = actscope.report({"0": seen[0].numpy()}, statistics="correlation", device="cpu", **asked)["layers"][0]["correlation"]
        got = {(layer["name"], layer["kind"]): layer["correlation"] for layer in self.records[0]["layers"]}
        for place in (("0", "activation"), ("1", "activation")):  # the second is the same tensor, measured once
            for name in ("top_pairs", "pairs_above", "top_features", "pairless_features"):
                self.assertEqual(got[place][name], want[name], place)
        self.assertEqual((got["0", "activation"]["top_pairs"][0]["i"], got["0", "activation"]["top_pairs"][0]["j"]), (3, 7))
        self.assertEqual(got["0", "activation"]["pairless_features"], {"count": 1, "first": [5]})
        self.assertIn("Pairs of features with the largest |r|", actscope.html(paths[0]))
        with open(paths[1]) as file:
            self.assertNotIn("top_pairs", file.read())
        self.assertEqual(self.records[0]["warnings"], [])

    def test_order_of_the_calls(self):
        model = network()
        monitor = self.monitor(model)
        train(model, batches(1), monitor)
        forward = ["0", "1", "2", "3", "4", "5.0", "5.1", "6"]
        self.assertEqual(names(monitor.last, "activation"), forward)
        if MODERN:  # PyTorch 1 gives a hook the gradient of what an in-place module made of the tensor
            self.assertEqual(names(monitor.last, "gradient"), forward[::-1])
        self.assertEqual([layer["order"] for layer in monitor.last["layers"]], list(range(16)))

    def test_features(self):
        class Blocks(nn.Module):
            def __init__(self):
                super().__init__()
                self.tokens, self.image = nn.Linear(6, 5), nn.Conv2d(3, 4, 3)

            def forward(self, x, y):
                self.seen = self.tokens(x), self.image(y)
                return self.seen

        model = Blocks()
        x, y = torch.randn(8, 7, 6), torch.randn(8, 3, 9, 9)
        for features, tokens, image in (("flatten", (8, 35), (8, 196)), ("channels", (8 * 5, 7), (8 * 49, 4)), ("last", (56, 5), (8 * 28, 7))):
            with self.subTest(features):
                monitor = self.monitor(model, statistics="all", features=features, gradients=False)
                model(x, y)
                monitor.step()
                layers = monitor.last["layers"]
                self.assertEqual([(layer["samples"], layer["features"]) for layer in layers], [tokens, image])
                if features == "last":
                    want = actscope.report(model.seen[0].detach().flatten(0, 1).contiguous())["layers"][0]
                    self.assertAlmostEqual(layers[0]["correlation"]["mean_abs"], want["correlation"]["mean_abs"], places=6)
                    self.assertEqual(layers[0]["shape"], [8, 7, 5])
                monitor.close()

    def test_element_types(self):
        model = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4))
        monitor = self.monitor(model)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(torch.randn(8, 6)).float().square().mean()
        loss.backward()
        monitor.step()
        self.assertEqual([layer["dtype"] for layer in monitor.last["layers"]], ["bfloat16"] * 4)
        model.double()(torch.randn(8, 6).double())
        monitor.step()
        self.assertEqual([layer["dtype"] for layer in monitor.last["layers"]], ["float64"] * 2)
        self.assertEqual(monitor.last["warnings"], [])

    def test_gradients_can_be_left_out(self):
        model = network()
        monitor = self.monitor(model, gradients=False)
        train(model, batches(1), monitor)
        self.assertEqual(len(names(monitor.last, "activation")), 8)
        self.assertEqual(names(monitor.last, "gradient"), [])

    def test_without_a_graph(self):
        model = network()
        monitor = self.monitor(model)
        with torch.no_grad():
            model(batches(1)[0][0])
        monitor.step()
        self.assertEqual((len(names(monitor.last, "activation")), names(monitor.last, "gradient")), (8, []))
        self.assertEqual(list(monitor.warnings), [])

    def test_part_of_the_statistics(self):
        model = network()
        monitor = self.monitor(model, statistics="health", distinct="sketch")
        train(model, batches(1), monitor)
        self.assertIn("health", monitor.last["layers"][0])
        self.assertNotIn("profile", monitor.last["layers"][0])

    def asked(self, **options):
        """What a record holds of activations, and of gradients."""
        model = network()
        monitor = self.monitor(model, **options)
        train(model, batches(1), monitor)
        self.assertEqual(monitor.last["warnings"], [])
        found = {}
        for layer in monitor.last["layers"]:
            words = [s for s in actscope._options.STATISTICS if s in layer]
            if "profile" in words and layer["profile"]["entropy"] is None:
                self.assertIsNone(layer["profile"]["quantiles"])
                self.assertIsNotNone(layer["profile"]["l2_norm"])
                words[words.index("profile")] = "moments"
            self.assertEqual(found.setdefault(layer["kind"], words), words)
        return found.get("activation"), found.get("gradient")

    def test_what_is_measured_unless_asked(self):
        self.assertEqual(self.asked(), (["profile", "health"], ["moments", "health"]))
        self.assertEqual(self.asked(statistics="profile,distinct"), (["profile", "distinct"],) * 2)
        self.assertEqual(self.asked(gradients=["health"]), (["profile", "health"], ["health"]))
        self.assertEqual(self.asked(statistics="moments", gradients="distinct,health"), (["moments"], ["distinct", "health"]))
        self.assertEqual(self.asked(gradients=False), (["profile", "health"], None))


class Box(nn.Module if torch else object):
    """Modules that hand on the numbers of others: a view, the very tensor, and a container's last."""

    def __init__(self, change=lambda x: x):
        super().__init__()
        self.linear, self.relu, self.flatten, self.same = nn.Linear(6, 6), nn.ReLU(inplace=True), nn.Flatten(), nn.Identity()
        self.change = change

    def forward(self, x):
        return self.change(self.same(self.flatten(self.relu(self.linear(x)))))


@needs_torch
class TestTheSameNumbers(Case):
    def measured(self, model, inputs, steps=1, **options):
        """The places that were measured by the library, of all steps, and the monitor."""
        done, original = [], _probes.Probe.enqueue

        def counted(probe, *arguments):
            done.append((probe.place.name, probe.place.kind))
            return original(probe, *arguments)

        monitor = self.monitor(model, layers="*", statistics="all", threads=1, **options)
        _probes.Probe.enqueue = counted
        try:
            for _ in range(steps):
                model(inputs).sum().backward()
                monitor.step()
        finally:
            _probes.Probe.enqueue = original
        self.assertEqual(monitor.last["warnings"], [])
        return done, monitor

    def test_are_measured_once(self):
        model = nn.Sequential(Box(), nn.Sequential(nn.Linear(18, 4)))
        done, monitor = self.measured(model, torch.randn(8, 3, 6), steps=2)
        # A ReLU that works in place keeps the memory, not the numbers; nor is a gradient an activation.
        wanted = [("0.linear", "activation"), ("0.relu", "activation"), ("1.0", "activation"), ("1.0", "gradient"), ("0.flatten", "gradient"),
                  ("0.linear", "gradient")]
        if MODERN:
            self.assertEqual(done, 2 * wanted)
        layers = {(layer["name"], layer["kind"]): layer for layer in monitor.last["layers"]}
        self.assertEqual(len(layers), 14)
        self.assertEqual([layer["order"] for layer in monitor.last["layers"]], list(range(14)))
        without = lambda layer: {k: v for k, v in layer.items() if k not in ("name", "order", "shape", "seconds")}
        for kind in ("activation", "gradient"):
            for one, other in (("0.relu", "0.flatten"), ("0.relu", "0.same"), ("0.relu", "0"), ("1.0", "1")):
                self.assertEqual(without(layers[one, kind]), without(layers[other, kind]), (one, other, kind))
            if kind == "activation" or MODERN:
                self.assertNotEqual(layers["0.linear", kind]["profile"], layers["0.relu", kind]["profile"])
        self.assertEqual((layers["0.relu", "activation"]["shape"], layers["0", "activation"]["shape"]), ([8, 3, 6], [8, 18]))
        self.assertEqual(layers["0", "activation"]["seconds"], 0)
        self.assertEqual(monitor.last["seconds"], sum(layer["seconds"] for layer in layers.values()))

    def test_are_measured_again_where_they_may_be_others(self):
        times = lambda done, name: done.count((name, "activation"))
        x = torch.randn(8, 3, 6)
        with self.subTest("other samples"):
            done, _ = self.measured(nn.Sequential(nn.Identity(), nn.Flatten(0, 1)), x.clone().requires_grad_())
            self.assertEqual(times(done, "1"), 1)
        with self.subTest("other features"):
            done, _ = self.measured(nn.Sequential(nn.Identity(), nn.Flatten()), x.clone().requires_grad_(), features="channels")
            self.assertEqual(times(done, "1"), 1)
        with self.subTest("other strides"):
            class Swap(nn.Module):
                def forward(self, x):
                    return x.transpose(0, 1)
            done, _ = self.measured(nn.Sequential(nn.Identity(), Swap()), torch.randn(4, 4, requires_grad=True))
            self.assertEqual(times(done, "1"), 1)
        with self.subTest("passes that one record covers"):
            done, _ = self.measured(Box(), x, accumulate=2, distinct="sketch")
            self.assertEqual(times(done, "same"), 1)
        with self.subTest("memory that was given back and used again"), torch.no_grad():
            class Loses(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.a, self.b = nn.Linear(64, 64), nn.Linear(64, 64)

                def forward(self, x):
                    self.a(x)
                    return self.b(x)
            model, seen = Loses(), []
            monitor = self.monitor(model, statistics="moments")
            model.b.register_forward_hook(lambda m, i, o: seen.append(o.max().item()))
            for _ in range(20):
                model(torch.randn(32, 64))
                monitor.step()
                self.assertEqual(monitor.last["layers"][1]["profile"]["max"], seen[-1])
        with self.subTest("no versions are counted"), torch.inference_mode():
            model = Box(lambda x: x.mul_(2))
            monitor = self.monitor(model, layers="*", statistics="moments")
            model(x)
            monitor.step()
            self.assertEqual(monitor.last["warnings"], [])

    def test_a_gradient_in_the_memory_of_its_activation(self):
        class HalfSquare(torch.autograd.Function):
            @staticmethod
            def forward(context, x):
                context.x = x
                return x.square().sum() / 2

            @staticmethod
            def backward(context, _):
                return context.x.detach()

        model = nn.Linear(6, 5)
        monitor = self.monitor(model, statistics="health", gradients="moments")
        HalfSquare.apply(model(torch.randn(8, 6))).backward()
        monitor.step()
        self.assertEqual([("health" in layer, "profile" in layer) for layer in monitor.last["layers"]], [(True, False), (False, True)])

    def test_changed_in_place_inside_a_container(self):
        class Outer(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner, self.after = nn.Linear(6, 6), nn.Identity()

            def forward(self, x):
                return self.after(self.inner(x).mul_(2))

        done, monitor = self.measured(Outer(), torch.randn(8, 6))
        found = {layer["name"]: layer["profile"]["max"] for layer in monitor.last["layers"] if layer["kind"] == "activation"}
        self.assertEqual(found["after"], 2 * found["inner"])


def reference_cka(x, y):
    """Debiased linear CKA in double precision."""
    def hsic(k, m):
        n = len(k)
        k, m = k - torch.diag(k.diag()), m - torch.diag(m.diag())
        return ((k * m).sum() + k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (k.sum(0) * m.sum(0)).sum()) / (n * (n - 3))
    grams = []
    for z in (x, y):
        z = z.double() - z.double().mean(0)
        grams.append(z @ z.T)
    k, m = grams
    return (hsic(k, m) / (hsic(k, k) * hsic(m, m)).sqrt()).item()


@needs_torch
class TestCka(Case):
    def test_the_matrix(self):
        model, seen = network().eval(), {}
        monitor = self.monitor(model, statistics="moments,cka")
        for i, module in enumerate(model):
            module.register_forward_hook(lambda m, a, o, i=i: seen.__setitem__(str(i), o.detach().flatten(1).clone()))
        train(model, batches(3), monitor)
        monitor.close()
        self.assertIsNone(self.records[0]["cka"])
        for record in self.records[1:]:
            self.assertEqual(record["cka"]["layers"], names(record, "activation"))
            self.assertEqual(record["warnings"], [])
        layers, matrix = monitor.last["cka"]["layers"], monitor.last["cka"]["matrix"]
        seen["5.1"] = seen.pop("5")
        for i, one in enumerate(layers):
            for j, other in enumerate(layers):
                if one in seen and other in seen:
                    self.assertLess(abs(matrix[i][j] - reference_cka(seen[one], seen[other])), 2e-5, (one, other))
        self.assertGreater(monitor.last["seconds"], sum(layer["seconds"] for layer in monitor.last["layers"]))

    def test_what_the_features_are(self):
        x, model = torch.randn(9, 4, 5), nn.Sequential(nn.Linear(5, 7), nn.Tanh())
        for features, samples in (("flatten", 9), ("channels", 9 * 7), ("last", 9 * 4)):
            with self.subTest(features):
                monitor = self.monitor(model, statistics="moments,cka", features=features)
                with torch.no_grad():
                    outputs = []
                    for module in model:
                        outputs.append(module(outputs[-1] if outputs else x))
                    for _ in range(2):
                        model(x)
                        monitor.step()
                shaped = [y.flatten(1) if features == "flatten" else y.transpose(1, 2).flatten(0, 1) if features == "channels"
                          else y.flatten(0, 1) for y in outputs]
                self.assertEqual(len(shaped[0]), samples)
                self.assertLess(abs(monitor.last["cka"]["matrix"][0][1] - reference_cka(*shaped)), 2e-5)
                monitor.close()

    def test_layers_that_are_not_called_and_other_shapes(self):
        class Deep(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = network()

            def forward(self, x, upto):
                for module in self.inner[:upto]:
                    x = module(x)
                return x

        model, x = Deep(), batches(1)[0][0]
        monitor = self.monitor(model, statistics="moments,cka")
        for size, upto, shown in ((24, 7, None), (24, 7, 8), (24, 3, 3), (24, 7, 8), (10, 7, None), (24, 7, None), (24, 7, 8)):
            model(x[:size], upto).sum().backward()
            monitor.step()
            cka = monitor.last["cka"]
            self.assertEqual(cka and cka["layers"], shown and names(monitor.last, "activation"), (size, upto))
        self.assertEqual(list(monitor.warnings), [])

    def test_the_last_pass_of_several(self):
        model = nn.Sequential(nn.Linear(5, 7), nn.Tanh())
        monitor = self.monitor(model, statistics="moments,cka", accumulate=2)
        with torch.no_grad():
            for _ in range(4):
                x = torch.randn(12, 5)
                model(x)
        monitor.step()
        monitor.close()
        first = model[0](x).detach()
        self.assertEqual(self.steps(), [0, 1])
        self.assertLess(abs(monitor.last["cka"]["matrix"][0][1] - reference_cka(first, first.tanh())), 2e-5)

    def test_memory(self):
        model = network()
        shapes = [(str(i), "float32", (64, *shape)) for i, shape in enumerate([(6, 8, 8)] * 3 + [(6, 4, 4), (96,), (20,), (20,), (5,)])]
        least = 2 * actscope.minimum_budget(shapes, statistics="cka", threads=1, device="cpu")
        monitor = self.monitor(model, statistics="moments,cka", memory=least + 80000, threads=1)
        train(model, batches(2, 64), monitor)
        self.assertLessEqual(monitor.memory_bytes, least + 80000)
        (said,) = monitor.last["warnings"]
        self.assertRegex(said, "cka: [1-7] of 8 layers do not fit the memory, the first [2-6]")
        matrix = monitor.last["cka"]["matrix"]
        self.assertEqual(matrix[7], [None] * 8)
        self.assertEqual(matrix[0][0], 1)
        monitor = self.monitor(network(), statistics="moments,cka", memory=least - 4000, threads=1)
        train(monitor._model, batches(3, 64), monitor)
        self.assertIsNone(monitor.last["cka"])
        self.assertEqual(len(monitor.last["layers"]), 16)
        (said,) = monitor.warnings  # the first time only
        stated = re.fullmatch(rf"cka: memory={least - 4000} holds no plan of the layers; the smallest that would is memory=(\d+)", said)
        for memory, want in ((int(stated[1]) - 1, "holds no plan"), (int(stated[1]), "do not fit")):
            monitor = self.monitor(network(), statistics="moments,cka", memory=memory, threads=1)
            train(monitor._model, batches(2, 64), monitor)
            self.assertIn(want, monitor.warnings[0])

    def test_too_many_samples_and_what_is_refused(self):
        model = nn.Linear(2, 2)
        monitor = self.monitor(model, statistics="moments,cka")
        for _ in range(3):
            model(torch.randn(5000, 2))
            monitor.step()
        self.assertEqual([("cka" in line and "5000 samples" in line) for line in monitor.warnings], [True])
        self.assertEqual(len(monitor.last["layers"]), 1)
        for options in ({"statistics": "cka"}, {"gradients": "health,cka"}):
            with self.subTest(options), self.assertRaises(actscope.InvalidArgumentError):
                self.monitor(model, **options)

    def test_without(self):
        model = network()
        monitor = self.monitor(model)
        train(model, batches(2), monitor)
        self.assertNotIn("cka", monitor.last)


@needs_torch
class TestSchedule(Case):
    def measured(self, count, step=True, passes=1, prepare=None, **options):
        self.records.clear()
        model = network()
        monitor = self.monitor(model, layers="6", **options)
        if prepare:
            prepare(monitor)
        train(model, batches(count, 4), monitor, step, passes)
        monitor.close()
        return self.steps()

    def test_every_start_stop(self):
        for step in (True, False):  # with step(), and by forward passes alone
            self.assertEqual(self.measured(7, step, every=3), [0, 3, 6])
            self.assertEqual(self.measured(9, step, every=3, start=2, stop=8), [2, 5])
            self.assertEqual(self.measured(4, step, every=1, start=1, stop=3), [1, 2])
            self.assertEqual(self.measured(3, step, every=5, start=4), [])

    def test_accumulate(self):
        for step in (True, False):
            self.assertEqual(self.measured(12, step, passes=3, accumulate=3, every=2), [0, 2])

    def test_micro_batches_are_one_step(self):
        model, seen = network().eval(), []
        monitor = self.monitor(model, accumulate=3, layers="6", distinct="sketch", gradients=True)
        model[6].register_forward_hook(lambda m, i, o: seen.append(o.detach().clone()))
        train(model, batches(6, 8), monitor, passes=3)
        monitor.close()
        self.assertEqual(self.steps(), [0, 1])
        for record, passes in zip(self.records, (seen[:3], seen[3:])):
            self.assertEqual([(layer["name"], layer["kind"]) for layer in record["layers"]], [("6", "activation"), ("6", "gradient")])
            self.assertEqual([layer["passes"] for layer in record["layers"]], [3, 3])
            want = actscope.report(torch.cat(passes), distinct="sketch")["layers"][0]
            for field in ("count", "min", "max", "negative"):
                self.assertEqual(record["layers"][0]["profile"][field], want["profile"][field])
            self.assertAlmostEqual(record["layers"][0]["profile"]["variance"], want["profile"]["variance"], places=6)

    def test_a_step_cut_short_does_not_leak_into_the_next(self):
        model = network().eval()
        monitor = self.monitor(model, accumulate=3, layers="6", gradients=False)
        for passes in (2, 3, 1):
            for x, _ in batches(passes, 8):
                model(x)
            monitor.step()
        monitor.close()
        self.assertEqual([r["layers"][0]["passes"] for r in self.records], [2, 3, 1])
        self.assertEqual([r["layers"][0]["profile"]["count"] for r in self.records], [2 * 40, 3 * 40, 40])

    def test_on_and_off(self):
        model, data = network(), batches(8, 4)
        monitor = self.monitor(model, layers="6")
        for i, batch in enumerate(data):
            monitor.enabled = i not in (2, 3, 6)
            train(model, [batch], monitor)
        monitor.close()
        self.assertEqual(self.steps(), [0, 1, 4, 5, 7])

    def test_goes_on_from_a_checkpoint(self):
        def prepare(monitor):
            monitor.current_step = 98
        self.assertEqual(self.measured(5, every=100, prepare=prepare), [100])

    def test_context_manager_writes_an_unfinished_step(self):
        model = network()
        with self.monitor(model, every=2) as monitor:
            train(model, batches(3), monitor, step=False)
        self.assertEqual(self.steps(), [0, 2])
        self.assertEqual(len(self.records[-1]["layers"]), 16)
        self.assertFalse(any(m._forward_hooks or m._forward_pre_hooks for m in model.modules()))
        model(batches(1)[0][0])
        monitor.step()
        monitor.close()

    def test_no_hooks_on_other_steps(self):
        model = network()
        monitor = self.monitor(model, every=3)
        hooked = []
        for batch in batches(6, 4):
            model(batch[0])
            hooked.append(sum(len(m._forward_hooks) for m in model.modules()))
            monitor.step()
            self.assertEqual(sum(len(m._forward_hooks) for m in model.modules()), 0)
        self.assertEqual(hooked, [8, 0, 0, 8, 0, 0])


@needs_torch
class TestLayers(Case):
    def test_patterns(self):
        model = network()
        for layers, exclude, want in ((None, None, ["0", "1", "2", "3", "4", "5.0", "5.1", "6"]), ("5*", None, ["5", "5.0", "5.1"]),
                                      (["0", "6"], None, ["0", "6"]), (None, ["[1-4]", "*.1"], ["0", "5.0", "6"])):
            self.assertEqual(self.monitor(model, layers=layers, exclude=exclude).layers, want)
        with self.assertRaisesRegex(actscope.InvalidArgumentError, "no module matches"):
            self.monitor(model, layers="encoder.*")
        with self.assertRaisesRegex(actscope.InvalidArgumentError, "no module matches"):
            self.monitor(model, exclude="*")
        self.assertEqual(self.monitor(nn.Linear(2, 2)).layers, ["Linear"])

    def test_called_twice_and_several_outputs(self):
        class Twice(nn.Module):
            def __init__(self):
                super().__init__()
                self.shared, self.memory = nn.Linear(4, 4), nn.LSTM(4, 3)
                self.table = Table()

            def forward(self, x):
                return self.table(self.memory(self.shared(self.shared(x)))[0])

        class Table(nn.Module):
            def forward(self, x):
                return {"a": x * 2, "index": x.argmax(-1), "text": "x"}

        model = Twice()
        monitor = self.monitor(model)
        for _ in range(2):
            model(torch.randn(6, 5, 4))["a"].sum().backward()
            monitor.step()
        # Of the LSTM's output, hidden and cell state, the second member is itself a tuple and is left out.
        self.assertEqual(names(monitor.last, "activation"), ["shared", "shared#2", "memory[0]", "table[a]"])
        self.assertEqual(sorted(names(monitor.last, "gradient")), ["memory[0]", "shared", "shared#2", "table[a]"])

    @unittest.skipUnless(MODERN, "PyTorch 1 does not tell whether it is in a backward pass")
    def test_recomputation_is_not_counted(self):
        from torch.utils.checkpoint import checkpoint

        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

            def forward(self, x):
                return self.b(checkpoint(self.a, x, use_reentrant=False))

        model = Model()
        monitor = self.monitor(model)
        model(torch.randn(6, 4)).sum().backward()
        monitor.step()
        self.assertEqual(names(monitor.last, "activation"), ["a", "b"])

    def test_copies_and_pickles_of_the_model(self):
        model = network()
        monitor = self.monitor(model)
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            other(batches(1)[0][0])
        self.assertIsNone(monitor.last)
        train(model, batches(1), monitor)
        self.assertEqual(self.monitor(model).layers, monitor.layers)
        self.assertEqual(len(monitor.last["layers"]), 16)

    def test_refused(self):
        with self.assertRaisesRegex(TypeError, "nn.Module"):
            actscope.torch.Monitor(lambda x: x)
        with self.assertRaises(actscope.UnsupportedError):
            actscope.torch.Monitor(torch.jit.script(nn.Linear(2, 2)))
        with self.assertRaises(actscope.UnsupportedError):
            actscope.torch.Monitor(nn.DataParallel(nn.Linear(2, 2)))
        model = nn.Linear(2, 2)
        for options in ({"every": 0}, {"start": -1}, {"start": 5, "stop": 4}, {"accumulate": 0}, {"features": "all"}, {"statistics": "mean"},
                        {"memory": "much"}, {"seed": "x"}, {"statistics": "distinct", "on_alarm": print}):
            with self.subTest(options), self.assertRaises(actscope.InvalidArgumentError):
                actscope.torch.Monitor(model, **options)
        for options in ({"colour": "red"}, {"channels": True}):
            with self.subTest(options), self.assertRaises(TypeError):
                actscope.torch.Monitor(model, **options)
        self.assertEqual(len(model._forward_pre_hooks), 0)


@needs_torch
class TestRobustness(Case):
    def test_training_is_the_same_with_and_without(self):
        plain = train(network(), batches(6))
        model = network()
        for options in ({}, {"memory": "1KiB"}, {"statistics": "all", "every": 2}):
            model = network()
            watched = train(model, batches(6), self.monitor(model, **options))
            self.assertTrue(all(torch.equal(a, b) for a, b in zip(plain, watched)), options)

    def test_failing_layers_are_warnings(self):
        class Odd(nn.Module):
            def __init__(self):
                super().__init__()
                self.fine, self.sparse = nn.Linear(4, 4), Sparse()

            def forward(self, x):
                return self.sparse(self.fine(x)).to_dense()

        class Sparse(nn.Module):
            def forward(self, x):
                return x.to_sparse()

        model = Odd()
        monitor = self.monitor(model)
        for _ in range(3):
            model(torch.randn(6, 4)).sum().backward()
            monitor.step()
        self.assertEqual(names(monitor.last, "activation"), ["fine"])
        self.assertTrue(any("sparse (activation): " in line and "layout" in line for line in monitor.last["warnings"]))
        said = [str(w.message) for w in self.caught if "sparse (activation)" in str(w.message)]
        self.assertEqual(len(said), 1)  # the first time only

    def test_memory_cap(self):
        model = network()
        monitor = self.monitor(model, memory="1MiB", statistics="all", threads=1)
        train(model, batches(2), monitor)
        self.assertEqual(len(monitor.last["layers"]), 16, monitor.last["warnings"])
        self.assertLessEqual(monitor.memory_bytes, 1 << 20)
        self.records.clear()
        tight = self.monitor(network(), memory="2KiB")
        train(tight._model, batches(1), tight)
        self.assertEqual(tight.last["layers"], [])
        self.assertRegex(tight.last["warnings"][0], r"^0 \(activation\): memory='2KiB' holds no method; memory=\d+ would do$")

    def test_the_memory_that_a_warning_states_would_do(self):
        """Given back as it reads, it does, and where layers share a workspace nothing smaller."""
        def refused(memory, passes=1, **options):
            monitor = self.monitor(network(), memory=memory, threads=1, accumulate=passes, distinct="sketch", **options)
            train(monitor._model, batches(passes), monitor, passes=passes)
            said = [re.fullmatch(rf"(\S+) \((activation|gradient)\): memory={memory!r} holds no method; memory=(\d+) would do", line)
                    for line in monitor.last["warnings"] if not line.startswith("cka")]
            monitor.close()
            return {(m[1], m[2]): int(m[3]) for m in said}, len(monitor.last["layers"])

        for options in ({}, {"statistics": "all"}, {"passes": 2}, {"passes": 2, "statistics": "all"}, {"statistics": "moments,cka"}):
            with self.subTest(options):
                stated, measured = refused("3KiB", **options)
                self.assertEqual((len(stated), measured), (16, 0))
                self.assertEqual(refused(max(stated.values()), **options), ({}, 16))
                first = stated["0", "activation"]
                self.assertNotIn(("0", "activation"), refused(first, **options)[0])
                if "passes" not in options:
                    self.assertIn(("0", "activation"), refused(first - 1, **options)[0])

    def test_the_memory_that_would_do_beside_what_others_hold(self):
        place, given = _probes.Place("a", "activation"), {"activation": {"statistics": "all", "distinct": "sketch", "threads": 1}}

        def tried(memory, x, passes, prepare):
            probes = _probes.Probes(given, memory, passes, 2, "flatten")
            self.addCleanup(probes.close)
            prepare(probes)
            try:
                probes.measure(place, x, 0)
            except _probes.MemoryTooSmall as error:
                return error.memory

        def another_stream(probes):
            probes._workspaces[torch.device("cpu"), 1] = (None, 0, 50000)

        def larger(probes):  # more than a part, as it is there
            probes.measure(_probes.Place("b", "activation"), torch.randn(64, 3000), 0)

        for x, passes, prepare, little in ((torch.randn(8, 4), 1, another_stream, 60000), (torch.randn(8, 4), 2, larger, 1100000)):
            stated = tried(little, x, passes, prepare)
            self.assertGreater(stated, little)
            self.assertIsNone(tried(stated, x, passes, prepare))
            if passes == 1:
                self.assertEqual(tried(stated - 1, x, passes, prepare), stated)

    def test_changing_shapes_stay_below_the_cap(self):
        model = nn.Sequential(nn.Linear(6, 5), nn.ReLU())
        monitor = self.monitor(model, memory="1MiB", threads=1)
        for length in range(3, 60):
            model(torch.randn(length, 6)).sum().backward()
            monitor.step()
            self.assertLessEqual(monitor.memory_bytes, 1 << 20)
            self.assertEqual([layer["samples"] for layer in monitor.last["layers"]], [length] * 4)

    def test_nothing_is_allocated_after_the_first_step_on_a_shape(self):
        model, made = network(), []
        monitor = self.monitor(model)
        original = _probes.Probe.__init__

        def counted(*arguments):
            made.append(1)
            return original(*arguments)

        _probes.Probe.__init__ = counted
        try:
            train(model, batches(1), monitor)
            self.assertEqual(len(made), 14)  # the pool's output is the flattened one
            workspaces = dict(monitor._probes._workspaces)
            train(model, batches(3), monitor)
            self.assertEqual(len(made), 14)
            self.assertEqual(workspaces, monitor._probes._workspaces)
            train(model, batches(1, 7), monitor)
            self.assertEqual(len(made), 28)
            train(model, batches(1), monitor)
            self.assertEqual(len(made), 28)
        finally:
            _probes.Probe.__init__ = original

    def test_backward_on_another_thread(self):
        model = network()
        monitor = self.monitor(model)
        loss = nn.functional.cross_entropy(model(batches(1)[0][0]), batches(1)[0][1])
        thread = threading.Thread(target=loss.backward)
        thread.start()
        thread.join()
        monitor.step()
        self.assertEqual(len(names(monitor.last, "gradient")), 8)

    def test_an_exception_of_the_model_passes(self):
        class Fails(nn.Module):
            def __init__(self):
                super().__init__()
                self.a = nn.Linear(3, 3)

            def forward(self, x):
                if self.a(x).isnan().any():
                    raise KeyError("mine")
                return x

        model = Fails()
        monitor = self.monitor(model)
        with self.assertRaises(KeyError):
            model(torch.full((2, 3), float("nan")))
        model(torch.ones(2, 3))
        monitor.step()
        self.assertEqual(names(monitor.last), ["a"])

    def test_late_backward_is_left_out(self):
        model = network()
        monitor = self.monitor(model)
        loss = nn.functional.cross_entropy(model(batches(1)[0][0]), batches(1)[0][1])
        monitor.step()
        loss.backward()
        monitor.step()
        self.assertEqual(names(monitor.last, "gradient"), [])

    def test_distributed(self):
        if not torch.distributed.is_available():
            self.skipTest("this PyTorch has no torch.distributed")
        import tempfile
        with tempfile.TemporaryDirectory() as folder:
            torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=0, world_size=1)
            try:
                model = nn.parallel.DistributedDataParallel(network())
                monitor = self.monitor(model, layers=["module.6", "*.5.*"])
                train(model, batches(3), monitor)
                self.assertEqual(names(monitor.last, "gradient"), ["module.6", "module.5.1", "module.5.0"])
                idle = self.monitor(model, ranks=[1])
                train(model, batches(1), idle)
                self.assertIsNone(idle.last)
            finally:
                torch.distributed.destroy_process_group()


@needs_torch
class TestAlarm(Case):
    def poisoned(self):
        model = network()
        with torch.no_grad():
            model[5][0].weight[3] = float("inf")
        return model

    def test_names_the_first_layer_in_call_order(self):
        model, alarms = self.poisoned(), []
        monitor = self.monitor(model, on_alarm=alarms.append)
        train(model, batches(1), monitor)
        (alarm,) = alarms
        self.assertEqual((alarm.step, alarm.layer, alarm.kind, alarm.order), (0, "5.0", "activation", 5))
        self.assertEqual(alarm.nan + alarm.inf, 24)
        self.assertEqual(monitor.last["alarm"], alarm._asdict())
        train(model, batches(2), monitor)
        self.assertEqual([a.step for a in alarms], [0, 1, 2])
        healthy = self.monitor(network(), on_alarm=alarms.append)
        train(healthy._model, batches(1), healthy)
        self.assertEqual(len(alarms), 3)

    def test_in_a_gradient(self):
        class Root(nn.Module):
            def forward(self, x):
                return (x - x).sqrt()  # infinite slope at 0

        model, alarms = nn.Sequential(nn.Linear(3, 3), Root()), []
        monitor = self.monitor(model, on_alarm=alarms.append, statistics="health")
        model(torch.randn(4, 3)).sum().backward()
        monitor.step()
        self.assertEqual([(a.layer, a.kind, a.nan) for a in alarms], [("0", "gradient", None)])

    def test_what_it_raises_stops_the_training(self):
        def stop(alarm):
            raise FloatingPointError(alarm.layer)

        model = self.poisoned()
        monitor = self.monitor(model, on_alarm=stop)
        with self.assertRaisesRegex(FloatingPointError, "5.0"):
            train(model, batches(1), monitor)
        monitor.close()
        self.assertEqual(self.records[-1]["alarm"]["layer"], "5.0")


if __name__ == "__main__":
    unittest.main()
