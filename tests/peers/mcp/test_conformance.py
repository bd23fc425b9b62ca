"""The official MCP conformance suite against the shim over HTTP, in both eras.

Every scenario and check that is not met stands in conformance-exclusions.json with its reason; one
that stands there and is met fails the test, too, so that the list stays true.
"""

import json
import pathlib
import re
import subprocess
import tempfile

from harness import NODE, Skip, run
from shim import HERE, http

EXCLUSIONS = json.loads((HERE / "conformance-exclusions.json").read_text())
# The suite needs Node 22: npm's package `node` brings one.
RUNTIME = NODE / "node/bin/node"


def failures(package, *arguments):
    """The checks that failed, by scenario, and every scenario that was run."""
    suite = NODE / package / "dist/index.js"
    for part in (RUNTIME, suite):
        if not part.exists():
            raise Skip(f"{part.relative_to(NODE)} is not installed")
    with tempfile.TemporaryDirectory(prefix="bf", dir="/tmp") as folder, http("/nowhere/sock") as url:
        subprocess.run([RUNTIME, suite, "server", "--url", url, "--suite", "all", "--output-dir", folder, *arguments],
                       cwd=folder, capture_output=True, timeout=300, check=False)
        failed, ran = {}, set()
        for file in sorted(pathlib.Path(folder).rglob("checks.json")):
            scenario = re.sub(r"^server-|-\d{4}-\d\d-\d\dT.*$", "", file.parent.name)
            ran.add(scenario)
            wrong = {check["id"] for check in json.loads(file.read_text()) if check["status"] == "FAILURE"}
            if wrong:
                failed[scenario] = wrong
    return failed, ran


def check(suite, failed, ran):
    assert len(ran) > 20, f"only {sorted(ran)} ran"
    unexpected, stale = [], []
    for scenario in sorted(ran):
        excluded = EXCLUSIONS.get(scenario, {"checks": []})["checks"]
        wrong = failed.get(scenario, set())
        if excluded == "all":
            stale += [] if wrong else [scenario]
            continue
        unexpected += [f"{scenario}: {check}" for check in sorted(wrong - set(excluded))]
        stale += [f"{scenario}: {check}" for check in sorted(set(excluded) - wrong)]
    assert not unexpected, f"{suite}: not met: {unexpected}"
    assert not stale, f"{suite}: excluded, but met: {stale}"
    met = len(ran - set(failed))
    print(f"# {suite}: {met} scenarios met, {len(failed)} excluded in whole or in part")


def the_released_suite():
    check("the released suite", *failures("@modelcontextprotocol/conformance"))


def the_coming_suite_on_2025_11_25():
    check("2025-11-25", *failures("conformance-next", "--spec-version", "2025-11-25"))


def the_coming_suite_on_2026_07_28():
    check("2026-07-28", *failures("conformance-next", "--spec-version", "2026-07-28"))


def every_exclusion_has_a_reason():
    for scenario, exclusion in EXCLUSIONS.items():
        assert len(exclusion["reason"]) > 20, scenario


if __name__ == "__main__":
    run(every_exclusion_has_a_reason, the_released_suite, the_coming_suite_on_2025_11_25, the_coming_suite_on_2026_07_28)
