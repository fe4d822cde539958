/** What the log is told of domains: each piece of news once, however often a domain is looked at. */
import type { Plan } from '../../core/plan.ts';
import { problemsOf } from '../observe.ts';
import type { Log } from '../ports/host.ts';

export class DomainNews {
  readonly #log: Log;
  /** What was last said, by domain UUID. */
  readonly #said = new Map<string, string>();

  constructor(log: Log) {
    this.#log = log;
  }

  /** What is done about each of its disks, and what is in the way. */
  say(planned: Plan): void {
    const { domain } = planned;
    const disks = planned.disks.map(({ request, action, because }) => ({
      target: request.target,
      action,
      because,
    }));
    const problems = problemsOf(planned);
    this.sayOnce(domain.uuid, JSON.stringify([disks, problems]), {
      domain: domain.uuid,
      name: domain.name,
      disks,
      problems,
    });
  }

  /** `text` is what the news are known by. */
  sayOnce(uuid: string, text: string, fields: object): void {
    if (this.#said.get(uuid) === text) return;
    this.#said.set(uuid, text);
    this.#log.info(fields, 'looked at domain');
  }

  /** The domain is gone: whatever is said next is news. */
  forget(uuid: string): void {
    this.#said.delete(uuid);
  }
}
