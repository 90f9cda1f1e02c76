//! Counts what kernels move and multiply on a GPU, from the sizes of their tiles. The counts are the same on
//! every machine, so a change for the worse is seen where there is no GPU.

use std::cell::RefCell;

use crate::gpu::{KeyTiles, ProductTiles};
use crate::{Heads, Packing, Plan};

/// Memory traffic and arithmetic of kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Bytes of weights that workgroups read; in attention, of keys and values.
    pub weight_bytes: u64,
    /// Bytes of activations that workgroups read.
    pub read_bytes: u64,
    /// Bytes that workgroups write.
    pub written_bytes: u64,
    /// Number of multiplications, each with one addition.
    pub multiply_adds: u64,
}

impl std::ops::AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.weight_bytes += other.weight_bytes;
        self.read_bytes += other.read_bytes;
        self.written_bytes += other.written_bytes;
        self.multiply_adds += other.multiply_adds;
    }
}

/// Calls of one kernel at one shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// The kernel's name and shape.
    pub kernel: String,
    /// Number of calls.
    pub calls: u64,
    /// Traffic of all calls. Tiles count whole, also where they reach beyond the end of a matrix.
    pub done: Traffic,
    /// Least possible traffic of all calls: each value is read and written once, and each product is formed
    /// once.
    pub least: Traffic,
}

thread_local! {
    static COUNTS: RefCell<Option<Vec<Count>>> = const { RefCell::new(None) };
}

/// Runs `work` and counts the kernels that it calls on this thread, in the order of their first calls. The
/// device does not matter: each kernel is counted as a GPU would run it.
pub fn counted<T>(work: impl FnOnce() -> T) -> (T, Vec<Count>) {
    COUNTS.replace(Some(Vec::new()));
    let result = work();
    (result, COUNTS.take().unwrap_or_default())
}

/// Adds a call, where calls are being counted. `of` gives what it does and the least possible.
fn add(kernel: impl FnOnce() -> String, of: impl FnOnce() -> (Traffic, Traffic)) {
    COUNTS.with_borrow_mut(|counts| {
        let Some(counts) = counts else {
            return;
        };
        let (kernel, (done, least)) = (kernel(), of());
        match counts.iter_mut().find(|count| count.kernel == kernel) {
            Some(count) => {
                count.calls += 1;
                count.done += done;
                count.least += least;
            }
            None => counts.push(Count { kernel, calls: 1, done, least }),
        }
    });
}

/// Counts `many` products of `[rows, inputs]` with `[outputs, inputs]`. The second matrix is packed, or in f32
/// where `packing` is `None`.
pub(crate) fn product([many, rows, outputs, inputs]: [usize; 4], packing: Option<Packing>) {
    let stored = packing.map_or("f32".to_owned(), |packing| format!("{packing:?}").to_lowercase());
    let name = || format!("product {many} x {rows} x {inputs} x {outputs}, {stored}");
    add(name, || {
        let tiles = ProductTiles::ALL;
        let (across, down) = (outputs.div_ceil(tiles.side), rows.div_ceil(tiles.side));
        let weight = packing.map_or(4 * outputs * inputs, |packing| packing.bytes(outputs * inputs));
        let (left, out) = (4 * rows * inputs, 4 * rows * outputs);
        let of = |weights: usize, reads: usize, multiply_adds: usize| Traffic {
            weight_bytes: (many * weights) as u64,
            read_bytes: (many * reads) as u64,
            written_bytes: (many * out) as u64,
            multiply_adds: many as u64 * multiply_adds as u64,
        };
        let side = tiles.side;
        let done = of(weight * down, left * across, across * down * side * side * inputs.next_multiple_of(tiles.depth));
        (done, of(weight, left, rows * outputs * inputs))
    });
}

