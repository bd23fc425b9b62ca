"""The life of the package: installed, upgraded, removed, purged, and installed again.

Upgrades start from the same programs in a package of a lower version. There are no silences yet that one
could lose; history and rules are there.
"""

import contextlib
import itertools
import re
import time
from datetime import datetime

from harness import eventually
from guest import Guest
from service import CONFIG, DEB, OLDER, ROOT, SOCKET, SOCKET_UNIT, UNIT, inside, install, installed
from test_restart import Caller
from trees import LARDER

STATE = "/var/lib/balefire"
FORMAT = f"{STATE}/store/format"
EDITED = '[[targets]]\nname = "lighthouse"\nkind = "tcp"\naddress = "127.0.0.1:9494"\ninterval = "1h"\n'
# Collection may pause for so long, with an interval of a second.
GAP_MAX = 2
FIXTURE = ((ROOT / "tests/fixtures", "/mnt/fixtures"),)
# What the fixture holds is of 2024, which is older than the default keeps.
FOREVER = ("RETENTION", "RETENTION_5M", "RETENTION_1H", "HISTORY_RETENTION")
# Names and contents of a store; not of the lock, which holds the number of a process.
CONTENTS = f"cd {STATE}/store && find . -type f ! -name lock -exec sha256sum {{}} + | sort -k 2"
# Whatever the package brought to the disk would have its name in it.
LEFT = "find / -xdev -path /mnt -prune -o -name '*balefire*' -print"


def runs_once_it_is_installed(suite):
    with installed(suite) as service:
        assert (service.show("ActiveState"), service.show("SubState"), service.restarts()) == ("active", "running", 0)
        assert states(service) == ["enabled", "enabled"]
        assert service.guest.run("stat", "-c", "%a %U %G", SOCKET).stdout == "660 root balefire\n"
        assert service.cli("status").returncode == 0
        assert service.log_of(4) == [], service.log()
        # Nothing differs from what the package says (the tree leaves documents out), and nothing is left to be done.
        differs = service.guest.run("dpkg", "--verify", "balefire", check=False).stdout.splitlines()
        assert [line for line in differs if "/usr/share/doc/" not in line] == []
        assert service.guest.run("dpkg", "--audit").stdout == ""


def an_upgrade_keeps_history_and_rules(suite):
    with installed(suite, package=OLDER) as service:
        service.write("boot_kept 42\n")
        service.cli("rules", "create", "kept", "boot_kept > 41", "--severity", "low", check=True)
        service.cli("rules", "disable", "high_cpu_usage", check=True)
        rules, daemon = rules_of(service), service.pid()
        install(service.guest)
        assert version(service) == DEB.name.split("_")[1] and service.pid() != daemon
        assert service.is_active() and service.restarts() == 0
        assert rules_of(service) == rules and {"kept", "high_cpu_usage"} < rules.keys(), rules
        assert service.value("boot_kept") == 42


def an_upgrade_keeps_a_configuration_that_was_edited(suite):
    with installed(suite, package=OLDER) as service:
        # A package whose default is another one: dpkg would ask, and does not where nobody is to be asked.
        service.guest.shell(f"""
            dpkg-deb -R {inside(OLDER)} /tmp/before
            echo '# A default of before.' >>/tmp/before{CONFIG}
            dpkg-deb -Znone -b /tmp/before /tmp/before.deb
            dpkg -i /tmp/before.deb
        """)
        default = service.guest.path(CONFIG).read_text()
        assert default.endswith("# A default of before.\n")
        install(service.guest)
        assert service.guest.path(CONFIG).read_text() == default.removesuffix("# A default of before.\n"), "a default is not replaced"
        service.guest.shell("dpkg -i --force-downgrade /tmp/before.deb")
        service.configure(EDITED)
        install(service.guest)
        assert service.guest.path(CONFIG).read_text() == EDITED
        assert "lighthouse" in [target["name"] for target in service.ask("targets", "list")]


