"""A client generated from proto/ by grpcio-tools in an empty folder calls every RPC of every service."""

import base64
import importlib
import itertools
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import grpc
from google.protobuf import json_format, message_factory
from harness import PATIENCE, ROOT, VENV, Daemon, eventually, run

NOW = int(time.time())


def rfc3339(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


RANGE = {"start": rfc3339(NOW - 600), "end": rfc3339(NOW)}
LABELS = {"__name__": "peer_written", "peer": "python"}

# In this order: what is made is changed, listed, and removed. Each with its requests (a stream may have
# several), or with a function from the answers so far to one.
CALLS = {
    "SystemService.GetStatus": {},
    "MetricsService.CollectMetrics": {"source": "METRIC_SOURCE_CUSTOM", "metrics": [
        {"name": "peer_gauge", "value": 4.5, "metricType": "METRIC_TYPE_GAUGE", "tags": {"peer": "python"}}]},
    "MetricsService.Write": {"series": [{"labels": LABELS, "samples": [{"timestampMs": NOW * 1000, "value": 1}]}]},
    "MetricsService.WriteStream": {"sequence": 7, "series": [{"ref": 1, "labels": {**LABELS, "stream": "yes"}}],
                                   "refs": [1], "timestampsMs": [NOW * 1000], "values": [2.5]},
    "MetricsService.Query": {"expr": "peer_gauge"},
    "MetricsService.QueryRange": {"expr": "peer_written", "step": "60s", **RANGE},
    "MetricsService.ListSeries": {"matchers": ["peer_written"]},
    "MetricsService.ListLabelNames": {},
    "MetricsService.ListLabelValues": {"name": "peer"},
    "MetricsService.Export": {"format": "EXPORT_FORMAT_JSON", "matchers": ["peer_written"]},
    "MetricsService.Import": {"format": "IMPORT_FORMAT_INFLUX", "chunk": base64.b64encode(b"peer_imported value=7\n").decode()},
    "TargetsService.DiscoverTargets": {},
    "TargetsService.ListTargets": {},
    "TargetsService.AdoptTarget": lambda seen: {"name": discovered(seen)},
    "TargetsService.GetTarget": lambda seen: {"name": discovered(seen)},
    "TargetsService.CheckTarget": {"target": "system"},
    "TargetsService.ListTargetHistory": {"name": "balefire"},
    "TargetsService.ForgetTarget": lambda seen: {"name": discovered(seen)},
    "AlertsService.CreateRule": {"name": "peer gauge is high", "condition": "peer_gauge > 4", "severity": "SEVERITY_LOW"},
    "AlertsService.UpdateRule": lambda seen: {"id": seen["AlertsService.CreateRule"].rule.id, "description": "changed"},
    "AlertsService.ListRules": {},
    "AlertsService.ListAlerts": {},
    "AlertsService.AcknowledgeAlert": lambda seen: {"alertId": seen["AlertsService.CreateRule"].rule.id},
    "AlertsService.ListAlertHistory": {},
    "AlertsService.BacktestRule": {"condition": "peer_gauge > 4", **RANGE},
    "AlertsService.DeleteRule": lambda seen: {"id": seen["AlertsService.CreateRule"].rule.id},
    "SystemService.GetOverview": {"includeDetails": True, "range": "3600s"},
    "SystemService.SetLogLevel": {"filter": "info"},
    "SystemService.CreateToken": {"name": "peer", "scopes": ["TOKEN_SCOPE_VIEWER"], "lifetime": "3600s"},
    "SystemService.ListTokens": {},
    "SystemService.RevokeToken": {"token": "peer"},
    "SystemService.ListAudit": {},
    "SystemService.GetStoreStats": {},
    "SystemService.VerifyStore": {},
    "MetricsService.Erase": {"matchers": ["peer_written"]},
    "SystemService.Backup": {},
    "SystemService.Reload": {},
    "EventsService.Subscribe": {},
    "AgentService.Report": {"hello": {"version": "1", "instance_id": "peer"}},
}

HOME = {".claude.json": json.dumps({"mcpServers": {"harbour": {"command": str(VENV / "mcp-server-time")}}})}


def discovered(seen):
    return next(target.name for target in seen["TargetsService.DiscoverTargets"].targets if "harbour" in target.name)


def generate(folder):
    files = sorted(str(path.relative_to(ROOT / "proto")) for path in (ROOT / "proto").rglob("*.proto"))
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT}/proto", f"--python_out={folder}",
                    f"--grpc_python_out={folder}", *files], check=True)
    sys.path.insert(0, folder)
    for path in pathlib.Path(folder).rglob("*_pb2*.py"):
        name = ".".join(path.relative_to(folder).with_suffix("").parts)
        yield name, importlib.import_module(name)


