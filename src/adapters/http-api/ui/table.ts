/** A table that becomes cards where there is no room, and stays a table for whoever hears it. */
import type { Html, Part } from './html.ts';
import { html } from './html.ts';
import { uniqueIds } from './ids.ts';

export interface Column<Row> {
  readonly label: string;
  /** Stands beside the first column's where there is little room. */
  readonly isState?: boolean;
  /** The first column's is the row's header. */
  readonly cell: (row: Row) => Part;
}

export interface TableOptions<Row> {
  readonly caption: string;
  readonly columns: readonly Column<Row>[];
  readonly rows: readonly Row[];
  /** The same row again has the same, and no row of another table has. */
  readonly idOf: (row: Row) => string;
  /** What is told when it changes while somebody looks. */
  readonly newsOf?: (row: Row) => { readonly name: string; readonly state: string };
}

/** Roles are said although these elements have them: they lose them where they are shown as cards. */
export function table<Row>({ caption, columns, rows, idOf, newsOf }: TableOptions<Row>): Html {
  const ids = uniqueIds(rows.map(idOf));
  return html`<table role="table">
    <caption>
      ${caption}
    </caption>
    <thead role="rowgroup">
      <tr role="row">
        ${columns.map(({ label }) => html`<th role="columnheader" scope="col">${label}</th>`)}
      </tr>
    </thead>
    <tbody role="rowgroup">
      ${rows.map((row, index) => {
        const news = newsOf?.(row);
        return html`<tr role="row" id="${ids[index]}" data-name="${news?.name}" data-state="${news?.state}">
          ${columns.map((column, place) => cell(column, row, place === 0))}
        </tr>`;
      })}
    </tbody>
  </table>`;
}

function cell<Row>({ label, isState, cell: of }: Column<Row>, row: Row, isFirst: boolean): Html {
  const content = of(row);
  // As a card, a cell is its label and one thing beside it.
  const shown = html`<div>${content}</div>`;
  if (isFirst) return html`<th role="rowheader" scope="row">${shown}</th>`;
  const isEmpty = content === undefined || content === '';
  const kind = isState === true ? 'state' : isEmpty ? 'empty' : '';
  return html`<td role="cell" data-label="${label}" class="${kind}">${shown}</td>`;
}
