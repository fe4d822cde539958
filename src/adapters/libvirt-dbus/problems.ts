/**
 * Errors of the bus and of libvirt in the project's words. libvirt-dbus hands on libvirt's text and one
 * error name for everything, so the text is all there is to go by; it is always kept.
 *
 *   $ busctl call org.libvirt /org/libvirt/QEMU org.libvirt.Connect DomainLookupByName s nope
 *   Call failed: Domain not found: no domain with matching name 'nope'
 */
import { DBusError } from '@jellybrick/dbus-next';
import { ProvisionError } from '../../core/errors.ts';

const CHECK_HINT = 'Check with: systemctl status libvirtd dbus; busctl status org.libvirt';

/** Texts of a libvirt connection that broke or could not be made, as against an operation that failed. */
const CONNECTION_LOST = [
  'Failed to connect socket',
  'unable to connect to server',
  'client socket is closed',
  'End of file while reading data',
  'Cannot write data',
  'cannot recv data',
  'Connection reset by peer',
  'received hangup event on socket',
];

/** The connection to the bus itself failed or ended. */
export function busProblem(error: unknown): ProvisionError {
  if (error instanceof ProvisionError) return error;
  return new ProvisionError({
    code: 'LIBVIRT_UNAVAILABLE',
    message: `The system bus cannot be used: ${textOf(error)}.`,
    hint: 'Check with: systemctl status dbus. The connection is tried again by itself.',
    cause: error,
  });
}

export function deadlineProblem(what: string, deadlineMs: number): ProvisionError {
  return new ProvisionError({
    code: 'LIBVIRT_UNAVAILABLE',
    message: `libvirt did not answer ${what} within ${deadlineMs / 1000} s.`,
    hint: 'A qemu hook that waits holds its domain, and calls for that domain wait with it.',
  });
}

/** A method call failed. */
export function callProblem(name: string, error: unknown): ProvisionError {
  if (error instanceof ProvisionError) return error;
  if (!(error instanceof DBusError)) return busProblem(error);
  const text = error.text === '' ? error.type : error.text;
  if (isDenied(error)) {
    return new ProvisionError({
      code: 'LIBVIRT_UNAVAILABLE',
      message: `libvirt refused ${name}: ${text}`,
      hint: 'The bus must let the service user call it: /usr/share/dbus-1/system.d/libvirt-volume-provisioner.conf says what. Install the package again if it is missing; then: systemctl reload dbus',
      cause: error,
    });
  }
  if (error.type !== 'org.libvirt.Error' || CONNECTION_LOST.some((lost) => text.includes(lost))) {
    return new ProvisionError({
      code: 'LIBVIRT_UNAVAILABLE',
      message: `libvirt cannot be reached for ${name}: ${text}`,
      hint: CHECK_HINT,
      cause: error,
    });
  }
  return new ProvisionError({ code: 'LIBVIRT_FAILED', message: `${name} failed: ${text}`, cause: error });
}

/** Whether libvirt's own text begins with one of its fixed sentences, e.g. `Domain not found`. */
export function saysLibvirt(error: unknown, sentence: string): boolean {
  const cause = error instanceof ProvisionError ? error.cause : undefined;
  return cause instanceof DBusError && cause.type === 'org.libvirt.Error' && cause.text.includes(sentence);
}

function isDenied(error: DBusError): boolean {
  return (
    error.type.endsWith('.AccessDenied') ||
    error.type.endsWith('.AuthFailed') ||
    /access denied|authentication (failed|unavailable)/i.test(error.text)
  );
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
