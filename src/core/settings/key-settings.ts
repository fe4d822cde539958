/** What the configuration says of the keys of encrypted volumes: where they are read, and with which identity. */

export interface KeySettings {
  /** How often it is looked whether running guests are still granted their keys. */
  readonly recheckMs: number;
  /** Undefined: this host reads keys of files alone. */
  readonly barbican: BarbicanSettings | undefined;
}

/** The two servers: Keystone says who one is, Barbican has the keys. */
export interface KeyServerSettings {
  /** Of Barbican; ends with `/v1`. */
  readonly url: URL;
  /** Of Keystone; ends with `/v3`. */
  readonly authUrl: URL;
  /** PEM text of the certificate authority to trust for both instead of the system's. */
  readonly ca: string | undefined;
}

export interface BarbicanSettings extends KeyServerSettings {
  /** This host's own, and no other host's. */
  readonly applicationCredentialId: string;
  readonly applicationCredentialSecret: { reveal(): string };
}

/** The name of systemd's credential with the application credential's secret. */
export const KEY_CREDENTIAL = 'barbican-application-credential-secret';

/** The URL with that version at its end, which OpenStack's clients add where it is left out. */
export function withApiVersion(url: URL, version: 'v1' | 'v3'): URL {
  const plain = url.href.replace(/\/+$/, '');
  return new URL(plain.endsWith(`/${version}`) ? plain : `${plain}/${version}`);
}
