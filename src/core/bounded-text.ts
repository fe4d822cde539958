/** Text that comes in pieces, such as the body of a request, up to a length. */

/** UTF-8; undefined if it is longer than that, and the rest is not read. */
export async function boundedText(
  pieces: AsyncIterable<Uint8Array>,
  bytesMax: number,
): Promise<string | undefined> {
  const got: Uint8Array[] = [];
  let lengthBytes = 0;
  for await (const piece of pieces) {
    lengthBytes += piece.length;
    if (lengthBytes > bytesMax) return undefined;
    got.push(piece);
  }
  return Buffer.concat(got).toString('utf8');
}
