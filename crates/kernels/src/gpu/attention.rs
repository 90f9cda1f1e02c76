//! Attention on the GPU: one pass over the keys, with a running softmax, so that scores never leave the
//! workgroup.

use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::elementwise::tanh;
use super::{Four, alloc_on_device_of, dims};
use crate::{Heads, Plan, Sight};

/// Queries of a workgroup. Its 8 x 8 invocations compute 32 queries of one head; each invocation has four
/// queries. It computes their scores for every eighth key, then every eighth vector of four of their results.
const QUERIES: usize = 32;
/// Invocations along a side of the workgroup.
const SIDE: usize = 8;
/// Invocations of the workgroup.
const UNITS: usize = SIDE * SIDE;
/// Queries of an invocation; also the values of a [`Four`].
const EACH: usize = QUERIES / SIDE;

/// The score of keys that a query does not see; no real score is so low.
const MASKED: f32 = -1e30;

/// Values of the table for each tile of queries: its first row, its number of queries, where in the table's
/// last part the rows of its keys begin, and their number.
const TILE_VALUES: usize = 4;

/// Keys in workgroup memory at once. They and their scores take at most 13 KiB.
fn tile_keys(head_dim: usize) -> usize {
    match head_dim {
        0..=64 => 32,
        65..=128 => 16,
        _ => 8,
    }
}

/// The sizes of a tile of attention: queries in the tile, and keys that are taken at once.
pub(crate) struct KeyTiles {
    pub queries: usize,
    pub keys: usize,
}

impl KeyTiles {
    pub(crate) fn of(head_dim: usize) -> Self {
        Self { queries: QUERIES, keys: tile_keys(head_dim) }
    }
}

/// Whether the kernel can compute heads of this width.
pub(crate) fn can_attend(head_dim: usize) -> bool {
    head_dim.is_multiple_of(EACH) && head_dim <= 256
}

/// The parts of a table: the number of its tiles, where positions and rows of keys begin, and the largest
/// number of keys that a group has.
struct Parts {
    tiles: usize,
    positions: usize,
    rows: usize,
    most_keys: usize,
}

impl Parts {
    fn of(plan: &Plan) -> Self {
        let groups = plan.groups();
        let tiles = groups.iter().map(|group| group.queries.len().div_ceil(QUERIES)).sum();
        let positions = tiles * TILE_VALUES;
        Self {
            tiles,
            positions,
            rows: positions + groups.iter().map(|group| group.queries.len()).sum::<usize>(),
            most_keys: groups.iter().map(crate::Group::key_count).max().unwrap_or_default(),
        }
    }
}

