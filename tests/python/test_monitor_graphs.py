"""actscope.torch.Monitor where CUDA graphs are captured and replayed, with PyTorch's answers about the GPU in place of one:
tensors without data that say they are on a GPU, and a capture that is said to be under way."""
import ctypes, unittest
from unittest import mock

try:
    import torch
    from torch import nn
except ImportError:
    torch = None
try:
    from torch._subclasses.fake_tensor import FakeTensorMode
except ImportError:
    FakeTensorMode = None

from test_monitor import Case, batches, network, names, needs_torch, train
import test_package  # sets the path up
from test_package import actscope

if torch:
    import actscope.torch
    from actscope.torch import _compiled, _monitor, _probes


class Stream:
    cuda_stream = 7


class Graphs(Case):
    def setUp(self):
        super().setUp()
        self.capturing, self.made = False, []
        create = _probes.library.actscope_plan_create

        def created(*arguments):
            self.made.append(1)
            return create(*arguments)

        for where, name, what in ((torch.cuda, "is_current_stream_capturing", lambda: self.capturing),
                                  (torch.cuda, "current_stream", lambda device=None: Stream()),
                                  (_probes, "library", mock.Mock(wraps=_probes.library, actscope_plan_create=created))):
            patch = mock.patch.object(where, name, what)
            patch.start()
            self.addCleanup(patch.stop)

    def said(self):
        return [str(w.message) for w in self.caught]


class Owes:
    """A probe of a GPU that has not finished; counts who asks."""

    def __init__(self):
        self.asked, self.busy, self.on_gpu = 0, True, True

    def finished(self):
        self.asked += 1
        return False

    def wait(self):
        self.asked += 1
        raise actscope.DeviceError("gone")


@needs_torch
@unittest.skipUnless(FakeTensorMode, "this PyTorch has no tensors without data")
class TestCapture(Graphs):
    def on_gpu(self, **options):
        """A monitor of a model on a GPU, and a forward pass of it."""
        fake = FakeTensorMode()
        with fake:
            model = nn.Sequential(nn.Linear(4, 3, device="cuda"), nn.ReLU(), nn.Linear(3, 2, device="cuda"))

        def forward():
            with fake:
                return model(torch.randn(5, 4, device="cuda"))
        return self.monitor(model, **options), forward

    def test_is_refused_with_one_warning_and_nothing_is_made(self):
        for options in ({}, {"statistics": "moments,cka"}, {"accumulate": 2}):
            with self.subTest(options):
                self.caught.clear(), self.made.clear(), self.records.clear()
                monitor, forward = self.on_gpu(**options)
                self.capturing = True
                for _ in range(options.get("accumulate", 1)):
                    y = forward()
                monitor._on_gradient(_probes.Place("2", "gradient"), 0, y)
                monitor.step()
                self.capturing = False
                monitor.flush()
                self.assertEqual(self.made, [])
                self.assertEqual(self.said(), ["actscope: " + _monitor._CAPTURED])
                self.assertEqual([(r["step"], r["layers"], r["warnings"]) for r in self.records], [(0, [], [_monitor._CAPTURED])])
                for _ in range(3):  # replays
                    monitor.step()
                self.assertEqual(self.said()[1:], ["actscope: " + _monitor._NO_PASS])
                self.assertEqual(list(monitor.warnings), [_monitor._CAPTURED, _monitor._NO_PASS])

    def test_outside_a_capture_a_plan_is_asked_for(self):
        monitor, forward = self.on_gpu()
        forward()
        monitor.step()
        self.assertGreater(len(self.made), 0)  # without a GPU it fails, with a warning for each layer
        self.assertNotIn(_monitor._CAPTURED, monitor.warnings)

    def test_the_second_step_warns_in_its_record_too(self):
        monitor, forward = self.on_gpu()
        self.capturing = True
        for _ in range(2):
            forward()
            monitor.step()
        self.capturing = False
        monitor.flush()
        self.assertEqual([r["warnings"] for r in self.records], [[_monitor._CAPTURED]] * 2)
        self.assertEqual(len(self.caught), 1)

    def test_a_plan_on_a_gpu_is_remembered(self):
        monitor, forward = self.on_gpu()
        probe = mock.Mock(on_gpu=True, workspace_bytes=0, step=-1, busy=False, handle=ctypes.c_void_p())
        probe.report.side_effect = actscope.DeviceError("gone")
        with mock.patch.object(_probes, "Probe", lambda *arguments: probe):
            forward()
        self.capturing = True
        with self.assertRaises(actscope.UnsupportedError):
            monitor.close()
        self.capturing = False

    @unittest.skipUnless(_compiled.SUPPORTED if torch else False, "compiled models need PyTorch 2.4 or later")
    def test_replays_of_compiled_code(self):
        """Its graphs are nobody's fault who made the monitor."""
        model = network()
        model.compile(backend="eager")
        monitor = self.monitor(model)
        self.capturing = True
        with FakeTensorMode():
            monitor._observe_compiled(0, torch.randn(5, 4, device="cuda"), "activation")
        monitor.step()
        self.capturing = False
        monitor.step()
        self.assertEqual(list(monitor.warnings), [_monitor._CAPTURED, _monitor._NO_PASS])

    def test_a_model_on_the_cpu_is_measured(self):
        """A capture is of the GPU's work."""
        self.capturing = True
        model = network()
        monitor = self.monitor(model)
        train(model, batches(1), monitor)
        self.assertEqual(len(monitor.last["layers"]), 16)
        monitor.close()


