//! Each program's requests as it sends them, and what it reads of the answers.

use serde_json::{Value, json};

use crate::server::{Server, is_close, scorer, scores, sigmoid, text_score, turn};

/// A decoder with a chat template, and an encoder that reads pairs.
const DECODER: &str = "parity/llama_plain";
const ENCODER: &str = "parity/bert";

const QUESTION: &str = "Name a colour of the rainbow.";
const ANSWERS: [&str; 4] = ["Violet, I think.", "Monday.", "Red.", "No idea, sorry about that."];

#[test]
fn our_own_shape_has_all_that_is_known() {
    let (server, scorer) = (Server::start(DECODER, &[]), scorer(DECODER));
    let expected = scores(&scorer, QUESTION, &ANSWERS);
    let items = json!([
        {"messages": [turn("user", QUESTION)], "completions": ANSWERS},
        {"messages": [turn("user", "Why?")], "completions": ["Because."]}
    ]);
    let answer = server.ask("/v1/rewards", &json!({"items": items}));
    assert_eq!((answer["model"].as_str(), answer["scores"].as_str()), (Some("rm"), Some("rewards")));
    let rewards = answer["items"][0]["rewards"].as_array().unwrap();
    assert_eq!(rewards.len(), ANSWERS.len());
    for (found, expected) in rewards.iter().zip(&expected) {
        is_close(&found["reward"], expected.score);
        assert_eq!(found["tokens"], expected.tokens);
        assert_eq!(found["completion_tokens"], expected.completion_tokens);
        assert!(found["truncated"] == false && found.get("input_ids").is_none());
    }
    is_close(&answer["items"][1]["rewards"][0]["reward"], scores(&scorer, "Why?", &["Because."])[0].score);
    let answer = server.ask("/v1/rewards", &json!({"items": items, "per_token": true, "model": "rm"}));
    let first = &answer["items"][0]["rewards"][0];
    assert_eq!(first["input_ids"], json!(expected[0].input_ids));
    let tokens = first["token_rewards"].as_array().unwrap();
    assert_eq!(tokens.len(), expected[0].token_scores.len());
    tokens.iter().zip(&expected[0].token_scores).for_each(|(found, &value)| is_close(found, f64::from(value)));
    // It is described.
    let (status, described) = server.get("/openapi.json");
    let described: Value = serde_json::from_str(&described).unwrap();
    assert!(status == 200 && described["paths"]["/v1/rewards"]["post"].is_object());
    let fields = described["components"]["schemas"]["Reward"]["properties"].as_object().unwrap();
    for name in first.as_object().unwrap().keys() {
        assert!(fields.contains_key(name), "{name} is not described");
    }
    let (status, page) = server.get("/docs");
    assert!(status == 200 && page.contains("/v1/rewards") && !page.contains("<script"));
}

