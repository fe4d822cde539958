/**
 * What Prometheus is told. Names begin with `lvp_`, units are seconds and bytes; those of the Go provisioner stand
 * beside them. Labels have few values: never a domain's, an image's or a volume's name.
 *
 * Nothing counts in the middle of the work: the ports are wrapped, and what can be asked is asked at each reading.
 */
import { Registry } from 'prom-client';
import { AuditMetrics } from './metrics/audit.ts';
import { FillMetrics } from './metrics/fills.ts';
import type { FillSources } from './metrics/fills.ts';
import { GateMetrics } from './metrics/gate.ts';
import { GoldenMetrics } from './metrics/goldens.ts';
import { HelperMetrics } from './metrics/helper.ts';
import type { HelperSources } from './metrics/helper.ts';
import { HttpMetrics } from './metrics/http.ts';
import { ImageMetrics } from './metrics/images.ts';
import type { ImageSources } from './metrics/images.ts';
import { JobMetrics } from './metrics/jobs.ts';
import type { JobSources } from './metrics/jobs.ts';
import { KeyMetrics } from './metrics/keys.ts';
import { LibvirtMetrics } from './metrics/libvirt.ts';
import { PrefetchMetrics } from './metrics/prefetch.ts';
import { ProgramMetrics } from './metrics/program.ts';
import { VolumeMetrics } from './metrics/volumes.ts';
import type { VolumeSources } from './metrics/volumes.ts';

/** What is asked at each reading. */
export interface MetricSources extends FillSources, HelperSources, ImageSources, JobSources, VolumeSources {
  readonly ledger: FillSources['ledger'] & JobSources['ledger'];
}

export class Metrics {
  readonly #registry = new Registry();
  readonly contentType = this.#registry.contentType;
  readonly audit = new AuditMetrics(this.#registry);
  readonly fills = new FillMetrics(this.#registry);
  readonly gate = new GateMetrics(this.#registry);
  readonly goldens = new GoldenMetrics(this.#registry);
  readonly helper = new HelperMetrics(this.#registry);
  readonly http = new HttpMetrics(this.#registry);
  readonly images = new ImageMetrics(this.#registry);
  readonly jobs = new JobMetrics(this.#registry);
  readonly keys = new KeyMetrics(this.#registry);
  readonly libvirt = new LibvirtMetrics(this.#registry);
  readonly prefetch = new PrefetchMetrics(this.#registry);
  readonly volumes = new VolumeMetrics(this.#registry);
  readonly program: ProgramMetrics;

  constructor(version: string) {
    this.program = new ProgramMetrics(this.#registry, version);
  }

  /** Once they are there; until then what they would be asked for is missing. */
  ask(sources: MetricSources): void {
    this.fills.ask(sources);
    this.helper.ask(sources);
    this.images.ask(sources);
    this.jobs.ask(sources);
    this.volumes.ask(sources);
  }

  /** All of them as they are now, in the text format. */
  render(): Promise<string> {
    return this.#registry.metrics();
  }
}
