/**
 * Zeroes a range of an open device or file with fallocate(2), which Node does not have: a child process for each
 * range would cost some milliseconds of the program's own thread. The call blocks, so it is a thread's to make.
 */
import { nativeFunctions } from '../../core/native.ts';

/** linux/falloc.h */
const FALLOC_FL_KEEP_SIZE = 0x01;
const FALLOC_FL_PUNCH_HOLE = 0x02;
const FALLOC_FL_ZERO_RANGE = 0x10;

interface Calls {
  readonly fallocate: (fd: number, mode: number, offsetBytes: bigint, lengthBytes: bigint) => number;
}

let calls: Calls | false | undefined;

/**
 * First the way that lets the device forget the range: the kernel refuses it where the range would not read as
 * zeros afterwards (block/fops.c, blkdev_fallocate). Then the one that writes zeros where nothing else helps.
 * False if neither can be had; the range may then hold anything.
 */
export function zeroRange(fd: number, offsetBytes: number, lengthBytes: number): boolean {
  calls ??=
    (nativeFunctions({ fallocate: { arguments: ['i32', 'i32', 'i64', 'i64'], return: 'i32' } }) as
      Calls | undefined) ?? false;
  if (calls === false) return false;
  const { fallocate } = calls;
  return [FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE].some(
    (mode) => fallocate(fd, mode | FALLOC_FL_KEEP_SIZE, BigInt(offsetBytes), BigInt(lengthBytes)) === 0,
  );
}
