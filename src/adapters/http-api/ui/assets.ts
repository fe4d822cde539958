/** What the page needs beside itself: style, script and icon, from here and nowhere else. They say nothing of the host. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

export interface Asset {
  readonly path: string;
  readonly type: string;
  readonly text: string;
  /** The path with a mark of what the file holds: it may be kept for ever under this one. */
  readonly link: string;
}

export interface Assets {
  readonly style: Asset;
  readonly live: Asset;
  readonly icon: Asset;
}

export function readAssets(): Assets {
  return {
    style: readAsset('style.css', 'text/css; charset=utf-8'),
    live: readAsset('live.js', 'text/javascript; charset=utf-8'),
    icon: readAsset('icon.svg', 'image/svg+xml'),
  };
}

function readAsset(file: string, type: string): Asset {
  const text = readFileSync(new URL(`browser/${file}`, import.meta.url), 'utf8');
  const path = `/ui/${file}`;
  const mark = createHash('sha256').update(text).digest('hex').slice(0, 16);
  return { path, type, text, link: `${path}?v=${mark}` };
}
