/** Encrypted volumes, and what opens them. */
import type { Mutant } from './mutant.ts';

export const ENCRYPTION: readonly Mutant[] = [
  {
    name: 'an encrypted disk is filled plain',
    killedBy: 'never-plain',
    changes: [
      {
        file: 'provision/fill/fill-volume.ts',
        from: "'seal' in task ? task.seal.encryption !== undefined : request.key !== undefined;",
        to: "'seal' in task && task.seal.encryption !== undefined;",
      },
      {
        file: 'provision/fill/fill-volume.ts',
        from: 'request.key === undefined ? write() : throughLuks(needs, volume, request.key, run, write)',
        to: 'request.key === undefined || throughLuks.length > 0 ? write() : write()',
      },
      {
        file: 'provision/fill/seal-of-fill.ts',
        from: "...(request.key === undefined ? {} : { encryption: 'luks1' }),",
        to: '',
      },
    ],
  },
  {
    name: 'a fill writes beside the mapping of its encrypted volume',
    killedBy: 'never-plain',
    changes: [
      {
        file: 'provision/fill/fill-volume.ts',
        from: 'request.key === undefined ? write() : throughLuks(needs, volume, request.key, run, write)',
        to: 'request.key === undefined || throughLuks.length > 0 ? write() : write()',
      },
      {
        file: 'provision/fill/write-image.ts',
        from: 'privateName(volume.fillId), volume.encryption)',
        to: 'privateName(volume.fillId))',
      },
      {
        file: 'helper/owner-of-node.ts',
        from: "if ('encryption' in volume && volume.encryption !== undefined) await devices.takeBack(row);",
        to: "if (volume.fillId === '') await devices.takeBack(row);",
      },
    ],
  },
  {
    name: 'a volume that is encrypted otherwise than its disk says is started on',
    killedBy: 'never-plain',
    changes: [
      {
        file: 'core/plan/input.ts',
        from: 'return (encryption !== undefined) === (key !== undefined);',
        to: 'return encryption === undefined || key !== null;',
      },
      {
        file: 'provision/keys/hand-over-keys.ts',
        from: 'if (key === undefined && !isSealedEncrypted) return undefined;',
        to: 'if (key === undefined || !isSealedEncrypted) return undefined;',
      },
    ],
  },
  {
    name: 'an encrypted volume is published whatever its key is by then',
    killedBy: 'only-granted-keys',
    changes: [
      {
        file: 'helper/publish.ts',
        from: 'if (!(await tools.luks.opens(row, slot, key))) throw keyWrong(row);',
        to: 'void [slot, keyWrong];',
      },
    ],
  },
  {
    name: 'a key is handed over without a look at what it opens',
    killedBy: 'only-granted-keys',
    changes: [
      {
        file: 'provision/keys/handed-secrets.ts',
        from: 'await luks.checkLuks(vg, seal, key);',
        to: 'void [luks, vg, seal];',
      },
    ],
  },
  {
    name: 'what was handed over once is not asked for again',
    killedBy: 'only-granted-keys',
    changes: [
      {
        file: 'provision/keys/handed-secrets.ts',
        from: 'const holder = { uuid, key: disk.key };',
        to: 'const holder = { uuid, key: disk.key }; if (this.#handed.has(path)) return undefined;',
      },
    ],
  },
  {
    name: 'the annotation names a key before that opens the volume',
    killedBy: 'annotated-key-opens',
    changes: [
      {
        file: 'provision/keys/rotate-key.ts',
        from: `    if (await isToBeAdded(needs, rotation, old, added)) await letOpen(needs, rotation, old, added);
    else await requireUnfinished(needs, rotation, added);
    if (!isAnnotated(rotation)) await annotate(needs, rotation);`,
        to: `    const isAdding = await isToBeAdded(needs, rotation, old, added);
    if (!isAnnotated(rotation)) await annotate(needs, rotation);
    if (isAdding) await letOpen(needs, rotation, old, added);
    else await requireUnfinished(needs, rotation, added);`,
      },
    ],
  },
  {
    name: 'the old key is removed whatever the annotation says',
    killedBy: 'annotated-key-opens',
    changes: [
      {
        file: 'provision/keys/rotate-key.ts',
        from: '    if (!isAnnotated(rotation)) await annotate(needs, rotation);',
        to: `    await needs.luks.keepOnlyLuksKey(rotation.volume.vg, rotation.seal, added);
    if (!isAnnotated(rotation)) await annotate(needs, rotation);`,
      },
    ],
  },
  {
    name: 'a key is replaced while memory is saved that names it',
    killedBy: 'saved-untouched',
    changes: [
      {
        file: 'provision/keys/key-subject.ts',
        from: 'if (await domains.hasManagedSave(found.uuid)) {',
        to: "if ((await domains.hasManagedSave(found.uuid)) && found.uuid === '') {",
      },
    ],
  },
  {
    name: 'a rotation that was cut off is not gone on with',
    killedBy: 'ready-in-the-end',
    changes: [{ file: 'provision/keys/key-changes.ts', from: 'this.#goOn(change);\n', to: '\n' }],
  },
  {
    name: 'a volume is called erased, and is not',
    killedBy: 'erased-for-good',
    changes: [
      { file: 'helper/luks-keys.ts', from: 'await tools.luks.erase(row);', to: '' },
      {
        file: 'helper/luks-keys.ts',
        from: 'if (header.slots.length > 0) throw',
        to: 'if (header.slots.length > 8) throw',
      },
    ],
  },
  {
    name: 'a guest starts on a volume whose erasure was cut off',
    killedBy: 'erased-for-good',
    changes: [
      {
        file: 'core/key/key-change.ts',
        from: "if (change?.what === 'erase') return 'erasing';",
        to: "if (change?.what === 'erase') return 'unfinished';",
      },
    ],
  },
  {
    name: 'what opened the disk of a guest stays when that has ended',
    killedBy: 'keys-taken-back',
    changes: [
      {
        file: 'provision/keys/guest-keys.ts',
        from: 'await this.#secrets.unset(path, isIdle, changed);',
        to: 'void isIdle;',
      },
    ],
  },
  {
    name: 'a key that was tried stays in memory',
    killedBy: 'keys-taken-back',
    changes: [{ file: 'provision/keys/guest-keys.ts', from: 'limit)).wipe();', to: 'limit));' }],
  },
];