def an_upgrade_is_hardly_noticed(suite):
    with installed(suite, package=OLDER) as service:
        service.set(Environment="BALEFIRE__GLOBAL__SCRAPE_INTERVAL=1s")
        service.systemctl("restart")
        eventually("it collects", lambda: len(collected(service)) > 3)
        before, listening = service.pid(), listener(service)
        with asking(service) as asked:
            install(service.guest)
            upgraded = time.time()
            eventually("it collects again", lambda: sum(at > upgraded for at in collected(service)) > 3)
        assert service.pid() != before and service.restarts() == 0
        assert listener(service) == listening, "another socket listens"
        assert asked.answered and not asked.failed, asked.failed
        gap = max(later - earlier for earlier, later in itertools.pairwise(collected(service)))
        assert gap < GAP_MAX, f"nothing was collected for {gap:.2f} s"
        print(f"{asked.answered} calls of balefire answered; {gap:.2f} s between samples at most")


@contextlib.contextmanager
def asking(service):
    """Calls of `balefire`, one after another, for the time of a block."""
    caller = Caller(service)
    caller.start()
    try:
        yield caller
    finally:
        caller.ended = True
        caller.join(60)


def an_upgrade_opens_a_store_of_the_first_format(suite):
    with installed(suite, package=OLDER, binds=FIXTURE) as service:
        service.systemctl("stop")
        service.set(Environment=[f"BALEFIRE__STORAGE__{key}=36500d" for key in FOREVER])
        service.guest.shell(f"""
            rm -rf {STATE}/store
            mkdir -m 700 {STATE}/store
            tar -xzf /mnt/fixtures/store-format-1.tar.gz -C {STATE}/store
            chown -R balefire: {STATE}/store
        """)
        install(service.guest)
        eventually("it is active", service.is_active)
        # tests/store_format.rs wrote it: from a midnight on, a step every five minutes.
        found = service.ask("query", 'kept_total{n="0"}', "--time", "2024-10-05T00:00:00Z")["result"]
        assert [one["samples"][-1]["value"] for one in found] == [3 * 288], found
        assert "kept" in rules_of(service)
        history = service.ask("alerts", "history", "--rule", "kept", "--start", "2024-10-04T00:00:00Z", "--end", "2024-10-05T00:00:00Z")
        assert history[0]["value"] == 288, history[0]
        assert service.log_of(4) == [], service.log()


def a_newer_store_is_refused_and_left_as_it_is(suite):
    with installed(suite) as service:
        service.write("boot_kept 42\n")
        service.systemctl("stop")
        ours = service.guest.path(FORMAT).read_text()
        service.guest.path(FORMAT).write_text("balefire store 2\n" * 2)
        before = service.guest.shell(CONTENTS).stdout
        # What an administrator does who wants the older version back.
        service.guest.shell(f"dpkg -i --force-downgrade {inside(OLDER)}", patience=120)
        # It is tried again and again; each time the status begins anew, and has it for a moment only.
        told = eventually("the journal tells why", lambda: refusal(service.log()))
        assert FORMAT in told and "left as it is" in told, told
        eventually("it was tried again", lambda: service.restarts() > 1)
        assert not service.is_active()
        service.systemctl("stop")
        # Where it is not tried again the status keeps what it said.
        service.set(Restart="no")
        service.systemctl("start", check=False)
        status = service.systemctl("status", "--no-pager", "--full", check=False).stdout
        assert refusal(status), status
        assert service.guest.shell(CONTENTS).stdout == before, "it was changed"
        service.guest.path(FORMAT).write_text(ours)
        service.systemctl("start")
        assert service.value("boot_kept") == 42


def refusal(text):
    return next((line for line in text.splitlines() if "balefire store 2" in line), None)


