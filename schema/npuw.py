#!/usr/bin/env python3
"""Reads .npuw artifacts: one file, standard library only, Python 3.9 or later.

The format is described in FORMAT.md, beside this file; the sections named in comments are its sections.

As a command:

    npuw.py verify [--no-data] FILE...      checks every rule; prints "FILE: ok" or the first fault, exit status 1
    npuw.py list [--json] FILE              header, model, segments, operands, parameters
    npuw.py values FILE NAME [-o OUT]       an operand's or a parameter's values as little-endian float32, row-major
    npuw.py values --raw FILE NAME          the same in its own element format

As a module:

    import npuw
    with npuw.File("model.npuw") as file:                               # checks header and index
        for operand in file.operands:
            print(operand.name, operand.extents, operand.format, operand.layout)
        shape, values = file.values("encoder.layers.0.fc1.weight")      # tuple of int, array('f')

Operands come in the logical order of their axes, without padding; parameters in their own shape, divided (in binary64, then
rounded to binary32) by the scale of their placement. A name that both have means the parameter, unless the operand is asked for
(--operand, operand=True).

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
# Element formats that a plane may have: name, bytes, array type of the bits.
ELEMENTS = {1: ("f32", 4, "I"), 2: ("f16", 2, "H"), 3: ("bf16", 2, "H")}
NO_ELEMENT, F64 = 0, 4
BUFFER, WEIGHT = 0, 1  # a kind and a role of arguments


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


# --- Sections 1 and 5: what the header and the index are made of -----------------------------------------------------

# Each struct: its bytes, then its fields as name:offset:type, B u8, I u32, i i32, Q u64, q i64, d f64.
_STRUCTS = """
    Header         256  magic:0:Q version:8:I header_bytes:12:I required_features:16:Q optional_features:24:Q file_bytes:32:Q \
                        page_bytes:40:Q index_offset:48:Q index_bytes:56:Q index_digest:64:Q index_digest_hi:72:Q \
                        header_digest:240:Q header_digest_hi:248:Q
    Axis            24  name:0:B extent:8:Q padded:16:Q
    Digit           24  axis:0:B size:8:Q stride:16:Q
    SegmentFacts    40  offset:0:Q bytes:8:Q digest:16:Q digest_hi:24:Q kind:32:B memory_group:36:i
    OperandFacts    24  segment:0:I encoding:4:B offset:8:Q bytes:16:Q
    PlaneFacts      48  offset:0:Q bytes:8:Q pad_bits:16:Q record_elements:24:Q record_bytes:32:Q role:40:B element:41:B
    PlacementFacts  16  parameter:0:I scale:8:d
    PlacedAxis      32  begin:0:Q size:8:Q step:16:Q axis:24:B
    FillFacts        8  value:0:d
    Statistics      72  elements:0:Q inexact:8:Q underflowed:16:Q non_finite:24:Q max_abs_error:32:d max_abs_value:40:d \
                        sum_xx:48:d sum_xd:56:d sum_dd:64:d
    AttributeFacts  24  integer:0:q real:8:d kind:16:B
    ProducerFacts    4  revision:0:I
    Note            12  kind:0:B parameter:4:I operand:8:I
    XclbinFacts     40  uuid_lo:0:Q uuid_hi:8:Q bytes:16:Q digest:24:Q digest_hi:32:Q
    ContractFacts    8  xclbin:0:I instructions:4:I
    ArgumentFacts   24  index:0:I memory_group:4:i bytes:8:Q kind:16:B role:17:B element:18:B
    Binding         12  operand:0:I contract:4:I argument:8:I
