/**
 * Asks the registry for advisories on what goes into the package. Ends with 1 if there are any, or if npm cannot
 * ask; a registry that has no such service, or is out of reach, is said and is no failure. Of Node itself npm's
 * advisories know nothing: scanners find it in the package's SBOM.
 */
import { execa } from 'execa';
import { z } from 'zod';
import { CHECKOUT } from './runtime-packages.ts';

/** What npm prints with --json when it has its answer. */
const Report = z.object({
  auditReportVersion: z.literal(2),
  vulnerabilities: z.record(
    z.string(),
    z.object({
      severity: z.string(),
      range: z.string(),
      // An advisory, or the name of a dependency that has one.
      via: z.array(z.union([z.string(), z.object({ title: z.string(), url: z.string() })])),
    }),
  ),
});
type Report = z.infer<typeof Report>;

/** The same when the registry gave none. Any other error has a code instead. */
const Unanswered = z.object({ message: z.string().includes('/-/npm/v1/security/') });

function describe(name: string, { severity, via }: Report['vulnerabilities'][string]): string {
  const reasons = via.map((each) =>
    typeof each === 'string' ? `by ${each}` : `${each.title} (${each.url})`,
  );
  return `  ${name}: ${severity}: ${reasons.join('; ')}`;
}

interface Outcome {
  readonly exitCode: 0 | 1;
  readonly said: string;
}

async function audit(): Promise<Outcome> {
  const { stdout, stderr } = await execa('npm', ['audit', '--omit=dev', '--json'], {
    cwd: CHECKOUT,
    reject: false,
    timeout: 120_000,
  });
  const answer = jsonOf(stdout);
  const unanswered = Unanswered.safeParse(answer);
  if (unanswered.success) {
    return {
      exitCode: 0,
      said: `advisories: NOT CHECKED, this registry does not answer: ${unanswered.data.message}`,
    };
  }
  const report = Report.safeParse(answer);
  if (!report.success) return { exitCode: 1, said: `advisories: npm audit has failed: ${stdout}${stderr}` };
  const found = Object.entries(report.data.vulnerabilities);
  if (found.length === 0) return { exitCode: 0, said: 'advisories: none on the production dependencies' };
  const lines = found.map(([name, each]) => describe(name, each));
  return { exitCode: 1, said: ['advisories on the production dependencies:', ...lines].join('\n') };
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const { exitCode, said } = await audit();
process.stdout.write(`${said}\n`);
process.exitCode = exitCode;
