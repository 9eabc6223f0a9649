"""Where a monitor's records go.

A record is a dictionary, one a measured step:

    schema    "actscope-monitor/1"
    step      number of the step
    time      seconds since 1970, when the step ended
    rank      of the process in a distributed run, else 0
    seconds   that the analysis took; None where layers share a device
    layers    in the order of the calls: `kind` ("activation" or "gradient"), `order` (0, 1, ..), `passes` (forward passes
              that the numbers cover) and the layer's fields of `actscope report --format json`
    cka       where it was asked for: None, or `layers`, names of activations, and `matrix`, a row each
    alarm     None, or the first layer with a NaN or an infinity: layer, kind, order, nan, inf
    warnings  what went wrong while measuring, as text

A sink is opened where the monitor is made, so that a wrong path is an error there; records are written by a thread of the
monitor's. What was written survives the end of the process, `kill -9` included: every record goes to the system in one
piece, and a piece that the end cut off is removed when the file is opened again.
"""
from __future__ import annotations

import csv
import fcntl
import io
import json
import os
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Union

from . import _fields
from ._report import bucket_limits

SCHEMA = "actscope-monitor/1"
Record = Dict[str, Any]
SinkLike = Union["Sink", str, "os.PathLike[str]", Callable[[Record], Any]]

# What is drawn and exported unless told otherwise: paths of numbers in a layer's report.
SCALARS = ("profile.mean", "profile.std", "profile.abs_max", "profile.l2_norm", "profile.zero", "profile.nan", "profile.positive_inf",
           "profile.negative_inf", "profile.entropy", "distinct.redundancy", "health.dead", "health.constant",
           "correlation.mean_abs", "correlation.noise_floor", "correlation.adjusted_rms", "correlation.max_abs",
           "rank.effective_rank", "rank.participation_ratio")


class Sink:
    """A place for records. Subclasses override `write`, and `open`, `flush` and `close` where there is something to do."""

    def open(self) -> None:
        """Called once, where the monitor is made."""

    def write(self, record: Record) -> None:
        """Called for every record, in order, on the monitor's writing thread."""
        raise NotImplementedError

    def flush(self) -> None:
        """Called when the monitor is flushed."""

    def close(self) -> None:
        """Called once, after the last record."""


def make(sink: SinkLike) -> Sink:
    """A sink, or the one that a path's ending or a function asks for: .jsonl, .csv, .prom, a folder's name with /."""
    if isinstance(sink, Sink):
        return sink
    if callable(sink):
        return Callback(sink)
    path = os.fspath(sink)
    for ending, kind in ((".jsonl", JSONL), (".csv", CSV), (".prom", Prometheus), ("/", TensorBoard)):
        if path.endswith(ending):
            return kind(path)
    raise ValueError(f"no sink for {path!r}: .jsonl, .csv and .prom are known, and FOLDER/ for TensorBoard")


class Callback(Sink):
    """Hands every record to a function."""

    def __init__(self, function: Callable[[Record], Any]) -> None:
        self._function = function

    def write(self, record: Record) -> None:
        self._function(record)


