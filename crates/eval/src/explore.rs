//! Finds and sorts the items of a dataset or a run, and shows a window of them at a time. A list of a hundred thousand
//! items then costs the page no more than a list of ten.

use std::collections::{BTreeMap, HashMap};

use rewardscope_benchmarks::analysis::margin;
use rewardscope_benchmarks::{Item, MarkError, ScoredItem};
use serde::{Deserialize, Serialize};

use crate::run::{CompletionScore, Run, characters, values};
use crate::{ItemSummary, ScoreFile};

/// Share of the items that count as narrow: those with the smallest margins in absolute value.
const NARROW: f64 = 0.1;

/// Most characters of a prompt in a list.
const PROMPT_CHARACTERS: usize = 120;

/// Which items to find, by their marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All items.
    Any,
    /// Items with a mark of 1.
    Right,
    /// Items with a mark below 1.
    Wrong,
    /// The tenth of the items whose correct and incorrect scores lie closest together.
    Narrow,
    /// Items with a completion whose conversation was cut at the context limit.
    Truncated,
    /// Items without scores.
    Unscored,
    /// Items that a second run marks differently.
    Disagreement,
}

/// The order of the items found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// The order of the dataset or file.
    Place,
    /// By margin (worst correct score minus best incorrect score), smallest first; items without a margin last.
    Margin,
    /// By bytes of prompt and completions as UTF-8, longest first.
    Length,
    /// By the difference between the margins of two runs, largest first; items without both margins last.
    Difference,
}

/// Which items to find, and in which order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct ExploreQuery {
    /// The subset's name; empty for all subsets.
    pub subset: String,
    /// Which items of the subset, by their marks.
    pub verdict: Verdict,
    /// Text to find in the id, the prompt or a completion; upper and lower case are equal. Empty for any text.
    pub text: String,
    /// The order of the items.
    pub order: Order,
    /// Reverse the whole order; items that would be last then come first.
    pub reversed: bool,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Found {
    /// Number of items that match the query.
    pub found: usize,
    /// Number of all items.
    pub items: usize,
    /// Names of all subsets, in the order in which they appear.
    pub subsets: Vec<String>,
    /// Whether any item has scores.
    pub is_scored: bool,
    /// Whether a second run was set beside the first.
    pub is_compared: bool,
    /// Whether the texts of all items are available. A run file alone has no texts.
    pub has_texts: bool,
}

/// What finding and sorting need of one item.
#[derive(Debug, Clone)]
struct Entry {
    /// Index of the item's texts among the items passed to `find` and `window`; `None` without texts.
    text: Option<usize>,
    subset: u32,
    id: String,
    mark: Option<f64>,
    margin: Option<f64>,
    other_mark: Option<f64>,
    other_margin: Option<f64>,
    characters: usize,
    truncated: bool,
}

/// The items of a dataset, a run or a score file, for finding and sorting.
#[derive(Debug, Clone, Default)]
pub struct Explorer {
    entries: Vec<Entry>,
    subsets: Vec<String>,
    /// An item is narrow when the absolute value of its margin is below this.
    narrow: f64,
    found: Vec<u32>,
    is_scored: bool,
    is_compared: bool,
}

impl Explorer {
    fn subset(&mut self, known: &mut HashMap<String, u32>, name: &str) -> u32 {
        if let Some(&at) = known.get(name) {
            return at;
        }
        let at = self.subsets.len() as u32;
        self.subsets.push(name.to_owned());
        known.insert(name.to_owned(), at);
        at
    }

    /// A dataset's items, without scores. Pass the same `items` as texts to [`Self::find`] and [`Self::window`].
    pub fn of_dataset(items: &[Item]) -> Self {
        let mut explorer = Self::default();
        let mut known = HashMap::new();
        for (place, item) in items.iter().enumerate() {
            let entry = Entry {
                text: Some(place),
                subset: explorer.subset(&mut known, &item.subset),
                id: item.id.clone(),
                mark: None,
                margin: None,
                other_mark: None,
                other_margin: None,
                characters: characters(item),
                truncated: false,
            };
            explorer.entries.push(entry);
        }
        explorer
    }

