"""Reads event files as TensorFlow's TFRecord format describes them, without TensorBoard."""

import struct

from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c


def read_events(folder):
    """Returns the events of every file in a folder, in the order of the files' names."""
    return [event for path in sorted(folder.iterdir()) for event in _events(path.read_bytes())]


def _events(content):
    while content:
        length, check = struct.unpack("<QI", content[:12])
        assert check == masked_crc32c(content[:8])
        body, content = content[12 : 12 + length], content[12 + length :]
        assert struct.unpack("<I", content[:4]) == (masked_crc32c(body),)
        content = content[4:]
        yield Event.FromString(body)


def scalars(events, name):
    """Returns (step, value) of a metric; a session that starts at a step hides what came later."""
    found = []
    for event in events:
        if event.HasField("session_log"):
            found = [item for item in found if item[0] < event.step]
        found += [(event.step, v.simple_value) for v in event.summary.value if v.tag == name]
    return found
