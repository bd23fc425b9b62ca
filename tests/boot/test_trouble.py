"""What goes wrong around a service: it goes on, and says clearly what is the matter."""

import os
import re
import time

from harness import eventually

from service import CONFIG, UNIT, installed

STATE = "/var/lib/balefire"
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
JUMP = "/run/jump"


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
    sockets = ("systemd-journald.socket", "systemd-journald-dev-log.socket", "systemd-journald-audit.socket")
    with installed(suite) as service:
        daemon = service.pid()
        service.guest.run("systemctl", "mask", "--runtime", "--now", "systemd-journald.service", *sockets, check=False)
        assert not service.guest.path("/run/systemd/journal/stdout").exists()
        # What nobody takes down is not waited for.
        service.systemctl("reload")
        assert service.is_active() and service.pid() == daemon
        service.systemctl("restart")
        service.write("boot_kept 42\n")
        assert service.is_active() and service.value("boot_kept") == 42
        service.guest.run("systemctl", "unmask", "--runtime", "systemd-journald.service", *sockets)
        service.guest.run("systemctl", "start", *sockets[:2], "systemd-journald.service")
        service.systemctl("restart")
        assert service.is_active()
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
            eventually(f"samples come with a clock {hours} h off", lambda hours=hours: is_collected(service, hours))
            eventually(f"rules are evaluated with a clock {hours} h off", lambda hours=hours: is_evaluated(service, hours))
        assert service.is_active() and service.pid() == daemon, service.log()
        warned = "\n".join(service.log_of(4))
        assert "clock" in warned, service.log()
        print(warned)


def jump(service, hours):
    place = service.guest.path(JUMP)
    place.with_suffix(".new").write_text(f"{hours * 3600:+d}\n")
    os.replace(place.with_suffix(".new"), place)


def is_collected(service, hours):
    """That there is a sample of the last seconds by the moved clock."""
    now = time.time() + hours * 3600
    found = service.cli("--output", "json", "query", "--time", f"{now:.3f}", "node_time_seconds")
    return found.returncode == 0 and re.search(r'"value": ?"?([\d.]+)', found.stdout) and abs(
        float(re.search(r'"value": ?"?([\d.]+)', found.stdout)[1]) - now) < 5


def is_evaluated(service, hours):
    now = time.time() + hours * 3600
    listed = service.ask("rules", "list")
    return listed and now


def two_hundred_and_fifty_six_descriptors_are_enough(suite):
    with installed(suite, start=False) as service:
        service.set(LimitNOFILE=256)
        service.systemctl("start")
        crowd = [service.reflection() for _ in range(200)]
        answered = 0
        for one in crowd:
            try:
                one.call("SystemService", "GetStatus")
                answered += 1
            except Exception as error:
                print(error)
                break
        print(answered)


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
    two_hundred_and_fifty_six_descriptors_are_enough,
    too_few_descriptors_are_named,
)
