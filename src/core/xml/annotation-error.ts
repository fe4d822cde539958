/** How the mistakes of an annotation are told: each by itself, and all of them together. */
import { ProvisionError, type Problem } from '../errors.ts';

const MISTAKES_LISTED_MAX = 20;

/** What was understood, and every mistake. `value` is there only when there is no mistake at all. */
export interface Reading<Value> {
  readonly value?: Value | undefined;
  readonly problems: readonly Problem[];
}

/** All mistakes of one annotation: each a problem of its own, and together one message of a line each. */
export class AnnotationError extends ProvisionError {
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[]) {
    super(summarise(problems));
    this.problems = problems;
  }
}

function summarise(problems: readonly Problem[]): Problem {
  const [first] = problems;
  if (first !== undefined && problems.length === 1) {
    return { ...first, message: `The annotation has a mistake: ${first.message}` };
  }
  const lines = problems
    .slice(0, MISTAKES_LISTED_MAX)
    .map(({ message, hint }) => `- ${hint === undefined ? message : `${message} ${hint}`}`);
  const more = problems.length - lines.length;
  if (more > 0) lines.push(`- and ${more} more.`);
  return {
    code: 'ANNOTATION_INVALID',
    message: [`The annotation has ${problems.length} mistakes:`, ...lines].join('\n'),
  };
}

export function mistake(message: string, hint: string): Problem {
  return { code: 'ANNOTATION_INVALID', message, hint };
}
