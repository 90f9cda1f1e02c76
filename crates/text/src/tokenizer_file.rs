//! Reads tokenizer files of any origin. What would make the tokenizers library panic is refused.

use tokenizers::models::bpe::BPE;
use tokenizers::utils::SysRegex;

/// The parts of a `tokenizer.json` that are checked.
#[derive(serde::Deserialize)]
struct Checked {
    normalizer: Option<serde_json::Value>,
    pre_tokenizer: Option<serde_json::Value>,
    model: Option<CheckedModel>,
    post_processor: Option<serde_json::Value>,
    /// Read so that a text in it that is not Unicode is an error: the library would panic.
    decoder: Option<serde_json::Value>,
}

#[derive(serde::Deserialize)]
struct CheckedModel {
    continuing_subword_prefix: Option<serde_json::Value>,
}

#[derive(serde::Deserialize)]
struct FileWithMerges {
    model: ModelWithMerges,
}

#[derive(serde::Deserialize)]
struct ModelWithMerges {
    #[serde(default)]
    merges: Vec<serde_json::Value>,
}

/// Refuses merges whose second half is shorter than the prefix of a word's continuation.
fn check_merges(prefix: &str, merges: &[serde_json::Value]) -> Result<(), String> {
    for merge in merges {
        // A merge is one text with a space in it, or a list of two texts.
        let second = match merge.as_str() {
            Some(text) => text.split_once(' ').map(|(_, second)| second),
            None => merge.get(1).and_then(serde_json::Value::as_str),
        };
        if second.is_some_and(|second| second.get(prefix.len()..).is_none()) {
            return Err(format!("a merge {merge} whose second half is shorter than the prefix {prefix:?}"));
        }
    }
    Ok(())
}

/// Refuses patterns whose repeat counts multiply to too large a number: the regex library multiplies them too, and
/// panics past 64 bits.
fn check_counts(value: &serde_json::Value) -> Result<(), String> {
    const MOST: u64 = 1_000_000;
    match value {
        serde_json::Value::Array(values) => values.iter().try_for_each(check_counts),
        serde_json::Value::Object(fields) => fields.iter().try_for_each(|(name, value)| {
            let Some(regex) = value.as_str().filter(|_| name == "Regex") else {
                return check_counts(value);
            };
            let mut product = 1u64;
            for counts in regex.split('{').skip(1) {
                let counts = counts.split('}').next().unwrap_or_default();
                for digits in counts.split(',').map(str::trim).filter(|count| !count.is_empty()) {
                    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
                        product = product.saturating_mul(digits.parse().unwrap_or(u64::MAX).max(1));
                    }
                }
            }
            if product > MOST {
                return Err(format!("a pattern that repeats more than {MOST} times"));
            }
            Ok(())
        }),
        _ => Ok(()),
    }
}

fn check_normalizer(normalizer: &serde_json::Value) -> Result<(), String> {
    for inner in normalizer.get("normalizers").and_then(serde_json::Value::as_array).into_iter().flatten() {
        check_normalizer(inner)?;
    }
    if normalizer.get("prepend").is_some_and(|prepend| prepend == "") {
        return Err("a normalizer that prepends nothing".to_owned());
    }
    let Some(pattern) = normalizer.get("pattern") else {
        return Ok(());
    };
    let is_empty = match (pattern.get("String"), pattern.get("Regex").and_then(serde_json::Value::as_str)) {
        (Some(text), _) => text == "",
        (None, Some(regex)) => {
            let regex = SysRegex::new(regex).map_err(|e| e.to_string())?;
            ["", "a", " ", "Ab 1.\n"].iter().any(|text| regex.find_iter(text).any(|(start, end)| start == end))
        }
        (None, None) => false,
    };
    if is_empty {
        return Err(format!("a normalizer whose pattern {pattern} finds the empty text"));
    }
    Ok(())
}

fn check_processor(processor: &serde_json::Value) -> Result<(), String> {
    for inner in processor.get("processors").and_then(serde_json::Value::as_array).into_iter().flatten() {
        check_processor(inner)?;
    }
    let of_one_text = processor.get("single").and_then(serde_json::Value::as_array).into_iter().flatten();
    if of_one_text.filter_map(|piece| piece.get("Sequence")).any(|sequence| sequence["id"] != "A") {
        return Err("a post-processor that puts a second text where there is one".to_owned());
    }
    let pieces = ["single", "pair"].into_iter().filter_map(|key| processor.get(key)?.as_array()).flatten();
    for piece in pieces {
        let Some(id) = piece.get("SpecialToken").and_then(|token| token.get("id")?.as_str()) else {
            continue;
        };
        let named = processor.get("special_tokens").and_then(|tokens| tokens.get(id));
        if named.is_none() {
            return Err(format!("a post-processor that puts in {id:?} without saying what it is"));
        }
    }
    Ok(())
}

/// Refuses what the library would panic at later:
/// - a post-processor's template with a special token that the file does not define, or a template for one text that
///   contains a second text;
/// - a normalizer that replaces the empty text, or prepends nothing;
/// - a merge whose second half is shorter than the prefix of a word's continuation;
/// - a pattern whose repeat counts multiply to more than any text is long.
pub(crate) fn refuse_panics(bytes: &[u8]) -> Result<(), String> {
    let file: Checked = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    [&file.normalizer, &file.pre_tokenizer, &file.decoder].into_iter().flatten().try_for_each(check_counts)?;
    file.normalizer.as_ref().map_or(Ok(()), check_normalizer)?;
    let prefix = file.model.and_then(|model| model.continuing_subword_prefix);
    if let Some(prefix) = prefix.as_ref().and_then(serde_json::Value::as_str).filter(|prefix| !prefix.is_empty()) {
        // Few files have such a prefix; only their merges are read.
        let file: FileWithMerges = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        check_merges(prefix, &file.model.merges)?;
    }
    file.post_processor.as_ref().map_or(Ok(()), check_processor)
}

/// The BPE model of `vocab.json` and `merges.txt`, without a normalizer or any other step around it.
pub(crate) fn of_merges(vocabulary: &[u8], merges: &[u8]) -> Result<tokenizers::Tokenizer, String> {
    let ids: std::collections::HashMap<String, u32> =
        serde_json::from_slice(vocabulary).map_err(|e| format!("in vocab.json: {e}"))?;
    let merges = std::str::from_utf8(merges).map_err(|e| format!("in merges.txt: {e}"))?;
    let lines = merges.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let merges: Result<Vec<_>, String> = lines
        .map(|line| {
            let both = line.split_once(' ').ok_or_else(|| format!("the line {line:?} in merges.txt"))?;
            Ok((both.0.to_owned(), both.1.trim().to_owned()))
        })
        .collect();
    let bpe = BPE::builder().vocab_and_merges(ids.into_iter().collect::<ahash::AHashMap<_, _>>(), merges?);
    Ok(tokenizers::Tokenizer::new(bpe.build().map_err(|e| e.to_string())?))
}