    /// A run's items that have an outcome. Pass [`Run::items`] as texts to [`Self::find`] and [`Self::window`].
    ///
    /// # Errors
    /// When the scored items cannot be marked.
    pub fn of_run(run: &Run) -> Result<Self, MarkError> {
        let tried = run.results().len();
        let mut explorer = Self::of_dataset(&run.items()[..tried]);
        let mut marks = run.marks()?.items.into_iter();
        for (result, entry) in run.results().iter().zip(&mut explorer.entries) {
            let Ok(scores) = &result.outcome.scores else { continue };
            let item = &run.items()[result.item];
            entry.mark = marks.next();
            entry.margin = margin(&ScoredItem {
                id: &item.id,
                subset: &item.subset,
                num_correct: item.num_correct,
                scores: &values(result),
            });
            entry.truncated = scores.iter().any(CompletionScore::truncated);
        }
        Ok(explorer.settled())
    }

    /// The rows of a score file, with one mark per row in `marks`. A row's texts are those of the item in `dataset`
    /// with the same subset and id, if there is one. Pass `dataset` as texts to [`Self::find`] and [`Self::window`].
    pub fn of_file(file: &ScoreFile, marks: &[f64], dataset: &[Item]) -> Self {
        let texts: HashMap<(&str, &str), usize> =
            dataset.iter().enumerate().map(|(place, item)| ((item.subset.as_str(), item.id.as_str()), place)).collect();
        let cut: BTreeMap<(&str, &str), bool> = file
            .run
            .iter()
            .flat_map(|run| &run.items)
            .map(|item| ((item.row.subset.as_str(), item.row.id.as_str()), item.cut_tokens.iter().any(|&cut| cut > 0)))
            .collect();
        let mut explorer = Self::default();
        let mut known = HashMap::new();
        for (row, &mark) in file.rows.iter().zip(marks) {
            let key = (row.subset.as_str(), row.id.as_str());
            // An item with another number of completions is not the item that was scored.
            let fits = |place: &usize| dataset[*place].completions.len() == row.scores.len();
            let text = texts.get(&key).copied().filter(fits);
            let entry = Entry {
                text,
                subset: explorer.subset(&mut known, &row.subset),
                id: row.id.clone(),
                mark: Some(mark),
                margin: margin(&row.as_item()),
                other_mark: None,
                other_margin: None,
                characters: text.map_or(0, |place| characters(&dataset[place])),
                truncated: cut.get(&key).copied().unwrap_or_default(),
            };
            explorer.entries.push(entry);
        }
        explorer.settled()
    }

    fn settled(mut self) -> Self {
        self.is_scored = self.entries.iter().any(|entry| entry.mark.is_some());
        let mut distances: Vec<f64> = self.entries.iter().filter_map(|entry| Some(entry.margin?.abs())).collect();
        distances.sort_by(f64::total_cmp);
        self.narrow = distances.get((distances.len() as f64 * NARROW) as usize).copied().unwrap_or_default();
        self
    }

    /// Sets a second run beside the first: its file, with one mark per row in `marks`.
    pub fn against(&mut self, file: &ScoreFile, marks: &[f64]) {
        let by_id: HashMap<(&str, &str), (f64, Option<f64>)> = file
            .rows
            .iter()
            .zip(marks)
            .map(|(row, &mark)| ((row.subset.as_str(), row.id.as_str()), (mark, margin(&row.as_item()))))
            .collect();
        for entry in &mut self.entries {
            let other = by_id.get(&(self.subsets[entry.subset as usize].as_str(), entry.id.as_str()));
            entry.other_mark = other.map(|(mark, _)| *mark);
            entry.other_margin = other.and_then(|(_, margin)| *margin);
        }
        self.is_compared = true;
    }

