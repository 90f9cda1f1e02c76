//! Packs values into words of 32 bits on the host, and unpacks them.

/// Number of values that share a scale and a minimum.
pub const GROUP: usize = 32;

/// How the values of a matrix are packed into words of 32 bits. The first value is in the lowest bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Packing {
    /// Two IEEE half-precision floats in a word.
    F16,
    /// Two bfloat16 in a word: the upper halves of two f32.
    Bf16,
    /// Four signed bytes in a word. The value of a byte `q` is `q scale + minimum`. Each group of [`GROUP`]
    /// values of a row has its own scale and minimum: two IEEE halves in a word of their own.
    Q8,
    /// Eight unsigned 4-bit numbers in a word, with scale and minimum as in [`Self::Q8`].
    Q4,
}

impl Packing {
    /// Number of values in a word.
    pub const fn per_word(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::Q8 => 4,
            Self::Q4 => 8,
        }
    }

    /// Whether groups of values have a scale and a minimum.
    pub const fn has_groups(self) -> bool {
        matches!(self, Self::Q8 | Self::Q4)
    }

    /// Whether rows of `columns` values can be packed this way.
    pub const fn takes(self, columns: usize) -> bool {
        columns.is_multiple_of(if self.has_groups() { GROUP } else { self.per_word() })
    }

    /// Bytes of this many packed values, with their scales and minimums.
    pub const fn bytes(self, values: usize) -> usize {
        4 * (values / self.per_word() + if self.has_groups() { values / GROUP } else { 0 })
    }
}

/// Packed rows on the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Packed {
    /// The packed values.
    pub words: Vec<i32>,
    /// Scale and minimum of each group, as the bits of IEEE halves: the scale is in the lower half of the word.
    /// Empty where the packing has no groups.
    pub pairs: Vec<i32>,
}

impl Packed {
    /// Packs rows of values, one row after the other; [`Packing::takes`] must allow the length of a row. Values
    /// that f16 cannot hold become infinite, as in a cast; they are not clipped.
    pub fn of(packing: Packing, values: &[f32]) -> Self {
        let halves = |of: &dyn Fn(f32) -> u16| {
            values.chunks_exact(2).map(|pair| (u32::from(of(pair[0])) | u32::from(of(pair[1])) << 16) as i32).collect()
        };
        match packing {
            Packing::F16 => Self { words: halves(&|value| half::f16::from_f32(value).to_bits()), pairs: Vec::new() },
            Packing::Bf16 => Self { words: halves(&|value| half::bf16::from_f32(value).to_bits()), pairs: Vec::new() },
            Packing::Q8 | Packing::Q4 => {
                let mut packed = Self::default();
                for group in values.chunks_exact(GROUP) {
                    let group: &[f32; GROUP] =
                        group.try_into().unwrap_or_else(|_| unreachable!("a chunk of that size"));
                    let (scale, minimum, quants) =
                        if packing == Packing::Q8 { eight_bits(group) } else { four_bits(group) };
                    packed.push(packing, scale.to_bits(), minimum.to_bits(), &quants);
                }
                packed
            }
        }
    }

    /// Adds a group that is quantised already: its values are `q scale + minimum`. `scale` and `minimum` are
    /// the bits of IEEE halves. Only for packings with groups.
    pub fn push(&mut self, packing: Packing, scale: u16, minimum: u16, quants: &[i32; GROUP]) {
        let bits = 32 / packing.per_word();
        let mask = (1i64 << bits) as i32 - 1;
        let word = |quants: &[i32]| quants.iter().rev().fold(0, |word, q| word << bits | q & mask);
        self.words.extend(quants.chunks_exact(packing.per_word()).map(word));
        self.pairs.push((u32::from(scale) | u32::from(minimum) << 16) as i32);
    }

