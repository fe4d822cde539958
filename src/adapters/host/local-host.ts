/** This host, as far as the doctor looks at files, programs and sockets of it, and changes them. */
import type { Answer, FileFacts, Rights } from '../../doctor/host.ts';
import { mustChange, runCommand } from './commands.ts';
import { asAnswer, listFolder, placeProgram, readText, setRights, statFile } from './files.ts';
import { listenersIn, listenersOf } from './listeners.ts';

export interface LocalHostOptions<Command extends string, Change extends string> {
  readonly commands: Readonly<Record<Command, readonly string[]>>;
  readonly changes: Readonly<Record<Change, readonly string[]>>;
  readonly hook: { readonly from: string; readonly to: string; readonly staged: string };
}

export class LocalHost<Command extends string, Change extends string> {
  readonly #options: LocalHostOptions<Command, Change>;

  constructor(options: LocalHostOptions<Command, Change>) {
    this.#options = options;
  }

  readText(path: string): Promise<Answer<string>> {
    return readText(path);
  }

  stat(path: string): Promise<Answer<FileFacts>> {
    return statFile(path);
  }

  list(folder: string): Promise<Answer<readonly string[]>> {
    return listFolder(folder);
  }

  run(command: Command): Promise<Answer<string>> {
    return runCommand(this.#options.commands[command]);
  }

  listeners(pid: number): Promise<Answer<readonly string[]>> {
    return asAnswer(() => listenersOf(pid));
  }

  hostListeners(): Promise<Answer<readonly string[]>> {
    return asAnswer(async () => (await listenersIn('/proc', ['tcp', 'tcp6'])).map(({ address }) => address));
  }

  setRights(path: string, rights: Rights): Promise<void> {
    return setRights(path, rights);
  }

  installHook(): Promise<void> {
    const { from, to, staged } = this.#options.hook;
    return placeProgram(from, to, staged);
  }

  change(command: Change): Promise<void> {
    return mustChange(this.#options.changes[command]);
  }
}