@needs_torch
class TestReports(Graphs):
    def owing(self):
        model = network()
        monitor, probe = self.monitor(model, every=10), Owes()
        train(model, batches(1), monitor)
        head = {"step": 0, "time": 0.0, "rank": 0, "alarm": None, "warnings": []}
        monitor._waiting.append((head, [_monitor.Entry(0, probe, _probes.Place("0", "activation"), (1,), None)]))
        monitor._probes.on_gpu = True
        return model, monitor, probe

    def test_are_not_asked_for_during_a_capture(self):
        model, monitor, probe = self.owing()
        self.capturing = True
        model(batches(1)[0][0])
        monitor.step()
        monitor.flush()
        self.assertEqual(probe.asked, 0)
        self.capturing = False
        monitor.step()
        self.assertEqual(probe.asked, 1)

    def test_a_monitor_is_not_closed_during_a_capture(self):
        model, monitor, probe = self.owing()
        self.capturing = True
        with self.assertRaisesRegex(actscope.UnsupportedError, "capture: close it outside"):
            monitor.close()
        self.assertEqual(probe.asked, 0)
        self.capturing = False
        monitor.close()
        self.assertEqual(probe.asked, 1)
        self.assertEqual([r["step"] for r in self.records], [0, 0])
        self.capturing = True
        monitor.close()  # nothing is left to wait for


@needs_torch
class TestReplays(Case):
    def test_steps_without_a_forward_pass_are_one_warning(self):
        monitor = self.monitor(network(), every=1)
        for _ in range(3):
            monitor.step()
        self.assertEqual([str(w.message) for w in self.caught], ["actscope: " + _monitor._NO_PASS])
        self.assertEqual(list(monitor.warnings), [_monitor._NO_PASS])
        self.assertEqual((self.records, monitor.current_step), ([], 3))

    def test_the_model_itself_at_measured_steps(self):
        model, every = network(), 3
        monitor = self.monitor(model, every=every)
        for x, _ in batches(7):
            if monitor.current_step % every == 0:
                with torch.no_grad():
                    model(x)
            monitor.step()  # behind a replay
        monitor.close()
        self.assertEqual(self.steps(), [0, 3, 6])
        self.assertEqual([len(names(r)) for r in self.records], [8] * 3)
        self.assertEqual(self.caught, [])

    def test_what_is_not_measured_says_nothing(self):
        monitor = self.monitor(network(), every=10, start=5)
        for i in range(5):
            monitor.step()
        monitor.enabled = False
        for i in range(20):
            monitor.step()
        self.assertEqual(self.caught, [])


if __name__ == "__main__":
    unittest.main()
