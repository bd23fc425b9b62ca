"""Started, stopped, hung, killed, reloaded, rebooted: what systemd and people see of the service."""

import re
import time

from harness import eventually
from service import CONFIG, DEB, SOCKET, UNIT, installed, seconds

STATUS = re.compile(r"\d+ of \d+ targets healthy, alerts firing: \d+; http://127\.0\.0\.1:\d+")
PROBED = '[[targets]]\nname = "{name}"\nkind = "tcp"\naddress = "127.0.0.1:9494"\ninterval = "1h"\n'
SAMPLE = "boot_kept 42\n"
# Nobody listens there until somebody does.
LAMP = '[[targets]]\nname = "lamp"\nkind = "tcp"\naddress = "127.0.0.1:7777"\ninterval = "1h"\nretries = 0\n'
# As packaging/balefire.catalog has them.
FIRES, RESOLVED = "b2f1c5e47d0a4c0f9d6e8a35f0c71d01", "b2f1c5e47d0a4c0f9d6e8a35f0c71d02"
DOWN, UP = "b2f1c5e47d0a4c0f9d6e8a35f0c71d03", "b2f1c5e47d0a4c0f9d6e8a35f0c71d04"
ERROR, INFO = "3", "6"


def is_running_after_the_start_and_stops_in_time(suite):
    with installed(suite) as service:
        assert (service.show("ActiveState"), service.show("SubState")) == ("active", "running")
        said = service.systemctl("status", "--no-pager").stdout
        assert re.search(r'Status: "' + STATUS.pattern, said), said
        assert service.log_of(4) == [], service.log()
        took = seconds(lambda: service.systemctl("stop"))
        assert service.show("Result") == "success", service.log()
        assert took < 2, f"stopping took {took:.2f} s"
        print(f"stopped after {took:.2f} s")
        # What systemd holds outlives the daemon; what the daemon made goes with it.
        assert service.guest.path(SOCKET).exists() == service.has_socket_unit()


def a_hung_daemon_is_killed_by_the_watchdog_and_started_again(suite):
    with installed(suite) as service:
        service.write(SAMPLE)
        hung = service.pid()
        stopped = time.monotonic()
        service.guest.run("kill", "-STOP", hung)
        patience = int(service.show("WatchdogUSec").removesuffix("s")) + 20
        print(f"back after {service.back_after(stopped, patience):.1f} s")
        assert "Watchdog timeout" in service.log(), service.log()
        assert service.pid() != hung
        assert service.value("boot_kept") == 42


def a_killed_daemon_is_back_in_two_seconds_with_its_state(suite):
    with installed(suite) as service:
        service.write(SAMPLE)
        rules = service.ask("rules", "list")
        killed = time.monotonic()
        service.systemctl("kill", "--kill-who=main", "--signal=KILL")
        took = service.back_after(killed)
        assert service.restarts() == 1
        assert service.value("boot_kept") == 42
        names = lambda listed: sorted(rule["name"] for rule in listed)
        assert rules and names(service.ask("rules", "list")) == names(rules)
        assert took < 2, f"back after {took:.2f} s"
        print(f"back after {took:.2f} s")


def goes_on_after_a_reboot(suite):
    with installed(suite) as service:
        service.write(SAMPLE)
        service.guest.reboot()
        assert service.is_active(), service.systemctl("status", check=False).stdout
        assert service.value("boot_kept") == 42
        assert service.restarts() == 0


def a_reload_applies_what_has_changed(suite):
    with installed(suite) as service:
        daemon = service.pid()
        service.configure(PROBED.format(name="lighthouse"))
        service.systemctl("reload")
        # It has waited: nothing is left to be waited for here.
        assert configured(service) == {"lighthouse"}
        assert STATUS.match(service.show("StatusText")), service.show("StatusText")
        assert service.pid() == daemon


def a_broken_configuration_leaves_the_old_one_running(suite):
    with installed(suite) as service:
        service.configure(PROBED.format(name="lighthouse"))
        service.systemctl("reload")
        daemon = service.pid()
        service.configure(PROBED.format(name="foghorn") + "intervall = 7\n")
        reload = service.systemctl("reload", check=False)
        assert reload.returncode != 0, "a broken configuration was taken"
        assert configured(service) == {"lighthouse"}
        assert service.is_active() and service.pid() == daemon
        errors = "\n".join(service.log_of(3))
        for fact in ("not reloaded", CONFIG, "intervall"):
            assert fact in errors, service.log()
        # In the line of its own, which goes on telling it when the log has scrolled by.
        status = service.show("StatusText")
        assert "not reloaded" in status and f"{CONFIG}:6" in status and "intervall" in status, status
        # What is mended is taken, and the old mistake is not told of any more.
        service.configure(PROBED.format(name="foghorn"))
        service.systemctl("reload")
        assert configured(service) == {"foghorn"}
        assert "not reloaded" not in service.show("StatusText")


