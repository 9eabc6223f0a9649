#!/usr/bin/env python3
"""What a Monitor costs a training loop: two equal models trained in turn, step by step, one with a monitor and one without.

    python python/benchmarks/monitor_overhead.py [--statistics profile,distinct,health] [--every 10] [--steps 300] [--batch 64]

Prints medians of the plain steps, of the monitored model's steps that are not measured and of those that are, in wall time
and in processor time (which other programs on the machine disturb less), and what they make at every k-th step:

    ((every - 1) * skipped + measured) / (every * plain) - 1

Each line is one set of statistics; --twice also trains the second model without a monitor, which shows the noise.
"""
import argparse
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


def compare(wanted, every, steps, batch, sinks, monitored=True):
    plain, watched = Training(batch), Training(batch)
    monitor = actscope.torch.Monitor(watched.model, every=every, statistics=wanted, sinks=sinks) if monitored else None
    times = {"plain": [], "skipped": [], "measured": []}
    for i in range(steps):
        kind = "measured" if i % every == 0 else "skipped"
        pair = [("plain", plain, None), (kind, watched, monitor)]
        for name, training, m in pair if i % 2 else pair[::-1]:  # neither is always the first
            took = training.step(m)
            if i >= 2 * every:
                times[name].append(took)
    layers = 0
    if monitor is not None:
        layers = len(monitor.last["layers"])
        monitor.close()
    return {name: tuple(statistics.median(t[k] for t in list) for k in (0, 1)) for name, list in times.items()}, layers


def line(name, medians, every, layers):
    out = f"{name:<28} {layers:6d}"
    for k in (0, 1):
        plain, skipped, measured = (medians[kind][k] for kind in ("plain", "skipped", "measured"))
        cost = ((every - 1) * skipped + measured) / (every * plain) - 1
        out += f"   {1e3 * plain:7.2f} {1e3 * skipped:7.2f} {1e3 * measured:8.2f} {100 * cost:+6.2f} %"
    print(out, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--statistics", action="append", help="repeatable; several by default")
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--sink", action="append", default=[], help="a path, as in Monitor(sinks=...)")
    parser.add_argument("--twice", action="store_true")
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    print(f"# actscope {actscope.__version__}, PyTorch {torch.__version__}, {actscope.devices()[0]['name']}, "
          f"{a.threads} threads, {platform.system()} {platform.machine()}; every {a.every}th of {a.steps} steps, batch {a.batch}")
    print(f"# {'':<26} {'layers':>6}   {'wall ms: plain  skipped measured   cost':<34}   {'processor ms: plain  skipped measured   cost'}")
    if a.twice:
        line("(no monitor: the noise)", *[compare("profile", a.every, a.steps, a.batch, [], False)[0], a.every, 0])
    for wanted in a.statistics or ["profile", "profile,distinct,health", "all"]:
        medians, layers = compare(wanted, a.every, a.steps, a.batch, a.sink)
        line(wanted, medians, a.every, layers)


if __name__ == "__main__":
    main()