def methods(modules):
    """Every method of every service: its name, its descriptor, and the stub of its service."""
    for name, module in modules.items():
        for service in getattr(module, "DESCRIPTOR", None) and module.DESCRIPTOR.services_by_name.values() or ():
            stub = getattr(modules[f"{name}_grpc"], f"{service.name}Stub")
            for method in service.methods:
                yield f"{service.name}.{method.name}", method, stub


def call(channel, method, stub, request):
    """One call, streaming or not; the first answer."""
    invoke = getattr(stub(channel), method.name)
    message = json_format.ParseDict(request, message_factory.GetMessageClass(method.input_type)())
    # `wait_for_ready` is of no use here: the daemon serves already.
    answer = invoke(iter([message]) if method.client_streaming else message, timeout=PATIENCE)
    if not method.server_streaming:
        return answer
    first = next(iter(answer))
    answer.cancel()
    return first


def calls_every_rpc():
    with tempfile.TemporaryDirectory() as folder:
        modules = dict(generate(folder))
        found = {name: (method, stub) for name, method, stub in methods(modules)}
        assert set(found) == set(CALLS), f"RPCs and calls differ: {set(found) ^ set(CALLS)}"
        with Daemon('[global]\nevaluation_interval = "1s"\n', home=HOME) as daemon:
            seen = {}
            for name, request in CALLS.items():
                seen[name] = call_one(daemon, name, found, request, seen)
            check(seen)


def call_one(daemon, name, found, request, seen):
    request = request(seen) if callable(request) else request
    if name == "AlertsService.AcknowledgeAlert":
        listing = found["AlertsService.ListAlerts"]
        fires = lambda: any(alert.state == 3 for alert in call(daemon.channel, *listing, {}).alerts)
        eventually("the rule fires", fires)
    if name == "EventsService.Subscribe":
        return first_event(daemon, found)
    try:
        return call(daemon.channel, *found[name], request)
    except grpc.RpcError as error:
        raise AssertionError(f"{name}: {error.code()} {error.details()}") from error


def first_event(daemon, found):
    """A configuration that is read again is an event; asked for until it is seen."""
    _, stub = found["EventsService.Subscribe"]
    request = message_factory.GetMessageClass(found["EventsService.Subscribe"][0].input_type)()
    events = stub(daemon.channel).Subscribe(request, timeout=PATIENCE)
    events.initial_metadata()
    daemon.configure('[global]\nevaluation_interval = "2s"\n')
    call(daemon.channel, *found["SystemService.Reload"], {})
    wanted = (event for event in events if event.HasField("config_reloaded"))
    event = next(wanted)
    events.cancel()
    return event


def check(seen):
    assert seen["MetricsService.Write"].accepted_count == 1, seen["MetricsService.Write"]
    assert seen["MetricsService.WriteStream"].durable_sequence == 7, seen["MetricsService.WriteStream"]
    assert seen["MetricsService.Query"].vector.entries[0].sample.value == 4.5, seen["MetricsService.Query"]
    samples = itertools.chain.from_iterable(series.samples for series in seen["MetricsService.QueryRange"].matrix.series)
    assert {sample.value for sample in samples} == {1, 2.5}, seen["MetricsService.QueryRange"]
    assert len(seen["MetricsService.ListSeries"].series) == 2, seen["MetricsService.ListSeries"]
    assert "python" in seen["MetricsService.ListLabelValues"].values
    assert b"peer_written" in seen["MetricsService.Export"].chunk
    assert seen["MetricsService.Import"].byte_count == 22, seen["MetricsService.Import"]
    assert seen["SystemService.GetStoreStats"].head_series > 2, seen["SystemService.GetStoreStats"]
    assert seen["SystemService.VerifyStore"].WhichOneof("step"), seen["SystemService.VerifyStore"]
    assert seen["MetricsService.Erase"].samples == 2, seen["MetricsService.Erase"]
    assert seen["SystemService.Backup"].begin.files > 0, seen["SystemService.Backup"]
    assert seen["AlertsService.AcknowledgeAlert"].alerts[0].HasField("acknowledgement")
    defaults = {"high_cpu_usage", "high_memory_usage", "mcp_server_down", "high_error_rate"}
    assert defaults <= {rule.id for rule in seen["AlertsService.ListRules"].rules}
    created = seen["SystemService.CreateToken"]
    assert created.text.startswith(f"bf_{created.token.id}_"), created.token
    assert [token.name for token in seen["SystemService.ListTokens"].tokens] == ["peer"]
    assert seen["SystemService.RevokeToken"].token.id == created.token.id
    assert seen["SystemService.ListAudit"].entries, "no change was audited"
    assert seen["AgentService.Report"].welcome.user, seen["AgentService.Report"]


run(calls_every_rpc)
