#!/usr/bin/env python3
"""Reads .npuw artifacts: one file, standard library only, Python 3.9 or later.

The format is described in FORMAT.md, beside this file; the sections named in comments are its sections.

As a command:

    npuw.py verify [--no-data] FILE...      checks every rule; prints "FILE: ok" or the first fault, exit status 1
    npuw.py list [--json] FILE              header, model, segments, operands, parameters
    npuw.py values FILE NAME [-o OUT]       an operand's or a parameter's values as little-endian float32, row-major
    npuw.py values --raw FILE NAME          the same in its own element format, where that is f32, f16 or bf16

As a module:

    import npuw
    with npuw.File("model.npuw") as file:                               # checks header and index
        for operand in file.operands:
            print(operand.name, operand.extents, operand.format, operand.layout)
        shape, values = file.values("encoder.layers.0.fc1.weight")      # tuple of int, array('f')

Operands come in the logical order of their axes, without padding; parameters in their own shape, divided by the scale of
their placement. Values are joined of their planes and divided in binary64, then rounded to binary32 once. A name that both
have means the parameter, unless the operand is asked for (--operand, operand=True).

A file may come from anywhere: whatever is wrong with it is an NpuwError, with the byte offset and the field.
"""

import argparse
import collections
import contextlib
import itertools
import json
import math
import mmap
import operator
import os
import re
import struct
import sys
from array import array

MAGIC = b"\x89NPUW\r\n\x1a"
PAGE_SIZES = (4096, 16384, 65536)
MAX_INDEX, MAX_COUNT, MAX_BOXES, MAX_SIZE, MAX_STRING = 1 << 26, 1 << 20, 4096, 1 << 62, 1024
# Not in any string: control characters, line and paragraph separators, bidirectional controls.
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
NONE = 0xFFFFFFFF  # where a contract names no xclbin or no segment
WEIGHTS, INSTRUCTIONS = 0, 1
KINDS = {WEIGHTS: "weights", INSTRUCTIONS: "instructions"}
# Section 6, element formats: name, bits, values in an element, array type of the bits (of 4 bits: unpacked, one a byte).
Element = collections.namedtuple("Element", "name bits values code")
ELEMENTS = dict(enumerate((
    Element("f32", 32, 1, "I"), Element("f16", 16, 1, "H"), Element("bf16", 16, 1, "H"), Element("f64", 64, 1, "Q"),
    Element("i8", 8, 1, "B"), Element("u8", 8, 1, "B"), Element("i4", 4, 1, "B"), Element("u4", 4, 1, "B"),
    Element("nf4", 4, 1, "B"), Element("bfp16", 72, 8, "B"), Element("e8m0", 8, 1, "B")), 1))
# Encodings, by number and the roles of the planes: the element formats that the plane of each role may have.
ENCODINGS = {
    (0, (0,)): ("f32 f16 bf16 bfp16",),
    (1, (0, 1)): ("i8 i4 nf4", "f32 f16 bf16 e8m0"),
    (1, (0, 1, 2)): ("i8 u8 i4 u4", "f32 f16 bf16", "i8 u8 i4 u4"),  # the zeros' is that of the codes
    (1, (0, 1, 3)): ("u8 u4", "f32 f16 bf16", "f32 f16 bf16"),
}
ROLES = ("values", "scales", "zeros", "minimums")
SCALES, ZEROS, MINIMUMS = 1, 2, 3
FOLDED = 1  # a kind of notes
BUFFER, WEIGHT, INSTRUCTION_STREAM = 0, 1, 3  # a kind and two roles of arguments


class NpuwError(Exception):
    """A file that is not a sound artifact, or a question that it cannot answer.

    offset is a byte of the file (None where no byte is to blame), field what lies there.
    """

    def __init__(self, offset, field, message):
        self.offset, self.field = offset, field
        super().__init__(("" if offset is None else "byte %d: " % offset) + "%s: %s" % (field, message))


def _need(good, offset, field, message, *args):
    if not good:
        raise NpuwError(offset, field, message % args)


# --- Section 3: XXH3-128 of inputs longer than 240 bytes -------------------------------------------------------------

_P32 = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D)
_P64 = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)
_M64 = (1 << 64) - 1
_SECRET = bytes.fromhex("""
    b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f
    cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c
    3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8
    a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364
    eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e
    2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e""")
_BLOCK_KEYS = b"".join(_SECRET[8 * j:8 * j + 64] for j in range(16))
_SCRAMBLE_KEYS = struct.unpack("<8Q", _SECRET[128:])


