"""A file layer of SQLite's own kind that asks `Faults` before it hands each operation to the real one.

It is made of C function pointers through ctypes, in the very library that the module `sqlite3` uses: no compiler is
needed, and SQLite meets the faults where it would meet those of a disk. https://www.sqlite.org/c3ref/vfs.html
"""

import _sqlite3
import ctypes
import sqlite3
import sys
from collections.abc import Callable
from typing import Any

from .file_faults import READER, Faults, part_of
from .synced_copies import SyncedCopies

NAME = "faulty"

_READ_ONLY = 0x1
_WRITABLE = 0x2 | 0x4
"""What `open` is asked for: to write, and to create."""
_COPIED = ("main", "wal")
"""A journal is deleted in the end, and would come to life again."""

# The results that the unix file layer gives for what the system calls report.
_OK = 0
_IOERR = 10
_FULL = 13
_ERRORS = {
    ("read", "EIO"): _IOERR | 1 << 8,
    ("write", "EIO"): _IOERR | 3 << 8,
    ("write", "ENOSPC"): _FULL,
    ("sync", "EIO"): _IOERR | 4 << 8,
    ("sync", "ENOSPC"): _IOERR | 4 << 8,
}

_INSTALLED: list["FaultyFiles"] = []
"""SQLite holds their pointers for as long as the process lives."""

_Pointer = ctypes.c_void_p
_Int = ctypes.c_int
_Open = ctypes.CFUNCTYPE(_Int, _Pointer, _Pointer, _Pointer, _Int, _Pointer)
_Transfer = ctypes.CFUNCTYPE(_Int, _Pointer, _Pointer, _Int, ctypes.c_int64)
_Sync = ctypes.CFUNCTYPE(_Int, _Pointer, _Int)


class _Vfs(ctypes.Structure):
    """`sqlite3_vfs`, up to its third version."""

    _fields_ = [
        ("version", _Int),
        ("file_size", _Int),
        ("longest_path", _Int),
        ("next", _Pointer),
        ("name", ctypes.c_char_p),
        ("data", _Pointer),
        ("open", _Pointer),
        *((f"method_{number}", _Pointer) for number in range(15)),
    ]


class _Methods(ctypes.Structure):
    """`sqlite3_io_methods` of the second version, the first that has the write-ahead log and the last without mmap."""

    _fields_ = [
        ("version", _Int),
        ("close", _Pointer),
        ("read", _Pointer),
        ("write", _Pointer),
        ("truncate", _Pointer),
        ("sync", _Pointer),
        *((f"method_{number}", _Pointer) for number in range(11)),
    ]


class _File(ctypes.Structure):
    """`sqlite3_file`: what an open file begins with."""

    _fields_ = [("methods", ctypes.POINTER(_Methods))]


