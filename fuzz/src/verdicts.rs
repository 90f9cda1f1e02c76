//! Fuzzes readers of verdicts: a reader's JSON, then that reader on a small language model, with texts that hold its
//! separators.

use rewardscope_engine::{
    Cancel, Clock, DeviceChoice, LoadOptions, Message, ModelFiles, Reader, ReaderChoice, ReaderSpec, Scorer, device,
};
use rewardscope_store::Source;

/// The files of the model.
const FILES: [(&str, &[u8]); 4] = [
    ("config.json", include_bytes!("../../tests/fixtures/kinds/reader_before/config.json")),
    ("model.safetensors", include_bytes!("../../tests/fixtures/kinds/reader_before/model.safetensors")),
    ("tokenizer.json", include_bytes!("../../tests/fixtures/kinds/reader_before/tokenizer.json")),
    ("tokenizer_config.json", include_bytes!("../../tests/fixtures/kinds/reader_before/tokenizer_config.json")),
];

/// Reads one input; a finding is a panic.
pub fn run(bytes: &[u8]) {
    let Ok(json) = std::str::from_utf8(bytes) else { return };
    let Ok(spec) = ReaderSpec::from_json("own", json) else { return };
    let again = ReaderSpec::from_json("own", &spec.to_json()).expect("what is written is read");
    assert_eq!(again, spec);
    let sources = FILES.map(|(name, bytes)| Source::memory(name, bytes)).to_vec();
    let files = ModelFiles::from_sources("model", sources).expect("a model");
    let mut options = LoadOptions::new(Clock::from_local_seconds(0));
    options.reader = ReaderChoice::Given(Box::new(Reader { name: "own".to_owned(), spec }));
    pollster::block_on(async {
        // Most readers do not fit the model, which is found without its weights.
        if files.inspect(None, &options).await.is_err() {
            return;
        }
        let device = device::open(DeviceChoice::Cpu).await.expect("a processor");
        let Ok(scorer) = Scorer::load(&files, None, device, options, &Cancel::default(), &mut |_| {}).await else {
            return;
        };
        let prompt = [Message::new("system", "+"), Message::new("user", "Why \u{301}+ -?\n\n")];
        let steps = ["+ -\n\n", "", "\n", "the end"].map(str::to_owned).to_vec();
        for sequence in scorer.tokenize_steps(&prompt, &[steps]).into_iter().flatten() {
            assert!(sequence.read_at.is_sorted(), "{:?}", sequence.read_at);
            assert!(sequence.read_at.iter().all(|&at| at < sequence.input_ids.len()), "{:?}", sequence.read_at);
        }
        let _ = scorer.tokenize(&prompt, ["+", "", "a\n\nb\n\n\n\n- c"]);
    });
}
