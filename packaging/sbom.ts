/**
 * What is inside, for scanners: a CycloneDX document from the lock file. https://cyclonedx.org/docs/1.6/json/
 *
 * Not npm's own (`npm sbom`): Debian's npm is too old to have it, and its serial number and time are new each time.
 */
import { createHash } from 'node:crypto';
import type { Program, RuntimePackage } from './runtime-packages.ts';
import { NODE_FOLDER, program, runtimePackages } from './runtime-packages.ts';

/** `date` is that of the source, so that the same source gives the same document. */
export function sbom(about: Program, packages: readonly RuntimePackage[], date: Date): string {
  const byFolder = new Map(packages.map((each) => [each.folder, each]));
  const root = `pkg:generic/${about.name}@${about.version}`;
  const dependencies = [
    { ref: root, dependsOn: references(Object.keys(about.dependencies), '', byFolder) },
    ...packages.map((each) => ({
      ref: reference(each),
      dependsOn: references(each.dependencies, `${each.folder}/`, byFolder),
    })),
  ];
  const body = {
    metadata: {
      timestamp: date.toISOString(),
      component: {
        type: 'application',
        'bom-ref': root,
        ...{ name: about.name, version: about.version, description: about.description },
        licenses: [{ license: { id: about.license } }],
        purl: root,
      },
    },
    components: packages.map(component),
    dependencies,
  };
  return `${JSON.stringify({ bomFormat: 'CycloneDX', specVersion: '1.6', serialNumber: serialNumber(body), version: 1, ...body }, null, 2)}\n`;
}

function component(each: RuntimePackage) {
  return {
    type: 'library',
    'bom-ref': reference(each),
    name: each.name,
    version: each.version,
    hashes: [{ alg: 'SHA-512', content: each.sha512Hex }],
    licenses: [/[ (]/.test(each.license) ? { expression: each.license } : { license: { id: each.license } }],
    // Advisories on Node name it so, and not by the npm package that carries it.
    ...(each.folder === NODE_FOLDER ? { cpe: `cpe:2.3:a:nodejs:node.js:${each.version}:*:*:*:*:*:*:*` } : {}),
    purl: purl(each),
  };
}

/** https://github.com/package-url/purl-spec: the @ of a scope is escaped. */
function purl({ name, version }: RuntimePackage): string {
  return `pkg:npm/${name.replace('@', '%40')}@${version}`;
}

/** Two copies of one version may be installed in different places. */
function reference(each: RuntimePackage): string {
  return each.folder === `node_modules/${each.name}` ? purl(each) : `${purl(each)}#${each.folder}`;
}

/** Finds each name as Node does: in the package's own folder, then in those of the packages around it. */
function references(
  names: readonly string[],
  from: string,
  byFolder: ReadonlyMap<string, RuntimePackage>,
): string[] {
  return names.flatMap((name) => {
    for (let folder = from; ; folder = folder.slice(0, folder.lastIndexOf('node_modules/'))) {
      const found = byFolder.get(`${folder}node_modules/${name}`);
      if (found !== undefined) return [reference(found)];
      if (folder === '') return [];
    }
  });
}

/** A UUID (version 8: of our own making) that stands for exactly this content. */
function serialNumber(body: unknown): string {
  const bytes = createHash('sha256').update(JSON.stringify(body)).digest().subarray(0, 16);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x80, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  const hex = bytes.toString('hex');
  const parts = [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)];
  return `urn:uuid:${parts.join('-')}`;
}

/** The moment that SOURCE_DATE_EPOCH (seconds) names. */
export function sourceDate(): Date {
  const epoch = process.env['SOURCE_DATE_EPOCH'] ?? '';
  if (!/^\d+$/.test(epoch)) throw new Error('SOURCE_DATE_EPOCH must be set to a number of seconds');
  return new Date(Number(epoch) * 1000);
}

if (import.meta.main) process.stdout.write(sbom(program(), runtimePackages(), sourceDate()));
