"""Whether people can tell generated pictures from real ones: a sheet of both in random order, and the count of right answers.

    pixgen-train sample MODEL --count 50 --out generated.zip
    pixgen-train data prepare bundled:avatars-test --size 32 --out real.zip
    python3 tests/experiments/blind.py sheet real.zip generated.zip sheet.png key.json
    python3 tests/experiments/blind.py count key.json answers.txt

The pictures of the sheet are numbered from 1, row by row, ten in a row. `answers.txt` holds one word for each, `real` or `generated`, written before
anybody opens `key.json`. Pictures are PNG files of 8 bits, as the program writes them.
"""
import io
import json
import random
import struct
import sys
import zipfile
import zlib

EACH, COLUMNS, SCALE, GAP = 50, 10, 3, 8
CHANNELS = {0: 1, 2: 3}


def decode(png):
    """Width, height, and rows of red, green and blue of a PNG file."""
    data, at, packed = io.BytesIO(png), 8, b""
    width = height = colour = 0
    while at < len(png):
        data.seek(at)
        length, kind = struct.unpack(">I4s", data.read(8))
        body = data.read(length)
        at += length + 12
        if kind == b"IHDR":
            width, height, _, colour = struct.unpack(">IIBB", body[:10])
        packed += body if kind == b"IDAT" else b""
    bytes_per_pixel = CHANNELS[colour]
    stride, raw = width * bytes_per_pixel, zlib.decompress(packed)
    above, rows = bytes(stride), []
    for y in range(height):
        method, row = raw[y * (stride + 1)], bytearray(raw[y * (stride + 1) + 1:(y + 1) * (stride + 1)])
        for x in range(stride):
            left, corner = (row[x - bytes_per_pixel], above[x - bytes_per_pixel]) if x >= bytes_per_pixel else (0, 0)
            row[x] = (row[x] + predicted(method, left, above[x], corner)) & 255
        above = bytes(row)
        rows.append(above if bytes_per_pixel == 3 else bytes(value for value in above for _ in range(3)))
    return width, height, rows


def predicted(method, left, up, corner):
    if method == 4:
        nearest = left + up - corner
        return min((left, up, corner), key=lambda value: abs(nearest - value))
    return (0, left, up, (left + up) // 2)[method]


def encode(width, rows):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, len(rows), 8, 2, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def some_of(archive):
    with zipfile.ZipFile(archive) as files:
        names = [name for name in files.namelist() if name.endswith(".png")]
        return [decode(files.read(name)) for name in random.sample(names, EACH)]


def sheet(real, generated, out, key):
    pictures = [("real", picture) for picture in some_of(real)] + [("generated", picture) for picture in some_of(generated)]
    random.shuffle(pictures)
    width, height, _ = pictures[0][1]
    grey = b"\x80\x80\x80"
    across = COLUMNS * (width * SCALE + GAP) + GAP
    rows = [grey * across] * GAP
    for first in range(0, len(pictures), COLUMNS):
        line = [picture for _, picture in pictures[first:first + COLUMNS]]
        for y in range(height):
            row = grey * GAP
            for _, _, pixels in line:
                row += b"".join(pixels[y][3 * x:3 * x + 3] * SCALE for x in range(width)) + grey * GAP
            rows += [row] * SCALE
        rows += [grey * across] * GAP
    with open(out, "wb") as file:
        file.write(encode(across, rows))
    with open(key, "w") as file:
        json.dump([kind for kind, _ in pictures], file)


def count(key, answers):
    truth, given = json.load(open(key)), open(answers).read().split()
    if len(truth) != len(given) or set(given) - {"real", "generated"}:
        sys.exit(f"{answers}: {len(truth)} words are needed, each `real` or `generated`")
    for kind in ("real", "generated"):
        taken = [answer for answer, true in zip(given, truth) if true == kind]
        print(f"{kind}: {len(taken)} pictures, {taken.count('real')} taken for real")


if __name__ == "__main__":
    commands = {"sheet": (sheet, 4), "count": (count, 2)}
    command, arguments = sys.argv[1:2], sys.argv[2:]
    if not command or command[0] not in commands or len(arguments) != commands[command[0]][1]:
        sys.exit(__doc__)
    commands[command[0]][0](*arguments)
