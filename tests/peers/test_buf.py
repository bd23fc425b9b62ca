"""buf's judgement of proto/: its standard lint, and no break against what was published last."""

import io
import os
import subprocess
import tarfile
import tempfile

from harness import ROOT, VENV, Skip, run


def buf(*arguments):
    program = VENV / "buf"
    if not program.exists():
        raise Skip("buf is not installed")
    result = subprocess.run([program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def git(*arguments):
    return subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, check=False)


def lint_is_clean():
    buf("lint", "proto")


def published_commit():
    """The last commit of the published main branch; before there is one of one's own, of the local one."""
    head = git("rev-parse", "HEAD").stdout
    for name in filter(None, (os.environ.get("BALEFIRE_PROTO_BASE"), "origin/main", "main")):
        found = git("rev-parse", "--verify", "-q", f"{name}^{{commit}}")
        if found.returncode == 0:
            # On the tip itself the one before it is what users have.
            return found.stdout.decode().strip() if found.stdout != head else f"{name}^"
    return None


def nothing_published_breaks():
    commit = published_commit()
    archive = git("archive", commit, "proto") if commit else None
    if archive is None or archive.returncode != 0:
        raise Skip("no proto/ has been published yet")
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
            files.extractall(folder, filter="data")
        buf("breaking", "proto", "--against", f"{folder}/proto")


run(lint_is_clean, nothing_published_breaks)