def a_broken_configuration_is_told_before_the_start(suite):
    with installed(suite, start=False) as service:
        service.configure("[global]\nscrape_intervall = 7\n")
        assert service.systemctl("start", check=False).returncode != 0
        for fact in (f"{CONFIG}:2", "scrape_intervall"):
            assert fact in service.log(), service.log()
        service.systemctl("stop")
        service.guest.run("systemctl", "reset-failed", UNIT)
        service.configure("")
        service.systemctl("start")
        assert service.is_active()


def the_journal_finds_what_happened_to_a_target(suite):
    with installed(suite) as service:
        service.configure(LAMP)
        service.systemctl("reload")
        service.cli("targets", "check", "lamp")
        assert told(service, DOWN, BALEFIRE_TARGET="lamp") == [ERROR], service.log()
        service.guest.run("systemd-run", "--unit=lamp", "--socket-property=ListenStream=127.0.0.1:7777",
                          "--socket-property=Accept=yes", "/bin/cat")
        service.cli("targets", "check", "lamp", check=True)
        assert told(service, UP, BALEFIRE_TARGET="lamp") == [INFO], service.log()
        explained(service, DOWN, "Subject: Target lamp is down", '"balefire targets show lamp"')
        explained(service, UP, "Subject: Target lamp is up")
        plain = service.guest.journal("--unit", UNIT, "--grep", "^Balefire|configuration reloaded")
        assert plain and not any("MESSAGE_ID" in entry for entry in plain), plain


def the_journal_finds_what_became_of_an_alert(suite):
    with installed(suite) as service:
        service.configure('[global]\nevaluation_interval = "1s"\n')
        service.systemctl("reload")
        service.write("boot_oil 1\n")
        service.cli("rules", "create", "oil_low", "boot_oil < 10", "--severity", "critical", check=True)
        assert told(service, FIRES, BALEFIRE_RULE="oil_low") == [ERROR], service.log()
        service.write("boot_oil 100\n")
        assert told(service, RESOLVED, BALEFIRE_RULE="oil_low") == [INFO], service.log()
        # All that is known of the rule, in order, and of no other.
        entries = service.guest.journal("--unit", UNIT, "BALEFIRE_RULE=oil_low")
        found = [entry.get("MESSAGE_ID") for entry in entries]
        assert [one for one in found if one] == [FIRES, RESOLVED], entries
        assert all("oil_low" in entry["MESSAGE"] for entry in entries), entries
        explained(service, FIRES, "Subject: Alert oil_low fires", '"balefire alerts ack oil_low"')
        explained(service, RESOLVED, "Subject: Alert oil_low is resolved", '"balefire alerts history --rule oil_low"')


def told(service, message_id, **fields):
    """The priorities of what the journal has under an id of the catalog, and of a target or a rule."""
    matches = [f"MESSAGE_ID={message_id}", *(f"{name}={value}" for name, value in fields.items())]
    entries = eventually(f"the journal has {matches}", lambda: service.guest.journal("--unit", UNIT, *matches))
    return [entry["PRIORITY"] for entry in entries]


def explained(service, message_id, *sentences):
    """That `journalctl -x` says more of an event, where the package brought the catalog."""
    said = service.guest.run("journalctl", "--catalog", "--no-pager", "--unit", UNIT, f"MESSAGE_ID={message_id}").stdout
    assert not DEB or all(sentence in said for sentence in sentences), said


def configured(service):
    """Which of those that are configured here are watched; there may be others."""
    return {target["name"] for target in service.ask("targets", "list")} & {"lighthouse", "foghorn"}


CASES = (
    is_running_after_the_start_and_stops_in_time,
    a_hung_daemon_is_killed_by_the_watchdog_and_started_again,
    a_killed_daemon_is_back_in_two_seconds_with_its_state,
    goes_on_after_a_reboot,
    a_reload_applies_what_has_changed,
    a_broken_configuration_leaves_the_old_one_running,
    a_broken_configuration_is_told_before_the_start,
    the_journal_finds_what_happened_to_a_target,
    the_journal_finds_what_became_of_an_alert,
)
