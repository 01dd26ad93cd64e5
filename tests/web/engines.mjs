// Compares what engines of pixgen-edge/wasm draw under Node.js with what the program draws, picture by picture.
//
//     node engines.mjs PIXGEN_EDGE FOLDER FRESH MODEL.pxg...
//
// FOLDER is made for the packages of the models, with the engines that the program embeds; FRESH holds those of a fresh build, which draw
// fewer pictures, or none where they are the same file. Prints milliseconds a picture, best and median, of the embedded ones.

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { hash, sample } from './host.mjs';

const [program, folder, fresh, ...files] = process.argv.slice(2);
const SEED = 2n ** 64n - 5n;
// Pictures of each committed model, and of each other.
const COMMITTED = resolve('firmware-examples/models');
const MANY = 100;
const FEW = 20;
const TIMED = 30;

function compare(what, model, pictures) {
  for (const { label, seed, number, hash: wanted } of pictures) {
    const found = hash(model.draw(label, seed, number));
    if (found !== wanted) throw new Error(`${what}: class ${label} seed ${seed} number ${number} is ${found}, the program draws ${wanted}`);
  }
}

function times(model) {
  const all = Array.from({ length: TIMED }, (_, number) => {
    const start = performance.now();
    model.draw(number % model.classes.length, 1, number);
    return performance.now() - start;
  }).sort((a, b) => a - b);
  return `${all[0].toFixed(2)} (${all[TIMED >> 1].toFixed(2)})`;
}

// A panic that could be reached would leave an import behind (pixgen-edge/wasm/src/lib.rs).
for (const name of ['simd.wasm', 'scalar.wasm']) {
  const imports = WebAssembly.Module.imports(await WebAssembly.compile(readFileSync(join(fresh, name))));
  if (imports.length > 0) throw new Error(`${name}: a panic can be reached: ${JSON.stringify(imports)}`);
}

for (const file of files) {
  const name = basename(file, '.pxg');
  const out = join(folder, name);
  execFileSync(program, ['web', file, '--format', 'npm', '--out', out], { stdio: ['ignore', 'inherit', 'pipe'] });
  const { load } = await import(pathToFileURL(resolve(out, 'index.js')));
  const { classes } = await load();
  const wanted = dirname(resolve(file)) === COMMITTED ? MANY : FEW;
  const count = Math.max(1, Math.ceil(wanted / classes.length));
  const pictures = sample(program, file, '--seed', String(SEED), '--count', String(count));
  const distinct = new Set(pictures.map((picture) => picture.hash)).size;
  if (2 * distinct < pictures.length) throw new Error(`${name}: the pictures are alike`);
  const line = [];
  for (const simd of [true, false]) {
    const model = await load({ simd });
    compare(`${name}, ${simd ? 'simd' : 'scalar'}.wasm in the program`, model, pictures);
    line.push(`${simd ? 'simd' : 'scalar'} ${times(model)} ms`);
    // The same package with the engine of a fresh build.
    const wasm = simd ? 'simd.wasm' : 'scalar.wasm';
    const built = readFileSync(join(fresh, wasm));
    if (built.equals(readFileSync(join(out, wasm)))) continue;
    const { Model } = await import(pathToFileURL(resolve(out, 'index.js')));
    compare(`${name}, ${wasm} built afresh`, await Model.open(await WebAssembly.compile(built), readFileSync(file)), pictures.slice(0, FEW));
  }
  console.log(`${name}: ${pictures.length} pictures, ${distinct} different, drawn alike; ${line.join(', ')}`);
}

// --- What the module says of what it cannot do ---

const { load } = await import(pathToFileURL(resolve(folder, basename(files[0], '.pxg'), 'index.js')));
const file = readFileSync(files[0]);
const damaged = Uint8Array.from(file, (byte, i) => (i === file.length >> 1 ? byte ^ 1 : byte));
const model = await load({ file: file.buffer.slice(file.byteOffset, file.byteOffset + file.length) });
for (const [what, call, part] of [
  ['no model', () => load({ file: new Uint8Array(100) }), 'not a .pxg file'],
  ['nothing', () => load({ file: new Uint8Array(0) }), ''],
  ['a damaged model', () => load({ file: damaged }), 'damaged'],
  ['half a model', () => load({ file: file.subarray(0, file.length >> 1) }), 'damaged'],
  ['no such class', async () => model.draw(model.classes.length), 'classes 0 to'],
  ['no class', async () => model.draw('0'), 'classes 0 to'],
  ['a seed below 0', async () => model.draw(0, -1), 'seed -1'],
  ['a seed above 64 bits', async () => model.draw(0, 2n ** 64n), 'whole number'],
  ['half a number', async () => model.draw(0, 0, 0.5), 'number 0.5'],
]) {
  const error = await call().then(
    () => null,
    (error) => error,
  );
  if (!(error instanceof Error) || error instanceof WebAssembly.RuntimeError || !error.message.includes(part)) {
    throw new Error(`${what}: ${error}`);
  }
}
if (hash(model.draw(0, 7)) !== hash(model.draw(0, 7n, 0n))) throw new Error('numbers and BigInts differ');
console.log('errors are errors');
