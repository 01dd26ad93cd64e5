"""The generator of pixgen-core/src/rng.rs for scripts: Philox4x32 with ten rounds, words by (seed, stream, index)."""
import numpy as np

M0, M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
LOW = np.uint64(0xFFFFFFFF)


def words(seed, stream, indices):
    """`Rng::new(seed, stream).u32(index)` for an array of indices."""
    indices = np.asarray(indices, dtype=np.uint64)
    counter = indices >> np.uint64(2)
    full = lambda value: np.full(counter.shape, value, dtype=np.uint64)
    c = [counter & LOW, counter >> np.uint64(32), full(stream & 0xFFFFFFFF), full(stream >> 32)]
    key = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        a, b = c[0] * M0, c[2] * M1
        c = [(b >> np.uint64(32)) ^ c[1] ^ np.uint64(key[0]), b & LOW, (a >> np.uint64(32)) ^ c[3] ^ np.uint64(key[1]), a & LOW]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return np.choose((indices & np.uint64(3)).astype(np.int64), c).astype(np.uint32)


def uniform(seed, stream, count):
    """`Draws::uniform` from index 0 on: [0, 1) with 24 bits."""
    return ((words(seed, stream, np.arange(count)) >> np.uint32(8)).astype(np.float32)) * np.float32(1 / (1 << 24))


def below(seed, stream, index, n):
    """`Draws::below(n)` at an index."""
    return int(words(seed, stream, [index])[0]) * n >> 32


assert [hex(int(w)) for w in words(0, 0, range(4))] == ["0x6627e8d5", "0xe169c58d", "0xbc57ac4c", "0x9b00dbd8"]
