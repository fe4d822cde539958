/** What people, tools and bad luck do to a host. Each deed is one step of a run, and most depend on what is there. */
import type { Deed } from './deed.ts';
import {
  arrive,
  define,
  install,
  redefine,
  replace,
  saveMemory,
  start,
  stop,
  undefine,
} from './domain-deeds.ts';
import {
  changeSpace,
  cutPower,
  failRefresh,
  killDaemon,
  killHelper,
  passTime,
  replaceDigest,
  replaceImage,
  reprovision,
  spoof,
  toggleLibvirt,
  togglePool,
  toggleStore,
  useVerb,
} from './host-deeds.ts';
import { cancelJob, createJob, retryJob } from './job-deeds.ts';
import { cryptoErase, exchangeKey, rotateKey, silenceServer, withdrawGrant } from './key-deeds.ts';
import {
  checkGolden,
  damageGolden,
  evictGolden,
  fillThinPool,
  openGoldenUp,
  pinGolden,
  removeGolden,
  retireGoldens,
} from './thin-deeds.ts';
import { deleteVolume, letGuestsWrite, makeForeign, openForeign } from './volume-deeds.ts';

/** In runs with encrypted volumes. */
export const KEY_DEEDS: readonly Deed[] = [
  ...[define, define, start, start, start, stop, killHelper, cutPower],
  ...[rotateKey, rotateKey, rotateKey, rotateKey, rotateKey, rotateKey, rotateKey, rotateKey],
  ...[cryptoErase, cryptoErase, cryptoErase],
  ...[withdrawGrant, withdrawGrant, silenceServer, exchangeKey, saveMemory, saveMemory],
];

/** In runs with a thin pool. */
export const THIN_DEEDS: readonly Deed[] = [
  ...[define, redefine, undefine, start, start, reprovision],
  ...[
    evictGolden,
    evictGolden,
    checkGolden,
    checkGolden,
    damageGolden,
    removeGolden,
    openGoldenUp,
    fillThinPool,
    pinGolden,
    pinGolden,
    retireGoldens,
  ],
];

/** Each as often as it stands here. */
export const DEEDS: readonly Deed[] = [
  ...[define, define, define, define, redefine, redefine, redefine, undefine, undefine, undefine, replace],
  ...[start, start, start, start, stop, stop, install, install, arrive, saveMemory, saveMemory],
  ...[makeForeign, makeForeign, openForeign, deleteVolume, deleteVolume, useVerb, useVerb],
  ...[reprovision, reprovision, reprovision],
  ...[createJob, createJob, createJob, createJob, cancelJob, cancelJob, retryJob],
  ...[
    togglePool,
    failRefresh,
    toggleLibvirt,
    toggleStore,
    toggleStore,
    replaceImage,
    replaceDigest,
    changeSpace,
  ],
  ...[killDaemon, killDaemon, killDaemon, killHelper, killHelper, cutPower, spoof],
  ...[letGuestsWrite, letGuestsWrite, passTime],
];
