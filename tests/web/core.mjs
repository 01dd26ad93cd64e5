// Runs the tests of a crate that were built for WebAssembly without an operating system: `cargo test --no-run --message-format json` said
// where they are. Their output goes nowhere, so a failure is told by the names in the trap.

import { readFileSync } from 'node:fs';

const messages = readFileSync(process.argv[2], 'utf8').trim().split('\n').map((line) => JSON.parse(line));
const tests = messages.filter(({ profile, executable }) => profile?.test && executable).map(({ executable }) => executable);
if (tests.length === 0) throw new Error('no tests were built');
for (const path of tests) {
  const { instance } = await WebAssembly.instantiate(readFileSync(path), {});
  const status = instance.exports.main(0, 0);
  if (status !== 0) throw new Error(`${path}: exit status ${status}`);
  console.log(`${path}: passed`);
}
