/** `lvp doctor`: whether this host is safe and well, as the security documents and the program itself want it. */
import type { Command } from 'commander';
import { CONFIG_PATH } from '../core/settings/config-path.ts';
import type { Report } from '../doctor/finding.ts';
import { reportText } from './doctor/doctor-text.ts';
import type { ExitCode } from './program/exit-codes.ts';
import { EXIT } from './program/exit-codes.ts';
import type { AddVerb } from './program/verb.ts';
import { common, contextOf } from './program/verb.ts';

interface DoctorOptions {
  readonly fix?: boolean;
  readonly config: string;
}

export const addDoctor: AddVerb = (program, finish) => {
  const command = program
    .command('doctor')
    .option(
      '--fix',
      'do the repairs that are safe, then look again: rights of our files, our hook, our units',
    )
    .option('--config <path>', 'the configuration', CONFIG_PATH)
    .description("check this host and the program on it, from rights of files to the store's certificate")
    .addHelpText(
      'after',
      `
Each finding is ok, info, unknown, warn or fail, and says what, why (and which document asks for it), and
how to fix it. It ends with 8 if a check has failed, with 7 if there are warnings or checks that could not
be made, else with 0. Without --fix nothing is changed. As root all checks can be made. Which there are and
where they come from: docs/security.md.`,
    );
  common(command, ['sudo lvp doctor', 'sudo lvp doctor --fix', 'sudo lvp doctor --json'], 'host').action(
    async ({ fix = false, config }: DoctorOptions, self: Command) => {
      const { daemon, output } = contextOf(self, finish);
      const { examineHost } = await import('./doctor/doctor-host.ts');
      const report = await examineHost(config, daemon, fix);
      output.result(report, () => reportText(report, output.colour));
      finish(exitCodeOfReport(report));
      // A program or a connection that hangs was left alone, and would keep this one from ending.
      setTimeout(() => process.exit(), 500).unref();
    },
  );
};

/** By the worst of the findings; what could not be looked at is no reason to call a host well. */
export function exitCodeOfReport({ worst }: Pick<Report, 'worst'>): ExitCode {
  if (worst === 'fail') return EXIT.unwell;
  return worst === 'warn' || worst === 'unknown' ? EXIT.warnings : EXIT.ok;
}
