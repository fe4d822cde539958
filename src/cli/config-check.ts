/** `lvp config check`: read the configuration as the daemon would, and say everything that is wrong. */
import type { Command } from 'commander';
import { CONFIG_PATH } from '../core/settings/config-path.ts';
import { addReload } from './config-reload.ts';
import { EXIT } from './program/exit-codes.ts';
import { serviceEnvironment } from './program/service-environment.ts';
import type { AddVerb } from './program/verb.ts';
import { common, contextOf } from './program/verb.ts';

export const addConfig: AddVerb = (program, finish) => {
  const config = program.command('config').description('the configuration file');
  const check = config
    .command('check')
    .description('check the configuration; reports every mistake at once')
    .option('--config <path>', 'the file to check', CONFIG_PATH);
  common(check, ['sudo lvp config check', 'lvp config check --config ./config.yaml'], 'alone').action(
    async (options: { config: string }, self: Command) => {
      const { output } = contextOf(self, finish);
      const { loadConfig } = await import('../adapters/config-file.ts');
      const { readKeyFiles } = await import('../adapters/http-api/key-files.ts');
      const env = serviceEnvironment(options.config);
      const { config: loaded, warnings: loadWarnings } = loadConfig({ path: options.config, env });
      const files = loaded.http && readKeyFiles(loaded.http, Date.now());
      const warnings = [...loadWarnings, ...(files?.warnings ?? [])];
      output.result({ path: options.config, warnings, config: loaded }, () =>
        [`${options.config} is in order.`, ...warnings.map((warning) => `Warning: ${warning}`)].join('\n'),
      );
      finish(EXIT.ok);
    },
  );
  addReload(config, finish);
};
