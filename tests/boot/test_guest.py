"""The guests themselves: what they promise to those who test in them."""

import os
import pathlib
import signal
import subprocess
import sys

from harness import eventually

import guest
from guest import Guest

HERE = pathlib.Path(__file__).parent
# A guest that goes on until it is ended, and tells the process of its systemd.
ENDLESS = "import sys, time; sys.path.insert(0, sys.argv[1]); import guest\nwith guest.Guest(sys.argv[2]) as it: print(it.pid, flush=True); time.sleep(600)"


def a_guest_is_a_debian_of_its_own(suite):
    with Guest(suite, ((HERE, "/mnt/here"),)) as it:
        assert it.run("sh", "-c", "echo $0; exit 3", "a $HOME", check=False).returncode == 3
        assert it.run("sh", "-c", "echo $0", "a $HOME").stdout == "a $HOME\n"
        assert f"VERSION_CODENAME={suite}\n" in it.path("/etc/os-release").read_text()
        assert it.run("cat", "/proc/1/comm").stdout == "systemd\n"
        assert it.run("touch", "/mnt/here/x", check=False).returncode != 0, "what is bound can be written"
        interfaces = it.run("cat", "/proc/net/dev").stdout.splitlines()[2:]
        assert [line.split(":")[0].strip() for line in interfaces if "lo:" not in line and "sit" not in line and "tunl" not in line] == [], interfaces
        it.write("/var/kept", "over the reboot")
        it.run("logger", "--tag", "boot-test", "before")
        eventually("the journal has it", lambda: [entry["MESSAGE"] for entry in it.journal("--identifier=boot-test")] == ["before"])
        it.reboot()
        assert it.path("/var/kept").read_text() == "over the reboot"
        assert it.journal("--identifier=boot-test") == [], "the journal tells of another boot"


def a_guest_that_is_killed_leaves_nothing(suite):
    command = [sys.executable, "-c", ENDLESS, HERE, suite]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        systemd = int(child.stdout.readline())
        assert os.path.exists(f"/proc/{systemd}")
        child.send_signal(signal.SIGKILL)
    eventually("its processes have gone", lambda: not os.path.exists(f"/proc/{systemd}"))
    # Folders and groups, which nobody ends with us, go with the next run.
    mine = f"{guest.PREFIX}{child.pid}-"
    assert guest.left(mine) and mine not in pathlib.Path("/proc/self/mounts").read_text()
    guest.sweep()
    assert not guest.left(mine)


CASES = (a_guest_is_a_debian_of_its_own, a_guest_that_is_killed_leaves_nothing)
