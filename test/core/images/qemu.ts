/** Makes images with qemu-img and qemu-io, and asks qemu-img what they hold. */
import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { seededRandom } from './random.ts';

export interface Recipe {
  readonly name: string;
  readonly sizeBytes: number;
  /** `-o` of qemu-img create, or of convert for compressed images. */
  readonly options: readonly string[];
  /** Made by `qemu-img convert -c` out of a written image. */
  readonly compressed?: boolean;
  /** Writes, discards and zeroes by qemu-io; after the compression for compressed images too. */
  readonly operations: number;
  readonly seed: number;
}

function run(program: string, ...args: string[]): string {
  return execFileSync(program, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 60_000,
  });
}

function operations(recipe: Recipe, salt: number): string[] {
  const random = seededRandom(recipe.seed + salt);
  const commands: string[] = [];
  for (let index = 0; index < recipe.operations; index++) {
    const lengthBytes = Math.min(recipe.sizeBytes, 512 * (1 + Math.floor(random() * random() * 700)));
    const offsetBytes = 512 * Math.floor((random() * (recipe.sizeBytes - lengthBytes)) / 512);
    const kind = random();
    const pattern = 1 + Math.floor(random() * 255);
    const range = `${offsetBytes} ${lengthBytes}`;
    if (kind < 0.6) commands.push('-c', `write -q -P ${pattern} ${range}`);
    else if (kind < 0.75) commands.push('-c', `write -q -z ${range}`);
    else if (kind < 0.85) commands.push('-c', `write -q -z -u ${range}`);
    else commands.push('-c', `discard -q ${range}`);
  }
  return commands;
}

/** Writes the image file and answers with its path. */
export function makeImage(folder: string, recipe: Recipe): string {
  const path = join(folder, `${recipe.name}.qcow2`);
  const options = recipe.options.length === 0 ? [] : ['-o', recipe.options.join(',')];
  if (recipe.compressed === true) {
    const source = join(folder, `${recipe.name}.source`);
    run('qemu-img', 'create', '-q', '-f', 'qcow2', source, String(recipe.sizeBytes));
    run('qemu-io', '-f', 'qcow2', ...operations(recipe, 0), source);
    run('qemu-io', '-f', 'qcow2', ...textWrites(folder, recipe), source);
    run('qemu-img', 'convert', '-q', '-c', '-f', 'qcow2', '-O', 'qcow2', ...options, source, path);
    rmSync(source);
    run('qemu-io', '-f', 'qcow2', ...operations({ ...recipe, operations: recipe.operations >> 2 }, 1), path);
  } else {
    run('qemu-img', 'create', '-q', '-f', 'qcow2', ...options, path, String(recipe.sizeBytes));
    if (recipe.operations > 0) run('qemu-io', '-f', 'qcow2', ...operations(recipe, 0), path);
  }
  return path;
}

/** Content that compresses neither to nothing nor not at all: this program's own text, at odd places. */
function textWrites(folder: string, recipe: Recipe): string[] {
  const random = seededRandom(recipe.seed + 7);
  const lengthBytes = 40 * 512;
  if (recipe.sizeBytes <= lengthBytes) return ['-c', 'write -q -P 1 0 512'];
  return Array.from({ length: 12 }, () => {
    const offsetBytes = 512 * Math.floor((random() * (recipe.sizeBytes - lengthBytes)) / 512);
    return ['-c', `write -q -s ${join(folder, 'text')} ${offsetBytes} ${lengthBytes}`];
  }).flat();
}

/** The disk as QEMU reads it. */
export function convert(path: string): Buffer {
  const raw = `${path}.raw`;
  run('qemu-img', 'convert', '-q', '-f', 'qcow2', '-O', 'raw', path, raw);
  const bytes = readFileSync(raw);
  rmSync(raw);
  return bytes;
}
