"""Prints what a file of named arrays holds, as NumPy reads it: a line of JSON, then the values, little-endian.

For each array, in the order of the file: its name, shape, and the number of its bytes.
"""

import json
import sys

import numpy


def safetensors(path):
    with open(path, "rb") as f:
        n = int.from_bytes(f.read(8), "little")
        header = json.loads(f.read(n))
        data = f.read()
    assert (8 + n) % 8 == 0 and header.pop("__metadata__") == {"format": "pt"}
    end = 0
    for name, tensor in header.items():
        begin, stop = tensor["data_offsets"]
        assert tensor["dtype"] == "F32" and begin == end
        end = stop
        yield name, numpy.frombuffer(data[begin:stop], "<f4").reshape(tensor["shape"])
    assert end == len(data)


def npz(path):
    with numpy.load(path) as arrays:
        for name in arrays.files:
            assert arrays[name].dtype == "<f4" and arrays[name].flags.c_contiguous
            yield name, arrays[name]


path = sys.argv[1]
arrays = list((npz if path.endswith(".npz") else safetensors)(path))
head = [{"Name": name, "Shape": a.shape, "Bytes": a.nbytes} for name, a in arrays]
sys.stdout.buffer.write(json.dumps(head).encode() + b"\n" + b"".join(a.tobytes() for _, a in arrays))
