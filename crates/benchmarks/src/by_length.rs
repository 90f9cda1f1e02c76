//! The marks of always picking the longest or the shortest completion.

use crate::benchmark::{Benchmark, Variant};
use crate::marker::Marker;
use crate::marks::Marks;
use crate::resampling::add;
use crate::statistics::SplitMix;
use crate::{MarkError, ScoredItem};

/// Up to this many orders of equal lengths are all tried. Where there are more, this many are drawn by the seed.
const MOST_ORDERS: usize = 5040;

/// The marks of always picking the longest completion (`sign` 1) or the shortest (`sign` -1). Where the rules count
/// equal scores as wrong, equal lengths are put in every possible order, and the mark is the mean over the orders: the
/// expected mark of picking among equal lengths at random.
pub(crate) fn by_length(
    benchmark: &'static Benchmark,
    variant: &'static Variant,
    items: &[ScoredItem<'_>],
    lengths: &[Vec<f64>],
    sign: f64,
    seed: u64,
) -> Result<Marks, MarkError> {
    let mut marker = Marker::new(benchmark, variant, false);
    let mut random = SplitMix(seed);
    for (item, lengths) in items.iter().zip(lengths) {
        let scores: Vec<f64> = lengths.iter().map(|length| sign * length).collect();
        if variant.rules.shares_ties() {
            marker.push(&ScoredItem { scores: &scores, ..*item })?;
            continue;
        }
        let mut mean: Option<Vec<f64>> = None;
        let orders = orders_of(&scores, &mut random);
        for order in &orders {
            let part = variant.rules.part(&ScoredItem { scores: order, ..*item })?;
            add(mean.get_or_insert_default(), &part.values);
        }
        let share = |sum: &f64| sum / orders.len() as f64;
        let values = mean.unwrap_or_default().iter().map(share).collect();
        marker.take(&ScoredItem { scores: &scores, ..*item }, values)?;
    }
    Ok(marker.marks(Vec::new()))
}

/// Copies of `scores` in which equal scores are put in order, one copy for each possible order. Equal scores are moved
/// apart by less than one, so scores must be whole numbers: then all other orders stay as they are.
fn orders_of(scores: &[f64], random: &mut SplitMix) -> Vec<Vec<f64>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (at, score) in scores.iter().enumerate() {
        match groups.iter_mut().find(|group| scores[group[0]] == *score) {
            Some(group) => group.push(at),
            None => groups.push(vec![at]),
        }
    }
    let ways =
        groups.iter().flat_map(|group| 2..=group.len()).try_fold(1usize, |ways, factor| ways.checked_mul(factor));
    if ways.is_none_or(|ways| ways > MOST_ORDERS) {
        let drawn = |_| scores.iter().map(|score| score + 0.5 * random.uniform()).collect();
        return (0..MOST_ORDERS).map(drawn).collect();
    }
    let mut all = vec![scores.to_vec()];
    for group in groups.iter().filter(|group| group.len() > 1) {
        let ranks = permutations(group.len());
        let step = 0.5 / group.len() as f64;
        let put = |scores: &Vec<f64>, ranks: &Vec<usize>| {
            let mut scores = scores.clone();
            group.iter().zip(ranks).for_each(|(&at, &rank)| scores[at] += step * rank as f64);
            scores
        };
        all = all.iter().flat_map(|scores| ranks.iter().map(move |ranks| put(scores, ranks))).collect();
    }
    all
}

/// The numbers below `count`, in every order.
fn permutations(count: usize) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for next in 0..count {
        all = all
            .into_iter()
            .flat_map(|order: Vec<usize>| {
                (0..=order.len()).map(move |at| {
                    let mut order = order.clone();
                    order.insert(at, next);
                    order
                })
            })
            .collect();
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_scores_stand_in_every_order() {
        let mut random = SplitMix(0);
        assert_eq!(orders_of(&[1.0, 2.0], &mut random), [[1.0, 2.0]]);
        assert_eq!(orders_of(&[1.0, 1.0, 3.0, 3.0, 3.0], &mut random).len(), 12);
        let first = |order: &Vec<f64>| order[0] > order[1] && order[0] > order[2];
        assert_eq!(orders_of(&[4.0, 4.0, 4.0], &mut random).iter().filter(|order| first(order)).count(), 2);
        assert_eq!(orders_of(&[0.0; 12], &mut random).len(), MOST_ORDERS);
    }
}
