"""Reads a trace of an SPU's system calls and checks that every acknowledgement was sent
after an fdatasync of the segment that began after its batch had been written.

The batches are found by their Kafka v2 headers in the writes to `*.log`, the
acknowledgements by their protobuf messages in the HTTP/2 DATA frames on its clients'
connections.

    python3 ack_after_fsync.py TRACE PORT_OF_THE_SPU
"""

import re
import struct
import sys

CALL = re.compile(r"^(\d+) +(\w+)\((.*)$")
RESUMED = re.compile(r"^(\d+) +<\.\.\. (\w+) resumed>(.*)$")
TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
HEADER_BYTES = 61
ACKS_MIN = 100


def calls(path):
    """(order of begin, order of end, name, arguments) of every call that ended well."""
    under_way = {}
    with open(path, encoding="latin-1") as lines:
        for order, line in enumerate(lines):
            line = line.rstrip("\n")
            if match := RESUMED.match(line):
                thread, _, rest = match.groups()
                if thread in under_way:
                    begin, name, arguments = under_way.pop(thread)
                    arguments += rest
                    if not re.search(r"= -1 ", rest):
                        yield begin, order, name, arguments
            elif match := CALL.match(line):
                thread, name, arguments = match.groups()
                if arguments.endswith("<unfinished ...>"):
                    under_way[thread] = (order, name, arguments[: -len("<unfinished ...>")])
                elif not re.search(r"= -1 ", arguments):
                    yield order, order, name, arguments


def data(arguments):
    """The bytes of a call, where strace showed them whole; the first of each buffer else."""
    return [bytes.fromhex(text.replace("\\x", "")) for text, _ in TEXT.findall(arguments)]


def batches(buffers):
    """Base offsets of the batches whose headers begin a buffer."""
    for buffer in buffers:
        if len(buffer) >= HEADER_BYTES and buffer[16] == 2:
            yield struct.unpack(">q", buffer[:8])[0]


def varint(message, at):
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at


def base_offset(message):
    """The base offset of a ProduceResponse that is an acknowledgement, else None."""
    at = 0
    while at < len(message):
        tag, at = varint(message, at)
        if tag & 7 == 0:
            _, at = varint(message, at)
        elif tag & 7 == 2:
            length, at = varint(message, at)
            body, at = message[at : at + length], at + length
            if tag >> 3 == 2:
                if not body:
                    return 0
                return varint(body, 1)[0] if body[0] == 0x08 else 0
        else:
            return None
    return None


def acknowledgements(stream):
    """(order, base offset) of a socket's bytes, given as [(order, bytes)]."""
    buffer, orders = b"", []
    for order, piece in stream:
        buffer += piece
        orders += [order] * len(piece)
    at = 0
    while at + 9 <= len(buffer):
        length = int.from_bytes(buffer[at : at + 3], "big")
        payload = buffer[at + 9 : at + 9 + length]
        inner = 0
        # A DATA frame carries one gRPC message or several.
        while buffer[at + 3] == 0 and inner + 5 <= len(payload):
            size = int.from_bytes(payload[inner + 1 : inner + 5], "big")
            if (offset := base_offset(payload[inner + 5 : inner + 5 + size])) is not None:
                yield orders[at], offset
            inner += 5 + size
        at += 9 + length


def main(path, port):
    written, syncs, sockets = {}, [], {}
    for begin, end, name, arguments in calls(path):
        # With -xx, paths are in hexadecimal like everything else.
        target = re.sub(
            r"\\x([0-9a-f]{2})", lambda hexed: chr(int(hexed[1], 16)), arguments.split(">", 1)[0]
        )
        if ".log" in target and "/topics/" in target:
            if name == "fdatasync":
                syncs.append((begin, end))
            else:
                for offset in batches(data(arguments)):
                    written[offset] = end
        elif f":{port}-" in target and name in ("write", "writev", "sendto", "sendmsg"):
            sockets.setdefault(target, []).append((begin, b"".join(data(arguments))))
    acks = 0
    for stream in sockets.values():
        for sent, offset in acknowledgements(sorted(stream)):
            acks += 1
            if offset not in written:
                sys.exit(f"offset {offset} was acknowledged and never seen written")
            durable = any(written[offset] < begin and end < sent for begin, end in syncs)
            if not durable:
                sys.exit(f"offset {offset} was acknowledged before an fdatasync covered it")
    if acks < ACKS_MIN:
        sys.exit(f"only {acks} acknowledgements seen: this proves nothing")
    print(f"{acks} acknowledgements, each after the fdatasync of its batch ({len(syncs)} in all)")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
