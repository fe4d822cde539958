/** `lvp retry VM [DISK]`. */
import { common } from './program/verb.ts';
import type { AddVerb } from './program/verb.ts';
import { onDisk } from './program/on-disk.ts';

export const addRetry: AddVerb = (program, finish) => {
  const command = program
    .command('retry')
    .description('try failed and cancelled fills of a domain, or of one disk, again at once');
  onDisk(
    common(command, ['lvp retry web1', 'lvp retry web1 vda && lvp status web1 --watch']),
    finish,
    (daemon, vm, disk) => daemon.retry(vm, disk),
  );
};
