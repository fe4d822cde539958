/**
 * `lvp key`: keys of encrypted volumes, made and granted by people with credentials of their own; never by the daemon,
 * which only puts one in place of another.
 */
import { addCreateKey } from './key/create.ts';
import { addGrant } from './key/grant.ts';
import { addListOfKeys, addShowKey } from './key/list.ts';
import { addRevokeKey } from './key/revoke.ts';
import { addRotateKey } from './key/rotate.ts';
import type { AddVerb } from './program/verb.ts';

export const addKey: AddVerb = (program, finish) => {
  const key = program
    .command('key')
    .description('keys of encrypted volumes, and who may read them; a key itself is never shown');
  for (const add of [addCreateKey, addGrant, addRevokeKey, addRotateKey, addListOfKeys, addShowKey])
    add(key, finish);
};
