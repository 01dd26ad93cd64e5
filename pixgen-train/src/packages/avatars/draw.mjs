// Draws avatars. Each line of standard input is a style, a size in pixels, and seeds; the answer for each seed is a picture on white,
// size x size pixels of red, green and blue.
import { createAvatar } from '@dicebear/core';
import { Resvg, initWasm } from '@resvg/resvg-wasm';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const { resolve } = createRequire(import.meta.url);
await initWasm(await readFile(resolve('@resvg/resvg-wasm/index_bg.wasm')));

function draw(style, size, seed) {
  const svg = createAvatar(style, { seed }).toString();
  const renderer = new Resvg(svg, { fitTo: { mode: 'width', value: size }, background: '#ffffff' });
  const picture = renderer.render();
  if (picture.width !== size || picture.height !== size) throw new Error(`${picture.width}x${picture.height} instead of ${size}x${size}`);
  const rgba = picture.pixels;
  const rgb = new Uint8Array(3 * size * size);
  for (let from = 0, to = 0; to < rgb.length; from += 4, to += 3) {
    rgb[to] = rgba[from];
    rgb[to + 1] = rgba[from + 1];
    rgb[to + 2] = rgba[from + 2];
  }
  // Memory of WebAssembly is not collected.
  picture.free();
  renderer.free();
  return rgb;
}

for await (const line of createInterface({ input: process.stdin })) {
  const [name, size, ...seeds] = line.split(' ');
  const style = await import(`@dicebear/${name}`);
  for (const seed of seeds) {
    if (!process.stdout.write(draw(style, Number(size), seed))) await once(process.stdout, 'drain');
  }
}
