#!/usr/bin/env python3
"""Builds the assets of Panorama projects from their sources, always with the same bytes.

    build_assets.py [--check] PROJECT...

Writes ``assets/<sha256>.tar.gz`` and ``assets/<sha256>.json`` for every package of a project, puts
their names into its package.json and removes assets that nobody names. A package with ``src/`` is
code, laid under /panorama; one with a ``*.onnx`` file, beside it or in the project's ``model/``, is
a model. With ``--check`` it changes nothing and exits 1 when something would change.
"""

import argparse
import hashlib
import io
import json
import struct
import sys
import tarfile
import zlib
from pathlib import Path


def archive(members):
    """A tar.gz of (name, bytes or None for a directory), without times, users or host names."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
            else:
                info.size, info.mode = len(content), 0o644
            tar.addfile(info, io.BytesIO(content or b""))
    return stored_gzip(plain.getvalue())


def stored_gzip(content):
    """A gzip file (RFC 1952) of stored blocks: no two libraries compress to the same bytes."""
    blocks = [content[at : at + 0xFFFF] for at in range(0, len(content), 0xFFFF)]
    packed = b"\x1f\x8b\x08\x00" + struct.pack("<I", 0) + b"\x00\xff"
    for number, block in enumerate(blocks):
        last = number + 1 == len(blocks)
        packed += struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF) + block
    return packed + struct.pack("<II", zlib.crc32(content), len(content) & 0xFFFFFFFF)


def contents(project, package):
    """The asset of one package."""
    if (package / "src").is_dir():
        sources = sorted((package / "src").glob("*.py"))
        members = [("panorama/" + source.name, source.read_bytes()) for source in sources]
        return archive([("panorama", None)] + members)
    models = sorted(package.glob("*.onnx")) or sorted((project / "model").glob("*.onnx"))
    if len(models) != 1:
        sys.exit("{}: src/ or exactly one .onnx file is needed".format(package))
    return archive([(models[0].name, models[0].read_bytes())])


def build(project):
    """All files of a project as they should be: path -> bytes."""
    files = {}
    for package in sorted((project / "packages").iterdir()):
        content = contents(project, package)
        descriptor = (package / "descriptor.json").read_bytes()
        names = {
            "assetUri": hashlib.sha256(content).hexdigest() + ".tar.gz",
            "descriptorUri": hashlib.sha256(descriptor).hexdigest() + ".json",
        }
        files[project / "assets" / names["assetUri"]] = content
        files[project / "assets" / names["descriptorUri"]] = descriptor
        manifest = json.loads((package / "package.json").read_text())
        manifest["nodePackage"]["assets"][0]["implementations"][0].update(names)
        files[package / "package.json"] = (json.dumps(manifest, indent=4) + "\n").encode()
    return files


def differences(project, files):
    """Paths to write, and assets to remove."""
    stale = [p for p, content in files.items() if not p.exists() or p.read_bytes() != content]
    extra = [p for p in (project / "assets").glob("*") if p not in files]
    return stale, extra


def main():
    """Builds, or says what is not built."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing, exit 1 if outdated")
    parser.add_argument("project", nargs="+", type=Path)
    arguments = parser.parse_args()
    outdated = False
    for project in arguments.project:
        files = build(project)
        stale, extra = differences(project, files)
        for path in stale + extra:
            outdated = True
            print("{}: {}".format("outdated" if arguments.check else "built", path))
        if not arguments.check:
            (project / "assets").mkdir(exist_ok=True)
            for path in stale:
                path.write_bytes(files[path])
            for path in extra:
                path.unlink()
    return 1 if outdated and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
