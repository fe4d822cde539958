/**
 * `lvp setup`: from an installed package to a running service; asks, tries everything out, then writes it down.
 * What it needs for that is loaded when it is called: every other verb would have to wait for it, too.
 */
import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import type { Config } from '../adapters/config-file.ts';
import { ProvisionError } from '../core/errors.ts';
import { CONFIG_PATH } from '../core/settings/config-path.ts';
import { EXIT } from './program/exit-codes.ts';
import type { AddVerb } from './program/verb.ts';
import { common, contextOf } from './program/verb.ts';
import type { Answers, SetupOptions } from './setup/answers.ts';
import { gatherAnswers, terminalAsk } from './setup/answers.ts';

const SERVICE = 'libvirt-volume-provisioner';
const COMMAND_LIMIT_MS = 120_000;

interface Options extends SetupOptions {
  readonly config: string;
  readonly replace?: boolean;
  readonly start: boolean;
}

export const addSetup: AddVerb = (program, finish) => {
  const command = program
    .command('setup')
    .description('write the first configuration, after trying it out, and start the service')
    .option('--endpoint <url>', 'address of MinIO')
    .option('--access-key-file <file>', 'file with the access key, - for standard input')
    .option('--secret-key-file <file>', 'file with the secret key')
    .option('--ca-file <file>', "certificate authority of MinIO (PEM), if it is not one of the system's")
    .option('--bucket <name>', 'bucket with the images')
    .option('--volume-group <vg...>', 'volume groups in which volumes may be made')
    .option('--policy-file <file>', 'rules of who gets what (YAML), if not every domain may have all of it')
    .option('--replace', 'also if there is a configuration; it is kept as config.yaml.old')
    .option('--no-start', 'only write the files')
    .option('--config <path>', 'the file to write; credentials go beside it', CONFIG_PATH);
  common(
    command,
    [
      'sudo lvp setup',
      'sudo lvp setup --endpoint https://minio.example.net:9000 --bucket images --volume-group vg0 \\\n' +
        '      --access-key-file ./access --secret-key-file ./secret',
    ],
    'alone',
  ).action(async (options: Options, self: Command) => {
    const { output } = contextOf(self, finish);
    refuseToReplace(options);
    const answers = await gatherAnswers(options, terminalAsk());
    const { stageConfig } = await import('./setup/write-config.ts');
    const staged = stageConfig(options.config, answers);
    let written: readonly string[];
    let bucket: 'readable' | 'unknown';
    try {
      await checkVolumeGroups(answers);
      bucket = await checkStore(staged.loaded.config, answers.bucket);
      written = staged.place();
    } finally {
      staged.discard();
    }
    if (options.start) await startService();
    output.result({ written, bucket, started: options.start }, () =>
      [
        'MinIO answers, the keys are right, and the volume groups are there. Written:',
        ...written.map((path) => `  ${path}`),
        ...(options.start ? [`${SERVICE} runs.`] : []),
        ...(bucket === 'unknown' ? [unknownText(answers.bucket)] : []),
        'Next: lvp annotate VM DISK IMAGE, or lvp --help',
      ].join('\n'),
    );
    finish(EXIT.ok);
  });
};

function refuseToReplace({ config, replace = false }: Options): void {
  if (!existsSync(config) || replace) return;
  throw new ProvisionError({
    code: 'USAGE',
    message: `There is a configuration already: ${config}. Nothing was changed.`,
    hint: 'Edit it and check it with `lvp config check`, or have it made anew with --replace.',
  });
}

async function checkVolumeGroups({ volumeGroups }: Answers): Promise<void> {
  const { execa } = await import('execa');
  const asked = ['vgs', ['--noheadings', '--options', 'vg_name']] as const;
  const { stdout, stderr, exitCode } = await execa(...asked, { reject: false, timeout: COMMAND_LIMIT_MS });
  if (exitCode !== 0) {
    throw new ProvisionError({
      code: 'USAGE',
      message: `vgs does not say which volume groups there are: ${stderr.trim()}`,
      hint: 'Only root may ask LVM: use sudo.',
    });
  }
  const known = stdout.split('\n').map((line) => line.trim());
  const unknown = volumeGroups.filter((name) => !known.includes(name));
  if (unknown.length === 0) return;
  throw new ProvisionError({
    code: 'USAGE',
    message: `There is no volume group ${unknown.join(', ')} on this host. There are: ${known.filter((name) => name !== '').join(', ')}.`,
    hint: 'Nothing was changed.',
  });
}

/** Throws what is wrong in the words of the store's errors: address, certificate, keys or bucket. */
async function checkStore({ minio }: Config, bucket: string): Promise<'readable' | 'unknown'> {
  const { openMinio } = await import('../adapters/minio/images.ts');
  const images = openMinio(minio);
  try {
    return await images.probeBucket(bucket);
  } finally {
    images.close();
  }
}

async function startService(): Promise<void> {
  const { execa } = await import('execa');
  const { exitCode, stderr } = await execa('systemctl', ['restart', SERVICE], {
    reject: false,
    timeout: COMMAND_LIMIT_MS,
  });
  if (exitCode === 0) return;
  throw new ProvisionError({
    code: 'DAEMON_UNREACHABLE',
    message: `The configuration is written, but ${SERVICE} does not start: ${stderr.trim()}`,
    hint: `See: journalctl -u ${SERVICE}`,
  });
}

function unknownText(bucket: string): string {
  return `MinIO does not say what is in ${bucket}: whether its images may be read shows with the first one (lvp image inspect).`;
}
