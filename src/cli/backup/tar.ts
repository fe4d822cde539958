/** tar(1), which every Debian has: one file out of a folder, for its owner alone, and back. */
import { execa } from 'execa';

const TIME_MAX_MS = 120_000;

export async function packFolder(folder: string, file: string): Promise<void> {
  const before = process.umask(0o077);
  try {
    await execa('tar', ['-C', folder, '-czf', file, '--owner=0', '--group=0', '.'], { timeout: TIME_MAX_MS });
  } finally {
    process.umask(before);
  }
}

/** Into an empty folder; what would land outside of it is refused by tar itself. */
export async function unpackInto(file: string, folder: string): Promise<void> {
  const plainly = ['--no-same-owner', '--no-same-permissions'];
  await execa('tar', ['-C', folder, '-xzf', file, ...plainly], { timeout: TIME_MAX_MS });
}
