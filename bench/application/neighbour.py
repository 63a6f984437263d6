"""A bad neighbour: takes what it can of one thing. Needs no SDK."""

import os
import sys
import time

STORAGE = "/opt/aws/panorama/storage"


def quiet():
    """Takes nothing."""
    while True:
        time.sleep(60)


def memory():
    """Touches more and more."""
    held = []
    while True:
        held.append(bytearray(os.urandom(1024)) * 16384)


def forks():
    """Every process makes more."""
    while True:
        try:
            os.fork()
        except OSError:
            pass


def busy():
    """More loops than there are processors."""
    for _ in range(16):
        if os.fork() == 0:
            break
    while True:
        pass


def disk():
    """Writes for ever, and on where a write failed."""
    block = os.urandom(1 << 20)
    number = 0
    while True:
        number += 1
        try:
            with open(f"{STORAGE}/{number}", "wb", buffering=0) as file:
                for _ in range(64):
                    file.write(block)
        except OSError:
            time.sleep(0.01)


{"quiet": quiet, "memory": memory, "forks": forks, "busy": busy, "disk": disk}[sys.argv[1]]()
