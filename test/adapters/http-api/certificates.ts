/** Certificates of a test's own, made by openssl in a folder that goes with the test. */
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** How long they are valid, from now on. */
const DAYS = '60';

export interface Pair {
  readonly certFile: string;
  readonly keyFile: string;
  readonly cert: string;
  readonly key: string;
}

export interface PairOptions {
  /** As openssl writes it: `/O=Example/CN=ci`. */
  readonly subject: string;
  /** Absent: signed by itself. */
  readonly by?: Pair;
  readonly isAuthority?: boolean;
  /** Of openssl: `rsa:1024`; else an elliptic curve, which is made at once. */
  readonly newkey?: string;
}

export class CertificateFolder {
  readonly path = mkdtempSync(join(tmpdir(), 'lvp-http-'));
  #count = 0;

  make({ subject, by, isAuthority = false, newkey }: PairOptions): Pair {
    this.#count += 1;
    const [certFile, keyFile] = [
      join(this.path, `${this.#count}.crt`),
      join(this.path, `${this.#count}.key`),
    ];
    const kind = newkey === undefined ? ['ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'] : [newkey];
    execFileSync(
      'openssl',
      [
        ...['req', '-x509', '-newkey', ...kind, '-nodes', '-subj', subject, '-days', DAYS],
        ...['-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', keyFile, '-out', certFile],
        ...['-addext', `basicConstraints=critical,CA:${isAuthority ? 'TRUE' : 'FALSE'}`],
        ...(by === undefined ? [] : ['-CA', by.certFile, '-CAkey', by.keyFile]),
      ],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    chmodSync(keyFile, 0o600);
    return {
      ...{ certFile, keyFile },
      cert: readFileSync(certFile, 'utf8'),
      key: readFileSync(keyFile, 'utf8'),
    };
  }

  remove(): void {
    rmSync(this.path, { recursive: true });
  }
}
