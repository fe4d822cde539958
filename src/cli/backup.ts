/** `lvp backup` and `lvp restore`: configuration, keys, certificates and ledger of this host in one file. */
import type { Command } from 'commander';
import { CONFIG_PATH } from '../core/settings/config-path.ts';
import { EXIT } from './program/exit-codes.ts';
import type { AddVerb } from './program/verb.ts';
import { common, contextOf } from './program/verb.ts';

export const addBackup: AddVerb = (program, finish) => {
  const backup = program
    .command('backup')
    .requiredOption('--output <file>', 'the file to make, of mode 0600')
    .option('--config <path>', 'the configuration', CONFIG_PATH)
    .description('keep configuration, keys, certificates and ledger in one file, which holds secrets');
  common(backup, ['sudo lvp backup --output /root/lvp-$(date +%F).tar.gz'], 'alone').action(
    async (options: { output: string; config: string }, self: Command) => {
      const { output } = contextOf(self, finish);
      const { makeBackup } = await import('./backup/make.ts');
      const manifest = await makeBackup(options.config, options.output);
      output.result({ output: options.output, manifest }, () =>
        [
          `${options.output} holds ${manifest.files.map(({ kind, credential, path }) => path ?? credential ?? kind).join(', ')}.`,
          'It contains SECRETS: whoever reads it can do at the store what this host can.',
          'Volumes and images are not in it.',
        ].join('\n'),
      );
      finish(EXIT.ok);
    },
  );
};

export const addRestore: AddVerb = (program, finish) => {
  const restore = program
    .command('restore')
    .argument('<file>', 'what lvp backup has made')
    .option('--overwrite', 'replace what is there')
    .option('--config <path>', 'the configuration', CONFIG_PATH)
    .description('put a backup into place; the daemon must be stopped, and is not started');
  common(restore, ['sudo lvp restore /root/lvp-2026-11-30.tar.gz'], 'alone').action(
    async (file: string, options: { overwrite?: boolean; config: string }, self: Command) => {
      const { output } = contextOf(self, finish);
      const { restoreBackup } = await import('./backup/restore.ts');
      const { config: configPath, overwrite = false } = options;
      const { manifest, written } = await restoreBackup(file, { configPath, overwrite });
      output.result({ manifest, written }, () =>
        [
          `Restored, as it was on ${manifest.host} at ${manifest.madeAt} (version ${manifest.version}):`,
          ...written.map((path) => `  ${path}`),
          'Next: define domains and bring back volumes, if they are not there; lvp config check;',
          'systemctl start libvirt-volume-provisioner; lvp doctor; lvp gc --dry-run',
        ].join('\n'),
      );
      finish(EXIT.ok);
    },
  );
};
