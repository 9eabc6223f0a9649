#!/usr/bin/env python3
"""plots.py [RESULT.json [FOLDER]]: draws a result file's roofline and growth as SVG, without any library.

  <kind>-roofline.svg     rows as points: operations a byte of input against the rate, under the run's two ceilings
  <kind>-growth-D.svg     exact correlations: time over D at N = 128, with the slope that all pairs must have
  <kind>-growth-N.svg     the same over N at D = 1024
  <kind>-growth-layers.svg   everything, over the number of layers
Default: the newest CPU result of bench/results, into docs/plots."""
import math
import os
import re
import sys

import results

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 440, 78, 24, 44, 56
OURS, PEER, LINE, GRID = "#0b6e8a", "#c2571a", "#444", "#ddd"


class Plot:
    """Two logarithmic axes."""
    def __init__(self, title, x_label, y_label, xs, ys):
        self.body, self.title = [], title
        self.x, self.y = self.span(xs), self.span(ys)
        self.frame(x_label, y_label)

    @staticmethod
    def span(values):
        low, high = math.log10(min(values)), math.log10(max(values))
        return low - 0.08 * (high - low) - 0.05, high + 0.08 * (high - low) + 0.05

    def at(self, x, y):
        fx, fy = (math.log10(x) - self.x[0]) / (self.x[1] - self.x[0]), (math.log10(y) - self.y[0]) / (self.y[1] - self.y[0])
        return LEFT + fx * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - fy * (HEIGHT - TOP - BOTTOM)

    def ticks(self, span):
        """Powers of ten, or of two where there are few of those."""
        base = 10 if span[1] - span[0] > 2 else 2
        step = math.log10(base)
        return [base**k for k in range(math.ceil(span[0] / step), math.floor(span[1] / step) + 1)]

    def text(self, x, y, text, anchor="middle", colour=LINE, size=12, turn=""):
        safe = text.replace("&", "&amp;").replace("<", "&lt;")
        self.body.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-size="{size}"{turn}>{safe}</text>')

    def frame(self, x_label, y_label):
        x0, x1, y0, y1 = LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM, TOP
        for v in self.ticks(self.x):
            x = self.at(v, 10**self.y[0])[0]
            self.body.append(f'<path d="M{x:.1f} {y0}V{y1}" stroke="{GRID}"/>')
            self.text(x, y0 + 18, f"{v:g}")
        for v in self.ticks(self.y):
            y = self.at(10**self.x[0], v)[1]
            self.body.append(f'<path d="M{x0} {y:.1f}H{x1}" stroke="{GRID}"/>')
            self.text(x0 - 8, y + 4, f"{v:g}", "end")
        self.body.append(f'<path d="M{x0} {y1}V{y0}H{x1}" fill="none" stroke="{LINE}"/>')
        self.text((x0 + x1) / 2, HEIGHT - 14, x_label)
        self.text(18, (y0 + y1) / 2, y_label, turn=f' transform="rotate(-90 18 {(y0 + y1) / 2:.0f})"')
        self.text(LEFT, 22, self.title, "start", "#111", 14)

    def line(self, points, colour, label="", dashed=False):
        path = "M" + "L".join("{:.1f} {:.1f}".format(*self.at(*p)) for p in points)
        dashes = ' stroke-dasharray="5 4"' if dashed else ""
        self.body.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.6"{dashes}/>')
        if label:
            x, y = self.at(*points[-1])
            self.text(x - 4, y - 8, label, "end", colour)

    def point(self, x, y, colour, tip):
        px, py = self.at(x, y)
        self.body.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="4" fill="{colour}"><title>{tip.replace("<", "&lt;")}</title></circle>')

    def svg(self):
        return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
                f'font-family="system-ui, sans-serif">\n<rect width="100%" height="100%" fill="#fff"/>\n' + "\n".join(self.body) + "\n</svg>\n")


def ceilings(result):
    """GB/s, GFLOP/s and what they are called."""
    c = result["ceilings"]
    if "copy_gbs" in c:
        return c["copy_gbs"], 1e3 * c.get("fp16_tflops", math.nan), "copy", "cuBLAS fp16 product"
    return c["read_gbs"], c["fp32_gflops"], "read", "fp32 multiply-add"


