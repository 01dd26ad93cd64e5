// What the program pixgen-edge draws.

import { execFileSync } from 'node:child_process';

// FNV-1a, 64 bits, as the self-tests of .pxg files have it.
export function hash(bytes) {
  let value = 0xcbf29ce484222325n;
  for (const byte of bytes) value = BigInt.asUintN(64, (value ^ BigInt(byte)) * 0x100000001b3n);
  return value.toString(16).padStart(16, '0');
}

// The pictures of `pixgen-edge sample --hashes` with these arguments: class, seed, number and hash of each.
export function sample(program, model, ...options) {
  const text = execFileSync(program, ['sample', model, '--hashes', ...options], { encoding: 'utf8' });
  return text.trim().split('\n').map((line) => {
    const [, label, seed, number, value] = line.match(/^class (\d+) seed (\d+) number (\d+) hash ([0-9a-f]{16})$/);
    return { label: Number(label), seed: BigInt(seed), number: Number(number), hash: value };
  });
}
