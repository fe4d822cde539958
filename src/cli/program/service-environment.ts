/** The environment in which the configuration is read on the command line. */
import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { CONFIG_PATH } from '../../core/settings/config-path.ts';

/** Where systemd shows its credentials to the running service, decrypted; root may look, too. */
const OF_THE_SERVICE = '/run/credentials/libvirt-volume-provisioner.service';

/**
 * A copy, so that what the daemon would take out of its environment stays in the caller's; and with the
 * folder beside the configuration from which systemd gives the service its credentials, for those who may
 * read it. Where none lie there, as they are encrypted or come from elsewhere, those of the running service
 * count, if it is its configuration.
 */
export function serviceEnvironment(
  configFile: string,
  ofTheService = { configFile: CONFIG_PATH, credentials: OF_THE_SERVICE },
): Record<string, string | undefined> {
  const beside = join(dirname(configFile), 'credentials');
  const folders = [beside, ...(configFile === ofTheService.configFile ? [ofTheService.credentials] : [])];
  const folder = folders.find(holdsFiles);
  return { ...(folder === undefined ? {} : { CREDENTIALS_DIRECTORY: folder }), ...process.env };
}

function holdsFiles(folder: string): boolean {
  try {
    return readdirSync(folder).length > 0;
  } catch {
    return false;
  }
}
