//! Functions of one value, without branches and tables, so that compilers vectorise loops of them on every
//! target.

use crate::packing::nearest;

/// `e^x`, within 2 units in the last place. Where the result would be below f32's normal range it is 0; where
/// it would be above f32's range it stays at the largest finite value of this function, about 3.4e38. The
/// reduction and polynomial are those of Cephes' `expf` (Moshier, 1989).
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // Below the first bound the true result is subnormal, above the second it is infinite.
    let inside = x.clamp(-87.336_54, 88.722_83);
    let whole = nearest(inside * std::f32::consts::LOG2_E);
    let r = inside - whole * LN_2_HIGH - whole * LN_2_LOW;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let value = p * r * r + r + 1.0;
    // In two factors: 2^128 itself is not an f32.
    let half = (whole as i32) >> 1;
    let power = |n: i32| f32::from_bits(((n + 127) << 23) as u32);
    let value = value * power(half) * power(whole as i32 - half);
    // NaN stays NaN; minus infinity, a masked score, gives exactly 0.
    if x < -87.336_54 { 0.0 } else { value }
}

/// The hyperbolic tangent, within 1e-6.
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    1.0 - 2.0 / (exp(2.0 * x) + 1.0)
}

/// The error function, within 5e-7: the rational minimax approximation that Eigen and XLA use for f32
/// (`generic_fast_erf_float`), on -4 to 4. Beyond, it is -1 or 1 in f32.
#[inline(always)]
pub(super) fn erf(x: f32) -> f32 {
    let x = x.clamp(-4.0, 4.0);
    let square = x * x;
    let above = -2.726_142_3e-10;
    let above = above * square + 2.770_681_4e-8;
    let above = above * square + -2.101_024e-6;
    let above = above * square + -5.692_506_4e-5;
    let above = above * square + -7.349_906_3e-4;
    let above = above * square + -2.954_6e-3;
    let above = above * square + -1.609_603_3e-2;
    let below = -1.456_607_2e-5;
    let below = below * square + -2.133_740_6e-4;
    let below = below * square + -1.682_827e-3;
    let below = below * square + -7.373_329_2e-3;
    let below = below * square + -1.426_473_9e-2;
    x * above / below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_what_they_are_called() {
        let (mut worst_exp, mut worst_tanh, mut worst_erf) = (0.0f64, 0.0f64, 0.0f64);
        for step in -200_000..200_000 {
            let x = step as f32 * 5e-4;
            if x < 88.0 && x > -87.0 {
                let want = f64::from(x).exp();
                worst_exp = worst_exp.max((f64::from(exp(x)) - want).abs() / want);
            }
            worst_tanh = worst_tanh.max((f64::from(tanh(x)) - f64::from(x).tanh()).abs());
            worst_erf = worst_erf.max((f64::from(erf(x)) - libm::erf(f64::from(x))).abs());
        }
        println!("exp {worst_exp:e} relative, tanh {worst_tanh:e}, erf {worst_erf:e}");
        assert!(worst_exp < 2.4e-7 && worst_tanh < 1e-6 && worst_erf < 5e-7);
        assert_eq!((exp(0.0), exp(f32::NEG_INFINITY), exp(-1e30)), (1.0, 0.0, 0.0));
        assert!(exp(f32::NAN).is_nan() && exp(1e9) > 1e38);
    }
}
