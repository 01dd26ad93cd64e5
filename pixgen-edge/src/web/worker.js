// Draws in a thread of its own, one picture for each message. What fails is posted: an exception in an async handler reaches nobody.

// Pictures after which the browser's compiler has done what it will do, and the longest time to spend on them.
const WARM_UP = { pictures: 60, ms: 1500 };

let model;
let warm = false;

async function open({ engine, file }) {
  const compiled = await WebAssembly.compile(engine);
  model = await Model.open(compiled, file);
  const { size, channels, classes } = model;
  postMessage({ opened: { size, channels, classes } });
  warmUp(WARM_UP.pictures, performance.now() + WARM_UP.ms);
}

// Between two messages, so that nobody waits for it. At its end the page learns what a picture takes.
function warmUp(pictures, end) {
  const ms = timed(pictures % model.classes.length, 0, pictures).ms;
  warm = pictures === 1 || performance.now() > end;
  if (warm) postMessage({ ms });
  else setTimeout(warmUp, 0, pictures - 1, end);
}

function timed(label, seed, number) {
  const start = performance.now();
  const bytes = model.draw(label, seed, number);
  return { bytes, ms: performance.now() - start };
}

function draw({ label, seed, number }) {
  const { bytes, ms } = timed(label, seed, number);
  const rgba = toRgba(bytes, model.channels);
  postMessage({ rgba, ms, warm }, [rgba.buffer]);
}

onmessage = async ({ data }) => {
  try {
    await (data.engine ? open(data) : draw(data));
  } catch (error) {
    postMessage({ error: String(error?.message ?? error) });
  }
};
