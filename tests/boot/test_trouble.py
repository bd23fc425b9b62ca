"""What goes wrong around a service: it goes on, and says clearly what is the matter."""

import contextlib
import json
import os
import re
import socket
import time
from datetime import datetime

from harness import eventually

from service import SOCKET, UNIT, installed

STATE = "/var/lib/balefire"
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
JUMP = "/run/jump"
# Of the system, or of the bound on connections.
TOO_MANY = re.compile(r"not accepted|too many|Too many open files")


def a_full_state_directory_refuses_writes_alone(suite):
    with installed(suite, start=False) as service:
        service.guest.shell(f"mkdir -p {STATE}; mount -t tmpfs -o size=32m tmpfs {STATE}; chown balefire: {STATE}")
        service.systemctl("start")
        service.write("boot_kept 42\n")
        ballast = service.guest.path(f"{STATE}/ballast")
        fill(ballast)
        refused = eventually("a write is refused", lambda: refusal(service))
        assert re.search("no space|full|room", refused, re.IGNORECASE), refused
        assert "accepted" not in refused and service.is_active() and service.restarts() == 0
        assert service.value("boot_kept") == 42
        ballast.unlink()
        eventually("writes are taken again", lambda: not refusal(service))
        print(refused)


def fill(ballast):
    with open(ballast, "wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue


def refusal(service):
    """What a write is refused with, or nothing."""
    done = service.write("".join(f'boot_filler{{n="{n}"}} {time.time()}\n' for n in range(500)))
    return done.stdout + done.stderr if done.returncode else ""


def a_read_only_etc_changes_nothing(suite):
    with installed(suite, start=False) as service:
        service.guest.shell("mount --bind /etc /etc; mount -o remount,bind,ro /etc")
        service.systemctl("start")
        service.systemctl("reload")
        assert service.is_active() and service.log_of(4) == [], service.log()


def goes_on_without_a_journal(suite):
    units = ("systemd-journald.service", "systemd-journald.socket", "systemd-journald-dev-log.socket")
    with installed(suite) as service:
        daemon = service.pid()
        service.guest.run("systemctl", "mask", "--runtime", *units, "systemd-journald-audit.socket")
        service.guest.run("systemctl", "stop", *units, "systemd-journald-audit.socket", check=False)
        service.guest.shell("rm -f /run/systemd/journal/socket /run/systemd/journal/stdout /run/systemd/journal/dev-log")
        # What nobody takes down is not waited for, neither by one that knew the journal nor by one that never did.
        service.systemctl("reload")
        assert service.is_active() and service.pid() == daemon
        service.systemctl("restart")
        service.write("boot_kept 42\n")
        assert service.is_active() and service.pid() != daemon and service.value("boot_kept") == 42
        service.guest.run("systemctl", "unmask", "--runtime", *units, "systemd-journald-audit.socket")
        service.guest.run("systemctl", "start", *units[1:], units[0])
        service.systemctl("restart")
        service.configure("intervall = 7\n")
        service.systemctl("reload", check=False)
        eventually("the journal has the daemon's words again", lambda: "not reloaded" in service.log())


def a_clock_that_jumps_stops_nothing(suite):
    with installed(suite, start=False) as service:
        jump(service, 0)
        service.set(Environment=[f"LD_PRELOAD={FAKETIME}", f"FAKETIME_TIMESTAMP_FILE={JUMP}", "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"])
        service.configure('[global]\nscrape_interval = "1s"\nevaluation_interval = "1s"\n')
        service.systemctl("start")
        daemon = service.pid()
        for hours in (0, 1, 0, -1, 0):
            jump(service, hours)
            moved = lambda hours=hours: time.time() + hours * 3600
            eventually(f"samples come with a clock {hours} h off", lambda: is_collected(service, moved()))
            eventually(f"rules are evaluated with a clock {hours} h off", lambda: is_evaluated(service, moved()))
        assert service.is_active() and service.pid() == daemon, service.log()
        told = lambda: re.findall(r"the clock of this host was moved by ([+-]\d+) s", service.log())
        # It looks every ten seconds; there and back again between two looks is nothing to tell of.
        jump(service, 1)
        eventually("the jump ahead is told of", lambda: any(3500 < int(by) < 3700 for by in told()))
        jump(service, -1)
        eventually("the jump back is told of", lambda: any(-7300 < int(by) < -7100 for by in told()))


def jump(service, hours):
    place = service.guest.path(JUMP)
    place.with_suffix(".new").write_text(f"{hours * 3600:+d}\n")
    os.replace(place.with_suffix(".new"), place)


def is_collected(service, now):
    """That the newest sample by the moved clock is of now."""
    found = service.cli("--output", "json", "query", "--time", f"{now:.3f}", "node_time_seconds", check=False)
    series = json.loads(found.stdout)["result"] if found.returncode == 0 else []
    return bool(series) and abs(series[0]["samples"][-1]["value"] - now) < 10


def is_evaluated(service, now):
    times = [rule["last_evaluation"] for rule in service.ask("rules", "list")]
    return all(time and abs(datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp() - now) < 10 for time in times)


def with_256_descriptors_a_crowd_is_refused_and_told_of(suite):
    with installed(suite, start=False) as service:
        service.set(LimitNOFILE=256)
        service.systemctl("start")
        daemon = service.pid()
        with contextlib.ExitStack() as crowd:
            for _ in range(300):
                one = crowd.enter_context(socket.socket(socket.AF_UNIX))
                one.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    one.connect(str(service.guest.path(SOCKET)))
            eventually("the journal tells of it", lambda: TOO_MANY.search("\n".join(service.log_of(4))))
        eventually("it answers when they are gone", lambda: service.cli("status").returncode == 0)
        service.write("boot_kept 42\n")
        assert service.value("boot_kept") == 42 and service.pid() == daemon
        print(service.log_of(4)[0])


def too_few_descriptors_are_named(suite):
    with installed(suite, start=False) as service:
        service.set(LimitNOFILE=64, Restart="no")
        assert service.systemctl("start", check=False).returncode != 0, "it starts with 64 descriptors"
        assert re.search(r"64 .*descriptors|descriptors.* 64", service.log()), service.log()
        needed = re.search(r"LimitNOFILE=(\d+)", service.log())
        assert needed, service.log()
        # The number that it names is enough.
        service.set(LimitNOFILE=needed[1])
        service.guest.run("systemctl", "reset-failed", UNIT)
        service.systemctl("start")
        assert service.is_active()


CASES = (
    a_full_state_directory_refuses_writes_alone,
    a_read_only_etc_changes_nothing,
    goes_on_without_a_journal,
    a_clock_that_jumps_stops_nothing,
    with_256_descriptors_a_crowd_is_refused_and_told_of,
    too_few_descriptors_are_named,
)
