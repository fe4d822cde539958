/** What was prefetched, in one small file; what is lost with it is found out again. */
import { open, readFile, rename } from 'node:fs/promises';
import { z } from 'zod';
import { ProvisionError } from '../core/errors.ts';
import type { PrefetchRecords, PrefetchedImage } from '../provision/ports/image-cache.ts';

const Records = z.strictObject({
  images: z.array(
    z.strictObject({
      image: z.string(),
      sha256: z.string().regex(/^[0-9a-f]{64}$/),
      etag: z.string(),
      version: z.string().optional(),
      sizeBytes: z.int().nonnegative(),
      atMs: z.number(),
    }),
  ),
});

export class PrefetchFile implements PrefetchRecords {
  readonly #path: string;
  /** One writing after the other. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(path: string) {
    this.#path = path;
  }

  async read(): Promise<readonly PrefetchedImage[]> {
    try {
      return Records.parse(JSON.parse(await readFile(this.#path, 'utf8'))).images;
    } catch {
      return [];
    }
  }

  write(images: readonly PrefetchedImage[]): Promise<void> {
    const text = JSON.stringify({ images });
    const mine = this.#turn.then(() => this.#replace(text));
    this.#turn = mine.catch(() => undefined);
    return mine;
  }

  async #replace(text: string): Promise<void> {
    try {
      const file = await open(`${this.#path}.new`, 'w', 0o600);
      try {
        await file.writeFile(`${text}\n`);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(`${this.#path}.new`, this.#path);
    } catch (cause) {
      throw new ProvisionError({
        code: 'STATE_FOLDER_FAILED',
        message: `${this.#path} cannot be written: ${cause instanceof Error ? cause.message : String(cause)}.`,
        hint: 'Is its file system full, read-only or damaged?',
        cause,
      });
    }
  }
}