    /// Unpacks values into `out`, as many as it holds. This function defines the packed format: every device
    /// unpacks to the same values.
    pub fn unpack(packing: Packing, words: &[i32], pairs: &[i32], out: &mut [f32]) {
        let half = |bits: i32| half::f16::from_bits(bits as u16).to_f32();
        match packing {
            Packing::F16 => {
                for (out, &word) in out.chunks_exact_mut(2).zip(words) {
                    (out[0], out[1]) = (half(word), half(word >> 16));
                }
            }
            Packing::Bf16 => {
                for (out, &word) in out.chunks_exact_mut(2).zip(words) {
                    out[0] = f32::from_bits((word as u32) << 16);
                    out[1] = f32::from_bits(word as u32 & 0xffff_0000);
                }
            }
            Packing::Q8 => {
                for ((out, words), &pair) in out.chunks_exact_mut(GROUP).zip(words.chunks_exact(8)).zip(pairs) {
                    let (scale, minimum) = (half(pair), half(pair >> 16));
                    for (out, &word) in out.chunks_exact_mut(4).zip(words) {
                        for (place, out) in out.iter_mut().enumerate() {
                            *out = (word << (24 - 8 * place) >> 24) as f32 * scale + minimum;
                        }
                    }
                }
            }
            Packing::Q4 => {
                for ((out, words), &pair) in out.chunks_exact_mut(GROUP).zip(words.chunks_exact(4)).zip(pairs) {
                    let (scale, minimum) = (half(pair), half(pair >> 16));
                    for (out, &word) in out.chunks_exact_mut(8).zip(words) {
                        for (place, out) in out.iter_mut().enumerate() {
                            *out = (word >> (4 * place) & 15) as f32 * scale + minimum;
                        }
                    }
                }
            }
        }
    }
}

/// Scale, minimum and quantised values of a group.
type Quantised = (half::f16, half::f16, [i32; GROUP]);

/// Rounds to the nearest whole number, and to the even one of two; for values below 2^22. It calls no function,
/// so that compilers can vectorise loops of it.
#[inline(always)]
pub(crate) fn nearest(value: f32) -> f32 {
    // Adding and subtracting 1.5 * 2^23 leaves no digits after the point.
    const ROUND: f32 = 12_582_912.0;
    (value + ROUND) - ROUND
}

/// Quantises to 8 bits, symmetrically: the largest value by size becomes 127 or -127, and the minimum is 0.
fn eight_bits(group: &[f32; GROUP]) -> Quantised {
    let largest = group.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    let scale = half::f16::from_f32(largest / 127.0);
    let inverse = if scale.to_f32() > 0.0 { 1.0 / scale.to_f32() } else { 0.0 };
    (scale, half::f16::ZERO, group.map(|value| nearest((value * inverse).clamp(-127.0, 127.0)) as i32))
}

/// Quantises to 4 bits. It tries several first scales and keeps the result with the least weighted squared
/// error. For each it rounds the values, fits scale and minimum to the rounded values by weighted least
/// squares, and rounds again. The search and the weights (the root of the group's mean square, plus the value's
/// size) are those of llama.cpp's `make_qkx2_quants`.
fn four_bits(group: &[f32; GROUP]) -> Quantised {
    const STEPS: i32 = 6;
    let least = group.iter().copied().fold(f32::INFINITY, f32::min);
    let largest = group.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mean = (group.iter().map(|value| value * value).sum::<f32>() / GROUP as f32).sqrt();
    let group = &Weighted { values: *group, weights: group.map(|value| mean + value.abs()) };
    let mut best = ((largest - least) / 15.0, least);
    let mut best_error = group.distance(best, &group.levels(best));
    for step in 0..=STEPS {
        // From two levels too few to a few too many; these clip the ends.
        let mut next = ((largest - least) / (13.0 + step as f32), least);
        for _ in 0..2 {
            let Some(fitted) = group.fit(&group.levels(next)) else {
                break;
            };
            next = fitted;
            let error = group.distance(next, &group.levels(next));
            if error >= best_error {
                break;
            }
            (best, best_error) = (next, error);
        }
    }
    let (scale, minimum) = (half::f16::from_f32(best.0), half::f16::from_f32(best.1));
    (scale, minimum, group.levels((scale.to_f32(), minimum.to_f32())).map(|level| level as i32))
}

/// The values of a group, and the weight of each value's squared error.
struct Weighted {
    values: [f32; GROUP],
    weights: [f32; GROUP],
}

