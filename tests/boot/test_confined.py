"""What confinement keeps out, and what it must not: strangers, and the host's metrics."""

import re

from service import SOCKET, UNIT, installed

# What `systemd-analyze security` may find, in tenths as it prints them.
EXPOSURE_MAX = 1.5
# An unconfined daemon of root's beside the service, on a store of its own.
OTHER = "/run/unconfined.sock"
UNCONFINED = ("systemd-run", "--quiet", "--unit=unconfined", "--service-type=notify", "/usr/bin/balefired",
              "--state-dir", "/var/lib/unconfined", "--socket", OTHER, "--listen", "127.0.0.1:0")
# What does not change between two looks, and what may by so much of itself; of all else the names are enough.
EXACT = re.compile(r"node_(memory_(MemTotal|SwapTotal)_bytes|filesystem_(size_bytes|files|readonly|device_error)|filefd_maximum|boot_time_seconds"
                   r"|uname_info|os_info|network_mtu_bytes|network_up|processes_max_processes|processes_max_threads|scrape_collector_success)$")
CLOSE = {"node_memory_MemFree_bytes": 0.2, "node_memory_MemAvailable_bytes": 0.2, "node_cpu_seconds_total": 0.2,
         "node_filesystem_avail_bytes": 0.2, "node_filesystem_free_bytes": 0.2, "node_processes_pids": 0.2,
         "node_processes_threads": 0.2, "node_filefd_allocated": 0.2, "node_forks_total": 0.2, "node_load15": 0.5}
# Below that a fraction says nothing: two more processes, a second of a CPU.
SMALL = 20


def who_is_not_in_the_group_is_told_how_to_get_in(suite):
    with installed(suite) as service:
        service.guest.run("useradd", "ada")
        refused = service.cli("status", user="ada")
        assert refused.returncode == 3, refused
        mend = re.search(r"`sudo (usermod -aG balefire) \$USER`", refused.stderr)
        assert mend and SOCKET in refused.stderr, refused.stderr
        service.guest.run(*mend[1].split(), "ada")
        allowed = service.cli("status", user="ada")
        assert allowed.returncode == 0, allowed.stdout + allowed.stderr


def its_unit_is_sound_and_exposes_little(suite):
    with installed(suite, start=False) as service:
        # A minimal Debian has no man(1), which would look for the pages of `Documentation=`.
        verified = service.guest.run("systemd-analyze", "verify", "--man=no", UNIT, "balefire-spawn.socket", "balefire-spawn@.service")
        assert not verified.stdout + verified.stderr, verified.stdout + verified.stderr
        told = service.guest.run("systemd-analyze", "security", "--no-pager", UNIT).stdout
        exposure = float(re.search(r"Overall exposure level for \S+: ([\d.]+)", told)[1])
        print(f"exposure {exposure}")
        assert exposure <= EXPOSURE_MAX, told


def it_sees_the_host_as_one_does_that_is_not_confined(suite):
    with installed(suite) as service:
        # A file system that is no overlay, and is in nobody's way.
        service.guest.shell("mkdir /srv/data; mount -t tmpfs -o size=16m tmpfs /srv/data; head -c 5M /dev/zero >/srv/data/file")
        service.guest.run(*UNCONFINED)
        confined, free = collected(service.reflection(), service.reflection(OTHER))
        missing, more = sorted(free.keys() - confined.keys()), sorted(confined.keys() - free.keys())
        assert not missing and not more, f"confined lacks {missing}\nand has more: {more}"
        assert any("node_filesystem_size_bytes" in name and "/srv/data" in name for name in confined), sorted(confined)
        differing = [f"{name}: {value} confined, {free[name]} else" for name, value in confined.items() if differs(name, value, free[name])]
        assert not differing, "\n".join(differing)
        compared = sum(bool(bound(name)) or is_exact(name) for name in confined)
        assert compared > 20, compared
        print(f"{len(confined)} series in both, {compared} compared by value")


def collected(*daemons):
    """The series of the host and their values, for each daemon; collected one right after the other."""
    for _ in range(2):
        # Rates need two looks.
        for daemon in daemons:
            daemon.call("MetricsService", "CollectMetrics", source="METRIC_SOURCE_SYSTEM")
    answers = [daemon.call("MetricsService", "Query", expr='{job="node"}') for daemon in daemons]
    return [{key(one): one.sample.value for one in answer.vector.entries} for answer in answers]


def key(series):
    labels = dict(series.labels)
    return labels.pop("__name__") + str(sorted(labels.items()))


def name_of(key):
    return key.split("[", 1)[0]


def is_exact(key):
    return bool(EXACT.match(name_of(key)))


def bound(key):
    return CLOSE.get(name_of(key))


def differs(key, a, b):
    if is_exact(key):
        return a != b
    within = bound(key)
    return within is not None and abs(a - b) > max(within * max(a, b), SMALL)


CASES = (
    who_is_not_in_the_group_is_told_how_to_get_in,
    its_unit_is_sound_and_exposes_little,
    it_sees_the_host_as_one_does_that_is_not_confined,
)
