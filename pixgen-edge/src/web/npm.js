
// The bytes of a file beside this one, in a browser and in Node.js.
async function read(url) {
  if (url.protocol === 'file:') {
    const { readFile } = await import('node:fs/promises');
    return new Uint8Array(await readFile(url));
  }
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url}: ${answer.status} ${answer.statusText}`);
  return new Uint8Array(await answer.arrayBuffer());
}

// Written out in full, so that bundlers find the files.
const FILES = {
  model: () => read(new URL('./model.pxg', import.meta.url)),
  simd: () => read(new URL('./simd.wasm', import.meta.url)),
  scalar: () => read(new URL('./scalar.wasm', import.meta.url)),
};

export async function load({ file, simd = hasSimd() } = {}) {
  const [engine, bytes] = await Promise.all([simd ? FILES.simd() : FILES.scalar(), file ?? FILES.model()]);
  return Model.open(await WebAssembly.compile(engine), bytes instanceof Uint8Array ? bytes : new Uint8Array(bytes));
}

export { Model, hasSimd, toRgba };
