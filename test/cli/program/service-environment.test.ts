import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { serviceEnvironment } from '../../../src/cli/program/service-environment.ts';

let folder = '';
let configFile = '';
let beside = '';
let credentials = '';

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lvp-environment-'));
  configFile = join(folder, 'config.yaml');
  beside = join(folder, 'credentials');
  credentials = join(folder, 'of-the-service');
  for (const each of [beside, credentials]) mkdirSync(each);
  writeFileSync(join(credentials, 'secret_minio-secret-key'), 'x');
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

const given = (file: string) =>
  serviceEnvironment(file, { configFile, credentials })['CREDENTIALS_DIRECTORY'];

describe('the credentials of the command line', () => {
  it('are those beside the configuration, as they will be after a restart', () => {
    writeFileSync(join(beside, 'minio-secret-key'), 'x');
    expect(given(configFile)).toBe(beside);
  });

  it('are those of the running service where none lie there', () => {
    expect(given(configFile)).toBe(credentials);
    rmSync(beside, { recursive: true });
    expect(given(configFile)).toBe(credentials);
  });

  it('are none for another configuration than that of the service', () => {
    expect(given(join(folder, 'other.yaml'))).toBeUndefined();
  });
});
