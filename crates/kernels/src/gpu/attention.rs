use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::elementwise::tanh;
use super::{beside, dims};
use crate::{Heads, Plan, Sight};

/// Queries that a workgroup computes for one head, and its invocations; four share a query.
const QUERIES: usize = 16;
const UNITS: usize = 64;
const SHARE: usize = UNITS / QUERIES;

/// No real score is so low.
const MASKED: f32 = -1e30;

/// Values of the table that describe a tile of queries: their first row, how many they are, where
/// in the table's last part the rows of their keys begin, and how many those are.
const TILE_VALUES: usize = 4;

/// Keys in workgroup memory at once: with the queries within 13 KiB.
fn tile_keys(head_dim: usize) -> usize {
    match head_dim {
        0..=32 => 32,
        33..=64 => 16,
        _ => 8,
    }
}

/// Whether the kernel takes heads of this width.
pub(crate) fn can_attend(head_dim: usize) -> bool {
    head_dim.is_multiple_of(SHARE) && head_dim <= 128
}

/// Where the parts of a table begin, and how it is gone through.
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

/// A plan as the kernel reads it: tiles of queries, the position of every query, the rows of every
/// group's keys.
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

/// Brings keys or values of one head into workgroup memory: those whose rows the table names from
/// `names` on, `count` of them at most; zeros where there are no more.
#[cube]
#[allow(clippy::too_many_arguments, reason = "a kernel's part")]
fn bring(
    from: &Tensor<f32>,
    table: &Tensor<i32>,
    side: &mut Shared<[f32]>,
    names: usize,
    count: usize,
    width: usize,
    column: usize,
    #[comptime] keys_at_once: usize,
    #[comptime] head_dim: usize,
) {
    let mut i = UNIT_POS as usize;
    while i < comptime![keys_at_once * head_dim] {
        let key = i / head_dim;
        let mut value = 0.0f32;
        if key < count {
            value = from[table[names + key] as usize * width + column + i % head_dim];
        }
        side[i] = value;
        i += UNITS;
    }
}

#[cube(launch_unchecked)]
fn attention_kernel(
    q: &Tensor<f32>,
    k: &Tensor<f32>,
    v: &Tensor<f32>,
    table: &Tensor<i32>,
    out: &mut Tensor<f32>,
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
    let unit = UNIT_POS as usize;
    let (line, part) = (unit / SHARE, unit % SHARE);
    let head = CUBE_POS_Y as usize;
    let width = heads as usize * head_dim;
    let key_width = (heads as usize / group) * head_dim;
    let key_column = (head / group) * head_dim;
    let tile = CUBE_POS_X as usize * TILE_VALUES;
    let start = table[tile] as usize;
    let count = table[tile + 1] as usize;
    let keys_at = rows_at as usize + table[tile + 2] as usize;
    let keys = table[tile + 3] as usize;
    // Invocations without a query of their own go along with the last one.
    let query = start + select(line < count, line, count - 1);
    let position = table[positions_at as usize + query] as usize;
    let mut low = 0usize;
    let mut high = keys;
    // The keys that any query of the tile sees: positions ascend.
    let first_position = table[positions_at as usize + start] as usize;
    let last_position = table[positions_at as usize + start + count - 1] as usize;
    let mut tile_low = 0usize;
    let mut tile_high = keys;
    let reach = reach as usize;
    if comptime![is_back] {
        high = position + 1;
        tile_high = last_position + 1;
        if comptime![has_reach] {
            low = select(position + 1 > reach, position + 1 - reach, 0);
            tile_low = select(first_position + 1 > reach, first_position + 1 - reach, 0);
        }
    } else {
        if comptime![has_reach] {
            low = select(position > reach, position - reach, 0);
            tile_low = select(first_position > reach, first_position - reach, 0);
            high = select(position + reach + 1 < keys, position + reach + 1, keys);
            tile_high = select(last_position + reach + 1 < keys, last_position + reach + 1, keys);
        }
    }

    let mut queries = Shared::new_slice(comptime![QUERIES * head_dim]);
    let mut side = Shared::new_slice(comptime![keys_at_once * head_dim]);
    let mut scores = Shared::new_slice(comptime![QUERIES * keys_at_once]);
    let mut i = unit;
    while i < comptime![QUERIES * head_dim] {
        let row = i / head_dim;
        let from = start + select(row < count, row, count - 1);
        queries[i] = q[from * width + head * head_dim + i % head_dim] * scale;
        i += UNITS;
    }
    let mut largest = f32::new(MASKED);
    let mut sum = 0.0f32;
    let mut mixed = Array::<f32>::new(comptime![head_dim / SHARE]);
    #[unroll]
    for j in 0..comptime![head_dim / SHARE] {
        mixed[j] = 0.0f32;
    }
    // As often in every workgroup, whatever it has to do: barriers must not depend on data.
    let steps = (most_keys as usize).div_ceil(keys_at_once);
    let mut step = 0usize;
    while step < steps {
        let first = step * keys_at_once;
        let is_seen = first < tile_high && first + keys_at_once > tile_low;
        sync_cube();
        if is_seen {
            bring(
                k,
                table,
                &mut side,
                keys_at + first,
                keys - min(first, keys),
                key_width,
                key_column,
                keys_at_once,
                head_dim,
            );
        }
        sync_cube();
        if is_seen {
            #[unroll]
            for j in 0..comptime![keys_at_once / SHARE] {
                let key = part + j * SHARE;
                let mut score = 0.0f32;
                for i in 0..head_dim {
                    score += queries[line * head_dim + i] * side[key * head_dim + i];
                }
                if comptime![is_capped] {
                    score = cap * tanh(score / cap);
                }
                let is_visible = first + key >= low && first + key < high;
                scores[line * keys_at_once + key] = select(is_visible, score, MASKED);
            }
        }
        sync_cube();
        if is_seen {
            bring(
                v,
                table,
                &mut side,
                keys_at + first,
                keys - min(first, keys),
                key_width,
                key_column,
                keys_at_once,
                head_dim,
            );
        }
        sync_cube();
        if is_seen {
            let mut now = largest;
            for key in 0..keys_at_once {
                now = max(now, scores[line * keys_at_once + key]);
            }
            let shrink = (largest - now).exp();
            sum *= shrink;
            #[unroll]
            for j in 0..comptime![head_dim / SHARE] {
                mixed[j] *= shrink;
            }
            for key in 0..keys_at_once {
                let score = scores[line * keys_at_once + key];
                // Where a query sees none of the keys yet, the largest score is masked too.
                let weight = select(score > comptime![MASKED / 2.0], (score - now).exp(), 0.0f32);
                sum += weight;
                #[unroll]
                for j in 0..comptime![head_dim / SHARE] {
                    mixed[j] += weight * side[key * head_dim + part + j * SHARE];
                }
            }
            largest = now;
        }
        step += 1;
    }
    if line < count {
        #[unroll]
        for j in 0..comptime![head_dim / SHARE] {
            out[(start + line) * width + head * head_dim + part + j * SHARE] = mixed[j] / sum;
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
    let (out, client) = (beside(&q, rows, width), q.client.clone());
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
