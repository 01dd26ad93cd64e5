// The page around the worker. Before it stand `WORKER`, which is the worker's text, and engine.js.

const CELLS = 24;
// A saved picture has at least this many pixels in a row.
const SAVED = 448;
const MOST_SEED = 2n ** 64n - 1n;
// Pictures of a place, one after another, before it begins again: all numbers stay below 1,000, the most that `pixgen-edge sample --count` takes.
const TURNS = Math.floor(1000 / CELLS);

const $ = (id) => document.getElementById(id);
const take = (id) => {
  const element = $(`data-${id}`);
  element.remove();
  return element.textContent;
};
const bytes = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));

let shape; // of the model: size, channels, classes
let fileName; // as a shell takes it
let seed = 0n;
let selected = 0;
const cells = [];
// Cells in the order in which they are to be drawn; the worker has one at a time, so what is asked for twice is drawn once.
const queue = new Set();
let drawing = null;
const times = [];

function fail(message) {
  $('error').textContent = `This page cannot draw: ${message}`;
  $('error').hidden = false;
  $('loading').hidden = true;
}

// --- Drawing ---

function start() {
  const simd = hasSimd();
  const [fast, slow, file] = ['simd', 'scalar', 'model'].map(take);
  $('latency').dataset.engine = simd ? 'SIMD' : 'no SIMD';
  const worker = new Worker(URL.createObjectURL(new Blob([WORKER], { type: 'text/javascript' })));
  worker.onerror = (event) => fail(event.message || 'its worker does not start');
  worker.onmessageerror = () => fail('a message was lost');
  worker.onmessage = ({ data }) => {
    if (data.error) fail(data.error);
    else if (data.opened) opened(data.opened);
    else if (data.rgba) drawn(data);
    else showTimes(data.ms, true);
  };
  send = (message) => worker.postMessage(message);
  send({ engine: bytes(simd ? fast : slow), file: bytes(file) });
}

let send;

function next() {
  if (drawing || queue.size === 0) return;
  const [cell] = queue;
  queue.delete(cell);
  drawing = { cell, picture: cell.wanted };
  send({ ...cell.wanted });
}

function drawn({ rgba, ms, warm }) {
  const { cell, picture } = drawing;
  drawing = null;
  next();
  showTimes(ms, warm);
  // Another may be wanted by now, or none.
  if (cell.wanted !== picture) return;
  cell.shown = picture;
  cell.canvas.getContext('2d').putImageData(new ImageData(rgba, shape.size, shape.size), 0, 0);
  cell.canvas.hidden = false;
  describe(cell);
}

function showTimes(last, warm) {
  // Clocks of browsers have steps of 0.1 ms.
  const text = (ms) => (ms < 0.05 ? '< 0.1 ms' : `${ms.toFixed(1)} ms`);
  let rest = ', while the browser still compiles';
  if (warm) {
    times.push(last);
    if (times.length > 50) times.shift();
    rest = `, median of ${times.length}: ${text([...times].sort((a, b) => a - b)[times.length >> 1])}`;
  }
  $('latency').textContent = `Last picture ${text(last)}${rest} (${$('latency').dataset.engine})`;
}

function want(cell, label) {
  // Again in the same place: the next number that no other place has.
  const number = cell.index + CELLS * (cell.turn++ % TURNS);
  cell.wanted = { label, seed, number };
  queue.add(cell);
  next();
}

// --- The grid ---

const chosen = () => Number(document.forms.controls.elements.label.value);
const place = (picture) => `, seed ${picture.seed}, number ${picture.number}`;

function describe(cell) {
  $('save-grid').disabled = !cells.some((other) => other.shown);
  cell.button.setAttribute('aria-label', `Place ${cell.index + 1}: ${cell.shown ? shape.classes[cell.shown.label] + place(cell.shown) : 'empty'}`);
  if (cell.index === selected) showSelected();
}

function showSelected() {
  const { shown } = cells[selected];
  // A name in its own direction, so that the numbers stay behind it.
  const name = Object.assign(document.createElement('bdi'), { textContent: shown ? shape.classes[shown.label] : 'An empty place' });
  $('caption').replaceChildren(name, shown ? place(shown) : '');
  $('save-picture').disabled = !shown;
  const { label, seed, number } = shown ?? { label: chosen(), seed: 0n, number: 0 };
  $('command').textContent = `pixgen-edge sample ${fileName} --class ${label} --seed ${seed} --count ${number + 1}`;
}

function select(index) {
  cells[selected].button.tabIndex = -1;
  cells[selected].button.removeAttribute('aria-current');
  selected = index;
  cells[selected].button.tabIndex = 0;
  cells[selected].button.setAttribute('aria-current', 'true');
  showSelected();
}

function paint(index) {
  select(index);
  want(cells[index], chosen());
}

function wipe(cell) {
  cell.wanted = cell.shown = null;
  cell.turn = 0;
  queue.delete(cell);
  cell.canvas.hidden = true;
  describe(cell);
}

function makeGrid() {
  for (let index = 0; index < CELLS; index++) {
    const button = Object.assign(document.createElement('button'), { type: 'button', tabIndex: -1 });
    const canvas = Object.assign(document.createElement('canvas'), { width: shape.size, height: shape.size, hidden: true });
    canvas.className = 'new';
    button.append(canvas);
    $('grid').append(button);
    cells.push({ index, button, canvas, turn: 0, wanted: null, shown: null });
    describe(cells[index]);
  }
  select(0);
  listenToPointer($('grid'));
  $('grid').addEventListener('keydown', move);
}