"""

# Each table: its slots as name:type. [T] is a vector, ! marks what must be there. (`from` is a word of Python's.)
_TABLES = """
    Index      producer:Producer! model:Model! segments:[Segment] operands:[Operand] parameters:[Parameter] notes:[Note] \
               xclbins:[Xclbin] contracts:[Contract] bindings:[Binding]
    Producer   name:string facts:ProducerFacts! recipe:string
    Model      family:string attributes:[Attribute]
    Attribute  name:string facts:AttributeFacts! text:string
    Segment    name:string facts:SegmentFacts!
    Operand    name:string facts:OperandFacts! axes:[Axis] planes:[Plane] placements:[Placement] fills:[Fill] \
               statistics:Statistics!
    Plane      facts:PlaneFacts! block:[u64] digits:[Digit]
    Placement  facts:PlacementFacts! from_:[PlacedAxis] to:[u64]
    Fill       facts:FillFacts! begin:[u64] size:[u64]
    Parameter  name:string axes:string shape:[u64]
    Xclbin     name:string facts:XclbinFacts!
    Contract   name:string operation:string kernel:string facts:ContractFacts! shape:[Axis] arguments:[Argument] \
               epilogue:string
    Argument   name:string facts:ArgumentFacts! axes:[Axis] digits:[Digit]
"""

# Section 10, by what a vector holds. One of u64 or of PlacedAxis has an entry an axis.
_LIMITS = {"Axis": 8, "u64": 8, "PlacedAxis": 8, "Plane": 4, "Digit": 32, "Placement": MAX_BOXES, "Fill": MAX_BOXES}
_LIMITS.update(dict.fromkeys("Segment Operand Parameter Attribute Xclbin Contract Note Binding".split(), MAX_COUNT))


class _Struct:
    """A struct type: how to read it, where its fields are, which of its bits lie between fields."""

    def __init__(self, name, size, *fields):
        fields = [(name, int(at), code) for name, at, code in (field.split(":") for field in fields)]
        self.name, self.size, self.at = name, int(size), {name: at for name, at, _ in fields}
        self.align = max(struct.calcsize(code) for _, _, code in fields)
        self.tuple = collections.namedtuple(name, [*self.at, "file_offset"])
        code, self.gaps = "<", (1 << 8 * self.size) - 1
        for _, at, kind in fields:
            code += "%dx%s" % (at - struct.calcsize(code), kind)
            self.gaps &= ~(((1 << 8 * struct.calcsize(kind)) - 1) << 8 * at)
        self.unpack = struct.Struct("%s%dx" % (code, self.size - struct.calcsize(code))).unpack

    def read(self, raw, file_offset, field):
        filled = int.from_bytes(raw, "little") & self.gaps
        first = file_offset + ((filled & -filled).bit_length() - 1) // 8
        _need(not filled, first, field, "a byte between fields is not zero")
        return self.tuple(*self.unpack(raw), file_offset)


_STRUCTS = {line[0]: _Struct(*line) for line in map(str.split, _STRUCTS.strip().splitlines())}
_TABLES = {line[0]: [slot.split(":") for slot in line[1:]] for line in map(str.split, _TABLES.strip().splitlines())}


class Record:
    """A table of the index: its slots, and the fields of its facts, are attributes."""

    def __init__(self, table, file_offset):
        self.table, self.file_offset, self.facts_offset = table, file_offset, file_offset

    def need(self, good, field, message, *args):
        """Raises an NpuwError at a field of this table's facts, or else at the table, unless good."""
        if not good:
            facts = _STRUCTS.get(self.table + "Facts")
            at = self.facts_offset + facts.at[field] if facts and field in facts.at else self.file_offset
            words = [self.table.lower()] + ([repr(self.name)] if getattr(self, "name", "") else []) + [field]
            raise NpuwError(at, " ".join(words), message % args)


