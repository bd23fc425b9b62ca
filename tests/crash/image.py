"""Opens what a power cut has left with the real daemon, and holds it to what was promised."""

import time
from dataclasses import dataclass

from daemon import MODULES, PATIENCE, Daemon, DidNotStart
from workload import HOURS, SAMPLES

PROBE = "cut_probe"
DEFAULT_RULES = {"high_cpu_usage", "high_memory_usage", "mcp_server_down", "high_error_rate"}


@dataclass
class Findings:
    """What is wrong, and how much was seen to be right."""
    wrong: list
    kept: int = 0
    halves: int = 0
    complaints: tuple = ()
    start_s: float = 0.0


def check(image, promises, position, again):
    """The power went at `position` of the log, and left `image`. With `again` it is opened twice."""
    findings = Findings([])
    probe_ms = int(time.time() * 1000)
    try:
        began = time.monotonic()
        with Daemon(image) as daemon:
            findings.start_s = time.monotonic() - began
            look(daemon, promises, position, findings)
            write_probe(daemon, probe_ms)
            end(daemon, findings)
        if again and not findings.wrong:
            with Daemon(image) as daemon:
                look(daemon, promises, position, findings)
                if daemon.read_samples(PROBE, 1) != {(): {probe_ms: 0x3FF0000000000000}}:
                    findings.wrong.append("a sample written after the cut is not there")
                end(daemon, findings)
    except DidNotStart as error:
        findings.wrong.append(f"does not start: {error}")
    except Exception as error:
        findings.wrong.append(f"{type(error).__name__}: {error}")
    return findings


def look(daemon, promises, position, findings):
    samples(daemon.read_samples(SAMPLES, HOURS), promises, position, findings)
    rules(daemon.read_rules(), promises, position, findings)


def end(daemon, findings):
    log = daemon.kill()
    if "panicked" in log:
        findings.wrong.append(f"a panic:\n{log}")
    lines = tuple(line for line in log.splitlines() if "events::store" in line and (" WARN " in line or "ERROR" in line))
    findings.complaints += lines


def is_kept(item, position):
    return item.acknowledged is not None and item.acknowledged <= position


def samples(found, promises, position, findings):
    """Each acknowledged sample is there with its bits, and none that was not sent."""
    sent, lost, total = {}, 0, 0
    for batch in promises.batches:
        if batch.sent > position:
            continue
        present = 0
        for labels, values in batch.samples.items():
            there = found.get(labels, {})
            sent.setdefault(labels, {}).update(values)
            present += sum(at in there for at in values)
        whole = sum(map(len, batch.samples.values()))
        total += present
        if is_kept(batch, position):
            findings.kept += present
            lost += whole - present
        elif 0 < present < whole:
            findings.halves += 1
    if lost:
        findings.wrong.append(f"{lost} acknowledged samples are lost")
    wrong = [(labels, at) for labels, values in found.items() for at, value in values.items()
             if sent.get(labels, {}).get(at) != value]
    if wrong:
        findings.wrong.append(f"{len(wrong)} samples were never sent so, the first {wrong[0]}")


def rules(found, promises, position, findings):
    """What was created is there unless it was deleted; what has no answer yet may be either."""
    must, may = set(), set(DEFAULT_RULES)
    for change in promises.rules:
        if change.sent > position:
            continue
        kept = is_kept(change, position)
        if change.created:
            may.add(change.id)
            must |= {change.id} if kept else set()
        else:
            must.discard(change.id)
            may -= {change.id} if kept else set()
    if must - found:
        findings.wrong.append(f"acknowledged rules are lost: {sorted(must - found)}")
    if found - may:
        findings.wrong.append(f"rules are there that should not be: {sorted(found - may)}")


def write_probe(daemon, at):
    request = MODULES["metrics"].WriteRequest()
    request.series.add(labels={"__name__": PROBE}).samples.add(timestamp_ms=at, value=1.0)
    answer = daemon.metrics.Write(request, timeout=PATIENCE)
    if answer.rejected_count:
        raise AssertionError(f"a write after the cut is refused: {answer.rejections}")
