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
    const bytes = bytesOf(file);
    const { exports } = await WebAssembly.instantiate(engine, {});
    const at = exports.reserve(bytes.length) >>> 0;
    if (at === 0) throw new Error(OPENED[4]);
    new Uint8Array(exports.memory.buffer).set(bytes, at);
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
    this.classes = Object.freeze(Array.from({ length: engine.classes() }, (_, label) => name(label)));
    Object.freeze(this);
  }

  // Bytes H W C. Seed and number are numbers or BigInts.
  draw(label, seed = 0, number = 0) {
    if (typeof label !== 'number') throw new TypeError(`class ${shown(label)}: a number is needed`);
    if (!Number.isInteger(label) || label < 0 || label >= this.classes.length) {
      throw new RangeError(`class ${label}: the model has classes 0 to ${this.classes.length - 1}`);
    }
    const at = this.#engine.draw(label, word('seed', seed), word('number', number)) >>> 0;
    if (at === 0) throw new Error('the picture could not be drawn');
    return new Uint8Array(this.#engine.memory.buffer, at, this.size * this.size * this.channels).slice();
  }
}

// A value as a program's text has it: '7' is not 7.
const shown = (value) => (typeof value === 'string' ? JSON.stringify(value) : String(value));

// The bytes of a buffer or of any view of one.
function bytesOf(file) {
  if (ArrayBuffer.isView(file)) return new Uint8Array(file.buffer, file.byteOffset, file.byteLength);
  const kind = Object.prototype.toString.call(file).slice(8, -1);
  if (kind === 'ArrayBuffer' || kind === 'SharedArrayBuffer') return new Uint8Array(file);
  throw new TypeError(`file: the bytes of a .pxg file are needed, in a Uint8Array or an ArrayBuffer; this is a ${kind}`);
}

// A number of 64 bits without a sign.
function word(what, value) {
  if (typeof value !== 'number' && typeof value !== 'bigint') throw new TypeError(`${what} ${shown(value)}: a number or a BigInt is needed`);
  const whole = typeof value === 'bigint' || Number.isSafeInteger(value);
  if (!whole || value < 0 || value >= 2n ** 64n) {
    throw new RangeError(`${what} ${value}: a whole number from 0 to 2^64 - 1, as a BigInt from 2^53 on`);
  }
  return BigInt(value);
}

// Bytes H W C as RGBA, for ImageData.
function toRgba(bytes, channels) {
  if (channels !== 1 && channels !== 3) throw new RangeError(`channels ${shown(channels)}: 1 or 3`);
  if (bytes.length % channels !== 0) throw new RangeError(`${bytes.length} bytes are no pixels of ${channels} channels`);
  const rgba = new Uint8ClampedArray((bytes.length / channels) * 4).fill(255);
  for (let from = 0, to = 0; from < bytes.length; from += channels, to += 4) {
    for (let i = 0; i < 3; i++) rgba[to + i] = bytes[from + (channels === 3 ? i : 0)];
  }
  return rgba;
}
