/** Traces of fills, where the configuration wants them. */
import type { TracingSettings } from '../core/settings/tracing-settings.ts';
import type { FillTrace } from '../provision/ports/fill-trace.ts';
import type { Log } from '../provision/ports/host.ts';

/** Undefined without settings; nothing of OpenTelemetry is loaded then. */
export async function openTracing(
  settings: TracingSettings | undefined,
  about: { readonly version: string; readonly log: Log },
): Promise<FillTrace | undefined> {
  if (settings === undefined) return undefined;
  const { OtlpTraces } = await import('./tracing/otlp-traces.ts');
  return new OtlpTraces(settings, about);
}
