/** What the status page shows of this host, read once for all who look. */
import { toProblem } from '../../../core/errors.ts';
import type { AuditEvents } from '../../../core/protocol/audit-protocol.ts';
import type { DomainStatus } from '../../../core/protocol/control-protocol.ts';
import type { CachedImages } from '../../../core/protocol/image-protocol.ts';
import type { Jobs } from '../../../core/protocol/job-protocol.ts';
import type { GroupSpace } from '../../../provision/ports/verbs.ts';
import type { HttpApiOptions } from '../routes.ts';
import type { Known } from './shared-reading.ts';
import { SharedReading } from './shared-reading.ts';

export const JOBS_SHOWN = 25;
const EVENTS_SHOWN = 25;

export interface Status {
  readonly domains: Known<readonly DomainStatus[]>;
  /** One more than is shown, if there are more. */
  readonly jobs: Known<Jobs>;
  readonly space: Known<readonly GroupSpace[]>;
  readonly images: Known<CachedImages>;
  /** Undefined: not for whoever asks. */
  readonly audit: Known<AuditEvents> | undefined;
}

export class StatusReadings {
  readonly #jobs: HttpApiOptions['jobs'];
  readonly #clock: HttpApiOptions['clock'];
  readonly #domains: SharedReading<readonly DomainStatus[]>;
  readonly #space: SharedReading<readonly GroupSpace[]>;
  readonly #images: SharedReading<CachedImages>;
  readonly #audit: SharedReading<AuditEvents>;

  constructor(needs: Pick<HttpApiOptions, 'jobs' | 'clock' | 'domains' | 'space' | 'images' | 'events'>) {
    const { jobs, clock, domains, space, images, events } = needs;
    this.#jobs = jobs;
    this.#clock = clock;
    this.#domains = new SharedReading('its domains', () => domains.domains(), clock);
    this.#space = new SharedReading('its volume groups', () => space.space(), clock);
    this.#images = new SharedReading('its cached images', () => images.images(), clock);
    this.#audit = new SharedReading('its audit events', () => events.audit({ limit: EVENTS_SHOWN }), clock);
  }

  /** Does not throw: what could not be read says why. */
  async read(jobsAfter: string | undefined, mayAudit: boolean): Promise<Status> {
    const [domains, jobs, space, images, audit] = await Promise.all([
      this.#domains.known(),
      this.#readJobs(jobsAfter),
      this.#space.known(),
      this.#images.known(),
      mayAudit ? this.#audit.known() : undefined,
    ]);
    return { domains, jobs, space, images, audit };
  }

  /** One question to the ledger, which takes the same time however many jobs there are. */
  async #readJobs(after: string | undefined): Promise<Known<Jobs>> {
    try {
      const jobs = await this.#jobs.jobs({ limit: JOBS_SHOWN + 1, after });
      return { value: jobs, atMs: this.#clock.nowMs() };
    } catch (error) {
      return { problem: toProblem(error) };
    }
  }
}
