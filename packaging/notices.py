"""Writes the licenses and notices of every crate that the programs hold, gzipped: notices.py TARGET FILE."""

import gzip
import json
import pathlib
import subprocess
import sys

NOTICES = ("license", "licence", "copying", "copyright", "notice", "unlicense")


def linked_packages(target: str) -> list[dict]:
    """What the programs are linked from: dependencies that are not for builds or tests, and theirs."""
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target]
    metadata = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = metadata["resolve"]["root"]
    seen, left = set(), [root]
    while left:
        node = left.pop()
        if node in seen:
            continue
        seen.add(node)
        for edge in nodes[node]["deps"]:
            if any(kind["kind"] is None for kind in edge["dep_kinds"]):
                left.append(edge["pkg"])
    # Macros run at build time, and are in no program.
    linked = [packages[node] for node in seen if node != root and not is_macro(packages[node])]
    return sorted(linked, key=lambda package: (package["name"], package["version"]))


def is_macro(package: dict) -> bool:
    return any("proc-macro" in target["kind"] for target in package["targets"])


def notices_of(package: dict) -> list[str]:
    folder = pathlib.Path(package["manifest_path"]).parent
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and path.name.lower().startswith(NOTICES)]
    return [path.read_text(encoding="utf-8", errors="replace").strip() for path in files]


def document(packages: list[dict]) -> str:
    crates_of: dict[str, list[str]] = {}
    lines = ["The programs of Balefire hold these crates, and Rust's standard library (MIT or Apache-2.0).", ""]
    for package in packages:
        name = f"{package['name']} {package['version']}"
        terms = package["license"] or "see below"
        lines.append(f"{name}: {terms} {package['repository'] or ''}".rstrip())
        for text in notices_of(package):
            crates_of.setdefault(text, []).append(name)
    for text, crates in crates_of.items():
        lines += ["", "=" * 78, f"Of {', '.join(crates)}:", "", text]
    return "\n".join(lines) + "\n"


def main() -> None:
    target, file = sys.argv[1:]
    text = document(linked_packages(target)).encode()
    pathlib.Path(file).write_bytes(gzip.compress(text, mtime=0))


if __name__ == "__main__":
    main()
