// Rows come to their places by the browser alone: Svelte would find out one by one which of hundreds it has to move.

/** Puts the rows of a table's body that have a `data-key` into the order of these keys, behind those that have none. */
export function inOrder(body: HTMLTableSectionElement, keys: readonly string[]) {
  const arrange = (keys: readonly string[]) => {
    const drawn = [...body.rows].filter(({ dataset }) => dataset.key !== undefined);
    if (drawn.every(({ dataset }, i) => dataset.key === keys[i])) return;
    const rows = new Map(drawn.map((row) => [row.dataset.key, row]));
    body.append(...keys.flatMap((key) => rows.get(key) ?? []));
  };
  arrange(keys);
  return { update: arrange };
}
