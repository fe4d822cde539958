/** What `lvp annotate` was not told: asked for on a terminal, where there is one, by what the daemon knows. */
import { ProvisionError, toProblem } from '../../core/errors.ts';
import type { DomainDisks } from '../../core/protocol/control-protocol.ts';
import type { ImageFormat } from '../../core/request.ts';
import { approximateSize } from '../../core/size.ts';
import type { Daemon } from '../daemon.ts';
import { isPlainName } from '../terminal/plain-name.ts';
import type { Asker } from '../terminal/terminal.ts';

export interface What {
  readonly vm: string;
  readonly disk: string;
  readonly image: string;
}

interface Needs {
  readonly daemon: Pick<Daemon, 'disks' | 'storedImages'>;
  /** Undefined where there is no terminal. */
  readonly asker: Asker | undefined;
  /** For what is no answer, and not the end either. */
  readonly note: (text: string) => void;
}

/** USAGE that names all that is missing, where nobody can be asked, or nobody answers. */
export async function askWhat(
  told: { readonly [Part in keyof What]: string | undefined },
  { daemon, asker, note }: Needs,
): Promise<What> {
  if (asker === undefined) return requireAll(told);
  const vm = told.vm ?? answered(await chooseDomain(daemon, asker));
  const disk = told.disk ?? answered(await chooseDisk(daemon, asker, vm));
  const image = told.image ?? answered(await chooseImage(daemon, asker, note));
  return { vm, disk, image };
}

/** Where the name of the image does not say it. */
export async function askFormat(asker: Asker): Promise<ImageFormat> {
  return answered(
    await asker.choose('Format of the image', [
      { value: 'qcow2' as const, label: 'qcow2', about: '' },
      { value: 'raw' as const, label: 'raw', about: 'the bytes of the disk as they are' },
    ]),
  );
}

/** Undefined for a disk that is not encrypted, or where nobody can be asked: then the daemon says what is missing. */
export async function askKey(
  { vm, disk }: What,
  { daemon, asker }: Omit<Needs, 'note'>,
): Promise<string | undefined> {
  if (asker === undefined) return undefined;
  const disks = (await daemon.disks(vm)).domains[0]?.disks ?? [];
  if (disks.find(({ target }) => target === disk)?.encrypted !== true) return undefined;
  return answered(await asker.text('Key of the encrypted disk, as barbican:UUID or file:NAME'));
}

function requireAll({ vm, disk, image }: { readonly [Part in keyof What]: string | undefined }): What {
  if (vm !== undefined && disk !== undefined && image !== undefined) return { vm, disk, image };
  const missing = Object.entries({ VM: vm, DISK: disk, IMAGE: image }).filter(([, one]) => one === undefined);
  throw new ProvisionError({
    code: 'USAGE',
    message: `There is no terminal to ask on, and this is missing: ${missing.map(([name]) => name).join(', ')}.`,
    hint: 'See: lvp annotate --help',
  });
}

export function answered<T>(answer: T | undefined): T {
  if (answer !== undefined && answer !== '') return answer;
  throw new ProvisionError({ code: 'USAGE', message: 'Nothing was chosen. Nothing was written.' });
}

type Disks = DomainDisks['domains'][number]['disks'];

async function chooseDomain(daemon: Needs['daemon'], asker: Asker): Promise<string | undefined> {
  const { domains } = await daemon.disks();
  const choices = domains
    .filter(({ name, disks }) => isPlainName(name) && disks.some(isFillable))
    .map(({ name, disks }) => ({ value: name, label: name, about: aboutDisks(disks) }));
  if (choices.length > 0) return asker.choose('Domain', choices);
  throw new ProvisionError({
    code: 'USAGE',
    message: 'No domain of this host has a disk on a logical volume.',
    hint: 'Define one with <disk type="volume"> in a logical pool, or <disk type="block"> on /dev/VG/LV.',
  });
}

async function chooseDisk(daemon: Needs['daemon'], asker: Asker, vm: string): Promise<string | undefined> {
  const disks = (await daemon.disks(vm)).domains[0]?.disks ?? [];
  const choices = disks.filter(isFillable).map((disk) => ({
    ...{ value: disk.target, label: disk.target },
    about: `${disk.pool ?? ''}/${disk.volume ?? ''}${disk.image === undefined ? '' : `, has ${disk.image}`}`,
  }));
  if (choices.length > 0) return asker.choose('Disk', choices);
  const [why] = disks.flatMap(({ problem }) => problem?.message ?? []);
  throw new ProvisionError({
    code: 'DISK_UNSUITABLE',
    message: `No disk of ${vm} can be filled${why === undefined ? ': it has none' : `. ${why}`}`,
  });
}

/** From the listing of the buckets; without one, as it is typed. */
async function chooseImage(
  daemon: Needs['daemon'],
  asker: Asker,
  note: (text: string) => void,
): Promise<string | undefined> {
  const typed = () => asker.text('Image, as BUCKET/KEY');
  try {
    const { images, more } = await daemon.storedImages();
    const known = images
      .filter(({ image }) => isPlainName(image))
      .map(({ image, sizeBytes, modifiedAt }) => ({
        ...{ value: image, label: image },
        about: [
          approximateSize(sizeBytes),
          ...(modifiedAt === undefined ? [] : [modifiedAt.slice(0, 10)]),
        ].join(', '),
      }));
    const others = more ? [{ value: OTHER, label: 'another one', about: 'not all are shown' }] : [];
    if (known.length === 0) return await typed();
    const chosen = await asker.choose('Image', [...known, ...others]);
    return chosen === OTHER ? await typed() : chosen;
  } catch (error) {
    const { message } = toProblem(error);
    note(`There is no list of images to choose from: ${message}`);
    return typed();
  }
}

/** No image is called so. */
const OTHER = '';

function isFillable({ volume }: Disks[number]): boolean {
  return volume !== undefined;
}

function aboutDisks(disks: Disks): string {
  return disks
    .filter(isFillable)
    .map(({ target }) => target)
    .join(', ');
}
