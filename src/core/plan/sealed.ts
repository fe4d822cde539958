/** Volumes with a seal, or set aside to receive: the proof that counts most. */
import type { Problem } from '../errors.ts';
import { keyStateProblem } from '../key/key-change.ts';
import { describeOwner } from '../owner.ts';
import type { VolumeRequest } from '../request.ts';
import type { LocatedVolume } from '../volume/locate.ts';
import type { ReceivingMark, Seal } from '../volume/volume.ts';
import { imageTag } from '../volume/volume.ts';
import type { Decided } from './decision.ts';
import { refuse, refuseByPolicy, refuseOther } from './decision.ts';
import { decideHeld } from './held.ts';
import type { PlanInput } from './input.ts';
import { isEarlierTry, isEncryptedAs, recordOf, volumeOf } from './input.ts';
import { volumeKey } from './planned-fill.ts';

export function decideSealed(
  input: PlanInput,
  disk: LocatedVolume,
  seal: Seal,
  refusal: Problem | undefined,
): Decided {
  const { request } = disk;
  if (isCutOffInactive(input, disk, seal)) {
    const record = recordOf(input, disk);
    const held = record?.state === 'failed' ? decideHeld(input, disk, record) : undefined;
    return (
      held ?? [{ action: 'finish', fillId: seal.fillId, seal }, 'it is published, but for its activation']
    );
  }
  if (seal.domainUuid !== input.domain.uuid) {
    if (!isEarlierTry(input, seal.domainUuid) || !isSealFor(seal, request)) {
      return refuseOther(disk, `published for ${describeOwner(seal.domainUuid)}`, seal.domainUuid);
    }
    // To give it to this domain is as good as filling it for this domain.
    if (refusal !== undefined) return refuseByPolicy(refusal);
    return [
      { action: 'claim', fillId: seal.fillId, seal },
      'it was filled for an earlier try to start this guest',
    ];
  }
  if (!isEncryptedAs(seal, request)) return refuseEncryption(disk, seal);
  if (seal.generation !== request.generation) {
    const [decision, because] = refuseGeneration(input, disk, seal);
    return [{ ...decision, sealed: { fillId: seal.fillId, sha256: seal.sha256 } }, because];
  }
  const drifts = [
    ...(seal.image === imageTag(request.image) ? [] : [`the volume was filled from ${seal.image}`]),
    ...(request.sha256 === undefined || request.sha256 === seal.sha256
      ? []
      : [`the volume was filled from an image with SHA-256 ${seal.sha256}`]),
  ];
  const drift =
    drifts.length === 0
      ? undefined
      : `${drifts.join(', ')}; the annotation has changed since (\`lvp reprovision ${input.domain.name} ${request.target}\` makes the content again)`;
  return [
    { action: 'none', fillId: seal.fillId, sha256: seal.sha256, drift },
    [
      drift ?? 'the volume is sealed with what the annotation asks for',
      ...(input.keyStates.get(seal.fillId) === 'unfinished'
        ? ['its key is being replaced, which goes on by itself while the domain is stopped']
        : []),
    ].join('; '),
  ];
}

/**
 * A thin volume gets its name before its node. Once the ledger has called it ready, whoever deactivates it has
 * reasons.
 */
function isCutOffInactive(input: PlanInput, disk: LocatedVolume, seal: Seal): boolean {
  const found = volumeOf(input, disk);
  const record = recordOf(input, disk);
  return (
    found?.thinPool !== undefined &&
    !found.active &&
    seal.domainUuid === input.domain.uuid &&
    record?.fillId === seal.fillId &&
    record.state !== 'ready'
  );
}

function isSealFor(seal: Seal, request: VolumeRequest): boolean {
  const isSameDigest = request.sha256 === undefined || request.sha256 === seal.sha256;
  return (
    isSameDigest &&
    isEncryptedAs(seal, request) &&
    seal.image === imageTag(request.image) &&
    seal.generation === request.generation
  );
}

/** Nobody can open it any more, or its key is being changed. It stays that domain's all the same. */
export function refuseByKey(
  { domain, keyStates }: PlanInput,
  disk: LocatedVolume,
  seal: Seal,
): Decided | undefined {
  const problem = keyStateProblem(keyStates.get(seal.fillId), volumeKey(disk.location));
  if (problem === undefined) return undefined;
  const sealed = seal.domainUuid === domain.uuid ? { fillId: seal.fillId, sha256: seal.sha256 } : undefined;
  return [{ action: 'refuse', problem, sealed }, problem.message];
}

export function decideReceiving(
  input: PlanInput,
  disk: LocatedVolume,
  mark: ReceivingMark,
  refusal: Problem | undefined,
): Decided {
  if (mark.domainUuid !== input.domain.uuid) {
    return refuseOther(disk, `set aside for domain ${mark.domainUuid}, which is to arrive`);
  }
  if (!isEncryptedAs(mark, disk.request)) return refuseEncryption(disk, mark);
  if (mark.generation !== disk.request.generation) return refuseGeneration(input, disk, mark);
  // Whoever handed it over may have said another name.
  if (refusal !== undefined) return refuseByPolicy(refusal);
  const because = `Volume ${volumeKey(disk.location)} is set aside to receive what this domain brings along by migration.`;
  const problem: Problem = {
    code: 'VOLUME_STATE',
    message: because,
    hint: 'Migrate the domain to this host; it is sealed once the guest runs here. If the domain does not come, delete the volume (virsh vol-delete).',
  };
  return [{ action: 'refuse', problem, receives: true }, because];
}

function refuseEncryption({ location }: LocatedVolume, { encryption }: Pick<Seal, 'encryption'>): Decided {
  const [is, wanted] = encryption === undefined ? ['not encrypted', 'is'] : ['encrypted', 'is not'];
  return refuse(
    'VOLUME_STATE',
    `Volume ${volumeKey(location)} is ${is}, and its disk ${wanted}.`,
    'It was left untouched. Have the disk say what the volume is; or, to have it made anew, delete it (virsh vol-delete) and run `lvp retry`.',
  );
}

function refuseGeneration(
  { domain }: PlanInput,
  disk: LocatedVolume,
  { generation }: Pick<Seal, 'generation'>,
): ReturnType<typeof refuse> {
  const { location, request } = disk;
  return refuse(
    'VOLUME_GENERATION',
    `Volume ${volumeKey(location)} holds generation ${generation}, the annotation of ${request.target} asks for generation ${request.generation}.`,
    `A published volume is never written again unasked: set the generation back, or run \`lvp reprovision ${domain.name} ${request.target}\` to have its content made again; what it holds now is lost.`,
  );
}
