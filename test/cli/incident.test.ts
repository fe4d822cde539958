/** Goal: freezing works with and without a daemon, says so, and ends with thaw. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ControlSocket } from '../../src/adapters/control-socket.ts';
import { serveControl } from '../../src/adapters/control-socket.ts';
import { openLedger } from '../../src/adapters/ledger.ts';
import { withoutRequest } from '../../src/cli/incident/without-request.ts';
import { FakeGarbageVerbs, FakeImageVerbs, FakeJobVerbs, FakeVerbs, JOB, silent, WEB } from './fake-verbs.ts';

const lvpPath = new URL('../../src/cli.ts', import.meta.url).pathname;

let folder: string;
let verbs: FakeVerbs;
let control: ControlSocket | undefined;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lvp-incident-'));
  verbs = new FakeVerbs();
});
afterEach(async () => {
  await control?.close();
  control = undefined;
  rmSync(folder, { recursive: true });
});

async function serve(): Promise<void> {
  control = await serveControl({
    ...{ path: join(folder, 'control.sock'), log: silent, verbs },
    ...{ images: new FakeImageVerbs(), garbage: new FakeGarbageVerbs(), jobs: new FakeJobVerbs() },
  });
}

function incident(...words: string[]) {
  const where = ['--config', join(folder, 'config.yaml'), '--socket', join(folder, 'control.sock')];
  return execa(process.execPath, [lvpPath, 'incident', ...words, ...where], {
    env: { SUDO_USER: 'eve' },
    reject: false,
  });
}

describe('lvp incident', () => {
  it('freezes with a file that the daemon only reads, tells the daemon, and thaws', async () => {
    await serve();
    const { stdout, exitCode } = await incident('freeze', '--reason', 'keys\u001b[31m leaked\nticket 4711');
    expect(exitCode).toBe(0);
    expect(stdout).toContain('Fills have been stopped');
    const path = join(folder, 'frozen');
    const [since, by, reason] = readFileSync(path, 'utf8').split('\n');
    expect(since).toMatch(/^\d{4}-\d\d-\d\dT/);
    expect([by, reason]).toEqual(['eve', 'keys [31m leaked ticket 4711']);
    expect(statSync(path).mode & 0o777).toBe(0o644);
    const again = await incident('freeze', '--reason', 'another');
    expect(again.stdout).toContain('frozen already');
    expect(readFileSync(path, 'utf8')).toContain('4711');
    expect((await incident('thaw')).stdout).toContain('Thawed');
    expect(existsSync(path)).toBe(false);
    expect((await incident('thaw')).stdout).toBe('It was not frozen.');
    expect(verbs.calls).toEqual([['look'], ['look'], ['look']]);
  });

  it('freezes without a daemon, and says who refuses then', async () => {
    const { stdout, exitCode } = await incident('freeze');
    expect(exitCode).toBe(0);
    expect(stdout).toContain('the hook refuses all starts by itself');
    expect(existsSync(join(folder, 'frozen'))).toBe(true);
  });

  it('reports what can be had and says what cannot, without any key', async () => {
    await serve();
    mkdirSync(join(folder, 'credentials'));
    writeFileSync(join(folder, 'credentials', 'minio-access-key'), 'AKIA-ROTATE-ME\n');
    writeFileSync(join(folder, 'credentials', 'minio-secret-key'), 'sEcReT/of+this=host\n');
    writeFileSync(join(folder, 'named-key'), 'another-secret');
    const named = `secret_key_file: ${folder}/named-key`;
    writeFileSync(
      join(folder, 'config.yaml'),
      `minio: { endpoint: 'https://minio.test', ${named} } # sEcReT/of+this=host\n` +
        `extra: { password: 'hunter22', webhook: 'https://x/?t=another-secret' }\nvolume_groups: [vg0]\nstate_dir: ${folder}\n`,
    );
    const { ledger } = openLedger(join(folder, 'ledger.db'));
    ledger.putBoot('AKIA-ROTATE-ME');
    ledger.close();
    const output = join(folder, 'report.tar.gz');
    const { stdout, exitCode } = await incident('report', '--output', output);
    expect([exitCode, stdout]).toEqual([0, expect.stringContaining('frozen.txt: ENOENT')]);
    expect(statSync(output).mode & 0o777).toBe(0o600);
    const inside = join(folder, 'inside');
    mkdirSync(inside);
    await execa('tar', ['-C', inside, '-xzf', output]);
    const texts = readdirSync(inside).map((name) => readFileSync(join(inside, name), 'utf8'));
    for (const secret of ['AKIA-ROTATE-ME', 'sEcReT/of', 'another-secret', 'hunter22']) {
      expect(texts.filter((text) => text.includes(secret))).toEqual([]);
    }
    expect(readFileSync(join(inside, 'domains.json'), 'utf8')).toContain('web1');
    expect(readFileSync(join(inside, 'jobs.json'), 'utf8')).toContain('web2-root');
    expect(readFileSync(join(inside, 'plans.json'), 'utf8')).toContain('is being filled');
    expect(readFileSync(join(inside, 'config.yaml'), 'utf8')).toContain(`${folder}/named-key`);
    expect(JSON.parse(readFileSync(join(inside, 'ledger.json'), 'utf8'))).toMatchObject({ fills: [] });
    expect(readFileSync(join(inside, 'index.json'), 'utf8')).toContain('frozen.txt');
  });

  it('names domains without an annotation, and volumes that belong to none and to no job', () => {
    const plain = '9d3a4b1c-0000-4000-8000-0000000000ff';
    const listed = ` ${WEB.uuid}   web1\n ${plain}   plain one\n\n`;
    const tags = (owner: string) =>
      `mine,lvp:filling,lvp:fill:${'a'.repeat(16)},lvp:target:x,lvp:domain:${owner}`;
    const row = (name: string, lv_tags: string) => ({
      ...{ vg_name: 'vg0', lv_name: name, lv_uuid: `id-${name}`, lv_size: '4.00m', lv_tags },
    });
    const lv = [
      row('web1-root', tags(WEB.uuid)),
      row('web2-root', tags(`job:${JOB.id}`)),
      ...[row('swap', ''), row('orphan', tags(plain)), row('unclear', 'lvp:ready')],
      row('forgotten', tags(`job:${plain}`)),
    ];
    const found = withoutRequest(listed, JSON.stringify({ report: [{ lv }] }), [WEB], [JOB]);
    expect(found.domains).toEqual([{ uuid: plain, name: 'plain one' }]);
    expect(found.volumes.map(({ volume }) => volume)).toEqual(
      ['swap', 'orphan', 'unclear', 'forgotten'].map((name) => `vg0/${name}`),
    );
  });

  it('says where there is nothing to freeze', async () => {
    rmSync(folder, { recursive: true });
    const { stderr, exitCode } = await incident('freeze');
    expect([exitCode, stderr]).toEqual([2, expect.stringMatching(/no folder .*--config/s)]);
    folder = mkdtempSync(join(tmpdir(), 'lvp-incident-'));
  });
});
