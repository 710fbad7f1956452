"""Checks the weir_*.hex fixtures with kafka-python and writes the foreign_*.hex ones with it.

Needs the packages of infra/ci/requirements.txt. Run once when a fixture is added; the
committed files are what the tests read. `--check` writes nothing.
"""

import pathlib
import sys

import kafka.codec
import kafka.record.default_records as default_records
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder

HERE = pathlib.Path(__file__).parent
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
BASE_MS = 1_700_000_000_000
PRODUCER = {"producer_id": 4000, "producer_epoch": 3, "base_sequence": 2**31 - 1 - 7}


def sample():
    """The records of tests/support/mod.rs: (timestamp, key, value, headers)."""
    headers = [
        ("trace", b"abc"),
        ("empty", b""),
        ("absent", None),
        ("trace", b"again"),
        ("Größe", b"\x00\xff"),
        ("", b"no name"),
    ]
    records = [
        (0, b"order-1", b"created", []),
        (1, None, b"no key", []),
        (2, b"order-1", None, []),
        (-5, b"", b"", []),
        (70_000_000_000, None, None, headers),
        (10, b"long", b"x" * 300, []),
    ]
    for n in range(18):
        value = '{"order":%d,"state":"shipped","note":"as before"}' % n
        records.append((20 + n, None, value.encode(), []))
    return [(BASE_MS + delta, key, value, h) for delta, key, value, h in records]


def write(codec):
    builder = MemoryRecordsBuilder(
        magic=2, compression_type=codec, batch_size=1 << 20, **PRODUCER
    )
    for timestamp, key, value, headers in sample():
        assert builder.append(timestamp, key, value, headers) is not None
    builder.close()
    return bytes(builder.buffer())


def check(name, data, codec):
    (batch,) = list(MemoryRecords(data))
    assert batch.size_in_bytes == len(data), name
    assert batch.magic == 2 and batch.validate_crc(), name
    assert batch.attributes == codec, name
    assert batch.base_offset == 0 and batch.next_offset == 24, name
    assert batch.first_timestamp == BASE_MS, name
    assert batch.max_timestamp == BASE_MS + 70_000_000_000, name
    stamp = (batch.producer_id, batch.producer_epoch, batch.base_sequence)
    assert stamp == tuple(PRODUCER.values()), name
    assert batch.last_sequence == 15, name
    read = [(r.offset, r.timestamp, r.key, r.value, r.headers) for r in batch]
    assert read == [(n, *record) for n, record in enumerate(sample())], name
    print(f"{name}: {len(data)} bytes, {len(read)} records, as written")


def save(name, data):
    lines = [data[at : at + 32].hex() + "\n" for at in range(0, len(data), 32)]
    (HERE / name).write_text("".join(lines))


def main():
    for name, codec in CODECS.items():
        check(f"weir_{name}", bytes.fromhex((HERE / f"weir_{name}.hex").read_text()), codec)
    foreign = {name: (codec, write(codec)) for name, codec in CODECS.items()}
    # As librdkafka and others send it: one raw block.
    default_records.snappy_encode = lambda data: kafka.codec.snappy_encode(
        data, xerial_compatible=False
    )
    foreign["snappy_raw"] = (CODECS["snappy"], write(CODECS["snappy"]))
    for name, (codec, data) in foreign.items():
        check(f"foreign_{name}", data, codec)
        if "--check" not in sys.argv:
            save(f"foreign_{name}.hex", data)


if __name__ == "__main__":
    main()
