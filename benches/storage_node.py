"""A corpus of real data: a node_exporter on loopback, scraped many times.

Scrapes are taken faster than in life and dated 30 s apart, so that hours of samples come in minutes. What
grows with time grows less from sample to sample than in life, which favours every store alike.
"""

import contextlib
import pathlib
import struct
import subprocess
import threading
import time

from harness import answers, eventually, fetch, free_port, process

RECORD = struct.Struct("<IId")


class Corpus:
    """Scrapes in a thread of its own; `series.txt` and `samples.bin` are complete after `finish`."""

    def __init__(self, parent, scrapes, interval_seconds):
        self.dir = pathlib.Path(parent) / "corpus"
        self.dir.mkdir()
        self.scrapes, self.interval = scrapes, interval_seconds
        self.series = {}
        self.stack = contextlib.ExitStack()

    def start(self):
        port = free_port()
        # Of the lowest priority: other parts may be measured meanwhile.
        self.stack.enter_context(process(
            "nice", "-n", "19", "prometheus-node-exporter", f"--web.listen-address=127.0.0.1:{port}",
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        self.url = f"http://127.0.0.1:{port}/metrics"
        eventually("node_exporter answers", lambda: answers(self.url))
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._scrape, daemon=True)
        self.thread.start()
        return self

    def _scrape(self):
        with open(self.dir / "samples.bin", "wb") as samples:
            began = time.monotonic()
            for step in range(self.scrapes):
                samples.write(self._records(step, fetch(self.url)))
                if self.ended.wait(max(0, began + (step + 1) * self.interval - time.monotonic())):
                    break

    def _records(self, step, text):
        """The samples of one scrape; node_exporter writes no timestamps."""
        rows = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
        return b"".join(RECORD.pack(step, self.series.setdefault(name, len(self.series)), float(value))
                        for name, value in rows)

    def finish(self):
        """Waits for the last scrape; gives the folder."""
        self.thread.join()
        self.stack.close()
        (self.dir / "series.txt").write_text("".join(f"{name}\n" for name in self.series))
        return self.dir

    def stop(self):
        if hasattr(self, "thread"):
            self.ended.set()
            self.thread.join()
        self.stack.close()
