"""Changes to a file that its path, size and mtime do not show."""

import os
from pathlib import Path


def flip(file: Path) -> None:
    """Change its last byte in place, and set mtime back."""
    before = file.stat()
    with file.open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        last = stream.read(1)
        stream.seek(-1, os.SEEK_END)
        stream.write(bytes([last[0] ^ 1]))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(file: Path) -> None:
    """Put a flipped copy in its place, with the same mtime."""
    other = file.with_name(f"{file.name}.new")
    before = file.stat()
    other.write_bytes(file.read_bytes())
    flip(other)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(other, file)
