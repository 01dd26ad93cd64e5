// Times the engine for browsers on this machine, under Node.js and in Chromium, beside the kernels of the program: the table of
// docs/results/performance.md, "Drawing in a browser".
//
//     cargo build --release -p pixgen-edge --bins --example time_kernels --example random_models
//     target/release/examples/random_models models small-28-grey nano-64-rgb
//     node tests/bench/browser.mjs chromium target/release models/*.safetensors
//
// In every round each draws 24 pictures, one after another, after one round that is not counted. The table has the best and the median of
// the rounds' means: clocks of browsers have steps of 0.1 ms.

import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { Browser } from '../web/browser.mjs';

const [chromium, target, ...models] = process.argv.slice(2);
const ROUNDS = 30;
const PICTURES = 24;
const program = join(target, 'pixgen-edge');
const mean = (times) => times.reduce((sum, ms) => sum + ms, 0) / times.length;

// The kernels of the program, one thread.
async function native(file, add) {
  const kernels = spawn(join(target, 'examples/time_kernels'), [file], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: kernels.stdout })[Symbol.asyncIterator]();
  for (const name of (await lines.next()).value.split(' ')) {
    add(`program, ${name}`, async () => {
      kernels.stdin.write(`${name} ${PICTURES}\n`);
      return mean((await lines.next()).value.split(' ').map(Number));
    });
  }
  return () => kernels.stdin.end();
}

async function node(folder, add) {
  const { load } = await import(pathToFileURL(resolve(folder, 'index.js')));
  for (const simd of [true, false]) {
    const model = await load({ simd });
    add(`Node.js, ${simd ? 'SIMD' : 'no SIMD'}`, async () => {
      const start = performance.now();
      for (let number = 0; number < PICTURES; number++) model.draw(number % model.classes.length, 1, number);
      return (performance.now() - start) / PICTURES;
    });
  }
}

// The page, whose worker measures; the second time in a browser that denies SIMD.
async function browsers(page, add) {
  const all = [];
  for (const simd of [true, false]) {
    const browser = await Browser.start(chromium);
    all.push(browser);
    if (!simd) await browser.call('Page.addScriptToEvaluateOnNewDocument', { source: 'WebAssembly.validate = () => false' });
    await browser.call('Page.navigate', { url: pathToFileURL(page).href });
    const drawn = `typeof cells !== 'undefined' && cells.length === ${PICTURES} && cells.every((cell) => cell.wanted === cell.shown)`;
    await browser.until('the page has drawn', drawn);
    add(`Chromium, ${simd ? 'SIMD' : 'no SIMD'}`, async () => {
      await browser.evaluate(`document.querySelector('#fill').click()`);
      await browser.until('the round is drawn', drawn);
      return mean(await browser.evaluate(`times.slice(-${PICTURES})`));
    });
  }
  return () => Promise.all(all.map((browser) => browser.close()));
}

console.log('| model | | best ms | median ms |\n|---|---|---|---|');
for (const model of models) {
  const folder = mkdtempSync(join(tmpdir(), 'pixgen-bench-'));
  const [file, page, own] = ['model.pxg', 'page.html', 'package'].map((name) => join(folder, name));
  for (const arguments_ of [
    ['export', model, '--out', file],
    ['web', file, '--out', page],
    ['web', file, '--format', 'npm', '--out', own],
  ]) {
    execFileSync(program, arguments_, { stdio: ['ignore', 'ignore', 'pipe'] });
  }
  const contestants = new Map();
  const add = (name, round) => contestants.set(name, { round, means: [] });
  const ends = [await native(file, add), await node(own, add), await browsers(page, add)];
  for (let round = -1; round < ROUNDS; round++) {
    for (const contestant of contestants.values()) {
      const ms = await contestant.round();
      if (round >= 0) contestant.means.push(ms);
    }
  }
  for (const end of ends) await end?.();
  const name = basename(model, '.safetensors');
  for (const [what, { means }] of contestants) {
    means.sort((a, b) => a - b);
    console.log(`| ${name} | ${what} | ${means[0].toFixed(2)} | ${means[ROUNDS >> 1].toFixed(2)} |`);
  }
  const kib = (path) => `${Math.round(statSync(path).size / 1024)} KiB`;
  console.log(`${name}: page ${kib(page)}, model ${kib(file)}, with SIMD ${kib(join(own, 'simd.wasm'))}, without ${kib(join(own, 'scalar.wasm'))}`);
  rmSync(folder, { recursive: true });
}
