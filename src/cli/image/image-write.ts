/**
 * `lvp image write IMAGE DEVICE`: the engine alone, in this process, as the calling user. For administrators
 * and benchmarks; neither the daemon nor libvirt nor LVM take part.
 */
import type { Command } from 'commander';
import { Option } from 'commander';
import { CONFIG_PATH } from '../../core/settings/config-path.ts';
import { approximateSize } from '../../core/size.ts';
import type { ImageOptions } from '../program/checked-request.ts';
import { EXIT } from '../program/exit-codes.ts';
import type { AddVerb } from '../program/verb.ts';
import { common, contextOf } from '../program/verb.ts';
import { Progress } from '../terminal/progress.ts';
import { ofImage, requestOf } from './image-asked.ts';

interface WriteOptions extends ImageOptions {
  readonly config: string;
  readonly overwrite?: boolean;
  readonly assumeZero?: boolean;
  readonly readBack?: boolean;
}

export const addImageWrite: AddVerb = (image, finish) => {
  const command = ofImage(image.command('write'))
    .argument('<device>', 'a block device, or a file that is there and has its size already')
    .option('--overwrite', 'also if the device is not blank')
    .addOption(
      new Option(
        '--assume-zero',
        'the device is known to read as zeros, such as a new thin volume: leave holes alone',
      ).conflicts('overwrite'),
    )
    .option('--read-back', 'then read the device back and compare all of it; reads the image once more')
    .option('--config <path>', 'the configuration with the store and its keys', CONFIG_PATH)
    .description('write an image to a device, here and now, without the daemon');
  common(
    command,
    [
      'sudo lvp image write images/debian-13.qcow2 /dev/vg0/scratch --format qcow2',
      'lvp image write images/debian-13.qcow2 ./disk.img --format qcow2 --config ./config.yaml --json',
    ],
    'alone',
  ).action(async (name: string, device: string, options: WriteOptions, self: Command) => {
    const { output } = contextOf(self, finish);
    const image = requestOf(name, options);
    const { writeToDevice } = await import('./write-to-device.ts');
    const { overwrite = false, assumeZero = false, readBack = false, config: configFile } = options;
    const written = await writeToDevice({ image, device, overwrite, assumeZero, readBack, configFile }, () =>
      Progress.open(output),
    );
    output.result(written, () =>
      [
        `${written.image} is on ${device}.`,
        `  sha256 ${written.sha256}`,
        `  ${approximateSize(written.objectBytes)} read, ${approximateSize(written.writtenBytes)} written, ${approximateSize(written.zeroedBytes)} zeroed`,
        `  ${written.seconds.toFixed(2)} s, ${approximateSize(written.objectBytes / written.seconds)}/s`,
        ...(written.readBack ? ['  read back, and all of it is right'] : []),
      ].join('\n'),
    );
    finish(EXIT.ok);
  });
};