#[test]
fn training_loops_get_raw_rewards_of_rendered_texts() {
    let (server, scorer) = (Server::start(DECODER, &[]), scorer(DECODER));
    let texts = ["<s>[INST] Why? [/INST] Because.</s>", "[INST] Why? [/INST] No.", "plain"];
    // OpenRLHF.
    let answer =
        server.ask("/get_reward", &json!({"query": texts, "prompts": ["a", "b", "c"], "labels": ["", "", ""]}));
    for (found, text) in answer["rewards"].as_array().unwrap().iter().zip(texts) {
        is_close(found, text_score(&scorer, text, false));
    }
    assert_eq!((&answer["scores"], &answer["extra_logs"]), (&answer["rewards"], &json!({})));
    // verl, with a vLLM behind `/classify` (both names of the switch), and with an SGLang behind `/v1/embeddings`.
    for switch in ["activation", "use_activation"] {
        let answer = server.ask("/classify", &json!({"model": "rm", "input": texts[1], switch: false}));
        is_close(&answer["data"][0]["probs"][0], text_score(&scorer, texts[1], true));
    }
    let answer = server.ask("/v1/embeddings", &json!({"model": "rm", "input": texts[1]}));
    is_close(&answer["data"][0]["embedding"][0], text_score(&scorer, texts[1], true));
    // Ids, as SGLang's own clients send them, and no special tokens where they are not wanted.
    let ids = scorer.tokenize_text(texts[0], false).unwrap().input_ids;
    let answer = server.ask("/classify", &json!({"input": [ids], "use_activation": false}));
    is_close(&answer["data"][0]["probs"][0], text_score(&scorer, texts[0], false));
    let answer = server.ask("/classify", &json!({"input": texts, "add_special_tokens": false}));
    for (found, text) in answer["data"].as_array().unwrap().iter().zip(texts) {
        is_close(&found["probs"][0], sigmoid(text_score(&scorer, text, false)));
        assert_eq!((&found["label"], &found["num_classes"]), (&json!("LABEL_0"), &json!(1)));
    }
    assert!(answer["usage"]["total_tokens"].as_u64().unwrap() > 3);
    // Every token's, as process reward models are asked.
    let answer = server.ask(
        "/pooling",
        &json!({"messages": [turn("user", QUESTION), turn("assistant", ANSWERS[0])], "task": "token_classify", "use_activation": false}),
    );
    let expected = &scores(&scorer, QUESTION, &ANSWERS[..1])[0];
    let data = answer["data"][0]["data"].as_array().unwrap();
    assert_eq!(data.len(), expected.token_scores.len());
    data.iter().zip(&expected.token_scores).for_each(|(found, &value)| is_close(&found[0], f64::from(value)));
    // NeMo Curator: the reward is a token's log-probability.
    let answer = server.ask(
        "/v1/chat/completions",
        &json!({"model": "rm", "stream": null, "messages": [
            {"role": "user", "content": [{"type": "text", "text": QUESTION}]},
            turn("assistant", ANSWERS[0]),
        ]}),
    );
    let token = &answer["choices"][0]["logprobs"]["content"][0];
    assert_eq!(token["token"], "reward");
    is_close(&token["logprob"], expected.score);
    assert!(answer["choices"][0]["message"]["content"].as_str().unwrap().starts_with("reward:"));
}

#[test]
fn rerankers_are_asked_in_three_ways() {
    for name in [ENCODER, DECODER] {
        let (server, scorer) = (Server::start(name, &[]), scorer(name));
        let expected: Vec<f64> = scores(&scorer, QUESTION, &ANSWERS).iter().map(|score| score.score).collect();
        let mut order: Vec<usize> = (0..ANSWERS.len()).collect();
        order.sort_by(|&a, &b| expected[b].total_cmp(&expected[a]));
        for path in ["/rerank", "/v1/rerank", "/v2/rerank"] {
            let body = json!({"model": "rm", "query": QUESTION, "documents": ANSWERS, "top_n": 3});
            let answer = server.ask(path, &body);
            let results = answer["results"].as_array().unwrap();
            assert_eq!(results.len(), 3);
            for (found, &place) in results.iter().zip(&order) {
                assert_eq!((&found["index"], &found["document"]["text"]), (&json!(place), &json!(ANSWERS[place])));
                is_close(&found["relevance_score"], sigmoid(expected[place]));
            }
            let texts = json!({"query": QUESTION, "texts": ANSWERS, "raw_scores": true, "return_text": true});
            let answer = server.ask(path, &texts);
            for (found, &place) in answer.as_array().unwrap().iter().zip(&order) {
                assert_eq!((&found["index"], &found["text"]), (&json!(place), &json!(ANSWERS[place])));
                is_close(&found["score"], expected[place]);
            }
            let both = json!({"query": QUESTION, "texts": ANSWERS, "documents": ANSWERS}).to_string();
            assert!(server.refused(path, &both, 422).contains("both or none"));
        }
        for body in [
            json!({"queries": QUESTION, "documents": ANSWERS}),
            json!({"text_1": QUESTION, "text_2": ANSWERS}),
            json!({"data_1": vec![QUESTION; 4], "data_2": ANSWERS}),
        ] {
            let answer = server.ask("/score", &body);
            for (found, &score) in answer["data"].as_array().unwrap().iter().zip(&expected) {
                is_close(&found["score"], sigmoid(score));
            }
        }
        let answer =
            server.ask("/score", &json!({"queries": QUESTION, "documents": ANSWERS[1], "use_activation": false}));
        is_close(&answer["data"][0]["score"], expected[1]);
        // Text Embeddings Inference's predictions: a pair, several, and a text by itself.
        let one = server.ask("/predict", &json!({"inputs": [QUESTION, ANSWERS[0]], "raw_scores": true}));
        is_close(&one[0]["score"], expected[0]);
        let all: Vec<[&str; 2]> = ANSWERS.iter().map(|answer| [QUESTION, answer]).collect();
        let several = server.ask("/predict", &json!({"inputs": all}));
        for (found, &score) in several.as_array().unwrap().iter().zip(&expected) {
            is_close(&found[0]["score"], sigmoid(score));
        }
        let alone = server.ask("/predict", &json!({"inputs": "Why?", "raw_scores": true}));
        let at_root = server.ask("/", &json!({"inputs": "Why?", "raw_scores": true}));
        // A list of lists.
        is_close(&at_root[0][0]["score"], alone[0]["score"].as_f64().unwrap());
        let at_root = server.ask("/", &json!({"query": QUESTION, "texts": ANSWERS}));
        assert_eq!(at_root[0]["index"], order[0]);
        is_close(&alone[0]["score"], text_score(&scorer, "Why?", true));
    }
}

