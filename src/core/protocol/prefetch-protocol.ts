/** What is said of prefetching, to `lvp image ls` and in `--json`: these names are stable. */
import { z } from 'zod';
import { ErrorBody } from './control-protocol.ts';

const text = z.string().max(4096);
const count = z.number().nonnegative();

export const PrefetchStatus = z.object({
  rules: z.array(
    z.object({
      /** The rule's pattern. */
      images: text,
      format: text,
      to: z.array(text),
      pin: z.boolean(),
      /** RFC 3339, when its bucket was last listed; absent: not yet. */
      lookedAt: text.optional(),
      /** Images of it that are to be here, and those that are. */
      wanted: count,
      here: count,
      /** That fit the pattern, and for which the limits have no room. */
      beyond: count,
      /** Why its bucket could not be listed. */
      problem: ErrorBody.shape.error.optional(),
      /** Images that could not be brought here, the first of them. */
      failing: z.array(z.object({ image: text, problem: ErrorBody.shape.error })),
    }),
  ),
  /** What is being read. */
  now: z.object({ image: text, bytesDone: count, bytesTotal: count }).optional(),
  /** It rests: the host is frozen, or a volume waits for its turn. */
  pausedBy: z.enum(['frozen', 'fills']).optional(),
  /** Whether the store tells of changes, or is only asked from time to time. */
  news: z.array(
    z.object({
      bucket: text,
      prefix: text,
      state: z.enum(['connecting', 'listening', 'polling']),
      problem: ErrorBody.shape.error.optional(),
    }),
  ),
});
export type PrefetchStatus = z.infer<typeof PrefetchStatus>;
