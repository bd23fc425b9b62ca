"""A real Debian with systemd as its first process, booted in a second and thrown away.

A guest is a container of systemd-nspawn on an overlay over a tree of `trees.py`. Around it stands a *holder*: a
shell in mount and process namespaces of its own, which keeps the disk over reboots. Whatever happens, all mounts
and processes of the guest end with the holder, and the holder with us. There is no network but loopback.

What a container cannot show: descriptors above 20000 (`LimitNOFILE=`), a negative `OOMScoreAdjust=`, AppArmor, and
setting the clock.
"""

import contextlib
import itertools
import json
import os
import pathlib
import select
import shutil
import signal
import subprocess
import tempfile
import time

import trees

PREFIX = "balefire-boot-"
CGROUPS = pathlib.Path("/sys/fs/cgroup")
# Of the machine, not of the guest: what all of it may take in memory.
DISK = "1g"
PATIENCE = 60
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8",
               "SYSTEMD_PAGER": "cat", "SYSTEMD_COLORS": "0"}
NEEDED = {"systemd-nspawn": "systemd-container", "mmdebstrap": "mmdebstrap", "unshare": "util-linux", "nsenter": "util-linux"}

# $1: a folder of its own; $2: the tree; then the control groups. It boots for each line that it reads, and says
# when that boot has ended. /run is its own, since nspawn wants /run/systemd/nspawn to be on a tmpfs.
HOLDER = f"""
set -eu
folder=$1 tree=$2; shift 2
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=755,size={DISK} tmpfs "$folder/guest"
cd "$folder/guest"
mkdir changed work root
mount -t overlay -o "lowerdir=$tree,upperdir=changed,workdir=work" overlay root
install -m 755 "$folder/init" root/.init
echo guest >root/etc/hostname
echo held
while read -r _; do
    ended=0
    sh -c 'for group in $0; do echo $$ >"$group/cgroup.procs"; done; exec "$@"' "$groups" "$@" \\
        </dev/null >>"$folder/console" 2>&1 || ended=$?
    echo "ended $ended"
done
"""

# The guest's first program. Of the older control groups nspawn lets systemd write those of its own hierarchy only;
# with the others, too, MemoryMax=, TasksMax= and CPUQuota= bite.
INIT = """#!/bin/sh
for controller in memory pids cpu cpuacct; do
    [ ! -d /sys/fs/cgroup/$controller ] || mount -o remount,bind,rw,nosuid,nodev,noexec /sys/fs/cgroup/$controller
done
exec /lib/systemd/systemd "$@"
"""


def nspawn(binds):
    """The container. The bpf system call is what `IPAddressDeny=` needs. Not all capabilities are given: units
    that are there for real machines would run, and fail."""
    return ["systemd-nspawn", "--quiet", "--directory=root", "--machine=guest", "--register=no", "--keep-unit",
            "--settings=no", "--link-journal=no", "--resolv-conf=off", "--timezone=off", "--private-network",
            "--system-call-filter=bpf", "--kill-signal=SIGRTMIN+3", "--console=read-only",
            *(f"--bind-ro={host}:{place}:norbind" for host, place in binds),
            "/.init", "systemd.show_status=0", "systemd.mask=console-getty.service"]


def why_not():
    """What has to be done before anything can be booted here, or nothing."""
    if os.geteuid() != 0:
        return "booting a guest needs root: run 'sudo tests/run', or as root 'tests/setup boot' and this again"
    lacking = sorted({package for program, package in NEEDED.items() if not shutil.which(program)})
    if lacking:
        return f"run 'apt-get install --no-install-recommends {' '.join(lacking)}', or tests/setup"
    if trees.missing():
        return f"no tree to boot {' and '.join(trees.missing())} from: run 'tests/setup boot'"
    return None


def left(prefix=PREFIX):
    """Folders and control groups of guests, whether they run or not."""
    folders = list(pathlib.Path(tempfile.gettempdir()).glob(f"{prefix}*"))
    # Groups come and go meanwhile, which a walk does not mind.
    return folders + [pathlib.Path(at, name) for at, names, _ in os.walk(CGROUPS) for name in names if name.startswith(prefix)]


def sweep():
    """Removes what runs have left that were killed: their processes are gone, with all of their mounts."""
    for place in left():
        if not pathlib.Path("/proc", place.name.removeprefix(PREFIX).split("-")[0]).exists():
            remove_group(place) if place.is_relative_to(CGROUPS) else shutil.rmtree(place, ignore_errors=True)


def own_groups(name):
    """A control group below ours in each hierarchy that the guest's systemd is to manage."""
    own = {}
    for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own |= {controller: path.strip("/") for controller in controllers.removeprefix("name=").split(",")}
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS / own[""] / name]
    own["unified"] = own.get("", "")
    wanted = [word for word in ("unified", "systemd", "memory", "pids", "cpu") if word in own and (CGROUPS / word).is_dir()]
    return [CGROUPS / word / own[word] / name for word in wanted]


def remove_group(group):
    """Those in it were killed; they leave a little later."""
    deadline = time.monotonic() + 10
    while group.is_dir():
        for folder, _, _ in os.walk(group, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)
        if not group.is_dir():
            return
        assert time.monotonic() < deadline, f"{group} is still in use"
        time.sleep(0.02)


