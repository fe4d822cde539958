/**
 * One small file for each unfinished fill. Files and not rows of the ledger: a checkpoint comes many times
 * a second and may be lost, a row is written a few times in a fill's life and stops the whole program until
 * the disk has it.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { ProvisionError } from '../core/errors.ts';
import type { FillCheckpoint, FillJournals } from '../provision/ports/fill-journals.ts';

const FILL_ID = /^[0-9a-f]{16}$/;
const count = z.int().nonnegative();

const Checkpoint = z.strictObject({
  engine: count,
  volumeUuid: z.string(),
  volumeSizeBytes: count,
  image: z.string(),
  etag: z.string(),
  version: z.string().optional(),
  objectSizeBytes: count,
  fingerprint: z.string(),
  objectBytes: count.multipleOf(64),
  hashState: z.string().regex(/^[0-9a-f]{64}$/),
  zeroedToBytes: count,
  writtenBytes: count,
  zeroedBytes: count,
});

export class JournalFolder implements FillJournals {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  async read(fillId: string): Promise<FillCheckpoint | undefined> {
    const text = await readFile(this.#file(fillId), 'utf8').catch(() => '');
    const [digest, body] = text.split('\n');
    if (digest === undefined || body === undefined || digest !== digestOf(body)) return undefined;
    const parsed = Checkpoint.safeParse(JSON.parse(body));
    if (!parsed.success) return undefined;
    return parsed.data.objectBytes <= parsed.data.objectSizeBytes ? parsed.data : undefined;
  }

  async write(fillId: string, checkpoint: FillCheckpoint): Promise<void> {
    const file = this.#file(fillId);
    const body = JSON.stringify(checkpoint);
    const handle = await open(`${file}.new`, 'w', 0o600).catch(async () => {
      await mkdir(this.#folder, { recursive: true, mode: 0o700 });
      return open(`${file}.new`, 'w', 0o600);
    });
    try {
      await handle.writeFile(`${digestOf(body)}\n${body}\n`);
      await handle.datasync();
    } finally {
      await handle.close();
    }
    // The folder itself is not synced: a rename that a power cut takes back leaves the checkpoint before.
    await rename(`${file}.new`, file);
  }

  async remove(fillId: string): Promise<void> {
    const file = this.#file(fillId);
    try {
      await rm(`${file}.new`, { force: true });
      if (!existsSync(file)) return;
      await rm(file, { force: true });
      await this.#syncFolder();
    } catch (cause) {
      throw new ProvisionError({
        code: 'STATE_FOLDER_FAILED',
        message: `The journal ${file} cannot be removed: ${cause instanceof Error ? cause.message : String(cause)}.`,
        hint: 'Is its file system full, read-only or damaged?',
        cause,
      });
    }
  }

  async keepOnly(fillIds: ReadonlySet<string>): Promise<void> {
    const names = await readdir(this.#folder).catch(() => []);
    for (const name of names) {
      const fillId = name.replace(/\.json(\.new)?$/, '');
      if (!fillIds.has(fillId)) await rm(join(this.#folder, name), { force: true });
    }
  }

  async #syncFolder(): Promise<void> {
    const handle = await open(this.#folder, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  }

  #file(fillId: string): string {
    if (!FILL_ID.test(fillId)) throw new TypeError(`not a fill id: ${fillId}`);
    return join(this.#folder, `${fillId}.json`);
  }
}

function digestOf(body: string): string {
  return createHash('sha256').update(body).digest('hex');
}
