"""piuparts, Debian's own test of packages, on each suite: installed, upgraded from the lower version, removed and
purged in a chroot, and nothing is left or changed.

`purge.py PACKAGE OLDER`, both made by packaging/build and tests/older-package. Needs root, piuparts, dpkg-dev and
the trees of trees.py. Each suite is told in the form that tests/run counts.
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile

import guest
import trees

# It must have come to these; where piuparts finds nothing to upgrade from it is content with less.
PASSED = ("PASS: Installation and purging test.", "PASS: Installation, upgrade and purging tests.", "PASS: All tests.")
# A folder that trixie's apt leaves when it asks packages for their questions, whichever they are.
OF_APT = "var/cache/debconf/tmp.ci"
# With its first process end all others and all mounts.
ALONE = ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc")


def base(suite, older, folder):
    """The tree as piuparts wants it, with an archive of nothing but the older package."""
    archive = folder / "more/srv/older"
    archive.mkdir(parents=True)
    shutil.copy(older, archive)
    with open(archive / "Packages", "w", encoding="utf-8") as packages:
        subprocess.run(["dpkg-scanpackages", "."], cwd=archive, stdout=packages, stderr=subprocess.DEVNULL, check=True)
    sources = folder / "more/etc/apt/sources.list.d/older.list"
    sources.parent.mkdir(parents=True)
    sources.write_text("deb [trusted=yes] file:/srv/older ./\n")
    (folder / "more" / OF_APT).mkdir(parents=True)
    made = folder / "base.tar.gz"
    subprocess.run(["tar", "--exclude=./etc/apt/sources.list", f"--exclude=.{trees.LARDER}", "--numeric-owner", "--use-compress-program=gzip -1",
                    "-cf", made, "-C", trees.tree(suite), ".", "-C", folder / "more", "."], check=True)
    return made


def passes(suite, package, older):
    with tempfile.TemporaryDirectory(prefix="balefire-piuparts-") as folder:
        command = [*ALONE, "piuparts", "--basetgz", base(suite, older, pathlib.Path(folder)), "--distribution", suite,
                   "--keep-sources-list", "--tmpdir", folder, package]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    lacking = [line for line in PASSED if line not in done.stdout]
    well = done.returncode == 0 and not lacking
    print(f"{'ok' if well else 'not ok'} - piuparts on {suite}", flush=True)
    if not well:
        print(*(f"without: {line}" for line in lacking), done.stdout[-6000:], done.stderr, sep="\n", flush=True)
    return well


def main():
    package, older = (pathlib.Path(word).resolve() for word in sys.argv[1:])
    if reason := guest.why_not():
        print(f"not ok - piuparts: {reason}")
        sys.exit(1)
    sys.exit(0 if all([passes(suite, package, older) for suite in trees.SUITES]) else 1)


if __name__ == "__main__":
    main()
