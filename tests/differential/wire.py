"""Remote write 1.0 by hand: protobuf, in Snappy's block format with nothing but literals."""

import struct


def varint(value):
    out = bytearray()
    value &= (1 << 64) - 1
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number, body):
    """Of wire type 2: a length, then bytes."""
    return varint(number << 3 | 2) + varint(len(body)) + body


def labels(named):
    """The labels of a series, in order."""
    return b"".join(field(1, field(1, name.encode()) + field(2, value.encode())) for name, value in sorted(named.items()))


def sample(at, value):
    return field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + varint(at))


def snappy(data):
    """The length, then literals, each with a tag of 61 << 2 and its length less one in two bytes."""
    out = [varint(len(data))]
    for start in range(0, len(data), 1 << 16):
        literal = data[start:start + (1 << 16)]
        out.append(struct.pack("<BH", 61 << 2, len(literal) - 1) + literal)
    return b"".join(out)