class _Index:
    """Reads tables out of the index. Every position is checked; what is read adds up to no more than its length."""

    def __init__(self, data, base):
        self.data, self.base, self.budget = data, base, len(data)

    def inside(self, at, size, align, field):
        good = 0 <= at <= len(self.data) - size
        _need(good, self.base + max(0, min(at, len(self.data))), field, "%d bytes that reach outside the index", size)
        _need(at % align == 0, self.base + at, field, "not on a multiple of %d", align)

    def number(self, code, at, field):
        size = struct.calcsize(code)
        self.inside(at, size, size, field)
        return struct.unpack_from(code, self.data, at)[0]

    def spend(self, size, at, field):
        self.budget -= size
        _need(self.budget >= 0, self.base + at, field, "the index unfolds to more than its own length")

    def table(self, kind, at, field):
        vtable = at - self.number("<i", at, field)
        vtable_size = self.number("<H", vtable, field)
        _need(vtable_size >= 4 and vtable_size % 2 == 0, self.base + vtable, field, "a vtable of %d bytes", vtable_size)
        self.inside(vtable, vtable_size, 2, field)
        self.spend(4, at, field)
        record = Record(kind, self.base + at)
        for slot, (name, type_) in enumerate(_TABLES[kind]):
            field, must, type_ = "%s %s" % (kind.lower(), name.rstrip("_")), type_.endswith("!"), type_.rstrip("!")
            entry, of_struct = 4 + 2 * slot, _STRUCTS.get(type_)
            place = self.number("<H", vtable + entry, field) if entry < vtable_size else 0
            _need(place or not must, self.base + at, field, "missing")
            if place:
                _need(place >= 4, self.base + vtable + entry, field, "at %d in its table", place)
                self.spend(of_struct.size if of_struct else 4, at, field)
                value = (self.struct if of_struct else self.reference)(of_struct or type_, at + place, field)
            else:
                value = "" if type_ == "string" else () if type_.startswith("[") else None
            if name == "facts":
                record.facts_offset = value.file_offset
                for field_name, field_value in zip(value._fields[:-1], value):
                    setattr(record, field_name, field_value)
            else:
                setattr(record, name, value)
        return record

    def struct(self, kind, at, field):
        self.inside(at, kind.size, kind.align, field)
        return kind.read(self.data[at:at + kind.size], self.base + at, field)

    def reference(self, type_, at, field):
        """The string, vector or table to which the u32 distance at a position leads."""
        distance = self.number("<I", at, field)
        _need(distance >= 4, self.base + at, field, "a distance of %d", distance)
        target = at + distance
        if type_ == "string":
            return self.string(target, field)
        if not type_.startswith("["):
            return self.table(type_, target, field)
        count, kind, first = self.number("<I", target, field), type_[1:-1], target + 4
        limit, of_struct = _LIMITS.get(kind, MAX_INDEX), _STRUCTS.get(kind)
        _need(count <= limit, self.base + target, field, "%d of them, at most %d", count, limit)
        size, align = (of_struct.size, of_struct.align) if of_struct else (8, 8) if kind == "u64" else (4, 4)
        self.inside(first, count * size, align, field)
        self.spend(4 + count * size, target, field)
        if kind == "u64":
            return struct.unpack_from("<%dQ" % count, self.data, first)
        if of_struct:
            return [self.struct(of_struct, first + i * size, kind) for i in range(count)]
        return [self.reference(kind, first + 4 * i, field) for i in range(count)]

    def string(self, at, field):
        size = self.number("<I", at, field)
        _need(size <= MAX_STRING, self.base + at, field, "%d bytes, at most %d", size, MAX_STRING)
        self.inside(at + 4, size + 1, 1, field)
        self.spend(4 + size, at, field)
        raw = self.data[at + 4:at + 4 + size]
        _need(self.data[at + 4 + size] == 0, self.base + at + 4 + size, field, "no zero byte after the string")
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as err:
            raise NpuwError(self.base + at + 4 + err.start, field, "not UTF-8") from None
        _need(not CONTROLS.search(text), self.base + at + 4, field, "%s has a control character", ascii(text))
        return text


def _check_names(records):
    names = set()
    for record in records:
        record.need(record.name and record.name not in names, "name", "empty, or given twice")
        names.add(record.name)


