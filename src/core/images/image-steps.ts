/** Reading an image, told line by line: how far it is, and in the end the result or an error. */
import type { Problem } from '../errors.ts';
import { toProblem } from '../errors.ts';
import type { ImageStep, ReadImage } from '../protocol/image-protocol.ts';

/** A line of progress at most this often. */
const PROGRESS_MS = 200;

type OnProgress = (bytesDone: number, bytesTotal: number) => void;

/** Never rejects; resolves with what went wrong, which has been written by then. */
export async function readInSteps(
  read: (onProgress: OnProgress) => Promise<ReadImage>,
  write: (line: string) => void,
): Promise<Problem | undefined> {
  const step = (value: ImageStep) => {
    write(`${JSON.stringify(value)}\n`);
  };
  let toldMs = 0;
  try {
    const result = await read((bytesDone, bytesTotal) => {
      const nowMs = performance.now();
      if (nowMs - toldMs < PROGRESS_MS) return;
      toldMs = nowMs;
      step({ bytesDone, bytesTotal });
    });
    step({ result });
    return undefined;
  } catch (error) {
    const problem = toProblem(error);
    step({ error: problem });
    return problem;
  }
}