#[test]
fn a_server_says_what_it_is() {
    let (server, scorer) = (Server::start(DECODER, &[]), scorer(DECODER));
    assert_eq!(server.get("/health").0, 200);
    let models: Value = serde_json::from_str(&server.get("/v1/models").1).unwrap();
    assert_eq!((&models["data"][0]["id"], &models["data"][0]["scores"]), (&json!("rm"), &json!("rewards")));
    let info: Value = serde_json::from_str(&server.get("/info").1).unwrap();
    assert_eq!(info["model_id"], "rm");
    assert_eq!(info["max_input_length"], scorer.report().context_tokens);
    let tokens = server.ask("/tokenize", &json!({"model": "rm", "prompt": "Why?", "add_special_tokens": false}));
    let expected = scorer.tokenize_text("Why?", false).unwrap().input_ids;
    assert_eq!((&tokens["tokens"], &tokens["count"]), (&json!(expected), &json!(expected.len())));
    assert_eq!(server.get("/nothing").0, 404);
    let other = json!({"model": "other", "messages": [turn("user", "a"), turn("assistant", "b")]}).to_string();
    assert!(server.refused("/v1/chat/completions", &other, 422).contains("rm was expected"));
}

#[test]
fn steps_and_comparisons_have_their_own_answers() {
    // The published form of a process reward model: a value for each step.
    let server = Server::start("kinds/prm_token_classification", &[]);
    let asked =
        json!({"items": [{"messages": [turn("user", "What is 2 + 3?")], "steps": ["2 + 3 = 5.", "So it is 5."]}]});
    let answer = server.ask("/v1/rewards", &asked);
    assert_eq!(answer["items"][0]["rewards"][0]["step_rewards"].as_array().unwrap().len(), 2, "{answer}");
    drop(server);
    let (server, scorer) = (Server::start("kinds/pairrm", &[]), scorer("kinds/pairrm"));
    let expected = scores(&scorer, QUESTION, &ANSWERS);
    let items = json!([{"messages": [turn("user", QUESTION)], "completions": ANSWERS}, {"messages": [turn("user", "Why?")], "completions": ANSWERS[..2]}]);
    let answer = server.ask("/v1/rewards", &json!({"items": items}));
    for (found, expected) in answer["items"][0]["rewards"].as_array().unwrap().iter().zip(&expected) {
        is_close(&found["reward"], expected.score);
    }
    let alone = json!({"items": [{"messages": [turn("user", "Why?")], "completions": ["Because."]}]}).to_string();
    assert!(server.refused("/v1/rewards", &alone, 422).contains("completion"));
}
