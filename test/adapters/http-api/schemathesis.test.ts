/** Goal: the API does what its OpenAPI document says, whatever is sent to it. Method: schemathesis, over fake verbs. */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { TestServer } from './server.ts';

/** test/prepare installs it. */
const PROGRAM = resolve(import.meta.dirname, '../../../node_modules/.cache/schemathesis/bin/schemathesis');
const EXAMPLES_PER_ROUTE = '5';

const server = new TestServer();
beforeAll(async () => {
  await server.writeTokens('all');
  await server.open({ pool: 'guests', metricsOpenTo: 'everybody' });
});
afterAll(async () => {
  await server.close();
  server.folder.remove();
});

// Where all is to be checked, it is to be there.
it.skipIf(process.env['CI'] === undefined && !existsSync(PROGRAM))(
  'schemathesis finds nothing',
  async () => {
    const run = await execa(
      PROGRAM,
      [
        ...['run', new URL('/openapi.json', server.api.url).href, '--tls-verify', 'false', '--no-color'],
        ...[
          '--phases',
          'coverage,fuzzing',
          '--max-examples',
          EXAMPLES_PER_ROUTE,
          '--generation-deterministic',
        ],
        ...['--checks', 'all', '--warnings', 'off', '--max-failures', '20'],
        // No schema says that an image is of this host's store, or that an Idempotency-Key was used before.
        ...['--exclude-checks', 'positive_data_acceptance'],
        // It would wait for the end of a job that does not end.
        ...['--exclude-path-regex', '/events$'],
        // A token of this test's own, for a server that ends with it.
        ...['-H', `X-API-Token: ${server.tokens.get('all') ?? ''}`],
      ],
      { reject: false, all: true, cwd: server.folder.path },
    );
    expect(run.exitCode, run.all).toBe(0);
  },
  600_000,
);
