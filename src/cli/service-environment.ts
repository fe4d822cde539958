/** The environment in which the configuration is read on the command line. */
import { accessSync, constants } from 'node:fs';
import { dirname, join } from 'node:path';

/**
 * A copy, so that what the daemon would take out of its environment stays in the caller's; and with the
 * folder beside the configuration from which systemd gives the service its credentials, for those who may
 * read it.
 */
export function serviceEnvironment(configFile: string): Record<string, string | undefined> {
  const folder = join(dirname(configFile), 'credentials');
  return { ...(isReadable(folder) ? { CREDENTIALS_DIRECTORY: folder } : {}), ...process.env };
}

function isReadable(folder: string): boolean {
  try {
    accessSync(folder, constants.R_OK | constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