def removing_keeps_what_purging_takes(suite):
    with installed(suite) as service:
        service.write("boot_kept 42\n")
        service.configure(EDITED)
        service.guest.shell("apt-get -qq -y remove balefire")
        assert not service.is_active() and not service.has_socket_unit()
        assert not service.guest.path(SOCKET).exists() and not service.guest.path("/usr/bin/balefired").exists()
        assert service.guest.path(CONFIG).read_text() == EDITED
        install(service.guest)
        assert service.is_active() and service.value("boot_kept") == 42
        assert service.guest.path(CONFIG).read_text() == EDITED
        service.guest.shell("apt-get -qq -y purge balefire")
        assert service.guest.shell(LEFT).stdout == "", "something is left"
        assert not service.guest.path("/run/balefire").exists()
        install(service.guest)
        assert service.is_active() and states(service) == ["enabled", "enabled"]
        assert service.value("boot_kept") is None and service.guest.path(CONFIG).read_text() != EDITED


def what_was_disabled_or_masked_stays_so(suite):
    with installed(suite, package=OLDER) as service:
        for verb, state in (("disable", "disabled"), ("mask", "masked")):
            service.guest.run("systemctl", verb, "--now", UNIT, SOCKET_UNIT)
            install(service.guest)
            assert states(service) == [state, state]
            assert not service.is_active() and not service.has_socket_unit()
            # Back to where it was, for the next one.
            service.guest.run("systemctl", "unmask", UNIT, SOCKET_UNIT)
            service.guest.run("systemctl", "enable", "--now", UNIT, SOCKET_UNIT)
            install(service.guest, OLDER, "--allow-downgrades")
            assert service.is_active() and states(service) == ["enabled", "enabled"]


def autopkgtest_passes(suite):
    with Guest(suite, ((DEB.parent, "/mnt/deb"), (ROOT / "packaging/autopkgtest", "/mnt/autopkgtest"))) as guest:
        guest.shell(f"apt-get -qq -y install {LARDER}/*.deb; cp -r /mnt/autopkgtest /tmp/", patience=120)
        done = guest.run("autopkgtest", inside(DEB), "/tmp/autopkgtest", "--ignore-restrictions=isolation-container",
                         "--", "null", check=False, patience=120)
        assert done.returncode == 0, done.stdout + done.stderr
        assert re.search(r"^service +PASS$", done.stdout + done.stderr, re.MULTILINE), done.stdout + done.stderr


def states(service):
    """Whether the service and its socket start with the system."""
    return service.guest.run("systemctl", "is-enabled", UNIT, SOCKET_UNIT, check=False).stdout.split()


def version(service):
    return service.guest.run("dpkg-query", "--show", "--showformat=${Version}", "balefire").stdout


def rules_of(service):
    """What does not change by itself of each rule."""
    return {rule["id"]: (rule["condition"], rule["enabled"], rule["severity"]) for rule in service.ask("rules", "list")}


def collected(service):
    """When the host's metrics were collected, in seconds."""
    found = service.ask("query", "node_time_seconds[5m]")["result"]
    times = [sample["timestamp"] for sample in found[0]["samples"]] if found else []
    return [datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp() for time in times]


def listener(service):
    """The kernel's number of the socket that listens."""
    lines = [line.split() for line in service.guest.run("cat", "/proc/net/unix").stdout.splitlines()]
    # The fourth is the flags; this one is of those that listen.
    return [line[6] for line in lines if line[-1] == SOCKET and line[3] == "00010000"]


CASES = (
    runs_once_it_is_installed,
    an_upgrade_keeps_history_and_rules,
    an_upgrade_keeps_a_configuration_that_was_edited,
    an_upgrade_is_hardly_noticed,
    an_upgrade_opens_a_store_of_the_first_format,
    a_newer_store_is_refused_and_left_as_it_is,
    removing_keeps_what_purging_takes,
    what_was_disabled_or_masked_stays_so,
    autopkgtest_passes,
)