/// A plan as the kernel reads it: the tiles of queries, then the position of every query, then the rows of
/// every group's keys.
pub(crate) fn table(plan: &Plan) -> Vec<i32> {
    let (mut tiles, mut positions, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    for group in plan.groups() {
        let keys_at = rows.len() as i32;
        for first in (0..group.queries.len()).step_by(QUERIES) {
            let count = QUERIES.min(group.queries.len() - first);
            tiles.extend([(group.queries.start + first) as i32, count as i32, keys_at, group.key_count() as i32]);
        }
        positions.extend(group.positions.iter().map(|&position| position as i32));
        rows.extend(group.keys.iter().flat_map(|range| range.clone().map(|row| row as i32)));
    }
    [tiles, positions, rows].concat()
}

/// Brings keys or values of one head into workgroup memory, a row every `fours + 1` vectors. The table lists
/// their rows from `names` on; at most `count` are read, and zeros take the place of the rest.
#[cube]
#[allow(clippy::too_many_arguments, reason = "a kernel's part")]
fn bring(
    from: &Tensor<Four>,
    table: &Tensor<i32>,
    side: &mut Shared<[Four]>,
    names: usize,
    count: usize,
    width: usize,
    column: usize,
    #[comptime] keys_at_once: usize,
    #[comptime] fours: usize,
) {
    let mut i = UNIT_POS as usize;
    while i < comptime![keys_at_once * fours] {
        let key = i / fours;
        let mut value = Four::new(0.0f32);
        if key < count {
            value = from[(table[names + key] as usize * width + column) / EACH + i % fours];
        }
        side[key * comptime![fours + 1] + i % fours] = value;
        i += UNITS;
    }
}

#[cube(launch_unchecked)]
fn attention_kernel(
    q: &Tensor<Four>,
    k: &Tensor<Four>,
    v: &Tensor<Four>,
    table: &Tensor<i32>,
    out: &mut Tensor<Four>,
    positions_at: u32,
    rows_at: u32,
    most_keys: u32,
    heads: u32,
    scale: f32,
    cap: f32,
    reach: u32,
    #[comptime] head_dim: usize,
    #[comptime] group: usize,
    #[comptime] keys_at_once: usize,
    #[comptime] is_back: bool,
    #[comptime] has_reach: bool,
    #[comptime] is_capped: bool,
) {
    let fours = comptime![head_dim / EACH];
    let stride = comptime![fours + 1];
    let own_keys = comptime![keys_at_once / SIDE];
    let own_fours = comptime![fours.div_ceil(SIDE)];
    let unit = UNIT_POS as usize;
    let (across, down) = (unit % SIDE, unit / SIDE);
    let head = CUBE_POS_Y as usize;
    let width = heads as usize * head_dim;
    let key_width = (heads as usize / group) * head_dim;
    let key_column = (head / group) * head_dim;
    let tile = CUBE_POS_X as usize * TILE_VALUES;
    let start = table[tile] as usize;
    let count = table[tile + 1] as usize;
    let keys_at = rows_at as usize + table[tile + 2] as usize;
    let keys = table[tile + 3] as usize;
    let positions = positions_at as usize + start;
    let reach = reach as usize;
    // The keys that at least one query of the tile sees: positions ascend, so the first and the last query
    // bound them.
    let first_position = table[positions] as usize;
    let last_position = table[positions + count - 1] as usize;
    let mut tile_low = 0usize;
    let mut tile_high = keys;
    if comptime![is_back] {
        tile_high = last_position + 1;
        if comptime![has_reach] {
            tile_low = select(first_position + 1 > reach, first_position + 1 - reach, 0);
        }
    } else {
        if comptime![has_reach] {
            tile_low = select(first_position > reach, first_position - reach, 0);
            tile_high = select(last_position + reach + 1 < keys, last_position + reach + 1, keys);
        }
    }

    let mut side = Shared::new_slice(comptime![keys_at_once * stride]);
    // For each key: its scores for four queries, later their weights.
    let mut scores = Shared::new_slice(comptime![keys_at_once * SIDE]);
    // For each invocation: the largest score that it found for each of four queries.
    let mut maxima = Shared::new_slice(UNITS);
    // The invocation's four queries: where they lie, which keys they see, and their results so far.
    let mut rows = Array::<usize>::new(EACH);
    let mut low = Array::<usize>::new(EACH);
    let mut high = Array::<usize>::new(EACH);
    let mut largest = Array::<f32>::new(EACH);
    let mut sums = Array::<f32>::new(EACH);
    let mut mixed = Array::<Four>::new(comptime![EACH * own_fours]);
    #[unroll]
    for i in 0..EACH {
        // Lines without a query repeat the last query.
        let line = down * EACH + i;
        let query = select(line < count, line, count - 1);
        rows[i] = ((start + query) * width + head * head_dim) / EACH;
        let position = table[positions + query] as usize;
        low[i] = 0usize;
        high[i] = keys;
        if comptime![is_back] {
            high[i] = position + 1;
            if comptime![has_reach] {
                low[i] = select(position + 1 > reach, position + 1 - reach, 0);
            }
        } else {
            if comptime![has_reach] {
                low[i] = select(position > reach, position - reach, 0);
                high[i] = select(position + reach + 1 < keys, position + reach + 1, keys);
            }
        }
        largest[i] = f32::new(MASKED);
        sums[i] = 0.0f32;
        #[unroll]
        for j in 0..own_fours {
            mixed[i * own_fours + j] = Four::new(0.0f32);
        }
    }
    // Every workgroup takes the same number of steps: barriers must not depend on data.
    let steps = (most_keys as usize).div_ceil(keys_at_once);
    let mut step = 0usize;
    while step < steps {
        let first = step * keys_at_once;
        let is_seen = first < tile_high && first + keys_at_once > tile_low;
        let names = keys_at + first;
        let left = keys - min(first, keys);
        let mut found = Array::<f32>::new(comptime![EACH * own_keys]);
        let mut now = Array::<f32>::new(EACH);
        sync_cube();
        if is_seen {
            bring(k, table, &mut side, names, left, key_width, key_column, keys_at_once, fours);
        }
        sync_cube();
        if is_seen {
            #[unroll]
            for i in 0..comptime![EACH * own_keys] {
                found[i] = 0.0f32;
            }
            for part in 0..fours {
                let mut side_parts = Array::<Four>::new(own_keys);
                #[unroll]
                for j in 0..own_keys {
                    side_parts[j] = side[(across + j * SIDE) * stride + part];
                }
                #[unroll]
                for i in 0..EACH {
                    let query = q[rows[i] + part];
                    #[unroll]
                    for j in 0..own_keys {
                        #[unroll]
                        for lane in 0..EACH {
                            found[i * own_keys + j] =
                                fma(query.extract(lane), side_parts[j].extract(lane), found[i * own_keys + j]);
                        }
                    }
                }
            }
            let mut most = Four::new(0.0f32);
            #[unroll]
            for i in 0..EACH {
                let mut own = f32::new(MASKED);
                #[unroll]
                for j in 0..own_keys {
                    let key = first + across + j * SIDE;
                    let mut score = found[i * own_keys + j] * scale;
                    if comptime![is_capped] {
                        score = cap * tanh(score / cap);
                    }
                    score = select(key >= low[i] && key < high[i], score, MASKED);
                    found[i * own_keys + j] = score;
                    own = max(own, score);
                }
                most.insert(i, own);
            }
            maxima[across * SIDE + down] = most;
        }
        sync_cube();
        if is_seen {
            bring(v, table, &mut side, names, left, key_width, key_column, keys_at_once, fours);
            #[unroll]
            for i in 0..EACH {
                now[i] = largest[i];
            }
            for other in 0..SIDE {
                let most = maxima[other * SIDE + down];
                #[unroll]
                for i in 0..EACH {
                    now[i] = max(now[i], most.extract(i));
                }
            }
            #[unroll]
            for j in 0..own_keys {
                let mut weights = Four::new(0.0f32);
                #[unroll]
                for i in 0..EACH {
                    let score = found[i * own_keys + j];
                    // Until a query has seen a key, its largest score is the masked one too.
                    weights.insert(i, select(score > comptime![MASKED / 2.0], (score - now[i]).exp(), 0.0f32));
                }
                scores[(across + j * SIDE) * SIDE + down] = weights;
            }
        }
        sync_cube();
        if is_seen {
            #[unroll]
            for i in 0..EACH {
                let shrink = (largest[i] - now[i]).exp();
                sums[i] *= shrink;
                largest[i] = now[i];
                #[unroll]
                for j in 0..own_fours {
                    mixed[i * own_fours + j] *= Four::new(shrink);
                }
            }
            for key in 0..keys_at_once {
                let weights = scores[key * SIDE + down];
                #[unroll]
                for j in 0..own_fours {
                    let place = across + j * SIDE;
                    let value = side[key * stride + min(place, comptime![fours - 1])];
                    #[unroll]
                    for i in 0..EACH {
                        mixed[i * own_fours + j] = fma(Four::new(weights.extract(i)), value, mixed[i * own_fours + j]);
                    }
                }
                #[unroll]
                for i in 0..EACH {
                    sums[i] += weights.extract(i);
                }
            }
        }
        step += 1;
    }
    #[unroll]
    for i in 0..EACH {
        if down * EACH + i < count {
            #[unroll]
            for j in 0..own_fours {
                let place = across + j * SIDE;
                if place < fours {
                    out[rows[i] + place] = mixed[i * own_fours + j] / Four::new(sums[i]);
                }
            }
        }
    }
}

pub(super) fn attention(
    q: CubeTensor,
    k: CubeTensor,
    v: CubeTensor,
    table: CubeTensor,
    plan: &Plan,
    heads: Heads,
) -> CubeTensor {
    let [rows, width] = dims(&q);
    let head_dim = width / heads.queries;
    let (out, client) = (alloc_on_device_of(&q, [rows, width]), q.client.clone());
    let parts = Parts::of(plan);
    let (is_back, reach) = match heads.sight {
        Sight::Back(window) => (true, window),
        Sight::Around(reach) => (false, reach),
    };
    // SAFETY: the table names rows that the plan has, and keys beyond a group's last are not read.
    unsafe {
        attention_kernel::launch_unchecked(
            &client,
            CubeCount::Static(parts.tiles as u32, heads.queries as u32, 1),
            CubeDim::new_1d(UNITS as u32),
            q.into_tensor_arg(),
            k.into_tensor_arg(),
            v.into_tensor_arg(),
            table.into_tensor_arg(),
            out.clone().into_tensor_arg(),
            parts.positions as u32,
            parts.rows as u32,
            parts.most_keys as u32,
            heads.queries as u32,
            heads.scale as f32,
            heads.softcap.unwrap_or(1.0) as f32,
            reach.unwrap_or_default() as u32,
            head_dim,
            heads.queries / heads.keys,
            tile_keys(head_dim),
            is_back,
            reach.is_some(),
            heads.softcap.is_some(),
        );
    }
    out
}
