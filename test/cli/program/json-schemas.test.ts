/**
 * Goal: what --json prints does not change under those who read it. Method: the schemas of all verbs against the
 * document of them, which only grows, and against what lvp prints.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Command } from 'commander';
import { execa } from 'execa';
import { format, resolveConfig } from 'prettier';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { ControlSocket } from '../../../src/adapters/control-socket.ts';
import { serveControl } from '../../../src/adapters/control-socket.ts';
import { JSON_SCHEMAS } from '../../../src/cli/program/json-schemas.ts';
import { buildProgram } from '../../../src/cli/program/program.ts';
import { examplesOf } from '../../../src/cli/program/verb.ts';
import { ErrorBody } from '../../../src/core/protocol/control-protocol.ts';
import {
  EVENTS,
  FAILED_JOB,
  FakeGarbageVerbs,
  FakeImageVerbs,
  FakeJobVerbs,
  FakeKeyVerbs,
  FakeVerbs,
  JOB,
  silent,
} from '../fake-verbs.ts';

const DOCUMENT = new URL('../../../docs/lvp.schema.json', import.meta.url);
const cli = path.resolve(import.meta.dirname, '../../../src/cli.ts');

function verbsBelow(command: Command, name = ''): readonly (readonly [string, Command])[] {
  if (command.commands.length === 0) return [[name, command]];
  return command.commands.flatMap((below) => verbsBelow(below, `${name} ${below.name()}`.trim()));
}
// Only completion scripts call it.
const verbs = verbsBelow(buildProgram(() => undefined)).filter(([name]) => name !== 'complete');

describe('the schemas of --json', () => {
  it('are there for every verb, as is an example', () => {
    expect(Object.keys(JSON_SCHEMAS).sort()).toEqual(verbs.map(([name]) => name).sort());
    for (const [name, verb] of verbs) expect([name, examplesOf(verb).length]).not.toEqual([name, 0]);
  });

  it('are those of docs/lvp.schema.json', async () => {
    const all = Object.entries(JSON_SCHEMAS).map(([name, schema]): [string, object] => [
      `lvp ${name}`,
      z.toJSONSchema(schema, { io: 'output' }),
    ]);
    const document = {
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      title: 'What lvp prints with --json, by verb',
      description: 'Fields are added, and never renamed. A failure is the error of every verb.',
      $defs: { ...(Object.fromEntries(all) as object), error: z.toJSONSchema(ErrorBody) as object },
    };
    const options = await resolveConfig(DOCUMENT.pathname);
    const made = await format(JSON.stringify(document), { ...(options ?? {}), parser: 'json' });
    await expect(made).toMatchFileSnapshot(DOCUMENT.pathname);
  });
});

describe('what is printed with --json', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'lvp-json-'));
  const socket = path.join(folder, 'control.sock');
  let server: ControlSocket;
  beforeAll(async () => {
    server = await serveControl({
      ...{ path: socket, log: silent, verbs: new FakeVerbs(), images: new FakeImageVerbs() },
      ...{ garbage: new FakeGarbageVerbs(), jobs: new FakeJobVerbs(), keys: new FakeKeyVerbs() },
      audit: { audit: () => Promise.resolve({ events: EVENTS, more: false }) },
      metrics: { contentType: 'text/plain', render: () => Promise.resolve('up 1\n') },
    });
  });
  afterAll(async () => {
    await server.close();
    rmSync(folder, { recursive: true });
  });

  it.each([
    ['list', []],
    ['status', ['web1']],
    ['annotate', ['web1', 'vda', 'images/a.raw', '--dry-run']],
    ['explain', ['web1']],
    ['reprovision', ['web1', 'vda', '--confirm', 'web1/vda']],
    ['job list', []],
    ['job status', [FAILED_JOB.id]],
    ['job cancel', [JOB.id]],
    ['handover', ['db1']],
    ['gc', ['--dry-run']],
    ['image ls', ['--stored']],
    ['image verify', ['images/a', '--format', 'raw']],
    ['token create', ['ci', '--file', path.join(folder, 'tokens')]],
    ['token list', ['--file', path.join(folder, 'tokens')]],
    ['key rotate', ['web1', 'vda', '--to', 'file:new']],
    ['incident crypto-erase', ['vg0/web1-root', '--confirm', 'vg0/web1-root']],
    ['audit', []],
    ['metrics', []],
    ['completion', ['bash']],
  ])('by %s is as its schema says, and nothing beside it', async (verb, args) => {
    const words = [...verb.split(' '), ...args, '--json'];
    const { stdout } = await execa(process.execPath, [cli, ...words], {
      env: { LVP_SOCKET: socket },
      reject: false,
    });
    const printed: unknown = JSON.parse(stdout);
    expect(ErrorBody.safeParse(printed).success).toBe(false);
    // Zod leaves out what a schema does not know.
    expect(JSON_SCHEMAS[verb]?.parse(printed)).toEqual(printed);
  });
});
