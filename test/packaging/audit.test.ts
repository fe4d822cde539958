/** packaging/audit.ts before a registry that answers, has found something, has no such service, or is not there. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';
import { CHECKOUT } from '../../packaging/runtime-packages.ts';

const ADVISORY = {
  ...{ id: 1, url: 'https://example.org/1', title: 'Reads too far' },
  ...{ severity: 'high', vulnerable_versions: '*' },
};

/** What the script says with a registry that answers so; with none at all if there is no status. */
async function audited(
  status: number | undefined,
  body: unknown = {},
): Promise<{ code: number; said: string }> {
  const registry = createServer((request, response) => {
    request.resume().on('end', () => {
      const isAsked = request.url?.endsWith('/advisories/bulk') === true;
      response.writeHead(isAsked ? (status ?? 500) : 404, { 'content-type': 'application/json' });
      response.end(JSON.stringify(isAsked ? body : {}));
    });
  });
  await new Promise<void>((resolve) => registry.listen(0, '127.0.0.1', resolve));
  const { port } = registry.address() as AddressInfo;
  const close = (): Promise<unknown> => new Promise((resolve) => registry.close(resolve));
  if (status === undefined) await close();
  const env = { npm_config_registry: `http://127.0.0.1:${port}/`, npm_config_fetch_retries: '0' };
  const { exitCode = -1, all } = await execa('node', [join(CHECKOUT, 'packaging/audit.ts')], {
    ...{ env, all: true, reject: false },
  });
  if (status !== undefined) await close();
  return { code: exitCode, said: all };
}

describe('advisories', () => {
  it('are none', async () => {
    expect(await audited(200)).toEqual({
      code: 0,
      said: 'advisories: none on the production dependencies',
    });
  });

  it('fail with what was found, and where to read about it', async () => {
    const { code, said } = await audited(200, { minio: [ADVISORY] });
    expect([code, said]).toEqual([
      1,
      expect.stringContaining('minio: high: Reads too far (https://example.org/1)'),
    ]);
  });

  it.each([['has no such service', 405] as const, ['is not there', undefined] as const])(
    'are said not to be checked by a registry that %s',
    async (_, status) => {
      const { code, said } = await audited(status);
      expect([code, said]).toEqual([0, expect.stringContaining('NOT CHECKED')]);
    },
  );

  it('fail when npm says something else', async () => {
    const { code, said } = await audited(200, { minio: 'what?' });
    expect([code, said]).toEqual([1, expect.stringContaining('npm audit has failed')]);
  });
});
