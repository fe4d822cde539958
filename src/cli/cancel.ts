/** `lvp cancel VM [DISK]`. */
import { common } from './program/verb.ts';
import type { AddVerb } from './program/verb.ts';
import { onDisk } from './program/on-disk.ts';

export const addCancel: AddVerb = (program, finish) => {
  const command = program
    .command('cancel')
    .description('stop the fills of a domain, or of one disk, until they are retried');
  onDisk(common(command, ['lvp cancel web1', 'lvp cancel web1 vdb']), finish, (daemon, vm, disk) =>
    daemon.cancel(vm, disk),
  );
};
