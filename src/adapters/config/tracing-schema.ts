/** The section `tracing` of the configuration file: where traces of fills are sent, if anywhere. */
import { z } from 'zod';
import { flag, leaf, path } from './leaves.ts';
import { isLoopback } from './loopback.ts';

const collector = leaf(
  'a URL such as https://otel.example.com:4318, without user, query or fragment',
  (value): URL | undefined => {
    const url = typeof value === 'string' ? URL.parse(value) : null;
    const isCollector =
      url !== null &&
      ['http:', 'https:'].includes(url.protocol) &&
      `${url.username}${url.password}${url.search}${url.hash}` === '';
    return isCollector ? url : undefined;
  },
);

export const Tracing = z
  .strictObject({
    endpoint: collector,
    allow_http: flag.default(false),
    ca_file: path.optional(),
    authorization_file: path.optional(),
  })
  .superRefine(({ endpoint, allow_http: allowHttp, authorization_file: authorization }, context) => {
    const url: unknown = endpoint;
    if (!(url instanceof URL) || url.protocol === 'https:' || isLoopback(url)) return;
    if (!allowHttp) {
      context.addIssue({
        code: 'custom',
        path: ['endpoint'],
        message: 'an https URL; plain http only for this machine itself, or with tracing.allow_http: true',
      });
    } else if (authorization !== undefined) {
      context.addIssue({
        code: 'custom',
        path: ['authorization_file'],
        message: 'a file only with an https endpoint: what it holds would travel unprotected',
      });
    }
  });
