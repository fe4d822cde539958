/**
 * A message with a secret in it, of which this process keeps no copy. The bus library turns an `ay` into a buffer for
 * each byte and puts these together several times, and none of that can be overwritten afterwards. So it is given other
 * bytes of the same length; the secret takes their place in the one buffer that goes to the kernel, and is overwritten
 * there as soon as the kernel has it.
 *
 * What remains is beyond this process: the socket, the bus, libvirt-dbus and libvirtd hold it in their memory.
 */
import { randomBytes } from 'node:crypto';
import { ProvisionError } from '../../core/errors.ts';

/** The socket as the library uses it. */
export interface MessageStream {
  write(data: Buffer, whenWritten?: () => void): boolean;
}

/** `send` has the library write exactly one message, at once, with what it is given as an `ay` in front of the body. */
export function sendSecret<T>(stream: MessageStream, secret: Buffer, send: (value: Buffer) => T): T {
  // Random, so that it stands in the message once.
  const placeholder = randomBytes(secret.length);
  const write = stream.write.bind(stream);
  let sentCount = 0;
  stream.write = (data) => {
    const at = data.indexOf(placeholder);
    if (sentCount > 0 || at < 0 || data.indexOf(placeholder, at + 1) >= 0) throw unknownMessage();
    sentCount += 1;
    secret.copy(data, at);
    return write(data, () => data.fill(0, at, at + secret.length));
  };
  try {
    const result = send(placeholder);
    if (sentCount === 0) throw unknownMessage();
    return result;
  } finally {
    // The method of the socket's class stands behind it again.
    Reflect.deleteProperty(stream, 'write');
  }
}

function unknownMessage(): ProvisionError {
  return new ProvisionError({
    code: 'INTERNAL',
    message:
      'A key could not be put into a message to libvirt: the bus library wrote something else than was expected.',
  });
}
