/** A key stands in the one buffer that goes to the kernel, and not even there for longer than that takes. */
import { describe, expect, it } from 'vitest';
import { sendSecret } from '../../src/adapters/libvirt-dbus/secret-message.ts';

const SECRET = Buffer.from('the key of a volume, as it is sent');

/** A socket, and what the kernel has been given. */
class Socket {
  readonly given: Buffer[] = [];
  readonly kernelHas: string[] = [];
  #whenWritten: (() => void)[] = [];

  write(data: Buffer, whenWritten?: () => void): boolean {
    this.given.push(data);
    this.#whenWritten.push(() => {
      this.kernelHas.push(data.toString('latin1'));
      whenWritten?.();
    });
    return true;
  }

  flush(): void {
    for (const written of this.#whenWritten.splice(0)) written();
  }
}

const around = (value: Buffer) => Buffer.concat([Buffer.from('before '), value, Buffer.from(' after')]);

describe('sendSecret', () => {
  it('puts it in the place of what the library was given, and overwrites it once it is written', () => {
    const socket = new Socket();
    let value: Buffer = Buffer.alloc(0);
    sendSecret(socket, SECRET, (placeholder) => {
      value = placeholder;
      return socket.write(around(placeholder));
    });
    expect(value.length).toBe(SECRET.length);
    expect(value.equals(SECRET)).toBe(false);
    expect(socket.given[0]?.equals(around(SECRET))).toBe(true);
    socket.flush();
    expect(socket.kernelHas).toEqual([around(SECRET).toString('latin1')]);
    expect(socket.given[0]?.includes(SECRET.subarray(0, 4))).toBe(false);
  });

  it('leaves the socket as it was', () => {
    const socket = new Socket();
    sendSecret(socket, SECRET, (value) => socket.write(around(value)));
    socket.write(Buffer.from('later'));
    socket.flush();
    expect(socket.kernelHas.at(-1)).toBe('later');
    expect(Object.hasOwn(socket, 'write')).toBe(false);
  });

  it.each<[string, (socket: Socket, value: Buffer) => unknown]>([
    ['nothing', () => undefined],
    ['something else', (socket) => socket.write(Buffer.from('else'))],
    ['it twice', (socket, value) => socket.write(Buffer.concat([value, value]))],
  ])('writes nothing of it if the library writes %s', (_what, write) => {
    const socket = new Socket();
    expect(() => sendSecret(socket, SECRET, (value) => write(socket, value))).toThrow('could not be put');
    socket.flush();
    expect(socket.kernelHas).toEqual([]);
    expect(Object.hasOwn(socket, 'write')).toBe(false);
  });
});
