"""What a disk may hold after the power went: a pessimistic model, fed with what recorder.c has recorded.

What POSIX promises, and nothing more:

- Bytes, sizes and holes of a file are durable when an fsync or fdatasync of it has ended that began after
  them. Of the others any may be there and any may not; a write may be torn at each sector; a file may have
  grown while what it grew by reads as zeros.
- Names (created, renamed, removed) are durable when an fsync of their directory has ended that began
  after them. Of the others any may be there; a rename is there as a whole or not at all.
- `sync`, `syncfs`, `sync_file_range` and `msync` promise nothing.

A cut draws how bad it gets. The milder draws are what ordinary file systems do: names in the order in
which they were made, a synced file with its name.
"""

import os
import struct
from dataclasses import dataclass, field

RECORD = struct.Struct("=IIQQQQII")
SECTOR = 512
EXCHANGE = 2
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16


class Unsound(Exception):
    """Record and model disagree: the recorder has missed something."""


@dataclass
class Record:
    kind: str
    thread: int
    inode: int
    offset: int
    length: int
    extra: int
    first: bytes
    second: bytes
    end: int


def read_log(path):
    """All whole records; `end` is where each ends in the log."""
    data = memoryview(path.read_bytes())
    records, at = [], 0
    while at + RECORD.size <= len(data):
        kind, thread, inode, offset, length, extra, size1, size2 = RECORD.unpack_from(data, at)
        first = at + RECORD.size
        end = first + size1 + size2
        if end > len(data):
            break
        records.append(Record(chr(kind), thread, inode, offset, length, extra, bytes(data[first:first + size1]),
                              bytes(data[first + size1:end]), end))
        at = end
    return records


@dataclass(eq=False)
class File:
    """Durable bytes, and what was done since: (number of the record, what, offset, bytes or a length)."""
    durable: bytearray = field(default_factory=bytearray)
    since: list = field(default_factory=list)
    # The changes that name it.
    named: list = field(default_factory=list)

    def do(self, number, what, offset, value):
        self.since.append((number, what, offset, value))

    def sync(self, number):
        """Everything before record `number` is durable."""
        kept = 0
        while kept < len(self.since) and self.since[kept][0] < number:
            apply(self.durable, *self.since[kept][1:])
            kept += 1
        del self.since[:kept]

    def now(self):
        content = bytearray(self.durable)
        for _, what, offset, value in self.since:
            apply(content, what, offset, value)
        return content


def apply(content, what, offset, value):
    if what == "write":
        if len(content) < offset:
            content.extend(bytes(offset - len(content)))
        content[offset:offset + len(value)] = value
    elif what == "size":
        del content[offset:]
        content.extend(bytes(offset - len(content)))
    elif what == "reach":
        content.extend(bytes(max(0, offset - len(content))))
    elif what == "zero":
        end = min(len(content), offset + value)
        content[offset:end] = bytes(max(0, end - offset))


@dataclass(eq=False)
class Change:
    """Names that change together: (directory, name, what it names from now on or None)."""
    number: int
    edits: list
    durable: bool = False
    # The file that it names was synced since, which on some file systems takes the name along.
    dragged: bool = False


@dataclass(eq=False)
class Directory:
    durable: dict = field(default_factory=dict)
    now: dict = field(default_factory=dict)
    since: list = field(default_factory=list)

    def sync(self, number):
        for change in self.since:
            change.durable |= change.number < number
        while self.since and self.since[0].durable:
            self.put(self.durable, self.since.pop(0))

    def put(self, names, change):
        for directory, name, node in change.edits:
            if directory is self:
                names.pop(name, None) if node is None else names.__setitem__(name, node)


