// Opens pages of `pixgen-edge web` from disk in Chromium, without a network, and uses them as people do.
//
//     node page.mjs CHROMIUM PIXGEN_EDGE FOLDER MODEL.pxg MODEL_OF_ONE_CLASS.pxg MODEL_OF_120_CLASSES.pxg [PICTURES]
//
// Pages and files go to FOLDER; PICTURES, if given, is a folder for screenshots.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { crc32 } from 'node:zlib';
import { Browser } from './browser.mjs';
import { hash, sample } from './host.mjs';

const [chromium, program, folder, file, single, many, pictures] = process.argv.slice(2);
const CELLS = 24;
const COMMITTED = 'firmware-examples/models';

// What the page shows: class, seed and number as each place says them, and the hash of the pixels on its canvas.
async function shown(browser) {
  const cells = await browser.evaluate(`[...document.querySelectorAll('#grid button')].map((button) => {
    const canvas = button.querySelector('canvas');
    // From a copy: Chromium remarks on pages that read their own canvas often.
    const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', { willReadFrequently: true });
    copy.drawImage(canvas, 0, 0);
    const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
    return canvas.hidden ? null : { title: button.getAttribute('aria-label'), pixels: [...data] };
  })`);
  const channels = await browser.evaluate('shape.channels');
  return cells.map((cell) => cell && { ...cell, ...numbers(cell.title), hash: hash(bytes(cell.pixels, channels)) });
}

const numbers = (title) => title.match(/seed (?<seed>\d+), number (?<number>\d+)$/).groups;

// RGBA as the bytes of the model.
function bytes(pixels, channels) {
  const opaque = pixels.filter((_, i) => i % 4 === 3).every((alpha) => alpha === 255);
  assert(opaque);
  return pixels.filter((_, i) => (channels === 3 ? i % 4 !== 3 : i % 4 === 0));
}

const settled = `document.querySelector('#error').hidden === false || (document.querySelectorAll('#grid button').length === ${CELLS} &&
  cells.every((cell) => cell.wanted === cell.shown))`;
const place = (index) => `#grid button:nth-child(${index + 1})`;
const label = (index) => `#classes label:nth-child(${index + 1}) span`;
const html = (name) => join(folder, `${name}.html`);

function write(model, name) {
  execFileSync(program, ['web', model, '--out', html(name)], { stdio: ['ignore', 'inherit', 'pipe'] });
}

async function open(browser, name) {
  await browser.call('Page.navigate', { url: pathToFileURL(resolve(html(name))).href });
  await browser.until(`${name} has drawn`, `document.readyState === 'complete' && typeof cells !== 'undefined' && (${settled})`);
}

async function picture(browser, name) {
  if (!pictures) return;
  await new Promise((done) => setTimeout(done, 400)); // fading in
  writeFileSync(join(pictures, `${name}.png`), await browser.screenshot());
}