def children():
    """The processes of this machine: `{parent: [(pid, name)]}`."""
    found = {}
    for place in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            head, tail = place.read_text().rsplit(")", 1)
            pid, name = head.split(" (", 1)
            found.setdefault(int(tail.split()[1]), []).append((int(pid), name))
    return found


class DidNotBoot(Exception):
    """The text is the console's."""


class Guest:
    """A booted guest for the time of a block; may be rebooted, and keeps its disk over that."""

    _numbers = itertools.count(1)

    def __init__(self, suite, binds=()):
        """`binds` are pairs of a path here and one in the guest, which can only read it."""
        self.suite, self.binds = suite, binds
        self._stack = contextlib.ExitStack()
        self.pid = None

    def __enter__(self):
        try:
            self._hold()
            self.boot()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, kind, error, trace):
        try:
            if error is not None and self.pid:
                self._tell_what_happened()
        finally:
            self._stack.close()

    def _hold(self):
        name = f"{PREFIX}{os.getpid()}-{next(self._numbers)}"
        self.folder = pathlib.Path(tempfile.gettempdir(), name)
        (self.folder / "guest").mkdir(parents=True)
        self._stack.callback(shutil.rmtree, self.folder)
        (self.folder / "init").write_text(INIT)
        groups = own_groups(name)
        for group in groups:
            # The group goes after its processes: last in is first out.
            group.mkdir()
            self._stack.callback(remove_group, group)
        self.holder = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private", "--pid", "--fork",
             "--kill-child", "--mount-proc", "sh", "-c", HOLDER, "holder", self.folder, trees.tree(self.suite),
             *nspawn(self.binds)],
            env={**ENVIRONMENT, "groups": " ".join(map(str, groups))},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0)
        self._stack.callback(self._end)
        self._expect("held")

    def _end(self):
        # With the holder goes the first process of its namespace, and with that all others.
        self.holder.kill()
        self.holder.wait()
        self.holder.stdin.close()
        self.holder.stdout.close()

    def _expect(self, word, patience=PATIENCE):
        ready, _, _ = select.select([self.holder.stdout], [], [], patience)
        line = self.holder.stdout.readline().decode() if ready else ""
        if not line.startswith(word):
            raise DidNotBoot(f"{line or 'nothing'} instead of {word}\n{self.console()}")

    def console(self):
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / "console").read_text(errors="replace")
        return ""

    def boot(self):
        """Returns when every job of the boot is done."""
        self.holder.stdin.write(b"boot\n")
        deadline = time.monotonic() + PATIENCE
        while not self._is_up():
            if self.holder.poll() is not None or time.monotonic() > deadline:
                raise DidNotBoot(self.console())
            time.sleep(0.02)
        state = self.run("systemctl", "is-system-running", "--wait", check=False).stdout.strip()
        if state != "running":
            raise DidNotBoot(f"{state}\n{self.run('systemctl', '--failed', '--no-pager', check=False).stdout}{self.console()}")

    def _is_up(self):
        found, below = children(), [self.holder.pid]
        for parent in below:
            for pid, name in found.get(parent, []):
                if name == "systemd" and pathlib.Path(f"/proc/{pid}/root/run/systemd/private").is_socket():
                    self.pid = pid
                    return True
                # What systemd has started is of no interest.
                below += [] if name == "systemd" else [pid]
        return False

    def poweroff(self):
        """An orderly end, as far as the disk."""
        self.run("systemctl", "poweroff", check=False)
        self._expect("ended 0")
        self.pid = None

    def reboot(self):
        self.poweroff()
        self.boot()

    def run(self, *command, user="root", check=True, patience=PATIENCE, **options):
        """Runs a command to its end, and gives what it said; with `check` it must end well."""
        who = [] if user == "root" else ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
        words = ["nsenter", "--target", str(self.pid), "--all", "--", *who, *map(str, command)]
        home = "/root" if user == "root" else f"/home/{user}"
        done = subprocess.run(words, env={**ENVIRONMENT, "HOME": home}, capture_output=True, text=True, timeout=patience, check=False,
                              **({"stdin": subprocess.DEVNULL} if "input" not in options else {}), **options)
        assert not check or done.returncode == 0, f"{' '.join(words[5:])}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def shell(self, script, **options):
        return self.run("sh", "-euc", script, **options)

    def path(self, place):
        """A file of the guest, as seen from here."""
        return pathlib.Path(f"/proc/{self.pid}/root", place.lstrip("/"))

    def write(self, place, text):
        self.path(place).parent.mkdir(parents=True, exist_ok=True)
        self.path(place).write_text(text)

    def journal(self, *matches):
        """The entries of this boot, oldest first."""
        lines = self.run("journalctl", "--boot", "--output=json", "--no-pager", *matches).stdout.splitlines()
        return [json.loads(line) for line in lines]

    def _tell_what_happened(self):
        with contextlib.suppress(subprocess.TimeoutExpired):
            print(self.run("systemctl", "--no-pager", "--full", "status", "balefire.service", check=False).stdout)
            print(self.run("journalctl", "--boot", "--no-pager", "--lines=30", "--output=short-monotonic", check=False).stdout)
