#!/usr/bin/env python3
"""Reads segment files with a Kafka client that is not ours.

    read_segments.py FOLDER [--values FILE]

Every `*.log` file below FOLDER must be plain concatenated record batches (magic 2), named
`<20-digit base offset>.log`. Checked with kafka-python: lengths, magic, CRC-32C, record
counts, every record of every codec, and that offsets follow on without a gap, from the file's
name and from one file of a folder to the next. Prints what it found.

With --values, the record values, each followed by a newline, in offset order, must equal FILE
byte for byte; a record without a value is a mismatch. Several partitions have no order between
them, so then only one folder below FOLDER may have records.

Exits 0 when all is well, 1 with a message for a mismatch or when there was no batch, 2 for a
wrong call.
"""

import argparse
import pathlib
import re
import struct
import sys
from collections import Counter

from kafka.record.memory_records import MemoryRecords

CODECS = {0: "none", 1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"}
NAME = re.compile(r"[0-9]{20}\.log")
MAGIC_AT = 16
HEADER_BYTES = 61


class Mismatch(Exception):
    """Something is not as it must be; the message says where."""


class Values:
    """Compares values with a file as they come; nothing is kept."""

    def __init__(self, path):
        self.path = path
        self.file = path.open("rb")
        self.at = 0

    def next(self, value, where):
        if value is None:
            raise Mismatch(f"{where}: a record without a value")
        want = value + b"\n"
        have = self.file.read(len(want))
        if have != want:
            same = next(
                (n for n, (a, b) in enumerate(zip(have, want)) if a != b), min(len(have), len(want))
            )
            raise Mismatch(
                f"{where}: its value is not what {self.path} has at byte {self.at + same}: "
                f"{shown(value)} in the segment, {shown(have)} in the file"
            )
        self.at += len(want)

    def end(self):
        rest = self.file.read(80)
        if rest:
            raise Mismatch(
                f"{self.path} goes on at byte {self.at}, after the last record: {shown(rest)}"
            )


def shown(data):
    return repr(bytes(data[:60])) + ("…" if len(data) > 60 else "")


def read_batch(batch, expected, where, totals, values):
    """Checks one batch and returns the offset after it."""
    if batch.base_offset != expected:
        raise Mismatch(f"{where}: base offset {batch.base_offset}, expected {expected}")
    # Before anything is read: iterating replaces the bytes by the decompressed ones.
    if not batch.validate_crc():
        raise Mismatch(f"{where}: CRC-32C does not match")
    if batch.compression_type not in CODECS:
        raise Mismatch(f"{where}: unknown codec {batch.compression_type}")
    if batch.records_count < 1 or batch.records_count != batch.last_offset_delta + 1:
        raise Mismatch(
            f"{where}: {batch.records_count} records, last offset delta {batch.last_offset_delta}"
        )
    offset = expected
    for record in batch:
        if record.offset != offset:
            raise Mismatch(f"{where}: record offset {record.offset}, expected {offset}")
        if values is not None:
            values.next(record.value, f"{where}, record {offset}")
        offset += 1
    if offset != batch.next_offset:
        raise Mismatch(f"{where}: ends at {offset}, its header says {batch.next_offset}")
    totals["batches"] += 1
    totals["records"] += batch.records_count
    totals["codec " + CODECS[batch.compression_type]] += 1
    return offset


def batches(data, path):
    """The batches of a file with their positions. Splits by the length field itself, so that
    what the library would leave silently at the end of the file is a mismatch."""
    at = 0
    while at < len(data):
        where = f"{path}, byte {at}"
        if len(data) - at < HEADER_BYTES:
            raise Mismatch(f"{where}: {len(data) - at} bytes are no batch")
        (length,) = struct.unpack_from(">i", data, at + 8)
        end = at + 12 + length
        if length < HEADER_BYTES - 12 or end > len(data):
            raise Mismatch(f"{where}: length {length}, {len(data) - at} bytes are left")
        if data[at + MAGIC_AT] != 2:
            raise Mismatch(f"{where}: magic {data[at + MAGIC_AT]}, expected 2")
        yield from ((batch, where) for batch in MemoryRecords(data[at:end]))
        at = end


def read_folder(files, totals, values):
    """Reads the segments of one folder, in order; returns (first offset, offset after)."""
    expected = None
    for path in files:
        if not NAME.fullmatch(path.name):
            raise Mismatch(f"{path}: the name is not a 20-digit offset and .log")
        base = int(path.stem)
        if expected is not None and base != expected:
            raise Mismatch(f"{path}: the segment before it ends at {expected}")
        expected = base
        for batch, where in batches(path.read_bytes(), path):
            try:
                expected = read_batch(batch, expected, where, totals, values)
            except Mismatch:
                raise
            # A codec's own errors have no common type.
            except Exception as error:
                raise Mismatch(f"{where}: unreadable: {error!r}") from error
        totals["files"] += 1
    return int(files[0].stem), expected


def run(folder, values_path):
    files = sorted(path for path in folder.rglob("*.log") if path.is_file())
    folders = {}
    for path in files:
        folders.setdefault(path.parent, []).append(path)
    filled = {path.parent for path in files if path.stat().st_size > 0}
    if values_path is not None and len(filled) > 1:
        raise Mismatch(f"--values needs one folder with records, {folder} has {len(filled)}")
    values = Values(values_path) if values_path is not None else None
    totals = Counter()
    for place, segments in sorted(folders.items()):
        before = totals["records"]
        first, after = read_folder(segments, totals, values)
        print(
            f"{place}: {len(segments)} segments, {totals['records'] - before} records, "
            f"offsets {first} to {after} (exclusive)"
        )
    if totals["batches"] == 0:
        raise Mismatch(f"no batch in {len(files)} segment files below {folder}")
    if values is not None:
        values.end()
        print(f"values equal {values_path}: {values.at} bytes")
    codecs = ", ".join(
        f"{name.removeprefix('codec ')} {count}"
        for name, count in sorted(totals.items())
        if name.startswith("codec ")
    )
    print(
        f"total: {totals['files']} segments, {totals['batches']} batches ({codecs}), "
        f"{totals['records']} records, every CRC valid, offsets contiguous"
    )


def main():
    parser = argparse.ArgumentParser(
        description="Reads and verifies segment files with a Kafka client that is not ours."
    )
    parser.add_argument("folder", type=pathlib.Path, help="searched for *.log, at any depth")
    parser.add_argument(
        "--values", type=pathlib.Path, help="must equal the values, each with a newline"
    )
    arguments = parser.parse_args()
    if not arguments.folder.is_dir():
        parser.error(f"{arguments.folder} is not a folder")
    if arguments.values is not None and not arguments.values.is_file():
        parser.error(f"{arguments.values} is not a file")
    try:
        run(arguments.folder, arguments.values)
    except Mismatch as mismatch:
        print(f"MISMATCH: {mismatch}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
