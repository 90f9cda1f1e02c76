//! Fuzzes the bodies of requests to the server. The first byte chooses the route.

const ROUTES: [&str; 11] = [
    "/v1/rewards",
    "/get_reward",
    "/classify",
    "/pooling",
    "/v1/embeddings",
    "/score",
    "/rerank",
    "/predict",
    "/v1/chat/completions",
    "/tokenize",
    "/v2/rerank",
];

/// Asks a server that scores nothing. A body is refused with a sentence, or would be scored.
pub fn run(bytes: &[u8]) {
    let Some((route, body)) = bytes.split_first() else {
        return;
    };
    let route = ROUTES[*route as usize % ROUTES.len()];
    let status = rewardscope_api::status_of_body(route, body);
    // Without texts there is nothing to score, and the answer is empty.
    assert!([200, 413, 422, 503].contains(&status), "{route}: {status}");
}
