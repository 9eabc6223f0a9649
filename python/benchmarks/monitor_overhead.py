#!/usr/bin/env python3
"""What a Monitor costs a training loop: two equal models trained in turn, step by step, one with a monitor and one without.

    python python/benchmarks/monitor_overhead.py [--statistics default] [--every 10] [--steps 90] [--batch 64]
    python python/benchmarks/monitor_overhead.py --pairs 60 [--rest 1] [--statistics default] [--every 10] [--batch 64]

Every third step is measured, so that there are enough of both kinds. Prints medians of the plain steps, of the monitored
model's steps that are not measured and of those that are, in wall time and in processor time (which other programs on the
machine disturb less), and what they make when every k-th step is measured:

    ((every - 1) * skipped + measured) / (every * plain) - 1

The last columns are the processor time inside the monitor's own functions, on skipped and on measured steps, and its share at
every k-th step: no difference of two large numbers, so the steadiest figure on a machine that does other things.

With --pairs one model trains in blocks of `every` steps, one block with a monitor and one without in turn, which of the two first
alternating from pair to pair: whole training on against off, in wall time. Printed are the median of the pairs' ratios less 1, an
interval that holds their true median 95 times in 100, and their quartiles. --rest leaves the machine to others between blocks,
where chrt -f 50 puts them above the others; a block and a rest that together take more than a second also keep such a process
below the share of time that Linux lets it have.

Each line is one set of statistics, of activations and gradients alike; "default" is what Monitor measures when nothing is
asked for. --twice also trains the second model without a monitor, which shows the noise.
"""
import argparse
import math
import os
import platform
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

import torch
from torch import nn

import actscope.torch


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(inplace=True),
        nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.BatchNorm2d(64), nn.ReLU(inplace=True),
        nn.Conv2d(64, 128, 3, stride=2, padding=1), nn.BatchNorm2d(128), nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))


class Training:
    def __init__(self, batch):
        self.model = network()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9)
        generator = torch.Generator().manual_seed(1)
        self.x, self.y = torch.randn(batch, 3, 32, 32, generator=generator), torch.randint(10, (batch,), generator=generator)

    def step(self, monitor=None):
        """(wall, processor) seconds of one step."""
        wall, cpu = time.perf_counter(), time.process_time()
        self.optimizer.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(self.model(self.x), self.y).backward()
        self.optimizer.step()
        if monitor is not None:
            monitor.step()
        return time.perf_counter() - wall, time.process_time() - cpu


MEASURED = 3  # every third step


class Clock:
    """Adds up the processor time inside some methods of a monitor, nested calls once."""

    def __init__(self, monitor, names=("_on_pass", "_on_output", "_on_gradient", "step")):
        self.spent, self.depth = 0.0, 0
        for name in names:
            setattr(monitor, name, self.timed(getattr(monitor, name)))

    def timed(self, function):
        def call(*arguments):
            self.depth += 1
            began = time.process_time()
            try:
                return function(*arguments)
            finally:
                self.depth -= 1
                if self.depth == 0:
                    self.spent += time.process_time() - began
        return call


def compare(wanted, layers, steps, batch, sinks, monitored=True, **options):
    plain, watched = Training(batch), Training(batch)
    monitor, clock = None, None
    if monitored:
        monitor = actscope.torch.Monitor(watched.model, every=MEASURED, layers=layers,
                                         statistics=None if wanted == "default" else wanted, sinks=sinks, **options)
        clock = Clock(monitor)
        monitor._root_handle.remove()
        monitor._root_handle = watched.model.register_forward_pre_hook(monitor._on_pass)  # the timed one
    times = {"plain": [], "skipped": [], "measured": []}
    inside = {"skipped": [], "measured": []}
    for i in range(steps):
        kind = "measured" if i % MEASURED == 0 else "skipped"
        pair = [("plain", plain, None), (kind, watched, monitor)]
        for name, training, m in pair if i % 2 else pair[::-1]:  # neither is always the first
            if clock:
                clock.spent = 0.0
            took = training.step(m)
            if i >= 2 * MEASURED:
                times[name].append(took)
                if m is not None:
                    inside[name].append(clock.spent)
    count = 0
    if monitor is not None:
        count = len(monitor.last["layers"])
        monitor.close()
    medians = {name: tuple(statistics.median(t[k] for t in list) for k in (0, 1)) for name, list in times.items()}
    return medians, {name: statistics.median(list) if list else 0.0 for name, list in inside.items()}, count


