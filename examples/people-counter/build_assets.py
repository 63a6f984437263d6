#!/usr/bin/env python3
"""Builds the assets of this project from their sources, always with the same bytes.

    build_assets.py [--check]

Writes assets/<sha256>.tar.gz and assets/<sha256>.json for both packages, puts their names into the
package.json files and removes assets that nobody names. With --check it changes nothing and exits 1
when something would change.
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

HERE = Path(__file__).resolve().parent
CODE = HERE / "packages/123456789012-PEOPLE_COUNTER_CODE-1.0"
MODEL = HERE / "packages/123456789012-SCENE_DETECTOR-1.0"


def archive(members):
    """A tar.gz of (name, bytes), without times, users or names of this machine."""
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


def code_archive():
    """The application below /panorama; the rest of its file system is the host's."""
    sources = sorted((CODE / "src").glob("*.py"))
    members = [("panorama/" + source.name, source.read_bytes()) for source in sources]
    return archive([("panorama", None)] + members)


def model_archive():
    """Exactly one ONNX file."""
    return archive([("detector.onnx", (HERE / "model/detector.onnx").read_bytes())])


def build():
    """All files as they should be: path -> bytes."""
    files = {}
    for package, content in ((CODE, code_archive()), (MODEL, model_archive())):
        descriptor = (package / "descriptor.json").read_bytes()
        names = {
            "assetUri": hashlib.sha256(content).hexdigest() + ".tar.gz",
            "descriptorUri": hashlib.sha256(descriptor).hexdigest() + ".json",
        }
        files[HERE / "assets" / names["assetUri"]] = content
        files[HERE / "assets" / names["descriptorUri"]] = descriptor
        manifest = json.loads((package / "package.json").read_text())
        manifest["nodePackage"]["assets"][0]["implementations"][0].update(names)
        files[package / "package.json"] = (json.dumps(manifest, indent=4) + "\n").encode()
    return files


def main():
    """Builds, or says what is not built."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="only say what would change")
    check = parser.parse_args().check
    files = build()
    stale = [
        path
        for path, content in files.items()
        if not path.is_file() or path.read_bytes() != content
    ]
    stale += [path for path in (HERE / "assets").glob("*") if path not in files]
    for path in stale:
        print(("differs: " if check else "writes: ") + str(path.relative_to(HERE)))
        if check:
            continue
        if path in files:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(files[path])
        else:
            path.unlink()
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
