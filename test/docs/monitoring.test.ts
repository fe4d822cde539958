/**
 * Goal: what docs/monitoring gives to administrators works with the metrics that there are. Method: promtool on metrics,
 * rules and their tests; the dashboard against what Grafana needs of one, with all of its queries through promtool.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { Metrics } from '../../src/adapters/metrics.ts';

const FOLDER = join(import.meta.dirname, '../../docs/monitoring');
/** Put there by test/prepare. */
const PROMTOOL = join(import.meta.dirname, '../../node_modules/.cache/promtool');
const GRID_COLUMNS = 24;

let text: string;
/** As queries may name them. */
let names: ReadonlySet<string>;

beforeAll(async () => {
  const metrics = new Metrics('1.2.3');
  metrics.http.setExpiry('server-certificate', 1);
  text = await metrics.render();
  const histograms = [...text.matchAll(/^# TYPE (\S+) histogram$/gm)].flatMap(([, name = '']) =>
    ['_bucket', '_sum', '_count'].map((end) => name + end),
  );
  const others = [...text.matchAll(/^# TYPE (\S+) (?:gauge|counter)$/gm)].map(([, name = '']) => name);
  names = new Set([...histograms, ...others]);
});

const promtool = (...args: readonly string[]) => execa(PROMTOOL, args, { cwd: FOLDER, all: true });

/** Names in a query that are of ours. */
function namesIn(query: string): string[] {
  return query.match(/\b(lvp|process|libvirt_volume_provisioner)_\w+/g) ?? [];
}

/** Stops if promtool cannot parse them. */
async function parseQueries(queries: readonly string[]): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'queries-'));
  const rules = queries.map((expr, index) => ({ record: `query:${index}`, expr }));
  const file = join(folder, 'queries.json');
  // JSON is YAML.
  writeFileSync(file, JSON.stringify({ groups: [{ name: 'queries', rules }] }));
  await promtool('check', 'rules', file).finally(() => {
    rmSync(folder, { recursive: true });
  });
}

describe('the metrics', () => {
  it('keep to the conventions', async () => {
    const { stdout, stderr, exitCode } = await execa(PROMTOOL, ['check', 'metrics'], {
      input: text,
      reject: false,
    });
    expect([stdout, stderr, exitCode]).toEqual(['', '', 0]);
  });

  it('are all in README.md, and no others', () => {
    const readme = readFileSync(join(FOLDER, 'README.md'), 'utf8');
    for (const [, name = ''] of text.matchAll(/^# TYPE (\S+) /gm)) expect(readme).toContain(`\`${name}`);
    const known = [...text.matchAll(/^# TYPE (\S+) /gm)].map(([, name]) => name);
    for (const [, name = ''] of readme.matchAll(/^\| (.*?) \|/gm))
      for (const [, one] of name.matchAll(/`(\w+)`/g)) expect(known).toContain(one);
  });
});

describe('the alerts', () => {
  it('are rules that fire when they should, and only then', async () => {
    await promtool('check', 'rules', 'rules.yaml');
    const { all } = await promtool('test', 'rules', 'rules-tests.yaml');
    expect(all).toContain('SUCCESS');
  });

  it('go by metrics that there are, and each has a test', () => {
    const rules = readFileSync(join(FOLDER, 'rules.yaml'), 'utf8');
    const tests = readFileSync(join(FOLDER, 'rules-tests.yaml'), 'utf8');
    for (const name of namesIn(rules)) expect(names).toContain(name);
    const alerts = [...rules.matchAll(/- alert: (\w+)/g)].map(([, name = '']) => name);
    expect(alerts.length).toBeGreaterThan(10);
    for (const name of alerts) expect(tests).toContain(`- alertname: ${name}\n`);
  });
});

const DataSource = z.strictObject({ type: z.literal('prometheus'), uid: z.literal('${datasource}') });
const count = z.int().min(0);
const GridPos = z.strictObject({ x: count, y: count, w: z.int().min(1), h: z.int().min(1) });
const Row = z.strictObject({
  ...{ id: count, type: z.literal('row'), title: z.string().min(1), collapsed: z.literal(false) },
  ...{ gridPos: GridPos, panels: z.tuple([]) },
});
const Panel = z.strictObject({
  ...{ id: count, type: z.enum(['stat', 'timeseries']), title: z.string().min(1) },
  ...{ description: z.string().min(1), datasource: DataSource, gridPos: GridPos, options: z.object({}) },
  fieldConfig: z.looseObject({
    defaults: z.looseObject({ unit: z.enum(['none', 's', 'bytes', 'Bps', 'percentunit']) }),
    overrides: z.tuple([]),
  }),
  targets: z
    .array(
      z.strictObject({
        ...{ refId: z.string().regex(/^[A-Z]$/), datasource: DataSource, expr: z.string().min(1) },
        ...{ legendFormat: z.string(), instant: z.boolean().optional() },
      }),
    )
    .min(1),
});
const Dashboard = z.looseObject({
  uid: z.string().regex(/^[A-Za-z0-9_-]{1,40}$/),
  ...{ title: z.string().min(1), schemaVersion: z.int().min(36), version: count, refresh: z.string() },
  time: z.strictObject({ from: z.string(), to: z.string() }),
  annotations: z.strictObject({ list: z.array(z.unknown()) }),
  templating: z.strictObject({ list: z.array(z.looseObject({ name: z.string(), type: z.string() })) }),
  panels: z.array(z.union([Row, Panel])).min(1),
});

describe('the dashboard', () => {
  const dashboard = Dashboard.parse(JSON.parse(readFileSync(join(FOLDER, 'grafana-dashboard.json'), 'utf8')));
  const queries = dashboard.panels.flatMap((panel) =>
    'targets' in panel ? panel.targets.map(({ expr }) => expr) : [],
  );

  it('has panels that are told apart and do not lie on one another', () => {
    const ids = dashboard.panels.map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    const places = dashboard.panels.flatMap(({ gridPos: { x, y, w, h } }) => {
      expect(x + w).toBeLessThanOrEqual(GRID_COLUMNS);
      return Array.from({ length: w * h }, (_, index) => `${x + (index % w)},${y + Math.floor(index / w)}`);
    });
    expect(new Set(places).size).toBe(places.length);
  });

  it('asks for metrics that there are, in queries that Prometheus understands', async () => {
    for (const query of queries) for (const name of namesIn(query)) expect(names).toContain(name);
    const variables = dashboard.templating.list.map(({ name }) => name);
    const used = JSON.stringify(dashboard).matchAll(/\$\{?(\w+)/g);
    for (const [, name = ''] of used) expect(['__rate_interval', '__all', ...variables]).toContain(name);
    await parseQueries(
      queries.map((query) => query.replaceAll('$__rate_interval', '5m').replaceAll('$instance', '.*')),
    );
  });
});