class _Lines(Sink):
    """A file of lines that one process at a time appends to. `repaired` is how many bytes of a cut-off step were removed
    when it was opened. `fsync` also survives a power cut, at the price of a wait for the disk each record."""

    def __init__(self, path: Union[str, "os.PathLike[str]"], fsync: bool = False) -> None:
        self.path, self.repaired = os.fspath(path), 0
        self._fsync, self._file = fsync, -1

    def open(self) -> None:
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._file)
            self._file = -1
            raise OSError(f"{self.path} is being written by another monitor") from None
        size = os.fstat(self._file).st_size
        try:
            kept = self._whole(size) if size else 0
        except ValueError:
            self.close()
            raise
        if kept < size:
            self.repaired = size - kept
            os.ftruncate(self._file, kept)
        if kept == 0:
            self._append(self._header())

    def _header(self) -> bytes:
        return b""

    def _whole(self, size: int) -> int:
        """How many of the file's bytes are whole steps."""
        span = 1 << 16
        while True:
            start = max(0, size - span)
            lines = os.pread(self._file, size - start, start).split(b"\n")
            end = size - len(lines[-1])  # the last piece has no line end: it was cut off
            for line in reversed(lines[1 if start else 0:-1]):
                if self._ends_step(line):
                    return end
                end -= len(line) + 1
            if start == 0:
                return 0
            span *= 4

    def _ends_step(self, line: bytes) -> bool:
        """Is this the last line of a step, or nothing of ours, which stays?"""
        raise NotImplementedError

    def _append(self, data: bytes) -> None:
        size = os.fstat(self._file).st_size
        try:
            while data:
                data = data[os.write(self._file, data):]
        except OSError:  # a full disk: half a step would spoil the next one
            os.ftruncate(self._file, size)
            raise
        if self._fsync:
            os.fsync(self._file)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class JSONL(_Lines):
    """JSON lines: a line a layer (`type` "layer", with `step`), then one line a step (`type` "step") with the rest of the
    record. A step is whole when its last line is there; on opening, lines after the last such line are removed.

        jq -r 'select(.type == "layer" and .kind == "gradient") | [.step, .name, .profile.l2_norm] | @tsv' run.jsonl
    """

    _LAYER = f'{{"schema":"{SCHEMA}","type":"layer",'.encode()

    def write(self, record: Record) -> None:
        lines = [{"schema": SCHEMA, "type": "layer", "step": record["step"], **layer} for layer in record["layers"]]
        rest = {k: v for k, v in record.items() if k not in ("schema", "layers")}
        lines.append({"schema": SCHEMA, "type": "step", **rest, "layers": len(record["layers"])})
        self._append(b"".join(json.dumps(line, separators=(",", ":"), allow_nan=False).encode() + b"\n" for line in lines))

    def _ends_step(self, line: bytes) -> bool:
        return not line.startswith(self._LAYER)


class CSV(_Lines):
    """One header, a row a layer. The first columns are step, time, rank, kind, order, layers (how many rows the step has),
    name, dtype, shape, samples, features, seconds, warnings; then every number by its path in the JSON format. They are
    the same whatever is measured; what does not exist is empty. A file with other columns is refused."""

    _FIRST = ("step", "time", "rank", "kind", "order", "layers", "name", "dtype", "shape", "samples", "features", "seconds", "warnings")

    def __init__(self, path: Union[str, "os.PathLike[str]"], fsync: bool = False) -> None:
        super().__init__(path, fsync)
        self._columns = _fields.columns()

    def _header(self) -> bytes:
        return self._rows([[*self._FIRST, *self._columns]])

    @staticmethod
    def _rows(rows: List[List[Any]]) -> bytes:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        return text.getvalue().encode()

    def write(self, record: Record) -> None:
        rows = []
        for layer in record["layers"]:
            flat = _fields.flatten(layer)
            # Names of modules and texts of warnings have no line ends: a row is a line.
            rows.append([record["step"], repr(record["time"]), record["rank"], layer["kind"], layer["order"], len(record["layers"]),
                         " ".join(layer["name"].splitlines()), layer["dtype"], "x".join(map(str, layer["shape"])), layer["samples"],
                         layer["features"], _text(layer["seconds"]), " ".join("; ".join(layer["warnings"]).splitlines())] +
                        [_text(flat.get(column)) for column in self._columns])
        self._append(self._rows(rows))

    def _whole(self, size: int) -> int:
        header = self._header()
        first = os.pread(self._file, len(header), 0)
        if first != header:
            if header.startswith(first):
                return 0  # cut off in the middle of the header
            raise ValueError(f"{self.path} has other columns: give this monitor a file of its own")
        return super()._whole(size)

    def _ends_step(self, line: bytes) -> bool:
        row = next(csv.reader([line.decode(errors="replace")]), [])
        return not (len(row) > 5 and row[4].isdigit() and row[5].isdigit() and int(row[4]) + 1 < int(row[5]))


def _text(value: Any) -> str:
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)


