"""The official Python SDK calls every tool through the shim, in every mode of the protocol."""

import asyncio
import contextlib
import json
import pathlib
import signal
import subprocess
import tempfile
import time

import jsonschema
from harness import PATIENCE, run
from mcp import Client, StdioServerParameters
from shim import CONTRACT, READ_ONLY, TOOLS, check_definitions, command, daemon_with_servers

MODES = ("auto", "legacy", "2026-07-28")
ANSWER_BYTES_MAX = 6_000


def connect(socket, mode="auto", arguments=()):
    program, *rest = command(socket, *arguments)
    server = StdioServerParameters(command=program, args=rest)
    return Client(server, mode=mode, read_timeout_seconds=PATIENCE)


class Agent:
    """Calls tools as an agent does, and holds every answer against its schema."""

    def __init__(self, client):
        self.client = client

    async def definitions(self):
        listed = await self.client.list_tools()
        return [tool.model_dump(by_alias=True, exclude_none=True) for tool in listed.tools]

    async def prepare(self):
        self.schemas = {tool["name"]: tool["outputSchema"] for tool in await self.definitions()}
        return self

    async def __call__(self, tool, **arguments):
        result = await self.client.call_tool(tool, arguments)
        text = result.content[0].text
        assert not result.is_error, f"{tool} {arguments}: {text}"
        answer = result.structured_content
        jsonschema.validate(answer, self.schemas[tool], jsonschema.Draft202012Validator)
        assert json.loads(text) == answer, f"{tool}: text and structured content differ"
        assert "limit" in arguments or len(text) <= ANSWER_BYTES_MAX, f"{tool}: {len(text)} bytes"
        return answer

    async def refused(self, tool, **arguments):
        result = await self.client.call_tool(tool, arguments)
        assert result.is_error, f"{tool} {arguments} should be refused: {result}"
        return result.content[0].text

    async def eventually(self, what, tool, accept, **arguments):
        deadline = time.monotonic() + 3 * PATIENCE
        while not accept(answer := await self(tool, **arguments)):
            assert time.monotonic() < deadline, f"never: {what}: {answer}"
            await asyncio.sleep(0.1)
        return answer


@contextlib.asynccontextmanager
async def agent(socket, mode="auto"):
    async with connect(socket, mode) as client:
        yield await Agent(client).prepare()


async def lists_the_tools_of_the_contract():
    with nowhere() as socket:
        for mode in MODES:
            async with connect(socket, mode) as client:
                check_definitions(await Agent(client).definitions(), TOOLS)
            async with connect(socket, mode, ["--read-only"]) as client:
                check_definitions(await Agent(client).definitions(), READ_ONLY)


async def calls_every_tool_in_every_mode():
    with daemon_with_servers() as daemon:
        for mode in MODES:
            async with agent(daemon.socket, mode) as call:
                await collects_and_queries(call, mode)
                await reads(call)
                await checks_health(call)
                await manages_an_alert(call, mode)
        async with agent(daemon.socket) as call:
            await an_alert_fires_and_resolves(call)
            await mistakes_name_the_field_and_the_fix(call)


async def collects_and_queries(call, mode):
    tags = {"mode": mode, "quote": 'a "b" \\ c'}
    metrics = [{"name": "peer_temperature", "value": 21.5, "metric_type": "gauge", "tags": tags}]
    answer = await call("collect_metrics", source="custom", metrics=metrics)
    assert (answer["status"], answer["collected_count"], answer["source"]) == ("success", 1, "custom"), answer
    answer = await call("collect_metrics", source="system", metrics=[])
    assert answer["collected_count"] > 50, answer

    answer = await call("query_metrics", metric_name="peer_temperature", tags=tags)
    assert [series["value"] for series in answer["results"]] == [21.5], answer
    answer = await call("query_metrics", metric_name="peer_temperature", tags={"mode": mode}, aggregation="max",
                        group_by=["mode"], start_time="-10m", end_time="now", step="1m")
    assert answer["results"][0]["labels"] == {"mode": mode}, answer
    assert answer["results"][0]["samples"][-1][1] == 21.5 and "max by (mode)" in answer["promql"], answer
    answer = await call("query_metrics", expr="sum(node_cpu_seconds_total) > 0")
    assert answer["results"][0]["value"] > 0, answer
    answer = await call("query_metrics", metric_name="node_cpu_seconds_total", start_time="-1h", aggregation="p95")
    assert "quantile" in answer["promql"], answer


async def reads(call):
    status = await call("get_server_status")
    assert 0 <= status["system_info"]["cpu_percent"] <= 100 and status["components"], status
    assert abs(status["system_info"]["memory_percent"] - memory_percent()) < 20, status
    for time_range in ("1h", "24h", "7d", "30d"):
        overview = await call("system_overview", include_details=True, time_range=time_range)
        assert overview["time_range"] == time_range and overview["summary"]["total_mcp_servers"] >= 2, overview
    for form in ("json", "csv", "prometheus", "influx"):
        export = await call("export_metrics", format=form, metric_names=["peer_temperature"], start_time="-1h")
        assert "peer_temperature" in export["text"] and "21.5" in export["text"], export
    export = await call("export_metrics", format="csv")
    assert "balefire export --format csv" in export["cut"], export


