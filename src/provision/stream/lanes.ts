/**
 * Runs tasks side by side, at most so many at once. The first failure is kept and thrown by whoever adds
 * or drains next; nothing that was started is left running after drain().
 */
export class Lanes {
  readonly #max: number;
  readonly #running = new Set<Promise<void>>();
  #failure: { readonly error: unknown } | undefined;

  constructor(max: number) {
    this.#max = max;
  }

  get hasFailed(): boolean {
    return this.#failure !== undefined;
  }

  /** Waits for a free lane, starts the task, and answers with its end, which never rejects. */
  async add(task: () => Promise<void>): Promise<{ readonly ended: Promise<void> }> {
    while (this.#running.size >= this.#max) await Promise.race(this.#running);
    this.#throwFailure();
    const ended = task()
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => this.#running.delete(ended));
    this.#running.add(ended);
    // In an object, so that awaiting add() does not await the task too.
    return { ended };
  }

  /** Waits for everything started, and throws the first failure. */
  async drain(): Promise<void> {
    await this.settle();
    this.#throwFailure();
  }

  /** Waits for everything started, however it ends. */
  async settle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}
