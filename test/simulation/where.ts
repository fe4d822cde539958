/** Where the program under test stands: the innermost line of its source that waits for a port. */
const SOURCE = /\/src\/((?:provision|helper)\/[a-z-]+\.ts:\d+)/;

export function whereInTheSource(): string {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 50;
  const stack = new Error().stack ?? '';
  Error.stackTraceLimit = stackTraceLimit;
  return SOURCE.exec(stack)?.[1] ?? '(outside)';
}
