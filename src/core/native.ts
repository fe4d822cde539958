/**
 * Functions of the C library and of the OpenSSL inside Node, called through node:ffi, which is experimental
 * (Node 26). Whoever uses one proves it first or has another way.
 */

/** The part of node:ffi used here; the types of Node 24 do not know it. */
interface Ffi {
  dlopen(path: null, signatures: object): { readonly functions: unknown };
}

/** Arguments and result, in the words of node:ffi. */
export type Signatures = Readonly<
  Record<string, { readonly arguments: readonly string[]; readonly return: string }>
>;

/**
 * An object with a function of each name; undefined where this Node cannot call them, or does not have one of
 * them. Nobody checks that the signatures are those of the functions.
 */
export function nativeFunctions(signatures: Signatures): unknown {
  try {
    const ffi = quietly(() => process.getBuiltinModule('node:ffi') as Ffi | undefined);
    return ffi?.dlopen(null, signatures).functions;
  } catch {
    return undefined;
  }
}

/** Without the line on standard error that says the module is experimental: we know, and lvp's users need not. */
function quietly<T>(load: () => T): T {
  const emitWarning = process.emitWarning.bind(process);
  process.emitWarning = () => undefined;
  try {
    return load();
  } finally {
    process.emitWarning = emitWarning;
  }
}
