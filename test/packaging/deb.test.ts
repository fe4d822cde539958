/** The package as dpkg sees it: built twice, compared, and looked through. It is installed in test/host/package. */
import { mkdtemp, readFile, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CHECKOUT, NODE_FOLDER, program, runtimePackages } from '../../packaging/runtime-packages.ts';

const NAME = 'libvirt-volume-provisioner';
const LIBRARY = `usr/lib/${NAME}`;

let folder = '';
/** Two packages of one checkout, made under different circumstances. */
const built: string[] = [];
/** The unpacked first one, and its control files. */
let root = '';
let control = '';
/** Paths below root, folders with a slash at the end. */
let entries: { readonly path: string; readonly mode: string; readonly owner: string }[] = [];

/** Uncompressed: what compresses is not ours, and takes a minute. */
async function build(to: string, umask: string, zone: string): Promise<string> {
  const output = join(folder, to);
  const line = `umask ${umask}; exec packaging/build --anonymous --compression none --output "$0"`;
  const { stdout } = await execa('bash', ['-c', line, output], {
    cwd: CHECKOUT,
    env: { TZ: zone },
  });
  return stdout;
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lvp-package-'));
  built.push(await build('first', '022', 'UTC'), await build('second', '077', 'Asia/Tokyo'));
  root = join(folder, 'root');
  control = join(folder, 'control');
  await execa('dpkg-deb', ['--extract', built[0] ?? '', root]);
  await execa('dpkg-deb', ['--control', built[0] ?? '', control]);
  const { stdout } = await execa('dpkg-deb', ['--contents', built[0] ?? '']);
  entries = stdout.split('\n').map((line) => {
    const [mode = '', owner = '', , , , ...path] = line.split(/ +/);
    return { mode, owner, path: path.join(' ').replace(/^\.\//, '') };
  });
}, 300_000);
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

const files = (): string[] => entries.filter(({ mode }) => mode.startsWith('-')).map(({ path }) => path);

describe('the package', () => {
  it('is the same, byte for byte, when it is built again', async () => {
    const [first = '', second = ''] = built;
    await execa('cmp', [first, second]);
  });

  it('is as lintian wants it, but for what its overrides give a reason for', async () => {
    await execa('packaging/lint', [built[0] ?? ''], { cwd: CHECKOUT });
  }, 600_000);

  it('belongs to root, and nobody else may write any of it', () => {
    expect(entries.length).toBeGreaterThan(1000);
    expect(entries.filter(({ owner }) => owner !== 'root/root')).toEqual([]);
    const usual = new Set(['-rw-r--r--', 'drwxr-xr-x']);
    expect(entries.filter(({ mode }) => !usual.has(mode)).map(({ mode, path }) => [mode, path])).toEqual([
      ['-rwxr-xr-x', 'usr/bin/lvp'],
      ['-rwxr-xr-x', `${LIBRARY}/bin/node`],
      ['-rwxr-xr-x', `usr/sbin/${NAME}`],
    ]);
  });

  // A file below /etc is a conffile: dpkg asks about it once it was changed, and leaves it behind when it removes the rest.
  it('keeps to /usr, but for what AppArmor and needrestart look for in /etc', async () => {
    const outside = files().filter((path) => !path.startsWith('usr/'));
    expect(outside).toEqual([
      ...[`etc/apparmor.d/${NAME}`, `etc/apparmor.d/${NAME}-helper`],
      `etc/needrestart/conf.d/${NAME}.conf`,
    ]);
    const conffiles = await readFile(join(control, 'conffiles'), 'utf8');
    expect(conffiles).toBe(outside.map((path) => `/${path}\n`).join(''));
  });

  it('holds no tests, no development tools, no programs for other systems', () => {
    const foreign =
      /(^|\/)(test|tests|__tests__|fixtures?|benchmarks|\.[^/]+)\/|\.test\.|\.d\.[cm]?ts$|\.map$|\.tgz$/;
    expect(files().filter((path) => foreign.test(path))).toEqual([]);
    expect(files().filter((path) => /(darwin|win32|musl|arm64)[^/]*\.node$/.test(path))).toEqual([]);
    const modules = new Set(
      files().flatMap((path) => /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1] ?? []),
    );
    const wanted = runtimePackages().filter(({ folder: from }) => from !== NODE_FOLDER);
    expect([...modules].sort()).toEqual(
      [
        ...new Set(wanted.map(({ folder: from }) => /^node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(from)?.[1])),
      ].sort(),
    );
    for (const tool of ['vitest', 'typescript', 'eslint']) expect(modules).not.toContain(tool);
  });

  it('knows nothing of the machine it was built on', async () => {
    for (const place of [CHECKOUT, folder, tmpdir() + '/tmp.']) {
      const { exitCode, stdout } = await execa('grep', ['-rlF', place, root, control], { reject: false });
      expect([exitCode, stdout]).toEqual([1, '']);
    }
  });

  it('holds what its units and wrappers run, and runs it', async () => {
    const units = join(root, 'usr/lib/systemd/system');
    const lines = await Promise.all(
      [
        ...(await readdir(units))
          .filter((unit) => unit.endsWith('.service'))
          .map((unit) => join(units, unit)),
        ...['usr/bin/lvp', `usr/sbin/${NAME}`].map((wrapper) => join(root, wrapper)),
      ].map(async (file) => /^(?:ExecStart=|exec )(.*)$/m.exec(await readFile(file, 'utf8'))?.[1] ?? file),
    );
    expect(lines).toHaveLength(4);
    for (const word of lines
      .join(' ')
      .split(' ')
      .filter((each) => each.startsWith('/')))
      expect((await stat(join(root, word))).isFile(), word).toBe(true);
    const { stdout } = await execa(join(root, LIBRARY, 'bin/node'), [
      join(root, LIBRARY, 'src/cli.ts'),
      '--version',
    ]);
    expect(stdout).toBe(program().version);
  });

  it('has a manual page for each of its commands', async () => {
    const pages = files().filter((path) => path.startsWith('usr/share/man/'));
    expect(pages).toEqual(['usr/share/man/man1/lvp.1.gz', `usr/share/man/man8/${NAME}.8.gz`]);
    for (const page of pages) {
      // Of the moment that the package says it is from.
      const { stdout } = await execa('zcat', [join(root, page)]);
      expect(stdout).toMatch(/^\.TH .* "2023-11-14" /m);
    }
  });

  it('completes lvp in the three shells', async () => {
    for (const [shell, place] of [
      ['bash', 'bash-completion/completions/lvp'],
      ['zsh', 'zsh/vendor-completions/_lvp'],
      ['fish', 'fish/vendor_completions.d/lvp.fish'],
    ] as const) {
      await execa('cmp', [`src/cli/completion/lvp.${shell}`, join(root, 'usr/share', place)], {
        cwd: CHECKOUT,
      });
    }
  });

  it('says what it is, and what it needs', async () => {
    const text = await readFile(join(control, 'control'), 'utf8');
    expect(text).not.toContain('@VERSION@');
    expect(text).toContain(`Package: ${NAME}\nVersion: ${program().version}\nArchitecture: amd64\n`);
    // What the hook and the helper call, and is not part of every Debian.
    for (const needed of [
      'libvirt-daemon-system',
      'libvirt-dbus',
      'cryptsetup-bin',
      'lvm2',
      'curl',
      'libxml2-utils',
      'xz-utils',
    ])
      expect(text).toMatch(new RegExp(`^Depends:.* ${needed}[ ,\\n]`, 'm'));
    const scripts = ['postinst', 'postrm', 'preinst', 'prerm'];
    expect((await readdir(control)).sort()).toEqual(['conffiles', 'control', 'md5sums', ...scripts]);
    await execa('md5sum', ['--check', '--quiet', join(control, 'md5sums')], { cwd: root });
  });

  it('lists everything inside, with versions and licences', async () => {
    const docs = join(root, 'usr/share/doc', NAME);
    const sbom = JSON.parse(await readFile(join(docs, 'sbom.cdx.json'), 'utf8')) as {
      components: { 'bom-ref': string; name: string; version: string; licenses: unknown[] }[];
      dependencies: { ref: string; dependsOn: string[] }[];
    };
    expect(sbom.components.map(({ name, version }) => [name, version])).toEqual(
      runtimePackages().map(({ name, version }) => [name, version]),
    );
    const known = new Set(sbom.components.map((component) => component['bom-ref']));
    expect(known.size).toBe(sbom.components.length);
    const reached = new Set(sbom.dependencies.flatMap(({ dependsOn }) => dependsOn));
    expect(reached).toEqual(known);
    const copyright = await readFile(join(docs, 'copyright'), 'utf8');
    for (const { folder: from } of runtimePackages()) expect(copyright).toContain(`\nFiles: ${from}/*\n`);
  });
});