const at = (element) => cells.findIndex((cell) => cell.button === element?.closest?.('button'));

// A mouse draws when it is pressed and where it is dragged; a finger when it taps, or drags sideways: up and down scrolls the page.
function listenToPointer(grid) {
  let pressed = false;
  let painted = false; // since the pointer was pressed
  let first, last;
  const drag = (index) => {
    if (index === last) return;
    last = index;
    painted = true;
    paint(index);
  };
  grid.addEventListener('pointerdown', (event) => {
    first = at(event.target);
    if (first < 0 || event.button !== 0) return;
    [pressed, painted, last] = [true, false, -1];
    if (event.pointerType === 'mouse') drag(first);
  });
  addEventListener('pointermove', (event) => {
    if (!pressed) return;
    const index = at(document.elementFromPoint(event.clientX, event.clientY));
    if (index < 0 || (index === first && !painted)) return;
    drag(painted ? index : first);
    drag(index);
  });
  for (const end of ['pointerup', 'pointercancel']) addEventListener(end, () => (pressed = false));
  // Keys, and screen readers, click without a pointer.
  grid.addEventListener('click', (event) => {
    const index = at(event.target);
    if (index >= 0 && (event.detail === 0 || !painted)) paint(index);
  });
}

function move(event) {
  const columns = getComputedStyle($('grid')).gridTemplateColumns.split(' ').length;
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, Home: -selected, End: CELLS - 1 - selected };
  const to = selected + (steps[event.key] ?? NaN);
  if (Number.isNaN(to)) return;
  event.preventDefault();
  if (to < 0 || to >= CELLS) return;
  select(to);
  cells[to].button.focus();
}

// --- Controls ---

function makeClasses() {
  shape.classes.forEach((name, label) => {
    const input = Object.assign(document.createElement('input'), { type: 'radio', name: 'label', value: label, checked: label === 0 });
    const span = Object.assign(document.createElement('span'), { textContent: name, dir: 'auto', title: name });
    const holder = document.createElement('label');
    holder.append(input, span);
    $('classes').append(holder);
  });
}

function readSeed() {
  const text = $('seed').value.trim();
  const good = /^[0-9]+$/.test(text) && BigInt(text) <= MOST_SEED;
  $('seed').setAttribute('aria-invalid', String(!good));
  $('seed-error').textContent = good ? '' : `A whole number from 0 to ${MOST_SEED}. Until then pictures are of seed ${seed}.`;
  if (!good || BigInt(text) === seed) return;
  seed = BigInt(text);
  for (const cell of cells) {
    const { wanted } = cell;
    cell.turn = 0;
    if (wanted) want(cell, wanted.label);
  }
}

function makeControls() {
  document.forms.controls.addEventListener('submit', (event) => event.preventDefault());
  $('seed').addEventListener('input', readSeed);
  $('new-seed').addEventListener('click', () => {
    $('seed').value = Math.floor(Math.random() * 1e6);
    readSeed();
  });
  $('fill').addEventListener('click', () => cells.forEach((cell) => want(cell, chosen())));
  $('mix').addEventListener('click', () => cells.forEach((cell) => want(cell, cell.index % shape.classes.length)));
  $('mix').hidden = shape.classes.length === 1;
  $('clear').addEventListener('click', () => cells.forEach(wipe));
  $('save-picture').addEventListener('click', () => savePictures([cells[selected]], 1));
  $('save-grid').addEventListener('click', () => savePictures(cells, getComputedStyle($('grid')).gridTemplateColumns.split(' ').length));
}

// --- Saving ---

// As PNG, pixels enlarged by a whole number; places without a picture are transparent.
function savePictures(places, columns) {
  const { size } = shape;
  const one = places.length === 1;
  const scale = Math.max(1, Math.ceil((one ? SAVED : SAVED / 4) / size));
  const gap = one ? 0 : 2 * scale;
  const step = size * scale + gap;
  const canvas = document.createElement('canvas');
  canvas.width = columns * step - gap;
  canvas.height = Math.ceil(places.length / columns) * step - gap;
  const context = canvas.getContext('2d');
  context.imageSmoothingEnabled = false;
  places.forEach((cell, i) => {
    if (cell.shown) context.drawImage(cell.canvas, (i % columns) * step, Math.floor(i / columns) * step, size * scale, size * scale);
  });
  const shown = places[0].shown;
  const name = one ? `class-${shown.label}-seed-${shown.seed}-number-${shown.number}.png` : `grid-seed-${seed}.png`;
  canvas.toBlob((blob) => {
    const link = Object.assign(document.createElement('a'), { href: URL.createObjectURL(blob), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }, 'image/png');
}

// --- The model ---

function showFacts() {
  const { title, file, rows } = JSON.parse(take('facts'));
  fileName = file;
  document.title = $('title').textContent = title;
  for (const [term, value] of rows) {
    $('facts').append(Object.assign(document.createElement('dt'), { textContent: term }));
    $('facts').append(Object.assign(document.createElement('dd'), { textContent: value, dir: 'auto' }));
  }
  $('to-about').addEventListener('click', () => ($('about').open = true));
}

function opened(model) {
  shape = model;
  makeClasses();
  makeGrid();
  makeControls();
  $('loading').hidden = true;
  $('main').hidden = false;
  cells.forEach((cell) => want(cell, cell.index % shape.classes.length));
}

$('loading').hidden = false;
try {
  showFacts();
  start();
} catch (error) {
  fail(error?.message ?? error);
}