# --- Section 6: axes and layouts -------------------------------------------------------------------------------------

def _check_axes(owner, axes, fewest):
    owner.need(fewest <= len(axes) == len({axis.name for axis in axes}), "axes", "none, or a name given twice")
    for axis in axes:
        good = ord("A") <= axis.name <= ord("Z") and 1 <= axis.extent <= axis.padded
        _need(good, axis.file_offset, "axis", "name %d, extent %d, padded %d", *axis[:3])
    owner.need(math.prod(axis.padded for axis in axes) <= MAX_SIZE, "axes", "more than 2^62 elements")


def _check_digits(owner, axes):
    """The owner's digits must be a bijection of the padded box of the axes."""
    grid = [axis.padded for axis in axes]
    strides = [1] * len(grid)
    for digit in owner.digits:
        good = digit.axis < len(grid) and 1 <= digit.size <= MAX_SIZE and 1 <= digit.stride <= MAX_SIZE
        _need(good, digit.file_offset, "digit", "axis %d, size %d, stride %d", *digit[:3])
    for digit in sorted((d for d in owner.digits if d.size != 1), key=lambda d: d.stride):
        want = strides[digit.axis]
        _need(digit.stride == want, digit.file_offset, "digit stride", "%d, must be %d", digit.stride, want)
        strides[digit.axis] *= digit.size
    owner.need(strides == grid, "digits", "they make %s places by axis, must be %s", strides, grid)


def _canonical(digits):
    merged = []
    for axis, size, stride in (d[:3] for d in digits if d.size != 1):
        if merged and merged[-1][0] == axis and merged[-1][2] == stride * size:
            size *= merged.pop()[1]
        merged.append((axis, size, stride))
    return merged


