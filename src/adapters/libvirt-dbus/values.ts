/** Values out of replies; a wrong type is an error that says so, not a value. */
import { Variant } from '@jellybrick/dbus-next';
import { ProvisionError } from '../../core/errors.ts';

export function readString([value]: readonly unknown[]): string {
  const text = unwrap(value);
  return typeof text === 'string' ? text : wrongType('a string', text);
}

export function readBoolean([value]: readonly unknown[]): boolean {
  const flag = unwrap(value);
  return typeof flag === 'boolean' ? flag : wrongType('a boolean', flag);
}

/** A structure of two numbers, such as GetState answers with. */
export function readPair([value]: readonly unknown[]): readonly [number, number] {
  const [first, second] = Array.isArray(value) ? (value as readonly unknown[]) : [];
  return typeof first === 'number' && typeof second === 'number'
    ? [first, second]
    : wrongType('two numbers', value);
}

export function readPaths([value]: readonly unknown[]): readonly string[] {
  const isPaths = Array.isArray(value) && value.every((path): path is string => typeof path === 'string');
  return isPaths ? value : wrongType('a list of object paths', value);
}

/** Properties come wrapped in a variant, results of methods do not. */
function unwrap(value: unknown): unknown {
  return value instanceof Variant ? value.value : value;
}

function wrongType(expected: string, value: unknown): never {
  throw new ProvisionError({
    code: 'LIBVIRT_FAILED',
    message: `libvirt-dbus answered with ${typeof value} where ${expected} was expected.`,
    hint: 'Versions 1.4.1 and newer of libvirt-dbus are supported.',
  });
}