def line(name, result, every):
    medians, inside, layers = result
    out = f"{name:<28} {layers:6d}"
    for k in (0, 1):
        plain, skipped, measured = (medians[kind][k] for kind in ("plain", "skipped", "measured"))
        out += f"   {1e3 * plain:7.2f} {1e3 * skipped:7.2f} {1e3 * measured:8.2f} {100 * (((every - 1) * skipped + measured) / (every * plain) - 1):+6.2f} %"
    own = ((every - 1) * inside["skipped"] + inside["measured"]) / (every * medians["plain"][1])
    print(out + f"   {1e6 * inside['skipped']:6.0f} {1e6 * inside['measured']:8.0f} {100 * own:6.2f} %", flush=True)


def interleaved(wanted, layers, every, pairs, batch, sinks, rest, monitored=True, **options):
    """Seconds of blocks of `every` steps, (off, on) a pair. Off, the model has no hook and nobody calls step()."""
    training = Training(batch)
    hooks = training.model._forward_pre_hooks
    monitor = actscope.torch.Monitor(training.model, every=every, layers=layers, statistics=None if wanted == "default" else wanted,
                                     sinks=sinks, **options)
    attached = dict(hooks)

    def block(on):
        hooks.clear()
        if on:
            hooks.update(attached)
        began = time.perf_counter()
        for _ in range(every):
            training.step(monitor if on else None)
        took = time.perf_counter() - began
        time.sleep(rest)
        return took

    taken = []
    for i in range(pairs + 1):  # the first makes plans and caches
        pair = {which: block(which and monitored) for which in ((False, True) if i % 2 else (True, False))}
        if i > 0:
            taken.append((pair[False], pair[True]))
    count = len(monitor.last["layers"]) if monitored else 0
    hooks.update(attached)
    monitor.close()
    return taken, count


def spread(values):
    """Median, the ends of its interval of 95 % by the binomial distribution, and quartiles."""
    v, n = sorted(values), len(values)
    below, k = 0.5 ** n, 0
    while below + math.comb(n, k + 1) * 0.5 ** n <= 0.025:
        k += 1
        below += math.comb(n, k) * 0.5 ** n
    quartiles = statistics.quantiles(v, n=4)
    return statistics.median(v), (v[k], v[n - 1 - k]), (quartiles[0], quartiles[2])


def pair_line(name, result, every):
    taken, layers = result
    median, interval, quartiles = spread([100 * (on / off - 1) for off, on in taken])
    step = 1e3 * statistics.median(off for off, _ in taken) / every
    print(f"{name:<28} {layers:6d}   {len(taken):5d} {step:10.2f}   {median:+6.2f} %   {interval[0]:+6.2f} .. {interval[1]:+6.2f} %   "
          f"{quartiles[0]:+6.2f} .. {quartiles[1]:+6.2f} %", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--statistics", action="append", help="repeatable; several by default")
    parser.add_argument("--layers", action="append", help="patterns, as in Monitor(layers=...); all leaves by default")
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--steps", type=int, default=90)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--time-budget", type=float, help="seconds for a layer's exact correlations, as in Monitor(time_budget=...)")
    parser.add_argument("--sink", action="append", default=[], help="a path, as in Monitor(sinks=...)")
    parser.add_argument("--twice", action="store_true")
    parser.add_argument("--pairs", type=int, default=0, help="blocks of steps with and without a monitor in turn, so many pairs (8 or more)")
    parser.add_argument("--rest", type=float, default=0.0, help="seconds between blocks")
    a = parser.parse_args()
    if 0 != a.pairs < 8:
        parser.error("--pairs wants 8 or more")
    torch.set_num_threads(a.threads)
    print(f"# actscope {actscope.__version__}, PyTorch {torch.__version__}, {actscope.devices()[0]['name']}, "
          f"{a.threads} threads, {platform.system()} {platform.machine()}; batch {a.batch}, {f'{a.pairs} pairs' if a.pairs else f'{a.steps} steps'}; cost at every {a.every}th step")
    sets = a.statistics or ["default", "moments", "profile,distinct,health", "all"]
    if a.pairs:
        print(f"# {'':<26} {'layers':>6}   {'pairs':>5} {'ms a step':>10}   {'cost':>8}   {'95 % of the median':>20}   {'quartiles':>20}")
        for wanted, monitored in [("(off against off)", False)] * a.twice + [(wanted, True) for wanted in sets]:
            pair_line(wanted, interleaved(wanted if monitored else "default", a.layers, a.every, a.pairs, a.batch, a.sink, a.rest, monitored,
                                          time_budget=a.time_budget), a.every)
        return
    print(f"# {'':<26} {'layers':>6}   {'wall ms: plain skipped measured cost':<35}   {'processor ms: plain skipped measured cost':<35}"
          "   inside, us: skipped measured cost")
    if a.twice:
        line("(no monitor: the noise)", compare("profile", a.layers, a.steps, a.batch, [], False), a.every)
    for wanted in sets:
        line(wanted, compare(wanted, a.layers, a.steps, a.batch, a.sink, time_budget=a.time_budget), a.every)


if __name__ == "__main__":
    main()
