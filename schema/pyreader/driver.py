# Run as: python3 -c driver.py FOLDER WHOLE SAMPLE ARTIFACT..., with npuw.py in FOLDER. Of an artifact of more than WHOLE bytes it reads
# the smallest operands and parameters, SAMPLE elements in all, and leaves the digests of segments out. What it prints is described in
# pyreader.go.
import json
import math
import sys

folder, whole, sample, *paths = sys.argv[1:]
sys.path.insert(0, folder)
import npuw


def attempt(get):
    try:
        return get()
    except npuw.NpuwError:
        return None


def little(numbers):
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def smallest(records):
    chosen, left = [], int(sample)
    for elements, is_operand, name in sorted(records):
        left -= elements
        if left < 0:
            break
        chosen.append((elements, is_operand, name))
    return chosen


def read(path):
    values, parts = [], []
    with npuw.File(path) as file:
        is_small = file.header.file_bytes <= int(whole)
        file.verify(is_small)
        records = [(math.prod(o.extents), True, o.name) for o in file.operands]
        records += [(math.prod(p.shape), False, p.name) for p in file.parameters]
        for _, is_operand, name in records if is_small else smallest(records):
            f32 = attempt(lambda: little(file.values(name, is_operand)[1]))
            raw = attempt(lambda: file.raw(name, is_operand)[2])
            sizes = {"float32": -1 if f32 is None else len(f32), "raw": -1 if raw is None else len(raw)}
            values.append({"name": name, "operand": is_operand, **sizes})
            parts += [f32 or b"", raw or b""]
        return {"listing": npuw.describe(file), "values": values}, parts


for path in paths:
    try:
        head, parts = read(path)
    except (npuw.NpuwError, OSError) as err:
        head, parts = {"fault": str(err)}, []
    sys.stdout.buffer.write(json.dumps(head).encode() + b"\n")
    sys.stdout.buffer.writelines(parts)
