"""Shared memory: private views of a frame ring, and memfds that travel by descriptor.

Owns address ranges. Everything goes through the C library, because ``mmap.madvise`` and
``os.memfd_create`` came with Python 3.8 and ``mmap`` keeps a descriptor for every mapping.
"""

import array
import ctypes
import errno
import fcntl
import os

PAGE = os.sysconf("SC_PAGE_SIZE")

_PROT_READ, _PROT_WRITE = 1, 2
_MAP_SHARED, _MAP_PRIVATE = 1, 2
_MADV_DONTNEED = 4
_MADV_POPULATE_WRITE = 23  # since Linux 5.14
_MFD_CLOEXEC, _MFD_ALLOW_SEALING = 1, 2
_F_ADD_SEALS, _F_GET_SEALS = 1033, 1034
SEAL_SHRINK, SEAL_GROW, SEAL_WRITE = 2, 4, 8

# Bits of /proc/self/pagemap (kernel: Documentation/admin-guide/mm/pagemap.rst).
_PRESENT, _SWAPPED, _FILE = 1 << 63, 1 << 62, 1 << 61

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_FAILED = ctypes.c_void_p(-1).value


class Mapping(object):
    """A range of a memfd in this process, unmapped when nothing refers to it any more."""

    def __init__(self, fd, offset, length, private=False, writable=True):
        protection = _PROT_READ | (_PROT_WRITE if writable else 0)
        flags = _MAP_PRIVATE if private else _MAP_SHARED
        address = _libc.mmap(None, length, protection, flags, fd, offset)
        if address == _FAILED:
            raise _error("map {} bytes of shared memory".format(length))
        self.address = address
        self.length = length
        self._munmap = _libc.munmap  # reachable in __del__ even while the interpreter ends

    def __del__(self):
        address = getattr(self, "address", None)
        if address is not None:
            self.address = None
            self._munmap(address, self.length)

    def bytes(self, writable=True):
        """The range as a NumPy array of bytes that keeps it mapped."""
        import numpy

        return numpy.asarray(Span(self, (self.length,), writable))

    def forget_changes(self):
        """Drops private pages: the range shows the shared ones again."""
        if _libc.madvise(self.address, self.length, _MADV_DONTNEED) != 0:
            raise _error("drop private pages")

    def make_private(self):
        """Copies every page that is still shared, so that nobody else can change it."""
        if _libc.madvise(self.address, self.length, _MADV_POPULATE_WRITE) == 0:
            return
        if ctypes.get_errno() != errno.EINVAL:  # what an older kernel says
            raise _error("make {} bytes private".format(self.length))
        view = (ctypes.c_ubyte * self.length).from_address(self.address)
        for position in range(0, self.length, PAGE):
            view[position] = view[position]

    def has_private_pages(self):
        """Whether this process has written to the range; ``True`` where that cannot be known."""
        pages = (self.length + PAGE - 1) // PAGE
        flags = array.array("Q")
        try:
            # Opened each time: after fork a descriptor would show the parent's pages.
            with open("/proc/self/pagemap", "rb", 0) as pagemap:
                pagemap.seek(self.address // PAGE * flags.itemsize)
                flags.frombytes(pagemap.read(pages * flags.itemsize))
        except (OSError, ValueError):
            return True
        if len(flags) != pages:
            return True
        return any(f & (_PRESENT | _SWAPPED) and not f & _FILE for f in flags)


class Span(object):
    """Hands a range to NumPy. Every array made from it keeps it, and so the range, alive."""

    def __init__(self, mapping, shape, writable=True):
        self._mapping = mapping
        self.__array_interface__ = {
            "version": 3,
            "typestr": "|u1",
            "shape": shape,
            "data": (mapping.address, not writable),
        }


class Descriptor(object):
    """A descriptor with one owner, closed with it."""

    def __init__(self, fd):
        self.fd = fd
        self._close = os.close

    def __del__(self):
        fd = getattr(self, "fd", None)
        if fd is not None:
            self.fd = None
            self._close(fd)


def memfd(name):
    """A new empty memfd that can be sealed."""
    flags = _MFD_CLOEXEC | _MFD_ALLOW_SEALING
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name, flags)
    if hasattr(_libc, "memfd_create"):
        fd = _libc.memfd_create(name.encode("ascii"), flags)
    else:
        number = {"x86_64": 319, "aarch64": 279}.get(os.uname().machine, -1)
        fd = _libc.syscall(ctypes.c_long(number), name.encode("ascii"), ctypes.c_uint(flags))
    if fd < 0:
        raise _error("make a memfd")
    return fd


def seal(fd, seals):
    """Seals a memfd of this process."""
    fcntl.fcntl(fd, _F_ADD_SEALS, seals)


def cannot_shrink(fd):
    """Whether reading a mapping of ``fd`` can never end in SIGBUS."""
    try:
        return bool(fcntl.fcntl(fd, _F_GET_SEALS) & SEAL_SHRINK)
    except OSError:
        return False


def write_all(fd, view):
    """Writes all of a contiguous buffer."""
    view = memoryview(view).cast("B")
    while view:
        view = view[os.write(fd, view) :]


def _error(what):
    number = ctypes.get_errno()
    return OSError(number, "failed to {}: {}".format(what, os.strerror(number)))
