/** `lvp config check`: read the configuration as the daemon would, and say everything that is wrong. */
import type { Command } from 'commander';
import { CONFIG_PATH, loadConfig } from '../adapters/config-file.ts';
import { EXIT } from './exit-codes.ts';
import type { AddVerb } from './verb.ts';
import { common, contextOf } from './verb.ts';

/** What the unit loads, see systemd/libvirt-volume-provisioner.service. */
const CREDENTIALS_FOLDER = '/etc/libvirt-volume-provisioner/credentials';

export const addConfig: AddVerb = (program, finish) => {
  const config = program.command('config').description('the configuration file');
  const check = config
    .command('check')
    .description('check the configuration; reports every mistake at once')
    .option('--config <path>', 'the file to check', CONFIG_PATH);
  common(check, ['sudo lvp config check', 'lvp config check --config ./config.yaml']).action(
    (options: { config: string }, self: Command) => {
      const { output } = contextOf(self, finish);
      // A copy: what the daemon would take out of its environment stays in the caller's. systemd gives the
      // daemon the credentials of that folder; here they are read where they lie, which only root can.
      const env = { CREDENTIALS_DIRECTORY: CREDENTIALS_FOLDER, ...process.env };
      const { config: loaded, warnings } = loadConfig({ path: options.config, env });
      output.result({ path: options.config, warnings, config: loaded }, () =>
        [`${options.config} is in order.`, ...warnings.map((warning) => `Warning: ${warning}`)].join('\n'),
      );
      finish(EXIT.ok);
    },
  );
};