    /// Finds the items that match `query`, sorts them and keeps the result for [`Self::window`]. `texts` are the items
    /// to search for the query's text: those that the constructor names.
    pub fn find(&mut self, query: &ExploreQuery, texts: &[Item]) -> Found {
        let subset = self.subsets.iter().position(|name| *name == query.subset);
        let wanted = query.text.trim().to_lowercase();
        let has = |text: &str| text.to_lowercase().contains(&wanted);
        let is_asked_for = |entry: &Entry| {
            (query.subset.is_empty() || subset == Some(entry.subset as usize))
                && match query.verdict {
                    Verdict::Any => true,
                    Verdict::Right => entry.mark == Some(1.0),
                    Verdict::Wrong => entry.mark.is_some_and(|mark| mark < 1.0),
                    Verdict::Narrow => entry.margin.is_some_and(|margin| margin.abs() < self.narrow),
                    Verdict::Truncated => entry.truncated,
                    Verdict::Unscored => entry.mark.is_none(),
                    Verdict::Disagreement => {
                        matches!((entry.mark, entry.other_mark), (Some(one), Some(other)) if one != other)
                    }
                }
                && (wanted.is_empty()
                    || has(&entry.id)
                    || entry.text.and_then(|at| texts.get(at)).is_some_and(|item| {
                        has(&item.prompt) || item.completions.iter().any(|completion| has(completion))
                    }))
        };
        let mut found: Vec<u32> =
            (0..self.entries.len()).filter(|&at| is_asked_for(&self.entries[at])).map(|at| at as u32).collect();
        let last = |value: Option<f64>| value.unwrap_or(f64::INFINITY);
        let key = |at: u32| {
            let entry = &self.entries[at as usize];
            match query.order {
                Order::Place => 0.0,
                Order::Margin => last(entry.margin),
                Order::Length => -(entry.characters as f64),
                Order::Difference => {
                    last(entry.margin.zip(entry.other_margin).map(|(one, other)| -(one - other).abs()))
                }
            }
        };
        if query.order != Order::Place {
            found.sort_by(|&a, &b| key(a).total_cmp(&key(b)));
        }
        if query.reversed {
            found.reverse();
        }
        self.found = found;
        Found {
            found: self.found.len(),
            items: self.entries.len(),
            subsets: self.subsets.clone(),
            is_scored: self.is_scored,
            is_compared: self.is_compared,
            has_texts: self.entries.iter().all(|entry| entry.text.is_some()),
        }
    }

    /// Up to `count` of the items found last, from index `from` on. `texts` as for [`Self::find`].
    pub fn window(&self, from: usize, count: usize, texts: &[Item]) -> Vec<ItemSummary> {
        let shown = self.found.iter().skip(from).take(count);
        let summary = |&at: &u32| {
            let entry = &self.entries[at as usize];
            let prompt = entry.text.and_then(|at| texts.get(at)).map(|item| item.prompt.as_str()).unwrap_or_default();
            ItemSummary {
                item: at as usize,
                id: entry.id.clone(),
                subset: self.subsets[entry.subset as usize].clone(),
                prompt: prompt.chars().take(PROMPT_CHARACTERS).collect(),
                mark: entry.mark,
                margin: entry.margin,
                other_mark: entry.other_mark,
                other_margin: entry.other_margin,
                truncated: entry.truncated,
            }
        };
        shown.map(summary).collect()
    }