def _accumulate(acc, data, keys, scramble):
    """Accumulates stripes of 64 bytes with keys as long as data; scramble says that they make whole blocks of 1024."""
    plain = struct.unpack("<%dQ" % (len(data) // 8), data)
    keyed = (int.from_bytes(data, "little") ^ int.from_bytes(keys, "little")).to_bytes(len(data), "little")
    halves = struct.unpack("<%dI" % (len(data) // 4), keyed)
    products = list(map(operator.mul, halves[0::2], halves[1::2]))
    for first in range(0, len(plain), 128):
        for i in range(8):  # each lane's sums over a block, reduced once
            a = (acc[i] + sum(products[first + i:first + 128:8]) + sum(plain[first + (i ^ 1):first + 128:8])) & _M64
            acc[i] = (a ^ a >> 47 ^ _SCRAMBLE_KEYS[i]) * _P32[0] & _M64 if scramble else a


def _merge(acc, start, r):
    keys = struct.unpack_from("<8Q", _SECRET, start)
    for i in range(0, 8, 2):
        m = (acc[i] ^ keys[i]) * (acc[i + 1] ^ keys[i + 1])
        r += (m & _M64) ^ (m >> 64)
    r = (r & _M64 ^ (r & _M64) >> 37) * 0x165667919E3779F9 & _M64
    return r ^ r >> 32


def xxh3_128(pieces):
    """The digest (low, high) of pieces of bytes one after another, more than 240 together."""
    acc = [_P32[2], _P64[0], _P64[1], _P64[2], _P64[3], _P32[1], _P64[4], _P32[0]]
    length, before, rest = 0, b"", b""
    for piece in pieces:
        length += len(piece)
        rest += piece
        whole = (len(rest) - 1) // 1024 * 1024  # at least one byte stays behind: the last block is not scrambled
        for start in range(0, whole, 1 << 16):
            run = rest[start:min(start + (1 << 16), whole)]
            _accumulate(acc, run, _BLOCK_KEYS * (len(run) // 1024), True)
        if whole > 0:
            before, rest = rest[whole - 64:whole], rest[whole:]
    stripes = (len(rest) - 1) // 64 * 64
    _accumulate(acc, rest[:stripes], _BLOCK_KEYS[:stripes], False)
    _accumulate(acc, (before + rest)[-64:], _SECRET[121:185], False)
    return _merge(acc, 11, length * _P64[0]), _merge(acc, 117, ~(length * _P64[1]))


# --- Sections 1 and 5: the header and the index ----------------------------------------------------------------------

# The header, then the index's slots, in order: name, struct, its bytes, its fields as name:offset:type. Types are B u8, I u32,
# i i32, Q u64, q i64, d f64, Statistics, and for a Range the vector it is of; a Text is one of text. (from is a word of
# Python's, and a `to` that is missing is filled in: hence from_ and to_.)
_STRUCTS = """
    header      Header     256  magic:0:Q version:8:I header_bytes:12:I required_features:16:Q optional_features:24:Q \
                                file_bytes:32:Q page_bytes:40:Q index_offset:48:Q index_bytes:56:Q index_digest:64:Q \
                                index_digest_hi:72:Q header_digest:240:Q header_digest_hi:248:Q
    producer    Producer    20  name:0:text recipe:8:text revision:16:I
    model       Model        8  family:0:text
    text        u8           1  value:0:B
    numbers     u64          8  value:0:Q
    axes        Axis        24  extent:0:Q padded:8:Q name:16:B
    digits      Digit       24  size:0:Q stride:8:Q axis:16:B
    planes      Plane       64  offset:0:Q bytes:8:Q pad_bits:16:Q record_elements:24:Q record_bytes:32:Q block:40:numbers \
                                digits:48:digits role:56:B element:57:B order:58:B
    placed_axes PlacedAxis  32  begin:0:Q size:8:Q step:16:Q axis:24:B
    placements  Placement   32  scale:0:d from_:8:placed_axes to_:16:numbers parameter:24:I
    fills       Fill        24  value:0:d begin:8:numbers size:16:numbers
    segments    Segment     48  name:0:text offset:8:Q bytes:16:Q digest:24:Q digest_hi:32:Q memory_group:40:i kind:44:B
    operands    Operand    136  name:0:text axes:8:axes planes:16:planes placements:24:placements fills:32:fills offset:40:Q \
                                bytes:48:Q segment:56:I encoding:60:B statistics:64:Statistics
    parameters  Parameter   24  name:0:text axes:8:text shape:16:numbers
    attributes  Attribute   40  name:0:text text:8:text integer:16:q real:24:d kind:32:B
    notes       Note        12  parameter:0:I operand:4:I kind:8:B
    xclbins     Xclbin      48  name:0:text uuid_lo:8:Q uuid_hi:16:Q bytes:24:Q digest:32:Q digest_hi:40:Q
    contracts   Contract    56  name:0:text operation:8:text kernel:16:text epilogue:24:text shape:32:axes \
                                arguments:40:arguments xclbin:48:I instructions:52:I
    arguments   Argument    48  name:0:text axes:8:axes planes:16:planes bytes:24:Q index:32:I memory_group:36:i kind:40:B \
                                role:41:B encoding:42:B
    bindings    Binding     12  operand:0:I contract:4:I argument:8:I
"""
# Section 10: how many entries of a vector a Range may have.
_LIMITS = {"text": MAX_STRING, "numbers": 8, "axes": 8, "digits": 32, "planes": 4, "placed_axes": 8, "placements": MAX_BOXES,
           "fills": MAX_BOXES, "arguments": MAX_COUNT}

Statistics = collections.namedtuple(
    "Statistics", "elements inexact underflowed non_finite max_abs_error max_abs_value sum_xx sum_xd sum_dd")


class Record(tuple):
    """An entry of the index: its numbers, its offset in the file, the index. Its fields are attributes.

    Strings and ranges are looked up when asked for: as they may overlap, all together could be far longer than the index.
    """

    file_offset = property(operator.itemgetter(-2))

    def need(self, good, field, message, *args):
        """Raises an NpuwError at a field of this entry, or else at the entry, unless good."""
        if not good:
            name = " %r" % self.name[:MAX_STRING] if "name" in self.struct.ranges else ""
            at = self.file_offset + self.struct.at.get(field, 0)
            raise NpuwError(at, "%s%s %s" % (self.struct.name, name, field), message % args)


class _Struct:
    """A struct type: how to read it, where its fields are, which of its bytes lie between them."""

    def __init__(self, name, size, *fields):
        self.name, self.size, self.gaps = name.lower(), int(size), bytearray(b"\xff" * int(size))
        self.at, self.ranges = {}, {}  # by field: its offset; its place among the numbers, and the vector it is of
        code, first, members = "<", 0, {"struct": self}
        for attribute, at, type_ in (field.split(":") for field in fields):
            field, at, of_type, get = attribute.rstrip("_"), int(at), type_, operator.itemgetter(first)
            if len(type_) > 1:
                of_type = "QQQQddddd" if type_ == "Statistics" else "II"
                place = slice(first, first + len(of_type))
                get = lambda record, place=place, type_=type_: record[-1].look_up(type_, *record[place])
                if of_type == "II":
                    self.ranges[field] = place, type_
            members[attribute], self.at[field] = property(get), at
            code += "%dx%s" % (at - struct.calcsize(code), of_type)
            self.gaps[at:struct.calcsize(code)] = bytes(struct.calcsize(code) - at)
            first += len(of_type)
        self.align = max(map(struct.calcsize, re.findall("[BIiQqd]", code)))
        self.unpack = struct.Struct("%s%dx" % (code, self.size - struct.calcsize(code))).iter_unpack
        self.record = type(name, (Record,), members)

    def records(self, raw, file_offset, index):
        filled = int.from_bytes(raw, "little") & int.from_bytes(self.gaps * (len(raw) // self.size), "little")
        first = file_offset + ((filled & -filled).bit_length() - 1) // 8
        _need(not filled, first, self.name, "a byte between fields is not zero")
        return tuple(self.record((*numbers, file_offset + i * self.size, index)) for i, numbers in enumerate(self.unpack(raw)))


_STRUCTS = {line[0]: _Struct(*line[1:]) for line in map(str.split, _STRUCTS.strip().splitlines())}
_HEADER = _STRUCTS.pop("header")
_STRUCTS["operands"].record.segment_name = property(lambda o: o[-1].segments[o.segment].name)


def _check_text(raw, file_offset):
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as err:
        raise NpuwError(file_offset + err.start, "text", "not UTF-8") from None
    if control := CONTROLS.search(text):
        at = file_offset + len(text[:control.start()].encode("utf-8"))
        raise NpuwError(at, "text", "a control character, %s" % ascii(control.group()))


class _Index:
    """The vectors of the index by name, and producer and model. Their texts and ranges have been checked, nothing else."""

    def __init__(self, data, base):
        def take(at, size, align, field):
            where = base + max(0, min(at, len(data)))
            _need(0 <= at <= len(data) - size, where, field, "%d bytes that reach outside the index", size)
            _need(at % align == 0, where, field, "not on a multiple of %d", align)
            return data[at:at + size]

        def number(code, at, field):
            return struct.unpack(code, take(at, struct.calcsize(code), struct.calcsize(code), field))[0]

        _need(data[4:8] == b"NPUW", base + 4, "index identifier", "%r", data[4:8])
        table = number("<I", 0, "index table")
        vtable = table - number("<i", table, "index table")
        vtable_size, room = number("<H", vtable, "index vtable"), len(data)
        _need(vtable_size >= 4 and vtable_size % 2 == 0, base + vtable, "index vtable", "of %d bytes", vtable_size)
        take(vtable, vtable_size, 2, "index vtable")
        for slot, (field, kind) in enumerate(_STRUCTS.items()):
            entry, first, count = 4 + 2 * slot, 0, 0
            place = number("<H", vtable + entry, field) if entry < vtable_size else 0
            _need(place == 0 or place >= 4, base + vtable + entry, field, "at %d in the table", place)
            if field in ("producer", "model"):
                _need(place, base + table, field, "missing")
                first, count = table + place, 1
            elif place:
                distance = number("<I", table + place, field)
                _need(distance >= 4, base + table + place, field, "a distance of %d", distance)
                first = table + place + distance + 4
                count, most = number("<I", first - 4, field), MAX_COUNT if slot >= 10 else MAX_INDEX
                _need(count <= most, base + first - 4, field, "%d of them, at most %d", count, most)
                room -= 4 + count * kind.size
                _need(room >= 0, base + first - 4, field, "the vectors are longer than the index")
            raw = take(first, count * kind.size, kind.align, field)
            if field == "text":
                _check_text(raw, base + first)
                self.text = raw
            elif field == "numbers":
                self.numbers = struct.unpack("<%dQ" % count, raw)
            else:
                setattr(self, field, kind.records(raw, base + first, self))
        self._check_ranges()
        (self.producer,), (self.model,) = self.producer, self.model
        self.model.attributes = self.attributes

    def look_up(self, type_, *numbers):
        """What a field of several numbers stands for."""
        if type_ == "Statistics":
            return Statistics(*numbers)
        found = getattr(self, type_)[numbers[0]:sum(numbers)]
        return found.decode("utf-8", "replace") if type_ == "text" else found

    def _check_ranges(self):
        ends = {"placements": 0, "fills": 0, "arguments": 0}  # of ranges so far in the vectors where they follow each other
        for record in itertools.chain.from_iterable(getattr(self, name) for name, kind in _STRUCTS.items() if kind.ranges):
            for field, (place, vector) in record.struct.ranges.items():
                (first, count), entries, most = record[place], getattr(self, vector), _LIMITS[vector]
                good = first + count <= len(entries) and count <= most and (count or first == 0)
                record.need(good, field, "%d from %d on, of %d and at most %d", count, first, len(entries), most)
                if vector == "text":
                    cut = any(entries[at:at + 1] and entries[at] & 0xC0 == 0x80 for at in (first, first + count))
                    record.need(not cut, field, "begins or ends inside a character")
                elif vector in ends and count:
                    record.need(first == ends[vector], field, "from %d on, must be %d", first, ends[vector])
                    ends[vector] += count
        for vector, end in ends.items():
            for record in getattr(self, vector)[end:]:
                record.need(False, vector, "in no range")


def _check_names(records):
    seen = {}  # by hash of the name, as names may share bytes: records
    for record in records:
        name = record.name
        same = seen.setdefault(hash(name), [])
        record.need(name and all(other.name != name for other in same), "name", "empty, or given twice")
        same.append(record)


# --- Section 6: axes and layouts -------------------------------------------------------------------------------------

def _check_axes(owner, axes, fewest):
    owner.need(fewest <= len(axes) == len({axis.name for axis in axes}), "axes", "none, or a name given twice")
    for axis in axes:
        good = ord("A") <= axis.name <= ord("Z") and 1 <= axis.extent <= axis.padded
        axis.need(good, "name", "%d, extent %d, padded %d", axis.name, axis.extent, axis.padded)
    owner.need(math.prod(axis.padded for axis in axes) <= MAX_SIZE, "axes", "more than 2^62 elements")


def _axes(owner):
    return [(chr(axis.name), axis.extent, axis.padded) for axis in owner.axes]


def _check_digits(owner, grid):
    """The owner's digits must be a bijection of a grid, of so many places on each axis."""
    strides = [1] * len(grid)
    for digit in owner.digits:
        good = digit.axis < len(grid) and 1 <= digit.size <= MAX_SIZE and 1 <= digit.stride <= MAX_SIZE
        digit.need(good, "size", "%d, stride %d, axis %d", *digit[:3])
    for digit in sorted((d for d in owner.digits if d.size != 1), key=lambda d: d.stride):
        want = strides[digit.axis]
        digit.need(digit.stride == want, "stride", "%d, must be %d", digit.stride, want)
        strides[digit.axis] *= digit.size
    owner.need(strides == grid, "digits", "they make %s places by axis, must be %s", strides, grid)


def _canonical(digits):
    merged = []
    for size, stride, axis in (d[:3] for d in digits if d.size != 1):
        if merged and merged[-1][0] == axis and merged[-1][2] == stride * size:
            size *= merged.pop()[1]
        merged.append((axis, size, stride))
    return merged


def _places(owner):
    """What a kernel sees of planes: all but pad_bits, blocks and digits in one form."""
    return [(p.role, p.element, p.order, p.offset, p.bytes, p.record_elements, p.record_bytes, p.block or (1,) * len(owner.axes),
             _canonical(p.digits)) for p in owner.planes]


def notation(digits, names):
    """Digits as text, outermost first, sizes resolved; @stride on an axis whose strides do not follow from its sizes."""
    digits = [(digit.axis, digit.size, digit.stride) for digit in digits]
    digits += [(axis, 1, 1) for axis in range(len(names)) if axis not in {digit[0] for digit in digits}]
    natural, explicit = [1] * len(names), set()
    for axis, size, stride in reversed(digits):
        if stride != natural[axis]:
            explicit.add(axis)
        natural[axis] *= size
    return " ".join("%s%d" % (names[a], size) + ("@%d" % stride if a in explicit else "") for a, size, stride in digits)


def _tables(digits, padded):
    """For each axis, by index, what it adds to an element's position in the plane: a range where that is linear."""
    weight, weights = 1, []
    for digit in reversed(digits):
        weights.append((digit.axis, digit.stride, digit.size, weight))
        weight *= digit.size
    tables = []
    for axis, places in enumerate(padded):
        runs = []  # (size, weight) by ascending stride, joined where linear
        for _, _, size, weight in sorted(w for w in weights if w[0] == axis and w[2] != 1):
            if runs and runs[-1][0] * runs[-1][1] == weight:
                last, weight = runs.pop()
                size *= last
            runs.append((size, weight))
        if len(runs) < 2:
            step = runs[0][1] if runs else 1
            tables.append(range(0, places * step, step))
            continue
        table = array("Q", [0])
        for size, weight in runs:
            table = array("Q", (v * weight + low for v in range(size) for low in table))
        tables.append(table)
    return tables


def _walk(to, moves):
    """Yields the operand's index for each element of a box, row-major; it is the same list each time."""
    index = list(to)
    for steps in itertools.product(*(range(0, size * step, step) for _, size, step in moves)):
        index[:] = to
        for (axis, _, _), step in zip(moves, steps):
            index[axis] += step
        yield index


def _rows(view, tables, to, moves):
    """Yields (base, offsets, bytes) for a box of elements, row-major: bytes are those of view[base + offset], in turn.

    The box has the axes moves, (axis, size, step) each: its element (i, j, ...) is the operand's at to, moved by i * step
    along i's axis, and so on. view holds the plane's elements, tables their positions.
    """
    moves = list(moves) or [(0, 1, 1)]
    if any(size == 0 for _, size, _ in moves):
        return
    cut, count = len(moves) - 1, moves[-1][1]  # moves[cut:] make a row; they share no operand axis with moves[:cut]
    while cut and (count < 64 or {m[0] for m in moves[:cut]} & {m[0] for m in moves[cut:]}):
        cut -= 1
        count *= moves[cut][1]
    in_row = {m[0] for m in moves[cut:]}
    axis, size, step = moves[cut]
    if cut == len(moves) - 1:
        offsets = tables[axis][to[axis]:to[axis] + (size - 1) * step + 1:step]
    else:
        offsets = array("Q", (sum(tables[a][q[a]] for a in in_row) for q in _walk(to, moves[cut:])))
    strided = isinstance(offsets, range) or len(offsets) == 1
    pick = None if strided else operator.itemgetter(*offsets)
    for q in _walk(to, moves[:cut]):
        base = sum(tables[a][q[a]] for a in range(len(tables)) if a not in in_row)
        if strided:
            step = offsets.step if isinstance(offsets, range) else 1
            yield base, offsets, view[base + offsets[0]:base + offsets[-1] + 1:step].tobytes()
        else:
            yield base, offsets, array(view.format, pick(view[base:])).tobytes()


# --- Section 6: planes -----------------------------------------------------------------------------------------------

class Plane:
    """A sound plane of an operand or argument: its grid, and where what it holds lies.

    A position is the p of section 6: that of an element, but of one of eight values in bfp16.
    """

    def __init__(self, owner, record, pads):
        """Checks the record by itself; pads says that it may have padding."""
        self.record, self.element, need = record, ELEMENTS[record.element], record.need
        self.block = record.block or (1,) * len(owner.axes)
        good = len(self.block) == len(owner.axes) and all(1 <= span <= MAX_SIZE for span in self.block)
        need(good, "block", "%s, must be 1 or more for each axis", record.block)
        need(record.role or max(self.block) == 1, "block", "%s, must be 1 for each axis", record.block)
        self.grid = [-(-axis.padded // span) for axis, span in zip(owner.axes, self.block)]
        self.extents = [-(-axis.extent // span) for axis, span in zip(owner.axes, self.block)]
        _check_digits(record, self.grid)
        bits, values, per_record = self.element.bits, self.element.values, record.record_elements
        if values > 1:
            inner = [digit for digit in record.digits if digit.size != 1][-1:]
            good = inner and inner[0].stride == 1 and inner[0].size % values == 0
            need(good, "digits", "the innermost must be of neighbours, by %d", values)
        self.count = math.prod(self.grid) // values
        good = bits != 4 or self.count % 2 == per_record % 2 == 0
        need(good, "record_elements", "%d of %d of 4 bits, must be even", per_record, self.count)
        need(record.order <= (bits == 4), "order", "%d", record.order)
        good = record.pad_bits >> (bits if pads and values == 1 else 0) == 0
        need(good, "pad_bits", "%#x for %s", record.pad_bits, self.element.name)
        need(per_record or not record.record_bytes, "record_bytes", "%d without record_elements", record.record_bytes)
        end = self.at((self.count - 1) * values) + (bits + 7) // 8 - record.offset
        need(record.bytes == end, "bytes", "%d, must be %d", record.bytes, end)

    def at(self, position):
        """The byte, from the operand's first, where the element of a position begins."""
        element, bits, per_record = position // self.element.values, self.element.bits, self.record.record_elements
        if per_record:
            record, element = divmod(element, per_record)
            return self.record.offset + record * self.record.record_bytes + element * bits // 8
        return self.record.offset + element * bits // 8

    def part(self):
        """How many bytes of a record, or of the operand, are the plane's."""
        return (self.record.record_elements or self.count) * self.element.bits // 8

    def raw(self, view):
        """The bytes of the elements one after another, out of those of the operand."""
        begin, end, step = self.record.offset, self.record.offset + self.record.bytes, self.record.record_bytes
        if not step:
            return view[begin:end]
        return b"".join(view[at:at + self.part()] for at in range(begin, end, step))

    def cells(self, view):
        """The bits at each position; of bfp16 the mantissas."""
        raw = self.raw(view)
        if self.element.bits == 4:
            halves, raw = bytearray(2 * len(raw)), bytes(raw)
            halves[self.record.order::2] = raw.translate(bytes(i & 15 for i in range(256)))
            halves[1 - self.record.order::2] = raw.translate(bytes(i >> 4 for i in range(256)))
            raw = halves
        elif self.element.values > 1:
            mantissas, raw = bytearray(8 * self.count), bytes(raw)
            for i in range(8):
                mantissas[i::8] = raw[i + 1::9]
            raw = mantissas
        return memoryview(raw).cast("B").cast(self.element.code)

    def values(self, view):
        """The value at each position, exactly."""
        cells, name = self.cells(view), self.element.name
        if name in _TABLES:
            return array("d", map(_TABLES[name].__getitem__, cells))
        if self.element.values > 1:
            units = (math.ldexp(1, exponent - 133) for exponent in self.raw(view)[::9] for _ in range(8))
            return array("d", map(operator.mul, cells.cast("b"), units))
        return array("d", _decode(cells.tobytes(), name))

    def tables(self):
        return _tables(self.record.digits, self.grid)

    def padding(self):
        """Boxes, (to, size) each, that make up the padding."""
        for number, (extent, padded) in enumerate(zip(self.extents, self.grid)):
            if padded > extent:  # the padding that begins on this axis: inside the extents on those before it
                size = self.extents[:number] + [padded - extent] + self.grid[number + 1:]
                yield [0] * number + [extent] + [0] * (len(size) - number - 1), size


def _check_planes(owner, pads):
    """Checks the planes of an operand or an argument.

    Gives why they cannot be used, and then they have not been looked at; else None. Then, the planes.
    """
    if owner.encoding > 1:
        return "encoding %d" % owner.encoding, ()
    for record in owner.planes:
        if record.role >= len(ROLES):
            return "plane role %d" % record.role, ()
        if record.element > max(ELEMENTS):
            return "element format %d" % record.element, ()
    roles = tuple(record.role for record in owner.planes)
    good = (owner.encoding, roles) in ENCODINGS
    owner.need(good, "planes", "of roles %s, which encoding %d has not", list(roles), owner.encoding)
    for record, names in zip(owner.planes, ENCODINGS[owner.encoding, roles]):
        name = ELEMENTS[record.element].name if record.element in ELEMENTS else None
        record.need(name in names.split(), "element", "format %d, must be one of %s", record.element, names)
        good = record.role != ZEROS or record.element == owner.planes[0].element
        record.need(good, "element", "format %d of zeros, must be that of the codes", record.element)
    planes = [Plane(owner, record, pads) for record in owner.planes]
    first = planes[0].record
    if not owner.encoding:
        for field in "offset", "record_elements":
            first.need(getattr(first, field) == 0, field, "%d, must be 0", getattr(first, field))
        first.need(first.bytes == owner.bytes, "bytes", "%d, must be the %s's %d", first.bytes, owner.struct.name, owner.bytes)
    records, end, limit = planes[0].count, 0, owner.bytes
    if first.record_elements:
        records, rest = divmod(records, first.record_elements)
        first.need(rest == 0, "record_elements", "%d, of %d", first.record_elements, planes[0].count)
        limit = first.record_bytes
        owner.need(owner.bytes == records * limit, "bytes", "%d for %d records of %d", owner.bytes, records, limit)
    for plane in sorted(planes, key=lambda plane: plane.record.offset):
        record = plane.record
        good = record.record_bytes == first.record_bytes
        record.need(good, "record_bytes", "%d, must be %d", record.record_bytes, first.record_bytes)
        good = record.record_elements * records == plane.count if first.record_elements else not record.record_elements
        record.need(good, "record_elements", "%d, of %d", record.record_elements, plane.count)
        record.need(record.offset >= end, "offset", "%d, must be at least %d", record.offset, end)
        end = record.offset + plane.part()
        record.need(end <= limit, "bytes", "they end at %d, past %d", end, limit)
    return None, planes


def _format_text(planes):
    """Element formats as listings have them: "bf16"; of codes with those of what they are joined with, "i8*f32", "u4*bf16-zero"."""
    return "".join(("%s", "*%s", "-zero", "+%s")[p.record.role] % (() if p.record.role == ZEROS else p.element.name) for p in planes)


# --- Section 6: which elements placements and fills name -------------------------------------------------------------

def _mark(marks, strides, to, moves):
    """Marks a box's elements, a byte each, row-major by strides (moves as in _rows); False where one was marked before."""
    runs = []  # (step, size) in marks, joined where they can be
    for step, size in sorted((step * strides[axis], size) for axis, size, step in moves if size != 1):
        if runs and step == runs[-1][0] * runs[-1][1]:
            step, last = runs.pop()
            size *= last
        runs.append((step, size))
    runs.sort(key=lambda run: run[1])
    step, size = runs.pop() if runs else (1, 1)
    first = sum(begin * stride for begin, stride in zip(to, strides))
    for steps in itertools.product(*(range(0, s * n, s) for s, n in runs)):
        at = first + sum(steps)
        piece = slice(at, at + step * (size - 1) + 1, step)
        if 1 in marks[piece]:
            return False
        marks[piece] = b"\1" * size
    return True


def _strides(shape):
    return [math.prod(shape[axis + 1:]) for axis in range(len(shape))]


def _box_moves(sizes):
    return [(axis, size, 1) for axis, size in enumerate(sizes)]


def _moves(placement):
    return [(axis.axis, axis.size, axis.step) for axis in placement.from_]


def _box_key(placement):
    return tuple((axis.begin, axis.size) for axis in placement.from_)


# --- Section 6: element formats --------------------------------------------------------------------------------------

_HALVES = []  # binary32 bits by binary16 bits, made when first needed
_TABLES = {  # values by bits
    "i8": [float(i - (i & 128) * 2) for i in range(256)],
    "u8": [float(i) for i in range(256)],
    "i4": [float(i - (i & 8) * 2) for i in range(16)],
    "u4": [float(i) for i in range(16)],
    "nf4": array("f", (
        -1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
        -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0,
        0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
        0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1)),
    "e8m0": [math.ldexp(1, i - 127) for i in range(255)] + [math.nan],
}


def _decode(raw, name):
    """Little-endian elements of a format as array('f'); a NaN keeps its bits."""
    if name == "bf16":
        wide = bytearray(2 * len(raw))
        wide[2::4], wide[3::4] = raw[0::2], raw[1::2]
        raw = wide
    elif name == "f16":
        if not _HALVES:
            for bits in range(1 << 16):
                sign, exponent, fraction = bits >> 15 << 31, bits >> 10 & 31, bits & 1023
                if exponent == 0:
                    _HALVES.append(sign | struct.unpack("<I", struct.pack("<f", math.ldexp(fraction, -24)))[0])
                else:
                    _HALVES.append(sign | (255 if exponent == 31 else exponent + 112) << 23 | fraction << 13)
        raw = _little(array("I", map(_HALVES.__getitem__, _little(array("H", bytes(raw)))))).tobytes()
    return _little(array("f", bytes(raw)))


def _encode(value, name):
    """The bits of a binary64 rounded once to a format, to nearest, ties to even."""
    digits, lowest, highest = {"f32": (24, -149, 128), "f16": (11, -24, 16), "bf16": (8, -133, 128)}[name]
    if value and math.isfinite(value):
        unit = max(math.frexp(value)[1] - digits, lowest)
        rounded = math.ldexp(round(math.ldexp(value, -unit)), unit)
        value = math.copysign(rounded if abs(rounded) < 2.0 ** highest else math.inf, value)
    if name == "f16":
        return struct.unpack("<H", struct.pack("<e", value))[0]
    return struct.unpack("<I", struct.pack("<f", value))[0] >> (16 if name == "bf16" else 0)


def _little(values):
    """Turns an array from the machine's byte order to little-endian, or back."""
    if sys.byteorder == "big":
        values.byteswap()
    return values


def _put_box(out, shape, box, values):
    """Copies a box's values, row-major, into a row-major array of the shape."""
    strides, run, cut = _strides(shape), 1, len(shape)
    while cut and run == math.prod(shape[cut:]):  # the axes from cut on lie in one run
        cut -= 1
        run *= box[cut].size
    first = sum(axis.begin * stride for axis, stride in zip(box[cut:], strides[cut:]))
    starts = (range(a.begin * s, (a.begin + a.size) * s, s) for a, s in zip(box[:cut], strides))
    for number, start in enumerate(itertools.product(*starts)):
        out[first + sum(start):first + sum(start) + run] = values[number * run:(number + 1) * run]


def _row_major(shape):
    return [range(0, size * stride, stride) for size, stride in zip(shape, _strides(shape))]


def _single(operand):
    """Says whether each element of an operand is a value by itself, and the operand nothing but them."""
    return operand.format in ("f32", "f16", "bf16")


def _spread(values, plane, shape):
    """A value for each index of a row-major array of the shape, from one for each block of a plane."""
    if max(plane.block) == 1:
        return values
    out, strides, (span, size) = array("d"), _strides(plane.extents), (plane.block[-1], shape[-1])
    for index in itertools.product(*map(range, shape[:-1])):
        first = sum(i // block * stride for i, block, stride in zip(index, plane.block, strides))
        out.extend(values[first + i // span] for i in range(size))
    return out


@contextlib.contextmanager
def _in_memory():
    """Turns the want of memory for a huge operand (of a sparse file, say) into an NpuwError."""
    try:
        yield
    except (MemoryError, OverflowError):
        raise NpuwError(None, "file", "an operand needs more memory than there is") from None


# --- The file --------------------------------------------------------------------------------------------------------

class File:
    """An artifact whose header and index have been checked (section 9, a reader that opens a file).

    header, and by the names of FORMAT.md's section 5 producer, model and the vectors of the index. model also has attributes;
    an operand extents, padded, segment_name, format, layout, laid (its planes, of class Plane), and unsupported: None, or why
    it cannot be decoded.
    """

    def __init__(self, path):
        self._file, self._map, self._joined_last = open(path, "rb"), None, (None, None)
        try:
            self.size = os.fstat(self._file.fileno()).st_size
            self._read_header()
            self._read_index()
            self._check_segments()
            self._check_operands()
            self._check_contracts()
            self._check_bindings()
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Closes the file. Values already taken stay."""
        self._file.close()
        self._map = None

    def _read_header(self):
        raw = self._file.read(256)
        _need(raw and raw[:8] == MAGIC[:len(raw)], 0, "magic", "not an .npuw file")
        _need(len(raw) == 256, len(raw), "header", "the file ends inside it")
        version, = struct.unpack_from("<I", raw, 8)
        _need(version == 1, 8, "version", "%d: this reader knows version 1", version)
        good = struct.unpack_from("<QQ", raw, 240) == xxh3_128([raw[:240] + bytes(16)])
        _need(good, 240, "header_digest", "not the header's")
        self.header, = _HEADER.records(raw, 0, None)
        h = self.header

        def need(good, field, message):
            h.need(good, field, "%d: %s", getattr(h, field), message)

        need(h.header_bytes == 256, "header_bytes", "must be 256")
        need(h.required_features == 0, "required_features", "this reader knows no feature")
        need(h.page_bytes in PAGE_SIZES, "page_bytes", "must be 4096, 16384 or 65536")
        need(h.file_bytes <= MAX_SIZE, "file_bytes", "more than 2^62")
        need(h.file_bytes == self.size, "file_bytes", "the file has %d" % self.size)
        need(h.index_offset >= h.page_bytes and h.index_offset % h.page_bytes == 0, "index_offset", "must be whole pages")
        need(256 <= h.index_bytes <= MAX_INDEX and h.index_bytes % 8 == 0, "index_bytes", "256 to 2^26, a multiple of 8")
        need(h.index_offset + h.index_bytes == h.file_bytes, "index_bytes", "the index must end the file")

    def _read_index(self):
        at = self.header.index_offset
        self._file.seek(at)
        data = self._file.read(self.header.index_bytes)
        good = len(data) == self.header.index_bytes
        good = good and (self.header.index_digest, self.header.index_digest_hi) == xxh3_128([data])
        _need(good, at, "index", "does not have its digest")
        self.__dict__.update(vars(_Index(data, at)))
        for records in self.segments, self.operands, self.parameters, self.attributes, self.contracts:
            _check_names(records)
        for parameter in self.parameters:
            axes = parameter.axes
            good = len(set(axes)) == len(axes) == len(parameter.shape) and all("A" <= name <= "Z" for name in axes)
            parameter.need(good, "axes", "%r for a shape of %d axes", axes, len(parameter.shape))
            good = 1 <= math.prod(parameter.shape) <= MAX_SIZE
            parameter.need(good, "shape", "%s: no elements, or more than 2^62", list(parameter.shape))
        for note in self.notes:
            good = note.kind == FOLDED or self.header.optional_features
            note.need(good, "kind", "%d, version 1 has %d alone", note.kind, FOLDED)
            note.need(note.parameter < len(self.parameters), "parameter", "%d of %d", note.parameter, len(self.parameters))
            note.need(note.operand < len(self.operands), "operand", "%d of %d", note.operand, len(self.operands))

    def _check_segments(self):
        page, end = self.header.page_bytes, self.header.page_bytes
        for segment in self.segments:
            segment.need(segment.offset == end, "offset", "%d, must be %d", segment.offset, end)
            segment.need(segment.bytes and segment.bytes % page == 0, "bytes", "%d, must be whole pages", segment.bytes)
            end += segment.bytes
        self.header.need(end == self.header.index_offset, "index_offset", "segments end at %d", end)

    def _check_operands(self):
        before, end = 0, 0
        for operand in self.operands:
            number = operand.segment
            operand.need(before <= number < len(self.segments), "segment", "%d, out of order or of range", number)
            segment, end = self.segments[number], end if number == before else 0
            operand.need(segment.kind != INSTRUCTIONS, "segment", "%d holds instructions", number)
            operand.need(operand.offset % 256 == 0, "offset", "%d, must be a multiple of 256", operand.offset)
            operand.need(operand.offset >= end, "offset", "%d, must be at least %d", operand.offset, end)
            before, end = number, operand.offset + operand.bytes
            operand.need(end <= segment.bytes, "bytes", "%d, past the end of the segment", operand.bytes)
            _check_axes(operand, operand.axes, 1)
            operand.extents, operand.padded = zip(*(axis[:2] for axis in operand.axes))
            operand.unsupported, operand.laid, operand.format, operand.layout = "segment kind %d" % segment.kind, (), None, None
            if segment.kind in KINDS:
                operand.unsupported, operand.laid = _check_planes(operand, True)
            if not operand.unsupported:
                operand.format = _format_text(operand.laid)
                operand.layout = notation(operand.planes[0].digits, [chr(axis.name) for axis in operand.axes])
            self._check_placements(operand)
            operand.need(operand.statistics.elements == math.prod(operand.extents), "statistics", "not of its elements")

    def _check_placements(self, operand):
        rank = len(operand.axes)
        for placement in operand.placements:
            number, placement.operand = placement.parameter, operand
            placement.need(number < len(self.parameters), "parameter", "%d of %d", number, len(self.parameters))
            shape, placement.to = self.parameters[number].shape, placement.to_ or (0,) * rank
            placement.need(len(placement.to) == rank, "to", "%d axes, must be %d", len(placement.to), rank)
            placement.need(len(placement.from_) == len(shape), "from", "%d axes, must be %d", len(placement.from_), len(shape))
            placement.need(math.isfinite(placement.scale) and placement.scale, "scale", "%r", placement.scale)
            for axis, extent in zip(placement.from_, shape):
                good = axis.axis < rank and axis.step >= 1 and axis.size >= 1 and axis.begin + axis.size <= extent
                axis.need(good, "begin", "%d, size %d, step %d, axis %d: of %d", *axis[:4], extent)
            placement.count = math.prod(axis.size for axis in placement.from_)
            reach = list(placement.to)
            for axis, size, step in _moves(placement):
                reach[axis] += (size - 1) * step
            good = all(last < extent for last, extent in zip(reach, operand.extents))
            placement.need(good, "to", "outside operand %r", operand.name)
        for fill in operand.fills:
            good = len(fill.begin) == len(fill.size) == rank
            good = good and all(s >= 1 and b + s <= n for b, s, n in zip(fill.begin, fill.size, operand.extents))
            fill.need(good, "size", "nothing, or outside operand %r", operand.name)
            fill.need(not math.isnan(fill.value), "value", "NaN")

    def _check_contracts(self):
        for xclbin in self.xclbins:
            xclbin.need(xclbin.name and not set(xclbin.name) & set("/\\"), "name", "must be that of a file, without its folder")
        for contract in self.contracts:
            number = contract.instructions
            contract.need(contract.xclbin < len(self.xclbins) or contract.xclbin == NONE, "xclbin", "%d", contract.xclbin)
            good = number == NONE or number < len(self.segments) and self.segments[number].kind == INSTRUCTIONS
            contract.need(good, "instructions", "%d, not a segment of instructions", number)
            _check_axes(contract, contract.shape, 0)
            _check_names(contract.arguments)
            for argument in contract.arguments:
                if argument.role == INSTRUCTION_STREAM and number != NONE:
                    most = self.segments[number].bytes
                    argument.need(argument.bytes <= most, "bytes", "%d, the segment of instructions has %d", argument.bytes, most)
        for argument in self.arguments:
            _check_axes(argument, argument.axes, 1 if argument.planes else 0)
            argument.need(argument.planes or argument.encoding == 0, "encoding", "%d without planes", argument.encoding)
            if argument.planes:
                _check_planes(argument, False)

    def _check_bindings(self):
        for b in self.bindings:
            b.need(b.operand < len(self.operands), "operand", "%d of %d", b.operand, len(self.operands))
            b.need(b.contract < len(self.contracts), "contract", "%d of %d", b.contract, len(self.contracts))
            operand, arguments = self.operands[b.operand], self.contracts[b.contract].arguments
            b.need(b.argument < len(arguments), "argument", "%d of %d", b.argument, len(arguments))
            argument, group = arguments[b.argument], self.segments[operand.segment].memory_group
            good = argument.kind == BUFFER and argument.role == WEIGHT
            b.need(good, "argument", "%r is not a buffer of weights", argument.name)
            facts = [("encoding", argument.encoding, operand.encoding), ("bytes", argument.bytes, operand.bytes),
                     ("memory group", argument.memory_group, group), ("axes", *map(_axes, (argument, operand)))]
            for what, stated, found in facts:
                b.need(stated == found, "argument", "%r: %s %s, the operand's %s", argument.name, what, stated, found)
            good = operand.unsupported or _places(argument) == _places(operand)
            b.need(good, "argument", "%r: planes other than the operand's", argument.name)

    # What section 9 asks of a verifier beyond that.

    @_in_memory()
    def verify(self, data=True):
        """Checks what opening left out; data=False leaves out what needs the segments."""
        self._check_zeros(256, self.header.page_bytes, "between header and first page")
        noted, room = {note.operand for note in self.notes}, 8 * self.size
        for number, operand in enumerate(self.operands):
            if operand.unsupported:  # may state any number of elements, more than could be marked
                room -= math.prod(operand.extents)
            self._check_operand_covered(operand, number not in noted, each=not operand.unsupported or room >= 0)
        self._check_parameters_covered()
        if data:
            self._check_bytes()
            for operand in self.operands:
                if not operand.unsupported:
                    self._check_planes_bytes(operand)

    def _check_operand_covered(self, operand, whole, each):
        """Placements and fills must name each element once at most; with whole, as many as there are."""
        boxes = [(p, p.count, p.to, _moves(p)) for p in operand.placements]
        boxes += [(f, math.prod(f.size), f.begin, _box_moves(f.size)) for f in operand.fills]
        found, want = sum(count for _, count, _, _ in boxes), math.prod(operand.extents)
        good = found == want or not whole and found < want
        operand.need(good, "placements", "and fills name %d elements, must be %d", found, want)
        if each:
            marks, strides = bytearray(want), _strides(operand.extents)
            for item, _, to, moves in boxes:
                item.need(_mark(marks, strides, to, moves), "to", "an element of operand %r is named twice", operand.name)

    def _check_parameters_covered(self):
        placements = [[] for _ in self.parameters]
        for placement in self.placements:
            placements[placement.parameter].append(placement)
        noted = {note.parameter for note in self.notes}
        for number, parameter in enumerate(self.parameters):
            count = len(placements[number])
            parameter.need(count <= MAX_BOXES, "placements", "%d of them, at most %d", count, MAX_BOXES)
            if number in noted:
                continue
            boxes = {_box_key(placement): placement for placement in placements[number]}
            found, want = sum(placement.count for placement in boxes.values()), math.prod(parameter.shape)
            parameter.need(found == want, "shape", "placements name %d elements, must be %d", found, want)
            ordered = sorted(boxes)
            for after, box in enumerate(ordered, 1):
                for other in itertools.islice(ordered, after, None):
                    if other[0][0] >= sum(box[0]):
                        break  # this and all that follow begin behind the box on the first axis
                    apart = any(a >= b + size or b >= a + other_size for (b, size), (a, other_size) in zip(box, other))
                    boxes[other].need(apart, "from", "an element of parameter %r is named twice", parameter.name)

    def _check_bytes(self):
        operands = collections.defaultdict(list)
        for operand in self.operands:
            operands[operand.segment].append(operand)
        for number, segment in enumerate(self.segments):
            end = segment.offset + segment.bytes
            pieces = (self._bytes(at, min(at + (1 << 20), end)) for at in range(segment.offset, end, 1 << 20))
            good = (segment.digest, segment.digest_hi) == xxh3_128(pieces)
            _need(good, segment.offset, "segment %r" % segment.name, "does not have its digest")
            if segment.kind == WEIGHTS:
                at = segment.offset
                for operand in operands[number]:
                    self._check_zeros(at, segment.offset + operand.offset, "before operand %r" % operand.name)
                    at = segment.offset + operand.offset + operand.bytes
                self._check_zeros(at, end, "after the operands of segment %r" % segment.name)

    def _check_zeros(self, begin, end, what):
        for at in range(begin, end, 1 << 20):
            piece = self._bytes(at, min(at + (1 << 20), end))
            rest = piece.lstrip(b"\0")
            _need(not rest, at + len(piece) - len(rest), "zeros", "a byte %s is not zero", what)

    def _check_planes_bytes(self, operand):
        """What lies between elements must be zero, padding pad_bits, fills their value, scales and minimums numbers."""
        view = self._operand_view(operand)
        first = operand.laid[0].record
        step = first.record_bytes or operand.bytes
        begin = self.segments[operand.segment].offset + operand.offset
        for base in range(begin, begin + operand.bytes, step):
            end = 0
            for plane in sorted(operand.laid, key=lambda plane: plane.record.offset):
                self._check_zeros(base + end, base + plane.record.offset, "between elements of operand %r" % operand.name)
                end = plane.record.offset + plane.part()
            self._check_zeros(base + end, base + step, "between elements of operand %r" % operand.name)
        for plane in operand.laid:
            cells = plane.cells(view)
            for to, size in plane.padding():
                self._check_constant(operand, plane, cells, to, size, plane.record.pad_bits, "padding")
            if plane.record.role in (SCALES, MINIMUMS):
                self._check_numbers(operand, plane, view)
            if plane.element.values > 1:
                self._check_exponents(operand, plane, cells, plane.raw(view))
        for fill in operand.fills if _single(operand) else ():
            bits = _encode(fill.value, operand.format)
            self._check_constant(operand, operand.laid[0], operand.laid[0].cells(view), fill.begin, fill.size, bits, "a fill")

    def _blame(self, operand, plane, position, message, *args):
        at = self.segments[operand.segment].offset + operand.offset + plane.at(position)
        if plane.element.values > 1:
            at += 1 + position % plane.element.values
        raise NpuwError(at, "operand %r" % operand.name, message % args)

    def _check_constant(self, operand, plane, cells, to, size, bits, what):
        want = bits.to_bytes(cells.itemsize, "little")
        for base, offsets, row in _rows(cells, plane.tables(), to, _box_moves(size)):
            if row != want * len(offsets):
                width = cells.itemsize
                bad = next(i for i in range(len(offsets)) if row[i * width:(i + 1) * width] != want)
                self._blame(operand, plane, base + offsets[bad], "%s that is not %#x", what, bits)

    def _check_numbers(self, operand, plane, view):
        """Scales and minimums must be finite, where they are not padding."""
        values = memoryview(plane.values(view))
        for base, offsets, row in _rows(values, plane.tables(), [0] * len(plane.grid), _box_moves(plane.extents)):
            for offset, value in zip(offsets, array("d", row)):
                if not math.isfinite(value):
                    self._blame(operand, plane, base + offset, "%s: %r", ROLES[plane.record.role], value)

    def _check_exponents(self, operand, plane, mantissas, raw):
        """Elements of bfp16 must hold values of binary32; the exponents of those that are padding alone are 0."""
        logical = bytearray(len(mantissas))  # which values are not padding, by position
        for base, offsets, _ in _rows(mantissas, plane.tables(), [0] * len(plane.grid), _box_moves(plane.extents)):
            for offset in offsets:
                logical[base + offset] = 1
        for position in range(0, len(mantissas), 8):
            exponent, own = raw[position // 8 * 9], mantissas[position:position + 8]
            good = exponent < 254 or exponent == 254 and 0x80 not in own
            good = good and (exponent == 0 or any(logical[position:position + 8]))
            if not good:
                at = self.segments[operand.segment].offset + operand.offset + plane.at(position)
                what = "an exponent %d of padding, or of what is no binary32" % exponent
                raise NpuwError(at, "operand %r" % operand.name, what)

    # Bytes and values.

    def _view(self, begin, end):
        try:
            self._map = self._map or mmap.mmap(self._file.fileno(), self.size, access=mmap.ACCESS_READ)
        except (OSError, ValueError, OverflowError) as err:
            raise NpuwError(None, "file", "cannot be mapped: %s" % err) from None
        return memoryview(self._map)[begin:end]

    def _bytes(self, begin, end):
        return bytes(self._view(begin, end))

    def _operand_view(self, operand):
        begin = self.segments[operand.segment].offset + operand.offset
        return self._view(begin, begin + operand.bytes)

    def _joined(self, operand):
        """The values of an operand of several planes, or of bfp16: array('d'), row-major."""
        if self._joined_last[0] is operand:
            return self._joined_last[1]
        view, parts, origin = self._operand_view(operand), [], (0,) * len(operand.extents)
        for plane in operand.laid:
            values = memoryview(plane.values(view))
            rows = _rows(values, plane.tables(), origin, _box_moves(plane.extents))
            parts.append(_spread(array("d", b"".join(row for _, _, row in rows)), plane, operand.extents))
        if len(parts) == 1:
            joined = parts[0]
        elif len(parts) == 2:
            joined = map(operator.mul, *parts)
        elif operand.laid[2].record.role == ZEROS:
            joined = ((code - zero) * scale for code, scale, zero in zip(*parts))
        else:
            joined = (code * scale + minimum for code, scale, minimum in zip(*parts))
        self._joined_last = operand, array("d", joined)
        return self._joined_last[1]

    @_in_memory()
    def values(self, name, operand=False):
        """(shape, array('f')), row-major, of a parameter, or of an operand if there is no such parameter or operand is set."""
        found = self._find(name, operand)
        if found.struct.name == "operand":
            return found.extents, self._values(found)
        placements = self._sources(found)
        out = array("f", [0]) * math.prod(found.shape)
        for placement in placements:
            _put_box(out, found.shape, placement.from_, self._values(placement.operand, placement))
        return found.shape, out

    def _values(self, operand, placement=None):
        """An operand's values, or those that a placement in it names divided by its scale, as array('f'), row-major."""
        if _single(operand):
            values = _decode(self._raw(operand, placement), operand.format)
        else:
            values = self._joined(operand)
            if placement:
                rows = _rows(memoryview(values), _row_major(operand.extents), placement.to, _moves(placement))
                values = array("d", b"".join(row for _, _, row in rows))
        if placement and placement.scale != 1:
            values = (value / placement.scale for value in values)
        return values if isinstance(values, array) and values.typecode == "f" else array("f", values)

    @_in_memory()
    def raw(self, name, operand=False):
        """(shape, element format's name, little-endian bytes) of what values() finds, as encoded."""
        found = self._find(name, operand)
        if found.struct.name == "operand":
            found.need(_single(found), "planes", "in %s: there is no raw form", found.format)
            return found.extents, found.format, self._raw(found)
        placements = self._sources(found)
        formats = {placement.operand.format for placement in placements}
        good = len(formats) == 1 and all(placement.scale == 1 and _single(placement.operand) for placement in placements)
        found.need(good, "placements", "scaled, as codes, or in several element formats: there is no raw form")
        code = next(iter(placements)).operand.laid[0].element.code
        out = array(code, [0]) * math.prod(found.shape)
        for placement in placements:
            _put_box(out, found.shape, placement.from_, array(code, self._raw(placement.operand, placement)))
        return found.shape, formats.pop(), out.tobytes()

    def exact(self, name, operand=False):
        """Whether values() gives just what was encoded: no scale other than a power of two had to be undone."""
        found = self._find(name, operand)
        return found.struct.name == "operand" or all(
            abs(math.frexp(placement.scale)[0]) == 0.5 for placement in self._sources(found))

    def _find(self, name, operand):
        for found in itertools.chain(() if operand else self.parameters, self.operands):
            if found.name == name:
                reason = getattr(found, "unsupported", None)
                found.need(not reason, "planes", "not supported: %s", reason)
                return found
        raise NpuwError(None, repr(name), "no such operand" if operand else "no such parameter or operand")

    def _raw(self, operand, placement=None):
        """The elements of an operand of a single plane, or those that a placement in it names, row-major."""
        to = placement.to if placement else (0,) * len(operand.extents)
        moves = _moves(placement) if placement else _box_moves(operand.extents)
        plane, = operand.laid
        return b"".join(row for _, _, row in _rows(plane.cells(self._operand_view(operand)), plane.tables(), to, moves))

    def _sources(self, parameter):
        """For each distinct box of a parameter the first placement in an operand that this reader supports."""
        wanted, boxes = self.parameters.index(parameter), {}
        into = {self.operands[note.operand] for note in self.notes if note.parameter == wanted}
        for placement in self.placements:
            operand = placement.operand
            if placement.parameter == wanted and not operand.unsupported and operand not in into:
                boxes.setdefault(_box_key(placement), placement)
        found = sum(placement.count for placement in boxes.values())
        good = found == math.prod(parameter.shape) and found <= 2 * self.size
        names = ", ".join(sorted(repr(operand.name) for operand in into))
        parameter.need(good or not into, "shape", "it is folded into operand %s and cannot be recovered", names)
        parameter.need(good, "shape", "not wholly in operands that this reader supports")
        return boxes.values()


# --- The command -----------------------------------------------------------------------------------------------------

def _finite(compute):
    """A number, or None where it does not exist."""
    try:
        value = compute()
        return value if math.isfinite(value) else None
    except (ArithmeticError, ValueError):
        return None


def _digest_text(record):
    return "%016x%016x" % (record.digest_hi, record.digest)


def _statistics(s):
    out = {name: _finite(lambda v=v: v) for name, v in s._asdict().items()}
    out["relative_l2"] = _finite(lambda: math.sqrt(s.sum_dd / s.sum_xx))
    out["cosine"] = _finite(
        lambda: (s.sum_xx - s.sum_xd) / math.sqrt(s.sum_xx * (s.sum_xx - 2 * s.sum_xd + s.sum_dd)))
    return out


def _list_planes(o):
    """The planes of an operand that has others than one of values."""
    names = [chr(axis.name) for axis in o.axes]
    return [
        {"role": ROLES[p.record.role], "format": p.element.name, "high_half_first": p.record.order == 1, "offset": p.record.offset,
         "bytes": p.record.bytes, "pad_bits": p.record.pad_bits, "record_elements": p.record.record_elements,
         "record_bytes": p.record.record_bytes, "block": list(p.record.block), "layout": notation(p.record.digits, names)}
        for p in o.laid if o.encoding]


def describe(file):
    """What the command lists, as values that JSON can hold."""
    h = file.header
    return {
        "version": h.version, "file_bytes": h.file_bytes, "page_bytes": h.page_bytes,
        "digest": "%016x%016x" % (h.header_digest_hi, h.header_digest),
        "producer": {"name": file.producer.name, "revision": file.producer.revision, "recipe": file.producer.recipe},
        "model": {"family": file.model.family, "attributes": {
            a.name: {0: a.integer, 1: _finite(lambda a=a: a.real), 2: a.text}.get(a.kind) for a in file.model.attributes}},
        "segments": [
            {"name": s.name, "kind": KINDS.get(s.kind, "kind %d" % s.kind), "offset": s.offset, "bytes": s.bytes,
             "memory_group": s.memory_group, "digest": _digest_text(s)} for s in file.segments],
        "operands": [
            {"name": o.name, "axes": [dict(zip(("name", "extent", "padded"), axis)) for axis in _axes(o)],
             "format": o.format, "layout": o.layout, "unsupported": o.unsupported, "segment": o.segment_name,
             "offset": o.offset, "bytes": o.bytes, "planes": _list_planes(o), "statistics": _statistics(o.statistics)}
            for o in file.operands],
        "parameters": [{"name": p.name, "axes": p.axes, "shape": list(p.shape)} for p in file.parameters],
    }


def _print_list(d):
    print("npuw version %(version)d, %(file_bytes)d bytes, pages of %(page_bytes)d, digest %(digest)s" % d)
    print("producer   %(name)s revision %(revision)d, recipe %(recipe)s" % d["producer"])
    print("model      " + " ".join([d["model"]["family"]] + ["%s=%s" % item for item in d["model"]["attributes"].items()]))
    for s in d["segments"]:
        print("segment    %(name)s: %(kind)s, %(bytes)d bytes at %(offset)d, group %(memory_group)d, digest %(digest)s" % s)
    for o in d["operands"]:
        axes = " ".join("%(name)s=%(extent)d/%(padded)d" % axis for axis in o["axes"])
        print("operand    %s: %s, %s, layout %s, %s+%d, %d bytes" % (
            o["name"], axes, o["format"] or "not supported (%s)" % o["unsupported"], o["layout"] or "-",
            o["segment"], o["offset"], o["bytes"]))
        for p in o["planes"][1:]:
            print("           %(role)s: %(format)s, a value for %(block)s indices, layout %(layout)s, at +%(offset)d" % p)
        print("           " + ", ".join("%s %s" % (name, "-" if value is None else "%.6g" % value)
                                        for name, value in o["statistics"].items() if not name.startswith("sum_")))
    for p in d["parameters"]:
        print("parameter  %s: %s [%s]" % (p["name"], p["axes"], ", ".join(map(str, p["shape"]))))


def _verify(paths, data):
    status = 0
    for path in paths:
        try:
            with File(path) as file:
                file.verify(data)
            print("%s: ok" % path)
        except (NpuwError, OSError) as err:
            print("%s: %s" % (path, err))
            status = 1
    return status


def _write_values(options):
    with File(options.file) as file:
        if options.raw:
            raw = file.raw(options.name, options.operand)[2]
        else:
            raw = _little(file.values(options.name, options.operand)[1]).tobytes()
        if not file.exact(options.name, options.operand):
            print("npuw.py: %s: divided by a scale and rounded, not exactly what was packed" % options.name, file=sys.stderr)
    if options.out:
        with open(options.out, "wb") as out:
            out.write(raw)
    else:
        sys.stdout.buffer.write(raw)


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="npuw.py", description="Reads .npuw artifacts.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("verify", help="check every rule of the format")
    command.add_argument("files", metavar="FILE", nargs="+")
    command.add_argument("--no-data", action="store_true", help="leave out what needs the segments")
    command = commands.add_parser("list", help="show what a file holds")
    command.add_argument("file", metavar="FILE")
    command.add_argument("--json", action="store_true")
    command = commands.add_parser("values", help="write an operand's or a parameter's values")
    command.add_argument("file", metavar="FILE")
    command.add_argument("name", metavar="NAME")
    command.add_argument("--raw", action="store_true", help="in its own element format, not float32")
    command.add_argument("--operand", action="store_true", help="NAME is an operand, even if a parameter has it too")
    command.add_argument("-o", dest="out", metavar="OUT", help="a file to write; standard output otherwise")
    options = parser.parse_args(arguments)
    try:
        if options.command == "verify":
            return _verify(options.files, not options.no_data)
        if options.command == "values":
            _write_values(options)
            return 0
        with File(options.file) as file:
            described = describe(file)
        if options.json:
            print(json.dumps(described, indent=1))
        else:
            _print_list(described)
        return 0
    except BrokenPipeError:  # who reads our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (NpuwError, OSError) as err:
        print("npuw.py: %s: %s" % (options.file, err), file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