class FaultyFiles:
    """Own the function pointers; they must live for as long as a connection may use them."""

    def __init__(self, library: ctypes.CDLL, faults: Faults, synced: SyncedCopies | None) -> None:
        self._library = library
        self._faults = faults
        self._synced = synced
        library.sqlite3_vfs_find.restype = ctypes.POINTER(_Vfs)
        self._real = library.sqlite3_vfs_find(None)
        self._open = _Open(self._real.contents.open)
        self._methods: dict[tuple[int, str, tuple[str, ...]], _Methods] = {}
        self._kept: list[object] = []
        self._vfs = _Vfs.from_buffer_copy(self._real.contents)
        self._vfs.name = NAME.encode()
        self._vfs.open = self._pointer(_Open, self._open_file)

    def register(self, default: bool) -> None:
        """Make the layer known to SQLite under its name, and the one that connections use if it is the default."""
        self._library.sqlite3_vfs_register(ctypes.byref(self._vfs), int(default))

    def unregister(self) -> None:
        """Take the layer back; no connection may use it any more."""
        self._library.sqlite3_vfs_unregister(ctypes.byref(self._vfs))

    def _pointer(self, kind: Any, function: Callable[..., int]) -> int | None:
        callback = kind(_never_raising(function))
        self._kept.append(callback)
        return ctypes.cast(callback, _Pointer).value

    def _open_file(self, _vfs: int, name: int | None, file: int, flags: int, out_flags: int | None) -> int:
        path = ctypes.string_at(name).decode() if name else ""
        part = part_of(path)
        if part is None:
            return self._open(ctypes.addressof(self._real.contents), name, file, flags, out_flags)
        with self._faults.operation("open", part) as error:
            if error is not None:
                assert error == "EROFS"
                flags = flags & ~_WRITABLE | _READ_ONLY
            # The name is handed on as it is: SQLite reads the parameters of a URI from behind it.
            result = self._open(ctypes.addressof(self._real.contents), name, file, flags, out_flags)
        if result == _OK:
            opened = _File.from_address(file)
            kinds = (part, READER) if flags & _READ_ONLY else (part,)
            opened.methods = ctypes.pointer(self._methods_for(opened.methods.contents, path, kinds))
            if self._synced is not None and part in _COPIED:
                self._synced.opened(path)
        return result

    def _methods_for(self, real: _Methods, path: str, kinds: tuple[str, ...]) -> _Methods:
        key = ctypes.addressof(real), path, kinds
        if key not in self._methods:
            assert real.version >= 2, "no write-ahead log without shared memory"
            made = _Methods.from_buffer_copy(real)
            made.version = 2
            made.read = self._pointer(_Transfer, self._read(_Transfer(real.read), kinds))
            made.write = self._pointer(_Transfer, self._write(_Transfer(real.write), kinds))
            made.sync = self._pointer(_Sync, self._sync(_Sync(real.sync), path, kinds))
            self._methods[key] = made
        return self._methods[key]

    def _read(self, real: Callable[..., int], kinds: tuple[str, ...]) -> Callable[..., int]:
        def read(file: int, buffer: int, size: int, offset: int) -> int:
            with self._faults.operation("read", *kinds) as error:
                return _ERRORS["read", error] if error else real(file, buffer, size, offset)

        return read

    def _write(self, real: Callable[..., int], kinds: tuple[str, ...]) -> Callable[..., int]:
        def write(file: int, buffer: int, size: int, offset: int) -> int:
            with self._faults.operation("write", *kinds) as error:
                if error is None:
                    return real(file, buffer, size, offset)
                real(file, buffer, size // 2, offset)  # a disk takes what it can before it refuses
                return _ERRORS["write", error]

        return write

    def _sync(self, real: Callable[..., int], path: str, kinds: tuple[str, ...]) -> Callable[..., int]:
        def sync(file: int, flags: int) -> int:
            with self._faults.operation("sync", *kinds) as error:
                if error is not None:
                    return _ERRORS["sync", error]
                result = real(file, flags)
                if result == _OK and self._synced is not None and kinds[0] in _COPIED:
                    self._synced.take(path)
                return result

        return sync


def install(faults: Faults, synced: SyncedCopies | None = None) -> FaultyFiles | None:
    """Put the layer under all connections that this process opens from now on; None where SQLite is out of reach.

    After each sync a copy of the file is taken, where `synced` is given: that is what survives a power failure.
    """
    files = _registered(faults, synced)
    if files is not None:
        files.register(default=True)
        _INSTALLED.append(files)
    return files


def available() -> bool:
    """Tell whether `install` would work here; leaves nothing behind."""
    files = _registered(Faults(), None)
    if files is not None:
        files.unregister()
    return files is not None


def _registered(faults: Faults, synced: SyncedCopies | None) -> FaultyFiles | None:
    library = _library()
    if library is None:
        return None
    files = FaultyFiles(library, faults, synced)
    files.register(default=False)
    try:
        # A second copy of SQLite in the process, such as another module's, does not know the name.
        sqlite3.connect(f"file::memory:?vfs={NAME}", uri=True).close()
    except sqlite3.OperationalError:
        files.unregister()
        return None
    return files


def _version(library: ctypes.CDLL) -> str:
    """Give the version of SQLite that a library is."""
    library.sqlite3_libversion.restype = ctypes.c_char_p
    return library.sqlite3_libversion().decode()


def _library() -> ctypes.CDLL | None:
    # Looking a name up in an extension module finds it in the libraries that the module was linked with, too.
    for place in (getattr(_sqlite3, "__file__", None), None):
        try:
            library = ctypes.CDLL(place)
            if _version(library) == sqlite3.sqlite_version:
                return library
        except (OSError, AttributeError, TypeError):
            continue
    return None


def _never_raising(function: Callable[..., int]) -> Callable[..., int]:
    """Report what goes wrong in the layer itself as an I/O error: SQLite has no other way to hear of it."""

    def guarded(*arguments: Any) -> int:
        try:
            return function(*arguments)
        except BaseException as error:
            print(f"faulty file layer: {error!r}", file=sys.stderr, flush=True)
            return _IOERR

    return guarded
