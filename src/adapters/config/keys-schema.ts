/** The section `keys` of the configuration file: where the keys of encrypted volumes are read. */
import { z } from 'zod';
import { duration, leaf, path } from './leaves.ts';
import { isLoopback } from './loopback.ts';

export const server = (example = 'https://HOST:PORT') =>
  leaf(
    `a URL such as ${example}, without user, query or fragment; https, except for this machine itself`,
    (value): URL | undefined => {
      const url = typeof value === 'string' ? URL.parse(value) : null;
      if (url === null || `${url.username}${url.password}${url.search}${url.hash}` !== '') return undefined;
      return url.protocol === 'https:' || (url.protocol === 'http:' && isLoopback(url)) ? url : undefined;
    },
  );

const Barbican = z.strictObject({
  url: server('https://barbican.example.com:9311'),
  auth_url: server('https://keystone.example.com:5000/v3'),
  ca_file: path.optional(),
  application_credential_id: leaf(
    'the id of an application credential: 1 to 64 of a-z, 0-9 and -',
    (value) => (typeof value === 'string' && /^[A-Za-z0-9-]{1,64}$/.test(value) ? value : undefined),
  ),
});

export const Keys = z.strictObject({
  recheck: duration(10_000, 3_600_000).default(60_000),
  barbican: Barbican.optional(),
});
