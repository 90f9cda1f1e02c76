//! Puts a reader on an opened model: finds it, takes its rows of the vocabulary's matrix, and compiles its texts.

use std::collections::BTreeMap;

use rewardscope_models::{Head, HeadPlan};
use rewardscope_store::Source;
use rewardscope_weights::{Checkpoint, StoredType, safetensors};

use crate::checkpoint::open::Opened;
use crate::checkpoint::own_head::VOCABULARY;
use crate::error::EngineError;
use crate::loading::LoadOptions;
use crate::reader::layout::{Layout, token_id};
use crate::reader::named::{found, wanted};
use crate::reader::spec::{At, Reader, ReaderChoice};
use crate::reader::verdict::{StepAggregate, StepScores, Verdict};
use crate::scoring::reading::{Outputs, Reading};

/// A reader on a model.
#[derive(Debug)]
pub(crate) struct Attached {
    pub reader: Reader,
    pub layout: Layout,
}

/// What a reader makes of what was read of one text.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    pub score: f64,
    pub probabilities: Vec<f64>,
    pub probability: Option<f64>,
    pub steps: Option<StepScores>,
}

impl Attached {
    /// Whether it reads at several tokens of a text.
    pub fn reads_several(&self) -> bool {
        self.layout.has_steps() || self.reader.spec.at != At::Last
    }

    /// The value of the outputs at a token.
    pub fn verdict(&self, outputs: &Outputs<'_>, position: usize) -> Verdict {
        self.reader.spec.combine.of(outputs.at(position))
    }

    /// What it makes of the outputs at the tokens that it reads.
    pub fn judged(&self, outputs: &Outputs<'_>, read: &[usize], aggregate: StepAggregate) -> Judged {
        let mut verdicts = read.iter().map(|&position| self.verdict(outputs, position));
        if self.reads_several() {
            let steps = StepScores::of(verdicts.map(|verdict| verdict.value).collect());
            return Judged { score: steps.get(aggregate), steps: Some(steps), ..Judged::default() };
        }
        match verdicts.next() {
            Some(Verdict { value, shares, probability }) => {
                Judged { score: value, probabilities: shares, probability, steps: None }
            }
            None => Judged { score: f64::NAN, ..Judged::default() },
        }
    }
}

/// The name of the rows as a head.
const HEAD: &str = "reader";

/// Puts a reader on a model, if one was chosen or is known for a model of this name. The instruction of the options
/// takes the place of the reader's own. With a fitted head there is none.
///
/// # Errors
/// When the reader does not fit the model.
pub(crate) async fn attach(
    opened: &mut Opened,
    name: &str,
    has_head: bool,
    options: &LoadOptions,
) -> Result<Option<Attached>, EngineError> {
    let instruction = options.instruction.as_deref();
    let reader = match &options.reader {
        _ if has_head => None,
        ReaderChoice::None => None,
        ReaderChoice::Given(reader) => Some(reader.as_ref().clone()),
        ReaderChoice::Found if let Some(what) = wanted(name) => {
            let found = format!("{name}, {what}, which is not supported yet; --reader none reads it all the same");
            return Err(EngineError::Reader { reader: "none".to_owned(), found });
        }
        ReaderChoice::Found => found(name, opened.class.as_deref(), opened.architecture.summary().head)?,
    };
    let Some(mut reader) = reader else {
        return match instruction {
            Some(_) if !has_head => Err(EngineError::Reader {
                reader: "none".to_owned(),
                found: "an instruction, and no reader that takes one; choose it (--reader NAME)".to_owned(),
            }),
            _ => Ok(None),
        };
    };
    let refuse = |found: String| EngineError::Reader { reader: reader.name.clone(), found };
    reader.spec.check().map_err(refuse)?;
    if let Some(instruction) = instruction {
        if !reader.spec.uses_instruction() {
            return Err(refuse("an instruction, which its texts do not name".to_owned()));
        }
        reader.spec.instruction = Some(instruction.to_owned());
    }
    let summary = opened.architecture.summary();
    match (summary.head, reader.spec.tokens.is_empty()) {
        (Head::LanguageModel, false) => take_rows(opened, &reader).await?,
        (Head::LanguageModel, true) => {
            return Err(refuse(format!(
                "{name}, a language model, and no tokens whose rows are the head; name them in the reader"
            )));
        }
        (Head::Score, true) if opened.reading.gates.is_none() => {
            let outputs = summary.labels;
            reader.spec.combine.check(outputs).map_err(|found| refuse(format!("{name}: {found}")))?;
        }
        (Head::Score, _) => {
            return Err(refuse(format!("{name}, which has a head of its own; it is read without tokens")));
        }
        (Head::Pooled | Head::Pair, _) => {
            return Err(refuse(format!("{name}, an encoder, which gives one output for a whole text")));
        }
    }
    let layout = Layout::new(&reader, &opened.text, options.clock)?;
    Ok(Some(Attached { layout, reader }))
}

/// Takes the reader's rows of the vocabulary's matrix as the model's head, in f32.
async fn take_rows(opened: &mut Opened, reader: &Reader) -> Result<(), EngineError> {
    let specs = opened.architecture.tensors()?;
    // Where the model has no matrix of its own, it is the embedding.
    let own = specs.iter().find(|spec| VOCABULARY.contains(&spec.name.as_str()));
    let Some(matrix) = own.or(specs.first()) else {
        return Ok(());
    };
    let info = opened.checkpoint.expect(&matrix.stored, &matrix.shape)?.clone();
    let (mut bytes, columns) = (Vec::new(), info.columns());
    for token in &reader.spec.tokens {
        let id = token_id(&opened.text, &reader.name, token)? as usize;
        if id >= info.rows() {
            let found = format!("the token {id}, and a vocabulary of {} rows", info.rows());
            return Err(EngineError::Reader { reader: reader.name.clone(), found });
        }
        let row = info.dtype.to_f32(&opened.checkpoint.rows(&info, id, 1).await?);
        bytes.extend(row.iter().flat_map(|value| value.to_le_bytes()));
    }
    let count = reader.spec.tokens.len();
    let entry =
        safetensors::Entry { name: format!("{HEAD}.weight"), shape: vec![count, columns], dtype: StoredType::F32 };
    let mut file = safetensors::header(&[entry], &BTreeMap::new());
    file.extend(bytes);
    let rows = Checkpoint::from_safetensors(&Source::memory(HEAD, file)).await?;
    let layers = opened.architecture.summary().layers;
    let plan = HeadPlan { is_vocabulary: true, ..HeadPlan::linear(HEAD, count) };
    opened.architecture.read_by(layers, plan)?;
    opened.reading = Reading::default();
    opened.checkpoint = opened.checkpoint.clone().with(rows);
    Ok(())
}
