// The module for Node.js, whose `fetch` reads no files. A module of its own, so that bundlers for browsers never meet `node:fs`.

import { readFile } from 'node:fs/promises';
import { Model, hasSimd, toRgba } from './index.js';

const read = (name) => readFile(new URL(name, import.meta.url));

export async function load({ file, simd = hasSimd() } = {}) {
  const [engine, bytes] = await Promise.all([read(simd ? './simd.wasm' : './scalar.wasm'), file === undefined ? read('./model.pxg') : file]);
  return Model.open(await WebAssembly.compile(engine), bytes);
}

export { Model, hasSimd, toRgba };
