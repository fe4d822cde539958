/** Which HTTP status goes with a problem: the same on the control socket and over the network. */
import type { ErrorCode } from './errors.ts';

const STATUS_OF: Partial<Record<ErrorCode, number>> = {
  USAGE: 400,
  ANNOTATION_INVALID: 400,
  DOMAIN_XML_INVALID: 422,
  DOMAIN_NOT_FOUND: 404,
  DISK_NOT_FOUND: 404,
  JOB_NOT_FOUND: 404,
  IMAGE_NOT_FOUND: 409,
  IMAGE_IN_USE: 409,
  DISK_UNSUITABLE: 409,
  POOL_UNSUITABLE: 409,
  POOL_INACTIVE: 409,
  POLICY_REFUSED: 409,
  VOLUME_NOT_BLANK: 409,
  VOLUME_OF_OTHER_DOMAIN: 409,
  VOLUME_GENERATION: 409,
  VOLUME_MISSING: 409,
  VOLUME_STATE: 409,
  FROZEN: 409,
  VG_FULL: 409,
  CANCELLED: 409,
  QUEUE_FULL: 503,
  LIBVIRT_UNAVAILABLE: 503,
  HELPER_UNAVAILABLE: 503,
  STORE_UNREACHABLE: 503,
  TIMEOUT: 504,
};

export function statusOf(code: ErrorCode): number {
  return STATUS_OF[code] ?? 500;
}
