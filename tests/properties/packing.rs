//! Weights packed into 16, 8 and 4 bits.

use half::{bf16, f16};
use proptest::collection::vec;
use proptest::prelude::*;
use rewardscope_kernels::{GROUP, Packed, Packing};

use crate::cases;

/// Whole groups of values as weights have them: small ones, large ones, zeros.
fn groups() -> impl Strategy<Value = Vec<f32>> {
    let value = prop_oneof![4 => -1.0f32..1.0, 2 => -1e-3f32..1e-3, 1 => -500.0f32..500.0, 1 => Just(0.0)];
    (1usize..5).prop_flat_map(move |groups| vec(value.clone(), groups * GROUP))
}

fn again(packing: Packing, values: &[f32]) -> Vec<f32> {
    let packed = Packed::of(packing, values);
    assert_eq!(4 * (packed.words.len() + packed.pairs.len()), packing.bytes(values.len()));
    let mut out = vec![f32::NAN; values.len()];
    Packed::unpack(packing, &packed.words, &packed.pairs, &mut out);
    out
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn sixteen_bits_are_the_nearest(values in groups()) {
        for (found, value) in again(Packing::F16, &values).iter().zip(&values) {
            prop_assert_eq!(*found, f16::from_f32(*value).to_f32());
        }
        for (found, value) in again(Packing::Bf16, &values).iter().zip(&values) {
            prop_assert_eq!(*found, bf16::from_f32(*value).to_f32());
        }
    }

    #[test]
    fn what_sixteen_bits_hold_comes_back(bits in vec(any::<u16>(), GROUP)) {
        let values: Vec<f32> = bits.iter().map(|&bits| f16::from_bits(bits).to_f32()).collect();
        for (found, value) in again(Packing::F16, &values).iter().zip(&values) {
            prop_assert!(found == value || found.is_nan() && value.is_nan());
        }
    }

    /// A value is at most half a step away, and a little for the scale, which is a half itself: 127 of its roundings of
    /// 2^-11, or of 2^-25 where it is not normal.
    #[test]
    fn eight_bits_are_half_a_step_away(values in groups()) {
        let found = again(Packing::Q8, &values);
        for (group, found) in values.chunks(GROUP).zip(found.chunks(GROUP)) {
            let step = group.iter().fold(0.0f32, |most, value| most.max(value.abs())) / 127.0;
            let rounding = 127.0 * (step / 2048.0).max(1.0 / (1u32 << 25) as f32);
            for (value, found) in group.iter().zip(found) {
                prop_assert!((value - found).abs() <= 0.5 * step + rounding + 1e-7, "{} became {}, a step is {}", value, found, step);
            }
        }
    }

    /// The search starts from even levels between the least and the largest value and takes only what is nearer, by
    /// weighted squares; weights differ at most by the largest value and the root of the mean square.
    #[test]
    fn four_bits_are_no_worse_than_even_levels(values in groups()) {
        let found = again(Packing::Q4, &values);
        for (group, found) in values.chunks(GROUP).zip(found.chunks(GROUP)) {
            let least = group.iter().copied().fold(f32::INFINITY, f32::min);
            let largest = group.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let step = (largest - least) / 15.0;
            let mean = (group.iter().map(|value| value * value).sum::<f32>() / GROUP as f32).sqrt();
            let weighted = |other: &dyn Fn(usize) -> f32| -> f64 {
                let term = |(at, value): (usize, &f32)| f64::from(mean + value.abs()) * f64::from(value - other(at)).powi(2);
                group.iter().enumerate().map(term).sum()
            };
            let even = weighted(&|at| if step > 0.0 { least + step * ((group[at] - least) / step).round() } else { least });
            // Scale and minimum become halves at the end.
            let rounding = f64::from((15.0 * step + least.abs()) / 1024.0 + 1e-6);
            let most: f64 = group.iter().map(|value| f64::from(mean + value.abs())).sum();
            let allowed = (even.sqrt() + (most * rounding * rounding).sqrt()).powi(2);
            prop_assert!(weighted(&|at| found[at]) <= allowed * 1.001 + 1e-12);
        }
    }

    #[test]
    fn groups_do_not_touch_each_other(values in groups(), other in vec(-1.0f32..1.0, GROUP)) {
        for packing in [Packing::Q8, Packing::Q4] {
            let alone = again(packing, &values);
            let together = again(packing, &[values.as_slice(), &other].concat());
            prop_assert_eq!(&together[..values.len()], alone.as_slice());
        }
    }
}
