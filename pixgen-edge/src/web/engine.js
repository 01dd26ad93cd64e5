// The engine and one model in its memory. Both the page's worker and the npm package begin with this text.

// A function that adds and counts bits of vectors: valid only where SIMD128 is known.
const SIMD_PROBE = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11,
]);

const hasSimd = () => WebAssembly.validate(SIMD_PROBE);

// What `open` of pixgen-edge/wasm answers.
const OPENED = [
  null,
  'this is not a .pxg file',
  'the .pxg file is of another version: export the model again',
  'the .pxg file is damaged',
  'there is not enough memory for this model',
  'a model is already open',
];

class Model {
  #engine;

  // `engine`: a WebAssembly.Module; `file`: the bytes of a .pxg file.
  static async open(engine, file) {
    const { exports } = await WebAssembly.instantiate(engine, {});
    const at = exports.reserve(file.length) >>> 0;
    if (at === 0) throw new Error(OPENED[4]);
    new Uint8Array(exports.memory.buffer).set(file, at);
    const wrong = OPENED[exports.open()];
    if (wrong) throw new Error(wrong);
    return new Model(exports);
  }

  constructor(engine) {
    this.#engine = engine;
    this.size = engine.size();
    this.channels = engine.channels();
    const decoder = new TextDecoder();
    const name = (label) => {
      const bytes = new Uint8Array(engine.memory.buffer, engine.class_name(label) >>> 0, engine.class_name_len(label));
      return decoder.decode(bytes) || String(label);
    };
    this.classes = Array.from({ length: engine.classes() }, (_, label) => name(label));
  }

  // Bytes H W C. Seed and number are numbers or BigInts.
  draw(label, seed = 0, number = 0) {
    if (!Number.isInteger(label) || label < 0 || label >= this.classes.length) {
      throw new RangeError(`class ${label}: the model has classes 0 to ${this.classes.length - 1}`);
    }
    const at = this.#engine.draw(label, word('seed', seed), word('number', number)) >>> 0;
    if (at === 0) throw new Error('the picture could not be drawn');
    return new Uint8Array(this.#engine.memory.buffer, at, this.size * this.size * this.channels).slice();
  }
}

// A number of 64 bits without a sign.
function word(what, value) {
  const whole = typeof value === 'bigint' || Number.isSafeInteger(value);
  if (!whole || value < 0 || value >= 2n ** 64n) throw new RangeError(`${what} ${value}: a whole number from 0 to 2^64 - 1`);
  return BigInt(value);
}

// Bytes H W C as RGBA, for ImageData.
function toRgba(bytes, channels) {
  const rgba = new Uint8ClampedArray((bytes.length / channels) * 4).fill(255);
  for (let from = 0, to = 0; from < bytes.length; from += channels, to += 4) {
    for (let i = 0; i < 3; i++) rgba[to + i] = bytes[from + (channels === 3 ? i : 0)];
  }
  return rgba;
}
