/** `lvp provision --xml FILE`: fill the volumes of a domain before libvirt knows it. */
import { open } from 'node:fs/promises';
import type { Command } from 'commander';
import { ProvisionError } from '../core/errors.ts';
import { XML_BYTES_MAX } from '../core/protocol/control-protocol.ts';
import { EXIT, exitCodeOfStatus } from './program/exit-codes.ts';
import type { AddVerb } from './program/verb.ts';
import { common, contextOf } from './program/verb.ts';
import { domainText } from './terminal/format.ts';
import { watchedDomain } from './terminal/watched.ts';
import { watch } from './watch.ts';

export const addProvision: AddVerb = (program, finish) => {
  const command = program
    .command('provision')
    .requiredOption('--xml <file>', "the domain's XML, with annotation and <uuid>; - reads standard input")
    .option('--no-wait', 'do not stay until the volumes are ready')
    .description('fill the volumes of a domain before libvirt knows it');
  common(command, [
    'lvp provision --xml web1.xml && virsh create web1.xml',
    'virt-install … --metadata uuid=UUID --print-xml 1 | lvp provision --xml -',
  ]).action(async (options: { xml: string; wait: boolean }, self: Command) => {
    const { daemon, output } = contextOf(self, finish);
    const begun = await daemon.provision(await readXml(options.xml));
    if (!options.wait) {
      output.result(begun, () => domainText(begun, output.look));
      finish(EXIT.ok);
      return;
    }
    const domain = await watch(output, watchedDomain(daemon, begun.uuid));
    finish(exitCodeOfStatus(domain));
  });
};

/** As much as the gate takes, and a byte more to notice what is longer. */
async function readXml(path: string): Promise<string> {
  const xml = await readUpTo(path, XML_BYTES_MAX + 1).catch((cause: unknown) => {
    throw new ProvisionError({
      code: 'USAGE',
      message: `${path} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}.`,
      cause,
    });
  });
  if (xml.length > XML_BYTES_MAX) {
    throw new ProvisionError({ code: 'USAGE', message: `${path} is longer than ${XML_BYTES_MAX} bytes.` });
  }
  return xml.toString('utf8');
}

async function readUpTo(path: string, bytesMax: number): Promise<Buffer> {
  const file = path === '-' ? undefined : await open(path);
  const stream = file?.createReadStream({ end: bytesMax - 1 }) ?? process.stdin;
  const chunks: Buffer[] = [];
  let lengthBytes = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    lengthBytes += chunk.length;
    if (lengthBytes >= bytesMax) break;
  }
  return Buffer.concat(chunks);
}