/// Counts attention of `[tokens, width]` queries.
pub(crate) fn attention(tokens: usize, width: usize, plan: &Plan, heads: Heads) {
    let head_dim = width / heads.queries;
    let name = || format!("attention {tokens} tokens, {} heads of {head_dim}", heads.queries);
    add(name, || {
        let tiles = KeyTiles::of(head_dim);
        let (mut done, mut least) = (Traffic::default(), Traffic::default());
        for group in plan.groups() {
            let keys = group.key_count();
            let line = 4 * head_dim * heads.queries;
            for first in (0..group.queries.len()).step_by(tiles.queries) {
                let count = tiles.queries.min(group.queries.len() - first);
                let span = group.span(heads.sight, first, first + count - 1);
                // Whole steps of keys, from the step with the first key that any query sees.
                let steps = span.end.div_ceil(tiles.keys) - span.start / tiles.keys;
                let seen = (span.end.next_multiple_of(tiles.keys).min(keys)) - span.start / tiles.keys * tiles.keys;
                done += Traffic {
                    weight_bytes: (2 * seen * line) as u64,
                    read_bytes: (steps * count * line) as u64,
                    written_bytes: (count * line) as u64,
                    multiply_adds: (2 * steps * tiles.keys * tiles.queries * head_dim * heads.queries) as u64,
                };
            }
            let seen: usize = group.positions.iter().map(|&position| heads.sight.of(position, keys).len()).sum();
            least += Traffic {
                weight_bytes: (2 * 4 * keys * head_dim * heads.keys) as u64,
                read_bytes: (group.queries.len() * line) as u64,
                written_bytes: (group.queries.len() * line) as u64,
                multiply_adds: (2 * seen * head_dim * heads.queries) as u64,
            };
        }
        (done, least)
    });
}

/// Counts a kernel that reads `reads` matrices of this shape once, and writes `writes` of them.
pub(crate) fn rows(kernel: &str, [tokens, width]: [usize; 2], reads: usize, writes: usize) {
    add(
        || format!("{kernel} {tokens} x {width}"),
        || {
            let bytes = 4 * tokens * width;
            let traffic = Traffic {
                read_bytes: (reads * bytes) as u64,
                written_bytes: (writes * bytes) as u64,
                ..Traffic::default()
            };
            (traffic, traffic)
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Group, Sight};

    #[test]
    fn whole_tiles_do_no_more_than_the_least() {
        let side = ProductTiles::ALL.side;
        let ((), counts) = counted(|| (0..2).for_each(|_| product([1, side, side, 96], None)));
        let [count] = counts.as_slice() else { panic!("one kernel: {counts:?}") };
        assert_eq!((count.calls, count.done), (2, count.least));
        // One row more needs another tile, which reads the weights again.
        let ((), counts) = counted(|| product([1, side + 1, side, 96], Some(Packing::Q4)));
        assert_eq!(counts[0].done.weight_bytes, 2 * counts[0].least.weight_bytes);
        assert_eq!(counts[0].least.weight_bytes as usize, Packing::Q4.bytes(side * 96));
    }

    #[test]
    fn attention_counts_what_is_seen() {
        let group = Group { queries: 0..64, positions: (0..64).collect(), keys: vec![0..64] };
        let heads = Heads { queries: 2, keys: 1, scale: 1.0, softcap: None, sight: Sight::Back(None) };
        let ((), counts) = counted(|| attention(64, 128, &Plan::new([group]), heads));
        let Count { done, least, .. } = &counts[0];
        assert_eq!(least.multiply_adds, 2 * 64 * 65 / 2 * 64 * 2);
        // Two tiles of queries: the first takes one step of 32 keys, the second takes two.
        assert_eq!(done.multiply_adds, 2 * 3 * 32 * 32 * 64 * 2);
        assert_eq!(done.weight_bytes, 2 * (32 + 64) * 64 * 4 * 2);
    }

    #[test]
    fn nothing_is_counted_unasked() {
        rows("norm", [4, 4], 1, 1);
        let ((), counts) = counted(|| rows("norm", [4, 4], 1, 1));
        assert_eq!(counts.len(), 1);
        rows("norm", [4, 4], 1, 1);
        assert!(COUNTS.take().is_none());
    }
}
