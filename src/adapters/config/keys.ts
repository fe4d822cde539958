/** Where keys are read, with what the files say that the configuration names. */
import type { z } from 'zod';
import type { KeySettings } from '../../core/settings/key-settings.ts';
import { KEY_CREDENTIAL, withApiVersion } from '../../core/settings/key-settings.ts';
import { readCa } from './ca-file.ts';
import { readSecret } from './credentials.ts';
import type { Keys } from './keys-schema.ts';
import type { Secret } from './secret.ts';

/** The settings, or each mistake. A secret that was handed over is newer than that of the folder. */
export function readKeySettings(
  { recheck: recheckMs, barbican }: z.infer<typeof Keys>,
  credentialsDirectory: string | undefined,
  handed: Secret | undefined,
): { readonly keys: KeySettings } | { readonly mistakes: readonly string[] } {
  if (barbican === undefined) return { keys: { recheckMs, barbican: undefined } };
  const ca = readCa('keys.barbican.ca_file', barbican.ca_file);
  const found =
    handed === undefined
      ? readSecret('keys.barbican', undefined, KEY_CREDENTIAL, credentialsDirectory)
      : { secret: handed };
  const secret = found ?? {
    mistake: `keys.barbican: the secret of the application credential is missing; allowed is the systemd credential ${KEY_CREDENTIAL}, such as a file of that name in credentials/`,
  };
  if ('mistake' in ca || 'mistake' in secret) {
    return { mistakes: [ca, secret].flatMap((part) => ('mistake' in part ? [part.mistake] : [])) };
  }
  return {
    keys: {
      recheckMs,
      barbican: {
        url: withApiVersion(barbican.url, 'v1'),
        authUrl: withApiVersion(barbican.auth_url, 'v3'),
        ca: ca.ca,
        applicationCredentialId: barbican.application_credential_id,
        applicationCredentialSecret: secret.secret,
      },
    },
  };
}
