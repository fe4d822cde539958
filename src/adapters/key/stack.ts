/**
 * What is left on the stack of what came over TLS. Node has OpenSSL decrypt into 16 KiB on the stack before it copies them
 * to where they are for (`char out[kClearOutChunkSize]` in TLSWrap::ClearOut(), src/crypto/crypto_tls.cc), and does not
 * wipe them: there they stay until something goes as deep again, in a process that mostly waits for ever.
 */

/**
 * Of 8 bytes each. That copy was found between 16 and 32 KiB below where an immediate begins, in Node 26; V8 has almost
 * a megabyte of stack.
 */
const STACK_WORDS = 16_384;
/** Arguments lie on the stack, and the small integer 0 as 8 bytes of zero. */
const ZEROS: readonly number[] = Array.from({ length: STACK_WORDS }, () => 0);

/** Overwrites the stack from the event loop downwards, once whoever runs now has returned to it. */
export function wipeStackSoon(): void {
  setImmediate(() => {
    Reflect.apply(takeArguments, undefined, ZEROS);
  });
}

function takeArguments(): void {
  // They are there already.
}