    /// The item at index `place` among all items: the index of its texts if there are any, its subset and its id.
    /// `None` where there is no such item.
    pub fn item(&self, place: usize) -> Option<(Option<usize>, &str, &str)> {
        let entry = self.entries.get(place)?;
        Some((entry.text, &self.subsets[entry.subset as usize], &entry.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item_report::{item_with, row_without_texts};

    fn item(place: usize) -> Item {
        Item {
            id: place.to_string(),
            subset: ["Math", "Safety"][place % 2].to_owned(),
            prompt: format!("Question {place}"),
            turns: Vec::new(),
            completions: vec![format!("Yes {}", "x".repeat(place)), "NO".to_owned()],
            num_correct: 1,
            are_steps: false,
            models: Vec::new(),
        }
    }

    fn file(margins: &[f64]) -> ScoreFile {
        let lines = margins.iter().enumerate().map(|(place, margin)| {
            let subset = ["Math", "Safety"][place % 2];
            format!(r#"{{"id":"{place}","subset":"{subset}","num_correct":1,"scores":[{margin},0.0]}}"#)
        });
        let lines = lines.collect::<Vec<_>>().join("\n").into_bytes();
        let source = rewardscope_store::Source::memory("scores.jsonl", lines);
        pollster::block_on(ScoreFile::open(&source, None)).expect("a file of scores")
    }

    fn query() -> ExploreQuery {
        ExploreQuery {
            subset: String::new(),
            verdict: Verdict::Any,
            text: String::new(),
            order: Order::Place,
            reversed: false,
        }
    }

    fn ids(explorer: &mut Explorer, query: &ExploreQuery, texts: &[Item]) -> Vec<String> {
        let found = explorer.find(query, texts);
        let shown = explorer.window(0, usize::MAX, texts);
        assert_eq!(found.found, shown.len());
        shown.into_iter().map(|item| item.id).collect()
    }

    #[test]
    fn items_are_found_and_put_in_order() {
        let items: Vec<Item> = (0..6).map(item).collect();
        let mut explorer = Explorer::of_dataset(&items);
        assert_eq!(ids(&mut explorer, &query(), &items), ["0", "1", "2", "3", "4", "5"]);
        let longest = ExploreQuery { order: Order::Length, subset: "Safety".to_owned(), ..query() };
        assert_eq!(ids(&mut explorer, &longest, &items), ["5", "3", "1"]);
        assert_eq!(ids(&mut explorer, &ExploreQuery { text: "XXXX".to_owned(), ..query() }, &items), ["4", "5"]);
        assert_eq!(ids(&mut explorer, &ExploreQuery { text: "question 3".to_owned(), ..query() }, &items), ["3"]);
        assert!(ids(&mut explorer, &ExploreQuery { verdict: Verdict::Right, ..query() }, &items).is_empty());
        assert!(ids(&mut explorer, &ExploreQuery { subset: "Focus".to_owned(), ..query() }, &items).is_empty());

        let (first, second) = (file(&[1.0, -1.0, 0.01, 3.0]), file(&[-1.0, -1.0, 5.0]));
        let mut explorer = Explorer::of_file(&first, &[1.0, 0.0, 1.0, 1.0], &items);
        assert_eq!(ids(&mut explorer, &ExploreQuery { verdict: Verdict::Wrong, ..query() }, &items), ["1"]);
        assert_eq!(ids(&mut explorer, &ExploreQuery { order: Order::Margin, ..query() }, &items), ["1", "2", "0", "3"]);
        let disagreement = ExploreQuery { verdict: Verdict::Disagreement, ..query() };
        assert!(ids(&mut explorer, &disagreement, &items).is_empty());
        explorer.against(&second, &[0.0, 0.0, 1.0]);
        assert_eq!(ids(&mut explorer, &disagreement, &items), ["0"]);
        let apart = ExploreQuery { order: Order::Difference, ..query() };
        assert_eq!(ids(&mut explorer, &apart, &items), ["2", "0", "1", "3"]);
        assert_eq!(ids(&mut explorer, &ExploreQuery { reversed: true, ..apart }, &items), ["3", "1", "0", "2"]);
        assert_eq!(explorer.window(1, 2, &items).len(), 2);
        assert!(explorer.window(9, 2, &items).is_empty());
    }

    #[test]
    fn an_item_has_the_scores_of_both_runs() {
        let (first, second) = (file(&[1.0, -1.0]), file(&[-2.0]));
        let report = item_with(&item(0), Some(&first), Some(&second));
        let of = |at: usize| {
            let completion = &report.completions[at];
            (completion.score, completion.rank, completion.other_score, completion.other_rank)
        };
        assert_eq!(of(0), (Some(1.0), Some(1), Some(-2.0), Some(2)));
        assert_eq!(of(1), (Some(0.0), Some(2), Some(0.0), Some(1)));
        let bare = row_without_texts(&first, "Safety", "1", Some(&second)).expect("a row");
        assert_eq!((bare.completions[0].rank, bare.completions[0].other_rank), (Some(2), None));
        assert!(row_without_texts(&first, "Math", "1", None).is_none());
    }
}