impl Weighted {
    /// The nearest of the 16 levels (0 to 15) for each value.
    #[inline(always)]
    fn levels(&self, (scale, minimum): (f32, f32)) -> [f32; GROUP] {
        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        self.values.map(|value| nearest(((value - minimum) * inverse).clamp(0.0, 15.0)))
    }

    /// Sums over the group of the `N` terms that `of` makes of a value, its weight and its level.
    #[inline(always)]
    fn sums<const N: usize>(&self, levels: &[f32; GROUP], of: impl Fn(f32, f32, f32) -> [f32; N]) -> [f32; N] {
        const LANES: usize = 8;
        let mut lanes = [[0.0f32; LANES]; N];
        for first in (0..GROUP).step_by(LANES) {
            for at in 0..LANES {
                let place = first + at;
                let terms = of(self.values[place], self.weights[place], levels[place]);
                for (lanes, term) in lanes.iter_mut().zip(terms) {
                    lanes[at] += term;
                }
            }
        }
        lanes.map(|lanes| lanes.iter().sum())
    }

    /// The weighted squared error of the values against their levels.
    #[inline(always)]
    fn distance(&self, (scale, minimum): (f32, f32), levels: &[f32; GROUP]) -> f32 {
        let [sum] = self.sums(levels, |value, weight, level| {
            let off = level * scale + minimum - value;
            [weight * off * off]
        });
        sum
    }

    /// The scale and minimum that bring the levels nearest to their values, by weighted least squares; `None`
    /// where all values have the same level.
    #[inline(always)]
    fn fit(&self, levels: &[f32; GROUP]) -> Option<(f32, f32)> {
        let [count, sum, squares, values, products] = self.sums(levels, |value, weight, level| {
            let weighted = weight * level;
            [weight, weighted, weighted * level, weight * value, weighted * value]
        });
        let spread = count * squares - sum * sum;
        let scale = (count * products - sum * values) / spread;
        (spread > 0.0).then(|| (scale, (values - scale * sum) / count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(count: usize) -> Vec<f32> {
        let mut state = 1u32;
        (0..count)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 24) as f32 * 0.2 - 0.1
            })
            .collect()
    }

    #[test]
    fn what_is_packed_comes_back_within_a_step() {
        let values = values(64 * GROUP);
        // Bounds of the largest error and of the root mean square error. A step of four bits is 0.0133 here.
        for (packing, within, mean_within) in [
            (Packing::F16, 3.1e-5, 1.5e-5),
            (Packing::Bf16, 2.5e-4, 1.2e-4),
            (Packing::Q8, 4.5e-4, 2.4e-4),
            (Packing::Q4, 1.34e-2, 3.9e-3),
        ] {
            let packed = Packed::of(packing, &values);
            assert_eq!(4 * (packed.words.len() + packed.pairs.len()), packing.bytes(values.len()));
            let mut found = vec![0.0; values.len()];
            Packed::unpack(packing, &packed.words, &packed.pairs, &mut found);
            let worst = values.iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            let squares: f32 = values.iter().zip(&found).map(|(a, b)| (a - b) * (a - b)).sum();
            let mean = (squares / values.len() as f32).sqrt();
            println!("{packing:?}: {worst:e}, {mean:e}");
            assert!(worst <= within && mean <= mean_within, "{packing:?}: {worst:e}, {mean:e}");
            // Once packed, packing again changes nothing.
            if !packing.has_groups() {
                assert_eq!(Packed::of(packing, &found), packed);
            }
        }
    }

    #[test]
    fn odd_groups_are_no_harm() {
        for group in [[0.0; GROUP], [1e-7; GROUP], [-3.0; GROUP]] {
            for packing in [Packing::Q8, Packing::Q4] {
                let packed = Packed::of(packing, &group);
                let mut found = [0.0; GROUP];
                Packed::unpack(packing, &packed.words, &packed.pairs, &mut found);
                for (found, want) in found.iter().zip(&group) {
                    assert!((found - want).abs() <= 0.01 * want.abs().max(1e-4), "{packing:?}: {found} is not {want}");
                }
            }
        }
    }
}