class Disk:
    """The disk as it is while records come in. `deaf` names what is not heard: "data" or "names"."""

    def __init__(self, root, base, inodes, deaf=()):
        """`base` is a directory whose content is durable; `inodes` tells the inode of each path in it."""
        self.root, self.deaf = root, deaf
        self.nodes, self.syncing, self.number = {}, {}, 0
        self.top = self._load(base, "", inodes)

    def _load(self, path, name, inodes):
        if not path.is_dir():
            node = File(bytearray(path.read_bytes()))
        else:
            node = Directory()
            for child in sorted(path.iterdir()):
                node.durable[child.name] = self._load(child, f"{name}/{child.name}", inodes)
            node.now = dict(node.durable)
        self.nodes[inodes[name]] = node
        return node

    def _place(self, path):
        """The directory that a path is in, and its name there."""
        if not path.startswith(self.root + "/"):
            raise Unsound(f"{path} is not below {self.root}")
        *parents, name = path[len(self.root) + 1:].split("/")
        directory = self.top
        for parent in parents:
            directory = directory.now.get(parent)
            if not isinstance(directory, Directory):
                raise Unsound(f"nobody made {parent} of {path}")
        return directory, name

    def _node(self, record):
        if record.inode not in self.nodes:
            raise Unsound(f"record {self.number}: nobody made inode {record.inode}")
        return self.nodes[record.inode]

    def _change(self, *edits):
        change = Change(self.number, list(edits))
        for directory in {id(directory): directory for directory, _, _ in edits}.values():
            directory.since.append(change)
            directory.put(directory.now, change)
        for _, _, node in edits:
            if isinstance(node, File):
                node.named.append(change)

    def feed(self, record):
        getattr(self, "_on_" + NAMES[record.kind])(record)
        self.number += 1

    def _on_opened(self, record):
        directory, name = self._place(record.first.decode())
        node = directory.now.get(name)
        if node is None:
            node = self.nodes[record.inode] = File()
            self._change((directory, name, node))
        elif node is not self._node(record):
            raise Unsound(f"{record.first} is another file than it was")
        if record.extra:
            node.do(self.number, "size", 0, None)

    def _on_directory(self, record):
        directory, name = self._place(record.first.decode())
        self.nodes[record.inode] = Directory()
        self._change((directory, name, self.nodes[record.inode]))

    def _on_written(self, record):
        self._node(record).do(self.number, "write", record.offset, record.second)

    def _on_truncated(self, record):
        self._node(record).do(self.number, "size", record.offset, None)

    def _on_reserved(self, record):
        if record.extra & ~(KEEP_SIZE | PUNCH_HOLE | ZERO_RANGE):
            raise Unsound(f"fallocate with mode {record.extra}")
        node = self._node(record)
        if record.extra & (PUNCH_HOLE | ZERO_RANGE):
            node.do(self.number, "zero", record.offset, record.length)
        if not record.extra & KEEP_SIZE:
            node.do(self.number, "reach", record.offset + record.length, None)

    def _on_linked(self, record):
        self._change((*self._place(record.second.decode()), self._node(record)))

    def _on_renamed(self, record):
        old, new = self._place(record.first.decode()), self._place(record.second.decode())
        node = old[0].now.get(old[1])
        if node is None:
            raise Unsound(f"nobody made {record.first}, which is renamed")
        other = new[0].now.get(new[1]) if record.extra & EXCHANGE else None
        self._change((*old, other), (*new, node))

    def _on_removed(self, record):
        directory, name = self._place(record.first.decode())
        # What is no file and no directory (a socket) is not recorded.
        if name in directory.now:
            self._change((directory, name, None))

    def _on_syncing(self, record):
        self.syncing[record.thread] = (self._node(record), self.number)

    def _on_synced(self, record):
        node, began = self.syncing.pop(record.thread)
        if ("names" if isinstance(node, Directory) else "data") in self.deaf:
            return
        node.sync(began)
        if isinstance(node, File):
            for change in node.named:
                change.dragged |= change.number < began

    def _on_started(self, record):
        """A new process; the syncs of the one before are over."""
        self.syncing.clear()

    def compare(self, path):
        """That everything done gives what is really there: otherwise the recorder has missed something."""
        self._compare(self.top, path)

    def _compare(self, node, path):
        there = {entry.name: entry for entry in path.iterdir() if entry.is_file() or entry.is_dir()}
        if set(there) != set(node.now):
            raise Unsound(f"{path}: {sorted(there)} are there, {sorted(node.now)} recorded")
        for name, child in node.now.items():
            if isinstance(child, Directory):
                self._compare(child, there[name])
            elif child.now() != there[name].read_bytes():
                raise Unsound(f"{there[name]} holds other bytes than were recorded")


