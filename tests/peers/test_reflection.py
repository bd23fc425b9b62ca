"""Python grpcio with reflection alone: no proto file, no generated code."""

import grpc
from harness import Daemon, Reflection, eventually, real_targets, run, server_everything

SERVICES = {f"balefire.v1.{name}Service" for name in ("Alerts", "Events", "Metrics", "System", "Targets")}
STANDARD = {"grpc.health.v1.Health"}


def lists_the_services():
    with Daemon() as daemon:
        found = daemon.reflection.services()
        assert found >= SERVICES | STANDARD, f"missing: {(SERVICES | STANDARD) - found}"
        # Newer tools ask in v1, grpcio in v1alpha.
        assert daemon.reflection.speaks("v1") and daemon.reflection.speaks("v1alpha")


def calls_get_status():
    with Daemon() as daemon:
        status = daemon.status()
        assert status.pid == daemon.child.pid
        assert status.state_dir == str(daemon.dir / "state")
        assert status.components, "no component tells of itself"
        healthy = lambda: all(component.healthy for component in daemon.status().components)
        eventually("every component is healthy", healthy)


def calls_query():
    with Daemon() as daemon:
        def load():
            try:
                return daemon.reflection.call("MetricsService", "Query", expr="node_load1").vector.entries
            except grpc.RpcError as error:
                # Nothing is stored under that name before the first collection.
                assert error.code() == grpc.StatusCode.NOT_FOUND, error
                return None
        entry = eventually("the host is collected", load)[0]
        assert entry.labels["job"] == "node"
        # The machine is not idle while it tests, and the two readings are seconds apart.
        with open("/proc/loadavg", encoding="ascii") as file:
            now = float(file.read().split()[0])
        assert abs(entry.sample.value - now) < 1 + now, (entry.sample.value, now)


def knows_its_mistakes():
    with Daemon() as daemon:
        try:
            Reflection(daemon.channel).call("MetricsService", "Query", expr="up{")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
            assert any(key == "grpc-status-details-bin" for key, _ in error.trailing_metadata()), error
        else:
            raise AssertionError("a broken expression was taken")


def probes_real_servers():
    """A server from PyPI over stdio and one from npm over HTTP, checked now."""
    with server_everything() as url, Daemon(real_targets(url)) as daemon:
        for name, transport in (("time", "stdio"), ("everything", "streamable-http")):
            answer = daemon.reflection.call("TargetsService", "CheckTarget", target=name)
            assert answer.overall_healthy, answer
            target = daemon.reflection.call("TargetsService", "GetTarget", name=name)
            assert target.target.transport == transport, target
            assert target.target.protocol_version, target
            assert target.last_probe.tool_count > 0, target
        query = daemon.reflection.call("MetricsService", "Query", expr="sum(mcp_server_health)")
        assert query.vector.entries[0].sample.value >= 2, query


run(lists_the_services, calls_get_status, calls_query, knows_its_mistakes, probes_real_servers)