def notation(digits, names):
    """Digits as text, outermost first, sizes resolved; @stride on an axis whose strides do not follow from its sizes."""
    digits = [digit[:3] for digit in digits]
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

    header, producer, model, segments, operands, parameters, notes, xclbins, contracts, bindings hold what FORMAT.md names.
    An operand also has extents, padded, segment_name, format, layout, and unsupported: None, or why it cannot be decoded.
    """

    def __init__(self, path):
        self._file, self._map = open(path, "rb"), None
        try:
            self.size = os.fstat(self._file.fileno()).st_size
            self._read_header()
            self._read_index()
            self._check_segments()
            self._check_operands()
            self._check_contracts()
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
        raw, kind = self._file.read(256), _STRUCTS["Header"]
        _need(raw and raw[:8] == MAGIC[:len(raw)], 0, "magic", "not an .npuw file")
        _need(len(raw) == 256, len(raw), "header", "the file ends inside it")
        self.header = h = kind.tuple(*kind.unpack(raw), 0)

        def need(good, field, message):
            _need(good, kind.at[field], field, "%d: %s", getattr(h, field), message)

        need(h.version == 1, "version", "this reader knows version 1")
        need((h.header_digest, h.header_digest_hi) == xxh3_128([raw[:240] + bytes(16)]), "header_digest", "not the header's")
        kind.read(raw, 0, "header")
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
        _need(data[4:8] == b"NPUW", at + 4, "index identifier", "%r", data[4:8])
        index = _Index(data, at)
        self.__dict__.update(vars(index.table("Index", index.number("<I", 0, "index root"), "index")))
        for records in self.segments, self.operands, self.parameters, self.model.attributes, self.contracts:
            _check_names(records)
        for parameter in self.parameters:
            good = len(set(parameter.axes)) == len(parameter.axes) == len(parameter.shape)
            good = good and all("A" <= name <= "Z" for name in parameter.axes)
            parameter.need(good, "axes", "%r for a shape of %d axes", parameter.axes, len(parameter.shape))
            good = 1 <= math.prod(parameter.shape) <= MAX_SIZE
            parameter.need(good, "shape", "%s: no elements, or more than 2^62", list(parameter.shape))
        for note in self.notes:
            _need(self.header.optional_features, note.file_offset, "note", "version 1 has none")
            good = note.parameter < len(self.parameters) and note.operand < len(self.operands)
            _need(good, note.file_offset, "note", "parameter %d, operand %d", note.parameter, note.operand)

    def _check_segments(self):
        page, end = self.header.page_bytes, self.header.page_bytes
        for segment in self.segments:
            segment.need(segment.offset == end, "offset", "%d, must be %d", segment.offset, end)
            segment.need(segment.bytes and segment.bytes % page == 0, "bytes", "%d, must be whole pages", segment.bytes)
            end += segment.bytes
        _need(end == self.header.index_offset, 48, "index_offset", "segments end at %d", end)

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
            operand.extents = tuple(axis.extent for axis in operand.axes)
            operand.padded = tuple(axis.padded for axis in operand.axes)
            operand.segment_name = segment.name
            self._check_plane(operand, segment.kind)
            self._check_placements(operand)
            operand.need(operand.statistics.elements == math.prod(operand.extents), "statistics", "not of its elements")

    def _check_plane(self, operand, segment_kind):
        """Checks the plane of encoding 0. Of an operand that is unsupported none is looked at."""
        operand.format = operand.layout = operand.unsupported = None
        if operand.encoding != 0:
            operand.unsupported = "encoding %d" % operand.encoding
            return
        operand.need(len(operand.planes) == 1, "planes", "%d of them, must be one", len(operand.planes))
        plane = operand.planes[0]
        if segment_kind not in KINDS:
            operand.unsupported = "segment kind %d" % segment_kind
            return
        plane.need(plane.element not in (NO_ELEMENT, F64), "element", "format %d in an operand", plane.element)
        if plane.element not in ELEMENTS:
            operand.unsupported = "element format %d" % plane.element
            return
        operand.format, width, _ = ELEMENTS[plane.element]
        plane.need(plane.role == 0, "role", "%d, must be values", plane.role)
        plane.need(plane.offset == 0 and plane.bytes == operand.bytes, "bytes", "must be the operand's")
        plane.need(plane.record_elements == plane.record_bytes == 0, "record_elements", "records, which version 1 has not")
        plane.need(plane.block in ((), (1,) * len(operand.axes)), "block", "%s, must be 1 for each axis", list(plane.block))
        _check_digits(plane, operand.axes)
        operand.layout = notation(plane.digits, [chr(axis.name) for axis in operand.axes])
        want = math.prod(operand.padded) * width
        operand.need(operand.bytes == want, "bytes", "%d, must be %d", operand.bytes, want)
        plane.need(plane.pad_bits >> 8 * width == 0, "pad_bits", "%#x for %s", plane.pad_bits, operand.format)

    def _check_placements(self, operand):
        rank = len(operand.axes)
        for placement in operand.placements:
            number = placement.parameter
            placement.need(number < len(self.parameters), "parameter", "%d of %d", number, len(self.parameters))
            shape, placement.to = self.parameters[number].shape, placement.to or (0,) * rank
            placement.need(len(placement.to) == rank, "to", "%d axes, must be %d", len(placement.to), rank)
            placement.need(len(placement.from_) == len(shape), "from", "%d axes, must be %d", len(placement.from_), len(shape))
            placement.need(math.isfinite(placement.scale) and placement.scale, "scale", "%r", placement.scale)
            for axis, extent in zip(placement.from_, shape):
                good = axis.axis < rank and axis.step >= 1 and axis.size >= 1 and axis.begin + axis.size <= extent
                _need(good, axis.file_offset, "placement from", "%s, of %d", axis[:4], extent)
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
                of_elements = argument.kind == BUFFER and argument.element != NO_ELEMENT or len(argument.digits) > 0
                _check_axes(argument, argument.axes, int(of_elements))
                if of_elements:
                    _check_digits(argument, argument.axes)
        for binding in self.bindings:
            def need(good, what):
                _need(good, binding.file_offset, "binding", "%s", what)

            need(binding.operand < len(self.operands), "no such operand")
            need(binding.contract < len(self.contracts), "no such contract")
            need(binding.argument < len(self.contracts[binding.contract].arguments), "no such argument")
            operand, argument = self.operands[binding.operand], self.contracts[binding.contract].arguments[binding.argument]
            need(argument.kind == BUFFER and argument.role == WEIGHT, "the argument is not a buffer of weights")
            need([axis[:3] for axis in argument.axes] == [axis[:3] for axis in operand.axes], "other axes")
            need(argument.bytes == operand.bytes, "other bytes")
            need(argument.memory_group == self.segments[operand.segment].memory_group, "another memory group")
            if not operand.unsupported:
                need(argument.element == operand.planes[0].element, "another element format")
                need(_canonical(argument.digits) == _canonical(operand.planes[0].digits), "another layout")

    # What section 9 asks of a verifier beyond that.

    @_in_memory()
    def verify(self, data=True):
        """Checks what opening left out; data=False leaves out what needs the segments."""
        self._check_zeros(256, self.header.page_bytes, "between header and first page")
        noted = {note.operand for note in self.notes}
        for number, operand in enumerate(self.operands):
            if number not in noted:
                self._check_operand_covered(operand)
        self._check_parameters_covered()
        if data:
            self._check_bytes()
            for operand in self.operands:
                if not operand.unsupported:
                    self._check_constants(operand)

    def _check_operand_covered(self, operand):
        """Placements and fills must name every element once."""
        boxes = [(p, p.count, p.to, _moves(p)) for p in operand.placements]
        boxes += [(f, math.prod(f.size), f.begin, _box_moves(f.size)) for f in operand.fills]
        found, want = sum(count for _, count, _, _ in boxes), math.prod(operand.extents)
        operand.need(found == want, "placements", "and fills name %d elements, must be %d", found, want)
        if want <= 8 * self.size:  # an unsupported operand may state any number
            marks, strides = bytearray(want), _strides(operand.extents)
            for item, _, to, moves in boxes:
                item.need(_mark(marks, strides, to, moves), "to", "an element of operand %r is named twice", operand.name)

    def _check_parameters_covered(self):
        placements = [[] for _ in self.parameters]
        for placement in (p for operand in self.operands for p in operand.placements):
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

    def _check_constants(self, operand):
        """Padding must be pad_bits, fills their value."""
        for number, (extent, padded) in enumerate(zip(operand.extents, operand.padded)):
            if padded > extent:  # the padding that begins on this axis: inside the extents on those before it
                size = operand.extents[:number] + (padded - extent,) + operand.padded[number + 1:]
                to = (0,) * number + (extent,) + (0,) * (len(size) - number - 1)
                self._check_constant(operand, to, size, operand.planes[0].pad_bits, "padding")
        for fill in operand.fills:
            self._check_constant(operand, fill.begin, fill.size, _encode(fill.value, operand.format), "a fill")

    def _check_constant(self, operand, to, size, bits, what):
        width = ELEMENTS[operand.planes[0].element][1]
        want = bits.to_bytes(width, "little")
        for base, offsets, row in self._operand_rows(operand, to, _box_moves(size)):
            if row != want * len(offsets):
                bad = next(i for i in range(len(offsets)) if row[i * width:(i + 1) * width] != want)
                at = self.segments[operand.segment].offset + operand.offset + (base + offsets[bad]) * width
                raise NpuwError(at, "operand %r" % operand.name, "%s that is not %#x" % (what, bits))

    # Bytes and values.

    def _view(self, begin, end):
        try:
            self._map = self._map or mmap.mmap(self._file.fileno(), self.size, access=mmap.ACCESS_READ)
        except (OSError, ValueError, OverflowError) as err:
            raise NpuwError(None, "file", "cannot be mapped: %s" % err) from None
        return memoryview(self._map)[begin:end]

    def _bytes(self, begin, end):
        return bytes(self._view(begin, end))

    def _operand_rows(self, operand, to, moves):
        begin, plane = self.segments[operand.segment].offset + operand.offset, operand.planes[0]
        view = self._view(begin, begin + operand.bytes).cast(ELEMENTS[plane.element][2])
        return _rows(view, _tables(plane.digits, operand.padded), to, moves)

    def _gather(self, operand, to, moves):
        return b"".join(row for _, _, row in self._operand_rows(operand, to, moves))

    @_in_memory()
    def values(self, name, operand=False):
        """(shape, array('f')), row-major, of a parameter, or of an operand if there is no such parameter or operand is set."""
        found = self._find(name, operand)
        if found.table == "Operand":
            return found.extents, _decode(self._operand_raw(found), found.format)
        sources = self._sources(found)
        out = array("f", [0]) * math.prod(found.shape)
        for source, placement in sources:
            values = _decode(self._placement_raw(source, placement), source.format)
            if placement.scale != 1:
                values = array("f", [value / placement.scale for value in values])
            _put_box(out, found.shape, placement.from_, values)
        return found.shape, out

    @_in_memory()
    def raw(self, name, operand=False):
        """(shape, element format's name, little-endian bytes) of what values() finds, as encoded."""
        found = self._find(name, operand)
        if found.table == "Operand":
            return found.extents, found.format, self._operand_raw(found)
        sources = self._sources(found)
        elements = {source.planes[0].element for source, _ in sources}
        good = len(elements) == 1 and all(placement.scale == 1 for _, placement in sources)
        found.need(good, "placements", "scaled, or in several element formats: there is no raw form")
        format_, _, code = ELEMENTS[elements.pop()]
        out = array(code, [0]) * math.prod(found.shape)
        for source, placement in sources:
            _put_box(out, found.shape, placement.from_, array(code, self._placement_raw(source, placement)))
        return found.shape, format_, out.tobytes()

    def _find(self, name, operand):
        for found in itertools.chain(() if operand else self.parameters, self.operands):
            if found.name == name:
                reason = getattr(found, "unsupported", None)
                found.need(not reason, "planes", "not supported: %s", reason)
                return found
        raise NpuwError(None, repr(name), "no such operand" if operand else "no such parameter or operand")

    def _operand_raw(self, operand):
        return self._gather(operand, (0,) * len(operand.extents), _box_moves(operand.extents))

    def _placement_raw(self, operand, placement):
        return self._gather(operand, placement.to, _moves(placement))

    def _sources(self, parameter):
        """For each distinct box of a parameter the first (operand, placement) that this reader supports."""
        wanted, boxes = self.parameters.index(parameter), {}
        for operand in (o for o in self.operands if not o.unsupported):
            for placement in (p for p in operand.placements if p.parameter == wanted):
                boxes.setdefault(_box_key(placement), (operand, placement))
        found = sum(placement.count for _, placement in boxes.values())
        good = found == math.prod(parameter.shape) and found <= self.size
        parameter.need(good, "shape", "not wholly in operands that this reader supports")
        return list(boxes.values())


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
    out = {name: _finite(lambda v=v: v) for name, v in zip(s._fields[:-1], s)}
    out["relative_l2"] = _finite(lambda: math.sqrt(s.sum_dd / s.sum_xx))
    out["cosine"] = _finite(
        lambda: (s.sum_xx - s.sum_xd) / math.sqrt(s.sum_xx * (s.sum_xx - 2 * s.sum_xd + s.sum_dd)))
    return out


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
            {"name": o.name, "axes": [{"name": chr(a.name), "extent": a.extent, "padded": a.padded} for a in o.axes],
             "format": o.format, "layout": o.layout, "unsupported": o.unsupported, "segment": o.segment_name,
             "offset": o.offset, "bytes": o.bytes, "statistics": _statistics(o.statistics)}
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