async def checks_health(call):
    for target in ("time", "everything"):
        answer = await call("health_check", target=target)
        assert answer["overall_healthy"] and answer["health_checks"][0]["state"] == "healthy", answer
    answer = await call("health_check", target="system")
    assert answer["health_checks"], answer
    answer = await call("health_check", target="all", endpoints=["tcp://127.0.0.1:1"])
    assert not answer["overall_healthy"], answer


async def manages_an_alert(call, mode):
    name = f"Peer too warm {mode}"
    created = await call("create_alert", name=name, condition="peer_temperature > 1000", severity="low",
                         description="Open a window.", enabled=True, cooldown="1m", labels={"team": "peers"},
                         **{"for": "1m"})
    assert created["backtest"]["firing_count"] == 0 and created["alert"]["for"] == "1m", created
    alert_id = created["alert_id"]
    answer = await call("manage_alerts", action="list", limit=1000)
    listed = {alert["alert_id"]: alert for alert in answer["alerts"]}
    assert answer["total_count"] == len(listed) >= 5 and listed[alert_id]["enabled"], answer
    for action in ("disable", "enable", "delete"):
        answer = await call("manage_alerts", action=action, alert_id=alert_id)
        assert answer["status"] == "success" and alert_id in answer["message"], answer
    answer = await call("manage_alerts", action="history")
    assert "history" in answer, answer


async def an_alert_fires_and_resolves(call):
    async def temperature(value):
        metric = {"name": "peer_oven", "value": value, "metric_type": "gauge"}
        await call("collect_metrics", source="custom", metrics=[metric])

    def is_in(state):
        return lambda answer: any(a["alert_id"] == alert_id and a["state"] == state for a in answer["alerts"])

    await temperature(300)
    created = await call("create_alert", name="Oven hot", condition="peer_oven > 250", severity="critical")
    alert_id = created["alert_id"]
    await call.eventually("it fires", "manage_alerts", is_in("firing"), action="list", limit=1000)
    answer = await call("manage_alerts", action="acknowledge", alert_id=alert_id, comment="on my way")
    assert answer["status"] == "success", answer
    await temperature(20)
    await call.eventually("it resolves", "manage_alerts", is_in("inactive"), action="list", limit=1000)
    answer = await call("manage_alerts", action="history", alert_id=alert_id)
    assert {"firing", "resolved"} <= {transition["to"] for transition in answer["history"]}, answer


async def mistakes_name_the_field_and_the_fix(call):
    for mistake in CONTRACT["errors"]:
        text = await call.refused(mistake["tool"], **mistake["arguments"])
        for name in mistake["names"]:
            assert name in text, f"{mistake}: no {name!r} in {text!r}"


async def survives_a_daemon_that_comes_late():
    with nowhere() as socket:
        async with agent(socket) as call:
            text = await call.refused("get_server_status")
            assert "balefired" in text and "systemctl start balefire" in text and str(socket) in text, text
            with daemon_with_servers() as daemon:
                # The shim was told a socket that did not exist; now it does.
                socket.symlink_to(daemon.socket)
                assert (await call("get_server_status"))["server_name"]
            text = await call.refused("get_server_status")
            assert "balefired" in text, text


def starts_fast_and_stays_small():
    opening = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "peer", "version": "1"}}}
    line = (json.dumps(opening) + "\n").encode()
    times, memory = [], 0
    for _ in range(20):
        start = time.monotonic()
        child = spawn()
        child.stdin.write(line)
        assert json.loads(child.stdout.readline())["result"]["serverInfo"]["name"] == "balefire"
        times.append(1000 * (time.monotonic() - start))
        memory = max(memory, resident_kib(child.pid))
        child.stdin.close()
        assert child.wait(PATIENCE) == 0, "it should end with its input"
        assert child.stdout.read() == b"", "something but protocol stood on standard output"
    print(f"# initialize: {sorted(times)[len(times) // 2]:.1f} ms from exec (median), {memory} KiB resident")


def ends_on_signals():
    for number in (signal.SIGTERM, signal.SIGINT):
        child = spawn()
        # It answers, so it listens for signals.
        child.stdin.write(b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n')
        child.stdin.write(b'{"jsonrpc":"2.0","id":2,"method":"initialize","params":{"protocolVersion":"2025-11-25",'
                          b'"capabilities":{},"clientInfo":{"name":"peer","version":"1"}}}\n')
        assert child.stdout.readline()
        child.send_signal(number)
        assert child.wait(PATIENCE) == 0, number


def refuses_to_serve_beyond_loopback():
    done = subprocess.run(command("/nowhere", "--http", "0.0.0.0:0"), capture_output=True, text=True, timeout=PATIENCE,
                          check=False)
    assert done.returncode == 2 and "not a loopback address" in done.stderr, done


def spawn():
    return subprocess.Popen(command("/nowhere"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)


@contextlib.contextmanager
def nowhere():
    """A socket where nobody listens, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="bf", dir="/tmp") as folder:
        yield pathlib.Path(folder) / "sock"


def resident_kib(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")))


def memory_percent():
    with open("/proc/meminfo", encoding="ascii") as file:
        found = {line.split(":")[0]: int(line.split()[1]) for line in file}
    return 100 * (1 - found["MemAvailable"] / found["MemTotal"])


if __name__ == "__main__":
    run(lists_the_tools_of_the_contract, starts_fast_and_stays_small, ends_on_signals, refuses_to_serve_beyond_loopback,
        calls_every_tool_in_every_mode, survives_a_daemon_that_comes_late)
