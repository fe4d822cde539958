/** Loop devices over sparse files. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Cleanup } from './shell.ts';
import { run } from './shell.ts';

export function attachDevice(folder: string, name: string, sizeBytes: number, cleanup: Cleanup): string {
  const file = join(folder, name);
  cleanup.add(() => {
    rmSync(file, { force: true });
  });
  run('truncate', ['--size', String(sizeBytes), file]);
  const device = run('losetup', ['--find', '--show', file]).trim();
  cleanup.add(() => run('losetup', ['--detach', device]));
  return device;
}
