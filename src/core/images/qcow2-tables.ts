/** Reads tables that lie scattered in the object, in ascending order and few, large requests. */
import type { ReadRange } from './layout.ts';
import type { Witnessed } from './witness.ts';
import { WitnessWriter } from './witness.ts';

/** Tables closer together than this are fetched in one request, with what lies between them. */
const GAP_MAX_BYTES = 256 * 1024;
const REQUEST_MAX_BYTES = 4 * 1024 * 1024;
/** More than one at a time, for a store that is far away. */
const REQUESTS_IN_FLIGHT = 4;

interface Group {
  readonly first: number;
  readonly end: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

/** Visits each table's bytes once; `offsets` ascend. Answers with what was read, for the witness. */
export async function readTables(
  readRange: ReadRange,
  offsets: Float64Array,
  tableBytes: number,
  visit: (index: number, table: DataView) => void,
): Promise<Witnessed> {
  const witness = new WitnessWriter(offsets, tableBytes);
  const groups = groupTables(offsets, tableBytes);
  for (let at = 0; at < groups.length; at += REQUESTS_IN_FLIGHT) {
    const batch = groups.slice(at, at + REQUESTS_IN_FLIGHT);
    const answers = await Promise.all(batch.map((g) => readRange(g.offsetBytes, g.lengthBytes)));
    for (const [position, group] of batch.entries()) {
      const bytes = answers[position] ?? new Uint8Array();
      for (let index = group.first; index < group.end; index++) {
        const start = (offsets[index] ?? 0) - group.offsetBytes;
        const table = bytes.subarray(start, start + tableBytes);
        witness.add(table);
        visit(index, new DataView(table.buffer, table.byteOffset, table.byteLength));
      }
    }
  }
  return witness.done();
}

function groupTables(offsets: Float64Array, tableBytes: number): Group[] {
  const groups: Group[] = [];
  let first = 0;
  for (let index = 1; index <= offsets.length; index++) {
    const start = offsets[first] ?? 0;
    const previousEnd = (offsets[index - 1] ?? 0) + tableBytes;
    const next = offsets[index];
    const fits =
      next !== undefined &&
      next - previousEnd <= GAP_MAX_BYTES &&
      next + tableBytes - start <= REQUEST_MAX_BYTES;
    if (fits) continue;
    groups.push({ first, end: index, offsetBytes: start, lengthBytes: previousEnd - start });
    first = index;
  }
  return groups;
}
