# Run as: python3 -c driver.py FOLDER ARTIFACT, with npuw.py in FOLDER. What it prints is described in pyreader.go.
import json
import sys

folder, path = sys.argv[1:]
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


def read(file):
    values, parts = [], []
    for is_operand, records in (True, file.operands), (False, file.parameters):
        for record in records:
            name = record.name
            f32 = attempt(lambda: little(file.values(name, is_operand)[1]))
            raw = attempt(lambda: file.raw(name, is_operand)[2])
            sizes = {"float32": -1 if f32 is None else len(f32), "raw": -1 if raw is None else len(raw)}
            values.append({"name": name, "operand": is_operand, **sizes})
            parts += [f32 or b"", raw or b""]
    return {"listing": npuw.describe(file), "values": values}, parts


try:
    with npuw.File(path) as file:
        file.verify()
        head, parts = read(file)
except (npuw.NpuwError, OSError) as err:
    sys.exit(str(err))
sys.stdout.buffer.write(json.dumps(head).encode() + b"\n")
sys.stdout.buffer.writelines(parts)
