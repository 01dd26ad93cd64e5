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
  const { load } = await import(pathToFileURL(resolve(out, 'node.js')));
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
    const { Model } = await import(pathToFileURL(resolve(out, 'node.js')));
    compare(`${name}, ${wasm} built afresh`, await Model.open(await WebAssembly.compile(built), readFileSync(file)), pictures.slice(0, FEW));
  }
  console.log(`${name}: ${pictures.length} pictures, ${distinct} different, drawn alike; ${line.join(', ')}`);
}

// --- The module for browsers, and what both say of what they cannot do ---

const out = resolve(folder, basename(files[0], '.pxg'));
const { load, Model, toRgba } = await import(pathToFileURL(join(out, 'node.js')));
const file = readFileSync(files[0]);
const buffer = file.buffer.slice(file.byteOffset, file.byteOffset + file.length);
const model = await load({ file: buffer });
globalThis.fetch = async (url) => new Response(readFileSync(url));
const fetched = await (await import(pathToFileURL(join(out, 'index.js')))).load();
if (hash(fetched.draw(0, 7)) !== hash(model.draw(0, 7))) throw new Error('the module for browsers draws otherwise');

// Every way to hold the bytes.
const engine = await WebAssembly.compile(readFileSync(join(out, 'scalar.wasm')));
const shared = new SharedArrayBuffer(file.length);
new Uint8Array(shared).set(file);
for (const same of [new DataView(buffer), new Int8Array(buffer), new Blob([file]).arrayBuffer(), shared, file]) {
  const opened = await Model.open(engine, await same);
  if (hash(opened.draw(0, 7)) !== hash(model.draw(0, 7))) throw new Error(`${same} draws otherwise`);
}

const damaged = Uint8Array.from(file, (byte, i) => (i === file.length >> 1 ? byte ^ 1 : byte));
for (const [what, kind, call, part] of [
  ['no model', Error, () => load({ file: new Uint8Array(100) }), 'not a .pxg file'],
  ['nothing', Error, () => load({ file: new Uint8Array(0) }), ''],
  ['a damaged model', Error, () => load({ file: damaged }), 'damaged'],
  ['half a model', Error, () => load({ file: file.subarray(0, file.length >> 1) }), 'damaged'],
  ...['model.pxg', new URL('file:///model.pxg'), new Blob([file]), {}, null, 100, [1]].map((file) =>
    [`file ${file}`, TypeError, () => load({ file }), 'the bytes of a .pxg file are needed, in a Uint8Array or an ArrayBuffer']),
  ['no such class', RangeError, async () => model.draw(model.classes.length), 'classes 0 to'],
  ['half a class', RangeError, async () => model.draw(0.5), 'classes 0 to'],
  ['the text of a class', TypeError, async () => model.draw('0'), 'class "0": a number'],
  ['no class', TypeError, async () => model.draw(), 'class undefined: a number'],
  ['a symbol', TypeError, async () => model.draw(Symbol('x')), 'class Symbol(x): a number'],
  ['a seed below 0', RangeError, async () => model.draw(0, -1), 'seed -1'],
  ['a seed above 64 bits', RangeError, async () => model.draw(0, 2n ** 64n), 'whole number'],
  ['the text of a seed', TypeError, async () => model.draw(0, '7'), 'seed "7": a number'],
  ['half a number', RangeError, async () => model.draw(0, 0, 0.5), 'number 0.5'],
  ['two channels', RangeError, async () => toRgba(new Uint8Array(4), 2), 'channels 2'],
  ['no channels', RangeError, async () => toRgba(new Uint8Array(4)), 'channels undefined'],
  ['a third of a pixel', RangeError, async () => toRgba(new Uint8Array(4), 3), '4 bytes'],
  ['another size', TypeError, async () => (model.size = 9), 'size'],
  ['another class', TypeError, async () => model.classes.push('x'), ''],
]) {
  const error = await call().then(
    () => null,
    (error) => error,
  );
  if (!(error instanceof kind) || error instanceof WebAssembly.RuntimeError || !error.message.includes(part)) {
    throw new Error(`${what}: ${error}`);
  }
}
if (hash(model.draw(0, 7)) !== hash(model.draw(0, 7n, 0n))) throw new Error('numbers and BigInts differ');
console.log('errors are errors');
