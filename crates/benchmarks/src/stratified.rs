//! A seeded sample of a benchmark's items, stratified by subset.

use std::collections::BTreeMap;

use crate::Benchmark;
use crate::Item;
use crate::statistics::finalise;

/// Which items of a dataset a run takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection {
    /// How many items to take per subset at most. A `ref:N`/`tied:N` pair is never split, so its second item may exceed
    /// the limit. `None`: all items.
    pub limit_per_subset: Option<usize>,
    /// Seed of the draw.
    pub seed: u64,
}

/// Draws a seeded sample of a benchmark's items, stratified by subset. Returns the positions in `items`, ascending.
///
/// Items of one unit, such as the halves of a Ties pair, are drawn together, and each counts: a limit of 20 takes ten
/// pairs. A limit of one still takes a whole pair, because half a pair cannot be marked. The draw of a subset depends
/// only on the seed and on that subset's own ids, so that adding another subset changes nothing.
///
/// ```
/// use rewardscope_benchmarks::{Item, Selection, benchmark, stratified};
///
/// let item = |subset: &str, number: usize| Item {
///     id: number.to_string(),
///     subset: subset.to_owned(),
///     prompt: "2 + 2?".to_owned(),
///     turns: Vec::new(),
///     completions: vec!["4".to_owned(), "5".to_owned()],
///     num_correct: 1,
///     are_steps: false,
///     models: Vec::new(),
/// };
/// let items: Vec<Item> = (0..50).map(|number| item("Math", number)).chain([item("Focus", 50)]).collect();
/// let selection = Selection { limit_per_subset: Some(10), seed: 1 };
/// let taken = stratified(benchmark("reward-bench-2")?, &items, selection);
/// // Ten of 50 items of Math, and the only one of Focus.
/// assert_eq!((taken.len(), taken.last()), (11, Some(&50)));
/// # Ok::<(), rewardscope_benchmarks::NameError>(())
/// ```
pub fn stratified(benchmark: &Benchmark, items: &[Item], selection: Selection) -> Vec<usize> {
    let Some(limit) = selection.limit_per_subset else {
        return (0..items.len()).collect();
    };
    // subset -> unit -> positions
    let mut subsets: BTreeMap<&str, BTreeMap<String, Vec<usize>>> = BTreeMap::new();
    for (position, item) in items.iter().enumerate() {
        let unit = benchmark.unit(item).unwrap_or_else(|| format!("id {}", item.id));
        subsets.entry(&item.subset).or_default().entry(unit).or_default().push(position);
    }
    let mut taken = Vec::new();
    for (subset, units) in &subsets {
        let mut order: Vec<(u64, &Vec<usize>)> =
            units.iter().map(|(unit, positions)| (hash(selection.seed, subset, unit), positions)).collect();
        order.sort();
        let mut left = limit;
        for (_, positions) in order {
            if left == 0 {
                break;
            }
            taken.extend_from_slice(positions);
            left = left.saturating_sub(positions.len());
        }
    }
    taken.sort_unstable();
    taken
}

/// FNV-1a over the seed and both names, then splitmix64's finaliser. Sorting by this hash gives a random order that any
/// implementation can repeat.
fn hash(seed: u64, subset: &str, unit: &str) -> u64 {
    let mut h = 0xcbf2_9ce4_8422_2325_u64;
    let bytes = seed.to_le_bytes().into_iter().chain(subset.bytes()).chain([0xff]).chain(unit.bytes());
    for b in bytes {
        h = (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
    }
    finalise(h)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reward_bench_2;

    fn items() -> Vec<Item> {
        let item = |subset: &str, id: String| Item {
            id,
            subset: subset.to_owned(),
            prompt: String::new(),
            completions: vec![],
            num_correct: 1,
            are_steps: false,
            models: vec![],
            turns: vec![],
        };
        let mut items: Vec<Item> = (0..30).map(|i| item("Math", i.to_string())).collect();
        items.extend((0..30).map(|i| item("Focus", i.to_string())));
        items.extend((0..12).map(|i| item("Ties", format!("tied:{i}"))));
        items.extend((0..12).map(|i| item("Ties", format!("ref:{i}"))));
        items
    }

    fn ids(items: &[Item], taken: &[usize], subset: &str) -> Vec<String> {
        taken.iter().filter(|&&i| items[i].subset == subset).map(|&i| items[i].id.clone()).collect()
    }

    #[test]
    fn each_subset_gets_its_limit_and_pairs_stay_together() {
        let items = items();
        let taken = stratified(&reward_bench_2::BENCHMARK, &items, Selection { limit_per_subset: Some(8), seed: 1 });
        assert_eq!(ids(&items, &taken, "Math").len(), 8);
        assert_eq!(ids(&items, &taken, "Focus").len(), 8);
        let ties = ids(&items, &taken, "Ties");
        assert_eq!(ties.len(), 8);
        for id in ties.iter().filter(|id| id.starts_with("tied:")) {
            assert!(ties.contains(&id.replace("tied:", "ref:")), "{id} without its reference");
        }
    }

    #[test]
    fn the_same_seed_draws_the_same_items_and_another_seed_others() {
        let items = items();
        let draw = |seed| stratified(&reward_bench_2::BENCHMARK, &items, Selection { limit_per_subset: Some(8), seed });
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
    }

    #[test]
    fn subsets_draw_independently_of_each_other() {
        let items = items();
        let math: Vec<Item> = items.iter().filter(|i| i.subset == "Math").cloned().collect();
        let selection = Selection { limit_per_subset: Some(8), seed: 9 };
        assert_eq!(
            ids(&items, &stratified(&reward_bench_2::BENCHMARK, &items, selection), "Math"),
            ids(&math, &stratified(&reward_bench_2::BENCHMARK, &math, selection), "Math")
        );
    }

    #[test]
    fn no_limit_takes_everything_in_order() {
        let items = items();
        let all = stratified(&reward_bench_2::BENCHMARK, &items, Selection { limit_per_subset: None, seed: 0 });
        assert_eq!(all, (0..items.len()).collect::<Vec<_>>());
    }

    #[test]
    fn an_odd_limit_never_splits_a_pair() {
        let items = items();
        let taken = stratified(&reward_bench_2::BENCHMARK, &items, Selection { limit_per_subset: Some(1), seed: 0 });
        assert_eq!(ids(&items, &taken, "Ties").len(), 2);
    }
}
