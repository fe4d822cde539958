/** Why an image is refused: which check, where, the value found and the value allowed. */
import type { ErrorCode } from '../errors.ts';
import { ProvisionError } from '../errors.ts';

export interface Finding {
  /** What was looked at, e.g. `cluster_bits`. */
  readonly check: string;
  /** Where in the object. */
  readonly offsetBytes: number;
  readonly found: string | number;
  readonly allowed: string | number;
  readonly hint?: string;
}

function refusal(code: ErrorCode, finding: Finding, fallbackHint: string): ProvisionError {
  const { check, offsetBytes, found, allowed, hint } = finding;
  return new ProvisionError({
    code,
    message: `The image is refused: ${check} at byte ${offsetBytes} is ${found}, allowed is ${allowed}.`,
    hint: hint ?? fallbackHint,
  });
}

/** The object breaks the rules of its format. */
export function malformed(finding: Finding): ProvisionError {
  return refusal(
    'IMAGE_MALFORMED',
    finding,
    'Check the file with "qemu-img check" where it was made, and upload it again.',
  );
}

/** The object is legal, but uses something that is not allowed here. */
export function forbidden(finding: Finding): ProvisionError {
  return refusal(
    'IMAGE_FORBIDDEN_FEATURE',
    finding,
    'Make a plain image of it with "qemu-img convert -O qcow2 SOURCE TARGET" where its files are trusted, and upload that.',
  );
}

/** The object is legal, but larger than something allows. */
export function tooLarge(finding: Finding): ProvisionError {
  return refusal(
    'IMAGE_TOO_LARGE',
    finding,
    'Use a smaller image or a larger cluster_size, or raise the limit in the configuration.',
  );
}

/** The object ends before the bytes its own tables speak of. */
export function truncated(finding: Finding): ProvisionError {
  return refusal('IMAGE_TRUNCATED', finding, 'The upload was probably cut short: upload the image again.');
}

/** A number as it would appear in a hex dump. */
export function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
