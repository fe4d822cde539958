/**
 * Goal: the status page is there for whoever looks, on a phone, by keyboard, by ear, without its script; and what others
 * call their domains does nothing. Method: Debian's Chromium, with axe (https://github.com/dequelabs/axe-core) in it.
 */
import { existsSync } from 'node:fs';
import axe from 'axe-core';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { chromium } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { HttpApiOptions } from '../../../src/adapters/http-api/routes.ts';
import type { DomainStatus } from '../../../src/core/protocol/control-protocol.ts';
import { FakeVerbs } from '../../cli/fake-verbs.ts';
import { BUSY_HOST, BUSY_JOBS, FILLING, HOSTILE, HOSTILE_HOST, HOSTILE_JOBS } from './busy-host.ts';
import { FakeJobs } from './fake-jobs.ts';
import { TestServer } from './server.ts';

/** test/prepare installs it. */
const PROGRAM = '/usr/bin/chromium-headless-shell';
const PHONE = { width: 360, height: 740 };
const DESK = { width: 1280, height: 800 };

const server = new TestServer();
/** What the host has; changed while somebody looks. */
let domains: readonly DomainStatus[] = BUSY_HOST;
let browser: Browser;
/** What the browser complains about: a script of others, a style in the text, something from elsewhere. */
let complaints: string[];
let origins: Set<string>;

