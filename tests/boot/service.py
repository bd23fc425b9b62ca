"""Balefire as a service of a guest: installed, asked, and watched."""

import contextlib
import json
import os
import pathlib
import time

import grpc
from harness import CHANNEL_OPTIONS, Reflection, eventually

from guest import Guest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("BALEFIRE_BIN", ROOT / "target/debug"))
BINDS = ((BIN, "/mnt/bin"), (ROOT / "systemd", "/mnt/systemd"), (ROOT / "packaging", "/mnt/packaging"))
# The Debian package, where that is what is to be tested; and the same of a lower version (tests/older-package).
DEB = pathlib.Path(os.environ["BALEFIRE_DEB"]).resolve() if "BALEFIRE_DEB" in os.environ else None
OLDER = DEB and DEB.parent / f"older/balefire_0.0.9-1_{DEB.stem.rsplit('_', 1)[1]}.deb"
UNIT = "balefire.service"
SOCKET_UNIT = "balefire.socket"
CONFIG = "/etc/balefire/balefire.toml"
SOCKET = "/run/balefire/control.sock"
# A channel that looks for the daemon again at once.
QUICK = [*CHANNEL_OPTIONS, ("grpc.initial_reconnect_backoff_ms", 100), ("grpc.min_reconnect_backoff_ms", 100),
         ("grpc.max_reconnect_backoff_ms", 200), ("grpc.use_local_subchannel_pool", 1)]


def install(guest, package=DEB, *options):
    """The package, or by hand as systemd/README.md tells, where it is started at once as the package does."""
    if package:
        # Where an edited configuration meets another default, nobody is there to be asked.
        guest.run("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-y", "-o", "Dpkg::Options::=--force-confold",
                  "install", *options, inside(package), patience=120)
        return
    guest.shell("""
        install -m 755 /mnt/bin/balefired /mnt/bin/balefire /mnt/bin/balefire-mcp /usr/bin/
        for unit in balefire.service balefire.socket balefire-spawn.socket balefire-spawn@.service; do
            [ ! -e /mnt/systemd/$unit ] || install -m 644 /mnt/systemd/$unit /etc/systemd/system/
        done
        install -D -m 644 /mnt/systemd/balefire.sysusers /etc/sysusers.d/balefire.conf
        [ ! -e /mnt/systemd/balefire.tmpfiles ] || install -D -m 644 /mnt/systemd/balefire.tmpfiles /etc/tmpfiles.d/balefire.conf
        install -D -m 640 /mnt/packaging/balefire.toml /etc/balefire/balefire.toml
        systemd-sysusers
        [ ! -e /etc/tmpfiles.d/balefire.conf ] || systemd-tmpfiles --create balefire.conf
        chgrp -R balefire /etc/balefire
        systemctl daemon-reload
        systemctl --quiet enable --now balefire-spawn.socket balefire
    """)


def inside(package):
    """Where a guest has it."""
    return f"/mnt/deb/{package.relative_to(DEB.parent)}"


@contextlib.contextmanager
def installed(suite, start=True, package=DEB, binds=()):
    """A guest with the service, which runs unless it is told not to; `binds` are beside those of all."""
    packages = ((DEB.parent, "/mnt/deb"),) if DEB else ()
    with Guest(suite, (*BINDS, *packages, *binds)) as guest:
        install(guest, package)
        service = Service(guest)
        if not start:
            service.systemctl("stop")
        with service:
            yield service


class Service:
    """What one asks of the service. Times are of the monotonic clock, which guests share with us, in seconds."""

    def __init__(self, guest):
        self.guest = guest
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stack.close()

    def systemctl(self, verb, *words, check=True):
        return self.guest.run("systemctl", verb, UNIT, *words, check=check)

    def show(self, name):
        return self.systemctl("show", f"--property={name}", "--value").stdout.strip()

    def is_active(self):
        return self.show("ActiveState") == "active"

    def pid(self):
        return int(self.show("MainPID"))

    def restarts(self):
        return int(self.show("NRestarts"))

    def has_socket_unit(self):
        """Whether systemd holds the control socket while the daemon restarts."""
        return self.guest.run("systemctl", "is-active", SOCKET_UNIT, check=False).returncode == 0

    def active_since(self):
        return int(self.show("ActiveEnterTimestampMonotonic")) / 1e6

    def back_after(self, moment, patience=60):
        """Waits until the service became active after `moment`; the seconds that it took."""
        eventually("the service is active again", lambda: self.is_active() and self.active_since() > moment, patience)
        return self.active_since() - moment

    def set(self, **settings):
        """Lines of `[Service]` over those of the unit; a list is several lines."""
        lines = [f"{key}={value}" for key, values in settings.items() for value in (values if isinstance(values, list) else [values])]
        self.guest.write(f"/etc/systemd/system/{UNIT}.d/test.conf", "\n".join(["[Service]", *lines, ""]))
        self.guest.run("systemctl", "daemon-reload")

    def configure(self, text):
        self.guest.path(CONFIG).write_text(text)

    def log(self):
        """What the journal has of the unit and of systemd about it, a line each."""
        entries = self.guest.journal("--unit", UNIT)
        return "\n".join(entry["MESSAGE"] for entry in entries if isinstance(entry.get("MESSAGE"), str))

    def log_of(self, priority):
        """What the daemon said that is this bad, or worse: 3 is an error, 4 a warning."""
        entries = self.guest.journal("--unit", UNIT, "--priority", str(priority), "_COMM=balefired")
        return [entry["MESSAGE"] for entry in entries]

    def cli(self, *words, **options):
        return self.guest.run("balefire", *words, **{"check": False, **options})

    def ask(self, *words, **options):
        """What `balefire` answers in JSON."""
        return json.loads(self.cli("--output", "json", *words, check=True, **options).stdout)

    def write(self, text):
        """Stores samples in the text format."""
        return self.cli("write", input=text)

    def value(self, expr):
        """The one value that an expression has now, or nothing."""
        done = self.cli("--output", "json", "query", expr)
        found = json.loads(done.stdout)["result"] if done.returncode == 0 else []
        return float(found[0]["samples"][-1]["value"]) if found else None

    def reflection(self, socket=SOCKET):
        """Calls from here, as root."""
        place = self.guest.path(socket)
        return Reflection(self._stack.enter_context(grpc.insecure_channel(f"unix:{place}", options=QUICK)))


def seconds(do):
    """How long `do` takes."""
    start = time.monotonic()
    do()
    return time.monotonic() - start
