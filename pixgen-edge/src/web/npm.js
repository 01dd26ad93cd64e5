
// The bytes of a file beside this one.
async function read(url) {
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
  const [engine, bytes] = await Promise.all([simd ? FILES.simd() : FILES.scalar(), file === undefined ? FILES.model() : file]);
  return Model.open(await WebAssembly.compile(engine), bytes);
}

export { Model, hasSimd, toRgba };
