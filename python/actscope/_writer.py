"""The thread that hands records to sinks, so that training never waits for a disk."""
from __future__ import annotations

import atexit
import queue
import threading
import weakref
from typing import Any, Callable, List, Optional, Sequence

from .sinks import Sink

CAPACITY = 256  # records; a sink that hangs must neither stop the training nor eat its memory


class Writer:
    """Records go in as functions that make them: turning the library's structures into dictionaries is the thread's work
    too. `complain` is told what failed, on the writing thread."""

    def __init__(self, sinks: Sequence[Sink], complain: Callable[[str], None]) -> None:
        self._sinks, self._complain = list(sinks), complain
        self._queue: "queue.Queue[Any]" = queue.Queue(CAPACITY)
        self._thread: Optional[threading.Thread] = None
        self._closed = False
        opened: List[Sink] = []
        try:
            for sink in self._sinks:
                sink.open()
                opened.append(sink)
        except BaseException:
            for sink in opened:
                sink.close()
            raise
        reference = weakref.ref(self)

        def at_exit() -> None:
            writer = reference()
            if writer is not None:
                writer.close()

        self._at_exit = at_exit
        atexit.register(self._at_exit)

    def put(self, make: Callable[[], Any]) -> bool:
        """False when the sinks are so far behind that the record was dropped."""
        if not self._sinks or self._closed:
            return True
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="actscope-sinks", daemon=True)
            self._thread.start()
        try:
            self._queue.put_nowait(make)
            return True
        except queue.Full:
            return False

    def flush(self, timeout: Optional[float] = None) -> bool:
        """Waits until everything put so far was handed to the sinks."""
        if self._thread is None or not self._thread.is_alive():
            return True
        done = threading.Event()
        self._queue.put(done)
        return done.wait(timeout)

    def close(self) -> None:
        """Hands over what is left and closes the sinks."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self._at_exit)
        if self._thread is not None and self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        for sink in self._sinks:
            self._try(sink, sink.close)

    def _try(self, sink: Sink, call: Callable[..., Any], *arguments: Any) -> None:
        try:
            call(*arguments)
        except Exception as error:  # the training goes on, whatever a sink does
            self._complain(f"sink {type(sink).__name__}: {error!r}")

    def _run(self) -> None:
        while True:
            item = self._queue.get()
            if item is None:
                return
            if isinstance(item, threading.Event):
                for sink in self._sinks:
                    self._try(sink, sink.flush)
                item.set()
                continue
            record = item()
            for sink in self._sinks:
                self._try(sink, sink.write, record)
