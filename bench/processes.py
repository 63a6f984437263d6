"""CPU time of a process and everything it has started, from `/proc/<pid>/stat`.

The kernel scales user and system time so that their sum is the time the scheduler has granted:
the sum is exact to a tick (10 ms), which ten seconds make small.
"""

import os
from collections import defaultdict
from dataclasses import dataclass

TICKS = os.sysconf("SC_CLK_TCK")


class ProcessEnded(Exception):
    """A measured process has gone, and its CPU time with it."""


@dataclass(frozen=True)
class Process:
    """One line of `/proc/<pid>/stat`. A number may be used again, with its start time it is not."""

    pid: int
    name: str
    parent: int
    cpu_s: float
    started: int

    @property
    def key(self):
        """What tells it from all others."""
        return self.pid, self.started


def tree(root):
    """The living processes at and below the process `root`."""
    children = defaultdict(list)
    found = {}
    for entry in os.listdir("/proc"):
        process = _read(entry) if entry.isdigit() else None
        if process is not None:
            found[process.pid] = process
            children[process.parent].append(process)
    if root not in found:
        raise ProcessEnded(f"process {root} has ended")
    below, rest = [], [found[root]]
    while rest:
        process = rest.pop()
        below.append(process)
        rest.extend(children[process.pid])
    return below


def spent(before, after):
    """CPU seconds between two looks at a tree, by the processes' name."""
    started = {process.key: process for process in before}
    gone = started.keys() - {process.key for process in after}
    if gone:
        names = ", ".join(sorted(started[key].name for key in gone))
        raise ProcessEnded(f"ended while it was measured: {names}")
    seconds = defaultdict(float)
    for process in after:
        earlier = started.get(process.key)
        seconds[process.name] += process.cpu_s - (earlier.cpu_s if earlier else 0.0)
    return dict(seconds)


def _read(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name stands in parentheses and may hold any character.
    name = text[text.index("(") + 1 : text.rindex(")")]
    fields = text[text.rindex(")") + 2 :].split()
    if fields[0] in "ZX":
        return None
    return Process(
        pid=int(pid),
        name=name,
        parent=int(fields[1]),
        cpu_s=(int(fields[11]) + int(fields[12])) / TICKS,
        started=int(fields[19]),
    )
