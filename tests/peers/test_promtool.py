"""Debian's promtool judges /metrics: no complaint but those that Debian's node-exporter draws for the same names."""

import shutil
import subprocess

from harness import Daemon, Skip, answers, eventually, fetch, free_port, process, run


def need(program):
    path = shutil.which(program) or shutil.which(program, path="/usr/bin:/usr/local/bin")
    if not path:
        raise Skip(f"{program} is not installed")
    return path


def complaints(text):
    result = subprocess.run([need("promtool"), "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    # 3: lint complaints, a line each. Anything else but 0 means that the text could not be read.
    assert result.returncode in (0, 3), result.stderr + result.stdout
    return set(filter(None, (result.stdout + result.stderr).splitlines()))


def node_exporter_complaints():
    port = free_port()
    url = f"http://127.0.0.1:{port}/metrics"
    command = (need("prometheus-node-exporter"), f"--web.listen-address=127.0.0.1:{port}")
    with process(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        eventually("node-exporter answers", lambda: answers(url))
        return complaints(fetch(url))


def metrics_are_accepted():
    need("promtool")
    with Daemon() as daemon:
        url = daemon.url("/metrics")
        text = eventually("the host is in it", lambda: (page := fetch(url)) and "\nnode_load1" in page and page)
    own = complaints(text) - node_exporter_complaints()
    assert not own, "\n".join(sorted(own))


def open_metrics_ends_as_it_should():
    with Daemon() as daemon:
        text = fetch(daemon.url("/metrics"), "application/openmetrics-text;version=1.0.0")
        assert text.endswith("# EOF\n"), text[-200:]


run(metrics_are_accepted, open_metrics_ends_as_it_should)