class TensorBoard(Sink):
    """Scalars KIND/NUMBER/LAYER for the numbers in `scalars`, and histograms of the values (half octaves) and of |r|
    from ready buckets: the tensors themselves are never handed over. Needs the package tensorboard."""

    def __init__(self, folder: Union[str, "os.PathLike[str]"], scalars: Sequence[str] = SCALARS, histograms: bool = True,
                 purge_step: Optional[int] = None) -> None:
        self.folder, self._scalars, self._histograms, self._purge = os.fspath(folder), tuple(scalars), histograms, purge_step
        self._writer: Any = None

    def open(self) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ImportError("the TensorBoard sink needs the package tensorboard: pip install tensorboard") from error
        self._writer = SummaryWriter(self.folder, purge_step=self._purge)

    def write(self, record: Record) -> None:
        step, when = record["step"], record["time"]
        for layer in record["layers"]:
            flat = _fields.flatten(layer)
            for path in self._scalars:
                value = flat.get(path)
                if isinstance(value, (int, float)):
                    self._writer.add_scalar(f"{layer['kind']}/{path}/{layer['name']}", value, step, when)
            for name, histogram in _histograms(layer).items() if self._histograms else ():
                self._writer.add_histogram_raw(f"{layer['kind']}/{name}/{layer['name']}", global_step=step, walltime=when, **histogram)
        self._writer.flush()

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _histograms(layer: Dict[str, Any]) -> Dict[str, Dict[str, Any]]:
    """The half octaves of the values, and the 64 bins of |r|, as add_histogram_raw wants them."""
    result = {}
    p = layer.get("profile")
    if p and p["finite"] and p["buckets"]:
        n, variance = p["finite"], p["variance"] or 0.0
        result["values"] = {"min": p["min"], "max": p["max"], "num": n, "sum": p["mean"] * n,
                            "sum_squares": variance * (n - 1) + p["mean"] ** 2 * n,
                            "bucket_limits": bucket_limits(p["buckets"]), "bucket_counts": p["buckets"]["counts"]}
    c = layer.get("correlation")
    if c and c["pairs"] and c["histogram"]:
        bins = len(c["histogram"])
        result["abs_correlation"] = {"min": 0.0, "max": c["max_abs"], "num": c["pairs"], "sum": c["mean_abs"] * c["pairs"],
                                     "sum_squares": c["mean_square"] * c["pairs"],
                                     "bucket_limits": [(i + 1) / bins for i in range(bins)], "bucket_counts": c["histogram"]}
    return result


class Prometheus(Sink):
    """The last record as a text file for node_exporter's textfile collector or any scraper of files: gauges
    actscope_SECTION_NUMBER{layer, kind, rank} of the numbers in `scalars`, actscope_step, actscope_time_seconds and the
    counters actscope_alarms_total and actscope_warnings_total. The file is replaced atomically."""

    def __init__(self, path: Union[str, "os.PathLike[str]"], scalars: Sequence[str] = SCALARS) -> None:
        self.path, self._scalars = os.fspath(path), tuple(scalars)
        self._alarms = self._warnings = 0

    def open(self) -> None:
        folder = os.path.dirname(self.path) or "."
        if not os.access(folder, os.W_OK):
            raise OSError(f"{folder} is no folder that can be written")

    def write(self, record: Record) -> None:
        self._alarms += record["alarm"] is not None
        self._warnings += len(record["warnings"])
        rank = str(record["rank"])
        out = [_metric("actscope_step", "gauge", "number of the last measured step", [({"rank": rank}, record["step"])]),
               _metric("actscope_time_seconds", "gauge", "when it ended, seconds since 1970", [({"rank": rank}, record["time"])]),
               _metric("actscope_alarms_total", "counter", "measured steps with a NaN or an infinity", [({"rank": rank}, self._alarms)]),
               _metric("actscope_warnings_total", "counter", "warnings of the monitor", [({"rank": rank}, self._warnings)])]
        flat = [({"layer": layer["name"], "kind": layer["kind"], "rank": rank}, _fields.flatten(layer)) for layer in record["layers"]]
        for path in self._scalars:
            samples = [(labels, numbers[path]) for labels, numbers in flat if isinstance(numbers.get(path), (int, float))]
            if samples:
                out.append(_metric("actscope_" + path.replace(".", "_"), "gauge", path + " of a layer", samples))
        beside = f"{self.path}.{os.getpid()}.tmp"
        with open(beside, "w", encoding="utf-8") as file:
            file.write("".join(out))
        os.replace(beside, self.path)


def _metric(name: str, kind: str, text: str, samples: Iterable[Any]) -> str:
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    for labels, value in samples:
        inside = ",".join(f'{key}="{_escape(v)}"' for key, v in labels.items())
        lines.append(f"{name}{{{inside}}} {value!r}")
    return "\n".join(lines) + "\n"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