NAMES = {"O": "opened", "W": "written", "T": "truncated", "A": "reserved", "D": "directory", "L": "linked",
         "R": "renamed", "U": "removed", "f": "syncing", "F": "synced", "P": "started"}

MODES = ("none", "all", "prefix", "some", "torn")


@dataclass
class Luck:
    """How bad one cut gets."""
    data: str
    names: str
    drags: bool

    @classmethod
    def draw(cls, random):
        return cls(random.choice(MODES), random.choice(MODES[:-1]), random.random() < 0.5)


def cut(disk, luck, random, to):
    """Writes to the new directory `to` what is left when the power goes now."""
    changes = {id(change): change for directory in _all_directories(disk.top) for change in directory.since}
    pending = sorted((change for change in changes.values() if not change.durable), key=lambda change: change.number)
    kept = {id(change) for change in _chosen(pending, luck.names, random)}
    kept |= {id(change) for change in changes.values() if change.durable or luck.drags and change.dragged}
    _write_directory(disk.top, kept, luck, random, to)


def _all_directories(top):
    """Also those that may come back, as their removal is not durable."""
    seen, left = {}, [top]
    while left:
        directory = left.pop()
        if id(directory) in seen:
            continue
        seen[id(directory)] = directory
        edits = (edit[2] for change in directory.since for edit in change.edits)
        left += (node for node in [*directory.durable.values(), *edits] if isinstance(node, Directory))
    return seen.values()


def _chosen(pending, mode, random):
    if mode == "all":
        return pending
    if mode == "prefix":
        return pending[:random.randint(0, len(pending))]
    if mode == "some":
        share = random.choice((0.2, 0.5, 0.8, 0.95))
        return [item for item in pending if random.random() < share]
    return []


def _write_directory(directory, kept, luck, random, to):
    to.mkdir()
    names = dict(directory.durable)
    for change in directory.since:
        if id(change) in kept:
            directory.put(names, change)
    for name, node in sorted(names.items()):
        if isinstance(node, Directory):
            _write_directory(node, kept, luck, random, to / name)
        else:
            _write_file(_content(node, luck, random), to / name)


def _content(node, luck, random):
    if not node.since or luck.data == "none":
        return node.durable
    if luck.data == "torn":
        return _torn(node, random)
    content = bytearray(node.durable)
    for _, what, offset, value in _chosen(node.since, luck.data, random):
        apply(content, what, offset, value)
    return content


def _torn(node, random):
    """Each sector of each write by itself; a write that is lost may leave the size behind."""
    content, share = bytearray(node.durable), random.choice((0.1, 0.5, 0.9))
    for _, what, offset, value in node.since:
        if what != "write":
            if random.random() < share:
                apply(content, what, offset, value)
            continue
        if random.random() < 0.5:
            apply(content, "reach", offset + len(value), None)
        at = offset
        while at < offset + len(value):
            end = min(at - at % SECTOR + SECTOR, offset + len(value))
            if random.random() < share:
                apply(content, "write", at, value[at - offset:end - offset])
            at = end
    return content


def _write_file(content, path):
    """Without what is zero at the end: preallocated files stay cheap."""
    with open(path, "wb") as file:
        file.write(content.rstrip(b"\0"))
        os.ftruncate(file.fileno(), len(content))
