/**
 * Signals of org.libvirt, and which domain or pool they mean. Any local user may send signals, so the
 * sender's unique name must be the present owner of org.libvirt; and even then a signal is only a hint
 * to look again.
 */
import { isUuid } from '../../core/uuid.ts';
import type { DomainChange, LibvirtEvent } from '../../provision/ports/libvirt.ts';
import type { BusSignal } from './bus.ts';

export const LIBVIRT_NAME = 'org.libvirt';
/** libvirt-dbus's object for qemu:///system. */
export const CONNECT_PATH = '/org/libvirt/QEMU';
const DOMAIN_PREFIX = `${CONNECT_PATH}/domain/_`;

const BUS_NAME = 'org.freedesktop.DBus';

/** What the bus is asked to deliver. Redefining a domain emits DomainEvent, never MetadataChange. */
export const MATCH_RULES: readonly string[] = [
  `type='signal',sender='${BUS_NAME}',interface='${BUS_NAME}',member='NameOwnerChanged',arg0='${LIBVIRT_NAME}'`,
  ...[
    ['org.libvirt.Connect', 'DomainEvent'],
    ['org.libvirt.Connect', 'StoragePoolEvent'],
    ['org.libvirt.Domain', 'MetadataChange'],
    ['org.libvirt.StoragePool', 'Refresh'],
  ].map(
    ([interfaceName, member]) =>
      `type='signal',sender='${LIBVIRT_NAME}',interface='${String(interfaceName)}',member='${String(member)}'`,
  ),
];

/** The new owner's unique name ('' when there is none) if the signal says that org.libvirt changed hands. */
export function ownerChange(signal: BusSignal): string | undefined {
  // The bus sets the sender itself: nobody else can speak as org.freedesktop.DBus.
  if (signal.sender !== BUS_NAME || signal.member !== 'NameOwnerChanged') return undefined;
  const [name, , newOwner] = signal.body;
  return name === LIBVIRT_NAME && typeof newOwner === 'string' ? newOwner : undefined;
}

export function eventOf(signal: BusSignal): LibvirtEvent | undefined {
  switch (`${signal.interface}.${signal.member}`) {
    case 'org.libvirt.Connect.DomainEvent':
      return domainEvent(signal.body[0], changeOf(signal.body[1], signal.body[2]), signal.body[1]);
    case 'org.libvirt.Domain.MetadataChange':
      return domainEvent(signal.path, 'defined');
    case 'org.libvirt.Connect.StoragePoolEvent':
    case 'org.libvirt.StoragePool.Refresh':
      return { kind: 'pool' };
    default:
      return undefined;
  }
}

/** `/org/libvirt/QEMU/domain/_9d3a…_…` for a UUID: dashes become underscores, one stands in front. */
export function domainPath(uuid: string): string {
  return `${DOMAIN_PREFIX}${uuid.replaceAll('-', '_')}`;
}

/** The UUID in a domain's object path, or undefined for any other path. */
export function uuidOf(path: unknown): string | undefined {
  if (typeof path !== 'string' || !path.startsWith(DOMAIN_PREFIX)) return undefined;
  const uuid = path.slice(DOMAIN_PREFIX.length).replaceAll('_', '-');
  return isUuid(uuid) ? uuid : undefined;
}

const VIR_DOMAIN_EVENT_DEFINED = 0;
const VIR_DOMAIN_EVENT_STARTED = 2;
const VIR_DOMAIN_EVENT_SUSPENDED = 3;
const VIR_DOMAIN_EVENT_RESUMED = 4;
const VIR_DOMAIN_EVENT_STOPPED = 5;
const VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN = 0;
const VIR_DOMAIN_EVENT_STOPPED_DESTROYED = 1;
const VIR_DOMAIN_EVENT_STOPPED_MIGRATED = 3;

/** What a DomainEvent says of definition and guest. A crash or a failure to arrive proves nothing that could be acted on. */
function changeOf(event: unknown, detail: unknown): DomainChange | undefined {
  if (event === VIR_DOMAIN_EVENT_DEFINED) return 'defined';
  if (event === VIR_DOMAIN_EVENT_STARTED) return 'begun';
  if (event !== VIR_DOMAIN_EVENT_STOPPED) return undefined;
  switch (detail) {
    case VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN:
    case VIR_DOMAIN_EVENT_STOPPED_DESTROYED:
      return 'ended';
    case VIR_DOMAIN_EVENT_STOPPED_MIGRATED:
      return 'migrated';
    default:
      return undefined;
  }
}

function domainEvent(path: unknown, change?: DomainChange, event?: unknown): LibvirtEvent | undefined {
  const uuid = uuidOf(path);
  if (uuid === undefined) return undefined;
  const mayHaveRun = event === VIR_DOMAIN_EVENT_SUSPENDED || event === VIR_DOMAIN_EVENT_RESUMED;
  return { kind: 'domain', uuid, ...(change && { change }), ...(mayHaveRun && { mayHaveRun }) };
}