def input_bytes(row):
    """Of a correlation row, from its name; the file of a GPU has no bytes."""
    n, d = (int(k) for k in re.search(r"(\d+)x(\d+)", row["case"]).groups())
    return row.get("bytes", 4 * n * d)


def roofline(result):
    gbs, gflops, memory, arithmetic = ceilings(result)
    points = []
    for r in result["rows"]:
        if "tflops" in r:
            flops = r["tflops"] * 1e12 * r["time_us"] / 1e6
            points.append((flops / input_bytes(r), 1e3 * r["tflops"], r["case"]))
    if not points or not math.isfinite(gflops):
        return None
    low = min(min(p[0] for p in points), gflops / gbs) / 4
    high = max(p[0] for p in points) * 2
    plot = Plot(f"Correlation rows under the ceilings of their run ({result['date']})", "floating-point operations a byte of input",
                "GFLOP/s", (low, high), (min(p[1] for p in points), gflops * 1.4))
    knee = gflops / gbs
    plot.line([(x, max(x * gbs, 10**plot.y[0])) for x in (max(low, 10**plot.y[0] / gbs), knee)], LINE)
    plot.line([(knee, gflops), (high, gflops)], LINE, f"{arithmetic} {gflops:.0f} GFLOP/s, {memory} {gbs:.1f} GB/s")
    for x, y, case in points:
        plot.point(x, y, OURS, f"{case}: {y:.1f} GFLOP/s, {100 * y / min(gflops, x * gbs):.0f} % of the roof")
    return plot.svg()


def growth(result, pattern, title, x_label, power):
    """Time over what the pattern's group says; a dashed line of this power through the last point."""
    ours, peers = [], []
    for r in result["rows"]:
        match = re.fullmatch(pattern, r["case"])
        if match and "time_us" in r:
            ours.append((int(match.group(1)), r["time_us"] / 1e3, r["case"]))
            if "peer" in r:
                peers.append((int(match.group(1)), r["peer"]["time_us"] / 1e3, r["peer"]["name"]))
    ours.sort(), peers.sort()
    if len(ours) < 2:
        return None
    plot = Plot(title + f" ({result['date']})", x_label, "ms", [p[0] for p in ours], [p[1] for p in ours + peers])
    last = ours[-1]
    dashed = [(p[0], last[1] * (p[0] / last[0])**power) for p in ours]
    plot.line([p for p in dashed if math.log10(p[1]) > plot.y[0]], LINE, dashed=True)
    plot.line([p[:2] for p in ours], OURS, "actscope")
    if len(peers) > 1:
        plot.line([p[:2] for p in peers], PEER, "fastest peer")
    for points, colour in ((ours, OURS), (peers, PEER)):
        for x, y, name in points:
            plot.point(x, y, colour, f"{name}: {y:.3g} ms")
    return plot.svg()


def draw(result):
    """{file name without its kind: SVG}, without those that have too few rows."""
    how = "graph" if "copy_gbs" in result["ceilings"] else "direct"
    plots = {
        "roofline": roofline(result),
        "growth-D": growth(result, r"correlation/exact/fp32/128x(\d+)", "Exact correlations, N = 128; dashed: D²", "features D", 2),
        "growth-N": growth(result, r"correlation/exact/fp32/(\d+)x1024", "Exact correlations, D = 1024; dashed: N", "samples N", 1),
        "growth-layers": growth(result, rf"layers/(\d+)x128x1024/{how}", "Everything, layers of [128, 1024]; dashed: proportional", "layers", 1),
    }
    return {name: svg for name, svg in plots.items() if svg}


def main(arguments):
    if arguments:
        import json
        with open(arguments[0]) as file:
            result = json.load(file)
    else:
        result = results.load()[0]
    if not result:
        print("plots.py: no result file", file=sys.stderr)
        return 1
    folder = arguments[1] if len(arguments) > 1 else os.path.join(results.ROOT, "docs", "plots")
    os.makedirs(folder, exist_ok=True)
    kind = "cpu" if "cpu" in result else "gpu"
    for name, svg in draw(result).items():
        with open(os.path.join(folder, f"{kind}-{name}.svg"), "w") as file:
            file.write(svg)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
