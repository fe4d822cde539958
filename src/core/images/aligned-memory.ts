/**
 * Memory that begins on a page, and can be shared with other threads. A disk written to without the page
 * cache (O_DIRECT) takes its bytes from such memory only, and JavaScript cannot see the address of a
 * buffer: so what was made here is remembered as aligned.
 */

/** The part of WebAssembly used here; its memory is the one buffer whose alignment is promised. */
declare const WebAssembly: {
  readonly Memory: new (descriptor: {
    readonly initial: number;
    readonly maximum: number;
    readonly shared: true;
  }) => { readonly buffer: SharedArrayBuffer };
};

const WASM_PAGE_BYTES = 64 * 1024;
const aligned = new WeakSet<ArrayBufferLike>();

export function alignedMemory(sizeBytes: number): SharedArrayBuffer {
  const pages = Math.ceil(sizeBytes / WASM_PAGE_BYTES);
  const { buffer } = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  aligned.add(buffer);
  return buffer;
}

/** Whether the bytes are known to begin at a multiple of `alignmentBytes`, at most a page. */
export function isAligned(bytes: Uint8Array, alignmentBytes: number): boolean {
  return aligned.has(bytes.buffer) && bytes.byteOffset % alignmentBytes === 0;
}