// Where all is to be checked, it is to be there.
describe.skipIf(process.env['CI'] === undefined && !existsSync(PROGRAM))('the status page', () => {
  beforeAll(async () => {
    browser = await chromium.launch({ executablePath: PROGRAM, args: ['--no-sandbox'] });
  });
  beforeEach(async () => {
    await server.writeTokens('all', 'unlisted');
    domains = BUSY_HOST;
    complaints = [];
    origins = new Set();
    await server.open({}, busy());
  });
  afterEach(async () => {
    const { origin } = server.api.url;
    await Promise.all(browser.contexts().map((context) => context.close()));
    await server.close();
    expect(complaints).toEqual([]);
    expect([...origins]).toEqual([origin]);
  });
  afterAll(async () => {
    await browser.close();
    server.folder.remove();
  });

  describe.each(['light', 'dark'] as const)('in %s', (colorScheme) => {
    it.each([PHONE, DESK])(
      'is as good for those who hear it and fits, at $width pixels',
      async (viewport) => {
        const page = await open({ colorScheme, viewport });
        await page.getByText('412').waitFor();
        expect(await findings(page)).toEqual([]);
        expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(viewport.width);
      },
    );

    it('refuses as well as it shows', async () => {
      const page = await open({ colorScheme, viewport: PHONE }, 'unlisted');
      await page.getByRole('heading', { name: 'Not for you' }).waitFor();
      expect(await findings(page)).toEqual([]);
      expect(takeComplaint()).toMatch(/403/);
    });
  });

  it('is complete without its script', async () => {
    const page = await open({ javaScriptEnabled: false });
    const row = page.getByRole('row', { name: 'web1 vda' });
    await row.getByText('filling').waitFor();
    await row.getByRole('progressbar', { name: 'web1 vda' }).waitFor();
    await page.getByRole('link', { name: /Ready/ }).click();
    await page.getByRole('row', { name: 'cache2 vda' }).waitFor();
    expect(await row.count()).toBe(0);
    expect(await page.getByRole('button').count()).toBe(0);
  });

  it('is a table on a phone too, for those who hear it', async () => {
    const page = await open({ viewport: PHONE });
    const row = page.getByRole('table', { name: /under way/ }).getByRole('row', { name: 'web1 vda' });
    await row.getByRole('rowheader', { name: 'web1 vda' }).waitFor();
    await row.getByRole('cell', { name: 'filling' }).waitFor();
    expect(await page.getByRole('columnheader', { name: 'Changed' }).count()).toBe(2);
  });

  it('follows what happens, says it once, and takes nothing from under the reader', async () => {
    const page = await open();
    const link = page.getByRole('link', { name: /Under way/ });
    await link.focus();
    const news = page.locator('#news');
    const vda = page.getByRole('row', { name: 'web1 vda' });
    await vda.getByText('778').waitFor();
    domains = changed({ bytesDone: 2 ** 30, bytesTotal: 2 ** 31 });
    await vda.getByText(/1\.0\sGiB/).waitFor();
    // A tick is no news.
    expect(await news.textContent()).toBe('');
    domains = changed({ state: 'ready' });
    await vda.getByText('ready', { exact: true }).waitFor();
    expect(await news.textContent()).toBe('web1 vda is ready.');
    await page.getByRole('row', { name: 'web1 vdb' }).waitFor();
    expect(await page.evaluate('document.activeElement.id')).toBe(await link.getAttribute('id'));
  });

  it('stands still when told to', async () => {
    const [page, others] = [await open(), await open()];
    const button = page.getByRole('button', { name: 'Pause' });
    await button.click();
    await page.getByText('Paused').waitFor();
    expect(await button.getAttribute('aria-pressed')).toBe('true');
    domains = changed({ state: 'ready' });
    // Opened while it was filling, and looking again of its own accord: the first would have done so by then.
    const ready = (of: Page) => of.getByRole('row', { name: 'web1 vda' }).getByText('ready', { exact: true });
    await ready(others).waitFor();
    expect(await ready(page).count()).toBe(0);
    await button.click();
    await ready(page).waitFor();
  });

  it('says when it is not up to date any more, and stops where it is not let in', async () => {
    const page = await open();
    await page.getByText('Looks again every 2 s').waitFor();
    await server.writeTokens('unlisted');
    server.api.reload();
    await page.getByText('does not let you in any more').waitFor();
    expect(takeComplaint()).toMatch(/401/);
  });

  it('is gone through by keyboard, from the top', async () => {
    const page = await open();
    const focused: unknown[] = [];
    for (let step = 0; step < 7; step += 1) {
      await page.keyboard.press('Tab');
      focused.push(await page.evaluate('document.activeElement.textContent.trim().replace(/\\s+/g, " ")'));
    }
    expect(focused).toEqual([
      ...['Skip to what stands here', 'Pause', 'Look again'],
      ...['All 17', 'Under way 3', 'Needing attention 4', 'Ready 10'],
    ]);
    await page.keyboard.press('Enter');
    await page.getByRole('row', { name: 'web1 vda' }).waitFor({ state: 'detached' });
    expect(page.url()).toMatch(/\/ui\?show=ready#volumes$/);
  });

  it('keeps still for those who want that', async () => {
    const page = await open({ reducedMotion: 'reduce' });
    const running = 'document.getAnimations().length';
    await page.getByText('412').waitFor();
    expect(await page.evaluate(running)).toBe(0);
    const other = await open({ reducedMotion: 'no-preference' });
    await other.getByText('412').waitFor();
    expect(await other.evaluate(running)).toBeGreaterThan(0);
  });

  it('shows what others have written and does nothing of it', async () => {
    await server.close();
    await server.open(
      {},
      {
        ...busy(),
        jobs: Object.assign(new FakeJobs(), { jobs: () => Promise.resolve({ jobs: HOSTILE_JOBS }) }),
        hostName: HOSTILE,
      },
    );
    domains = HOSTILE_HOST;
    const page = await open({ viewport: PHONE });
    page.on('dialog', (dialog) => complaints.push(dialog.message()));
    await page.getByText('alert(1)').first().waitFor();
    // It is the same after the script has taken it over.
    domains = HOSTILE_HOST.map((one) => ({ ...one, active: true }));
    await page.getByText('running').first().waitFor();
    expect(await page.title()).toContain('onerror');
    expect(
      await page.evaluate(
        'document.images.length + document.querySelectorAll("[onerror], body script").length',
      ),
    ).toBe(0);
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(PHONE.width);
    expect(await findings(page)).toEqual([]);
  });
});

function busy(): Partial<HttpApiOptions> {
  return {
    domains: Object.assign(new FakeVerbs(), { domains: () => Promise.resolve(domains) }),
    jobs: Object.assign(new FakeJobs(), { jobs: () => Promise.resolve({ jobs: BUSY_JOBS }) }),
  };
}

/** The host, with something else about the volume that is being filled. */
function changed(about: Partial<DomainStatus['volumes'][number]>): readonly DomainStatus[] {
  const volumes = FILLING.volumes.map((one) => (one.target === 'vda' ? { ...one, ...about } : one));
  return BUSY_HOST.map((one) => (one === FILLING ? { ...one, volumes } : one));
}

async function open(options: BrowserContextOptions = {}, token = 'all'): Promise<Page> {
  const context = await browser.newContext({
    ...{ viewport: DESK, ignoreHTTPSErrors: true, ...options },
    httpCredentials: { username: 'somebody', password: server.tokens.get(token) ?? '' },
  });
  const page = await context.newPage();
  page.on('console', (message) => complaints.push(message.text()));
  page.on('pageerror', ({ message }) => complaints.push(message));
  page.on('request', (request) => origins.add(new URL(request.url()).origin));
  await page.goto(new URL('/ui', server.api.url).href);
  return page;
}

/** The one that was expected. */
function takeComplaint(): string | undefined {
  return complaints.shift();
}

/** What axe finds, with where it is. */
async function findings(page: Page): Promise<readonly string[]> {
  await page.evaluate(axe.source);
  const found = await page.evaluate<axe.AxeResults>('axe.run()');
  return found.violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html}`));
}
