"""The Debian trees that guests boot from: built once for each suite, and only read from then on.

`trees.py` builds what is missing, `trees.py --check` tells by its exit status whether something is. It needs
root, mmdebstrap, and the archive that apt uses on this machine; nothing but Python's own library.
"""

import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache/boot"
SUITES = ("bookworm", "trixie")
# Beside what Debian requires everywhere, and apt. `procps` brings kill(1), `faketime` a clock that jumps.
PACKAGES = ("systemd", "systemd-sysv", "dbus", "dbus-user-session", "libnss-systemd", "libpam-systemd", "procps", "faketime")
# Packages that a guest, which has no network, can install: autopkgtest with all that it needs. They are not
# in the tree itself, so that ours is tested on a Debian with as little as may be.
LARDER = "/opt/autopkgtest"
STOCK = (f'mkdir -p "$1{LARDER}/partial" && '
         f'chroot "$1" apt-get -qq -y -o Dir::Cache::archives={LARDER} install --download-only autopkgtest && '
         f'rm -r "$1{LARDER}/lock" "$1{LARDER}/partial"')
RECIPE = ("--quiet", "--variant=minbase", "--mode=root", "--format=tar", f"--include={','.join(PACKAGES)}",
          '--aptopt=APT::Install-Recommends "false"', "--dpkgopt=force-unsafe-io",
          "--dpkgopt=path-exclude=/usr/share/locale/*", "--dpkgopt=path-exclude=/usr/share/doc/*",
          f"--customize-hook={STOCK}")


def tree(suite):
    """Where the tree of a suite is, or will be; another recipe is another place."""
    return CACHE / f"{suite}-{hashlib.sha256(repr(RECIPE).encode()).hexdigest()[:12]}"


def missing():
    return [suite for suite in SUITES if not tree(suite).is_dir()]


def archive():
    """The archive that apt takes Debian itself from."""
    codename = dict(line.split("=", 1) for line in pathlib.Path("/etc/os-release").read_text().splitlines() if "=" in line)
    filters = ("Created-By: Packages", "Origin: Debian", "Component: main", f"Codename: {codename['VERSION_CODENAME']}")
    found = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI)", *filters],
                           capture_output=True, text=True, check=True).stdout.split()
    if not found:
        sys.exit("apt knows no archive of Debian: run 'apt-get update'")
    return found[0]


def build(suite, mirror):
    """Made beside its place and renamed, so that half a tree is never taken for one."""
    made = tree(suite).with_suffix(".new")
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="balefire-tree-", dir=memory) as folder:
        archived = f"{folder}/tree.tar"
        subprocess.run(["mmdebstrap", *RECIPE, suite, archived, mirror], check=True, env={**os.environ, "TMPDIR": folder})
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        subprocess.run(["tar", "-x", "--numeric-owner", "--xattrs", "-p", "-f", archived, "-C", made], check=True)
    for older in CACHE.glob(f"{suite}-*"):
        if older != made:
            shutil.rmtree(older)
    made.rename(tree(suite))


def main():
    if "--check" in sys.argv:
        sys.exit(1 if missing() else 0)
    if os.geteuid() != 0:
        sys.exit("a tree is made by root only: run 'sudo tests/setup boot'")
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for suite in missing():
            build(suite, archive())


if __name__ == "__main__":
    main()