const window = (browser, width, height, mobile) =>
  browser.call('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: mobile ? 2 : 1, mobile });

// All places hold what the program draws of a seed.
async function agrees(browser, model, seed = 0) {
  const cells = await shown(browser);
  const names = await browser.evaluate('shape.classes');
  const wanted = sample(program, model, '--seed', String(seed), '--count', String(Math.ceil(CELLS / names.length)));
  cells.forEach((cell, index) => {
    const { label, number, hash } = wanted[index];
    assert.deepEqual([cell.title, cell.hash], [`Place ${index + 1}: ${names[label]}, seed ${seed}, number ${number}`, hash]);
  });
  return names;
}

async function draws(browser) {
  write(file, 'model');
  await window(browser, 1100, 820, false);
  await open(browser, 'model');
  const names = await agrees(browser, file);
  assert.match(await browser.evaluate(`document.querySelector('#latency').textContent`), /^Last picture (< )?\d+\.\d ms, .*\(SIMD\)$/);
  // The link at the top opens what the page says of the model.
  assert.equal(await browser.evaluate(`document.querySelector('#about').open`), false);
  await browser.click('#to-about');
  assert(await browser.evaluate(`document.querySelector('#about').open && location.hash === '#about' && scrollY > 0`));
  await browser.evaluate(`document.querySelector('#about').open = false; scrollTo(0, 0)`);
  // A class and a place by mouse, and a seed by keyboard.
  const last = names.length - 1;
  await browser.click(label(last));
  await browser.click('#seed');
  await browser.evaluate(`document.querySelector('#seed').select()`);
  await browser.call('Input.insertText', { text: '18446744073709551615' });
  await browser.until('the seed is used', settled);
  await browser.click(place(5));
  // Dragging draws where it goes, once each.
  await browser.drag([6, 7, 8].map(place));
  // Keys: from place 8 one to the right, one down, and draw twice.
  await browser.press('ArrowRight');
  await browser.press('ArrowDown');
  await browser.press('Enter', '\r');
  await browser.press(' ', ' ');
  await browser.until('all is drawn', settled);
  const cells = await shown(browser);
  const wanted = sample(program, file, '--class', String(last), '--seed', '18446744073709551615', '--count', '64');
  for (const [index, turn] of [[5, 1], [6, 1], [7, 1], [8, 1], [15, 2]]) {
    const number = index + CELLS * turn;
    assert.equal(cells[index].title, `Place ${index + 1}: ${names[last]}, seed 18446744073709551615, number ${number}`);
    assert.equal(cells[index].hash, wanted[number].hash, cells[index].title);
  }
  const focused = await browser.evaluate(`document.activeElement.getAttribute('aria-label')`);
  assert.equal(focused, cells[15].title);
  assert.match(await browser.evaluate(`document.querySelector('#command').textContent`), /--class 9 --seed 18446744073709551615 --count 64$/);
  // Seeds that are none change nothing.
  for (const bad of ['-1', '1.5', 'x', '18446744073709551616', '']) {
    await browser.evaluate(`seedField = document.querySelector('#seed'); seedField.value = '${bad}'; seedField.dispatchEvent(new Event('input'))`);
    assert.equal(await browser.evaluate(`seedField.getAttribute('aria-invalid') + seed`), 'true18446744073709551615');
  }
  await saves(browser);
}

async function saves(browser) {
  await browser.call('Browser.setDownloadBehavior', { behavior: 'allow', downloadPath: resolve(folder) });
  for (const [button, name] of [
    ['#save-picture', 'class-9-seed-18446744073709551615-number-63.png'],
    ['#save-grid', 'grid-seed-18446744073709551615.png'],
  ]) {
    await browser.click(button);
    const path = join(folder, name);
    for (let i = 0; i < 100 && !existsSync(path); i++) await new Promise((done) => setTimeout(done, 50));
    assert.equal(readFileSync(path).subarray(1, 4).toString(), 'PNG', name);
  }
  await browser.click('#clear');
  const empty = await browser.evaluate(`cells.every((cell) => cell.canvas.hidden) && document.querySelector('#save-grid').disabled`);
  assert(empty, 'the grid is empty');
}

// Light, dark, and on a phone, where a finger taps.
async function fits(browser) {
  await open(browser, 'model');
  const brightness = () => browser.evaluate(`getComputedStyle(document.body).backgroundColor.match(/\\d+/g).reduce((a, b) => +a + +b, 0) / 3`);
  const theme = (value) => browser.call('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value }] });
  await theme('light');
  assert((await brightness()) > 200);
  await picture(browser, 'light');
  await theme('dark');
  assert((await brightness()) < 60);
  await picture(browser, 'dark');
  await window(browser, 360, 740, true);
  await browser.call('Emulation.setTouchEmulationEnabled', { enabled: true });
  const scroll = await browser.evaluate('document.documentElement.scrollWidth');
  assert(scroll <= 360, `${scroll} pixels on a phone of 360`);
  await browser.tap(place(3));
  await browser.until('it is drawn', settled);
  assert.equal((await shown(browser))[3].number, String(3 + CELLS));
  await picture(browser, 'phone');
  await browser.call('Emulation.setTouchEmulationEnabled', { enabled: false });
  await window(browser, 1100, 820, false);
  await theme('light');
}

// Names that would be markup, in the place of a model's own.
async function names(browser) {
  const model = readFileSync(file);
  const old = Buffer.from(await open(browser, 'model').then(() => browser.evaluate(`shape.classes.join('\\n')`)));
  const at = model.indexOf(old);
  assert(at > 0);
  const hostile = ['</script><i>', '"&<!--\'`', '{{model}}', '\u202e\u05d0\u05d1', '\u0627\u0628', '<b>'];
  const rest = old.length - Buffer.byteLength(hostile.join('\n')) - (10 - hostile.length);
  const all = [...hostile, 'x'.repeat(rest - 3), 'y', 'z', '\u0000'];
  assert.equal(Buffer.from(all.join('\n')).copy(model, at), old.length);
  // The checksum is of all but itself.
  model.writeUInt32LE(crc32(model.subarray(24), crc32(model.subarray(0, 20))), 20);
  const path = join(folder, '<i>names & \'all\'.pxg');
  writeFileSync(path, model);
  write(path, 'names');
  await open(browser, 'names');
  assert.deepEqual(await agrees(browser, path), all);
  const texts = await browser.evaluate(`[...document.querySelectorAll('#classes span')].map((span) => span.textContent + span.dir)`);
  assert.deepEqual(texts, all.map((name) => `${name}auto`));
  assert.equal(await browser.evaluate(`document.querySelectorAll('i, b, script').length`), 1);
  await picture(browser, 'names');
}

async function otherModels(browser) {
  write(single, 'single');
  await open(browser, 'single');
  assert.equal((await agrees(browser, single)).length, 1);
  write(many, 'many');
  await open(browser, 'many');
  assert.equal((await agrees(browser, many)).length, 120);
  await picture(browser, 'many');
}

// Every committed model, a hundred pictures and more, with SIMD and without.
async function committed(browser) {
  for (const name of readdirSync(COMMITTED).filter((name) => name.endsWith('.pxg'))) {
    const model = join(COMMITTED, name);
    write(model, name);
    for (const engine of ['SIMD', 'no SIMD']) {
      const without = engine === 'SIMD' ? null : await withoutSimd(browser);
      await open(browser, name);
      for (let seed = 0; CELLS * seed < 100; seed++) {
        await browser.evaluate(`document.querySelector('#seed').value = '${seed}'; readSeed()`);
        await browser.until(`${name} has drawn seed ${seed}`, settled);
        await agrees(browser, model, seed);
      }
      assert((await browser.evaluate(`document.querySelector('#latency').textContent`)).endsWith(`(${engine})`));
      if (without) await browser.call('Page.removeScriptToEvaluateOnNewDocument', without);
    }
  }
}

const withoutSimd = (browser) => browser.call('Page.addScriptToEvaluateOnNewDocument', { source: 'WebAssembly.validate = () => false' });

// A model that is damaged, an engine that is none.
async function fails(browser) {
  const page = readFileSync(html('model'), 'utf8');
  for (const [name, id, change, says] of [
    ['damaged', 'model', (data) => `${data.slice(0, 9000)}${data.slice(9000, 9004) === 'AAAA' ? 'BBBB' : 'AAAA'}${data.slice(9004)}`, 'damaged'],
    ['no model', 'model', () => 'A'.repeat(400), 'not a .pxg file'],
    ['no engine', 'simd', () => 'AAAA', 'WebAssembly'],
  ]) {
    const from = page.indexOf('>', page.indexOf(`id="data-${id}"`)) + 1;
    const to = page.indexOf('<', from);
    writeFileSync(html(name), page.slice(0, from) + change(page.slice(from, to)) + page.slice(to));
    await open(browser, name);
    const error = await browser.evaluate(`document.querySelector('#error').textContent`);
    assert(error.startsWith('This page cannot draw: ') && error.includes(says), `${name}: ${error}`);
    assert(await browser.evaluate(`document.querySelector('main').hidden && document.querySelector('#loading').hidden`), name);
  }
}

const browser = await Browser.start(chromium);
try {
  await browser.call('Emulation.setScrollbarsHidden', { hidden: true });
  for (const part of [draws, fits, names, otherModels, committed, fails]) {
    const start = performance.now();
    await part(browser);
    console.log(`${part.name}: as expected (${((performance.now() - start) / 1000).toFixed(1)} s)`);
  }
  assert.deepEqual(browser.complaints, []);
  const strange = browser.requests.filter((url) => !url.startsWith('file:') && !url.startsWith('blob:null/'));
  assert.deepEqual(strange, []);
} finally {
  await browser.close();
}
console.log(`${readdirSync(folder).filter((name) => name.endsWith('.html')).length} pages, nothing asked of a network`);
